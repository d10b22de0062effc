"""Initialize networks' weights, and load them from files of any origin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from pcpad._renamed import moved
from pcpad.errors import UserValueError
from pcpad.files import at_home
from pcpad.models.heads import keeping
from pcpad.models.origins import from_r3d, whose
from pcpad.models.padded_weights import apply_exponents, read_metadata, refuse_other_padding
from pcpad.models.published_inpainting import from_published
from pcpad.models.weight_files import MOST_LISTED, listed
from pcpad.models.weight_files import read_weights as read_weights

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Fit = Callable[[nn.Module], dict[str, Tensor]]

# Keys under which training scripts store the weights, next to epoch, optimizer and the rest.
_ENVELOPES = ("state_dict", "model_state_dict", "model", "network")


def load_weights(model: ModuleT, path_or_state_dict: str | Path | Mapping[str, Any]) -> ModuleT:
    """Load a state dict into `model`, strictly: everything fits or nothing is changed.

    Supported are safetensors files (which have no checksums: a flipped bit in the header is detected, one in a weight
    that stays finite is not) and weights-only pickles (`.pth`, `.pt`, `.ckpt`), weights nested under `state_dict`,
    `model_state_dict`, `model` or `network`, and the name prefixes `module.` (DataParallel), `_orig_mod.`
    (`torch.compile`) and any single one that a Lightning checkpoint adds (`network.`). A pickle that holds anything but
    tensors and plain values is refused: it could run code. Nothing is downloaded.

    An `inpainting_unet` also takes the files of naoto0804/pytorch-inpainting-with-partial-conv and of mmagic's PConv,
    and then computes the same outputs as these networks; for mmagic's the first channel is blue.

    A safetensors file of `pcpad adapt` states the padding of its weights: a network with another padding is refused,
    and the ratio's exponents are set if the file has them.

    Args:
        model: The network to fill, in place.
        path_or_state_dict: A local file, or the state dict itself.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is remote, contains code, is not a weight file, holds non-finite values, does not fit, or
            is for another padding than the network's.

    Example:
        >>> import torch
        >>> wrapped = {"state_dict": {"module.weight": torch.ones(1, 2), "module.bias": torch.zeros(1)}}
        >>> load_weights(torch.nn.Linear(2, 1), wrapped).weight.tolist()
        [[1.0, 1.0]]
    """
    if isinstance(path_or_state_dict, Mapping):
        source = "the state dict"
        return load_state(model, unwrap(path_or_state_dict, source), source)
    source = str(path_or_state_dict)
    state = unwrap(read_weights(path_or_state_dict), source)
    metadata = read_metadata(path_or_state_dict)
    refuse_other_padding(model, metadata, source)
    load_state(model, state, source)
    apply_exponents(model, metadata)
    return model


def load_state(model: ModuleT, state: Mapping[str, Tensor], source: str) -> ModuleT:
    """Load tensors by name, strictly: everything fits or nothing is changed.

    Args:
        model: The network to fill, in place.
        state: Names to tensors, as returned by `unwrap`.
        source: Where they come from, for the error.

    Returns:
        `model`.

    Raises:
        ValueError: They do not fit, or hold non-finite values.
    """
    names = state
    state = fit_names(model, from_published(model, state, source))
    problem = mismatch(model, state)
    if problem:
        known = whose(names)
        problem += f"\n  {known}" if known else ""
        message = f"{source} does not fit {type(model).__name__}.\n{problem}"
        raise UserValueError(message)
    _check_finite(state, source)
    model.load_state_dict(state, strict=True)
    return model


def initialize(model: nn.Module) -> None:
    """Initialize convolutions for ReLU (He et al. 2015, arXiv 1502.01852); norms stay the identity."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def encoder_state(weights: str | Path, parts: Collection[str], rename: Callable[[str], str] | None = None) -> Fit:
    """Read a file that contains an encoder's weights.

    Args:
        weights: A local file: a classifier's, a segmentation network's, or a checkpoint of this suite.
        parts: The names of the model's children that form the encoder.
        rename: Translates the file's names to the model's, if they differ.

    Returns:
        A function from the model to the state dict to load strictly: the encoder's parts are from the file, and the
        rest, whatever classifier or head the file has, from the model itself.
    """
    content = unwrap(read_weights(weights), str(weights))

    def fit(model: nn.Module) -> dict[str, Tensor]:
        state: Mapping[str, Tensor] = fit_names(model, content)
        if rename is not None:
            state = {rename(name): value for name, value in state.items()}
        ours = {name: value for name, value in state.items() if name.partition(".")[0] in parts}
        rest = {name: value for name, value in model.state_dict().items() if name.partition(".")[0] not in parts}
        return fit_names(model, {**ours, **rest})

    return fit


