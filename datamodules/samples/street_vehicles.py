"""Cars, trucks, buses and trams, as boxes with windows, wheels and lights."""

import numpy as np

from pcpad.datamodules.samples.street_canvas import Brush, Canvas, Color
from pcpad.deprecation import renamed_keywords

CAR, TRUCK, BUS, TRAIN = 26, 27, 28, 31
_GLASS: Color = (44, 52, 62)
_TIRE: Color = (28, 28, 30)
_PAINTS: tuple[Color, ...] = (
    (196, 198, 202),
    (40, 42, 46),
    (150, 28, 30),
    (34, 62, 120),
    (232, 232, 230),
    (110, 114, 118),
    (36, 84, 62),
    (196, 160, 60),
)


class Box:
    """The visible faces of a box along the street.

    Args:
        canvas: The canvas to paint on.
        sides: Its start and end along x.
        ends: Its start and end along z.
        label: Label id.
        instance: Instance id.

    Attributes:
        end: Brush for the face towards the camera; x from the box's left.
        side: Brush for the long face towards the camera; its first axis is z from the near end. None if the camera
            looks straight at the end.
    """

    def __init__(
        self,
        canvas: Canvas,
        sides: tuple[float, float],
        ends: tuple[float, float],
        label: int,
        instance: int,
    ) -> None:
        self.canvas = canvas
        self.sides, self.ends = sides, ends
        self.label, self.instance = label, instance
        self.width, self.length = sides[1] - sides[0], ends[1] - ends[0]
        self.end = Brush(canvas, (sides[0], 0, ends[0]), (1, 0), label, instance)
        seen = sides[1] if sides[1] < 0 else sides[0] if sides[0] > 0 else None
        # One face in the sun and one in the shade, so that edges are visible.
        light = 0.82 if seen is not None and seen > 0 else 1.08
        self.side = None if seen is None else Brush(canvas, (seen, 0, ends[0]), (0, 1), label, instance, light)

    @renamed_keywords(removed="0.3.0", colour="color")
    def fill(self, low: float, high: float, color: Color, near: float = 0, far: float | None = None) -> None:
        """Paint the box between two heights and two distances from its near end, including its top."""
        far = self.length if far is None else far
        (left, right), z = self.sides, self.ends[0]
        if high < self.canvas.camera.eye:
            lid = [(left, high, z + near), (right, high, z + near), (right, high, z + far), (left, high, z + far)]
            brighter = (color[0] * 1.1, color[1] * 1.1, color[2] * 1.1)
            self.canvas.paint(np.asarray(lid, np.float64), brighter, self.label, self.instance)
        if self.side is not None:
            self.side.box(near, low, far, high, color)
        face = Brush(self.canvas, (left, 0, z + near), (1, 0), self.label, self.instance)
        face.box(0, low, self.width, high, color)

    def wheels(self, places: tuple[float, ...], radius: float) -> None:
        """Paint the wheels on the side, and the two that are visible from the end."""
        for place in places:
            if self.side is not None:
                self.side.disc(place, radius, radius, _TIRE)
                self.side.disc(place, radius, radius * 0.55, (128, 130, 134))
        for left in (0.05, self.width - 0.27):
            self.end.box(left, 0, left + 0.22, radius, _TIRE)

    def shadow(self) -> None:
        """Darken the ground below and next to it."""
        (left, right), (near, far) = self.sides, self.ends
        under = [(left - 0.3, 0, near - 0.2), (right + 0.3, 0, near - 0.2), (right + 0.3, 0, far), (left - 0.3, 0, far)]
        self.canvas.darken(np.asarray(under, np.float64), 0.55)


def car(canvas: Canvas, x: float, z: float, random: np.random.Generator, towards: bool = False) -> None:
    """A car with its near end at z and its center at x; `towards`: it is oncoming, so its lights are white."""
    instance = canvas.new_instance(CAR, group=z > 55)
    paint = _PAINTS[int(random.integers(len(_PAINTS)))]
    length, roof = random.uniform(3.9, 4.7), random.uniform(1.42, 1.62)
    box = Box(canvas, (x - 0.88, x + 0.88), (z, z + length), CAR, instance)
    box.shadow()
    box.fill(0.08, 0.35, (34, 34, 36))
    box.fill(0.3, 0.9, paint)
    hood = 0.95 if towards else 0.35
    cabin = Box(canvas, (x - 0.76, x + 0.76), (z + hood, z + length - 0.9), CAR, instance)
    cabin.fill(0.88, roof, paint)
    if cabin.side is not None:
        middle = cabin.length / 2
        for near, far in ((0.18, middle - 0.06), (middle + 0.06, cabin.length - 0.18)):
            cabin.side.polygon([(near, 0.96), (far, 0.96), (far, roof - 0.09), (near + 0.1, roof - 0.09)], _GLASS)
    cabin.end.polygon([(0.1, 0.95), (1.42, 0.95), (1.3, roof - 0.08), (0.22, roof - 0.08)], _GLASS)
    box.wheels((0.8, length - 0.85), 0.32)
    _lights(box, 0.62, (250, 248, 230) if towards else (186, 22, 20))
    box.end.box(0.63, 0.42, 1.13, 0.53, (236, 236, 230))


