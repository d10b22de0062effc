"""Transforms of people's choice: images and maps move together, draws follow the seed, mistakes are early."""

import pickle
import shutil

import pytest
import torch
from torch.utils.data import Dataset

from pcpad.datamodules import CityscapesDataModule, GaussianFilteringDataModule, ImageNetDataModule
from pcpad.datamodules.base import DataModule
from pcpad.datamodules.datasets.augmentations import Augmentations, AugmentedItems
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.filtered_crops import filter_inside, gaussian_kernel
from pcpad.trust import Trust

A, V = "albumentations.", "torchvision.transforms.v2."


def one(name, **arguments):
    return {"class_path": name, "init_args": arguments}


@pytest.fixture
def scene():
    """Blocks of 8 pixels, so that the label can be read off the image; every value is below 200."""
    label = (torch.arange(48)[:, None] // 8 * 8 + torch.arange(64) // 8) % 200
    return label.to(torch.uint8).expand(3, -1, -1).contiguous(), label


GEOMETRIC = [
    one(A + "HorizontalFlip", p=1.0),
    one(A + "Affine", rotate=[20, 20], translate_px=5, interpolation=0, p=1.0),
    one(A + "ElasticTransform", alpha=30, interpolation=0, p=1.0),
    one(A + "OneOf", transforms=[one(A + "VerticalFlip", p=1.0), one(A + "Transpose", p=0.0)], p=1.0),
    one(V + "RandomAffine", degrees=25, translate=[0.2, 0.2]),
    one(V + "RandomApply", transforms=[one(V + "RandomPerspective", p=1.0)], p=1.0),
    one(V + "RandomRotation", degrees=[30, 30], fill=77),
]


@pytest.mark.faults
@pytest.mark.parametrize("step", GEOMETRIC, ids=lambda step: step["class_path"])
def test_maps_move_with_their_image_and_are_unknown_where_nothing_was(step, scene):
    image, label = scene
    instance = 1000 * label[None] + 7
    moved, maps = Augmentations([step], 255)(image, {"label": label, "instance": instance}, 3)
    assert not torch.equal(moved, image)
    assert maps["label"].dtype == torch.int64
    assert maps["instance"].shape == (1, 48, 64)
    known = maps["label"] != 255
    exact = (moved[0].long() == maps["label"])[known].float().mean()
    assert exact > (0.8 if V in step["class_path"] else 0.99)  # torchvision interpolates images, not maps
    assert set(maps["label"].unique().tolist()) <= {*label.unique().tolist(), 255}
    assert (maps["instance"][0][known] == 1000 * maps["label"][known] + 7).all()
    outside = moved[0][~known]
    assert len(outside) == 0 or outside.float().mode().values in (0, 77)


@pytest.mark.faults
def test_what_is_drawn_follows_from_the_seed_alone(scene):
    steps = [one(A + "GaussNoise", p=1.0), one(A + "RandomBrightnessContrast", p=1.0), one(V + "ColorJitter", hue=0.5)]
    augment = Augmentations(steps)
    first = augment(scene[0], {}, 5)[0]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = pickle.loads(pickle.dumps(augment))(scene[0], {}, 5)[0]
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, augment(scene[0], {}, 6)[0])


class Items(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"image": torch.full((3, 16, 16), 100, dtype=torch.uint8), "label": index}


class Own(DataModule):
    def train_dataloader(self):
        return self.training_loader(Items())


