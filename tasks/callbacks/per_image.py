"""The scores of each image or video of a test, the worst first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import SequentialSampler, default_collate
from torch.utils.data.distributed import DistributedSampler

from pcpad.distributed import gathered
from pcpad.errors import UserValueError
from pcpad.files import PathName, at_home, refuse_dear
from pcpad.tables import safe_path, write_csv
from pcpad.tasks.base import Task
from pcpad.tasks.callbacks.sample_images import pictures_of, rows_of
from pcpad.tasks.evaluation.items import ItemScores
from pcpad.tasks.evaluation.metric_names import known_mode
from pcpad.tasks.pictures.sheets import SheetRow, draw_sheet, save_png
from pcpad.terminal import say

__all__ = ["PerImage"]

_WORST = 20


class _Item(NamedTuple):
    """A line of the table: an image, or a video with its first window.

    Attributes:
        name: The file; `sample 7` where the data does not state it.
        loader: The number of the test loader, if there are several.
        sample: Its index in that loader's data; None if not known.
        scores: By column.
    """

    name: str
    loader: int
    sample: int | None
    scores: dict[str, Any]


class PerImage(Callback):
    """Writes the scores of each image or video of a test to a CSV file, the worst first, and a sheet of the worst 20.

    They are the task's own scores of each single image or video, see `Task.item_metric`; lines are sorted by the first
    column of that name, those without a value last. A file is named by the batch's `path`, else by the data
    set's `file_of(index)`, else `sample 7`. With several processes one writes the file, each image once. The sheet,
    `NAME_worst.png` next to the CSV file, shows the columns of `Task.sample_images`, else the images themselves.

    Args:
        output: The CSV file, or a folder to put `per_image.csv` in.

    Raises:
        UserValueError: The file exists and holds weights, a configuration or code.
    """

    def __init__(self, output: PathName) -> None:
        path = at_home(output)
        self.path = path if path.suffix and not path.is_dir() else path / "per_image.csv"
        refuse_dear(self.path, "--per_image FILE")
        self._positions: dict[int, Iterator[Sequence[int]]] = {}
        self._items: list[_Item] = []
        self._groups: dict[int, _Item] = {}
        self._closing: list[str] = []

    @property
    def sheet(self) -> Path:
        """The sheet's file."""
        return self.path.with_name(f"{self.path.stem}_worst.png")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Request scores of samples from the task.

        Raises:
            UserValueError: It has none.
        """
        if not isinstance(pl_module, Task) or pl_module.item_metric is None:
            name = type(pl_module).__name__
            message = (
                f"--per_image: {name} leaves no scores of single samples: set `item_metric` of the class, and add to "
                "`self.items` in `test_step`; see pcpad.tasks.base.Task"
            )
            raise UserValueError(message)
        pl_module.items = ItemScores()
        self._positions, self._items, self._groups = {}, [], {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the files' names to a batch's scores."""
        assert isinstance(pl_module, Task)
        assert pl_module.items is not None
        columns, groups = pl_module.items.take(), pl_module.items.take_groups()
        count = len(groups) or max((len(column) for column in columns.values()), default=0)
        loader = _loaders(trainer)[dataloader_idx]
        if dataloader_idx not in self._positions:
            self._positions[dataloader_idx] = _positions(loader)
        indices = list(next(self._positions[dataloader_idx], ()))
        known = len(indices) == count
        for place in range(count):
            index = indices[place] if known else None
            number = len(self._items) * trainer.world_size + trainer.global_rank if index is None else index
            name = _name(batch, place, count) or _file_of(loader, index) or f"sample {number}"
            item = _Item(name, dataloader_idx, index, {key: column[place] for key, column in columns.items()})
            if groups:
                self._groups.setdefault(groups[place], item)
            else:
                self._items.append(item)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the scores of all processes, and write them."""
        assert isinstance(pl_module, Task)
        assert pl_module.items is not None
        grouped, pl_module.items = pl_module.items.grouped, None
        numbers = grouped.pop("group", [])
        for place, number in enumerate(numbers):
            if number in self._groups:
                scores = {key: column[place] for key, column in grouped.items()}
                self._items.append(self._groups[number]._replace(scores=scores))
        parts = gathered(self._items)
        self._items, self._groups = [], {}
        each = {
            (item.loader, item.name if item.sample is None else item.sample): item for part in parts for item in part
        }
        columns = list(dict.fromkeys(key for item in each.values() for key in item.scores))
        ranked = _ranked(list(each.values()), _chosen(columns, pl_module.item_metric or ""))
        rows = self._look_at_worst(trainer, pl_module, ranked[:_WORST], columns)
        if not trainer.is_global_zero:
            return
        lines = ([safe_path(item.name), *(_cell(item.scores.get(key)) for key in columns)] for item in ranked)
        write_csv(self.path, ["file", *columns], lines)
        self._closing.append(f"Scores of {len(ranked)} images or videos, the worst first: {self.path}")
        if rows:
            titles, drawn = rows
            save_png(draw_sheet(drawn, titles, heading=f"the worst {len(drawn)} of {len(ranked)}"), self.sheet)
            self._closing.append(f"The worst {len(drawn)}: {self.sheet}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print last, when the progress bar has closed."""
        closing, self._closing = self._closing, []
        for line in closing:
            say(line)

    def _look_at_worst(
        self, trainer: Trainer, task: Task, worst: Sequence[_Item], columns: Sequence[str]
    ) -> tuple[list[str], list[SheetRow]] | None:
        # If each process has only a part of the network, all of them must run it.
        alone = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        if alone and not trainer.is_global_zero:
            return None
        titles: list[str] = []
        rows: list[SheetRow] = []
        for item in worst:
            batch = _read_again(trainer, item)
            if batch is None:
                continue
            pictures = pictures_of(trainer, task, batch)
            if not pictures:
                continue
            titles = list(pictures)
            scores = ", ".join(f"{key} {_shown(item.scores.get(key))}" for key in columns[:6])
            (row,) = rows_of(pictures)
            rows.append(SheetRow(row.images, f"{len(rows) + 1}. {item.name}: {scores}"))
        if worst and not rows:
            rank_zero_warn(f"--per_image: no sheet of the worst, as the data cannot be indexed: {self.path} only")
        return (titles, rows) if rows else None


