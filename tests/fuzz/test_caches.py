"""Index files that may have come with somebody's data."""

import io
import os
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pcpad.datamodules.datasets.centroids import load_centroids
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.video_table import load_videos
from pcpad.datamodules.reading.video_files import VideoIndex

INDEX = VideoIndex(np.arange(0, 90, 3), np.array([0, 12], np.int32), Fraction(1, 30), 93, 48, 64, 0, "h264").pack()
NAMES = ("a.mp4", "b.mp4")
TIME = 1_700_000_000_000_000_000
TILE = 4
PAIR = Pair("image.png", "label.png")
_NUMBERS = st.sampled_from((-(1 << 63), -(1 << 31), -1, 0, 1, 2, 3, 17, 18, 19, 255, 1 << 30, 1 << 31, (1 << 63) - 1))
_TYPES = st.sampled_from(("<i8", "<i4", "|u1", "<f8", ">i4", "<U3", "|b1", "<c16", "S4", "<M8[s]"))


@st.composite
def arrays(draw):
    """An array of some type and shape."""
    kind = draw(_TYPES)
    shape = draw(st.sampled_from(((), (0,), (1,), (2,), (3,), (2, 2), (1, 1, 1))))
    values = draw(st.lists(_NUMBERS, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    with np.errstate(all="ignore"):
        return np.array(values, np.int64).reshape(shape).astype(kind)


@st.composite
def packed(draw):
    """The index of a video, of which something was changed."""
    numbers = list(struct.unpack_from("<qqqqIIIhB", INDEX))
    at = draw(st.integers(0, 8))
    ranges = ((-(1 << 63), (1 << 63) - 1), (0, (1 << 32) - 1), (-(1 << 15), (1 << 15) - 1), (0, 255))
    least, most = ranges[(at > 3) + (at > 6) + (at > 7)]
    numbers[at] = max(least, min(most, draw(_NUMBERS)))
    body = draw(st.sampled_from((INDEX[struct.calcsize("<qqqqIIIhB") + 4 :], b"", zlib.compress(bytes(1 << 16)))))
    codec = draw(st.sampled_from((b"h264", b"\xff\xfe\xfd\xfc", b"", b"jpeg folder")))
    return struct.pack("<qqqqIIIhB", *numbers) + codec + body


def npz(content):
    with io.BytesIO() as file:
        np.savez_compressed(file, **content)
        return file.getvalue()


def videos(first=INDEX):
    """What the suite writes of two videos, the first of which has this index."""
    names = np.frombuffer("\0".join(NAMES).encode(), np.uint8)
    ends = np.cumsum([0, len(first), len(INDEX)])
    states = {"sizes": np.zeros(2, np.int64), "changed": np.full(2, TIME)}
    parts = {"reasons": np.frombuffer(b"\0", np.uint8), "packed": np.frombuffer(first + INDEX, np.uint8)}
    return {"format": np.array(3), "names": names, "ends": ends, **states, **parts}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two videos that nobody needs to open, a label map and its image; and no other place for caches."""
    home = tmp_path_factory.mktemp("home")
    for name in NAMES:
        (home / name).touch()
        os.utime(home / name, ns=(TIME, TIME))
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(home / PAIR.label)
    Image.new("RGB", (8, 8)).save(home / PAIR.image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "caches"))
        yield home


@given(data=st.data())
def test_indices_of_videos(outcome, damaged, home, data):
    content = videos(data.draw(st.one_of(st.just(INDEX), packed(), damaged(INDEX))))
    content |= data.draw(st.dictionaries(st.sampled_from(sorted(content)), arrays(), max_size=2))
    whole = npz(content)
    (home / "pcpad_videos.npz").write_bytes(data.draw(st.one_of(st.just(whole), damaged(whole))))
    table, broken = outcome(load_videos, home, NAMES, writes=home)
    assert len(table) + len(broken) == len(NAMES)
    for video in range(len(table)):
        index = outcome(table.index, video)
        assert index.height * index.width > 0
        assert len(index.pts) > 0
        assert (index.times[1:] > index.times[:-1]).all()


@given(data=st.data())
def test_indices_of_centroids(outcome, damaged, home, data):
    path = home / f"pcpad_centroids_x_{TILE}.npz"
    path.unlink(missing_ok=True)
    whole = load_centroids(home, "x", [PAIR], TILE)
    with np.load(path) as stored:
        content = dict(stored)
    content |= data.draw(st.dictionaries(st.sampled_from(sorted(content)), arrays(), max_size=2))
    changed = npz(content)
    path.write_bytes(data.draw(st.one_of(st.just(changed), damaged(changed))))
    found = outcome(load_centroids, home, "x", [PAIR], TILE, writes=home)
    assert [column.dtype for column in found] == [column.dtype for column in whole]
    assert len({column.shape for column in found}) == 1
    moved = outcome(found.moved, np.zeros(1, np.int32))
    assert not len(moved.file) or (moved.file == 0).all()
