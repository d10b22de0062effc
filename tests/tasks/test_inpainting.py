"""The inpainting task from plain Python: losses logged, scores, stages, checkpoints, pictures."""

import csv
import json
import logging

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.optim import Adam
from torch.utils.data import DataLoader

from pcpad.errors import UserValueError
from pcpad.metrics.inpainting import composite
from pcpad.models.inpainting_weights import load_inpainter
from pcpad.tasks import InpaintingTask
from pcpad.tasks.base import NonFiniteLossError
from pcpad.tasks.callbacks import BestAndLast, RunResults
from pcpad.tasks.evaluation.inpainting_report import InpaintingReport
from pcpad.tasks.judges.inception import InceptionJudge

NO_VGG = {"perceptual": 0, "style": 0}


class Ramps(LightningDataModule):
    """Six smooth images, and holes of a tenth, three tenths and half of the area."""

    def __init__(self, batch_size=3, size=(32, 40), paths=()):
        super().__init__()
        self.batch_size, self.size, self.paths = batch_size, size, list(paths)

    def items(self):
        draw = torch.Generator().manual_seed(0)
        height, width = self.size
        for index in range(len(self.paths) or 6):
            slope = torch.rand(3, 3, generator=draw)
            rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
            image = 255 * (slope[:, 0, None, None] * rows + slope[:, 1, None, None] * columns) / 2
            mask = torch.ones(1, height, width)
            mask[..., : round(width * (0.1, 0.3, 0.5)[index % 3])] = 0
            item = {"image": image.round().to(torch.uint8), "mask": mask}
            yield item | ({"path": str(self.paths[index])} if self.paths else {})

    def train_dataloader(self):
        return DataLoader(list(self.items()), batch_size=self.batch_size)

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self):
        return DataLoader(list(self.items()), batch_size=1)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def adam(parameters):
    return Adam(parameters, lr=0.005, betas=(0.9, 0.999), weight_decay=0.0)


def task(**options):
    torch.manual_seed(0)
    return InpaintingTask(**{"depth": 3, "width": 8, "loss_weights": NO_VGG, "optimizer": adam} | options)


def trainer(folder, *callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"default_root_dir": folder, "max_epochs": 1, "callbacks": [*callbacks], "num_sanity_val_steps": 0}
    return Trainer(**quiet | {"enable_checkpointing": bool(callbacks), "log_every_n_steps": 1} | options)


def batch():
    return next(iter(Ramps().train_dataloader()))


@pytest.mark.slow
@pytest.mark.parametrize("partial", [True, False])
def test_training_fills_holes_better(partial, tmp_path):
    model, data = task(partial=partial), Ramps()
    (before,) = trainer(tmp_path).test(model, data, verbose=False)
    run = trainer(tmp_path, max_epochs=40)
    run.fit(model, data)
    (after,) = trainer(tmp_path).test(model, data, verbose=False)
    assert after["test/psnr"] > before["test/psnr"] + 3
    assert after["test/l1"] < before["test/l1"]
    assert {"train/loss", "train/valid", "train/hole", "train/tv"} <= set(run.callback_metrics)
    assert not {"train/perceptual", "train/style_out"} & set(run.callback_metrics)
    assert float(run.callback_metrics["val/psnr"]) == pytest.approx(after["test/psnr"], rel=1e-4)
    assert model.trained_with == ("partial" if partial else "zeros")


def restoration(**options):
    plain = {"network": "restoration", "mean": (0, 0, 0), "std": (1, 1, 1), "depth": 8, "width": 64}
    return task(**plain | {"loss_weights": {"valid": 0, "hole": 0, "tv": 0, "each": 10, **NO_VGG}} | options)


def test_the_restoration_network_is_trained_and_its_average_is_applied(tmp_path):
    model, data = restoration(ema=0.5, optimizer=lambda parameters: Adam(parameters, lr=0.0001)), Ramps()
    first = {name: value.clone() for name, value in model.network.state_dict().items()}
    run = trainer(tmp_path, max_epochs=2)
    run.fit(model, data)
    assert float(run.callback_metrics["train/loss"]) == pytest.approx(10 * float(run.callback_metrics["train/each"]))
    moved, average = model.network.state_dict(), model.average.network.state_dict()
    assert not torch.equal(moved["head.weight"], first["head.weight"])
    assert not torch.equal(average["head.weight"], first["head.weight"])
    assert not torch.equal(average["head.weight"], moved["head.weight"])
    model.eval()
    image, mask = batch()["image"], batch()["mask"]
    with torch.no_grad():
        assert torch.equal(model(image, mask), model.average(image / 255, mask))
    again = restoration(ema=0.5)
    again.load_state_dict(model.state_dict())
    (scores,) = trainer(tmp_path).test(again, data, verbose=False)
    assert scores["test/psnr"] > 25
    predicted = trainer(tmp_path).predict(model, Ramps(paths=["a.png"]))
    assert predicted[0]["unreached"] == [0]


