"""The frames of a clip, and the part of the frames that it shows."""

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pcpad._renamed import moved
from pcpad.datamodules.reading.video_files import VideoIndex
from pcpad.datamodules.reading.videos import View

# Of MultiScaleCornerCrop in the public 3D ResNets: five scales from 1, each 2^(-1/4) times the previous one.
_SCALES = tuple(2 ** (-step / 4) for step in range(5))
CropKind = Literal["multi_scale_corner", "random_resized"]


class Sampling(NamedTuple):
    """How a clip's frames are sampled.

    Attributes:
        length: Frames per clip.
        stride: Every `stride`-th frame is taken.
        fps: Frame rate that the videos are resampled to first, by taking the frame on display at each tick; None: no
            resampling.
    """

    length: int = 16
    stride: int = 1
    fps: float | None = None

    @property
    def span(self) -> int:
        """Frames from the start of one clip to the start of the next."""
        return self.length * self.stride

    def timeline(self, index: VideoIndex) -> np.ndarray:
        """The frames that clips are taken from.

        Args:
            index: A video's index.

        Returns:
            Positions in the index, `(M,)`, M >= 1: all, or those on display at 0, 1/fps, 2/fps, … seconds.
        """
        if self.fps is None:
            return np.arange(len(index.pts))
        # In integers, so that a tick at a frame's start takes that frame.
        ticks = max(1, math.ceil(round((index.end - int(index.pts[0])) * index.time_base * self.fps, 6)))
        times = np.round(np.arange(ticks) / self.fps / float(index.time_base), 3)
        return np.searchsorted(index.pts - index.pts[0], times, side="right") - 1

    def clip(self, timeline: np.ndarray, start: int) -> np.ndarray:
        """Take a clip; if the video ends too early, the clip is looped from its start.

        Args:
            timeline: From `timeline`.
            start: Position in the timeline.

        Returns:
            `(length,)` positions in the index.
        """
        return np.resize(timeline[start : start + self.span : self.stride], self.length)

    def seconds(self, index: VideoIndex, timeline: np.ndarray, start: int) -> tuple[float, float]:
        """The part of the video that a clip shows.

        Args:
            index: The video's index.
            timeline: From `timeline`.
            start: The clip's position in the timeline.

        Returns:
            The times at which its first frame starts and its last one ends, in seconds; with `fps`, those of the ticks.
        """
        times = index.times
        if self.fps is not None:
            # A single frame may be on display throughout several clips.
            return start / self.fps, min((start + self.span) / self.fps, float(times[-1]))
        positions = self.clip(timeline, start)
        return float(times[positions.min()]), float(times[positions.max() + 1])

    def latest_start(self, timeline: np.ndarray) -> int:
        """The last position at which a full clip can start; 0 for short videos."""
        return max(0, len(timeline) - (self.length - 1) * self.stride - 1)

    def spread(self, timeline: np.ndarray, count: int) -> list[int]:
        """Starts of clips that are spread evenly over the video, from its start to its end.

        As in the validation of the public 3D ResNets, except that no clip starts so late that it has to be looped.

        Args:
            timeline: From `timeline`.
            count: The number of clips, at least 1.

        Returns:
            Positions in the timeline, increasing; fewer than `count` if the video is too short.
        """
        latest = self.latest_start(timeline)
        step = max(1, math.ceil((latest - 1) / max(1, count - 1)))
        return sorted({min(clip * step, latest) for clip in range(count)})

    def windows(self, timeline: np.ndarray) -> range:
        """Starts of consecutive clips that cover the video without overlap."""
        return range(0, len(timeline), self.span)


class ClipAugmentation(NamedTuple):
    """The random crop and flip of a training clip, the same for all frames.

    Attributes:
        size: Height and width of the clip.
        crop: "multi_scale_corner" (a square of 1, 2^-¼, …, ½ of the shorter side, in a corner or the center) or
            "random_resized" (its share of the area and its aspect ratio are drawn from `area` and `ratio`).
        flip: Probability of mirroring.
        area: Smallest and largest share of the frame's area that "random_resized" covers.
        ratio: Its smallest and largest width / height.
    """

    size: int = 112
    crop: CropKind = "multi_scale_corner"
    flip: float = 0.5
    area: tuple[float, float] = (0.25, 1.0)  # as in the public 3D ResNets, not torchvision's 0.08
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def draw(self, height: int, width: int, draws: np.random.Generator) -> tuple[View, bool]:
        """Draw the part to show, and whether to mirror it.

        Args:
            height: Rows of the frames.
            width: Columns.
            draws: Where the random numbers come from.

        Returns:
            The view, and the flip.
        """
        place = self._corner if self.crop == "multi_scale_corner" else self._resized
        top, left, rows, columns = place(height, width, draws)
        down, right = self.size / rows, self.size / columns
        # Resize the whole frame so that the part has `size` pixels, then crop.
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
        # Very elongated frames: the largest centered part with an allowed ratio.
        rows = min(height, round(width / self.ratio[0]))
        columns = min(width, round(height * self.ratio[1]))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


def center_view(height: int, width: int, size: int) -> View:
    """The view for evaluation: resize the shorter side to `size`, and crop the center.

    Args:
        height: Rows of the frames.
        width: Columns.
        size: Height and width of the clip.

    Returns:
        The view.
    """
    shorter = min(height, width)
    # Like torchvision's `Resize`, which rounds the longer side down.
    rows, columns = size * height // shorter, size * width // shorter
    return View(rows, columns, round((rows - size) / 2), round((columns - size) / 2), size, size)


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
