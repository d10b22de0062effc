"""The street itself: ground, rows of buildings and sky, by casting a ray for each pixel."""

from typing import NamedTuple

import cv2
import numpy as np

from pcpad.datamodules.samples.street_canvas import Canvas

ROAD, SIDEWALK, PARKING, RAIL_TRACK, BUILDING, VEGETATION, TERRAIN, SKY = 7, 8, 9, 10, 11, 21, 22, 23


class Street(NamedTuple):
    """A straight street along z; distances in meters, positions along x.

    Attributes:
        left: Left edge of the road.
        right: Right edge of the road.
        left_wall: Position of the buildings on the left.
        right_wall: Position of the buildings on the right.
        green: Widths of the strips of grass next to the buildings, left and right.
        verge: Width of the strip of grass next to the road, on the right.
        rails: Start and end of a tram track; None: no track.
        parking: Start and end of a parking strip; None: none.
        end: Where the street ends.
    """

    left: float
    right: float
    left_wall: float
    right_wall: float
    green: tuple[float, float]
    verge: float
    rails: tuple[float, float] | None
    parking: tuple[float, float] | None
    end: float


def lay_street(canvas: Canvas, street: Street, random: np.random.Generator) -> None:
    """Paint and label the background, before any object."""
    across, down = np.broadcast_arrays(*canvas.camera.rays())
    with np.errstate(divide="ignore"):
        to_ground = np.where(down > 0, canvas.camera.eye / np.maximum(down, 1e-9), np.inf)
        to_wall = np.where(across > 0, street.right_wall, street.left_wall) / across
    distance = np.minimum(np.minimum(to_ground, to_wall), street.end)
    x, y = across * distance, canvas.camera.eye - down * distance
    on_ground = to_ground <= np.minimum(to_wall, street.end)
    _sky(canvas, down, random)
    _buildings(canvas, street, ~on_ground, to_wall < street.end, (x, y, distance), random)
    _ground(canvas, street, on_ground, (x[on_ground], distance[on_ground]), random)


