"""Objects along a street: poles, lights, signs, trees, walls, fences, bins."""

import numpy as np

from pcpad.datamodules.samples.street_canvas import Brush, Canvas, Color

STATIC, DYNAMIC, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION = 4, 5, 12, 13, 17, 19, 20, 21
_METAL: Color = (112, 116, 120)


def tree(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A tree with a trunk; both are vegetation."""
    brush = Brush(canvas, (x, 0, z), (1, 0), VEGETATION)
    brush.box(-0.16, 0, 0.16, 3.2, (84, 68, 54))
    green = np.asarray((70, 96, 44)) * random.uniform(0.75, 1.25)
    for _ in range(16):
        dx, dy, radius = random.normal(0, 0.8), random.uniform(2.6, 6.2), random.uniform(0.5, 1.2)
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        ragged = radius * random.uniform(0.75, 1.15, 14)
        shade = tuple((green * random.uniform(0.7, 1.25)).tolist())
        points = list(
            zip((dx + ragged * np.cos(angles)).tolist(), (dy + ragged * np.sin(angles)).tolist(), strict=True)
        )
        brush.polygon(points, shade, grain=0.28, leafy=True)


def bush(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A low, wide bush."""
    brush = Brush(canvas, (x, 0, z), (1, 0), VEGETATION)
    points = [(-1.1, 0.0), *((-1.1 + 0.22 * i, random.uniform(0.6, 1.3)) for i in range(1, 10)), (1.1, 0.0)]
    brush.polygon(points, (62, 92, 46), grain=0.28, leafy=True)


def pole(canvas: Canvas, x: float, z: float, height: float) -> None:
    """A lamp post."""
    brush = Brush(canvas, (x, 0, z), (1, 0), POLE)
    brush.box(-0.07, 0, 0.07, height, _METAL)
    brush.stroke([(0, height), (-1.1 if x > 0 else 1.1, height + 0.25)], 0.1, _METAL)
    brush.box(*((-1.5, height + 0.15, -1.0) if x > 0 else (1.0, height + 0.15, 1.5)), height + 0.32, (150, 152, 150))


def traffic_light(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A traffic light on its pole."""
    Brush(canvas, (x, 0, z), (1, 0), POLE).box(-0.06, 0, 0.06, 2.5, _METAL)
    brush = Brush(canvas, (x, 0, z), (1, 0), LIGHT)
    brush.box(-0.2, 2.2, 0.2, 3.2, (38, 40, 42))
    lamps: tuple[Color, Color, Color] = ((236, 40, 32), (244, 184, 40), (52, 220, 110))
    shining = int(random.integers(3))
    for number, lamp in enumerate(lamps):
        dim = lamp if number == shining else (lamp[0] * 0.25, lamp[1] * 0.25, lamp[2] * 0.25)
        brush.disc(0, 3.03 - 0.32 * number, 0.12, dim)


def traffic_sign(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A round, triangular, square or wide sign on its pole."""
    Brush(canvas, (x, 0, z), (1, 0), POLE).box(-0.05, 0, 0.05, 2.5, _METAL)
    brush = Brush(canvas, (x, 0, z), (1, 0), SIGN)
    red, white, blue, yellow = (198, 30, 36), (236, 236, 232), (26, 76, 168), (240, 196, 30)
    kind = int(random.integers(4))
    if kind == 0:
        brush.disc(0, 2.5, 0.38, red)
        brush.disc(0, 2.5, 0.27, white)
    elif kind == 1:
        brush.polygon([(-0.44, 2.8), (0.44, 2.8), (0, 2.05)], red)
        brush.polygon([(-0.26, 2.7), (0.26, 2.7), (0, 2.24)], white)
    elif kind == 2:
        brush.box(-0.36, 2.1, 0.36, 2.82, blue)
        brush.polygon([(-0.2, 2.2), (0.2, 2.2), (0, 2.65)], white)
    else:
        brush.box(-0.75, 2.3, 0.75, 2.8, yellow)
        brush.stroke([(-0.55, 2.55), (0.45, 2.55)], 0.1, (30, 30, 30))


def wall(canvas: Canvas, x: float, near: float, far: float, random: np.random.Generator) -> None:
    """A brick wall along the street."""
    height = random.uniform(1.5, 2.2)
    red = np.asarray((136, 104, 88)) * random.uniform(0.8, 1.15)
    brush = Brush(canvas, (x, 0, 0), (0, 1), WALL)
    brush.box(near, 0, far, height, tuple(red.tolist()))
    for course in np.arange(0.3, height, 0.3):
        brush.box(near, course, far, course + 0.05, tuple((red * 0.72).tolist()))
    for joint in np.arange(near, far, 2.2):
        brush.box(joint, 0, joint + 0.07, height, tuple((red * 0.75).tolist()))
    brush.box(near, height - 0.02, far, height + 0.1, (170, 166, 158))


def fence(canvas: Canvas, x: float, near: float, far: float, random: np.random.Generator) -> None:
    """A railing along the street: the background seen between its bars counts as fence, as in Cityscapes."""
    height = random.uniform(1.0, 1.5)
    brush = Brush(canvas, (x, 0, 0), (0, 1), FENCE)
    brush.box(near, 0, far, height, None)
    steel: Color = (70, 88, 78) if random.random() < 0.5 else (150, 146, 138)
    for bar in np.arange(near, far, 0.3):
        brush.box(bar, 0, min(bar + 0.09, far), height, steel)
    for rail in (0.12, height / 2, height - 0.1):
        brush.box(near, rail, far, rail + 0.09, steel)


def bin_or_box(canvas: Canvas, x: float, z: float, random: np.random.Generator) -> None:
    """A trash can (dynamic) or a utility box (static)."""
    if random.random() < 0.5:
        Brush(canvas, (x, 0, z), (1, 0), DYNAMIC).box(-0.28, 0, 0.28, 1.0, (60, 64, 60))
    else:
        Brush(canvas, (x, 0, z), (1, 0), STATIC).box(-0.45, 0, 0.45, 1.25, (124, 130, 126))
