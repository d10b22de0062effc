"""XMP, IPTC, texts and gamma go from one file to another, or it is said that they don't."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pcpad._picture_metadata import Metadata
from pcpad.pictures import Picture, read_picture, write_picture

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
IPTC = b"\x1c\x02\x78\x00\x0cGrandma 1931"
PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ALL = Metadata((("Title", "Grandma"), ("Author", "Łukasz"), ("Comment", "scan 12")), XMP, IPTC, 1.0, PRIMARIES)
PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("format", "kept", "lost"),
    [
        ("png", Metadata(ALL.texts, XMP, None, 1.0, PRIMARIES), ("its IPTC data",)),
        ("tiff", Metadata((), XMP, IPTC), ("its texts (Title, Author, Comment)", "its gamma and primaries")),
        ("jpg", Metadata(ALL.texts[2:], XMP, IPTC), ("its texts (Title, Author)", "its gamma and primaries")),
    ],
)
def test_each_format_keeps_what_it_has_a_place_for_and_the_rest_is_said(tmp_path, format, kept, lost, kind):
    picture = Picture(PHOTO.astype(kind) * np.array(257 if kind is np.uint16 else 1, kind), metadata=ALL)
    said = write_picture(tmp_path / "a.bin", picture, format)
    assert said[-len(lost) :] == lost
    again = read_picture(tmp_path / "a.bin")
    assert again.metadata == kept
    if format != "jpg":
        assert np.array_equal(again.color, picture.color)


def test_a_jpeg_s_own_are_read(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.jpg", xmp=XMP, comment="größer".encode("latin-1"))
    assert read_picture(tmp_path / "a.jpg").metadata == Metadata((("Comment", "größer"),), XMP)


def test_a_png_s_own_are_read_wherever_they_stand(tmp_path):
    texts = PngInfo()
    texts.add_itxt("Author", "Łukasz")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    Image.fromarray(PHOTO).save(tmp_path / "a.png", pnginfo=texts)
    data = (tmp_path / "a.png").read_bytes()
    late = b"tEXtTitle\0Grandma"
    late = struct.pack(">I", len(late) - 4) + late + struct.pack(">I", zlib.crc32(late))
    (tmp_path / "a.png").write_bytes(data[:-12] + late + data[-12:])
    assert read_picture(tmp_path / "a.png").metadata == Metadata((("Author", "Łukasz"), ("Title", "Grandma")), XMP)


def test_a_scan_s_document_page_and_computer_are_kept(tmp_path):
    tags = ImageFileDirectory_v2()
    tags[269], tags[285], tags[316], tags[700] = "Letters", "Page 3", "Attic", XMP
    Image.fromarray(PHOTO).save(tmp_path / "a.tif", tiffinfo=tags)
    picture = read_picture(tmp_path / "a.tif")
    assert write_picture(tmp_path / "b.tif", picture, "tiff") == ()
    with Image.open(tmp_path / "b.tif") as image:
        assert [image.tag_v2[tag] for tag in (269, 285, 316, 700)] == ["Letters", "Page 3", "Attic", XMP]


@pytest.mark.faults
@pytest.mark.parametrize("format", ["png", "tiff", "jpg"])
def test_an_orientation_in_xmp_is_not_applied_again(tmp_path, format):
    turned = Image.Exif()
    turned[274] = 6
    xmp = b'<x tiff:Orientation="6"><tiff:Orientation>6</tiff:Orientation></x>'
    Image.fromarray(PHOTO).save(tmp_path / "a.jpg", exif=turned, xmp=xmp)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.size == (30, 20)
    assert picture.metadata.xmp == xmp.replace(b"6", b"1")
    write_picture(tmp_path / "b.bin", picture, format)
    assert read_picture(tmp_path / "b.bin").size == (30, 20)


@pytest.mark.faults
def test_what_is_too_large_is_said(tmp_path):
    long = Metadata((("Comment", "x" * 70_000),), b"x" * 70_000, b"x" * 70_000)
    said = write_picture(tmp_path / "a.jpg", Picture(PHOTO, metadata=long), "jpg")
    assert said == ("its XMP data", "its IPTC data", "its texts (Comment)")
    write_picture(tmp_path / "a.tif", Picture(PHOTO, metadata=Metadata(xmp=b"x" * 2_000_000)), "tiff")
    again = read_picture(tmp_path / "a.tif")
    assert again.metadata.xmp is None
    assert again.notes == ("its XMP data are left out, as they take more than 1 MB",)


def test_usual_gamma_or_a_profile_beside_it_is_no_loss(tmp_path):
    usual = Picture(PHOTO, metadata=Metadata(gamma=0.45455))
    assert write_picture(tmp_path / "a.tif", usual, "tiff") == ()
    assert write_picture(tmp_path / "a.tif", Picture(PHOTO, None, b"profile", metadata=ALL), "tiff")[-1:] == (
        "its texts (Title, Author, Comment)",
    )
