"""Which pictures are filled, which mask is whose, and what results are called."""

from pathlib import Path

import pytest

from pcpad.commands.filling.finding import Masks, find_jobs

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(PNG)

    return make


def found(pictures, masks=None, suffix="_mask", output="out", needed=True):
    return find_jobs(
        [Path(each) for each in pictures], Masks(Path(masks) if masks else None, suffix, needed), Path(output)
    )


def pairs(result):
    return [(str(job.source), job.name, str(job.mask)) for job in result.jobs]


def test_masks_beside_pictures(folder):
    folder("in/a.jpg", "in/a_mask.png", "in/deep/b.png", "in/deep/b_mask.png", "in/lonely_mask.png")
    result = found(["in"])
    assert pairs(result) == [("in/a.jpg", "a", "in/a_mask.png"), ("in/deep/b.png", "deep/b", "in/deep/b_mask.png")]
    assert len(result.failures) == 1
    assert result.failures[0].startswith("in/lonely_mask.png: there is no mask beside it (lonely_mask_mask.*)")


def test_another_suffix(folder):
    folder("a.jpg", "a.holes.png")
    assert pairs(found(["a.jpg"], suffix=".holes")) == [("a.jpg", "a", "a.holes.png")]


def test_masks_in_a_folder_by_place_then_by_name(folder):
    folder("in/a.jpg", "in/x/a.jpg", "in/b.jpg", "in/x/c.jpg")
    folder("masks/a.png", "masks/x/a_mask.png", "masks/b_mask.png", "masks/c.png", "masks/d.png")
    result = found(["in"], "masks")
    assert pairs(result) == [
        ("in/a.jpg", "a", "masks/a.png"),
        ("in/b.jpg", "b", "masks/b_mask.png"),
        ("in/x/a.jpg", "x/a", "masks/x/a_mask.png"),
        ("in/x/c.jpg", "x/c", "masks/c.png"),
    ]
    assert result.notes == ["1 mask in masks belongs to none of these pictures: masks/d.png"]


def test_one_mask_for_all(folder):
    folder("in/a.jpg", "in/b.jpg", "m.png")
    assert [job.mask for job in found(["in"], "m.png").jobs] == [Path("m.png")] * 2


def test_results_and_masks_within_the_pictures_are_no_pictures(folder):
    folder("in/a.jpg", "in/masks/a.png", "in/out/a.png")
    assert pairs(found(["in"], "in/masks", output="in/out")) == [("in/a.jpg", "a", "in/masks/a.png")]


@pytest.mark.faults
def test_pictures_of_one_name_get_results_of_two(folder):
    folder("in/a.jpg", "in/a.png", "in/A.tif", "in/a_jpg.png")
    result = found(["in"], needed=False)
    names = [job.name for job in result.jobs]
    assert len(names) == 4
    assert len({name.casefold() for name in names}) == 4
    assert len(result.notes) == 3


def test_a_picture_named_twice_is_filled_once(folder):
    folder("in/a.jpg")
    assert len(found(["in", "in/a.jpg", "./in/a.jpg"], needed=False).jobs) == 1


@pytest.mark.faults
def test_what_is_missing_is_named_and_the_rest_goes_on(folder):
    folder("a.png", "b.png", "masks/a.png")
    result = found(["a.png", "b.png", "c.png"], "masks")
    assert [job.name for job in result.jobs] == ["a"]
    assert result.failures[0] == "c.png: no such file or folder"
    assert result.failures[1].startswith("b.png: there is no mask in masks (b.* or b_mask.*)")


@pytest.mark.faults
def test_two_masks_of_a_picture_are_too_many(folder):
    folder("a.png", "masks/a.png", "masks/a.gif")
    assert "it has 2 masks: masks/a.gif, masks/a.png; keep only one" in found(["a.png"], "masks").failures[0]


@pytest.mark.faults
def test_other_files_among_pictures_are_named(folder):
    folder("in/a.png")
    Path("in/b.xyz").write_bytes(b"%PDF-1.4 ...")
    assert any("b.xyz" in line for line in found(["in"], needed=False).failures)


@pytest.mark.faults
def test_no_pictures_and_no_masks_are_refused(folder):
    folder("a.png")
    Path("empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no picture to fill in empty"):
        found(["empty"], needed=False)
    with pytest.raises(FileNotFoundError, match="no such file or folder of masks"):
        found(["a.png"], "nowhere")


def test_long_names_leave_room_for_an_ending(folder):
    folder("x" * 250 + ".png")
    (job,) = found(["x" * 250 + ".png"], needed=False).jobs
    assert len(job.name + "_mask.tiff") <= 255
