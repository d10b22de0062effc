"""How much memory metrics and predictions need at their peak: `python -m benchmarks.memory`.

Each case runs in a child process: its inputs are made first, then the process's peak as Linux keeps it (VmHWM) is
reset, the case runs, and the difference to the resident memory before is printed, in MB of 10^6 bytes.
`--code DIR` (repeatable) runs other checkouts too; `--case` only some cases. Linux. `--json FILE` keeps the table.

`predict`, which only runs if it is named, writes a picture of `--side` pixels square and runs `pcpad
predict` on it, with a network of one convolution: the whole process's peak, imports and picture included. Loaders'
workers are separate processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import save, show
from benchmarks.resident import status_bytes

_MB = 1e6


def _maps(side: int, given: str) -> tuple[object, object]:
    import torch

    prediction = torch.randint(0, 19, (1, side, side), dtype=torch.uint8)
    label = torch.randint(0, 19, (1, side, side), dtype=torch.uint8)
    return prediction, label.long() if given == "long" else label


def iou(side: int) -> Callable[[], object]:
    """`SegmentationIoU` of one map; predictions in bytes, labels of 8 bytes as batches have them."""
    from pcpad.metrics import SegmentationIoU

    metric, maps = SegmentationIoU(19), _maps(side, "long")
    return lambda: metric.update(*maps)


def border(side: int) -> Callable[[], object]:
    """`BorderIoU` of the image's border, six widths."""
    from pcpad.metrics import BorderIoU

    metric, maps = BorderIoU(19), _maps(side, "long")
    return lambda: metric.update(*maps)


def border_tiles(side: int) -> Callable[[], object]:
    """`BorderIoU` of each tile's border."""
    from pcpad.metrics import BorderIoU
    from pcpad.tiling import Tiling

    metric, maps, windows = BorderIoU(19, relative_to="tile"), _maps(side, "long"), Tiling(1024).windows(side, side)
    return lambda: metric.update(*maps, windows)


def argmax(side: int) -> Callable[[], object]:
    """`tiled_argmax` of a network of 19 classes by tiles of 1024, its result kept."""
    import torch
    from torch import nn

    from pcpad.tiling import Tiling, tiled_argmax

    network, image = nn.Conv2d(1, 19, 1), torch.zeros(1, 1, side, side, dtype=torch.uint8)
    return lambda: tiled_argmax(lambda x: network(x.float()), image, Tiling(1024))


def videos(_: int) -> Callable[[], object]:
    """`VideoAccuracy` of Kinetics-400's 19 535 videos of ten windows each, in turns, and its score."""
    import torch

    from pcpad.metrics import VideoAccuracy

    metric, most = VideoAccuracy(400), 19535

    def run() -> object:
        for _ in range(10):
            for video in torch.arange(most).split(64):
                metric.update(torch.randn(len(video), 400), video % 400, video)
        return metric.compute()

    return run


def inception(_: int) -> Callable[[], object]:
    """The Inception Score of 50 000 images, from their logits, without the network."""
    import torch

    from pcpad.tasks.judges.inception import InceptionJudge

    judge = InceptionJudge.__new__(InceptionJudge)
    try:
        from pcpad.tasks.judges.inception import InceptionParts
    except ImportError:  # earlier versions kept all logits
        kept: list[torch.Tensor] = []
        return lambda: [kept.append(torch.randn(50, 1008)) for _ in range(1000)] and torch.cat(kept)
    judge._score = InceptionParts()
    return lambda: [judge._score.update(torch.randn(50, 1008)) for _ in range(1000)] and judge._score.compute()


_CASES = {
    "SegmentationIoU": iou,
    "BorderIoU, image": border,
    "BorderIoU, tiles": border_tiles,
    "tiled_argmax": argmax,
    "VideoAccuracy": videos,
    "Inception Score": inception,
}


def child(case: str, side: int) -> None:
    """Run one case and print its memory.

    Args:
        case: Its name.
        side: Of maps.
    """
    import torch

    torch.set_num_threads(1)
    if case == "Inception Score":
        side = 0
    warm = _CASES[case](min(side, 64))
    if case not in ("VideoAccuracy", "Inception Score"):
        warm()  # loads what is loaded at a first call
    call = _CASES[case](side)
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    result = call()
    print(json.dumps({"MB": (status_bytes("VmHWM") - before) / _MB, "result": str(result)[:60]}))


_PREDICT = """
import resource, sys
import torch
from torch import nn
from pcpad.tasks import segmentation

torch.set_num_threads(1)
segmentation._build = lambda *_: nn.Conv2d(3, 2, 1)  # what is measured is not the network
picture, checkpoint, output = sys.argv[1:]
from lightning.pytorch import Trainer
from pcpad.cli import main

trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
trainer.strategy.connect(segmentation.SegmentationTask(encoder="resnet18"))
trainer.save_checkpoint(checkpoint)
data = ["--data", "CityscapesDataModule", "--data.predict_images", picture]
main(["predict", *data, "--ckpt_path", checkpoint, "--output", output])
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _predicted(side: int, code: Path, folder: Path) -> float:
    """The peak of `pcpad predict` on one picture, in MB."""
    import cv2
    import numpy as np

    picture = folder / f"{side}.png"
    if not picture.exists():
        tile = np.random.default_rng(0).integers(0, 256, (250, 250, 3), dtype=np.uint8)
        repeats = -(-side // 250)
        cv2.imwrite(str(picture), np.tile(tile, (repeats, repeats, 1))[:side, :side], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    output = folder / f"predicted_{code.name}"
    shutil.rmtree(output, ignore_errors=True)
    printed = _run(["-c", _PREDICT, str(picture), str(folder / "tiny.ckpt"), str(output)], code)
    return next(int(line.split()[1]) for line in printed.splitlines() if line.startswith("PEAK")) * 1024 / _MB


def _run(arguments: list[str], code: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(code), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, cwd=code
    )
    if done.returncode:
        message = f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}"
        raise RuntimeError(message)
    return done.stdout


def main() -> None:
    """The command line."""
    here = Path(__file__).resolve()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=[*_CASES, "predict"], default=list(_CASES))
    parser.add_argument("--side", type=int, default=8192, help="of maps and pictures; default: 8192")
    parser.add_argument("--code", type=Path, action="append", metavar="DIR", help="checkouts; default: this one")
    parser.add_argument("--folder", type=Path, help="folder for the picture and the predictions")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.side)
        return
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as made:
        for case in given.case:
            row: dict[str, object] = {"case": case, "side": given.side}
            for code in map(Path.resolve, given.code or [here.parents[1]]):
                if case == "predict":
                    row[f"{code.name}, MB"] = round(_predicted(given.side, code, given.folder or Path(made)))
                    continue
                printed = _run([str(here), "--child", case, "--side", str(given.side)], code)
                row[f"{code.name}, MB"] = round(json.loads(printed.splitlines()[-1])["MB"])
            rows.append(row)
            show([row])
    show(rows)
    save(rows, given.json)


if __name__ == "__main__":
    main()
