"""Compare a task with the file that its weights come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_warn

from pcpad.files import at_home
from pcpad.models.origins import stated_here
from pcpad.models.weights import read_weights

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

__all__ = ["warn_of_other_start"]

# Settings that change outputs without changing names or shapes, and may be intended.
_COMPARED = ("mean", "std", "partial", "panoptic_upsampling")


def warn_of_other_start(task: LightningModule, weights: Any) -> None:
    """Warn if a checkpoint that training starts from was trained on images of another range, or otherwise differently.

    Args:
        task: The task, with its hyper-parameters.
        weights: Its argument; names in a cache are not checked.
    """
    path = at_home(str(weights))
    if not path.is_file():
        return
    said, built = stated_here(read_weights(path)), task.hparams
    other = [name for name in _COMPARED if name in said and name in built and not _same(said[name], built[name])]
    if other:
        lines = [f"{name}={_plain(said[name])} (here {_plain(built[name])})" for name in other]
        rank_zero_warn(
            f"{path} was trained with {', '.join(lines)}: its weights fit and will be used with the values given here. "
            f"To keep the file's, pass {' '.join(f'--model.{name}' for name in other)}"
        )


def _same(a: Any, b: Any) -> bool:
    same: bool = _plain(a) == _plain(b)
    return same


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
