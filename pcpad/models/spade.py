"""The SPADE generator (Park et al. 2019, arXiv 1903.07291), with ordinary or panoptic partial convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pcpad._renamed import moved
from pcpad.class_counts import MOST_LABELS, check_num_classes
from pcpad.errors import UserValueError
from pcpad.models.origins import refuse_stated, stated
from pcpad.models.weights import load_state, read_weights, unwrap
from pcpad.panoptic import PanopticPartialConv2d, PanopticPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "Spade",
    "SpadeBlock",
    "SpadeGenerator",
    "Upsampling",
    "initialize_gan",
    "panoptic_upsample",
    "plans_of_strides",
    "refuse_other_spade",
    "spade_generator",
]

# The stages and their output channels in multiples of `ngf`; the first runs at 1/64 of the image's size, and each of
# the others at twice the resolution of the previous one.
_STAGES = {"head_0": 16, "G_middle_0": 16, "G_middle_1": 16, "up_0": 8, "up_1": 4, "up_2": 2, "up_3": 1}

Upsampling = Literal["more", "normal"]
"""Whether the generator begins at 1/64 (`more`) or at 1/32 (`normal`) of the resolution."""


def spade_generator(
    semantic_channels: int = 36,
    partial: bool = True,
    weights: str | Path | None = None,
    *,
    ngf: int = 64,
    panoptic_upsampling: bool = False,
    num_upsampling_layers: Upsampling = "more",
) -> SpadeGenerator:
    """Build a SPADE generator, as published for Cityscapes at 256x512 by default.

    Args:
        semantic_channels: Channels of the conditioning map: one per label, and one for instance edges.
        partial: Whether the residual blocks' 3x3 convolutions are panoptic partial convolutions (Liu et al. 2022, §4.3)
            or ordinary ones. Names and parameters are the same.
        weights: A local file with the published names.
        ngf: Channels of the last stage; 64 as published, fewer for small demonstrations.
        panoptic_upsampling: Upsample by copying from the nearest neighbor of the same instance.
        num_upsampling_layers: The public code's option of this name. `more`, as for Cityscapes, begins at 1/64 of the
            resolution; `normal` begins at 1/32 and does not upsample before `G_middle_1`. The weights' names and shapes
            are the same, but the outputs differ.

    Returns:
        The network, from `(semantics, panoptic_ids)` to images in [-1, 1].

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> generator = spade_generator(semantic_channels=5, ngf=4).eval()
        >>> labels = torch.zeros(1, 64, 128, dtype=torch.long)
        >>> semantics = F.one_hot(labels, 5).permute(0, 3, 1, 2).float()
        >>> generator(semantics, labels[:, None]).shape
        torch.Size([1, 3, 64, 128])
    """
    options: dict[str, Any] = {"panoptic_upsampling": panoptic_upsampling}
    model = SpadeGenerator(semantic_channels, partial, ngf=ngf, num_upsampling_layers=num_upsampling_layers, **options)
    if weights is None:
        return model
    content = read_weights(weights)
    refuse_other_spade(stated(content), num_upsampling_layers, str(weights))
    return load_state(model, unwrap(content, str(weights)), str(weights))


def refuse_other_spade(said: Mapping[str, Any], num_upsampling_layers: str, source: str) -> None:
    """Refuse weights whose file says that the generator upsamples elsewhere, or uses an encoder (`use_vae`).

    Args:
        said: The options that the file states.
        num_upsampling_layers: The built generator's option.
        source: The file, for the error.

    Raises:
        ValueError: The file is of another generator.
    """
    if "ngf" in said and "_class_path" in said:  # a checkpoint of this suite, possibly older than the option
        said = {"num_upsampling_layers": "more", **said}
    built = {"num_upsampling_layers": num_upsampling_layers, "use_vae": False}
    refuse_stated(said, built, source, {"num_upsampling_layers": "--model.num_upsampling_layers {}"})


class SpadeGenerator(nn.Module):
    """Seven residual blocks from 1/64 of the resolution up, each modulated by the conditioning map.

    Args:
        semantic_channels: Channels of the conditioning map.
        partial: Whether the blocks have panoptic partial convolutions instead of ordinary ones.
        ngf: Channels of the last stage.
        panoptic_upsampling: See `panoptic_upsample`.
        num_upsampling_layers: See `spade_generator`.
    """

    def __init__(
        self,
        semantic_channels: int = 36,
        partial: bool = True,
        *,
        ngf: int = 64,
        panoptic_upsampling: bool = False,
        num_upsampling_layers: Upsampling = "more",
    ) -> None:
        super().__init__()
        if num_upsampling_layers not in get_args(Upsampling):
            kinds = " or ".join(get_args(Upsampling))
            message = f"Expected argument `num_upsampling_layers` to be {kinds}, but got {num_upsampling_layers!r}"
            raise UserValueError(message)
        # These stages are not preceded by upsampling.
        self.kept = ("head_0", "G_middle_1") if num_upsampling_layers == "normal" else ("head_0",)
        self.stride = 2 ** (len(_STAGES) - len(self.kept))
        for name, value in {"semantic_channels": semantic_channels, "ngf": ngf}.items():
            check_num_classes(value, name, most=MOST_LABELS)
        self.semantic_channels, self.partial, self.panoptic_upsampling = semantic_channels, partial, panoptic_upsampling
        channels = _STAGES["head_0"] * ngf
        self.fc = nn.Conv2d(semantic_channels, channels, 3, padding=1)
        for name, multiple in _STAGES.items():
            self.add_module(name, SpadeBlock(channels, multiple * ngf, semantic_channels, partial))
            channels = multiple * ngf
        self.conv_img = nn.Conv2d(channels, 3, 3, padding=1)
        initialize_gan(self)

    def forward(
        self,
        semantics: Tensor,
        panoptic_ids: Tensor | None = None,
        plans: Mapping[int, PanopticPlan] | None = None,
    ) -> Tensor:
        """Synthesize images.

        Args:
            semantics: (N, semantic_channels, H, W), one-hot labels and the edge map; H and W divisible by 64
                (32 for `normal`).
            panoptic_ids: (N|1, 1, H, W) of any integer type: one id per instance, or per class without instances. None
                for a generator that uses no ids.
            plans: Plans of these ids by stride, as made by `plans_of_strides`; missing ones are built.

        Returns:
            (N, 3, H, W) in [-1, 1].

        Raises:
            ValueError: A shape does not fit, or ids are missing.
            TypeError: The ids are not integers.
        """
        self._check(semantics, panoptic_ids)
        height, width = semantics.shape[2:]
        stride = self.stride
        ids = None if panoptic_ids is None else panoptic_ids[..., ::stride, ::stride]
        x = self.fc(F.interpolate(semantics, (height // stride, width // stride)))
        for name in _STAGES:
            if name not in self.kept:
                stride //= 2
                finer = None if panoptic_ids is None else panoptic_ids[..., ::stride, ::stride]
                x = self._upsample(x, ids, finer)
                ids = finer
            condition = F.interpolate(semantics, (height // stride, width // stride))
            plan = None
            if self.partial and ids is not None:
                plan = plans[stride] if plans and stride in plans else PanopticPlan.build(ids, 3, padding=1)
            x = self.get_submodule(name)(x, condition, plan)
        return torch.tanh(self.conv_img(F.leaky_relu(x, 0.2)))

    def _upsample(self, x: Tensor, ids: Tensor | None, finer: Tensor | None) -> Tensor:
        if self.panoptic_upsampling and ids is not None and finer is not None:
            return panoptic_upsample(x, ids, finer)
        return F.interpolate(x, scale_factor=2)

    def _check(self, semantics: Tensor, ids: Tensor | None) -> None:
        channels = self.semantic_channels
        if semantics.dim() != 4 or semantics.shape[1] != channels or not semantics.is_floating_point():
            message = (
                f"Expected a conditioning map (N, {channels}, H, W) of floats, one-hot labels and edges, but got "
                f"{tuple(semantics.shape)} {semantics.dtype}."
            )
            raise UserValueError(message)
        height, width = semantics.shape[2:]
        if height % self.stride or width % self.stride or not height or not width:
            message = (
                f"Expected a height and a width divisible by {self.stride}, but got {height}x{width} (on the command "
                "line --data.image_size '[256, 512]')."
            )
            raise UserValueError(message)
        if ids is None:
            if self.partial or self.panoptic_upsampling:
                message = (
                    "This generator needs panoptic ids (N, 1, H, W), but got None. Pass them, or build it with "
                    "partial=False and panoptic_upsampling=False."
                )
                raise UserValueError(message)
        elif ids.shape[1:] != (1, height, width) or ids.shape[0] not in (semantics.shape[0], 1):
            message = f"Expected panoptic ids ({semantics.shape[0]}, 1, {height}, {width}), but got {tuple(ids.shape)}."
            raise UserValueError(message)


def plans_of_strides(ids: Tensor, *, gradients: bool = True) -> dict[int, PanopticPlan]:
    """Make the plans of a generator's convolutions in advance, for example in a data loader's workers.

    Args:
        ids: (N|1, 1, H, W) of any integer type, as passed to the generator.
        gradients: Whether there will be a backward pass.

    Returns:
        By stride, 64 to 1, a complete plan of the ids sampled with that stride. Strides that do not divide H and W are
        left out.

    Example:
        >>> plans = plans_of_strides(torch.zeros(1, 1, 96, 64, dtype=torch.int64))
        >>> list(plans), plans[32].size
        ([32, 16, 8, 4, 2, 1], (3, 2))
    """
    strides = [2**power for power in reversed(range(len(_STAGES)))]
    fitting = [stride for stride in strides if not (ids.shape[-2] % stride or ids.shape[-1] % stride)]
    return {
        stride: PanopticPlan.build(ids[..., ::stride, ::stride], 3, padding=1).complete(gradients=gradients)
        for stride in fitting
    }


class SpadeBlock(nn.Module):
    """A residual block with norms modulated by the conditioning map, and with spectral norm on its convolutions.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        semantic_channels: Channels of the conditioning map.
        partial: Whether the 3x3 convolutions are panoptic partial convolutions instead of ordinary ones.
    """

    def __init__(self, in_channels: int, out_channels: int, semantic_channels: int, partial: bool) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        convolution = PanopticPartialConv2d if partial else nn.Conv2d
        self.conv_0 = spectral_norm(convolution(in_channels, middle, 3, padding=1))
        self.conv_1 = spectral_norm(convolution(middle, out_channels, 3, padding=1))
        self.norm_0 = Spade(in_channels, semantic_channels)
        self.norm_1 = Spade(middle, semantic_channels)
        self.conv_s: nn.Module | None = None
        self.norm_s: nn.Module | None = None
        if in_channels != out_channels:
            self.conv_s = spectral_norm(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.norm_s = Spade(in_channels, semantic_channels)

    def forward(self, x: Tensor, condition: Tensor, plan: PanopticPlan | None = None) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W); `condition` and `plan` have the same size."""
        shared = () if plan is None else (plan,)
        y = self.conv_0(F.leaky_relu(self.norm_0(x, condition), 0.2), *shared)
        y = self.conv_1(F.leaky_relu(self.norm_1(y, condition), 0.2), *shared)
        if self.conv_s is not None and self.norm_s is not None:
            x = self.conv_s(self.norm_s(x, condition))
        output: Tensor = x + y
        return output


