"""Sheets of sample pictures: what is on them, when they are made, and that training goes on as if they were not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader

from pcpad.tasks import SegmentationTask
from pcpad.tasks.base import Task
from pcpad.tasks.callbacks import SampleImages
from pcpad.tasks.callbacks.sample_images import check_columns
from pcpad.tasks.evaluation.evaluators import Tile
from pcpad.tasks.pictures.segmentation import ERROR_COLORS, border_band, class_pictures, error_pictures
from pcpad.tasks.pictures.sheets import SheetRow, draw_sheet


class Numbers(LightningDataModule):
    """Images that are all of one gray: their number."""

    def __init__(self, count=6, batch_size=2):
        super().__init__()
        self.count, self.batch_size = count, batch_size

    def train_dataloader(self):
        items = [{"image": torch.full((3, 4, 6), n, dtype=torch.uint8), "number": n} for n in range(self.count)]
        return DataLoader(items, batch_size=self.batch_size)

    val_dataloader = test_dataloader = train_dataloader


class Silent(Task):
    """Batch norm and dropout: both show what an extra pass would disturb."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 1))

    def training_step(self, batch, batch_idx):
        return self.network(batch["image"] / 255).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/noise", torch.rand(()))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Showing(Silent):
    def __init__(self):
        super().__init__()
        self.seen, self.modes = [], []

    def sample_images(self, batch):
        self.seen.append(batch["number"].tolist())
        self.modes.append(any(part.training for part in self.modules()))
        np.random.rand()
        noise = torch.rand(len(batch["image"]), 3, 4, 6)
        return {"input": batch["image"], "output": self.network(batch["image"] / 255), "noise": noise}


def trainer(folder, *callbacks, logger=None, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "max_epochs": 3}
    loggers = CSVLogger(folder, name="", version="") if logger is None else logger
    return Trainer(**quiet | {"logger": loggers, "callbacks": [*callbacks], "enable_checkpointing": False} | options)


def sheets(folder):
    return sorted(path.name for path in (folder / "images").glob("*"))


def test_sheets_of_the_first_each_nth_and_the_last_epoch(tmp_path):
    trainer(tmp_path, SampleImages(every_n_epochs=3), max_epochs=5).fit(Showing(), Numbers())
    steps = {0: 3, 2: 9, 4: 15}
    assert sheets(tmp_path) == [f"val_epoch{epoch:04d}_step{step:07d}.png" for epoch, step in steps.items()]


def test_the_last_epoch_by_steps(tmp_path):
    trainer(tmp_path, SampleImages(every_n_epochs=100), max_epochs=-1, max_steps=6).fit(Showing(), Numbers())
    assert [name[:13] for name in sheets(tmp_path)] == ["val_epoch0000", "val_epoch0001"]


def test_samples_are_spread_and_the_same_each_time(tmp_path):
    task = Showing()
    trainer(tmp_path, SampleImages(every_n_epochs=1, count=2), max_epochs=2).fit(task, Numbers(8))
    assert task.seen == [[0], [4]] * 2
    few = Showing()
    trainer(tmp_path, SampleImages(count=8)).test(few, Numbers(6, batch_size=3), verbose=False)
    assert few.seen == [[0, 1, 2], [3, 4, 5]]
    assert sheets(tmp_path)[0] == "test.png"
    with Image.open(tmp_path / "images" / "test.png") as sheet:
        pixels = np.asarray(sheet)
    assert all((pixels == number).all(-1).sum() > 1000 for number in range(6)), "each image is on the sheet"


def test_training_is_not_disturbed(tmp_path):
    found = []
    for callbacks in ([], [SampleImages(every_n_epochs=1)]):
        seed_everything(0, verbose=False)
        task = Showing()
        trainer(tmp_path, *callbacks).fit(task, Numbers())
        found.append((task.state_dict(), torch.rand(3), np.random.rand()))
        assert task.modes == [False] * len(task.modes)
    (state, draws, number), (other, other_draws, other_number) = found
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert torch.equal(draws, other_draws)
    assert number == other_number
    assert len(task.seen) == 9, "three looks in each of three epochs"


def test_modes_come_back_part_by_part(tmp_path):
    task = Showing()
    task.network[1].eval()
    SampleImages()._look(_strategy(tmp_path, task), task, next(iter(Numbers().val_dataloader())), 1)
    assert [part.training for part in task.network] == [True, False, True, True]


def _strategy(folder, task):
    run = trainer(folder)
    run.strategy.connect(task)
    return run


def test_tensorboard_gets_the_sheet(tmp_path):
    board = TensorBoardLogger(tmp_path, name="", version="")
    trainer(tmp_path, SampleImages(), logger=board, max_epochs=1).fit(Showing(), Numbers())
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert events.Tags()["images"] == ["samples/val"]
    (image,) = events.Images("samples/val")
    with Image.open(tmp_path / "images" / sheets(tmp_path)[0]) as sheet:
        assert (image.width, image.height, image.step) == (*sheet.size, 3)


