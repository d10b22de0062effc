"""Classification networks of torchvision and timm with a chosen padding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserFileNotFoundError, UserValueError, did_you_mean
from pcpad.models.heads import check_head, head_of
from pcpad.models.hub_cache import timm_file, timm_network
from pcpad.models.origins import refuse_stated, stated
from pcpad.models.weights import convert_and_load, fit_names, read_weights, unwrap
from pcpad.models.wide_resnet import WideResNet38

if TYPE_CHECKING:
    from pcpad.models.heads import Head

# These two return a tuple in training unless their auxiliary heads are left out; the heads' published weights are then
# left out too, as evaluation does not use them.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}

# For pre-training DeepLabV3+'s encoder. A classifier keeps the strides that segmentation replaces with dilation.
_OWN: dict[str, Callable[[int], nn.Module]] = {"wide_resnet38": partial(WideResNet38, output_stride=32)}


def classifier(
    network: str,
    num_classes: int = 1000,
    padding: str = "partial",
    weights: str | Path | None = None,
    fallback: str | None = None,
    *,
    head: Head | None = None,
) -> nn.Module:
    """Build a classification network by name and give its convolutions a padding.

    Args:
        network: A torchvision name (`resnet50`, `vgg16_bn`), `wide_resnet38`, or a timm name (`timm/resnet50`; without
            the prefix if torchvision has no such network).
        num_classes: Logits per image.
        padding: One of `pcpad.padding_names()`.
        weights: None for random weights; a local file (see `load_weights`); `published` or the name of one of
            torchvision's weight sets (`IMAGENET1K_V1`) for the file in torchvision's cache; `published` or timm's name
            (`timm/resnet50.a1_in1k`) for the file in the Hugging Face hub's cache. Nothing is downloaded.
        fallback: The padding for axes of feature maps that are too small for `padding`, see `pcpad.convert_padding`.
        head: `new` leaves out the last layer of `weights`, for training on other classes.

    Returns:
        The network, from `(N, 3, H, W)` floats to `(N, num_classes)` logits.

    Raises:
        ValueError: There is no network or padding of that name, or the weights do not fit.
        FileNotFoundError: There is no such weight file.
    """
    check_num_classes(num_classes)
    check_head(head, weights)
    name, library = find_network(network)
    state = None if weights is None else _weights_of(name, library, weights)
    model = _build(name, library, num_classes, published=state is not None and _is_published(name, library, weights))
    fit = None if state is None else lambda target: fit_names(target, state)
    left_out = head_of(model, num_classes) if head else ()
    source = f"weights={str(weights)!r}"
    convert_and_load(model, padding, fallback, fit, source, left_out=left_out, file=weights)
    return model


def find_network(network: str) -> tuple[str, str]:
    """Look up a network's name in torchvision, in pcpad, then in timm.

    Args:
        network: The name, with or without `timm/` in front.

    Returns:
        The name without prefix, and `torchvision`, `pcpad` or `timm`.

    Raises:
        ValueError: There is no such network; the message suggests the nearest names.
    """
    from torchvision import models

    name = network.removeprefix("timm/")
    ours = models.list_models(module=models)
    if name == network and name in ours:
        return name, "torchvision"
    if network in _OWN:
        return name, "pcpad"
    import timm  # slow to import: only when torchvision lacks the network

    if timm.is_model(name):
        return name, "timm"
    candidates = timm.list_models() if name != network else sorted({*ours, *timm.list_models()})
    hint = did_you_mean(name.lower(), candidates, most=3, cutoff=0.5, between=", ")
    message = f"Unknown network {network!r}: neither torchvision nor timm has a classifier of that name.{hint}"
    raise UserValueError(message)


def _build(name: str, library: str, num_classes: int, published: bool) -> nn.Module:
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False, num_classes=num_classes)
    if library == "pcpad":
        return _OWN[name](num_classes)
    from torchvision import models

    options: dict[str, Any] = {}
    if name in _AUXILIARY:
        # Their published weights were trained with another normalization, which `transform_input` applies.
        options = {"aux_logits": False, "init_weights": not published, "transform_input": published}
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def _is_published(name: str, library: str, weights: str | Path | None) -> bool:
    return isinstance(weights, str) and (weights == "published" or weights in _weight_sets(name, library))


def _weight_sets(name: str, library: str) -> dict[str, Any]:
    if library != "torchvision":
        return {}
    from torchvision import models

    return dict(models.get_model_weights(name).__members__)


def _weights_of(name: str, library: str, weights: str | Path) -> dict[str, torch.Tensor]:
    if timm_network(weights) or (library == "timm" and weights == "published"):
        return _weights_of_timm(name, str(weights))
    if not _is_published(name, library, weights):
        content = read_weights(weights)
        said = {key: _bare(value) for key, value in stated(content).items() if key in ("arch", "network")}
        # Other scripts' words for an architecture are ignored: only a name of another known network is refused.
        said = {key: value for key, value in said.items() if value == _bare(name) or _is_network(value)}
        ways = dict.fromkeys(said, "--model.network {}")
        refuse_stated(said, dict.fromkeys(said, _bare(name)), str(weights), ways)
        return unwrap(content, str(weights))
    if library != "torchvision":
        message = (
            f"weights={weights!r} is for torchvision's and timm's networks. For {name}, get wider_resnet38.pth.tar "
            "(linked by NVIDIA/semantic-segmentation) and pass its path."
        )
        raise UserValueError(message)
    state = unwrap(read_weights(published_file(name, str(weights))))
    return {key: value for key, value in state.items() if not key.startswith(_AUXILIARY.get(name, ()))}


def _weights_of_timm(name: str, weights: str) -> dict[str, torch.Tensor]:
    network = timm_network(weights)
    if network is not None and network != _bare(name):
        message = (
            f"{weights} are the weights of timm's {network}, but the network is {name}. Names and shapes may agree, "
            f"but the two networks compute different functions: pass --model.network timm/{network}"
        )
        raise UserValueError(message)
    path = timm_file(name if network is None else weights)
    return unwrap(read_weights(path), str(path))


def _bare(name: object) -> str:
    """A network's name without the library's prefix and without the tag of its weights."""
    return str(name).removeprefix("timm/").partition(".")[0]


def _is_network(name: str) -> bool:
    try:
        return bool(find_network(name))
    except UserValueError:
        return False


def read_published_or_own(
    weights: str | Path, name: str, published: str, argument: str
) -> tuple[dict[str, Tensor], str]:
    """Read a network's published weights, or a local file of your own.

    Args:
        weights: `published` for the file in torchvision's cache, or a local file.
        name: The network's name in torchvision.
        published: The name of the weight set.
        argument: The name of the caller's argument for a file, for the error.

    Returns:
        Tensors by name, and the file they come from.

    Raises:
        FileNotFoundError: There is no such file; nothing is downloaded.
        ValueError: The file holds no tensors by name.
    """
    path = published_file(name, published, argument) if weights == "published" else weights
    return unwrap(read_weights(path), str(path)), str(path)


def published_file(name: str, weights: str = "published", argument: str = "weights") -> Path:
    """Find the file of torchvision's published weights in torchvision's cache, without downloading it.

    Args:
        name: A torchvision classifier's name.
        weights: `published` for torchvision's default set, or a set's name.
        argument: The name of the caller's argument for a file, for the error.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: The file is not in the cache; the message says where to get it and where to put it.
    """
    from torchvision import models

    sets = models.get_model_weights(name)
    url = (sets.DEFAULT if weights == "published" else sets[weights]).url
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(url).path).name
    if not path.is_file():
        message = (
            f"The published weights of {name} are not in torchvision's cache: {path.name} is missing from {folder}. "
            f"Download {url} to that folder, or pass another file as {argument}=PATH."
        )
        raise UserFileNotFoundError(message)
    return path
