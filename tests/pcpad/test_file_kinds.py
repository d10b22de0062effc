"""What files are by their content."""

import io

import pytest
from PIL import Image

from pcpad.file_kinds import kind_of, kind_of_file, named


def saved(format, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, (9, 7)).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "name"),
    [
        *(("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("BMP", "BMP"), ("TIFF", "TIFF"), ("WEBP", "WebP")),
        *(("PPM", "PNM"), ("TGA", "TGA"), ("JPEG2000", "JPEG 2000"), ("AVIF", "AVIF"), ("DDS", "DDS")),
    ],
)
def test_what_pillow_writes(tmp_path, format, name):
    (tmp_path / "x").write_bytes(saved(format))
    assert kind_of_file(tmp_path / "x") == ("image", name)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "an AVIF image"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "an MP4 or QuickTime video"),
        (b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
        (b"\x47" + bytes(187) + b"\x47", "an MPEG transport stream video"),
        (bytes(4) + b"\x47" + bytes(191) + b"\x47", "an MPEG transport stream video"),
        (b"PK\3\4rest", "a ZIP archive"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns=''>", "an SVG image"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera raw image"),
    ],
)
def test_kinds_and_their_names(head, said):
    kind = kind_of(head)
    assert kind is not None
    assert named(kind) == said


@pytest.mark.parametrize("head", [b"", b"B", b"plain text of any length", b"BM not a bitmap at all", b"GIF8", b"P 5"])
def test_text_and_scraps_are_nothing_known(head):
    assert kind_of(head) is None
