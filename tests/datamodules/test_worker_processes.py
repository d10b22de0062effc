"""How worker processes are started, whatever the system's way to start processes."""

import multiprocessing
import subprocess
import sys

import pytest

from pcpad.datamodules.worker_processes import prepare_server

SCRIPT = """
import multiprocessing, os, signal, sys, time
from pcpad.datamodules.worker_processes import prepare_server

def work(results):
    server = os.getppid()
    if server != int(sys.argv[2]):
        os.kill(server, signal.SIGTERM)
        time.sleep(0.5)
    results.put(("colorsys" in sys.modules, signal.getsignal(signal.SIGTERM).name, os.getppid() == server))

if __name__ == "__main__":
    prepare_server("colorsys")
    multiprocessing.set_start_method(sys.argv[1])  # may still be chosen
    prepare_server("colorsys")
    sys.argv.append(str(os.getpid()))
    results = multiprocessing.SimpleQueue()
    process = multiprocessing.Process(target=work, args=(results,))
    process.start()
    print(*results.get())
    process.join()
"""


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no such server there")
@pytest.mark.parametrize(("start", "imported"), [("forkserver", True), ("spawn", False)])
def test_a_server_imports_for_all_workers_and_outlives_sigterm(tmp_path, start, imported):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", start]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [str(imported), "SIG_DFL", "True"]


def test_what_the_server_imports_changes_no_other_process():
    code = "import signal, pcpad.datamodules.worker_server; print(signal.getsignal(signal.SIGTERM).name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "SIG_DFL"


def test_nothing_is_prepared_where_no_server_starts_workers(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    prepared = []
    monkeypatch.setattr(multiprocessing, "set_forkserver_preload", prepared.append)
    prepare_server("pcpad.datamodules")
    assert prepared == []
