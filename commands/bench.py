"""`pcpad bench`: what each padding costs on a network, compared with zero padding (2018 and 2022 papers, Table 1)."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pcpad import kernels
from pcpad.commands.benching.calls import BACKENDS, DTYPES, LAYOUTS, MODES, Setting
from pcpad.commands.benching.choosing import choose, table
from pcpad.commands.benching.measure import Row, input_for, measure
from pcpad.commands.benching.network_counts import count_networks
from pcpad.commands.benching.networks import Contestants, build, contestants
from pcpad.commands.benching.report import Known, published, save, show, show_both_papers, show_counts
from pcpad.commands.benching.timing import default_device, machine
from pcpad.commands.benching.two_inputs import TWO_INPUTS, two_inputs
from pcpad.commands.parser import Parser, add_import_option, count, path_name, some_of, verb_parser, words
from pcpad.commands.plugins import take_imports
from pcpad.errors import UserValueError
from pcpad.files import refuse_dear, refuse_no_folder
from pcpad.paddings import check_padding, padding_names
from pcpad.terminal import for_terminal, say

_HELP = """\
Time a network under several paddings, and under zero padding for comparison: the same weights, in one process, in
turn. "time ×" is the time divided by zero padding's in the same round, the median over the rounds, and "95 %" its
interval by bootstrap. "zeros again" is a twin of the zero-padded network (in the JSON file `control`): its distance
from 1 is this machine's noise.
"""
_EPILOG = """\
Memory is parameters, buffers and the tensors alive at the peak of one call: on a GPU by the most that torch had
allocated, on a CPU by the records of torch's allocator (what libraries such as oneDNN keep for themselves is in
neither). In half precision, inference casts the weights, and training runs under autocast. A training step is
forward, backward and plain SGD. "compile, s" is the first call under torch.compile, without caches; the twin runs
what was compiled for the first. "2022 ×" and "2018 ×" are the papers' Table 1, on a V100. What cannot be run is named
below the table with the reason.

examples:
  pcpad bench                                                    Table 1's ResNet-50 on this machine
  pcpad bench --network vgg16_bn,resnet50                        both papers' Table 1
  pcpad bench --network vgg16_bn --threads 1 --json vgg.json
  pcpad bench --count --mode inference,training                  kernels and bytes, no times
  pcpad bench --mode inference,training --backend eager,compile,cudagraphs --batch 1,8 --dtype float32,bfloat16
  pcpad bench --network deeplabv3plus/resnet50 --size 512x1024 --paddings partial,reflect --fallback replicate
  pcpad bench --network inpainting_unet,spade_generator          masks and instance ids beside ordinary convolutions
  pcpad bench --network r3d_18                                   a clip of 16 frames of 112x112
  pcpad bench --device cuda --choose                             which border kernel is faster on this GPU, kept
"""


def main(args: list[str]) -> None:
    """Measure, print one table per setting, and write the file asked for.

    Args:
        args: The arguments after `bench`.

    Raises:
        ValueError: There is no such network, padding or device.
    """
    given = parser().parse_args(take_imports(args))
    for padding in given.paddings:
        check_padding(padding)
    device = _device(given.device)
    if given.choose:
        _choose(device, given.rounds)
        return
    if given.json is not None:
        refuse_no_folder(given.json)
        refuse_dear(given.json, "--json FILE")
    if given.count and given.backend != ["eager"]:
        message = "--count counts what eager mode runs: leave --backend out."
        raise UserValueError(message)
    if given.count and given.json is not None:
        message = "--count prints a table, and writes none: leave --json out."
        raise UserValueError(message)
    for network in given.network[1:]:  # a wrong name is heard of before anything is measured
        if network not in TWO_INPUTS:
            build(network)
    settings = [
        Setting(batch, mode, backend, layout, dtype)
        for mode, backend, dtype, layout, batch in itertools.product(
            given.mode, given.backend, given.dtype, given.layout, given.batch
        )
    ]
    console = Console()
    with _threads(given.threads):
        about = {"machine": machine(device), "rounds": given.rounds, "paddings": given.paddings}
        about["fallback"] = given.fallback
        _say(console, ", ".join(f"{name} {value}" for name, value in machine(device).items()))
        tables: list[tuple[str, Setting, list[Row], Known]] = []
        of_networks: dict[str, dict[str, Any]] = {}
        for network in given.network:
            _measure_network(console, network, settings, given, device, about, of_networks, tables)
    found = {network: (rows, known) for network, _, rows, known in tables if known}
    if len(found) > 1:
        show_both_papers(console, found)
    if given.json is not None:
        _say(console, f"\nWritten to {given.json}")


def _measure_network(
    console: Console,
    network: str,
    settings: list[Setting],
    given: argparse.Namespace,
    device: torch.device,
    about: dict[str, Any],
    of_networks: dict[str, dict[str, Any]],
    tables: list[tuple[str, Setting, list[Row], Known]],
) -> None:
    """Measure or count one network in all settings; the results are added to `of_networks` and `tables`."""
    made = None if network in TWO_INPUTS else contestants(network, given.paddings, given.fallback)
    usual = (224, 224) if made is not None and made.dims == 2 else (112, 112) if made is not None else (256, 256)
    size = given.size or usual
    for number, setting in enumerate(settings, start=1):
        used = made or two_inputs(network, setting.batch, size)
        for one in used.networks.values():
            one.to(device)
        if number == 1:
            _say_unconverted(console, used)
            of_networks[network] = {
                "size": list(size),
                "frames": given.frames if used.dims == 3 else None,
                "kept_their_padding": list(used.unconverted),
            }
        shape = "×".join(map(str, [given.frames, *size] if used.dims == 3 else size))
        title = f"{network} at {shape}: {setting}"
        if given.count:
            show_counts(
                console, title, count_networks(used, setting, input_for(used, setting, size, given.frames, device))
            )
            continue
        with _progress(f"{number}/{len(settings)} {setting}", given.rounds, len(used.networks)) as on_step:
            rows = measure(used, setting, size, given.frames, device, given.rounds, on_step)
        known = published(network, setting, size)
        show(console, title, rows, known)
        tables.append((network, setting, rows, known))
        if given.json is not None:  # after each, so that a long run that is stopped leaves what it has
            save(given.json, {**about, **_described(of_networks)}, tables)


def _described(of_networks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The networks' entries in the JSON file: for several networks, by name."""
    names = list(of_networks)
    if len(names) == 1:
        return {"network": names[0], **of_networks[names[0]]}
    keys = ("size", "frames", "kept_their_padding")
    return {"network": names, **{key: {name: of_networks[name][key] for name in names} for key in keys}}


