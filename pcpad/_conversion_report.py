"""The result of a conversion of paddings, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "CROPS",
    "HANDED",
    "IN_PLACE",
    "NO_PADDING",
    "OUTSIDE",
    "OWN_KIND",
    "POOLS",
    "REPLACED",
    "UNSEEN",
    "UNUSED",
    "ConversionReport",
    "LayerRow",
    "some",
]

IN_PLACE = "in place of zeros that are padded before it"
OUTSIDE = "pads outside of a convolution"
UNSEEN = "it calls `pad`, and where its zeros go is not seen"
HANDED = "what it pads goes to layers that are no convolutions"
OWN_KIND = "a convolution of its own kind, not exactly torch.nn's"
# Reasons for which it does not matter that a module is left.
NO_PADDING = "no padding"
CROPS = "a transposed convolution's padding crops its output"
POOLS = "average pooling"
REPLACED = "its zeros are replaced by the convolution that they reach"
UNUSED = "nothing calls it"


class LayerRow(NamedTuple):
    """One module of a report.

    Args:
        name: Where it is.
        kind: Its class now.
        before: Its padding before.
        after: Its padding now.
        why: The reason, where one is needed.
        weights: How many weights it convolves with.
        multiply_adds: Multiplications by a weight that the example costs in it; None without an example.
    """

    name: str
    kind: str
    before: str
    after: str
    why: str
    weights: int = 0
    multiply_adds: int | None = None


@dataclass(frozen=True)
class ConversionReport:
    """The result of a conversion: rows for the converted modules and for those left, each with the reason.

    Printed, it is a table.

    Args:
        converted: Modules that have the requested padding.
        left: Modules left as they are.
        padding: The requested padding.
        weights: How many weights of convolutions and linear layers the network has.
        multiply_adds: What the example costs in these; None without an example.
    """

    converted: tuple[LayerRow, ...]
    left: tuple[LayerRow, ...]
    padding: str = ""
    weights: int = 0
    multiply_adds: int | None = None

    @property
    def kept(self) -> tuple[LayerRow, ...]:
        """Modules of `left` that keep a padding other than the requested one, as far as is known."""
        harmless = (NO_PADDING, CROPS, REPLACED, UNUSED)
        other = [row for row in self.left if row.why not in harmless and not row.why.startswith(POOLS)]
        # A module that pads by itself in an unknown way most likely pads with zeros.
        alike = {self.padding, "-"} if self.padding == "zeros" else {self.padding}
        return tuple(row for row in other if row.before not in alike)

    def share(self, rows: tuple[LayerRow, ...]) -> float:
        """The rows' share of the network's multiply-adds; of its weights, if there was no example.

        Args:
            rows: Rows of this report.

        Returns:
            Between 0 and 1.
        """
        if self.multiply_adds:
            return sum(row.multiply_adds or 0 for row in rows) / self.multiply_adds
        return sum(row.weights for row in rows) / max(self.weights, 1)

    def said(self) -> str:
        """What the user has to know, in one sentence; empty where everything that pads was converted."""
        if not self.kept:
            nothing = not self.converted and self.padding != "zeros"
            return f"Nothing was converted to {self.padding!r}: no convolution pads" if nothing else ""
        names: dict[str, list[str]] = {}
        for row in self.kept:
            names.setdefault(f"{row.kind} ({row.why})", []).append(row.name)
        parts = [f"{len(group)} of {what}: {some(group, 2)}" for what, group in names.items()]
        done = f"{len(self.converted)} modules were" if self.converted else "Nothing was"
        left = "1 keeps its" if len(self.kept) == 1 else f"{len(self.kept)} keep their"
        return f"{done} converted to {self.padding!r}; {left} own padding: {'; '.join(parts)}"

    def __str__(self) -> str:
        measure = "multiply-adds" if self.multiply_adds else "weights"
        kept = set(self.kept)
        lines = [f"{len(self.converted)} modules converted, {len(self.left)} left as they are"]
        if kept:
            lines.append(
                f"{len(kept)} of these keep their own padding, with {self.share(tuple(kept)):.1%} of the {measure}"
                + ("" if self.multiply_adds else " (of the multiply-adds, if `convert_padding` gets an `example`)")
            )
        cells = [("", "module", "class", "padding", measure, "why")]
        for row in (*self.converted, *self.left):
            change = f"{row.before} -> {row.after}" if row.before != row.after else row.before
            share = f"{self.share((row,)):.1%}" if row.weights or row.multiply_adds else ""
            cells.append(("!" if row in kept else "", row.name, row.kind, change, share, row.why))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for cell in cells if len(cells) > 1 else ():
            texts = [text.ljust(width) for text, width in zip(cell, widths, strict=True)]
            texts[4] = cell[4].rjust(widths[4])
            lines.append("  ".join(texts[0 if kept else 1 :]).rstrip())
        return "\n".join(lines)


def some(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
