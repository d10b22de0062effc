"""How the processes that read data start, and how they end with their run."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from types import FrameType

__all__ = ["start_opencv_worker", "start_worker"]

_PATIENCE = 0.5  # seconds, in which a process that heeds SIGTERM ends


def start_worker(worker: int) -> None:
    """Have a worker ignore the signals that end a run: `worker_init_fn` of a loader.

    Args:
        worker: Its number.
    """
    # A terminal sends Ctrl-C, and a batch system its SIGTERM, to all processes at once. The run still needs its workers
    # until its state is saved. They end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_at_the_next)


def start_opencv_worker(worker: int) -> None:
    """Like `start_worker`, for workers that read with OpenCV, which would start a thread per core in each of them.

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
    # Of a run that an error ended. By itself `multiprocessing`, whose turn comes after this, sends them one SIGTERM,
    # which they take for that of a batch system, and waits for ever.
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if not left:
        return
    if hasattr(signal, "SIGCHLD"):  # not on Windows
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would take their end for a failure
    for child in left:
        child.terminate()
    for child in left:
        child.join(_PATIENCE)
        if child.is_alive():
            child.kill()
