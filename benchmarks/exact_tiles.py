"""Tiles with an exact margin against whole images and averaged tiles: ``python -m benchmarks.exact_tiles [network …]``.

Twelve networks with random weights (fixed seeds; the norms' statistics are those of a pass over noise, randomly
changed) on images of 1000 x 1300 pixels, two of them on 3000 x 4000. Differences are relative to the largest value of
the whole image's output. ``--json FILE`` keeps finished networks, and the next call resumes with the rest.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.common import machine, peak_memory, show
from pcpad._tiling_margins import overhead
from pcpad.adaptation.reach import receptive_field
from pcpad.tiling import Margin, Tiling, run_tiled

FAR = 1e-3
"""A pixel that is off by more is counted as wrong."""


class Case(NamedTuple):
    """One network and its image."""

    make: Callable[[], nn.Module]
    size: tuple[int, int] = (1000, 1300)
    tile: int = 512
    channels: int = 3


def _smp(architecture: str, encoder: str = "resnet18") -> nn.Module:
    from pcpad.models.smp import smp_network

    return smp_network(architecture, encoder, 8, "zeros")


def _torchvision(name: str) -> nn.Module:
    from torchvision.models import segmentation

    network = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=8)
    return _First(network)


class _First(nn.Module):
    """One named output of a network."""

    def __init__(self, network: nn.Module, name: str = "out") -> None:
        super().__init__()
        self.network = network
        self.name = name

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)[self.name]


def _deeplab() -> nn.Module:
    from pcpad.models import deeplabv3plus

    return deeplabv3plus("resnet18", num_classes=8, padding="partial")


def _filtering() -> nn.Module:
    from pcpad.models import filtering_unet

    return filtering_unet(padding="zeros")


class _Chain(nn.Module):
    """Like FFDNet: at half the resolution, a chain of convolutions, and back."""

    def __init__(self, depth: int = 12, width: int = 64) -> None:
        super().__init__()
        inner = [part for _ in range(depth - 2) for part in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
        first, last = nn.Conv2d(12, width, 3, padding=1), nn.Conv2d(width, 12, 3, padding=1)
        self.chain = nn.Sequential(nn.PixelUnshuffle(2), first, nn.ReLU(), *inner, last, nn.PixelShuffle(2))

    def forward(self, image: Tensor) -> Tensor:
        return image - self.chain(image)


class _Dense(nn.Module):
    """Like ESRGAN's residual dense blocks."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width + step * growth, growth if step < 4 else width, 3, padding=1) for step in range(5)
        )

    def forward(self, image: Tensor) -> Tensor:
        maps = [image]
        for conv in self.convs:
            maps.append(nn.functional.leaky_relu(conv(torch.cat(maps, 1)), 0.2))
        return image + 0.2 * maps[-1]


def _esrgan() -> nn.Module:
    blocks = [_Dense(32, 16) for _ in range(4)]
    up = [nn.Upsample(scale_factor=2), nn.Conv2d(32, 32, 3, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), *blocks, *up, nn.Conv2d(32, 3, 3, padding=1))


CASES = {
    "smp Linknet-ResNet18": Case(lambda: _smp("Linknet")),
    "filtering U-Net": Case(_filtering, tile=256),
    "ESRGAN-like x2": Case(_esrgan, tile=256),
    "smp Unet-MobileNetV2": Case(lambda: _smp("Unet", "mobilenet_v2")),
    "DeepLabV3+-ResNet18, partial": Case(_deeplab),
    "torchvision LRASPP": Case(lambda: _torchvision("lraspp_mobilenet_v3_large"), (1008, 1296)),
    "smp FPN-ResNet18": Case(lambda: _smp("FPN")),
    "smp PSPNet-ResNet18": Case(lambda: _smp("PSPNet")),
    "smp MAnet-ResNet18": Case(lambda: _smp("MAnet"), (480, 640), 256),
    "torchvision FCN-ResNet50": Case(lambda: _torchvision("fcn_resnet50"), (1000, 1296)),
    "FFDNet-like": Case(_Chain, (3000, 4000), 256),
    "smp Unet-ResNet18": Case(lambda: _smp("Unet"), (3000, 4000)),
}


def seasoned(make: Callable[[], nn.Module]) -> nn.Module:
    """The network of seed 0, its norms with statistics as after training."""
    torch.manual_seed(0)
    network = make().train()
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network(noise(2, 3, 128, 160))
        for norm in norms:
            if norm.running_mean is not None and norm.running_var is not None:
                deviation = norm.running_var.sqrt()
                norm.running_mean += 0.2 * deviation * torch.randn_like(deviation)
                norm.running_var *= 0.7 + 0.6 * torch.rand_like(deviation)
    return network.eval()


