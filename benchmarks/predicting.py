"""What ``pcpad predict`` costs beyond the network: ``python -m benchmarks.predicting --ckpt_path FILE --folder DIR``.

5 000 pictures of 256×128 and 50 of 1024×2048, read, put through a segmentation checkpoint, and written as indices,
colors and overlays. For each size three things are measured: the command with all pictures, the command with one (its
start), and the network alone on as many random images. The difference is the cost of reading and writing per picture,
in wall-clock and in processor seconds; ``--code DIR`` (repeatable) measures another checkout too, in alternation.
Everything is written below ``--folder``; ``--clean`` removes it. ``--json FILE`` keeps the table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.common import save, show

_SIZES = {(128, 256): 5000, (1024, 2048): 50}  # height, width


def draw(folder: Path, size: tuple[int, int], count: int) -> Path:
    """Photograph-like pictures as JPEGs: one scene of coarse shapes with grain, each shifted by some pixels.

    Args:
        folder: Where to write them.
        size: Height and width.
        count: How many.

    Returns:
        Their folder.
    """
    import cv2

    there = folder / f"{size[1]}x{size[0]}"
    there.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    coarse = draws.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    scene = np.clip(scene.astype(np.int16) + draws.integers(-6, 7, scene.shape), 0, 255).astype(np.uint8)
    for number in range(count):
        path = there / f"{number:05}.jpg"
        if not path.exists():
            cv2.imwrite(str(path), np.roll(scene, 7 * number, axis=1))
    return there


def timed(command: list[str], code: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command.

    Args:
        command: Arguments after `python`.
        code: The checkout to run.

    Returns:
        Both.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(code), os.environ.get("PYTHONPATH", "")])}
    began, used = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}"
        raise RuntimeError(message)
    now = os.times()
    spent = now.children_user + now.children_system - used.children_user - used.children_system
    return time.perf_counter() - began, spent


def network_alone(checkpoint: str, size: tuple[int, int], count: int) -> None:
    """Put random images through the network, one at a time.

    Args:
        checkpoint: A task's.
        size: Height and width.
        count: How many.
    """
    import torch

    from pcpad.commands.loading import load_task

    task = load_task(checkpoint).eval()
    image = torch.rand(1, 3, *size)
    with torch.inference_mode():
        for _ in range(count):
            task(image)


def measure(checkpoint: str, folder: Path, codes: list[Path], share: float) -> list[dict[str, object]]:
    """Both sizes, with each checkout.

    Args:
        checkpoint: A segmentation task's.
        folder: For pictures and outputs.
        codes: The checkouts.
        share: Of the pictures, for a shorter run.

    Returns:
        A row for each size and checkout.
    """
    rows: list[dict[str, object]] = []
    for size, most in _SIZES.items():
        count = max(2, round(most * share))
        pictures = draw(folder, size, count)
        (one,) = sorted(pictures.iterdir())[:1]
        alone = ["-m", "benchmarks.predicting", "--child", *map(str, size), "--folder", ".", "--ckpt_path", checkpoint]
        here = Path(__file__).resolve().parents[1]
        network = np.subtract(timed([*alone, "--count", str(count)], here), timed([*alone, "--count", "1"], here))
        network /= count - 1
        for code in codes:
            taken = []
            for number, source in enumerate((one, pictures)):
                output = folder / f"output_{number}"
                shutil.rmtree(output, ignore_errors=True)
                command = ["-m", "pcpad.cli", "predict", "--ckpt_path", checkpoint, "--output", str(output)]
                taken.append(timed([*command, "--data.predict_images", str(source)], code))
                shutil.rmtree(output, ignore_errors=True)
            each = np.subtract(taken[1], taken[0]) / (count - 1)
            rows.append(
                {
                    "size": f"{size[1]}×{size[0]}",
                    "pictures": count,
                    "code": code.name,
                    "network, ms": round(1000 * network[0], 1),
                    "predict, ms": round(1000 * each[0], 1),
                    "over the network, ms": round(1000 * (each[0] - network[0]), 1),
                    "over it, processor ms": round(1000 * (each[1] - network[1]), 1),
                }
            )
            show(rows[-1:])
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="FILE")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--code", type=Path, action="append", metavar="DIR", help="checkouts; default: this one")
    parser.add_argument("--share", type=float, default=1.0, help="share of the pictures to use")
    parser.add_argument("--clean", action="store_true", help="remove the pictures when done")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        network_alone(given.ckpt_path, tuple(given.child), given.count)
        return
    codes = given.code or [Path(__file__).resolve().parents[1]]
    rows = measure(str(Path(given.ckpt_path).resolve()), given.folder, codes, given.share)
    show(rows)
    save(rows, given.json)
    if given.clean:
        for height, width in _SIZES:
            shutil.rmtree(given.folder / f"{width}x{height}", ignore_errors=True)


if __name__ == "__main__":
    main()
