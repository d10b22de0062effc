"""The Cityscapes data module: layouts, splits, batches, seeding, resuming, and what bad data leads to."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from pcpad.datamodules import CityscapesDataModule
from pcpad.datamodules.datasets.cityscapes_files import CITIES, VAL_CITIES, find_fine, select_cities
from pcpad.datamodules.datasets.cityscapes_labels import IGNORE, to_train_ids
from pcpad.datamodules.reading.images import BrokenImageError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]
# Images of each city in the official set.
TRAIN = {
    **{"aachen": 174, "bochum": 96, "bremen": 316, "cologne": 154, "darmstadt": 85, "dusseldorf": 221, "erfurt": 109},
    **{"hamburg": 248, "hanover": 196, "jena": 119, "krefeld": 99, "monchengladbach": 94, "strasbourg": 365},
    **{"stuttgart": 196, "tubingen": 144, "ulm": 95, "weimar": 142, "zurich": 122},
}
VAL = {"frankfurt": 267, "lindau": 59, "munster": 174}
SIZES = {"cv0": (2975, 500), "cv1": (3060, 415), "cv2": (2820, 655)}
PLACES = {"leftImg8bit": "leftImg8bit", "gtFine": "gtFine", "gtCoarse": "gtCoarse"}
NESTED = {
    "leftImg8bit": "leftImg8bit_trainvaltest/leftImg8bit",
    "gtFine": "gtFine_trainvaltest/gtFine",
    "gtCoarse": "gtCoarse/gtCoarse",
    "train_extra": "leftImg8bit_trainextra/leftImg8bit",
}
CITIES_HERE = {
    "train": ["aachen", "darmstadt", "dusseldorf", "stuttgart", "zurich"],
    "val": ["frankfurt", "munster"],
    "train_extra": ["bad-honnef"],
}


def paths(root, part, city, number, places=PLACES):
    stem = f"{part}/{city}/{city}_{number:06d}_000019"
    labels = "gtCoarse" if part == "train_extra" else "gtFine"
    images = places.get(part, places["leftImg8bit"])
    return root / images / f"{stem}_leftImg8bit.png", root / places[labels] / f"{stem}_{labels}_labelIds.png"


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def scene(seed, size=(24, 48)):
    """An image whose red says which id lies there, and its label map."""
    draws = np.random.default_rng(seed)
    ids = np.full(size, 7, np.uint8)
    ids[: size[0] // 2] = 23
    for label in (11, 26, 27, 255):
        top, left = draws.integers(0, size[0] - 8), draws.integers(0, size[1] - 8)
        ids[top : top + 8, left : left + 8] = label
    ids[0, 0] = 26
    image = np.stack([ids, *draws.integers(0, 256, (2, *size), dtype=np.uint8)], axis=-1)
    return image, ids


def write_data(root, places=PLACES, images=2):
    for seed, (part, city) in enumerate((part, city) for part, cities in CITIES_HERE.items() for city in cities):
        for number in range(images):
            image, ids = scene([seed, number])
            image_path, label_path = paths(root, part, city, number, places)
            write_png(image_path, image)
            write_png(label_path, ids)
    return root


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "cityscapes")


@pytest.fixture
def root(written, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(written, tmp_path / "cityscapes", ignore=shutil.ignore_patterns("*.npz"))


def make(root, **options):
    return CityscapesDataModule(root, **({"num_workers": 0, "crop_size": 16, "tile_size": 24} | options))


def ready(root, stage="fit", **options):
    data = make(root, **options)
    data.setup(stage)
    return data


def content(loader):
    return [(int(batch["image"].long().sum()), int(batch["label"].sum())) for batch in loader]


# Layout and splits


@pytest.mark.parametrize("split", SIZES)
def test_official_sizes_of_the_splits(tmp_path, split):
    for part, cities in (("train", TRAIN), ("val", VAL)):
        for city, count in cities.items():
            for kind in ("leftImg8bit", "gtFine"):
                (tmp_path / kind / part / city).mkdir(parents=True)
            for number in range(count):
                for path in paths(tmp_path, part, city, number):
                    path.touch()
    found = find_fine(tmp_path)
    assert sorted(found) == sorted(CITIES) == sorted({**TRAIN, **VAL})
    held_out = VAL_CITIES[split]
    val = select_cities(found, held_out, "", tmp_path)
    train = select_cities(found, [city for city in CITIES if city not in held_out], "", tmp_path)
    assert (len(train), len(val)) == SIZES[split]
    assert not set(train) & set(val)
    assert val[0].image.endswith("_000000_000019_leftImg8bit.png")
    for pair in train + val:
        assert pair.image.replace("leftImg8bit", "gtFine").replace(".png", "_labelIds.png") == pair.label


@pytest.mark.parametrize("places", [PLACES, NESTED], ids=["plain", "nested"])
def test_layouts(tmp_path, places):
    data = ready(write_data(tmp_path, places), coarse=True)
    assert len(data.train_dataloader().sampler.plan) == 10
    assert len(content(data.val_dataloader())) == 4
    assert len(data.train_dataloader().dataset.pairs) == 12
    for crop in data.train_dataloader():
        assert crop["image"].shape == (2, 3, 16, 16)


@pytest.mark.parametrize(("split", "sizes"), [("cv0", (10, 4)), ("cv1", (10, 4)), ("cv2", (12, 2))])
def test_splits_take_cities_from_both_folders(written, split, sizes):
    data = ready(written, split=split)
    assert (len(data.train_dataloader().sampler.plan), len(data.val_dataloader())) == sizes
    # Another order of files behind the same index: each centroid must still hit its class.
    dataset, where = data.train_dataloader().dataset, data._centroids
    assert set(where.file) == set(range(sizes[0]))
    for file, train_id, y, x in zip(*(column.tolist() for column in where), strict=True):
        with Image.open(dataset.pairs[file].label) as label:
            train_ids = to_train_ids(np.asarray(label))
        rows, columns = np.nonzero(train_ids[:, x // 24 * 24 : x // 24 * 24 + 24] == train_id)
        assert (y, x) == (rows.sum() // len(rows), columns.sum() // len(columns) + x // 24 * 24)


@pytest.mark.faults
def test_folds_are_of_cities(written):
    cities = []
    for number in (1, 2, 3):
        data = ready(written, fold=f"{number}/3", class_uniform=0)
        held_out = {path.split("/")[-2] for path in map(data._val.file_of, range(len(data._val)))}
        trained = {data._train.pairs[at].image.split("/")[-2] for at in range(len(data._train))}
        assert not held_out & trained
        assert held_out | trained == {*CITIES_HERE["train"], *CITIES_HERE["val"]}
        cities += sorted(held_out)
    assert sorted(cities) == sorted({*CITIES_HERE["train"], *CITIES_HERE["val"]}), "each is held out once"
    other = ready(written, fold="1/3", split_seed=5, class_uniform=0)
    assert [other._val.file_of(0)] != [ready(written, fold="1/3", class_uniform=0)._val.file_of(0)]
    with pytest.raises(ValueError, match=r"7 cities .* cannot make 9 folds"):
        ready(written, fold="9/9")
    with pytest.raises(ValueError, match="`split`"):
        make(written, fold="1/3", split="cv1")


def test_one_index_serves_all_splits(root, monkeypatch):
    ready(root, split="cv0")
    monkeypatch.setattr("pcpad.datamodules.datasets.centroids.find_centroids", None)
    for split in VAL_CITIES:
        ready(root, split=split)


def test_val_folder_alone_is_enough_to_validate(root):
    shutil.rmtree(root / "leftImg8bit" / "train")
    shutil.rmtree(root / "gtFine" / "train")
    assert len(ready(root, "validate").val_dataloader()) == 4
    with pytest.raises(ValueError, match=r"split cv0 has no training images: .* holds frankfurt, munster, but none of"):
        ready(root, "fit")


# Batches


def test_training_batches(written):
    data = ready(written, batch_size=4)
    assert (data.num_classes, data.class_names[0], data.class_names[18]) == (19, "road", "bicycle")
    batches = list(data.train_dataloader())
    assert len(batches) == 2  # the last 2 of 10 are left out
    for batch in batches:
        assert batch.keys() == {"image", "label"}
        assert (batch["image"].shape, batch["image"].dtype) == ((4, 3, 16, 16), torch.uint8)
        assert (batch["label"].shape, batch["label"].dtype) == ((4, 16, 16), torch.int64)
        assert batch["image"].is_contiguous()
        assert set(batch["label"].unique().tolist()) <= {0, 2, 10, 13, 14, IGNORE}


def test_training_set_smaller_than_a_batch_is_used(written):
    assert [len(batch["label"]) for batch in ready(written, batch_size=11).train_dataloader()] == [10]


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_batches_are_whole_images(written, stage):
    data = ready(written, stage)
    loader = data.val_dataloader() if stage == "validate" else data.test_dataloader()
    expected = [scene([seed, number]) for seed in (5, 6) for number in range(2)]
    for batch, (image, ids) in zip(loader, expected, strict=True):
        assert (batch["image"].dtype, batch["label"].dtype) == (torch.uint8, torch.int64)
        assert batch["image"].is_contiguous()
        np.testing.assert_array_equal(batch["image"][0].permute(1, 2, 0), image)
        np.testing.assert_array_equal(batch["label"][0], to_train_ids(ids))
    (batch,) = ready(written, stage, eval_batch_size=4).val_dataloader()
    assert batch["image"].shape == (4, 3, 24, 48)


def test_a_relative_root_gives_the_same_batches(written, monkeypatch):
    expected = content(ready(written, "validate").val_dataloader())
    monkeypatch.chdir(written.parent)
    assert content(ready(written.name, "validate").val_dataloader()) == expected


def test_evaluation_of_several_sizes_needs_batches_of_one(root):
    for path, array in zip(paths(root, "val", "munster", 1), scene(0, (30, 40)), strict=True):
        write_png(path, array)
    assert len(content(ready(root, "validate").val_dataloader())) == 4
    with pytest.raises(ValueError, match=r"several sizes \(48x24, 40x30\) don't fit .* set data.eval_batch_size to 1"):
        list(ready(root, "validate", eval_batch_size=2).val_dataloader())


def test_predict_takes_any_images_and_no_labels(tmp_path):
    images = {"a.png": (20, 31), "deep/b.jpg": (9, 17), "c.png": (64, 11)}
    for seed, (name, size) in enumerate(images.items()):
        write_png(tmp_path / "photos" / name, scene(seed, size)[0])
    data = ready(tmp_path / "nowhere", "predict", predict_images=tmp_path / "photos")
    seen = {}
    for batch in data.predict_dataloader():
        assert batch.keys() == {"image", "path"}
        assert batch["image"].dtype == torch.uint8
        (path,) = batch["path"]
        seen[path] = tuple(batch["image"].shape)
    assert seen == {str(tmp_path / "photos" / name): (1, 3, *size) for name, size in images.items()}


def test_coarse_images_enter_through_rare_classes_alone(written):
    fine, both = ready(written), ready(written, coarse=True)
    added = len(both._centroids.file) - len(fine._centroids.file)
    coarse = both._centroids.select(both._centroids.file >= 10)
    assert 0 < added == len(coarse.file)
    assert set(coarse.train_id.tolist()) == {14}  # trucks, of the classes the images hold
    crops = [crop for epoch in range(200) for crop in both.train_dataloader().sampler.plan.epoch(epoch)]
    assert len(crops) == 2000
    assert all(crop.center for crop in crops if crop.file >= 10)
    assert {crop.file for crop in crops} == set(range(12))


def test_without_class_uniform_sampling_no_index_is_built(root):
    data = ready(root, class_uniform=0)
    assert not list(root.glob("*.npz"))
    assert len(content(data.train_dataloader())) == 5


# Seeding


def epochs(data, count=3):
    loader = data.train_dataloader()
    return [content(loader) for _ in range(count)]


def test_seeding(written):
    """Each epoch differs, seeds repeat it, and neither workers nor their persistence change it."""
    runs = []
    for seed, workers in ((1, 0), (1, 0), (1, 1), (1, 2), (2, 0)):
        seed_everything(seed, workers=True, verbose=False)
        runs.append(epochs(ready(written, num_workers=workers)))
    assert runs[0] == runs[1] == runs[2] == runs[3]
    assert len({tuple(epoch) for epoch in runs[0]}) == 3
    assert len({crop for epoch in runs[0] for crop in epoch}) == 15
    assert all(a != b for a, b in zip(runs[0], runs[4], strict=True))


def test_unseeded_runs_are_those_of_seed_0(written, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    unseeded = epochs(ready(written), 1)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    assert epochs(ready(written), 1) == unseeded


# Processes


def in_process(data, rank, processes):
    data.trainer = SimpleNamespace(world_size=processes, global_rank=rank, accumulate_grad_batches=1)
    return data


def test_processes_share_training_and_evaluation(written):
    alone = ready(written, batch_size=1)
    shares = [in_process(ready(written, batch_size=1), rank, 2) for rank in range(2)]
    training = [content(data.train_dataloader()) for data in shares]
    assert [crop for step in zip(*training, strict=True) for crop in step] == content(alone.train_dataloader())
    evaluated = [content(data.val_dataloader()) for data in shares]
    assert sorted(evaluated[0] + evaluated[1]) == sorted(content(alone.val_dataloader()))


def test_effective_batch(written):
    data = in_process(make(written, effective_batch=16), 0, 4)
    with pytest.warns(UserWarning, match="the recipe assumes 16 images per step, this run takes 8"):
        data.setup("fit")


# Under Lightning


class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, index):
        self.seen += content([batch])
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, index):
        assert batch["label"].shape == (1, 24, 48)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(root, checkpoint=None, workers=0, **options):
    seed_everything(3, workers=True, verbose=False)
    recorder = Recorder()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    if "callbacks" not in options:
        quiet["enable_checkpointing"] = False
    trainer = Trainer(**({"max_epochs": 3} | quiet | options))
    trainer.fit(recorder, make(root, num_workers=workers), ckpt_path=checkpoint)
    return recorder.seen


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_resuming_from_any_checkpoint_continues_exactly(written, tmp_path):
    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    whole = fit(written, callbacks=[save])
    assert len(set(whole)) == len(whole) == 15
    checkpoints = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    assert len(checkpoints) == 15
    # Within, at the end of, and at the beginning of epochs of 5 steps.
    for step in (1, 3, 5, 6, 9, 10, 14):
        assert fit(written, checkpoints[step - 1]) == whole[step:]
    assert fit(written, checkpoints[6], workers=2) == whole[7:]


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfitting_sees_the_same_crops_again(written):
    seen = fit(written, overfit_batches=2)
    assert len(seen) == 6
    assert seen[:2] == seen[2:4] == seen[4:]


def test_index_is_prepared_for_training_alone(root):
    data = make(root)
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn="validate"))
    data.prepare_data()
    assert not list(root.glob("*.npz"))
    data.trainer.state.fn = "fit"
    data.prepare_data()
    assert len(list(root.glob("*.npz"))) == 1


# Bad arguments and bad data


@pytest.mark.parametrize(
    "options",
    [
        {"split": "cv3"},
        {"batch_size": 0},
        {"eval_batch_size": 0},
        {"num_workers": -1},
        {"crop_size": 0},
        {"scale": (0, 1)},
        {"scale": (2, 1)},
        {"class_uniform": 1.1},
        {"tile_size": 0},
        {"class_uniform": 0, "coarse": True},
        {"flip": -0.1},
        {"color_jitter": 0.6},
        {"blur": (0.0, 1.0)},
        {"effective_batch": 0},
    ],
)
def test_arguments_out_of_range(options):
    with pytest.raises(ValueError, match=f"Expected argument `{next(iter(options))}` to be"):
        make("nowhere", **options)


@pytest.mark.parametrize(
    ("stage", "remove", "coarse", "path"),
    [
        *((stage, "", False, "leftImg8bit/train") for stage in ("fit", "validate", "test")),
        *((stage, "leftImg8bit", False, "leftImg8bit/train") for stage in ("fit", "validate", "test")),
        *((stage, "gtFine", False, "gtFine/train") for stage in ("fit", "validate", "test")),
        ("validate", "gtFine/val", False, "gtFine/val"),
        ("fit", "leftImg8bit/train_extra", True, "leftImg8bit/train_extra"),
        ("fit", "gtCoarse", True, "gtCoarse/train_extra"),
    ],
)
def test_missing_data_says_all_there_is_to_know(root, stage, remove, coarse, path):
    shutil.rmtree(root / remove)
    with pytest.raises(FileNotFoundError) as caught:
        ready(root, stage, coarse=coarse)
    message = str(caught.value)
    assert f"No such folder: {root / path}" in message
    assert "<city>_<sequence>_<frame>_gtFine_labelIds.png" in message
    assert "https://www.cityscapes-dataset.com/downloads and needs an account" in message
    assert "pcpad sample cityscapes DIR" in message


def test_empty_folders(tmp_path):
    for kind in ("leftImg8bit", "gtFine"):
        (tmp_path / kind / "train" / "aachen").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=f"No city folders with images in: {tmp_path}/leftImg8bit/train"):
        ready(tmp_path)


def test_empty_split(root):
    for city in ("frankfurt", "munster"):
        for kind in ("leftImg8bit", "gtFine"):
            shutil.rmtree(root / kind / "val" / city)
    with pytest.raises(ValueError, match=r"cv0 has no validation images: .* none of frankfurt, lindau, munster"):
        ready(root, "validate")
    assert len(ready(root, "validate", split="cv1").val_dataloader()) == 4


def test_unknown_city(root):
    for path, array in zip(paths(root, "train", "atlantis", 0), scene(0), strict=True):
        write_png(path, array)
    with pytest.raises(ValueError, match=r"unknown city 'atlantis' in .*, train/: the splits cv0, cv1, cv2"):
        ready(root)


@pytest.mark.parametrize("part", ["train", "val", "train_extra"])
def test_image_without_label_and_label_without_image(root, part):
    city = CITIES_HERE[part][0]
    image, label = paths(root, part, city, 1)
    saved = label.read_bytes()
    label.unlink()
    with pytest.raises(ValueError, match=f"1 images have no label <name>_gt.*_labelIds.png below .*: {image}"):
        ready(root, coarse=True)
    label.write_bytes(saved)
    image.unlink()
    with pytest.raises(ValueError, match=f"1 labels have no image <name>_leftImg8bit.png below .*: {label}"):
        ready(root, coarse=True)


def spoil(root, part, number, array):
    """Put other labels in place; number 0 is looked at in setup, others when they are indexed or read."""
    path = paths(root, part, CITIES_HERE[part][0], number)[1]
    write_png(path, array)
    return path


def read_often(loader):
    """Crops are random, and only half of an epoch's are anywhere."""
    for _ in range(20):
        list(loader)