def _choose(device: torch.device, rounds: int) -> None:
    if device.type != "cuda":
        message = f"--choose times a kernel for NVIDIA GPUs, and this runs on {device.type}. Pass --device cuda there."
        raise UserValueError(message)
    with kernels.using("triton"):  # refuses where it is not installed, before anything is timed
        pass
    console, name = Console(), torch.cuda.get_device_name(device)
    choice = choose(device, rounds)
    console.print(table(choice).rich(), soft_wrap=True)
    path = kernels.keep_choice(name, choice.kernel, choice.ratio)
    kept = f"kept in {path}" if path else f"not kept, as there is no home folder: set {kernels.OPTION}={choice.kernel}"
    _say(console, f"{name}: {choice.kernel}, {kept}")


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser("bench", _HELP, _EPILOG, allow_abbrev=True)
    add = made.add_argument
    add(
        "--network", type=words, default=["resnet50"], metavar="A,B,…",
        help="of torchvision, timm or pcpad.models, several in turn; default resnet50. "
        f"{' and '.join(TWO_INPUTS)}, of two inputs, are timed with their own layers beside ordinary ones",
    )  # fmt: skip
    add_import_option(made)
    add(
        "--paddings", type=words, default=["zeros", "reflect", "replicate", "explicit", "partial"], metavar="A,B,…",
        help=f"of {', '.join(padding_names())}; zeros are always measured; "
        "default zeros,reflect,replicate,explicit,partial",
    )  # fmt: skip
    add("--fallback", help="what paddings do where a map is too small for them: replicate")
    add("--batch", type=_counts, default=[1], metavar="N,M,…", help="default 1")
    add("--size", type=_size, help="224 or 512x1024, height by width; default 224, for clips 112")
    add("--frames", type=count, default=16, help="of a clip, for 3D networks; default 16")
    _choice(add, "--mode", MODES)
    _choice(add, "--backend", BACKENDS)
    _choice(add, "--layout", LAYOUTS)
    _choice(add, "--dtype", DTYPES)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:1; auto is CUDA if there is one, else cpu")
    add(
        "--count", action="store_true",
        help="count kernels and the bytes that they move instead of timing: the same on every machine",
    )  # fmt: skip
    add("--rounds", type=count, default=40, help="how often each is timed; default 40")
    add("--threads", type=count, help="CPU threads; default all")
    add(
        "--choose", action="store_true",
        help="with --device cuda: time torch's operations and a Triton kernel that scale borders, and keep the faster "
        f"one's name for this GPU ({kernels.OPTION}=auto, torch or triton says otherwise); no network is timed",
    )  # fmt: skip
    add("--json", type=path_name, metavar="FILE", help="write all of it, each round's seconds included")
    return made


def _choice(add: Callable[..., object], option: str, allowed: Collection[str]) -> None:
    first = next(iter(allowed))
    add(option, type=some_of(allowed), default=[first], metavar="A,B", help=f"of {','.join(allowed)}; default {first}")


def _counts(text: str) -> list[int]:
    return [count(word) for word in words(text)]


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return count(height), count(width or height)


def _device(name: str) -> torch.device:
    if name == "auto":
        return default_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        message = f"Expected --device to be auto, cpu, cuda or cuda:N, but got {name!r}."
        raise UserValueError(message)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        message = f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here. --device cpu works."
        raise UserValueError(message)
    return device


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _say(console: Console, line: str) -> None:
    console.print(for_terminal(line), highlight=False, markup=False, soft_wrap=True)


def _say_unconverted(console: Console, made: Contestants) -> None:
    if made.unconverted:
        first, more = "; ".join(made.unconverted[:3]), len(made.unconverted) - 3
        rest = f"; and {more} more" if more > 0 else ""
        _say(console, f"{len(made.unconverted)} modules keep their own padding under all paddings: {first}{rest}")


@contextmanager
def _progress(title: str, rounds: int, networks: int) -> Iterator[Callable[[str], None]]:
    """A progress line, redrawn between timed calls and without a thread that would disturb them."""
    if not sys.stderr.isatty():
        say(title, file=sys.stderr)
        yield lambda _: None
        return
    # What is timed is named by others, and no markup.
    texts = [TextColumn(f"{{{field}}}", markup=False) for field in ("task.description", "task.fields[step]")]
    columns = texts[0], BarColumn(), texts[1]
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task(for_terminal(title, lines=False), total=networks + 1 + rounds, step="")

        def on_step(text: str) -> None:
            progress.update(task, advance=1, step=for_terminal(text, lines=False))
            progress.refresh()

        yield on_step
