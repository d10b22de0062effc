"""Open pictures by their content, each with the one Pillow plug-in for its format."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcpad._damage import unlimited_pillow
from pcpad._deep_tiff import kind_not_read
from pcpad.errors import UserModuleNotFoundError, UserValueError
from pcpad.file_kinds import HEAD, FileKind, kind_of, named
from pcpad.files import opened

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["bits_of", "opened_by_pillow"]

# Pillow would try every plug-in, including the one that passes EPS files to Ghostscript.
_PLUGINS = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "BMP": "BMP",
    "WebP": "WEBP",
    "TIFF": "TIFF",
    "GIF": "GIF",
    "PNM": "PPM",
    "TGA": "TGA",
    "JPEG 2000": "JPEG2000",
    "AVIF": "AVIF",
    "HEIC": "HEIF",
}
# Formats that Pillow may be built without, or be too old for.
_BUILT_WITH = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
_FOOTER = b"TRUEVISION-XFILE"
_DNG, _SUBFILE, _SUB_IFDS = 50706, 254, 330  # of TIFF
_STATED = (256, 257, 258, 262)  # size, bits and colors
_SIZ, _PIXI = b"\xff\x4f\xff\x51", b"pixi"


@contextmanager
def opened_by_pillow(source: Path | bytes, name: str = "") -> Iterator[Image.Image]:
    """Open a picture; its content decides its format.

    Args:
        source: A file, or its content.
        name: The file's name where the content is given: TGA files may be recognizable by nothing else.

    Yields:
        The picture, of which Pillow has read the header.

    Raises:
        ValueError: It is of a kind that cannot be read; the message says what to do.
        Exception: Whatever Pillow raises on a file that is not a picture.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else opened(source) as file:
        kind = _kind(file, name if isinstance(source, bytes) else source.name)
        _need_plugin(kind)
        with unlimited_pillow() as pillow:
            try:
                image = pillow.open(file, formats=(_PLUGINS[kind.name],))
            except pillow.UnidentifiedImageError as error:
                if kind.name == "TIFF" and (tags := _tags_of(file)):
                    raise UserValueError(kind_not_read(tags)) from error
                message = f"damaged: it begins like {named(kind)}, but its header cannot be read"
                raise UserValueError(message) from error
        with image:
            _refuse_raw(image)
            yield image


def _kind(file: Any, name: str) -> FileKind:
    head = file.read(HEAD)
    kind = kind_of(head)
    if kind is None and len(head) >= 18:
        file.seek(-min(26, file.seek(0, io.SEEK_END)), io.SEEK_END)
        # Files from before 1989 have no mark at all.
        if name.lower().endswith((".tga", ".icb", ".vda", ".vst")) or _FOOTER in file.read():
            kind = FileKind("image", "TGA")
    file.seek(0)
    if kind is None:
        from PIL import UnidentifiedImageError

        raise UnidentifiedImageError
    return kind


def _tags_of(file: Any) -> Mapping[int, Any]:
    """The tags of a TIFF that Pillow does not open; none where they are damaged or say no size."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        file.seek(0)
        head = file.read(8)
        directory = ImageFileDirectory_v2(head + (file.read(8) if 43 in head[2:4] else b""))
        file.seek(directory.next)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is damaged is left out, with a warning
            directory.load(file)
        return dict(directory) if all(tag in directory for tag in _STATED) else {}
    except Exception:  # as its parsing runs into anything
        return {}


def _need_plugin(kind: FileKind) -> None:
    if kind.what != "image":
        from PIL import UnidentifiedImageError

        message = f", but {named(kind)}"
        raise UnidentifiedImageError(message)
    plugin = _PLUGINS.get(kind.name)
    if plugin is None:
        message = f"{kind.name} pictures cannot be read: convert it to PNG, TIFF or JPEG"
        raise UserValueError(message)
    if plugin == "HEIF":
        _register_heif()
    if plugin in _BUILT_WITH:
        from PIL import features

        # `features.get_supported` would import tkinter, and whatever in the current folder is called that.
        feature = _BUILT_WITH[plugin]
        if feature not in (*features.modules, *features.codecs) or not features.check(feature):
            message = f"this Pillow cannot read {kind.name}: `pip install -U 'pillow>=11.3'`, or convert it to PNG"
            raise UserModuleNotFoundError(message)


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        message = "HEIC pictures need the extra `heif`: `pip install 'pcpad[heif]'`, or convert it to JPEG or PNG"
        raise UserModuleNotFoundError(message) from error
    register_heif_opener()


def _refuse_raw(image: Image.Image) -> None:
    """Refuse the raw file of a camera, of which Pillow would read the small preview."""
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    if _DNG in tags or (tags.get(_SUBFILE, 0) & 1 and _SUB_IFDS in tags):
        message = "camera raw pictures cannot be read: develop it, and save it as TIFF, PNG or JPEG"
        raise UserValueError(message)


def bits_of(path: Path, format: str | None) -> int:
    """The bits per channel that a JPEG 2000, AVIF or HEIC file states; 8 where it states none."""
    with opened(path) as file:
        head = file.read(1 << 16)
    if format == "JPEG2000":
        at = head.find(_SIZ) + 42
        return (head[at] & 0x7F) + 1 if 42 <= at < len(head) else 8
    at = head.find(_PIXI) + 9
    return head[at] if 9 <= at < len(head) else 8
