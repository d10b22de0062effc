"""Sample data sets are written whole or not at all, and never over anybody's files."""

import json

import pytest

from pcpad.datamodules.samples import SAMPLES, SampleSummary
from pcpad.datamodules.samples import writing as writing_module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("sklearn")
    root = tmp_path_factory.mktemp("samples") / "new" / "digits"
    assert SAMPLES["digits"](root) == SampleSummary("digits", root, {"train": 1078, "val": 360, "test": 359}, True)
    return root


def small(root, counts=1, settings=None, name="tiny"):
    def fill(folder):
        (folder / "train").mkdir()
        for number in range(counts):
            (folder / "train" / f"{number}.png").touch()
        return {"train": counts}

    return writing_module.write_once(root, name, settings or {}, fill)


def test_refuses_other_settings_and_missing_files(tmp_path):
    root = tmp_path / "data"
    root.mkdir()  # an empty folder may be used
    assert small(root, 2).written
    with pytest.raises(FileExistsError, match=r"holds the sample 'tiny' with \{\}, not 'tiny' with \{'seed': 1\}"):
        small(root, 2, {"seed": 1})
    with pytest.raises(FileExistsError, match=r"holds the sample 'tiny'.*not 'digits'"):
        small(root, 2, name="digits")
    (root / "train" / "1.png").unlink()
    with pytest.raises(FileExistsError, match="has 1 files, but 2 were written"):
        small(root, 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_interrupted_run_leaves_nothing(tmp_path, error):
    def fill(folder):
        (folder / "half").mkdir()
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        writing_module.write_once(tmp_path / "data", "tiny", {}, fill)
    assert list(tmp_path.iterdir()) == []


def test_second_process_takes_the_quicker_ones_result(tmp_path):
    root = tmp_path / "data"

    def fill(folder):
        small(root.with_name("other"))
        root.with_name("other").rename(root)  # meanwhile, elsewhere
        return {"train": 1}

    summary = writing_module.write_once(root, "tiny", {}, fill)
    assert (summary.written, dict(summary.counts)) == (False, {"train": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_home_is_expanded_and_marker_says_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert small("~/data").root == tmp_path / "data"
    facts = json.loads((tmp_path / "data" / writing_module.MARKER).read_text())
    assert facts == {"sample": "tiny", "settings": {}, "counts": {"train": 1}}


@pytest.mark.faults
def test_a_folder_s_name_may_be_as_long_as_names_can_be(tmp_path):
    summary = writing_module.write_once(tmp_path / ("a" * 255), "x", {}, lambda folder: {})
    assert summary.written
    assert [path.name for path in tmp_path.iterdir()] == ["a" * 255]
