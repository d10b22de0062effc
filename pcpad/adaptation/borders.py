"""Measure a network's errors near borders: the same pixels with and without true context, on unlabeled photographs.

A network's output for a pixel should not depend on where the image ends. So each crop is run twice: as part of a larger
crop, and by itself. Differences near the smaller crop's border are caused by the padding, whatever the network's task;
no labels are needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf

import torch
from torch import Tensor, nn

from pcpad.adaptation.border_results import BorderReport, LayerResult, PaddingResult, Psnr
from pcpad.adaptation.decisions import MOST_SHIFTED, Decisions
from pcpad.adaptation.observing import Observed, OutputKey, first_not_finite, observe, shared_copy
from pcpad.adaptation.planning import Normalize, Photographs, Plan, middle, plan_for
from pcpad.adaptation.profiles import Interval, Profile, Samples, interval_of
from pcpad.convert import convert_padding
from pcpad.errors import UserError, UserRuntimeError, UserTypeError, UserValueError
from pcpad.paddings import check_padding

__all__ = ["LEAST_IMAGES", "PADDINGS", "border_report"]

PADDINGS = ("zeros", "partial", "reflect", "replicate", "mean")
"""The paddings that a network is converted to by default; its own padding is always measured as well."""
LEAST_IMAGES = 16
"""The minimum number of images: with fewer, the intervals are unreliable."""

_ROUNDING = 1e-4  # errors up to this, relative to the output's spread, are those of float32
_ELSEWHERE = (
    "No convolution pads that could be converted, so only the network's own padding was measured: pooling, transposed "
    "convolutions or functions pad."
)
_FEW_CHANNELS = 4  # outputs of up to this many channels are colors, not classes


def border_report(
    model: nn.Module,
    images: Sequence[Tensor] | Tensor,
    *,
    paddings: Sequence[str] = PADDINGS,
    normalize: Normalize | None = None,
    targets: Sequence[Tensor] | Tensor | None = None,
    crop: int | None = None,
    context: int | None = None,
    band: int = 8,
    decision_size: int | None = None,
    output_key: OutputKey = None,
    fallback: str | None = "replicate",
    tolerance: float = 0.01,
    batch_size: int = 4,
    name: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BorderReport:
    """Measure a network's errors near borders, under its own padding and others, on unlabeled photographs.

    The reference is the output of the network with its own padding for the crop plus `context` pixels on each side,
    cropped again. If the context covers the receptive field, it equals the output for an infinite image. Errors are
    root mean squares over pixels, channels and images, relative to the reference's standard deviation (within an image
    and channel), by distance from the crop's border. For classifiers, the last feature maps and the decisions are
    compared. Intervals are 95 % bootstrap intervals over images, with the same resamples for all paddings.

    The network is not changed: copies that share its weights are converted and run in evaluation mode without
    gradients; the state of random generators is restored.

    Args:
        model: Maps images (N, C, H, W) to maps (N, C', H', W'), or to vectors (N, K).
        images: At least 16 photographs (C, H, W), as the network or `normalize` takes them.
        paddings: The paddings that copies are converted to, without training.
        normalize: Applied to images (N, C, H, W) first.
        targets: The correct outputs, (C', H, W) of an image's size, with a value range of 1: adds PSNR.
        crop: The side of the crops in pixels; if None, chosen by the images' size and the receptive field.
        context: Pixels of context on each side of the crops; if None, chosen likewise.
        band: Width of the border band, in pixels.
        decision_size: The side in pixels of the images that a classifier decides on; if None, the largest that leaves
            room for shifts by 8 pixels.
        output_key: Which tensor of the output to compare, see `pcpad.adaptation.observing.pick`.
        fallback: The padding for feature maps that are too small for `reflect` and `circular`; if None, these fail.
        tolerance: Relative errors up to this count as zero, for margins.
        batch_size: Images per forward pass.
        name: The network's name in the report; its class if None.
        progress: Called with the number of finished images and the total.

    Returns:
        The report: `print` it, see `verdict`, `table`, `to_dict`.

    Raises:
        UserValueError: Too few or too small images, an unknown padding or output.
        UserTypeError: An output that is neither map nor vector.
        UserRuntimeError: The network fails at the sizes needed, or its output is not finite.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1))
        >>> report = border_report(network, torch.rand(16, 1, 48, 48), paddings=["replicate"])
        >>> [result.name for result in report.results], report.results[0].margin, report.results[0].inside
        (['zeros', 'replicate'], 2.0, 0.0)
    """
    for padding in paddings:
        check_padding(padding)
    if band < 1 or batch_size < 1 or not tolerance > 0:
        got = f"{band}, {batch_size} and {tolerance}"
        message = f"Expected `band` and `batch_size` of at least 1 and a `tolerance` > 0, but got {got}"
        raise UserValueError(message)
    photographs = _checked(images, targets)
    own, pads = own_padding(model)
    called = name or type(model).__name__
    nothing = BorderReport(called, "dense", len(photographs), 0, 0, band, tolerance, "none")
    ready = Photographs(photographs, normalize, model)
    with _undisturbed():
        variants, left, failed = _variants(model, own, paddings if pads else (), fallback)
        try:
            plan = plan_for(variants[own], ready, crop, context, output_key)
        except UserError:
            if pads:
                raise
            return replace(nothing, notes=("Its output could not be compared with that of a larger image.",))
        measured = _Measured(plan, own, variants, list(targets) if targets is not None else None, failed=failed)
        if plan.kind == "classifier":
            measured.decisions = Decisions(own, _decision_size(decision_size, ready.least, plan))
        for start in range(0, len(ready), batch_size):
            measured.update(ready, range(start, min(len(ready), start + batch_size)), band, output_key)
            progress(min(len(ready), start + batch_size), len(ready))
        report = measured.report(called, band, tolerance, left, len(ready))
    if pads:
        return report
    # Pooling, transposed convolutions and functions may pad nevertheless, which the errors show.
    return replace(report, notes=(_ELSEWHERE, *report.notes)) if report.results[0].error.value > _ROUNDING else nothing


def own_padding(model: nn.Module) -> tuple[str, bool]:
    """The most common padding of a network's convolutions, and whether anything in the network pads.

    Args:
        model: The network, which is not changed.

    Returns:
        The padding's name, or `own` if it is unknown, and whether a convolution, or anything that is named, pads.

    Example:
        >>> own_padding(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), own_padding(nn.Conv2d(1, 1, 3))
        (('reflect', True), ('own', False))
    """
    _, report = convert_padding(shared_copy(model), "partial", drop_border_filters=True, return_report=True)
    befores = Counter(row.before for row in report.converted) or Counter(row.before for row in report.kept)
    if not befores:
        return "own", False
    most = befores.most_common(1)[0][0]
    return ("own" if most == "-" else most), True


def _checked(images: Sequence[Tensor] | Tensor, targets: Sequence[Tensor] | Tensor | None) -> list[Tensor]:
    photographs = list(images)
    for index, image in enumerate(photographs):
        if not isinstance(image, Tensor) or image.dim() != 3:
            what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            message = f"Expected argument `images` to be tensors (C, H, W), but image {index} is {what}"
            raise UserTypeError(message)
        if image.is_floating_point() and not bool(image.isfinite().all()):
            message = f"Image {index} has values that are not finite"
            raise UserValueError(message)
    if len(photographs) < LEAST_IMAGES:
        message = (
            f"Expected at least {LEAST_IMAGES} images, but got {len(photographs)}: with fewer, the intervals are "
            "unreliable. Any photographs that suit the network will do, without labels"
        )
        raise UserValueError(message)
    if targets is not None and len(targets) != len(photographs):
        message = f"Expected a target for each of {len(photographs)} images, but got {len(targets)}"
        raise UserValueError(message)
    return photographs


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore the random generators afterward."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        yield


def _variants(
    model: nn.Module, own: str, paddings: Sequence[str], fallback: str | None
) -> tuple[dict[str, nn.Module], dict[str, str], dict[str, str]]:
    """Copies by padding, the own first; the layers left unconverted; paddings that convert nothing, and the reasons."""
    variants, left, failed = {own: shared_copy(model)}, {}, {}
    for padding in dict.fromkeys(paddings):
        if padding == own:
            continue
        takes = fallback if padding in ("reflect", "circular") else None
        copied = shared_copy(model)
        options = {"fallback": takes, "drop_border_filters": True}
        _, report = convert_padding(copied, padding, return_report=True, **options)  # type: ignore[call-overload]
        if not report.converted:
            failed[padding] = report.said()
            continue
        variants[padding] = copied
        if report.kept:
            left[padding] = report.said()
    return variants, left, failed


def _decision_size(asked: int | None, least: int, plan: Plan) -> int:
    size = asked or max(plan.crop, (least - 2 * MOST_SHIFTED) // plan.alignment * plan.alignment)
    if size > least:
        message = f"Expected `decision_size` to be at most the smallest image's side {least}, but got {size}"
        raise UserValueError(message)
    return size


@dataclass
class _Measured:
    """Measurements collected over images."""

    plan: Plan
    own: str
    variants: dict[str, nn.Module]
    targets: list[Tensor] | None = None
    decisions: Decisions | None = None
    failed: dict[str, str] = field(default_factory=dict)
    example: tuple[Tensor, dict[str, Tensor]] | None = None
    _profiles: dict[tuple[str, str], Profile] = field(default_factory=dict)
    _sums: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)

    def update(self, images: Photographs, indices: Sequence[int], band: int, output_key: OutputKey) -> None:
        """Run all networks on some of the images."""
        plan = self.plan
        larger = images.cut(indices, plan.crop + 2 * plan.context)
        crops = middle(larger, plan.crop)
        keys = {*plan.layers, plan.last} - {""}
        network = self.variants[self.own]
        cut = (plan.last, plan.places[plan.last].cut) if plan.last else None
        reference = observe(network, larger, keys, output_key, cut)
        _check_finite(network, larger, reference.output, indices)
        truth = {key: plan.places[key].cut(reference.maps[key]) for key in keys}
        truth[""] = plan.places[""].cut(reference.output) if not plan.last else reference.output
        for padding in list(self.variants):
            try:
                found = observe(self.variants[padding], crops, keys, output_key)
            except UserError as error:
                self._fail(padding, str(error))
                continue
            if not bool(found.output.isfinite().all()):
                where = first_not_finite(self.variants[padding], crops)
                self._fail(padding, f"its output is not finite; the first such layer is {where or 'the output'}")
                continue
            self._compare(padding, found, truth)
            if plan.kind == "dense":
                self._seams(padding, crops, found.output, truth[""], output_key)
                self._changed(padding, found.output, truth[""], band)
                self._against_targets(padding, found.output, indices, band)
            elif self.decisions is not None:
                self.decisions.add_context(padding, truth[""], found.output)
            self._keep_example(padding, crops, found, truth)
        if plan.kind == "dense":
            self._against_targets("", truth[""], indices, band)
        elif self.decisions is not None:
            classify = {name: _classifying(network, output_key) for name, network in self.variants.items()}
            self.decisions.update(images.cut(indices, images.least), classify)

    def _fail(self, padding: str, reason: str) -> None:
        if padding == self.own:
            message = f"The network cannot be measured on crops of {self.plan.crop}² pixels: {reason}"
            raise UserRuntimeError(message)
        self.failed[padding] = reason
        del self.variants[padding]

    def _compare(self, padding: str, found: Observed, truth: Mapping[str, Tensor]) -> None:
        for key in dict.fromkeys([*self.plan.layers, self.plan.last]):
            place = self.plan.places[key]
            value = found.output if key == "" else found.maps[key]
            profile = self._profiles.setdefault((padding, key), Profile(place.size, place.stride))
            profile.update(value, truth[key])

    def _keep_example(self, padding: str, crops: Tensor, found: Observed, truth: Mapping[str, Tensor]) -> None:
        if self.example is None:
            self.example = crops[0].float().cpu(), {}
        if padding not in self.example[1]:
            key = self.plan.last
            value = found.output if key == "" else found.maps[key]
            difference = (value[0].double() - truth[key][0].double()).square().mean(0).sqrt().cpu()
            self.example[1][padding] = difference / truth[key][0].double().var((-2, -1)).mean().sqrt().cpu()

    def _gather(self, padding: str, what: str, values: Tensor) -> None:
        self._sums.setdefault((padding, what), []).append(values.double().cpu())

    def _seams(self, padding: str, crops: Tensor, output: Tensor, truth: Tensor, output_key: OutputKey) -> None:
        """The errors of two adjacent tiles in the columns next to their seam."""
        plan = self.plan
        half = plan.crop // 2 // plan.alignment * plan.alignment
        at = half / plan.places[""].stride
        if half == 0 or at.denominator != 1 or not 1 <= int(at) < output.shape[-1] - 1:
            return
        try:
            tiles = [observe(self.variants[padding], part, (), output_key).output
                     for part in (crops[..., :half], crops[..., half:])]  # fmt: skip
        except UserError:  # the tiles are too narrow for this padding
            return
        beside = torch.stack([tiles[0][..., -1], tiles[1][..., 0]], -1).double()
        whole = truth[..., int(at) - 1 : int(at) + 1].double()
        self._gather(padding, "seam", (beside - whole).square().flatten(1).mean(1))
        self._gather(padding, "step", truth.double().diff(dim=-1).square().flatten(1).mean(1))

    def _changed(self, padding: str, output: Tensor, truth: Tensor, band: int) -> None:
        if output.shape[1] > _FEW_CHANNELS:
            near = _near(output, band, float(self.plan.places[""].stride))
            changed = (output.argmax(1) != truth.argmax(1))[:, near]
            self._gather(padding, "changed", changed.double().mean(1))

    def _against_targets(self, padding: str, output: Tensor, indices: Sequence[int], band: int) -> None:
        if self.targets is None:
            return
        targets = torch.stack([middle(self.targets[index], self.plan.crop) for index in indices]).to(output)
        if targets.shape != output.shape:
            message = f"Expected targets of the output's size {tuple(output.shape)}, but got {tuple(targets.shape)}"
            raise UserValueError(message)
        squares = (output.double() - targets.double()).square().mean(1)
        near = _near(output, band, 1.0)
        self._gather(padding, "border", squares[:, near].mean(1))
        self._gather(padding, "inside", squares[:, ~near].mean(1))

    def report(self, name: str, band: int, tolerance: float, left: dict[str, str], images: int) -> BorderReport:
        """Summarize the measurements."""
        samples = Samples(images)
        last, plan = self.plan.last, self.plan
        reference = self._profiles[self.own, last].relative(samples, band)
        results = [self._result(padding, samples, band, tolerance, reference, left) for padding in self.variants]
        maps = {
            padding: (profile.map / profile.spread.sum()).sqrt()
            for padding in self.variants
            for profile in [self._profiles[padding, last]]
        }
        notes = list(plan.notes)
        if results[0].margin is None and not notes:
            notes.append(
                f"The error is above {tolerance:.0%} in the middle of the crops too: the receptive field is wider than "
                f"the crops, and more than {plan.context} pixels of context might change the reference."
            )
        notes = [plan.choice, *notes] if plan.choice else notes
        return BorderReport(
            name, plan.kind, images, plan.crop, plan.context, band, tolerance, self.own, tuple(results),
            failed=self.failed, reach=None if plan.obstacles else plan.reach, alignment=plan.alignment,
            obstacles=plan.obstacles, psnr_context=self._psnr("", samples), notes=tuple(notes), maps=maps,
            example=self.example,
        )  # fmt: skip

    def _result(
        self, padding: str, samples: Samples, band: int, tolerance: float, reference: Tensor, left: dict[str, str]
    ) -> PaddingResult:
        profile = self._profiles[padding, self.plan.last]
        error = profile.relative(samples, band)
        decibel, own = _decibel(error), _decibel(reference)
        layers = [(key, self._profiles[padding, key]) for key in self.plan.layers]
        seam, step = (self._sums.get((padding, what)) for what in ("seam", "step"))
        changed = self._sums.get((padding, "changed"))
        return PaddingResult(
            padding,
            padding == self.own,
            interval_of(error),
            interval_of(decibel),
            interval_of((own - decibel).nan_to_num(0)) if padding != self.own else None,
            float(profile.relative(samples, band, inside=True)[0]),
            tuple(zip(profile.distances, profile.curve(), strict=True)),
            profile.reach(),
            profile.margin(tolerance),
            profile.sides(band),
            tuple(
                LayerResult(key, float(p.stride), float(p.relative(samples, band)[0]), p.whole(), p.reach())
                for key, p in layers
            ),
            interval_of(samples.ratio(torch.cat(seam), torch.cat(step)).sqrt()) if seam and step else None,
            interval_of(samples.mean(torch.cat(changed))) if changed else None,
            self._psnr(padding, samples),
            self.decisions.result(padding, samples) if self.decisions is not None else None,
            left.get(padding, ""),
        )

    def _psnr(self, padding: str, samples: Samples) -> Psnr | None:
        found: list[Interval] = []
        for what in ("border", "inside"):
            values = self._sums.get((padding, what))
            if values is None:
                return None
            found.append(interval_of(-10 * samples.mean(torch.cat(values)).log10()))
        return Psnr(*found)


def _decibel(relative: Tensor) -> Tensor:
    return (-20 * relative.log10()).clamp_max(999) if bool((relative < inf).all()) else -20 * relative.log10()


def _near(output: Tensor, band: int, stride: float) -> Tensor:
    """A mask (H, W) of the pixels of a map that are within the band."""
    height, width = output.shape[-2:]
    rings = min(max(1, round(band / stride)), max(1, (min(height, width) - 1) // 2))
    near = torch.ones(height, width, dtype=torch.bool, device=output.device)
    near[rings : height - rings, rings : width - rings] = False
    return near


def _classifying(network: nn.Module, output_key: OutputKey) -> Callable[[Tensor], Tensor]:
    return lambda images: observe(network, images, (), output_key).output


def _check_finite(network: nn.Module, images: Tensor, output: Tensor, indices: Sequence[int]) -> None:
    if bool(output.isfinite().all()):
        return
    where = first_not_finite(network, images) or "the output"
    bad = [index for index, part in zip(indices, output, strict=True) if not bool(part.isfinite().all())]
    message = (
        f"The network's output is not finite on image {bad[0]}; the first such layer is {where}. Check that the "
        "weights are the right ones, and that the images are in the range that the network takes"
    )
    raise UserRuntimeError(message)
