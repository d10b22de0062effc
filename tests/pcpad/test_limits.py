"""The budget of pixels, what may set it, and files that claim more than they can hold."""

import io
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from pcpad.datamodules.datasets.hole_masks import read_mask
from pcpad.datamodules.reading.frame_folders import index_folder
from pcpad.datamodules.reading.images import read_image
from pcpad.datamodules.reading.pngs import PngFile
from pcpad.errors import UserValueError
from pcpad.limits import OPTION, most_pixels, refuse_empty_claim
from pcpad.pictures import read_picture

pytestmark = pytest.mark.faults


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, color=0):
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(tile):
    tags = {256: 100, 257: 100, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 200, 325: 20}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(80)


def frame():
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 16_000, 16_000)
    return bytes(data)


def flat_webp():
    file = io.BytesIO()
    Image.new("RGB", (8300, 8300)).save(file, "WEBP", lossless=True, quality=0, method=0)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (png(16_000, 16_000, 2), read_picture),
        (png(16_000, 16_000), lambda path: read_mask(path, "white_hole", 0.5)),
        (png(16_000, 16_000, 2), read_image),
        (png(16_000, 16_000), lambda path: PngFile(path).gray()),
        (flat_webp(), read_picture),
        (tiff(46_336), read_picture),
        (frame(), lambda path: index_folder(path.parent)),
    ],
    ids=["picture", "mask", "image", "label map", "flat WebP", "tile of a TIFF", "frame"],
)
def test_a_header_that_claims_more_than_its_file_holds_is_refused_unread(tmp_path, monkeypatch, data, read):
    path = tmp_path / "image_00001.jpg"
    path.write_bytes(data)

    def decoded(*_, **__):
        message = "memory was taken for what a header claims"
        raise AssertionError(message)

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    monkeypatch.setattr("cv2.imdecode", decoded)
    with pytest.raises(UserValueError, match=r"image_00001\.jpg: .*(cannot hold|header claims tiles)"):
        read(path)


def test_what_any_file_may_claim_is_left_to_its_decoder():
    refuse_empty_claim(8192, 8192, 1)
    with pytest.raises(UserValueError, match="1 bytes cannot hold the 8192x8193 pixels"):
        refuse_empty_claim(8192, 8193, 1)
    refuse_empty_claim(16_384, 16_384, 32_600)  # black, deflated


def test_large_pictures_need_a_file_as_large_as_masks_are_or_somebody_s_word(monkeypatch):
    refuse_empty_claim(32_768, 32_768, 1_040_448)
    with pytest.raises(UserValueError, match=rf"1040447 bytes are few for .* 6 GiB .* set .* {OPTION} to 1073741824$"):
        refuse_empty_claim(32_768, 32_768, 1_040_447)
    monkeypatch.setenv(OPTION, str(1 << 30))
    refuse_empty_claim(32_768, 32_768, 1 << 18)
    with pytest.raises(UserValueError, match="1000 bytes cannot hold"):
        refuse_empty_claim(32_768, 32_768, 1000)


@pytest.mark.parametrize(("given", "pixels"), [("", 1 << 30), ("1_000_000", 10**6), (" 4,000 ", 4000), ("7", 7)])
def test_the_environment_sets_the_budget(monkeypatch, given, pixels):
    monkeypatch.setenv(OPTION, given)
    assert most_pixels() == pixels


@pytest.mark.parametrize("given", ["lots", "-1", "0", "1e9"])
def test_a_budget_that_is_no_number_is_refused(monkeypatch, given):
    monkeypatch.setenv(OPTION, given)
    with pytest.raises(
        UserValueError, match=rf"{OPTION} to be a number of pixels such as 1073741824, but got '{given}'"
    ):
        most_pixels()


def test_a_picture_beyond_the_budget_says_how_to_raise_it(tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    code = f"from pcpad.pictures import read_picture; print(read_picture({str(tmp_path / 'a.png')!r}).size)"

    def run(budget):
        ran = subprocess.run([sys.executable, "-c", code], env={OPTION: budget}, capture_output=True, text=True)
        return ran.stdout + ran.stderr

    assert "(30, 40)" in run("1200")
    said = run("1199")
    assert "claims 40x30 pixels, more than the 1199 allowed; if the file is what it should be, set" in said
    assert OPTION in said
