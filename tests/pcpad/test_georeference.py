"""A GeoTIFF's tags are those of what is made of it."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from pcpad.georeference import read_georeference
from pcpad.pictures import Picture, read_picture, write_picture

pytestmark = pytest.mark.faults
TAGS = {
    33550: ("d", 3, (0.5, 0.5, 0.0)),
    33922: ("d", 6, (0.0, 0.0, 0.0, 300_000.25, 5_000_000.5, 0.0)),
    34735: ("H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)),
    34736: ("d", 2, (6378137.0, 298.257223563)),
    34737: ("s", 0, "WGS 84 / UTM zone 33N|WGS 84|"),
    42112: ("s", 0, '<GDALMetadata><Item name="A">b</Item></GDALMetadata>'),
    42113: ("s", 0, "255"),
}


def geotiff(path, pixels, **changed):
    tags = TAGS | {int(name[1:]): value for name, value in changed.items()}
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(
        path, pixels, photometric=photometric, extratags=[(tag, *value, True) for tag, value in tags.items()]
    )
    return path


def tags_of(path):
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        return {tag: tags[tag].value for tag in TAGS if tag in tags}


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_keeps_its_place(tmp_path, shape, dtype):
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype) * (1 if dtype == np.uint8 else 600)
    picture = read_picture(geotiff(tmp_path / "a.tif", pixels))
    assert write_picture(tmp_path / "b.tif", picture, "tiff") == ()
    assert tags_of(tmp_path / "b.tif") == tags_of(tmp_path / "a.tif")
    assert (read_picture(tmp_path / "b.tif").color == picture.color).all()
    for format in ("png", "jpg"):
        assert "its georeference" in write_picture(tmp_path / f"b.{format}", picture, format)


def test_four_channels_of_16_bits_keep_alpha_and_place(tmp_path):
    picture = read_picture(geotiff(tmp_path / "a.tif", np.full((5, 7, 3), 600, np.uint16)))
    picture.alpha = np.full((5, 7), 50_000, np.uint16)
    write_picture(tmp_path / "b.tif", picture, "tiff")
    again = read_picture(tmp_path / "b.tif")
    assert (again.alpha == 50_000).all()
    assert tags_of(tmp_path / "b.tif") == tags_of(tmp_path / "a.tif")


def test_no_data_that_is_a_class_is_left_out_of_a_map(tmp_path):
    found, note = read_georeference(
        geotiff(tmp_path / "a.tif", np.zeros((5, 7), np.uint8), _42113=("s", 0, "0")), (5, 7)
    )
    assert note is None
    assert 42113 in found.tags
    assert 42113 not in found.of_classes(3).tags
    found, _ = read_georeference(geotiff(tmp_path / "b.tif", np.zeros((5, 7), np.uint8)), (5, 7))
    assert 42113 in found.of_classes(3).tags


def test_what_does_not_fit_the_result_is_left_out_and_said(tmp_path):
    path = geotiff(tmp_path / "a.tif", np.zeros((5, 7), np.uint8))
    assert read_georeference(path, (5, 8)) == (None, "its georeference is left out, as the result has another size")
    turned = geotiff(tmp_path / "b.tif", np.zeros((5, 7), np.uint8), _274=("H", 1, 6))
    assert "turned upright" in read_picture(turned).notes[0]
    odd = geotiff(tmp_path / "d.tif", np.zeros((5, 7), np.uint8), _33550=("s", 0, "here"))
    assert "its tags 33550 are left out" in read_picture(odd).notes[0]
    large = geotiff(tmp_path / "c.tif", np.zeros((5, 7), np.uint8), _42112=("s", 0, "x" * (1 << 21)))
    found, note = read_georeference(large, (5, 7))
    assert 42112 not in found.tags
    assert "42112" in note


def test_other_pictures_have_none(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "a.tif")
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    (tmp_path / "b.tif").write_bytes(b"II*\0" + struct.pack("<I", 1 << 30))
    for name in ("a.tif", "a.png", "b.tif"):
        assert read_georeference(tmp_path / name, (5, 7)) == (None, None)
    assert Picture(np.zeros((2, 2, 1), np.uint8)).place is None
