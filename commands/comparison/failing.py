"""Errors before the first training step that other cells of a grid would share, so that these are not run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pcpad.commands.comparison import worker
from pcpad.commands.comparison.cells import TRAINING_FILE, failures
from pcpad.commands.comparison.grid import SEED, Cell

__all__ = ["SharedFailures", "alike"]


class SharedFailures:
    """The errors of a grid's cells before their first training step, and the other cells that would share them.

    A missing folder or a wrong value ends every cell in its first seconds. Two cells with the same error, apart from
    their own folder and values, suffice: the error is attributed to the values that they share, seeds aside. For two
    paddings that is the whole grid; for two cells of one padding it is this padding. A cell of this call that trains
    clears its values. Errors of later steps and killed processes do not count.

    Args:
        root: The grid's folder.
        keep_going: Run all cells regardless.
    """

    def __init__(self, root: Path, *, keep_going: bool = False) -> None:
        self.root = root
        self.keep_going = keep_going
        self._early: list[tuple[Cell, str]] = []
        self._trained: list[Cell] = []
        self._causes: list[tuple[Mapping[str, str], str]] = []  # shared values, and the message
        self._spared: dict[str, list[str]] = {}  # by message, the names of its cells

    def note(self, cell: Cell, code: int) -> None:
        """Record how a cell's process ended.

        Args:
            cell: The cell.
            code: The process's exit code; the error must be in the cell's folder already.
        """
        if self._trains(cell):
            self._trained.append(cell)
            return
        failed = failures(self.root / cell.name) if code == worker.CRASHED else []
        if not failed or failed[0]["step"] != "fit":
            return
        error = failed[0]["error"]
        for other, why in self._early:
            if alike(cell, error, other, why):
                said = f"{other.name} and {cell.name} ended before their first training step with the same error: "
                self._causes.append((_in_common(cell, other), said + error))
        self._early.append((cell, error))

    def spared(self, waiting: Iterable[Cell], under_way: Iterable[Cell] = ()) -> list[Cell]:
        """The cells that would share an error and should not be run; `lines` reports them.

        Args:
            waiting: Cells that have not started.
            under_way: Running cells.
        """
        if self.keep_going or not self._causes:
            return []
        sound = [*self._trained, *filter(self._trains, under_way)]
        causes = [each for each in self._causes if not any(_has(cell, each[0]) for cell in sound)]
        found = []
        for cell in waiting:
            said = next((said for values, said in causes if _has(cell, values)), None)
            if said is not None and not self._trains(cell):
                self._spared.setdefault(said, []).append(cell.name)
                found.append(cell)
        return found

    def lines(self) -> list[str]:
        """A report of the cells that were not run, one line per error."""
        how = "fix it and repeat the command, or run them regardless with --keep-going"
        return [
            f"{len(names)} run{'s' if len(names) > 1 else ''}, since {said.rstrip('.')}; {how}"
            for said, names in self._spared.items()
        ]

    def _trains(self, cell: Cell) -> bool:
        return (self.root / cell.name / TRAINING_FILE).is_file()


def alike(one: Cell, text: str, other: Cell, text_of_other: str) -> bool:
    """Whether two cells have the same error, apart from their own folders and values.

    Args:
        one: A cell.
        text: Its error.
        other: Another cell.
        text_of_other: That cell's error.

    Example:
        >>> zeros, partial = Cell({"model.padding": "zeros"}), Cell({"model.padding": "partial"})
        >>> alike(zeros, "no folder x/padding=zeros", partial, "no folder x/padding=partial")
        True
        >>> alike(zeros, "padding 'zeros' needs 3", partial, "padding 'partial' needs 4")
        False
    """
    found = [_words(cell, said) for cell, said in ((one, text), (other, text_of_other))]
    own = {(value, other.values.get(option)) for option, value in one.values.items()}
    return len(found[0]) == len(found[1]) and all(
        first == second or (first, second) in own for first, second in zip(*found, strict=True)
    )


def _words(cell: Cell, text: str) -> Sequence[str]:
    """Split a text into words and signs; the cell's folder and values are one word each."""
    own = sorted({cell.name, *cell.values.values()}, key=len, reverse=True)
    found = re.findall("|".join([*(rf"(?<!\w){re.escape(word)}(?!\w)" for word in own if word), r"\w+", r"\W"]), text)
    return ["the cell's folder" if word == cell.name else word for word in found]


def _in_common(one: Cell, other: Cell) -> dict[str, str]:
    """The values that two cells share; a seed does not cause such errors."""
    return {option: value for option, value in one.values.items() if option != SEED and other.values[option] == value}


def _has(cell: Cell, values: Mapping[str, str]) -> bool:
    return all(cell.values.get(option) == value for option, value in values.items())
