"""Lists of videos in the formats that people have; others are refused with path, line and what was expected."""

import pytest

from pcpad.datamodules.datasets.kinetics_files import find_classes, find_split
from pcpad.datamodules.datasets.video_lists import Annotations
from pcpad.datamodules.reading import video_files
from pcpad.errors import UserError

HEADER = "label,youtube_id,time_start,time_end,split"
CLASSES = ["abseiling down", "it's"]
NAMES = [f"{label}/{name}" for label in CLASSES for name in ("aaa_000001_000011.mp4", "b.b, c_000002_000012.mp4")]
FILES = [f"train/{name}" for name in NAMES]


@pytest.fixture
def root(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def listed(root, text, name="list.txt", **options):
    (root / name).write_text(text)
    found = find_split(root, "train", name, **options)
    return list(zip(found.names, found.labels, strict=True)), found


def official(mark=","):
    rows = [("abseiling down", "aaa", "1", "11", "train"), ("it's", "aaa", "1", "11", "train")]
    return "\n".join([HEADER.replace(",", mark), *(mark.join(row) for row in rows)])


@pytest.mark.faults
@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.TSV"])
def test_the_official_table_between_any_marks(root, mark, name):
    pairs, found = listed(root, official(mark), name)
    assert pairs == [(FILES[0], CLASSES[0]), (FILES[2], CLASSES[1])]
    assert found.seconds == [10, 10]
    assert find_classes(root, name) == CLASSES


@pytest.mark.faults
@pytest.mark.parametrize("split", ["train", "Train", "training"])
def test_names_of_splits(root, split):
    pairs, _ = listed(root, f"{HEADER.upper()}\n\"it's\",aaa,1,11,{split}\nit's,gone,1,11,validation\n", "a.csv")
    assert pairs == [(FILES[2], "it's")]
    with pytest.raises(ValueError, match=r"a\.csv, line 2: expected a split among train, .*'first'"):
        listed(root, f"{HEADER}\nit's,aaa,1,11,first\n", "a.csv")


@pytest.mark.faults
@pytest.mark.parametrize("mark", [" ", "\t", ";", ",", ", "])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "train.list"])
@pytest.mark.parametrize("inside", [True, False])
def test_lists_between_any_marks(root, mark, name, inside):
    lines = [f"{name if inside else name.removeprefix('train/')}{mark}{number}" for number, name in enumerate(FILES)]
    pairs, found = listed(root, "\n".join(lines), name)
    assert [file for file, _ in pairs] == FILES
    assert found.labels == ["0", "1", "2", "3"]
    assert found.by_path


@pytest.mark.faults
def test_lists_with_names_of_columns_and_of_frame_folders(root):
    pairs, _ = listed(root, f"idx;video_path;class\n0;{FILES[0]};abseiling down\n1;{FILES[2]};it's\n", "a.csv")
    assert pairs == [(FILES[0], "abseiling down"), (FILES[2], "it's")]
    folder = root / "frames" / "one two"
    folder.mkdir(parents=True)
    (folder / "image_00001.jpg").touch()
    assert listed(root, "frames/one two 250 3\n")[0] == [("frames/one two", "3")]


@pytest.mark.faults
@pytest.mark.parametrize("ending", [".mkv", ".MP4", ".webm", ""])
def test_another_ending_than_listed(root, ending):
    for name in FILES:
        if ending:
            (root / name).rename((root / name).with_suffix(ending))
        else:
            (root / name).unlink()
            (root / name).with_suffix("").mkdir()
            ((root / name).with_suffix("") / "image_00001.jpg").touch()
    expected = [f"{name.removesuffix('.mp4')}{ending}" for name in FILES]
    assert listed(root, official(), "a.csv")[0] == [(expected[0], CLASSES[0]), (expected[2], CLASSES[1])]
    assert [name for name, _ in listed(root, "\n".join(f"{name} 0" for name in FILES))[0]] == expected
    without = "\n".join(f"{name.removesuffix('.mp4')} 0" for name in FILES)
    assert [name for name, _ in listed(root, without)[0]] == expected


