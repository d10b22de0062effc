"""Lists of videos that contradict themselves, share videos between splits, or count classes from 1."""

import warnings

import pytest

from pcpad.datamodules.datasets.kinetics_files import find_classes

pytestmark = pytest.mark.faults
OFFICIAL = "label,youtube_id,time_start,time_end,split\n"


def classes(root, **lists):
    for split, text in lists.items():
        (root / f"{split}.csv").write_text(text)
    return find_classes(root, str(root / "{split}.csv"))


def test_lists_in_order_are_not_talked_about(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classes(tmp_path, train="a.mp4 0\nb.mp4 2\nc.mp4 1\n", val="a2.mp4 0\n") == ["0", "1", "2"]
        assert classes(tmp_path, train="a.mp4 x\na.mp4 x\n", val="b.mp4 y\n") == ["x", "y"]
        text = f"{OFFICIAL}x,abc,0,10,train\n"
        assert classes(tmp_path, train=text, val=f"{OFFICIAL}x,abd,0,10,validate\n") == ["x"]


def test_the_same_name_below_two_splits_is_two_files(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.mp4").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classes(tmp_path, train="a.mp4 x\n", val="a.mp4 x\n") == ["x"]


def test_classes_counted_from_1_are_refused(tmp_path):
    with pytest.raises(ValueError, match="numbered from 1 to 3") as caught:
        classes(tmp_path, train="a.mp4 2\nb.mp4 1\n", val="c.mp4 3\n")
    assert f"{tmp_path / 'train.csv'}, line 2 (train, class '1')" in str(caught.value)
    assert f"{tmp_path / 'val.csv'}, line 1 (val, class '3')" in str(caught.value)
    with pytest.warns(UserWarning, match="no video has class 0"):
        assert len(classes(tmp_path, train="a.mp4 1\n", val="c.mp4 3\n")) == 4


def test_a_class_number_out_of_all_count_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train\.csv, line 2 .* has the class number 999999999, but there"):
        classes(tmp_path, train="a.mp4 0\nb.mp4 999999999\n")


def test_a_video_of_two_classes_is_refused_with_its_lines(tmp_path):
    with pytest.raises(ValueError, match=r"1 videos are listed with two classes: a\.mp4: ") as caught:
        classes(tmp_path, train="a.mp4 x\nb.mp4 y\n./a.mp4 y\n")
    assert "train.csv, line 1 (train, class 'x') and " in str(caught.value)
    assert "train.csv, line 3 (train, class 'y')" in str(caught.value)


def test_a_video_of_two_classes_in_the_official_table_is_said(tmp_path):
    with pytest.warns(UserWarning, match=r"two classes: train/x/abc_000000_000010\.mp4: .*line 2 .* and .*line 3"):
        classes(tmp_path, train=f"{OFFICIAL}x,abc,0,10,train\ny,abc,0,10,train\n")


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("b.mp4 x\na.mp4 x\n", "a.mp4 x\n"),
        (f"{OFFICIAL}y,b_c-d,0,10,train\nx,a_b,0,10,train\n", f"{OFFICIAL}x,a_b,50,60,validate\n"),
    ],
)
def test_a_video_in_two_splits_is_said_with_its_lines(tmp_path, train, val):
    line, other = train.count("\n"), val.count("\n")
    with pytest.warns(
        UserWarning, match=rf"1 videos are in two splits.*line {line} \(train.* and .*line {other} \(val"
    ):
        classes(tmp_path, train=train, val=val)
