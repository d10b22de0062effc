"""The segmentation task from plain Python: scores, losses, checkpoints, pictures of predictions."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from PIL import Image
from torch.optim import SGD
from torch.optim.lr_scheduler import PolynomialLR
from torch.utils.data import DataLoader

from pcpad.datamodules.base import evaluation_sampler
from pcpad.models import load_weights
from pcpad.tasks import SegmentationTask
from pcpad.tasks.base import NonFiniteLossError
from pcpad.tasks.callbacks import BestAndLast
from pcpad.tasks.callbacks.label_maps import LabelMaps
from pcpad.tasks.evaluation.evaluators import Border, Regular, Tile
from pcpad.tasks.pictures.palette import palette
from pcpad.tiling import Tiling


class Scenes(LightningDataModule):
    """Five seeded images whose left half is class 0 and dark, the right one class 1 and bright; a row is ignored."""

    num_classes = 3
    class_names = ("dark", "bright", "absent")
    class_colors = ((10, 0, 0), (0, 20, 0), (0, 0, 30))

    def __init__(self, batch_size=2, paths=None):
        super().__init__()
        self.batch_size, self.paths = batch_size, paths or [f"in/{index}.png" for index in range(5)]

    def items(self):
        draw = torch.Generator().manual_seed(0)
        for path in self.paths:
            label = torch.zeros(32, 48, dtype=torch.long)
            label[:, 24:] = 1
            image = (label * 150 + torch.randint(0, 60, (3, 32, 48), generator=draw)).to(torch.uint8)
            label[0] = 255
            yield {"image": image, "label": label, "path": path}

    def loader(self, *keys, batch_size=None):
        items = [{key: item[key] for key in keys} for item in self.items()]
        # Batch norm over the image's mean needs two images, so a last batch of one is dropped in training.
        return DataLoader(items, batch_size=batch_size or self.batch_size, drop_last=batch_size is None)

    def train_dataloader(self):
        return self.loader("image", "label")

    def val_dataloader(self):
        return self.loader("image", "label", batch_size=1)

    test_dataloader = val_dataloader

    def predict_dataloader(self):
        return self.loader("image", "path", batch_size=1)


class SharedScenes(Scenes):
    """The five images, each on one of the processes."""

    def test_dataloader(self):
        items = [{key: item[key] for key in ("image", "label")} for item in self.items()]
        return DataLoader(items, batch_size=1, sampler=evaluation_sampler(items, self.trainer))


def sgd(parameters):
    return SGD(parameters, lr=0.01, momentum=0.9)


def poly(optimizer):
    return PolynomialLR(optimizer, total_iters=4)


def task(**options):
    torch.manual_seed(0)
    return SegmentationTask(**{"encoder": "resnet18", "num_classes": 3, "optimizer": sgd, "scheduler": poly} | options)


def trainer(folder, *callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"default_root_dir": folder, "max_epochs": 2, "callbacks": [*callbacks], "num_sanity_val_steps": 0}
    return Trainer(**quiet | {"enable_checkpointing": bool(callbacks)} | options)


class Oracle(torch.nn.Module):
    """Says class 1 where the image is bright: right but for the ignored row's neighbors, none here."""

    def forward(self, image):
        bright = (image.mean(1, keepdim=True) > 0).float()
        return torch.cat([1 - bright, bright, torch.zeros_like(bright)], dim=1)


def test_scores_are_those_of_the_whole_set(tmp_path):
    model = task()
    model.network = Oracle()
    run = trainer(tmp_path)
    scores = run.test(model, Scenes(), verbose=False)[0]
    assert scores["test/mIoU"] == 1
    assert scores["test/accuracy"] == 1
    assert scores["test/IoU/dark"] == 1
    assert np.isnan(scores["test/IoU/absent"])
    assert run.validate(model, Scenes(), verbose=False)[0]["val/mIoU"] == 1


def test_training_learns_steps_the_schedule_and_tests_the_same_from_a_checkpoint(tmp_path):
    model = task()
    before = model.network.final[6].weight.clone()
    run = trainer(tmp_path, BestAndLast("val/mIoU", dirpath=str(tmp_path)))
    run.fit(model, Scenes())
    assert not torch.equal(model.network.final[6].weight, before)
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12), "four steps of the schedule's four"
    after_fit = trainer(tmp_path).test(model, Scenes(), verbose=False)[0]
    again = SegmentationTask.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.trained_with == "partial"
    assert trainer(tmp_path).test(again, Scenes(), verbose=False)[0] == pytest.approx(after_fit, nan_ok=True)


@pytest.mark.slow
def test_another_padding_at_test_time(tmp_path):
    model = task()
    run = trainer(tmp_path)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "x.ckpt")
    x = next(iter(Scenes().val_dataloader()))["image"]
    for padding in ("zeros", "explicit"):
        other = SegmentationTask.load_from_checkpoint(tmp_path / "x.ckpt", padding=padding).eval()
        zero = task(padding="zeros").eval()
        load_weights(zero.network, model.network.state_dict())
        assert torch.allclose(other(x), zero(x), atol=1e-4), "explicit filters start as zero padding's"


