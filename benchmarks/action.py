"""What partial-convolution padding costs the papers' action recognition network: ``python -m benchmarks.action``.

3D ResNet-50 in inference at 16×112², the same weights under zero padding, its identical twin (the control) and
partial padding, timed in alternation in one process; the ratio's median with its 95 % interval.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from benchmarks.common import alternate, machine, save, show
from benchmarks.padding import DEVICE, row, trio
from pcpad.models import resnet3d50


@torch.inference_mode()
def inference(rounds: int, batch: int, half: bool) -> list[dict[str, object]]:
    """Inference of R3D-50 on clips of 16 frames at 112²."""
    nets = {name: net.eval() for name, net in trio(partial(resnet3d50, padding="zeros")).items()}
    clip = torch.randn(batch, 3, 16, 112, 112, device=DEVICE)
    what = f"R3D-50 {batch}×16×112², inference"
    if half:
        nets, clip, what = {name: net.half() for name, net in nets.items()}, clip.half(), f"{what}, float16"
    calls = {name: partial(net, clip) for name, net in nets.items()}
    return [row(what, alternate(calls, rounds, warmup=5 if clip.is_cuda else 2))]


def main() -> None:
    """Measure, print a table, write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1, help="clips per call")
    parser.add_argument("--half", action="store_true", help="float16, for GPUs")
    parser.add_argument("--threads", type=int, help="CPU threads; all by default")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(machine())
    rows = inference(arguments.rounds, arguments.batch, arguments.half)
    show(rows)
    save(rows, arguments.json)


if __name__ == "__main__":
    main()
