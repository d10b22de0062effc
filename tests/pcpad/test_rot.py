"""Other bytes in the middle of a JPEG are noticed, and whole files are let pass."""

import io

import numpy as np
import pytest
from PIL import Image

from pcpad._rot import refuse_rot
from pcpad.pictures import PictureError, read_picture

OPTIONS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "own tables": {"optimize": True},
    "restart marks": {"restart_marker_blocks": 7},
    "progressive with restart marks": {"progressive": True, "restart_marker_rows": 1},
    "no subsampling": {"subsampling": 0},
}


def photo():
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    fine = np.asarray(Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC)).astype(int)
    fine += np.random.default_rng(1).integers(-9, 10, fine.shape)
    return Image.fromarray(fine.clip(0, 255).astype(np.uint8))


def pictures():
    """Pictures of which some have long stretches of zeros in their data by right."""
    flat = Image.new("RGB", (400, 300), "white")
    flat.paste((0, 0, 0), (100, 100, 200, 150))
    ramp = np.tile(np.linspace(255, 0, 400).astype(np.uint8), (300, 1))
    checks = (np.indices((300, 400)).sum(0) % 2 * 255).astype(np.uint8)
    white = Image.new("L", (900, 900), "white")
    pages = {"photo": photo(), "gray": photo().convert("L"), "cmyk": photo().convert("CMYK"), "flat": flat}
    return pages | {"white": white, "ramp": Image.fromarray(ramp), "checks": Image.fromarray(checks)}


def jpeg(picture, quality=90, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [10, 95])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", list(pictures()))
def test_whole_files_pass(name, options, quality):
    data = jpeg(pictures()[name], quality, **options)
    refuse_rot(data, "JPEG")
    refuse_rot(data[:-2] + bytes(600) + data[-2:], "JPEG")  # padding before the end mark
    refuse_rot(data + bytes(600), "JPEG")


@pytest.mark.faults
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("bytes_there", ["zeros", "ones", "others"])
def test_a_sector_of_other_bytes_is_noticed(tmp_path, options, bytes_there):
    data = jpeg(photo(), **options)
    draws = np.random.default_rng(3)
    others = {"zeros": bytes(4096), "ones": b"\xff" * 4096, "others": draws.bytes(4096)}[bytes_there]
    for place in (0.3, 0.5, 0.7):
        at = int(place * len(data))
        (tmp_path / "a.jpg").write_bytes(data[:at] + others + data[at + 4096 :])
        with pytest.raises(PictureError, match=r"a\.jpg: (damaged|truncated): its pixel data"):
            read_picture(tmp_path / "a.jpg")


@pytest.mark.faults
def test_lost_restart_marks_are_noticed():
    data = jpeg(photo(), restart_marker_blocks=7)
    third = data.index(b"\xff\xd3")
    for stretch in (data[third + 2 :], data[data.index(b"\xff\xd4") :]):
        with pytest.raises(ValueError, match="restart mark"):
            refuse_rot(data[:third] + stretch, "JPEG")


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda\0\4ab", bytes(300)])
def test_scraps_are_left_to_the_decoder(data):
    refuse_rot(data, "JPEG")
    refuse_rot(data, "PNG")
