"""Semantic segmentation: a class for every pixel, scored by mean intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.files import FileName
from pcpad.losses.segmentation import pixel_cross_entropy, relaxed_cross_entropy
from pcpad.metrics.confusion import SegmentationIoU
from pcpad.models.heads import Head
from pcpad.models.input_channels import adapt_input_channels, channel_statistics
from pcpad.tasks.base import Task, check_finite, plain
from pcpad.tasks.callbacks.label_maps import LabelMaps
from pcpad.tasks.evaluation.evaluators import Evaluator, Evaluators, Inference, MarginOption, Regular
from pcpad.tasks.evaluation.items import of_each_image
from pcpad.tasks.optimization import Interval
from pcpad.tasks.pictures.palette import palette
from pcpad.tasks.pictures.segmentation import segmentation_pictures, shown_as_rgb
from pcpad.tiling import Margin, Tiling, tiled_argmax

IGNORE = 255


class SegmentationTask(Task):
    """Train and test a segmentation network under a padding of choice.

    A batch is a dict: `image` (N, C, H, W), uint8 or float in [0, 1]; `label` (N, H, W) long, the class of each
    pixel, 255 = ignore. Logged: `train/loss`, and for `val` and `test` each `mIoU`, `accuracy` (of pixels) and
    `class_accuracy`; fractions in [0, 1] over one confusion matrix of the whole set, on any number of processes. In
    prediction `image` of one picture of any size and `path`, a list of its file name.

    Args:
        architecture: `deeplabv3plus`, the papers'; an architecture of segmentation-models-pytorch: `Unet`, `FPN`, …;
            `torchvision/deeplabv3` or `torchvision/fcn`.
        encoder: See `pcpad.models.deeplabv3plus`, or smp's or torchvision's name for their architectures.
        num_classes: Number of classes; must match the data's. None: the data's number, on the command
            line; else Cityscapes' 19.
        padding: The padding of the network's convolutions, see `pcpad.convert_padding`.
        fallback: What `padding` does where a feature map is too small for it, such as `replicate` for `reflect`.
        encoder_weights: Where the encoder starts from: None, `imagenet`, a local file, or the name of published weights
            in a local cache. Not kept in checkpoints.
        class_weights: One weight per class for the training loss; None: equal weights.
        label_relaxation: Near class boundaries, any class within this many pixels counts as right in training; 0: none.
        mean: Of each channel of images in [0, 1], or one number for all; subtracted. Where `in_channels` is not 3, the
            default's average is used for each.
        std: Likewise; divided by.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        checkpointing: Recompute the encoder's activations in the backward pass instead of keeping them.
        in_channels: Of the images; if not 3, the first convolution's filters are summed or widened, see
            `pcpad.models.input_channels`. None: as many as the data's have, on the command line; else 3.
        weights: Where the whole network starts from, in place of `encoder_weights`: a local file, for torchvision's
            networks also a name in torchvision's cache. Not kept in checkpoints.
        head: `new` starts with a new last layer, where `weights` are of other classes. Not kept in checkpoints.
        freeze: Parts that do not learn: `encoder`, `norms`, names of parts. See `Task`.
        rates: Learning rates of parts, as factors. See `Task`.
        scheduler_interval: When the schedule is stepped. See `Task`.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
    """

    class_weights: Tensor | None
    # How a picture is cut for `predict`; no property of the network.
    predict_tiling = Tiling(1024, "1/3")
    predict_margin: MarginOption | None = None

    padding: str
    item_metric = "mIoU"

    def __init__(
        self,
        architecture: str = "deeplabv3plus",
        encoder: str = "wide_resnet38",
        num_classes: int | None = None,
        padding: str = "partial",
        fallback: str | None = None,
        encoder_weights: FileName | None = None,
        class_weights: Sequence[float] | None = None,
        label_relaxation: int = 0,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        checkpointing: bool = False,
        in_channels: int | None = None,
        weights: FileName | None = None,
        head: Head | None = None,
        freeze: str | list[str] | None = None,
        rates: dict[str, float] | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        num_classes = 19 if num_classes is None else num_classes
        architecture, encoder, num_classes = plain(architecture), plain(encoder), plain(num_classes)
        in_channels = 3 if in_channels is None else plain(in_channels)
        mean, std = channel_statistics(mean, std, in_channels)
        super().__init__(
            network_name=f"{architecture} {encoder}",
            padding=padding,
            num_classes=num_classes,
            mean=mean,
            std=std,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
            not_kept=["encoder_weights", "weights", "head"],
            freeze=freeze,
            rates=rates,
        )
        self.keep_resolved(num_classes=num_classes, in_channels=in_channels, mean=mean, std=std)
        if class_weights is not None and (len(class_weights) != num_classes or min(class_weights) < 0):
            message = f"Expected argument `class_weights` to be {num_classes} numbers >= 0, but got {class_weights}"
            raise UserValueError(message)
        if label_relaxation < 0:
            message = f"Expected argument `label_relaxation` to be an integer >= 0, but got {label_relaxation}"
            raise UserValueError(message)
        self.label_relaxation = label_relaxation

        shape: dict[str, Any] = {"num_classes": num_classes, "padding": self.padding, "fallback": fallback}
        start = {"encoder_weights": encoder_weights, "weights": weights, "head": head}
        self.network = _build(architecture, encoder, checkpointing, start | shape)
        inside: Any = getattr(self.network, "stages", ("encoder", "backbone"))
        self._encoder = [name for name, _ in self.network.named_children() if name in inside]
        self.in_channels = adapt_input_channels(self.network, in_channels, trained=bool(encoder_weights or weights))
        self.starts_from(weights, head)
        if encoder_weights:
            self.random_parts = [name for name, _ in self.network.named_children() if name not in inside]
        factors = None if class_weights is None else torch.tensor(plain(class_weights))
        self.register_buffer("class_weights", factors, persistent=False)
        self.val_metric = SegmentationIoU(num_classes, IGNORE)
        self.test_metric = SegmentationIoU(num_classes, IGNORE)
        self.evaluators: Evaluators | None = None
        self._evaluation: list[Evaluator] = []
        self._margin: Margin | None = None

    def setup(self, stage: str) -> None:
        """Compare the data's classes with the network's, and make the requested metrics."""
        super().setup(stage)
        self.evaluators = None
        if stage == "test" and self._evaluation:
            self.evaluators = Evaluators(self._evaluation, self._classes, self.data_offer("class_names"), IGNORE)

    def encoder_parts(self) -> list[str]:
        """The encoder's parts."""
        return self._encoder

    @property
    def _classes(self) -> int:
        assert self.num_classes is not None
        return self.num_classes

    def use_evaluators(self, evaluators: Sequence[Any]) -> None:
        """Score the next tests with these: by tiles, at borders; each one's results under its own name.

        Args:
            evaluators: See `pcpad.tasks.evaluation.evaluators`, and metrics of torchmetrics, see `OfMetric` there; none
                for one plain pass, scored as `test/mIoU`.

        Raises:
            ValueError: Two of them have the same name.
        """
        # Made now, so that a mistake is reported before the data is read.
        self._evaluation = Evaluators(evaluators, self._classes).evaluators if evaluators else []

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, C, H, W), uint8 or float in [0, 1], to logits (N, num_classes, H, W)."""
        logits: Tensor = self.network(self.normalize(image))
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross entropy of one batch over the pixels that have a label."""
        logits, label = self(batch["image"]).float(), batch["label"]
        if self.label_relaxation:
            loss = relaxed_cross_entropy(logits, label, self.label_relaxation, self.class_weights, IGNORE)
        else:
            loss = pixel_cross_entropy(logits, label, self.class_weights, IGNORE)
        return self.log_loss(loss, len(label))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count the pixels of one batch."""
        self.val_metric.update(self._finite_logits(batch["image"]), batch["label"])

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count the pixels of one batch."""
        if self.evaluators is not None:
            scores = self.evaluators.update(
                self._finite_logits, batch["image"], batch["label"], module=self, each=self.items is not None
            )
            if self.items is not None:
                self.items.add(scores)
            return
        logits = self._finite_logits(batch["image"])
        self.test_metric.update(logits, batch["label"])
        if self.items is not None:
            names = [str(name) for name in self.data_offer("class_names") or range(self._classes)]
            counted = (logits.argmax(dim=1), batch["label"])
            self.items.add(of_each_image(Regular(), self.test_metric, counted, names, prefixed=False))

    def _finite_logits(self, image: Tensor) -> Tensor:
        logits: Tensor = self(image)
        check_finite(logits.float().mean(), "The mean of the logits")  # argmax would return some class for NaNs too
        return logits

    def sample_images(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Pictures for `SampleImages`: input, truth, prediction and errors, each (N, 3, H, W).

        Under `--eval` the prediction is the first evaluator's: in tiles, where images are too large to be run whole.
        """
        inference = self._evaluation[0].inference if self.evaluators is not None else Inference()
        margin = self.evaluators.margin(inference, self) if self.evaluators is not None else None
        colors = palette(self._classes, self.data_offer("class_colors"))
        prediction = inference.run(self, batch["image"], margin)
        return segmentation_pictures(shown_as_rgb(batch["image"]), batch["label"], prediction, colors, IGNORE)

    def validation_names(self) -> set[str]:
        """The names of `val/*`."""
        return {"mIoU", "accuracy", "class_accuracy"}

    def on_validation_epoch_end(self) -> None:
        """Log `val/*`."""
        self._log_scores(self.val_metric, "val")

    def on_test_epoch_end(self) -> None:
        """Log `test/*`, the IoU of each class included."""
        if self.evaluators is not None:
            self.report = self.evaluators.report()  # also what `EvaluationFiles` writes
            self.log_dict(self.report.scalars("test/"))
            self.evaluators.reset()
            return
        iou = self._log_scores(self.test_metric, "test")
        names = self.data_offer("class_names") or range(self._classes)
        self.log_dict({f"test/IoU/{name}": value.float() for name, value in zip(names, iou, strict=True)})

    def _log_scores(self, metric: SegmentationIoU, stage: str) -> Tensor:
        scores = metric.compute()
        iou = scores.pop("IoU")
        # Already summed over the processes; reset by hand since it is not the metric that is logged.
        self.log_dict({f"{stage}/{name}": value.float() for name, value in scores.items()}, prog_bar=stage == "val")
        metric.reset()
        return iou

    def use_tiling(
        self, size: int | None = None, overlap: float | str | None = None, margin: MarginOption | None = None
    ) -> None:
        """Cut pictures like this in the next predictions.

        Args:
            size: A tile's size, in pixels; 1024 if None.
            overlap: Of neighboring tiles, a fraction of them; 1/3 if None, and 0 with a margin.
            margin: The context around tiles: `exact`, as far as the network looks, so that the prediction is that of
                the whole picture; or this many pixels.

        Raises:
            ValueError: An argument is out of range.
        """
        usual = SegmentationTask.predict_tiling
        given = overlap if overlap is not None else usual.overlap if margin is None else 0
        inference = Inference(Tiling(size or usual.size, given), margin=margin)  # checks that these go together
        assert inference.tiling is not None
        self.predict_tiling, self.predict_margin = inference.tiling, margin

    def on_predict_start(self) -> None:
        """Analyze the network again, whatever was found before."""
        self._margin = None

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The most likely class of each pixel: `path` list and `label` (N, H, W) uint8, by tiles in bounded memory."""
        if self._margin is None and self.predict_margin is not None:
            self._margin = Margin(self.predict_margin, self)
        label = tiled_argmax(self, batch["image"], self.predict_tiling, margin=self._margin).to(torch.uint8)
        return {"path": list(batch["path"]), "label": label}

    def prediction_writer(self, output: str | None = None) -> Callback:
        """The callback by which `pcpad predict` writes predictions."""
        return LabelMaps(output)


def _build(architecture: str, encoder: str, checkpointing: bool, options: dict[str, Any]) -> nn.Module:
    # Each is imported where it is built: smp alone takes seconds.
    if architecture == "deeplabv3plus":
        from pcpad.models.deeplab import deeplabv3plus

        return deeplabv3plus(encoder, checkpointing=checkpointing, **options)
    if checkpointing:
        message = f"`checkpointing` is for architecture='deeplabv3plus', not for {architecture!r}"
        raise UserValueError(message)
    if architecture.startswith("torchvision/"):
        from pcpad.models.torchvision_segmentation import torchvision_segmentation

        return torchvision_segmentation(architecture.removeprefix("torchvision/"), encoder, **options)
    from pcpad.models.smp import smp_network

    return smp_network(architecture, encoder, **options)
