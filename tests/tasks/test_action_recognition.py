"""The action recognition task from plain Python: training, scores of clips and videos, checkpoints, predictions."""

import csv
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim import SGD
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader

from pcpad.datamodules.base import evaluation_sampler
from pcpad.datamodules.datasets.clip_datasets import collate_windows
from pcpad.models import resnet3d50
from pcpad.tasks import ActionRecognitionTask
from pcpad.tasks.base import NonFiniteLossError
from pcpad.tasks.callbacks import BestAndLast, RunResults, VideoPredictionTable
from pcpad.tasks.class_scores import class_metrics

CLASSES = 7


class Videos(LightningDataModule):
    """Five videos of one to four windows (or `windows` times as many) of seeded noise, six frames at 16²."""

    def __init__(self, num_classes=CLASSES, bad=None, spread=False, windows=1):
        super().__init__()
        self.windows = windows
        self.num_classes, self.bad, self.spread = num_classes, bad, spread
        self.class_names = [f"kind {index}" for index in range(num_classes)]

    def items(self, *keys):
        draw = torch.Generator().manual_seed(0)
        for video, count in enumerate((3, 1, 4, 2, 2)):
            for window in range(count * self.windows):
                clip = torch.randint(0, 256, (3, 6, 16, 16), dtype=torch.uint8, generator=draw)
                clip = clip if self.bad is None else torch.full((3, 6, 16, 16), self.bad)
                item = {"clip": clip, "label": torch.tensor(video % self.num_classes), "video": torch.tensor(video)}
                times = {"start": 0.2 * window, "end": 0.2 * window + 0.2}
                item |= {"path": f"b/{9 - video}.mp4", **times}
                yield {key: item[key] for key in keys}

    def _loader(self, *keys):
        items = list(self.items(*keys))
        if self.spread or self.trainer is None or self.trainer.world_size == 1:
            return DataLoader(items, batch_size=5, sampler=evaluation_sampler(items, self.trainer))
        # Whole videos: of 3 + 1 + 4 and of 2 + 2 windows.
        return DataLoader(items[:8] if self.trainer.global_rank == 0 else items[8:], batch_size=5)

    def train_dataloader(self):
        return DataLoader(list(self.items("clip", "label")), batch_size=4)

    def val_dataloader(self):
        return self._loader("clip", "label")

    def test_dataloader(self):
        return self._loader("clip", "label", "video")

    def predict_dataloader(self):
        items = list(self.items("clip", "video", "path", "start", "end"))
        if self.trainer.world_size > 1 and not self.spread:
            items = items[:8] if self.trainer.global_rank == 0 else items[8:]
            return DataLoader(items, batch_size=5, collate_fn=collate_windows)
        sampler = evaluation_sampler(items, self.trainer)
        return DataLoader(items, batch_size=5, sampler=sampler, collate_fn=collate_windows)


def sgd(parameters):
    return SGD(parameters, lr=0.01)


def task(**options):
    torch.manual_seed(0)
    small = {"network": "resnet3d18", "num_classes": CLASSES, "width": 4, "optimizer": sgd}
    return ActionRecognitionTask(**small | options)


def settled(**options):
    """A task whose batch norms have seen the data: fresh ones let values grow until one class has it all."""
    model, data = task(**options), Videos()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # the mean over what it sees
    with torch.no_grad():
        model.train()(torch.stack([item["clip"] for item in data.items("clip")]))
    return model.eval()


def trainer(folder, *callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": any(isinstance(callback, BestAndLast) for callback in callbacks)}
    return Trainer(**quiet | {"default_root_dir": folder, "max_epochs": 1, "callbacks": [*callbacks]} | options)


def logits_of(model, data):
    items = list(data.items("clip", "label", "video"))
    with torch.no_grad():
        logits = model.eval()(torch.stack([item["clip"] for item in items]))
    return logits, *(torch.stack([item[key] for item in items]) for key in ("label", "video"))


def test_the_network_sees_the_published_range():
    model = task().eval()
    clip = torch.randint(0, 256, (2, 3, 4, 16, 16), dtype=torch.uint8)
    seen = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    bytes_in = model(clip)
    published = clip.float() - torch.tensor([114.77, 107.74, 99.48]).view(3, 1, 1, 1)
    assert torch.allclose(seen[0], published, atol=1e-4)
    assert torch.allclose(model(clip.float() / 255), bytes_in, atol=1e-5)


def test_training_the_checkpoint_it_leaves_and_a_plateau(tmp_path):
    plateau = partial(ReduceLROnPlateau, monitor="val/loss", patience=0, threshold=10, factor=0.5)
    model = task(scheduler=plateau)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    results = RunResults("val/clip_top1")
    run = trainer(tmp_path, BestAndLast("val/clip_top1"), results, max_epochs=2)
    run.fit(model, Videos())
    assert all(np.isfinite(float(run.callback_metrics[name])) for name in ("train/loss", "val/loss"))
    assert {"val/clip_top1", "val/clip_top5"} <= set(run.callback_metrics)
    changed = [name for name, value in model.network.state_dict().items() if not torch.equal(value, before[name])]
    assert {"conv1.weight", "fc.weight", "layer4.1.conv2.weight"} <= set(changed)
    # No loss is better by a threshold of 10, so each of two looks halves the rate.
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0025)

    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    assert content["hyper_parameters"]["_class_path"] == "pcpad.tasks.action_recognition.ActionRecognitionTask"
    assert not {"optimizer", "scheduler", "weights"} & set(content["hyper_parameters"])
    assert (content["trained_with"], content["class_names"][2]) == ("partial", "kind 2")
    (after_fit,) = trainer(tmp_path).test(model, Videos(), verbose=False)
    again = ActionRecognitionTask.load_from_checkpoint(path, weights_only=True)
    (from_file,) = trainer(tmp_path).test(again, Videos(), verbose=False)
    assert from_file == after_fit
    assert again.trained_with == "partial"


