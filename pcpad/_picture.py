"""A picture in memory: its pixels, upright, and the metadata of its file that is passed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pcpad._picture_metadata import Metadata
from pcpad.deprecation import renamed_attributes, renamed_keywords
from pcpad.errors import UserValueError
from pcpad.georeference import Georeference

__all__ = ["FORMATS", "Picture", "PictureError", "PictureFormat", "why_unreadable"]

PictureFormat = Literal["png", "tiff", "jpg"]
FORMATS: tuple[PictureFormat, ...] = ("png", "tiff", "jpg")


class PictureError(UserValueError):
    """A picture that cannot be read or written. The message names the file.

    It and its subclasses take the message alone, because a DataLoader rebuilds a worker's exception from its text.
    """


@renamed_keywords(removed="0.3.0", colour="color")
@renamed_attributes(removed="0.3.0", colour="color")
@dataclass
class Picture:
    """The pixels of a picture, upright.

    Attributes:
        color: (H, W, 1) gray or (H, W, 3) RGB, uint8 or uint16, writable. If requested, (H, W, 4) of a CMYK picture,
            uint8: what each ink leaves white, so that 255 is no ink.
        alpha: (H, W) opacity in `color`'s type; None where the picture has none.
        profile: Its ICC color profile; None where it has none, or one for a color space that it is no longer in.
        notes: In words, what was not kept as it was in the file.
        top: The largest value a pixel can have, where that is not the largest of `color`'s type.
        place: Its georeference, of a GeoTIFF.
        exif: Its EXIF data, without the orientation, which is applied, and without what a format's own header says.
        dpi: Pixels per inch, across and down.
        metadata: Its XMP and IPTC data, texts and gamma.
    """

    color: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()
    top: int | None = None
    place: Georeference | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.color.shape[0], self.color.shape[1]

    @property
    def white(self) -> int:
        """The largest value a pixel can have."""
        return int(np.iinfo(self.color.dtype).max) if self.top is None else self.top

    @property
    def is_ink(self) -> bool:
        """Whether its channels are cyan, magenta, yellow and black."""
        ink: bool = self.color.shape[2] == 4
        return ink

    def rgb(self) -> np.ndarray:
        """The colors as (H, W, 3) RGB, or (H, W, 1) where they are gray; inks by Pillow's plain formula."""
        if not self.is_ink:
            return self.color
        black = self.color[..., 3:].astype(np.uint16)
        return ((self.color[..., :3] * black + 127) // 255).astype(np.uint8)


def why_unreadable(error: Exception, what: str = "a picture") -> str:
    """Say in a few words why a picture could not be read or written.

    Args:
        error: What Pillow, OpenCV, torchvision or the file system raised.
        what: What was expected.

    Returns:
        Text to follow the file's name.
    """
    if type(error).__name__ == "UnidentifiedImageError":
        # Pillow's own says no more; ours begins with what the file is instead.
        return f"not {what} in a known format" + (str(error) if str(error).startswith(", but ") else "")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # torchvision's messages start with the function and the source file they were compiled from.
    text = str(error).splitlines()[0].rsplit(".cpp:", 1)[-1] if str(error) else type(error).__name__
    return text.partition(", ")[2] if text[:1].isdigit() and ", " in text else text