@pytest.mark.faults
@pytest.mark.parametrize(
    "options",
    [{"depth": 3}, {"width": 8}, {"partial": False}, {"mean": (0.5, 0.5, 0.5)}, {"freeze_encoder_norm": True}],
)
def test_options_that_the_restoration_network_has_not_are_refused(options):
    with pytest.raises(UserValueError, match=next(iter(options))):
        restoration(**options)
    with pytest.raises(UserValueError, match="ema"):
        restoration(ema=1.0)


def test_scores_are_of_the_composite(tmp_path):
    class Wrong(torch.nn.Module):
        def forward(self, image, mask):
            return image + 1  # after denormalizing: one standard deviation, clamped to white

    model, data = task(), Ramps()
    model.network = Wrong()
    (scores,) = trainer(tmp_path).test(model, data, verbose=False)
    errors = []
    for item in data.items():
        truth = item["image"] / 255
        filled = (truth + model.std.squeeze(1)[..., None]).clamp(max=1)
        errors.append(100 * float(((filled - truth).abs() * (1 - item["mask"])).mean()))
    assert scores["test/l1"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert scores["test/l1/0.20-0.40"] == pytest.approx(np.mean([errors[1], errors[4]]), rel=1e-4)


def test_a_test_leaves_a_table_and_a_file(tmp_path, capsys):
    model = task()
    results = RunResults()
    run = trainer(tmp_path, results, logger=True, enable_checkpointing=False)
    (scores,) = run.test(model, Ramps(), verbose=False)
    with open(f"{run.log_dir}/inpainting.csv") as file:  # noqa: PTH123
        rows = {row["hole_ratio"]: row for row in csv.DictReader(file)}
    finer = ["0.01-0.10/border", "0.20-0.30/border", "0.40-0.50/border"]
    assert list(rows) == ["0.01-0.20", "0.20-0.40", "0.40-0.60", *finer, "all"]
    assert [row["images"] for row in rows.values()] == [*["2"] * 6, "6"]
    assert float(rows["all"]["psnr"]) == pytest.approx(scores["test/psnr"])
    assert float(rows["0.40-0.60"]["l1"]) == pytest.approx(scores["test/l1/0.40-0.60"])
    printed = capsys.readouterr().out
    assert "0.20-0.40" in printed
    assert f"{scores['test/psnr/0.20-0.40']:.3f}" in printed
    with open(f"{run.log_dir}/results.json") as file:  # noqa: PTH123
        written = json.load(file)["test"]
    assert written["tested_with"] == "partial"
    assert written["metrics"]["test/ssim"] == pytest.approx(scores["test/ssim"])


def test_report_orders_its_ranges():
    names = ["0.01-0.10/border", "0.20-0.40", "0.01-0.20"]
    scores = {f"{key}/{name}": 2.0 for name in names for key in ("l1", "psnr", "ssim", "images")}
    scores |= {"l1": 1.0, "psnr": float("inf"), "ssim": 1.0, "images": 6, "images/other": 0, "images/0.40-0.60": 0}
    report = InpaintingReport.of(scores)
    assert [row.labels[0] for row in report.rows] == ["0.01-0.20", "0.20-0.40", "0.01-0.10/border", "all"]
    assert [row.labels[1] for row in report.rows] == [2, 2, 2, 6]
    assert report.table().rich().row_count == 4


# Stages


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage1")
    model = task()
    run = trainer(folder, BestAndLast(dirpath=str(folder)), max_epochs=2)
    run.fit(model, Ramps())
    return folder / "last.ckpt", {name: value.clone() for name, value in model.state_dict().items()}


def test_fine_tuning_starts_from_stage_one_and_freezes(stage1, tmp_path):
    path, first = stage1
    model = task(weights=str(path), freeze_encoder_norm=True)
    run = trainer(tmp_path, BestAndLast(dirpath=str(tmp_path)), max_epochs=2)
    run.fit(model, Ramps())
    state = model.state_dict()
    frozen = [name for name in state if name.startswith("network.encoder") and ".norm." in name]
    assert len(frozen) == 10
    assert all(torch.equal(state[name], first[name]) for name in frozen)
    changed = {name for name in state if not torch.equal(state[name], first[name])}
    assert {"network.encoder.1.conv.weight", "network.decoder.0.norm.running_mean"} <= changed
    # A checkpoint of stage 2 serves without stage 1's file, and goes on without it.
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["trained_with"] == "partial"
    assert not {"weights", "vgg", "inception"} & set(content["hyper_parameters"])
    again = InpaintingTask.load_from_checkpoint(tmp_path / "last.ckpt", optimizer=adam, weights_only=True)
    assert again.freeze_encoder_norm
    assert not again.network.encoder[1].norm.training
    further = trainer(tmp_path, max_epochs=3)
    further.fit(again, Ramps(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert further.global_step == 6
    assert torch.equal(again.state_dict()[frozen[0]], first[frozen[0]])


@pytest.fixture
def mmagic_file(tmp_path):
    """Weights under mmagic's names, as they are in its checkpoints; such a network is one of BGR."""
    network, state = task(depth=4, width=4).network, {}
    torch.nn.init.normal_(network.decoder[-1].conv.bias)
    for name, value in network.state_dict().items():
        part, level, rest = name.split(".", 2)
        level = int(level) + 1 if part == "encoder" else 4 - int(level)
        state[f"generator.{part}.{part[:3]}{level}.{rest.replace('norm.', 'bn.')}"] = value
    torch.save({"meta": {"iter": 3}, "state_dict": state}, tmp_path / "pconv.pth")
    return str(tmp_path / "pconv.pth")


def test_public_weights_are_applied_as_their_family_does(mmagic_file, tmp_path):
    model = task(depth=4, width=4, weights=mmagic_file, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    trainer(tmp_path).test(model, Ramps(), verbose=False)
    image, mask = batch()["image"], batch()["mask"]
    with torch.no_grad():
        found = model.eval()(image, mask).clamp(0, 1)
        expected = load_inpainter(mmagic_file)(image / 255, mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.faults
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_public_weights_of_another_range_of_values_are_refused(verb, mmagic_file, tmp_path):
    run = getattr(trainer(tmp_path), verb)
    with pytest.raises(ValueError, match=r"mmagic's network.*--model.mean '\[0.5, 0.5, 0.5\]' --model.std '\[0.5"):
        run(task(depth=4, width=4, weights=mmagic_file), Ramps())


def test_resuming_reads_no_weights(stage1, tmp_path):
    path, _ = stage1
    model = task(weights="moved/away.ckpt")
    run = trainer(tmp_path, max_epochs=3)
    run.fit(model, Ramps(), ckpt_path=path, weights_only=True)
    assert run.global_step == 6


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"freeze_encoder_norm": True}, ValueError, "needs `weights`. Train stage 1 first"),
        ({"weights": "nowhere.ckpt"}, FileNotFoundError, "No weight file at nowhere.ckpt"),
        ({"loss_weights": None, "vgg": "nowhere.pth"}, FileNotFoundError, "features of VGG16"),
        ({"optimizer": None}, ValueError, "Training needs an optimizer"),
    ],
)
def test_mistakes_are_heard_of_at_the_start(options, error, expected, tmp_path):
    with pytest.raises(error, match=expected):
        trainer(tmp_path).fit(task(**options), Ramps())


def test_only_training_needs_vgg(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = task(loss_weights=None)
    (scores,) = trainer(tmp_path).test(model, Ramps(), verbose=False)
    assert scores["test/psnr"] > 0
    with pytest.raises(ValueError, match="loss weights"):
        task(loss_weights={"vgg": 0})


def test_training_with_vgg_logs_its_terms_and_keeps_it_out_of_checkpoints(tmp_path):
    shapes = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256)]
    torch.manual_seed(0)
    vgg = {}
    for index, (out, into) in zip((0, 2, 5, 7, 10, 12, 14), shapes, strict=True):
        vgg[f"features.{index}.weight"] = torch.randn(out, into, 3, 3) * (2 / 9 / into) ** 0.5
        vgg[f"features.{index}.bias"] = torch.zeros(out)
    torch.save(vgg, tmp_path / "vgg.pth")
    model = task(loss_weights=None, vgg=str(tmp_path / "vgg.pth"))
    run = trainer(tmp_path, BestAndLast(dirpath=str(tmp_path)), limit_val_batches=1)
    run.fit(model, Ramps(batch_size=2, size=(16, 24)))
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    assert {"train/perceptual", "train/style_out", "train/style_comp"} <= set(logged)
    assert all(np.isfinite(value) for value in logged.values())
    weights = {"valid": 1, "hole": 6, "perceptual": 0.05, "style_out": 120, "style_comp": 120, "tv": 0.1}
    total = sum(weight * logged[f"train/{name}"] for name, weight in weights.items())
    assert logged["train/loss"] == pytest.approx(total, rel=1e-4)
    names = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert all(name.startswith("network.") for name in names)


