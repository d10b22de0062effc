"""Which method fills which kind of hole best: the measurement behind `pcpad._filling_rule`.

    python -m benchmarks.filling_choice BSDS500/train Urban100 [--json FILE] [--photographs 24]

Photographs that neither trained the network that ships nor are those that `pcpad fill` is scored on: 192² middles of
BSDS500's training photographs and of Urban100. Of each kind of hole every photograph gets one: lines of a thickness
(four strokes across the picture), and blobs (four ellipses) as thick. Seeds are fixed; all methods get the same holes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.stats import ttest_rel

from pcpad.datamodules.reading.folders import find_images
from pcpad.datamodules.reading.images import read_image
from pcpad.errors import UserFileNotFoundError
from pcpad.filling import fill_picture, shipped_network

SIDE = 192
THICKNESSES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SHAPES = ("lines", "blobs")
CLASSICAL = ("biharmonic", "ns", "telea")


def main() -> None:
    """Print the table, the best method of each kind, and how sure that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--photographs", type=int, default=24)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--thicknesses", type=lambda text: [int(word) for word in text.split(",")], default=THICKNESSES)
    given = parser.parse_args()
    methods = [*CLASSICAL]
    try:
        shipped_network()
        methods.insert(0, "network")
    except UserFileNotFoundError as error:
        print(f"without a network: {error}")
    pictures = photographs(given.folders, given.photographs)
    found = {}
    print(f"{len(pictures)} photographs; PSNR in holes, dB, mean over photographs; p: the best against the second")
    print(f"{'kind':>12}" + "".join(f"{method:>12}" for method in methods) + "   best")
    for shape in SHAPES:
        for thickness in given.thicknesses:
            if shape == "blobs" and thickness < 3:
                continue
            scores = {method: np.zeros(len(pictures)) for method in methods}
            for number, picture in enumerate(pictures):
                hole = hole_of(shape, thickness, number)
                for method in methods:
                    scores[method][number] = psnr(picture, hole, method)
            found[f"{shape} {thickness}"] = {method: values.tolist() for method, values in scores.items()}
            print(line(f"{shape} {thickness}", scores), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


def photographs(folders: Sequence[Path], count: int) -> list[torch.Tensor]:
    """The middles of photographs evenly spread over the folders, as many of each, (3, SIDE, SIDE) uint8."""
    pictures = []
    for folder in folders:
        files, share = find_images(folder), count // len(folders)
        for number in range(share):
            image = read_image(files[number * len(files) // share])
            top, left = ((length - SIDE) // 2 for length in image.shape[1:])
            pictures.append(image[:, top : top + SIDE, left : left + SIDE].contiguous())
    return pictures


def hole_of(shape: str, thickness: int, seed: int) -> np.ndarray:
    """Draw a hole, (SIDE, SIDE) bool."""
    draws = np.random.default_rng([SHAPES.index(shape), thickness, seed])
    hole = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(4 if thickness <= 24 else 1):
        if shape == "lines":
            start, end = (tuple(int(value) for value in draws.integers(0, SIDE, 2)) for _ in range(2))
            cv2.line(hole, start, end, 1, thickness)
        else:
            middle = tuple(int(value) for value in draws.integers(thickness // 2, SIDE - thickness // 2, 2))
            axes = (max(1, thickness // 2), max(1, round(thickness * draws.uniform(0.5, 0.9))))
            cv2.ellipse(hole, middle, axes, float(draws.uniform(0, 180)), 0, 360, 1, -1)
    return hole != 0


def psnr(picture: torch.Tensor, hole: np.ndarray, method: str) -> float:
    """Of a filled picture, over its hole."""
    places = torch.from_numpy(hole)
    filled = fill_picture(picture, ~places[None], method).image
    error = (filled.double() - picture.double())[:, places].pow(2).mean()
    return float(10 * torch.log10(255**2 / error.clamp_min(1e-3)))


def line(kind: str, scores: dict[str, np.ndarray]) -> str:
    """A row of the table."""
    order = sorted(scores, key=lambda method: -scores[method].mean())
    ahead = scores[order[0]] - scores[order[1]]
    test = ttest_rel(scores[order[0]], scores[order[1]])
    return (
        f"{kind:>12}" + "".join(f"{values.mean():12.2f}" for values in scores.values())
        + f"   {order[0]} (+{ahead.mean():.2f} dB over {order[1]}, p = {test.pvalue:.1g})"
    )  # fmt: skip


if __name__ == "__main__":
    main()
