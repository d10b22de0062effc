"""Every number that every task logs or writes, on one process and on two, of five samples."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Some of the numbers that have to be among them.
SOME = {
    "classification": {"test/loss", "test/top1", "test/top5", "val/loss", "train/loss"},
    "segmentation": {"test/mIoU", "test/IoU/2", "val/class_accuracy", "train/loss"},
    "segmentation --eval": {"test/regular_flip/mIoU", "test/border_regular/leave_0.333/accuracy"},
    "action recognition": {"test/clip_top5", "test/video_top1", "test/videos", "val/clip_top1", "train/loss"},
    "inpainting": {"test/fid", "test/psnr", "test/ssim/0.01-0.20", "test/l1/0.10-0.20/border", "val/l1", "train/hole"},
    "synthesis": {"test/l1", "val/l1", "val/hinge", "val/mIoU", "val/discriminator", "train/feature_matching"},
    "gaussian filtering": {"test/mse", "test/border_mse", "val/interior_mse", "train/loss"},
}


# Loaders that Lightning shares out are the same for all tasks.
LOADERS = {"ours": list(SOME), "plain": ["classification", "synthesis"]}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_two_processes_find_what_one_finds(loader, tmp_path):
    pytest.importorskip("torch_fidelity")
    pytest.importorskip("faster_coco_eval")
    script, file = ROOT / "benchmarks" / "processes.py", tmp_path / "rows.json"
    command = [sys.executable, str(script), *LOADERS[loader], "--loader", loader, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    rows = json.loads(file.read_text())["rows"]
    for task in LOADERS[loader]:
        found = {row["metric"] for row in rows if row["task"] == task}
        assert found >= SOME[task]
        assert any(name.startswith("results.json") for name in found)
