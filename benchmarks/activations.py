"""Bytes kept for the backward pass by the segmentation networks, at full size and without the memory for it.

`python benchmarks/activations.py [--crop 800] [--batch 2] [--json FILE]`
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common
from pcpad.models import deeplabv3plus
from pcpad.models.checkpointing import activation_bytes, set_checkpointing

_PUBLISHED = {"wide_resnet38": 15.5}  # GB for training at crop 800 with two images, weights and all included


def largest_block(model: torch.nn.Module, image: torch.Tensor) -> int:
    """The most that recomputing one block keeps while the backward pass is inside it."""
    most = 0

    def measure(block: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal most
        alone = inputs[0].detach()
        forward = type(block).forward
        most = max(most, activation_bytes(block, lambda: forward(block, alone)))

    blocks = [block for _, stage in model.named_children() for block in stage.children() if list(block.children())]
    handles = [block.register_forward_pre_hook(measure) for block in blocks]
    model(image)
    for handle in handles:
        handle.remove()
    return most


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, default=800)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--json", default=None)
    arguments = parser.parse_args()
    size = arguments.batch, arguments.crop, arguments.crop
    rows = []
    for encoder in ("wide_resnet38", "resnet50"):
        for padding in ("zeros", "partial"):
            with torch.device("meta"):
                model = deeplabv3plus(encoder, padding=padding).train()
                image, label = torch.empty(size[0], 3, *size[1:]), torch.zeros(size, dtype=torch.long)
            for checkpointing in (False, True):
                set_checkpointing(model, checkpointing)

                def loss(model=model, image=image, label=label):
                    return F.cross_entropy(model(image), label, ignore_index=255)

                kept = activation_bytes(model, loss)
                block = largest_block(model, image) if checkpointing else 0
                rows.append({
                    "encoder": encoder, "padding": padding, "crop": arguments.crop, "batch": arguments.batch,
                    "checkpointing": checkpointing, "kept, GB": round(kept / 1e9, 2),
                    "one block recomputed, GB": round(block / 1e9, 2),
                    "published in all, GB": _PUBLISHED.get(encoder, ""),
                })  # fmt: skip
    common.show(rows)
    common.save(rows, arguments.json)


if __name__ == "__main__":
    main()
