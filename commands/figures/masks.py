"""The masks of partial convolution, by the layers' own rules.

`padding` is the 2018 paper's Figure 2; `windows`, `hole` and `panoptic` are the 2022 paper's Figures 1 to 3. r is the
factor by which a window's sum is multiplied.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pcpad.commands.figures.options import add_output
from pcpad.commands.parser import file_name
from pcpad.datamodules.datasets.hole_masks import read_mask
from pcpad.datamodules.datasets.strokes import draw_mask
from pcpad.errors import UserValueError
from pcpad.functional import padding_ratio, update_mask
from pcpad.panoptic.plan import PanopticPlan
from pcpad.tasks.pictures.plots import COLORS, need_matplotlib, new_figure, save_figure
from pcpad.terminal import say

KERNEL = 3
_SIZE = (5, 6)  # of the input that the drawings of padding show
_HOLE = 64
_SCALE = 14  # pixels of the panoptic map
_INSTANCES = ("#B0B0B0", "#CFE8F7", "#F0E442", "#E69F00", "#CC79A7")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    parser.add_argument("which", metavar="WHICH", choices=tuple(_DRAWN), help=f"of {', '.join(_DRAWN)}")
    text = "`hole` takes this mask, black where nothing is known, instead of brush strokes"
    parser.add_argument("--mask", type=file_name, metavar="FILE", help=text)
    add_output(parser, "masks.png")


def draw(given: argparse.Namespace) -> None:
    """Draw and write it.

    Args:
        given: The parsed options.

    Raises:
        FileNotFoundError: There is no such mask.
        ValueError: It is no picture, or the drawing has no use for a mask.
    """
    if given.mask is not None and given.which != "hole":
        message = f"--mask {given.mask}: only `figure masks hole` draws a mask that is given, not {given.which}"
        raise UserValueError(message)
    need_matplotlib()
    say(f"Written to {save_figure(_DRAWN[given.which](given), given.output)}")


def factor_text(ratio: float) -> str:
    """A factor as a fraction of the kernel's taps and those that are valid: `9/6`.

    Args:
        ratio: Taps over valid taps, 0 where none is valid.

    Returns:
        The fraction; `0` where no tap is valid.

    Example:
        >>> factor_text(2.25), factor_text(0.0)
        ('9/4', '0')
    """
    if ratio == 0:
        return "0"
    taps = KERNEL**2
    return f"{taps}/{taps / Fraction(ratio).limit_denominator(1000)}"


def window_masks(valid: Tensor, centers: Sequence[tuple[int, int]]) -> list[Tensor]:
    """The masks of windows.

    Args:
        valid: (H, W), 1 where valid, padded.
        centers: Row and column of each window's center in `valid`.

    Returns:
        (KERNEL, KERNEL) of each.
    """
    half = KERNEL // 2
    return [valid[row - half : row + half + 1, column - half : column + half + 1] for row, column in centers]


def _padding(given: argparse.Namespace) -> Any:
    """X, 1, their paddings and the factor at each place, with two windows."""
    height, width = _SIZE
    image = torch.linspace(0.35, 0.9, height * width).reshape(height, width)
    ones = torch.ones(height, width)
    ratio = padding_ratio(_SIZE, KERNEL, padding=KERNEL // 2)
    panels = [
        ("X", image),
        ("1", ones),
        ("X, padded with zeros", _framed(image, 0.0)),
        ("1, padded with zeros", _framed(ones, 0.0)),
        ("1, padded with ones", _framed(ones, 1.0)),
    ]
    figure, axes = new_figure(2, 3, (10.5, 6.8))
    for axis, (title, values) in zip(axes.flat, panels, strict=False):
        numbers = None if title.startswith("X") else [[f"{value:.0f}" for value in row] for row in values.tolist()]
        _grid(axis, values, title, numbers)
        if values.shape[0] > height:
            _windows(axis, _places())
    _grid(axes[1][2], 1 - (ratio - 1) / 4, "r = |1, padded with ones| / |1, padded with zeros|", _factors(ratio))
    for place, (row, column) in enumerate(_places()):
        _frame(axes[1][2], row - 1.5, column - 1.5, 1, _window_color(place))
    return figure


def _windows_of_padding(given: argparse.Namespace) -> Any:
    """The zero-padded input, and the masks of a window at a corner, at a side and inside."""
    height, width = _SIZE
    image = torch.linspace(0.35, 0.9, height * width).reshape(height, width)
    valid, ratio = _framed(torch.ones(height, width), 0.0), padding_ratio(_SIZE, KERNEL, padding=KERNEL // 2)
    figure, axes = new_figure(1, 4, (13.0, 3.9), gridspec_kw={"width_ratios": [2.2, 1, 1, 1]})
    _grid(axes[0][0], _framed(image, 0.0), "X, padded with zeros", None)
    _windows(axes[0][0], _places())
    names = ("at a corner", "at a side", "inside")
    for place, ((row, column), mask) in enumerate(zip(_places(), window_masks(valid, _places()), strict=True)):
        factor = factor_text(float(ratio[row - 1, column - 1]))
        _mask_panel(axes[0][place + 1], mask, f"M {names[place]}", factor, place)
    return figure


def _hole(given: argparse.Namespace) -> Any:
    """The mask of holes and how it is updated, by layers of stride 2 as in the inpainting network's encoder."""
    if given.mask is None:
        first = torch.from_numpy(draw_mask(_HOLE, (0.25, 0.35), np.random.default_rng(7)))
    else:
        first = torch.from_numpy(read_mask(Path(given.mask), "white_valid", 0.5).valid)
    mask = (first.reshape(1, 1, *first.shape[-2:]) != 0).float()
    masks = [mask]
    while len(masks) < 5 and min(mask.shape[-2:]) > 1:
        mask = update_mask(mask, KERNEL, stride=2, padding=KERNEL // 2).float()
        masks.append(mask)
    figure, axes = new_figure(1, len(masks), (2.7 * len(masks), 3.3))
    for number, (axis, found) in enumerate(zip(axes[0], masks, strict=True)):
        sizes = "×".join(map(str, found.shape[-2:]))
        title = f"M of the input, {sizes}" if number == 0 else f"after {number} layer{'s' * (number > 1)}, {sizes}"
        axis.imshow(1 - found[0, 0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"holes: {100 * float((found == 0).float().mean()):.1f} %", fontsize=9)
        axis.set(xticks=[], yticks=[])
    figure.suptitle("black: valid, white: hole", fontsize=10)
    return figure


def panoptic_map() -> Tensor:
    """A small panoptic map (1, 1, H, W) of ids: ground, sky, a person before two cars that touch."""
    rows, columns = torch.meshgrid(torch.arange(_SCALE), torch.arange(_SCALE + 4), indexing="ij")
    ids = torch.where(rows < 5, 1, 0)
    ids = torch.where((rows >= 6) & (rows < 11) & (columns >= 1) & (columns < 9), 2, ids)
    ids = torch.where((rows >= 6) & (rows < 11) & (columns >= 9) & (columns < 17), 3, ids)
    return torch.where((rows >= 4) & (rows < 12) & (columns >= 12) & (columns < 14), 4, ids)[None, None]


def _panoptic(given: argparse.Namespace) -> Any:
    """A panoptic map, and the masks of windows: within a car, where two touch, and at a person."""
    ids = panoptic_map()
    plan = PanopticPlan.build(ids, KERNEL, padding=KERNEL // 2, form="dense")
    height, width = ids.shape[-2:]
    valid, ratio = plan.valid[0].reshape(KERNEL, KERNEL, height, width), plan.ratio(torch.float32)[0, 0]
    figure, axes = new_figure(1, 4, (13.0, 3.9), gridspec_kw={"width_ratios": [2.2, 1, 1, 1]})
    from matplotlib.colors import ListedColormap

    axes[0][0].imshow(ids[0, 0].numpy(), cmap=ListedColormap(_INSTANCES), vmin=0, vmax=len(_INSTANCES) - 1)
    axes[0][0].set_title("panoptic map", fontsize=10)
    axes[0][0].set(xticks=[], yticks=[])
    places = [(8, 4), (8, 8), (5, 11)]
    _windows(axes[0][0], places)
    for place, (row, column) in enumerate(places):
        name = ("within a car", "where two cars touch", "beside a person")[place]
        _mask_panel(axes[0][place + 1], valid[:, :, row, column].float(), f"M {name}",
                    factor_text(float(ratio[row, column])), place)  # fmt: skip
    return figure


_DRAWN: dict[str, Callable[[argparse.Namespace], Any]] = {
    "padding": _padding,
    "windows": _windows_of_padding,
    "hole": _hole,
    "panoptic": _panoptic,
}


def _framed(values: Tensor, value: float) -> Tensor:
    return F.pad(values, (KERNEL // 2,) * 4, value=value)


def _places() -> list[tuple[int, int]]:
    """Centers of windows in the padded input: at its upper left corner, its right side, and inside."""
    return [(1, 1), (3, _SIZE[1]), (4, 3)]


def _factors(ratio: Tensor) -> list[list[str]]:
    return [[factor_text(value) for value in row] for row in ratio.tolist()]


def _grid(axis: Any, values: Tensor, title: str, numbers: list[list[str]] | None) -> None:
    axis.imshow(values.numpy(), cmap="gray", vmin=-0.6, vmax=1, interpolation="nearest")
    height, width = values.shape
    axis.set(xticks=np.arange(-0.5, width), yticks=np.arange(-0.5, height), xticklabels=[], yticklabels=[])
    axis.grid(color="#A0A0A0", linewidth=0.8)
    axis.tick_params(length=0)
    axis.set_title(title, fontsize=10)
    for row, texts in enumerate(numbers or []):
        for column, text in enumerate(texts):
            color = "black" if values[row, column] > 0.3 else "white"
            axis.text(column, row, text, ha="center", va="center", fontsize=9, color=color)


def _mask_panel(axis: Any, mask: Tensor, title: str, factor: str, place: int) -> None:
    _grid(axis, mask, title, [[f"{value:.0f}" for value in row] for row in mask.tolist()])
    axis.set_xlabel(f"r = {factor}", fontsize=10)
    for spine in axis.spines.values():
        spine.set(color=_window_color(place), linewidth=3)


def _windows(axis: Any, centers: Sequence[tuple[int, int]]) -> None:
    for place, (row, column) in enumerate(centers):
        _frame(axis, row - KERNEL / 2, column - KERNEL / 2, KERNEL, _window_color(place))


def _frame(axis: Any, top: float, left: float, side: int, color: str) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(
        Rectangle((left, top), side, side, fill=False, edgecolor=color, linewidth=2.5, zorder=4, clip_on=False)
    )


def _window_color(place: int) -> str:
    return (COLORS[3], COLORS[2], COLORS[0])[place]
