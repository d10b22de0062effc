"""Checkpoints, small data sets, and what the tests of all figures do with them."""

from itertools import product

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from pcpad import cli
from pcpad.tasks import ClassificationTask, SegmentationTask


@pytest.fixture(scope="session")
def save_checkpoint():
    def save(task, path, padding):
        task.trained_with = padding
        trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
        trainer.strategy.connect(task)
        trainer.save_checkpoint(path)
        return str(path)

    return save


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Two images of 64 x 128 pixels for training and two for testing, in Cityscapes' format."""
    root, draw = tmp_path_factory.mktemp("streets"), np.random.default_rng(0)
    for part, city, number in product(("train", "val"), ("aachen", "munster"), range(2)):
        if (part == "val") == (city == "munster"):
            stem = f"{part}/{city}/{city}_{number:06d}_000019"
            ids = draw.choice(np.array([7, 8, 11, 23, 26], np.uint8), (8, 16)).repeat(8, 0).repeat(8, 1)
            image = draw.integers(0, 256, (64, 128, 3), dtype=np.uint8) // 2 + 3 * ids[..., None]
            for path, array in ((f"leftImg8bit/{stem}_leftImg8bit", image), (f"gtFine/{stem}_gtFine_labelIds", ids)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / f"{path}.png")
    return root


@pytest.fixture(scope="module")
def segmentations(tmp_path_factory, save_checkpoint):
    """One network under two paddings: its predictions differ at borders alone."""
    folder, found = tmp_path_factory.mktemp("segmentations"), []
    for padding in ("zeros", "partial"):
        torch.manual_seed(0)
        task = SegmentationTask(encoder="resnet18", padding=padding)
        found.append(save_checkpoint(task, folder / f"{padding}.ckpt", padding))
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six images of three classes."""
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for index in range(6):
        path = root / "val" / "abc"[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture
def opinionated(save_checkpoint):
    """Makes a checkpoint."""

    def make(path, padding, label, seed=0):
        """A classifier that sees one class in everything."""
        torch.manual_seed(seed)
        task = ClassificationTask("timm/test_resnet", num_classes=3, padding=padding)
        with torch.no_grad():
            task.network.fc.bias[label] += 100
        return save_checkpoint(task, path, padding)

    return make


@pytest.fixture
def data():
    """Options that name a folder of images as the data."""

    def options_of(root):
        options = {"root": root, "num_workers": 0, "image_size": 64, "resize": 64, "batch_size": 4}
        return ["--data", "ImageNetDataModule", *(f"--data.{name}={value}" for name, value in options.items())]

    return options_of


@pytest.fixture
def scenes():
    """Options that name a folder in Cityscapes' format as the data."""

    def options_of(root):
        return ["--data", "CityscapesDataModule", f"--data.root={root}", "--data.num_workers=0"]

    return options_of


@pytest.fixture
def failing(capsys):
    """Runs a figure that fails, and returns its message."""

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            cli.main(["figure", *map(str, args)])
        assert caught.value.code not in (0, None)
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message

    return run


@pytest.fixture
def dots_per_inch():
    """Of a picture file."""

    def read(path):
        with Image.open(path) as picture:
            return round(picture.info["dpi"][0])

    return read
