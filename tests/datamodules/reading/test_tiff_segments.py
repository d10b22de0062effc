"""TIFF files whose strips or tiles become far more than their header says are refused before memory is taken."""

import io
import lzma
import struct
import subprocess
import sys
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.reading.channels import read_channels
from pcpad.datamodules.reading.images import BrokenImageError

tifffile = pytest.importorskip("tifffile")
_LARGE = 1 << 30
_READ = """
import sys, resource, zlib
from pcpad.datamodules.reading.channels import read_channels
import tifffile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_channels(sys.argv[1], 5)
except ValueError as error:
    print(str(error))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def _of_zeros(compression: str) -> bytes:
    """A gigabyte of zeros."""
    if compression == "zlib":
        stream = zlib.compressobj(9)
        return b"".join([*(stream.compress(bytes(1 << 20)) for _ in range(_LARGE >> 20)), stream.flush()])
    if compression == "lzma":
        stream = lzma.LZMACompressor(preset=0)
        return b"".join([*(stream.compress(bytes(1 << 20)) for _ in range(_LARGE >> 20)), stream.flush()])
    imagecodecs = pytest.importorskip("imagecodecs")
    encode = {"zstd": imagecodecs.zstd_encode, "lzw": imagecodecs.lzw_encode}[compression]
    return encode(bytes(_LARGE))


def _write(path, compression, data, tile=None, side=64, bits=8):
    """Five channels of 64 by 64, whose pixels are said to be in `data`."""
    code = {"zlib": 8, "lzma": 34925, "zstd": 50000, "lzw": 5, "packbits": 32773, "jpeg": 7, "lerc": 34887}[compression]
    tags = [(256, 3, [side]), (257, 3, [side]), (258, 3, [bits] * 5), (259, 3, [code]), (262, 3, [1]), (277, 3, [5])]
    tags += [(284, 3, [2]), (338, 3, [0] * 4)]
    tags += [(322, 3, [tile[0]]), (323, 3, [tile[1]])] if tile else [(278, 3, [side])]
    tags += [(324 if tile else 273, 4, [8] * 5), (325 if tile else 279, 4, [len(data)] * 5)]
    directory = 8 + len(data) + len(data) % 2
    values_at, entries, values = directory + 2 + 12 * len(tags) + 4, b"", b""
    for number, kind, content in sorted(tags):
        packed = struct.pack(f"<{len(content)}{'H' if kind == 3 else 'I'}", *content)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", values_at + len(values))
        values += packed if len(packed) > 4 else b""
        entries += struct.pack("<HHI", number, kind, len(content)) + place
    whole = [struct.pack("<2sHI", b"II", 42, directory), data.ljust(directory - 8, b"\0"), struct.pack("<H", len(tags))]
    path.write_bytes(b"".join([*whole, entries, bytes(4), values]))


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("compression", ["zlib", "lzma", "zstd", "lzw"])
def test_a_gigabyte_in_a_strip_of_a_few_kilobytes(tmp_path, compression, tile):
    path = tmp_path / "bomb.tif"
    _write(path, compression, _of_zeros(compression), tile)
    assert path.stat().st_size < _LARGE // 500
    output = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True).stdout
    said, grown = output.strip().splitlines()
    assert "bomb.tif: damaged: " in said, said
    assert "compressed bytes become more than" in said, said
    assert int(grown) < 200, f"{grown} MiB more"


@pytest.mark.faults
def test_a_strip_becomes_no_more_than_is_free(tmp_path):
    path = tmp_path / "bomb.tif"
    _write(path, "zlib", zlib.compress(bytes(70 << 20), 9))
    with pytest.raises(BrokenImageError, match="become more than 67108864, but the header states 4096"):
        read_channels(path, 5)
    _write(path, "packbits", b"\x81\0" * (1 << 20))
    with pytest.raises(BrokenImageError, match="2097152 compressed bytes become more than"):
        read_channels(path, 5)


@pytest.mark.faults
def test_pictures_as_tiles_are_known_by_their_own_header(tmp_path):
    pytest.importorskip("imagecodecs")
    large = io.BytesIO()
    Image.new("L", (20000, 20000)).save(large, "JPEG", quality=1)
    _write(tmp_path / "jpeg.tif", "jpeg", large.getvalue(), (64, 64))
    with pytest.raises(BrokenImageError, match="compressed bytes become more than"):
        read_channels(tmp_path / "jpeg.tif", 5)
    _write(tmp_path / "lerc.tif", "lerc", b"Lerc2 whatever", (64, 64))
    with pytest.raises(BrokenImageError, match="does not state the size of its parts"):
        read_channels(tmp_path / "lerc.tif", 5)


@pytest.mark.faults
def test_a_claim_is_counted_in_bytes(tmp_path):
    path = tmp_path / "claim.tif"
    _write(path, "zlib", zlib.compress(b""), side=3600, bits=64)
    assert 5 * 3600**2 < 1 << 26, "as pixels anybody may claim so many"
    with pytest.raises(BrokenImageError, match="bytes cannot hold"):
        read_channels(path, 5, white=1)


def test_what_is_whole_is_read(tmp_path):
    values = np.random.default_rng(0).integers(0, 4000, (5, 300, 400), np.uint16)
    values[:, 50:250] = 7
    kinds = ["zlib", "lzma", *(["packbits", "zstd", "lzw"] if find_spec("imagecodecs") is not None else [])]
    for number, compression in enumerate(kinds):
        for more in ({"rowsperstrip": 300}, {"tile": (128, 128)}, {"rowsperstrip": 2**31}, {"predictor": True}):
            if compression == "packbits" and "predictor" in more:
                continue
            path = tmp_path / f"{number}{len(more)}{next(iter(more))}.tif"
            options = {"photometric": "minisblack", "planarconfig": "separate", "compression": compression, **more}
            tifffile.imwrite(path, values, **options)
            found = read_channels(path, 5, white=65535)
            assert np.allclose(found.pixels.transpose(2, 0, 1) * 65535, values, atol=1e-2)
    runs = b"\xfd\x07" * 1024 * 5  # PackBits, of which tifffile alone writes none
    _write(tmp_path / "runs.tif", "packbits", runs[:2048])
    assert (read_channels(tmp_path / "runs.tif", 5).pixels == 7).all()
