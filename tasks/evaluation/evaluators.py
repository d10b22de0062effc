"""Evaluators for `--eval`: how to run and score a segmentation network at test time.

Evaluators are not properties of the trained network, so they are not stored in checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from pcpad._fractions import as_fraction
from pcpad.errors import UserValueError
from pcpad.metrics.border import BorderIoU
from pcpad.metrics.confusion import ConfusionMatrixMetric, SegmentationIoU
from pcpad.tasks.evaluation.items import of_each_image
from pcpad.tasks.evaluation.report import ReportRow
from pcpad.tasks.evaluation.segmentation_report import EvaluationReport, segmentation_row
from pcpad.tiling import Blend, Margin, Tiling, run_tiled, tiled_argmax

__all__ = ["Border", "Evaluator", "Evaluators", "Inference", "OfMetric", "Regular", "Tile"]

Average = Literal["logits", "probabilities"]
MarginOption = Literal["exact"] | int | tuple[int, int]


@dataclass(frozen=True)
class Inference:
    """A way of running the network; evaluators with equal inferences share one pass.

    Args:
        tiling: How images are tiled; None for whole images.
        average: What is averaged over overlapping tiles, flips and scales.
        flip: Whether to also run mirrored images.
        scales: Scale factors to run the image at.
        margin: Context around tiles, see `pcpad.tiling.run_tiled`.
        blend: Weights of overlapping tiles, see `pcpad.tiling.run_tiled`.
    """

    tiling: Tiling | None = None
    average: Average = "logits"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    margin: MarginOption | None = None
    blend: Blend = "mean"

    def __post_init__(self) -> None:
        if self.average not in ("logits", "probabilities"):
            message = f"Expected argument `average` to be 'logits' or 'probabilities', but got {self.average!r}"
            raise UserValueError(message)
        if not self.scales or not all(scale > 0 for scale in self.scales):
            message = f"Expected argument `scales` to be one or more positive numbers, but got {self.scales!r}"
            raise UserValueError(message)
        if self.blend not in get_args(Blend):
            message = f"Expected argument `blend` to be 'mean', 'linear' or 'hann', but got {self.blend!r}"
            raise UserValueError(message)
        if self.margin is not None:
            Margin(self.margin)  # refuses invalid values
        if self.margin == "exact" and self.tiling is not None and self.tiling.overlap != 0:
            message = "Tiles with an exact margin need no overlap, which only makes more of them: choose overlap=0"
            raise UserValueError(message)

    def run(self, network: Callable[[Tensor], Tensor], image: Tensor, margin: Margin | None = None) -> Tensor:
        """Predict the classes of images; with tiles at a single scale, memory is bounded by the tile size.

        Args:
            network: Maps images to logits.
            image: (N, C, H, W).
            margin: The network's margin for `self.margin`; computed if None.

        Returns:
            The predicted classes (N, H, W), of any integer type.
        """
        margin = Margin(self.margin, network) if margin is None and self.margin is not None else margin
        if self.scales == (1.0,):
            classes: Tensor = tiled_argmax(
                network, image, self.tiling, average=self.average, flip=self.flip, margin=margin, blend=self.blend
            )
            return classes
        merged = run_tiled(
            network,
            image,
            self.tiling,
            average=self.average,
            flip=self.flip,
            scales=self.scales,
            margin=margin,
            blend=self.blend,
        )
        classes = merged.argmax(dim=1)
        return classes

    @property
    def name(self) -> str:
        """The name, such as `regular` or `tile1024_o0.33_probabilities_flip_x0.5-1-2`."""
        words = ["regular"]
        if self.tiling is not None:
            size = self.tiling.size if isinstance(self.tiling.size, tuple) else (self.tiling.size,) * 2
            sides = str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
            words = [f"tile{sides}", f"o{round(float(as_fraction(self.tiling.overlap)), 2):g}"]
        if self.margin is not None:
            margin = self.margin if isinstance(self.margin, (str, int)) else "x".join(map(str, self.margin))
            words.append(f"margin_{margin}")
        words += [self.blend] * (self.blend != "mean")
        words += [self.average] * (self.average != "logits") + ["flip"] * self.flip
        if self.scales != (1.0,):
            words.append("x" + "-".join(f"{scale:g}" for scale in self.scales))
        return "_".join(words)


class Evaluator:
    """An entry of `--eval`: an inference, and a metric for its predictions.

    Subclasses set `inference`, and override the methods below as needed. A custom metric alone needs no subclass:
    `--eval` takes any metric of torchmetrics, see `OfMetric`.
    """

    inference: Inference

    @property
    def name(self) -> str:
        """The name of the results."""
        return self.inference.name

    def metric(self, num_classes: int, ignore_index: int) -> Metric | MetricCollection:
        """A new metric for the given number of classes."""
        return SegmentationIoU(num_classes, ignore_index)

    def update(self, metric: Any, prediction: Tensor, label: Tensor) -> None:
        """Count predicted and true classes, both (N, H, W)."""
        metric.update(prediction, label)

    def rows(self, found: Any, num_classes: int) -> list[ReportRow]:
        """The report's rows for the results of `metric`.

        Args:
            found: The value of `metric.compute()`.
            num_classes: The number of classes.
        """
        return [segmentation_row(self.name, None, found)]


class OfMetric(Evaluator):
    """Any metric of torchmetrics, or a collection of them, on whole images.

    It is updated with the predicted and the true classes, both (N, H, W) integers; unlabeled pixels are 255 (use
    `ignore_index=255` for torchmetrics' own). It may compute one number, one per class, or a dict of these, which are
    in the table, in `evaluation.csv` and in `results.json` under the name of the metric's class.

    Args:
        metric: The metric; each test starts with a reset copy.
    """

    def __init__(self, metric: Metric | MetricCollection) -> None:
        self.inference = Inference()
        self._metric = metric

    @property
    def name(self) -> str:
        """The name of the metric's class."""
        return type(self._metric).__name__

    def metric(self, num_classes: int, ignore_index: int) -> Metric | MetricCollection:
        """A reset copy of the metric."""
        metric = self._metric.clone()
        metric.reset()
        return metric

    def rows(self, found: Any, num_classes: int) -> list[ReportRow]:
        """One row with all of its numbers."""
        named = isinstance(found, Mapping)
        scores: dict[str, float] = {}
        per_class: dict[str, Sequence[float]] = {}
        for key, value in (found if named else {self.name: found}).items():
            numbers = value.reshape(-1).tolist() if isinstance(value, Tensor) else [float(value)]
            if len(numbers) == num_classes > 1:
                per_class[key] = numbers
            elif len(numbers) == 1:
                scores[key] = numbers[0]
            else:
                scores |= {f"{key}_{index}": number for index, number in enumerate(numbers)}
        return [ReportRow((self.name, None), scores, per_class, self.name if named else "")]


class Regular(Evaluator):
    """Evaluation on whole images.

    Args:
        average: What is averaged over flips and scales: `logits` or `probabilities`.
        flip: Whether to also run each image mirrored.
        scales: Scale factors to run the image at.
    """

    def __init__(self, average: Average = "logits", flip: bool = False, scales: Sequence[float] = (1.0,)) -> None:
        self.inference = Inference(None, average, flip, tuple(float(scale) for scale in scales))


class Tile(Evaluator):
    """Evaluation on tiles, each run as a separate image; see `pcpad.tiling`.

    Args:
        size: Size of the tiles in pixels.
        overlap: Overlap of neighboring tiles as a fraction in [0, 1): a number or text such as "1/3".
        average: What is averaged over overlapping tiles, flips and scales: `logits` or `probabilities`.
        flip: Whether to also run each tile mirrored.
        scales: Scale factors to run the image at.
        margin: Context around each tile: `exact` for the network's receptive field, so that tiles predict the same as
            the whole image; or a number of pixels. None: no context.
        blend: Weights of overlapping tiles: `mean`, or decreasing towards their edges: `linear`, `hann`.
    """

    def __init__(
        self,
        size: int = 1024,
        overlap: float | str = 0.0,
        average: Average = "logits",
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        margin: MarginOption | None = None,
        blend: Blend = "mean",
    ) -> None:
        sizes = tuple(float(scale) for scale in scales)
        self.inference = Inference(Tiling(size, overlap), average, flip, sizes, margin, blend)


class Border(Evaluator):
    """Evaluation near borders: scores without the center of the image, for several sizes of the center in one pass.

    The papers' Table 7 (2018) and Table 4 (2022) predict by non-overlapping tiles and leave out the image's center.

    Args:
        leave_out: Sides of the rectangle that is left out, as fractions of the image's or tile's, in [0, 1): numbers or
            text such as "1/3".
        of: Whether to predict on whole images (`regular`) or non-overlapping tiles (`tile`).
        size: Size of the tiles in pixels.
        relative_to: Whether to leave out the center of the image or of each tile; tiles must cover the image without
            overlap.
    """

    def __init__(
        self,
        leave_out: Sequence[float | str] = (0, "1/3", "1/2", "2/3", "3/4", "7/8"),
        of: Literal["regular", "tile"] = "tile",
        size: int = 1024,
        relative_to: Literal["image", "tile"] = "image",
    ) -> None:
        if of not in ("regular", "tile"):
            message = f"Expected argument `of` to be 'regular' or 'tile', but got {of!r}"
            raise UserValueError(message)
        if (of, relative_to) == ("regular", "tile"):
            message = "Borders relative to the tile need tiles: pass of='tile', or relative_to='image'"
            raise UserValueError(message)
        self.inference = Inference(Tiling(size) if of == "tile" else None)
        self.leave_out = tuple(as_fraction(value) for value in leave_out)
        self.relative_to: Literal["image", "tile"] = relative_to
        self.metric(1, 255)  # validates the arguments early

    @property
    def name(self) -> str:
        """The name, such as `border_regular` or `border_tile1024_by_tile`."""
        tiling = self.inference.tiling
        of = self.inference.name.removesuffix("_o0") if tiling else "regular"
        return f"border_{of}" + ("_by_tile" if self.relative_to == "tile" else "")

    def metric(self, num_classes: int, ignore_index: int) -> BorderIoU:
        """A new metric for the given number of classes."""
        return BorderIoU(num_classes, self.leave_out, ignore_index, self.relative_to)

    def update(self, metric: BorderIoU, prediction: Tensor, label: Tensor) -> None:
        """Count predicted and true classes, both (N, H, W)."""
        tiling = self.inference.tiling if self.relative_to == "tile" else None
        metric.update(prediction, label, tiling.windows(*label.shape[-2:]) if tiling else None)

    def rows(self, found: Any, num_classes: int) -> list[ReportRow]:
        """One row per region."""
        return [segmentation_row(self.name, fraction, scores) for fraction, scores in found.items()]


class Evaluators(nn.Module):
    """All evaluators of a test: one forward pass per image and distinct inference, shared by its metrics.

    A module, so that the metrics' states move with the task. They are not in the state dict.

    Args:
        evaluators: Evaluators, or metrics of torchmetrics; `[Regular()]` if empty.
        num_classes: The number of classes that the network predicts.
        class_names: Their names in results; numbers if None.
        ignore_index: True label of pixels that are ignored.

    Raises:
        ValueError: Two evaluators have the same name, or the number of names is wrong.

    Example:
        >>> import torch
        >>> evaluators = Evaluators([Regular(), Tile(4), Border(["1/2"], size=4)], num_classes=3)
        >>> _ = evaluators.update(lambda image: image, torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))
        >>> [name for name in evaluators.report().scalars() if name.endswith("mIoU")]
        ['regular/mIoU', 'tile4_o0/mIoU', 'border_tile4/leave_0.500/mIoU']
    """

    def __init__(
        self,
        evaluators: Sequence[Evaluator | Metric | MetricCollection],
        num_classes: int,
        class_names: Sequence[str] | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.evaluators = [
            each if isinstance(each, Evaluator) else OfMetric(each) for each in evaluators or [Regular()]
        ]
        names = [evaluator.name for evaluator in self.evaluators]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = f"Evaluators must differ, but these were given more than once: {', '.join(twice)}"
            raise UserValueError(message)
        self.class_names = [str(name) for name in class_names or range(num_classes)]
        if len(self.class_names) != num_classes:
            message = f"Expected {num_classes} class names, but got {len(self.class_names)}"
            raise UserValueError(message)
        self.num_classes = num_classes
        self.metrics = nn.ModuleList(evaluator.metric(num_classes, ignore_index) for evaluator in self.evaluators)
        self._warned: set[Inference] = set()
        self._margins: dict[Inference, Margin] = {}

    def update(
        self,
        network: Callable[[Tensor], Tensor],
        image: Tensor,
        label: Tensor,
        *,
        module: Callable[[Tensor], Tensor] | None = None,
        each: bool = False,
    ) -> dict[str, list[float]]:
        """Run the network once per distinct inference, and update the metrics.

        Args:
            network: Maps images (n, C, h, w) to logits (n, K, h, w).
            image: (N, C, H, W), the network's input.
            label: (N, H, W) long, `ignore_index` for ignored pixels.
            module: The module to compute margins from, if the network itself refuses values that are not finite.
            each: Whether to also score each image separately.

        Returns:
            With `each`, the scores by name, N values each; else empty.

        Raises:
            ValueError: Images and labels differ in size, or labels are out of range.
        """
        if image.dim() != 4 or (len(image), *image.shape[2:]) != tuple(label.shape):
            message = f"Images {tuple(image.shape)} and labels {tuple(label.shape)} differ in number or size"
            raise UserValueError(message)
        found: dict[str, list[float]] = {}
        users: dict[Inference, list[int]] = {}
        for index, evaluator in enumerate(self.evaluators):
            users.setdefault(evaluator.inference, []).append(index)
        for inference, indices in users.items():
            if inference not in self._warned and _smaller_than_tile(inference, *label.shape[-2:]):
                self._warned.add(inference)
            prediction = inference.run(network, image, self.margin(inference, module or network))
            for index in indices:
                evaluator, metric = self.evaluators[index], self.metrics[index]
                if not isinstance(metric, ConfusionMatrixMetric):  # others may multiply by labels, or index with them
                    prediction = prediction.long()
                evaluator.update(metric, prediction, label)
                if each:
                    found |= of_each_image(evaluator, metric, (prediction, label), self.class_names)
        return found

    def report(self) -> EvaluationReport:
        """The current scores over all processes; every process has to call it."""
        rows = [
            row
            for evaluator, metric in zip(self.evaluators, self.metrics, strict=True)
            for row in evaluator.rows(metric.compute(), self.num_classes)  # type: ignore[operator]
        ]
        return EvaluationReport(rows, self.class_names)

    def margin(self, inference: Inference, network: Callable[[Tensor], Tensor]) -> Margin | None:
        """The margin of a network for an inference, cached until `reset`; the network must not change until then."""
        if inference.margin is None:
            return None
        return self._margins.setdefault(inference, Margin(inference.margin, network))

    def reset(self) -> None:
        """Reset all metrics, and forget the network's margins."""
        self._margins.clear()
        for metric in self.metrics:
            metric.reset()  # type: ignore[operator]


def _smaller_than_tile(inference: Inference, height: int, width: int) -> bool:
    """Whether images are smaller than the tiles; if so, warn that the results are not for tiles of that size."""
    if inference.tiling is None:
        return False
    tall, wide = inference.tiling.sides
    if height >= tall and width >= wide:
        return False
    rank_zero_warn(
        f"{inference.name}: images of {height} x {width} pixels (height x width) are smaller than the tiles of "
        f"{tall} x {wide}, so tiles of {min(height, tall)} x {min(width, wide)} are used, without resizing and "
        "without any padding but the network's own. To split such images into tiles, choose a smaller size"
    )
    return True
