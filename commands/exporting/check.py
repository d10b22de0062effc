"""Comparing an exported file with PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pcpad.commands.exporting.network import example
from pcpad.errors import UserValueError
from pcpad.tasks.base import Task

# Of the largest output. The runtimes add in another order and so differ by some 1e-6; a border with the wrong ratio
# differs by 1e-2.
TOLERANCE = 1e-4


@dataclass
class Difference:
    """One comparison: of which input, and how far the file is from PyTorch."""

    shapes: str
    absolute: float
    scale: float  # the largest output of PyTorch

    def __str__(self) -> str:
        return f"{self.shapes}: largest difference {self.absolute:.2g}"


def sizes_to_check(size: tuple[int, int], step: int) -> list[tuple[int, tuple[int, int]]]:
    """Batches and sizes, none of them the example's: a graph can hold the example's own as a constant.

    Args:
        size: Height and width of the example.
        step: What sizes differ by; 0 for networks of one size.

    Returns:
        (batch, (height, width)) of an even, an odd and a mixed size, in units of the step.
    """
    batches = (1, 3, 4)
    if not step:
        return [(batch, size) for batch in batches]
    first = [length + step * (2 if length // step % 2 == 0 else 1) for length in size]
    second = [length + step * (1 if length // step % 2 == 0 else 2) for length in size]
    # Neither square nor the same offset on both axes, so that height and width cannot stand for each other.
    sizes = [(first[0], first[1] + 2 * step), (second[0] + 2 * step, second[1]), (first[0], second[1] + 4 * step)]
    return list(zip(batches, sizes, strict=True))


def check_file(path: Path, kind: str, task: Task, size: tuple[int, int], step: int) -> list[Difference]:
    """Read a file back and compare it with PyTorch at three sizes.

    Args:
        path: The file.
        kind: `onnx` or `torch`.
        task: What it was made from.
        size: Height and width of the example.
        step: See `sizes_to_check`.

    Returns:
        What was found at each.

    Raises:
        ValueError: It does not run there, or differs by more than float32 explains.
    """
    run = (_onnx if kind == "onnx" else _torch)(path)
    found = []
    for number, (batch, other) in enumerate(sizes_to_check(size, step), start=1):
        inputs = example(task, batch, other, seed=number)
        shapes = ", ".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in inputs.items())
        with torch.inference_mode():
            expected = _as_tuple(task(*inputs.values()))
        try:
            actual = _as_tuple(run(inputs))
        except Exception as error:
            message = f"{_refused(path)} it does not run with {shapes}: {str(error).strip().splitlines()[0]}"
            raise UserValueError(message) from error
        found.append(_compare(path, shapes, actual, expected))
    return found


def _compare(path: Path, shapes: str, actual: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    came, wanted = ([tuple(value.shape) for value in values] for values in (actual, expected))
    if came != wanted:
        message = f"{_refused(path)} with {shapes} it gives outputs of {came}, PyTorch of {wanted}."
        raise UserValueError(message)
    scale = max(float(value.abs().max()) for value in expected)
    absolute = max(float((a - e).abs().max()) for a, e in zip(actual, expected, strict=True))
    if not absolute <= TOLERANCE * scale:  # NaN is no agreement either
        message = (
            f"{_refused(path)} with {shapes} it differs by {absolute:.2g} where the largest output is {scale:.3g}."
        )
        raise UserValueError(message)
    return Difference(shapes, absolute, scale)


def _refused(path: Path) -> str:
    return f"The exported {path.name} failed its check and was deleted (another --size, or --fixed_size, may do):"


def _as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _torch(path: Path) -> Callable[[dict[str, Tensor]], Tensor | Sequence[Tensor]]:
    module = torch.export.load(path).module()

    def run(inputs: dict[str, Tensor]) -> Tensor | Sequence[Tensor]:
        with torch.no_grad():
            output: Tensor | Sequence[Tensor] = module(*inputs.values())
            return output

    return run


def _onnx(path: Path) -> Callable[[dict[str, Tensor]], Sequence[Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, too
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> Sequence[Tensor]:
        values = {name: value.numpy() for name, value in inputs.items()}
        return [torch.from_numpy(value) for value in session.run(None, values)]

    return run
