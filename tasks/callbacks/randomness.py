"""Resuming a run with the random numbers it would have drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from pcpad.distributed import gathered, rank
from pcpad.tasks.callbacks.restoring import OddStateError

__all__ = ["RandomState", "check_random_state", "random_state", "set_random_state"]


class RandomState(Callback):
    """Keeps the state of the random generators in checkpoints, and restores it when `fit` resumes.

    Without it a resumed run starts from the seed again: its shuffling, dropout and, without worker processes,
    augmentation differ from those of a run that was not interrupted, and so does its result. With it a run that resumes
    at the end of an epoch equals the uninterrupted one. Each process continues from its own state; if the number of
    processes changes, all continue from the first one's.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The generators of torch, NumPy and Python, in types that load without running code."""
        states = gathered(random_state())
        return {**states[0], "others": states[1:]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training starts: building the rest draws random numbers too."""
        others = state_dict.get("others", [])
        for state in (state_dict, *others):
            check_random_state(state)
        self._pending = dict(state_dict)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the generators, after the checkpoint is loaded and before the first loader is made."""
        state, self._pending = self._pending, None
        if state is not None:
            others = state.get("others", [])
            set_random_state([state, *others][rank() if rank() <= len(others) else 0])


def random_state() -> dict[str, Any]:
    """The state of this process's generators of torch, NumPy and Python, in types that load without running code."""
    numpy: Any = np.random.get_state(legacy=False)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},
        "python": random.getstate(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set this process's generators to a state.

    Args:
        state: What `random_state` returned.
    """
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    np.random.set_state(_of_numpy(state))
    random.setstate(_of_python(state))


def check_random_state(state: Any) -> None:
    """Try a state on unused generators.

    Args:
        state: From a checkpoint.

    Raises:
        OddStateError: `set_random_state` cannot take it.
    """
    try:
        torch.Generator().set_state(state["torch"].cpu())
        if state["cuda"] is not None and torch.cuda.is_available():
            torch.Generator("cuda").set_state(state["cuda"].cpu())
        np.random.RandomState().set_state(_of_numpy(state))
        random.Random().setstate(_of_python(state))
    except Exception as error:  # from three libraries, for arbitrary content
        message = f"not a state of random generators: {error!r}"
        raise OddStateError(message) from error


def _of_numpy(state: Mapping[str, Any]) -> dict[str, Any]:
    numpy = state["numpy"]
    key = np.array(numpy["state"]["key"], dtype=np.uint32)
    return {**numpy, "state": {**numpy["state"], "key": key}}


def _of_python(state: Mapping[str, Any]) -> tuple[Any, ...]:
    version, numbers, gauss = state["python"]
    return version, tuple(numbers), gauss
