"""What the networks share: first values, a padding and weights in the right order, weights for an encoder alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from pcpad.models.weights import fit_names, load_state, mismatch, read_weights, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    Fit = Callable[[nn.Module], dict[str, Tensor]]

__all__ = ["convert_and_load", "encoder_state", "initialise"]


def initialise(model: nn.Module) -> None:
    """Draw every convolution's weights for ReLU (He et al. 2015, arXiv 1502.01852); norms start as the identity."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def encoder_state(weights: str | Path, parts: Collection[str], rename: Callable[[str], str] | None = None) -> Fit:
    """Read a file that has weights for an encoder among others.

    Args:
        weights: A local file: a classifier's, a segmentation network's, or a checkpoint of this suite.
        parts: The names of the model's children that are the encoder.
        rename: Turns the file's names into the model's where the two have different ones.

    Returns:
        A function of the model: the state dict to load into it strictly, the encoder's parts from the file and the
        rest, which the file's classifier or head does not concern, from the model itself.
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
    model: nn.Module, padding: str, fallback: str | None, fit: Fit | None, source: str, into: nn.Module | None = None
) -> None:
    """Give a network its padding and its weights, in the order in which they fit.

    Explicit padding alone adds parameters. A file without them fits before the conversion, which then copies each
    centre filter to the border; a file with them fits after it.

    Args:
        model: The network, converted in place.
        padding: See `pcpad.convert_padding`.
        fallback: See `pcpad.convert_padding`.
        fit: Gives the state dict to load, or None to load nothing.
        source: Where the weights come from, for the error.
        into: The part of the network they are for; None for all of it.

    Raises:
        ValueError: The weights do not fit, or there is no such padding.
    """
    from pcpad.convert import convert_padding

    target = model if into is None else into
    load_first = fit is not None and not mismatch(target, fit(target))
    if fit is not None and load_first:
        load_state(target, fit(target), source)
    convert_padding(model, padding, fallback=fallback)
    if fit is not None and not load_first:
        load_state(target, fit(target), source)