class Spade(nn.Module):
    """Batch norm without parameters, with a scale and shift per pixel that are computed from the map.

    Args:
        channels: Channels of the input.
        semantic_channels: Channels of the conditioning map.
        hidden: Channels of the hidden layer between the map and the scale and shift.
    """

    def __init__(self, channels: int, semantic_channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(semantic_channels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, channels, H, W), modulated by a map (N, semantic_channels, H, W)."""
        hidden = self.mlp_shared(condition)
        return torch.addcmul(self.mlp_beta(hidden), self.param_free_norm(x), 1 + self.mlp_gamma(hidden))


def panoptic_upsample(x: Tensor, ids: Tensor, finer_ids: Tensor) -> Tensor:
    """Double the resolution by copying from the nearest pixel of the same instance (Dundar et al. 2020, §3.2).

    Nearest upsampling copies across edges that only the finer ids show. Here a fine pixel whose id differs from that of
    its coarse pixel copies from the nearest of the coarse pixel's eight neighbors with its id; if none has it, from the
    coarse pixel itself.

    Args:
        x: (N, C, H, W).
        ids: (N|1, 1, H, W), integers.
        finer_ids: (N|1, 1, 2H, 2W), integers.

    Returns:
        (N, C, 2H, 2W).

    Example:
        >>> coarse, fine = torch.tensor([[1, 2]]), torch.tensor([[1, 2, 2, 2], [1, 1, 2, 2]])
        >>> panoptic_upsample(torch.tensor([[[[10.0, 20.0]]]]), coarse[None, None], fine[None, None])[0, 0]
        tensor([[10., 20., 20., 20.],
                [10., 10., 20., 20.]])
    """
    height, width = x.shape[2:]
    y, x_ = (torch.arange(2 * length, device=x.device) for length in (height, width))
    down, right = (y % 2 * 2 - 1)[:, None], (x_ % 2 * 2 - 1)[None, :]  # toward the nearer neighbor on each axis
    flat = ids.long().flatten(1)
    own = finer_ids.long().flatten(1)
    source = found = None
    # Steps toward the nearer side, ordered by distance from the fine pixel's center.
    for dy, dx in ((0, 0), (1, 0), (0, 1), (1, 1), (-1, 0), (0, -1), (-1, 1), (1, -1), (-1, -1)):
        row, column = y[:, None] // 2 + dy * down, x_[None, :] // 2 + dx * right
        inside = ((row >= 0) & (row < height) & (column >= 0) & (column < width)).flatten()
        place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten()
        same = (flat[:, place] == own) & inside
        if source is None or found is None:
            source, found = place.expand_as(own), same
        else:
            source, found = torch.where(same & ~found, place, source), found | same
    assert source is not None
    index = source.unsqueeze(1).expand(x.shape[0], x.shape[1], -1)
    enlarged: Tensor = x.flatten(2).gather(2, index).unflatten(2, (2 * height, 2 * width))
    return enlarged


def initialize_gan(network: nn.Module, gain: float = 0.02) -> None:
    """Initialize weights as in the published GANs: Xavier with this gain; biases are 0.

    Weights with spectral norm keep the initialization of `nn.Conv2d`, as in the published code: their magnitude does
    not change the output, but it determines how far an optimizer step turns them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if not nn.utils.parametrize.is_parametrized(module, "weight"):
                nn.init.xavier_normal_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
