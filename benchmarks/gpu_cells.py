"""What `benchmarks.gpu` measures: a cell is one network in one setting, under zero padding and under ours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.panoptic import street
from pcpad.commands.benching.calls import Setting
from pcpad.commands.benching.networks import Contestants, contestants, versions
from pcpad.commands.benching.two_inputs import alike
from pcpad.models import inpainting_unet, spade_generator

__all__ = ["CORE", "FRAMES", "SMALL_FRAMES", "Cell", "all_cells"]

FRAMES, SMALL_FRAMES = 16, 4
TABLE_1 = ("reflect", "replicate", "explicit", "partial")
_LABELS = 35


class Network(NamedTuple):
    """One network and its small stand-in.

    Args:
        make: Makes the networks from the paddings and the batch.
        make_small: The same for the stand-in.
        size: Height and width.
        small_size: The stand-in's.
        batches: Of inference and of training; the stand-in's is 2.
    """

    make: Callable[[Sequence[str], int], Contestants]
    make_small: Callable[[Sequence[str], int], Contestants]
    size: tuple[int, int] = (224, 224)
    small_size: tuple[int, int] = (32, 32)
    batches: tuple[int, int] = (32, 32)


def _named(name: str) -> Callable[[Sequence[str], int], Contestants]:
    return lambda paddings, _batch: contestants(name, paddings, "replicate")


def _tiny(paddings: Sequence[str], _batch: int, dims: int = 2) -> Contestants:
    """A network of two convolutions, for pictures or clips."""
    conv, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[dims - 2]
    torch.manual_seed(0)
    layers = [conv(3, 4, 3, padding=1), norm(4), nn.ReLU(), conv(4, 4, 3, 2, padding=1), nn.ReLU()]
    return versions(nn.Sequential(*layers), paddings, "replicate")


def _tiny_clips(paddings: Sequence[str], batch: int) -> Contestants:
    return _tiny(paddings, batch, dims=3)


def _inpainting(size: int, **options: int) -> Callable[[Sequence[str], int], Contestants]:
    def make(_paddings: Sequence[str], _batch: int) -> Contestants:
        mask = torch.ones(1, 1, size, size)
        for top, left in itertools.product((1, 4, 6), (0, 3, 5)):  # a fifth of the picture, its border included
            mask[..., top * size // 8 :, left * size // 8 :][..., : size // 7, : size // 7] = 0
        torch.manual_seed(0)
        return alike(inpainting_unet(**options), inpainting_unet(partial=False, **options), "masked", mask)

    return make


def _spade(height: int, width: int, mixed: float, **options: int) -> Callable[[Sequence[str], int], Contestants]:
    def make(_paddings: Sequence[str], batch: int) -> Contestants:
        ids = street(height, width, mixed).cpu()
        labels = F.one_hot((ids[:, 0] % _LABELS).long(), _LABELS).permute(0, 3, 1, 2).float()
        semantics = torch.cat([labels, torch.zeros_like(labels[:, :1])], 1).repeat(batch, 1, 1, 1)
        torch.manual_seed(0)
        return alike(spade_generator(**options), spade_generator(partial=False, **options), "panoptic", ids, semantics)

    return make


def _picture(name: str, **options: tuple[int, int]) -> Network:
    return Network(_named(name), _tiny, **options)


NETWORKS = {
    "resnet50": _picture("resnet50"),
    "vgg16_bn": _picture("vgg16_bn"),
    "resnet3d50": Network(_named("resnet3d50"), _tiny_clips, (112, 112), (16, 16), (8, 8)),
    "inpainting_unet": Network(_inpainting(512), _inpainting(32, depth=2, width=4), (512, 512), batches=(8, 8)),
    "spade": Network(_spade(256, 512, 0.07), _spade(64, 64, 0.3, ngf=1), (256, 512), (64, 64), (4, 2)),
    "mobilenet_v3_large": _picture("mobilenet_v3_large"),
    "efficientnet_b0": _picture("efficientnet_b0"),
    "convnext_tiny": _picture("convnext_tiny"),
    "deeplabv3plus/resnet50": _picture("deeplabv3plus/resnet50", size=(512, 1024), batches=(4, 4)),
}
MAIN = ("resnet50", "vgg16_bn", "resnet3d50", "inpainting_unet", "spade")


class Cell(NamedTuple):
    """A network in a setting; with `table_1` it is under each padding of the papers' Table 1."""

    network: str
    mode: str = "inference"
    backend: str = "eager"
    dtype: str = "bfloat16"
    table_1: bool = False

    @property
    def name(self) -> str:
        """Its name on the command line and of its file."""
        network = self.network.replace("/", "-")
        return f"table1-{network}" if self.table_1 else f"{network}-{self.mode}-{self.backend}-{self.dtype}"

    def setting(self, small: bool = False) -> Setting:
        """Its batch, mode and so on. Half precision is measured in its faster memory layout."""
        if self.table_1:
            return Setting(batch=1)
        batch = 2 if small else NETWORKS[self.network].batches[self.mode == "training"]
        layout = "nchw" if self.dtype == "float32" else "channels_last"
        return Setting(batch, self.mode, self.backend, layout, self.dtype)

    def size(self, small: bool = False) -> tuple[int, int]:
        """Height and width."""
        network = NETWORKS[self.network]
        return network.small_size if small else network.size

    def networks(self, small: bool = False) -> Contestants:
        """The network under its paddings, on the CPU."""
        network = NETWORKS[self.network]
        paddings = TABLE_1 if self.table_1 else ("partial",)
        return (network.make_small if small else network.make)(paddings, self.setting(small).batch)


# What takes longest, compiling, comes last.
CORE = (
    Cell("resnet50", dtype="float32", table_1=True),
    Cell("vgg16_bn", dtype="float32", table_1=True),
    *(Cell(network, "training") for network in MAIN),
    *(Cell(network, "inference") for network in ("resnet3d50", "spade")),
    *(Cell(network, "inference", "compile") for network in ("vgg16_bn", "resnet50", "inpainting_unet")),
)


def all_cells() -> list[Cell]:
    """The core's cells, then the rest."""
    made = itertools.product(
        MAIN, ("inference", "training"), ("eager", "compile", "cudagraphs"), ("bfloat16", "float32")
    )
    # A plan's lists are read back from the GPU, which a CUDA graph cannot do.
    rest = [Cell(*each) for each in made if each[0] != "spade" or each[2] != "cudagraphs"]
    others = [name for name in NETWORKS if name not in MAIN]
    rest += [Cell(*each) for each in itertools.product(others, ("inference", "training"), ("eager", "compile"))]
    return list(dict.fromkeys([*CORE, *rest]))
