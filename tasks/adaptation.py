"""Adaptation of a trained network to another padding, with itself as the teacher, on unlabeled photographs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import Optimizer

from pcpad.adaptation.exponents import annealed, learned_exponents, partial_layers, set_exponents
from pcpad.adaptation.teaching import Teaching, tensors_of
from pcpad.convert import convert_padding
from pcpad.errors import UserValueError
from pcpad.files import FileName
from pcpad.metrics.teaching_error import TeachingError
from pcpad.models.classifiers import classifier
from pcpad.tasks.base import Task, check_finite, plain, unit
from pcpad.tasks.optimization import Interval

_SMP = "smp/"


class AdaptationTask(Task):
    """Teach a network with another padding the original's outputs, without labels; see `pcpad.adaptation.recover`.

    A batch is a dict: `image` (N, 3, H, W), uint8 or float in [0, 1], which the task crops itself. Where the outputs
    are maps (`margin` > 0), the original sees the whole image and the network all but `margin` pixels on each side,
    where both are compared pixel by pixel. A classifier (`margin` 0) and its original see the same, and their
    distributions are compared. Logged: `train/loss`; for `val` and `test` `loss`, and of maps `border` and `interior`
    in dB of the original's variance over the mean squared difference, of classifiers `agreement` in [0, 1] and `kl` in
    nats.

    This is one run of the procedure. `pcpad adapt` also chooses the learning rate, and trains the control, which here
    is the same recipe with the original's padding: `--model.padding zeros`.

    Args:
        network: A torchvision or timm name, see `pcpad.models.classifier`, or `smp/Unet-resnet18`.
        num_classes: Number of classes.
        padding: The network's new padding.
        fallback: What `padding` does where a feature map is too small for it, such as `replicate` for `reflect`.
        weights: The original's trained weights: `published`, or a local file. A checkpoint contains the original's
            weights.
        margin: True context on each side, in pixels; 0 for classifiers.
        border: Width in pixels of the band that is scored as the border.
        features: Weight of the loss on a classifier's last features, added to that on its distributions.
        exponent: Of partial convolution's ratio: `anneal` raises it from 0 to 1 within the first 60 % of the run;
            `learn` makes one for each output channel a parameter, from 0, and keeps it; a number is kept as it is.
        exponent_rate: Factor of the learning rate for learned exponents.
        noise: Standard deviation, out of 255, of the noise added to images, for denoisers.
        mean: Of each channel of images in [0, 1]; subtracted.
        std: Of each channel of images in [0, 1]; divided by.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        scheduler_interval: When the schedule is stepped. See `Task`.

    Raises:
        ValueError: An argument is out of range, the weights do not fit, or there is no padding to convert.
    """

    padding: str

    def __init__(
        self,
        network: str = "resnet50",
        num_classes: int = 1000,
        padding: str = "partial",
        fallback: str | None = None,
        weights: FileName | None = None,
        margin: int = 0,
        border: int = 8,
        features: float = 0.0,
        exponent: float | str = "anneal",
        exponent_rate: float = 300.0,
        noise: float = 0.0,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        network = plain(network)
        super().__init__(
            network_name=network,
            padding=padding,
            num_classes=num_classes,
            mean=mean,
            std=std,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
            not_kept=["weights"],
        )
        if margin < 0:
            message = f"Expected argument `margin` to be at least 0, but got {margin}"
            raise UserValueError(message)
        if isinstance(exponent, str) and exponent not in ("anneal", "learn"):
            message = f"Expected argument `exponent` to be 'anneal', 'learn' or a number, but got {exponent!r}"
            raise UserValueError(message)
        self.exponent, self.exponent_rate, self.noise = exponent, exponent_rate, noise
        original = _original(network, num_classes, weights)
        self.network = convert_padding(copy.deepcopy(original), self.padding, fallback=fallback)
        self.random_parts = [] if weights else ["network"]
        # Not part of the network's state, whose names stay the original's.
        self.exponents = nn.ParameterList()
        if exponent == "learn":
            self.exponents = learned_exponents(self.network)
        elif isinstance(exponent, int | float) and partial_layers(self.network):
            set_exponents(self.network, exponent)
        # Not a submodule: the original is not part of the state dict, and not trained.
        self._teaching = Teaching(
            original, self.network, dense=margin > 0, margin=margin, border=border, features=features
        )
        self.val_metric = TeachingError(margin > 0)
        self.test_metric = TeachingError(margin > 0)

    def forward(self, image: Tensor) -> Any:
        """Images (N, 3, H, W), uint8 or float in [0, 1], to the network's outputs."""
        output = self.network(self.normalize(image))
        return output if isinstance(output, Tensor) else tensors_of(output)[0]

    def train(self, mode: bool = True) -> AdaptationTask:
        """Switch modes, except the network's: its norms keep their statistics, as the original's do."""
        super().train(mode)
        self.network.eval()
        return self

    def configure_optimizers(self) -> Any:
        """One optimizer for all weights, with the exponents at their own rate."""
        optimizer = self._with_exponents(self.optimizer) if self.optimizer and len(self.exponents) else self.optimizer
        return self.optimized(self.network.parameters(), optimizer=optimizer)

    def _with_exponents(self, make: OptimizerCallable) -> Callable[[Any], Optimizer]:
        def both(weights: Any) -> Optimizer:
            made = make([{"params": list(weights)}, {"params": list(self.exponents)}])
            made.param_groups[-1]["lr"] = made.param_groups[-1]["lr"] * self.exponent_rate
            return made

        return both

    def on_train_start(self) -> None:
        """Refuse training with a teacher that has random weights."""
        super().on_train_start()
        if self.random_parts:
            message = "The original has random weights, from which nothing can be learned: pass --model.weights FILE"
            raise UserValueError(message)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Raise the exponent in proportion to the progress of the run."""
        if self.exponent == "anneal" and partial_layers(self.network):
            done = self.global_step / max(1, int(self.trainer.estimated_stepping_batches))
            set_exponents(self.network, annealed(done))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The distance of the network from the original on one batch."""
        return self.log_loss(self._lesson().loss(self._input(batch)), len(batch["image"]))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Add one batch to `val/*`."""
        self._lesson().score(self._input(batch), self.val_metric)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Add one batch to `test/*`."""
        self._lesson().score(self._input(batch), self.test_metric)

    def validation_names(self) -> set[str]:
        """The names of `val/*`, of maps or of classes."""
        return {"loss", "border", "interior"} if self._teaching.dense else {"loss", "agreement", "kl"}

    def on_validation_epoch_end(self) -> None:
        """Log `val/*`."""
        self._log_values(self.val_metric, "val")

    def on_test_epoch_end(self) -> None:
        """Log `test/*`."""
        self._log_values(self.test_metric, "test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the original's weights and the current exponent to a checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["original"] = self._teaching.teacher.state_dict()
        checkpoint["exponent"] = self._come_to()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the original's weights and the exponent."""
        super().on_load_checkpoint(checkpoint)
        self._teaching.teacher.load_state_dict(checkpoint["original"])
        come_to = checkpoint.get("exponent")
        if come_to is not None and partial_layers(self.network):
            set_exponents(self.network, come_to)

    def _come_to(self) -> float | None:
        layers = list(partial_layers(self.network).values())
        if self.exponent == "learn" or not layers:
            return None
        return 1.0 if layers[0].exponent is None else float(layers[0].exponent)

    def _lesson(self) -> Teaching:
        self._teaching.teacher.to(self.device)
        return self._teaching

    def _input(self, batch: dict[str, Any]) -> Tensor:
        image = unit(batch["image"])
        return self.normalize(image + self.noise / 255 * torch.randn_like(image) if self.noise else image)

    def _log_values(self, metric: TeachingError, stage: str) -> None:
        values = metric.compute()
        check_finite(values["loss"], f"{stage}/loss")
        # Already summed over the processes; reset by hand since it is not the metric that is logged.
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()}, prog_bar=stage == "val")
        metric.reset()


def _original(network: str, num_classes: int, weights: str | None) -> nn.Module:
    if not network.startswith(_SMP):
        return classifier(network, num_classes, padding="zeros", weights=weights)
    from pcpad.models import load_weights, smp_network

    architecture, _, encoder = network.removeprefix(_SMP).partition("-")
    made = smp_network(architecture, encoder or "resnet50", num_classes, padding="zeros")
    return made if weights is None else load_weights(made, weights)
