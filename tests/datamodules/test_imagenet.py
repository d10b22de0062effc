"""The ImageNet data module: layout, batches, seeding, and what each kind of bad data leads to."""

import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from pcpad.datamodules import ImageNetDataModule
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.reading.images import BrokenImageError

pytestmark = [
    # Said by torchvision 0.29 for each image; images.py silences it, but pytest resets the filters before each test.
    pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
SPLITS = {"train": 6, "val": 3, "test": 2}
CLASSES = ["n01440764", "n01443537", "n15075141"]


def write_picture(path, seed, size=(48, 36)):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, "JPEG", quality=95)


def write_data(root, splits=SPLITS, classes=CLASSES):
    for number, (split, count) in enumerate(splits.items()):
        for label, name in enumerate(classes):
            for index in range(count):
                write_picture(root / split / name / f"{name}_{index}.JPEG", [number, label, index])
    return root


@pytest.fixture
def root(tmp_path):
    return write_data(tmp_path / "imagenet")


def make(root, **options):
    defaults = {"batch_size": 4, "num_workers": 0, "image_size": 16, "resize": 20}
    return ImageNetDataModule(root, **(defaults | options))


def ready(root, stage="fit", **options):
    data = make(root, **options)
    data.setup(stage)
    return data


def labels_of(loader):
    return torch.cat([batch["label"] for batch in loader]).tolist()


def test_training_batches(root):
    data = ready(root, batch_size=4)
    assert (data.num_classes, data.class_names) == (3, CLASSES)
    batches = list(data.train_dataloader())
    assert [len(batch["label"]) for batch in batches] == [4] * 4  # the last 2 of 18 are left out
    for batch in batches:
        assert batch.keys() == {"image", "label"}
        assert batch["image"].shape == (4, 3, 16, 16)
        assert batch["image"].dtype == torch.uint8
        assert batch["image"].is_contiguous()
        assert batch["label"].dtype == torch.int64


def test_training_set_smaller_than_a_batch_is_used(root):
    assert labels_of(ready(root, batch_size=19).train_dataloader()).count(0) == 6
    assert len(labels_of(ready(root, batch_size=18).train_dataloader())) == 18


def test_labels_are_torchvisions_and_evaluation_is_the_official_one(root):
    official = v2.Compose([v2.Resize(20), v2.CenterCrop(16), v2.PILToTensor()])
    reference = ImageFolder(root / "val", official)
    data = ready(root, "validate")
    images = torch.cat([batch["image"] for batch in data.val_dataloader()])
    assert labels_of(data.val_dataloader()) == reference.targets
    assert data.class_names == reference.classes
    for image, (expected, _) in zip(images, reference, strict=True):
        # PIL's and torch's antialiased resizing round differently by one level at most.
        assert (image.int() - expected.int()).abs().max() <= 1


def test_test_folder_is_used_where_there_is_one(root):
    data = ready(root, "test")
    assert labels_of(data.test_dataloader()) == [0, 0, 1, 1, 2, 2]


def test_without_test_folder_val_is_tested(tmp_path):
    data = ready(write_data(tmp_path, {"val": 3}), "test")
    assert len(labels_of(data.test_dataloader())) == 9


def test_unlabeled_test_folder_is_passed_over_with_a_warning(tmp_path):
    write_data(tmp_path, {"val": 1})
    write_picture(tmp_path / "test" / "ILSVRC2012_test_00000001.JPEG", 0)
    with pytest.warns(UserWarning, match=r"test has no class folders, so no labels: val/ is used for testing"):
        data = ready(tmp_path, "test")
    assert len(labels_of(data.test_dataloader())) == 3


def test_only_test_is_enough_to_test(tmp_path):
    data = ready(write_data(tmp_path, {"test": 1}), "test")
    assert labels_of(data.test_dataloader()) == [0, 1, 2]


def test_only_val_is_enough_to_validate_but_not_to_train(tmp_path):
    write_data(tmp_path, {"val": 2})
    assert ready(tmp_path, "validate").class_names == CLASSES
    with pytest.raises(FileNotFoundError, match=rf"No such folder: {tmp_path / 'train'}"):
        ready(tmp_path, "fit")