def _loaders(trainer: Trainer) -> list[Any]:
    loaders = trainer.test_dataloaders
    return list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]


def _positions(loader: Any) -> Iterator[Sequence[int]]:
    """The data indices of each batch's samples, if the sampler gives the same ones each time."""
    sampler = getattr(loader, "batch_sampler", None)
    inner = getattr(sampler, "sampler", None)
    same = isinstance(inner, SequentialSampler) or (isinstance(inner, DistributedSampler) and not inner.shuffle)
    return iter(sampler) if sampler is not None and same else iter(())


def _name(batch: Any, place: int, count: int) -> str | None:
    paths = batch.get("path") if isinstance(batch, Mapping) else None
    return str(paths[place]) if isinstance(paths, (list, tuple)) and len(paths) == count else None


def _file_of(loader: Any, index: int | None) -> str | None:
    file_of = getattr(getattr(loader, "dataset", None), "file_of", None)
    return str(file_of(index)) if file_of is not None and index is not None else None


def _read_again(trainer: Trainer, item: _Item) -> dict[str, Any] | None:
    """A batch of one sample, on the device; None where the data cannot be indexed."""
    loader = _loaders(trainer)[item.loader]
    if item.sample is None or not hasattr(getattr(loader, "dataset", None), "__getitem__"):
        return None
    collate = getattr(loader, "collate_fn", None) or default_collate
    batch = collate([loader.dataset[item.sample]])
    if not isinstance(batch, dict):
        return None
    moved = trainer.precision_plugin.convert_input(batch)
    on_device: dict[str, Any] | None = trainer.strategy.batch_to_device(moved)
    return on_device


def _chosen(columns: Sequence[str], metric: str) -> str | None:
    """The column to sort by: the first of the task's metric, of any evaluator; else the first with a direction."""
    named = [column for column in columns if column.rpartition("/")[2] == metric]
    return next(iter(named), next((column for column in columns if known_mode(column)), None))


def _ranked(items: list[_Item], column: str | None) -> list[_Item]:
    items.sort(key=lambda item: (item.loader, item.name))
    if column is None:
        return items
    sign = -1 if known_mode(column) == "min" else 1

    def key(item: _Item) -> tuple[bool, float]:
        value = item.scores.get(column)
        if not isinstance(value, (int, float)) or math.isnan(value):
            return True, 0.0
        return False, sign * value

    return sorted(items, key=key)


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
