"""Tests that need a process of their own."""

import os
import subprocess
import sys

import pytest

_CHILD = "PCPAD_TEST_PROCESS"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test marked `own_process` in a new interpreter.

    Processes forked from one that has computed gradients before, in an earlier test, cannot compute any.
    """
    if pyfuncitem.get_closest_marker("own_process") is None or os.environ.get(_CHILD):
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    done = subprocess.run(
        command, cwd=pyfuncitem.config.rootpath, env=os.environ | {_CHILD: "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return True
