"""EXIF data and resolution on their way from one file to another."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from pcpad._picture_tags import dpi_of, exif_of, with_entries, with_exif
from pcpad.georeference import Georeference
from pcpad.pictures import Picture, read_picture, write_picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(**more):
    found = Image.Exif()
    found[271], found[274], found[282] = "Maker", 6, 72.0
    found.get_ifd(0x8769).update({36867: "1987:06:05 12:00:00", 37386: 5.5, 40962: 80, 40963: 50})
    found.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0)})
    return found.tobytes()


def opened(data=None, **options):
    file = io.BytesIO()
    Image.new("RGB", (8, 6)).save(file, "JPEG", **({"exif": data} if data else {}), **options)
    return Image.open(file)


def test_what_describes_the_scene_is_kept_and_what_describes_the_file_is_not():
    kept = Image.Exif()
    kept.load(b"Exif\0\0" + exif_of(opened(exif())))
    assert sorted(tag for tag in kept if tag not in (0x8769, 0x8825)) == [271]
    assert sorted(kept.get_ifd(0x8769)) == [36867, 37386]
    assert kept.get_ifd(0x8825)[2] == (48.0, 8.0, 0.0)


def test_none_where_there_is_none():
    assert exif_of(opened()) is None
    only_turned = Image.Exif()
    only_turned[274] = 6
    assert exif_of(opened(only_turned.tobytes())) is None


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("length", range(8, 120, 7))
def test_damaged_data_are_left_out_and_stop_nothing(length):
    exif_of(opened(exif()[:length]))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ((300, 150), (300.0, 150.0)),
        (None, None),
        ((0, 0), None),
        (("a", 1), None),
        ((float("nan"), 1), None),
        (72, None),
    ],
)
def test_resolution(given, read):
    image = Image.new("RGB", (4, 4))
    if given is not None:
        image.info["dpi"] = given
    assert dpi_of(image) == read


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_a_picture_keeps_all_of_it(format, alpha, channels, kind, tmp_path):
    draws = np.random.default_rng(0)
    white = np.iinfo(kind).max
    picture = Picture(
        draws.integers(white // 2, white, (30, 41, channels)).astype(kind),
        draws.integers(0, white, (30, 41)).astype(kind) if alpha else None,
        PROFILE,
        exif=exif_of(opened(exif())),
        dpi=(300.0, 150.0),
    )
    path = tmp_path / "a.bin"
    assert write_picture(path, picture, format) == ()
    again = read_picture(path)
    if not (format == "tiff" and kind is np.uint16 and alpha and channels == 1):  # which becomes RGB
        assert np.array_equal(again.color, picture.color)
    assert again.profile == PROFILE
    assert again.exif == picture.exif
    assert [round(value) for value in again.dpi] == [300, 150]


def test_a_place_on_earth_beside_it(tmp_path):
    place = Georeference({33550: (12, (0.5, 0.5, 0.0)), 33922: (12, (0.0, 0.0, 0.0, 7.0, 8.0, 0.0))})
    for kind in (np.uint8, np.uint16):
        color = np.full((9, 9, 3), np.iinfo(kind).max, kind)
        write_picture(tmp_path / "a.tif", Picture(color, place=place, exif=exif_of(opened(exif()))), "tiff")
        again = read_picture(tmp_path / "a.tif")
        assert again.place is not None
        assert again.exif is not None


@pytest.mark.faults
def test_what_jpeg_has_no_room_for_is_said(tmp_path):
    found = Image.Exif()
    found[270] = "x" * 70_000
    picture = Picture(np.zeros((9, 9, 3), np.uint8), exif=found.tobytes().removeprefix(b"Exif\0\0"))
    assert write_picture(tmp_path / "a.jpg", picture, "jpg") == ("its EXIF data",)
    assert write_picture(tmp_path / "a.png", picture, "png") == ()


def test_tags_that_are_there_stay_but_for_the_resolution():
    file = io.BytesIO()
    Image.new("L", (5, 4), 9).save(file, "TIFF", dpi=(10, 10), description="mine")
    data = with_exif(file.getvalue(), None, (300.0, 300.0))
    data = with_entries(data, [(270, 2, b"other\0"), (34675, 7, b"profile"), (65000, 3, struct.pack("<H", 3))])
    with Image.open(io.BytesIO(data)) as image:
        assert image.tag_v2[270] == "mine"
        assert image.info["dpi"] == (300, 300)
        assert image.info["icc_profile"] == b"profile"
        assert image.tag_v2[65000] == 3
        assert image.getpixel((2, 2)) == 9
