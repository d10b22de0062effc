"""The classification task from plain Python: numbers, guards, checkpoints, predictions, several processes."""

import csv
import json
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from pcpad.tasks import ClassificationTask
from pcpad.tasks.base import FiniteLoss, NonFiniteLossError
from pcpad.tasks.callbacks import BestAndLast, PredictionTable, RunResults

NETWORK = "squeezenet1_1"  # the quickest to build and run; no batch norm, so batches do not mix


class Images(LightningDataModule):
    """Seeded noise, seven images a split: odd, and no multiple of the batch."""

    def __init__(self, num_classes=3, batch_size=2, size=7, bad=None):
        super().__init__()
        self.num_classes, self.batch_size, self.size, self.bad = num_classes, batch_size, size, bad
        self.classes = [f"class {index}" for index in range(num_classes)]

    def _items(self):
        draw = torch.Generator().manual_seed(0)
        for index in range(self.size):
            image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=draw)
            if self.bad is not None:
                image = torch.full((3, 32, 32), self.bad)
            yield {"image": image, "label": torch.tensor(index % self.num_classes), "path": f"{index}.png"}

    def _loader(self, *keys):
        return DataLoader([{key: item[key] for key in keys} for item in self._items()], batch_size=self.batch_size)

    def train_dataloader(self):
        return self._loader("image", "label")

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self):
        return self._loader("image", "path")


def sgd(parameters):
    return SGD(parameters, lr=1e-4)


def step_lr(optimizer):
    return StepLR(optimizer, 1)


def task(**options):
    torch.manual_seed(0)
    return ClassificationTask(**{"network": NETWORK, "num_classes": 3, "optimizer": sgd} | options)


