"""Our cells of the papers' tables, computed as the papers did."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pcpad.commands.comparison.metrics import Metric
from pcpad.commands.comparison.statistics import epochs_to_reach, paired, summarize
from pcpad.commands.papers.lines import PADDING_WORDS, Groups, Line
from pcpad.commands.papers.published import PublishedTable

__all__ = ["KINDS", "NOT_OURS", "Cell", "Kind"]

_TOP1 = Metric("val/top1", "max")

NOT_OURS = "–"
"""A cell that is the paper's alone: another's published number, a score that cannot be made again."""

Cell = tuple[float, ...] | str | None
"""Numbers in the paper's unit; a text that stands as it is; None where ours is missing."""


@dataclass(frozen=True)
class Kind:
    """How tables of one kind are made.

    Args:
        task: Whose runs they are made of; None for `pcpad bench`.
        metric: What such runs have logged, as a pattern.
        source: What they are made of, in words.
        takes: The command that makes such runs.
        cells: A row's cells, in the columns' order.
    """

    task: str | None
    metric: str
    source: str
    takes: str
    cells: Callable[[PublishedTable, Line, Groups], list[Cell]]


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {seed: value for seed, value in values.items() if math.isfinite(value)}


def _percent(values: Mapping[str, float]) -> dict[str, float]:
    return {seed: 100 * value for seed, value in values.items()}


def _mean(values: Mapping[str, float]) -> Cell:
    found = summarize(list(_finite(values).values()))
    return (found.mean,) if found.count else None


def _difference(values: Mapping[str, float], others: Mapping[str, float]) -> Cell:
    """Mean difference of the seeds that both have: where all are shared the difference of the papers' averages."""
    found = paired(_finite(values), _finite(others))
    return (found.difference,) if found.pairs and found.difference is not None else None


def _deviation(values: Mapping[str, float], padding: str, paper: str) -> Cell:
    numbers = list(_finite(values).values())
    if len(numbers) < 2:
        return None
    if paper == "2018" and padding in ("zeros", "partial"):
        return (statistics.pstdev([*numbers, statistics.fmean(numbers)]),)
    return (statistics.stdev(numbers),)


def _statistics(
    table: PublishedTable,
    columns: Sequence[str],
    line: Line,
    values: dict[str, float],
    base: dict[str, float],
    groups: Groups,
) -> list[Cell]:
    """Cells of columns such as `1_best`, `Round2`, `average`, `diff` and `stdev`."""
    odd = [seed for seed in values if not math.isfinite(values[seed])]
    if odd:
        groups.remark(f"{' | '.join(line.names)}: seeds {', '.join(odd)} are not finite, and left out of averages.")
    singles = list(values.values())
    shown = sum(_place(column) is not None for column in columns)
    if len(singles) > shown > 0:
        groups.remark(f"Averages are over all runs of ours, of which the paper's columns show the first {shown}.")
    found: list[Cell] = []
    for column in columns:
        place = _place(column)
        if place is not None:
            found.append((singles[place],) if place < len(singles) else None)
        elif column in ("average", "mean"):
            found.append(_mean(values))
        elif column == "diff":
            own = line.padding == "zeros" if line.tested is None else line.tested == line.padding
            found.append("-" if own else _difference(values, base))
        elif column == "stdev":
            found.append(_deviation(values, line.padding, table.name[:4]))
        else:
            found.append(NOT_OURS)
    return found


def _place(column: str) -> int | None:
    found = re.fullmatch(r"(?:Round)?(\d+)(?:_.*)?", column)
    return int(found[1]) - 1 if found else None