def test_training_without_vgg_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        logging.getLogger("lightning.pytorch.utilities.rank_zero").addHandler(caplog.handler)
        trainer(tmp_path).fit(task(), Ramps())
    assert "Training without VGG16's perceptual and style losses" in caplog.text


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true"])
def test_half_precision_trains(precision, tmp_path):
    if precision == "16-mixed" and not torch.cuda.is_available():
        model, data = task(), batch()  # Lightning has no gradient scaler on a CPU
        with torch.autocast("cpu", dtype=torch.float16):
            output = model(data["image"], data["mask"])
        assert output.dtype == torch.float32
        assert bool(output.isfinite().all())
        return
    run = trainer(tmp_path, precision=precision, max_epochs=3)
    run.fit(task(), Ramps())
    assert np.isfinite(float(run.callback_metrics["train/loss"]))
    assert np.isfinite(float(run.callback_metrics["val/psnr"]))


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    model = task()
    with torch.no_grad():
        model.network.decoder[-1].conv.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError):
        trainer(tmp_path).fit(model, Ramps())
    with pytest.raises(ValueError, match="finite"):
        trainer(tmp_path).test(model, Ramps(), verbose=False)


# Pictures


def test_sample_images():
    model, data = task().eval(), batch()
    shown = model.sample_images(data)
    truth, mask = data["image"] / 255, data["mask"].expand(-1, 3, -1, -1)
    assert list(shown) == ["input", "mask", "output", "composite", "truth"]
    assert all(column.shape == truth.shape and 0 <= column.min() <= column.max() <= 1 for column in shown.values())
    assert not any(column.requires_grad for column in shown.values())
    assert torch.equal(shown["truth"], truth)
    assert bool((shown["input"][mask == 0] == 0.5).all())
    assert torch.equal(shown["input"][mask == 1], truth[mask == 1])
    assert torch.equal(shown["composite"], composite(shown["output"], truth, mask))