def truck(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A truck seen from behind: its cargo box, then the cab."""
    instance = canvas.new_instance(TRUCK)
    paint = _PAINTS[int(random.integers(len(_PAINTS)))]
    top = random.uniform(3.1, 3.7)
    cab = Box(canvas, (x - 1.1, x + 1.1), (z + 6.3, z + 8.2), TRUCK, instance)
    box = Box(canvas, (x - 1.22, x + 1.22), (z, z + 6.1), TRUCK, instance)
    box.shadow()
    cab.fill(0.5, 2.7, paint)
    if cab.side is not None:
        cab.side.box(0.5, 1.6, 1.5, 2.4, _GLASS)
    box.fill(0.45, 0.95, (48, 48, 50))
    cover: Color = (204, 206, 204) if random.random() < 0.6 else (54, 92, 140)
    box.fill(0.95, top, cover)
    if box.side is not None:
        box.side.box(0.5, 1.6, 5.6, top - 0.5, paint)
        for rib in np.arange(0.5, 6, 0.9):
            box.side.box(rib, 0.95, rib + 0.05, top, (130, 130, 130))
    box.end.box(1.19, 0.95, 1.25, top, (80, 80, 80))
    for bar in (0.5, 1.85):
        box.end.box(bar, 1.1, bar + 0.06, top - 0.15, (120, 120, 122))
    box.wheels((1.2, 2.3, 5.4), 0.48)
    _lights(box, 0.7, (190, 24, 22))


def bus(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A city bus seen from behind."""
    box = Box(canvas, (x - 1.25, x + 1.25), (z, z + 11.5), BUS, canvas.new_instance(BUS))
    box.shadow()
    body: Color = ((222, 180, 30), (190, 44, 40), (226, 226, 222))[int(random.integers(3))]
    box.fill(0.25, 3.05, body)
    if box.side is not None:
        box.side.box(0.3, 1.35, 11.2, 2.5, _GLASS)
        for post in np.arange(1.8, 11, 1.6):
            box.side.box(post, 1.35, post + 0.12, 2.5, body)
        box.side.box(4.2, 0.35, 5.4, 2.5, (58, 66, 76))
    box.end.box(0.2, 1.5, 2.3, 2.45, _GLASS)
    box.end.box(0.65, 2.55, 1.85, 2.85, (30, 32, 30))
    box.end.stroke([(0.8, 2.7), (1.6, 2.7)], 0.1, (250, 180, 40))
    box.end.box(0.4, 0.6, 2.1, 1.1, (96, 98, 100))
    box.wheels((2.4, 8.8), 0.48)
    _lights(box, 0.95, (196, 26, 24))


def train(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A tram of two cars on its track."""
    box = Box(canvas, (x - 1.2, x + 1.2), (z, z + 26), TRAIN, canvas.new_instance(TRAIN))
    box.shadow()
    body: Color = ((216, 212, 204), (70, 132, 108), (196, 40, 52))[int(random.integers(3))]
    box.fill(0.12, 0.5, (52, 52, 54))
    box.fill(0.45, 3.4, body)
    if box.side is not None:
        box.side.box(0, 0.9, 26, 1.15, (170, 30, 40))
        box.side.box(0.4, 1.5, 25.6, 2.7, _GLASS)
        for post in np.arange(2.0, 25, 2.4):
            box.side.box(post, 1.5, post + 0.2, 2.7, body)
        box.side.box(12.6, 0.2, 13.4, 3.4, (40, 40, 42))
    box.end.polygon([(0.2, 1.4), (2.2, 1.4), (2.0, 2.8), (0.4, 2.8)], _GLASS)
    box.end.box(0.7, 2.9, 1.7, 3.2, (34, 34, 30))
    box.end.box(0.15, 0.2, 2.25, 0.6, (60, 60, 62))
    _lights(box, 0.85, (250, 246, 226))
    Brush(canvas, (x, 0, z + 8), (0, 1), None).stroke([(0, 3.4), (0.9, 4.2), (0, 5.0)], 0.06, (60, 60, 62))


def _lights(box: Box, height: float, color: Color) -> None:
    for left in (0.06, box.width - 0.34):
        box.end.box(left, height, left + 0.28, height + 0.17, color)
