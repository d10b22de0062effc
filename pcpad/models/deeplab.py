"""DeepLabV3+ as in the papers' segmentation study, on WideResNet38 or a ResNet at output stride 8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserValueError, did_you_mean
from pcpad.models.checkpointing import set_checkpointing
from pcpad.models.classifiers import published_file
from pcpad.models.dilated_resnet import RESNETS, dilated_resnet, from_torchvision
from pcpad.models.heads import check_head, head_of
from pcpad.models.hub_cache import timm_file, timm_network
from pcpad.models.origins import refuse_stated, stated_here
from pcpad.models.weights import convert_and_load, encoder_state, fit_names, initialize, read_weights, unwrap
from pcpad.models.wide_resnet import WideResNet38

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcpad.models.heads import Head
    from pcpad.models.weights import Fit

__all__ = ["ASPP", "DeepLabV3Plus", "deeplab_encoders", "deeplabv3plus"]

_RATES = (12, 24, 36)  # of Chen et al. 2018 (arXiv 1802.02611) at output stride 8
_WIDTH = 256
_SKIP_WIDTH = 48


def deeplabv3plus(
    encoder: str = "wide_resnet38",
    num_classes: int = 19,
    padding: str = "partial",
    encoder_weights: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    head: Head | None = None,
    fallback: str | None = None,
    checkpointing: bool = False,
) -> DeepLabV3Plus:
    """Build a DeepLabV3+ by its encoder's name and give its convolutions a padding.

    Args:
        encoder: `wide_resnet38`, or a ResNet of torchvision: `resnet50`, `resnet101`, …, see `deeplab_encoders`.
        num_classes: Logits per pixel.
        padding: One of `pcpad.padding_names()`.
        encoder_weights: None for random weights, or a local file: an ImageNet classifier's, a segmentation network's
            (its head is not loaded), or a checkpoint of this suite's classification task. For a ResNet also `imagenet`
            for `IMAGENET1K_V1`, or another set's name, from torchvision's cache, or a timm name
            (`timm/resnet50.a1_in1k`) from the Hugging Face hub's cache.
        weights: A local file for the whole network instead of `encoder_weights`, see `load_weights`.
        head: `new` leaves out the last layer of `weights`, for training on other classes.
        fallback: The padding for axes of feature maps that are too small for `padding`, see `pcpad.convert_padding`.
        checkpointing: Gradient checkpointing: keep only the input of each encoder block for the backward pass and
            recompute the rest. Takes less memory, and about a third more time per step.

    Returns:
        The network, from `(N, 3, H, W)` floats to `(N, num_classes, H, W)` logits, for any size whose feature maps
        `padding` can pad: without a `fallback`, `reflect` and `circular` need about 290 pixels, the others one.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> deeplabv3plus("resnet18", num_classes=4).eval()(torch.zeros(1, 3, 33, 50)).shape
        torch.Size([1, 4, 33, 50])
    """
    if encoder not in deeplab_encoders():
        hint = did_you_mean(encoder, deeplab_encoders(), most=3, cutoff=0.5, between=", ")
        message = f"Unknown encoder {encoder!r}: expected one of {', '.join(deeplab_encoders())}.{hint}"
        raise UserValueError(message)
    if weights is not None and encoder_weights is not None:
        message = "Pass either `weights`, for the whole network, or `encoder_weights`, but not both."
        raise UserValueError(message)
    check_head(head, weights)
    if encoder == "wide_resnet38":
        model = DeepLabV3Plus(WideResNet38(), "mod2", (128, 4096), num_classes)
    else:
        chain = dilated_resnet(encoder)
        model = DeepLabV3Plus(chain, "layer1", (_channels(chain[1]), _channels(chain[4])), num_classes)
    set_checkpointing(model, checkpointing)
    fit, source = _weights_for(encoder, model, weights, encoder_weights)
    left_out = head_of(model, num_classes) if head else ()
    convert_and_load(model, padding, fallback, fit, source, left_out=left_out, file=weights)
    return model


def deeplab_encoders() -> tuple[str, ...]:
    """The encoders that `deeplabv3plus` supports.

    Returns:
        Their names.
    """
    return ("wide_resnet38", *RESNETS)


def _channels(stage: nn.Module) -> int:
    """Output channels of a stage of residual blocks: those of its last norm."""
    return [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)][-1].num_features


def _weights_for(
    encoder: str, model: DeepLabV3Plus, weights: str | Path | None, encoder_weights: str | Path | None
) -> tuple[Fit | None, str]:
    if weights is not None:
        content = read_weights(weights)
        said = {"encoder": encoder, "architecture": "deeplabv3plus"}
        refuse_stated(stated_here(content), said, str(weights), {key: f"--model.{key} {{}}" for key in said})
        state = unwrap(content, str(weights))
        return lambda target: fit_names(target, state), f"weights={str(weights)!r}"
    if encoder_weights is None:
        return None, ""
    source = f"encoder_weights={str(encoder_weights)!r}"
    if encoder == "wide_resnet38":
        if encoder_weights == "imagenet":
            message = (
                "torchvision has no WideResNet38, so there is no file for encoder_weights='imagenet'. Get "
                "wider_resnet38.pth.tar (linked by https://github.com/NVIDIA/semantic-segmentation, branch sdcnet) "
                "and pass its path."
            )
            raise UserValueError(message)
        return encoder_state(encoder_weights, model.stages), source
    return encoder_state(_resnet_file(encoder, encoder_weights), model.stages, from_torchvision), source


def _resnet_file(encoder: str, encoder_weights: str | Path) -> Path:
    from torchvision import models

    timm = timm_network(encoder_weights)
    if timm is not None and timm != encoder:
        message = f"{encoder_weights} are the weights of timm's {timm}, but the encoder is {encoder}"
        raise UserValueError(message)
    if timm is not None:
        return timm_file(str(encoder_weights), "encoder_weights")
    if encoder_weights == "imagenet":
        encoder_weights = "IMAGENET1K_V1"  # the weights of the papers' time; V2 came in 2022
    if encoder_weights in models.get_model_weights(encoder).__members__:
        return published_file(encoder, str(encoder_weights), "encoder_weights")
    return Path(encoder_weights)


class DeepLabV3Plus(nn.Module):
    """An encoder, atrous spatial pyramid pooling, and a decoder at the skip connection's resolution.

    It differs from the DeepLabV3+ of Chen et al. 2018 (arXiv 1802.02611) in the same way as NVIDIA's public code: plain
    instead of separable convolutions, no norm or ReLU on the two maps that the decoder concatenates, and
    `align_corners=True`. The published weights of that code fit, and give the same logits.

    Args:
        encoder: A chain of children, each feeding the next. They become children of the network under their names.
        skip: The child whose output the decoder refines.
        channels: Channels of the skip connection and of the chain's output.
        num_classes: Logits per pixel.
    """

    def __init__(self, encoder: nn.Module, skip: str, channels: tuple[int, int], num_classes: int = 19) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.skip = skip
        self.stages = tuple(name for name, _ in encoder.named_children())
        for name, stage in encoder.named_children():
            self.add_module(name, stage)
        fine, coarse = channels
        self.aspp = ASPP(coarse)
        self.bot_fine = nn.Conv2d(fine, _SKIP_WIDTH, 1, bias=False)
        self.bot_aspp = nn.Conv2d(_WIDTH * (len(_RATES) + 2), _WIDTH, 1, bias=False)
        self.final = nn.Sequential(
            *_conv_norm_relu(_SKIP_WIDTH + _WIDTH, _WIDTH, 3),
            *_conv_norm_relu(_WIDTH, _WIDTH, 3),
            nn.Conv2d(_WIDTH, num_classes, 1, bias=False),
        )
        for part in (self.aspp, self.bot_fine, self.bot_aspp, self.final):
            initialize(part)

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size.

        Args:
            image: (N, 3, H, W), normalized; see `deeplabv3plus` for sizes.

        Returns:
            (N, num_classes, H, W).

        Raises:
            ValueError: In training, for a batch of one (see `ASPP`).
        """
        x = image
        for name in self.stages:
            x = getattr(self, name)(x)
            if name == self.skip:
                fine = self.bot_fine(x)  # immediately, so that evaluation does not keep the skip's many channels
        coarse = _resize(self.bot_aspp(self.aspp(x)), fine)
        return _resize(self.final(torch.cat([fine, coarse], dim=1)), image)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the image's mean, a 1x1 and three dilated 3x3 convolutions in parallel.

    In training, batch norm after the mean sees one value per channel and image, so it needs two images, or several
    processes with synchronized batch norm. To train on single images, freeze this norm with
    `model.aspp.img_conv.eval()` after each `model.train()`.

    Args:
        in_channels: Channels of the input.
        rates: The dilations, at the input's resolution.
    """

    def __init__(self, in_channels: int, rates: Sequence[int] = _RATES) -> None:
        super().__init__()
        kernels = [(1, 1), *((3, rate) for rate in rates)]
        self.features = nn.ModuleList(
            nn.Sequential(*_conv_norm_relu(in_channels, _WIDTH, kernel, rate)) for kernel, rate in kernels
        )
        self.img_conv = nn.Sequential(*_conv_norm_relu(in_channels, _WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 256 * (2 + rates), H, W): the mean, the 1x1, then the rates in order."""
        norm = self.img_conv[1]
        if norm.training and x.shape[0] == 1 and not isinstance(norm, nn.SyncBatchNorm):
            message = (
                "This network cannot be trained with a batch of one: after the image's mean, batch norm has one value "
                "per channel to normalize. Use a batch of two or more, synchronized batch norm over several processes, "
                "or freeze that norm with `aspp.img_conv.eval()`."
            )
            raise UserValueError(message)
        mean = self.img_conv(F.adaptive_avg_pool2d(x, 1))
        return torch.cat(
            [mean.expand(-1, -1, x.shape[-2], x.shape[-1]), *(branch(x) for branch in self.features)], dim=1
        )


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


def _resize(x: Tensor, like: Tensor) -> Tensor:
    # Indexed one by one, since torch.fx cannot unpack a traced shape.
    return F.interpolate(x, size=(like.shape[-2], like.shape[-1]), mode="bilinear", align_corners=True)
