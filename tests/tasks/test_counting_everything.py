"""Every number that every task logs or writes, on one process and on two, of five samples."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TASKS = (
    "classification",
    "segmentation",
    "segmentation --eval",
    "action recognition",
    "inpainting",
    "synthesis",
    "gaussian filtering",
)
# Beside those of a task's own metrics.
SOME = {
    "classification": {"test/loss", "test/top1", "test/top5", "val/loss", "train/loss"},
    "segmentation": {"test/mIoU", "test/IoU/2", "val/class_accuracy", "train/loss"},
    "segmentation --eval": {"test/regular_flip/mIoU", "test/border_regular/leave_0.333/accuracy"},
    "action recognition": {"test/clip_top5", "test/video_top1", "test/videos", "val/clip_top1", "train/loss"},
    "inpainting": {"test/fid", "test/psnr", "test/ssim/0.01-0.20", "test/l1/0.10-0.20/border", "val/l1", "train/hole"},
    "synthesis": {"test/l1", "val/l1", "val/hinge", "val/mIoU", "val/discriminator", "train/feature_matching"},
    "gaussian filtering": {"test/mse", "test/border_mse", "val/interior_mse", "train/loss"},
}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("loader", ["ours", "plain"])
@pytest.mark.parametrize("task", TASKS)
def test_two_processes_find_what_one_finds(task, loader, tmp_path):
    pytest.importorskip("torch_fidelity")
    pytest.importorskip("faster_coco_eval")
    rows = tmp_path / "rows.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "processes.py"), task, "--loader", loader, "--json", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    found = {row["metric"]: row for row in json.loads(rows.read_text())["rows"]}
    assert set(found) >= SOME[task]
    assert any(name.startswith("results.json") for name in found)