def read_unindexed(root, part):
    if part == "val":
        read_often(ready(root, "validate").val_dataloader())
    else:
        # Without an index, training labels are looked at crop by crop.
        read_often(ready(root, "fit", class_uniform=0, crop_size=64).train_dataloader())


def each_way(root, part, message, error=ValueError):
    """Where training builds an index, every label must be right before it starts; else it is found when read."""
    with pytest.raises(error, match=message):
        ready(root, "fit")
    with pytest.raises(error, match=message):
        read_unindexed(root, part)


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("number", [0, 1])
def test_value_that_is_no_id(root, part, number):
    _, ids = scene(0)
    ids[:2, :3] = 99
    ids[3, 3] = 34
    path = spoil(root, part, number, ids)
    each_way(root, part, f"{path}: [1-9][0-9]* pixels hold 34, 99, not a Cityscapes label id")


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("number", [0, 1])
def test_train_ids_in_place_of_ids(root, part, number):
    path = spoil(root, part, number, to_train_ids(scene(0)[1]))
    each_way(root, part, f"{path}.*: these look like trainIds")


@pytest.mark.faults
@pytest.mark.parametrize("shown", ["no rare class", "a plate without its vehicle"])
def test_official_ids_are_read_at_any_crop(root, shown):
    """Crops larger than the image were refused: their padding with 255 was taken for trainIds' ignored pixels."""
    plate = shown != "no rare class"
    for path in root.glob("gtFine/train/*/*.png"):
        ids = np.repeat(np.array([7, 8, 11], np.uint8), 8)[:, None].repeat(48, 1)
        if plate:  # the file has both, far apart
            ids[2:22, 20:], ids[0, 0] = 255, 26
        write_png(path, ids)
    data = ready(root, "fit", class_uniform=0, crop_size=16 if plate else 80, scale=(1, 1))
    loader = data.train_dataloader()
    for batch in (batch for _ in range(5) for batch in loader):
        assert set(batch["label"].unique().tolist()) <= {0, 1, 2, 13, 255}


