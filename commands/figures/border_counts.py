"""The share of each padded convolution's output positions whose window exceeds the input, in order of execution.

Below it, how many padded entries a row of windows reads on its left and on its right: with stride 2 and an even input
the left reads more (2022 paper, Figure 10). Nothing is computed but sizes, so it takes seconds at any size.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pcpad.models
from pcpad import convert_padding
from pcpad._border import Geometry, interior
from pcpad._other_convolutions import rule_of
from pcpad.bounded_yaml import read_yaml
from pcpad.commands.figures.options import add_output, positive
from pcpad.commands.loading import load_task
from pcpad.commands.parser import file_name
from pcpad.errors import UserValueError
from pcpad.tables import write_csv
from pcpad.tasks.base import Task
from pcpad.tasks.pictures.plots import COLORS, need_matplotlib, new_figure, save_figure
from pcpad.terminal import say

_AXES = (("left", "right"), ("top", "bottom"), ("first", "last"))  # by axis, the last one first
# Functions of pcpad.models that are no networks by themselves.
_NO_NETWORKS = {"classifier", "load_weights"}


@dataclass(frozen=True)
class BorderCount:
    """How one call of a convolution meets its input's border.

    Args:
        name: The convolution's.
        geometry: Its kernel, stride, padding and dilation.
        size: Of its input, an entry an axis.
        windows: Output positions, an entry an axis.
        reaching: Of these, by axis, how many windows of a line reach out before the input, and how many after it.
        entries: By axis, how many padded entries a line of windows reads before the input, and after it.
    """

    name: str
    geometry: Geometry
    size: tuple[int, ...]
    windows: tuple[int, ...]
    reaching: tuple[tuple[int, int], ...]
    entries: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, name: str, geometry: Geometry, size: Sequence[int]) -> BorderCount:
        """Count; `name`, `geometry` and `size` as in the class."""
        windows = geometry.output_size(size)
        reaching, entries = [], []
        for length, count, k, s, lead, d in zip(
            size, windows, geometry.kernel, geometry.stride, geometry.lead, geometry.dilation, strict=True
        ):
            starts = [place * s - lead for place in range(count)]
            before = [sum(start + tap * d < 0 for tap in range(k)) for start in starts]
            after = [sum(start + tap * d >= length for tap in range(k)) for start in starts]
            reaching.append((count - before.count(0), count - after.count(0)))
            entries.append((sum(before), sum(after)))
        return cls(name, geometry, tuple(size), windows, tuple(reaching), tuple(entries))

    @property
    def positions(self) -> int:
        """All output positions of a channel."""
        return prod(self.windows)

    @property
    def at_border(self) -> int:
        """Output positions whose window reaches the padding."""
        ranges = interior(self.size, self.windows, self.geometry)
        return self.positions - prod(max(end - start, 0) for start, end in ranges)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--network", metavar="NAME", help="a network of torchvision, timm or pcpad.models")
    which.add_argument(
        "--checkpoint", type=file_name, metavar="CKPT", help="a checkpoint of any task that takes images or clips"
    )
    parser.add_argument("--options", nargs="+", default=[], metavar="NAME=VALUE",
                        help="of a network of pcpad.models: encoder=resnet50")  # fmt: skip
    text = "of the input: a side, height and width, or frames, height and width (default: 224)"
    parser.add_argument("--size", nargs="+", type=positive, default=[224], metavar="PIXELS", help=text)
    text = "class paths from other packages that the checkpoint may name"
    parser.add_argument("--trust", nargs="+", default=[], metavar="CLASS", help=text)
    add_output(parser, "border_counts.png")


def draw(given: argparse.Namespace) -> None:
    """Count, draw, and write the numbers beside the picture.

    Args:
        given: The parsed options.

    Raises:
        ValueError: There is no such network, or it does not take inputs of that size.
    """
    need_matplotlib()
    size = tuple(given.size) * (2 if len(given.size) == 1 else 1)
    if len(size) > 3:
        message = f"Expected argument `--size` to be 1, 2 or 3 numbers, but got {len(size)}"
        raise UserValueError(message)
    if given.checkpoint:
        model: nn.Module = load_task(given.checkpoint, trusted=given.trust).to("meta")
        name = model.network_name if isinstance(model, Task) else type(model).__name__
    else:
        with torch.device("meta"):
            model = build(given.network, _parsed(given.options))
        name = " ".join([given.network, *given.options])
    counts, left = count_borders(model, size)
    if not counts:
        message = f"{name} has no padded convolution."
        raise UserValueError(message)
    written = write_counts(counts, given.output.with_suffix(".csv"))
    positions, border = sum(count.positions for count in counts), sum(count.at_border for count in counts)
    sizes = "×".join(map(str, size))
    say(f"{name} at {sizes}: {len(counts)} padded convolutions run; {100 * border / positions:.2f} % of their output "
          f"positions reach the padding, from {100 * _least(counts):.2f} to {100 * _most(counts):.2f} %")  # fmt: skip
    if left:
        say(f"Not counted, as they pad by other means than a convolution's own: {_some(left)}")
    say(f"Written to {written}")
    _plot(counts, f"{name}, input {sizes}", given.output)


def build(name: str, options: Mapping[str, Any]) -> nn.Module:
    """A network by its name, with random weights.

    Args:
        name: Of `pcpad.models`, torchvision (segmentation and video networks too) or timm.
        options: Arguments of a function of `pcpad.models`.

    Returns:
        The network.

    Raises:
        ValueError: There is none of that name, or it has no such option.
    """
    from torchvision import models

    ours = [key for key in pcpad.models.__all__ if key not in _NO_NETWORKS]
    if name in ours:
        make = getattr(pcpad.models, name)
        known = inspect.signature(make).parameters
        unknown = [key for key in options if key not in known]
        if unknown:
            message = f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}."
            raise UserValueError(message)
        network: nn.Module = make(**options)
        return network
    if options:
        message = f"--options are for networks of pcpad.models ({', '.join(ours)}), and {name!r} is none of them."
        raise UserValueError(message)
    if name in models.list_models() and name not in models.list_models(module=models):
        extra = {"weights_backbone": None} if name in models.list_models(module=models.segmentation) else {}
        network = models.get_model(name, weights=None, **extra)
        return network
    return pcpad.models.classifier(name, padding="zeros")


def count_borders(model: nn.Module, size: Sequence[int]) -> tuple[list[BorderCount], list[str]]:
    """Run the network on sizes alone, and count at each padded convolution.

    Args:
        model: A network or task that takes (1, 3, *size) on the device "meta"; its padding becomes zeros.
        size: Of the input: (H, W) or (T, H, W).

    Returns:
        The counts, one per call, in the order of execution; and the names of modules that pad in another way.

    Raises:
        ValueError: The network cannot be run at that size.
    """
    # Which windows reach out does not depend on what is found there; plain convolutions ask least of the device.
    _, report = convert_padding(model, "zeros", drop_border_filters=True, return_report=True)
    # A subclass that pads by its attributes is as good as a plain convolution.
    parts = dict(model.named_modules())
    left = [row.name for row in report.left if _pads_by_itself(parts.get(row.name))]
    found: list[BorderCount] = []
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            handles.append(module.register_forward_pre_hook(_recorder(name.removeprefix("network."), found)))
    try:
        with torch.no_grad():
            model.eval()(torch.empty(1, 3, *size, device="meta"))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"The network cannot be run on an input of {'×'.join(map(str, size))}: {reason}"
        raise UserValueError(message) from error
    finally:
        for handle in handles:
            handle.remove()
    return found, left


def _pads_by_itself(module: nn.Module | None) -> bool:
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return type(module).__name__.endswith("Same")
    padders = ("ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad")
    return type(module).__name__.startswith(padders)


def _recorder(name: str, found: list[BorderCount]) -> Any:
    def record(module: Any, inputs: tuple[Tensor, ...]) -> None:
        dims, rule = len(module.kernel_size), rule_of(type(module))  # type: ignore[arg-type]  # a class is hashable
        padding = rule.padding(module, inputs[0]) if rule is not None and rule.padding is not None else module.padding
        geometry = Geometry.of(dims, module.kernel_size, module.stride, padding, module.dilation)
        if any(geometry.pads_of_f_pad):
            found.append(BorderCount.of(name, geometry, inputs[0].shape[-dims:]))

    return record


def write_counts(counts: Sequence[BorderCount], path: Path) -> Path:
    """Write a row for each call: sizes, positions, the share at the border, and the sides.

    Args:
        counts: In order.
        path: The file.

    Returns:
        The path.
    """
    sides = [side for axis in _AXES[: len(counts[0].size)] for side in axis]
    columns = ["layer", "kernel", "stride", "padding", "dilation", "input", "output", "positions", "border_positions"]
    columns += [
        "border_share",
        *(f"{kind}_{side}" for kind in ("windows_reaching", "padded_entries") for side in sides),
    ]
    rows = []
    for count in counts:
        geometry = count.geometry
        shapes = (geometry.kernel, geometry.stride, geometry.lead, geometry.dilation, count.size, count.windows)
        numbers = [count.positions, count.at_border, count.at_border / count.positions]
        for pairs in (count.reaching, count.entries):
            numbers += [number for pair in reversed(pairs) for number in pair]
        rows.append([count.name, *("x".join(map(str, shape)) for shape in shapes), *numbers])
    return write_csv(path, columns, rows)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _least(counts: Sequence[BorderCount]) -> float:
    return min(count.at_border / count.positions for count in counts)


def _most(counts: Sequence[BorderCount]) -> float:
    return max(count.at_border / count.positions for count in counts)


def _parsed(options: Sequence[str]) -> dict[str, Any]:
    for option in options:
        if not option.partition("=")[2]:
            message = f"Expected argument `--options` to be NAME=VALUE, but got {option!r}"
            raise UserValueError(message)
    return {option.partition("=")[0]: read_yaml(option.partition("=")[2], f"--options {option}") for option in options}


def _plot(counts: Sequence[BorderCount], title: str, path: Path) -> None:
    places = range(len(counts))
    figure, axes = new_figure(2, 1, (max(6.0, min(30.0, 2 + 0.2 * len(counts))), 7), sharex=True)
    above, below = axes[:, 0]
    above.bar(places, [100 * count.at_border / count.positions for count in counts], color=COLORS[0])
    above.set(title=title, ylabel="positions that reach\nthe padding (% of output)", ylim=(0, 100))
    for offset, side, name, color in ((-0.2, 0, "left", COLORS[0]), (0.2, 1, "right", COLORS[3])):
        heights = [count.entries[-1][side] for count in counts]
        below.bar([place + offset for place in places], heights, 0.4, color=color, label=name)
    below.set(ylabel="padded entries read by\na row of windows", xlabel="convolution (its output's size)")
    names = [f"{count.name} ({'×'.join(map(str, count.windows))})" for count in counts]
    below.set_xticks(places, names, rotation=90, fontsize=7)
    below.set_xlim(-0.7, len(counts) - 0.3)
    below.legend(title="side of the input")
    below.yaxis.get_major_locator().set_params(integer=True)
    for axis in (above, below):
        axis.grid(axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    say(f"Written to {save_figure(figure, path)}")
