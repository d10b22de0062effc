"""Drawn moving scenes as short H.264 files in Kinetics' format."""

import string
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from pcpad.datamodules.samples.writing import SampleSummary, write_once
from pcpad.errors import UserValueError
from pcpad.tables import write_csv

MOTIONS = ("growing", "moving down", "moving up", "shaking sideways", "shrinking", "spinning")
"""The classes. Mirroring a clip does not change its class, as it would with left and right."""

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
    train_videos: int = 32,
    val_videos: int = 8,
    height: int = 96,
    seconds: tuple[float, float] = (1.5, 3.0),
    seed: int = 0,
) -> SampleSummary:
    """Write short videos of moving scenes, six classes of motion, in half a minute.

    ```
    root/{train,val}/<class>/<id>_<start:06>_<end:06>.mp4     H.264, 25 frames per second
    root/annotations/{train,val}.csv                          label,youtube_id,time_start,time_end,split
    ```

    A moving camera sees a scene of textured objects. Appearance, position, size, speed and a slow drift have the same
    distribution for all classes: a single frame does not show the class, but a few consecutive ones do, in any part of
    the frame.

    Args:
        root: A new or empty folder; if it already holds the same videos, nothing is written.
        train_videos: Videos of each class in train/.
        val_videos: Videos of each class in val/.
        height: Height of the frames, even and at least 32; the width is 4/3 of it.
        seconds: Shortest and longest duration.
        seed: Seed of the drawing.

    Returns:
        A summary of the folder.

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
            raise UserValueError(message)
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
    for split in ("train", "val"):
        rows = [row._asdict() for row in written if row.split == split]
        write_csv(folder / "annotations" / f"{split}.csv", [*_Written._fields[1:], "split"], rows, for_people=False)
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
    """Draw the frames of one video.

    Args:
        motion: One of `MOTIONS`.
        frames: The number of frames.
        size: Rows and columns.
        draws: The random generator.

    Yields:
        `(rows, columns, 3)` uint8.
    """
    scene = _scene(3 * max(size), size[0] * 2 // 3, draws)
    pace, drift, place = draws.uniform(0.7, 1.3), draws.uniform(-0.3, 0.3, 2), draws.uniform(-0.2, 0.2, 2) * size[0]
    scale, angle, turn, phase = draws.uniform(0.8, 1.25), draws.uniform(0, 360), draws.choice((-1, 1)), draws.uniform()
    for number in range(frames):
        # Negative before the middle, so that no class starts or ends at a characteristic position or size.
        moment = pace * (number - frames / 2)
        at, seen, turned = place + drift * number, scale, angle
        if motion in ("growing", "shrinking"):
            seen = scale * 1.014 ** (moment if motion == "growing" else -moment)
        elif motion in ("moving down", "moving up"):
            at[1] += size[0] / 80 * (moment if motion == "moving down" else -moment)
        elif motion == "shaking sideways":
            at[0] += size[0] / 16 * np.sin(2 * np.pi * (phase + moment / 14))
        else:
            turned = angle + turn * 2 * moment
        yield _view(scene, at, seen, turned, size)


def _scene(side: int, largest: int, draws: np.random.Generator) -> np.ndarray:
    """Objects scattered over a background, `(side, side, 3)` uint8."""
    scene = _texture(side, side, draws, 0.2)
    for _ in range(draws.integers(20, 32)):
        move = cv2.getRotationMatrix2D((largest / 2, largest / 2), draws.uniform(0, 360), draws.uniform(0.5, 1.0))
        thing = cv2.warpAffine(_thing(largest, draws), move, (largest, largest))
        y, x = draws.integers(0, side - largest, 2)
        spot = scene[y : y + largest, x : x + largest]
        cover = thing[..., 3:].astype(np.uint16)
        spot[:] = (thing[..., :3] * cover + spot * (255 - cover)) // 255
    return scene


def _view(scene: np.ndarray, at: np.ndarray, scale: float, angle: float, size: tuple[int, int]) -> np.ndarray:
    """The scene, rotated, scaled and moved, cropped to a window at its center."""
    move = cv2.getRotationMatrix2D((len(scene) / 2, len(scene) / 2), angle, scale)
    move[:, 2] += np.asarray(size[::-1]) / 2 - len(scene) / 2 + at
    return cv2.warpAffine(scene, move, size[::-1], borderMode=cv2.BORDER_REFLECT)


def _texture(height: int, width: int, draws: np.random.Generator, contrast: float) -> np.ndarray:
    """Coarse and fine noise around a color."""
    total = np.full((height, width, 3), draws.uniform(70, 185, 3))
    for grain in (12, 5):
        noise = draws.normal(0, 90 * contrast, (height // grain + 2, width // grain + 2, 3))
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    frame: np.ndarray = np.clip(total, 0, 255).astype(np.uint8)
    return frame


def _thing(side: int, draws: np.random.Generator) -> np.ndarray:
    """A textured polygon with a bright edge: `(side, side, 4)` uint8, with alpha as the last channel."""
    corners = int(draws.integers(3, 7))
    angles = 2 * np.pi * (np.arange(corners) + draws.uniform(-0.15, 0.15, corners)) / corners
    reach = side * draws.uniform((0.3,) * corners, (0.46,) * corners)
    outline = np.stack([side / 2 + reach * np.cos(angles), side / 2 + reach * np.sin(angles)], 1).astype(np.int32)
    cover = cv2.fillPoly(np.zeros((side, side), np.uint8), [outline], 255)
    picture = _texture(side, side, draws, 0.6)
    cv2.polylines(picture, [outline], True, draws.integers(180, 256, 3).tolist(), max(1, side // 14))
    return np.dstack([picture, cover])
