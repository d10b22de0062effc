"""Results of `border_report`: numbers, a table, and a verdict."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pcpad.adaptation.profiles import Interval
from pcpad.tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

__all__ = ["BorderReport", "Decision", "LayerResult", "PaddingResult", "Psnr", "short_name"]

_LAYERS_SHOWN = 12
_LONGEST_NAME = 26
_SMALL_CHANGE = 0.01  # share of decisions; smaller changes call for no action


@dataclass(frozen=True)
class LayerResult:
    """The error of one feature map.

    Args:
        name: The module's name, with the number of the call if the module is called more than once.
        stride: Pixels of the input per pixel of the map.
        border: The relative error within the band, which is at least one pixel of the map wide.
        whole: The relative error of the whole map.
        reach: Distance from the border, in pixels of the input, within which 95 % of the squared error lies; None
            without any error.
    """

    name: str
    stride: float
    border: float
    whole: float
    reach: float | None


@dataclass(frozen=True)
class Psnr:
    """PSNR against the targets, in dB for a value range of 1.

    Args:
        border: Within the border band.
        inside: In the interior.
    """

    border: Interval
    inside: Interval


@dataclass(frozen=True)
class Decision:
    """How a classifier's decisions differ from a reference. Divergences are Kullback-Leibler, in nats.

    Args:
        agreement: The share of images with the same top-1 class as under the network's own padding.
        divergence: From the distribution under the network's own padding.
        context_agreement: The share of crops with the same top-1 class as with true context: from the network with its
            own padding, whose last feature maps were computed with the pixels around the crop.
        context_divergence: From the distribution with true context.
        shifted: The share of small shifts of the image that change the top-1 class.
        shift_divergence: From the distribution for the unshifted image.
    """

    agreement: Interval
    divergence: Interval
    context_agreement: Interval | None
    context_divergence: Interval | None
    shifted: Interval | None
    shift_divergence: Interval | None


@dataclass(frozen=True)
class PaddingResult:
    """The network's results under one padding.

    Args:
        name: The padding's name.
        own: Whether it is the network's own, unconverted.
        error: The relative error within the band: root mean square over the reference's standard deviation.
        decibel: The error as a signal-to-error ratio in dB, −20 log10(error): higher is better.
        cost: Loss in dB relative to the network's own padding, paired by image; None for the own padding.
        inside: The relative error of the interior, beyond the band.
        curve: Pairs of a distance from the border, in pixels of the input, and the relative error there.
        reach: Distance from the border, in pixels, within which 95 % of the squared error lies; None without any error.
        margin: Distance from which on the error is at most the report's tolerance; None if there is none.
        sides: The relative error by side: top, bottom, left, right.
        layers: By feature map, in the order of execution.
        seam: For two adjacent tiles without context, the root mean square error of the pixels next to their seam,
            divided by the root mean square difference of neighboring pixels in the reference. None if the output is not
            a map.
        changed: The share of pixels in the band whose largest channel changed; None for up to 4 channels.
        psnr: Against the targets, if given.
        decision: For classifiers.
        left: Describes the layers that kept their own padding; empty if all were converted.
    """

    name: str
    own: bool
    error: Interval
    decibel: Interval
    cost: Interval | None
    inside: float
    curve: tuple[tuple[float, float], ...]
    reach: float | None
    margin: float | None
    sides: dict[str, float]
    layers: tuple[LayerResult, ...] = ()
    seam: Interval | None = None
    changed: Interval | None = None
    psnr: Psnr | None = None
    decision: Decision | None = None
    left: str = ""


@dataclass(frozen=True)
class BorderReport:
    """A network's errors near borders, under its own padding and others. `str()` returns the whole report.

    Args:
        network: The network's name.
        kind: `dense` where the output is a map, `classifier` where it is a vector per image.
        images: The number of measured images.
        crop: The side of the crops, in pixels.
        context: True context on each side of the crops for the reference, in pixels.
        band: Width of the border band, in pixels.
        tolerance: Relative errors up to this count as zero.
        own: The network's own padding; `none` if nothing pads, in which case there are no results.
        results: One per padding, the network's own first.
        failed: Paddings that the network could not be run with, and the reasons.
        reach: Extent of the receptive field beyond an output's position, in pixels; None if unknown or unbounded.
        alignment: The least common multiple of the network's strides: tiles must start at its multiples.
        obstacles: Modules through which the output depends on the whole image under any padding.
        psnr_context: PSNR with true context, if targets were given.
        notes: Further remarks.
        maps: Relative root mean square errors per pixel (H, W), by padding; of the output, or of a classifier's last
            maps.
        example: One crop (C, H, W) as the network takes it, and its relative error (H, W) by padding.
    """

    network: str
    kind: Literal["dense", "classifier"]
    images: int
    crop: int
    context: int
    band: float
    tolerance: float
    own: str
    results: tuple[PaddingResult, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    reach: int | None = None
    alignment: int = 1
    obstacles: tuple[str, ...] = ()
    psnr_context: Psnr | None = None
    notes: tuple[str, ...] = ()
    maps: dict[str, Tensor] = field(default_factory=dict, repr=False)
    example: tuple[Tensor, dict[str, Tensor]] | None = field(default=None, repr=False)

    @property
    def order(self) -> list[tuple[str, str]]:
        """Pairs of paddings whose intervals are disjoint, the better one first.

        Classifiers are compared by the agreement of their decisions, other networks by their error near the border.
        """
        pairs = []
        for one, other in itertools.combinations(self.results, 2):
            if _compared(one).apart(_compared(other)):
                better, worse = sorted((one, other), key=_badness)
                pairs.append((better.name, worse.name))
        return pairs

    def __str__(self) -> str:
        tables = [text for table in (self.table(), self.layer_table()) if table.rows for text in (_plain(table), "")]
        return "\n".join([*tables, self.verdict])

    def table(self) -> Table:
        """The results, one column per padding."""
        what = "output" if self.kind == "dense" else "last feature maps"
        lines: list[tuple[str, Callable[[PaddingResult], str]]] = [
            (f"error, outermost {self.band:g} px", lambda r: _percent(r.error.value)),
            ("  95 % from", lambda r: _percent(r.error.low)),
            ("  to", lambda r: _percent(r.error.high)),
            ("  in dB", lambda r: f"{r.decibel.value:.1f}"),
            ("  dB lost by conversion", lambda r: _value(r.cost, "{:.1f}")),
            ("error in the interior", lambda r: _percent(r.inside)),
            ("95 % of it within, px", lambda r: "" if r.reach is None else f"{r.reach:g}"),
            (f"margin for {_percent(self.tolerance)}, px", lambda r: "none" if r.margin is None else f"{r.margin:g}"),
            ("error at seams, in steps", lambda r: _value(r.seam, "{:.2f}")),
            ("largest channel changed", lambda r: _value(r.changed, "{:.1%}")),
            ("PSNR border, dB", lambda r: _value(_part(r.psnr, "border"), "{:.2f}")),
            ("PSNR inside, dB", lambda r: _value(_part(r.psnr, "inside"), "{:.2f}")),
            ("top-1 as the original", lambda r: _value(_part(r.decision, "agreement"), "{:.1%}")),
            ("  95 % from", lambda r: _low(_part(r.decision, "agreement"))),
            ("KL from the original", lambda r: _value(_part(r.decision, "divergence"), "{:.3f}")),
            ("top-1 as with context", lambda r: _value(_part(r.decision, "context_agreement"), "{:.1%}")),
            ("top-1 changed by shifts", lambda r: _value(_part(r.decision, "shifted"), "{:.1%}")),
        ]
        rows = [[name, *map(text, self.results)] for name, text in lines]
        rows = [row for row in rows if any(row[1:])]
        title = f"{self.network}: errors of the {what}, relative to its spread"
        names = [f"{result.name} (own)" if result.own else result.name for result in self.results]
        return Table(title, ["", *names], rows, list(self._notes()), frame=False)

    def layer_table(self) -> Table:
        """The error in the band by layer, for 12 evenly spaced layers; `to_dict` has all."""
        layers = self.results[0].layers if self.results else ()
        last = len(layers) - 1
        count = min(len(layers), _LAYERS_SHOWN)
        places = sorted({round(index * last / max(1, count - 1)) for index in range(count)})
        rows = []
        for place in places:
            row = [short_name(layers[place].name), f"{layers[place].stride:g}"]
            rows.append([*row, *(_percent(result.layers[place].border) for result in self.results)])
        title = f"Error within {self.band:g} pixels of the border, by layer ({len(places)} of {len(layers)})"
        return Table(title, ["layer", "stride", *(result.name for result in self.results)], rows, frame=False)

    def _notes(self) -> Iterator[str]:
        if self.results:
            around = f"{self.context} pixels of true context"
            yield f"{self.images} images; crops of {self.crop}×{self.crop} pixels without and with {around}."
        for result in self.results:
            if result.left:
                yield f"{result.name}: {result.left}."
        for name, reason in self.failed.items():
            yield f"{name} could not be run: {reason}"
        yield from self.notes

    @property
    def verdict(self) -> str:
        """The conclusion, the numbers behind it, and the recommendation."""
        if not self.results:
            known = self.notes[0] if self.notes else "Borders are as accurate as the rest, nothing to measure."
            return f"No convolution of {self.network} pads. {known}"
        return " ".join(part for part in (self._of_own(), self._of_others(), self._of_margin(), self.advice) if part)

    def _of_own(self) -> str:
        own = self.results[0]
        what = "output" if self.kind == "dense" else "last feature map"
        text = f"With its own padding ({own.name}) the {what} is off by {_percent(own.error.value)} of its spread "
        text += f"({own.decibel.value:.1f} dB) in the outermost {self.band:g} pixels, {_percent(own.inside)} inside"
        if own.psnr and self.psnr_context:
            lost = self.psnr_context.border.value - own.psnr.border.value
            text += f"; against the targets that costs {lost:.2f} dB there"
        if own.decision and own.decision.context_agreement:
            text += f"; {own.decision.context_agreement.value:.1%} of crops are decided as with true context"
        if own.decision and own.decision.shifted:
            text += f", and {own.decision.shifted.value:.1%} of small shifts change the decision"
        return text + "."

    def _of_others(self) -> str:
        parts = []
        for result in self.results[1:]:
            if result.decision:
                lost = f"{1 - result.decision.agreement.value:.1%} of decisions"
                parts.append(f"{result.name} changes {lost} (KL {result.decision.divergence.value:.3f})")
            elif result.psnr and self.results[0].psnr:
                fewer = self.results[0].psnr.border.value - result.psnr.border.value
                parts.append(f"{result.name} {'costs' if fewer >= 0 else 'gains'} {abs(fewer):.1f} dB of PSNR")
            elif result.cost is not None:
                worse = result.cost.value >= 0
                parts.append(f"{result.name} {'costs' if worse else 'gains'} {abs(result.cost.value):.1f} dB")
        return f"Converting without recovery: {', '.join(parts)}." if parts else ""

    def _of_margin(self) -> str:
        own = self.results[0]
        if self.kind == "classifier":
            return ""
        if self.obstacles:
            some = ", ".join(self.obstacles[:3]) + (" …" if len(self.obstacles) > 3 else "")
            whole = f"no margin covers its receptive field ({some})"
        elif self.reach is not None:
            whole = f"a margin of {self.reach} makes tiles exact"
        else:
            whole = ""
        if own.margin is not None:
            found = f"a margin of {own.margin:g} pixels leaves less than {_percent(self.tolerance)}"
        else:
            found = f"no margin up to {self.crop // 2} pixels brings it below {_percent(self.tolerance)}"
        text = "; ".join(part for part in (found, whole) if part) + "."
        return text[:1].upper() + text[1:]

    @property
    def advice(self) -> str:
        """The recommendation: stay, with or without a margin, or convert and recover."""
        own, others = self.results[0], self.results[1:]
        best = min(others, key=_badness, default=None)
        if self.kind == "classifier":
            return self._advice_for_classifier(own, best)
        if best is not None and best.cost is not None and best.cost.high < 0:
            return f"Recommended: convert to {best.name}, which is better at once."
        if own.error.value <= self.tolerance:
            return f"Recommended: stay with {own.name}; there is nothing to gain."
        recover = f"convert to {best.name} and recover (pcpad adapt)" if best else ""
        margin = own.margin if self.reach is None else float(self.reach)
        if margin is not None and not self.obstacles:
            margin = self.alignment * math.ceil(margin / self.alignment)
            text = f"Recommended: stay with {own.name} and run tiles with a margin of {margin:g} pixels"
            return text + (f"; where images end and there is none available, {recover}." if recover else ".")
        return f"Recommended: stay with {own.name}{f', or {recover}' if recover else ''}."

    def _advice_for_classifier(self, own: PaddingResult, best: PaddingResult | None) -> str:
        kept = own.decision.context_agreement if own.decision else None
        if kept is not None and kept.low >= 1 - _SMALL_CHANGE:
            return f"Recommended: stay with {own.name}; true context changes hardly any decisions."
        if best is None or best.decision is None:
            return f"Recommended: stay with {own.name}."
        if best.decision.agreement.low >= 1 - _SMALL_CHANGE:
            return f"Recommended: convert to {best.name} if that is wanted; it changes hardly any decisions."
        lost = f"{1 - best.decision.agreement.value:.1%} of decisions"
        return (
            f"Recommended: stay with {own.name}, or convert to {best.name}, which costs least ({lost}), and recover "
            "(pcpad adapt)."
        )

    def to_dict(self) -> dict[str, Any]:
        """All numbers for JSON, without pictures; values that are not finite become None."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("maps", "example")}
        fields["results"] = [dataclasses.asdict(result) for result in self.results]
        for key in ("psnr_context",):
            fields[key] = fields[key] and dataclasses.asdict(fields[key])
        found = fields | {"verdict": self.verdict, "order": self.order}
        return {key: _for_json(value) for key, value in found.items()}


