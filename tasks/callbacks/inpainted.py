"""Files of filled pictures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from pcpad.distributed import gathered, rank
from pcpad.errors import UserValueError
from pcpad.files import PathName
from pcpad.pictures import FORMATS, Picture, PictureFormat, write_picture
from pcpad.tasks.callbacks.picture_files import PictureFiles
from pcpad.terminal import say

_BAND = 256  # rows composited at once
_SHEET_HEIGHT = 512
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # luminance, for gray pictures


class InpaintedPictures(PictureFiles):
    """Writes each filled picture as `NAME.png`, of its own size, depth, and with its own alpha and color profile.

    Valid pixels are the original's, bit for bit; only holes come from the network. A picture whose mask leaves nothing
    valid, or has no hole, is copied unchanged with a warning; if no picture could be filled, that is an error at the
    end. A prediction is a dict: `path`, a list of one string, and `image` (1, 3, H, W), uint8 or float in
    [0, 1]; it may have `unreached`, a list of how many pixels of the hole no valid pixel reached, which is reported.
    The batch holds `mask` (1, 1, H, W), 1 = valid, and `picture`, a list of the one original.

    Args:
        output: The folder; `predictions` in the run's log folder when not given.
        format: `png`, `tiff` (both lossless) or `jpg`. Only TIFF keeps the georeference of a GeoTIFF; a warning says
            when it is lost.
        sheets: Also write `sheets/NAME.png`: the input, its mask (white = valid) and the result side by side, at most
            512 pixels high.

    Raises:
        ValueError: Another format.
    """

    called = "filled pictures"

    def __init__(self, output: PathName | None = None, format: PictureFormat = "png", sheets: bool = False) -> None:
        super().__init__(output)
        if format not in FORMATS:
            message = f"Expected argument `format` to be one of {', '.join(FORMATS)}, but got {format!r}"
            raise UserValueError(message)
        self.format: PictureFormat = format
        self.sheets = sheets
        self._written: list[bool] = []  # per picture: whether it had something to fill

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        super().on_predict_start(trainer, pl_module)
        self._written = []

    def endings(self) -> list[str]:
        """Write the picture and its sheet."""
        return [f".{self.format}", *(["sheets/*.png"] if self.sheets else [])]

    def write(self, trainer: Trainer, pl_module: LightningModule, prediction: dict[str, Any], batch: Any) -> None:
        """Write one picture; errors are kept for the end."""
        with self.keeping_failures():
            self._begin(prediction, batch)

    def _begin(self, prediction: dict[str, Any], batch: Any) -> None:
        (name,), (original,) = prediction["path"], batch["picture"]
        targets = self.targets(name, batch.get("mask_path", []))
        mask = batch["mask"][0, 0].cpu()
        if not bool(mask.any()):
            warnings.warn(f"{name}: its mask covers all of it; it is copied unchanged", stacklevel=2)
        elif bool(mask.all()):
            warnings.warn(f"{name}: its mask has no hole; it is copied unchanged", stacklevel=2)
        unreached = sum(prediction.get("unreached", ()))
        if unreached and bool(mask.any()):
            holes = mask.numel() - int(torch.count_nonzero(mask))
            warnings.warn(
                f"{name}: no valid pixel reached {unreached} of the {holes} pixels of its hole, so they were "
                "filled without any information: fill in steps, or use a deeper network",
                stacklevel=2,
            )
        image = prediction["image"].cpu()
        size = image.nbytes + mask.nbytes + 3 * original.color.nbytes
        self.in_background(partial(self._write, name, targets, original, image, mask), size)

    def _write(
        self, name: str, targets: Sequence[Path], original: Picture, image: Tensor, mask: Tensor
    ) -> Sequence[str]:
        target, *sheets = targets
        result = compose(original, image, mask)
        lost = write_picture(target, result, self.format)
        self._written.append(bool(mask.any()) and not bool(mask.all()))
        for sheet in sheets:
            write_picture(sheet, _sheet(original, mask, result))
        return [f"{name}: {self.format} does not keep {' and '.join(lost)}"] if lost else []

    def _counts(self) -> tuple[int, int]:
        """Numbers over all processes: pictures written, and how many of them had something to fill."""
        counts = gathered((len(self._written), sum(self._written)))
        return sum(written for written, _ in counts), sum(filled for _, filled in counts)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print how many were filled and how many copied, and where they are."""
        written, filled = self._counts()
        copied = f" and {written - filled} copied unchanged" if written > filled else ""
        if written and trainer.is_global_zero:
            say(f"{filled} {self.called}{copied}: {self.folder}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop with an error where nothing was filled; here, so that errors in the data are reported first.

        Raises:
            ValueError: No picture had a hole and something around it.
        """
        super().teardown(trainer, pl_module, stage)
        if stage != "predict":
            return
        written, filled = self._counts()
        self._written = []
        if written and not filled and rank():
            raise SystemExit(0)  # the first process raises the error
        if written and not filled:
            message = (
                f"nothing was filled: none of the {written} pictures has a mask with a hole and something valid around "
                f"it, so they were copied unchanged to {self.folder}. Is the mask's polarity right?"
            )
            raise UserValueError(message)


def compose(original: Picture, prediction: Tensor, mask: Tensor) -> Picture:
    """Put a network's output into the holes of a picture.

    Args:
        original: The picture; it is not changed.
        prediction: (1, 3, H, W), uint8 or float in [0, 1].
        mask: (H, W), 1 = valid. Without any valid pixel the picture is returned unchanged.

    Returns:
        The picture, with new values only in the holes; for a gray one, the output's luminance.

    Raises:
        ValueError: The output is not finite, or has another size.
    """
    if prediction.shape != (1, 3, *original.size):
        message = f"Expected a prediction of {(1, 3, *original.size)}, but got {tuple(prediction.shape)}"
        raise UserValueError(message)
    color = original.color.copy()
    known = mask.cpu().numpy() != 0
    if known.any():
        for top in range(0, len(color), _BAND):
            rows = slice(top, top + _BAND)
            hole = ~known[rows]
            if hole.any():
                color[rows][hole] = _values(prediction[0, :, rows].cpu(), hole, original)
    return replace(original, color=color)


def _values(band: Tensor, hole: np.ndarray, original: Picture) -> np.ndarray:
    """The output at the holes of a band, (pixels, channels) in the picture's depth."""
    picked = band.permute(1, 2, 0)[torch.from_numpy(hole)]
    if picked.dtype == torch.uint8:
        picked = picked.float() / 255
    values = picked.float().numpy()
    if not np.isfinite(values).all():
        message = "The network's output is not finite: its weights are broken, or the precision is too low for it."
        raise UserValueError(message)
    if original.color.shape[2] == 1:
        values = (values @ _GRAY)[:, None]
    pixels: np.ndarray = np.rint(values.clip(0, 1) * original.white).astype(original.color.dtype)
    return pixels


def _sheet(original: Picture, mask: Tensor, result: Picture) -> Picture:
    """Input, mask and result side by side, shrunk where they are high."""
    import cv2

    height, width = original.size
    scale = min(1.0, _SHEET_HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    columns = []
    for pixels in (original.color, mask.cpu().numpy().astype(np.uint8)[..., None] * np.uint8(255), result.color):
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
        deep = small.dtype == np.uint16
        eight = (small.astype(np.uint32) * 255 // original.white).astype(np.uint8) if deep else small
        columns.append(np.broadcast_to(eight, (size[1], size[0], 3)))
    gap = np.full((size[1], 4, 3), 128, np.uint8)
    return Picture(np.concatenate([columns[0], gap, columns[1], gap, columns[2]], axis=1))
