"""Reading one image file into a uint8 RGB tensor, refusing what is damaged or absurd."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

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
except ImportError:  # deprecated in torchvision 0.29, "to be removed in a future release": PIL then reads all
    decode_jpeg = None
# Said once for every image read.
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities of TorchVision")

SUFFIXES = IMAGE_ENDINGS
"""File names with one of these endings, in any case, count as images; of others the content decides."""


class BrokenImageError(PictureError):
    """An image file of a data set that cannot be used: damaged, no image, or too large. The message names the file."""


def read_image(path: str | Path, *, upright: bool = True) -> torch.Tensor:
    """Read an image file as RGB.

    Gray, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped and of an animation the first
    frame is taken. A file cut short is noticed in all formats; other bytes in the middle in PNG by its checksums, in
    JPEG where they cannot be pixel data (a single flipped bit mostly can), elsewhere where they cannot be decoded.

    Args:
        path: A file in a format that `pictures.read_picture` knows; its content decides, not its name.
        upright: Whether to turn it as its EXIF orientation says, as viewers show it. The PIL pipelines behind the
            published ImageNet numbers don't. (TIFF files Pillow always turns.)

    Returns:
        `(3, H, W)` uint8 in [0, 255].

    Raises:
        BrokenImageError: The file is missing, empty, truncated, no image, or claims more than `pictures.MOST_PIXELS`.
    """
    try:
        return decode_image(read_bytes(Path(path)), upright=upright, name=Path(path).name)
    except Warning:
        raise  # the user's `-W error`: not the file's fault
    # PIL's plug-ins raise whatever their parsing runs into (SyntaxError, struct.error, KeyError, zlib.error, …).
    except Exception as error:
        message = f"{path}: {why_unreadable(error, 'an image')}"
        raise BrokenImageError(message) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Look an image's size up in its header, which is all that is read.

    Args:
        path: As in `read_image`.

    Returns:
        Height and width, upright. (Of a PNG as stored, if its orientation stands behind its pixels.)

    Raises:
        BrokenImageError: The file is missing, empty, no image, or claims more than `pictures.MOST_PIXELS`.
    """
    try:
        with open_header(Path(path)) as header:
            # Of a PNG, asking for an orientation that is not there would decode the pixels.
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
        name: The file's name, by which alone an old TGA file is known.

    Returns:
        `(3, H, W)` uint8 in [0, 255].

    Raises:
        ValueError: Empty, cut off, larger than `pictures.MOST_PIXELS`, or of a pixel type without a known range.
        Exception: Whatever the decoder of the format raises on damaged data.
    """
    with open_header(data, name) as header:
        # What an interrupted copy or a crashed file system leaves. torchvision refuses it; PIL paints it gray.
        refuse_cut_off(data, header.format)
        refuse_rot(data, header.format)
        if header.format in ("JPEG", "MPO") and decode_jpeg is not None and header.mode in ("RGB", "L"):
            # torchvision for JPEG alone, where it gives PIL's pixels in 1.1 ms for PIL's 1.5 (500x375): its PNG
            # decoder (0.29) ends the process with a segmentation fault on one flipped byte, where 3000 damaged
            # JPEGs only raised. CMYK stays with PIL, by whose inversion rules ImageNet was always read.
            image = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
            refuse_cut_scan(data, header, image[:, -1, -1].tolist())
        else:
            image = _to_rgb(header, data)
        orientation = orientation_of(header) if upright else 1
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
    decode(image)
    refuse_cut_scan(data, image, last_pixel(image))
    if image.mode.startswith("I;16"):
        # PIL's own conversion clips at 255, which turns a 16-bit image white.
        values = np.asarray(image).astype(np.uint32)
        white = (1 << bits) - 1 if 8 < bits < 16 else range_of(values)
        image = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
    elif see_through:
        # Palette transparency given as bytes makes PIL warn on the direct way.
        image = image.convert("RGBA")
    # torch.from_numpy needs memory it may write to, which np.asarray(image) is not.
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
