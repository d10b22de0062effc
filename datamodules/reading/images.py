"""Read an image file into a uint8 RGB tensor, refusing damaged and unreasonably large files."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pcpad._deep_tiff import decode_deep_tiff, in_planes, is_inverted
from pcpad.errors import UserValueError
from pcpad.file_kinds import IMAGE_ENDINGS
from pcpad.files import read_bytes
from pcpad.pictures import (
    PictureError,
    decode,
    last_pixel,
    open_header,
    orientation_of,
    range_of,
    refuse_cut_off,
    refuse_cut_scan,
    refuse_rot,
    turned,
    why_unreadable,
)

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # deprecated in torchvision 0.29, "to be removed in a future release": then PIL reads everything
    decode_jpeg = None
# Emitted for every image.
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities of TorchVision")

SUFFIXES = IMAGE_ENDINGS
"""Files with one of these extensions, in any case, count as images; for others the content decides."""


class BrokenImageError(PictureError):
    """An image file of a data set is damaged, not an image, or too large. The message names the file."""


def read_image(path: str | Path, *, upright: bool = True) -> torch.Tensor:
    """Read an image file as RGB.

    Gray, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped, and animations yield their first
    frame. Truncation is detected in all formats; changed bytes are detected in PNG by its checksums, in JPEG if they
    cannot be pixel data (a single flipped bit usually can), and in other formats if decoding fails.

    Args:
        path: A file in a format that `pictures.read_picture` knows, according to its content, not its name.
        upright: Whether to apply its EXIF orientation, as viewers do. The PIL pipelines behind the published ImageNet
            numbers don't. (Pillow always applies it to TIFF files.)

    Returns:
        `(3, H, W)` uint8 in [0, 255].

    Raises:
        BrokenImageError: The file is missing, empty, truncated, not an image, or claims more than
            `pictures.MOST_PIXELS`.
    """
    try:
        return decode_image(read_bytes(Path(path)), upright=upright, name=Path(path).name)
    except Warning:
        raise  # the user's `-W error`: not the file's fault
    # PIL's plugins raise many kinds of errors on damaged files (SyntaxError, struct.error, KeyError, zlib.error, …).
    except Exception as error:
        message = f"{path}: {why_unreadable(error, 'an image')}"
        raise BrokenImageError(message) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Read an image's size from its header alone.

    Args:
        path: As in `read_image`.

    Returns:
        Height and width, upright. (As stored for a PNG whose orientation is written after its pixels.)

    Raises:
        BrokenImageError: The file is missing, empty, not an image, or claims more than `pictures.MOST_PIXELS`.
    """
    try:
        with open_header(Path(path)) as header:
            # For a PNG without an orientation, asking for it would decode the pixels.
            known = header.format != "PNG" or "exif" in header.info
            on_its_side = known and header.format != "TIFF" and orientation_of(header) >= 5
            return (header.width, header.height) if on_its_side else (header.height, header.width)
    except Warning:
        raise
    except Exception as error:
        message = f"{path}: {why_unreadable(error, 'an image')}"
        raise BrokenImageError(message) from error


def decode_image(data: bytes, *, upright: bool = True, name: str = "") -> torch.Tensor:
    """Decode an image held in memory; see `read_image` for what it accepts.

    Args:
        data: The bytes of the file.
        upright: See `read_image`.
        name: The file's name, needed only to recognize old TGA files.

    Returns:
        `(3, H, W)` uint8 in [0, 255].

    Raises:
        ValueError: Empty, truncated, larger than `pictures.MOST_PIXELS`, or of a pixel type without a known range.
        Exception: Any error that the format's decoder raises on damaged data.
    """
    with open_header(data, name) as header:
        # Left by an interrupted copy or a crashed file system. torchvision refuses it; PIL fills it with gray.
        refuse_cut_off(data, header.format)
        refuse_rot(data, header.format)
        if header.format in ("JPEG", "MPO") and decode_jpeg is not None and header.mode in ("RGB", "L"):
            # torchvision for JPEG only, where it gives PIL's pixels in 1.1 ms instead of 1.5 (500x375): its PNG
            # decoder (0.29) crashes with a segmentation fault on one flipped byte, while 3000 damaged JPEGs only
            # raised errors. CMYK is left to PIL, whose inversion rules ImageNet was always read with.
            image = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
            refuse_cut_scan(data, header, image[:, -1, -1].tolist())
        else:
            image = _to_rgb(header, data)
        orientation = orientation_of(header) if upright and header.format != "TIFF" else 1
    if orientation == 1:
        decoded: torch.Tensor = image
        return decoded
    rows = turned(image.permute(1, 2, 0).numpy(), orientation)
    return torch.from_numpy(np.ascontiguousarray(rows)).permute(2, 0, 1)


def _to_rgb(image: Image.Image, data: bytes) -> torch.Tensor:
    """Decode and convert any PIL image to `(3, H, W)` uint8."""
    if image.mode in ("I", "F"):
        message = f"pixels of PIL mode {image.mode!r} have no known range; convert the file to 8 or 16 bits"
        raise UserValueError(message)
    see_through = "transparency" in image.info
    bits = max(image.tag_v2.get(258, (1,))) if image.format == "TIFF" else 0  # type: ignore[attr-defined]
    if bits == 16 and in_planes(image):
        pixels, _ = decode_deep_tiff(data, image)
        return torch.from_numpy((pixels[..., :3] >> 8).astype(np.uint8)).permute(2, 0, 1)
    decode(image)
    refuse_cut_scan(data, image, last_pixel(image))
    if image.mode.startswith("I;16"):
        # PIL's own conversion clips at 255, which would turn a 16-bit image white.
        values = np.asarray(image).astype(np.uint32)
        if is_inverted(image):
            values = 65535 - values
        white = (1 << bits) - 1 if 8 < bits < 16 else range_of(values)
        image = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
    elif see_through:
        # PIL warns about palette transparency given as bytes when it converts to RGB directly.
        image = image.convert("RGBA")
    # torch.from_numpy needs writable memory, which np.asarray(image) is not.
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
