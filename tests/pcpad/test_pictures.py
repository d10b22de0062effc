"""Pictures come in and go out bit by bit, whatever they are; what cannot be read is named."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pcpad import files as files_module
from pcpad import pictures
from pcpad.datamodules.reading.images import read_image
from pcpad.pictures import Picture, PictureError, read_picture, write_picture

RNG = np.random.default_rng(0)


def pixels(channels, kind, height=70, width=9):
    return RNG.integers(0, np.iinfo(kind).max + 1, (height, width, channels), dtype=kind)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def plain_png(array, *extra):
    """An independent, unfiltered PNG encoder."""
    depth = 8 * array.itemsize
    color = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[2]]
    rows = b"".join(b"\0" + row.astype(f">u{array.itemsize}").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], depth, color, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def turned(array, orientation):
    """What each EXIF orientation asks for, spelled out."""
    return {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: np.rot90(array, -1),
        7: np.rot90(array)[:, ::-1],
        8: np.rot90(array),
    }[orientation]


def exif(orientation):
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", orientation, 0, 0)


def whole(picture):
    return picture.color if picture.alpha is None else np.dstack([picture.color, picture.alpha])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_any_depth_and_channels_is_read_and_written_bit_by_bit(tmp_path, channels, kind):
    array = pixels(channels, kind)
    (tmp_path / "a.png").write_bytes(plain_png(array))
    picture = read_picture(tmp_path / "a.png")
    assert picture.color.dtype == kind
    assert picture.color.shape[2] == (1 if channels < 3 else 3)
    assert (picture.alpha is not None) == (channels in (2, 4))
    assert picture.notes == ()
    assert np.array_equal(whole(picture), array)
    assert write_picture(tmp_path / "b.png", picture) == ()
    again = read_picture(tmp_path / "b.png")
    assert np.array_equal(whole(again), array)
    assert again.color.dtype == kind
    # Another decoder sees the same.
    seen = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen.reshape(*array.shape[:2], -1)[..., -1], array[..., {3: 0}.get(channels, -1)])
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_is_lossless_too(tmp_path, channels, kind):
    array = pixels(channels, kind)
    color, alpha = (array[..., :3], array[..., 3]) if channels == 4 else (array, None)
    assert write_picture(tmp_path / "a.tiff", Picture(color, alpha), "tiff") == ()
    assert np.array_equal(whole(read_picture(tmp_path / "a.tiff")), array)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_png_orientation_is_applied(tmp_path, orientation, kind):
    array = pixels(3, kind)
    (tmp_path / "a.png").write_bytes(plain_png(array, chunk(b"eXIf", exif(orientation))))
    assert np.array_equal(read_picture(tmp_path / "a.png").color, turned(array, orientation))


@pytest.mark.parametrize("orientation", [1, 3, 6, 7, 8])
@pytest.mark.parametrize(("kind", "channels"), [(np.uint8, 3), (np.uint16, 1), (np.uint16, 3)])
def test_tiff_orientation_is_applied_once(tmp_path, orientation, kind, channels):
    array = pixels(channels, kind, 7, 5)
    height, width, _ = array.shape
    data = array.astype(f"<u{array.itemsize}").tobytes()
    after = 8 + len(data)
    bits = struct.pack("<3H", *[8 * array.itemsize] * 3)
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, after if channels == 3 else 8 * array.itemsize),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if channels == 3 else 1),
        (273, 4, 1, 8),
        (274, 3, 1, orientation),
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, 4, 1, len(data)),
    ]
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", after + len(bits)) + data + bits + table)
    assert np.array_equal(read_picture(tmp_path / "a.tif").color, turned(array, orientation))


def test_jpeg_orientation_is_applied(tmp_path):
    array = np.zeros((16, 32, 3), np.uint8)
    array[:, :16] = 255
    Image.fromarray(array).save(tmp_path / "a.jpg", quality=100, exif=b"Exif\0\0" + exif(6))
    color = read_picture(tmp_path / "a.jpg").color
    assert color.shape == (32, 16, 3)
    assert color[:12].min() > 240
    assert color[20:].max() < 15


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "LA"])
def test_other_colors_become_rgb_which_is_said(tmp_path, mode):
    image = Image.fromarray(pixels(3, np.uint8)).convert(mode)
    name = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(name)
    with Image.open(name) as file:
        expected = np.asarray(file.convert({"1": "L", "LA": "LA"}.get(mode, "RGB")))
    picture = read_picture(name)
    assert np.array_equal(np.squeeze(whole(picture)), expected)
    said = {"CMYK": ("converted from CMYK to RGB",), "P": ("converted from a palette to RGB",)}
    said["1"] = ("its 1 bit per pixel becomes 8",)
    assert picture.notes == said.get(mode, ())


def test_transparent_color_and_palette_become_alpha(tmp_path):
    Image.fromarray(np.array([[0, 7]], np.uint8)).save(tmp_path / "gray.png", transparency=7)
    assert read_picture(tmp_path / "gray.png").alpha.tolist() == [[255, 0]]
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    palette.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    assert read_picture(tmp_path / "p.png").alpha.tolist() == [[0, 128, 255]]
    assert read_picture(tmp_path / "p.png").color.tolist() == [[[0] * 3, [1] * 3, [2] * 3]]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_of_several_frames_the_first_is_used_which_is_said(tmp_path, kind):
    frames = [Image.fromarray(np.full((4, 4), value, kind)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    picture = read_picture(tmp_path / "a.tif")
    assert (picture.color == 10).all()
    assert picture.notes == ("the first of its 2 frames is used",)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_color_profile_is_kept(tmp_path, kind):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_picture(tmp_path / "a.png", Picture(pixels(3, kind), None, profile))
    assert read_picture(tmp_path / "a.png").profile == profile
    write_picture(tmp_path / "a.jpg", Picture(pixels(3, kind), None, profile), "jpg")
    assert read_picture(tmp_path / "a.jpg").profile == profile


def test_a_cmyk_profile_is_not_put_on_an_rgb_picture(tmp_path):
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg", icc_profile=b"of CMYK")
    assert read_picture(tmp_path / "a.jpg").profile is None


def test_jpeg_says_what_it_cannot_keep(tmp_path):
    array = np.full((8, 8, 3), 40_000, np.uint16)
    lost = write_picture(tmp_path / "a.jpg", Picture(array, array[..., 0]), "jpg")
    assert lost == ("alpha", "8 of the 16 bits per channel")
    assert abs(int(read_picture(tmp_path / "a.jpg").color[4, 4, 0]) - 40_000 / 257) < 2


def test_16_bit_portable_maps(tmp_path):
    gray = pixels(1, np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5\n9 70\n65535\n" + gray.astype(">u2").tobytes())
    assert np.array_equal(read_picture(tmp_path / "a.pgm").color, gray)
    color = pixels(3, np.uint16)
    (tmp_path / "a.ppm").write_bytes(b"P6\n9 70\n65535\n" + color.astype(">u2").tobytes())
    assert np.array_equal(read_picture(tmp_path / "a.ppm").color, color)
    (tmp_path / "b.pgm").write_bytes(b"P5\n9 70\n1023\n" + (gray % 1024).astype(">u2").tobytes())
    with pytest.raises(PictureError, match=r"b\.pgm: its largest value 1023"):
        read_picture(tmp_path / "b.pgm")


def encoded(kind, array=None):
    buffer = io.BytesIO()
    Image.fromarray(pixels(3, np.uint8, 90, 90) if array is None else array).save(buffer, kind)
    return buffer.getvalue()


DAMAGED = {
    "empty.png": b"",
    "text.png": b"no picture at all",
    "cut.png": encoded("PNG")[:-400],
    "cut_late.png": encoded("PNG")[:-8],
    "cut_deep.png": plain_png(pixels(3, np.uint16))[:-300],
    "cut.jpg": encoded("JPEG")[:-900],
    "zeros.jpg": encoded("JPEG")[:-900] + bytes(900),
    "float.tiff": encoded("TIFF", np.zeros((4, 4), np.float32)),
    "broken_deep.png": plain_png(pixels(3, np.uint16)).replace(b"IDATx", b"IDATy"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(PictureError, match=name):
        read_picture(tmp_path / name)


def test_missing_and_unwritable_files_are_named(tmp_path):
    with pytest.raises(PictureError, match=r"none\.png: No such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match=r"a\.png: cannot be written: No such file"):
        write_picture(tmp_path / "no folder" / "a.png", Picture(pixels(3, np.uint8)))
    (tmp_path / "a.jpg").write_bytes(b"before")
    with pytest.raises(PictureError):
        write_picture(tmp_path / "a.jpg", Picture(np.zeros((1, 70_000, 3), np.uint8)), "jpg")
    assert (tmp_path / "a.jpg").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_more_pixels_than_pillow_allows_are_read_and_its_limit_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(np.full((90, 90), 3, np.uint8)).save(tmp_path / "large.png")
    assert read_picture(tmp_path / "large.png").size == (90, 90)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(pictures, "MOST_PIXELS", 8000)
    with pytest.raises(PictureError, match=r"large\.png: the header claims 90x90 pixels, more than the 8000"):
        read_picture(tmp_path / "large.png")
    with pytest.raises(PictureError):
        read_picture(tmp_path / "none.png")
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_picture_of_200_megapixels(tmp_path):
    array = np.zeros((14_200, 14_200, 1), np.uint8)
    array[-1, -1] = 9
    write_picture(tmp_path / "a.tiff", Picture(array), "tiff")
    assert np.array_equal(read_picture(tmp_path / "a.tiff").color, array)


# Damage, and what is no damage


PHOTO = np.asarray(Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((320, 240), 3))


def cut_short(data, part):
    """What an interrupted copy is after a repair: less data, and an end mark."""
    return data[: int(len(data) * part)] + b"\xff\xd9"


def jpeg(array=PHOTO, **options):
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


JPEGS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "no chroma subsampling": jpeg(subsampling=0),
    "restart marks": jpeg(restart_marker_rows=1),
    "gray": jpeg(PHOTO[..., 0]),
    "cmyk": jpeg(Image.fromarray(PHOTO).convert("CMYK")),
}
READERS = [read_picture, read_image]


@pytest.mark.faults
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_cut_short_with_an_end_mark_is_noticed(tmp_path, kind, part, reader):
    (tmp_path / "a.jpg").write_bytes(JPEGS[kind])
    reader(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(cut_short(JPEGS[kind], part))
    with pytest.raises(PictureError, match=r"a\.jpg: truncated"):
        reader(tmp_path / "a.jpg")


@pytest.mark.parametrize("reader", READERS)
def test_a_whole_jpeg_that_ends_in_gray_is_read(tmp_path, reader):
    gray = PHOTO.copy()
    gray[100:] = 128
    for data in (jpeg(gray), jpeg(np.full_like(gray, 128)), jpeg(gray, progressive=True) + b"more\xff\xd9"):
        (tmp_path / "a.jpg").write_bytes(data)
        reader(tmp_path / "a.jpg")


@pytest.mark.faults
@pytest.mark.parametrize("reader", READERS)
def test_a_jpeg_that_claims_more_than_its_data_can_hold_is_refused_by_its_header(tmp_path, reader):
    data = bytearray(jpeg(PHOTO[:64, :64]))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (13_000).to_bytes(2, "big") * 2
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(PictureError, match="cannot hold the 13000x13000 pixels"):
        reader(tmp_path / "a.jpg")


def tiff(values, bits, extra=None):
    """The plainest TIFF: one strip; 12 bits are packed, two pixels in three bytes."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    flat = values.reshape(-1).astype(np.uint32)
    if bits == 12:
        pairs = flat.reshape(-1, 2)
        body = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
        data = body.astype(np.uint8).tobytes()
    else:
        data = flat.astype(f"<u{bits // 8}").tobytes()
    tags = {256: width, 257: height, 259: 1, 262: 1 if channels < 3 else 2, 273: 8, 277: channels, 278: height}
    tags |= {279: len(data), 258: bits} | ({} if extra is None else {338: extra})
    at = 8 + len(data)
    sizes = struct.pack(f"<{channels}H", *[bits] * channels)
    entries = []
    for tag, value in sorted(tags.items()):
        count = channels if tag == 258 else 1
        inline = struct.pack("<I", value) if count < 3 else struct.pack("<I", at)
        inline = sizes.ljust(4, b"\0") if count == 2 else inline
        entries.append(struct.pack("<HHI", tag, 3 if tag in (258, 259, 262, 277, 338) else 4, count) + inline)
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", at + len(sizes)) + data + sizes + table


