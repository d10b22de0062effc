"""Gaussian filtering's data: the target against scipy, splits, seeding, resuming, and what bad folders lead to."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.datamodules import GaussianFilteringDataModule
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.filtered_crops import filter_inside, gaussian_kernel
from pcpad.datamodules.reading.images import BrokenImageError


def photo(path, seed, size=(60, 80), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for index in range(count):
            photo(tmp_path / split / f"{index}.png", [len(split), index], mode=("RGB", "L", "RGBA")[index])
    return tmp_path


def make(root, stage="fit", **options):
    data = GaussianFilteringDataModule(root, **{"num_workers": 0, "crop_size": 32, "batch_size": 2} | options)
    data.setup(stage)
    return data


def test_target_is_the_filtered_picture_at_the_crop(root):
    data = make(root, "test")
    whole = torch.from_numpy(np.array(Image.open(root / "test/0.png"))).permute(2, 0, 1)
    filtered = filter_inside(whole / 255, gaussian_kernel(13, 2.0))
    item = data.test_dataloader().dataset[0]
    places = [
        (i, j)
        for i in range(filtered.shape[1] - 31)
        for j in range(filtered.shape[2] - 31)
        if torch.equal(item["image"], whole[:, 6 + i : 38 + i, 6 + j : 38 + j])
    ]
    assert len(places) == 1
    (i, j) = places[0]
    assert torch.allclose(item["target"], filtered[:, i : i + 32, j : j + 32], atol=1e-6)


def test_batches(root):
    batch = next(iter(make(root, crops_per_image=4).train_dataloader()))
    assert (batch["image"].shape, batch["image"].dtype) == ((2, 3, 32, 32), torch.uint8)
    assert (batch["target"].shape, batch["target"].dtype) == ((2, 3, 32, 32), torch.float32)
    assert len(make(root, crops_per_image=4).train_dataloader()) == 6
    assert sum(len(b["image"]) for b in make(root, "test", eval_crops=3).test_dataloader()) == 6
    assert sum(len(b["image"]) for b in make(root, "validate").val_dataloader()) == 2, "val falls back to test/"


def test_training_differs_by_epoch_and_evaluation_never(root, monkeypatch):
    def epochs(data):
        loader = data.train_dataloader()
        found = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            found.append(torch.cat([batch["image"] for batch in loader]))
        return found

    first, again = epochs(make(root)), epochs(make(root, keep_in_memory=True))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert not torch.equal(epochs(make(root))[0], first[0])
    fixed = [torch.cat([b["image"] for b in make(root, "test").test_dataloader()]) for _ in range(2)]
    assert torch.equal(*fixed)


def crops_of(data, epoch=0, done=0, rank=None):
    """The crops of an epoch after the first `done` batches, as bytes, read by a loader that resumed there."""
    if rank is not None:
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank)
    first, loader = data.train_dataloader(), data.train_dataloader()
    first.sampler.set_epoch(epoch)
    reading = iter(first)
    for _ in range(done):
        next(reading)
    loader.load_state_dict(first.state_dict())
    loader.sampler.set_epoch(epoch)
    return [image.numpy().tobytes() for batch in loader for image in batch["image"]]


def test_an_epoch_goes_on_where_it_was_left(root):
    whole = crops_of(make(root, crops_per_image=4), epoch=3)
    assert len(set(whole)) == 12, "no crop comes twice"
    for done in (1, 4, 5):
        assert crops_of(make(root, crops_per_image=4), epoch=3, done=done) == whole[2 * done :]


def test_workers_and_processes_change_no_crop(root):
    whole = crops_of(make(root, crops_per_image=4))
    assert crops_of(make(root, crops_per_image=4, num_workers=2)) == whole
    shares = [crops_of(make(root, crops_per_image=4), rank=rank) for rank in range(2)]
    assert [crop for pair in zip(*shares, strict=True) for crop in pair] == whole


def test_every_photograph_gives_equally_many_crops(root):
    loader = make(root, crops_per_image=4).train_dataloader()
    assert sorted(crop.file % 3 for crop in loader.sampler) == sorted([0, 1, 2] * 4)


@pytest.mark.parametrize("mode", ["I;16", "P", "LA", "CMYK"])
def test_other_kinds_of_pixels(root, mode):
    gray = np.random.default_rng(0).integers(0, 2**16, (60, 80), dtype=np.uint16)
    picture = Image.fromarray(gray) if mode == "I;16" else Image.fromarray((gray // 256).astype(np.uint8)).convert(mode)
    picture.save(root / "test" / ("0.tif" if mode == "CMYK" else "0.png"))
    data = make(root, "test")
    number = next(i for i in range(len(data._files["test"])) if data._files["test"][i].stem == "0")
    item = data.test_dataloader().dataset[number]
    assert item["image"].shape == (3, 32, 32)
    assert item["image"].float().std() > 50, "the whole range of pixels, not a corner of it"
    assert abs(float(item["target"].mean()) - float(item["image"].float().mean()) / 255) < 0.05


def test_a_folder_without_splits_is_split_by_name(tmp_path):
    for index in range(10):
        photo(tmp_path / "deep" / f"{index}.png", index)
    data = make(tmp_path, held_out=0.3)
    data.setup("test")
    names = {split: {data._files[split][i].name for i in range(len(data._files[split]))} for split in ("train", "test")}
    assert (len(names["train"]), len(names["test"])) == (7, 3)
    assert not names["train"] & names["test"]
    photo(tmp_path / "deep" / "one_more.png", 99)
    held_out = {path.name for path in map(make(tmp_path, "test", held_out=0.3)._files["test"].__getitem__, range(3))}
    assert len(held_out & names["test"]) >= 2, "one picture more moves at most one"


def test_small_pictures_are_stepped_over_and_counted(root):
    photo(root / "train" / "a_small.png", 9, (20, 20))
    photo(root / "test" / "a_small.png", 9, (20, 20))
    data = make(root)
    with pytest.warns(UserWarning, match=r"1 training photographs so far.*a_small\.png is 20x20"):
        assert data.train_dataloader().dataset[Crop(3, None, 0)]["image"].shape == (3, 32, 32)
    with pytest.warns(UserWarning, match="1 of 3 held-out photographs are left out"):
        assert len(make(root, "test").test_dataloader().dataset) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"too small.*crop_size"):
            make(root, "test", crop_size=200)


def test_broken_picture_is_named(root):
    (root / "train" / "0.png").write_bytes(b"\x89PNG nonsense")
    with pytest.raises(BrokenImageError, match=r"0\.png"):
        make(root).train_dataloader().dataset[Crop(0, None, 0)]
    with pytest.raises(BrokenImageError, match=r"train/0\.png"):
        list(make(root, num_workers=1, batch_size=3).train_dataloader())
    whole = (root / "test" / "0.png").read_bytes()
    (root / "test" / "0.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    with pytest.raises(BrokenImageError, match=r"test/0\.png"):
        list(make(root, "test").test_dataloader())
    (root / "test" / "0.png").write_bytes(b"")
    with pytest.raises(BrokenImageError, match=r"test/0\.png"):
        make(root, "test")


def test_missing_data_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="pcpad sample photos"):
        make(tmp_path / "nowhere")
    (tmp_path / "test").mkdir()
    with pytest.raises(FileNotFoundError, match="No such folder"):
        make(tmp_path)


@pytest.mark.parametrize("options", [{"kernel_size": 4}, {"sigma": 0}, {"crop_size": 0}, {"held_out": 1.0}])
def test_arguments_out_of_range(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GaussianFilteringDataModule(tmp_path, **options)