def trainer(folder, *callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    checkpoints = any(isinstance(callback, BestAndLast) for callback in callbacks)
    quiet |= {
        "default_root_dir": folder,
        "enable_checkpointing": checkpoints,
        "max_epochs": 1,
        "callbacks": [*callbacks],
    }
    return Trainer(**quiet | options)


def test_uint8_and_unit_floats_are_the_same_image():
    model = task(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = (image.float() / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(
        3, 1, 1
    )
    assert torch.allclose(model(image), model.network(expected), atol=1e-6)
    assert torch.allclose(model(image), model(image.float() / 255), atol=1e-6)


def test_metrics_count_every_sample_once(tmp_path):
    model, data = task(num_classes=8, label_smoothing=0.1), Images(num_classes=8)
    (result,) = trainer(tmp_path).test(model, data, verbose=False)
    images = torch.stack([item["image"] for item in data._items()])
    labels = torch.tensor([int(item["label"]) for item in data._items()])
    with torch.no_grad():
        logits = model.eval()(images)
    top5 = logits.topk(5).indices.eq(labels[:, None]).any(1).float().mean()
    assert result["test/top1"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert result["test/top5"] == pytest.approx(float(top5))
    # Smoothing is for training; the mean is over images, not over batches of unequal size.
    assert result["test/loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)


@pytest.mark.faults
def test_what_keeps_its_padding_is_said_by_the_task(own_kinds):
    with pytest.warns(UserWarning, match="Nothing was converted to 'partial'; 2 keep their own padding: 2 of _ByHand"):
        ClassificationTask(own_kinds, num_classes=3)


def test_top5_needs_more_than_five_classes(tmp_path):
    (result,) = trainer(tmp_path).test(task(num_classes=5), Images(num_classes=5), verbose=False)
    assert set(result) == {"test/loss", "test/top1"}


def test_training_from_python_and_the_checkpoint_it_leaves(tmp_path):
    model = task(
        optimizer=lambda parameters: SGD(parameters, lr=1e-4),
        scheduler=step_lr,
        padding="reflect",
        fallback="replicate",
    )
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    results = RunResults("val/top1")
    run = trainer(tmp_path, BestAndLast("val/top1"), results, max_epochs=2)
    run.fit(model, Images())
    assert any(not torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert path.is_file()
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()

    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 1  # of the last epoch, better or not
    kept = content["hyper_parameters"]
    assert kept["_class_path"] == "pcpad.tasks.classification.ClassificationTask"
    assert (kept["network"], kept["padding"], kept["fallback"]) == (NETWORK, "reflect", "replicate")
    assert not {"optimizer", "scheduler", "weights"} & set(kept)
    assert content["class_names"] == ["class 0", "class 1", "class 2"]

    again = ClassificationTask.load_from_checkpoint(path, weights_only=True)
    assert (again.padding, again.trained_with) == ("reflect", "reflect")
    image = torch.zeros(1, 3, 32, 32)
    assert torch.equal(again.eval()(image), model.eval()(image))
    (after_fit,) = trainer(tmp_path).test(model, Images(), verbose=False)
    (from_file,) = trainer(tmp_path).test(
        task(padding="reflect", fallback="replicate"), Images(), ckpt_path=path, verbose=False
    )
    assert from_file == after_fit

    written = json.loads((tmp_path / "results.json").read_text())["fit"]
    assert written["finished"] is True
    assert (written["trained_with"], written["tested_with"]) == ("reflect", "reflect")
    assert list(written["history"]) == ["0", "1"]


class Padding(Enum):
    ZEROS = "zeros"


@pytest.mark.parametrize(
    "options",
    [
        {
            "padding": Padding.ZEROS,
            "num_classes": np.int64(3),
            "mean": np.array([0.5, 0.5, 0.5]),
            "std": [np.float32(0.5)] * 3,
        },
        {"label_smoothing": np.float64(0.1), "network": np.str_(NETWORK), "weights": Path("first.pth")},
        {"optimizer": sgd, "scheduler": step_lr},
    ],
)
def test_hyperparameters_of_any_python_kind_stay_loadable(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    torch.save(task().network.state_dict(), "first.pth")
    model = task(**options)
    run = trainer(tmp_path)
    run.fit(model, Images(size=2))
    run.save_checkpoint("x.ckpt")
    Path("first.pth").unlink()  # where training started from is nothing a checkpoint needs
    content = torch.load("x.ckpt", weights_only=True)
    assert "weights" not in content["hyper_parameters"]
    again = ClassificationTask.load_from_checkpoint("x.ckpt", weights_only=True)
    assert again.padding == model.padding
    assert torch.equal(again.network.state_dict()["features.0.weight"], model.network.state_dict()["features.0.weight"])


def test_class_counts_must_agree(tmp_path):
    with pytest.raises(ValueError, match=r"The data has 4 classes and the network 3: pass --model.num_classes 4"):
        trainer(tmp_path).fit(task(), Images(num_classes=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "`label_smoothing`"),
        ({"network": "resnet5O"}, "Did you mean"),
        ({"padding": "partail"}, "partial"),
        ({"weights": "absent.pth"}, r"No weight file at absent\.pth"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        task(**options)


def test_no_optimizer(tmp_path):
    with pytest.raises(ValueError, match="Training needs an optimizer"):
        trainer(tmp_path).fit(task(optimizer=None), Images())


def test_non_finite_loss_ends_training_and_saves_nothing(tmp_path):
    options = {"limit_val_batches": 0}
    with pytest.raises(NonFiniteLossError, match=r"loss is not finite \(epoch 0, step 0"):
        trainer(tmp_path, BestAndLast(), **options).fit(task(), Images(bad=float("nan")))
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_non_finite_evaluation(tmp_path, verb):
    with pytest.raises(NonFiniteLossError, match="loss is nan"):
        getattr(trainer(tmp_path), verb)(task(), Images(bad=float("nan")), verbose=False)


def test_finite_loss_between_two_looks():
    guard = FiniteLoss(every=3)
    guard.update(torch.tensor(1.0), "step 0")
    guard._finite = torch.tensor(False)  # as on a GPU, where it is not read at once
    with pytest.raises(NonFiniteLossError, match="epoch 4"):
        guard.check("epoch 4")
    guard.check("epoch 5")  # reported once


def test_predictions_table(tmp_path):
    model = task(num_classes=8)
    model.class_names = [f"kind {index}" for index in range(8)]
    writer = PredictionTable(tmp_path / "out" / "table.csv")
    trainer(tmp_path, writer).predict(model, Images(num_classes=8), return_predictions=False)
    with (tmp_path / "out" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"{index}.png" for index in range(7)]
    first = next(iter(Images(num_classes=8)._items()))["image"]
    probability = model.eval()(first[None]).softmax(1)[0].detach()
    assert rows[0]["class_1"] == f"kind {int(probability.argmax())}"
    assert float(rows[0]["probability_1"]) == pytest.approx(float(probability.max()), rel=1e-4)
    assert float(rows[0]["probability_1"]) >= float(rows[0]["probability_5"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.csv"]


def test_cross_testing_with_explicit_padding(tmp_path):
    plain = task(padding="zeros")
    run = trainer(tmp_path)
    run.fit(plain, Images())
    run.save_checkpoint(tmp_path / "zeros.ckpt")
    (zeros,) = trainer(tmp_path).test(plain, Images(), verbose=False)
    explicit = task(padding="explicit")
    (result,) = trainer(tmp_path).test(explicit, Images(), ckpt_path=tmp_path / "zeros.ckpt", verbose=False)
    assert result == pytest.approx(zeros, rel=1e-4)  # border filters copied from the center are zero padding
    assert explicit.trained_with == "zeros"
    run = trainer(tmp_path)
    run.fit(explicit, Images())
    run.save_checkpoint(tmp_path / "explicit.ckpt")
    back = task(padding="zeros")
    trainer(tmp_path).test(back, Images(), ckpt_path=tmp_path / "explicit.ckpt", verbose=False)
    assert back.trained_with == "explicit"
    with pytest.raises(ValueError, match="trained with explicit padding and training is to continue with zeros"):
        trainer(tmp_path, max_epochs=2).fit(task(padding="zeros"), Images(), ckpt_path=tmp_path / "explicit.ckpt")


def test_best_and_mean_of_the_last_epochs():
    results = RunResults("val/top1", last_epochs=5)
    results.history = dict(enumerate([0.1, 0.9, 0.3, 0.9, 0.5, 0.6, 0.7]))
    summary = results.summary()
    assert (summary["best"], summary["best_epoch"]) == (0.9, 1)
    assert summary["last_epochs"] == [2, 3, 4, 5, 6]
    assert summary["mean_last_epochs"] == pytest.approx((0.3 + 0.9 + 0.5 + 0.6 + 0.7) / 5)
    lowest = RunResults("val/loss", mode="min")
    lowest.history = {0: 2.0, 1: 1.0}
    assert (lowest.summary()["best"], lowest.summary()["best_epoch"]) == (1.0, 1)
    assert RunResults("val/top1").summary() == {}
    with pytest.raises(ValueError, match="`last_epochs`"):
        RunResults(last_epochs=0)


def test_results_and_best_survive_a_resume(tmp_path):
    def parts(folder):
        return BestAndLast("val/loss", mode="min", dirpath=str(tmp_path / folder)), RunResults("val/loss", mode="min")

    whole = parts("whole")
    trainer(tmp_path, *whole, max_epochs=3).fit(task(), Images())
    first, second = parts("first"), parts("second")
    trainer(tmp_path, *first, max_epochs=2).fit(task(), Images())
    trainer(tmp_path, *second, max_epochs=3).fit(task(), Images(), ckpt_path=tmp_path / "first" / "last.ckpt")
    assert list(second[1].history) == [0, 1, 2]
    assert second[1].history[0] == first[1].history[0]
    assert second[1].summary()["best"] == pytest.approx(whole[1].summary()["best"], rel=1e-2)
    # A resumed run measures itself against the best so far, not against nothing.
    second[0].best_k_models = {}
    second[0].load_state_dict({**first[0].state_dict(), "best_model_score": torch.tensor(-1.0)})
    assert second[0].best_model_score == -1.0
    other = RunResults("val/top1")
    other.load_state_dict(first[1].state_dict())
    assert other.history == {}


@pytest.mark.parametrize("options", [{"channels_last": True}, {"padding": "zeros", "channels_last": True}])
def test_memory_order_changes_nothing(options):
    plain = {key: value for key, value in options.items() if key != "channels_last"}
    image = torch.rand(2, 3, 32, 32)
    assert torch.allclose(task(**options).eval()(image), task(**plain).eval()(image), atol=1e-5)


def test_half_precision(tmp_path):
    run = trainer(tmp_path, precision="bf16-true")
    run.fit(task(), Images())
    assert np.isfinite(float(run.callback_metrics["val/loss"]))


@pytest.mark.slow
def test_compile(tmp_path):
    compiled, plain = task(compile=True), task()
    assert list(compiled.state_dict()) == list(plain.state_dict())
    image = torch.rand(2, 3, 32, 32)
    assert torch.allclose(compiled.eval()(image), plain.eval()(image), atol=1e-4)


@pytest.mark.slow
@pytest.mark.own_process
@pytest.mark.parametrize("size", [7, 5])
def test_two_processes_count_like_one(tmp_path, size, monkeypatch):
    from pcpad.datamodules.base import evaluation_sampler

    class Shared(Images):
        def _loader(self, *keys):
            items = [{key: item[key] for key in keys} for item in self._items()]
            sampler = evaluation_sampler(items, self.trainer)
            return DataLoader(items, batch_size=self.batch_size, sampler=sampler)

        val_dataloader = test_dataloader = Images.train_dataloader

        def train_dataloader(self):
            return Images(size=8)._loader("image", "label")  # two for each process: batch norm refuses one

    torch.set_num_threads(1)  # a forked process cannot use the OpenMP threads of the one it comes from

    def run(devices, strategy, **options):
        monkeypatch.delenv("MASTER_PORT", raising=False)  # the last run's may not be free again yet
        return trainer(tmp_path, devices=devices, strategy=strategy, **options)

    seed_everything(0)
    (one,) = run(1, "auto").test(task(), Shared(size=size, batch_size=1), verbose=False)
    (two,) = run(2, "ddp_fork").test(task(), Shared(size=size, batch_size=1), verbose=False)
    assert two == pytest.approx(one, rel=1e-5)
    # Uneven numbers of validation batches inside fit must not leave one process waiting for the other.
    fit = run(2, "ddp_fork")
    fit.fit(task(network="shufflenet_v2_x0_5"), Shared(size=size, batch_size=2))
    assert np.isfinite(float(fit.callback_metrics["val/loss"]))
    writer = PredictionTable(tmp_path / "both.csv")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    trainer(tmp_path, writer, devices=2, strategy="ddp_fork").predict(
        task(), Shared(size=size, batch_size=2), return_predictions=False
    )
    rows = (tmp_path / "both.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["path", *(f"{index}.png" for index in range(size))]
