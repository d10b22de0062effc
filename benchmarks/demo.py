"""The suite in small, under zero and partial padding: cross testing on handwritten digits, borders on drawn streets.

Everything is done by the `pcpad` command, as a user would type it; this script only reads the results and draws.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

PADDINGS = ("zeros", "partial")
# Half the recipe's steps: two trainings have to fit into a demo.
STREETS_STEPS = ("--trainer.max_steps", "120", "--model.scheduler.total_iters", "120")
EVALUATORS = ("--eval+=Regular", "--eval+=Tile", "--eval.size=128", "--eval+=Border", "--eval.size=128")


def pcpad(*arguments: str | Path) -> None:
    """Run the command, showing it; stop with its exit code if it fails."""
    print("\n$ pcpad", *arguments, flush=True)
    code = subprocess.run([Path(sys.executable).with_name("pcpad"), *map(str, arguments)]).returncode
    if code:
        raise SystemExit(code)


def run_folder(root: Path) -> Path:
    """The newest run below a folder."""
    return max(root.glob("*/version_*"), key=lambda folder: int(folder.name.split("_")[1]))


def train(recipe: str, padding: str, data: Path, *options: str) -> dict:
    """Train under one padding, or read the results of an earlier call."""
    root = data.parent / f"{data.name}_{padding}"
    if root.exists():
        run = run_folder(root)
        entry = json.loads((run / "results.json").read_text())["fit"]
        if entry["finished"]:
            return entry | {"run": run}
    pcpad("fit", "--config", recipe, "--data.root", data, "--model.padding", padding,
          "--trainer.default_root_dir", root, *options)  # fmt: skip
    run = run_folder(root)
    return json.loads((run / "results.json").read_text())["fit"] | {"run": run}


def cross_test(checkpoint: str, trained: str, tested: str, folder: Path) -> float:
    """Top-1 on the test images of weights trained under one padding, run under another."""
    root = folder / f"tested_{trained}_{tested}"
    pcpad("test", "--ckpt_path", checkpoint, "--model.padding", tested, "--trainer.default_root_dir", root)
    return json.loads((run_folder(root) / "results.json").read_text())["test"]["metrics"]["test/top1"]


def curve(run: Path) -> list[float]:
    """Validation top-1 of each epoch, from the run's CSV log."""
    with (run / "metrics.csv").open() as file:
        return [float(row["val/top1"]) for row in csv.DictReader(file) if row.get("val/top1")]


def feature_distance(checkpoint: str, digits: Path) -> list[list[float]]:
    """Mean |difference| of the first stage's features when the same weights run under the other padding."""
    import torch

    from pcpad import convert_padding
    from pcpad.datamodules import ImageNetDataModule
    from pcpad.tasks import ClassificationTask

    task = ClassificationTask.load_from_checkpoint(checkpoint, map_location="cpu").eval()
    data = ImageNetDataModule(root=str(digits), batch_size=60, num_workers=0, image_size=64, resize=64)
    data.setup("test")
    image = next(iter(data.test_dataloader()))["image"]
    features: list[torch.Tensor] = []
    task.network.layer1.register_forward_hook(lambda _module, _input, output: features.append(output))
    with torch.inference_mode():
        for padding in PADDINGS:
            convert_padding(task.network, padding)
            task(image)
    return ((features[0] - features[1]).abs().mean((0, 1)) / features[0].abs().mean()).tolist()