def _compared(result: PaddingResult) -> Interval:
    return result.decision.agreement if result.decision else result.error


def _badness(result: PaddingResult) -> float:
    return -result.decision.agreement.value if result.decision else result.error.value


def _for_json(value: Any) -> Any:
    if isinstance(value, Interval):
        return {key: _for_json(part) for key, part in value._asdict().items()}
    if isinstance(value, dict):
        return {key: _for_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _percent(value: float) -> str:
    if not math.isfinite(value) or value == 0:
        return "0 %" if value == 0 else "–"
    digits = max(0, 1 - math.floor(math.log10(100 * abs(value)))) if value < 1 else 0
    return f"{100 * value:.{min(digits, 4)}f} %"


def _value(interval: Interval | None, form: str) -> str:
    return "" if interval is None else form.format(interval.value).replace("%", " %")


def _part(of: Psnr | Decision | None, name: str) -> Interval | None:
    return None if of is None else getattr(of, name)


def _low(interval: Interval | None) -> str:
    return "" if interval is None else f"{100 * interval.low:.1f} %"


def short_name(name: str) -> str:
    """The end of a module's name, its most specific part.

    Args:
        name: A name of any length.

    Returns:
        At most 26 characters.
    """
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _plain(table: Table) -> str:
    """Align the columns, whatever the terminal's width."""
    lines = [list(table.columns), *(list(row) for row in table.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    texts = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]
        texts.append("  ".join(cells).rstrip())
    return "\n".join([table.title, *texts, *table.notes])
