"""A real super-resolution network in tiles: `benchmarks/protocols/esrgan.md` says what and why.

    python -m benchmarks.esrgan check --weights TGZ --photographs URBAN100
    python -m benchmarks.esrgan recover --weights TGZ --train BSDS500/train --work DIR
    python -m benchmarks.esrgan tiles --weights TGZ --photographs URBAN100 --work DIR
    python -m benchmarks.esrgan summary

The weights are `npm pack @upscalerjs/esrgan-medium@1.0.0` (MIT), only read here. Photographs: Urban100
(https://github.com/jbhuang0604/SelfExSR) and BSDS500 (https://github.com/BIDS/BSDS500).
"""

from __future__ import annotations

import argparse
import copy
import json
import tarfile
import time
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from benchmarks.common import machine, show
from pcpad import convert_padding
from pcpad.adaptation import Reach, receptive_field
from pcpad.adaptation.procedure import Procedure
from pcpad.adaptation.recovery import recover
from pcpad.adaptation.result import Recovery, plain_rows
from pcpad.datamodules.reading.images import read_image
from pcpad.files import write_text
from pcpad.models import load_weights
from pcpad.tiling import Tiling, run_tiled

RESULTS = Path(__file__).parent / "results" / "esrgan.json"
REACH = 18  # as far as the network looks, which `check` finds
EVERY = 10  # take one of this many of Urban100's photographs
TILE = 64
PART = (64, 128)  # of the halved photograph: two tiles
NEAR = 16  # pixels of the doubled photograph
PROCEDURE = Procedure(
    steps=100, batch_size=4, rates=(1e-5, 1e-4), search_steps=10, crop=48, margin=18, held_out=0.1, evaluations=5
)
PADDINGS = ("partial", "replicate")
ZEROS_AGAIN = "zeros, same procedure"


# The network


class Rebuilt(nn.Module):
    """A Keras network of convolutions, as TensorFlow.js keeps it, that takes and gives values in [0, 255].

    Args:
        layers: Its `model_config`'s layers, in the order in which they can be run.
        output: The name of the last one.
    """

    def __init__(self, layers: list[dict[str, Any]], output: str) -> None:
        super().__init__()
        self.output = output
        self.steps: list[tuple[str, str, list[str], dict[str, Any]]] = []
        self.convolutions = nn.ModuleDict()
        channels: dict[str, int] = {}
        for layer in layers:
            kind, config = layer["class_name"], layer["config"]
            name = config["name"]
            sources = [node[0] for node in layer["inbound_nodes"][0]] if layer["inbound_nodes"] else []
            self.steps.append((kind, name, sources, config))
            channels[name] = _channels(kind, config, [channels[source] for source in sources])
            if kind == "Conv2D":
                self.convolutions[name] = _convolution(config, channels[sources[0]])

    def forward(self, image: Tensor) -> Tensor:
        """Doubled images (N, 3, 2 H, 2 W) of (N, 3, H, W), both in [0, 1]."""
        values: dict[str, Tensor] = {}
        for kind, name, sources, config in self.steps:
            given = [values[source] for source in sources]
            if kind == "InputLayer":
                values[name] = 255 * image
            elif kind == "Conv2D":
                values[name] = self.convolutions[name](given[0])
            elif kind == "Activation":
                values[name] = given[0].relu()
            elif kind == "Concatenate":
                values[name] = torch.cat(given, 1)
            elif kind == "Add":
                values[name] = torch.stack(given).sum(0) if len(given) > 2 else given[0] + given[1]
            else:
                values[name] = F.interpolate(given[0], scale_factor=tuple(map(float, config["size"])), mode="nearest")
        return values[self.output] / 255


def _channels(kind: str, config: dict[str, Any], sources: list[int]) -> int:
    """What a layer does to its output; what `Rebuilt` does not know is refused."""
    known = {
        "InputLayer": lambda: config["batch_input_shape"][-1],
        "Conv2D": lambda: config["filters"],
        "Activation": lambda: sources[0] if config["activation"] == "relu" else None,
        "Concatenate": lambda: sum(sources) if config["axis"] in (-1, 3) else None,
        "Add": lambda: sources[0] if len(set(sources)) == 1 else None,
        "UpSampling2D": lambda: sources[0] if config["interpolation"] == "nearest" else None,
    }
    found = known[kind]() if kind in known else None
    if found is None:
        message = f"{config['name']}: unsupported {kind}: {config}"
        raise ValueError(message)
    return int(found)


