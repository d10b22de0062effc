"""Decoding of single files: every pixel type comes out as RGB, everything damaged raises and names the file."""

import io
import os
import signal
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pcpad import pictures
from pcpad.datamodules.reading import images
from pcpad.datamodules.reading.images import BrokenImageError, image_size, read_image
from pcpad.datamodules.reading.pngs import PngFile, png_size
from pcpad.pictures import MOST_PIXELS, PictureError, read_picture

# Said by torchvision 0.29 for each image; images.py silences it, but pytest resets the filters before each test.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
RNG = np.random.default_rng(0)
SMALL = Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8))
PHOTO = SMALL.resize((120, 90), Image.Resampling.BICUBIC)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image):
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@pytest.fixture(params=["torchvision", "pil"])
def decoder(request, monkeypatch):
    """JPEGs by torchvision, and by PIL alone as on a torchvision that has dropped its decoder."""
    if request.param == "pil":
        monkeypatch.setattr(images, "decode_jpeg", None)
    elif images.decode_jpeg is None:
        pytest.skip("this torchvision has no JPEG decoder")


@pytest.fixture
def write(tmp_path):
    def _write(data, name="picture.JPEG"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return _write


def test_jpeg_gives_the_same_pixels_by_both_decoders(decoder, write):
    data = encode(PHOTO, "JPEG", quality=90)
    image = read_image(write(data))
    assert image.shape == (3, 90, 120)
    assert image.dtype == torch.uint8
    assert torch.equal(image, pixels(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_jpegs_are_read_as_pil_reads_them(decoder, write, mode):
    data = encode(PHOTO.convert(mode), "JPEG")
    assert torch.equal(read_image(write(data)), pixels(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_png_mode_becomes_rgb(write, mode):
    picture = PHOTO.convert(mode)
    assert torch.equal(read_image(write(encode(picture, "PNG"))), pixels(picture))


def test_transparency_is_dropped_not_blended(write):
    see_through = PHOTO.copy()
    see_through.putalpha(0)
    assert torch.equal(read_image(write(encode(see_through, "PNG"))), pixels(PHOTO))


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency_reads_without_a_warning(write):
    palette = PHOTO.convert("P")
    data = encode(palette, "PNG", transparency=bytes([0, 128, 255]))
    assert torch.equal(read_image(write(data)), pixels(palette))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(write, kind):
    levels = np.array([[0, 128, 129, 257], [32768, 65278, 65407, 65535]], dtype=np.uint16)
    image = read_image(write(encode(Image.fromarray(levels), kind)))
    assert image[0].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]
    assert torch.equal(image[0], image[1])


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_other_formats_go_by_content_not_by_name(write, kind):
    data = encode(PHOTO, kind)
    assert torch.equal(read_image(write(data)), pixels(Image.open(io.BytesIO(data))))


@pytest.mark.faults
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(decoder, write, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(encode(PHOTO, kind, exif=exif))
    with Image.open(path) as stored:
        upright = ImageOps.exif_transpose(stored)
        assert torch.equal(read_image(path), pixels(upright))
        assert image_size(path) == (upright.height, upright.width)
    assert read_image(path).shape[1:] == read_picture(path).size


def test_exif_orientation_may_be_left_out(decoder, write):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    path = write(encode(PHOTO, "JPEG", exif=exif))
    assert torch.equal(read_image(path, upright=False), pixels(Image.open(path)))


def test_damaged_exif_turns_nothing(decoder, write):
    path = write(encode(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff nonsense"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_image(path).shape == (3, 90, 120)
        assert read_picture(path).size == (90, 120)


def test_one_pixel_image(decoder, write):
    assert read_image(write(encode(SMALL.resize((1, 1)), "JPEG"))).shape == (3, 1, 1)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.999])
def test_cut_jpeg_raises(decoder, write, progressive, part):
    data = encode(PHOTO, "JPEG", progressive=progressive)
    path = write(data[: int(part * len(data))])
    with pytest.raises(BrokenImageError, match=str(path)):
        read_image(path)


@pytest.mark.parametrize("zeros", [1000, 70_000])
def test_jpeg_cut_and_filled_with_zeros_raises(decoder, write, zeros):
    data = encode(PHOTO, "JPEG")
    with pytest.raises(BrokenImageError, match="truncated"):
        read_image(write(data[: len(data) // 2] + bytes(zeros)))


def test_bytes_after_the_end_of_a_jpeg_are_harmless(decoder, write):
    assert read_image(write(encode(PHOTO, "JPEG") + bytes(500))).shape == (3, 90, 120)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF", "GIF"])
def test_other_formats_cut_raise(write, kind):
    data = encode(PHOTO, kind)
    with pytest.raises(BrokenImageError, match=r"picture\.JPEG: \w+"):
        read_image(write(data[: len(data) // 2]))


def test_damaged_png_raises(write):
    # torchvision's own PNG decoder (0.29) dies here of a segmentation fault, and the test run with it.
    data = bytearray(encode(PHOTO, "PNG"))
    data[len(data) // 2] ^= 255
    with pytest.raises(BrokenImageError, match=r"picture\.JPEG: \w+"):
        read_image(write(bytes(data)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "the file is empty"), (b"<html>not found</html>", "not an image in a known format")],
)
def test_no_image_at_all(write, data, reason):
    with pytest.raises(BrokenImageError, match=reason):
        read_image(write(data))


def test_postscript_is_not_handed_to_an_interpreter(write):
    with pytest.raises(BrokenImageError, match="not an image in a known format"):
        read_image(write(encode(PHOTO, "EPS")))


@pytest.mark.filterwarnings("error")
def test_warning_made_an_error_is_not_blamed_on_the_file(write):
    data = encode(PHOTO, "PNG")
    end_of_header = data.index(b"IHDR") + 4 + 13 + 4
    of_no_frames = chunk(b"acTL", struct.pack(">II", 0, 0))  # of which PIL warns
    with pytest.raises(UserWarning, match="Invalid APNG"):
        read_image(write(data[:end_of_header] + of_no_frames + data[end_of_header:]))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(BrokenImageError, match=r"absent\.JPEG: No such file"):
        read_image(tmp_path / "absent.JPEG")
    with pytest.raises(BrokenImageError, match="directory"):
        read_image(tmp_path)


def test_float_pixels_are_refused_with_advice(write):
    with pytest.raises(BrokenImageError, match=r"'F' have no known range; convert"):
        read_image(write(encode(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF")))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def jpeg_claiming(width, height):
    data = bytearray(encode(PHOTO, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None])
@pytest.mark.parametrize("claiming", [png_claiming, jpeg_claiming])
def test_huge_header_is_refused_before_anything_is_allocated(decoder, write, monkeypatch, claiming, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # None: somebody has lifted PIL's own limit
    with pytest.raises(BrokenImageError, match=rf"the header claims .*{MOST_PIXELS}"):
        read_image(write(claiming(60_000, 60_000)))


READERS = [read_image, image_size, read_picture, PngFile, png_size]


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_has_the_one_limit_and_the_one_kind_of_error(reader, write, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 120 * 90)
    reader(write(encode(PHOTO, "PNG")))
    monkeypatch.setattr(pictures, "MOST_PIXELS", 120 * 90 - 1)
    with pytest.raises(PictureError, match=r"claims 120x90 pixels, more than the 10799 allowed"):
        reader(write(encode(PHOTO, "PNG")))
    with pytest.raises(PictureError, match=r"picture\.JPEG: the file is empty"):
        reader(write(b""))


@pytest.mark.parametrize("reader", [read_image, read_picture, PngFile])
def test_every_reader_refuses_a_png_without_an_end(reader, write):
    with pytest.raises(PictureError, match="truncated: the file has no end mark"):
        reader(write(encode(PHOTO, "PNG")[:-12]))


def test_images_beyond_pils_own_limit_are_read(write, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # PIL warns beyond, and refuses beyond twice as many
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "WEBP"):
        path = write(encode(PHOTO, kind))
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            assert read_image(path).shape == (3, 90, 120)
            assert image_size(path) == (90, 120)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_zeros_after_the_end_are_harmless_however_many(decoder, write):
    assert read_image(write(encode(PHOTO, "JPEG") + bytes(200_000))).shape == (3, 90, 120)


def blank(path, height, width):
    """A black PGM of zeros, of which the file system keeps none."""
    path.write_bytes(b"P5\n%d %d\n255\n" % (width, height))
    with path.open("ab") as file:
        file.truncate(file.tell() + height * width)
    return path


def test_the_limit_is_1024_megapixels(tmp_path):
    assert image_size(blank(tmp_path / "largest.pgm", 32768, 32768)) == (32768, 32768)
    (tmp_path / "larger.pgm").write_bytes(b"P5\n32769 32768\n255\n" + bytes(1000))  # not 1 GiB: its header is enough
    with pytest.raises(BrokenImageError, match=r"the header claims 32769x32768 pixels, more than the 1073741824"):
        read_image(tmp_path / "larger.pgm")


@pytest.mark.slow
def test_an_image_of_200_megapixels(tmp_path):
    assert read_image(blank(tmp_path / "large.pgm", 14_200, 14_200)).shape == (3, 14_200, 14_200)


@pytest.mark.faults
@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_no_image_and_is_not_waited_for(reader, tmp_path):
    os.mkfifo(tmp_path / "a.png")
    signal.setitimer(signal.ITIMER_REAL, 10)  # ends the process where it waits
    try:
        with pytest.raises(PictureError, match=r"a\.png: a named pipe \(FIFO\), where a file is expected"):
            reader(tmp_path / "a.png")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
