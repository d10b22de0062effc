"""What the figures' command lines have in common: checkpoints, their data, where to run and where to write."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from pcpad.commands.loading import load_datamodule, load_task
from pcpad.commands.outputs import refuse_within
from pcpad.commands.parser import add_import_option, file_name, path_name
from pcpad.errors import UserValueError
from pcpad.tasks.base import Task

__all__ = [
    "add_checkpoint_options",
    "add_labeled_checkpoints",
    "add_output",
    "read_batches",
    "read_data",
    "read_labeled",
    "read_task",
]


def add_output(parser: argparse.ArgumentParser, name: str) -> None:
    """Add `--output`.

    Args:
        parser: The figure's.
        name: The file it is written to unless another one is given.
    """
    text = f"the picture to write, .png or .pdf (default: {name})"
    parser.add_argument("--output", metavar="FILE.png", type=_picture, default=Path(name), help=text)


def _picture(text: str) -> Path:
    path = path_name(text)
    if path.suffix.lower() not in (".png", ".pdf") or path.is_dir():
        message = f"expected the name of a .png or .pdf file, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return path


def positive(text: str) -> int:
    """An integer above 0, from the command line."""
    if not text.isdigit() or int(text) < 1:
        message = f"expected an integer above 0, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def add_checkpoint_options(parser: argparse.ArgumentParser, images: int | None) -> None:
    """Add the options of a figure that runs checkpoints on their test images.

    Args:
        parser: The figure's.
        images: How many test images it looks at unless told otherwise; None for all.
    """
    usual = "all" if images is None else str(images)
    parser.add_argument("--data", metavar="CLASS", help="a data module other than the first checkpoint's")
    parser.add_argument("--data.NAME", dest="_", metavar="VALUE", help="override one of its options: --data.root DIR")
    parser.add_argument("--images", type=positive, default=images, metavar="N",
                        help=f"look at this many test images, evenly spread (default: {usual})")  # fmt: skip
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=cuda, help="where the networks run (default here: %(default)s)")
    text = "a class from another package that a checkpoint may name; importing it runs its code"
    parser.add_argument("--trust", nargs="+", default=[], metavar="CLASS", help=text)
    add_import_option(parser)
    parser.set_defaults(data_options={})


def read_task(checkpoint: str, given: argparse.Namespace, **overrides: Any) -> LightningModule:
    """The task of a checkpoint, on the device asked for.

    Args:
        checkpoint: The file.
        given: The parsed options.
        overrides: Arguments of the task that outrank the checkpoint's.

    Returns:
        It, in evaluation mode.

    Raises:
        ValueError: There is no such device, or the checkpoint does not fit.
    """
    try:
        device = torch.empty(0, device=given.device).device
    except (RuntimeError, AssertionError) as error:
        message = f"--device {given.device} cannot be used here: {str(error).splitlines()[0]}"
        raise UserValueError(message) from None
    return load_task(checkpoint, device=device, trusted=given.trust, **overrides)


def add_labeled_checkpoints(parser: argparse.ArgumentParser, kind: type[LightningModule], usual: str) -> None:
    """Add the options that `read_labeled` reads.

    Args:
        parser: The figure's.
        kind: What the checkpoints have to be of.
        usual: What they are called where the user gives no labels.
    """
    text = f"checkpoints of {kind.__name__}; each is a column"
    parser.add_argument("--checkpoints", nargs="+", type=file_name, required=True, metavar="CKPT", help=text)
    parser.add_argument("--labels", nargs="+", metavar="NAME", help=f"their names (default: {usual})")


def read_labeled(
    given: argparse.Namespace, kind: type[LightningModule], label: Callable[[Any], str]
) -> tuple[list[Any], list[str]]:
    """The tasks of several checkpoints, and what they are called in the figure.

    Args:
        given: The parsed options, with `checkpoints` and `labels`.
        kind: What each has to be.
        label: Names a task where the user gave no labels.

    Returns:
        Tasks and labels.

    Raises:
        ValueError: A checkpoint is another task's, or the labels are not as many.
    """
    tasks = [read_task(checkpoint, given) for checkpoint in given.checkpoints]
    for checkpoint, task in zip(given.checkpoints, tasks, strict=True):
        if not isinstance(task, kind):
            message = f"{checkpoint} is of a {type(task).__name__}, but this figure is of {kind.__name__}"
            raise UserValueError(message)
    labels = given.labels or [label(task) for task in tasks]
    if len(labels) != len(tasks):
        message = f"Expected a label for each of {len(tasks)} checkpoints, but got {len(labels)}"
        raise UserValueError(message)
    return tasks, labels


def read_data(checkpoint: str, given: argparse.Namespace) -> LightningDataModule:
    """The data module of a checkpoint with its test images listed.

    Args:
        checkpoint: The file.
        given: The parsed options.

    Returns:
        It, after `setup("test")`.
    """
    data = load_datamodule(checkpoint, class_path=given.data, trusted=given.trust, **given.data_options)
    refuse_within([given.output], getattr(data, "root", "."))
    data.setup("test")
    return data


def check_classes(tasks: Mapping[str, LightningModule], data: LightningDataModule) -> None:
    """Refuse checkpoints that tell other classes apart than the data has.

    Args:
        tasks: By the checkpoint's name.
        data: Set up.

    Raises:
        ValueError: The numbers of classes differ.
    """
    counts = {name: task.num_classes for name, task in tasks.items() if isinstance(task, Task)}
    counts["the data"] = getattr(data, "num_classes", None)
    counts = {name: count for name, count in counts.items() if count is not None}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        message = f"These differ in their number of classes, so they cannot be compared: {said}."
        raise UserValueError(message)


def read_batches(
    data: LightningDataModule, given: argparse.Namespace, batch_size: int | None = None
) -> Iterator[dict[str, Any]]:
    """The test batches on the device, in order, with a progress bar.

    Args:
        data: Set up.
        given: The parsed options; with `images`, that many, evenly spread over the set.
        batch_size: Of the batches; the data module's if None.

    Yields:
        Batches.

    Raises:
        ValueError: There is not one test loader but several.
    """
    loader = data.test_dataloader()
    if not isinstance(loader, DataLoader):
        message = f"Expected {type(data).__name__} to have one test loader, but got a {type(loader).__name__}"
        raise UserValueError(message)
    size = batch_size or loader.batch_size or 1
    dataset, batches = loader.dataset, None
    if hasattr(dataset, "__len__"):
        total = len(dataset)
        count = min(given.images or total, total)
        dataset = Subset(dataset, [index * total // count for index in range(count)])
        batches = -(-count // size)
    elif given.images is not None:
        batches = -(-given.images // size)
    fresh = DataLoader(dataset, size, collate_fn=loader.collate_fn, num_workers=loader.num_workers,
                       worker_init_fn=loader.worker_init_fn)  # fmt: skip
    bar = Console(stderr=True)
    for batch in track(islice(fresh, batches), "looking at test images", batches, transient=True, console=bar):
        yield {key: value.to(given.device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def trained_with(task: LightningModule) -> str:
    """The padding of a checkpoint's weights, for labels."""
    known = (task.trained_with or task.padding) if isinstance(task, Task) else None
    return known or "unknown padding"
