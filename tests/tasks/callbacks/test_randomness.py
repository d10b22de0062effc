"""Random generators in checkpoints."""

import random

import numpy as np
import torch

from pcpad.tasks.callbacks import RandomState


def draws():
    return [torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(3).tolist(), random.gauss(0, 1)]


def test_the_generators_go_on_from_a_safely_loaded_checkpoint(tmp_path):
    random.gauss(0, 1)  # keeps a second number for later, as NumPy's does
    np.random.randn()
    torch.save(RandomState().state_dict(), tmp_path / "state.pt")
    expected = draws()
    callback = RandomState()
    callback.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draws() != expected  # nothing happens before training starts
    callback.on_fit_start(None, None)
    assert draws() == expected
    callback.on_fit_start(None, None)
    assert draws() != expected  # restored once
