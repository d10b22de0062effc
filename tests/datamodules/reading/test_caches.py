"""Files of arrays beside data: what they claim is looked at before it is believed."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from pcpad.datamodules.datasets.video_table import load_videos
from pcpad.datamodules.reading.caches import read_arrays, write_arrays
from pcpad.datamodules.reading.video_files import _HEADER, index_video

pytestmark = pytest.mark.faults
KINDS = {"key": "<U", "numbers": "<i4"}


def claiming(path, header, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        file = io.BytesIO()
        np.save(file, np.array("k"))
        archive.writestr("key.npy", file.getvalue())
        with archive.open("numbers.npy", "w") as part:
            npy.write_array_header_1_0(part, header)
            part.write(content)


def test_what_was_written_is_read(tmp_path):
    place = tmp_path / "a.npz"
    for numbers in (np.arange(5, dtype=np.int32), np.zeros(0, np.int32)):
        assert write_arrays([place], {"key": np.array("k"), "numbers": numbers}) is None
        found = read_arrays(place, KINDS)
        assert (str(found["key"]), found["numbers"].tolist()) == ("k", numbers.tolist())
        found["numbers"] += 1  # memory of one's own


@pytest.mark.parametrize(
    ("header", "content"),
    [
        ({"descr": "<i4", "fortran_order": False, "shape": (1 << 30,)}, b""),
        ({"descr": "<i4", "fortran_order": False, "shape": (1 << 26,)}, bytes(1 << 28)),
        ({"descr": "<i4", "fortran_order": False, "shape": (2, 2)}, bytes(16)),
        ({"descr": "<i8", "fortran_order": False, "shape": (2,)}, bytes(16)),
        ({"descr": "|O", "fortran_order": False, "shape": (2,)}, bytes(16)),
        ({"descr": "<i4", "fortran_order": False, "shape": (2,)}, bytes(9)),
    ],
    ids=["no content", "256 MiB of zeros", "two axes", "another type", "objects", "another size"],
)
def test_a_file_that_claims_something_else_is_not_used_and_costs_nothing(tmp_path, header, content):
    claiming(tmp_path / "a.npz", header, content)
    del content
    tracemalloc.start()
    found = read_arrays(tmp_path / "a.npz", KINDS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is None
    assert peak < 1 << 22


@pytest.mark.parametrize("frames", [3, 1 << 24, 0])
def test_an_index_of_videos_that_is_none_is_made_anew(videos, tmp_path, frames):
    path = videos.write(tmp_path / "data" / "a.mp4", 4)
    index = index_video(path)
    state = path.stat()
    packed = bytearray(index.pack())
    numbers = list(_HEADER.unpack_from(packed))
    numbers[4] = frames
    packed[: _HEADER.size] = _HEADER.pack(*numbers)
    stored = {"format": np.array(3), "reasons": np.zeros(0, np.uint8), "names": np.frombuffer(b"a.mp4", np.uint8)}
    stored |= {"sizes": np.array([state.st_size]), "changed": np.array([state.st_mtime_ns])}
    stored |= {"ends": np.array([0, len(packed)]), "packed": np.frombuffer(bytes(packed), np.uint8)}
    np.savez_compressed(tmp_path / "data" / "pcpad_videos.npz", **stored)
    table, broken = load_videos(tmp_path / "data", ["a.mp4"])
    assert broken == []
    assert table.index(0).pts.tolist() == index.pts.tolist()