@pytest.mark.faults
@pytest.mark.parametrize("drawn", ["stored", "upright"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pictures_are_upright_with_their_labels(root, orientation, drawn):
    if drawn == "upright" and orientation == 3:
        pytest.skip("no size shows it")
    times = {3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in root.glob("leftImg8bit/*/*/*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        Image.fromarray(np.rot90(pixels, times)).save(path, exif=exif)
    for path in root.glob("gtFine/*/*/*.png"):
        with Image.open(path) as image:
            ids = np.asarray(image)
        write_png(path, np.rot90(ids, times) if drawn == "stored" else ids)

    def matches(batch):  # the red of each pixel is its id
        ids = batch["image"][:, 0].numpy()
        assert np.array_equal(to_train_ids(ids.reshape(-1, ids.shape[-1])).reshape(ids.shape), batch["label"].numpy())

    data = ready(root, "fit", crop_size=16, scale=(1, 1), color_jitter=0, blur=None)
    for batch in (*data.train_dataloader(), *data.val_dataloader()):
        matches(batch)
    assert {tuple(batch["image"].shape[2:]) for batch in data.val_dataloader()} == {(24, 48)}
    one = next(iter(root.glob("leftImg8bit/val/*/*.png")))
    (predicted,) = ready(root, "predict", predict_images=one).predict_dataloader()
    assert predicted["image"].shape[2:] == (24, 48)


def test_train_ids_without_an_ignored_pixel(root):
    for path in root.glob("gtFine/*/*/*.png"):
        write_png(path, (np.arange(24 * 48).reshape(24, 48) % 19).astype(np.uint8))
    with pytest.raises(ValueError, match=r"_labelIds.png and 1 others: these look like trainIds"):
        ready(root, "validate")


def test_labels_without_any_class(root):
    for path in root.glob("gtFine/*/*/*.png"):
        write_png(path, (np.arange(24 * 48).reshape(24, 48) % 3).astype(np.uint8))
    with pytest.raises(ValueError, match="no pixels of the 19 evaluated classes; the only values are 0, 1, 2"):
        ready(root, "validate")


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("kind", "pixels"), [("8-bit RGB", "colors"), ("16-bit gray", "instances")])
def test_colors_or_instances_in_place_of_ids(root, part, number, kind, pixels):
    image, ids = scene(0)
    path = spoil(root, part, number, image if pixels == "colors" else ids.astype(np.uint16) * 1000)
    each_way(root, part, f"{path}: expected 8-bit gray pixels, one id each, but the file has {kind} pixels")


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("number", [0, 1])
def test_sizes_differ(root, part, number):
    path = spoil(root, part, number, scene(0, (24, 40))[1])
    each_way(root, part, rf"_leftImg8bit.png has 48x24 pixels \(width x height\), but its label {path} has 40x24")


@pytest.mark.parametrize("part", ["train", "val"])
def test_truncated_label(root, part):
    path = paths(root, part, CITIES_HERE[part][0], 1)[1]
    path.write_bytes(path.read_bytes()[:-20])
    each_way(root, part, f"{path}: truncated", BrokenImageError)


@pytest.mark.parametrize("part", ["train", "val"])
def test_truncated_image(root, part):
    path = paths(root, part, CITIES_HERE[part][0], 1)[0]
    path.write_bytes(path.read_bytes()[:-20])
    data = ready(root)
    with pytest.raises(BrokenImageError, match=f"{path}: truncated"):
        read_often(data.train_dataloader() if part == "train" else data.val_dataloader())


@pytest.mark.faults
def test_a_broken_image_costs_no_other_prediction(root):
    pictures = sorted((root / "leftImg8bit/train/aachen").iterdir())
    pictures[0].write_bytes(b"no")
    data = ready(root, "predict", predict_images=pictures[0].parent)
    assert [batch["path"] for batch in data.predict_dataloader()] == [[str(path)] for path in pictures[1:]]
    with pytest.raises(ValueError, match=rf"1 files could not be read; all others are done:\n  {pictures[0]}: not"):
        data.teardown("predict")


def test_hidden_files_are_no_images(root):
    for path in paths(root, "train", "aachen", 0):
        (path.parent / f"._{path.name}").write_bytes(b"resource fork")
    assert len(ready(root).train_dataloader().sampler.plan) == 10


@pytest.mark.parametrize("loader", ["train", "val", "predict"])
def test_loader_before_setup(loader):
    with pytest.raises(RuntimeError, match="call setup"):
        getattr(make("nowhere"), f"{loader}_dataloader")()


def test_predict_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"--data\.predict_images FOLDER"):
        ready(tmp_path, "predict")
    with pytest.raises(FileNotFoundError, match="no such folder or image"):
        ready(tmp_path, "predict", predict_images=tmp_path / "nothing")


TWO_PROCESSES = """
import json, sys
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from pcpad.datamodules import CityscapesDataModule

class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.seen, self.evaluated = torch.nn.Linear(1, 1), [], []
    def training_step(self, batch, index):
        self.seen.append([int(image.long().sum()) for image in batch["image"]])
        return self.layer(torch.ones(1, 1)).sum()
    def validation_step(self, batch, index):
        self.evaluated.append(int(batch["image"].long().sum()))
    def on_train_end(self):
        with open(f"{sys.argv[2]}/{self.trainer.world_size}_{self.global_rank}.json", "w") as file:
            json.dump([self.seen, self.evaluated], file)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

for processes, strategy in ((1, "auto"), (2, "ddp_fork")):
    seed_everything(3, workers=True)
    data = CityscapesDataModule(sys.argv[1], batch_size=4 // processes, num_workers=1, crop_size=16, tile_size=24)
    Trainer(max_epochs=2, accelerator="cpu", devices=processes, strategy=strategy, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, num_sanity_val_steps=0).fit(Recorder(), data)
"""


@pytest.mark.slow
def test_two_real_processes_train_on_what_one_does(root, tmp_path):
    subprocess.run([sys.executable, "-c", TWO_PROCESSES, root, tmp_path], check=True, capture_output=True, timeout=300)
    alone, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1_0", "2_0", "2_1"))
    assert len(alone[0]) == 4
    for step, (a, b) in zip(alone[0], zip(first[0], second[0], strict=True), strict=True):
        assert sorted(step) == sorted(a + b)
    assert sorted(alone[1]) == sorted(first[1] + second[1])


@pytest.mark.faults
def test_other_names_and_cases_are_read_or_named(root):
    image, label = paths(root, "train", "aachen", 0)
    for path in (image, label):
        path.rename(path.with_suffix(".PNG"))
    before = len(ready(root)._train)
    other, its_label = paths(root, "train", "aachen", 1)
    Image.open(other).save(other.with_suffix(".jpg"))
    other.unlink()
    its_label.rename(its_label.with_name(its_label.name.replace("labelIds", "labels")))
    (its_label.parent / "x.png").write_bytes(other.with_suffix(".jpg").read_bytes())
    with pytest.warns(UserWarning, match=r"(?s)2 files below .* are ignored:.*/x\.png: .*aachen_.*leftImg8bit\.jpg: "):
        data = ready(root)
    assert len(data._train) == before - 1


@pytest.mark.faults
@pytest.mark.parametrize("gone", [0, 1])
def test_the_broken_coarse_image_may_be_removed_as_its_authors_say(root, gone):
    city = CITIES_HERE["train_extra"][0]
    for number, path in enumerate(paths(root, "train_extra", city, 1)):
        folder = path.parents[1] / "troisdorf"
        folder.mkdir(exist_ok=True)
        ending = "_" + path.name.split("_", 3)[3]
        if number != gone:
            (folder / f"troisdorf_000000_000073{ending}").write_bytes(path.read_bytes())
        (folder / f"troisdorf_000000_000074{ending}").write_bytes(path.read_bytes())
    with pytest.warns(
        UserWarning,
        match=r"the (image|label) of troisdorf/troisdorf_000000_000073 is missing, and its other file is ignored",
    ) as said:
        data = ready(root, coarse=True)
    assert sum("troisdorf" in str(warning.message) for warning in said) == 1
    extra = [pair.image for pair in data.train_dataloader().dataset.pairs if "troisdorf" in pair.image]
    assert [name.rpartition("/")[2] for name in extra] == ["troisdorf_000000_000074_leftImg8bit.png"]
