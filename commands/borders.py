"""`pcpad borders`: how wrong a network is near borders, under its own padding and under others, without labels."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from pcpad.adaptation import BorderReport, border_report
from pcpad.adaptation.borders import LEAST_IMAGES, PADDINGS
from pcpad.commands.benching.timing import device_named
from pcpad.commands.bordering.figure import draw_report
from pcpad.commands.bordering.photographs import read_photographs
from pcpad.commands.bordering.probing import PROBES, probe
from pcpad.commands.networks import LoadedNetwork, load_network
from pcpad.commands.outputs import named_files, refuse_within
from pcpad.commands.parser import (
    Parser,
    add_import_option,
    count,
    file_name,
    numbers,
    path_name,
    some_of,
    verb_parser,
    words,
)
from pcpad.commands.plugins import take_imports
from pcpad.errors import UserRuntimeError, UserValueError
from pcpad.files import refuse_replacing, write_text
from pcpad.paddings import check_padding, padding_names
from pcpad.tables import write_csv
from pcpad.tasks.pictures.plots import need_matplotlib
from pcpad.terminal import say, tell

_CONTEXT = 64  # pixels around what a classifier sees; a multiple of all strides
_FILES = ("borders.json", "borders.csv", "borders.png")
_EPILOG = """\
Each photograph's middle is run twice: with the pixels around it, and cut out, under each padding. The padding
causes the difference. "error" is its root mean square relative to the output's standard deviation; "dB" the same as a
signal-to-error ratio; "95 %" its interval by bootstrap over photographs. Classifiers see the middle of photographs at
the size that they were published for, 224 pixels say, with 64 more on each side as context: the shorter side is brought
to 352. Their decisions are compared with the unconverted network's, without and with context, and under small shifts.
`pcpad.adaptation.border_report` is the same from Python, for any images and outputs.

examples:
  pcpad borders --network resnet50 --weights published --images photos
  pcpad borders --network timm/tf_efficientnet_lite0 --weights lite0.safetensors --images photos --paddings partial
  pcpad borders --network runs/seg/version_0/checkpoints/best.ckpt --images photos --probe position,uneven
  pcpad borders --import mine --network mine:denoiser --images photos --noise 25    # a function without arguments
