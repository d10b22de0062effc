"""Files that a checkpoint calls a run's own."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pcpad.tasks.callbacks.checkpoint import BestAndLast
from pcpad.tasks.callbacks.own_files import OwnFiles


@pytest.mark.faults
@pytest.mark.parametrize("asked", ["{dir}/../../thesis.ckpt", "simplecache::file://{tmp}/thesis.ckpt"])
def test_going_on_removes_no_file_that_the_checkpoint_names(tmp_path, asked):
    """As Lightning does it: hooks, states, then a better score removes the best so far."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    thesis = tmp_path / "thesis.ckpt"
    thesis.write_text("years of work")
    path = asked.format(dir=folder, tmp=tmp_path)
    callback = BestAndLast(monitor="val/loss", mode="min", dirpath=str(folder))
    state = callback.state_dict() | {"best_k_models": {path: 9.0}, "best_model_path": path}
    state |= {"kth_best_model_path": path, "last_model_path": path, "dirpath": str(folder)}
    checkpoint = {"callbacks": {callback.state_key: state}}
    trainer = SimpleNamespace(ckpt_path=str(folder / "last.ckpt"), strategy=SimpleNamespace(remove_checkpoint=remove))
    OwnFiles().on_load_checkpoint(trainer, None, checkpoint)
    callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
    for remembered in (*callback.best_k_models, callback.last_model_path, callback.best_model_path):
        if callback._should_remove_checkpoint(trainer, str(remembered), str(folder / "best.ckpt")):
            callback._remove_checkpoint(trainer, str(remembered))
    assert thesis.read_text() == "years of work"


def remove(path):
    from lightning.fabric.utilities.cloud_io import get_filesystem

    fs = get_filesystem(path)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def test_what_the_run_s_own_folder_has_is_kept():
    state = {"best_k_models": {"old/place/best.ckpt": 0.5}, "best_model_path": "old/place/best.ckpt"}
    OwnFiles().on_load_checkpoint(SimpleNamespace(ckpt_path="run/last.ckpt"), None, {"callbacks": {"x": state}})
    assert state == {
        "best_k_models": {str(Path("run/best.ckpt")): 0.5},
        "best_model_path": str(Path("run/best.ckpt")),
    }
