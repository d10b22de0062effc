"""Pictures, masks, label maps and frames of damaged and hostile bytes."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pcpad import pictures
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.hole_masks import OTHER, read_mask
from pcpad.datamodules.datasets.label_maps import read_checked_ids
from pcpad.datamodules.reading.frame_folders import FrameFolder, index_folder
from pcpad.datamodules.reading.images import BrokenImageError, image_size, read_image
from pcpad.datamodules.reading.pngs import PngFile, PngOutline, png_size
from pcpad.datamodules.reading.video_files import BrokenVideoError
from pcpad.errors import UserValueError
from pcpad.pictures import PictureError, read_picture

MOST = 1 << 22
VALUES = np.random.default_rng(0).integers(0, 256, (24, 33, 4), dtype=np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _small_limit():
    """So that a header that gets past the limit shows by far less memory than it would take."""
    before, pictures.MOST_PIXELS = pictures.MOST_PIXELS, MOST
    yield
    pictures.MOST_PIXELS = before


def saved(image, format, **options):
    with io.BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def pngs():
    rgb, gray = Image.fromarray(VALUES[..., :3]), Image.fromarray(VALUES[..., 0])
    palette = rgb.quantize(16)
    return (
        saved(rgb, "PNG"),
        saved(gray, "PNG"),
        saved(rgb, "PNG", exif=exif(6)),
        saved(Image.fromarray(VALUES), "PNG"),
        saved(palette, "PNG", transparency=bytes(range(16))),
        saved(gray.convert("1"), "PNG"),
        saved(Image.fromarray(VALUES[..., 0].astype(np.uint16) * 257), "PNG"),
        saved(rgb, "PNG", save_all=True, append_images=[rgb.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]),
    )


def jpegs():
    smooth = Image.fromarray(np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8))
    color = Image.merge("RGB", [smooth, smooth.transpose(Image.Transpose.FLIP_LEFT_RIGHT), smooth])
    return (
        saved(color, "JPEG"),
        saved(color, "JPEG", progressive=True, exif=exif(8)),
        saved(smooth, "JPEG", restart_marker_blocks=2),
        saved(color.convert("CMYK"), "JPEG"),
        saved(color, "MPO", save_all=True, append_images=[color]),
    )


def others():
    rgb = Image.fromarray(VALUES[..., :3])
    deep = Image.fromarray(VALUES[..., 0].astype(np.uint16) * 257)
    return (
        saved(rgb, "TIFF"),
        saved(rgb, "TIFF", compression="tiff_lzw"),
        saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        saved(rgb, "BMP"),
        saved(rgb, "GIF"),
        saved(rgb.quantize(4), "GIF", save_all=True, append_images=[rgb.quantize(4).rotate(90)]),
        saved(rgb, "WEBP"),
        saved(Image.fromarray(VALUES), "WEBP", lossless=True),
        saved(rgb, "PPM"),
        b"P2 3 2 255\n0 1 2\n3 4 5\n",
        b"P4 9 2\n\xff\x80\x0f\x00",
        saved(rgb, "TGA"),
        saved(rgb, "TGA", compression="tga_rle"),
        saved(rgb, "JPEG2000"),
    )


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SIZES = st.sampled_from((0, 1, 2, 3, 33, 255, 2048, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1))


@st.composite
def made_pngs(draw):
    """PNG files of chunks that fit together or not, with valid checksums."""
    width, height, depth, color = draw(SIZES), draw(SIZES), draw(st.integers(0, 17)), draw(st.integers(0, 7))
    if draw(st.booleans()):
        width, height, depth, color = draw(st.tuples(*4 * [st.sampled_from((1, 2, 3, 8, 16))]))
        color %= 7
    header = struct.pack(
        ">IIBBBBB", width, height, depth, color, *draw(st.tuples(*3 * [st.sampled_from((0, 0, 0, 1, 2))]))
    )
    kinds = st.sampled_from(
        (b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"IHDR")
    )
    parts = draw(st.lists(st.tuples(kinds, st.binary(max_size=40)), max_size=3))
    pixels = draw(st.one_of(st.binary(max_size=60), st.integers(0, 5000).map(bytes)))
    data = chunk(b"IDAT", zlib.compress(pixels) if draw(st.booleans()) else pixels)
    before = draw(st.integers(0, len(parts)))
    chunks = [
        chunk(b"IHDR", header),
        *(chunk(*part) for part in parts[:before]),
        data,
        *(chunk(*part) for part in parts[before:]),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


@st.composite
def made_jpegs(draw):
    """Valid JPEG files, one segment of whose header claims something else."""
    data = bytearray(draw(st.sampled_from(jpegs()[:4])))
    marks = [
        at
        for at in range(2, len(data) - 9)
        if data[at] == 0xFF and data[at + 1] in (0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE1)
    ]
    at = draw(st.sampled_from(marks))
    if data[at + 1] in (0xC0, 0xC2) and draw(st.booleans()):
        sizes = st.sampled_from((0, 1, 7, 8, 9, 255, 8192, 65535))
        data[at + 5 : at + 9] = struct.pack(">HH", draw(sizes), draw(sizes))
    else:
        start = at + draw(st.integers(1, 12))
        piece = draw(st.binary(min_size=1, max_size=6))
        data[start : start + len(piece)] = piece
    return bytes(data)


def check(outcome, write, data, name="x"):
    """Read bytes by every reader of pictures."""
    path = write(name, data)
    found = outcome(read_picture, path, errors=(PictureError,))
    if not isinstance(found, PictureError):
        assert 0 < found.color.size <= 4 * MOST
    found = outcome(read_image, path, errors=(BrokenImageError,))
    if not isinstance(found, BrokenImageError):
        assert found.shape[0] == 3
        assert outcome(image_size, path, errors=(BrokenImageError,))
    for polarity in (*OTHER, "nonblack_hole", "transparent_hole", "opaque_hole"):
        outcome(read_mask, path, polarity, 0.5, judge=True, errors=(PictureError,))


def check_png(outcome, write, data):
    """Read bytes by every reader of a data set's PNG files."""
    path = write("x.png", data)
    for reader in (png_size, PngOutline):
        outcome(reader, path, errors=(BrokenImageError,))
    file = outcome(PngFile, path, errors=(BrokenImageError,))
    if isinstance(file, BrokenImageError):
        return
    for rows, columns in ((slice(None), slice(None)), (slice(1, 3), slice(2, 5))):
        for read in (file.rgb, file.gray):
            outcome(read, rows, columns, errors=(UserValueError,))
    outcome(file.gray16, errors=(UserValueError,))


