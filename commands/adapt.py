"""`pcpad adapt`: convert a trained network to another padding, and recover it on photographs without labels."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcpad.adaptation.procedure import Procedure
from pcpad.adaptation.recovery import recover
from pcpad.adaptation.result import Recovery, plain_rows
from pcpad.commands.benching.timing import default_device
from pcpad.commands.networks import LoadedNetwork, load_network
from pcpad.commands.parser import Parser, add_import_option, file_name, numbers, path_name, verb_parser
from pcpad.commands.plugins import take_imports
from pcpad.datamodules.datasets.squares import Photographs
from pcpad.datamodules.reading.folders import FileTable, find_images
from pcpad.errors import UserValueError
from pcpad.files import refuse_dear, refuse_no_folder, refuse_replacing, write_text
from pcpad.paddings import check_padding, padding_names
from pcpad.terminal import say, tell

_HELP = """\
Convert a network that was trained with one padding to another, and train it on photographs without labels to do what
the original does. The original sees more of each photograph than the converted network does, so that it knows what lies
beyond the border (classifiers: both see the same picture, and their distributions are compared). The learning rate is
chosen on held-out photographs, and the original goes through the same procedure: it is the control. The table has the
four of them, and the verdict says whether the conversion is worth it, or the network should stay as it is.
"""
_EPILOG = """\
The file has the weights under the original's names, and the padding (with exponents, if they were learned) in its
metadata: `pcpad.models.load_weights`, `--weights FILE` of other verbs and `pcpad export --network NAME --weights FILE`
read it. The same command resumes an interrupted run from its state, FILE.state. Several GPUs: `pcpad fit --config
adapt_dense.yaml` and `adapt_classifier.yaml`, which do one run of the procedure.

examples:
  pcpad adapt --network resnet50 --weights published --images photographs/ --output resnet50-partial.safetensors
  pcpad adapt --network smp/Unet-resnet18 --weights unet.pth --images tiles/ --output unet.safetensors --crop 256
  pcpad adapt --import denoiser --network denoiser:make --noise 25 --exponent learn --exponents_only \\
      --images photographs/ --output denoiser.safetensors
