"""Paint in perspective: polygons in space become pixels, label ids and instance ids at once."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from pcpad._renamed import moved
from pcpad.deprecation import renamed_attributes, renamed_keywords

Color = tuple[float, float, float]
Points = Sequence[tuple[float, float]]

_NEAR = 0.4  # meters; polygons are clipped at this distance from the camera
_OVER = 2  # pictures are painted at twice the size and averaged, for antialiased edges
_HAZE: Color = (196, 204, 214)


@renamed_keywords(removed="0.3.0", centre="center")
@renamed_attributes(removed="0.3.0", centre="center")
class Camera(NamedTuple):
    """A camera above the ground, looking along z; x points right and y up, in meters.

    Attributes:
        height: Rows of the picture.
        width: Columns of the picture.
        focal: Focal length in pixels.
        center: Column of x = 0.
        horizon: Row of the horizon.
        eye: Height of the camera above the ground.
    """

    height: int
    width: int
    focal: float
    center: float
    horizon: float
    eye: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Map points in space `(n, 3)` with z > 0 to columns and rows `(n, 2)`."""
        scale = self.focal / points[:, 2:]
        return np.concatenate(
            [self.center + points[:, :1] * scale, self.horizon + (self.eye - points[:, 1:2]) * scale], axis=1
        )

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x / z `(1, w)` and (eye - y) / z `(h, 1)` of the painted pixels' centers."""
        columns = (np.arange(self.width * _OVER) + 0.5) / _OVER
        rows = (np.arange(self.height * _OVER) + 0.5) / _OVER
        return ((columns - self.center) / self.focal)[None], ((rows - self.horizon) / self.focal)[:, None]


