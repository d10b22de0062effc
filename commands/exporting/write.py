"""Exporting a network, and writing it as ONNX or torch.export."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.fx.experimental._config as _fx_config
from torch import Tensor
from torch.export import Dim, ExportedProgram

from pcpad.commands.exporting.network import Exported, as_strings
from pcpad.errors import UserModuleNotFoundError, UserValueError
from pcpad.files import whole_file
from pcpad.tasks.base import Task

METADATA = "pcpad.json"
_UNBOUNDED = 1 << 30  # pixels; what torch.export says of a size that nothing limits is larger


def need_onnx() -> None:
    """Check early that ONNX's packages are installed.

    Raises:
        ModuleNotFoundError: It is not.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        message = f"ONNX files need {', '.join(missing)}: pip install 'pcpad[onnx]'. torch.export (.pt2) does not."
        raise UserModuleNotFoundError(message, name=missing[0])


def export_program(task: Task, kind: str, inputs: dict[str, Tensor], dynamic: bool) -> ExportedProgram:
    """Trace a task with a dynamic batch.

    Args:
        task: Left as it is.
        kind: `onnx` or `torch`.
        inputs: Examples by name, of a batch of two or more.
        dynamic: Whether height and width are dynamic too.

    Returns:
        The program.

    Raises:
        ValueError: It cannot be traced so.
    """
    axes = {axis: Dim.DYNAMIC for axis in ((0, -2, -1) if dynamic else (0,))}
    shapes = tuple({axis % value.dim(): dim for axis, dim in axes.items()} for value in inputs.values())
    network = Exported(task, plain_pooling=kind == "onnx")
    try:
        # Else a map that is one pixel high in the example would be so for ever, and a batch of one another network.
        with torch.no_grad(), quiet(), _fx_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            program = torch.export.export(network, tuple(inputs.values()), dynamic_shapes=(shapes,))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = f"{type(error).__name__}: {' '.join(lines[:2])}"
        advice = "Pass --fixed_size to export it for one size" if dynamic else "It has no fixed-size export either"
        message = f"torch.export cannot trace this network{' with a dynamic size' * dynamic}. {advice}. It said: {why}"
        raise UserValueError(message) from error
    if dynamic:
        _refuse_branches(program, inputs)
    return program


def _refuse_branches(program: ExportedProgram, inputs: dict[str, Tensor]) -> None:
    """Refuse a program that holds only up to some size, of which an ONNX file would say nothing.

    Raises:
        ValueError: Larger inputs would take another branch.
    """
    uppers = (found.upper for found in program.range_constraints.values())
    bounds = [int(upper) for upper in uppers if upper.is_Integer and upper < _UNBOUNDED]
    if bounds:
        size = "x".join(map(str, next(iter(inputs.values())).shape[-2:]))
        message = (
            f"The network computes differently for inputs of more than {min(bounds)} pixels (as where a fallback pads "
            f"maps that are small), and a file made from an example of {size} would not: pass a larger --size, or "
            "--fixed_size"
        )
        raise UserValueError(message)


def write(
    program: ExportedProgram,
    path: Path,
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    about: dict[str, Any],
) -> None:
    """Write a program with its description.

    Args:
        program: The program.
        path: The file.
        kind: `onnx` or `torch`.
        inputs: Their names.
        outputs: Their names.
        about: The description.

    Raises:
        ValueError: ONNX lacks something the network does.
    """
    if kind == "torch":
        content = io.BytesIO()  # PyTorch ends the process where it cannot finish a file
        torch.export.save(program, content, extra_files={METADATA: json.dumps(about, indent=1)})
        with whole_file(path, "wb") as file:
            file.write(content.getbuffer())
        return
    try:
        with torch.no_grad(), quiet():
            onnx = torch.onnx.export(program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False)
    except Exception as error:
        first = str(error).strip().splitlines()
        message = f"torch.onnx cannot write this network: {type(error).__name__}: {first[0] if first else ''}"
        raise UserValueError(message) from error
    assert onnx is not None
    onnx.model.metadata_props.update(as_strings(about))
    onnx.model.producer_name, onnx.model.producer_version = "pcpad", str(about["pcpad"])
    onnx.save(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' advice to developers; their errors stay.

    Yields:
        Nothing.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
