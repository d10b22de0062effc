"""What `border_report` finds: numbers, a table, and a verdict in words."""

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
_SMALL_CHANGE = 0.01  # of decisions; less is nothing to act on


@dataclass(frozen=True)
class LayerResult:
    """The error of one feature map.

    Args:
        name: The module's, with the number of its call where it is called more than once.
        stride: Pixels of the input between two of the map's.
        border: The relative error within the band, of one of the map's pixels at least.
        whole: That of all of the map.
        reach: Within how many pixels of the input 95 % of the squared error lie; None without any error.
    """

    name: str
    stride: float
    border: float
    whole: float
    reach: float | None


@dataclass(frozen=True)
class Psnr:
    """Against what the outputs ought to be, in dB for a range of 1.

    Args:
        border: Of the band.
        inside: Of all further in.
    """

    border: Interval
    inside: Interval


@dataclass(frozen=True)
class Decision:
    """What a classifier decides. Divergences are Kullback-Leibler, in nats, from the network of comparison.

    Args:
        agreement: The share of images on which the network with its own padding has the same top-1 class.
        divergence: From its distribution to this one.
        context_agreement: The share of crops that are decided as with true context: by the network with its own
            padding, whose last feature maps were computed with the pixels around the crop.
        context_divergence: From that distribution.
        shifted: The share of small shifts of the image that change the top-1 class.
        shift_divergence: From the distribution of the image that is not shifted.
    """

    agreement: Interval
    divergence: Interval
    context_agreement: Interval | None
    context_divergence: Interval | None
    shifted: Interval | None
    shift_divergence: Interval | None


@dataclass(frozen=True)
class PaddingResult:
    """One padding of the network.

    Args:
        name: The padding's.
        own: Whether it is the network's own, unconverted.
        error: The relative error within the band: root mean square over the reference's standard deviation.
        decibel: The same as a signal-to-error ratio in dB, −20 log10: more is better.
        cost: How many dB worse than the network's own padding, paired by image; None for that.
        inside: The relative error of all further in than the band.
        curve: Distances from the border in pixels of the input, and the relative error there.
        reach: Within how many pixels 95 % of the squared error lie; None without any error.
        margin: From which distance on the error is below the report's tolerance; None if nowhere.
        sides: The relative error by side: top, bottom, left, right.
        layers: By feature map, in the order of execution.
        seam: Of two tiles side by side without context: how far the pixels beside their seam are from the whole's,
            over the step between neighboring pixels of the whole; root mean squares. None where the output is no map.
        changed: The share of pixels in the band whose largest channel is another one; None for few channels.
        psnr: Where targets were given.
        decision: Of classifiers.
        left: What kept its own padding, in words; empty where all that pads was converted.
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
    """How wrong a network is near borders, under its own padding and under others. `str()` of it is the whole report.

    Args:
        network: What it is called.
        kind: `dense` where the output is a map, `classifier` where it is a vector per image.
        images: How many were measured.
        crop: The side of the crops, in pixels.
        context: How much true context they had on each side, in pixels, where they had any.
        band: How near to the border counts as the border, in pixels.
        tolerance: The relative error that counts as none.
        own: The network's own padding; `none` where nothing pads, and then there are no results.
        results: By padding, the network's own first.
        failed: Paddings that the network could not be run with, and why.
        reach: How many pixels the output looks beyond its own place; None where it is not known or has no end.
        alignment: What the network's strides divide: tiles have to begin at its multiples.
        obstacles: Modules through which the output depends on the whole image, whatever the padding.
        psnr_context: With true context, where targets were given.
        notes: Further remarks.
        maps: Root mean square errors by place, by padding (H, W); of the output, or of a classifier's last maps.
        example: One crop (C, H, W) as the network takes it, and its error by padding (H, W).
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
        """Pairs of paddings, the better one first, whose measured intervals have nothing in common.

        Classifiers are compared by how many decisions are the original's, others by their error near the border.
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
        """A column for each padding."""
        what = "output" if self.kind == "dense" else "last feature maps"
        lines: list[tuple[str, Callable[[PaddingResult], str]]] = [
            (f"error, outermost {self.band:g} px", lambda r: _percent(r.error.value)),
            ("  95 % from", lambda r: _percent(r.error.low)),
            ("  to", lambda r: _percent(r.error.high)),
            ("  in dB", lambda r: f"{r.decibel.value:.1f}"),
            ("  dB lost by conversion", lambda r: _value(r.cost, "{:.1f}")),
            ("error further in", lambda r: _percent(r.inside)),
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
        """The error in the band by layer, for a dozen of them evenly spread; `to_dict` has all."""
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
            return f"No convolution of {self.network} pads: borders are as accurate as the rest, nothing to measure."
        return " ".join(part for part in (self._of_own(), self._of_others(), self._of_margin(), self.advice) if part)

    def _of_own(self) -> str:
        own = self.results[0]
        what = "output" if self.kind == "dense" else "last feature map"
        text = f"With its own padding ({own.name}) the {what} is off by {_percent(own.error.value)} of its spread "
        text += f"({own.decibel.value:.1f} dB) in the outermost {self.band:g} pixels, {_percent(own.inside)} further in"
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
            return f"Recommended: stay with {own.name}; true context changes next to no decision."
        if best is None or best.decision is None:
            return f"Recommended: stay with {own.name}."
        if best.decision.agreement.low >= 1 - _SMALL_CHANGE:
            return f"Recommended: convert to {best.name} if that is wanted; it changes next to no decision."
        lost = f"{1 - best.decision.agreement.value:.1%} of decisions"
        return (
            f"Recommended: stay with {own.name}, or convert to {best.name}, which costs least ({lost}), and recover "
            "(pcpad adapt)."
        )

    def to_dict(self) -> dict[str, Any]:
        """All numbers, for JSON: what is not finite is None; without pictures."""
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
    """The end of a module's name, which is what tells it from others.

    Args:
        name: Of any length.

    Returns:
        At most 26 characters.
    """
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _plain(table: Table) -> str:
    """Columns in line, without a terminal's width."""
    lines = [list(table.columns), *(list(row) for row in table.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    texts = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]
        texts.append("  ".join(cells).rstrip())
    return "\n".join([table.title, *texts, *table.notes])
