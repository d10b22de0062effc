"""The folders of the experiments whose data is drawn by this project's own code: `act_demo` and `syn_demo`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pcpad.datamodules.samples.kinetics import MOTIONS, draw_motion
from pcpad.datamodules.samples.streets import Scene, draw_scene

__all__ = ["JUDGED_ON", "STREETS", "draw_movements", "draw_streets"]

VIDEOS = {"train": 24, "val": 8, "test": 32}  # per movement, of six
FRAME = (64, 84)
FRAMES = (38, 75)  # per video; 1.5 to 3 s as `pcpad sample kinetics` writes them
STREET = (128, 256)
STREETS = {"train": 60, "val": 12, "test": 100}
"""How many maps each part of the synthesis experiment has."""
JUDGED_ON = {"train": 120, "val": 12}
"""How many its judge is trained on; none of them is among those above."""
# Any of the official cities that split cv0 has in the part; scenes need one.
_CITY = {"train": "aachen", "val": "frankfurt"}


def draw_movements(root: Path, videos: Mapping[str, int] = VIDEOS, seed: int = 0) -> None:
    """Draw the videos of `pcpad sample kinetics` as folders of JPEG frames, which are much faster to read.

    Args:
        root: Receives `{train,val,test}/<movement>/<number>/image_00001.jpg` and so on.
        videos: How many videos of each movement a part has.
        seed: With part, movement and number it determines everything; pilot runs use other seeds than 0.
    """
    for part, split in enumerate(videos):
        for kind, motion in enumerate(MOTIONS):
            for number in range(videos[split]):
                draws = np.random.default_rng([seed, part, kind, number])
                folder = root / split / motion / f"{number:03}"
                folder.mkdir(parents=True)
                frames = int(draws.integers(*FRAMES, endpoint=True))
                for place, picture in enumerate(draw_motion(motion, frames, FRAME, draws), 1):
                    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
                    cv2.imwrite(str(folder / f"image_{place:05}.jpg"), picture[..., ::-1], quality)


def draw_streets(root: Path, counts: Mapping[str, int], seed: int) -> None:
    """Draw streets in Cityscapes' format, 128×256, without coarse labels.

    Args:
        root: Receives `leftImg8bit` and `gtFine`.
        counts: How many `train` and `val` have.
        seed: Of the drawings; streets of two seeds only share how they are drawn.
    """
    for part, split in enumerate(counts):
        for number in range(counts[split]):
            scene = draw_scene(number, STREET, 1000 * seed + part)
            _write(scene, root, split, f"{_CITY[split]}_{number:06}_000019")


def _write(scene: Scene, root: Path, split: str, stem: str) -> None:
    city = stem.partition("_")[0]
    image, labels = (root / folder / split / city for folder in ("leftImg8bit", "gtFine"))
    for folder in (image, labels):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.image).save(image / f"{stem}_leftImg8bit.png")
    Image.fromarray(scene.ids).save(labels / f"{stem}_gtFine_labelIds.png")
    Image.fromarray(scene.instances).save(labels / f"{stem}_gtFine_instanceIds.png")