@pytest.mark.parametrize("callback", [SampleImages(count=0), SampleImages(every_n_epochs=0)])
def test_declined(tmp_path, callback):
    task = Showing()
    trainer(tmp_path, callback).fit(task, Numbers())
    assert not task.seen
    assert not (tmp_path / "images").exists()


def test_tasks_without_pictures_are_left_alone(tmp_path):
    trainer(tmp_path, SampleImages()).fit(Silent(), Numbers())
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    "columns",
    [
        None,
        {},
        {"input": torch.zeros(1, 4, 4)},
        {"input": torch.zeros(1, 1, 4, 4)},
        {"input": torch.zeros(1, 3, 4, 4), "truth": torch.zeros(1, 3, 4, 5)},
        {"input": torch.zeros(1, 3, 4, 4, dtype=torch.long)},
        {"input": "picture"},
    ],
)
def test_what_is_no_set_of_columns_is_refused(columns):
    with pytest.raises(ValueError, match=r"Expected Mine\.sample_images to return images \(n, 3, H, W\)"):
        check_columns(columns, "Mine")


def test_bad_arguments():
    with pytest.raises(ValueError, match="`count` to be 0 or a positive integer, but got -1"):
        SampleImages(count=-1)


# What segmentation shows


def test_border_band_is_the_outer_sixteenth():
    band = border_band(32, 64)
    assert band.sum() == 32 * 64 - 28 * 56
    assert not band[2:30, 4:60].any()
    assert border_band(8, 8)[0].all(), "one pixel at least"


def test_errors_are_marked_by_place():
    label = torch.zeros(1, 16, 16, dtype=torch.long)
    prediction = label.clone()
    prediction[0, 0, 3] = prediction[0, 5, 5] = prediction[0, 7, 7] = 1
    label[0, 7, 7] = 255
    picture = error_pictures(prediction, label)
    inside, border, none = (list(color) for color in ERROR_COLORS.values())
    assert picture[0, :, 5, 5].tolist() == inside
    assert picture[0, :, 0, 3].tolist() == border
    assert picture[0, :, 7, 7].tolist() == none
    assert (picture == 255).all(1).sum() == 16 * 16 - 3


def test_classes_have_the_palettes_colors_and_the_rest_is_gray():
    colors = np.array([(1, 2, 3), (4, 5, 6)], np.uint8)
    picture = class_pictures(torch.tensor([[[0, 1, 255, 2]]]), colors)
    assert picture[0].permute(1, 2, 0)[0].tolist() == [[1, 2, 3], [4, 5, 6], [150] * 3, [150] * 3]


def test_segmentation_shows_what_is_scored():
    torch.manual_seed(0)
    task = SegmentationTask(encoder="resnet18", num_classes=3).eval()
    image = torch.randint(0, 256, (1, 3, 32, 64), dtype=torch.uint8)
    batch = {"image": image, "label": torch.zeros(1, 32, 64, dtype=torch.long)}
    with torch.no_grad():
        whole = task.sample_images(batch)
        check_columns(whole, "SegmentationTask")
        assert [title.split()[0] for title in whole] == ["input", "truth", "prediction", "errors"]
        color = whole["truth"][0, :, 0, 0]
        right = (whole["prediction"] == color[:, None, None]).all(1)
        assert torch.equal(right, task(image).argmax(1) == 0)
        assert torch.equal(right, (whole[list(whole)[3]] == 255).all(1))
        task.use_evaluators([Tile(32)])
        task.evaluators = SimpleNamespace(margin=lambda inference, module: None)  # a test is under way
        tiled = task.sample_images(batch)["prediction"]
        halves = torch.cat([task(image[..., :32]), task(image[..., 32:])], dim=-1).argmax(1)
    assert torch.equal((tiled == color[:, None, None]).all(1), halves == 0)


# Sheets


def test_small_pictures_are_enlarged_pixel_by_pixel_and_large_ones_reduced():
    small = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    sheet = np.asarray(draw_sheet([SheetRow([small])]))
    assert sheet.shape[1] == 160 + 20
    assert (sheet[5:85:10, 10:170:10] == small).all()
    assert (sheet[14:85:10, 19:170:10] == small).all()
    assert draw_sheet([SheetRow([np.zeros((500, 2000, 3), np.uint8)] * 2)]).size[0] == 2 * 480 + 30


def test_long_titles_break_into_lines_and_foreign_signs_are_spelled():
    picture = [np.zeros((16, 16, 3), np.uint8)]
    short = draw_sheet([SheetRow(picture)], ["one"])
    long = draw_sheet([SheetRow(picture)], ["one word and then many others that do not fit"])
    assert long.height > short.height + 30
    same = [np.asarray(draw_sheet([SheetRow(picture, caption=text)])) for text in ("2×3 – Zurich", "2x3 - Zurich")]
    np.testing.assert_array_equal(*same)


def test_legend_shows_its_colors():
    sheet = np.asarray(
        draw_sheet([SheetRow([np.zeros((16, 16, 3), np.uint8)])], legend={"a": (9, 8, 7), "b": (1, 2, 3)})
    )
    assert (sheet == (9, 8, 7)).all(-1).sum() > 150
    assert (sheet == (1, 2, 3)).all(-1).sum() > 150


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        draw_sheet([])
