"""Places2DataModule: which files, which masks, in which order, and what is said when something is wrong."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from PIL import Image

from pcpad.datamodules import Places2DataModule
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.strokes import draw_mask
from pcpad.datamodules.reading.images import BrokenImageError

pytestmark = pytest.mark.filterwarnings(
    "ignore:The image decoding and encoding:DeprecationWarning", "ignore:.*does not have many workers"
)
SHARE = {"train": 11, "val": 6, "test": 7}


def write_images(folder, count, size=(50, 40)):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        draw = np.random.default_rng([len(str(folder)), index])
        pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")


def write_masks(folder, count=9, size=64, white_hole=False):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        low = (0.05, 0.25, 0.45)[index % 3]
        mask = draw_mask(size, (low, low + 0.1), np.random.default_rng(index))
        Image.fromarray(255 * (1 - mask if white_hole else mask)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for split, count in SHARE.items():
        write_images(root / split / "a", count)
    return root


def module(root, **options):
    return Places2DataModule(root, **{"image_size": 32, "batch_size": 2, "num_workers": 0, **options})


def batches(data, stage="fit"):
    data.setup(stage)
    loader = {"fit": data.train_dataloader, "validate": data.val_dataloader, "test": data.test_dataloader}[stage]()
    return list(loader)


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_a_batch(root, stage):
    found = batches(module(root), stage)
    split = {"fit": "train", "validate": "val"}.get(stage, stage)
    count = SHARE[split]
    assert sum(len(batch["path"]) for batch in found) == (count // 2 * 2 if stage == "fit" else count)
    for batch in found:
        size = len(batch["path"])
        assert set(batch) == {"image", "mask", "path"}
        assert batch["image"].shape == (size, 3, 32, 32)
        assert batch["mask"].shape == (size, 1, 32, 32)
        assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
        assert set(batch["mask"].unique().tolist()) == {0, 1}
        assert all(f"/{split}/" in path for path in batch["path"])


def test_names_of_places2(tmp_path):
    write_images(tmp_path / "data_large" / "a" / "airfield", 3)
    write_images(tmp_path / "val_large", 2)
    write_images(tmp_path / "test_large", 1)
    counts = [sum(len(batch["path"]) for batch in batches(module(tmp_path), s)) for s in ("fit", "validate", "test")]
    assert counts == [2, 2, 1]


@pytest.mark.parametrize(("there", "asked"), [("val", "test"), ("test", "validate")])
def test_val_and_test_stand_in_for_each_other_which_is_said_once(tmp_path, there, asked):
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / there, 3)
    data = module(tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for stage in (asked, asked, "fit"):
            data.setup(stage)
    assert len([one for one in said if f"{there}/ is used instead" in str(one.message)]) == 1
    assert len(batches(data, asked)) == 2


def test_missing_data_is_explained(tmp_path):
    for where, what in ((tmp_path / "no", "No such folder"), (tmp_path, "No folder of train images in")):
        with pytest.raises(FileNotFoundError, match=what) as caught:
            module(where).setup("fit")
        assert "pcpad sample photos" in str(caught.value)
        assert "data_large/a/airfield" in str(caught.value)
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match="No images in"):
        module(tmp_path).setup("fit")


def test_evaluation_masks_do_not_depend_on_batches_workers_or_seeds(root):
    def masks(seed, **options):
        seed_everything(seed)
        found = batches(module(root, **options), "validate")
        return torch.cat([batch["mask"] for batch in found]), torch.cat([batch["image"] for batch in found])

    one, images = masks(0)
    for other, others in (masks(1, batch_size=5), masks(2, num_workers=2)):
        assert torch.equal(one, other)
        assert torch.equal(images, others)
    assert not torch.equal(one, masks(0, mask_seed=1)[0])
    shares = 1 - one.double().mean(dim=(1, 2, 3))
    bins = [(0.01, 0.2), (0.2, 0.4), (0.4, 0.6)]
    assert all(bins[i % 3][0] < float(share) <= bins[i % 3][1] for i, share in enumerate(shares))


def test_masks_from_folders_with_their_polarities(root, tmp_path):
    train, test = write_masks(tmp_path / "train"), write_masks(tmp_path / "test", white_hole=True)
    data = module(root, masks=train, mask_polarity="white_valid", test_masks=test, test_mask_polarity="white_hole")
    shares = [float(1 - batch["mask"].double().mean()) for batch in batches(data)]
    assert 0 < np.median(shares) < 0.7
    for batch in batches(data, "validate"):
        assert (1 - batch["mask"].double().mean(dim=(1, 2, 3)) <= 0.6).all()


def test_a_wrong_or_missing_polarity_stops_before_the_first_image(root, tmp_path):
    masks = write_masks(tmp_path / "m", count=6)
    with pytest.raises(ValueError, match="What does white mean in"):
        module(root, masks=masks).setup("fit")
    write_masks(tmp_path / "thin", count=1)
    with pytest.raises(ValueError, match=r"pass --data\.test_mask_polarity white_valid"):
        module(root, test_masks=tmp_path / "thin", test_mask_polarity="white_hole").setup("validate")


def test_training_depends_on_seed_and_epoch_alone(root):
    def epoch(number, seed=3, **options):
        seed_everything(seed)
        data = module(root, **options)
        data.setup("fit")
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        found = list(loader)
        return [torch.cat([batch[name] for batch in found]) for name in ("image", "mask")]

    images, masks = epoch(0)
    for other in (epoch(0, num_workers=2), epoch(0, batch_size=5)):
        assert torch.equal(other[0], images)
        assert torch.equal(other[1], masks)
    assert not torch.equal(epoch(1)[1], masks)
    assert not torch.equal(epoch(0, seed=4)[1], masks)


def test_a_broken_off_epoch_goes_on_at_the_next_image(root):
    seed_everything(0)
    data = module(root)
    data.setup("fit")
    whole = [batch["path"] for batch in data.train_dataloader()]
    loader = data.train_dataloader()
    first = iter(loader)
    seen = [next(first)["path"] for _ in range(2)]
    later = data.train_dataloader()
    later.load_state_dict(loader.state_dict())
    assert seen + [batch["path"] for batch in later] == whole


def test_training_squares_are_cut_flipped_and_resized(tmp_path):
    # Red grows to the right, green downward: both ends' order says whether and where it was cut.
    ramp = np.zeros((64, 96, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(96) * 2, np.arange(64)[:, None] * 3
    (tmp_path / "train").mkdir()
    Image.fromarray(ramp).save(tmp_path / "train" / "a.png")
    write_images(tmp_path / "val", 1)
    data = module(tmp_path, scale=(1.0, 2.0))
    data.setup("fit")
    items = [data._train[Crop(0, None, seed)]["image"].int() for seed in range(40)]
    flipped = [bool(image[0, 16, 0] > image[0, 16, -1]) for image in items]
    assert 8 < sum(flipped) < 32
    heights = [int(image[1, -1, 16] - image[1, 0, 16]) / 3 + 2 for image in items]
    assert min(heights) > 29
    assert max(heights) < 66
    assert max(heights) - min(heights) > 15
    assert len({int(image[0].min()) for image in items}) > 10
    assert torch.equal(data._train[Crop(0, None, 5)]["image"], data._train[Crop(0, None, 5)]["image"])
    assert torch.equal(data._train[0]["image"], data._train[0]["image"])


def test_a_broken_image_is_named(tmp_path):
    write_images(tmp_path / "train", 1)
    write_images(tmp_path / "val", 1)
    (tmp_path / "val" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BrokenImageError, match=r"bad\.jpg"):
        batches(module(tmp_path), "validate")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"image_size": 4}, "image_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"scale": (0.5, 1)}, "scale"),
        ({"hole_ratio": (0.5, 0.2)}, "hole_ratio"),
        ({"bins": [(0.2, 0.1)]}, "bins"),
        ({"flip": 2}, "flip"),
        ({"effective_batch": 0}, "effective_batch"),
        ({"mask_seed": -1}, "mask_seed"),
    ],
)
def test_refused_arguments(options, error):
    with pytest.raises(ValueError, match=f"`{error}`"):
        module("x", **options)


@pytest.mark.parametrize("stage", ["train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"])
def test_loaders_before_setup_say_so(root, stage):
    with pytest.raises(RuntimeError, match="call setup"):
        getattr(module(root), stage)()


class Counting(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen += batch["path"]
        return self.weight * batch["image"].float().mean()

    def validation_step(self, batch, batch_idx):
        self.seen += batch["path"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_under_a_trainer(root):
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    task, data = Counting(), module(root, effective_batch=6)
    trainer = Trainer(max_epochs=1, num_sanity_val_steps=0, enable_model_summary=False, **options)
    with pytest.warns(UserWarning, match="the recipe assumes 6 images per step"):
        trainer.fit(task, data)
    assert len(task.seen) == SHARE["train"] // 2 * 2 + SHARE["val"]


@pytest.mark.faults
def test_what_lies_beside_pictures_and_masks_is_named_in_the_end(tmp_path):
    write_images(tmp_path / "pictures", 2)
    write_masks(tmp_path / "masks", 3, size=48, white_hole=True)
    pictures, masks = (sorted((tmp_path / name).iterdir()) for name in ("pictures", "masks"))
    for number, (picture, mask) in enumerate(zip(pictures, masks, strict=False)):
        Image.open(mask).resize((50, 40)).save(tmp_path / "masks" / f"{number}.jfif", "JPEG", quality=100)
        mask.unlink()
        picture.rename(tmp_path / "pictures" / f"{number}.JPE")
    (tmp_path / "pictures" / "more.zip").write_bytes(b"PK\3\4")
    (tmp_path / "masks" / "mask.npy").write_bytes(b"\x93NUMPY")
    options = {"predict_images": tmp_path / "pictures", "predict_masks": tmp_path / "masks"}
    data = module(tmp_path, predict_mask_polarity="white_hole", fit_masks="nearest", **options)
    with pytest.warns(UserWarning, match="1 masks of .* belong to no picture, such as .*masks"):
        data.setup("predict")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*neither black nor white")
        assert [Path(*batch["path"]).name for batch in data.predict_dataloader()] == ["0.JPE", "1.JPE"]
    with pytest.raises(
        ValueError, match=r"2 pictures could not be used(.|\n)*mask\.npy: a NumPy(.|\n)*more\.zip: a ZIP"
    ):
        data.teardown("predict")
