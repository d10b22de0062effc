"""A task as a network to export: its inputs, the sizes it takes, and its description in the file."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

import pcpad
from pcpad import ExplicitPadConv2d
from pcpad.errors import UserTypeError, UserValueError
from pcpad.models import exportable_pooling
from pcpad.tasks.base import Task

_LARGEST_STEP = 64


class Exported(nn.Module):
    """A copy of a task with nothing but its `forward`, normalization included.

    Args:
        task: Left as it is.
        plain_pooling: Replace what ONNX lacks, see `pcpad.models.exportable_pooling`.
    """

    def __init__(self, task: Task, plain_pooling: bool) -> None:
        super().__init__()
        self.task = copy.deepcopy(task).eval().requires_grad_(False)
        if plain_pooling:
            exportable_pooling(self.task)

    def forward(self, *inputs: Tensor) -> Any:
        """What the task gives for its inputs."""
        return self.task(*inputs)


class Normalized(Task):
    """A network by name as a task that normalizes its images and has nothing else.

    Args:
        network: The network, in its padding.
        name: What it is called.
        padding: Its padding.
        mean: Of each channel of images in [0, 1].
        std: Likewise.
    """

    def __init__(
        self, network: nn.Module, name: str, padding: str, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(
            network_name=name, padding=padding, mean=list(mean), std=list(std), not_kept=["network", "name"]
        )
        self.network = network
        self.trained_with = padding

    def forward(self, image: Tensor) -> Any:
        """The network's output for images (N, 3, H, W) in [0, 1]."""
        return self.network(self.normalize(image))


def need_task(module: LightningModule) -> Task:
    """Refuse a model that does not say how it is exported, before any work.

    Args:
        module: What a checkpoint holds.

    Returns:
        The same.

    Raises:
        TypeError: It is no task.
    """
    if not isinstance(module, Task):
        message = (
            f"{type(module).__name__} lacks `export_example` and `export_outputs`, which say how it is exported: "
            "derive it from pcpad.tasks.base.Task, whose defaults are for one image."
        )
        raise UserTypeError(message)
    return module


def example(task: Task, batch: int, size: tuple[int, int], seed: int = 0) -> dict[str, Tensor]:
    """Inputs of a task.

    Args:
        task: The task, whose `export_example` makes them.
        batch: N.
        size: H and W.
        seed: Of what is drawn; the generator is left as it was.

    Returns:
        By name, in the order of `forward`'s arguments.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return task.export_example(batch, *size)


def size_step(task: Task, size: tuple[int, int]) -> int:
    """Find out which sizes a network takes in PyTorch.

    Args:
        task: The task.
        size: Height and width of the example.

    Returns:
        1 if height and width are free; else what they have to be multiples of, apart from the example's remainder.

    Raises:
        ValueError: It takes no other size at all.
    """
    if any(isinstance(module, ExplicitPadConv2d) for module in task.modules()):
        message = (
            "Explicit padding has different filters for each class of windows, and which class a window is in depends "
            "on the size: it is exported for one size. Pass --fixed_size and that --size."
        )
        raise UserValueError(message)
    _try(task, size)
    step = 1
    while step <= _LARGEST_STEP:
        # One step tells odd from even, and three a multiple of 2 from one of 4.
        if all(_runs(task, (size[0] + n * step, size[1] + m * step)) for n, m in ((1, 0), (0, 1), (3, 3))):
            return step
        step *= 2
    message = (
        f"The network takes {size[0]}x{size[1]}, but no other size near it: pass --fixed_size to export it for that one"
    )
    raise UserValueError(message)


def _try(task: Task, size: tuple[int, int]) -> None:
    inputs = example(task, 1, size)
    try:
        with torch.inference_mode():
            task(*inputs.values())
    except Exception as error:
        message = f"The network does not run at {size[0]}x{size[1]}, so pass another --size: {error}"
        raise UserValueError(message) from error


def _runs(task: Task, size: tuple[int, int]) -> bool:
    try:
        with torch.inference_mode():
            task(*example(task, 1, size).values())
    except (RuntimeError, ValueError, AssertionError):  # how networks refuse a size
        return False
    return True


def describe(task: Task, size: tuple[int, int], step: int) -> dict[str, Any]:
    """Say what is in the file.

    Args:
        task: The task.
        size: Height and width of the example.
        step: Of the sizes that fit; 0 for the example's alone.

    Returns:
        Plain values by name.
    """
    parameters = task.hparams
    inputs = example(task, 1, size)
    about: dict[str, Any] = {
        "pcpad": pcpad.__version__,
        "task": type(task).__name__,
        "network": task.network_name,
        "padding": task.padding,
        "trained_with": task.trained_with,
        "classes": task.num_classes,
        "class_names": task.class_names,
        "inputs": {name: ["N", *value.shape[1:-2], "H", "W"] for name, value in inputs.items()},
        "input_range": f"images are {_kind(task)} floats in [0, 1]; do not normalize them, the file does",
        "mean": list(parameters["mean"]) if "mean" in parameters else None,
        "std": list(parameters["std"]) if "std" in parameters else None,
        "outputs": list(task.export_outputs),
        "sizes": _sizes(size, step),
    }
    return {name: value for name, value in about.items() if value is not None}


def _kind(task: Task) -> str:
    return {1: "gray", 3: "RGB"}.get(task.in_channels, f"{task.in_channels}-channel")


def _sizes(size: tuple[int, int], step: int) -> str:
    if step == 0:
        return f"H x W = {size[0]} x {size[1]}"
    if step == 1:
        return "any height and width that the network takes"
    over = [f"{axis} {length % step}" for axis, length in zip("HW", size, strict=True) if length % step]
    return f"height and width in multiples of {step}" + (f", plus {' and '.join(over)}" if over else "")


def as_strings(about: dict[str, Any]) -> dict[str, str]:
    """The description as ONNX keeps it.

    Args:
        about: See `describe`.

    Returns:
        Strings by name; lists and dicts as JSON.
    """
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
