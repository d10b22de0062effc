"""Parts of a network that are frozen, and parts with a learning rate of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from pcpad.errors import UserValueError, did_you_mean
from pcpad.models.heads import within

__all__ = ["block_depths", "check_rates", "freeze_parts", "is_norm", "rate_groups"]

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_CHAINS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalization layer."""
    return isinstance(module, _NORMS)


def freeze_parts(network: nn.Module, freeze: Sequence[str], encoder: Sequence[str]) -> list[str]:
    """Freeze parts of a network.

    Args:
        network: Changed: what is frozen gets no gradients, and its norms are in evaluation mode.
        freeze: `encoder`, `norms` (all normalization layers), and names of parts: `layer1`, `mod2.block1`.
        encoder: The parts that `encoder` means.

    Returns:
        The names of the norms that have to stay in evaluation mode.

    Raises:
        UserValueError: There is no such part.
    """
    parts = _parts(network, [word for word in freeze if word != "norms"], encoder, "freeze")
    modules = dict(network.named_modules())
    norms = [name for name, module in modules.items() if is_norm(module)]
    if "norms" in freeze and not norms:
        message = f"freeze='norms' would freeze nothing: {type(network).__name__} has no normalization layers"
        raise UserValueError(message)
    norms = [name for name in norms if "norms" in freeze or within(name, parts)]
    for name, parameter in network.named_parameters():
        if within(name, [*parts, *norms]):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        message = f"freeze={list(freeze)} leaves nothing to train: leave out a part"
        raise UserValueError(message)
    for name in norms:
        modules[name].eval()
    return norms


def check_rates(network: nn.Module, rates: Mapping[str, float], encoder: Sequence[str]) -> None:
    """Refuse factors of learning rates that have no effect.

    Args:
        network: The network.
        rates: See `rate_groups`.
        encoder: See `rate_groups`.

    Raises:
        UserValueError: A factor that is not positive, or a part that does not exist.
    """
    _parts(network, [name for name in rates if name != "decay"], encoder, "rates")
    for name, factor in rates.items():
        if not 0 < factor < float("inf") or (name == "decay" and factor > 1):
            limits = "in (0, 1]" if name == "decay" else "positive (to keep a part as it is, --model.freeze)"
            message = f"Expected rates[{name!r}] to be {limits}, but got {factor}"
            raise UserValueError(message)


def rate_groups(
    named: Iterable[tuple[str, nn.Parameter]], network: nn.Module, rates: Mapping[str, float], encoder: Sequence[str]
) -> list[tuple[float, dict[str, Any]]]:
    """Sort parameters by their learning rates.

    Args:
        named: Of a task; those of its network start with `network.`.
        network: The network.
        rates: Factors of the optimizer's rate: of `encoder` and of parts by name, of which the longest counts; and
            `decay`, by which each block's rate is smaller than that of the block after it.
        encoder: The parts that `encoder` means.

    Returns:
        Factors with groups for the optimizer, in the order of the network.
    """
    factors = {part: rates["encoder"] for part in encoder} if "encoder" in rates else {}
    factors |= {name: factor for name, factor in rates.items() if name not in ("encoder", "decay")}
    depths = block_depths(network, encoder)
    last = max(depths.values(), default=0)
    groups: dict[float, dict[str, Any]] = {}
    for full, parameter in named:
        name = full.removeprefix("network.")
        own = [part for part in factors if within(name, [part])]
        factor = factors[max(own, key=len)] if own else 1.0
        if "decay" in rates and name in depths:
            factor *= rates["decay"] ** (last - depths[name])
        group = groups.setdefault(factor, {"params": [], "name": f"x{factor:.6g}"})
        group["params"].append(parameter)
    names = [group["name"] for group in groups.values()]
    for index, group in enumerate(groups.values()):
        if names.count(group["name"]) > 1:
            group["name"] += f"_{index}"
    return list(groups.items())


def block_depths(network: nn.Module, encoder: Sequence[str] = ()) -> dict[str, int]:
    """Number a network's blocks from its input to its output, as far as the order of its parts tells.

    A block is an element of a chain of modules (`nn.Sequential`, `nn.ModuleList`), or a part of the network or its
    encoder that is no chain; norms count with the block before them.

    Args:
        network: The network.
        encoder: Parts to look into.

    Returns:
        For each parameter the number of its block.
    """
    depths = dict.fromkeys((name for name, _ in network.named_parameters()), 0)
    depth = -1
    for part, module in _blocks(network, "", encoder):
        if depth < 0 or not is_norm(module):
            depth += 1
        depths |= {f"{part}.{name}": depth for name, _ in module.named_parameters()}
    return depths


def _blocks(module: nn.Module, prefix: str, encoder: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    children = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
    for name, child in children:
        full = f"{prefix}{name}"
        inner = any(True for _ in child.children())
        if inner and (isinstance(child, _CHAINS) or full in encoder or len(children) == 1):
            yield from _blocks(child, f"{full}.", encoder)
        else:
            yield full, child


def _parts(network: nn.Module, words: Sequence[str], encoder: Sequence[str], argument: str) -> list[str]:
    known = {name for name, _ in network.named_modules() if name} | {name for name, _ in network.named_parameters()}
    found: list[str] = []
    for word in words:
        if word == "encoder" and encoder:
            found += encoder
        elif word in known:
            found.append(word)
        else:
            tops = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
            special = ["norms"] if argument == "freeze" else ["decay"]
            hint = did_you_mean(word, [*special, "encoder", *known], cutoff=0.6)
            message = (
                f"Expected `{argument}` to name parts of {type(network).__name__} ({', '.join(tops)}, or parts of "
                f"these){', encoder' if encoder else ''} or {special[0]}, but got {word!r}.{hint}"
            )
            raise UserValueError(message)
    return found
