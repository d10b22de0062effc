"""Images and masks of one's own as batches, whatever their layout, and what stops a run before it starts."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.datamodules import FolderSegmentationDataModule
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.errors import UserValueError

CLASSES = {0: "ground", 1: "box"}
DRAW = np.random.default_rng(0)


def scene(size=(40, 56)):
    """A box on the ground: an image and its ids."""
    ids = np.zeros(size, np.uint8)
    top, left = DRAW.integers(4, 16, 2)
    ids[top : top + 16, left : left + 20] = 1
    image = np.where(ids[..., None] == 1, 200, 60) + DRAW.integers(0, 40, (*size, 3))
    return image.astype(np.uint8), ids


def write(root, splits=("train", "val"), count=3, paint=lambda ids: ids, folders=("images", "labels")):
    for split in splits:
        for number in range(count):
            image, ids = scene()
            for folder, pixels in zip(folders, (image, paint(ids)), strict=True):
                path = root / split / folder / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def ready(root, stage="fit", **options):
    settings = {"classes": CLASSES, "num_workers": 0, "batch_size": 2, "crop_size": 32, **options}
    data = FolderSegmentationDataModule(root, **settings)
    data.setup(stage)
    return data


def test_batches(tmp_path):
    data = ready(write(tmp_path))
    batch = next(iter(data.train_dataloader()))
    assert (batch["image"].shape, batch["image"].dtype) == ((2, 3, 32, 32), torch.uint8)
    assert (batch["label"].shape, batch["label"].dtype) == ((2, 32, 32), torch.int64)
    assert set(batch["label"].unique().tolist()) <= {0, 1, 255}
    whole = list(data.val_dataloader())
    assert len(whole) == 3
    assert whole[0]["image"].shape == (1, 3, 40, 56)
    # The box is where it is bright.
    assert torch.equal(whole[0]["label"] == 1, whole[0]["image"].float().mean(1) > 130)
    assert (data.num_classes, data.class_names, data.channels) == (2, ["ground", "box"], 3)


def test_crops_follow_from_the_seed(tmp_path):
    crops = ready(write(tmp_path), crops=4).train_dataloader().dataset
    assert len(crops) == 12
    first, again, other = crops[Crop(1, None, 7)], crops[Crop(4, None, 7)], crops[Crop(1, None, 8)]
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], other["image"])


def test_each_image_is_held_out_in_one_fold(tmp_path):
    root = write(tmp_path, count=4)
    held = []
    for fold in ("1/3", "2/3", "3/3"):
        data = ready(root, fold=fold)
        splits = {split: [pair.image for pair in data.pairs()[split]] for split in ("train", "val")}
        assert sorted(splits["train"] + splits["val"]) == sorted(
            f"{split}/images/{number}.png" for split in ("train", "val") for number in range(4)
        )
        scenes = data.val_dataloader().dataset
        assert [scenes.file_of(index) for index in range(len(scenes))] == [str(root / name) for name in splits["val"]]
        held += splits["val"]
    assert len(held) == len(set(held)) == 8


def test_crops_are_augmented_with_their_labels(tmp_path):
    root, upside_down = write(tmp_path), [{"class_path": "albumentations.VerticalFlip", "init_args": {"p": 1.0}}]
    plain, turned = (
        ready(root, augment=augment).train_dataloader().dataset[Crop(1, None, 7)] for augment in (None, upside_down)
    )
    assert torch.equal(turned["image"], plain["image"].flip(1))
    assert torch.equal(turned["label"], plain["label"].flip(0))


def test_colors_in_one_folder_by_a_table(tmp_path):
    """A second layout, made by hand: colors, one folder, CSV."""
    colors = np.array([(128, 64, 128), (0, 0, 142)], np.uint8)
    rows = ["bild;maske;teil"]
    for number in range(6):
        image, ids = scene()
        Image.fromarray(image).save(tmp_path / f"p{number}.jpg", quality=95)
        Image.fromarray(colors[ids]).save(tmp_path / f"p{number}_farben.png")
        rows.append(f"p{number}.jpg;p{number}_farben.png;{'training' if number < 4 else 'validation'}")
    (tmp_path / "liste.csv").write_text("\n".join(rows))
    data = ready(
        tmp_path,
        classes={"ground": "#804080", "box": [0, 0, 142]},
        annotations="liste.csv",
        columns={"image": "bild", "mask": "maske", "split": "teil"},
    )
    assert (len(data.train_dataloader().dataset), len(data.val_dataloader())) == (4, 2)
    assert data.class_colors == [(128, 64, 128), (0, 0, 142)]
    batch = next(iter(data.val_dataloader()))
    assert ((batch["label"] == 1) == (batch["image"].float().mean(1) > 130)).float().mean() > 0.98
    data.setup("test")
    assert len(data.test_dataloader()) == 2, "no test images: those of validation"


def test_images_on_their_side_turn_their_masks(tmp_path):
    root = write(tmp_path, count=1)
    for split in ("train", "val"):
        path = root / split / "images" / "0.png"
        image = Image.open(path)
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path.with_suffix(".jpg"), exif=exif, quality=95)
        path.unlink()
    batch = next(iter(ready(root, batch_size=1).val_dataloader()))
    assert batch["image"].shape[-2:] == batch["label"].shape[-2:] == (56, 40)
    assert ((batch["label"] == 1) == (batch["image"].float().mean(1) > 130)).float().mean() > 0.98


@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels_than_rgb(tmp_path, channels):
    tifffile = pytest.importorskip("tifffile")
    for split in ("train", "val"):
        for number in range(2):
            image, ids = scene()
            for folder in ("images", "masks"):
                (tmp_path / split / folder).mkdir(parents=True, exist_ok=True)
            bands = np.concatenate([image, image[..., :2]], axis=2)[..., :channels].astype(np.uint16) * 257
            bands = bands[..., 0] if channels == 1 else bands
            options = {"planarconfig": "contig"} if channels > 1 else {}
            tifffile.imwrite(tmp_path / split / "images" / f"{number}.tif", bands, photometric="minisblack", **options)
            Image.fromarray(ids).save(tmp_path / split / "masks" / f"{number}.png")
    data = ready(tmp_path, channels=channels, predict_images=tmp_path / "val" / "images")
    batch = next(iter(data.train_dataloader()))
    assert (batch["image"].shape, batch["image"].dtype) == ((2, channels, 32, 32), torch.float32)
    assert 0 <= float(batch["image"].min()) <= float(batch["image"].max()) <= 1
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert batches[0]["image"].shape == (1, channels, 40, 56)


@pytest.mark.faults
def test_a_run_stops_before_it_starts(tmp_path):
    with pytest.raises(UserValueError, match=r"Which classes are there\? The first masks .* hold 0, 1\."):
        ready(write(tmp_path / "a"), classes=None)
    root = write(write(tmp_path / "b", ("train",)), ("val",), paint=lambda ids: ids * 2)
    with pytest.raises(UserValueError, match=r"val/labels/\d.png: \d+ pixels hold ids .*: 2 \("):
        ready(root)
    root = write(tmp_path / "c")
    Image.fromarray(scene((20, 20))[1]).save(root / "train" / "labels" / "0.png")
    with pytest.raises(
        UserValueError, match=r"images/0.png has 56x40 pixels .*labels/0.png has 20x20: resize the mask"
    ):
        ready(root)
    with pytest.raises(UserValueError, match=r"has no images for val, but 3 for train: every split needs some"):
        ready(write(tmp_path / "d", ("train",)), val_share=0)
    with pytest.raises(UserValueError, match=r"predict needs images: --data.predict_images"):
        ready(root, "predict")
    for options, said in (
        ({"val_share": 1.0}, "`val_share`"),
        ({"channels": 0}, "`channels`"),
        ({"white": 0}, "`white`"),
        ({"annotations": "x.csv", "images": "a", "masks": "b"}, "`annotations`"),
        ({"columns": {"image": "x"}}, "`columns`"),
        ({"crops": 0}, "`crops`"),
    ):
        with pytest.raises(UserValueError, match=said):
            FolderSegmentationDataModule(root, classes=2, **options)


@pytest.mark.faults
def test_images_that_are_nearly_black_are_said(tmp_path):
    root = write(tmp_path)
    for path in root.glob("*/images/*.png"):
        Image.fromarray(np.asarray(Image.open(path))[..., 0].astype(np.uint16) * 4).save(path)
    with pytest.warns(
        UserWarning, match=r"nearly black: no value is above \d+, but 65535 counts as white. Pass --data.white"
    ):
        ready(root, channels=1)
    data = ready(root, channels=1, white=1020)
    assert next(iter(data.val_dataloader()))["image"].max() > 0.8


@pytest.mark.faults
def test_rare_classes_are_met_by_class_uniform_crops(tmp_path):
    for number in range(8):
        image, ids = np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96), np.uint8)
        if number == 3:
            ids[80:84, 8:12] = 1
        for split in ("train", "val"):
            for folder, pixels in (("images", image), ("labels", ids)):
                path = tmp_path / split / folder / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)

    def boxes(**options):
        data = ready(tmp_path, crop_size=16, scale=(1, 1), crops=4, batch_size=1, **options)
        return sum(bool((batch["label"] == 1).any()) for batch in data.train_dataloader())

    assert boxes() <= 3
    assert boxes(class_uniform=0.5, tile_size=32) >= 8, "half of 32 crops, shared by two classes"
    assert list(tmp_path.glob("pcpad_centroids_folder_32.npz")), "kept"
    # Another meaning of the same values is another index.
    assert boxes(class_uniform=0.5, tile_size=32, classes={0: "box", 1: "ground"}) >= 8
    # One index serves all folds.
    data = ready(tmp_path, crop_size=16, class_uniform=1.0, tile_size=32, fold="1/4")
    assert data._centroids.file.max() < len(data.pairs()["train"]) == 12


@pytest.mark.faults
@pytest.mark.parametrize("options", [{"class_uniform": 1.5}, {"class_uniform": -0.1}, {"tile_size": 0}])
def test_shares_of_crops_out_of_range(tmp_path, options):
    with pytest.raises(UserValueError, match=next(iter(options))):
        FolderSegmentationDataModule(tmp_path, **options)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [
        ("train_images", "train_masks", "_mask"),
        ("train", "train_masks", "_mask"),
        ("images", "masks", "-gt"),
        (".", ".", "_mask"),
    ],
)
def test_masks_whose_names_end_with_a_word(tmp_path, images, masks, ending):
    for number in range(6):
        image, ids = scene()
        for folder, pixels, name in ((images, image, f"ä {number}.jpg"), (masks, ids, f"ä {number}{ending}.png")):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        (tmp_path / images / f"._ä {number}.jpg").write_bytes(bytes(60))
    (tmp_path / images / "Thumbs.db").write_bytes(bytes(60))
    pairs = ready(tmp_path).pairs()
    assert sum(map(len, pairs.values())) == 6
    assert len(pairs["val"]) == 1 or len(pairs["val"]) == 2
    assert all(pair.label.endswith(f"{ending}.png") for found in pairs.values() for pair in found)


@pytest.mark.faults
def test_jpeg_masks_are_told_what_to_do(tmp_path):
    write(tmp_path, paint=lambda ids: ids * 255)
    for path in tmp_path.rglob("labels/*.png"):
        with Image.open(path) as mask:
            mask.save(path.with_suffix(".jpg"), quality=70)
        path.unlink()
    with pytest.raises(UserValueError, match=r"changes values where classes meet: .*--data.ignore others"):
        ready(tmp_path, classes={0: "ground", 255: "box"})
    ready(tmp_path, classes={0: "ground", 255: "box"}, ignore="others")
