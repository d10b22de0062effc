"""Writing beside the network: bounded, in order, nothing lost."""

import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad.tasks import SegmentationTask
from pcpad.tasks.callbacks import LabelMaps
from pcpad.tasks.callbacks import label_maps as label_maps_module
from pcpad.tasks.callbacks.background import Background

pytestmark = pytest.mark.faults


def test_results_come_in_order_and_no_more_wait_than_allowed():
    background, running, most = Background(threads=2), [], []

    def job(number):
        running.append(number)
        most.append(len(running))
        time.sleep(0.02 if number % 2 else 0.001)
        running.remove(number)
        return number

    found, waiting = [], []
    for number in range(20):
        background.submit(lambda number=number: job(number), 1)
        waiting.append(len(background._waiting))
        found += [future.result() for future in background.results()]
    found += [future.result() for future in background.results(wait=True)]
    background.close()
    assert found == list(range(20))
    assert max(most) == 2
    assert max(waiting) <= 4


def test_no_more_is_held_than_allowed():
    background, held = Background(threads=4, most_bytes=100), []
    for size in (60, 60, 30, 500, 1, 1):
        background.submit(lambda: time.sleep(0.01), size)
        held.append(sum(size for _, size in background._waiting))
    background.close()
    assert held == [60, 60, 90, 500, 1, 2]


def batch(name, size=8):
    return {"image": torch.full((1, 3, size, size), 7, dtype=torch.uint8), "path": [str(name)]}


@pytest.fixture
def writer(tmp_path):
    """A writer at the start of a prediction, its trainer and task."""
    trainer = SimpleNamespace(log_dir=None, predict_dataloaders=[], is_global_zero=True)
    task = SegmentationTask("Unet", "resnet18", num_classes=3)
    made = LabelMaps(tmp_path / "out")
    made.on_predict_start(trainer, task)
    return SimpleNamespace(made=made, trainer=trainer, task=task, folder=tmp_path / "out")


def write(writer, *names):
    for name in names:
        prediction = {"path": [str(name)], "label": torch.ones(1, 8, 8, dtype=torch.uint8)}
        writer.made.write(writer.trainer, writer.task, prediction, batch(name))


def test_the_network_does_not_wait_for_the_disk(writer, tmp_path, monkeypatch):
    disk, save = threading.Event(), label_maps_module.save_png
    monkeypatch.setattr(
        label_maps_module, "save_png", lambda *args, **options: disk.wait(60) and save(*args, **options)
    )
    write(writer, tmp_path / "a.png")
    assert list(writer.folder.iterdir()) == [], "the writer came back before the disk did"
    disk.set()
    writer.made.on_predict_epoch_end(writer.trainer, writer.task)
    assert sorted(path.name for path in writer.folder.iterdir()) == ["a.png", "a_color.png", "a_overlay.png"]
    assert np.asarray(Image.open(writer.folder / "a.png")).tolist() == [[1] * 8] * 8


def test_failures_are_named_in_order_and_the_others_are_written(writer, tmp_path, monkeypatch):
    save = label_maps_module.save_png

    def full(picture, path, **options):
        if path.name in ("b.png", "d.png"):
            raise OSError(28, "No space left on device", str(path))
        return save(picture, path, **options)

    monkeypatch.setattr(label_maps_module, "save_png", full)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for letter in "abcde":
            write(writer, tmp_path / f"{letter}.png")
        writer.made.on_predict_epoch_end(writer.trainer, writer.task)
    assert [str(one.message).rpartition("/")[2] for one in told if "No space" in str(one.message)] == [
        "b.png'",
        "d.png'",
    ]
    assert {path.name[0] for path in writer.folder.iterdir()} == set("ace")
    with pytest.raises(ValueError, match=r"2 pictures could not be written(.|\n)*b\.png(.|\n)*d\.png"):
        writer.made.teardown(writer.trainer, writer.task, "predict")


def test_an_error_of_ours_is_heard_of_and_no_other_picture_is_lost(writer, tmp_path, monkeypatch):
    save = label_maps_module.save_png
    monkeypatch.setattr(
        label_maps_module,
        "save_png",
        lambda *args, **options: 1 / 0 if "a.png" in str(args[1]) else save(*args, **options),
    )
    write(writer, tmp_path / "b.png")
    with pytest.raises(ZeroDivisionError):  # as soon as it is there
        write(writer, *(tmp_path / f"{'a' if number == 1 else number}.png" for number in range(100)))
    writer.made.on_exception(writer.trainer, writer.task, ZeroDivisionError())
    assert (writer.folder / "b_overlay.png").is_file()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pcpad-writer")]


def test_what_is_predicted_is_written_after_ctrl_c(writer, tmp_path, monkeypatch):
    save = label_maps_module.save_png
    monkeypatch.setattr(
        label_maps_module, "save_png", lambda *args, **options: time.sleep(0.02) or save(*args, **options)
    )
    for letter in "ab":
        write(writer, tmp_path / f"{letter}.png")
    writer.made.on_exception(writer.trainer, writer.task, KeyboardInterrupt())
    assert len(list(writer.folder.iterdir())) == 6


def test_images_of_floats_are_drawn_as_they_are(writer, tmp_path):
    prediction = {"path": [str(tmp_path / "a.png")], "label": torch.zeros(1, 8, 8, dtype=torch.uint8)}
    image = {"image": torch.ones(1, 3, 8, 8)}
    writer.made.write(writer.trainer, writer.task, prediction, image)
    writer.made.on_predict_epoch_end(writer.trainer, writer.task)
    color = np.asarray(Image.open(writer.folder / "a_color.png"))[0, 0].astype(int)
    assert np.asarray(Image.open(writer.folder / "a_overlay.png"))[0, 0].tolist() == ((255 + color) // 2).tolist()