def test_smp_networks_are_built_by_name():
    x = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert task(architecture="FPN").eval()(x).shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match="checkpointing"):
        task(architecture="FPN", checkpointing=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weights": [1.0, 2.0]}, "class_weights"),
        ({"encoder": "resnet5"}, "Did you mean"),
        ({"padding": "partail"}, "Did you mean"),
        ({"label_relaxation": -1}, "label_relaxation"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        task(**options)


def test_a_wrong_class_count_is_said_before_training(tmp_path):
    with pytest.raises(ValueError, match="3 classes and the network 19"):
        trainer(tmp_path).fit(task(num_classes=19), Scenes())


def test_predictions_are_pictures_of_the_original_size(tmp_path):
    model = task().eval()
    model.network = Oracle()
    model.predict_tiling = Tiling(16, "1/3")
    trainer(tmp_path, LabelMaps(tmp_path / "out"), enable_checkpointing=False).predict(model, Scenes())
    item = next(iter(Scenes().items()))
    ids, color, overlay = (
        np.array(Image.open(tmp_path / "out" / f"0{kind}.png")) for kind in ("", "_color", "_overlay")
    )
    truth = np.where(np.arange(48) >= 24, 1, 0)
    assert (ids == truth).all()
    assert (color == np.array(Scenes.class_colors)[ids]).all()
    assert (overlay == (item["image"].permute(1, 2, 0).numpy().astype(int) + color) // 2).all()
    assert len(list((tmp_path / "out").iterdir())) == 15


def test_two_pictures_of_one_name_are_refused(tmp_path):
    model = task().eval()
    model.network = Oracle()
    with pytest.raises(ValueError, match=r"a/0\.png and b/0\.png would both be written"):
        trainer(tmp_path, LabelMaps(tmp_path), enable_checkpointing=False).predict(
            model, Scenes(paths=["a/0.png", "b/0.png"])
        )


@pytest.mark.faults
def test_what_cannot_be_written_costs_no_other_map(tmp_path, capsys):
    model = task().eval()
    model.network = Oracle()
    paths = ["a/0.png", "b/0.png", "c/1.png"]
    with (
        pytest.warns(UserWarning, match="would both be written to"),
        pytest.raises(ValueError, match=r"1 pictures could not be written.*\n  a/0\.png and b/0\.png"),
    ):
        trainer(tmp_path, LabelMaps(tmp_path / "out"), enable_checkpointing=False).predict(model, Scenes(paths=paths))
    assert sorted(path.name for path in (tmp_path / "out").glob("?.png")) == ["0.png", "1.png"]
    assert "2 label maps" in capsys.readouterr().out


def test_a_map_never_replaces_the_picture_it_is_of(tmp_path):
    picture = tmp_path / "0.png"
    picture.write_bytes(b"the only copy")
    model = task().eval()
    model.network = Oracle()
    with pytest.raises(ValueError, match=r"would replace the input .*another --output folder"):
        trainer(tmp_path, LabelMaps(tmp_path), enable_checkpointing=False).predict(model, Scenes(paths=[str(picture)]))
    assert picture.read_bytes() == b"the only copy"


def test_a_palette_has_a_color_a_class():
    assert len({tuple(color) for color in palette(19)}) == 19
    assert palette(3, Scenes.class_colors).tolist() == [list(color) for color in Scenes.class_colors]


def test_label_relaxation_forgives_the_neighbors_class(tmp_path):
    batch = next(iter(Scenes().train_dataloader()))
    strict, relaxed = (
        task(label_relaxation=radius).eval().training_step(batch, 0).item() for radius in (0, 2)
    )  # the same weights
    assert relaxed < strict


def test_logits_that_are_no_numbers_have_no_score(tmp_path):
    model = task().eval()
    with torch.no_grad():
        model.network.final[6].weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="logits is nan"):
        trainer(tmp_path).test(model, Scenes(), verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("evaluators", [[], [Regular(), Tile(16), Tile(16, "1/3"), Border(size=16)]])
def test_two_processes_score_as_one(tmp_path, monkeypatch, evaluators):
    torch.set_num_threads(1)  # a forked process cannot use the OpenMP threads of the one it comes from
    found = []
    for devices, strategy in ((1, "auto"), (2, "ddp_fork")):
        monkeypatch.delenv("MASTER_PORT", raising=False)  # the last run's may not be free again yet
        model = task()
        model.use_evaluators(evaluators)
        run = trainer(tmp_path, devices=devices, strategy=strategy)
        found += run.test(model, SharedScenes(), verbose=False)
    assert set(found[0]) == set(found[1])
    assert found[1] == pytest.approx(found[0], nan_ok=True, abs=1e-12)
    assert len(found[0]) > 5


@pytest.mark.faults
def test_predictions_by_tiles_with_an_exact_margin_are_those_of_whole_pictures(tmp_path):
    model = task().eval()
    torch.manual_seed(0)
    model.network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 7, padding=3), torch.nn.Conv2d(3, 3, 7, padding=3)).eval()
    batch = {"image": torch.randint(0, 256, (1, 3, 90, 120), dtype=torch.uint8), "path": ["0.png"]}
    with torch.no_grad():
        whole = model(batch["image"]).argmax(1)
    model.use_tiling(size=32)
    assert model.predict_tiling == Tiling(32, "1/3")
    assert not torch.equal(model.predict_step(batch, 0)["label"], whole.to(torch.uint8))
    model.use_tiling(size=32, margin="exact")
    assert model.predict_tiling == Tiling(32)
    assert torch.equal(model.predict_step(batch, 0)["label"], whole.to(torch.uint8))
    with pytest.raises(ValueError, match="overlap=0"):
        model.use_tiling(overlap="1/3", margin="exact")
