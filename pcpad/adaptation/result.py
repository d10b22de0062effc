"""The result of a recovery: a table, a verdict, and a portable file of weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pcpad.adaptation.exponents import exponents_of
from pcpad.models.padded_weights import save_padded_weights
from pcpad.tables import Table

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pcpad.adaptation.procedure import Procedure, Values

__all__ = ["ROWS", "Recovery", "verdict"]

ROWS = ("original", "converted", "recovered", "original, same procedure")
_NOTICED = 0.05  # dB; a smaller gain is not worth a conversion
_AGREES = 0.005  # of the images
_LARGE = 10_000  # pixels: larger images are run in tiles


@dataclass(frozen=True)
class Recovery:
    """A converted network, trained without labels to match the original.

    Args:
        model: The network, in evaluation mode.
        padding: Its padding.
        dense: Whether its outputs are maps.
        rows: Scores on held-out images by row: `original`, `converted` (without training), `recovered`, and as a
            control `original, same procedure`; see `pcpad.adaptation.teaching.Scores.values`.
        rates: The chosen learning rate by row.
        images: The number of held-out images.
        margin: The teacher's true context on each side, in pixels; 0 for classifiers.
        border: Width of the border band, in pixels.
        control: The original after the same procedure.
        procedure: The training settings.
        notes: Further remarks.
        reach: The margin in pixels that makes the original's tiles exact; None if there is none, or if it was not
            looked for.
    """

    model: nn.Module
    padding: str
    dense: bool
    rows: dict[str, Values]
    rates: dict[str, float]
    images: int
    margin: int
    border: int
    control: nn.Module
    procedure: Procedure
    notes: tuple[str, ...] = ()
    reach: int | None = None

    @property
    def verdict(self) -> str:
        """A recommendation, and the numbers behind it."""
        return verdict(self)

    def table(self) -> Table:
        """The scores, one row per network."""
        if self.dense:
            columns = ["network", f"border ({self.border} px), dB", "interior, dB", "learning rate"]
            names, form = ("border", "interior"), "{:.2f}"
            what = f"against the original with {self.margin} px of true context, on {self.images} held-out images"
        else:
            columns = ["network", "agreement", "KL", "learning rate"]
            names, form = ("agreement", "kl"), "{:.4f}"
            what = f"against the original, on {self.images} held-out images"
        rows = [
            [row, *(_figure(values[name], form) for name in names), f"{self.rates[row]:g}" if row in self.rates else ""]
            for row, values in self.rows.items()
        ]
        return Table(f"{self.padding}: {what}", columns, rows, [*self.notes, self.verdict])

    def save(self, path: Path | str) -> Path:
        """Save the weights under the original's names as safetensors, with padding and exponents as metadata.

        Args:
            path: The file to write; `pcpad.models.load_weights` loads it into a network with that padding.

        Returns:
            The path.
        """
        return save_padded_weights(self.model, path, self.padding, exponents_of(self.model))

    def __str__(self) -> str:
        return self.table().markdown()


def verdict(found: Recovery) -> str:
    """Describe the scores of a recovery, and recommend what to do.

    Args:
        found: The recovery.
    """
    return (_of_maps if found.dense else _of_classes)(found)


def _of_maps(found: Recovery) -> str:
    before, after, control = (found.rows[row]["border"] for row in (ROWS[0], ROWS[2], ROWS[3]))
    inside, kept = found.rows[ROWS[2]]["interior"], found.rows[ROWS[3]]["interior"]
    if found.reach is None:
        margin = "give those of the original a margin (`pcpad borders` tells how much of the error that removes)"
    else:
        margin = f"the original and a margin of {found.reach} px have no such error"
    better = min(after - before, after - control)
    # The whole image counts too: a better border at the interior's expense is not an improvement.
    whole = found.rows[ROWS[2]]["loss"] < min(found.rows[row]["loss"] for row in (ROWS[0], ROWS[3]))
    if better >= _NOTICED and whole:
        return (
            f"{found.padding} is worth it: at the border {after - before:+.2f} dB over the original as it is and "
            f"{after - control:+.2f} over the original after the same procedure; the interior agrees with the "
            f"original's to {inside:.1f} dB.{_up_to(found)}"
        )
    if control - before >= _NOTICED and control >= after:
        return (
            f"Stay with the original's padding: the same procedure brings it {control - before:+.2f} dB at the border "
            f"(its interior then agrees with the original's to {kept:.1f} dB), and {found.padding} "
            f"{after - before:+.2f}. "
            f"Where tiles can overlap, {margin}."
        )
    return (
        f"Stay with the original's padding: {found.padding} is at {after - before:+.2f} dB at the border after "
        f"recovery, against the original as it is. Where tiles can overlap, {margin}."
    )


def _up_to(found: Recovery) -> str:
    """A sentence on the largest image size; empty if the size does not matter."""
    side = min(_largest_side(found, row) for row in (ROWS[0], ROWS[3]))
    if side > _LARGE:
        return ""
    return (
        f" That holds for images and tiles of up to about {side:.0f} px per side: in larger ones the border is too "
        "small a part to make up for the interior's loss. Where tiles can overlap, a margin avoids both."
    )


def _largest_side(found: Recovery, other: str) -> float:
    """The side in pixels of a square image on which a recovered network's mean error equals another network's.

    The border band is `border` pixels wide for any image size, so its share falls as images grow.
    """
    errors = {row: {name: 10 ** (-found.rows[row][name] / 10) for name in ("border", "interior")} for row in ROWS}
    lost = errors[ROWS[2]]["interior"] - errors[other]["interior"]
    won = errors[other]["border"] - errors[ROWS[2]]["border"]
    if lost <= 0:
        return math.inf
    share = lost / (won + lost)  # of the border, at which gain and loss are equal
    return 2 * found.border / (1 - math.sqrt(1 - share))


def _of_classes(found: Recovery) -> str:
    converted, after, control = (found.rows[row]["agreement"] for row in (ROWS[1], ROWS[2], ROWS[3]))
    lost = control - converted
    if lost <= _AGREES:
        return f"Conversion alone costs {100 * lost:.1f} % of the decisions: there is little to recover."
    part = (after - converted) / lost
    words = "most of" if part >= 0.75 else "part of" if part > 0 else "none of"
    rest = control - after
    stay = "" if rest <= 0.02 else " Where decisions must stay the same, stay with the original's padding."
    return (
        f"Conversion alone changes {100 * (1 - converted):.1f} % of the decisions, and after recovery "
        f"{100 * (1 - after):.1f} % ({words} the loss is recovered, {100 * part:.0f} %); the original after the same "
        f"procedure, {100 * (1 - control):.1f} %.{stay}"
    )


def _figure(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else {math.inf: "exact"}.get(value, "-")


def plain_rows(found: Recovery) -> dict[str, Any]:
    """The scores for JSON, with None instead of infinite values and NaN."""
    return {
        row: {name: value if math.isfinite(value) else None for name, value in values.items()}
        for row, values in found.rows.items()
    }
