"""Lists of videos and of classes, of any text and bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcpad.datamodules.datasets.kinetics_files import find_classes, find_split
from pcpad.datamodules.datasets.video_lists import VideoList, read_list
from pcpad.errors import UserError

OFFICIAL = "label,youtube_id,time_start,time_end,split"
THERE = ("train/a b/aaa_000001_000011.mp4", "train/c/x, y.mp4", "val/a b/bbb_000001_000011.webm", "train/c/x.avi")
_WORDS = st.sampled_from(
    (
        *("a b", "c", "0", "1", "-1", "1e400", "9" * 30, "0" * 20 + "9" * 30, "1" * 5000),
        *("nan", "inf", "train", "val", "tset", "aaa"),
        *("../../etc/passwd", "/etc/passwd", "..", ".", "", "x\\..\\..\\y", "~", "\0", "\r", "\u2028", "\x85", "\x1c"),
        *('"', '""', '"a', "'", "#", "{", "[1]", "=cmd()", "path", "label", "\ufeff", "é" * 200, *THERE, OFFICIAL),
    )
)
_CELLS = st.one_of(_WORDS, st.text(max_size=12))
_BETWEEN = st.sampled_from((",", ";", "\t", " ", ", ", ",,"))
_ENDS = st.sampled_from(("\n", "\r\n", "\r", "\n\n", "\x0b", ""))
_HEADS = st.sampled_from((OFFICIAL, OFFICIAL, "path,label", "class;file", "label\tpath", "label,split", ""))


@st.composite
def lists(draw):
    """Text that looks like a list of videos."""
    mark, end = draw(_BETWEEN), draw(_ENDS)
    rows = [mark.join(row) for row in draw(st.lists(st.lists(_CELLS, max_size=6), max_size=6))]
    return draw(_HEADS) + "\n" + end.join(rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name in THERE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@given(content=st.one_of(lists(), lists().map(lambda text: text.encode("utf-16")), st.binary(max_size=60)))
def test_lists_of_videos(outcome, write, root, content):
    path = write("list.csv", content)
    found = outcome(read_list, path, lambda name: name in THERE)
    if isinstance(found, VideoList):
        assert all(row.names and all(row.names) and row.label and row.line > 0 for row in found.rows)
    split = outcome(find_split, root, "train", str(path))
    if not isinstance(split, UserError):
        # A folder too, which is found out to be no video when it is indexed; but nothing from elsewhere.
        assert all((root / name).resolve().is_relative_to(root.resolve()) for name in split.names)
        assert all((root / name).exists() for name in split.names)
        assert len(split.names) == len(split.labels) == len(split.seconds)
    outcome(find_classes, root, str(path))
