"""Metadata of a picture besides EXIF data: XMP, IPTC, texts and gamma, read from one file and written to another."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Metadata", "for_jpeg", "for_png", "for_tiff", "metadata_of"]

_XMP, _IPTC = 700, 33723  # of TIFF
_XMP_KEY = "XML:com.adobe.xmp"  # of PNG
_IN_EXIF = ("Raw profile type exif", "Raw profile type APP1")  # texts of PNG that are read as EXIF data
_RESOURCE = 1028  # of IPTC data, among Photoshop's in JPEG
_MOST = 1 << 20  # bytes of each
_SEGMENT = 65533  # bytes of a JPEG's segment
_COMMENT = "Comment"
# A second word on the orientation, which is applied; of one digit, so that lengths that are stated elsewhere stay.
_TURNED = re.compile(rb"""(tiff:Orientation(?:=["']|>))[2-8](["']|<)""")
_USUAL_TONES = (0.45455, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06))  # of sRGB, which all else is taken for


@dataclass(frozen=True)
class Metadata:
    """What a file says of a picture besides its EXIF data.

    Args:
        texts: Keywords and texts, as PNG has them; a comment of JPEG or GIF is called `Comment`.
        xmp: Its XMP packet.
        iptc: Its IPTC records.
        gamma: Of the file's values, such as 0.45455; None where it says none.
        primaries: White point, red, green and blue, each as x and y; None where it says none.
    """

    texts: tuple[tuple[str, str], ...] = ()
    xmp: bytes | None = None
    iptc: bytes | None = None
    gamma: float | None = None
    primaries: tuple[float, ...] | None = None

    @property
    def _tones_matter(self) -> bool:
        """Whether its colors are others without gamma and primaries."""
        usual_gamma, usual_primaries = _USUAL_TONES
        return self.gamma not in (None, usual_gamma) or self.primaries not in (None, usual_primaries)


def metadata_of(image: Image.Image) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of a picture that Pillow has decoded.

    Args:
        image: The picture.

    Returns:
        Them, and in words what of them is left out, as it is too large.
    """
    info = image.info
    texts: list[tuple[str, str]] = []
    if image.format == "PNG":
        texts = [(str(key), str(text)) for key, text in info.items() if isinstance(text, str) and key not in _IN_EXIF]
        texts = [(key, text) for key, text in texts if key != _XMP_KEY]
    elif isinstance(comment := info.get("comment"), bytes) and comment:
        texts = [(_COMMENT, _decoded(comment))]
    found: dict[str, Any] = {"texts": tuple(texts), "xmp": _xmp_of(image), "iptc": _iptc_of(image)}
    if image.format == "PNG":
        found |= {"gamma": info.get("gamma"), "primaries": info.get("chromaticity")}
    large = {
        name: said
        for name, said in (("texts", "texts are"), ("xmp", "XMP data are"), ("iptc", "IPTC data are"))
        if _size(found[name]) > _MOST
    }
    kept = Metadata(**{name: value for name, value in found.items() if name not in large})
    return kept, tuple(f"its {said} left out, as they take more than 1 MB" for said in large.values())


def _size(value: bytes | tuple[tuple[str, str], ...] | None) -> int:
    return sum(len(key) + len(text) for key, text in value) if isinstance(value, tuple) else len(value or b"")


def _decoded(data: bytes) -> str:
    try:
        return data.decode().rstrip("\0")
    except UnicodeDecodeError:
        return data.decode("latin-1").rstrip("\0")


def _xmp_of(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp", image.info.get(_XMP_KEY))
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return _TURNED.sub(rb"\g<1>1\g<2>", xmp) if isinstance(xmp, bytes) and xmp else None


def _iptc_of(image: Image.Image) -> bytes | None:
    resources = image.info.get("photoshop")
    found = resources.get(_RESOURCE) if isinstance(resources, dict) else None
    if image.format == "TIFF":
        try:
            found = image.tag_v2.get(_IPTC)  # type: ignore[attr-defined]
        except Warning:
            raise  # the user's `-W error`
        except Exception:  # a damaged tag, which leaves the pixels as they are
            return None
    return found if isinstance(found, bytes) and found else None


def for_png(metadata: Metadata) -> tuple[list[tuple[bytes, bytes]], list[str]]:
    """The chunks of a PNG that say it, in order and to be before the pixels; and in words what PNG has no place for."""
    chunks = []
    if metadata.gamma is not None:
        chunks.append((b"gAMA", struct.pack(">I", round(metadata.gamma * 100_000))))
    if metadata.primaries is not None:
        chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in metadata.primaries))))
    chunks += [_text_chunk(key, text) for key, text in metadata.texts]
    if metadata.xmp is not None:
        chunks.append((b"iTXt", _XMP_KEY.encode() + bytes(5) + metadata.xmp))
    return chunks, ["its IPTC data"] if metadata.iptc is not None else []


def _text_chunk(key: str, text: str) -> tuple[bytes, bytes]:
    name, text = key.encode("latin-1", "replace")[:79], text.replace("\0", " ")
    try:
        return b"tEXt", name + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", name + bytes(5) + text.encode("utf-8", "replace")


def for_jpeg(metadata: Metadata, has_profile: bool) -> tuple[dict[str, Any], list[str]]:
    """The options of Pillow's `save` that write it to a JPEG, and in words what JPEG has no place for."""
    options: dict[str, Any] = {}
    lost = []
    others = [key for key, _ in metadata.texts if key != _COMMENT]
    for key, text in metadata.texts:
        if key == _COMMENT and len(text.encode("utf-8", "replace")) <= _SEGMENT:
            options["comment"] = text.encode("utf-8", "replace")
        elif key == _COMMENT:
            others.append(key)
    if metadata.xmp is not None:
        if len(metadata.xmp) <= _SEGMENT - 29:  # without its mark
            options["xmp"] = metadata.xmp
        else:
            lost.append("its XMP data")
    if metadata.iptc is not None:
        segment = b"Photoshop 3.0\0" + struct.pack(">4sHHI", b"8BIM", _RESOURCE, 0, len(metadata.iptc))
        segment += metadata.iptc + bytes(len(metadata.iptc) % 2)
        if len(segment) <= _SEGMENT:
            options["extra"] = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
        else:
            lost.append("its IPTC data")
    return options, [*lost, *_lost(metadata, others, has_profile)]


def for_tiff(metadata: Metadata, has_profile: bool) -> tuple[list[tuple[int, int, bytes]], list[str]]:
    """The tags of a TIFF that say it, as `with_entries` takes them, and in words what TIFF has no place for."""
    found = [(_XMP, 1, metadata.xmp), (_IPTC, 7, metadata.iptc)]
    entries = [(tag, kind, data) for tag, kind, data in found if data is not None]
    return entries, _lost(metadata, [key for key, _ in metadata.texts], has_profile)


def _lost(metadata: Metadata, keys: list[str], has_profile: bool) -> list[str]:
    """In words, texts of these keywords, and gamma and primaries where no profile stands above them."""
    lost = [f"its texts ({', '.join(keys[:5])}{', …' if len(keys) > 5 else ''})"] if keys else []
    return [*lost, *(["its gamma and primaries"] if metadata._tones_matter and not has_profile else [])]
