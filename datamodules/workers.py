"""The processes that read for a loader."""

from typing import Any

import cv2
import torch


def worker_options(num_workers: int, *, opencv: bool = False) -> dict[str, Any]:
    """A loader's arguments for the processes that read for it.

    Args:
        num_workers: How many; 0 reads in the training process.
        opencv: Whether reading uses OpenCV, which would start a thread a core in each of them.

    Returns:
        Arguments of a DataLoader.
    """
    options = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    options |= {"pin_memory": torch.cuda.is_available()}
    return options | ({"worker_init_fn": _one_thread} if opencv else {})


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
