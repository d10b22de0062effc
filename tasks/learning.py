"""Where a network's weights come from, which of its parts learn, and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from pcpad.errors import UserValueError
from pcpad.models.heads import head_of, within
from pcpad.tasks.freezing import check_rates, freeze_parts, rate_groups
from pcpad.tasks.optimization import Interval, optimizer_and_scheduler
from pcpad.tasks.starts import warn_of_other_start

if TYPE_CHECKING:
    from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
    from torch import nn

__all__ = ["LearningParts"]


class LearningParts(LightningModule):
    """The part of `pcpad.tasks.base.Task` that determines what of `self.network` learns."""

    num_classes: int | None
    random_parts: list[str] | None
    """Parts of the network whose weights are neither from a file nor trained; None where the task does not say."""
    optimizer: OptimizerCallable | None
    scheduler: LRSchedulerCallable | None
    scheduler_interval: Interval | None
    """When the schedule is stepped; None for the usual of its class."""
    frozen: list[str]
    """The frozen parts."""
    rates: dict[str, float]
    """Factors of the optimizer's learning rate, by part."""

    learner = "network"
    """The attribute whose parts `freeze` and `rates` name."""

    _frozen_norms: tuple[str, ...] = ()

    def starts_from(self, weights: object, head: str | None = None) -> None:
        """Record where the network, which is built by now, has its weights from, and freeze what does not learn.

        Args:
            weights: The task's argument: None for random ones.
            head: The task's argument, see `pcpad.models.heads`.

        Raises:
            UserValueError: `freeze` or `rates` name parts that do not exist.
        """
        self.random_parts = ["network"] if weights is None else self.head_parts() if head else []
        if weights is not None:
            warn_of_other_start(self, weights)
        if head:
            rank_zero_info(
                f"All but {', '.join(self.random_parts)} starts from {weights}; that one, of {self.num_classes} "
                "classes, starts from random values"
            )
        self.freeze_parts()

    def head_parts(self) -> list[str]:
        """The parts of `self.network` that depend on the number of classes: the last layer."""
        return head_of(self._network(), self.num_classes) if self.num_classes else []

    def encoder_parts(self) -> list[str]:
        """The parts that `encoder` means in `freeze` and `rates`: the network's `encoder`, or all but the head."""
        names = [name for name, _ in self._network().named_children()]
        if "encoder" in names or self.num_classes is None:
            return [name for name in names if name == "encoder"]
        return self.all_but_head()

    def all_but_head(self) -> list[str]:
        """Names of modules, and parameters, that make up the network without its head."""
        network, head = self._network(), self.head_parts()
        parts = [name for name, _ in network.named_parameters(recurse=False)]
        for name, child in network.named_modules():
            above = any(part.startswith(f"{name}.") for part in head) or not name
            if not above and not within(name, [*head, *parts]) and any(True for _ in child.parameters()):
                parts.append(name)
        return parts

    def _network(self) -> nn.Module:
        return self.get_submodule(self.learner)

    def freeze_parts(self) -> None:
        """Freeze what does not learn; called when the network is built, and again when training starts.

        Raises:
            UserValueError: `freeze` or `rates` name parts that do not exist.
        """
        if self.learner not in self._modules or not (self.frozen or self.rates):
            return
        check_rates(self._network(), self.rates, self.encoder_parts())
        if self.frozen:
            self._frozen_norms = tuple(freeze_parts(self._network(), self.frozen, self.encoder_parts()))
        if self.frozen and self.random_parts == [self.learner] and self._trainer is not None and not self._resumes():
            rank_zero_warn(
                f"{', '.join(self.frozen)} of {type(self).__name__} is frozen at random values: pass "
                "--model.weights FILE, or leave `freeze` out"
            )

    def _resumes(self) -> bool:
        return bool(self.trainer.ckpt_path)

    def train(self, mode: bool = True) -> Self:
        """Keep frozen norms in evaluation mode."""
        super().train(mode)
        for name in self._frozen_norms:
            self._network().get_submodule(name).eval()
        return self

    def configure_optimizers(self) -> Any:
        """One optimizer over all parameters that learn, and its schedule."""
        if not self.frozen and not self.rates:
            return self.optimized(self.parameters())
        learning = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
        if not self.rates:
            return self.optimized([one for _, one in learning])
        groups = rate_groups(learning, self._network(), self.rates, self.encoder_parts())
        factors = [factor for factor, _ in groups]
        return self.optimized([group for _, group in groups], factors)

    def optimized(
        self, parameters: Any, factors: Sequence[float] = (), optimizer: OptimizerCallable | None = None
    ) -> dict[str, Any]:
        """The task's optimizer, or another, over these parameters, and its schedule; see `optimizer_and_scheduler`."""
        made = optimizer or self.optimizer
        return optimizer_and_scheduler(parameters, made, self.scheduler, factors, self.scheduler_interval)

    def refuse_other_parts(self, made: Mapping[str, Any]) -> None:
        """Check that a run resumes with the parameters that its optimizer has a state of.

        Args:
            made: Hyper-parameters of the checkpoint.

        Raises:
            UserValueError: Training would resume with others.
        """
        if self._trainer is None or self.trainer.state.fn != "fit":
            return
        for name, used in (("freeze", self.frozen), ("rates", self.rates)):
            before = made.get(name) or type(used)()
            before = [before] if isinstance(before, str) else before
            if used != before:
                message = (
                    f"The run began with {name}={before} and is to continue with {name}={used}: the optimizer's state "
                    f"is of other parameters. Leave --model.{name} as it was, or start a new run with --model.weights "
                    "CHECKPOINT"
                )
                raise UserValueError(message)