def _convolution(config: dict[str, Any], channels: int) -> nn.Conv2d:
    height, width = config["kernel_size"]
    plain = config["strides"] == [1, 1] and config["dilation_rate"] == [1, 1] and config.get("groups", 1) == 1
    plain = (
        plain and config["use_bias"] and config["activation"] == "linear" and config["data_format"] == "channels_last"
    )
    if not plain or height % 2 == 0 or width % 2 == 0:
        message = f"{config['name']}: unsupported convolution: {config}"
        raise ValueError(message)
    same = config["padding"] == "same"  # of odd kernels without strides the same zeros on all sides
    padding = (height // 2, width // 2) if same else 0
    return nn.Conv2d(channels, config["filters"], (height, width), padding=padding)


def esrgan(archive: Path) -> Rebuilt:
    """The ×2 network of the package's archive, with its weights."""
    with tarfile.open(archive) as tar:
        read = {
            name: file.read()
            for name in ("model.json", "group1-shard1of1.bin")
            if (file := tar.extractfile(f"package/models/x2/{name}")) is not None
        }
    about = json.loads(read["model.json"])
    config = about["modelTopology"]["model_config"]["config"]
    network = Rebuilt(config["layers"], config["output_layers"][0][0])
    values = np.frombuffer(read["group1-shard1of1.bin"], np.dtype("<f4"))
    state, at = {}, 0
    for entry in about["weightsManifest"][0]["weights"]:
        size = int(np.prod(entry["shape"]))
        layer, part = entry["name"].split("/")
        value = torch.from_numpy(values[at : at + size].reshape(entry["shape"]).copy())
        key = f"convolutions.{layer}.{'weight' if part == 'kernel' else 'bias'}"
        state[key] = value.permute(3, 2, 0, 1).contiguous() if part == "kernel" else value  # HWIO
        at += size
    if at != len(values):
        message = f"{archive}: {len(values)} values, of which the layers take {at}"
        raise ValueError(message)
    network.load_state_dict(state)
    return network.eval()


# Photographs


def halved(image: Tensor) -> tuple[Tensor, Tensor]:
    """A photograph (3, H, W) of bytes with even sides, and half of it, both in [0, 1]."""
    height, width = (side // 2 * 2 for side in image.shape[-2:])
    image = image[:, :height, :width].float() / 255
    size = [height // 2, width // 2]
    small = F.interpolate(image[None], size, mode="bicubic", antialias=True, align_corners=False)[0]
    return image, (small.clamp(0, 1) * 255).round() / 255


def photographs(folder: Path, every: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Each photograph with its half."""
    return [halved(read_image(path)) for path in sorted(folder.glob("*.jpg"))[::every]]


def packaged(archive: Path) -> tuple[Tensor, Tensor]:
    """The picture that comes with the weights, and the output of the package's own code for it, in [0, 1]."""
    found = []
    with tarfile.open(archive) as tar:
        for name in ("fixture.png", "samples/2x/result.png"):
            file = tar.extractfile(f"package/assets/{name}")
            assert file is not None
            found.append(torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float() / 255)
    return found[0], found[1]


def psnr(one: Tensor, two: Tensor) -> float:
    """PSNR in dB, for a range of 1; 999 for equal pictures."""
    error = float((one - two).double().square().mean())
    return 999.0 if error == 0 else -10 * float(np.log10(error))


@torch.no_grad()
def check(given: argparse.Namespace) -> None:
    """Compare the network with what its package says that it gives, and with bicubic interpolation."""
    network = esrgan(given.weights)
    image, expected = packaged(given.weights)
    difference = 255 * ((network(image[None])[0].clamp(0, 1) * 255).round() / 255 - expected).abs()
    reach = receptive_field(network)
    print(f"the network looks {reach.margin} pixels beyond its tiles; assumed: {REACH}; {reach.obstacles}")
    same = float((difference == 0).double().mean())
    print(
        f"the package's sample: {same:.6%} of the values are the same, the largest difference is {difference.max():g}"
    )
    rows: list[dict[str, object]] = []
    for number, (image, small) in enumerate(photographs(given.photographs, EVERY)):
        plain = F.interpolate(small[None], scale_factor=2, mode="bicubic", align_corners=False)[0].clamp(0, 1)
        doubled = network(small[None])[0].clamp(0, 1)
        found = {"bicubic": psnr(plain, image), "network": psnr(doubled, image)}
        rows.append({"photograph": number * EVERY + 1, **{name: f"{value:.2f}" for name, value in found.items()}})
        print(rows[-1], flush=True)
    show(rows)


# Recovery


def recover_all(given: argparse.Namespace) -> None:
    """Recover to each padding, and keep networks and results in `--work`."""
    network = esrgan(given.weights).to(memory_format=torch.channels_last)
    images = [small for _, small in photographs(given.train)]
    given.work.mkdir(parents=True, exist_ok=True)
    control: Recovery | None = None
    for padding in PADDINGS:
        started = time.perf_counter()

        def said(line: str, padding: str = padding) -> None:
            print(f"{time.strftime('%H:%M:%S')} {padding}: {line}", flush=True)

        found = recover(
            network, images, padding, PROCEDURE, control=control, resume=given.work / f"{padding}.state.pt", said=said
        )
        found.save(given.work / f"{padding}.safetensors")
        if control is None:
            torch.save(found.control.state_dict(), given.work / "control.pt")
            control = found
        about = {"rows": plain_rows(found), "rates": found.rates, "verdict": found.verdict, "notes": list(found.notes)}
        about |= {"procedure": asdict(found.procedure), "seconds": round(time.perf_counter() - started)}
        write_text(given.work / f"{padding}.json", json.dumps(about, indent=1) + "\n")
        print(found, flush=True)


# Tiles


def ways(given: argparse.Namespace, network: nn.Module) -> dict[str, tuple[nn.Module, Tiling, dict[str, Any]]]:
    """Network, tiles and options of `run_tiled`, by name."""
    none, some, exact = ({"margin": Reach((far, far), scale=(Fraction(2), Fraction(2)))} for far in (0, 8, REACH))
    plain = Tiling(TILE)
    found: dict[str, tuple[nn.Module, Tiling, dict[str, Any]]] = {
        "zeros": (network, plain, none),
        "zeros, overlap 1/4": (network, Tiling(TILE, "1/4"), {}),
        "zeros, overlap 1/3": (network, Tiling(TILE, "1/3"), {}),
        "zeros, overlap 1/3, Hann": (network, Tiling(TILE, "1/3"), {"blend": "hann"}),
        "zeros, margin 8": (network, plain, some),
        "zeros, exact margin": (network, plain, exact),
    }
    for padding in PADDINGS:
        converted = convert_padding(copy.deepcopy(network), padding)
        found[f"{padding}, converted"] = converted, plain, none
        if given.work is not None and (file := given.work / f"{padding}.safetensors").is_file():
            recovered = load_weights(convert_padding(copy.deepcopy(network), padding), file)
            found[f"{padding}, recovered"] = recovered, plain, none
    if given.work is not None and (file := given.work / "control.pt").is_file():
        control = copy.deepcopy(network)
        control.load_state_dict(torch.load(file, weights_only=True))
        found[ZEROS_AGAIN] = control, plain, none
    return found


class Counted(nn.Module):
    """A network that counts the pixels it is run on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.pixels = network, 0

    def forward(self, image: Tensor) -> Tensor:
        """Run the network."""
        self.pixels += image.shape[-2] * image.shape[-1]
        return self.network(image)


def seams(height: int, width: int) -> Tensor:
    """Which pixels of a doubled photograph are near a seam of plain tiles."""
    near = torch.zeros(height, width, dtype=torch.bool)
    for at in range(2 * TILE, height, 2 * TILE):
        near[at - NEAR : at + NEAR] = True
    for at in range(2 * TILE, width, 2 * TILE):
        near[:, at - NEAR : at + NEAR] = True
    return near


def border(height: int, width: int) -> Tensor:
    """Which pixels of a doubled photograph are at its own border."""
    found = torch.ones(height, width, dtype=torch.bool)
    found[NEAR:-NEAR, NEAR:-NEAR] = False
    return found


def distances(found: Tensor, whole: Tensor, where: Tensor) -> dict[str, float]:
    """How far a picture is from another, on some of its pixels."""
    difference = (found - whole)[:, where].abs()
    return {
        "mean": float(difference.double().mean()),
        "largest": float(difference.max()),
        "off": float((difference.amax(0) > 1 / 255).double().mean()),
        "psnr": psnr(found[:, where], whole[:, where]),
    }


@torch.no_grad()
def tiles(given: argparse.Namespace) -> None:
    """Score what is missing: each photograph in each way."""
    network = esrgan(given.weights).to(memory_format=torch.channels_last)
    ready = ways(given, network)
    content = json.loads(given.results.read_text()) if given.results.is_file() else {"scores": {}}
    scores = content["scores"]
    for number, (image, small) in enumerate(photographs(given.photographs, EVERY)[: given.limit]):
        image, small = part(image, small)
        whole: dict[int, Tensor] = {}
        for name, (other, tiling, options) in ready.items():
            if str(number) in scores.setdefault(name, {}):
                continue
            for each in (network, other):
                if id(each) not in whole:
                    whole[id(each)] = each(small[None])[0].clamp(0, 1)
            counted = Counted(other)
            if "margin" in options:
                found = run_tiled(counted, small[None], tiling, **options)[0].clamp(0, 1)
            else:  # tiles that overlap: 2×2 pixels become channels, so that sizes are the image's
                folded = nn.Sequential(counted, nn.PixelUnshuffle(2))
                found = F.pixel_shuffle(run_tiled(folded, small[None], tiling, **options), 2)[0].clamp(0, 1)
            pixels = counted.pixels / small[0].numel()
            scores[name][str(number)] = scored(found, whole[id(network)], whole[id(other)], image) | {"pixels": pixels}
        content |= {"tile": TILE, "near": NEAR, "part": PART, "machine": machine(), "recoveries": recoveries(given)}
        write_text(given.results, json.dumps(content, indent=1) + "\n")
        print(time.strftime("%H:%M:%S"), number + 1, flush=True)
    summary(given)


def scored(found: Tensor, whole: Tensor, own: Tensor, image: Tensor) -> dict[str, Any]:
    """One photograph in one way: compared with the original network's whole, the same network's, and the photograph."""
    near, edge = seams(*image.shape[-2:]), border(*image.shape[-2:])
    return {
        "seams": distances(found, whole, near),
        "away": distances(found, whole, ~near & ~edge),
        "seams, own whole": distances(found, own, near),
        "photograph, seams": psnr(found[:, near], image[:, near]),
        "photograph, border": psnr(own[:, edge], image[:, edge]),
        "photograph, all": psnr(own, image),
    }


def part(image: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of a photograph and of its half, two tiles."""
    top, left = ((side - length) // 2 for side, length in zip(small.shape[-2:], PART, strict=True))
    height, width = PART
    large = image[:, 2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
    return large, small[:, top : top + height, left : left + width]


def recoveries(given: argparse.Namespace) -> dict[str, Any]:
    """The results of recovery by padding, where it is done."""
    files = {padding: given.work / f"{padding}.json" for padding in PADDINGS} if given.work is not None else {}
    return {padding: json.loads(file.read_text()) for padding, file in files.items() if file.is_file()}


def summary(given: argparse.Namespace) -> None:
    """Markdown tables of the scores."""
    content = json.loads(given.results.read_text())
    rows: list[dict[str, object]] = []
    for name, by_photograph in content["scores"].items():
        found = list(by_photograph.values())
        near, away, own = ([one[what] for one in found] for what in ("seams", "away", "seams, own whole"))
        rows.append({
            "tiles": name,
            "pixels": f"{np.mean([one['pixels'] for one in found]):.2f}",
            "near seams: mean × 255": _mean([255 * one["mean"] for one in near], "{:.3f}"),
            "largest × 255": f"{255 * max(one['largest'] for one in near):.2g}",
            "off by > 1/255": _mean([100 * one["off"] for one in near], "{:.2f} %"),
            "PSNR, dB": _mean([one["psnr"] for one in near], "{:.1f}"),
            "away: off": f"{100 * np.mean([one['off'] for one in away]):.2f} %",
            "own whole: off": f"{100 * np.mean([one['off'] for one in own]):.2f} %",
            "PSNR of own whole": f"{np.mean([one['psnr'] for one in own]):.1f}",
        })  # fmt: skip
    show(rows)
    print()
    zeros = content["scores"]["zeros, exact margin"]
    rows = []
    for name, found in content["scores"].items():
        row: dict[str, object] = {"tiles": name}
        for what in ("photograph, seams", "photograph, border", "photograph, all"):
            less = [found[number][what] - zeros[number][what] for number in found]
            row |= {
                what: f"{np.mean([one[what] for one in found.values()]):.2f}",
                f"less exact ({what[12:]})": _mean(less, "{:+.3f}"),
            }
        rows.append(row)
    show(rows)
    for padding, about in content["recoveries"].items():
        print(f"\n{padding}: {about['rows']}\n{about['rates']}, {about['seconds']} s: {about['verdict']}")


def _mean(values: list[float], form: str) -> str:
    chance, numbers = np.random.default_rng(0), np.array(values)
    means = [numbers[chance.integers(len(numbers), size=len(numbers))].mean() for _ in range(2000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{form.format(numbers.mean())} [{form.format(low)}, {form.format(high)}]"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["check", "recover", "tiles", "summary"])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--work", type=Path, help="folder for recovered networks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--limit", type=int, help="number of photographs; default: all")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    {"check": check, "recover": recover_all, "tiles": tiles, "summary": summary}[given.what](given)


if __name__ == "__main__":
    main()