def draw(fits: dict[str, dict], top1: dict[tuple[str, str], float], folder: Path) -> Path:
    """The picture: convergence, cross testing, and where switching the padding changes the features."""
    from pcpad.tasks.pictures.plots import new_figure, padding_style, save_figure

    figure, grid_of_axes = new_figure(1, 4, (15, 3.6))
    axes = grid_of_axes[0]
    for padding in PADDINGS:
        values = curve(fits[padding]["run"])
        axes[0].plot(range(1, len(values) + 1), [100 * v for v in values], label=padding, **padding_style(padding))
    axes[0].set(title="while training", xlabel="epoch", ylabel="validation top-1, %")
    axes[0].legend()
    grid = [[100 * top1[trained, tested] for tested in PADDINGS] for trained in PADDINGS]
    axes[1].imshow(grid, cmap="Greys_r", vmin=0, vmax=115)
    for i, line in enumerate(grid):
        for j, value in enumerate(line):
            axes[1].text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=14, color="wk"[value > 50])
    axes[1].set(title="test top-1, %", xlabel="tested with", ylabel="trained with")
    axes[1].set_xticks(range(2), PADDINGS)
    axes[1].set_yticks(range(2), PADDINGS)
    maps = [feature_distance(fits[padding]["best_checkpoint"], folder / "digits") for padding in PADDINGS]
    top = max(max(map(max, values)) for values in maps)
    for axis, padding, values in zip(axes[2:], PADDINGS, maps, strict=True):
        shown = axis.imshow(values, cmap="magma", vmin=0, vmax=top)
        axis.set(title=f"trained with {padding}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes[2:], label="mean |Δ feature| on switching padding,\nover mean |feature|", shrink=0.8)
    return save_figure(figure, folder / "digits.png", dots_per_inch=110)


def digits(folder: Path) -> tuple[list[str], list[Path]]:
    """Classification: train under each padding, test under each; the table's lines and the picture."""
    data = folder / "digits"
    pcpad("sample", "digits", data)
    fits = {padding: train("cls_digits.yaml", padding, data) for padding in PADDINGS}
    pairs = [(trained, tested) for trained in PADDINGS for tested in PADDINGS]
    top1 = {(a, b): cross_test(fits[a]["best_checkpoint"], a, b, folder) for a, b in pairs}
    picture = draw(fits, top1, folder)

    lines = [
        "Handwritten digits, a small ResNet, one seed: too few to rank paddings, whose differences are smaller.\n",
        "| trained with | best val top-1 | mean of last 5 | tested with zeros | tested with partial |",
        "|---|---|---|---|---|",
    ]
    for padding, fit in fits.items():
        cells = [fit["best"], fit["mean_last_epochs"], *(top1[padding, tested] for tested in PADDINGS)]
        lines.append(f"| {padding} | " + " | ".join(f"{100 * value:.2f} %" for value in cells) + " |")
    return lines, [picture]


def evaluate(checkpoint: str, padding: str, folder: Path) -> list[dict[str, str]]:
    """The rows of `evaluation.csv`: whole images, tiles, and borders for several middles left out."""
    root = folder / f"streets_evaluated_{padding}"
    pcpad("test", "--ckpt_path", checkpoint, *EVALUATORS, "--trainer.default_root_dir", root)
    with (run_folder(root) / "evaluation.csv").open() as file:
        return list(csv.DictReader(file))


def streets(folder: Path) -> tuple[list[str], list[Path]]:
    """Segmentation: train under each padding, evaluate by tiles and borders; the table's lines and the pictures."""
    from pcpad.tasks.evaluation.segmentation_report import plot_leave_out

    data = folder / "streets"
    pcpad("sample", "cityscapes", data)
    fits = {padding: train("seg_demo.yaml", padding, data, *STREETS_STEPS) for padding in PADDINGS}
    found = {padding: evaluate(fits[padding]["best_checkpoint"], padding, folder) for padding in PADDINGS}
    curves = {}
    for padding, rows in found.items():
        border = sorted((float(row["leave_out"]), float(row["mIoU"])) for row in rows if row["leave_out"])
        curves[f"trained with {padding}"] = tuple(map(list, zip(*border, strict=True)))
    pictures = [plot_leave_out(curves, folder / "streets_leave_out.png"), folder / "streets_seams.png"]
    checkpoints = [fits[padding]["best_checkpoint"] for padding in PADDINGS]
    pcpad("figure", "seams", "--checkpoints", *checkpoints, "--size", "128", "--output", pictures[1])

    lines = [
        "Drawn streets, a small DeepLabV3+, one seed, a minute of training: a demonstration, not a ranking.\n",
        "| mIoU | " + " | ".join(PADDINGS) + " |",
        "|---|" + "---|" * len(PADDINGS),
    ]
    for rows in zip(*(found[padding] for padding in PADDINGS), strict=True):
        out = f", middle {float(rows[0]['leave_out']):.3f} left out" if rows[0]["leave_out"] else ""
        cells = " | ".join(f"{100 * float(row['mIoU']):.2f} %" for row in rows)
        lines.append(f"| {rows[0]['evaluation']}{out} | {cells} |")
    return lines, pictures


def main() -> None:
    """Run both and end with tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    folder = parser.parse_args().folder
    start = time.perf_counter()
    tables, pictures = zip(digits(folder), streets(folder), strict=True)
    for lines in tables:
        print("", *lines, sep="\n")
    pictures = [*pictures[0], *pictures[1]]
    print("\nPictures: " + ", ".join(map(str, pictures)) + f"   ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
