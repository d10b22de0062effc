"""Networks of segmentation-models-pytorch under any padding, and WideResNet38 as one of its encoders."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import segmentation_models_pytorch as smp
import timm
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.models.encoders import convert_and_load, encoder_state
from pcpad.models.wide_resnet import FEATURE_CHANNELS, FEATURES, WideResNet38

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["WideResNet38Encoder", "smp_network"]

_ENCODER = "wide_resnet38"


def smp_network(
    architecture: str,
    encoder: str = "resnet50",
    num_classes: int = 19,
    padding: str = "partial",
    encoder_weights: str | Path | None = None,
    *,
    fallback: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network of segmentation-models-pytorch (smp) and give its convolutions a padding.

    Args:
        architecture: smp's name in any case: `Unet`, `FPN`, `DeepLabV3Plus`, `UPerNet`, ….
        encoder: smp's name (`resnet50`, `efficientnet-b0`), `tu-` and a timm name, or `wide_resnet38`.
        num_classes: How many logits a pixel gets.
        padding: See `pcpad.convert_padding`. Encoders with convolutions of their own kind, EfficientNet's for one,
            keep these as they are; `convert_padding(..., return_report=True)` lists them.
        encoder_weights: None for random ones, or a local file for the encoder. smp's own names for weights mean
            files to fetch, which nothing here does.
        fallback: The padding for axes of feature maps that are too small for `padding`, see `pcpad.convert_padding`.
        options: More arguments of the architecture: `{"encoder_output_stride": 8}`, `{"decoder_channels": 128}`.

    Returns:
        The network: `(N, 3, H, W)` floats to `(N, num_classes, H, W)` logits. Most architectures take heights and
        widths divisible by their encoder's stride alone, 32 or 16, and say so in an error.

    Raises:
        ValueError: There is no such architecture, encoder or padding, or the weights do not fit.
        FileNotFoundError: There is no such weight file.

    Example:
        >>> import torch
        >>> smp_network("FPN", "resnet18", num_classes=4).eval()(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 4, 64, 96])
    """
    _check("architecture", architecture.lower(), smp.MODEL_ARCHITECTURES_MAPPING)
    if encoder.startswith("tu-"):
        if not timm.is_model(encoder.removeprefix("tu-")):
            _check("encoder", encoder, [f"tu-{name}" for name in timm.list_models()])
    else:
        _check("encoder", encoder, smp.encoders.encoders)
    if num_classes < 1:
        message = f"Expected argument `num_classes` to be a positive integer, but got {num_classes}"
        raise UserValueError(message)
    model = smp.create_model(
        architecture, encoder_name=encoder, encoder_weights=None, classes=num_classes, **(options or {})
    )
    # timm's networks sit one level deeper, and some of their first dots have become underscores.
    target = model.encoder.model if encoder.startswith("tu-") else model.encoder
    parts = [name for name, _ in target.named_children()]
    fit = None
    if encoder_weights is not None:
        own = set(target.state_dict())

        def rename(name: str) -> str:
            flat = name.replace(".", "_", 1)
            return flat if name not in own and flat in own else name

        fit = encoder_state(encoder_weights, parts, rename)
    convert_and_load(model, padding, fallback, fit, f"encoder_weights={str(encoder_weights)!r}", into=target)
    return model


def _check(what: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(list(known)[:12])}, …"
    message = f"segmentation-models-pytorch has no {what} {name!r}: {hint}"
    raise UserValueError(message)


class WideResNet38Encoder(WideResNet38, EncoderMixin):
    """WideResNet38 with smp's encoder interface: six features, at strides 1 to 32 unless dilated.

    Args:
        out_channels: Of the six features.
        depth: How many features beyond the image; what lies deeper is left out.
        output_stride: smp's; the network is built at 32 and dilated by `make_dilated`.
    """

    _is_torch_scriptable = False  # gradient checkpointing is no TorchScript

    def __init__(self, out_channels: list[int], depth: int = 5, output_stride: int = 32) -> None:
        if not 1 <= depth <= 5:
            message = f"Expected argument `encoder_depth` to be in 1 to 5, but got {depth}"
            raise UserValueError(message)
        super().__init__(output_stride=32)
        self._depth = depth
        self._in_channels = 3
        self._out_channels = list(out_channels)
        self._output_stride = output_stride
        # Parameters that no loss reaches stop distributed training.
        names = [name for name, _ in self.named_children()]
        for name in names[names.index(FEATURES[depth - 1]) + 1 :]:
            delattr(self, name)

    def get_stages(self) -> dict[int, Sequence[nn.Module]]:
        """The modules that smp dilates for an output stride below theirs."""
        stages = {16: ["mod5"], 32: ["mod6", "mod7"]}
        here = {
            stride: [getattr(self, name) for name in names if hasattr(self, name)] for stride, names in stages.items()
        }
        return {stride: modules for stride, modules in here.items() if modules}

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        """The image and the outputs of mod2, mod3, mod4, mod5 and mod7, as many as `depth` asks for."""
        return [x, *self.features(x, self._depth)]


smp.encoders.encoders[_ENCODER] = {
    "encoder": WideResNet38Encoder,
    "pretrained_settings": {},
    "params": {"out_channels": [3, *FEATURE_CHANNELS]},
}