def test_train_without_val_is_refused_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"No such folder: {tmp_path / 'val'}"):
        ready(write_data(tmp_path, {"train": 1}), "fit")


def test_subset_of_classes_in_val_keeps_the_training_labels(tmp_path):
    write_data(tmp_path, {"train": 1})
    write_data(tmp_path, {"val": 2}, CLASSES[2:])
    data = ready(tmp_path, "validate")
    assert data.num_classes == 3
    assert labels_of(data.val_dataloader()) == [2, 2]


def test_class_that_training_lacks_is_named(root):
    write_picture(root / "val" / "n99999999" / "a.JPEG", 0)
    with pytest.raises(
        ValueError, match=r"val has 1 class folders that are not among the 3 training classes .*: n99999999\."
    ):
        ready(root, "fit")


def test_empty_class_folder_is_named(root):
    (root / "train" / "n00000001").mkdir()
    with pytest.raises(ValueError, match=r"no images \(\.jpg, .*\) in 1 of 4 class folders: n00000001"):
        ready(root, "fit")


def test_many_names_are_cut_short(root):
    for number in range(20):
        (root / "train" / f"empty{number:02d}").mkdir()
    with pytest.raises(ValueError, match=r"in 20 of 23 class folders: empty00, .*empty04, … \(20 in all\)"):
        ready(root, "fit")


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("exists", [False, True])
def test_missing_data_gives_the_one_error(tmp_path, monkeypatch, stage, exists):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / ("train" if stage == "fit" else "val")
    if exists:
        write_picture(folder / "ILSVRC2012_val_00000001.JPEG", 0)  # unpacked, but not sorted into class folders
    with pytest.raises(FileNotFoundError) as caught:
        ready("data", stage)
    text = str(caught.value)
    assert text.startswith(f"{'No class folders in' if exists else 'No such folder'}: {folder}\n")
    assert "data/train/<class>/*.JPEG" in text
    assert "https://image-net.org" in text
    assert "needs an account" in text
    assert "pcpad sample digits DIR" in text


def test_loaders_before_setup_say_so(root):
    data = make(root)
    for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader, data.predict_dataloader):
        with pytest.raises(RuntimeError, match=r"call setup\("):
            loader()


def test_datasets_can_be_pickled_for_spawned_workers(root):
    data = ready(root)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        copy = pickle.loads(pickle.dumps(loader.dataset))
        assert copy[0]["image"].shape == (3, 16, 16)


# -- Predicting


def test_predicting_a_folder_needs_no_data_set(tmp_path):
    for number, name in enumerate(("b.jpg", "a/c.png", "a/b.jpg")):
        write_picture(tmp_path / name, number)
    data = ready(tmp_path / "absent", "predict", predict_images=tmp_path, batch_size=2)
    batches = list(data.predict_dataloader())
    assert [batch["path"] for batch in batches] == [
        [str(tmp_path / "a/b.jpg"), str(tmp_path / "a/c.png")],
        [str(tmp_path / "b.jpg")],
    ]
    assert batches[0]["image"].shape == (2, 3, 16, 16)
    assert data.num_classes == 0


def test_predicting_one_image_knows_the_classes_where_the_data_is(root):
    picture = root / "val" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"
    data = ready(root, "predict", predict_images=picture)
    assert [batch["path"] for batch in data.predict_dataloader()] == [[str(picture)]]
    assert data.class_names == CLASSES


def turn(path, orientation):
    """Store a photograph on its side, and say so."""
    back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image = image.transpose(back[orientation]) if back[orientation] is not None else image.copy()
    image.save(path, "JPEG", quality=95, exif=exif)
    return path


@pytest.mark.faults
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_photographs_are_upright_unless_the_published_numbers_ask_for_stored_pixels(root, orientation):
    picture = root / "val" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG"

    def predicted(**options):
        (batch,) = ready(root, "predict", predict_images=picture, **options).predict_dataloader()
        return batch["image"][0]

    upright = predicted()
    turn(picture, orientation)

    def near(image):
        return (image.int() - upright.int()).abs().float().mean() < 3

    assert near(predicted())
    assert near(predicted(upright=False))
    for asked in (True, False):
        (tested, *_), *_ = (batch["image"] for batch in ready(root, "validate", upright=asked).val_dataloader())
        assert near(tested) == asked


