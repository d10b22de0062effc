"""The middle of the picture is black where `--eval+=Border` leaves it out (2018 Figure 7, 2022 Figure 6)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import UnidentifiedImageError

from pcpad._fractions import as_fraction
from pcpad.commands.figures.options import add_output, positive
from pcpad.commands.parser import path_name
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import refuse_irregular
from pcpad.metrics.border import LEAVE_OUT, border_zones
from pcpad.pictures import decode, open_header, why_unreadable
from pcpad.tasks.pictures.sheets import SheetRow, draw_sheet, save_png
from pcpad.terminal import say
from pcpad.tiling import Tiling

_A_ROW = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    parser.add_argument("image", metavar="IMAGE", type=path_name, help="the picture")
    usual = [value for value in LEAVE_OUT if value]
    text = f"sides of the region left out, as fractions of the picture's (default: {' '.join(map(str, usual))})"
    parser.add_argument("--fractions", nargs="+", default=usual, metavar="F", help=text)
    text = "leave the middle of each tile out instead, of tiles this large"
    parser.add_argument("--tile", type=positive, metavar="PIXELS", help=text)
    add_output(parser, "leave_out.png")


def draw(given: argparse.Namespace) -> None:
    """Draw and write it.

    Args:
        given: The parsed options.

    Raises:
        FileNotFoundError: There is no such picture.
        ValueError: It is no picture, or a fraction is out of range.
    """
    refuse_irregular(given.image)
    if not given.image.is_file():
        message = f"No picture at {given.image} (from {Path.cwd()})."
        raise UserFileNotFoundError(message)
    try:
        with open_header(given.image) as opened:
            decode(opened)
            picture = np.asarray(opened.convert("RGB"))
    except UnidentifiedImageError:
        message = f"{given.image} is no picture of a format that Pillow reads."
        raise UserValueError(message) from None
    except Warning:
        raise  # the user's `-W error`
    # Pillow's plug-ins raise whatever their parsing runs into.
    except Exception as error:
        message = f"{given.image}: {why_unreadable(error)}"
        raise UserValueError(message) from None
    fractions = tuple(as_fraction(value) for value in given.fractions)
    if not all(0 <= fraction < 1 for fraction in fractions):
        message = f"Expected argument `--fractions` to be in [0, 1), but got {' '.join(map(str, given.fractions))}"
        raise UserValueError(message)
    rows = leave_out_rows(picture, fractions, given.tile)
    of = f"each {given.tile} x {given.tile} tile's" if given.tile else "the picture's"
    heading = f"What is left out of the border evaluation; fractions of {of} sides"
    say(f"Written to {save_png(draw_sheet(rows, heading=heading), given.output)}")


def leave_out_rows(picture: np.ndarray, fractions: Sequence[Fraction], tile: int | None = None) -> list[SheetRow]:
    """The picture once for each fraction, black where it is left out.

    Args:
        picture: (H, W, 3) uint8.
        fractions: Sides of what is left out, in [0, 1).
        tile: Side of the tiles that each have a middle of their own; None for the picture's middle.

    Returns:
        Rows of a sheet.

    Raises:
        ValueError: The tiles do not fit the picture without overlap.
    """
    height, width = picture.shape[:2]
    windows = tuple(Tiling(tile).windows(height, width)) if tile else ()
    pictures, labels = [], []
    for fraction in fractions:
        counted = border_zones(height, width, (fraction,), windows).to(torch.bool).numpy()
        pictures.append(picture * counted[..., None])
        labels.append(f"leave out {fraction}: {100 * counted.mean():.1f} % of the pixels are counted")
    starts = range(0, len(pictures), _A_ROW)
    return [SheetRow(pictures[at : at + _A_ROW], labels=labels[at : at + _A_ROW]) for at in starts]
