"""Drawn moving things as short H.264 files in Kinetics' format."""

import csv
import string
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from pcpad.datamodules.samples.writing import SampleSummary, write_once

MOTIONS = ("growing", "moving down", "moving up", "shaking sideways", "shrinking", "spinning")
"""The classes. None becomes another one when a clip is mirrored, as left and right would."""

_RATE = 25


class _Task(NamedTuple):
    """One file to write."""

    split: str
    motion: str
    number: int
    seed: list[int]


class _Written(NamedTuple):
    """A row of the annotations."""

    split: str
    label: str
    youtube_id: str
    time_start: int
    time_end: int


def write_kinetics(
    root: str | Path,
    *,
    train_videos: int = 24,
    val_videos: int = 8,
    height: int = 96,
    seconds: tuple[float, float] = (1.5, 3.0),
    seed: int = 0,
) -> SampleSummary:
    """Write short videos of moving things, six classes of motion, in half a minute.

    ```
    root/{train,val}/<class>/<id>_<start:06>_<end:06>.mp4     H.264, 25 frames a second
    root/annotations/{train,val}.csv                          label,youtube_id,time_start,time_end,split
    ```

    A textured thing moves over a slowly drifting textured ground among others that stand still. Its look, size, place
    and pace are drawn alike for all classes, and what leaves at one side comes back at the other (as what has grown
    to the full size starts small again): a single picture hardly tells the class, a few in a row do.

    Args:
        root: A new or empty folder; with the same videos already in it nothing is written.
        train_videos: Videos of each class in train/.
        val_videos: Videos of each class in val/.
        height: Rows, even and at least 32; there are 4/3 as many columns.
        seconds: Shortest and longest duration.
        seed: Decides what is drawn.

    Returns:
        What the folder holds.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: An argument out of range.
    """
    for fine, name, expected, value in (
        (train_videos >= 1, "train_videos", "at least 1", train_videos),
        (val_videos >= 1, "val_videos", "at least 1", val_videos),
        (height >= 32 and height % 2 == 0, "height", "even and at least 32", height),
        (0.2 <= seconds[0] <= seconds[1], "seconds", "0.2 <= shortest <= longest", seconds),
    ):
        if not fine:
            message = f"Expected argument `{name}` to be {expected}, but got {value}"
            raise ValueError(message)
    settings = {"train_videos": train_videos, "val_videos": val_videos, "height": height}
    settings |= {"seconds": list(seconds), "seed": seed}  # type: ignore[dict-item]
    tasks = [
        _Task(split, motion, number, [seed, part, kind, number])
        for part, (split, count) in enumerate((("train", train_videos), ("val", val_videos)))
        for kind, motion in enumerate(MOTIONS)
        for number in range(count)
    ]
    return write_once(root, "kinetics", settings, lambda folder: _fill(folder, tasks, height, seconds))


