"""Partial against ordinary convolution for inpainting: `benchmarks/protocols/inpainting.md` says what and why.

    python -m benchmarks.partial_inpainting train --photographs BSDS500 --work DIR
    python -m benchmarks.partial_inpainting score --photographs BSDS500 --work DIR
    python -m benchmarks.partial_inpainting summary [--markdown benchmarks/FILLING.md]

Training is `pcpad compare`, which resumes when interrupted; each finished run is scored into one JSON file in
`benchmarks/results/inpainting`, and scored runs are skipped. BSDS500's photographs:
https://github.com/BIDS/BSDS500, as `train/*.jpg` and `test/*.jpg`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import machine
from benchmarks.paired import compare, holm, markdown, write_section
from pcpad.commands.comparison.cells import remaining
from pcpad.commands.comparison.grid import SEED, Cell, Grid
from pcpad.commands.comparison.grid_file import read_grid
from pcpad.commands.loading import load_task
from pcpad.datamodules.datasets.strokes import draw_mask
from pcpad.datamodules.datasets.transforms import resize_and_crop
from pcpad.datamodules.reading.images import read_image
from pcpad.files import write_text
from pcpad.metrics.inpainting import PAPER_BINS, composite, picture_scores

RESULTS = Path(__file__).parent / "results" / "inpainting"
AXIS = "model.partial"
STEPS, SIZE, BORDER = 1200, 128, 12
PLACES = ("inside", "border")
SCORES = ("psnr", "ssim", "l1")
_SAME_SHARE = 0.005
OPTIONS = (
    f"--trainer.max_steps={STEPS}",
    f"--model.scheduler.init_args.total_iters={STEPS}",
    f"--data.image_size={SIZE}",
    "--trainer.accelerator=cpu",
)


def main() -> None:
    """Train, score, or print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "score", "summary"])
    parser.add_argument("--photographs", type=Path, help="BSDS500, with train/ and test/")
    parser.add_argument("--work", type=Path, help="folder for the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--markdown", type=Path, help="the file whose section is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "summary":
        text = summary(given.results)
        print(text)
        if given.markdown:
            write_section(given.markdown, "partial against ordinary convolution", text)
        return
    if None in (given.photographs, given.work):
        parser.error("--photographs and --work are needed")
    if given.what == "train":
        for seed in given.seeds:  # seed by seed, so that there are pairs whenever it stops
            subprocess.run(training(given.photographs, given.work, seed), check=True)
        return
    score_runs(given.photographs, given.work, given.results)


def training(photographs: Path, work: Path, seed: int) -> list[str]:
    """The command that trains both arms of a seed, with the photographs laid out as it expects."""
    data = lay_out(photographs, work / "photographs")
    return [
        *(sys.executable, "-m", "pcpad", "compare", "--config", "inp_demo.yaml"),
        *("--axis", f"{AXIS}=true,false", "--seeds", f"{seed},", "--test-checkpoint", "last"),
        *("--output", str(work / "runs"), f"--data.root={data}", *OPTIONS),
    ]


def lay_out(photographs: Path, root: Path) -> Path:
    """Links to the photographs: every tenth of `train` is validation."""
    train = sorted((photographs / "train").glob("*.jpg"))
    parts = {"val": train[::10], "test": sorted((photographs / "test").glob("*.jpg"))}
    parts["train"] = [path for path in train if path not in parts["val"]]
    for part, paths in parts.items():
        folder = root / part
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            link = folder / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
    return root


def holes_of(name: str, bounds: tuple[float, float]) -> dict[str, np.ndarray]:
    """A photograph's two masks of a ratio, (SIZE, SIZE) uint8, 1 = valid, by the location of their holes.

    Args:
        name: The photograph's; it and the ratio determine both masks.
        bounds: Smallest and largest share that is a hole.

    Returns:
        `inside`, which keeps BORDER pixels from the border, and `border`, of the same share, which does not.
    """
    low, high = bounds
    digest = hashlib.sha256(f"{name}/{low}-{high}".encode()).digest()
    draws = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    inner = SIZE - 2 * BORDER
    larger = (SIZE / inner) ** 2
    inside = np.pad(draw_mask(inner, (low * larger, high * larger), draws), BORDER, constant_values=1)
    share = 1 - float(inside.mean())
    close = (max(low, share - _SAME_SHARE), min(high, share + _SAME_SHARE))
    while True:
        border = draw_mask(SIZE, close, draws)
        if (border == 0).sum() > (border[BORDER:-BORDER, BORDER:-BORDER] == 0).sum():
            return {"inside": inside, "border": border}


def bin_name(bounds: tuple[float, float]) -> str:
    """The name that the task's own metrics use."""
    return f"{bounds[0]:.2f}-{bounds[1]:.2f}"


def finished(work: Path) -> list[tuple[Cell, Path]]:
    """The runs whose training has finished, and their last checkpoints."""
    grid: Grid = read_grid(work / "runs")
    found = []
    for cell in grid.cells:
        if all(step.verb != "fit" for step in remaining(work / "runs", grid, cell)):
            found.append((cell, work / "runs" / cell.name / "checkpoints" / "last.ckpt"))
    return found


def score_runs(photographs: Path, work: Path, results: Path) -> None:
    """Score the finished runs that are not scored yet."""
    paths = sorted((photographs / "test").glob("*.jpg"))
    for cell, checkpoint in finished(work):
        arm = "partial" if cell.values[AXIS] == "true" else "ordinary"
        file = results / f"{arm}, seed {cell.seed}.json"
        if file.is_file():
            continue
        scores = scores_of(load_task(checkpoint), paths)
        content = {"arm": arm, "seed": cell.values[SEED], "steps": STEPS, "options": OPTIONS}
        content |= {"pictures": [path.stem for path in paths], "scores": scores, "machine": machine()}
        write_text(file, json.dumps(content) + "\n")
        print(f"{file.name}: " + ", ".join(f"{name} {np.mean(found['psnr']):.3f}" for name, found in scores.items()))


@torch.inference_mode()
def scores_of(task: Any, paths: Sequence[Path]) -> dict[str, dict[str, list[float]]]:
    """A network's scores of each photograph, in the photographs' order, by `ratio/place` and score."""
    found: dict[str, dict[str, list[float]]] = {}
    for path in paths:
        image = resize_and_crop(read_image(path), SIZE, SIZE)
        names, masks = [], []
        for bounds in PAPER_BINS:
            for place, mask in holes_of(path.stem, bounds).items():
                names.append(f"{bin_name(bounds)}/{place}")
                masks.append(torch.from_numpy(mask)[None])
        mask = torch.stack(masks)
        truth = image[None].expand(len(masks), -1, -1, -1) / 255
        filled = composite(task(truth, mask).clamp(0, 1), truth, mask)
        for name, one in zip(names, filled, strict=True):
            l1, psnr, ssim = picture_scores(one, truth[0])
            for score, value in zip(SCORES, (psnr, ssim, l1), strict=True):
                found.setdefault(name, {}).setdefault(score, []).append(round(value, 6))
    return found


# Results

Scored = Mapping[str, Mapping[str, Mapping[str, float]]]  # seed to picture to number, by arm


def read_scores(results: Path, cell: str, score: str) -> dict[str, dict[str, dict[str, float]]]:
    """Numbers of one cell and score: arm to seed to picture."""
    found: dict[str, dict[str, dict[str, float]]] = {"partial": {}, "ordinary": {}}
    for file in sorted(results.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        values = dict(zip(content["pictures"], content["scores"][cell][score], strict=True))
        found[content["arm"]][content["seed"]] = values
    return found


def over_seeds(scored: Scored) -> tuple[dict[str, dict[str, float]], list[float]]:
    """Each photograph's mean over the seeds that both arms have, by arm; and the mean difference of each seed."""
    seeds = [seed for seed in scored["partial"] if seed in scored["ordinary"]]
    means = {
        arm: {name: float(np.mean([runs[seed][name] for seed in seeds])) for name in runs[seeds[0]]}
        for arm, runs in scored.items()
        if seeds
    }
    gains = [
        float(np.mean(list(scored["partial"][seed].values())) - np.mean(list(scored["ordinary"][seed].values())))
        for seed in seeds
    ]
    return means, gains


def summary(results: Path) -> str:
    """The tables of all finished pairs."""
    cells = [f"{bin_name(bounds)}/{place}" for bounds in PAPER_BINS for place in PLACES]
    scored = {(cell, score): over_seeds(read_scores(results, cell, score)) for cell in cells for score in SCORES}
    seeds = len(scored[cells[0], "psnr"][1])
    if not seeds:
        return "No pair of runs is finished.\n"
    parts = [f"Mean over {seeds} seeds and 200 photographs; differences are partial minus ordinary.\n"]
    for score, digits in zip(SCORES, (3, 4, 3), strict=True):
        rows = [_row(cell, *scored[cell, score], digits) for cell in cells]
        adjusted = holm([max(found.p_t, found.p_flips) for _, found in rows])
        table = [{**row, "p, Holm": f"{p:.2g}"} for (row, _), p in zip(rows, adjusted, strict=True)]
        parts.append(f"\n{_TITLES[score]}\n\n{markdown(table)}")
    parts.append("\nThe gain in PSNR with a hole at the border, minus the gain without:\n\n")
    parts.append(markdown([_border_row(bin_name(bounds), scored) for bounds in PAPER_BINS]))
    return "".join(parts)


_TITLES = {"psnr": "PSNR of the composite, dB", "ssim": "SSIM", "l1": "ℓ1, percent (lower is better)"}


def _row(cell: str, means: dict[str, dict[str, float]], gains: list[float], digits: int) -> tuple[dict, Any]:
    found = compare(means["partial"], means["ordinary"])
    ratio, place = cell.split("/")
    row = {"hole ratio": ratio, "holes": "at the border" if place == "border" else "inside"}
    row |= {arm: f"{np.mean(list(means[arm].values())):.{digits}f}" for arm in ("ordinary", "partial")}
    row["difference [95 %]"] = f"{found.difference:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
    row |= {"p (t)": f"{found.p_t:.2g}", "p (flips)": f"{found.p_flips:.2g}"}
    row["each seed"] = ", ".join(f"{gain:+.{digits - 1}f}" for gain in gains)
    return row, found


def _border_row(ratio: str, scored: Mapping[tuple[str, str], Any]) -> dict[str, object]:
    gains = {}
    for place in PLACES:
        means = scored[f"{ratio}/{place}", "psnr"][0]
        gains[place] = {name: value - means["ordinary"][name] for name, value in means["partial"].items()}
    found = compare(gains["border"], gains["inside"])
    row: dict[str, object] = {"hole ratio": ratio}
    row["difference, dB [95 %]"] = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return row | {"p (t)": f"{found.p_t:.2g}", "p (flips)": f"{found.p_flips:.2g}"}


if __name__ == "__main__":
    main()
