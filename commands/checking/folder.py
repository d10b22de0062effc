"""`pcpad check folder`: problems of one's own images and masks, eight samples, and the share of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from pcpad.bounded_yaml import bound_jsonargparse, read_yaml
from pcpad.commands.recipes import config_files, resolve_configs
from pcpad.datamodules.datasets.checks import Finding
from pcpad.datamodules.datasets.cityscapes_labels import IGNORE
from pcpad.datamodules.datasets.class_values import ClassValues
from pcpad.datamodules.datasets.file_pairs import find_pairs
from pcpad.datamodules.datasets.folder_scenes import ScenePairs
from pcpad.datamodules.folder_segmentation import FolderSegmentationDataModule
from pcpad.datamodules.reading.caches import work_through
from pcpad.errors import UserValueError
from pcpad.files import read_text, refuse_dear, refuse_replacing
from pcpad.tables import Table, safe_path, write_csv
from pcpad.tasks.pictures.palette import palette
from pcpad.tasks.pictures.sheets import SheetRow, draw_sheet, save_png
from pcpad.terminal import say, tell

__all__ = ["check_folder"]

_SHOWN = 20
_SAMPLES = 8
_GRAY = (150, 150, 150)  # of what is ignored


class _Looked(NamedTuple):
    """What was found in an image and its mask.

    Attributes:
        problem: What is wrong; empty where nothing is.
        counts: `(256,)` pixels of each class, 255 of those that are ignored.
        sums: `(channels, 2)` of the values in [0, 1] and their squares.
        pixels: How many there are.
        top: The largest value in the image's file.
        deep: Whether it has more than 8 bits.
    """

    problem: str
    counts: np.ndarray
    sums: np.ndarray
    pixels: int
    top: float
    deep: bool


def check_folder(args: list[str]) -> None:
    """Check images and masks: exit code 0 where all is well, 1 where something was found, which a CSV file then lists.

    Args:
        args: `--data.root DIR --data.classes CLASSES` and whatever else `FolderSegmentationDataModule` takes, or
            `--config RECIPE`; `--csv FILE` and `--picture FILE`.

    Raises:
        FileNotFoundError: No data.
        ValueError: Options that make no sense.
        SystemExit: Something was found.
    """
    given = _parse(args)
    data = FolderSegmentationDataModule(**vars(given.data))
    if data.values is None:
        pairs = [pair for found in data.pairs().values() for pair in found]
        raise UserValueError(data.no_classes(pairs))
    findings: list[Finding] = []
    found = find_pairs(data.layout, data.shares, lambda *finding: findings.append(Finding(*finding)))
    everything = [(split, pair) for split, pairs in found.items() for pair in pairs]
    csv, picture = Path(given.csv), Path(given.picture)
    inputs = [data.root / name for _, pair in everything for name in pair]
    for output, option in ((csv, "--csv FILE"), (picture, "--picture FILE")):
        refuse_dear(output, option)
        refuse_replacing([output], inputs, option)
    scenes = ScenePairs(data.root, [pair for _, pair in everything], data.values, data.channels, data.white)
    work = work_through(partial(_look_at, scenes), range(len(scenes)), f"checking {len(scenes)} images and masks")
    looked = list(work)
    findings += [
        Finding(pair.label if pair.label in each.problem else pair.image, "broken", each.problem)
        for (_, pair), each in zip(everything, looked, strict=True)
        if each.problem
    ]
    good = [at for at, each in enumerate(looked) if not each.problem]
    splits = [split for split, _ in everything]
    if good:
        tell(_shares(data.values, splits, looked).rich())
        for line in _advice(data, looked):
            say(line)
        _draw(scenes, [good[at] for at in _spread(len(good), _SAMPLES)], data.values, picture)
        say(f"{min(_SAMPLES, len(good))} samples: {picture}")
    _report(findings, len(everything), csv)
    if findings:
        raise SystemExit(1)


def _parse(args: list[str]) -> Namespace:
    bound_jsonargparse()
    parser = ArgumentParser(
        prog="pcpad check folder",
        description="Decode images and masks in folders of your own: list what is broken, missing, twice or unused, "
        "draw eight of them, and count the classes. Exit code: 0 all is well, 1 something was found.",
    )
    parser.add_argument("--config", help="a recipe whose `data` is FolderSegmentationDataModule's")
    parser.add_argument("--csv", default="check_folder.csv", help="where to write the list")
    parser.add_argument("--picture", default="check_folder.png", help="where to draw the samples")
    parser.add_class_arguments(FolderSegmentationDataModule, "data")
    args = resolve_configs(args)
    for path in config_files(args):
        content = read_yaml(read_text(path), str(path))
        said = content.get("data") if isinstance(content, dict) else None
        said = said.get("init_args", said) if isinstance(said, dict) else None
        if not isinstance(said, dict):
            message = f"{path} has no `data` with `init_args`: expected a recipe such as seg_folder.yaml"
            raise UserValueError(message)
        parser.set_defaults({f"data.{name}": value for name, value in said.items()})
    return parser.parse_args(args)


def _look_at(scenes: ScenePairs, index: int) -> _Looked:
    nothing = np.zeros((scenes.channels, 2))
    try:
        image, label = scenes.read(index)
    except ValueError as error:
        return _Looked(str(error), np.zeros(256, np.int64), nothing, 0, 0.0, False)
    deep = image.pixels.dtype != np.uint8
    values = image.pixels.reshape(-1, scenes.channels)
    sums = np.stack([_sum(values, 1), _sum(values, 2)], axis=1) / ((1, 1) if deep else (255, 255**2))
    counts = np.bincount(label.classes.ravel(), minlength=256)
    return _Looked("", counts, sums, len(values), image.top, deep)


def _sum(values: np.ndarray, power: int) -> np.ndarray:
    """Sums of a power of each column, without a copy of everything in double precision."""
    strips = (values[at : at + (1 << 20)].astype(np.float64) ** power for at in range(0, len(values), 1 << 20))
    sums: np.ndarray = np.sum([strip.sum(axis=0) for strip in strips], axis=0)
    return sums


def _shares(values: ClassValues, splits: Sequence[str], looked: Sequence[_Looked]) -> Table:
    """The share of each split's pixels and the number of its images that hold a class."""
    names = [split for split in ("train", "val", "test") if split in splits]
    of = {split: [each for part, each in zip(splits, looked, strict=True) if part == split] for split in names}
    totals = {split: np.sum([each.counts for each in of[split]], axis=0) for split in names}
    rows = []
    for number, name in [*enumerate(values.names), (IGNORE, "ignored")]:
        cells = []
        for split in names:
            # Of the pixels that count; of those that are ignored, of all.
            base = totals[split].sum() - (totals[split][IGNORE] if number != IGNORE else 0)
            cells.append(f"{100 * totals[split][number] / base:.2f}" if base else "–")
        cells.append(str(sum(bool(each.counts[number]) for each in looked)))
        if number != IGNORE or (totals and any(total[IGNORE] for total in totals.values())):
            rows.append([name, *cells])
    absent = {split: [name for at, name in enumerate(values.names) if not totals[split][at]] for split in names}
    notes = [f"No pixel in {split}: {', '.join(missing)}" for split, missing in absent.items() if missing]
    counted = ", ".join(f"{len(of[split])} {split}" for split in names)
    columns = ["class", *(f"{split} %" for split in names), "images"]
    return Table(f"Shares of the classes ({counted})", columns, rows, notes)


