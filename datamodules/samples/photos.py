"""Real photographs from scikit-image and scikit-learn, for tasks that need photographs without labels."""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path

from pcpad.datamodules.samples.writing import SampleSummary, write_once
from pcpad.errors import UserFileNotFoundError, UserModuleNotFoundError

# By package and folder within it. All photographs in the packages' wheels, without those that would be downloaded,
# drawings (horse, logo, phantom, chessboards, color wheel) and the tiny crop of an eye.
_TRAIN = {
    ("skimage", "data"): (
        "brick.png",  # a pavement, gray
        "cell.png",  # through a microscope, gray
        "clock_motion.png",  # blurred by motion, gray
        "coins.png",  # gray
        "grass.png",  # gray
        "hubble_deep_field.jpg",
        "ihc.png",  # stained tissue
        "moon.png",  # gray
        "motorcycle_left.png",  # the two views of a stereo pair: they must stay together
        "motorcycle_right.png",
        "page.png",  # a printed page, gray
        "retina.jpg",
        "text.png",  # handwriting, gray
    ),
    ("sklearn", "datasets/images"): ("china.jpg", "flower.jpg"),
}
# A person, an animal, an object, a night sky with lights, a gray photograph of a landscape with a person, a texture.
_TEST = {
    ("skimage", "data"): ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "gravel.png", "rocket.jpg"),
}


def write_photos(root: str | Path) -> SampleSummary:
    """Write 21 real photographs (15 train, 6 test), 5.4 MB, the original files of scikit-image and scikit-learn.

    ```
    root/train/*.png, *.jpg      brick, cell, china, clock_motion, coins, flower, grass, hubble_deep_field, ihc, moon,
                                 motorcycle_left, motorcycle_right, page, retina, text
    root/test/*.png, *.jpg       astronaut, camera, chelsea, coffee, gravel, rocket
    ```

    From 448×172 to 1411×1411 pixels, eleven in color and ten gray. There is no val/: with so few pictures, data
    modules validate on test/. Sources and licenses of the pictures are in the documentation of `skimage.data` and in
    scikit-learn's `datasets/images/README.txt` (china and flower: CC BY 2.0).

    Args:
        root: A new or empty folder; if it already holds the same photographs, nothing is written.

    Returns:
        A summary of the folder.

    Raises:
        ModuleNotFoundError: scikit-image or scikit-learn is not installed.
        FileNotFoundError: An installed version lacks a picture; nothing is written.
        FileExistsError: The folder holds something else.
    """
    return write_once(root, "photos", {}, _fill)


def _fill(folder: Path) -> Mapping[str, int]:
    """Copy all pictures; return the number of pictures per split."""
    counts = {}
    for split, sources in (("train", _TRAIN), ("test", _TEST)):
        (folder / split).mkdir()
        paths = [_package(package) / place / name for (package, place), names in sources.items() for name in names]
        for path in paths:
            if not path.is_file():
                message = (
                    f"{path} is missing: the photographs are those of scikit-image 0.26 and scikit-learn 1.4 or later. "
                    "pip install --upgrade 'pcpad[samples]'"
                )
                raise UserFileNotFoundError(message)
            shutil.copyfile(path, folder / split / path.name)
        counts[split] = len(paths)
    return counts


def _package(name: str) -> Path:
    """Where a package is installed, without importing it; `skimage.data_dir` may be the download cache."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        message = "the photographs come with scikit-image and scikit-learn: pip install 'pcpad[samples]'"
        raise UserModuleNotFoundError(message, name=name)
    return Path(found.origin).parent
