"""Real videos on two processes: one process's scores, each video counted once, an epoch's clips shared out."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.optim import SGD

from pcpad.datamodules import KineticsDataModule
from pcpad.datamodules.samples.kinetics import write_kinetics
from pcpad.tasks import ActionRecognitionTask
from pcpad.tasks.callbacks import VideoPredictionTable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Eleven videos to train on and eleven to test, which two does not divide, of three to seven windows each."""
    folder = tmp_path_factory.mktemp("videos") / "kinetics"
    write_kinetics(folder, train_videos=2, val_videos=2, height=32, seconds=(0.7, 2.0))
    for split in ("train", "val"):
        sorted((folder / split).rglob("*.mp4"))[4].unlink()
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Makes a trainer for one process or two."""
    torch.set_num_threads(1)  # a forked process cannot use the OpenMP threads of the one it comes from
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    seed_everything(3, verbose=False)

    def make(processes, *callbacks, **options):
        monkeypatch.delenv("MASTER_PORT", raising=False)  # the last run's may not be free again yet
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        several = {"devices": processes, "strategy": "ddp_fork" if processes > 1 else "auto"}
        quiet |= {"enable_checkpointing": False, "default_root_dir": tmp_path, "num_sanity_val_steps": 0}
        return Trainer(**quiet | several | options, callbacks=[*callbacks])

    return make


def data(root, batch_size, **options):
    return KineticsDataModule(root, batch_size=batch_size, num_workers=0, clip_length=8, size=32, **options)


def sgd(parameters):
    return SGD(parameters, lr=1e-4)


def task(root):
    """A network whose batch norms have seen the data, so that it does not take all for one class."""
    torch.manual_seed(0)
    model = ActionRecognitionTask(network="resnet3d18", num_classes=6, width=4, optimizer=sgd)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # the mean over what it sees
    videos = data(root, 16)
    videos.setup("test")
    with torch.no_grad():
        model.train()(next(iter(videos.test_dataloader()))["clip"])
    return model.eval()


class Seen(Callback):
    """Has each process write down what it was given, and at a fit's end its weights."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.batches = []

    def on_test_batch_start(self, trainer, task, batch, number, dataloader_idx=0):
        self.batches.append(batch["video"].tolist())

    def on_train_batch_start(self, trainer, task, batch, number):
        sums = batch["clip"].sum((1, 2, 3, 4)).tolist()
        pairs = zip(batch["video"].tolist(), sums, strict=True)
        self.batches.append([trainer.current_epoch, trainer.global_step, sorted(pairs)])

    def on_train_end(self, trainer, task):
        parameters = [parameter.detach() for parameter in task.parameters()]
        torch.save(parameters, self.folder / f"{trainer.global_rank}.pt")

    def teardown(self, trainer, task, stage):
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.batches))

    def read(self):
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]


def test_testing_counts_like_one_process(root, run, tmp_path):
    found, seen = [], []
    for processes in (1, 2):
        watch = Seen(tmp_path / f"seen {processes}")
        found += run(processes, watch).test(task(root), data(root, 5), verbose=False)
        seen.append([[video for batch in part for video in batch] for part in watch.read()])
    accuracies = [name for name in found[0] if "top" in name]
    assert {"test/clip_top1", "test/clip_top5", "test/video_top1", "test/video_top5"} == set(accuracies)
    assert {name: found[1][name] for name in accuracies} == {name: found[0][name] for name in accuracies}
    assert found[1]["test/loss"] == pytest.approx(found[0]["test/loss"], rel=1e-5)
    assert found[0]["test/videos"] == found[1]["test/videos"] == 11
    assert 0 < found[0]["test/clip_top5"] < 1, "a score that can show a difference"
    ((alone,), (first, second)) = seen
    assert sorted(first + second) == alone, "each window once"
    assert len({alone.count(video) for video in set(alone)}) > 2, "videos of several lengths"
    assert (set(first), set(second)) == (set(range(0, 11, 2)), set(range(1, 11, 2))), "no video on both"


@pytest.mark.faults
def test_validating_counts_like_one_process(root, run, tmp_path):
    found = []
    for processes in (1, 2):
        found += run(processes).validate(task(root), data(root, 5, val_clips=3), verbose=False)
    accuracies = [name for name in found[0] if "top" in name]
    assert {"val/clip_top1", "val/clip_top5", "val/video_top1", "val/video_top5"} == set(accuracies)
    assert {name: found[1][name] for name in accuracies} == {name: found[0][name] for name in accuracies}
    assert found[1]["val/loss"] == pytest.approx(found[0]["val/loss"], rel=1e-5)
    one = run(1).validate(task(root), data(root, 5), verbose=False)[0]
    assert one["val/loss"] != found[0]["val/loss"]
    assert one["val/video_top1"] == one["val/clip_top1"]


def test_predictions_are_those_of_one_process(root, run, tmp_path):
    tables = []
    for processes in (1, 2):
        writer = VideoPredictionTable(tmp_path / f"{processes}.csv")
        videos = data(root, 5, predict_videos=root / "val")
        run(processes, writer).predict(task(root), videos, return_predictions=False)
        with (tmp_path / f"{processes}.csv").open() as file:
            tables.append(list(csv.reader(file)))
    assert [row[:4] for row in tables[0]] == [row[:4] for row in tables[1]]
    assert sum(row[1] == "video" for row in tables[0]) == 11
    values = [np.array([row[5::2] for row in table[1:]], dtype=float) for table in tables]
    assert np.allclose(*values, rtol=1e-4)


def test_damage_is_told_by_one_error_when_all_else_is_predicted(root, run, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(root / "val", folder)
    videos = data(root, 5, predict_videos=folder)
    videos.setup("predict")
    broken = sorted(folder.rglob("*.mp4"))[1]  # of the second process
    content = broken.read_bytes()
    start = content.index(b"mdat") + 4
    broken.write_bytes(content[:start] + b"\xff" * (len(content) - start))
    writer = VideoPredictionTable(tmp_path / "rest.csv")
    with pytest.raises(Exception, match=r"could not be read; all others are done:(.|\n)*" + broken.name):
        run(2, writer).predict(task(root), videos, return_predictions=False)
    with (tmp_path / "rest.csv").open() as file:
        found = {row["path"] for row in csv.DictReader(file)}
    assert found == {str(path) for path in folder.rglob("*.mp4")} - {str(broken)}


@pytest.mark.own_process
def test_training_shares_the_clips_of_an_epoch(root, run, tmp_path):
    together = []
    for processes in (1, 2):
        watch = Seen(tmp_path / f"seen {processes}")
        fit = run(processes, watch, max_epochs=2)
        fit.fit(task(root).train(), data(root, 4 // processes))
        assert np.isfinite(float(fit.callback_metrics["val/loss"]))
        parts = watch.read()
        assert len(parts) == processes
        steps = {}
        for epoch, step, clips in (batch for part in parts for batch in part):
            steps.setdefault((epoch, step), []).extend(map(tuple, clips))
        together.append({key: sorted(clips) for key, clips in steps.items()})
    assert together[0] == together[1], "the same clips in the same steps"
    assert list(together[1]) == [(0, 0), (0, 1), (1, 2), (1, 3)]
    for epoch in (0, 1):
        videos = [video for (number, _), clips in together[1].items() if number == epoch for video, _ in clips]
        assert len(videos) == len(set(videos)) == 8
    weights = [torch.load(tmp_path / "seen 2" / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True)), "one network"
