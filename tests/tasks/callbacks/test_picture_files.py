"""What predicted pictures are called: found out before any work, and never a file that is there."""

import os
from types import SimpleNamespace

import pytest

from pcpad.tasks.callbacks import InpaintedPictures, LabelMaps, SynthesizedPictures

pytestmark = pytest.mark.faults


class Listed:
    """A data set of files."""

    def __init__(self, *files):
        self.files = files

    def input_files(self):
        return ((str(each),) if not isinstance(each, tuple) else tuple(map(str, each)) for each in self.files)


def started(writer, *files):
    loader = SimpleNamespace(dataset=Listed(*files))
    writer.on_predict_start(SimpleNamespace(log_dir=None, predict_dataloaders=loader, is_global_zero=True), None)
    return writer


@pytest.mark.parametrize("kind", [LabelMaps, InpaintedPictures, SynthesizedPictures])
@pytest.mark.parametrize(
    "names", [("a.png", "a.jpg"), ("x/a.png", "y/a.png"), ("A.png", "a.png"), ("\xe9.png", "e\u0301.png")]
)
def test_two_inputs_of_one_name(tmp_path, kind, names):
    with pytest.raises(ValueError, match="would both be written to"):
        started(kind(tmp_path / "out"), *(tmp_path / name for name in names))
    assert not (tmp_path / "out").exists()


def test_a_map_is_no_other_picture_s_overlay(tmp_path):
    with pytest.raises(ValueError, match="would both be written to"):
        started(LabelMaps(tmp_path / "out"), tmp_path / "a.png", tmp_path / "a_overlay.png")


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_a_folder_within_the_input_folder(tmp_path, link):
    inputs = tmp_path / "a.png", tmp_path / "other" / "b.png"
    for name in ("sub", "other"):
        (tmp_path / name).mkdir()
    for path in inputs:
        path.write_text("x")
    if link is None:
        inputs = inputs[0], (tmp_path / "c.png", tmp_path / "sub" / "a.png")  # the second's mask
        inputs[1][1].write_text("x")
    else:
        link(inputs[1], tmp_path / "sub" / "a.png")
    with pytest.raises(ValueError, match=r"sub/a\.png would replace the input .*(sub/a|other/b)\.png"):
        started(LabelMaps(tmp_path / "sub"), *inputs)


def test_a_checkpoint_under_a_picture_s_name(tmp_path):
    (tmp_path / "best.ckpt").write_text("x")
    (tmp_path / "out").mkdir()
    os.link(tmp_path / "best.ckpt", tmp_path / "out" / "a_overlay.png")
    writer = LabelMaps(tmp_path / "out")
    writer.protected = [tmp_path / "best.ckpt"]
    with pytest.raises(ValueError, match=r"would replace the input .*best\.ckpt"):
        started(writer, tmp_path / "a.png")


def test_names_as_long_as_file_systems_allow(tmp_path):
    sources = [tmp_path / ("ä" * 125 + letter + ".png") for letter in "xy"]
    for source in sources:
        source.write_text("x")
    writer = started(LabelMaps(tmp_path / "out"), *sources)
    with pytest.warns(UserWarning, match="its name is too long for the result"):
        targets = [target for source in sources for target in writer.targets(str(source))]
    for target in targets:
        target.write_text("x")
    assert len(set(targets)) == 6
    assert all(path.name.encode().decode() for path in (tmp_path / "out").iterdir())
    assert {path.name[-12:] for path in targets[2::3]} == {"_overlay.png"}