"""


def main(args: list[str]) -> None:
    """Recover the network, print the result, and write the weights.

    Args:
        args: The arguments after `adapt`.

    Raises:
        FileNotFoundError: There are no such photographs, or there is no such folder.
        ValueError: There is no such network or padding, too few photographs, or nothing to convert.
    """
    given = parser().parse_args(take_imports(args))
    check_padding(given.padding)
    files = _files(given)
    procedure = _procedure(given)
    network = load_network(
        given.network, weights=given.weights, num_classes=given.num_classes, mean=given.mean, std=given.std,
        device=given.device or default_device(),
    )  # fmt: skip
    resize = given.resize
    if network.size is not None:  # a classifier's
        size = given.crop or network.size
        procedure, resize = replace(procedure, crop=size), resize or round(size * 256 / 224)
    photographs = Photographs(_large(files, resize, procedure), resize)
    state = given.output.with_name(f"{given.output.name}.state")
    say(f"{len(photographs)} photographs; the same command resumes an interrupted run from {state}.")
    found = recover(
        network.module, photographs, given.padding, procedure, prepare=_prepare(network, given.noise),
        fallback=given.fallback, resume=state, said=say,
    )  # fmt: skip
    tell(found.table().rich())
    found.save(given.output)
    if given.json is not None:
        write_text(given.json, json.dumps(_about(given, found), indent=1) + "\n")
    state.unlink(missing_ok=True)
    say(f"Written to {given.output}: {given.network}, {given.padding} padding.")


def _files(given: argparse.Namespace) -> FileTable:
    """List the photographs, after checking everything that will be written."""
    if given.output.suffix != ".safetensors" or given.output.is_dir():
        message = f"Expected --output to be a file ending in .safetensors, but got {given.output}."
        raise UserValueError(message)
    for output in (given.output, given.json):
        if output is not None:
            refuse_no_folder(output)
    read = [Path(name) for name in (given.weights, given.network) if name and Path(name).is_file()]
    files = find_images(given.images)
    outputs = [given.output, *([given.json] if given.json else [])]
    refuse_replacing(outputs, [*read, *(files[number] for number in range(len(files)))])
    refuse_dear(given.output)
    return files


def _large(files: FileTable, resize: int | None, procedure: Procedure) -> FileTable:
    """Drop photographs that are too small for a crop and some true context."""
    if resize is not None:
        return files
    least = (procedure.crop or 128) + 2 * (procedure.margin or 32)
    sizes = Photographs(files)
    kept = [number for number in range(len(files)) if min(sizes.size_of(number)) >= least]
    if len(kept) == len(files):
        return files
    names = [files[number].relative_to(files.folder).as_posix() for number in kept]
    small = next(files[number] for number in range(len(files)) if number not in set(kept))
    said = (
        f"{len(files) - len(kept)} of {len(files)} photographs are smaller than {least}, the crop with its true "
        f"context, and are left out ({small.name}); a smaller --crop or --margin uses more of them"
    )
    if not kept:
        raise UserValueError(said)
    say(said)
    return FileTable(files.folder, names)


def _procedure(given: argparse.Namespace) -> Procedure:
    names = (
        *("steps", "batch_size", "rates", "search_steps", "exponent", "crop", "margin", "border", "features", "norms"),
        *("held_out", "precision", "seed"),
    )
    return Procedure(**{name: getattr(given, name) for name in names}, weights=not given.exponents_only)


def _prepare(network: LoadedNetwork, noise: float) -> Callable[[Tensor], Tensor]:
    def prepare(images: Tensor) -> Tensor:
        images = images + noise / 255 * torch.randn_like(images) if noise else images
        return network.normalize(images)

    return prepare


def _about(given: argparse.Namespace, found: Recovery) -> dict[str, Any]:
    return {
        "network": given.network,
        "padding": given.padding,
        "rows": plain_rows(found),
        "rates": found.rates,
        "images_held_out": found.images,
        "margin": found.margin,
        "verdict": found.verdict,
        "notes": list(found.notes),
    }


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser("adapt", _HELP, _EPILOG, allow_abbrev=True)
    add, default = made.add_argument, Procedure()
    add("--network", required=True, help="of torchvision, timm or smp, a checkpoint of the suite, or my.module:make")
    add_import_option(made)
    add(
        "--weights",
        type=file_name,
        metavar="FILE",
        help="its trained weights; `published` for torchvision's or timm's classifiers, from their local caches",
    )
    add("--padding", default="partial", help=f"of {', '.join(padding_names())}; default partial")
    add("--fallback", help="what the padding does where a map is too small for it: replicate")
    add("--images", required=True, type=path_name, metavar="DIR", help="at least 16 photographs, in sub-folders or not")
    add("--output", required=True, type=path_name, metavar="FILE", help="the weights, .safetensors")
    add("--json", type=path_name, metavar="FILE", help="write the table as JSON, too")
    add("--steps", type=int, default=default.steps, help=f"default {default.steps}")
    add("--batch_size", type=int, default=default.batch_size, help=f"default {default.batch_size}")
    rates = ",".join(f"{rate:g}" for rate in default.rates)
    add("--rates", type=numbers, default=default.rates, metavar="A,B,…", help=f"learning rates to try; default {rates}")
    add("--search_steps", type=int, default=default.search_steps, help=f"for each; default {default.search_steps}")
    add(
        "--exponent", type=_exponent, default=default.exponent, metavar="anneal|learn|NUMBER",
        help="of partial convolution's ratio: raised from 0 to 1, learned for each channel and kept, or a number",
    )  # fmt: skip
    add("--exponents_only", action="store_true", help="with --exponent learn: leave the weights as they are")
    add("--crop", type=int, help="crops that the converted network sees; default 128, a classifier's own size")
    add("--margin", type=int, help="true context on each side; default as far as the network looks")
    add("--resize", type=int, help="the photographs' shorter side first; by default for classifiers, crop × 256/224")
    add(
        "--border", type=int, default=default.border, help=f"width of the band that is scored; default {default.border}"
    )
    add("--noise", type=float, default=0.0, help="standard deviation out of 255 added to images: for denoisers")
    add("--features", type=float, default=default.features, help="weight of a classifier's last features; default 0")
    add("--norms", choices=["auto", "frozen"], default=default.norms, help="batch norms' statistics at the end")
    add("--held_out", type=float, default=default.held_out, help=f"fraction held out; default {default.held_out}")
    add("--precision", choices=["32", "bf16", "16"], default=default.precision, help="of training, by autocast")
    add("--seed", type=int, default=default.seed)
    add("--device", help="cpu or cuda:1; the GPU by default if there is one")
    add("--num_classes", type=int, help="of a network by name; default 1000, of smp 19")
    add("--mean", type=numbers, metavar="R,G,B", help="of images in [0, 1], where the network's are not known")
    add("--std", type=numbers, metavar="R,G,B")
    return made


def _exponent(text: str) -> float | str:
    if text in ("anneal", "learn"):
        return text
    try:
        return float(text)
    except ValueError:
        message = f"expected anneal, learn or a number, but got {text!r}"
        raise argparse.ArgumentTypeError(message) from None
