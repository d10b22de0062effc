"""Gray, 16-bit, float and many-channel images: as many channels as asked for, in [0, 255] or in [0, 1]."""

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.reading.channels import read_channels
from pcpad.datamodules.reading.images import BrokenImageError

tifffile = pytest.importorskip("tifffile")
DRAW = np.random.default_rng(0)
RGB = DRAW.integers(0, 256, (6, 8, 3), np.uint8)


def test_pictures_give_gray_colors_and_alpha(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    Image.fromarray(RGB[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([RGB, RGB[..., :1]])).save(tmp_path / "rgba.png")
    assert np.array_equal(read_channels(tmp_path / "rgb.png").pixels, RGB)
    assert np.array_equal(read_channels(tmp_path / "rgba.png").pixels, RGB), "alpha is left out of RGB"
    assert np.array_equal(read_channels(tmp_path / "rgba.png", 4).pixels[..., 3], RGB[..., 0])
    assert np.array_equal(read_channels(tmp_path / "gray.png").pixels, np.dstack([RGB[..., 0]] * 3))
    assert np.array_equal(read_channels(tmp_path / "gray.png", 1).pixels, RGB[..., :1])
    luminance = RGB @ [0.299, 0.587, 0.114]
    assert np.abs(read_channels(tmp_path / "rgb.png", 1).pixels[..., 0] - luminance).max() < 1


def test_sixteen_bits_keep_their_scale(tmp_path):
    dark = DRAW.integers(0, 1000, (6, 8), np.uint16)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    assert np.allclose(read_channels(tmp_path / "dark.png", 1).pixels[..., 0], dark / 65535), (
        "not by its brightest pixel"
    )
    assert np.allclose(read_channels(tmp_path / "dark.png", 1, white=999).pixels[..., 0], dark / 999)
    assert read_channels(tmp_path / "dark.png", 1, white=10).pixels.max() == 1


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("kind", "white"), [(np.uint8, None), (np.uint16, None), (np.int16, 900), (np.float32, 900.0)])
def test_tiffs_of_five_channels(tmp_path, planar, kind, white):
    pixels = DRAW.integers(0, 200, (6, 8, 5)).astype(kind)
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "five.tif", stored, planarconfig=planar, photometric="minisblack", compression="zlib")
    found = read_channels(tmp_path / "five.tif", 5, white)
    assert (found.height, found.width, found.pixels.shape[2]) == (6, 8, 5)
    scale = 1 if kind == np.uint8 else white or 65535
    assert np.allclose(found.pixels, pixels / scale, atol=1e-6)
    tifffile.imwrite(tmp_path / "pages.tif", pixels)  # (H, W, 5), of which tifffile makes a page a row
    assert np.array_equal(read_channels(tmp_path / "pages.tif", 5, white).pixels, found.pixels)
    assert np.array_equal(found.rgb(slice(1, 3), slice(2, 5)), found.pixels[1:3, 2:5])


@pytest.mark.faults
def test_what_does_not_fit_is_named(tmp_path):
    tifffile.imwrite(
        tmp_path / "five.tif", np.zeros((6, 8, 5), np.uint8), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(
        BrokenImageError, match=r"five.tif: it has 5 channels, but 7 were asked for: set --data.channels 5"
    ):
        read_channels(tmp_path / "five.tif", 7)
    with pytest.raises(BrokenImageError, match=r"five.tif: it has 5 channels.*--data.channels 5"):
        read_channels(tmp_path / "five.tif", 3)
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    with pytest.raises(BrokenImageError, match=r"it has 3 channels \(RGB\), but 4 were asked for"):
        read_channels(tmp_path / "rgb.png", 4)
    tifffile.imwrite(tmp_path / "two.tif", np.full((6, 8, 2), 3.5, np.float32), planarconfig="contig")
    with pytest.raises(
        BrokenImageError, match=r"type float32, here from 3.5 to 3.5, which has no known range: .*--data.white"
    ):
        read_channels(tmp_path / "two.tif", 2)
    holed = np.full((6, 8, 2), 1.0, np.float32)
    holed[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", holed, photometric="minisblack", planarconfig="contig")
    with pytest.raises(BrokenImageError, match="2 of its values are not finite"):
        read_channels(tmp_path / "nan.tif", 2, white=1)
    data = (tmp_path / "five.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    (tmp_path / "no.tif").write_bytes(b"II*\0 nothing")
    for name in ("cut.tif", "no.tif", "missing.tif"):
        with pytest.raises(BrokenImageError, match=name):
            read_channels(tmp_path / name, 5)
