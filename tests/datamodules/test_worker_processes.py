"""How worker processes are started, whatever the system's way to start processes."""

import multiprocessing
import subprocess
import sys

import pytest

from pcpad.datamodules.worker_processes import prepare_server

SCRIPT = """
import multiprocessing, sys
from pcpad.datamodules.worker_processes import prepare_server

def found(_):
    import signal
    return "colorsys" in sys.modules, signal.getsignal(signal.SIGTERM) == signal.SIG_IGN

if __name__ == "__main__":
    prepare_server("colorsys")
    multiprocessing.set_start_method(sys.argv[1])  # may still be chosen
    prepare_server("colorsys")
    with multiprocessing.Pool(1) as pool:
        print(*pool.map(found, [0])[0])
"""


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no such server there")
@pytest.mark.parametrize(("start", "expected"), [("forkserver", "True True"), ("spawn", "False False")])
def test_a_server_imports_for_all_workers_and_outlives_the_first_sigterm(tmp_path, start, expected):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "script.py", start], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_nothing_is_prepared_where_no_server_starts_workers(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    monkeypatch.setattr(multiprocessing, "set_forkserver_preload", lambda modules: pytest.fail("no server is used"))
    prepare_server("pcpad.datamodules")
