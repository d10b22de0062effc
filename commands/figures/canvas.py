"""What figures drawn with matplotlib have in common."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcpad.errors import UserModuleNotFoundError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "need_matplotlib", "new_figure", "save_figure"]

# Okabe and Ito's palette: told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DOTS_PER_INCH = 150


def need_matplotlib() -> None:
    """Find out before the networks have run for an hour.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        message = "This figure needs matplotlib: pip install 'pcpad[figures]'"
        raise UserModuleNotFoundError(message, name="matplotlib")


def new_figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """An empty figure with a grid of axes, without pyplot: no display, no global state.

    Args:
        rows: Of axes.
        columns: Of axes.
        size: Width and height in inches.
        options: More for `Figure.subplots`.

    Returns:
        The figure, and its axes as an array (rows, columns).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save_figure(figure: Figure, path: Path) -> None:
    """Write it and say where.

    Args:
        figure: What was drawn.
        path: The file; folders on the way are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    print(f"Written to {path}")
