"""Persons, and bicycles and motorcycles with and without riders."""

import numpy as np

from pcpad.datamodules.samples.street_canvas import Brush, Canvas, Color

PERSON, RIDER, MOTORCYCLE, BICYCLE = 24, 25, 32, 33
_SKINS: tuple[Color, ...] = ((224, 182, 154), (198, 148, 116), (142, 98, 72), (94, 66, 50))
_CLOTHES: tuple[Color, ...] = (
    (44, 48, 62),
    (150, 36, 40),
    (62, 92, 146),
    (196, 190, 180),
    (54, 90, 62),
    (226, 196, 70),
    (92, 66, 96),
    (34, 34, 36),
)


def _pick(random: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(random.integers(len(colors)))]


def person(canvas: Canvas, x: float, z: float, random: np.random.Generator, group: bool = False) -> None:
    """A person, standing or walking; `group`: one of several that count as one."""
    size = random.uniform(0.9, 1.06) * (0.66 if random.random() < 0.12 else 1)
    brush = Brush(canvas, (x, 0, z), (size, 0), PERSON, canvas.new_instance(PERSON, group))
    skin, coat, trousers = _pick(random, _SKINS), _pick(random, _CLOTHES), _pick(random, _CLOTHES)
    step = random.uniform(0.02, 0.3)
    brush.stroke([(0.05, 0.86), (step, 0.45), (step * 0.9 + 0.05, 0.04)], 0.17, trousers)
    brush.stroke([(-0.05, 0.86), (-step * 0.8, 0.45), (-step - 0.06, 0.06)], 0.17, trousers)
    for foot in (step * 0.9 + 0.08, -step - 0.03):
        brush.box(foot - 0.1, 0, foot + 0.14, 0.09, (30, 28, 28))
    brush.polygon([(-0.19, 0.8), (0.19, 0.8), (0.24, 1.42), (0.1, 1.52), (-0.1, 1.52), (-0.24, 1.42)], coat)
    swing = random.uniform(-0.25, 0.25)
    for side in (-1, 1):
        hand = (side * 0.27 + swing * side, 0.82)
        brush.stroke(
            [(side * 0.22, 1.42), (side * 0.28, 1.12), hand], 0.11, (coat[0] * 0.85, coat[1] * 0.85, coat[2] * 0.85)
        )
        brush.disc(*hand, 0.06, skin)
    _head(brush, 0, 1.66, skin, random)
    if random.random() < 0.35:
        brush.box(0.2, 0.75, 0.45, 1.1, _pick(random, _CLOTHES))


def bicycle(canvas: Canvas, x: float, z: float, random: np.random.Generator, rider: bool, group: bool = False) -> None:
    """A bicycle seen obliquely, with or without its rider; the background seen through its wheels counts as bicycle."""
    across = _direction(random)
    brush = Brush(canvas, (x, 0, z), across, BICYCLE, canvas.new_instance(BICYCLE, group))
    frame = _pick(random, _CLOTHES[1:])
    for hub in (-0.52, 0.52):
        brush.disc(hub, 0.35, 0.36, None)
        angles = np.linspace(0, 2 * np.pi, 21)
        brush.stroke([(hub + 0.34 * np.cos(a), 0.35 + 0.34 * np.sin(a)) for a in angles], 0.06, (30, 30, 32))
        for angle in np.linspace(0, np.pi, 4, endpoint=False):
            dx, dy = 0.33 * np.cos(angle), 0.33 * np.sin(angle)
            brush.stroke([(hub - dx, 0.35 - dy), (hub + dx, 0.35 + dy)], 0.015, (120, 120, 120))
    brush.polygon([(-0.52, 0.35), (-0.05, 0.3), (0.42, 0.8), (-0.18, 0.78)], None)
    brush.stroke([(-0.52, 0.35), (-0.05, 0.3), (0.4, 0.78), (-0.18, 0.76), (-0.52, 0.35)], 0.06, frame)
    brush.stroke([(-0.05, 0.3), (-0.22, 0.92)], 0.06, frame)
    brush.stroke([(0.52, 0.35), (0.38, 0.98), (0.25, 1.02)], 0.06, frame)
    brush.stroke([(-0.36, 0.94), (-0.08, 0.94)], 0.08, (36, 34, 34))
    if rider:
        _rider(canvas, (x, z), across, 0.92, random)


