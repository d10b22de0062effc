"""Which method fills holes of which thickness best, from results of `benchmarks.filling`: for the rule of `auto`.

    python -m benchmarks.filling --photographs DIR --json FILE --work WORK --methods network ns telea biharmonic
    python -m benchmarks.filling_by_thickness --photographs DIR --json FILE --work WORK

A picture's hole is split into its connected pieces, each of which counts once. Its thickness is twice the largest
distance of its pixels to a valid one. Do not run it on the photographs of a comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from benchmarks.filling import crop
from benchmarks.filling_holes import digest, draw_hole
from benchmarks.filling_records import Key, Record, read_records
from benchmarks.filling_scores import hole_psnr
from benchmarks.paired import markdown

Scores = dict[int, dict[str, dict[str, float]]]  # PSNR by interval of thickness, method, and piece of a hole

EDGES = (0, 3, 5, 8, 12, 16, 24, 48, 96, 1000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--work", type=Path, required=True, help="folder of the filled pictures")
    given = parser.parse_args()
    records = read_records(given.json)
    scores: Scores = {}
    for path in sorted(path for path in given.photographs.iterdir() if path.is_file()):
        for kind in dict.fromkeys(kind for picture, kind, _ in records if picture == path.stem):
            add_scores(scores, path, kind, records, given.work)
    print(markdown([row(place, scores[place]) for place in sorted(scores)]))


def add_scores(scores: Scores, path: Path, kind: str, records: Mapping[Key, Record], work: Path) -> None:
    """Score the pieces of one picture's hole, of all methods that filled it."""
    truth, hole = crop(path), draw_hole(path.stem, kind)
    pieces = list(pieces_of(hole))
    for (picture, other, method), record in records.items():
        if (picture, other) != (path.stem, kind) or record["mask"] != digest(hole):
            continue
        filled = cv2.imread(str(work / kind / method / f"{path.stem}.png"))[..., ::-1]
        for number, (thickness, piece) in enumerate(pieces):
            of_bin = scores.setdefault(bin_of(thickness), {}).setdefault(method, {})
            of_bin[f"{path.stem}/{kind}/{number}"] = hole_psnr(filled, truth, piece)


def pieces_of(hole: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """The connected pieces of a hole: thickness, and (H, W) bool."""
    inside = np.pad(hole, 1, mode="edge")  # beyond the border nothing is valid
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    count, labels = cv2.connectedComponents(hole.astype(np.uint8), connectivity=8)
    for number in range(1, count):
        piece = labels == number
        yield 2 * float(distance[piece].max()), piece


def bin_of(thickness: float) -> int:
    """Which interval of EDGES, (low, high], a thickness is in."""
    return next(place for place, (_, high) in enumerate(pairwise(EDGES)) if thickness <= high)


def row(place: int, found: dict[str, dict[str, float]]) -> dict[str, object]:
    """Mean PSNR of each method over the holes of an interval that all methods have filled."""
    shared = set.intersection(*(set(values) for values in found.values()))
    means = {method: float(np.mean([values[name] for name in shared])) for method, values in found.items()}
    order = sorted(means, key=lambda method: -means[method])
    cells: dict[str, object] = {"thickness": f"{EDGES[place]} to {EDGES[place + 1]}", "holes": len(shared)}
    cells |= {method: f"{means[method]:.2f}" for method in sorted(means)}
    cells["best"] = order[0]
    if len(order) > 1:
        cells["over the second"] = f"{means[order[0]] - means[order[1]]:+.2f}"
    return cells


if __name__ == "__main__":
    main()