@pytest.mark.faults
def test_workers_and_processes_draw_the_same_and_epochs_differ():
    def epoch(number, **options):
        data = Own(batch_size=2, augment=[one(A + "RandomBrightnessContrast", p=1.0)], **options)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        batches = list(loader)
        return {int(k): v for batch in batches for k, v in zip(batch["label"], batch["image"], strict=True)}

    here, there, later = epoch(0), epoch(0, num_workers=2), epoch(1)
    assert all(torch.equal(here[number], there[number]) for number in range(6))
    assert len({int(image[0, 0, 0]) for image in here.values()}) > 2
    assert not all(torch.equal(here[number], later[number]) for number in range(6))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([one(A + "HorizontalFlp")], "no transform albumentations.HorizontalFlp.*Did you mean HorizontalFlip"),
        ([one(A + "HorizontalFlip", chance=1)], "does not take .*'chance' are not valid"),
        ([one(V + "ColorJitter", bright=1)], "unexpected keyword argument 'bright'"),
        ([one("HorizontalFlip")], "write its module too, as albumentations.HorizontalFlip"),
        ([one("collections.OrderedDict")], "collections.OrderedDict is neither"),
        ([one(V + "MixUp", num_classes=3)], "MixUp is neither"),
        (["flip"], "but got 'flip'"),
        ([{"class_path": A + "HorizontalFlip", "p": 1}], "unknown key 'p'"),
        (one(A + "HorizontalFlip"), "to be a list of transforms"),
    ],
)
def test_mistakes_are_heard_of_when_the_data_module_is_made(items, words):
    with pytest.raises((ValueError, TypeError), match=words):
        ImageNetDataModule(augment=items)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("step", "words"),
    [
        (one(A + "Normalize"), r"returns \(3, 16, 16\) torch.float32 .* keep size and type"),
        (one(V + "RandomCrop", size=8), r"torchvision.RandomCrop returns \(3, 8, 8\)"),
        (one(A + "RandomCrop", height=99, width=99), "albumentations.RandomCrop fails on an image"),
    ],
)
def test_what_changes_the_form_is_heard_of_before_training(step, words):
    with pytest.raises(ValueError, match=words):
        Own(augment=[step]).train_dataloader()


@pytest.mark.faults
def test_a_checkpoint_s_words_import_nothing(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    trust = Trust("x.ckpt")
    for name in ("evil.Flip", A + "HorizontalFlip"):
        with trust.watch(), pytest.raises(ValueError, match=r"x\.ckpt asks for the class"):
            Own(augment=[one(name)])
    with Trust("x.ckpt", [A + "HorizontalFlip"]).watch():
        Own(augment=[one(A + "HorizontalFlip")])  # named by the user
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.faults
def test_streets_are_augmented_with_their_labels(cityscapes_sample, tmp_path):
    shutil.copytree(cityscapes_sample, tmp_path, dirs_exist_ok=True)
    options = {
        "batch_size": 2,
        "num_workers": 0,
        "crop_size": 32,
        "class_uniform": 0.0,
        "color_jitter": 0.0,
        "blur": None,
    }
    plain = CityscapesDataModule(tmp_path, **options)
    other = CityscapesDataModule(tmp_path, **options, augment=[one(V + "RandomVerticalFlip", p=1.0)])
    batches = []
    for data in (plain, other):
        data.setup("fit")
        batches.append(next(iter(data.train_dataloader())))
    for name in ("image", "label"):
        assert torch.equal(batches[1][name], batches[0][name].flip(-2))


@pytest.mark.faults
def test_a_filter_s_target_is_that_of_the_augmented_image(tmp_path):
    from PIL import Image

    picture = torch.randint(256, (40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture.numpy()).save(tmp_path / name / "a.png")
    data = GaussianFilteringDataModule(
        tmp_path, batch_size=1, num_workers=0, crop_size=16, augment=[one(V + "RandomInvert", p=1.0)]
    )
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    inside = filter_inside(batch["image"][0] / 255, gaussian_kernel(13, 2.0))
    torch.testing.assert_close(batch["target"][0][:, 6:-6, 6:-6], inside)


def test_items_without_maps():
    class Labeled(Items):
        def __getitem__(self, crop):
            return super().__getitem__(crop.file)

    items = AugmentedItems(Labeled(), Augmentations([one(V + "RandomInvert", p=1.0)]), ("label", "mask"))
    assert items[Crop(2, None, 5)]["label"] == 2
    assert int(items[Crop(2, None, 5)]["image"][0, 0, 0]) == 155