def motorcycle(canvas: Canvas, x: float, z: float, random: np.random.Generator, rider: bool) -> None:
    """A motorcycle seen obliquely, with or without its rider."""
    across = _direction(random)
    brush = Brush(canvas, (x, 0, z), across, MOTORCYCLE, canvas.new_instance(MOTORCYCLE))
    paint = _pick(random, _CLOTHES[1:])
    for hub in (-0.68, 0.68):
        brush.disc(hub, 0.32, 0.33, (28, 28, 30))
        brush.disc(hub, 0.32, 0.18, (120, 122, 126))
    brush.polygon([(-0.85, 0.72), (-0.3, 0.3), (0.35, 0.28), (0.6, 0.8), (0.25, 1.0), (-0.75, 0.86)], paint)
    brush.box(-0.3, 0.28, 0.28, 0.58, (86, 88, 92))
    brush.polygon([(-0.75, 0.82), (0.05, 0.78), (0.05, 0.9), (-0.7, 0.95)], (32, 30, 32))
    brush.stroke([(0.68, 0.32), (0.46, 1.05), (0.3, 1.12)], 0.08, (70, 72, 74))
    brush.disc(0.58, 0.9, 0.11, (244, 240, 214))
    if rider:
        _rider(canvas, (x, z), across, 0.86, random, helmet=True)


def _rider(
    canvas: Canvas,
    place: tuple[float, float],
    across: tuple[float, float],
    saddle: float,
    random: np.random.Generator,
    helmet: bool = False,
) -> None:
    """A rider on a saddle, leaning forward to the handlebar."""
    brush = Brush(canvas, (place[0], 0, place[1] - 0.02), across, RIDER, canvas.new_instance(RIDER))
    skin, coat, trousers = _pick(random, _SKINS), _pick(random, _CLOTHES), _pick(random, _CLOTHES)
    top = saddle + 0.62
    brush.stroke([(-0.18, saddle), (0.16, saddle - 0.28), (0.0, 0.3)], 0.18, trousers)
    brush.box(-0.08, 0.24, 0.2, 0.34, (30, 28, 28))
    brush.polygon(
        [(-0.34, saddle - 0.04), (-0.02, saddle - 0.04), (0.2, top - 0.05), (0.06, top + 0.04), (-0.16, top)], coat
    )
    brush.stroke([(0.1, top - 0.1), (0.2, saddle + 0.3), (0.36, saddle + 0.14)], 0.11, coat)
    if helmet:
        brush.disc(0.14, top + 0.16, 0.16, (226, 226, 222))
        brush.box(0.14, top + 0.12, 0.3, top + 0.22, (30, 32, 36))
    else:
        _head(brush, 0.13, top + 0.17, skin, random)


def _head(brush: Brush, x: float, y: float, skin: Color, random: np.random.Generator) -> None:
    brush.disc(x, y, 0.125, skin)
    hair = _pick(random, ((38, 30, 26), (90, 66, 42), (168, 138, 90), (150, 150, 150)))
    brush.polygon([(x - 0.13, y), (x - 0.11, y + 0.11), (x, y + 0.15), (x + 0.11, y + 0.11), (x + 0.13, y)], hair)


def _direction(random: np.random.Generator) -> tuple[float, float]:
    """A random direction between across the view and along the street."""
    angle = random.uniform(0.0, 1.0)
    return (float(np.cos(angle)) * (1 if random.random() < 0.5 else -1), float(np.sin(angle)))
