"""`pcpad export`: a checkpoint as one file, ONNX or torch.export, compared with PyTorch at three sizes.

How a task is exported: its `forward` with what its `export_example(batch, height, width)` returns, a dict of example
inputs by name in the order of `forward`'s arguments; see `pcpad.tasks.base.Task`. In every input the first axis is the
batch and the last two are height and width; these three are dynamic. The outputs are named as its `export_outputs` say.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from pcpad.commands.exporting.check import Difference, check_file
from pcpad.commands.exporting.network import Normalized, describe, example, need_task, size_step
from pcpad.commands.exporting.write import export_program, need_onnx, write
from pcpad.commands.loading import load_task
from pcpad.commands.networks import load_network
from pcpad.commands.parser import Parser, add_import_option, file_name, path_name, verb_parser
from pcpad.commands.plugins import take_imports
from pcpad.errors import UserValueError
from pcpad.files import refuse_dear, refuse_no_folder, refuse_replacing
from pcpad.models.padded_weights import read_metadata
from pcpad.tasks.base import Task
from pcpad.terminal import say

_PLAIN = {"compile": False, "checkpointing": False}
_FORMATS = {".onnx": "onnx", ".pt2": "torch"}
_EPILOG = """\
The input is what the task's data is: images as floats in [0, 1], (N, 3, H, W); the task's normalization is in the
file. Batch, height and width are dynamic. Before the file is put in its place it is read back and compared with
PyTorch at three sizes, even, odd and mixed, and at batch sizes other than the exported one. Its metadata says which
task, network, padding and classes it has: `metadata_props` of ONNX, the extra file `pcpad.json` of torch.export.

examples:
  pcpad export --ckpt_path runs/cls_rn50/version_0/checkpoints/best.ckpt --output model.onnx
  pcpad export --ckpt_path best.ckpt --output model.pt2 --size 512x1024
  pcpad export --ckpt_path explicit.ckpt --output model.onnx --size 224 --fixed_size
  pcpad export --network resnet50 --weights resnet50-partial.safetensors --output resnet50.onnx
"""


def main(args: list[str]) -> None:
    """Export, check, and print the differences.

    Args:
        args: The arguments after `export`.

    Raises:
        FileNotFoundError: There is no such checkpoint or folder.
        ValueError: The checkpoint, the format or the size is none that can be exported, or the file disagrees with
            PyTorch; then there is no file.
    """
    given = parser().parse_args(take_imports(args))
    _refuse_half(given)
    kind = _format(given.output, given.format)
    refuse_no_folder(given.output)
    # ONNX keeps weights beyond 2 GiB in a second file.
    read = [name for name in (given.ckpt_path, given.weights) if name]
    refuse_replacing([given.output, given.output.with_name(f"{given.output.name}.data")], read)
    refuse_dear(given.output)
    if kind == "onnx":
        need_onnx()
    task = _of_weights(given) if given.network else need_task(load_task(given.ckpt_path, where_known=_PLAIN))
    size = given.size
    step = 0 if given.fixed_size else size_step(task, size)
    about = describe(task, size, step)
    inputs = example(task, 2, size)
    program = export_program(task, kind, inputs, dynamic=not given.fixed_size)
    # Beside its place, so that a file that fails its check never stands there.
    with tempfile.TemporaryDirectory(dir=given.output.resolve().parent, prefix=".pcpad-export-") as folder:
        draft = Path(folder) / given.output.name
        write(program, draft, kind, list(inputs), task.export_outputs, about)
        found = check_file(draft, kind, task, size, step)
        for file in Path(folder).iterdir():  # ONNX keeps weights beyond 2 GiB in a second one
            file.replace(given.output.parent / file.name)
    _report(given.output, about, found)


def _refuse_half(given: argparse.Namespace) -> None:
    """Refuse anything but either a checkpoint, or a network's name and its weights."""
    by_name = given.network is not None and given.weights is not None
    if by_name == (given.ckpt_path is not None) or (given.network is None) != (given.weights is None):
        message = "Expected either --ckpt_path FILE, or --network NAME and --weights FILE."
        raise UserValueError(message)


def _of_weights(given: argparse.Namespace) -> Task:
    """A network by name with its weights, as a task that normalizes its images."""
    loaded = load_network(given.network, weights=given.weights, num_classes=given.num_classes)
    padding = read_metadata(given.weights).get("padding", "zeros")
    return Normalized(loaded.module, given.network, padding, loaded.mean, loaded.std).eval()


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser(
        "export", "Write a checkpoint as ONNX or torch.export, checked against PyTorch.", _EPILOG, allow_abbrev=True
    )
    add = made.add_argument
    add(
        "--ckpt_path",
        type=file_name,
        metavar="FILE",
        help="a checkpoint of a task on images or label maps, not on clips or masks",
    )
    add("--network", metavar="NAME", help="in place of a checkpoint: of torchvision, timm or smp, with --weights")
    add_import_option(made)
    add(
        "--weights",
        type=file_name,
        metavar="FILE",
        help="what `pcpad adapt` wrote, which says the padding, or other weights (zeros)",
    )
    add("--num_classes", type=int, help="of --network; default 1000, of smp's 19")
    add("--output", required=True, type=path_name, metavar="FILE", help="model.onnx, or model.pt2 for torch.export")
    add("--format", choices=sorted(_FORMATS.values()), help="by default what the output's ending says")
    add("--size", type=_size, default=(224, 224), metavar="S|HxW", help="of the example; default 224")
    add("--fixed_size", action="store_true", help="for networks that have one size: only the batch stays dynamic")
    return made


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    width = width or height
    if not (height.isdecimal() and width.isdecimal() and int(height) > 1 and int(width) > 1):
        message = f"expected a size like 224 or 512x1024, of at least 2, but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(height), int(width)


def _format(output: Path, asked: str | None) -> str:
    ending = _FORMATS.get(output.suffix)
    if output.is_dir() or (asked is None and ending is None):
        message = f"Expected --output to be a file ending in {' or '.join(_FORMATS)}, or --format, but got {output}."
        raise UserValueError(message)
    if asked is not None and ending is not None and asked != ending:
        message = f"--format {asked} and --output {output} disagree: {output.suffix} is the ending of {ending}."
        raise UserValueError(message)
    return asked or str(ending)


def _report(output: Path, about: dict[str, Any], found: list[Difference]) -> None:
    for line in found:
        say(f"  {line}")
    most = max(found, key=lambda line: line.absolute)
    say(
        f"Written to {output} ({about['task']}, {about['network']}, {about['padding']} padding; {about['sizes']}). "
        f"It agrees with PyTorch {torch.__version__}: largest difference {most.absolute:.2g}, where the largest "
        f"output is {most.scale:.3g}."
    )
