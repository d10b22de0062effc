"""One style of all plots: a padding has the same color, line style and marker in every figure."""

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

# Okabe and Ito's colors, which the common kinds of color blindness tell apart, and one more; line styles and markers
# are for those who print in gray.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D1F")
# Of Paul Tol's muted scheme, for paddings of other people's.
_OTHER_COLORS = ("#332288", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# New ones at the end: the others would change their looks.
_PADDINGS = ("partial", "zeros", "reflect", "replicate", "explicit", "circular", "mean", "extrapolate")

_MISSING = "This figure needs matplotlib: pip install 'pcpad[figures]'"


def place_style(place: int) -> dict[str, Any]:
    """The look of what is no padding.

    Args:
        place: Its place among what is drawn; after 8 the looks repeat.

    Returns:
        `color`, `linestyle` and `marker`, as matplotlib's `plot` takes them.
    """
    place %= len(COLORS)
    return {"color": COLORS[place], "linestyle": _LINES[place], "marker": _MARKERS[place]}


def padding_style(name: str) -> dict[str, Any]:
    """The look of a padding, the same in every figure.

    Args:
        name: Of any padding; one that is not pcpad's own has a look that its name alone decides, so that it needs not
            be registered where results are drawn.

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
    """The look of a curve by its name in the legend.

    Args:
        name: Such as `trained with partial`: the padding's look where the last word is one's name.
        place: Its place among the curves, which decides otherwise.

    Returns:
        `color`, `linestyle` and `marker`.
    """
    from pcpad.paddings import padding_names

    words = name.split()
    return padding_style(words[-1]) if words and words[-1] in padding_names() else place_style(place)


def need_matplotlib() -> None:
    """Find out before the networks have run for an hour.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise UserModuleNotFoundError(_MISSING, name="matplotlib")


def new_figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """An empty figure with a grid of axes, without pyplot: no display, no global state.

    Args:
        rows: Of axes.
        columns: Of axes.
        size: Width and height in inches.
        options: More for `Figure.subplots`.

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
    """A name for a curve or a tick, which matplotlib asks for once more while it draws; `save_figure` sees to the rest.

    Args:
        name: Of a class, a file or a value, which may hold anything.

    Returns:
        It with control characters shown; a legend leaves out names that begin with `_`, so a space stands in front.
    """
    text = for_terminal(name, lines=False)
    return f" {text}" if text.startswith("_") else text


def save_figure(figure: Figure, path: Path, dots_per_inch: int = 150) -> Path:
    """Write a figure, whole or not at all. Its texts are shown as they are: in none of them is `$…$` a formula.

    Args:
        figure: What was drawn, without logarithmic axes, whose numbers are formulas.
        path: The file, whose ending says the format; folders on the way are made.
        dots_per_inch: Of formats made of pixels.

    Returns:
        The path.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]
        text.set_text(for_terminal(text.get_text()))  # type: ignore[attr-defined]
    # The context is for the texts that are made while it is drawn.
    with whole_file(path, "wb") as file, rc_context({"text.parse_math": False}):
        figure.savefig(file, dpi=dots_per_inch, format=path.suffix.lstrip(".").lower() or "png")
    return path