def _sky(canvas: Canvas, down: np.ndarray, random: np.random.Generator) -> None:
    height = np.clip(-down / 0.5, 0, 1)[..., None].astype(np.float32)
    height_px, width_px = down.shape
    clouds = cv2.resize(random.normal(size=(9, 13)), (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    clouds = np.clip(clouds * 0.5 + random.uniform(0, 0.8), 0, 1).astype(np.float32)[..., None]
    blue = _rgb(205, 216, 226) * (1 - height) + _rgb(118, 158, 206) * height
    canvas.pixels[:] = blue * (1 - clouds) + _rgb(222, 224, 226) * clouds
    canvas.ids[:] = SKY
    canvas.instances[:] = SKY


def _ground(
    canvas: Canvas,
    street: Street,
    where: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    random: np.random.Generator,
) -> None:
    x, z = place
    ids = np.full(x.shape, SIDEWALK, np.uint8)
    ids[(x < street.left_wall + street.green[0]) | (x > street.right_wall - street.green[1])] = TERRAIN
    ids[(x > street.right) & (x < street.right + street.verge)] = TERRAIN
    ids[(x > street.left) & (x < street.right)] = ROAD
    for strip, label in ((street.rails, RAIL_TRACK), (street.parking, PARKING)):
        if strip is not None:
            ids[(x > strip[0]) & (x < strip[1])] = label
    tint = random.uniform(0.85, 1.15)
    colors = np.zeros((256, 3), np.float32)
    colors[ROAD] = np.asarray((92, 92, 96)) * tint
    colors[SIDEWALK] = np.asarray((152, 144, 136)) * random.uniform(0.9, 1.1)
    colors[PARKING] = (126, 112, 106)
    colors[RAIL_TRACK] = (120, 110, 98)
    colors[TERRAIN] = np.asarray((104, 128, 62)) * random.uniform(0.85, 1.15)
    brightness = 1 + _on_ground(random, x, z) * np.where(ids == TERRAIN, 0.16, 0.07)
    near = np.exp(-z / 30)  # fine patterns fade with distance
    slabs = ((x % 0.6 < 0.05) | (z % 0.6 < 0.05)) & (ids == SIDEWALK)
    bricks = ((x % 0.25 < 0.04) | (z % 0.5 < 0.06)) & (ids == PARKING)
    brightness -= 0.22 * near * (slabs | bricks)
    paint = colors[ids] * brightness[:, None]
    curb = (np.abs(x - street.left) < 0.12) | (np.abs(x - street.right) < 0.12)
    paint[curb] = _rgb(178, 176, 170) * brightness[curb][:, None]
    if street.rails is not None:
        middle = sum(street.rails) / 2
        rails = (np.abs(np.abs(x - middle) - 0.72) < 0.07) & (ids == RAIL_TRACK)
        paint[rails] = (74, 76, 80)
    lane = (street.left + street.right) / 2
    lines = (np.abs(x - lane) < 0.09) & (z % 9 < 4.5)
    lines |= np.abs(np.abs(x - lane) - (street.right - street.left) / 2 + 0.35) < 0.07
    crossing = random.uniform(9, 30)
    lines |= (z > crossing) & (z < crossing + 2.8) & (x % 1.0 < 0.5)
    lines &= ids == ROAD
    paint[lines] = _rgb(214, 214, 208) * (0.75 + 0.25 * brightness[lines])[:, None]
    pale = (1 - np.exp(-z / 260))[:, None]
    canvas.pixels[where] = paint * (1 - pale) + _rgb(196, 204, 214) * pale
    canvas.ids[where] = ids
    canvas.instances[where] = ids


def _buildings(
    canvas: Canvas,
    street: Street,
    above: np.ndarray,
    at_side: np.ndarray,
    place: tuple[np.ndarray, np.ndarray, np.ndarray],
    random: np.random.Generator,
) -> None:
    """Paint both rows of houses and the one across the street's end."""
    x, y, z = place
    for chosen, along in (
        (above & at_side & (x < 0), z),
        (above & at_side & (x > 0), z),
        (above & ~at_side, x + 100),
    ):
        edges = np.cumsum(random.uniform(7, 20, 40))
        heights = random.uniform(7, 19, 41)
        # A gap between houses, filled by distant trees.
        gaps = random.random(41) < 0.15
        colors = (
            random.uniform(0.75, 1.2, (41, 1))
            * np.asarray(
                [(186, 164, 132), (168, 152, 140), (196, 190, 176), (150, 112, 92), (170, 174, 178), (206, 178, 120)]
            )[random.integers(6, size=41)]
        )
        shops = random.random(41) < 0.5
        light = random.uniform(0.68, 1.0)
        along_chosen, up = along[chosen], y[chosen]
        house = np.searchsorted(edges, along_chosen)
        trees = gaps[house]
        top = np.where(trees, 4.5 + canvas.leaves[chosen], heights[house])
        paint = (colors[house] * light).astype(np.float32)
        start = np.concatenate([[0.0], edges])[house]
        u, v = (along_chosen - start - 0.9) % 2.4 / 2.4, (up - 1.0) % 3.1 / 3.1
        glass = (u > 0.25) & (u < 0.7) & (v > 0.2) & (v < 0.75) & (up > 3.9) & (up < top - 0.9)
        glass |= shops[house] & (up > 0.5) & (up < 2.9) & (u > 0.08) & (u < 0.92)
        cell = ((along_chosen - start) // 2.4 * 7 + up // 3.1 * 13 + house * 5).astype(int) % 11
        paint[glass] = (_rgb(52, 62, 76) * (0.7 + 0.1 * cell[glass])[:, None]) * light
        paint[(up > top - 0.5) & ~trees] *= 0.7  # eaves
        paint[(np.abs(up - 3.4) < 0.12) & ~trees] *= 0.82  # ledge
        paint[np.abs(along_chosen - start) < 0.18] *= 0.75  # joint
        paint[trees] = (66, 88, 46)
        paint *= (1 + np.where(trees, 0.22 * canvas.leaves[chosen], 0.05 * canvas.grain[chosen]))[:, None]
        pale = (1 - np.exp(-z[chosen] / 260))[:, None]
        paint = paint * (1 - pale) + _rgb(196, 204, 214) * pale
        below = np.zeros_like(chosen)
        below[chosen] = up < top
        kept = up < top
        canvas.pixels[below] = paint[kept]
        canvas.ids[below] = np.where(trees, VEGETATION, BUILDING)[kept]
        canvas.instances[below] = canvas.ids[below]


def _on_ground(random: np.random.Generator, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Noise on the ground plane, whose grain shrinks with distance."""
    tile = random.normal(size=(256, 256)).astype(np.float32)
    total = np.zeros(x.shape, np.float32)
    for grain in (0.04, 0.25, 1.6):
        total += tile[(x / grain).astype(int) % 256, (z / grain).astype(int) % 256]
    wear: np.ndarray = total / np.sqrt(3)
    return wear


def _rgb(red: float, green: float, blue: float) -> np.ndarray:
    return np.asarray((red, green, blue), np.float32)