class Canvas:
    """A picture with its label map and instance map, painted from far to near.

    Args:
        camera: The view.
        random: The random generator for textures and instance numbers.
    """

    def __init__(self, camera: Camera, random: np.random.Generator) -> None:
        self.camera = camera
        size = (camera.height * _OVER, camera.width * _OVER)
        self.pixels = np.zeros((*size, 3), np.float32)
        self.ids = np.zeros(size, np.uint8)
        self.instances = np.zeros(size, np.int32)
        self._counts: dict[int, int] = {}
        # Noise of two grain sizes, so that no surface is of a single color.
        self.grain = _noise(random, size, (1, 2, 12)) + 0.5 * _noise(random, size, (40,))
        self.leaves = _noise(random, size, (2, 5, 14))

    def new_instance(self, label: int, group: bool = False) -> int:
        """The id of a new instance: label · 1000 + k; for a group of objects, the plain label id."""
        if group:
            return label
        count = self._counts.get(label, 0)
        self._counts[label] = count + 1
        return label * 1000 + count

    @renamed_keywords(removed="0.3.0", colour="color")
    def paint(
        self,
        points: np.ndarray,
        color: Color | None,
        label: int | None,
        instance: int | None = None,
        grain: float = 0.06,
        leafy: bool = False,
    ) -> None:
        """Fill a polygon in space.

        Args:
            points: `(n, 3)`, in one plane.
            color: RGB; None changes only the labels.
            label: Its label id; None changes only the pixels.
            instance: Its instance id; None: the plain label id.
            grain: How much the brightness varies.
            leafy: Whether it varies like foliage.
        """
        found = self._cover(points)
        if found is None:
            return
        window, inside, distance = found
        if color is not None:
            # Colors fade with distance.
            pale = 1 - np.exp(-distance / 260)
            mixed = np.asarray(color, np.float32) * (1 - pale) + np.asarray(_HAZE, np.float32) * pale
            noise = (self.leaves if leafy else self.grain)[window][inside]
            self.pixels[window][inside] = mixed * (1 + grain * noise)[:, None]
        if label is not None:
            self.ids[window][inside] = label
            self.instances[window][inside] = label if instance is None else instance

    def darken(self, points: np.ndarray, factor: float) -> None:
        """Cast a shadow in the shape of a polygon in space; labels are kept."""
        found = self._cover(points)
        if found is not None:
            window, inside, _ = found
            self.pixels[window][inside] *= factor

    def _cover(self, points: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray, float] | None:
        """A polygon's pixels: a window, a mask in it, and the mean distance; None if it is outside of the picture."""
        points = _clip_near(points)
        if len(points) < 3:
            return None
        corners = self.camera.project(points) * _OVER
        low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (self.ids.shape[1], self.ids.shape[0]))
        if (high <= low).any():
            return None
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        # Far outside of the picture, OpenCV's fixed-point numbers would overflow.
        local = np.clip((corners - low - 0.5) * 16, -(2**22), 2**22)
        cv2.fillPoly(mask, [np.rint(local).astype(np.int32)], 1, shift=4)
        return (slice(low[1], high[1]), slice(low[0], high[0])), mask.astype(bool), float(points[:, 2].mean())

    def finish(self, random: np.random.Generator, light: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take the picture.

        Args:
            random: The random generator for the camera's noise.
            light: Brightness.

        Returns:
            `(H, W, 3)` uint8 RGB, `(H, W)` uint8 label ids and `(H, W)` uint16 instance ids.
        """
        size = (self.camera.width, self.camera.height)
        picture = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA) * light
        picture += random.normal(0, 2.5, picture.shape).astype(np.float32)
        # Take the upper left of the four pixels; the polygons above are shifted by half a painted pixel accordingly.
        nearest = (slice(None, None, _OVER), slice(None, None, _OVER))
        return (
            np.clip(np.rint(picture), 0, 255).astype(np.uint8),
            np.ascontiguousarray(self.ids[nearest]),
            np.ascontiguousarray(self.instances[nearest]).astype(np.uint16),
        )


class Brush:
    """Paints flat shapes of one object on a plane in space, in meters of that plane.

    Args:
        canvas: The canvas to paint on.
        origin: The plane's point (0, 0).
        across: Direction of the plane's first axis, `(x, z)`; the second points up.
        label: Label id of the object; None: none.
        instance: Its instance id; None: the plain label id.
        light: Factor on all colors, for the light that the plane receives.
    """

    def __init__(
        self,
        canvas: Canvas,
        origin: tuple[float, float, float],
        across: tuple[float, float],
        label: int | None,
        instance: int | None = None,
        light: float = 1.0,
    ) -> None:
        self.canvas = canvas
        self.label = label
        self.instance = instance
        self._origin = np.asarray(origin, np.float64)
        self._axes = np.asarray([[across[0], 0, across[1]], [0, 1, 0]], np.float64)
        self._light = light

    @renamed_keywords(removed="0.3.0", colour="color")
    def polygon(self, points: Points, color: Color | None, grain: float = 0.06, leafy: bool = False) -> None:
        """Fill a polygon; a color of None changes only the labels."""
        lit = None if color is None else (color[0] * self._light, color[1] * self._light, color[2] * self._light)
        in_space = self._origin + np.asarray(points, np.float64) @ self._axes
        self.canvas.paint(in_space, lit, self.label, self.instance, grain, leafy)

    @renamed_keywords(removed="0.3.0", colour="color")
    def box(self, left: float, low: float, right: float, high: float, color: Color | None) -> None:
        """Fill a rectangle."""
        self.polygon([(left, low), (right, low), (right, high), (left, high)], color)

    @renamed_keywords(removed="0.3.0", colour="color")
    def disc(self, x: float, y: float, radius: float, color: Color | None, sides: int = 20) -> None:
        """Fill a circle."""
        angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        self.polygon([(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles], color)

    @renamed_keywords(removed="0.3.0", colour="color")
    def stroke(self, points: Points, width: float, color: Color | None) -> None:
        """Draw a line through points."""
        for (ax, ay), (bx, by) in pairwise(points):
            length = max(np.hypot(bx - ax, by - ay), 1e-6)
            sx, sy = -(by - ay) / length * width / 2, (bx - ax) / length * width / 2
            self.polygon([(ax + sx, ay + sy), (bx + sx, by + sy), (bx - sx, by - sy), (ax - sx, ay - sy)], color)


def _clip_near(points: np.ndarray) -> np.ndarray:
    """Clip a polygon in space near the camera (Sutherland and Hodgman)."""
    if (points[:, 2] >= _NEAR).all():
        return points
    kept = []
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        if a[2] >= _NEAR:
            kept.append(a)
        if (a[2] >= _NEAR) != (b[2] >= _NEAR):
            kept.append(a + (b - a) * (_NEAR - a[2]) / (b[2] - a[2]))
    return np.asarray(kept).reshape(-1, 3)


def _noise(random: np.random.Generator, size: tuple[int, int], grains: Sequence[int]) -> np.ndarray:
    """The sum of smoothed noise of several grain sizes in pixels, with a standard deviation near 1."""
    total = np.zeros(size, np.float32)
    for grain in grains:
        coarse = random.normal(size=(size[0] // grain + 2, size[1] // grain + 2)).astype(np.float32)
        total += cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    noise: np.ndarray = total / np.sqrt(len(grains))
    return noise


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