def convert_and_load(
    model: nn.Module,
    padding: str,
    fallback: str | None,
    fit: Fit | None,
    source: str,
    into: nn.Module | None = None,
    *,
    left_out: Sequence[str] = (),
    file: str | Path | None = None,
) -> None:
    """Convert a network's padding and load its weights, in the order in which they fit.

    Only explicit padding adds parameters. A file without them is loaded before the conversion, which then copies each
    center filter to the border; a file with them is loaded after it.

    Args:
        model: The network, converted in place.
        padding: See `pcpad.convert_padding`.
        fallback: See `pcpad.convert_padding`.
        fit: Returns the state dict to load; None to load nothing.
        source: Where the weights come from, for the error.
        into: The part of the network that the weights are for; None for all of it.
        left_out: Parts that are not loaded, such as a new head.
        file: The file, which may state the padding of its weights, see `load_weights`.

    Raises:
        ValueError: The weights do not fit, or are for another padding, or there is no such padding.
    """
    from pcpad.convert import convert_padding

    target = model if into is None else into
    if fit is not None and left_out:
        fit = keeping(fit, left_out)
    state = {} if fit is None else fit(target)
    # A file that fits neither way and has no filters for borders gets the error of the unconverted network.
    load_first = not mismatch(target, state) or not any(name.endswith("border_weight") for name in state)
    if fit is not None and load_first:
        load_state(target, fit(target), source)
    convert_padding(model, padding, fallback=fallback)
    if fit is not None and not load_first:
        load_state(target, fit(target), source)
    if fit is not None and file is not None and at_home(file).is_file():
        metadata = read_metadata(file)
        refuse_other_padding(target, metadata, source)
        apply_exponents(target, metadata)


