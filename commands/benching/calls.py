"""One call of a network, made ready to be timed: in a mode, by a backend, in a layout and a dtype."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pcpad.commands.benching.networks import memory_format
from pcpad.commands.benching.timing import peak_memory, synchronize
from pcpad.errors import UserError

MODES = ("inference", "training")
BACKENDS = ("eager", "compile", "cudagraphs")
LAYOUTS = ("nchw", "channels_last")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Small, so that random weights on noise stay finite for as many steps as there are rounds.
_RATE = 1e-6


@dataclass(frozen=True)
class Setting:
    """The setting that one table is measured in.

    In half precision, inference casts the weights and training runs under autocast.
    """

    batch: int
    mode: str = "inference"
    backend: str = "eager"
    layout: str = "nchw"
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.mode}, batch {self.batch}, {self.backend}, {self.layout}, {self.dtype}"

    @property
    def input_dtype(self) -> torch.dtype:
        """The input's dtype: float32 under autocast."""
        return DTYPES[self.dtype] if self.mode == "inference" else torch.float32


@dataclass
class Ready:
    """A call that has run, and what it needs."""

    call: Callable[[], object]
    own_bytes: int  # parameters and buffers
    peak_bytes: float  # tensors at the peak of a call, beyond those
    compile_seconds: float | None = None  # until the first result; None where nothing is compiled


class CannotRunError(UserError):
    """The setting does not work here; the message says why."""


def check(setting: Setting, device: torch.device) -> None:
    """Refuse settings that do not work on this machine.

    Args:
        setting: What is asked for.
        device: Where.

    Raises:
        CannotRunError: CUDA graphs without CUDA.
    """
    if setting.backend == "cudagraphs" and device.type != "cuda":
        message = f"CUDA graphs need an NVIDIA GPU, and this runs on {device.type}"
        raise CannotRunError(message)


def prepare(network: nn.Module, x: Tensor, setting: Setting) -> Ready:
    """Bring a network into a setting, run it once, and measure its memory.

    Args:
        network: Changed: its mode, layout and dtype; in training its weights.
        x: The input, on the network's device, in `setting.input_dtype`.
        setting: The rest.

    Returns:
        The call and its memory.

    Raises:
        CannotRunError: It does not run; an error of the network's own is put in words.
    """
    check(setting, x.device)
    try:
        return _prepare(network, x, setting)
    except Exception as error:
        raise CannotRunError(in_words(error)) from error


def _prepare(network: nn.Module, x: Tensor, setting: Setting) -> Ready:
    network.train(setting.mode == "training").zero_grad(set_to_none=True)
    network.to(x.device, setting.input_dtype).to(memory_format=memory_format(x.dim() - 2, setting.layout))
    own = {value.untyped_storage().data_ptr(): value for value in (*network.parameters(), *network.buffers())}
    own_bytes = sum(value.untyped_storage().nbytes() for value in own.values())
    run = torch.compile(network, dynamic=False) if setting.backend == "compile" else network
    call = _inference(run, x) if setting.mode == "inference" else _training(run, x, setting)
    start = time.perf_counter()
    call()
    synchronize(x.device)
    first = time.perf_counter() - start
    network.zero_grad(set_to_none=True)
    if setting.backend == "cudagraphs":
        graph, peak = _capture(call, network, x.device)
        return Ready(graph.replay, own_bytes, peak)
    peak = peak_memory(call, x.device)
    network.zero_grad(set_to_none=True)  # its gradients would be every other network's memory
    return Ready(call, own_bytes, peak, first if setting.backend == "compile" else None)


def _inference(run: Callable[[Tensor], object], x: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return run(x)

    return call


def _training(run: Callable[[Tensor], object], x: Tensor, setting: Setting) -> Callable[[], object]:
    """A step of plain SGD on a loss that any network has: its outputs' mean square."""
    weights = [weight for weight in run.parameters() if weight.requires_grad]  # type: ignore[attr-defined]

    def call() -> None:
        for weight in weights:
            weight.grad = None
        with _autocast(x.device, setting):
            outputs = [value for value in pytree.tree_leaves(run(x)) if isinstance(value, Tensor)]
        loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
        loss.backward()
        used = [weight for weight in weights if weight.grad is not None]
        with torch.no_grad():
            torch._foreach_add_(used, [weight.grad for weight in used], alpha=-_RATE)

    return call


def _autocast(device: torch.device, setting: Setting) -> AbstractContextManager[object]:
    if setting.dtype == "float32":
        return nullcontext()
    # A graph must not hold on to a cast weight: the step has changed it by the next replay.
    keep = setting.backend != "cudagraphs"
    return torch.autocast(device.type, DTYPES[setting.dtype], cache_enabled=keep)


def _capture(
    call: Callable[[], object], network: nn.Module, device: torch.device
) -> tuple[torch.cuda.CUDAGraph, float]:
    """Record a call as a CUDA graph; its memory is what the recording took, since a replay takes none."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream(device).wait_stream(side)
    network.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()

    def record() -> None:
        with torch.cuda.graph(graph):
            call()

    peak = peak_memory(record, device)
    graph.replay()
    synchronize(device)
    return graph, peak


def in_words(error: Exception) -> str:
    """Why a network did not run, in one line."""
    inner = getattr(error, "inner_exception", None) or error
    name = type(inner).__name__
    if isinstance(inner, torch.OutOfMemoryError):
        return "out of memory"
    if name == "InvalidCxxCompiler":
        return "torch.compile found no C++ compiler: install g++ or clang++, or set CXX to one"
    if name == "TritonMissing":
        return "torch.compile needs a working Triton on this GPU"
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if isinstance(inner, ValueError) else f"{name}: {text}"