@pytest.mark.faults
@pytest.mark.parametrize("bits", [12, 16])
def test_twelve_bits_of_gray_are_neither_black_nor_white(tmp_path, bits):
    values = np.linspace(0, 4095, 40 * 60).reshape(40, 60).astype(np.uint16)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, bits))
    assert abs(float(read_image(path).float().mean()) - 127.5) < 1
    picture = read_picture(path)
    assert np.array_equal(picture.color[..., 0], values)
    assert picture.white == 4095
    assert "12" in picture.notes[0]
    write_picture(tmp_path / "b.jpg", picture, "jpg")
    assert abs(float(read_image(tmp_path / "b.jpg").float().mean()) - 127.5) < 1


def test_sixteen_bits_that_are_used_or_black_stay_what_they_are(tmp_path):
    for brightest in (0, 200, 4096, 65535):
        values = np.zeros((4, 6), np.uint16)
        values[0, 0] = brightest
        (tmp_path / "a.tif").write_bytes(tiff(values, 16))
        assert int(read_image(tmp_path / "a.tif").max()) == round(brightest / 257)
        assert read_picture(tmp_path / "a.tif").white == 65535


@pytest.mark.faults
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("channels", "extra"), [(4, None), (4, 0), (5, None), (2, 0), (2, None)])
def test_a_channel_more_than_colors_and_alpha_is_refused(tmp_path, channels, extra, bits, reader):
    (tmp_path / "a.tif").write_bytes(tiff(RNG.integers(0, 1 << bits, (8, 10, channels)), bits, extra))
    with pytest.raises(PictureError, match=r"a\.tif: "):
        reader(tmp_path / "a.tif")


@pytest.mark.parametrize(("channels", "extra"), [(3, None), (4, 2), (4, 1)])
def test_colors_and_alpha_are_read(tmp_path, channels, extra):
    (tmp_path / "a.tif").write_bytes(tiff(RNG.integers(0, 256, (8, 10, channels)), 8, extra))
    assert read_image(tmp_path / "a.tif").shape == (3, 8, 10)
    assert (read_picture(tmp_path / "a.tif").alpha is None) == (channels == 3)


@pytest.mark.faults
def test_a_jpeg_is_read_once(tmp_path, monkeypatch):
    """Of network storage, reading takes longer than decoding; what is looked through first is decoded from memory."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (512, 512, 3), np.uint8)).save(tmp_path / "a.jpg")
    taken = []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            taken.append(super().readinto(buffer))
            return taken[-1]

        def readall(self):
            taken.append(len(content := super().readall()))
            return content

    with monkeypatch.context() as patch:
        patch.setattr(files_module.io, "FileIO", Counting)
        read_picture(tmp_path / "a.jpg")
    size = (tmp_path / "a.jpg").stat().st_size
    assert size <= sum(taken) < 1.4 * size
