"""Label maps keep their values: gray of few bits, palettes, sixteen bits, gray saved as colors."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.reading.images import BrokenImageError
from pcpad.datamodules.reading.label_files import read_label_file


def png(path, bits, rows):
    """A gray PNG of few bits a pixel, which Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, 0, 0, 0, 0)
    lines = b""
    for row in rows:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        lines += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_of_few_bits_is_not_stretched(tmp_path, bits):
    rows = [[0, 1, 2 % 2**bits, 2**bits - 1]] * 2
    assert read_label_file(png(tmp_path / "a.png", bits, rows)).values.tolist() == rows


def test_sixteen_bits_and_maps_on_their_side(tmp_path):
    ids = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000
    Image.fromarray(ids).save(tmp_path / "a.png")
    file = read_label_file(tmp_path / "a.png")
    assert file.values.tolist() == ids.tolist()
    assert file.upright_with(6, (3, 2), file.values).shape == (3, 2)
    assert file.upright_with(1, (2, 3), file.values).shape == (2, 3)


@pytest.mark.faults
def test_damage_is_named(tmp_path):
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    Image.new("CMYK", (4, 4)).save(tmp_path / "c.tif")
    for name, said in (("b.png", "b.png: "), ("c.tif", "neither class ids nor colors"), ("d.png", "d.png: ")):
        with pytest.raises(BrokenImageError, match=said):
            read_label_file(tmp_path / name)