"""


def main(args: list[str]) -> None:
    """Measure, print the table and the verdict, and write the files.

    Args:
        args: The arguments after `borders`.

    Raises:
        UserValueError: There is no such network or padding, or too few images.
        UserRuntimeError: A file could not be read, or a padding not be run; all else is done and written.
    """
    given = parser().parse_args(take_imports(args))
    need_matplotlib()
    for padding in given.paddings:
        check_padding(padding)
    outputs = _check_output(given)
    loaded = load_network(
        given.network, weights=given.weights, mean=given.mean, std=given.std, num_classes=given.num_classes,
        untrained=given.untrained, trusted=given.trust, device=device_named(given.device),
    )  # fmt: skip
    if not loaded.trained:
        say(f"{given.network} has random weights, as --untrained allows: this says nothing about a trained network.")
    size = None if given.resize or given.crop else loaded.size
    resize = given.resize or (size + 2 * (given.context or _CONTEXT) if size else None)
    images, failures = read_photographs(given.images, given.limit, resize, max(resize or 0, given.largest))
    report = _measure(given, loaded, images, size)
    if report.results:
        tell(report.table().rich())
        tell(report.layer_table().rich())
    say(report.verdict)
    found = probe(given.probe, loaded, images, report, given.output_key) if report.results else {}
    _write(report, found, outputs)
    _end(report, failures)


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser(
        "borders", "Measure how wrong a network is near borders, on photographs without labels.", _EPILOG
    )
    add = made.add_argument
    add("--network", required=True, metavar="NAME",
        help="of torchvision, timm (timm/NAME), pcpad.models (deeplabv3plus/resnet50) or smp (smp/Unet-resnet18), a "
        "checkpoint, or a function or class of a module that --import names")  # fmt: skip
    add_import_option(made)
    add(
        "--weights",
        type=file_name,
        metavar="FILE",
        help="safetensors or a weights-only pickle; `published` for torchvision's or timm's, from their local caches",
    )
    add("--untrained", action="store_true", help="use random weights on purpose")
    add("--num_classes", type=count, metavar="N", help="of a network by name; default 1000, of smp 19")
    add("--images", required=True, type=path_name, metavar="DIR", help=f"photographs, at least {LEAST_IMAGES}")
    add("--limit", type=count, default=100, metavar="N", help="evenly spread over the folder; default 100")
    add("--resize", type=count, metavar="PIXELS",
        help="bring the shorter side to it; by default for classifiers what they were published with")  # fmt: skip
    add("--largest", type=count, default=512, metavar="PIXELS",
        help="of larger photographs the middle of that side is used; default 512")  # fmt: skip
    add("--mean", type=numbers, metavar="A,B,C", help="of images in [0, 1]; one number: the network takes gray ones")
    add("--std", type=numbers, metavar="A,B,C", help="likewise; of a function's network 0 and 1 unless said")
    text = "add Gaussian noise, its deviation out of 255, and compare outputs with the photographs: a denoiser's PSNR"
    add("--noise", type=_positive, metavar="SIGMA", help=text)
    add("--paddings", type=words, default=list(PADDINGS), metavar="A,B,…",
        help=f"of {', '.join(padding_names())}; default {','.join(PADDINGS)}; its own is always measured")  # fmt: skip
    add("--fallback", default="replicate", metavar="PADDING",
        help="where maps are too small for reflect or circular; default replicate")  # fmt: skip
    add("--crop", type=count, metavar="PIXELS", help="the crops' side; by default what images and network allow")
    add("--context", type=count, metavar="PIXELS", help="true context on each side, likewise")
    add("--band", type=count, default=8, metavar="PIXELS", help="what counts as the border; default 8")
    add("--output_key", metavar="NAME|INDEX", help="which of the network's outputs; default the largest map")
    text = "positions that padding tells (PosENet; PPP), layers that pad unevenly, blind spots: "
    add("--probe", type=some_of(PROBES), default=[], metavar="A,B", help=text + ",".join(PROBES))
    add("--batch_size", type=count, default=4, metavar="N", help="images per run; default 4")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default here: %(default)s")
    add("--trust", nargs="+", default=[], metavar="CLASS", help="from other packages, that a checkpoint may name")
    add("--output", type=path_name, default=Path("borders"), metavar="DIR", help="for the files; default borders")
    return made


def _positive(text: str) -> float:
    number = numbers(text)[0]
    if not 0 < number <= 255:
        message = f"expected a number in (0, 255], but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return number


def _check_output(given: argparse.Namespace) -> list[Path]:
    folder = given.output
    if folder.exists() and not folder.is_dir():
        message = f"Expected --output to be a folder for {', '.join(_FILES)}, but {folder} is a file"
        raise UserValueError(message)
    outputs = [folder / name for name in _FILES]
    refuse_replacing(outputs, named_files({"network": given.network, "weights": given.weights}), "--output DIR")
    if given.images.is_dir():
        refuse_within(outputs, given.images)
    return outputs


def _measure(
    given: argparse.Namespace, loaded: LoadedNetwork, images: list[torch.Tensor], size: int | None
) -> BorderReport:
    options: dict[str, Any] = {}
    inputs = images
    if given.noise is not None:
        generator = torch.Generator().manual_seed(0)
        clean = [image.float() / 255 for image in images]
        inputs = [image + given.noise / 255 * torch.randn(image.shape, generator=generator) for image in clean]
        options["targets"] = clean
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("running crops", total=len(images))
        return border_report(
            loaded.module, inputs, paddings=given.paddings, normalize=loaded.normalize, crop=given.crop or size,
            context=given.context, band=given.band, decision_size=size, output_key=given.output_key,
            fallback=given.fallback, batch_size=given.batch_size, name=given.network,
            progress=lambda done, total: bar.update(task, completed=done, total=total), **options,
        )  # fmt: skip


def _write(report: BorderReport, probes: dict[str, Any], outputs: Sequence[Path]) -> None:
    as_json, as_csv, as_png = outputs
    found = report.to_dict() | ({"probes": probes} if probes else {})
    written = [write_text(as_json, json.dumps(found, indent=1, allow_nan=False) + "\n")]
    if report.results:
        columns = ["padding", "own", "layer", "stride", "distance", "relative_error", "whole", "reach"]
        written += [write_csv(as_csv, columns, _rows(report)), draw_report(report, as_png)]
    say(f"Written to {', '.join(map(str, written))}")


def _rows(report: BorderReport) -> Iterator[list[Any]]:
    """The output's error by distance, then each layer's in the band, which has no distance."""
    for result in report.results:
        for distance, error in result.curve:
            yield [result.name, result.own, "", "", distance, error, "", ""]
        for layer in result.layers:
            yield [result.name, result.own, layer.name, layer.stride, "", layer.border, layer.whole, layer.reach]


def _end(report: BorderReport, failures: Sequence[str]) -> None:
    if failures:
        lines = "\n  ".join(failures)
        message = f"{len(failures)} files could not be read and are left out; all others are done:\n  {lines}"
        raise UserRuntimeError(message)
    if report.failed:
        lines = "\n  ".join(f"{name}: {reason}" for name, reason in report.failed.items())
        message = f"{len(report.failed)} paddings could not be run; all others are done:\n  {lines}"
        raise UserRuntimeError(message)
