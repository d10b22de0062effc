"""Semantic segmentation: a class for every pixel, scored by mean intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.losses import pixel_cross_entropy, relaxed_cross_entropy
from pcpad.metrics import SegmentationIoU
from pcpad.models import deeplabv3plus
from pcpad.tasks.callbacks.label_maps import LabelMaps, palette
from pcpad.tasks.crosstesting import convert_checkpoint
from pcpad.tasks.evaluation.evaluators import Evaluator, Evaluators, Inference
from pcpad.tasks.evaluation.segmentation_report import EvaluationReport
from pcpad.tasks.finite import FiniteLoss, check_finite
from pcpad.tasks.hyperparameters import plain, save_plain_hyperparameters
from pcpad.tasks.inputs import check_class_count, normalise
from pcpad.tasks.optimization import optimizer_and_scheduler
from pcpad.tasks.pictures.segmentation import segmentation_pictures
from pcpad.tiling import Tiling, tiled_argmax

IGNORE = 255


class SegmentationTask(LightningModule):
    """Train and test a segmentation network under a padding of choice.

    A batch is a dict: `image` (N, 3, H, W), uint8 or float in [0, 1]; `label` (N, H, W) long, the class of each
    pixel, 255 = ignore. Logged: `train/loss`, and for `val` and `test` each `mIoU`, `accuracy` (of pixels) and
    `class_accuracy`; fractions in [0, 1] over one confusion matrix of the whole set, on any number of processes. In
    prediction `image` of one picture of any size and `path`, a list of its file name.

    Args:
        architecture: `deeplabv3plus`, the papers', or an architecture of segmentation-models-pytorch: `Unet`, `FPN`, ….
        encoder: See `pcpad.models.deeplabv3plus`, or smp's name for smp's architectures.
        num_classes: How many classes a pixel can have; must be the data's.
        padding: The padding of every convolution, see `pcpad.convert_padding`.
        fallback: What `reflect` does where a feature map is too small for it: `replicate`.
        encoder_weights: Where the encoder starts from: None, `imagenet` or a local file. Not kept in checkpoints.
        class_weights: One weight a class for the training loss; None: all alike.
        label_relaxation: Where classes meet, any class within so many pixels counts as right in training; 0: none.
        mean: Of each channel of images in [0, 1]; subtracted.
        std: Of each channel of images in [0, 1]; divided by.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        checkpointing: Compute the encoder's activations again in the backward pass instead of keeping them.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
    """

    mean: Tensor
    std: Tensor
    class_weights: Tensor | None
    # Of how a picture is cut for `predict`; no property of the network.
    predict_tiling = Tiling(1024, "1/3")

    def __init__(
        self,
        architecture: str = "deeplabv3plus",
        encoder: str = "wide_resnet38",
        num_classes: int = 19,
        padding: str = "partial",
        fallback: str | None = None,
        encoder_weights: str | None = None,
        class_weights: Sequence[float] | None = None,
        label_relaxation: int = 0,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        architecture, encoder, padding, fallback = plain(architecture), plain(encoder), plain(padding), plain(fallback)
        num_classes, class_weights, mean, std = plain(num_classes), plain(class_weights), plain(mean), plain(std)
        if class_weights is not None and (len(class_weights) != num_classes or min(class_weights) < 0):
            message = f"Expected argument `class_weights` to be {num_classes} numbers >= 0, but got {class_weights}"
            raise UserValueError(message)
        if label_relaxation < 0:
            message = f"Expected argument `label_relaxation` to be an integer >= 0, but got {label_relaxation}"
            raise UserValueError(message)
        save_plain_hyperparameters(self, leave_out=["encoder_weights"])
        self.network_name = f"{architecture} {encoder}"
        self.num_classes = num_classes
        self.padding = padding
        self.label_relaxation = label_relaxation
        self.optimizer = optimizer
        self.scheduler = scheduler
        # What the weights were trained with: known for a run's own training and for checkpoints, not for other files.
        self.trained_with: str | None = None

        shape: dict[str, Any] = {"num_classes": num_classes, "padding": padding, "fallback": fallback}
        self.network = _build(architecture, encoder, encoder_weights, checkpointing, shape)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.val_metric = SegmentationIoU(num_classes, IGNORE)
        self.test_metric = SegmentationIoU(num_classes, IGNORE)
        self.evaluators: Evaluators | None = None
        self.report: EvaluationReport | None = None
        self._evaluation: list[Evaluator] = []
        self._finite = FiniteLoss()

    def configure_optimizers(self) -> Any:
        """One optimizer over all parameters, and its schedule."""
        return optimizer_and_scheduler(self.parameters(), self.optimizer, self.scheduler)

    def setup(self, stage: str) -> None:
        """Compare the data's classes with the network's before hours are spent on them."""
        check_class_count(self, stage, self.num_classes)
        self.evaluators, self.report = None, None
        if stage == "test" and self._evaluation:
            names = getattr(self.trainer.datamodule, "class_names", None)  # type: ignore[attr-defined]
            self.evaluators = Evaluators(self._evaluation, self.num_classes, names, IGNORE)

    def use_evaluators(self, evaluators: Sequence[Evaluator]) -> None:
        """Have the next tests score these: by tiles, at borders; each one's results under its own name.

        Args:
            evaluators: See `pcpad.tasks.evaluation.evaluators`; none of them for one plain pass, scored as `test/mIoU`.

        Raises:
            ValueError: Two of them have the same name.
        """
        Evaluators(evaluators, self.num_classes)  # a mistake is heard of before the data is read
        self._evaluation = list(evaluators)

    def on_train_start(self) -> None:
        """What is trained here is trained with this padding, whatever was loaded before."""
        self.trained_with = self.padding

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 or float in [0, 1], to logits (N, num_classes, H, W)."""
        return self.network(normalise(image, self.mean, self.std))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross entropy of one batch over the pixels that have a label."""
        logits, label = self(batch["image"]).float(), batch["label"]
        if self.label_relaxation:
            loss = relaxed_cross_entropy(logits, label, self.label_relaxation, self.class_weights, IGNORE)
        else:
            loss = pixel_cross_entropy(logits, label, self.class_weights, IGNORE)
        self._finite.update(loss, f"epoch {self.current_epoch}, step {self.global_step}")
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["label"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count the pixels of one batch."""
        self.val_metric.update(self._finite_logits(batch["image"]), batch["label"])

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count the pixels of one batch."""
        if self.evaluators is not None:
            self.evaluators.update(self._finite_logits, batch["image"], batch["label"])
            return
        self.test_metric.update(self._finite_logits(batch["image"]), batch["label"])

    def _finite_logits(self, image: Tensor) -> Tensor:
        logits = self(image)
        check_finite(logits.float().mean(), "The mean of the logits")  # the largest of NaNs would be some class too
        return logits

    def sample_images(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Pictures for `SampleImages`: input, truth, prediction and errors, each (N, 3, H, W).

        Under `--eval` the prediction is the first evaluator's: by tiles, where images are too large to be run whole.
        """
        inference = self._evaluation[0].inference if self.evaluators is not None else Inference()
        data = self._trainer.datamodule if self._trainer is not None else None  # type: ignore[attr-defined]
        colours = palette(self.num_classes, getattr(data, "class_colours", None))
        prediction = inference.run(self, batch["image"])
        return segmentation_pictures(batch["image"], batch["label"], prediction, colours, IGNORE)

    def on_validation_epoch_start(self) -> None:
        """On a GPU, look at the training losses gathered so far, before a checkpoint of them is written."""
        self._finite.check(f"epoch {self.current_epoch}")

    def on_validation_epoch_end(self) -> None:
        """Log `val/*`."""
        self._log_scores(self.val_metric, "val")

    def on_test_epoch_end(self) -> None:
        """Log `test/*`, the classes' own IoU too."""
        if self.evaluators is not None:
            self.report = self.evaluators.report()  # also what `EvaluationFiles` writes
            self.log_dict(self.report.scalars("test/"))
            self.evaluators.reset()
            return
        iou = self._log_scores(self.test_metric, "test")
        names = getattr(self.trainer.datamodule, "class_names", range(self.num_classes))  # type: ignore[attr-defined]
        self.log_dict({f"test/IoU/{name}": value.float() for name, value in zip(names, iou, strict=True)})

    def _log_scores(self, metric: SegmentationIoU, stage: str) -> Tensor:
        scores = metric.compute()
        iou = scores.pop("IoU")
        # Already summed over the processes, and reset by hand since it is not the metric that is logged.
        self.log_dict({f"{stage}/{name}": value.float() for name, value in scores.items()}, prog_bar=stage == "val")
        metric.reset()
        return iou

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The likeliest class of each pixel: `path` list and `label` (N, H, W) uint8, by tiles in bounded memory."""
        label = tiled_argmax(self, batch["image"], self.predict_tiling).to(torch.uint8)
        return {"path": list(batch["path"]), "label": label}

    def prediction_writer(self, output: str | None = None) -> Callback:
        """The callback with which the `predict` command writes what this task predicts."""
        return LabelMaps(output)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint says what its weights were trained with."""
        checkpoint["trained_with"] = self.trained_with

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember what the weights were trained with; translate them to and from explicit padding."""
        self.trained_with = checkpoint.get("trained_with")
        convert_checkpoint(self, checkpoint)


def _build(
    architecture: str, encoder: str, encoder_weights: str | None, checkpointing: bool, shape: dict[str, Any]
) -> nn.Module:
    if architecture == "deeplabv3plus":
        return deeplabv3plus(encoder, encoder_weights=encoder_weights, checkpointing=checkpointing, **shape)
    if checkpointing:
        message = f"`checkpointing` is for architecture='deeplabv3plus', not for smp's {architecture!r}"
        raise UserValueError(message)
    from pcpad.models import smp_network

    return smp_network(architecture, encoder, encoder_weights=encoder_weights, **shape)
