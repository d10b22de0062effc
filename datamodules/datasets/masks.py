"""Masks of holes: read with an explicit polarity, augmented for training, fixed for evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np

from pcpad.datamodules.datasets.strokes import draw_mask
from pcpad.datamodules.reading.folders import FileTable, find_images
from pcpad.datamodules.reading.images import BrokenImageError
from pcpad.errors import UserValueError
from pcpad.pictures import PictureError, read_picture

Polarity = Literal["white_valid", "white_hole"]
OTHER: dict[Polarity, Polarity] = {"white_valid": "white_hole", "white_hole": "white_valid"}

_TRAIN_THRESHOLD = 0.6
_DILATION = (9, 49)  # pixels, of a mask of 512
_MOST_HOLE = 0.9
_LOOKED_AT = 64
_PLAUSIBLE = 0.6  # the published test masks' largest share; their sets' medians are far below
_TRIES = 200


class Bilevel(NamedTuple):
    """A mask with two values.

    Attributes:
        valid: (H, W) uint8, 1 = valid, 0 = hole.
        between: How many pixels of the file were neither black nor white.
    """

    valid: np.ndarray
    between: int


def read_mask(path: str | Path, polarity: Polarity, threshold: float) -> Bilevel:
    """Read a mask file of any kind of pixels.

    Args:
        path: The file. Colours count by their luminance; a file that holds nothing but 0 and 1 counts as black and
            white; alpha is left out.
        polarity: What white means.
        threshold: Share of white above which a pixel counts as white.

    Returns:
        The mask.

    Raises:
        PictureError: The file cannot be read.
    """
    picture = read_picture(path)
    colour = picture.colour
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY) if colour.shape[2] == 3 else colour[..., 0]
    white = 1 if int(grey.max()) == 1 else picture.white
    between = int(np.count_nonzero(grey)) - int(np.count_nonzero(grey == white))
    is_white = grey > threshold * white
    return Bilevel((is_white if polarity == "white_valid" else ~is_white).view(np.uint8), between)


def hole_share(valid: np.ndarray) -> float:
    """Which part of a mask is a hole."""
    return (valid.size - np.count_nonzero(valid)) / valid.size


def check_polarity(files: Sequence[Path] | FileTable, polarity: Polarity, argument: str) -> None:
    """Look at up to 64 masks of a set and refuse a polarity by which most of each picture would be a hole.

    Masks that cover everything or nothing say nothing about it and are left out.

    Args:
        files: The set.
        polarity: What white is said to mean.
        argument: The argument that says so.

    Raises:
        ValueError: The median hole share is beyond 0.6.
    """
    count = min(len(files), _LOOKED_AT)
    shares = []
    for index in range(count):
        path = files[index * len(files) // count]
        try:
            share = hole_share(read_mask(path, polarity, 0.5).valid)
        except PictureError:
            continue  # whoever needs it says so
        if 0 < share < 1:
            shares.append(share)
    median = float(np.median(shares)) if shares else 0
    if median > _PLAUSIBLE:
        message = (
            f"With {argument}={polarity} the median mask is {median:.0%} hole ({len(shares)} masks looked at, such as "
            f"{files[0]}), more than the {_PLAUSIBLE:.0%} that are plausible: pass --data.{argument} "
            f"{OTHER[polarity]}, by which it is {1 - median:.0%}."
        )
        raise UserValueError(message)


def given_polarity(polarity: Polarity | None, argument: str, masks: str | Path) -> Polarity:
    """Insist on being told what white means; both ways are common.

    Raises:
        ValueError: It was not said.
    """
    if polarity is None:
        message = (
            f"What is white in {masks}? Pass --data.{argument} white_valid (as in irregular_mask.zip) or white_hole "
            "(as in test_mask.zip, and as most inpainting tools have it)."
        )
        raise UserValueError(message)
    return polarity


def find_masks(folder: Path, polarity: Polarity | None, argument: str) -> tuple[FileTable, Polarity]:
    """List the masks of a folder and check what white is said to mean in them.

    Args:
        folder: With masks, in sub-folders or not.
        polarity: What white means.
        argument: The argument that says so.

    Returns:
        The masks and the polarity.

    Raises:
        ValueError: No polarity, or an implausible one.
        FileNotFoundError: No masks.
    """
    polarity = given_polarity(polarity, argument, folder)
    files = find_images(folder)
    check_polarity(files, polarity, argument)
    return files, polarity


def fit_nearest(valid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask so that it stays one of two values."""
    if valid.shape == (height, width):
        return valid
    return cv2.resize(valid, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


class MaskSource(Protocol):
    """Makes the mask of a training image."""

    def __call__(self, draws: np.random.Generator) -> np.ndarray:
        """Draw `(size, size)` uint8, 1 = valid, 0 = hole."""


class DrawnMasks:
    """Brush strokes and boxes; see `draw_mask`, whose arguments these are."""

    def __init__(self, size: int, hole_ratio: tuple[float, float]) -> None:
        self.size = size
        self.hole_ratio = hole_ratio

    def __call__(self, draws: np.random.Generator) -> np.ndarray:
        """Draw one."""
        return draw_mask(self.size, self.hole_ratio, draws)


class AugmentedMasks:
    """Mask files, dilated, moved, turned and cropped at random.

    A file's values are cut at 0.6 of white and its holes dilated by a disc of 9 to 49 pixels (of a mask whose shorter
    side is 512; in proportion for others). One nearest-neighbour warp then brings its shorter side to `size`, mirrors,
    turns it by any angle, and moves it so that any of its points can be the middle; beyond its border it is mirrored.
    A result without a hole, or with more than 0.9 of one, is drawn again, after ten attempts from the undilated file.

    Args:
        files: The mask files.
        polarity: What white means in them.
        size: Height and width of the results.
    """

    def __init__(self, files: FileTable, polarity: Polarity, size: int) -> None:
        self.files = files
        self.polarity = polarity
        self.size = size

    def __call__(self, draws: np.random.Generator) -> np.ndarray:
        """Draw one.

        Raises:
            BrokenImageError: A mask cannot be read.
        """
        path = self.files[int(draws.integers(len(self.files)))]
        holes = 1 - _read(path, self.polarity)
        for _ in range(10):
            warped = self._warped(_dilated(holes, draws), draws)
            if 0 < warped.mean() <= _MOST_HOLE:
                return 1 - warped
        return 1 - self._warped(holes, draws)

    def _warped(self, holes: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        height, width = holes.shape
        step = min(height, width) / self.size
        angle, mirror = draws.uniform(0, 2 * np.pi), -1 if draws.random() < 0.5 else 1
        turn = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turn[:, 0] *= mirror
        middle = draws.uniform(0, [width, height])
        matrix = np.column_stack([turn, middle - turn @ np.full(2, (self.size - 1) / 2)])
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(holes, matrix, (self.size, self.size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def _dilated(holes: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    pixels = round(int(draws.integers(_DILATION[0], _DILATION[1] + 1)) * min(holes.shape) / 512)
    if pixels < 2:
        return holes
    return cv2.dilate(holes, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (pixels, pixels)))


class FixedMasks:
    """One mask for each evaluated image, the same in every run, batch, worker and process.

    Image number i gets a hole share in bin i modulo the number of bins, so that each bin has as many images. Its mask
    is the first one of that bin in an order of the files that is drawn anew for each image, resized by nearest
    neighbour; without files, brush strokes and boxes drawn for it.

    Args:
        files: The mask files; None draws masks.
        polarity: What white means in them.
        size: Height and width of the results.
        bins: Hole shares, each (low, high].
        seed: Decides all of it.
    """

    def __init__(
        self,
        files: FileTable | None,
        polarity: Polarity,
        size: int,
        bins: Sequence[tuple[float, float]],
        seed: int,
    ) -> None:
        self.files = files
        self.polarity = polarity
        self.size = size
        self.bins = [(low, high) for low, high in bins]
        self.seed = seed

    def __getitem__(self, index: int) -> np.ndarray:
        """The mask of the image with this number, `(size, size)` uint8, 1 = valid, 0 = hole.

        Raises:
            ValueError: No file is in its bin.
            BrokenImageError: A mask cannot be read.
        """
        draws = np.random.default_rng([self.seed, index])
        low, high = self.bins[index % len(self.bins)]
        if self.files is None:
            return draw_mask(self.size, (low, high), draws)
        order = draws.permutation(len(self.files))[:_TRIES]
        for number in order.tolist():
            valid = fit_nearest(_read(self.files[number], self.polarity), self.size, self.size)
            if low < hole_share(valid) <= high:
                return valid
        message = (
            f"none of {len(order)} masks looked at in {self.files.folder} has a hole share in ({low}, {high}] at "
            f"{self.size}x{self.size} pixels: pass --data.bins that fit them, or other --data.test_masks"
        )
        raise UserValueError(message)


def _read(path: Path, polarity: Polarity) -> np.ndarray:
    try:
        return read_mask(path, polarity, _TRAIN_THRESHOLD).valid
    except PictureError as error:
        raise BrokenImageError(str(error)) from error
