"""Which code scales the border of a partial convolution's output on a GPU: torch's operations, or a Triton kernel.

`"torch"` multiplies the whole map where its ratio is kept (up to 65 536 positions), and four strips of larger ones.
`"triton"` is one launch that touches the border alone, of every map of which that is at most half. Which is faster
depends on the GPU, so it has to be measured: `"auto"`, the default, is torch's unless `pcpad bench --device cuda
--choose` measured the kernel to be faster on this GPU with these versions of torch and Triton. What it measured is kept
in `$XDG_CACHE_HOME/pcpad/border_kernel.json` (`~/.cache/pcpad`). The environment variable `PCPAD_BORDER_KERNEL` and
`set_border_kernel` say so without measuring. On a CPU, under `torch.compile` and while a CUDA graph is captured the
kernel is never used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pcpad import _border
from pcpad._user_cache import user_cache
from pcpad.errors import UserModuleNotFoundError, UserValueError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OPTION", "border_kernel", "choice_file", "is_chosen", "keep_choice", "set_border_kernel", "using"]

OPTION = "PCPAD_BORDER_KERNEL"
_NAMES = ("auto", "torch", "triton")
_MOST_KEPT = 1 << 20  # bytes of the file of choices that are read

_set: str | None = None  # by `set_border_kernel`
_found: dict[torch.device, bool] = {}  # whether the kernel is chosen: asked once per layer's call


def set_border_kernel(name: str | None) -> None:
    """Say which code scales borders on GPUs, in this process.

    Args:
        name: `"torch"`, `"triton"`, or `"auto"` for the choice measured on this machine. None goes back to the
            environment variable `PCPAD_BORDER_KERNEL`, and without it to `"auto"`.

    Raises:
        ValueError: There is no such name.
        ModuleNotFoundError: Triton is not installed.

    Example:
        >>> set_border_kernel("torch")
        >>> border_kernel("cuda")
        'torch'
        >>> set_border_kernel(None)
    """
    global _set
    _set = None if name is None else _checked(name, "`set_border_kernel`")
    _found.clear()


def border_kernel(device: torch.device | str) -> str:
    """Which code scales the border on a device, as it was set, else as the environment says, else as was measured.

    Args:
        device: Where; on a CPU it is always torch's.

    Returns:
        `"torch"` or `"triton"`.

    Raises:
        ValueError: The environment variable holds no name.
        ModuleNotFoundError: It asks for Triton, which is not installed.
    """
    device = torch.device(device)
    given = os.environ.get(OPTION, "").strip()
    name = _set or (_checked(given, f"The environment variable {OPTION}") if given else "auto")
    if name != "auto":
        return name if device.type != "cpu" else "torch"
    measured = _measured(device) if device.type == "cuda" and torch.cuda.is_available() else None
    return "triton" if measured is not None and measured.get("kernel") == "triton" else "torch"


def is_chosen(x: Tensor) -> bool:
    """Whether the Triton kernel scales the border of outputs on this tensor's device."""
    if _border.on_cpu(x):
        return False
    found = _found.get(x.device)
    if found is None:
        # A tensor that is taken for a GPU's is asked for as one, so that the kernel can be interpreted on a CPU.
        found = _found[x.device] = border_kernel("cuda" if x.is_cpu else x.device) == "triton"
    return found


@contextmanager
def using(name: str) -> Iterator[None]:
    """Use one kernel for a while, then the one from before; arguments and errors as of `set_border_kernel`."""
    before = _set
    set_border_kernel(name)
    try:
        yield
    finally:
        set_border_kernel(before)


def choice_file() -> Path | None:
    """Where choices are kept; None for a user without a home folder."""
    folder = user_cache()
    return None if folder is None else folder / "pcpad" / "border_kernel.json"


def keep_choice(device: str, kernel: str, ratio: tuple[float, float, float]) -> Path | None:
    """Save the choice measured on a GPU, along with those of other GPUs.

    Args:
        device: The GPU's name, as torch has it.
        kernel: `"torch"` or `"triton"`.
        ratio: The Triton kernel's time over torch's: median and the ends of its 95 % interval.

    Returns:
        The file; None for a user without a home folder, for whom nothing is kept.

    Raises:
        OSError: It cannot be written.
    """
    from pcpad.files import locked, write_text

    path = choice_file()
    if path is None:
        return None
    with locked(path.with_suffix(".lock")):
        kept = _kept(path)
        kept[device] = {"kernel": kernel, "ratio": list(ratio), **_versions()}
        write_text(path, json.dumps(kept, indent=1) + "\n")
    _found.clear()
    return path


def _measured(device: torch.device) -> dict[str, Any] | None:
    """The choice measured on this GPU with these versions; None if there is none."""
    path = choice_file()
    found = None if path is None else _kept(path).get(torch.cuda.get_device_name(device))
    if not isinstance(found, dict) or not _has_triton():
        return None
    return found if all(found.get(name) == version for name, version in _versions().items()) else None


def _kept(path: Path) -> dict[str, Any]:
    """All choices; none where the file is missing, too long or damaged: measuring again takes a minute."""
    from pcpad.files import opened

    try:
        with opened(path) as file:
            kept = json.loads(file.read(_MOST_KEPT))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _versions() -> dict[str, str]:
    """The versions that the times depend on, besides the GPU."""
    return {"torch": torch.__version__, "triton": importlib.metadata.version("triton") if _has_triton() else "none"}


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _checked(name: str, what: str) -> str:
    if name not in _NAMES:
        hint = did_you_mean(name, _NAMES, form="{!r}")
        message = f"Expected {what} to be one of {', '.join(_NAMES)}, but got {name!r}.{hint}"
        raise UserValueError(message)
    if name == "triton" and not _has_triton():
        message = (
            f"{what} asks for Triton, which is not installed: it comes with torch's packages for NVIDIA GPUs on Linux. "
            "Install it, or use 'torch'."
        )
        raise UserModuleNotFoundError(message)
    return name
