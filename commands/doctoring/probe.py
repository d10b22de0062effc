"""Import packages, and report for each whether that worked; run as a file of its own, not imported.

An import may end its process: a library built for another processor, say. Whoever started it then knows where.
"""

from __future__ import annotations

import importlib
import json
import sys

MARK = "pcpad-doctor:"


def main(names: list[str]) -> None:
    """Import modules in order, and print a line of JSON for each."""
    for name in names:
        print(f"{MARK}{json.dumps({'name': name, 'begun': True})}", flush=True)
        found: dict[str, object] = {"name": name}
        try:
            importlib.import_module(name)
            if name == "torch":
                found["machine"] = devices()
            elif name == "torchvision":
                operators()
        except BaseException as error:  # whatever an import raises, SystemExit included
            found["error"] = f"{type(error).__name__}: {error}"
        print(f"{MARK}{json.dumps(found)}", flush=True)


def devices() -> dict[str, object]:
    """What torch finds."""
    import torch

    found: dict[str, object] = {
        "threads": torch.get_num_threads(),
        "interop": torch.get_num_interop_threads(),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "mps": torch.backends.mps.is_available(),
        "architectures": torch.cuda.get_arch_list() if torch.cuda.is_available() else [],
        "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    }
    cards = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(index)
        cards.append({"name": card.name, "bytes": card.total_memory, "capability": [card.major, card.minor]})
    found["cards"] = cards
    return found


def operators() -> None:
    """Call the operator that is missing where torchvision was built for another torch."""
    import torch
    from torchvision.ops import nms

    kept = nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    if kept.tolist() != [0]:
        message = f"torchvision::nms gives {kept.tolist()} for one box"
        raise RuntimeError(message)


if __name__ == "__main__":
    main(sys.argv[1:])
