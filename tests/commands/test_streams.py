"""Output that cannot be written, and readers that have gone."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.faults

SLOWLY = """
import sys, time
from pcpad.commands.streams import lasting_streams
with lasting_streams():
    for number in range(2000):
        print(number, "x" * 100, flush=number % 100 == 0)
    print("some words", file=sys.stderr)
    open(sys.argv[1], "w").write("all is done")
"""


@pytest.mark.parametrize(("to", "code"), [("> /dev/full", 1), ("| head -1", 141), ("2> /dev/full", 1)])
def test_work_is_done_though_nobody_can_read_what_is_printed(tmp_path, to, code):
    line = f"set -o pipefail; '{sys.executable}' -c \"$0\" '{tmp_path}/made' {to}"
    done = subprocess.run(["bash", "-c", line, SLOWLY], capture_output=True, text=True)
    assert (tmp_path / "made").read_text() == "all is done"
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if to == "> /dev/full":
        assert "pcpad: error: not all lines could be printed (No space left on device); all else is done" in done.stderr


@pytest.mark.parametrize("verb", ["--help", "--version", "configs"])
def test_every_verb_says_that_it_could_not(verb):
    line = f"'{sys.executable}' -m pcpad {verb} > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "pcpad: error: not all lines could be printed (No space left on device); all else is done\n"


def test_what_can_be_printed_is(tmp_path):
    code = "from pcpad.cli import main; import sys; main(['--version']); main(['--version']); print('more')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first = [line.split()[0] for line in done.stdout.splitlines()]
    assert first == ["pcpad", "torchmetrics", "pcpad", "torchmetrics", "more"]
    assert done.stderr == ""
