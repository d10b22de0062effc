"""Which frames a clip consists of, and which part of the pictures it shows."""

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pcpad._renamed import moved
from pcpad.datamodules.reading.video_files import VideoIndex
from pcpad.datamodules.reading.videos import View

# Of MultiScaleCornerCrop in the public 3D ResNets: five scales from 1, each 2^(-1/4) of the one before.
_SCALES = tuple(2 ** (-step / 4) for step in range(5))
CropKind = Literal["multi_scale_corner", "random_resized"]


class Sampling(NamedTuple):
    """How frames are taken for a clip.

    Attributes:
        length: Frames per clip.
        stride: Every how many-th frame is taken.
        fps: Frame rate the videos are brought to first, by showing at each tick the frame on display then; None:
            frames as they are.
    """

    length: int = 16
    stride: int = 1
    fps: float | None = None

    @property
    def span(self) -> int:
        """Frames from one clip's start to the next one's."""
        return self.length * self.stride

    def timeline(self, index: VideoIndex) -> np.ndarray:
        """The frames clips are taken from.

        Args:
            index: A video's index.

        Returns:
            Positions in the index, `(M,)`, at least one: all, or those on display at 0, 1/fps, 2/fps, … seconds.
        """
        if self.fps is None:
            return np.arange(len(index.pts))
        # In whole units: a tick that falls on a frame's start shows that frame.
        ticks = max(1, math.ceil(round((index.end - int(index.pts[0])) * index.time_base * self.fps, 6)))
        times = np.round(np.arange(ticks) / self.fps / float(index.time_base), 3)
        return np.searchsorted(index.pts - index.pts[0], times, side="right") - 1

    def clip(self, timeline: np.ndarray, start: int) -> np.ndarray:
        """Take a clip; from a video that ends before it is full, the frames are taken again from the clip's start.

        Args:
            timeline: As `timeline` gives it.
            start: Position in the timeline.

        Returns:
            `(length,)` positions in the index.
        """
        return np.resize(timeline[start : start + self.span : self.stride], self.length)

    def seconds(self, index: VideoIndex, timeline: np.ndarray, start: int) -> tuple[float, float]:
        """Which part of the video a clip shows.

        Args:
            index: The video's index.
            timeline: As `timeline` gives it.
            start: The clip's position in the timeline.

        Returns:
            When the first of its frames is shown and the last one ends, in seconds; with `fps`, of the ticks.
        """
        times = index.times
        if self.fps is not None:
            # One frame may be on display throughout several clips.
            return start / self.fps, min((start + self.span) / self.fps, float(times[-1]))
        positions = self.clip(timeline, start)
        return float(times[positions.min()]), float(times[positions.max() + 1])

    def latest_start(self, timeline: np.ndarray) -> int:
        """The last position a full clip can start at; 0 for short videos."""
        return max(0, len(timeline) - (self.length - 1) * self.stride - 1)

    def spread(self, timeline: np.ndarray, count: int) -> list[int]:
        """Where the clips start that are spread evenly over the video, from its start to its end.

        As the public 3D ResNets take them to validate on, except that none is started so late that it has to be looped.

        Args:
            timeline: As `timeline` gives it.
            count: How many clips, at least 1.

        Returns:
            Positions in the timeline, increasing; fewer than `count` where the video is too short for so many.
        """
        latest = self.latest_start(timeline)
        step = max(1, math.ceil((latest - 1) / max(1, count - 1)))
        return sorted({min(clip * step, latest) for clip in range(count)})

    def windows(self, timeline: np.ndarray) -> range:
        """Where the clips start that follow one another without overlap and cover the video."""
        return range(0, len(timeline), self.span)


class ClipAugmentation(NamedTuple):
    """The random crop and flip of a training clip, the same for all of its frames.

    Attributes:
        size: Height and width of the clip.
        crop: "multi_scale_corner" (a square of 1, 2^-¼, …, ½ of the shorter side, in a corner or the center) or
            "random_resized" (a part of the area and a ratio of the sides drawn from `area` and `ratio`).
        flip: Probability of mirroring.
        area: Smallest and largest part of the picture that "random_resized" covers.
        ratio: Smallest and largest width / height of it.
    """

    size: int = 112
    crop: CropKind = "multi_scale_corner"
    flip: float = 0.5
    area: tuple[float, float] = (0.25, 1.0)  # as in the public 3D ResNets, not torchvision's 0.08
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def draw(self, height: int, width: int, draws: np.random.Generator) -> tuple[View, bool]:
        """Draw the part to show, and whether to mirror it.

        Args:
            height: Rows of the pictures.
            width: Columns.
            draws: Where the random numbers come from.

        Returns:
            The view, and the flip.
        """
        place = self._corner if self.crop == "multi_scale_corner" else self._resized
        top, left, rows, columns = place(height, width, draws)
        down, right = self.size / rows, self.size / columns
        # All of the picture resized so that the part is `size` pixels, then cut to the pixel.
        whole = max(self.size, round(height * down)), max(self.size, round(width * right))
        top = min(round(top * down), whole[0] - self.size)
        left = min(round(left * right), whole[1] - self.size)
        return View(*whole, top, left, self.size, self.size), bool(draws.random() < self.flip)

    def _corner(self, height: int, width: int, draws: np.random.Generator) -> tuple[int, int, int, int]:
        side = max(1, int(min(height, width) * _SCALES[draws.integers(len(_SCALES))]))
        place = draws.integers(5)
        if place == 4:
            return round((height - side) / 2), round((width - side) / 2), side, side
        return int(height - side) * int(place // 2), int(width - side) * int(place % 2), side, side

    def _resized(self, height: int, width: int, draws: np.random.Generator) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = height * width * draws.uniform(*self.area)
            ratio = math.exp(draws.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                top, left = draws.integers(height - rows + 1), draws.integers(width - columns + 1)
                return int(top), int(left), rows, columns
        # Very long pictures: the largest part of an allowed ratio, in the center.
        rows = min(height, round(width / self.ratio[0]))
        columns = min(width, round(height * self.ratio[1]))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


def centre_view(height: int, width: int, size: int) -> View:
    """The view of evaluation: the shorter side resized to `size`, the center cut out.

    Args:
        height: Rows of the pictures.
        width: Columns.
        size: Height and width of the clip.

    Returns:
        The view.
    """
    shorter = min(height, width)
    # As torchvision's `Resize`, which rounds the longer side down.
    rows, columns = size * height // shorter, size * width // shorter
    return View(rows, columns, round((rows - size) / 2), round((columns - size) / 2), size, size)


if not TYPE_CHECKING:  # to whom any name would exist

    def __getattr__(name: str) -> Any:
        """What was here in earlier versions."""
        return moved(__name__, name)
