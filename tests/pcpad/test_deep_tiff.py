"""TIFF files of 16 bits per channel: in planes, with 0 for white, with alpha in their colors, and of unknown kinds."""

import numpy as np
import pytest
import tifffile

from pcpad.datamodules.reading.images import read_image
from pcpad.pictures import PictureError, read_picture, write_picture

COLOR = np.random.default_rng(0).integers(0, 65536, (70, 50, 3), dtype=np.uint16)
STORED = {
    "plain": {},
    "zlib": {"compression": "zlib"},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "big-endian": {"byteorder": ">", "compression": "zlib", "predictor": True, "rowsperstrip": 9},
    "BigTIFF": {"bigtiff": True, "rowsperstrip": 11},
}


@pytest.mark.faults
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("stored", STORED)
def test_channels_stored_one_after_the_other_are_read_bit_by_bit(tmp_path, stored, alpha):
    values = np.dstack([COLOR, COLOR[::-1, :, 0]]) if alpha else COLOR
    options = STORED[stored] | ({"extrasamples": ["unassalpha"]} if alpha else {})
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", **options)
    picture = read_picture(path)
    assert picture.notes == ()
    assert np.array_equal(picture.color, COLOR)
    assert (picture.alpha is not None) == alpha
    if alpha:
        assert np.array_equal(picture.alpha, values[..., 3])
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), COLOR >> 8)


@pytest.mark.faults
def test_channels_stored_one_after_the_other_are_turned_upright(tmp_path):
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "planarconfig": "separate", "extratags": [(274, 3, 1, 6, True)]}
    tifffile.imwrite(path, COLOR.transpose(2, 0, 1), **options)
    assert np.array_equal(read_picture(path).color, np.rot90(COLOR, -1))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), np.rot90(COLOR, -1) >> 8)


@pytest.mark.faults
def test_a_cut_off_file_in_planes_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}
    tifffile.imwrite(path, COLOR.transpose(2, 0, 1), **options)
    path.write_bytes(path.read_bytes()[:-4000])
    for reader in (read_picture, read_image):
        with pytest.raises(PictureError, match=r"a\.tif: "):
            reader(path)


@pytest.mark.faults
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_gray_with_0_for_white_is_no_negative(tmp_path, kind):
    gray = (COLOR[..., 0] >> (0 if kind is np.uint16 else 8)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", np.iinfo(kind).max - gray, photometric="miniswhite")
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.color[..., 0], gray)
    write_picture(tmp_path / "b.tif", picture, "tiff")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert np.array_equal(file.asarray(), gray)
    assert abs(read_image(tmp_path / "a.tif")[0].numpy() - gray * (255 / np.iinfo(kind).max)).max() <= 0.5


@pytest.mark.faults
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colors_that_are_multiplied_by_alpha_are_divided_by_it(tmp_path, planar):
    alpha = np.full((70, 50, 1), 32768, np.uint16)
    alpha[:9] = 0
    values = np.dstack([(COLOR * (alpha / 65535)).round().astype(np.uint16), alpha])
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    options = {"photometric": "rgb", "planarconfig": planar, "extrasamples": ["assocalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    picture = read_picture(tmp_path / "a.tif")
    assert picture.notes == ("its colors, which are multiplied by alpha, are divided by it",)
    assert abs(picture.color[9:].astype(int) - COLOR[9:]).max() <= 1
    assert np.array_equal(picture.alpha, alpha[..., 0])
    write_picture(tmp_path / "b.tif", picture, "tiff")
    again = read_picture(tmp_path / "b.tif")
    assert again.notes == ()
    assert np.array_equal(again.color, picture.color)


KINDS = {
    "gray and alpha": (
        COLOR[..., :2],
        {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
        "gray, 2 channels",
    ),
    "Lab": (COLOR, {"photometric": "cielab"}, "Lab, 3 channels"),
    "CMYK": (np.dstack([COLOR, COLOR[..., :1]]), {"photometric": "separated"}, "CMYK, 4 channels"),
    "floats": (COLOR.astype(np.float32), {"photometric": "rgb"}, "RGB, 3 channels of 32-bit floating-point numbers"),
    "one float": (COLOR[..., 0].astype(np.float32), {"photometric": "minisblack"}, "gray, 1 channel of 32-bit"),
}


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_is_not_read_is_not_called_damaged(tmp_path, kind, capfd):
    values, options, said = KINDS[kind]
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(PictureError) as error:
        read_picture(tmp_path / "a.tif")
    assert f"a.tif: a TIFF of a kind that is not read ({said}" in str(error.value)
    assert str(error.value).endswith("convert the file to gray or RGB of 8 or 16 bits per channel")
    assert "damaged" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.faults
def test_a_header_that_cannot_be_read_is_still_damaged(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + bytes(60))
    with pytest.raises(PictureError, match="damaged: it begins like a TIFF image, but its header cannot be read"):
        read_picture(tmp_path / "a.tif")