def noise(*shape: int) -> Tensor:
    """Pictures of coarse and fine noise, in [0, 1]."""
    chance = torch.Generator().manual_seed(1)
    coarse = torch.rand(*shape[:2], *(max(2, side // 50) for side in shape[2:]), generator=chance)
    coarse = nn.functional.interpolate(coarse, size=shape[2:], mode="bilinear")
    return 0.6 * coarse + 0.4 * torch.rand(*shape, generator=chance)


def watched(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call returns, its seconds, and the MiB of tensors alive at its peak beyond those before it."""
    found = []
    started = time.perf_counter()
    peak = peak_memory(lambda: found.append(call()), torch.device("cpu"))
    return found[0], time.perf_counter() - started, peak / 2**20


def compared(found: Tensor, whole: Tensor) -> tuple[float, float]:
    """The largest difference, and the share of pixels off by more than `FAR`; relative to the largest value."""
    largest = float(whole.abs().max())
    off = torch.stack([(one - two).abs().amax(0) for one, two in zip(found, whole, strict=True)]) / largest
    return float(off.max()), float((off > FAR).float().mean())


def measured(name: str) -> dict[str, object]:
    """One row."""
    case = CASES[name]
    network, image = seasoned(case.make), noise(1, case.channels, *case.size)
    reach, seconds, _ = watched(lambda: receptive_field(network, case.size, channels=case.channels))
    tiling = Tiling(case.tile)
    with torch.no_grad():
        whole, plain_seconds, plain_memory = watched(lambda: network(image))
    row: dict[str, object] = {
        "network": name,
        "image": f"{case.size[0]} x {case.size[1]}",
        "tile": case.tile,
        "margin": max(reach.margin),
        "strides": max(reach.alignment),
        "found in": f"{seconds:.0f} s",
    }
    # Without a margin, and averaged where tiles overlap by a third. Outputs of another size need the scale.
    old = {} if reach.scale == (1, 1) else {"margin": 0}
    averaged = run_tiled(network, image, Tiling(case.tile, "1/3"), **old)
    worst, share = compared(averaged, whole)
    row |= {"averaged: largest": f"{worst:.1e}", f"pixels off by {FAR:g}": f"{share:.2%}"}
    del averaged
    if reach.obstacles:
        tiles = run_tiled(network, image, Tiling(case.tile, "1/3"), margin=min(max(reach.margin), 256), blend="hann")
        worst, share = compared(tiles, whole)
        row |= {
            "margin: largest": f"{worst:.1e} (blended)",
            "off": f"{share:.2%}",
            "overhead": "",
            "MiB whole, tiles": "",
        }
        row |= {"named": f"{len(reach.obstacles)}: {reach.obstacles[0]}"}
        return row
    margin = Margin("exact", network)
    margin.reach(*case.size, case.channels)
    tiles, tile_seconds, memory = watched(lambda: run_tiled(network, image, tiling, margin=margin))
    worst, share = compared(tiles, whole)
    times = overhead(tiling.sides, reach, case.size)
    row |= {"margin: largest": f"{worst:.1e}", "off": f"{share:.2%}"}
    row |= {"overhead": f"{times:.2f} pixels, {tile_seconds / plain_seconds:.2f} time"}
    row |= {"MiB whole, tiles": f"{plain_memory:.0f}, {memory:.0f}", "named": ""}
    return row


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--threads", type=int, help="CPU threads; all by default")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    unknown = set(arguments.networks) - set(CASES)
    if unknown:
        parser.error(f"unknown network {', '.join(sorted(unknown))}: expected some of {', '.join(CASES)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", message="The network looks")
    path = Path(arguments.json) if arguments.json else None
    kept = json.loads(path.read_text())["rows"] if path is not None and path.exists() else []
    rows = {str(row["network"]): row for row in kept}
    print(machine())
    for name in arguments.networks or CASES:
        if name not in rows:
            rows[name] = measured(name)
            print(rows[name], flush=True)
            if path is not None:
                path.write_text(json.dumps({"machine": machine(), "rows": list(rows.values())}, indent=1) + "\n")
    show([rows[name] for name in arguments.networks or CASES])


if __name__ == "__main__":
    main()
