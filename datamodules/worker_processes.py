"""Start worker processes, and end them with their run."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from types import FrameType

__all__ = ["prepare_server", "start_opencv_worker", "start_worker"]

_PATIENCE = 0.5  # seconds for a process to end after SIGTERM


def prepare_server(module: str) -> None:
    """Where a server starts workers (the default on Linux from Python 3.14 on), let it import a module once for all.

    Each worker would otherwise import it anew, PyTorch and Lightning included, which takes seconds. To be called before
    the first worker is started; elsewhere it does nothing.

    Args:
        module: The name of the module that defines what workers read; a module that cannot be imported is left out.
    """
    # Asked for without `allow_none`, the method could not be chosen any more.
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if method == "forkserver":
        multiprocessing.set_forkserver_preload(["__main__", "pcpad.datamodules.worker_server", module])


def start_worker(worker: int) -> None:
    """Make a worker ignore the signals that end a run; for `worker_init_fn` of a loader.

    Args:
        worker: Its number.
    """
    # A terminal sends Ctrl-C, and a batch system SIGTERM, to all processes at once. The run still needs its workers
    # until its state is saved; they end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_at_the_next)


def start_opencv_worker(worker: int) -> None:
    """Like `start_worker`, for workers that use OpenCV, which would start a thread per core in each worker.

    Args:
        worker: Its number.
    """
    import cv2

    cv2.setNumThreads(0)
    start_worker(worker)


def _end_at_the_next(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@atexit.register
def _end_workers() -> None:
    # For runs that end with an error. `multiprocessing`, which is called after this, would send workers one SIGTERM,
    # which they would take for one from a batch system, and wait forever.
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if not left:
        return
    if hasattr(signal, "SIGCHLD"):  # not on Windows
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would treat their end as a failure
    for child in left:
        child.terminate()
    for child in left:
        child.join(_PATIENCE)
        if child.is_alive():
            child.kill()