def _of_runs(name: str, when: str, mode: str | None = None) -> Callable[[PublishedTable, Line, Groups], list[Cell]]:
    def cells(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
        runs, base = (groups.of(line.network, padding) for padding in (line.padding, "zeros"))
        if when != "test" and any(one.run.by(Metric(name, mode)) == "step" for one in (*runs, *base)):
            groups.remark(f"{line.network}: of runs with several validations in an epoch, each counts like an epoch.")
        values, others = (_percent(groups.values(found, name, when, mode)) for found in (runs, base))
        return _statistics(table, table.columns, line, values, others, groups)

    return cells


def _cross_runs(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    runs = groups.of(line.network, line.padding)
    values = _percent(groups.crossed(runs, "test/top1", line.tested or line.padding))
    own = _percent(groups.crossed(runs, "test/top1", line.padding))
    return _statistics(table, table.columns, line, values, own, groups)


def _cross(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    runs = groups.of(line.network, line.padding)
    own = _percent(groups.crossed(runs, "test/top1", line.padding))
    found: list[Cell] = []
    for column in table.columns:
        tested = PADDING_WORDS[column.partition("/")[0]]
        values = _percent(groups.crossed(runs, "test/top1", tested))
        mean, difference = _mean(values), _difference(values, own)
        known = isinstance(mean, tuple) and isinstance(difference, tuple)
        found.append((*mean, *difference) if known else None)  # type: ignore[misc]
    return found


def _splits(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    found: list[Cell] = []
    for split in dict.fromkeys(column.partition(": ")[0] for column in table.columns):
        default = split.startswith("default")
        columns = [column.partition(": ")[2] for column in table.columns if column.startswith(split)]
        sides = []
        for padding in (line.padding, "zeros"):
            runs = [one for one in groups.of(line.network, padding) if (one.split in (None, "cv0")) == default]
            names = sorted({str(one.split) for one in runs})
            if len(names) > 1:
                kept = "cv2" if "cv2" in names else names[0]
                groups.remark(f"Of the splits {', '.join(names)} the additional one is {kept} here.")
                runs = [one for one in runs if one.split == kept]
            sides.append(_percent(groups.values(runs, "val/mIoU", "best", "max")))
        found += _statistics(table, columns, line, sides[0], sides[1], groups)
    return found


def _evaluated(line: Line, groups: Groups, pattern: str) -> dict[str, float]:
    """Of a test's evaluator whose name has the tiles' size in it: those of 1024 pixels, else the largest."""
    runs = groups.of(line.network, line.padding)
    names = {name for one in runs for found in one.run.tests.values() for name in found if re.fullmatch(pattern, name)}
    if not names:
        return {}
    name = max(names, key=lambda each: (_size(each) == 1024, _size(each)))
    if len(names) > 1:
        groups.remark(f"Of tiles of several sizes ours are those of {_size(name)} pixels: {name}.")
    if _size(name) not in (0, 1024):
        groups.remark(f"Our tiles are of {_size(name)} pixels; the papers' of 1024.")
    return _percent(groups.values(runs, name, "test"))


def _size(name: str) -> int:
    found = re.search(r"tile(\d+)", name)
    return int(found[1]) if found else 0


_TILES = {
    "regular": r"test/regular/mIoU",
    "0 tile overlap": r"test/tile\d+(x\d+)?_o0/mIoU",
    "1/3 tile overlap": r"test/tile\d+(x\d+)?_o0\.33/mIoU",
}
_LEFT_OUT = {"0": "0.000", "1/3": "0.333", "1/2": "0.500", "2/3": "0.667", "3/4": "0.750", "7/8": "0.875"}


def _tiles(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    return [_mean(_evaluated(line, groups, _TILES[column.casefold()])) for column in table.columns]


def _borders(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    found: list[Cell] = []
    for column in table.columns:
        side = column.partition(" ")[0]
        if table.name == "2022:T4" and side == "1/3":
            side = "1/2"  # which the column holds; see the table's notes
        pattern = rf"test/border_tile\d+(x\d+)?/leave_{re.escape(_LEFT_OUT.get(side, ''))}/mIoU"
        pattern = _TILES["regular"] if column == "regular" else pattern
        values = _evaluated(line, groups, pattern)
        if line.part == "diff":
            zeros = _evaluated(Line((), line.network, "zeros"), groups, pattern)
            found.append(_difference(values, zeros))
        else:
            found.append(_mean(values))
    return found


def _filtering(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    own = _mean(groups.values(groups.of(line.network, line.padding), "test/mse", "test"))
    paddings = {one.padding for one in groups.trained}
    means = [_mean(groups.values(groups.of(line.network, padding), "test/mse", "test")) for padding in paddings]
    best = min((mean[0] for mean in means if isinstance(mean, tuple)), default=None)
    if not isinstance(own, tuple) or best is None:
        return [None, None]
    return [own, (100 * best / own[0],) if own[0] else None]


def _inpainting(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    runs = groups.of(line.network, line.padding)
    if line.part == "IS":
        score = _mean(groups.values(runs, "test/inception_score", "test"))
        if isinstance(score, tuple):
            groups.remark(f"{line.names[0]}: the Inception Score of ours is {score[0]:.3f} over all images.")
        return [NOT_OURS] * len(table.columns)
    found: list[Cell] = []
    for column in table.columns:
        low, high = (float(side) for side in re.findall(r"[\d.]+", column))
        name = f"test/{line.part.lower()}/{low:.2f}-{high:.2f}"
        found.append(_mean(groups.values(runs, name, "test")))
    return found


def _synthesis(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    runs = groups.of(line.network, line.padding)
    logged = {name for one in runs for name in one.metrics}
    found: list[Cell] = []
    for column in table.columns:
        names = sorted(name for name in logged if re.fullmatch(rf"test/[^/]+/{column}", name))
        if len(names) > 1:
            groups.remark(f"Of several protocols ours is {names[0]}; there are {', '.join(names[1:])}.")
        found.append(_mean(_percent(groups.values(runs, names[0], "test"))) if names else None)
    return found


def _reach(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    runs = [one.run for one in groups.of(line.network, line.padding) if one.run.epochs(_TOP1)]
    curves = [run.epochs(_TOP1) for run in runs if run.by(_TOP1) == "epoch"]
    if len(curves) < len(runs):
        groups.remark(f"{line.network}: runs that validate several times in an epoch are not counted in epochs.")
    if not curves:
        return [None]
    shared = set.intersection(*(set(curve) for curve in curves))
    mean = {epoch: statistics.fmean(curve[epoch] for curve in curves) for epoch in shared}
    reached = epochs_to_reach(mean, groups.level, "max")
    return ["never" if reached is None else str(reached)]


def _time(table: PublishedTable, line: Line, groups: Groups) -> list[Cell]:
    timing = groups.timing(line.network)
    if timing is None:
        return [None, None]
    name = {"1st": "partial, first call", "2nd - nth": "partial, later calls"}.get(line.part, line.padding)
    if name not in timing.relative:
        return [None, None]
    if not timing.comparable:
        groups.remark(f"{line.network}: not the papers' setting, inference of one image of 224 pixels: {timing.setup}.")
    return [(timing.milliseconds[name],), (100 * timing.relative[name],)]


_CLASSIFIERS = "pcpad compare --config cls_rn50.yaml --paddings zeros,partial,reflect,replicate --seeds 5"
_SEGMENTERS = "pcpad compare --config seg_wn38.yaml --paddings zeros,partial --seeds 3"
_FILTERS = "pcpad compare --config gauss_unet.yaml --paddings zeros,reflect,replicate,explicit,partial --seeds 5"
# The last stage has one frame, which cannot be reflected.
_VIDEOS = (
    "pcpad compare --config act_r3d50.yaml --paddings zeros,reflect,replicate,partial --seeds 2 "
    "--model.fallback replicate"
)
_TILED = f"{_SEGMENTERS} --test --eval+=Regular --eval+=Tile --eval+=Tile --eval.overlap=1/3"
_BY_PARTIAL = "pcpad fit and pcpad test --config {} --model.partial true, and the same with false"


def _classified(
    source: str, cells: Callable[[PublishedTable, Line, Groups], list[Cell]], metric: str = "val/top1", more: str = ""
) -> Kind:
    return Kind("ClassificationTask", metric, f"runs of classification, {source}", _CLASSIFIERS + more, cells)


def _segmented(
    source: str, metric: str, takes: str, cells: Callable[[PublishedTable, Line, Groups], list[Cell]]
) -> Kind:
    return Kind("SegmentationTask", metric, f"runs of segmentation, {source}", takes, cells)


# By `kind` in `published.yaml`.
KINDS: dict[str, Kind] = {
    "time": Kind(
        None,
        "",
        "files of `pcpad bench --json`",
        "pcpad bench --network vgg16_bn --json FILE, likewise resnet50",
        _time,
    ),
    "best": _classified("the best epoch", _of_runs("val/top1", "best", "max")),
    "last": _classified("the last five epochs", _of_runs("val/top1", "last", "max")),
    "reach": _classified("every epoch", _reach),
    "cross_runs": _classified("tested under each padding", _cross_runs, "test/top1", " --cross"),
    "cross": _classified("tested under each padding", _cross, "test/top1", " --cross"),
    "splits": _segmented(
        "the best epoch of one or two splits", "val/mIoU", f"{_SEGMENTERS} --axis data.split=cv0,cv2", _splits
    ),
    "tiles": _segmented("tested whole and by tiles", r"test/(regular|tile.*)/mIoU", _TILED, _tiles),
    "borders": _segmented(
        "tested at borders",
        r"test/border_tile.*/mIoU",
        f"{_SEGMENTERS} --test --eval+=Regular --eval+=Border",
        _borders,
    ),
    "filtering": Kind("GaussianFilteringTask", "test/mse", "tested runs of Gaussian filtering", _FILTERS, _filtering),
    "videos": Kind(
        "ActionRecognitionTask",
        "test/video_top1",
        "tested runs of action recognition",
        _VIDEOS,
        _of_runs("test/video_top1", "test"),
    ),
    "inpainting": Kind(
        "InpaintingTask",
        "test/psnr/.*",
        "tested runs of inpainting",
        _BY_PARTIAL.format("inp_places2.yaml"),
        _inpainting,
    ),
    "synthesis": Kind(
        "SynthesisTask",
        "test/[^/]+/(mIoU|detAP)",
        "runs of synthesis, tested with a judge and a detector",
        _BY_PARTIAL.format("syn_cityscapes.yaml"),
        _synthesis,
    ),
}
