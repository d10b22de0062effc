"""Which code scales borders faster on a GPU: torch's operations, or the Triton kernel, timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pcpad import kernels
from pcpad.commands.benching.timing import alternate, ratio
from pcpad.errors import UserRuntimeError
from pcpad.layers import PartialConv2d
from pcpad.tables import Table

__all__ = ["CASES", "Case", "Choice", "Timer", "choose", "table"]

# Less than this is called equal: half precision rounds the convolution's output and what is made of it.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


class Case(NamedTuple):
    """One layer in one setting: a 3×3 convolution padded by 1."""

    batch: int
    channels: int
    size: int
    dtype: torch.dtype = torch.float32
    bias: bool = False
    training: bool = False

    def __str__(self) -> str:
        mode, bias = "training" if self.training else "inference", ", bias" if self.bias else ""
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.batch} × {self.channels} channels at {self.size}², {dtype}, {mode}{bias}"


# As in ResNet-50 and VGG16-BN, and a large map, whose ratio is not kept whole: batch, channels, size, bias.
_LAYERS = ((16, 512, 14, False), (16, 128, 56, False), (16, 64, 112, True), (1, 64, 512, True))
CASES = tuple(
    Case(batch, channels, size, dtype, bias, training)
    for dtype in (torch.float32, torch.bfloat16)
    for training in (False, True)
    for batch, channels, size, bias in _LAYERS
)


class Timer(Protocol):
    """The signature of `pcpad.commands.benching.timing.alternate`."""

    def __call__(
        self, calls: dict[str, Callable[[], object]], rounds: int, *, device: torch.device
    ) -> dict[str, list[float]]:
        """Seconds of each call in each round."""


class Choice(NamedTuple):
    """What was measured."""

    kernel: str  # "torch" or "triton"
    ratio: tuple[float, float, float]  # Triton's time over torch's, all cases together: median, ends of the interval
    of_cases: list[tuple[Case, tuple[float, float, float]]]


def choose(device: torch.device, rounds: int, *, cases: Sequence[Case] = CASES, timer: Timer = alternate) -> Choice:
    """Time both, and choose Triton's only where it is faster beyond doubt: its whole interval is below 1.

    Args:
        device: The GPU.
        rounds: How often each is timed.
        cases: The layers.
        timer: What times.

    Returns:
        The choice; nothing is kept.

    Raises:
        RuntimeError: The kernel does not compile here, or gives other numbers than torch's operations.
    """
    sums: dict[str, list[float]] = {name: [0.0] * rounds for name in ("torch", "triton")}
    found = []
    for case in cases:
        calls = {name: _call(case, device, name) for name in sums}
        _check(case, calls)
        seconds = timer(dict(calls), rounds, device=device)
        for name, taken in seconds.items():
            sums[name] = [total + second for total, second in zip(sums[name], taken, strict=True)]
        found.append((case, ratio(seconds["triton"], seconds["torch"])))
    overall = ratio(sums["triton"], sums["torch"])
    return Choice("triton" if overall[2] < 1 else "torch", overall, found)


def _call(case: Case, device: torch.device, kernel: str) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    layer: nn.Module = PartialConv2d(case.channels, case.channels, 3, padding=1, bias=case.bias)
    layer.to(device, case.dtype)
    x = torch.randn(case.batch, case.channels, case.size, case.size).to(device, case.dtype)
    x.requires_grad_(case.training)

    def call() -> Tensor:
        with kernels.using(kernel), torch.set_grad_enabled(case.training):
            y: Tensor = layer(x)
            if not case.training:
                return y
            x.grad = None
            y.backward(torch.ones_like(y))
            assert x.grad is not None
            return x.grad

    return call


def _check(case: Case, calls: dict[str, Callable[[], Tensor]]) -> None:
    expected = calls["torch"]()
    try:
        got = calls["triton"]()
    except Exception as error:  # of Triton, of its compiler and of the driver: of any kind
        lines = str(error).strip().splitlines() or ["no message"]
        message = (
            f"The Triton kernel does not run here ({type(error).__name__}: {lines[0]}). Nothing is chosen, and torch's "
            "operations go on being used."
        )
        raise UserRuntimeError(message) from error
    off = float((got.double() - expected.double()).abs().max() / expected.double().abs().max())
    if not off <= _TOLERANCE[case.dtype]:
        message = (
            f"The Triton kernel is off by {off:.1e} of the largest value in {case}. Nothing is chosen, and torch's "
            "operations go on being used. Please report it, with the versions that `pcpad --version` prints."
        )
        raise UserRuntimeError(message)


def table(choice: Choice) -> Table:
    """The measurements, one line per case and one for all.

    Args:
        choice: What `choose` returned.
    """
    rows = [*((str(case), times) for case, times in choice.of_cases), ("all", choice.ratio)]
    lines = [[name, f"{middle:.3f}", f"{low:.3f} – {high:.3f}"] for name, (middle, low, high) in rows]
    return Table("", ["border of a 3×3 convolution", "triton / torch", "95 %"], lines, frame=False)
