"""Label and instance ids for synthesis: read right, resized together, refused where they are something else."""

import shutil

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from pcpad import PanopticPlan
from pcpad.datamodules import CityscapesPanopticDataModule
from pcpad.datamodules.datasets.panoptic_scenes import TRAIN_IDS, find_maps, read_maps
from pcpad.panoptic import panoptic_ids

SIZE = (64, 128)


@pytest.fixture(scope="module")
def streets(cityscapes_sample, tmp_path_factory):
    return shutil.copytree(cityscapes_sample, tmp_path_factory.mktemp("streets") / "cityscapes")


def module(root, **options):
    return CityscapesPanopticDataModule(root, **{"batch_size": 2, "num_workers": 0, "image_size": SIZE} | options)


@pytest.fixture
def maps(tmp_path):
    """A pair of maps with what tells right reading from wrong: high 16-bit ids, and -1."""
    label = np.full((128, 256), 23, np.uint8)
    label[40:, :100], label[60:, 150:] = 26, 33
    label[50:60, 10:30] = 255
    instance = label.astype(np.uint16)
    instance[40:, :100], instance[60:, 150:] = 26001, 33999
    instance[80:, 20:60] = 26002
    Image.fromarray(label).save(tmp_path / "a_labelIds.png")
    Image.fromarray(instance).save(tmp_path / "a_instanceIds.png")
    return tmp_path, label, instance


def test_ids_are_those_of_the_files(maps):
    folder, label, instance = maps
    read = read_maps(folder / "a_labelIds.png", folder / "a_instanceIds.png")
    np.testing.assert_array_equal(read[0], np.where(label == 255, 34, label))
    np.testing.assert_array_equal(read[1], instance)
    data = module(folder, predict_maps=folder)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert batch["instance"].dtype == batch["label"].dtype == torch.int64
    assert set(batch["instance"].unique().tolist()) == set(np.unique(instance).tolist())
    assert batch["label"].shape == (1, 1, *SIZE)
    assert batch["label_full"].shape == (1, 1, 128, 256)
    assert "image" not in batch
    # Both maps are picked at the same places: the centers of 2x2 blocks.
    np.testing.assert_array_equal(batch["instance"][0, 0], instance[1::2, 1::2])
    np.testing.assert_array_equal(batch["label"][0, 0], np.where(label == 255, 34, label)[1::2, 1::2])


@pytest.mark.faults
def test_a_broken_map_costs_no_other_prediction(maps):
    folder, _, instance = maps
    for kind in ("label", "instance"):
        (folder / f"b_{kind}Ids.png").write_bytes(b"no")
    Image.fromarray(np.full((128, 256), 99, np.uint8)).save(folder / "c_labelIds.png")
    Image.fromarray(instance).save(folder / "c_instanceIds.png")
    data = module(folder, predict_maps=folder, batch_size=3)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert batch["path"] == [str(folder / "a_labelIds.png")]
    with pytest.raises(
        ValueError, match=r"2 files could not be read.*\n.*b_labelIds\.png: not a PNG.*\n.*c_.* holds 99"
    ):
        data.teardown("predict")


