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

Polarity = Literal["white_valid", "white_hole", "nonblack_hole", "nonwhite_hole", "transparent_hole"]
OTHER: dict[Polarity, Polarity] = {"white_valid": "white_hole", "white_hole": "white_valid"}

_TRAIN_THRESHOLD = 0.6
_DILATION = (9, 49)  # pixels, of a mask of 512
_MOST_HOLE = 0.9
_LOOKED_AT = 64
_PLAUSIBLE = 0.6  # the published test masks' largest share; their sets' medians are far below
_TRIES = 200
_SMOOTH = 2  # pixels
_NEARLY = 1 / 8  # of the range: what JPEG makes of black and of white


class Bilevel(NamedTuple):
    """A mask with two values.

    Attributes:
        valid: (H, W) uint8, 1 = valid, 0 = hole.
        between: How many pixels of the file were neither black nor white, where these two say what is a hole.
        unclear: Why black and white say nothing here, in words; empty where they do.
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
        path: The file. Colors count by their luminance; a file that holds nothing but 0 and 1 counts as black and
            white; alpha is left out, unless it is what the polarity asks for.
        polarity: What is a hole: what white means; or `nonblack_hole`, `nonwhite_hole`: every pixel that is not
            exactly black, not exactly white; or `transparent_hole`: every pixel of less than half opacity.
        threshold: Share of white above which a pixel counts as white.
        judge: Whether to find out if black and white say anything here.
        soft_edges: The edge of what was drawn smoothly becomes a hole, too: pixels within two of a hole that are one by
            more than this share. None where the threshold alone counts.
        believed: As of `read_picture`.

    Returns:
        The mask.

    Raises:
        PictureError: The file cannot be read, or is to be transparent and has no alpha.
    """
    picture = read_picture(path, believed=believed)
    colour = picture.colour
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY) if colour.shape[2] == 3 else colour[..., 0]
    white = 1 if int(grey.max()) == 1 else picture.white
    if polarity not in OTHER:
        return Bilevel(_other_than(picture, polarity, path, white).view(np.uint8), 0)
    between = int(np.count_nonzero(grey)) - int(np.count_nonzero(grey == white))
    is_white = grey > threshold * white
    if soft_edges is not None and between:
        is_white = _with_soft_edges(grey, is_white, white, polarity, soft_edges)
    unclear = _unclear(picture, is_white) if judge and white != 1 else ""
    return Bilevel((is_white if polarity == "white_valid" else ~is_white).view(np.uint8), between, unclear)


def _with_soft_edges(
    grey: np.ndarray, is_white: np.ndarray, white: int, polarity: Polarity, share: float
) -> np.ndarray:
    """What is white where holes, which white or black says, have grown by the partly covered pixels around them."""
    if polarity == "white_hole":
        hole, covered = is_white, grey > share * white
    else:
        hole, covered = ~is_white, grey < (1 - share) * white
    near = cv2.dilate(hole.view(np.uint8), np.ones((2 * _SMOOTH + 1, 2 * _SMOOTH + 1), np.uint8)) != 0
    grown: np.ndarray = hole | (near & covered)
    return grown if polarity == "white_hole" else ~grown


def _other_than(picture: Picture, polarity: Polarity, path: str | Path, white: int) -> np.ndarray:
    """What is valid by one of the polarities that don't ask for black and white."""
    if polarity == "transparent_hole":
        if picture.alpha is None:
            message = f"{path}: nothing in it is transparent (no alpha channel), so transparent_hole finds no hole"
            raise PictureError(message)
        return picture.alpha > picture.white // 2
    hole: np.ndarray = (picture.colour == (0 if polarity == "nonblack_hole" else white)).all(axis=2)
    return hole


def _unclear(picture: Picture, is_white: np.ndarray) -> str:
    """Why a mask's black and white say nothing, in words.

    Of a mask, what is drawn and what it is drawn on are black and white: neither may be rarer than what is neither.
    """
    colour, top = picture.colour, picture.white
    darkest, brightest = (int(pick(colour)) for pick in (np.min, np.max))
    channels = [colour[..., channel] for channel in range(colour.shape[2])]  # along the last axis it takes ten times
    low, high = reduce(np.maximum, channels), reduce(np.minimum, channels)
    black, white = (int(np.count_nonzero(found)) for found in (low <= _NEARLY * top, high >= (1 - _NEARLY) * top))
    pixels = low.size
    if pixels - black - white > min(black, white):
        return f"{pixels - black - white} of its {pixels} pixels are neither black nor white ({black} and {white} are)"
    if not white and brightest:
        return f"nothing in it is white: its largest value is {brightest} of {top}"
    if not black and darkest < top:
        return f"nothing in it is black: its smallest value is {darkest} of {top}"
    if picture.alpha is not None:
        seen = picture.alpha > top // 2
        told = bool((seen == is_white).all() or (seen != is_white).all())
        if not seen.all() and not told:
            return f"{int(np.count_nonzero(~seen))} of its {pixels} pixels are transparent, which its colors don't say"
    return ""


def ways(option: str) -> str:
    """The ways to say what a mask means that is not black and white, with the option that says it."""
    return (
        "make it black and white, or say what is a hole: "
        f"{option} nonblack_hole (all but pure black), nonwhite_hole (all but pure white) or "
        "transparent_hole (what is transparent)"
    )


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
            mask = read_mask(path, polarity, 0.5, judge=True)
        except PictureError:
            continue  # whoever needs it says so
        share = hole_share(mask.valid)
        if 0 < share < 1 and not mask.unclear:
            shares.append(share)
    median = float(np.median(shares)) if shares else 0
    if median > _PLAUSIBLE:
        other = OTHER.get(polarity)
        remedy = (
            f"pass --data.{argument} {other}, by which it is {1 - median:.0%}."
            if other
            else "is that what their pixels mean?"
        )
        message = (
            f"With {argument}={polarity} the median mask is {median:.0%} hole ({len(shares)} masks looked at, such as "
            f"{files[0]}), more than the {_PLAUSIBLE:.0%} that are plausible: {remedy}"
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
        ValueError: No polarity, or an implausible one; or more than half of the masks are not black and white.
        FileNotFoundError: No masks.
    """
    polarity = given_polarity(polarity, argument, folder)
    files = find_images(folder)
    _check_meaning(files, polarity, argument)
    check_polarity(files, polarity, argument)
    return files, polarity


def _check_meaning(files: FileTable, polarity: Polarity, argument: str) -> None:
    """Look at up to 64 masks and refuse a set of which most mean nothing."""
    count = min(len(files), _LOOKED_AT)
    unclear = []
    for index in range(count):
        path = files[index * len(files) // count]
        try:
            reason = read_mask(path, polarity, _TRAIN_THRESHOLD, judge=True).unclear
        except PictureError:
            continue  # whoever needs it says so
        if reason:
            unclear.append(f"{path}: {reason}")
    if 2 * len(unclear) > count:
        message = f"{len(unclear)} of {count} masks looked at don't say what is a hole, such as {unclear[0]}: "
        raise UserValueError(message + ways(f"--data.{argument}"))


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
    side is 512; in proportion for others). One nearest-neighbor warp then brings its shorter side to `size`, mirrors,
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
    is the first one of that bin in an order of the files that is drawn again for each image, resized by nearest
    neighbor; without files, brush strokes and boxes drawn for it.

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
        from pcpad.datamodules.reading.images import BrokenImageError  # torchvision: seconds, which `pcpad fill` saves

        raise BrokenImageError(str(error)) from error