def _fill(folder: Path, tasks: list[_Task], height: int, seconds: tuple[float, float]) -> Mapping[str, int]:
    with ThreadPoolExecutor(2) as executor:
        written = list(executor.map(lambda task: _write(folder, task, height, seconds), tasks))
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        with (folder / "annotations" / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(_Written._fields[1:] + _Written._fields[:1])
            rows.writerows((*row[1:], row.split) for row in written if row.split == split)
    return {split: sum(row.split == split for row in written) for split in ("train", "val")} | {"annotations": 2}


def _write(folder: Path, task: _Task, height: int, seconds: tuple[float, float]) -> _Written:
    """Draw and encode one video."""
    draws = np.random.default_rng(task.seed)
    letters = np.asarray(list(string.ascii_letters + string.digits + "-_"))
    name = "".join(draws.choice(letters, 11))
    frames = round(_RATE * draws.uniform(*seconds))
    start = int(draws.integers(300))
    end = start + -(-frames // _RATE)
    path = folder / task.split / task.motion / f"{name}_{start:06}_{end:06}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "crf": "23", "g": "50", "threads": "1"}
        stream = container.add_stream("libx264", rate=_RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = height, height * 4 // 3 // 2 * 2, "yuv420p"
        for picture in draw_motion(task.motion, frames, (stream.height, stream.width), draws):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return _Written(task.split, task.motion, name, start, end)


def draw_motion(motion: str, frames: int, size: tuple[int, int], draws: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw the pictures of one video.

    Args:
        motion: One of `MOTIONS`.
        frames: How many.
        size: Rows and columns.
        draws: Where the random numbers come from.

    Yields:
        `(rows, columns, 3)` uint8.
    """
    height, width = size
    ground = _texture(2 * height, 2 * width, draws, 0.2)
    drift, at = draws.uniform(-0.3, 0.3, 2), draws.uniform(0.3, 0.7, 2)
    others = [(_thing(height // 3, draws), *draws.uniform((0.1, 0.1), (0.9, 0.9))) for _ in range(2)]
    thing = _thing(height * 9 // 20, draws)
    place, phase = draws.uniform((0.35, 0.3), (0.65, 0.7)), draws.uniform(0, 1)
    pace, angle = draws.uniform(0.8, 1.4), draws.uniform(0, 360)
    turn = draws.choice((-1, 1))
    for number in range(frames):
        done = number * pace
        x, y, scale, turned = place[0], place[1], 0.6 * 2.2**phase, angle
        if motion in ("growing", "shrinking"):
            way = 1 if motion == "growing" else -1
            scale = 0.6 * 2.2 ** ((phase + way * done / 22) % 1)
        elif motion in ("moving up", "moving down"):
            way = 1 if motion == "moving down" else -1
            # Beyond the borders, so that it leaves before it comes back.
            y = (place[1] + way * done / 36 + 0.2) % 1.4 - 0.2
        elif motion == "shaking sideways":
            x = place[0] + 0.12 * np.sin(2 * np.pi * (phase + done / 12))
        else:
            turned = angle + turn * 11 * done
        canvas = _shifted(ground, drift * number + at * (width, height), size)
        for picture, other_x, other_y in others:
            _paste(canvas, picture, other_x * width, other_y * height, 0.9, 0)
        _paste(canvas, thing, x * width, y * height, scale, turned)
        yield canvas


def _texture(height: int, width: int, draws: np.random.Generator, contrast: float) -> np.ndarray:
    """Coarse and fine noise around a colour."""
    total = np.full((height, width, 3), draws.uniform(70, 185, 3))
    for grain in (12, 5):
        noise = draws.normal(0, 90 * contrast, (height // grain + 2, width // grain + 2, 3))
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255).astype(np.uint8)


def _thing(side: int, draws: np.random.Generator) -> np.ndarray:
    """A textured polygon with a bright rim: `(side, side, 4)` uint8, the last channel its cover."""
    corners = int(draws.integers(3, 7))
    angles = 2 * np.pi * (np.arange(corners) + draws.uniform(-0.15, 0.15, corners)) / corners
    reach = side * draws.uniform((0.3,) * corners, (0.46,) * corners)
    outline = np.stack([side / 2 + reach * np.cos(angles), side / 2 + reach * np.sin(angles)], 1).astype(np.int32)
    cover = cv2.fillPoly(np.zeros((side, side), np.uint8), [outline], 255)
    picture = _texture(side, side, draws, 0.6)
    cv2.polylines(picture, [outline], True, draws.integers(180, 256, 3).tolist(), max(1, side // 14))
    return np.dstack([picture, cover])


def _shifted(ground: np.ndarray, by: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    move = np.asarray([[1, 0, -by[0]], [0, 1, -by[1]]], np.float32)
    return cv2.warpAffine(ground, move, size[::-1], borderMode=cv2.BORDER_REFLECT)


def _paste(canvas: np.ndarray, thing: np.ndarray, x: float, y: float, scale: float, angle: float) -> None:
    """Draw a thing, turned and scaled, centred on a point."""
    side = len(thing)
    move = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale)
    move[:, 2] += np.asarray([x - side / 2, y - side / 2])
    drawn = cv2.warpAffine(thing, move, canvas.shape[1::-1])
    cover = drawn[..., 3:].astype(np.uint16)
    canvas[:] = (drawn[..., :3] * cover + canvas * (255 - cover)) // 255
