"""Networks of segmentation-models-pytorch with a chosen padding, and WideResNet38 as a further encoder."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserValueError, did_you_mean
from pcpad.models.heads import check_head, head_of
from pcpad.models.hub_cache import hub_file, timm_file, timm_network
from pcpad.models.origins import refuse_stated, stated_here
from pcpad.models.weights import convert_and_load, encoder_state, fit_names, read_weights, unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pcpad.models.heads import Head
    from pcpad.models.weights import Fit

__all__ = ["smp_network"]

_ENCODER = "wide_resnet38"
_PREFIX = "AnySize"
_PAN_HALVES = 8  # PAN's decoder halves the encoder's last map three times


def smp_network(
    architecture: str,
    encoder: str = "resnet50",
    num_classes: int = 19,
    padding: str = "partial",
    encoder_weights: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    head: Head | None = None,
    fallback: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network of segmentation-models-pytorch (smp) and give its convolutions a padding.

    Args:
        architecture: smp's name, not case-sensitive: `Unet`, `FPN`, `DeepLabV3Plus`, `UPerNet`, ….
        encoder: smp's name (`resnet50`, `efficientnet-b0`), a timm name after `tu-`, or `wide_resnet38`.
        num_classes: Logits per pixel.
        padding: See `pcpad.convert_padding`; `convert_padding(..., return_report=True)` lists the layers it leaves.
        encoder_weights: None for random weights, a local file for the encoder, or one of smp's names of weights
            (`imagenet`) in the Hugging Face hub's cache; nothing is downloaded.
        weights: A local file for the whole network, instead of `encoder_weights`.
        head: `new` leaves out the last layer of `weights`, for training on other classes.
        fallback: The padding for axes of feature maps that are too small for `padding`, see `pcpad.convert_padding`.
        options: Further arguments of the architecture: `{"encoder_output_stride": 8}`, `{"decoder_channels": 128}`.

    Returns:
        The network, from `(N, 3, H, W)` floats to `(N, num_classes, H, W)` logits. Most architectures require heights
        and widths divisible by their encoder's stride, 32 or 16, and PAN at least eight times that: images of other
        sizes are padded at the right and bottom by repeating the outermost pixels, whatever `padding` is, and the
        logits are cropped. Some encoders, such as `mit_b0` and `efficientnet-b0`, need more than 32 pixels.

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
    check_num_classes(num_classes)
    model: Any = smp.create_model(
        architecture, encoder_name=encoder, encoder_weights=None, classes=num_classes, **(options or {})
    )
    # timm's networks are one level deeper, and the first dot of some names is an underscore.
    target = model.encoder.model if encoder.startswith("tu-") else model.encoder
    if weights is not None and encoder_weights is not None:
        message = "Pass either `weights`, for the whole network, or `encoder_weights`, but not both."
        raise UserValueError(message)
    check_head(head, weights)
    if weights is not None:
        content = read_weights(weights)
        said = {"encoder": encoder, "architecture": architecture}
        refuse_stated(
            _lower(stated_here(content)), _lower(said), str(weights), {key: f"--model.{key} {{}}" for key in said}
        )
        fit: Fit | None = partial(fit_names, state=unwrap(content, str(weights)))
        left_out = head_of(model, num_classes) if head else ()
        convert_and_load(model, padding, fallback, fit, f"weights={str(weights)!r}", left_out=left_out, file=weights)
    else:
        fit = None if encoder_weights is None else _encoder_fit(encoder, encoder_weights, target)
        convert_and_load(model, padding, fallback, fit, f"encoder_weights={str(encoder_weights)!r}", into=target)
    if model.requires_divisible_input_shape:
        model.__class__ = _of_any_size(type(model))  # type: ignore[arg-type]  # a class is hashable
    network: nn.Module = model
    return network


def _lower(said: Mapping[str, Any]) -> dict[str, Any]:
    """Lower-case texts, since names of architectures are not case-sensitive."""
    return {key: value.lower() if isinstance(value, str) else value for key, value in said.items()}


def _encoder_fit(encoder: str, weights: str | Path, target: nn.Module) -> Fit:
    """The encoder's weights, from a local file or from a cache by name."""
    own = set(target.state_dict())
    published = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {})
    if encoder.startswith("tu-"):
        name = encoder.removeprefix("tu-")
        if weights == "imagenet" or timm_network(weights) == name.partition(".")[0]:
            weights = timm_file(name if weights == "imagenet" else str(weights), "encoder_weights")
    elif str(weights) in published:
        weights = hub_file(published[str(weights)]["repo_id"], ("model.safetensors",), "encoder_weights")

    def rename(name: str) -> str:
        flat = name.replace(".", "_", 1)
        return flat if name not in own and flat in own else name

    return encoder_state(weights, [name for name, _ in target.named_children()], rename)


class _OfAnySize(nn.Module):
    """A mixin for smp's classes: pads images to multiples of the encoder's stride, and crops the logits."""

    def forward(self, image: Tensor) -> Any:
        """Logits (N, K, H, W), and those of an auxiliary head (N, C), for images (N, 3, H, W)."""
        height, width = image.shape[-2:]
        stride: int = self.encoder.output_stride  # type: ignore[assignment, union-attr]
        below, right = -height % stride, -width % stride
        if isinstance(self, smp.PAN):
            least = _PAN_HALVES * stride
            below, right = max(below, least - height), max(right, least - width)
        # An exported network serves all sizes, so no branch may depend on the example's size.
        if not torch.compiler.is_exporting() and not below and not right:
            return super().forward(image)
        found = super().forward(F.pad(image, (0, right, 0, below), mode="replicate"))
        logits, *others = found if isinstance(found, tuple) else (found,)
        logits = logits[..., :height, :width]
        return (logits, *others) if others else logits


@lru_cache
def _of_any_size(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"{_PREFIX}{kind.__name__}", (_OfAnySize, kind), {"__module__": __name__, "__doc__": kind.__doc__})


def __getattr__(name: str) -> Any:
    """The classes that are made on demand, so that pickle finds them."""
    for kind in smp.MODEL_ARCHITECTURES_MAPPING.values() if name.startswith(_PREFIX) else ():
        if name == f"{_PREFIX}{kind.__name__}":
            return _of_any_size(kind)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def _check(what: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> None:
    if name in known:
        return
    hint = did_you_mean(name, known, most=3, cutoff=0.5, between=", ").replace("Did", "did")
    hint = hint or f" it has {', '.join(list(known)[:12])}, …"
    message = f"segmentation-models-pytorch has no {what} {name!r}:{hint}"
    raise UserValueError(message)


def _wide_resnet38(**options: Any) -> nn.Module:
    from pcpad.models.wide_resnet_encoder import WideResNet38Encoder

    return WideResNet38Encoder(**options)


smp.encoders.encoders[_ENCODER] = {
    "encoder": _wide_resnet38,
    "pretrained_settings": {},
    "params": {"out_channels": [3, 128, 256, 512, 1024, 4096]},
}
