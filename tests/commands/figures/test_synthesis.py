"""`pcpad figure synthesis`: maps, generators side by side, boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad import cli
from pcpad.commands.figures.synthesis import map_picture, mark_boxes
from pcpad.models.street_detector import OBJECTS, StreetDetector
from pcpad.tasks import SegmentationTask, SynthesisTask


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Two test images of 64×128: sky, road and a car."""
    root = tmp_path_factory.mktemp("streets")
    for number in range(2):
        ids = np.full((64, 128), 7, np.uint16)
        ids[:20], ids[30:50, 40 : 80 + number] = 23, 26001
        labels = np.where(ids == 26001, 26, ids).astype(np.uint8)
        image = np.full((64, 128, 3), 60 + 100 * number, np.uint8)
        kinds = {"gtFine_labelIds": labels, "gtFine_instanceIds": ids, "leftImg8bit": image}
        for kind, array in kinds.items():
            folder = "leftImg8bit" if kind == "leftImg8bit" else "gtFine"
            path = root / folder / "val" / "munster" / f"munster_{number:06d}_000019_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return root


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, save_checkpoint):
    folder, found = tmp_path_factory.mktemp("checkpoints"), []
    for partial in (False, True):
        torch.manual_seed(int(partial))
        task = SynthesisTask(ngf=1, ndf=4, partial=partial)
        found.append(save_checkpoint(task, folder / f"{partial}.ckpt", task.padding))
    return found


def figure(*arguments, root):
    data = ["--data", "CityscapesPanopticDataModule", f"--data.root={root}", "--data.num_workers=0"]
    cli.main(["figure", "synthesis", *map(str, arguments), *data, "--data.image_size=[64,128]", "--device=cpu"])


def failing(capsys, *arguments, root):
    with pytest.raises(SystemExit) as caught:
        figure(*arguments, root=root)
    assert caught.value.code not in (0, None)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def sheets(monkeypatch):
    """What `draw_sheet` is asked to draw."""
    asked, module = [], "pcpad.commands.figures.synthesis"
    from pcpad.tasks.pictures.sheets import draw_sheet

    monkeypatch.setattr(f"{module}.draw_sheet", lambda *args, **more: asked.append((*args, more)) or draw_sheet(*args))
    return asked