def _advice(data: FolderSegmentationDataModule, looked: Sequence[_Looked]) -> list[str]:
    """Options that the images' values suggest."""
    pixels = sum(each.pixels for each in looked)
    sums = np.sum([each.sums for each in looked], axis=0) / pixels
    mean, square = sums[:, 0], sums[:, 1]
    std = np.sqrt(np.maximum(square - mean**2, 0))
    top = max(each.top for each in looked)
    lines = [
        f"Channels' mean and spread: --model.mean '{_listed(mean)}' --model.std '{_listed(std)}'",
    ]
    if any(each.deep for each in looked):
        lines.append(f"Largest value: {top:g}, of {data.white or 65535:g} that stand for white (--data.white)")
    return lines


def _listed(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in values) + "]"


def _spread(count: int, wanted: int) -> list[int]:
    """Positions from the first to the last."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, wanted))})


def _draw(scenes: ScenePairs, chosen: Sequence[int], values: ClassValues, path: Path) -> None:
    colors = palette(len(values.names), values.colors)
    table = np.full((256, 3), _GRAY, np.uint8)
    table[: len(colors)] = colors
    rows = []
    for index in chosen:
        image, label = scenes.read(index)
        painted = table[label.classes]
        rows.append(SheetRow([_visible(image.pixels), painted], labels=[scenes.images[index].name, "mask"]))
    legend: dict[str, Any] = {name: tuple(map(int, color)) for name, color in zip(values.names, colors, strict=True)}
    save_png(draw_sheet(rows, ["image", "mask"], legend={**legend, "ignored": _GRAY}), path)


def _visible(pixels: np.ndarray) -> np.ndarray:
    """Three channels to look at, stretched where they are dark."""
    shown = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    if shown.dtype == np.uint8:
        return shown
    top = float(np.quantile(shown, 0.99)) or 1.0
    return (np.clip(shown / top, 0, 1) * 255).round().astype(np.uint8)


def _report(findings: list[Finding], pairs: int, csv: Path) -> None:
    findings.sort()
    rows = [(safe_path(found.path), found.problem, found.detail) for found in findings]
    path = write_csv(csv, ["path", "problem", "detail"], rows)
    for finding in findings[:_SHOWN]:
        say(f"{finding.problem}: {finding.path}: {finding.detail}")
    if len(findings) > _SHOWN:
        say(f"… and {len(findings) - _SHOWN} more")
    counts = Counter(finding.problem for finding in findings)
    said = ", ".join(f"{counts[problem]} {problem}" for problem in ("broken", "missing", "twice", "unused"))
    say(f"folder: {pairs} images with masks decoded: {said}. Listed in {path}.")
