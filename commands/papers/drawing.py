"""The papers' figures by what draws them here: `pcpad figure`, and the bars and curves of `pcpad compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pcpad.commands import figure as figures
from pcpad.commands.comparison.grid_file import read_grid
from pcpad.commands.comparison.plots import draw_convergence
from pcpad.commands.comparison.results import Study
from pcpad.commands.papers.bars import draw_networks
from pcpad.commands.papers.published import PublishedFigure
from pcpad.commands.papers.trained import Found, Trained
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.terminal import say

__all__ = ["DRAWN", "draw", "made_by"]

# The ReLU layers of torchvision's vgg19_bn that both papers show.
_VGG = ("features.22", "features.32")


@dataclass(frozen=True)
class Drawing:
    """How a figure is drawn.

    Args:
        takes: From what, in words.
        figure: The name of the `pcpad figure` that draws it; None for the pictures of `pcpad compare`.
        task: Whose checkpoints it takes; None where it takes none.
        options: What follows the figure's name, from the checkpoints with zeros and with partial padding.
    """

    takes: str
    figure: str | None
    task: str | None = None
    options: Callable[[list[str], list[str]], list[str]] = lambda zeros, partial: []


def _pair(*further: str) -> Callable[[list[str], list[str]], list[str]]:
    return lambda zeros, partial: ["--checkpoints", zeros[0], partial[0], *further]


def _groups(*further: str) -> Callable[[list[str], list[str]], list[str]]:
    return lambda zeros, partial: ["--first", *partial, "--second", *zeros, *further]


def _only(*words: str) -> Callable[[list[str], list[str]], list[str]]:
    return lambda zeros, partial: list(words)


def _each(zeros: list[str], partial: list[str]) -> list[str]:
    return ["--checkpoint", zeros[0], partial[0], "--paddings", "zeros", "reflect", "replicate", "partial"]


_CHECKPOINTS = "checkpoints of zeros and partial"
_RULES = "the layers' own rules"

# By `drawn` in `published.yaml`.
DRAWN = {
    "bars": Drawing("runs of classification, grouped over networks, beside the published averages", None),
    "convergence": Drawing("a folder of `pcpad compare`", None),
    "right_and_wrong": Drawing(_CHECKPOINTS, "activations", "ClassificationTask", _groups()),
    "activations": Drawing(
        f"{_CHECKPOINTS} of vgg19_bn", "activations", "ClassificationTask", _groups("--layers", *_VGG)
    ),
    "seams": Drawing(_CHECKPOINTS, "seams", "SegmentationTask", _pair()),
    "seams_overlapping": Drawing(_CHECKPOINTS, "seams", "SegmentationTask", _pair("--overlap", "1/3")),
    "synthesis": Drawing(_CHECKPOINTS, "synthesis", "SynthesisTask", _pair()),
    "features": Drawing(_CHECKPOINTS, "features", "ClassificationTask", _each),
    "leave_out": Drawing("a picture, named behind --", "leave-out"),
    "masks_of_padding": Drawing(_RULES, "masks", options=_only("padding")),
    "windows_of_padding": Drawing(_RULES, "masks", options=_only("windows")),
    "mask_of_holes": Drawing(f"{_RULES}, or of a mask, `-- --mask FILE`", "masks", options=_only("hole")),
    "masks_of_panoptic": Drawing(_RULES, "masks", options=_only("panoptic")),
    "inpaintings": Drawing(f"{_CHECKPOINTS} convolution", "inpaintings", "InpaintingTask", _pair()),
    "border_counts": Drawing("a network, `-- --network resnet50`", "border-counts"),
}


def made_by(figure: PublishedFigure) -> str:
    """The data of a figure, and what draws it."""
    how = DRAWN[figure.drawn]
    return f"yes, from {how.takes}" + (f", by `pcpad figure {how.figure}`" if how.figure else "")


def draw(figure: PublishedFigure, found: Found | None, output: Path | None, further: Sequence[str]) -> None:
    """Draw a figure.

    Args:
        figure: The paper's.
        found: What there is; None without `--runs`.
        output: The picture; named after the figure when not given.
        further: More options of the `pcpad figure` that draws it.

    Raises:
        UserValueError: The runs are not those it takes.
        UserFileNotFoundError: Their checkpoints are gone.
    """
    how = DRAWN[figure.drawn]
    path = output or Path(f"{figure.name.replace(':', '-')}.png")
    if how.figure is None:
        _of_comparison(figure, found, path, further)
        return
    paddings = ("zeros", "partial") if how.task is not None else ()
    checkpoints = [_checkpoints(figure, how, found, padding) for padding in paddings] or [[], []]
    options = how.options(*checkpoints)
    figures.main([how.figure, *options, *further, "--output", str(path)])


def _of_comparison(figure: PublishedFigure, found: Found | None, path: Path, further: Sequence[str]) -> None:
    if further:
        message = f"{figure.name} takes no further options, but got {' '.join(further)}"
        raise UserValueError(message)
    if path.suffix.lower() not in (".png", ".pdf"):
        message = f"Expected --output to be a .png or .pdf file, but got {path}"
        raise UserValueError(message)
    if figure.drawn == "bars":
        say(f"Written to {draw_networks(figure, found or Found(), path)}")
        return
    grids = found.grids if found is not None else []
    if len(grids) != 1:
        message = f"{figure.name} is drawn of one folder of `pcpad compare`, but --runs has {len(grids)}"
        raise UserValueError(message)
    drawn = draw_convergence(Study(grids[0], read_grid(grids[0])), path)
    if drawn is None:
        message = f"{figure.name}: no run in {grids[0]} has logged anything to draw yet."
        raise UserValueError(message)
    say(f"Written to {drawn}")


def _checkpoints(figure: PublishedFigure, how: Drawing, found: Found | None, padding: str) -> list[str]:
    """The best checkpoints of a padding's runs, by seed; of one network."""
    of = f"{figure.name} is drawn of checkpoints of {how.task} with zeros and with partial padding"
    trained = found.trained if found is not None else []
    runs = [one for one in trained if one.task == how.task and one.padding == padding]
    if not runs:
        message = f"{of}, but {'--runs has none' if found else 'no --runs was given'} with {padding}."
        raise UserValueError(message)
    networks = sorted({one.network for one in runs})
    if len(networks) > 1:
        message = f"{of}, all of one network, but --runs has {', '.join(networks)}: name the folder of one."
        raise UserValueError(message)
    kept = [path for one in sorted(runs, key=_seed) if (path := one.checkpoint) is not None]
    if not kept:
        message = f"{of}, but there is no checkpoints/best.ckpt in {runs[0].where} nor in the others with {padding}."
        raise UserFileNotFoundError(message)
    return [str(path) for path in kept]


def _seed(one: Trained) -> tuple[int, str]:
    return (int(one.seed), "") if one.seed.isdecimal() else (2**31, one.seed)
