"""Drawn street scenes in Cityscapes' format."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from pcpad.datamodules.datasets.cityscapes_labels import LABELS
from pcpad.datamodules.samples.streets import OUT_OF_ROI, Scene, draw_scene
from pcpad.datamodules.samples.writing import SampleSummary, write_once
from pcpad.errors import UserValueError

# Three validation cities for each split, then others; one with a hyphen, as in the real set.
_CITIES = {
    "val": ("frankfurt", "lindau", "munster"),
    "train": (
        *("darmstadt", "dusseldorf", "erfurt"),
        *("monchengladbach", "strasbourg", "stuttgart"),
        *("aachen", "bremen", "hamburg", "tubingen", "ulm", "zurich"),
    ),
    "train_extra": ("augsburg", "bad-honnef", "wurzburg"),
    "test": ("berlin", "bonn"),
}
_COLORS = np.zeros((256, 4), np.uint8)
_COLORS[:, 3] = 255
for _label in LABELS:
    _COLORS[_label.id % 256, :3] = _label.color


class _Task(NamedTuple):
    """One image to write: its location, its number in the whole set, and the kinds of its labels."""

    part: str
    city: str
    number: int


def write_cityscapes(
    root: str | Path,
    *,
    image_height: int = 256,
    images_per_city: int = 2,
    seed: int = 0,
) -> SampleSummary:
    """Write a small set of drawn street scenes in Cityscapes' format, in at most half a minute.

    ```
    root/leftImg8bit/{train,val,train_extra,test}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png    8-bit RGB
    root/gtFine/{train,val,test}/<city>/…_gtFine_{labelIds,instanceIds,color}.png                     8, 16 bit, RGBA
    root/gtCoarse/{train,train_extra,val}/<city>/…_gtCoarse_{labelIds,instanceIds,color}.png
    ```

    Streets in perspective with houses, trees, walls, fences, poles, lights, signs, people, riders and all kinds of
    vehicles, which occlude each other and are cut by the image's borders; groups of people, bicycles and distant cars
    have the plain label id as instance id. Train has 12 cities and val 3; the three validation cities of cv0, cv1 and
    cv2 show all 19 classes, and so do the other cities. Coarse labels are rough polygons made from the fine ones;
    train_extra has only those. As in the real set, the labels of test hold no classes. `*_polygons.json` are not
    written.

    Args:
        root: A new or empty folder; if it already holds the same scenes, nothing is written.
        image_height: Rows of the images, at least 128; they are twice as wide. The real ones have 1024.
        images_per_city: Images of each city.
        seed: Seed of the drawing.

    Returns:
        A summary of the folder.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: `image_height` below 128 or `images_per_city` below 1.
    """
    if image_height < 128:
        message = (
            f"Expected argument `image_height` to be at least 128, so that all classes show, but got {image_height}"
        )
        raise UserValueError(message)
    if images_per_city < 1:
        message = f"Expected argument `images_per_city` to be at least 1, but got {images_per_city}"
        raise UserValueError(message)
    settings = {"image_height": image_height, "images_per_city": images_per_city, "seed": seed}
    return write_once(root, "cityscapes", settings, lambda folder: _fill(folder, image_height, images_per_city, seed))


def _fill(folder: Path, height: int, per_city: int, seed: int) -> Mapping[str, int]:
    """Write all images and labels; return the number of files per folder."""
    tasks = [
        _Task(part, city, place * per_city + number)
        for part, cities in _CITIES.items()
        for place, city in enumerate(cities)
        for number in range(per_city)
    ]
    with ThreadPoolExecutor(2) as executor:
        counts = sum(executor.map(lambda task: _write(folder, task, height, per_city, seed), tasks), Counter[str]())
    return dict(sorted(counts.items()))


def _write(folder: Path, task: _Task, height: int, per_city: int, seed: int) -> Counter[str]:
    """Draw one scene and write its files; return the number of files per folder."""
    # Any three consecutive scenes show all classes, so each part has its own numbers.
    part_number = list(_CITIES).index(task.part)
    scene = draw_scene(task.number, (height, 2 * height), seed * len(_CITIES) + part_number)
    frame = task.number % per_city
    stem = f"{task.city}_{frame:06d}_000019"
    image = folder / "leftImg8bit" / task.part / task.city / f"{stem}_leftImg8bit.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.image).save(image)
    labels = {}
    if task.part == "test":
        labels["gtFine"] = _withheld(scene)
    elif task.part != "train_extra":
        labels["gtFine"] = scene
    if task.part != "test":
        labels["gtCoarse"] = make_coarse(scene)
    for kind, labeled in labels.items():
        _write_labels(folder / kind / task.part / task.city, f"{stem}_{kind}", labeled)
    return Counter({f"leftImg8bit/{task.part}": 1} | {f"{kind}/{task.part}": 3 for kind in labels})


def _write_labels(folder: Path, stem: str, scene: Scene) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.ids).save(folder / f"{stem}_labelIds.png")
    Image.fromarray(scene.instances).save(folder / f"{stem}_instanceIds.png")
    Image.fromarray(_COLORS[scene.ids]).save(folder / f"{stem}_color.png")


def _withheld(scene: Scene) -> Scene:
    """Labels like those of Cityscapes' test images: the ego vehicle and the margin, but no classes."""
    ids = np.where(scene.ids <= OUT_OF_ROI, scene.ids, 0)
    return scene._replace(ids=ids, instances=ids.astype(np.uint16))


def make_coarse(scene: Scene) -> Scene:
    """Make coarse labels from fine ones: rough polygons well inside of each region, and none for small regions.

    Args:
        scene: A scene with fine labels.

    Returns:
        The scene with coarse labels; pixels outside of all polygons are unlabeled (0).
    """
    height, width = scene.ids.shape
    ids, instances = np.zeros_like(scene.ids), np.zeros_like(scene.instances)
    margin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (height // 128) + 1,) * 2)
    for instance in np.unique(scene.instances).tolist():
        region = (scene.instances == instance).astype(np.uint8)
        # The picture's border does not count as a border of the region.
        inner = cv2.erode(region, margin, borderType=cv2.BORDER_CONSTANT, borderValue=1)
        outlines, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        covered = np.zeros_like(region)
        for outline in outlines:
            rough = cv2.approxPolyDP(outline, height / 85, closed=True)
            if len(rough) > 2 and cv2.contourArea(rough) > height * width / 3000:
                cv2.fillPoly(covered, [rough], 1)
        # Without objects that the polygon surrounds, such as cars on a road.
        kept = (covered & inner).astype(bool)
        ids[kept] = instance // 1000 if instance >= 1000 else instance
        instances[kept] = instance
    return scene._replace(ids=ids, instances=instances)
