"""A small grid that engines run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_RECIPES = Path(__file__).parent.parent / "test_compare.py"


class SmallGrid:
    """Paddings and seeds on a few small images, as a user would run them."""

    def __init__(self, folder):
        self.folder = folder
        draw = np.random.default_rng(0)
        for split, count in (("train", 9), ("val", 3), ("test", 3)):
            for index in range(count):
                path = folder / "images" / split / "abc"[index % 3] / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        recipe = re.search(r'RECIPE = """\\\n(.*?)"""', _RECIPES.read_text(encoding="utf-8"), re.DOTALL)[1]
        (folder / "small.yaml").write_text(recipe, encoding="utf-8")

    def start(self, output, *args):
        """The command, as a process; with one thread every result is the same bit for bit."""
        quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
        grid = ["--paddings=zeros,partial", "--seeds=2", "--trainer.max_epochs=20", "--checkpoint.every_n_epochs=1"]
        code = "import sys; from pcpad.cli import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", code, "compare", "--config=small.yaml", f"--output={output}", *quiet, *grid]
        return subprocess.Popen(
            [*command, *args],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, output, *args):
        """The same, to its end: what it printed."""
        process = self.start(output, *args)
        printed, _ = process.communicate(timeout=1500)
        assert process.returncode == 0, printed
        return printed

    def tables(self, output):
        """What the runs' numbers are."""
        return {name: (self.folder / output / name).read_text() for name in ("runs.csv", "summary.csv")}

    def fits(self, output):
        """How often each cell began to train."""
        logs = (self.folder / output).rglob("log.txt")
        return {str(log.parent.relative_to(self.folder / output)): log.read_text().count("$ pcpad fit") for log in logs}


@pytest.fixture
def small_grid(tmp_path):
    return SmallGrid(tmp_path)
