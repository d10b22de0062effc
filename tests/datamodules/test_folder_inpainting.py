"""Pictures with masks of their own: cut, resized and mirrored together."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.datamodules import FolderInpaintingDataModule
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.errors import UserValueError


@pytest.fixture
def root(tmp_path):
    """Pictures that are black where they are holes."""
    draw = np.random.default_rng(0)
    for number in range(5):
        holes = np.zeros((40, 52), bool)
        top, left = draw.integers(8, 20, 2)
        holes[top : top + 12, left : left + 16] = True
        image = np.where(holes[..., None], 0, draw.integers(100, 255, (40, 52, 3))).astype(np.uint8)
        for folder, pixels in (("images", image), ("masks", holes.astype(np.uint8) * 255)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    return tmp_path


def ready(root, stage="fit", **options):
    data = FolderInpaintingDataModule(
        root, **{"mask_polarity": "white_hole", "image_size": 32, "batch_size": 2, "num_workers": 0, **options}
    )
    data.setup(stage)
    return data


def test_masks_go_with_their_pictures(root):
    data = ready(root, flip=1.0)
    crops = data.train_dataloader().dataset
    assert len(crops) == 4
    for seed in range(8):
        item = crops[Crop(seed % 4, None, seed)]
        assert (item["image"].shape, item["mask"].shape) == ((3, 32, 32), (1, 32, 32))
        assert item["image"].float().mean(0)[item["mask"][0] == 1].min() > 40, "nothing black is valid"
        assert (item["image"].float().mean(0)[item["mask"][0] == 0] < 40).float().mean() > 0.7
        assert torch.equal(item["image"], crops[Crop(seed % 4, None, seed)]["image"])
    batch = next(iter(data.val_dataloader()))
    assert batch["mask"].dtype == torch.uint8
    assert 0 < float(batch["mask"].float().mean()) < 1


def test_predicting_is_that_of_places2(root):
    data = ready(root, "predict", predict_images=root / "images", predict_masks=root / "masks")
    assert len(list(data.predict_dataloader())) == 5


@pytest.mark.faults
def test_what_does_not_fit_is_refused(root):
    with pytest.raises(UserValueError, match="What does white mean in the masks"):
        ready(root, mask_polarity=None)
    for path in (root / "masks").glob("*.png"):
        Image.new("L", (52, 40), 255).save(path)
    with pytest.raises(UserValueError, match=r"all of it is a hole with --data.mask_polarity white_hole"):
        ready(root)
    for path in (root / "masks").glob("*.png"):
        Image.new("L", (20, 20)).save(path)
    with pytest.raises(UserValueError, match=r"has 52x40 pixels .* has 20x20: resize the mask"):
        ready(root)
    (root / "masks" / "0.png").unlink()
    with pytest.raises(UserValueError, match=r"1 of 5 images .* have no mask"):
        ready(root)
