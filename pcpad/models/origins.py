"""Recognize weight files of other libraries: translate names, explain misfits, and read the options that a file states.

Networks with the same names and shapes may still differ, so the options that a file states are compared with the built
network's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from pcpad.errors import UserValueError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["from_r3d", "refuse_stated", "stated", "stated_here", "whose"]

# Keys under which training scripts store their command-line options with the weights.
_OPTIONS = ("opt", "opts", "args", "hyper_parameters")


def from_r3d(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of torchvision's `r3d_18` to our 3D ResNets' names.

    Args:
        model: A 3D ResNet.
        state: Names to tensors, of any network.

    Returns:
        The same tensors: `stem.0.weight` as `conv1.weight`, `layer1.0.conv2.1.bias` as `layer1.0.bn2.bias`; with
        unchanged names if these are not torchvision's.

    Raises:
        UserValueError: The model's stem is that of another network, although the other tensors would fit.
    """
    if not all(any(name.endswith(end) for name in state) for end in ("stem.0.weight", "layer1.0.conv1.0.weight")):
        return dict(state)
    stem = getattr(model, "conv1", None)
    if isinstance(stem, nn.Conv3d) and (stem.kernel_size[0] != 3 or isinstance(model.maxpool, nn.MaxPool3d)):
        message = f"The weights do not fit {type(model).__name__} as it is: {_R3D}"
        raise UserValueError(message)

    def renamed(name: str) -> str:
        name = re.sub(r"\bstem\.0\.", "conv1.", re.sub(r"\bstem\.1\.", "bn1.", name))
        name = re.sub(r"\bconv(\d)\.0\.(?=weight$)", r"conv\1.", name)
        return re.sub(r"\bconv(\d)\.1\.", r"bn\1.", name)

    return {renamed(name): value for name, value in state.items()}


def whose(state: Mapping[str, Any]) -> str:
    """Explain which library's names a file has that fits none of our networks, and how it can be used.

    Args:
        state: Names to tensors.

    Returns:
        A sentence; empty for unknown names.
    """
    for sign, sentence in _KNOWN:
        if all(any(re.search(pattern, name) for name in state) for pattern in sign):
            return sentence
    return ""


_R3D = (
    "these are the names of torchvision's video ResNets. r3d_18 is resnet3d18 with a first convolution of 3 frames and "
    "without the max pool: --model.network resnet3d18 --model.variant.conv1_t_size 3 --model.variant.no_max_pool true; "
    "mc3_18 and r2plus1d_18 have other convolutions and are not supported"
)
_KNOWN: tuple[tuple[tuple[str, ...], str], ...] = (
    ((r"(^|\.)stem\.0\.weight$", r"layer1\.0\.conv1\.0\."), _R3D),
    (
        (r"blocks\.1\.res_blocks\.0\.branch2\.conv_a\.weight$",),
        "these are the names of pytorchvideo (slow_r50 and similar), another network: its convolutions are 1x3x3, "
        "after ones of 1x1x1 or 3x1x1, and it never halves the frames, whereas a 3D ResNet has 3x3x3 and does",
    ),
    (
        (r"(^|\.)decode_head\.", r"(^|\.)backbone\."),
        "these are the names of mmsegmentation, whose DeepLabV3+ differs from deeplabv3plus here: separable "
        "convolutions, norms and ReLUs around the decoder's inputs, mostly a stem of three convolutions (ResNetV1c)",
    ),
    (
        (r"(^|\.)backbone\.layer1\.", r"(^|\.)classifier\.0\.convs\."),
        "these are the names of torchvision's DeepLabV3, which has no decoder: load it with --model.architecture "
        "torchvision/deeplabv3 and --model.encoder resnet50 or resnet101",
    ),
    (
        (r"(^|\.)backbone\.layer1\.", r"(^|\.)classifier\.4\.(weight|bias)$"),
        "these are the names of torchvision's FCN: load it with --model.architecture torchvision/fcn and "
        "--model.encoder resnet50 or resnet101",
    ),
    (
        (r"(^|\.)up_4\.conv_0\.", r"(^|\.)G_middle_0\."),
        "these are the names of a SPADE generator with num_upsampling_layers 'most', which has one stage more than the "
        "supported ones ('more' and 'normal')",
    ),
)


def stated(content: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options that a weight file states for its network.

    Args:
        content: Of the file, envelopes included.

    Returns:
        Plain values by name: from `opt`, `opts`, `args` and `hyper_parameters`, and `arch`.
    """
    found: dict[str, Any] = {}
    for key in _OPTIONS:
        given = content.get(key)
        if isinstance(given, Mapping):
            found |= {str(name): value for name, value in given.items()}
    if isinstance(content.get("arch"), str):
        found["arch"] = content["arch"]
    return found


def stated_here(content: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options that a checkpoint of this suite states; in other files the same names have other meanings.

    Args:
        content: Of the file, envelopes included.

    Returns:
        The same as `stated`; empty for other files.
    """
    said = stated(content)
    return said if "_class_path" in said else {}


def refuse_stated(said: Mapping[str, Any], built: Mapping[str, Any], source: str, advice: Mapping[str, str]) -> None:
    """Refuse a file that states options of a network that computes something else.

    Args:
        said: See `stated`.
        built: The built network's options, under the names that files use.
        source: The file, for the error.
        advice: How to build the file's network, by option; `{}` stands for the value.

    Raises:
        UserValueError: The file states another value; options that it does not state are not compared.
    """
    other = {name: said[name] for name in built if name in said and not _same(said[name], built[name])}
    if not other:
        return
    lines = [f"{name}={value!r}, but this network has {name}={built[name]!r}" for name, value in other.items()]
    ways = [advice[name].format(value) for name, value in other.items() if name in advice]
    message = (
        f"{source} says that its network was built with {'; '.join(lines)}. Names and shapes of the weights may agree "
        f"nevertheless, but the two compute different outputs{': ' if ways else ''}{' '.join(ways)}"
    )
    raise UserValueError(message)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    same: bool = a == b
    return same
