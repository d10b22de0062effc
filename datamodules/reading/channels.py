"""Images of any number of channels, of up to 16 bits or floats: gray, RGB, RGBA, and multi-channel TIFF files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcpad.datamodules.reading.images import BrokenImageError
from pcpad.datamodules.reading.tiff_segments import refuse_swelling
from pcpad.errors import UserModuleNotFoundError, UserValueError
from pcpad.files import opened
from pcpad.limits import refuse_empty_claim
from pcpad.pictures import PictureError, open_header, orientation_of, read_picture, refuse_too_large, why_unreadable

__all__ = ["ALL", "ChannelImage", "image_tensor", "read_channels"]

ALL = slice(None)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OF_PICTURES = {1: "gray", 2: "gray and alpha", 3: "RGB", 4: "RGB and alpha"}


class ChannelImage:
    """The pixels of an image, upright.

    Args:
        path: The file.
        pixels: `(height, width, channels)`, uint8 in [0, 255] or float32 in [0, 1].
        orientation: The EXIF orientation that was applied, 1 … 8; 1 is as stored.
        top: The largest value in the file.

    Attributes:
        height: Rows.
        width: Columns.
    """

    def __init__(self, path: Path, pixels: np.ndarray, orientation: int, top: float) -> None:
        self.path = path
        self.pixels = pixels
        self.orientation = orientation
        self.top = top
        self.height, self.width = pixels.shape[:2]

    def rgb(self, rows: slice = ALL, columns: slice = ALL) -> np.ndarray:
        """A part of the pixels, with all channels."""
        return self.pixels[rows, columns]


def read_channels(path: str | Path, channels: int = 3, white: float | None = None) -> ChannelImage:
    """Read an image with a given number of channels.

    Args:
        path: An image that `pictures.read_picture` reads or, with the extra `tiff`, a TIFF file with any number of
            channels, planar or interleaved, of integers or floats.
        channels: How many to return. 1 converts colors to gray, 3 repeats gray; both drop alpha. 4 is RGB with alpha or
            a TIFF file's four, 2 gray with alpha or a TIFF file's two; for any other number the file must have as many.
        white: The value that becomes 1; values above it become 1, and values below 0 become 0. None: 255 for 8 bits and
            65535 for 16. Required for floats and other integer types.

    Returns:
        The image: uint8 for 8-bit files if `white` is None, else float32 in [0, 1].

    Raises:
        BrokenImageError: The file is missing, damaged, larger than `pictures.MOST_PIXELS`, has another number of
            channels, no known range, or values that are not finite.
        ModuleNotFoundError: The file needs `tifffile`, which is not installed.
    """
    path = Path(path)
    try:
        if (channels not in _OF_PICTURES or channels in (2, 4) or white is not None) and _is_tiff(path):
            values, orientation = _of_tiff(path, channels), 1
        else:
            try:
                values, orientation = _of_picture(path, channels, white)
            except PictureError:
                if not _is_tiff(path) or find_spec("tifffile") is None:
                    raise
                values, orientation = _of_tiff(path, channels), 1  # Pillow reads only few kinds of TIFF
        return _scaled(path, values, orientation, white)
    except (Warning, UserModuleNotFoundError, BrokenImageError):
        raise
    except Exception as error:  # decoders raise many kinds
        message = str(error) if str(error).startswith(f"{path}: ") else f"{path}: {why_unreadable(error, 'an image')}"
        raise BrokenImageError(message) from error


def image_tensor(path: str | Path, channels: int = 3, white: float | None = None) -> torch.Tensor:
    """Read an image into a tensor; see `read_channels`.

    Args:
        path: See `read_channels`.
        channels: See `read_channels`.
        white: See `read_channels`.

    Returns:
        `(channels, H, W)`, uint8 in [0, 255] or float32 in [0, 1].
    """
    # torch.from_numpy needs contiguous, writable memory.
    return torch.from_numpy(read_channels(path, channels, white).pixels.transpose(2, 0, 1).copy())


def _is_tiff(path: Path) -> bool:
    with opened(path) as file:
        return file.read(4) in _TIFF


def _of_picture(path: Path, channels: int, white: float | None) -> tuple[np.ndarray, int]:
    picture = read_picture(path)
    with open_header(path) as header:
        # Pillow applies the orientation of TIFF files itself, masks included.
        orientation = 1 if header.format == "TIFF" else orientation_of(header)
    color = picture.color
    if picture.top is not None and "taken for 12" not in " ".join(picture.notes) and white is None:
        color = (color.astype(np.float32) * (65535 / picture.top)).round().astype(np.uint16)  # 12 bits, by its header
    if channels == 1:
        import cv2  # imported late: not needed for RGB images

        return (color if color.shape[2] == 1 else cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)[..., None]), orientation
    if channels == 3:
        return (color if color.shape[2] == 3 else np.repeat(color, 3, axis=2)), orientation
    if picture.alpha is not None:
        color = np.concatenate([color, picture.alpha[..., None]], axis=2)
    if color.shape[2] != channels:
        raise UserValueError(_other_channels(color.shape[2], channels))
    return color, orientation


def _other_channels(there: int, wanted: int) -> str:
    named = f" ({_OF_PICTURES[there]})" if there in _OF_PICTURES else ""
    return (
        f"it has {there} channels{named}, but {wanted} were asked for: set --data.channels {there}, and "
        f"--model.in_channels {there}, if all images have as many"
    )


def _of_tiff(path: Path, channels: int) -> np.ndarray:
    try:
        import tifffile
    except ModuleNotFoundError as error:
        message = f"{path}: TIFF files of {channels} channels are read with tifffile: pip install 'pcpad[tiff]'"
        raise UserModuleNotFoundError(message, name="tifffile") from error
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        shape, axes = list(series.shape), series.axes
        if "Y" not in axes or "X" not in axes:
            message = f"its axes {axes} are not those of an image"
            raise UserValueError(message)
        height, width = shape[axes.index("Y")], shape[axes.index("X")]
        there = int(np.prod([size for size, axis in zip(shape, axes, strict=True) if axis not in "YX"]))
        if there != channels and len(shape) == 3 and axes[1:] == "YX" and shape[2] == channels:
            axes = "YXS"  # written as (H, W, C) without metadata: tifffile takes each row for a page
            height, width, there = shape
        # Each channel counts, since all are decoded.
        size = path.stat().st_size
        refuse_too_large(width, height * max(1, there), size)
        refuse_empty_claim(width, height * max(1, there) * series.dtype.itemsize, size)
        if there != channels:
            raise UserValueError(_other_channels(there, channels))
        refuse_swelling(series)
        try:
            values: Any = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            message = f"its compression needs another package ({error}): pip install imagecodecs"
            raise UserValueError(message) from error
    values = np.moveaxis(values, (axes.index("Y"), axes.index("X")), (0, 1))
    pixels: np.ndarray = values.reshape(height, width, channels)
    return pixels


def _scaled(path: Path, values: np.ndarray, orientation: int, white: float | None) -> ChannelImage:
    kind = values.dtype
    if kind.kind not in "uifb":
        message = f"its values are of type {kind}, which cannot be brightness"
        raise UserValueError(message)
    if kind.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        message = f"{count} of its values are not finite (NaN or infinite): replace them with numbers"
        raise UserValueError(message)
    top = float(values.max(initial=0))
    if white is None and kind == np.uint8:
        return ChannelImage(path, values, orientation, top)
    if white is None and kind != np.uint16:
        low = float(values.min())
        message = (
            f"its values are of type {kind}, here from {low:g} to {top:g}, which has no known range: set the value "
            f"that becomes 1 with --data.white NUMBER"
        )
        raise UserValueError(message)
    scaled = values.astype(np.float32) / np.float32(65535 if white is None else white)
    return ChannelImage(path, np.clip(scaled, 0, 1, out=scaled), orientation, top)
