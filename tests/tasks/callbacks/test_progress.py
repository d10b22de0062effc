"""What stands beside the progress bar."""

import pytest
import torch
from lightning.pytorch.callbacks import ProgressBar

from pcpad.tasks.callbacks.progress import ShownProgress


@pytest.mark.faults
def test_names_of_metrics_move_no_cursor(monkeypatch):
    monkeypatch.setattr(ProgressBar, "get_metrics", lambda *_: {"IoU/a[/red]\x1b[2J\nb": torch.tensor(0.5)})
    assert ShownProgress().get_metrics(None, None) == {r"IoU/a[/red]\x1b[2J\nb": 0.5}