def test_predicting_without_images(root, tmp_path):
    with pytest.raises(ValueError, match=r"--data\.predict_images FOLDER"):
        ready(root, "predict")
    with pytest.raises(FileNotFoundError, match=f"no such folder or image: {tmp_path / 'nowhere'}"):
        ready(root, "predict", predict_images=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"no images \(.*\) below {tmp_path / 'empty'}"):
        ready(root, "predict", predict_images=tmp_path / "empty")


# -- Broken images


@pytest.mark.faults
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_costs_no_other_prediction(root, workers):
    pictures = sorted((root / "val" / CLASSES[0]).iterdir())
    cut(pictures[1])
    data = ready(root, "predict", predict_images=pictures[0].parent, batch_size=1, num_workers=workers)
    assert [batch["path"] for batch in data.predict_dataloader()] == [[str(pictures[0])], [str(pictures[2])]]
    with pytest.raises(ValueError, match=rf"1 files could not be read; all others are done:\n  {pictures[1]}: "):
        data.teardown("predict")


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])
    return path


def test_broken_training_images_are_stepped_over_with_one_warning_each(root):
    first = cut(root / "train" / CLASSES[0] / f"{CLASSES[0]}_1.JPEG")
    last = cut(root / "train" / CLASSES[2] / f"{CLASSES[2]}_5.JPEG")
    dataset = ready(root, max_broken=2, crop_scale=None, horizontal_flip=0).train_dataloader().dataset
    with pytest.warns(UserWarning, match=rf"\(1 of at most 2 in this process\): {first}"):
        taken = dataset[1]
    assert torch.equal(taken["image"], dataset[2]["image"])
    with pytest.warns(UserWarning, match=rf"\(2 of at most 2 in this process\): {last}"):
        taken = dataset[17]
    assert taken["label"] == 0  # the neighbor of the last is the first
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert [dataset[1]["label"], dataset[17]["label"]] == [0, 0]


def test_budget_of_broken_images_ends_with_all_their_names(root):
    broken = [cut(root / "train" / CLASSES[0] / f"{CLASSES[0]}_{index}.JPEG") for index in range(3)]
    dataset = ready(root, max_broken=2).train_dataloader().dataset
    with pytest.warns(UserWarning, match="training continues without"), pytest.raises(BrokenImageError) as caught:
        dataset[0]
    assert "3 training images cannot be read, more than max_broken=2" in str(caught.value)
    assert all(str(path) in str(caught.value) for path in broken)