def test_columns_are_the_map_the_real_image_and_the_generators(streets, checkpoints, tmp_path, monkeypatch):
    asked = sheets(monkeypatch)
    figure("--checkpoints", *checkpoints, "--output", tmp_path / "a.png", root=streets)
    ((rows, titles, _),) = asked
    assert titles == ["map", "real", "convolution", "partial convolution"]
    assert len(rows) == 2
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (4 * 384 + 5 * 10, picture.size[1])
    task = SynthesisTask.load_from_checkpoint(checkpoints[1], weights_only=True).eval()
    label = torch.full((1, 1, 64, 128), 7)
    label[..., :20, :], label[..., 30:50, 40:80] = 23, 26
    with torch.no_grad():
        wanted = (task(label, torch.where(label == 26, 26001, label))[0] * 255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(rows[0].images[3], wanted)
    assert not np.array_equal(rows[0].images[2], rows[0].images[3])
    assert (rows[1].images[1] == 160).all()


def test_maps_of_a_folder_and_a_detector_s_boxes(streets, checkpoints, tmp_path, monkeypatch):
    class Finds(torch.nn.Module):
        def forward(self, images):
            boxes = torch.tensor([[40.0, 30.0, 80.0, 50.0], [4.0, 4.0, 20.0, 20.0]])
            return [{"boxes": boxes, "labels": torch.tensor([3, 1]), "scores": torch.tensor([0.9, 0.3])}]

    read = []
    detector = StreetDetector(Finds(), {3: 26, 1: 24}, "x")
    monkeypatch.setattr("pcpad.commands.figures.synthesis.load_detector", lambda path: read.append(path) or detector)
    asked, maps = sheets(monkeypatch), streets / "gtFine" / "val"
    for score, counts in (("0.5", "1 found"), ("0.2", "2 found")):
        given = ["--checkpoints", *checkpoints, "--labels", "a", "b", "--maps", maps, "--images", "1"]
        figure(*given, "--detector", "d.pth", "--score", score, "--output", tmp_path / "b.png", root="nowhere")
        rows, titles, more = asked.pop()
        assert titles == ["map", "a", "b"]
        assert list(rows[0].labels) == ["", counts, counts]
        assert f"d.pth finds with a score of at least {score}" in more["note"]
    assert read == ["d.pth"] * 2
    # The car's box, three times enlarged, in the class's color between two white lines.
    picture = rows[0].images[1]
    assert picture.shape == (192, 384, 3)
    assert picture[120, 120].tolist() == [0, 0, 142]
    assert picture[120, 119].tolist() == picture[120, 122].tolist() == [255, 255, 255]


@pytest.mark.slow
def test_what_does_not_fit_is_said(streets, checkpoints, save_checkpoint, tmp_path, capsys):
    given = {"root": streets}
    assert "tell them apart with --labels" in failing(capsys, "--checkpoints", *checkpoints[:1] * 2, **given)
    assert "a name for each of the 1" in failing(capsys, "--checkpoints", checkpoints[0], "--labels", "a", "b", **given)
    assert "no such folder" in failing(capsys, "--checkpoints", checkpoints[0], "--maps", tmp_path / "x", **given)
    assert "from 0.05 to 1, got '0'" in failing(capsys, "--checkpoints", checkpoints[0], "--score", "0", **given)
    absent = failing(capsys, "--checkpoints", checkpoints[0], "--detector", tmp_path / "absent.pth", **given)
    assert "No weight file at" in absent
    other = save_checkpoint(SynthesisTask(num_labels=8, ngf=1, ndf=4), tmp_path / "other.ckpt", None)
    assert "different numbers of labels" in failing(capsys, "--checkpoints", checkpoints[0], other, **given)
    wrong = save_checkpoint(SegmentationTask(encoder="resnet18"), tmp_path / "wrong.ckpt", None)
    assert "a checkpoint of SegmentationTask" in failing(capsys, "--checkpoints", wrong, **given)
    with pytest.raises(SystemExit):
        cli.main(["figure", "synthesis", "--checkpoints", checkpoints[0], "--data", "CityscapesDataModule",
                  f"--data.root={streets}", "--data.num_workers=0", "--device=cpu"])  # fmt: skip
    assert "CityscapesDataModule has no instance maps" in capsys.readouterr().err
    assert not Path("synthesis.png").exists()


def test_lines_lie_between_instances():
    instance = torch.tensor([[[[1, 1, 2, 2]] * 4]])
    colors = np.array([(10, 20, 30), (40, 50, 60)], np.uint8)
    picture = map_picture(torch.ones(1, 1, 4, 4, dtype=torch.long), instance, colors)
    assert picture.shape == (480, 480, 3)
    white = (picture == 255).all(-1)
    assert white[:, 239:241].all()
    assert white.sum() == 2 * 480
    assert (picture[~white] == (40, 50, 60)).all()


def test_the_surest_box_is_drawn_last_and_stays_in_the_picture():
    colors = np.zeros((35, 3), np.uint8)
    colors[24], colors[26] = (200, 0, 0), (0, 0, 200)
    boxes = torch.tensor([[0.0, 0.0, 480.0, 100.0]] * 2)
    found = {"boxes": boxes, "labels": torch.tensor([26, 24]), "scores": torch.tensor([0.9, 0.6])}
    picture = mark_boxes(np.zeros((100, 480, 3), np.uint8), found, colors, OBJECTS)
    assert picture.shape == (100, 480, 3)
    assert picture[50, 0].tolist() == [0, 0, 200]
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    assert not mark_boxes(np.zeros((100, 480, 3), np.uint8), none, colors, OBJECTS).any()