def test_bytes_and_floats_give_the_same():
    model, data = task().eval(), batch()
    with torch.no_grad():
        expected = model(data["image"], data["mask"])
        torch.testing.assert_close(model(data["image"] / 255, data["mask"].bool()), expected)
    assert expected.dtype == torch.float32


def test_predict_any_size(tmp_path):
    model, data = task(), Ramps(size=(45, 70), paths=["a.png", "b.png"])
    found = trainer(tmp_path).predict(model, data)
    assert [item["path"] for item in found] == [["a.png"], ["b.png"]]
    for item, result in zip(data.items(), found, strict=True):
        image, mask = item["image"][None], item["mask"][None]
        with torch.no_grad():
            expected = composite(model.eval()(image, mask).clamp(0, 1) * 255, image.float(), mask)
        assert result["image"].dtype == torch.uint8
        torch.testing.assert_close(result["image"].float(), expected, rtol=0, atol=0.51)
        assert torch.equal(result["image"][(mask == 1).expand_as(image)], image[(mask == 1).expand_as(image)])
    assert type(model.prediction_writer("out")).__name__ == "InpaintedPictures"


# FID and the Inception Score


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save")
def test_inception_scores_of_a_test(inception_file, tmp_path):
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
    from torchmetrics.image.inception import InceptionScore

    model = task(inception=str(inception_file))
    (scores,) = trainer(tmp_path).test(model, Ramps(), verbose=False)
    assert not any("judge" in name or "inception" in name for name in model.state_dict())
    fid = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(inception_file))
    logits = NoTrainInceptionV3("inception-v3-compat", ["logits_unbiased"], str(inception_file))
    score = InceptionScore(logits, splits=10)
    for item in Ramps().train_dataloader():
        truth = item["image"] / 255
        with torch.no_grad():
            filled = composite(model.eval()(item["image"], item["mask"]).clamp(0, 1), truth, item["mask"])
        as_bytes = (filled * 255).round().byte()
        fid.update(as_bytes, real=False)
        fid.update(item["image"], real=True)
        score.update(as_bytes)
    assert scores["test/fid"] == pytest.approx(float(fid.compute()), rel=1e-3, abs=1e-3)
    assert scores["test/inception_score"] == pytest.approx(float(score.compute()[0]), rel=1e-3)


def test_missing_or_wrong_inception_file(tmp_path):
    pytest.importorskip("torch_fidelity")
    with pytest.raises(FileNotFoundError, match=r"weights-inception-2015-12-05-6726825d\.pth"):
        trainer(tmp_path).test(task(inception=str(tmp_path / "none.pth")), Ramps(), verbose=False)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold the weights of TensorFlow's Inception"):
        InceptionJudge(tmp_path / "other.pth")


def test_inception_without_torch_fidelity(monkeypatch):
    monkeypatch.setattr("pcpad.tasks.judges.inception.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pcpad\[inception\]'"):
        InceptionJudge("x.pth")