def unwrap(content: Mapping[str, Any], source: str = "the state dict") -> dict[str, Tensor]:
    """Extract the weights from wrapper dicts and remove wrappers' prefixes.

    Args:
        content: A weight file's content.
        source: The file's name, for the error.

    Returns:
        Names to tensors.

    Raises:
        ValueError: There are no weights, or not all of them are tensors.
    """
    for _ in range(3):  # nesting of depth 2 occurs, deeper nesting does not
        inner = next((content[key] for key in _ENVELOPES if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    state = {str(name).replace("_orig_mod.", ""): value for name, value in content.items()}
    strays = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if not state or strays:
        found = f"{listed(strays)} are not tensors" if state else "it is empty"
        message = f"{source} holds no state dict (names to tensors): {found}."
        raise UserValueError(message)
    return state


def fit_names(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove a common prefix of all names, if the model's names show that there is one, and translate older names.

    Weights of `torch.nn.utils.spectral_norm` (`weight_orig`, `weight_u`, `weight_v`) get the names of the equivalent
    `torch.nn.utils.parametrizations.spectral_norm` if the model has these. torchvision's `r3d_18` gets the names of our
    3D ResNets. Batch norm counters, which files from before PyTorch 0.4.1 lack, are added as zero, as in
    `nn.BatchNorm2d`.

    Args:
        model: The network the weights are for.
        state: Names to tensors.

    Returns:
        The same tensors under the model's names, as far as these are recognized.
    """
    own = model.state_dict()
    state = dict(state)
    if any(name.endswith(".original") for name in own):
        state = _parametrized_names(state)
    if "layer1.0.bn1.weight" in own:
        state = from_r3d(model, state)
    for prefix in _prefixes(own, state):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    for name, value in own.items():
        if name.endswith("num_batches_tracked") and name.rpartition(".")[0] + ".running_mean" in state:
            state.setdefault(name, torch.zeros_like(value, device="cpu"))
    return state


def _parametrized_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename spectral norm's tensors from their older names to those of the parametrization."""
    renamed = dict(state)
    for name in state:
        module, _, tensor = name.removesuffix("_orig").rpartition(".")
        if not name.endswith("_orig") or f"{name.removesuffix('_orig')}_u" not in state:
            continue
        to = f"{module}.parametrizations.{tensor}".removeprefix(".")
        for theirs, ours in (("orig", "original"), ("u", "0._u"), ("v", "0._v")):
            old = f"{module}.{tensor}_{theirs}".removeprefix(".")
            if old in renamed:
                renamed[f"{to}.{ours}"] = renamed.pop(old)
    return renamed


def _prefixes(own: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """The prefix to remove: none if names already match, else the one that makes most names match."""
    if not own or any(name in own for name in state):
        return []
    candidates = {name[: -len(key)] for key in list(own)[:MOST_LISTED] for name in state if name.endswith("." + key)}
    candidates = {prefix for prefix in candidates if all(name.startswith(prefix) for name in state)}
    hits = {prefix: sum(prefix + key in state for key in own) for prefix in candidates}
    # `module.` is removed even if nothing else fits, so that the error lists the network's names without it.
    best = max(hits, key=lambda prefix: hits[prefix], default="module.")
    return [best] if all(name.startswith(best) for name in state) else []


def mismatch(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Describe why `state` does not fit `model`.

    Args:
        model: The network the weights are for.
        state: Names to tensors, already under the model's names.

    Returns:
        Missing, unexpected and wrongly shaped names, one line each; empty if everything fits.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    lines = []
    if missing:
        lines.append(f"missing from the file ({len(missing)} of {len(own)}): {listed(missing)}")
    if unexpected:
        lines.append(f"not in the network ({len(unexpected)} of {len(state)}): {listed(unexpected)}")
    if shapes:
        sizes = [f"{name} is {_size(state[name])}, the network's {_size(own[name])}" for name in shapes]
        lines.append(f"of another shape ({len(shapes)}): {listed(sizes)}")
    if shapes and not missing and not unexpected:
        lines += _class_count_hint(own, state, shapes)
    return "\n".join("  " + line for line in lines)


def _class_count_hint(own: Mapping[str, Tensor], state: Mapping[str, Tensor], shapes: list[str]) -> list[str]:
    """A hint for weights in which only the last layer's outputs, and so the number of classes, differ."""
    layers = {name.rpartition(".")[0] for name in shapes}
    outputs_only = all(own[name].shape[1:] == state[name].shape[1:] for name in shapes)
    if len(layers) != 1 or not outputs_only:
        return []
    file_classes, own_classes = len(state[shapes[0]]), len(own[shapes[0]])
    return [
        f"the file's classifier has {file_classes} classes, the network {own_classes}: pass "
        f"num_classes={file_classes} (--num_classes {file_classes} to borders, adapt and export, --model.num_classes "
        f"{file_classes} in training), or use weights trained on {own_classes} classes. To train on other classes, "
        "head='new' loads all but the classifier (in training --model.weights FILE --model.head new)"
    ]


def _check_finite(state: Mapping[str, Tensor], source: str) -> None:
    bad = [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if bad:
        message = f"{source} holds NaN or infinite weights ({len(bad)} of {len(state)} names): {listed(bad)}"
        raise UserValueError(message)


def _size(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "scalar"


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
