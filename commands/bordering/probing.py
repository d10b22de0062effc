"""The literature's probes, as `pcpad borders --probe` runs and prints them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from pcpad import convert_padding
from pcpad.adaptation import BorderReport
from pcpad.adaptation.observing import Observed, OutputKey, shared_copy
from pcpad.adaptation.planning import middle
from pcpad.adaptation.probes import blind_spots, position_information, position_pattern, uneven_padding
from pcpad.commands.networks import LoadedNetwork
from pcpad.tables import Table
from pcpad.terminal import say, tell

__all__ = ["PROBES", "probe"]

PROBES = ("position", "pattern", "uneven", "blind")
_IMAGES = 32  # for readouts of positions
_SIDE = 0.1  # of a map, beyond which counts as its border


def probe(
    names: list[str], loaded: LoadedNetwork, images: list[Tensor], report: BorderReport, output_key: OutputKey
) -> dict[str, Any]:
    """Run probes, and print what they find.

    Args:
        names: Of `PROBES`.
        loaded: The network.
        images: Photographs (3, H, W).
        report: What was measured of it before.
        output_key: See `pcpad.adaptation.observing.pick`.

    Returns:
        What they found, for JSON.
    """
    crops = torch.stack([middle(image, report.crop) for image in images[:_IMAGES]])
    inputs = loaded.normalize(crops).to(next(loaded.module.parameters()).device)
    networks = {report.own: shared_copy(loaded.module)}
    for result in report.results[1:]:
        options = {"fallback": "replicate"} if result.name in ("reflect", "circular") else {}
        networks[result.name] = convert_padding(
            shared_copy(loaded.module), result.name, drop_border_filters=True, return_report=True, **options
        )[0]  # type: ignore[call-overload]
    found: dict[str, Any] = {}
    if "position" in names:
        found["position"] = _position(networks, inputs, output_key)
    if "pattern" in names:
        larger = torch.stack([middle(image, report.crop + 2 * report.context) for image in images[:_IMAGES]])
        found["pattern"] = _pattern(networks, loaded.normalize(larger).to(inputs.device), report, output_key)
    if "uneven" in names:
        found["uneven"] = _uneven(networks[report.own], inputs[:1], output_key)
    if "blind" in names:
        found["blind"] = _blind(networks, report.crop, inputs.shape[1], output_key)
    return found


def _position(networks: dict[str, Any], inputs: Tensor, output_key: OutputKey) -> dict[str, Any]:
    rows, found = [], {}
    control: list[str] = []
    for name, network in networks.items():
        targets = position_information(network, inputs, output_key=output_key).targets
        found[name] = {
            target.name: target._asdict() if hasattr(target, "_asdict") else vars(target) for target in targets
        }
        rows.append([name, *(f"{target.correlation:.2f}" for target in targets)])
        control = [f"{target.control:.2f}" for target in targets]
    title = "Positions read from frozen feature maps: rank correlation on unseen images (PosENet, Islam et al. 2020)"
    columns = ["padding", "horizontal", "vertical", "Gaussian"]
    note = "The control reads the images themselves; more than that is what padding tells the network."
    tell(Table(title, columns, [*rows, ["(control)", *control]], [note], frame=False).rich())
    return found


def _pattern(networks: dict[str, Any], larger: Tensor, report: BorderReport, output_key: OutputKey) -> dict[str, float]:
    layer = report.results[0].layers[-1]
    offset = int(report.context / Fraction(layer.stride))

    def cut(run: Observed) -> Tensor:
        return run.maps[layer.name][..., offset:-offset, offset:-offset]

    crops = middle(larger, report.crop)
    found = {
        name: position_pattern(network, crops, larger, cut, layer.name, output_key)[1]
        for name, network in networks.items()
    }
    shown = ", ".join(f"{name} {strength:.1f}" for name, strength in found.items())
    say(
        f"The pattern that padding leaves on {layer.name} whatever the image, over its standard error: {shown}; 0.8 is "
        "none (PPP, Feng et al. 2022)."
    )
    return found


def _uneven(network: Any, image: Tensor, output_key: OutputKey) -> list[dict[str, Any]]:
    layers = uneven_padding(network, image, output_key)
    size = "×".join(map(str, image.shape[-2:]))
    if not layers:
        say(f"No layer pads unevenly at {size} pixels (Alsallakh et al. 2021).")
        return []
    rows = []
    for layer in layers:
        sides = [f"{before} | {after}" for before, after in layer.read]
        rows.append([layer.name, "×".join(map(str, layer.size)), *sides])
    fits = layers[0].fits
    note = f"At {' or '.join(map(str, fits))} pixels none does." if fits else "At no nearby size are all even."
    title = f"Layers that read padding unevenly at {size} pixels (Alsallakh et al. 2021)"
    tell(Table(title, ["layer", "input", "top | bottom", "left | right"], rows, [note], frame=False).rich())
    return [layer._asdict() for layer in layers]


def _blind(networks: dict[str, Any], size: int, channels: int, output_key: OutputKey) -> dict[str, float]:
    found, parts = {}, []
    for name, network in networks.items():
        values = blind_spots(network, size, channels, output_key=output_key)
        border = max(1, round(_SIDE * min(values.shape)))
        inside = torch.zeros_like(values, dtype=torch.bool)
        inside[border:-border, border:-border] = True
        found[name] = float(values[~inside].mean())
        parts.append(f"{name} {100 * found[name]:.0f} %")
    say(
        f"A constant image's last map, outermost {_SIDE:.0%}, is off its middle by {', '.join(parts)}: what padding "
        "alone makes (Alsallakh et al. 2021)."
    )
    return found
