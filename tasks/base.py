"""The base class of all tasks, with everything a task may offer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pcpad.class_counts import check_num_classes
from pcpad.deprecation import warn_renamed
from pcpad.distributed import averaged
from pcpad.errors import UserValueError
from pcpad.tasks.checkpoint_weights import fit_checkpoint
from pcpad.tasks.counting import count_each_once, over_all_samples
from pcpad.tasks.finite import FiniteLoss, NonFiniteLossError, check_finite
from pcpad.tasks.horizons import warn_of_other_horizons
from pcpad.tasks.hyperparameters import is_plain, plain
from pcpad.tasks.learning import LearningParts
from pcpad.tasks.monitoring import refuse_unlogged
from pcpad.trust import loading

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

    from pcpad.tasks.evaluation.items import ItemScores
    from pcpad.tasks.evaluation.report import Report
    from pcpad.tasks.optimization import Interval

__all__ = ["FiniteLoss", "NonFiniteLossError", "Task", "check_finite", "is_plain", "plain", "unit"]

_OLD_OFFERS = {"class_names": "classes", "class_colors": "class_colours"}


class Task(LearningParts):
    """A LightningModule that the `pcpad` command can train, test, apply, export and compare.

    A task of your own passes its settings to `super().__init__`, builds `self.network`, and writes the steps; the rest
    is here: hyper-parameters, optimizer and schedule, ending runs whose loss is no longer finite, what the weights
    were trained with, checkpoints of other paddings, images as the network wants them. Each offer below has a default,
    and the command's verbs and callbacks use what a task overrides. A plain LightningModule can be
    trained and tested too; a verb that needs more says which method is missing.

    Args:
        network_name: The network's name in results; the class's name when not given.
        padding: The network's padding; None where there is none.
        num_classes: Number of classes; must match the data's. None for tasks without classes.
        mean: Of each channel of images in [0, 1], see `normalize`.
        std: Of each channel of images in [0, 1], see `normalize`.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        not_kept: Names of the subclass's arguments that are no property of the trained network, such as where its
            first weights came from. All others become hyper-parameters, which checkpoints keep.
        clips_gradients: Whether the trainer can clip this task's gradients, which is advised where the loss is not
            finite; Lightning refuses to where `automatic_optimization` is off.
        freeze: Parts of `self.network` that do not learn: `encoder`, `norms` (all normalization layers), names of
            parts (`layer1`), or several of these. Their norms stay in evaluation mode, the optimizer does not get them.
        scheduler_interval: Whether the schedule is stepped once per `step` or per `epoch`; None: per step for
            `OneCycleLR`, `CyclicLR` and `PolynomialLR`, per epoch for all others. A schedule that is not made for the
            length of the run causes a warning.
        rates: Factors of the optimizer's learning rate by part: `{encoder: 0.1}`, `{layer1: 0.01}`; if several match,
            the longest name counts. `{decay: 0.75}`: each block's rate is that of the block after it times this factor.

    Raises:
        UserValueError: A `std` that is not positive; a number of classes that does not fit in memory.

    Example:
        >>> from torch import nn
        >>> from pcpad import convert_padding
        >>> class Shades(Task):
        ...     def __init__(self, width: int = 4, padding: str = "partial", optimizer=None, scheduler=None):
        ...         super().__init__(padding=padding, optimizer=optimizer, scheduler=scheduler)
        ...         self.network = convert_padding(nn.Conv2d(3, width, 3, padding=1), padding)
        ...
        ...     def training_step(self, batch, batch_idx):
        ...         loss = self.network(self.normalize(batch["image"])).square().mean()
        ...         return self.log_loss(loss, len(batch["image"]))
        >>> task = Shades(width=8)
        >>> task.padding, dict(task.hparams)["width"]
        ('partial', 8)
    """

    mean: Tensor
    std: Tensor

    network_name: str
    """The network's name in results."""
    padding: str | None
    """The network's padding."""
    num_classes: int | None
    """Number of classes."""
    class_names: list[str] | None
    """The names of the classes it was trained on; None where they are not known."""
    trained_with: str | None
    """The padding its weights were trained with; None for weights of unknown origin."""
    random_parts: list[str] | None
    """Parts of the network whose weights are neither from a file nor trained; None where the task does not say."""
    report: Report | None
    """The result of the last test, for the callback that prints and writes it; None where `log` is enough."""
    item_metric: str | None = None
    """The score by which `pcpad test --per_image` sorts samples; None where `test_step` keeps none."""
    items: ItemScores | None = None
    """Where `test_step` adds the scores of each sample, `self.items.add({"loss": losses})`; None if not requested."""
    units: ClassVar[Mapping[str, str]] = {}
    """The units of its numbers, by a part of their names, where they are not obvious."""
    export_outputs: tuple[str, ...] = ("logits",)
    """The names of an exported network's outputs."""
    in_channels: int = 3
    """Channels of its input images; 3 is RGB."""

    def __init__(
        self,
        *,
        network_name: str = "",
        padding: str | None = None,
        num_classes: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        not_kept: Sequence[str] = (),
        clips_gradients: bool = True,
        freeze: str | Sequence[str] | None = None,
        rates: Mapping[str, float] | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        super().__init__()
        frame = inspect.currentframe()
        self._keep_hyperparameters(frame.f_back if frame else None, list(not_kept))
        self.network_name = network_name or type(self).__name__
        self.padding = plain(padding)
        self.num_classes = plain(num_classes)
        if self.num_classes is not None:
            check_num_classes(self.num_classes)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = plain(scheduler_interval)
        if self.scheduler_interval not in (None, "step", "epoch"):
            message = (
                f"Expected argument `scheduler_interval` to be 'step', 'epoch' or None, but got {scheduler_interval!r}"
            )
            raise UserValueError(message)
        self.class_names = None
        self.trained_with = None
        self.random_parts = None
        self.report = None
        self.frozen = [freeze] if isinstance(freeze, str) else list(freeze or ())
        self.rates = dict(rates or {})
        self._finite = FiniteLoss(clips=clips_gradients)
        self._normalizes = False
        if mean is not None and std is not None:
            self.set_normalization(mean, std)

    # Hyper-parameters

    def _keep_hyperparameters(self, frame: Any, leave_out: list[str]) -> None:
        """Keep the arguments of the subclass's `__init__`, in types that `weights_only=True` reads back.

        The command line hands Lightning the parsed configuration, in which an optimizer is its class path and
        arguments: all of that is kept. From Python an optimizer is a function, which no checkpoint should carry.
        """
        self.save_hyperparameters(ignore=leave_out, frame=frame)
        kept = {name: plain(value) for name, value in self.hparams.items()}
        code = [name for name, value in kept.items() if not is_plain(value)]
        if code:
            # The second call also clears what Lightning hands to the loggers.
            self.save_hyperparameters(ignore=[*leave_out, *code], frame=frame)
        stores: Any = (self._hparams, self._hparams_initial)  # loggers get a copy of the second
        for stored in stores:
            stored.update({name: value for name, value in kept.items() if name in stored})
        # So that `pcpad test --ckpt_path` knows the class of a checkpoint made from Python too.
        self.hparams.setdefault("_class_path", f"{type(self).__module__}.{type(self).__qualname__}")

    def keep_resolved(self, **values: Any) -> None:
        """Keep resolved values in place of the given ones: the data's for None, a list for a single number.

        Args:
            values: By the arguments' names; those that are not hyper-parameters are ignored.
        """
        self.hparams.update({name: plain(value) for name, value in values.items() if name in self.hparams})

    # Images

    def set_normalization(self, mean: Sequence[float], std: Sequence[float], dims: int = 2) -> None:
        """Set what `normalize` subtracts and divides by.

        Args:
            mean: Of each channel, for images in [0, 1].
            std: Likewise, positive.
            dims: 2 for images, 3 for clips.

        Raises:
            UserValueError: A `std` that is not positive.
        """
        if min(std) <= 0:
            message = f"Expected argument `std` to be numbers > 0, but got {plain(std)}"
            raise UserValueError(message)
        # Hyper-parameters already; in the state dict they would keep published weights from loading strictly.
        self._normalizes = True
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(
                name,
                torch.tensor(plain(values), dtype=torch.get_default_dtype()).view(-1, *[1] * dims),
                persistent=False,
            )

    def normalize(self, image: Tensor) -> Tensor:
        """Normalize images or clips to the range the network was trained on.

        Args:
            image: (N, C, H, W) or (N, C, T, H, W), uint8 in [0, 255] or float in [0, 1].

        Returns:
            (image − mean) / std in `mean`'s dtype; the image in [0, 1] for a task without `mean` and `std`.
        """
        scaled = unit(image)
        if not self._normalizes:
            return scaled
        return ((scaled - self.mean) / self.std).to(self.mean.dtype)

    # Training

    def setup(self, stage: str) -> None:
        """Check that the data's classes and channels fit the network, and set up evaluations to count each sample once.

        Raises:
            UserValueError: The data states another number, or the run would wait for a metric that is not logged.
        """
        self.report = None
        if stage == "fit":
            self.freeze_parts()
        if self._trainer is not None:
            count_each_once(self.trainer)
            if stage == "fit":
                refuse_unlogged(self, self.trainer)
        channels = self.data_offer("channels")
        if channels is not None and channels != self.in_channels:
            message = (
                f"The data's images have {channels} channels and the network takes {self.in_channels}: pass "
                f"--model.in_channels {channels}, or --data.channels {self.in_channels}"
            )
            raise UserValueError(message)
        count = self.data_offer("num_classes")
        if stage == "predict" or None in (count, self.num_classes) or count == self.num_classes:
            return
        message = (
            f"The data has {count} classes and the network {self.num_classes}: "
            f"pass --model.num_classes {count}, or data with {self.num_classes} classes"
        )
        raise UserValueError(message)

    def data_offer(self, name: str) -> Any:
        """A value that the data module states about its data.

        Args:
            name: `class_names`, `class_colors`, `train_ids`, `num_classes` or `channels`, see
                `pcpad.datamodules.base.DataModule`.

        Returns:
            The value; None without a data module, or where it states no such thing.
        """
        data = self._trainer.datamodule if self._trainer is not None else None  # type: ignore[attr-defined]
        # Any LightningDataModule will do.
        found = getattr(data, name, None)
        old = _OLD_OFFERS.get(name)
        # A data module of pcpad defines the old name as an alias of the new one.
        renamed = old is not None and getattr(inspect.getattr_static(data, old, None), "new", None) == name
        if found is None and old is not None and not renamed and getattr(data, old, None) is not None:
            warn_renamed(f"`{old}` of {type(data).__name__}", f"`{name}`", removed="0.3.0")
            return getattr(data, old)
        return found

    def on_train_start(self) -> None:
        """Record that weights trained here have this padding and these classes, whatever was loaded before."""
        if self._trainer is not None:
            refuse_unlogged(self, self.trainer, self.trainer.lr_scheduler_configs)
            warn_of_other_horizons(self.trainer)
        self._warn_of_other_classes()
        self.trained_with = self.padding
        self.class_names = self._data_class_names()

    def _data_class_names(self) -> list[str] | None:
        names = self.data_offer("class_names")
        return [str(name) for name in names] if names else None

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """Log a value, as Lightning does; in an evaluation's step, over all samples of all processes.

        Args:
            name: Its name.
            value: A number, a scalar or a metric of torchmetrics. A number logged in `validation_step` or `test_step`
                becomes the mean over all samples (or with `reduce_fx` their sum, minimum or maximum); every process
                must log it.
            args: As for Lightning.
            options: As for Lightning.
        """
        value, options = over_all_samples(self, value, args, options)
        super().log(name, value, **options)

    def log_loss(self, loss: Tensor, batch_size: int, terms: Mapping[str, Tensor] | None = None) -> Tensor:
        """Log `train/loss`; on several processes the mean of their losses, whose gradient is used.

        Args:
            loss: A scalar.
            batch_size: Number of samples.
            terms: Further scalars, logged likewise as `train/NAME`.

        Returns:
            The loss itself, for `training_step` to return.
        """
        given = {"loss": loss, **(terms or {})}
        values = averaged(torch.stack([value.detach().to(loss.dtype) for value in given.values()]))
        logged = {f"train/{name}": value for name, value in zip(given, values, strict=True)}
        self.log("train/loss", logged.pop("train/loss"), prog_bar=True, batch_size=batch_size)
        self.log_dict(logged, batch_size=batch_size)
        return loss

    def on_before_backward(self, loss: Tensor) -> None:
        """Detect a loss that is not finite before it reaches the weights.

        Raises:
            NonFiniteLossError: This one, or on a GPU one of the last fifty.
        """
        self._finite.update(loss, f"epoch {self.current_epoch}, step {self.global_step}")

    def on_validation_epoch_start(self) -> None:
        """On a GPU, check the training losses gathered so far, before a checkpoint of them is written."""
        self._finite.check(f"epoch {self.current_epoch}")

    def on_validation_start(self) -> None:
        """Warn if the data's classes are not those that the network was trained on."""
        if self.trainer.state.fn == "validate":
            self._warn_of_other_classes()

    def on_test_start(self) -> None:
        """Warn if the data's classes are not those that the network was trained on."""
        self._warn_of_other_classes()

    def _warn_of_other_classes(self) -> None:
        names = self._data_class_names()
        if names and self.class_names and names != self.class_names:
            rank_zero_warn("The data's classes are named or ordered differently from those the network was trained on.")

    # Checkpoints

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Lightning's, which runs no code of the file's; see `pcpad.trust` for what a checkpoint may name.

        Args:
            checkpoint_path: The file.
            map_location: Lightning's, and so the following.
            hparams_file: Other hyper-parameters.
            strict: Whether all weights must fit.
            weights_only: False runs what the file's pickle asks for: for files that you wrote yourself.
            kwargs: Arguments that outrank the checkpoint's.

        Returns:
            The task.

        Raises:
            UserValueError: The checkpoint asks for a class from elsewhere.
        """
        with loading(checkpoint_path, cls):
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only is not False, **kwargs
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint what its weights were trained with, and on which classes."""
        checkpoint["class_names"] = self.class_names
        checkpoint["trained_with"] = self.trained_with

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what the weights were trained with; translate them to and from explicit padding."""
        self.class_names = checkpoint.get("class_names")
        self.trained_with = checkpoint.get("trained_with")
        self.random_parts = []
        self.refuse_other_parts(checkpoint.get("hyper_parameters", {}))
        self.convert_checkpoint(checkpoint)

    def convert_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Translate a checkpoint's weights, in place, where its padding and the task's differ in parameters.

        Only explicit padding has parameters of its own. Leaving it drops the border filters; changing to it copies each
        center filter to the border, which equals zero padding until trained further. A task without `self.network`, or
        without a padding, loads its weights as they are.

        Args:
            checkpoint: What Lightning read from the file.

        Raises:
            UserValueError: The weights are those of another network; or training is to resume under a padding with
                other parameters, which the optimizer's state does not fit.
        """
        resuming = self._trainer is not None and self.trainer.state.fn == "fit"
        fit_checkpoint(self, checkpoint, resuming=resuming)

    # Offers

    def prediction_writer(self, output: str | None = None) -> Callback | None:
        """The callback with which `pcpad predict` writes what `predict_step` returns.

        Args:
            output: The value of `--output`: a file or a folder; None to write into the run's log folder.

        Returns:
            The callback; None, the default, for a task without a writer of predictions.
        """
        return None

    def validation_names(self) -> set[str] | None:
        """The metrics that a validation logs, so that a run that watches another is refused when it starts.

        Returns:
            Each that it may log with its options, without `val/`; None, the default, to be checked for none.
        """
        return None

    def sample_images(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Pictures for the sheets of `SampleImages`.

        Args:
            batch: A few samples of a validation or test batch.

        Returns:
            By column title (n, 3, H, W), uint8 or float in [0, 1]; empty, the default, for no sheets.
        """
        return {}

    def use_evaluators(self, evaluators: Sequence[Any]) -> None:
        """Score the next tests with these, as `--eval` asks for.

        Args:
            evaluators: Evaluators of `pcpad.tasks.evaluation`, or metrics of torchmetrics.

        Raises:
            UserValueError: The task takes none, which is the default.
        """
        message = (
            f"--eval is for tasks that take evaluators; {type(self).__name__} has no evaluators (`use_evaluators`)"
        )
        raise UserValueError(message)

    def use_tiling(self, size: int | None = None, overlap: float | str | None = None, margin: Any = None) -> None:
        """Cut pictures like this in the next predictions, as `--tiling.size` and related options ask for.

        Args:
            size: A tile's size, in pixels; None leaves the task's own.
            overlap: Of neighboring tiles, as a fraction of them; None leaves the task's own.
            margin: The context around tiles, see `pcpad.tiling.run_tiled`.

        Raises:
            UserValueError: The task predicts without tiles, which is the default, or an argument is out of range.
        """
        message = f"--tiling is for tasks that predict by tiles; {type(self).__name__} does not (`use_tiling`)"
        raise UserValueError(message)

    def export_example(self, batch: int, height: int, width: int) -> dict[str, Tensor]:
        """Inputs of `forward`, for `pcpad export`.

        Args:
            batch: N.
            height: H.
            width: W.

        Returns:
            By name, in the order of `forward`'s arguments; in each the first axis is the batch and the last two are
            height and width. By default one `image` (N, `in_channels`, H, W) of floats in [0, 1].
        """
        return {"image": torch.rand(batch, self.in_channels, height, width)}


def unit(image: Tensor) -> Tensor:
    """Images in [0, 1], from bytes or unchanged."""
    return image / 255 if image.dtype == torch.uint8 else image
