"""What cannot be read costs nothing else, and is named in the end: by one process, however many there are."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from pcpad.datamodules.reading.failures import UsableItems, UsableLoader, WhatCanBeRead, raise_failures
from pcpad.errors import UserValueError


class Odd(Dataset):
    """Of ten numbers the even ones cannot be read."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index % 2 == 0:
            message = f"{index} is even"
            raise UserValueError(message)
        return {"number": index}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_what_can_be_read(workers):
    dataset = WhatCanBeRead(Odd())
    loader = UsableLoader(dataset, batch_size=4, num_workers=workers, collate_fn=UsableItems())
    assert [batch["number"].tolist() for batch in loader] == [[1, 3], [5, 7], [9]]
    with pytest.raises(UserValueError, match=r"5 numbers are even; all others are done:\n  0 is even\n  2 is even"):
        raise_failures(dataset.failures, "numbers are even", UserValueError)
    raise_failures(dataset.failures, "numbers are even", UserValueError)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_broken_picture_under_the_command(tmp_path, task, devices):
    """The second of two processes has nothing but broken pictures; of both, one says so, and no traceback does."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
        if number % 2:
            (pictures / f"{number}.png").write_bytes(b"broken")
    model = ["--model=ClassificationTask", "--model.network=squeezenet1_1", "--model.num_classes=3"]
    data = ["--data=ImageNetDataModule", "--data.image_size=32", "--data.resize=32"]
    if task == "segmentation":
        model, data = ["--model=SegmentationTask", "--model.encoder=resnet18"], ["--data=CityscapesDataModule"]
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.logger=false"]
    files = ["--data.num_workers=0", f"--data.predict_images={pictures}", f"--output={tmp_path / 'out'}"]
    command = [
        sys.executable,
        "-m",
        "pcpad",
        "predict",
        "--untrained",
        *model,
        *data,
        *quiet,
        *files,
        f"--trainer.devices={devices}",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("pcpad: error: 2 files could not be read; all others are done:\n") == 1
    for number in (1, 3):
        assert f"{pictures / str(number)}.png: not an image in a known format\n" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    if task == "classification":
        with (tmp_path / "out" / "predictions.csv").open() as file:
            assert [row["path"] for row in csv.DictReader(file)] == [str(pictures / f"{n}.png") for n in (0, 2, 4)]
    else:
        assert sorted(path.name for path in (tmp_path / "out").glob("?.png")) == ["0.png", "2.png", "4.png"]
        assert done.stdout.count("3 label maps") == 1


@pytest.mark.slow
@pytest.mark.faults
def test_files_passed_over_under_the_command(tmp_path):
    """Pictures under any name are predicted; what is none is named, and the exit code is 1."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    used = {"a.png": "PNG", "b.jfif": "JPEG", "c.JPE": "JPEG", "d.tga": "TGA", "e.jp2": "JPEG2000", "f.avif": "AVIF"}
    used |= {"g.pbm": "PPM", "none": "PNG"}
    for name, kind in used.items():
        (image.convert("1") if name == "g.pbm" else image).save(pictures / name, kind)
    (pictures / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (pictures / "list.csv").write_text("a.png,1")
    command = [sys.executable, "-m", "pcpad", "predict", "--untrained", "--model=ClassificationTask"]
    command += ["--model.network=squeezenet1_1", "--model.num_classes=3", "--data=ImageNetDataModule"]
    command += ["--data.image_size=32", "--data.resize=32", "--data.num_workers=0", f"--output={tmp_path / 'out'}"]
    command += ["--trainer.accelerator=cpu", "--trainer.logger=false", f"--data.predict_images={pictures}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "predictions.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == sorted(str(pictures / name) for name in used)
    (pictures / "film.mov").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "1 files could not be read; all others are done:\n" in done.stderr
    assert f"{pictures / 'film.mov'}: an MP4 or QuickTime video\n" in done.stderr