@pytest.mark.slow
def test_training_batches_fit_together(streets):
    data = module(streets, flip=1.0, image_size=(128, 256))
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 128, 256)
    assert batch["image"].dtype == torch.uint8
    for number, path in enumerate(batch["path"]):
        label, instance = (np.array(Image.open(path.replace("labelIds", kind))) for kind in ("labelIds", "instanceIds"))
        image = np.array(Image.open(path.replace("gtFine_labelIds", "leftImg8bit").replace("gtFine", "leftImg8bit")))
        np.testing.assert_array_equal(batch["label"][number, 0], label[:, ::-1])
        np.testing.assert_array_equal(batch["instance"][number, 0], instance[:, ::-1])
        np.testing.assert_array_equal(batch["image"][number].permute(1, 2, 0), image[:, ::-1])
        things = instance >= 1000
        np.testing.assert_array_equal(instance[things] // 1000, label[things])


def test_images_shrink_smoothly(streets):
    data = module(streets)
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    path = batch["path"][0].replace("gtFine_labelIds", "leftImg8bit").replace("gtFine", "leftImg8bit")
    expected = np.array(Image.open(path).resize((128, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(batch["image"][0].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    assert batch["label_full"].shape == (1, 1, 128, 256)


def epoch_of(data, epoch=0):
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [(path, image) for batch in loader for path, image in zip(batch["path"], batch["image"], strict=True)]


def test_epochs_follow_from_seed_and_number(streets, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    first, again, next_one = epoch_of(module(streets)), epoch_of(module(streets)), epoch_of(module(streets), 1)
    assert [path for path, _ in first] == [path for path, _ in again]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(first, again, strict=True))
    assert [path for path, _ in first] != [path for path, _ in next_one]
    assert sorted(path for path, _ in first) == sorted(path for path, _ in next_one)
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    assert [path for path, _ in first] != [path for path, _ in epoch_of(module(streets))]


def test_a_broken_off_epoch_goes_on(streets):
    data = module(streets)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    rest = [batch["path"] for batch in batches]
    other = module(streets)
    other.setup("fit")
    resumed = other.train_dataloader()
    resumed.load_state_dict(state)
    assert [batch["path"] for batch in resumed] == rest
    assert len(rest) == 5


def test_train_ids_of_labels():
    assert len(TRAIN_IDS) == 35
    assert (TRAIN_IDS[7], TRAIN_IDS[26], TRAIN_IDS[33], TRAIN_IDS[34], TRAIN_IDS[0]) == (0, 13, 18, 255, 255)


class Paths(LightningModule):
    def predict_step(self, batch, batch_idx):
        return batch["path"]


def test_a_trainer_predicts_from_a_folder(maps):
    folder, *_ = maps
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    found = Trainer(**quiet, enable_model_summary=False).predict(Paths(), module(folder, predict_maps=folder))
    assert found == [[str(folder / "a_labelIds.png")]]


def read(folder):
    return read_maps(folder / "a_labelIds.png", folder / "a_instanceIds.png")


def test_a_wrong_label_is_named_with_its_place(maps):
    folder, label, _ = maps
    label[5, 7] = 77
    Image.fromarray(label).save(folder / "a_labelIds.png")
    with pytest.raises(ValueError, match=r"a_labelIds.png: row 5, column 7 holds 77 \(1 such pixels\)"):
        read(folder)


def test_maps_of_other_kinds(maps):
    folder, label, instance = maps
    Image.fromarray(np.stack([label] * 3, axis=2)).save(folder / "a_labelIds.png")
    with pytest.raises(ValueError, match=r"a_labelIds.png: expected 8-bit gray .* 8-bit RGB"):
        read(folder)
    Image.fromarray(label).save(folder / "a_labelIds.png")
    Image.fromarray(label).save(folder / "a_instanceIds.png")
    with pytest.raises(ValueError, match=r"a_instanceIds.png: expected 16-bit gray .* 8-bit gray .* end at 255"):
        read(folder)
    Image.fromarray(instance[:64]).save(folder / "a_instanceIds.png")
    with pytest.raises(ValueError, match=r"256x128 .* instance map .*a_instanceIds.png has 256x64"):
        read(folder)


def test_missing_instance_maps(maps, streets, tmp_path):
    folder, *_ = maps
    (folder / "a_instanceIds.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 1 label maps .* a_instanceIds.png is missing|a_instanceIds.png"):
        find_maps(folder)
    root = tmp_path / "copy"
    shutil.copytree(streets, root)
    next((root / "gtFine" / "val").rglob("*_instanceIds.png")).unlink()
    with pytest.raises(FileNotFoundError, match="1 of 3 label maps have no instance map"):
        module(root).setup("test")


def test_maps_of_one_name_in_two_folders_are_refused_before_any_picture(maps, tmp_path):
    folder, *_ = maps
    for name in ("one", "two"):
        (tmp_path / "both" / name).mkdir(parents=True)
        for kind in ("labelIds", "instanceIds"):
            shutil.copy(folder / f"a_{kind}.png", tmp_path / "both" / name)
    with pytest.raises(ValueError, match=r"one.a_labelIds.png and .*two.a_labelIds.png have the same name"):
        module(tmp_path, predict_maps=tmp_path / "both").setup("predict")


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="predict_maps FOLDER"):
        module(tmp_path).setup("predict")
    with pytest.raises(FileNotFoundError, match="no label maps"):
        module(tmp_path, predict_maps=tmp_path).setup("predict")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        module(tmp_path, predict_maps=tmp_path / "absent").setup("predict")
    with pytest.raises(FileNotFoundError, match="pcpad sample cityscapes"):
        module(tmp_path).setup("fit")
    with pytest.raises(ValueError, match="`flip`"):
        module(tmp_path, flip=2)
    with pytest.raises(RuntimeError, match="setup"):
        module(tmp_path).train_dataloader()


@pytest.mark.faults
def test_what_lies_beside_the_maps_is_named_in_the_end(maps):
    folder, label, instance = maps
    (folder / "a_labelIds.png").rename(folder / "a_labelIds.PNG")
    (folder / "a_instanceIds.png").rename(folder / "a_instanceIds.PNG")
    Image.fromarray(instance).save(folder / "b_instanceIds.png")
    Image.fromarray(label).save(folder / "c_labels.png")
    Image.fromarray(label).save(folder / "a_color.png")
    (folder / "a_polygons.json").write_text("{}")
    data = module(folder, predict_maps=folder)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert batch["path"] == [str(folder / "a_labelIds.PNG")]
    with pytest.raises(
        ValueError, match=r"2 files (.|\n)*b_instanceIds\.png: an instance map without(.|\n)*c_labels\.png: "
    ):
        data.teardown("predict")


class Seen(LightningModule):
    """Keeps the batches that reach a step, after Lightning moved them."""

    def __init__(self, plans=True):
        super().__init__()
        self.batches, self.weight = [], torch.nn.Parameter(torch.zeros(()))
        if plans:
            self.panoptic_plans = True

    def training_step(self, batch, batch_idx):
        self.batches.append(batch)
        return self.weight * 1

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(data, task, **options):
    options |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options |= {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": 1}
    Trainer(**options).fit(task, data)
    return task.batches


@pytest.mark.slow
def test_plans_come_from_the_workers_and_are_those_of_the_ids(streets):
    batches = run(
        module(streets, num_workers=1, image_size=(64, 96)), Seen(), limit_train_batches=2, limit_val_batches=1
    )
    assert len(batches) == 4  # a check before training, two steps, and a validation
    assert {len(batch["label"]) for batch in batches} == {1, 2}
    for batch in batches:
        assert list(batch["plans"]) == [32, 16, 8, 4, 2, 1]
        ids = panoptic_ids(batch["label"], batch["instance"])
        for stride, plan in batch["plans"].items():
            own = PanopticPlan.build(ids[..., ::stride, ::stride], 3, padding=1)
            assert torch.equal(plan.valid, own.valid)
            assert plan.mixed_fraction == own.mixed_fraction
            assert plan.valid.is_shared(), "it was not made in a worker"


@pytest.mark.parametrize(
    ("options", "task"), [({"num_workers": 0}, Seen()), ({"plans": False}, Seen()), ({}, Seen(plans=False))]
)
def test_no_plans_are_made_that_nobody_asked_for(streets, options, task):
    data = module(streets, **{"num_workers": 1} | options)
    data.trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    data.trainer.strategy.connect(task)
    data.setup("fit")
    items = [data._train[0], data._train[1]]
    assert "plans" not in data.train_dataloader().collate_fn(items)
    assert "plans" not in data.val_dataloader().collate_fn(items)
