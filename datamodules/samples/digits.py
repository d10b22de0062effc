"""scikit-learn's real handwritten digits as an image folder in ImageNet's layout."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pcpad.datamodules.samples.writing import SampleSummary, write_once
from pcpad.errors import UserModuleNotFoundError, UserValueError


def write_digits(root: str | Path, *, image_size: int = 32, seed: int = 0) -> SampleSummary:
    """Write 1797 handwritten digits (1078 train, 360 val, 359 test) as gray PNGs, in about one second.

    ```
    root/train/<digit>/<digit>_<number>.png     digit 0 … 9; number: position in scikit-learn's set, from 0000
    root/val/<digit>/…
    root/test/<digit>/…
    ```

    The images are scikit-learn's 8×8 ones (17 levels of ink, from the test part of UCI's "Optical Recognition of
    Handwritten Digits", E. Alpaydin and C. Kaynak, 1998), enlarged bicubically without a margin: the ink touches the
    upper and lower border of nearly every image, where padding has to invent what is beyond.

    Args:
        root: A new or empty folder; if it already holds the same digits, nothing is written.
        image_size: Height and width of the images.
        seed: Seed of the split, 60/20/20 of each class.

    Returns:
        A summary of the folder.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        FileExistsError: The folder holds something else.
        ValueError: `image_size` below 8.
    """
    if image_size < 8:
        message = f"Expected argument `image_size` to be at least 8, the digits' own size, but got {image_size}"
        raise UserValueError(message)
    settings = {"image_size": image_size, "seed": seed}
    return write_once(root, "digits", settings, lambda folder: _fill(folder, image_size, seed))


def _fill(folder: Path, image_size: int, seed: int) -> Mapping[str, int]:
    """Write all splits; return the number of images per split."""
    images, labels = _load()
    counts = dict.fromkeys(("train", "val", "test"), 0)
    for digit in range(10):
        # One generator per class, so that a class's split depends on the seed only.
        numbers = np.random.default_rng([seed, digit]).permutation(np.flatnonzero(labels == digit))
        cuts = [round(0.6 * len(numbers)), round(0.8 * len(numbers))]
        for split, members in zip(counts, np.split(numbers, cuts), strict=True):
            target = folder / split / str(digit)
            target.mkdir(parents=True)
            for number in members:
                enlarged = Image.fromarray(images[number]).resize((image_size, image_size), Image.Resampling.BICUBIC)
                enlarged.save(target / f"{digit}_{number:04d}.png")
            counts[split] += len(members)
    return counts


def _load() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as `(1797, 8, 8)` uint8 in [0, 255], with bright ink, and their classes `(1797,)`."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        message = "the digits come with scikit-learn: pip install 'pcpad[samples]'"
        raise UserModuleNotFoundError(message, name=error.name) from error
    digits = load_digits()
    # Ink is given as counts 0 … 16 of 4×4 blocks.
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target