@pytest.mark.faults
def test_two_files_that_it_could_be_are_named(root):
    (root / FILES[0]).rename((root / FILES[0]).with_suffix(".mkv"))
    (root / FILES[0]).with_suffix(".webm").touch()
    (root / FILES[0]).with_suffix(".jpg").touch()
    with pytest.raises(ValueError, match=r"list\.txt, line 2: .*could be any of .*000011\.mkv, .*000011\.webm: "):
        listed(root, f"{FILES[2]} 1\n{FILES[0]} 0\n")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"aaa": {"annotations": {"label": "x"}}}', r"line 1: JSON cannot be read .*Expected a table"),
        ("\nlabel,id,start\nx,aaa,1\n", r"line 2: a table without path .*Expected a table"),
        ("word\n", r"line 1: expected a path, a space and a class"),
        ("a.mp4 0\n\nword\n", r"line 3: expected a path, a space and a class"),
        ("path,label\nx.mp4\n", r"line 2: expected a path and a class"),
        ("x.mp4|0 y\nz.mp4|1 y\n", r"line 1 is read as the video 'x\.mp4\|0' of class 'y', .*Expected a table"),
        (f"{HEADER}\na,aaa,5,9,val\n", r"lists no video of train \(splits in it: val\)"),
        ("", r"lists no video of train"),
    ],
)
def test_other_formats_are_refused_with_their_place(root, text, said):
    with pytest.raises((ValueError, FileNotFoundError), match=rf"list\.txt(, | ){said}"):
        listed(root, text)


def test_a_partly_missing_list_says_so_later(root):
    pairs, found = listed(root, f"{FILES[0]} 0\ngone.mp4 1\n")
    assert (pairs, found.missing) == ([(FILES[0], "0")], ["gone.mp4"])
    assert listed(root, "gone.mp4 1\n", may_be_empty=True)[1].missing == ["gone.mp4"]
    assert ".mkv" in video_files.SUFFIXES


@pytest.mark.faults
@pytest.mark.parametrize("head", [HEADER, "path,label", "path label"])
def test_a_field_of_megabytes_is_refused_in_a_sentence(root, head):
    for text in (f'{head}\n"{"x" * 3_000_000}', f'"{"x" * 3_000_000},{head}\n'):
        with pytest.raises(UserError, match=r"(?s)list\.txt.*(expected|Expected|not there)"):
            listed(root, text)


def test_tables_of_own_columns_and_several_folders(tmp_path):
    """A table of any delimiter names videos of two folders, and the split of each."""
    for name in ("a/one.mp4", "a/two.mp4", "b/three.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = ["clip|was|teil", "one|jump|train", f"{tmp_path}/b/three.mp4|run|train", "two.mp4|jump|val"]
    (tmp_path / "t.txt").write_text("\n".join(rows))
    columns = {"path": "clip", "label": "was", "split": "teil"}
    given = Annotations(str(tmp_path / "t.txt"), columns, (tmp_path / "b",))
    assert find_classes(tmp_path / "a", given) == ["jump", "run"]
    found = find_split(tmp_path / "a", "train", given)
    assert (found.names, found.labels) == (["one.mp4", f"{tmp_path}/b/three.mp4"], ["jump", "run"])
    assert find_split(tmp_path / "a", "val", given).names == ["two.mp4"]
    alone = given._replace(roots=())
    with pytest.raises(ValueError, match=r"t.txt, line 3: .*three.mp4' is outside of"):
        find_split(tmp_path / "a", "train", alone)
    with pytest.raises(
        ValueError, match=r"no column for the label: expected 'what', but the first line names clip, was"
    ):
        find_split(tmp_path / "a", "train", given._replace(columns={**columns, "label": "what"}))
