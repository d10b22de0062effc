"""Find a network's head, the layer with one output per class, and start with a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["Head", "check_head", "head_of", "keeping", "within"]

Head = Literal["new"]
"""How the head of a weight file is used: `new` leaves it out."""


def check_head(head: str | None, weights: object) -> None:
    """Refuse an unknown value of `head`, and one without effect.

    Args:
        head: None or `new`.
        weights: The weights that the rest of the network starts from.

    Raises:
        UserValueError: `head` is another value, or there are no weights.
    """
    if head not in (None, "new"):
        message = f"Expected argument `head` to be 'new' or left out, but got {head!r}"
        raise UserValueError(message)
    if head is not None and weights is None:
        message = (
            "head='new' leaves out the head of a weight file, but there are no `weights`: the whole network starts "
            "from random values anyway. Pass `weights` (--model.weights FILE), or leave out `head`"
        )
        raise UserValueError(message)


def head_of(network: nn.Module, num_classes: int) -> list[str]:
    """Find a network's head: its last layer with as many outputs as there are classes.

    Args:
        network: A classifier, or a segmentation network.
        num_classes: The number of classes.

    Returns:
        Names of its modules: one, or several for timm's networks with several classifiers (`head` and `head_dist`).

    Raises:
        UserValueError: There is no such layer.

    Example:
        >>> from torch import nn
        >>> head_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3)), 3)
        ['2']
    """
    settings = getattr(network, "default_cfg", None) or {}
    named = settings.get("classifier") if hasattr(settings, "get") else None
    modules = dict(network.named_modules())
    found = [named] if isinstance(named, str) else list(named or ())
    if found and all(_outputs(modules.get(name)) == num_classes for name in found):
        return found
    last = [name for name, module in modules.items() if _outputs(module) == num_classes]
    if not last:
        message = f"{type(network).__name__} has no layer with {num_classes} outputs, so there is no head to leave out"
        raise UserValueError(message)
    return last[-1:]


def _outputs(module: nn.Module | None) -> int | None:
    linear = isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return module.weight.shape[0] if linear else None  # type: ignore[union-attr, return-value, index]


def within(name: str, parts: Sequence[str]) -> bool:
    """Whether a tensor or module belongs to one of a network's parts, or is one of them.

    Args:
        name: Its name, dots included.
        parts: Names of modules.

    Returns:
        Whether it does.
    """
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def keeping(
    fit: Callable[[nn.Module], dict[str, Tensor]], parts: Sequence[str]
) -> Callable[[nn.Module], dict[str, Tensor]]:
    """Make a file fill all but some parts of a network.

    Args:
        fit: Returns the file's state dict for a network.
        parts: The parts that are not loaded.

    Returns:
        The same function, but with these parts' tensors from the network itself, whatever the file has under their
        names.
    """

    def kept(model: nn.Module) -> dict[str, Tensor]:
        state = {name: value for name, value in fit(model).items() if not within(name, parts)}
        return state | {name: value for name, value in model.state_dict().items() if within(name, parts)}

    return kept
