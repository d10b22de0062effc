"""The folders that the experiments of `benchmarks/protocols` read, made from data sets as they are published."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.evidence_drawn import JUDGED_ON, STREETS, draw_movements, draw_streets
from pcpad.datamodules.reading.images import read_image
from pcpad.datamodules.samples.photos import write_photos

__all__ = ["DRAWN", "LAYOUTS", "lay_out"]

CROP = 64
CROPS = {"train": 160, "val": 32, "test": 96}  # per photograph
HEIGHT, WIDTH = 192, 288
_LARGEST = 512  # the shorter side of larger photographs


def lay_out(name: str, source: Path | None, root: Path) -> Path:
    """Make an experiment's folder, once.

    Args:
        name: The experiment's.
        source: Where `bsds500/`, `camvid/`, `cifar10/` and `urban100/` are; those in `DRAWN` need none of them.
        root: Where its folder is made.

    Returns:
        Its folder.
    """
    folder, partial = root / name, root / f".{name}"
    if not folder.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        LAYOUTS[name](source or Path(), partial)
        partial.rename(folder)
    return folder


def _cifar(source: Path, root: Path) -> None:
    """Every tenth of each class's training images, by their sorted names, is validation."""
    for folder in sorted((source / "cifar10" / "train").iterdir()):
        paths = sorted(folder.glob("*.jpg"))
        _link(paths[::10], root / "val" / folder.name)
        _link([path for place, path in enumerate(paths) if place % 10], root / "train" / folder.name)
    for folder in sorted((source / "cifar10" / "test").iterdir()):
        _link(sorted(folder.glob("*.jpg")), root / "test" / folder.name)


def _gauss(source: Path, root: Path) -> None:
    """BSDS500's training photographs, every tenth for validation; its test photographs and Urban100 are the test."""
    train = sorted((source / "bsds500" / "train").glob("*.jpg"))
    _link(train[::10], root / "val")
    _link([path for place, path in enumerate(train) if place % 10], root / "train")
    _link(sorted((source / "bsds500" / "test").glob("*.jpg")), root / "test")
    _link(sorted((source / "urban100").glob("*.jpg")), root / "test")


def _link(paths: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())


def _camvid(source: Path, root: Path) -> None:
    """CamVid at 0.6 of its size, 216×288, of which the middle 192 rows."""
    above = (216 - HEIGHT) // 2
    for split in ("train", "val", "test"):
        for kind, how in (("images", cv2.INTER_AREA), ("labels", cv2.INTER_NEAREST_EXACT)):
            (root / split / kind).mkdir(parents=True)
            for path in sorted((source / "camvid" / split / kind).iterdir()):
                picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                small = cv2.resize(picture, (WIDTH, 216), interpolation=how)[above : above + HEIGHT]
                cv2.imwrite(str(root / split / kind / f"{path.stem}.png"), small)


def _position(source: Path, root: Path) -> None:
    """Crops of the 21 photographs of `pcpad sample photos`.

    Training crops are from the outer thirds of a photograph's width; in the middle third, the upper 40 % of the height
    is for validation and the rest for the test, so that no pixel is in two of them.
    """
    photos = root / "photographs"
    write_photos(photos)
    for path in sorted(photos.rglob("*.*g")):
        picture = read_image(path).permute(1, 2, 0).numpy()
        factor = max(1.0, min(picture.shape[:2]) / _LARGEST)
        if factor > 1:
            size = (round(picture.shape[1] / factor), round(picture.shape[0] / factor))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        height, width = picture.shape[:2]
        third, cut = width // 3, max(CROP, int(0.4 * height))
        parts = {
            "train": [(0, height, 0, third), (0, height, width - third, width)],
            "val": [(0, cut, third, width - third)],
            "test": [(cut, height, third, width - third)],
        }
        draws = np.random.default_rng(int.from_bytes(hashlib.sha256(path.stem.encode()).digest()[:8], "big"))
        for split, places in parts.items():
            folder = root / split / path.stem
            folder.mkdir(parents=True)
            for number in range(CROPS[split]):
                top, bottom, left, right = places[number % len(places)]
                row = int(draws.integers(top, bottom - CROP + 1))
                column = int(draws.integers(left, right - CROP + 1))
                crop = picture[row : row + CROP, column : column + CROP, ::-1]  # OpenCV writes BGR
                cv2.imwrite(str(folder / f"{number:03}.png"), crop)
    shutil.rmtree(photos)


def _movements(_: Path, root: Path) -> None:
    """Drawn videos, different ones for each part."""
    draw_movements(root)


def _streets(_: Path, root: Path) -> None:
    """Drawn streets for training and validation, others in `test/`, and further ones in `judge/`."""
    draw_streets(root, {split: STREETS[split] for split in ("train", "val")}, seed=0)
    draw_streets(root / "test", {"val": STREETS["test"]}, seed=1)
    draw_streets(root / "judge", JUDGED_ON, seed=2)


LAYOUTS: dict[str, Callable[[Path, Path], None]] = {
    "position": _position,
    "gauss_unet": _gauss,
    "cls_cifar": _cifar,
    "seg_camvid": _camvid,
    "act_demo": _movements,
    "syn_demo": _streets,
}
DRAWN = ("position", "act_demo", "syn_demo")
"""The experiments that read none of the published data sets."""
