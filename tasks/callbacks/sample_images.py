"""Pictures of a network's outputs for a few samples, during training and in tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from pcpad.errors import UserValueError
from pcpad.tasks.base import Task
from pcpad.tasks.pictures.sheets import SheetRow, as_pixels, cell_size, draw_sheet, save_png
from pcpad.terminal import say


class SampleImages(Callback):
    """Writes labeled sheets of sample pictures: `images/*.png` in the run's log folder, and to TensorBoard.

    For tasks that define `sample_images(batch)`: by column title images (n, 3, H, W), uint8 or float in [0, 1],
    all columns with one n, H and W. Other tasks, whose batches may be anything, are left alone.

    The samples are always the same ones, spread evenly over the first validation (or test) loader; they are drawn
    when their batches are processed, at the cost of one more forward pass over each. It runs in evaluation mode, in
    the trainer's precision, without gradients and without changing the random state. In training a sheet is made in
    the first epoch, in every n-th and in the last, at each of its validations.

    Args:
        every_n_epochs: Epochs from one sheet to the next; 0: none while training.
        count: How many samples a sheet shows, fewer where the data has fewer; 0: no sheets at all.

    Raises:
        ValueError: A number is negative; later, `sample_images` returned something else.
    """

    def __init__(self, every_n_epochs: int = 5, count: int = 4) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("count", count)):
            if value < 0:
                message = f"Expected argument `{name}` to be 0 or a positive integer, but got {value}"
                raise UserValueError(message)
        self.every_n_epochs = every_n_epochs
        self.count = count
        self._titles: list[str] = []
        self._rows: list[SheetRow] = []
        self._folder: Path | None = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an empty sheet."""
        self._titles, self._rows = [], []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an empty sheet."""
        self._titles, self._rows = [], []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Run the batch's samples, if some of them belong on the sheet."""
        if dataloader_idx == 0 and self._is_due(trainer, pl_module):
            self._look(trainer, pl_module, batch, self._share(batch_idx, trainer.num_val_batches[0]))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Run the batch's samples, if some of them belong on the sheet."""
        if dataloader_idx == 0 and self._is_due(trainer, pl_module):
            self._look(trainer, pl_module, batch, self._share(batch_idx, trainer.num_test_batches[0]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the sheet of this validation."""
        if self._is_due(trainer, pl_module):
            training = trainer.state.fn == "fit"
            when = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
            name = f"val_epoch{trainer.current_epoch:04d}_step{trainer.global_step:07d}" if training else "val"
            self._write(trainer, "val", name, f"validation, {when}" if training else "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the sheet of this test."""
        if self._is_due(trainer, pl_module):
            self._write(trainer, "test", "test", "test")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print where they are, when the progress bar has closed."""
        if self._folder is not None:
            say(f"Sample pictures: {self._folder}")
        self._folder, self._rows = None, []

    def _is_due(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        if self.count == 0 or trainer.sanity_checking or not _has_pictures(pl_module):
            return False
        if trainer.state.fn != "fit":
            return True
        if self.every_n_epochs == 0:
            return False
        epoch = trainer.current_epoch
        last = epoch + 1 == trainer.max_epochs or 0 <= trainer.max_steps <= trainer.global_step
        return epoch == 0 or (epoch + 1) % self.every_n_epochs == 0 or last

    def _share(self, batch_idx: int, batches: float) -> int:
        """How many of the samples come from this batch."""
        if batches == float("inf"):
            return int(batch_idx < self.count)
        return sum(int(number * batches / self.count) == batch_idx for number in range(self.count))

    def _look(self, trainer: Trainer, pl_module: LightningModule, batch: Any, samples: int) -> None:
        # If each process has only a part of the network, all of them must run it.
        alone = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        if samples == 0 or (alone and not trainer.is_global_zero):
            return
        assert isinstance(pl_module, Task)
        columns = _columns(trainer, pl_module, _first(batch, samples))
        if trainer.is_global_zero:
            self._titles = list(columns)
            self._rows += rows_of(columns)

    def _write(self, trainer: Trainer, stage: str, name: str, heading: str) -> None:
        folder = trainer.log_dir  # broadcast: every process must ask
        rows, self._rows = self._rows, []
        if not rows or not trainer.is_global_zero:
            return
        sheet = draw_sheet(rows, self._titles, heading=heading)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                picture, step = np.asarray(sheet), trainer.global_step
                logger.experiment.add_image(f"samples/{stage}", picture, step, dataformats="HWC")
        if folder is not None:
            self._folder = save_png(sheet, Path(folder) / "images" / f"{name}.png").parent


def pictures_of(trainer: Trainer, task: Task, batch: dict[str, Any]) -> dict[str, Tensor]:
    """The columns that a task shows of a batch, else the batch's images.

    Args:
        trainer: In an evaluation; its precision is used.
        task: The task with `sample_images`.
        batch: On the device.

    Returns:
        By column title images (n, 3, H, W); the batch's `image`, or three frames of its `clip`, for a task that shows
        nothing; empty where there is neither.

    Raises:
        ValueError: `sample_images` returned something else.
    """
    if _has_pictures(task):
        return _columns(trainer, task, batch)
    image, clip = batch.get("image"), batch.get("clip")
    if isinstance(image, Tensor) and image.dim() == 4 and image.shape[1] == 3:
        return {"image": image}
    if isinstance(clip, Tensor) and clip.dim() == 5 and clip.shape[1] == 3:
        places = {"first frame": 0, "middle frame": clip.shape[2] // 2, "last frame": -1}
        return {title: clip[:, :, place] for title, place in places.items()}
    return {}


def rows_of(columns: Mapping[str, Tensor]) -> list[SheetRow]:
    """A row for each sample.

    Args:
        columns: As `sample_images` returns them.
    """
    return [SheetRow(images) for images in zip(*map(_as_arrays, columns.values()), strict=True)]


def _columns(trainer: Trainer, task: Task, batch: dict[str, Any]) -> dict[str, Tensor]:
    random = isolate_rng(include_cuda=task.device.type == "cuda")
    with _evaluating(task), random, torch.no_grad(), trainer.precision_plugin.forward_context():
        columns = task.sample_images(batch)
    check_columns(columns, type(task).__name__)
    return columns


def _has_pictures(module: LightningModule) -> bool:
    return isinstance(module, Task) and type(module).sample_images is not Task.sample_images


def check_columns(columns: Any, task: str) -> None:
    """Refuse a value that is not a set of columns, see `SampleImages`.

    Args:
        columns: What a task's `sample_images` returned.
        task: The task's name, for the message.

    Raises:
        ValueError: It is not a dict of images, or the images differ in number or size.
    """
    images = list(columns.values()) if isinstance(columns, Mapping) else []
    shapes = [tuple(getattr(each, "shape", ())) for each in images]
    fine = bool(shapes) and len(set(shapes)) == 1 and len(shapes[0]) == 4 and shapes[0][1] == 3 and 0 not in shapes[0]
    if not fine or not all(each.dtype == torch.uint8 or each.is_floating_point() for each in images):
        got = dict(zip(columns, shapes, strict=True)) if shapes else repr(columns)
        message = (
            f"Expected {task}.sample_images to return images (n, 3, H, W) by column title, uint8 or float, all of one "
            f"n, H and W, but got {got}"
        )
        raise UserValueError(message)


@contextmanager
def _evaluating(module: LightningModule) -> Iterator[None]:
    """Switch to evaluation mode, and afterwards restore each part's mode."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _first(batch: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """The first samples of a batch, in every value that has one entry per sample."""
    number = next((len(value) for value in batch.values() if isinstance(value, Tensor) and value.dim()), None)
    per_sample = (Tensor, list, tuple)
    return {
        key: value[:samples] if isinstance(value, per_sample) and _count(value) == number else value
        for key, value in batch.items()
    }


def _count(value: Any) -> int | None:
    return len(value) if not isinstance(value, Tensor) or value.dim() else None


def _as_arrays(images: Tensor) -> list[np.ndarray]:
    """(n, 3, H, W) to n arrays (H, W, 3) of uint8, no larger than the sheet shows them."""
    if images.is_floating_point():
        images = (images.float().nan_to_num(0).clamp(0, 1) * 255).round()
    arrays = images.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    width = cell_size(arrays.shape[2])
    # Whole street scenes would take a hundred megabytes until the sheet is drawn.
    return [np.asarray(as_pixels(array, width)) if width < array.shape[1] else array.copy() for array in arrays]
