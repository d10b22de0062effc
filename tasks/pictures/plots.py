"""The style of all plots: a padding has the same color, line style and marker in every figure."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcpad.errors import UserModuleNotFoundError
from pcpad.files import whole_file
from pcpad.terminal import for_terminal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "curve_style",
    "figure_text",
    "need_matplotlib",
    "new_figure",
    "padding_style",
    "place_style",
    "save_figure",
]

# Okabe and Ito's colors, which are distinct for the common kinds of color blindness, and one more; line styles and
# markers are for printing in gray.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D1F")
# Paul Tol's muted scheme, for paddings that users define.
_OTHER_COLORS = ("#332288", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# New ones go to the end, as the others would change their style otherwise.
_PADDINGS = ("partial", "zeros", "reflect", "replicate", "explicit", "circular", "mean", "extrapolate")

_MISSING = "This figure needs matplotlib: pip install 'pcpad[figures]'"


def place_style(place: int) -> dict[str, Any]:
    """The style of a curve that is not a padding's.

    Args:
        place: Its number among the curves; styles repeat after 8.

    Returns:
        `color`, `linestyle` and `marker`, as matplotlib's `plot` takes them.
    """
    place %= len(COLORS)
    return {"color": COLORS[place], "linestyle": _LINES[place], "marker": _MARKERS[place]}


def padding_style(name: str) -> dict[str, Any]:
    """The style of a padding, the same in every figure.

    Args:
        name: The name of any padding. The style of one that is not pcpad's depends on its name alone, so that it need
            not be registered where results are drawn.

    Returns:
        `color`, `linestyle` and `marker`, as matplotlib's `plot` takes them.

    Example:
        >>> padding_style("partial")
        {'color': '#0072B2', 'linestyle': '-', 'marker': 'o'}
    """
    if name in _PADDINGS:
        return place_style(_PADDINGS.index(name))
    color, line, marker = hashlib.sha256(name.encode()).digest()[:3]
    return {
        "color": _OTHER_COLORS[color % len(_OTHER_COLORS)],
        "linestyle": _LINES[line % len(_LINES)],
        "marker": _MARKERS[marker % len(_MARKERS)],
    }


def curve_style(name: str, place: int) -> dict[str, Any]:
    """The style of a curve by its name in the legend.

    Args:
        name: A name such as `trained with partial`: if its last word is a padding, the curve gets the padding's style.
        place: Its number among the curves, which decides otherwise.

    Returns:
        `color`, `linestyle` and `marker`.
    """
    from pcpad.paddings import padding_names

    words = name.split()
    return padding_style(words[-1]) if words and words[-1] in padding_names() else place_style(place)


def need_matplotlib() -> None:
    """Raise an error early if matplotlib is missing, not after an hour of computation.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise UserModuleNotFoundError(_MISSING, name="matplotlib")


def new_figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """An empty figure with a grid of axes, without pyplot: no display, no global state.

    Args:
        rows: The number of rows of axes.
        columns: The number of columns of axes.
        size: Width and height in inches.
        options: Further arguments of `Figure.subplots`.

    Returns:
        The figure, and its axes as an array (rows, columns).

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserModuleNotFoundError(_MISSING, name="matplotlib") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def figure_text(name: str) -> str:
    """Escape the name of a curve or tick, which matplotlib reads again in drawing; `save_figure` escapes other texts.

    Args:
        name: The name of a class, a file or a value, with any characters.

    Returns:
        The name with control characters escaped, and a space before a leading `_`, as legends omit names that begin
        with it.
    """
    text = for_terminal(name, lines=False)
    return f" {text}" if text.startswith("_") else text


def save_figure(figure: Figure, path: Path, dots_per_inch: int = 150) -> Path:
    """Write a figure atomically. Its texts are drawn literally: `$…$` is not a formula.

    Args:
        figure: The figure, without logarithmic axes, whose numbers are formulas.
        path: The file, whose suffix decides the format; missing folders are made.
        dots_per_inch: The resolution of pixel formats.

    Returns:
        The path.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(for_terminal(text.get_text()))
    # The context is for texts that are created during drawing.
    with whole_file(path, "wb") as file, rc_context({"text.parse_math": False}):
        figure.savefig(file, dpi=dots_per_inch, format=path.suffix.lstrip(".").lower() or "png")
    return path
