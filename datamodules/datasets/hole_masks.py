"""Masks of holes: read with an explicit polarity, augmented for training, fixed for evaluation."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np

from pcpad.datamodules.datasets.strokes import draw_mask
from pcpad.datamodules.reading.folders import FileTable, find_images
from pcpad.errors import UserValueError
from pcpad.pictures import Picture, PictureError, read_picture

Polarity = Literal["white_valid", "white_hole", "nonblack_hole", "nonwhite_hole", "transparent_hole", "opaque_hole"]
OTHER: dict[Polarity, Polarity] = {"white_valid": "white_hole", "white_hole": "white_valid"}

_TRAIN_THRESHOLD = 0.6
_DILATION = (9, 49)  # pixels, for a mask of 512 pixels
_MOST_HOLE = 0.9
_LOOKED_AT = 64
_PLAUSIBLE = 0.6  # the largest share of the published test masks; the medians of their sets are far below
_TRIES = 200
_SMOOTH = 2  # pixels
_NEARLY = 1 / 8  # of the value range: the error of black and white in JPEGs


class Bilevel(NamedTuple):
    """A mask with two values.

    Attributes:
        valid: (H, W) uint8, 1 = valid, 0 = hole.
        between: How many pixels of the file were neither black nor white, if these two define holes.
        unclear: Why black and white do not define holes here, in words; empty if they do.
    """

    valid: np.ndarray
    between: int
    unclear: str = ""


def read_mask(
    path: str | Path,
    polarity: Polarity,
    threshold: float,
    *,
    judge: bool = False,
    soft_edges: float | None = None,
    believed: int = 0,
) -> Bilevel:
    """Read a mask file of up to 16 bits per channel.

    Args:
        path: The file. Colors count by luminance; a file with only the values 0 and 1 counts as black and white; alpha
            is ignored, unless the polarity uses it.
        polarity: What is a hole: either what white means; or `nonblack_hole`, `nonwhite_hole`: all pixels that are not
            exactly black, not exactly white; or `transparent_hole`: all pixels of less than half opacity; or
            `opaque_hole`: all pixels of more than an eighth, as of strokes on a layer that was saved alone.
        threshold: Gray level, as a fraction of white, above which a pixel counts as white.
        judge: Whether to check that black and white define holes.
        soft_edges: Antialiased edges of holes become holes too: pixels within two of a hole that belong to it by more
            than this fraction. None to use the threshold only.
        believed: See `read_picture`.

    Returns:
        The mask.

    Raises:
        PictureError: The file cannot be read, or has no alpha although the polarity needs it.
    """
    picture = read_picture(path, believed=believed)
    color = picture.color
    gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY) if color.shape[2] == 3 else color[..., 0]
    white = 1 if int(gray.max()) == 1 else picture.white
    if polarity not in OTHER:
        return Bilevel(_other_than(picture, polarity, path, white).view(np.uint8), 0)
    between = int(np.count_nonzero(gray)) - int(np.count_nonzero(gray == white))
    is_white = gray > threshold * white
    if soft_edges is not None and between:
        is_white = _with_soft_edges(gray, is_white, white, polarity, soft_edges)
    unclear = _unclear(picture, is_white) if judge and white != 1 else ""
    return Bilevel((is_white if polarity == "white_valid" else ~is_white).view(np.uint8), between, unclear)


def _with_soft_edges(
    gray: np.ndarray, is_white: np.ndarray, white: int, polarity: Polarity, share: float
) -> np.ndarray:
    """The white pixels after holes, white or black, are grown by the partly covered pixels around them."""
    if polarity == "white_hole":
        hole, covered = is_white, gray > share * white
    else:
        hole, covered = ~is_white, gray < (1 - share) * white
    near = cv2.dilate(hole.view(np.uint8), np.ones((2 * _SMOOTH + 1, 2 * _SMOOTH + 1), np.uint8)) != 0
    grown: np.ndarray = hole | (near & covered)
    return grown if polarity == "white_hole" else ~grown


def _other_than(picture: Picture, polarity: Polarity, path: str | Path, white: int) -> np.ndarray:
    """The valid pixels for one of the polarities that are not about black and white."""
    if polarity in ("transparent_hole", "opaque_hole"):
        if picture.alpha is None:
            message = f"{path}: it has no alpha channel, so {polarity} finds no hole"
            raise PictureError(message)
        if polarity == "opaque_hole":
            return picture.alpha <= _NEARLY * picture.white
        return picture.alpha > picture.white // 2
    hole: np.ndarray = (picture.color == (0 if polarity == "nonblack_hole" else white)).all(axis=2)
    return hole


def _unclear(picture: Picture, is_white: np.ndarray) -> str:
    """Why black and white do not define a mask's holes, in words; empty if they do.

    In a mask, foreground and background are black and white: neither may be rarer than other values.
    """
    color, top = picture.color, picture.white
    darkest, brightest = (int(pick(color)) for pick in (np.min, np.max))
    channels = [color[..., channel] for channel in range(color.shape[2])]  # reducing the last axis: ten times slower
    low, high = reduce(np.maximum, channels), reduce(np.minimum, channels)
    black, white = (int(np.count_nonzero(found)) for found in (low <= _NEARLY * top, high >= (1 - _NEARLY) * top))
    pixels = low.size
    if pixels - black - white > min(black, white):
        return f"{pixels - black - white} of its {pixels} pixels are neither black nor white ({black} and {white} are)"
    if not white and brightest:
        return f"no pixel is white: its largest value is {brightest} of {top}"
    if not black and darkest < top:
        return f"no pixel is black: its smallest value is {darkest} of {top}"
    if picture.alpha is not None:
        seen = picture.alpha > top // 2
        told = bool((seen == is_white).all() or (seen != is_white).all())
        if not seen.all() and not told:
            return f"{int(np.count_nonzero(~seen))} of its {pixels} pixels are transparent, unlike its colors"
    return ""


def ways(option: str) -> str:
    """The ways to define holes of a mask that is not black and white, with the option for it."""
    return (
        "make it black and white, or define holes with: "
        f"{option} nonblack_hole (all but pure black), nonwhite_hole (all but pure white), "
        "transparent_hole (all that is transparent) or opaque_hole (all that is not)"
    )


def hole_share(valid: np.ndarray) -> float:
    """The fraction of a mask that is hole."""
    return (valid.size - np.count_nonzero(valid)) / valid.size


def check_polarity(files: Sequence[Path] | FileTable, polarity: Polarity, argument: str) -> None:
    """Check up to 64 masks of a set, and refuse a polarity for which most of each picture would be a hole.

    Masks that cover everything or nothing are ignored.

    Args:
        files: The set.
        polarity: What white means.
        argument: The name of the polarity's argument.

    Raises:
        ValueError: The median hole share exceeds 0.6.
    """
    count = min(len(files), _LOOKED_AT)
    shares = []
    for index in range(count):
        path = files[index * len(files) // count]
        try:
            mask = read_mask(path, polarity, 0.5, judge=True)
        except PictureError:
            continue  # reported when it is used
        share = hole_share(mask.valid)
        if 0 < share < 1 and not mask.unclear:
            shares.append(share)
    median = float(np.median(shares)) if shares else 0
    if median > _PLAUSIBLE:
        other = OTHER.get(polarity)
        remedy = (
            f"pass --data.{argument} {other}, with which it is {1 - median:.0%}." if other else "is the polarity right?"
        )
        message = (
            f"With {argument}={polarity}, the median mask is {median:.0%} hole ({len(shares)} masks checked, such as "
            f"{files[0]}), more than the plausible {_PLAUSIBLE:.0%}: {remedy}"
        )
        raise UserValueError(message)


def given_polarity(polarity: Polarity | None, argument: str, masks: str | Path) -> Polarity:
    """Require that the meaning of white is given, as both conventions are common.

    Raises:
        ValueError: It is None.
    """
    if polarity is None:
        message = (
            f"What does white mean in {masks}? Pass --data.{argument} white_valid (as in irregular_mask.zip) or "
            "white_hole (as in test_mask.zip and in most inpainting tools)."
        )
        raise UserValueError(message)
    return polarity


def find_masks(folder: Path, polarity: Polarity | None, argument: str) -> tuple[FileTable, Polarity]:
    """List the masks of a folder, and check the given meaning of white.

    Args:
        folder: A folder of masks, searched recursively.
        polarity: What white means.
        argument: The name of the polarity's argument.

    Returns:
        The masks and the polarity.

    Raises:
        ValueError: There is no polarity, or an implausible one; or more than half of the masks are not black and white.
        FileNotFoundError: There are no masks.
    """
    polarity = given_polarity(polarity, argument, folder)
    files = find_images(folder)
    _check_meaning(files, polarity, argument)
    check_polarity(files, polarity, argument)
    return files, polarity


def _check_meaning(files: FileTable, polarity: Polarity, argument: str) -> None:
    """Check up to 64 masks, and refuse a set if most of them do not define holes."""
    count = min(len(files), _LOOKED_AT)
    unclear = []
    for index in range(count):
        path = files[index * len(files) // count]
        try:
            reason = read_mask(path, polarity, _TRAIN_THRESHOLD, judge=True).unclear
        except PictureError:
            continue  # reported when it is used
        if reason:
            unclear.append(f"{path}: {reason}")
    if 2 * len(unclear) > count:
        message = f"{len(unclear)} of {count} masks checked do not define holes, such as {unclear[0]}: "
        raise UserValueError(message + ways(f"--data.{argument}"))


def fit_nearest(valid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask, keeping it binary."""
    if valid.shape == (height, width):
        return valid
    return cv2.resize(valid, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


class MaskSource(Protocol):
    """Creates the mask of a training image."""

    def __call__(self, draws: np.random.Generator) -> np.ndarray:
        """Draw `(size, size)` uint8, 1 = valid, 0 = hole."""


class DrawnMasks:
    """Brush strokes and boxes; the arguments are those of `draw_mask`."""

    def __init__(self, size: int, hole_ratio: tuple[float, float]) -> None:
        self.size = size
        self.hole_ratio = hole_ratio

    def __call__(self, draws: np.random.Generator) -> np.ndarray:
        """Draw a mask."""
        return draw_mask(self.size, self.hole_ratio, draws)


class AugmentedMasks:
    """Mask files, randomly dilated, moved, rotated and cropped.

    A file's values are thresholded at 0.6 of white, and its holes dilated by a disc of 9 to 49 pixels (for a shorter
    side of 512; in proportion for others). One nearest-neighbor warp then scales its shorter side to `size`, mirrors
    it, rotates it by any angle, and moves any of its points to the center; it is continued by reflection. A result
    without holes, or with a share above 0.9, is drawn again, after ten attempts from the undilated file.

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
        """Draw a mask.

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
    """One mask per evaluated image, the same in every run, batch, worker and process.

    Image number i gets a hole share in bin i modulo the number of bins, so that bins have equally many images. Its mask
    is the first one in that bin in a random order of the files, drawn for each image, and is resized by nearest
    neighbor; without files, brush strokes and boxes are drawn.

    Args:
        files: The mask files; None draws masks.
        polarity: What white means in them.
        size: Height and width of the results.
        bins: Hole shares, each (low, high].
        seed: Seed of the choice and the drawing.
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
        """The mask of an image, by its number: `(size, size)` uint8, 1 = valid, 0 = hole.

        Raises:
            ValueError: No mask file is in the image's bin.
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
            f"none of {len(order)} masks checked in {self.files.folder} has a hole share in ({low}, {high}] at "
            f"{self.size}x{self.size} pixels: choose --data.bins that match them, or other --data.test_masks"
        )
        raise UserValueError(message)


def _read(path: Path, polarity: Polarity) -> np.ndarray:
    try:
        return read_mask(path, polarity, _TRAIN_THRESHOLD).valid
    except PictureError as error:
        from pcpad.datamodules.reading.images import BrokenImageError  # seconds, for torchvision

        raise BrokenImageError(str(error)) from error
