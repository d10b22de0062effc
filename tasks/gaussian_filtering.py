"""Learning a Gaussian filter: the papers' simplest study, in which only the border is hard."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from pcpad.files import FileName
from pcpad.metrics.band_error import BandError
from pcpad.models.filtering_unet import filtering_unet
from pcpad.tasks.base import Task, check_finite, unit
from pcpad.tasks.evaluation.items import one_by_one
from pcpad.tasks.optimization import Interval


class GaussianFilteringTask(Task):
    """Train and test a U-Net that filters crops without seeing what lies outside of them (2022 paper, §4.1.1).

    A batch is a dict: `image` (N, 3, H, W), uint8 or float in [0, 1], and `target` of the same shape, float in
    [0, 1]. Logged: `train/loss`, and for `val` and `test` each `mse`, `border_mse` (the outermost pixels only) and
    `interior_mse`, over all pixels and channels of the whole set on any number of processes, in squared units
    of [0, 1]. The paper's Table 2 does not say its unit.

    Args:
        width: Channels of the first block, see `pcpad.models.filtering_unet`.
        padding: The padding of the network's convolutions, see `pcpad.convert_padding`.
        fallback: What `padding` does where a feature map is too small for it, such as `replicate` for `reflect`.
        weights: A local file to start from; None for random weights. Not kept in checkpoints.
        border: Width of the band along the border that is scored separately, in pixels. 6 is the reach of a 13 × 13
            filter: inside of the band the crop shows all that the target depends on.
        mean: Of each channel of images in [0, 1]; subtracted, and added to the network's output.
        std: Of each channel of images in [0, 1]; divided by, and multiplied with the network's output.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        freeze: Parts that do not learn: `encoder`, names of parts. See `Task`.
        rates: Learning rates of parts, as factors. See `Task`.
        scheduler_interval: When the schedule is stepped. See `Task`.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
    """

    padding: str
    item_metric = "mse"
    units = dict.fromkeys(("mse", "border_mse", "interior_mse"), "square of the value range")

    def __init__(
        self,
        width: int = 32,
        padding: str = "partial",
        fallback: str | None = None,
        weights: FileName | None = None,
        border: int = 6,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        freeze: str | list[str] | None = None,
        rates: dict[str, float] | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        super().__init__(
            network_name=f"filtering_unet width {width}",
            padding=padding,
            mean=mean,
            std=std,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
            not_kept=["weights"],
            freeze=freeze,
            rates=rates,
        )
        self.network = filtering_unet(width, self.padding, weights=weights, fallback=fallback)
        self.starts_from(weights)
        self.val_metric = BandError(border)
        self.test_metric = BandError(border)

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 or float in [0, 1], to filtered images, floats of the same shape."""
        filtered: Tensor = self.network(self.normalize(image)) * self.std + self.mean
        return filtered

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Mean squared error of one batch."""
        loss = F.mse_loss(self(batch["image"]).float(), batch["target"])
        return self.log_loss(loss, len(batch["image"]))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Sum the errors of one batch."""
        self.val_metric.update(self(batch["image"]), batch["target"])

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Sum the errors of one batch."""
        output = self(batch["image"])
        self.test_metric.update(output, batch["target"])
        if self.items is not None:
            found = one_by_one(self.test_metric, output, batch["target"])
            self.items.add({name: [float(one[name]) for one in found] for name in found[0]})

    def validation_names(self) -> set[str]:
        """The names of `val/*`."""
        return set(self.units)

    def on_validation_epoch_end(self) -> None:
        """Log `val/*`."""
        self._log_errors(self.val_metric, "val")

    def on_test_epoch_end(self) -> None:
        """Log `test/*`."""
        self._log_errors(self.test_metric, "test")

    def _log_errors(self, metric: BandError, stage: str) -> None:
        errors = metric.compute()
        check_finite(errors["mse"], f"{stage}/mse")
        # Already summed over the processes; reset by hand since it is not the metric that is logged.
        self.log_dict({f"{stage}/{name}": value.float() for name, value in errors.items()}, prog_bar=stage == "val")
        metric.reset()

    def sample_images(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Pictures for `SampleImages`: input, target, output, and ten times the error."""
        output, target = self(batch["image"]).float(), batch["target"]
        error = (output - target).abs() * 10
        return {
            "input": unit(batch["image"]),
            "target": target,
            "output": output.clamp(0, 1),
            "10 × |error|": error.clamp(0, 1),
        }
