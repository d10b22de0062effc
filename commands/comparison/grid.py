"""The runs of a comparison; `pcpad.commands.comparison.grid_file` keeps them in its folder."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pcpad._renamed import moved
from pcpad.errors import UserValueError

GRID_FILE = "grid.json"
CRASH_FILE = "crashed.json"
LOCK_FILE = ".lock"  # of the folder, and of each cell
PADDING = "model.padding"
SEED = "seed_everything"
# What reading a JSON file raises that is cut off, of another encoding, or nested without end.
UNREADABLE = (ValueError, OSError, RecursionError)
_SHORT = {PADDING: "padding", SEED: "seed"}


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Args:
        values: Option (`model.padding`, `seed_everything`, `data.split`, …) to value, as typed, in the grid's order.
        under: The folder that it lies in within the grid's: `tune` for a run that others' options are chosen by.
    """

    values: Mapping[str, str]
    under: str = ""

    @property
    def name(self) -> str:
        """Its folder in the grid's: `padding=partial/data.split=cv0/seed=0`."""
        words = [f"{short_name(option)}={path_word(value)}" for option, value in self.values.items()]
        return "/".join([self.under, *words] if self.under else words)

    @property
    def seed(self) -> str:
        """The seed, as typed."""
        return self.values[SEED]

    def arguments(self) -> list[str]:
        """What is typed for this cell."""
        return [f"--{option}={value}" for option, value in self.values.items()]


@dataclass(frozen=True)
class Tuning:
    """What is chosen on validation first: option to the values to choose from, and the seed of the runs that choose."""

    options: Mapping[str, tuple[str, ...]]
    seed: str


@dataclass(frozen=True)
class Grid:
    """A folder of comparable runs.

    Args:
        config: The `--config` values.
        arguments: Further options of `pcpad fit`, those of all cells.
        axes: The options that vary, seed last; the first is what is compared.
        cells: All that were ever asked for.
        resolved: The full configuration of `pcpad fit`, without what varies.
        metrics: Asked for; empty for the recipe's monitored one and its test counterpart.
        checkpoint: What is tested, `best` or `last`.
        test_arguments: Further options of `pcpad test`.
        cross: Whether every cell is tested under every padding of the grid.
        per_image: Whether tests keep the scores of each image or video.
        baseline: The compared value that differences are to, where it was asked for.
        reach: Levels of the monitored metric to count epochs to.
        templates: Options that follow from what varies, see `pcpad.commands.comparison.templates`.
        after: The folder of an earlier comparison, whose checkpoints templates name.
        tuning: What is chosen on validation first.
    """

    config: tuple[str, ...]
    arguments: tuple[str, ...]
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]
    resolved: Mapping[str, Any]
    metrics: tuple[str, ...] = ()
    checkpoint: str = "best"
    test_arguments: tuple[str, ...] = ()
    cross: bool = False
    per_image: bool = False
    baseline: str | None = None
    reach: tuple[float, ...] = ()
    templates: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None
    tuning: Tuning | None = None

    @property
    def varying(self) -> tuple[str, ...]:
        """All options that are not the same for all cells."""
        return (*self.axes, *self.templates, *(self.tuning.options if self.tuning else ()))

    @property
    def tune_cells(self) -> tuple[Cell, ...]:
        """The runs that are chosen by: for each combination of values but seeds, one of each value to choose from."""
        if self.tuning is None:
            return ()
        groups = dict.fromkeys(tuple(cell.values[option] for option in self.axes[:-1]) for cell in self.cells)
        return tuple(
            Cell(
                {
                    **dict(zip(self.axes, group, strict=False)),
                    **dict(zip(self.tuning.options, values, strict=True)),
                    SEED: self.tuning.seed,
                },
                under="tune",
            )
            for group in groups
            for values in itertools.product(*self.tuning.options.values())
        )

    def cell(self, name: str) -> Cell:
        """The cell of a name, runs that tune included."""
        return next(cell for cell in (*self.cells, *self.tune_cells) if cell.name == name)

    @property
    def common_arguments(self) -> list[str]:
        """What is typed for every cell."""
        return [*(part for name in self.config for part in ("--config", name)), *self.arguments]

    @property
    def compared(self) -> str:
        """The option whose values are compared."""
        return self.axes[0]

    @property
    def settings(self) -> tuple[str, ...]:
        """The other options: one table per combination of their values."""
        return self.axes[1:-1]

    @property
    def monitor(self) -> str | None:
        """The validation metric that decides which epoch is best."""
        monitor: str | None = self.resolved.get("checkpoint", {}).get("monitor")
        return monitor

    @property
    def mode(self) -> str:
        """Whether its best is the `max` or the `min`."""
        mode: str = self.resolved.get("checkpoint", {}).get("mode", "max")
        return mode

    @property
    def last_epochs(self) -> int:
        """Over how many last epochs runs are averaged."""
        return int(self.resolved.get("results", {}).get("last_epochs", 5))

    @property
    def tests_folder(self) -> str:
        """The folder of its tests' results in a cell's: `best`, or `best_eval+=Tile_eval.size=512`."""
        return path_word("_".join([self.checkpoint, *(word.removeprefix("--") for word in self.test_arguments)]))

    @property
    def tests(self) -> dict[str, Any]:
        """How cells are tested, as `grid.json` and a cell's own process have it."""
        return {
            "checkpoint": self.checkpoint,
            "arguments": list(self.test_arguments),
            "cross": self.cross,
            "per_image": self.per_image,
        }

    def with_tests(self, tests: Mapping[str, Any]) -> Grid:
        """The same grid, tested as another one's `tests` say."""
        given = tuple(tests["arguments"])
        per_image = bool(tests.get("per_image", False))  # a folder of an earlier version does not say it
        return replace(
            self, checkpoint=tests["checkpoint"], test_arguments=given, cross=tests["cross"], per_image=per_image
        )

    def values(self, option: str) -> list[str]:
        """What an option takes in the grid, in the order it was asked for."""
        return list(dict.fromkeys(cell.values[option] for cell in self.cells))

    def check_baseline(self, baseline: str | None) -> None:
        """Raise an error if the baseline is not in the grid."""
        values = self.values(self.compared)
        if baseline is not None and baseline not in values:
            message = f"--baseline {baseline!r} is none of what is compared: {', '.join(values)}"
            raise UserValueError(message)


def short_name(option: str) -> str:
    """`padding` and `seed` for the two that every grid has; other options in full."""
    return _SHORT.get(option, option)


def path_word(text: str) -> str:
    """A text as part of a path; if it had to be changed or cut, a hash keeps it distinct."""
    word = re.sub(r"[^\w.,=+-]+", "-", text)[:80]
    return word if word == text else f"{word}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def expand(axes: Mapping[str, Sequence[str]]) -> tuple[Cell, ...]:
    """Every combination of the axes, seed last; those of the first seed come first, so that pairs are soon complete."""
    *others, seed = axes
    rows = itertools.product(axes[seed], *(axes[option] for option in others))
    return tuple(Cell({**dict(zip(others, values, strict=True)), seed: number}) for number, *values in rows)


if not TYPE_CHECKING:  # to whom any name would exist

    def __getattr__(name: str) -> Any:
        """What was here in earlier versions."""
        return moved(__name__, name)