PNGS, JPEGS, OTHERS = pngs(), jpegs(), others()


@given(data=st.data())
def test_png_files(outcome, write, damaged, data):
    content = data.draw(st.one_of(damaged(*PNGS, checksums=True), made_pngs()))
    check(outcome, write, content)
    check_png(outcome, write, content)


@given(data=st.data())
def test_jpeg_files(outcome, write, damaged, data):
    check(outcome, write, data.draw(st.one_of(damaged(*JPEGS, head=640), made_jpegs())))


@given(data=st.data())
def test_pictures_of_other_formats(outcome, write, damaged, data):
    check(outcome, write, data.draw(damaged(*OTHERS, head=200)), data.draw(st.sampled_from(("x", "x.tga"))))


@given(data=st.data())
def test_frames(outcome, folder, damaged, data):
    frames = folder / "frames"
    frames.mkdir(exist_ok=True)
    (frames / "image_00001.jpg").write_bytes(data.draw(st.one_of(damaged(*JPEGS, head=640), made_jpegs())))
    index = outcome(index_folder, frames, errors=(BrokenVideoError,))
    if not isinstance(index, BrokenVideoError):
        assert outcome(FrameFolder(frames, index, 8).read, [0], errors=(BrokenVideoError,)).shape[-1] == 3


@given(data=st.data())
def test_label_maps(outcome, write, damaged, folder, data):
    values = st.sampled_from((0, 7, 18, 26, 33, 34, 254, 255))
    rows, columns = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    ids = data.draw(st.lists(values, min_size=rows * columns, max_size=rows * columns))
    label = saved(Image.fromarray(np.array(ids, np.uint8).reshape(rows, columns)), "PNG")
    image = saved(Image.new("RGB", (columns, rows)), "PNG")
    which = data.draw(st.integers(0, 3))
    if which & 1:
        label = data.draw(damaged(label, PNGS[1], PNGS[6], checksums=True))
    if which & 2:
        image = data.draw(damaged(image, PNGS[0], PNGS[2], checksums=True))
    write("label.png", label)
    write("image.png", image)
    found = outcome(read_checked_ids, folder, Pair("image.png", "label.png"), errors=(UserValueError,))
    if not isinstance(found, UserValueError):
        assert set(np.unique(found).tolist()) <= {*range(34), 255}
