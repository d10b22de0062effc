"""Scores of single images: named, sorted, each once, and the worst of them seen."""

import csv

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from pcpad.cli import main
from pcpad.datamodules import ImageNetDataModule
from pcpad.tasks import (
    ActionRecognitionTask,
    ClassificationTask,
    GaussianFilteringTask,
    InpaintingTask,
    SegmentationTask,
    SynthesisTask,
)
from pcpad.tasks.base import Task
from pcpad.tasks.callbacks import PerImage
from pcpad.tasks.evaluation.evaluators import Border, Regular
from pcpad.tasks.evaluation.items import ItemScores

pytestmark = pytest.mark.faults


@pytest.fixture
def root(tmp_path):
    """Seven images of two classes."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, count in (("a", 3), ("b", 4)):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "data"


def scored(task, data, path, **options):
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[PerImage(path)],
        default_root_dir=path.parent, **options,
    )  # fmt: skip
    (results,) = trainer.test(task, data, verbose=False)
    with path.open(newline="") as file:
        return results, list(csv.DictReader(file))


def test_images_of_a_classifier(root, tmp_path):
    torch.manual_seed(0)
    task = ClassificationTask("resnet18", num_classes=2)
    data = ImageNetDataModule(root, batch_size=3, num_workers=0, image_size=32, resize=32)
    results, rows = scored(task, data, tmp_path / "results.csv")
    assert sorted(row["file"] for row in rows) == sorted(map(str, (root / "val").rglob("*.png")))
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert np.mean(losses) == pytest.approx(results["test/loss"], rel=1e-5)
    assert np.mean([float(row["top1"]) for row in rows]) == pytest.approx(results["test/top1"])
    for row in rows:
        assert (row["label"] == row["predicted"]) == (row["top1"] == "1")
    with Image.open(tmp_path / "results_worst.png") as sheet:
        assert sheet.height > 7 * 160


class Made(Dataset):
    """Samples of one function."""

    def __init__(self, make, count=3):
        self.make, self.count = make, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.make(torch.Generator().manual_seed(index))


def loader(make):
    return DataLoader(Made(make), batch_size=2)


def scene(draws):
    label = torch.randint(0, 3, (64, 64), generator=draws)
    return {"image": torch.rand(3, 64, 64, generator=draws), "label": label, "path": f"{draws.initial_seed()}.png"}


@pytest.mark.parametrize("evaluators", [[], [Regular(), Border(["0", "1/2"], size=32)]], ids=["plain", "evaluators"])
def test_scenes(tmp_path, evaluators):
    task = SegmentationTask("Unet", "resnet18", num_classes=3)
    task.use_evaluators(evaluators)
    results, rows = scored(task, loader(scene), tmp_path / "a.csv")
    column = "regular/mIoU" if evaluators else "mIoU"
    values = [float(row[column]) for row in rows]
    assert values == sorted(values)
    assert {row["file"] for row in rows} == {"0.png", "1.png", "2.png"}
    assert np.mean([float(row[column.replace("mIoU", "accuracy")]) for row in rows]) == pytest.approx(
        results[f"test/{column.replace('mIoU', 'accuracy')}"]
    )
    assert any("IoU/2" in name for name in rows[0])
    assert not evaluators or "border_tile32/leave_0.500/mIoU" in rows[0]


def maps(draws):
    label = torch.randint(0, 3, (1, 64, 64), generator=draws)
    return {"image": torch.rand(3, 64, 64, generator=draws), "label": label, "instance": label}


def filtered(draws):
    return {"image": torch.rand(3, 32, 32, generator=draws), "target": torch.rand(3, 32, 32, generator=draws)}


def damaged(draws):
    return {"image": torch.rand(3, 32, 32, generator=draws), "mask": torch.rand(1, 32, 32, generator=draws).round()}


@pytest.mark.parametrize(
    ("task", "make", "metric", "reverse"),
    [
        (lambda: GaussianFilteringTask(width=4), filtered, "mse", True),
        (lambda: InpaintingTask(depth=3, width=8), damaged, "l1", True),
        pytest.param(lambda: SynthesisTask(num_labels=3, ngf=2, ndf=2), maps, "l1", True, marks=pytest.mark.slow),
    ],
    ids=["filtering", "inpainting", "synthesis"],
)
def test_pictures(tmp_path, task, make, metric, reverse):
    results, rows = scored(task(), loader(make), tmp_path / "a.csv")
    values = [float(row[metric]) for row in rows]
    assert values == sorted(values, reverse=reverse)
    assert np.mean(values) == pytest.approx(results[f"test/{metric}"], rel=1e-4)
    assert {row["file"] for row in rows} == {"sample 0", "sample 1", "sample 2"}
    assert (tmp_path / "a_worst.png").is_file()


class Windows(Dataset):
    """Five windows of two videos."""

    def __len__(self):
        return 5

    def file_of(self, index):
        return "long.mp4" if index < 3 else "short.mp4"

    def __getitem__(self, index):
        clip = torch.rand(3, 4, 32, 32, generator=torch.Generator().manual_seed(index))
        return {"clip": clip, "label": int(index >= 3), "video": 10 + int(index >= 3)}


def test_videos_are_scored_over_their_windows(tmp_path):
    task = ActionRecognitionTask(num_classes=2, width=2)
    results, rows = scored(task, DataLoader(Windows(), batch_size=2), tmp_path / "a.csv")
    assert {row["file"] for row in rows} == {"long.mp4", "short.mp4"}
    assert np.mean([float(row["top1"]) for row in rows]) == pytest.approx(results["test/video_top1"])
    with torch.no_grad():
        clips = torch.stack([Windows()[index]["clip"] for index in range(3)])
        mean = task.eval()(clips).double().softmax(1).mean(0)
    (row,) = (row for row in rows if row["file"] == "long.mp4")
    assert float(row["probability"]) == pytest.approx(float(mean.max()), rel=1e-4)
    assert row["predicted"] == str(int(mean.argmax()))


def test_each_image_once_on_two_processes(root, tmp_path):
    task = ClassificationTask("resnet18", num_classes=2)
    data = ImageNetDataModule(root, batch_size=2, num_workers=0, image_size=32, resize=32)
    _, rows = scored(task, data, tmp_path / "a.csv", devices=2, strategy="ddp_fork")
    assert sorted(row["file"] for row in rows) == sorted(map(str, (root / "val").rglob("*.png")))
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)


def test_a_task_without_scores_is_refused(tmp_path):
    class Plain(Task):
        def test_step(self, batch, batch_idx): ...

    with pytest.raises(ValueError, match="Plain leaves no scores of single samples"):
        scored(Plain(), loader(filtered), tmp_path / "a.csv")


def test_scores_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="Expected one score per sample"):
        ItemScores().add({"a": [1.0], "b": [1.0, 2.0]})


def test_a_checkpoint_is_not_written_over(tmp_path):
    (tmp_path / "a.ckpt").write_text("weights")
    with pytest.raises(ValueError, match="holds weights"):
        PerImage(tmp_path / "a.ckpt")


@pytest.mark.slow
def test_from_the_command_line(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main([
        "test", "--untrained", "--model", "ClassificationTask", "--model.network", "resnet18",
        "--model.num_classes", "2",
        "--data", "ImageNetDataModule", "--data.root", str(root), "--data.image_size", "32", "--data.resize", "32",
        "--data.num_workers", "0", "--trainer.accelerator", "cpu", "--per_image", "results.csv",
    ])  # fmt: skip
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 8
