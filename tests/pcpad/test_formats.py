"""Pictures are read by what they are, whatever their names, and what cannot be read says what to do."""

import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pcpad._formats import bits_of
from pcpad.datamodules.reading.images import BrokenImageError, image_size, read_image
from pcpad.pictures import PictureError, read_picture

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60))


@pytest.mark.faults
@pytest.mark.parametrize("format", ["TGA", "JPEG2000", "AVIF", "PPM", "JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("name", ["named.dat", "none", "wrong.png", "WRONG.JPEG"])
def test_content_decides(tmp_path, format, name):
    PHOTO.save(tmp_path / name, format)
    image, picture = read_image(tmp_path / name), read_picture(tmp_path / name)
    assert image.shape == (3, 60, 80)
    assert picture.size == image_size(tmp_path / name) == (60, 80)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), picture.color)
    if format in ("TGA", "JPEG2000", "PPM", "PNG", "BMP", "TIFF"):
        assert np.array_equal(picture.color, np.asarray(PHOTO))
    else:
        assert np.abs(picture.color.astype(int) - np.asarray(PHOTO)).mean() < 12


@pytest.mark.faults
def test_bilevel_and_old_tga(tmp_path):
    PHOTO.convert("1").save(tmp_path / "a.pbm", "PPM")
    assert np.array_equal(read_picture(tmp_path / "a.pbm").color[..., 0], np.asarray(PHOTO.convert("1").convert("L")))
    PHOTO.save(tmp_path / "old.tga")
    (tmp_path / "old.tga").write_bytes((tmp_path / "old.tga").read_bytes()[:-26])  # without version 2's footer
    assert np.array_equal(read_image(tmp_path / "old.tga").permute(1, 2, 0).numpy(), np.asarray(PHOTO))


def _write_deep_avif(path):
    with av.open(str(path), "w", options={"movflags": "avif"}) as container:
        stream = container.add_stream("libsvtav1", rate=1, options={"svtav1-params": "log=-1:still-picture=1"})
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p10le"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(PHOTO.resize((80, 64))), "rgb24")))
        container.mux(stream.encode())


@pytest.mark.faults
def test_depth_is_kept_or_its_loss_said(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (60, 80)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "gray.jp2")
    picture = read_picture(tmp_path / "gray.jp2")
    assert np.array_equal(picture.color[..., 0], deep)
    assert picture.notes == ()
    assert bits_of(tmp_path / "gray.jp2", "JPEG2000") == 16
    # For root, SVT-AV1 makes the thread that calls it a realtime one, before which nothing else runs on its core.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_write_deep_avif, tmp_path / "a.avif").result()
    assert read_picture(tmp_path / "a.avif").notes == ("its 10 bits per channel become 8",)


@pytest.mark.faults
@pytest.mark.parametrize("format", ["WEBP", "JPEG2000", "AVIF"])
def test_a_module_of_the_folder_is_not_imported_by_a_picture(tmp_path, format):
    """Pillow, asked for all that it supports, imports `tkinter`: from the current folder, if there is one."""
    PHOTO.save(tmp_path / "x", format)
    (tmp_path / "tkinter.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    code = "import sys; sys.path.insert(0, ''); from pcpad.pictures import read_picture; read_picture('x')"
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.faults
def test_heic_asks_for_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    for read, error in ((read_image, BrokenImageError), (read_picture, PictureError)):
        with pytest.raises(error, match=r"IMG_0001\.HEIC: .*extra `heif`: `pip install 'pcpad\[heif\]'`"):
            read(tmp_path / "IMG_0001.HEIC")


@pytest.mark.heif
def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    PHOTO.resize((160, 120)).save(tmp_path / "a.jpg", "HEIF", quality=95)
    assert read_image(tmp_path / "a.jpg").shape == (3, 120, 160)
    assert read_picture(tmp_path / "a.jpg").size == (120, 160)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"8BPS\0\1" + bytes(60), "Photoshop pictures cannot be read: convert it to PNG, TIFF or JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG pictures cannot be read"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), "JPEG XL pictures cannot be read"),
        (b"PK\3\4" + bytes(60), "not an image in a known format, but a ZIP archive"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(60), "not an image in a known format, but an MP4 or QuickTime"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "damaged: it begins like a PNG image, but its header cannot be read"),
    ],
)
def test_what_it_is_instead_is_said(tmp_path, data, said):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(BrokenImageError, match=said):
        read_image(tmp_path / "a.jpg")


@pytest.mark.faults
def test_the_preview_in_a_camera_raw_file_is_not_taken_for_it(tmp_path):
    PHOTO.save(tmp_path / "a.dng", "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    with pytest.raises(BrokenImageError, match="camera raw pictures cannot be read"):
        read_image(tmp_path / "a.dng")


@pytest.mark.parametrize("format", ["TGA", "JPEG2000", "AVIF", "PPM", "BMP", "TIFF", "WEBP", "GIF", "JPEG", "PNG"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_half_a_file_is_noticed_in_every_format(tmp_path, format, part):
    PHOTO.resize((320, 240)).save(tmp_path / "a", format)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[: int(len(data) * part)])
    for read in (read_image, read_picture):
        with pytest.raises(PictureError, match=r"a: ."):
            read(tmp_path / "a")


def test_a_bitmap_that_claims_too_much_is_refused_by_its_header(tmp_path):
    header = struct.pack("<HBBHHBHHHHBB", 0, 2, 0, 0, 0, 0, 0, 0, 65535, 65535, 24, 0)[1:]
    (tmp_path / "a.tga").write_bytes(b"\0" + header[:17] + bytes(100))
    with pytest.raises(PictureError):
        read_picture(tmp_path / "a.tga")