def test_scores_of_clips_and_of_videos(tmp_path):
    model, data = settled(), Videos()
    run = trainer(tmp_path)
    (result,) = run.test(model, data, verbose=False)
    assert set(result) == {
        f"test/{x}" for x in ("loss", "clip_top1", "clip_top5", "video_top1", "video_top5", "videos")
    }
    logits, label, video = logits_of(model, data)
    assert result["test/loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, label)), rel=1e-5)
    for k in (1, 5):
        clips = (logits.topk(k).indices == label[:, None]).any(1).float().mean()
        assert result[f"test/clip_top{k}"] == pytest.approx(float(clips))
        means = [logits[video == number].softmax(1).mean(0) for number in range(5)]
        right = [number % CLASSES in mean.topk(k).indices for number, mean in enumerate(means)]
        assert result[f"test/video_top{k}"] == pytest.approx(sum(right) / 5)
    assert result["test/videos"] == 5
    (twice,) = run.test(model, data, verbose=False)
    assert twice == result  # nothing is left over from the first time


@pytest.mark.faults
def test_validation_scores_videos_by_the_mean_of_their_clips(tmp_path):
    class Spread(Videos):
        val_dataloader = Videos.test_dataloader

    model = settled()
    run = trainer(tmp_path)
    (found,) = run.validate(model, Spread(), verbose=False)
    logits, label, video = logits_of(model, Spread())
    means = torch.stack([logits[video == number].softmax(1).mean(0) for number in range(5)])
    true = torch.tensor([int(label[video == number][0]) for number in range(5)])
    assert found["val/video_top1"] == pytest.approx(float((means.argmax(1) == true).float().mean()))
    assert found["val/loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, label)), rel=1e-4)
    assert run.validate(model, Spread(), verbose=False)[0] == found, "nothing is left of the first"
    (plain,) = run.validate(model, Videos(), verbose=False)
    assert set(plain) == {"val/loss", "val/clip_top1", "val/clip_top5"}, "whose clips they are is not known"


@pytest.mark.slow
def test_half_precision_counts_as_exactly(tmp_path):
    model, data = settled(), Videos(windows=40)
    (full,) = trainer(tmp_path).test(model, data, verbose=False)
    items = list(data.items("clip", "label"))
    assert len(items) > 256, "where bfloat16 stops counting"
    (half,) = trainer(tmp_path, precision="bf16-true").test(model, data, verbose=False)
    assert half["test/loss"] == pytest.approx(full["test/loss"], rel=0.02)
    assert half["test/videos"] == 5
    assert class_metrics(CLASSES).to(torch.bfloat16)["loss"].total.dtype == torch.float64
    # Fractions of whole numbers, as in full precision; a rounded network may see single clips otherwise.
    assert half["test/clip_top1"] * len(items) == pytest.approx(round(half["test/clip_top1"] * len(items)), abs=1e-3)
    run = trainer(tmp_path, precision="bf16-true")
    run.fit(task(), Videos())
    assert np.isfinite(float(run.callback_metrics["val/loss"]))


def test_top5_needs_more_than_five_classes(tmp_path):
    (result,) = trainer(tmp_path).test(task(num_classes=5), Videos(num_classes=5), verbose=False)
    assert set(result) == {"test/loss", "test/clip_top1", "test/video_top1", "test/videos"}


def test_predictions_of_windows_and_videos(tmp_path):
    model, data = settled(), Videos()
    model.class_names = data.class_names
    writer = VideoPredictionTable(tmp_path / "out" / "videos.csv")
    trainer(tmp_path, writer).predict(model, data, return_predictions=False)
    with writer.written.open() as file:
        rows = list(csv.DictReader(file))
    logits, _, video = logits_of(model, data)
    assert [row["path"] for row in rows if row["part"] == "video"] == [f"b/{number}.mp4" for number in range(5, 10)]
    assert len(rows) == 5 + len(video)
    long = [row for row in rows if row["path"] == "b/7.mp4"]  # video 2, with four windows
    assert [row["part"] for row in long] == ["video"] + 4 * ["window"]
    assert [(row["start"], row["end"]) for row in long[:3]] == [("0", "0.8"), ("0", "0.2"), ("0.2", "0.4")]
    probability = logits[video == 2].softmax(1)
    for row, expected in zip(long, [probability.mean(0), *probability], strict=True):
        top = expected.topk(5)
        assert [row[f"class_{k}"] for k in range(1, 6)] == [f"kind {int(index)}" for index in top.indices]
        printed = [float(row[f"probability_{k}"]) for k in range(1, 6)]
        assert printed == pytest.approx(top.values.tolist(), rel=1e-4)
    assert "class_6" not in rows[0]
    writer = VideoPredictionTable(tmp_path / "half.csv")
    trainer(tmp_path, writer, precision="bf16-true").predict(model, data, return_predictions=False)
    with writer.written.open() as file:
        half = list(csv.DictReader(file))
    columns = ("path", "part", "start", "end")
    assert [[row[name] for name in columns] for row in half] == [[row[name] for name in columns] for row in rows]


def test_cross_testing(tmp_path):
    plain, path = task(padding="zeros"), tmp_path / "zeros.ckpt"
    run = trainer(tmp_path)
    run.fit(plain, Videos())
    run.save_checkpoint(path)
    (zeros,) = trainer(tmp_path).test(plain, Videos(), verbose=False)
    other_task = task()
    (other,) = trainer(tmp_path).test(other_task, Videos(), ckpt_path=path, verbose=False)
    assert (other_task.padding, other_task.trained_with) == ("partial", "zeros")
    assert other["test/loss"] != zeros["test/loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"network": "resnet50"},
            "`network` to be one of resnet3d18, .*resnet3d101, but got 'resnet50'",
        ),
        ({"num_classes": 0}, "`num_classes`"),
        ({"width": 0}, "`width`"),
        ({"std": (0.2, 0.0, 0.2)}, "`std` to be numbers > 0"),
        ({"padding": "partail"}, "partial"),
        ({"weights": "absent.pth"}, r"No weight file at absent\.pth"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        task(**options)


def test_reflection_where_there_is_one_frame_says_what_to_do():
    with pytest.raises(ValueError, match="fallback"):
        task(padding="reflect").eval()(torch.zeros(1, 3, 16, 112, 112))
    clip = torch.rand(1, 3, 16, 112, 112)
    assert task(padding="reflect", fallback="replicate").eval()(clip).isfinite().all()


def test_bad_runs(tmp_path):
    with pytest.raises(ValueError, match=r"The data has 4 classes and the network 7: pass --model\.num_classes 4"):
        trainer(tmp_path).fit(task(), Videos(num_classes=4))
    with pytest.raises(ValueError, match="Training needs an optimizer"):
        trainer(tmp_path).fit(task(optimizer=None), Videos())
    with pytest.raises(ValueError, match=r"pass lightning\.pytorch\.cli\.ReduceLROnPlateau"):
        trainer(tmp_path).fit(task(scheduler=schedules.ReduceLROnPlateau), Videos())
    with pytest.raises(NonFiniteLossError, match=r"loss is not finite \(epoch 0, step 0"):
        trainer(tmp_path, limit_val_batches=0).fit(task(), Videos(bad=float("nan")))


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_non_finite_evaluation(tmp_path, verb):
    with pytest.raises(NonFiniteLossError, match="loss is nan"):
        getattr(trainer(tmp_path), verb)(task(), Videos(bad=float("nan")), verbose=False)


def test_other_class_names_warn(tmp_path):
    model = task()
    model.class_names = ["jump", "run", "sit", "stand", "swim", "throw", "wave"]
    with pytest.warns(UserWarning, match="named or ordered differently"):
        trainer(tmp_path).test(model, Videos(), verbose=False)


def test_published_names_load(tmp_path):
    state = resnet3d50(num_classes=CLASSES, padding="zeros", width=4).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "r3d50.pth")
    model = task(network="resnet3d50", weights=str(tmp_path / "r3d50.pth"))
    assert torch.equal(model.network.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("spread", [False, True])
def test_two_processes_count_like_one(tmp_path, spread, monkeypatch):
    torch.set_num_threads(1)  # a forked process cannot use the OpenMP threads of the one it comes from

    def two(*callbacks):
        monkeypatch.delenv("MASTER_PORT", raising=False)  # the last run's may not be free again yet
        return trainer(tmp_path, *callbacks, devices=2, strategy="ddp_fork", use_distributed_sampler=False)

    (one,) = trainer(tmp_path).test(settled(), Videos(), verbose=False)
    (shared,) = two().test(settled(), Videos(spread=spread), verbose=False)
    assert shared == pytest.approx(one, rel=1e-5)
    trainer(tmp_path, VideoPredictionTable(tmp_path / "one.csv")).predict(settled(), Videos(), return_predictions=False)
    two(VideoPredictionTable(tmp_path / "two.csv")).predict(settled(), Videos(spread=spread), return_predictions=False)
    tables = []
    for name in ("one.csv", "two.csv"):
        with (tmp_path / name).open() as file:
            tables.append(list(csv.reader(file)))
    assert [row[:5] for row in tables[0]] == [row[:5] for row in tables[1]]
    values = [np.array([row[5::2] for row in table[1:]], dtype=float) for table in tables]
    assert np.allclose(*values, rtol=1e-4)
