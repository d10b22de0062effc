"""The format of a file by its first bytes, whatever its name says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from pcpad.files import opened

__all__ = ["HEAD", "IMAGE_ENDINGS", "FileKind", "kind_of", "kind_of_file", "named"]

HEAD = 512
"""How many of a file's first bytes `kind_of` wants."""

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".j2k", ".jpf", ".jpx"),
    *(".avif", ".heic", ".heif", ".hif"),
)
"""File name endings of pictures, in lower case."""


class FileKind(NamedTuple):
    """The kind of a file.

    Attributes:
        what: Whether it is a picture, a video or something else.
        name: Its format: "PNG", "HEIC", "ZIP archive".
    """

    what: Literal["image", "video", "other"]
    name: str


_SIGNATURES: tuple[tuple[bytes, FileKind], ...] = (
    (b"\xff\xd8\xff", FileKind("image", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", FileKind("image", "PNG")),
    (b"GIF87a", FileKind("image", "GIF")),
    (b"GIF89a", FileKind("image", "GIF")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", FileKind("image", "JPEG 2000")),
    (b"\xff\x4f\xff\x51", FileKind("image", "JPEG 2000")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", FileKind("image", "JPEG XL")),
    (b"\xff\x0a", FileKind("image", "JPEG XL")),
    (b"8BPS", FileKind("image", "Photoshop")),
    (b"\x76\x2f\x31\x01", FileKind("image", "OpenEXR")),
    (b"#?RADIANCE", FileKind("image", "Radiance HDR")),
    (b"#?RGBE", FileKind("image", "Radiance HDR")),
    (b"qoif", FileKind("image", "QOI")),
    (b"DDS ", FileKind("image", "DDS")),
    (b"gimp xcf", FileKind("image", "GIMP")),
    (b"FUJIFILMCCD-RAW", FileKind("image", "camera raw")),
    (b"IIRO", FileKind("image", "camera raw")),
    (b"IIU\0", FileKind("image", "camera raw")),
    (b"FOVb", FileKind("image", "camera raw")),
    (b"\x1a\x45\xdf\xa3", FileKind("video", "Matroska or WebM")),
    (b"OggS", FileKind("video", "Ogg")),
    (b"FLV\1", FileKind("video", "Flash video")),
    (b"\0\0\1\xba", FileKind("video", "MPEG program stream")),
    (b"\0\0\1\xb3", FileKind("video", "MPEG video")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileKind("video", "Windows Media")),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", FileKind("video", "MXF")),
    (b".RMF", FileKind("video", "RealMedia")),
    (b"PK\3\4", FileKind("other", "ZIP archive")),
    (b"\x1f\x8b", FileKind("other", "gzip archive")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("other", "7z archive")),
    (b"Rar!\x1a\x07", FileKind("other", "RAR archive")),
    (b"\xfd7zXZ\0", FileKind("other", "xz archive")),
    (b"BZh", FileKind("other", "bzip2 archive")),
    (b"%PDF", FileKind("other", "PDF document")),
    (b"%!PS", FileKind("other", "PostScript document")),
    (b"\x93NUMPY", FileKind("other", "NumPy array")),
)
# The four letters after `ftyp`. For those that both use (mif1, msf1) the compatible brands that follow decide.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), FileKind("image", "AVIF")),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), FileKind("image", "HEIC")),
    b"crx ": FileKind("image", "camera raw"),
    b"M4A ": FileKind("other", "sound file"),
}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_PNM = re.compile(rb"P[1-7fF][\s#]")
_MARKUP = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE\s+svg[^>]*>\s*)*<(svg|!doctype html|html)",
    re.DOTALL | re.IGNORECASE,
)


def named(kind: FileKind) -> str:
    """A kind's name in a sentence: "a PNG image", "an MXF video", "a ZIP archive"."""
    name = kind.name + ("" if kind.what == "other" or "video" in kind.name else f" {kind.what}")
    return f"{'an' if name[0] in 'AEIO' or name[:3] in ('MXF', 'MPE', 'MP4', 'SVG', 'xz ') else 'a'} {name}"


def kind_of_file(path: Path) -> FileKind | None:
    """What a file is; None if it is unknown, or text. See `kind_of`.

    Raises:
        OSError: It cannot be read.
    """
    with opened(path) as file:
        head = file.read(HEAD)
        kind = kind_of(head)
        if kind is None and len(head) >= 18:
            file.seek(max(0, path.stat().st_size - 26))
            if file.read(26)[8:24] == b"TRUEVISION-XFILE":
                return FileKind("image", "TGA")
    return kind


def kind_of(head: bytes) -> FileKind | None:
    """Name a file's format.

    Args:
        head: Its first `HEAD` bytes.

    Returns:
        The format; None where it is not known.
    """
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[:4] == b"RIFF":
        return {
            b"WEBP": FileKind("image", "WebP"),
            b"AVI ": FileKind("video", "AVI"),
            b"WAVE": FileKind("other", "sound file"),
        }.get(head[8:12])
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return FileKind("video", "QuickTime")
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return FileKind("image", "camera raw" if head[8:10] == b"CR" else "TIFF")
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return FileKind("image", "BMP")
    if _PNM.match(head):
        return FileKind("image", "PNM")
    # Packets of 188 bytes; with a time of 4 bytes before each in .mts and .m2ts.
    steps = ((0, 188), (4, 192))
    if any(len(head) > first + step and head[first] == head[first + step] == 0x47 for first, step in steps):
        return FileKind("video", "MPEG transport stream")
    markup = _MARKUP.match(head.removeprefix(b"\xef\xbb\xbf"))
    if markup:
        return FileKind("image", "SVG") if markup[1].lower() == b"svg" else FileKind("other", "web page")
    return None


def _of_brands(head: bytes) -> FileKind:
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
    known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if brands[0] in _BRANDS:
        return known[0]
    if brands[0] in (b"mif1", b"msf1", b"miaf", b"1pic"):
        return known[0] if known else FileKind("image", "HEIC")
    return FileKind("video", "MP4 or QuickTime")
