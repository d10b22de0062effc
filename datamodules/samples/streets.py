"""Compose street scenes: the positions of objects, the classes that each scene must show, and the camera's car."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pcpad.datamodules.samples import street_people as people
from pcpad.datamodules.samples import street_things as things
from pcpad.datamodules.samples import street_vehicles as vehicles
from pcpad.datamodules.samples.street_canvas import Camera, Canvas
from pcpad.datamodules.samples.street_ground import Street, lay_street
from pcpad.errors import UserValueError

EGO_VEHICLE, OUT_OF_ROI = 1, 3

# Label ids that every scene shows: road, sidewalk, building, pole, light, sign, vegetation, terrain, sky, person, car.
_ALWAYS = (7, 8, 11, 17, 19, 20, 21, 22, 23, 24, 26)
# Each of three consecutive scenes shows another of these sets, so that any three show all classes.
_IN_TURN = (
    (people.RIDER, people.BICYCLE, vehicles.BUS, things.WALL),
    (people.RIDER, people.MOTORCYCLE, vehicles.TRAIN, things.FENCE),
    (people.BICYCLE, vehicles.TRUCK, things.WALL, things.FENCE),
)
_ATTEMPTS = 25


class Scene(NamedTuple):
    """One picture with its labels.

    Attributes:
        image: `(H, W, 3)` uint8 RGB.
        ids: `(H, W)` uint8 label ids.
        instances: `(H, W)` uint16: id · 1000 + k for single objects, the plain label id for everything else.
    """

    image: np.ndarray
    ids: np.ndarray
    instances: np.ndarray


def draw_scene(number: int, size: tuple[int, int], seed: int) -> Scene:
    """Draw a street scene; any three consecutive numbers together show all 19 classes.

    Args:
        number: The scene's number.
        size: Height and width.
        seed: With `number`, determines the scene.

    Returns:
        The scene.

    Raises:
        ValueError: The size is too small for the classes the scene must show.
    """
    wanted = _IN_TURN[number % len(_IN_TURN)]
    # A class counts as shown if it covers at least 1/5000 of the picture, 5 × 5 pixels of 256 × 512.
    enough = max(size[0] * size[1] / 5000, 4)
    for attempt in range(_ATTEMPTS):
        random = np.random.default_rng([seed, number, attempt])
        scene = _compose(size, wanted, random)
        counts = np.bincount(scene.ids.ravel(), minlength=34)
        if all(counts[label] >= enough for label in (*_ALWAYS, *wanted)):
            return scene
    message = f"{size[0]} x {size[1]} pixels are too few for the classes a scene must show"
    raise UserValueError(message)


def _compose(size: tuple[int, int], wanted: tuple[int, ...], random: np.random.Generator) -> Scene:
    """Draw one scene; wanted classes may turn out to be occluded."""
    height, width = size
    camera = Camera(
        height,
        width,
        focal=1.1 * width * random.uniform(0.92, 1.04),
        center=width * random.uniform(0.42, 0.58),
        horizon=height * random.uniform(0.40, 0.46),
        eye=random.uniform(1.25, 1.45),
    )
    canvas = Canvas(camera, random)
    shown = {label for label in (*_IN_TURN[0], *_IN_TURN[1], *_IN_TURN[2]) if random.random() < 0.25} | set(wanted)
    if shown >= {vehicles.BUS, vehicles.TRUCK}:  # one would hide the other
        shown.discard(vehicles.TRUCK if vehicles.BUS in wanted else vehicles.BUS)
    street = _plan_street(vehicles.TRAIN in shown, random)
    lay_street(canvas, street, random)
    _along_buildings(canvas, street, shown, random)
    actions = _on_road(canvas, street, shown, random)
    left, right = (_on_sidewalk(canvas, street, side, shown, random) for side in (0, 1))
    if street.rails is not None:
        # Such a long object has no single distance; objects beyond it are drawn first.
        _draw(left)
        left = []
        vehicles.train(canvas, sum(street.rails) / 2, random.uniform(9, 20), random)
    _draw([*actions, *left, *right])
    image, ids, instances = canvas.finish(random, random.uniform(0.82, 1.08))
    return _own_car(Scene(image, ids, instances), random)


_Action = tuple[float, Callable[[], None]]


def _draw(actions: list[_Action]) -> None:
    """Draw from far to near; equally distant objects in the given order."""
    for _, draw in sorted(actions, key=lambda action: -action[0]):
        draw()


def _plan_street(rails: bool, random: np.random.Generator) -> Street:
    left, right = -random.uniform(4.6, 6.2), random.uniform(3.2, 4.4)
    track = (left - 3.2, left) if rails else None
    parking = (right, right + 2.1) if random.random() < 0.3 else None
    verge = random.uniform(0.9, 1.8) if parking is None and random.random() < 0.85 else 0.0
    return Street(
        left,
        right,
        left_wall=(track[0] if track else left) - random.uniform(3.2, 5.5),
        right_wall=(parking[1] if parking else right + verge) + random.uniform(3.4, 6.0),
        green=(random.uniform(1.0, 2.0), random.uniform(1.0, 2.4)),
        verge=verge,
        rails=track,
        parking=parking,
        end=random.uniform(90, 160),
    )


def _along_buildings(canvas: Canvas, street: Street, shown: set[int], random: np.random.Generator) -> None:
    """Draw walls, fences and the like in front of the buildings; all other objects are nearer."""
    # A tram would hide the objects on its side.
    left = street.rails is None and random.random() < 0.5
    near = random.uniform(6, 10)
    for label, draw in ((things.WALL, things.wall), (things.FENCE, things.fence)):
        if label in shown:
            x = street.left_wall + street.green[0] if left else street.right_wall - street.green[1]
            far = near + random.uniform(20, 34)
            draw(canvas, x, near, far, random)
            near, left = (near, not left) if street.rails is None else (far + 1, left)
    for z in np.sort(random.uniform(16, 65, 6))[::-1]:
        draw_green = things.tree if random.random() < 0.6 else things.bush
        x = street.left_wall + 0.5 if random.random() < 0.5 else street.right_wall - 0.5
        draw_green(canvas, x, float(z), random)


def _on_road(canvas: Canvas, street: Street, shown: set[int], random: np.random.Generator) -> list[_Action]:
    actions: list[_Action] = []
    lane = (street.left + street.right) / 2

    def add(draw: Callable[..., None], x: float, z: float, **options: bool) -> None:
        actions.append((z, lambda: draw(canvas, x, z, random, **options)))

    own, other = (lane + street.right) / 2 - 0.4, (street.left + lane) / 2
    free = 7.0
    for label, draw in ((vehicles.TRUCK, vehicles.truck), (vehicles.BUS, vehicles.bus)):
        if label in shown:
            z = random.uniform(11, 19)
            add(draw, own + random.uniform(-0.3, 0.3), z)
            free = z + 14
    for z in np.arange(free + random.uniform(3, 14), 75, 17):
        add(vehicles.car, own + random.uniform(-0.3, 0.3), z + random.uniform(-3, 3))
    for z in np.arange(random.uniform(9, 24), 75, 15):
        add(vehicles.car, other + random.uniform(-0.3, 0.3), z + random.uniform(-3, 3), towards=True)
    # Cars parked on the right, the first one cut by the picture's border.
    parked = street.right + 1.05 if street.parking else street.right - 0.95
    for z in np.arange(random.uniform(2.4, 4.2), 55, 6.2):
        # A row without gaps would hide the sidewalk.
        if random.random() < 0.7 and not 5 < z < 21:
            add(vehicles.car, parked + random.uniform(-0.1, 0.1), float(z))
    if people.RIDER in shown:
        both = people.BICYCLE in shown, people.MOTORCYCLE in shown
        if both[0] or not both[1]:
            add(people.bicycle, random.uniform(lane - 1.5, own - 0.2), random.uniform(6, 11), rider=True)
        if both[1]:
            add(people.motorcycle, random.uniform(other - 0.5, lane + 0.5), random.uniform(6, 11), rider=True)
    # A person at the left border, half in the picture.
    edge = random.uniform(5.5, 8)
    add(people.person, -canvas.camera.center / canvas.camera.focal * edge, edge)
    if random.random() < 0.4:
        add(people.person, random.uniform(street.left, street.right), random.uniform(10, 25))
    return actions


def _on_sidewalk(
    canvas: Canvas, street: Street, side: int, shown: set[int], random: np.random.Generator
) -> list[_Action]:
    """Draw the objects on the left (side 0) or right (side 1) sidewalk."""
    actions: list[_Action] = []
    if side == 0:
        curb = (street.rails[0] if street.rails else street.left) - 0.5
        inner = (street.left_wall + street.green[0] + 0.4, curb - 0.3)
    else:
        curb = (street.parking[1] if street.parking else street.right) + 0.5
        inner = (curb + street.verge + 0.2, street.right_wall - street.green[1])

    def add(draw: Callable[..., None], x: float, z: float, **options: bool) -> None:
        actions.append((z, lambda: draw(canvas, x, z, random, **options)))

    def add_pole(z: float, height: float) -> None:
        actions.append((z, lambda: things.pole(canvas, curb, z, height)))

    for z in np.arange(random.uniform(9, 14), 70, random.uniform(11, 16)):
        add_pole(float(z), random.uniform(4, 7))
    for thing, low, high in (
        (things.traffic_light, 8, 16),
        (things.traffic_sign, 8, 15),
        (things.traffic_sign, 15, 40),
        (things.bin_or_box, 9, 25),
    ):
        add(thing, curb + random.uniform(-0.3, 0.1), random.uniform(low, high))
    for _ in range(int(random.integers(2, 6))):
        add(people.person, random.uniform(*inner), random.uniform(9, 35))
    if random.random() < 0.5:  # people too close together to be told apart
        place, z = random.uniform(*inner), random.uniform(14, 30)
        for step in range(3):
            add(people.person, place + 0.35 * step, z + 0.1 * step, group=True)
    if people.BICYCLE in shown and side == 1:
        place, z = inner[0] + 0.3, random.uniform(9, 13)
        add(people.bicycle, place, z, rider=False)
        for step in range(3):
            add(people.bicycle, place, z + 6 + 0.5 * step, rider=False, group=True)
    if people.MOTORCYCLE in shown and side == 1 and random.random() < 0.6:
        add(people.motorcycle, curb + 0.2, random.uniform(9, 14), rider=False)
    return actions


def _own_car(scene: Scene, random: np.random.Generator) -> Scene:
    """Paint the hood of the camera's car, and the margin outside of the region of interest."""
    image, ids, instances = scene
    height, width = ids.shape
    rows, columns = (np.arange(height) + 0.5)[:, None] / height, (np.arange(width) + 0.5)[None] / width
    arch = 1 - random.uniform(0.07, 0.10) + 0.24 * (columns - 0.5) ** 2
    bonnet = rows > arch
    shine = np.exp(-(((rows - arch) / 0.02 - 1) ** 2)) * 40 + random.uniform(36, 56)
    image[bonnet] = np.clip(shine[bonnet][:, None] * np.asarray((0.96, 1, 1.06), np.float32), 0, 255).astype(np.uint8)
    ids[bonnet] = instances[bonnet] = EGO_VEHICLE
    margin = max(1, round(width * 5 / 2048))
    for edge in (np.s_[-margin:], np.s_[:, :margin], np.s_[:, -margin:]):
        ids[edge] = instances[edge] = OUT_OF_ROI
    return Scene(image, ids, instances)