def test_budget_of_zero_stops_at_the_first(root):
    cut(root / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG")
    with pytest.raises(BrokenImageError, match="1 training images cannot be read, more than max_broken=0"):
        ready(root, max_broken=0).train_dataloader().dataset[0]


def test_search_for_a_readable_neighbor_ends_where_there_is_none(tmp_path):
    write_data(tmp_path, {"train": 1, "val": 1})
    for path in (tmp_path / "train").rglob("*.JPEG"):
        cut(path)
    dataset = ready(tmp_path, max_broken=10).train_dataloader().dataset
    with (
        pytest.warns(UserWarning, match="training continues without"),
        pytest.raises(BrokenImageError, match=r"3 .* and there are no other images"),
    ):
        dataset[0]


@pytest.mark.slow
def test_broken_training_images_in_worker_processes(root):
    broken = cut(root / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG")
    assert len(labels_of(ready(root, num_workers=2, batch_size=9).train_dataloader())) == 18
    with pytest.raises(BrokenImageError, match=str(broken)):
        list(ready(root, num_workers=2, batch_size=9, max_broken=0).train_dataloader())


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_broken_image_stops_an_evaluation(root, stage):
    split = {"validate": "val", "test": "test"}[stage]
    broken = cut(root / split / CLASSES[1] / f"{CLASSES[1]}_1.JPEG")
    data = ready(root, stage, max_broken=10)
    loader = {"validate": data.val_dataloader, "test": data.test_dataloader}
    with pytest.raises(BrokenImageError, match=str(broken)):
        list(loader[stage]())


# -- Randomness


def epochs(root, seed, num_workers=0, count=2, **options):
    """The pictures of epochs 0, 1, …, in the order of training."""
    seed_everything(seed)
    loader = ready(root, num_workers=num_workers, **options).train_dataloader()
    return [torch.cat([batch["image"] for batch in loader]) for _ in range(count)]


def test_an_epoch_depends_on_seed_and_number_not_on_workers_or_torchs_generator(root, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    first, second = epochs(root, 7)
    torch.rand(5)
    for workers in (0, 2):
        for one, other in zip(epochs(root, 7, workers), (first, second), strict=True):
            assert torch.equal(one, other)
    for changed in (second, epochs(root, 8, count=1)[0]):
        # In random order: no picture is cut and mirrored as any of the first epoch was.
        assert not any(torch.equal(one, other) for one in first for other in changed)


def test_reading_leaves_torchs_generator_where_it_was(root):
    dataset = ready(root).train_dataloader().dataset
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    once, again, other = (dataset[Crop(0, None, seed)]["image"] for seed in (2**62, 2**62, 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_where_it_was_broken_off(root, workers):
    loader = ready(root, num_workers=workers).train_dataloader()
    loader.sampler.set_epoch(3)
    whole = []
    for number, batch in enumerate(loader):
        whole.append(batch["image"])
        if number == 1:
            state = loader.state_dict()
    resumed = ready(root, num_workers=workers).train_dataloader()
    resumed.load_state_dict(state)
    rest = [batch["image"] for batch in resumed]
    assert torch.equal(torch.cat(rest), torch.cat(whole[2:]))


def test_workers_draw_differently(tmp_path, monkeypatch):
    # The same picture throughout: equal crops in two workers' batches would be equal images.
    for index in range(6):
        write_picture(tmp_path / "train" / "a" / f"{index}.JPEG", 0)
    write_picture(tmp_path / "val" / "a" / "0.JPEG", 0)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    seed_everything(3, workers=True)
    loader = ready(tmp_path, num_workers=2, batch_size=3).train_dataloader()
    one, two = (batch["image"] for batch in loader)
    assert not torch.equal(one, two)
    assert len({image.numpy().tobytes() for image in torch.cat([one, two])}) == 6


class Recorder(LightningModule):
    """Records what Lightning hands to the training step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []
        self.validated = 0

    def training_step(self, batch, batch_idx):
        self.seen.append((batch["image"].clone(), batch["label"].clone()))
        return self.weight * 0

    def validation_step(self, batch, batch_idx):
        self.validated += len(batch["label"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(root, seed, **options):
    seed_everything(seed, workers=True)
    model = Recorder()
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(model, datamodule=make(root, **options))
    return model


@pytest.mark.slow
def test_a_seeded_run_of_two_workers_and_two_epochs_is_repeatable(root, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    one, two, other = (fit(root, seed, num_workers=2, batch_size=6) for seed in (5, 5, 6))
    assert len(one.seen) == 6
    assert one.validated == 18
    for (image, label), (image_again, label_again) in zip(one.seen, two.seen, strict=True):
        assert torch.equal(image, image_again)
        assert torch.equal(label, label_again)
    epochs = [torch.cat([image for image, _ in one.seen[start : start + 3]]) for start in (0, 3)]
    assert not torch.equal(*epochs)
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(one.seen, other.seen, strict=True))


# -- Transforms and options


def test_small_images_are_neither_cropped_nor_mirrored(tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    for split in ("train", "val"):
        (tmp_path / split / "3").mkdir(parents=True)
        Image.fromarray(gray).save(tmp_path / split / "3" / "3_0001.png")
    data = ready(tmp_path, image_size=16, resize=16, crop_scale=None, horizontal_flip=0.0)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        image = next(iter(loader))["image"]
        assert torch.equal(image, torch.from_numpy(gray).expand(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "`batch_size` to be at least 1, but got 0"),
        ({"num_workers": -1}, "`num_workers` to be at least 0"),
        ({"image_size": 0}, "`image_size` to be at least 1"),
        ({"resize": 15}, "`resize` to be at least image_size=16, but got 15"),
        ({"crop_scale": (0, 1)}, "`crop_scale` to be 0 < smallest"),
        ({"crop_scale": (0.5, 1.5)}, "`crop_scale`"),
        ({"crop_ratio": (2, 1)}, "`crop_ratio`"),
        ({"horizontal_flip": 1.5}, r"`horizontal_flip` to be in \[0, 1\]"),
        ({"max_broken": -1}, "`max_broken`"),
        ({"effective_batch": 0}, "`effective_batch`"),
    ],
)
def test_values_out_of_range(root, options, text):
    with pytest.raises(ValueError, match=text):
        make(root, **options)


@pytest.mark.parametrize(("batch_size", "warns"), [(32, False), (16, True)])
def test_effective_batch_counts_devices_and_accumulation(root, batch_size, warns):
    data = make(root, batch_size=batch_size, effective_batch=256)
    data.trainer = SimpleNamespace(world_size=4, accumulate_grad_batches=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data.setup("fit")
    said = [str(warning.message) for warning in caught if "the recipe assumes" in str(warning.message)]
    assert bool(said) == warns
    if warns:
        assert said[0].startswith(
            "the recipe assumes 256 images per step, this run takes 128 (batch_size 16 x 4 devices"
        )


def test_several_processes_share_an_evaluation_and_drop_by_their_own_share(root):
    seen, trained = [], []
    for rank in range(2):
        data = ready(root, batch_size=8)
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank)
        loader = data.train_dataloader()
        assert loader.drop_last  # 9 images each
        trained += [crop.file for crop in loader.sampler]
        seen += labels_of(data.val_dataloader())
    assert sorted(trained) == list(range(18))
    assert sorted(seen) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


# -- Files passed over


@pytest.mark.faults
def test_what_lies_beside_the_pictures_to_predict_is_named_in_the_end(root):
    folder = root / "val" / CLASSES[0]
    pictures = sorted(folder.iterdir())
    pictures[1].rename(folder / "without_an_ending")
    (folder / "IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (folder / "film.mov").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    (folder / "list.txt").write_text("well known")
    data = ready(root, "predict", predict_images=folder, batch_size=1)
    names = [Path(path).name for batch in data.predict_dataloader() for path in batch["path"]]
    assert names == [pictures[0].name, pictures[2].name, "without_an_ending"]
    with pytest.raises(ValueError, match=r"2 files could not be read; all others are done:(.|\n)*HEIC(.|\n)*film\.mov"):
        data.teardown("predict")


@pytest.mark.faults
def test_what_training_leaves_out_is_said(root):
    folder = root / "train"
    picture = next((folder / CLASSES[1]).iterdir())
    picture.rename(folder / CLASSES[1] / "x.jfif")
    (folder / CLASSES[0] / "more.zip").write_bytes(b"PK\3\4")
    write_picture(folder / "outside.png", 3)
    before = sum(len(list((folder / name).glob("*"))) for name in CLASSES) - 1
    expected = r"(?s)2 files below .*/train are not images of a class .*more\.zip: a ZIP archive\n  outside\.png: an"
    with pytest.warns(UserWarning, match=expected):
        data = ready(root)
    assert len(data._split("train").files) == before


# Tables


def test_a_table_in_place_of_class_folders(tmp_path):
    for number in range(6):
        write_picture(tmp_path / "one" / f"{number}.jpg", [number])
    write_picture(tmp_path / "two" / "6.jpg", [6])
    rows = ["file;species;fold", *(f"{number}.jpg;{'ab'[number % 2]};train" for number in range(5))]
    (tmp_path / "t.csv").write_text("\n".join([*rows, "5.jpg;a;val", f"{tmp_path}/two/6.jpg;b;val"]))
    columns = {"image": "file", "label": "species", "split": "fold"}
    options = {"annotations": str(tmp_path / "t.csv"), "columns": columns, "roots": [str(tmp_path / "two")]}
    data = ready(tmp_path / "one", **options)
    assert (data.class_names, data.num_classes) == (["a", "b"], 2)
    assert sorted(labels_of(data.train_dataloader())) in ([0, 0, 0, 1], [0, 0, 1, 1])
    assert labels_of(data.val_dataloader()) == [0, 1]
    data.setup("test")
    assert labels_of(data.test_dataloader()) == [0, 1]


def test_a_table_without_splits_is_split_by_share(tmp_path):
    for number in range(8):
        write_picture(tmp_path / f"{number}.jpg", [number])
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{number}.jpg,{number % 2 * 9}\n" for number in range(8)))
    data = ready(tmp_path, annotations="t.csv", val_share=0.25)
    assert data.class_names == ["0", "9"]
    assert len(labels_of(data.val_dataloader())) == 2


def test_gray_images_stay_gray(tmp_path):
    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.full((30, 40), 30_000, np.uint16)).save(tmp_path / split / name / "1.png")
    batch = next(iter(ready(tmp_path, channels=1, batch_size=2).train_dataloader()))
    assert batch["image"].shape == (2, 1, 16, 16)
    assert torch.allclose(batch["image"], torch.tensor(30_000 / 65_535))


@pytest.mark.faults
def test_tables_that_do_not_fit(tmp_path):
    write_picture(tmp_path / "1.jpg", [1])
    write_picture(tmp_path / "2.jpg", [2])
    for rows, said in (
        ("path,label,split\n1.jpg,a,train\n2.jpg,b,val\n", r"has 1 classes without training images: b"),
        ("path,label,split\n1.jpg,a,train\n1.jpg,a,val\n", "line 3: 1.jpg was already named in line 2"),
        ("path,size\n1.jpg,a\n", "no column for the label"),
    ):
        (tmp_path / "t.csv").write_text(rows)
        with pytest.raises(ValueError, match=said):
            ready(tmp_path, annotations="t.csv")
    with pytest.raises(ValueError, match=r"given if `columns` or `roots` is"):
        make(tmp_path, columns={"image": "x"})


@pytest.mark.faults
@pytest.mark.parametrize("names", [("training", "validation"), ("Train", "Valid"), ("train", "dev")])
def test_splits_go_by_any_usual_name(tmp_path, names):
    data = ready(write_data(tmp_path, {names[0]: 4, names[1]: 2}))
    assert (len(data._split("train").files), len(data._split("val").files)) == (12, 6)
    assert data.class_names == CLASSES


@pytest.mark.faults
def test_class_folders_without_splits_are_divided(tmp_path):
    for label, name in enumerate(("Löwenzahn", "red rose")):
        for index in range(10):
            write_picture(tmp_path / name / f"{index}.jpg", [label, index])
    data = ready(tmp_path)
    train, val = data._split("train"), data._split("val")
    assert (len(train.files), len(val.files)) == (16, 4)
    assert np.bincount(val.labels).tolist() == [2, 2], "of each class its share"
    assert not set(train.files.names) & set(val.files.names)
    again = ready(tmp_path, stage="test")
    assert list(again._split("val").files.names) == list(val.files.names), "the same for every verb"
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"No such folder: .*train"):
        ready(tmp_path)


@pytest.mark.faults
def test_tables_of_ids_find_their_files(tmp_path):
    for index in range(10):
        write_picture(tmp_path / "train_images" / f"Bild {index}.jpg", [0, index])
    rows = "".join(f"Bild {index};{('Äpfel', 'Birnen')[index % 2]}\n" for index in range(10))
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbfid;class\n" + rows.encode())
    options = {"annotations": "train.csv"}
    with pytest.raises(FileNotFoundError) as caught:
        ready(tmp_path, **options)
    folder = tmp_path / "train_images"
    assert f"Bild 0 is in {folder}: pass --data.roots '[{folder}]'" in str(caught.value)
    assert f"below {tmp_path}:" in str(caught.value), "each folder once"
    data = ready(tmp_path, **options, roots=[str(folder)])
    assert data.class_names == ["Birnen", "Äpfel"]
    assert len(data._split("train").files) + len(data._split("val").files) == 10
    (tmp_path / "latin.csv").write_bytes(("id;class\n" + rows).encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.csv: tables must be UTF-8 text.*iconv -f WINDOWS-1252"):
        ready(tmp_path, annotations="latin.csv", roots=[str(folder)])
