"""Distillation from the original network into the converted one: inputs, losses and scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.adaptation.observing import MAIN, fields_of
from pcpad.errors import UserRuntimeError, UserTypeError, UserValueError

__all__ = ["Scores", "Teaching", "tensors_of"]


def tensors_of(output: Any) -> list[Tensor]:
    """The floating-point tensors in a network's output, however nested.

    Args:
        output: A tensor, or a tuple, list, dict or data class of outputs. Outputs named `out` or `logits`, as in
            torchvision's and transformers' networks, come first.

    Returns:
        The tensors in order; scores are computed from the first.

    Raises:
        UserTypeError: There is no such tensor.

    Example:
        >>> [tensor.shape[1] for tensor in tensors_of({"aux": torch.zeros(1, 2), "out": (torch.zeros(1, 5), None)})]
        [5, 2]
    """
    found = list(_flat(output))
    if not found:
        message = (
            "Expected a network whose output is a floating-point tensor, or a tuple, list, dict or data class of them, "
            f"but got {type(output).__name__}: wrap it in a module whose forward returns the outputs to preserve."
        )
        raise UserTypeError(message)
    return found


def _flat(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _flat(part)
    else:
        parts = output if isinstance(output, Mapping) else fields_of(output) or {}
        for name in sorted(parts, key=lambda name: name not in MAIN):  # a stable sort: the others keep their order
            yield from _flat(parts[name])


class Adds(Protocol):
    """An accumulator of sums by name."""

    def add(self, **parts: float) -> None:
        """Add to the sums, by name."""


@dataclass
class Scores:
    """Differences between a network and its teacher over some images: sums, from which `values` computes metrics.

    Args:
        dense: Whether outputs are maps rather than class scores.
        sums: The sums by name.
    """

    dense: bool
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, **parts: float) -> None:
        """Add to the sums, by name."""
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def values(self) -> dict[str, float]:
        """Compute the metrics.

        Returns:
            `loss`, the training loss; for maps `border` and `interior`, the teacher's variance over the mean squared
            difference in dB (infinite for equal outputs); for classes `agreement`, the share of images with the same
            top-1 class, and `kl` in nats.
        """
        sums = self.sums
        figures = {"loss": sums["loss"] / sums["images"]}
        if self.dense:
            variance = sums["square"] / sums["values"]
            for where in ("border", "interior"):
                count, error = sums.get(f"{where}_values", 0.0), sums.get(f"{where}_error", 0.0)
                figures[where] = math.nan if not count else _decibel(variance, error / count)
        else:
            figures |= {"agreement": sums["agreed"] / sums["images"], "kl": sums["kl"] / sums["images"]}
        return figures


def _decibel(signal: float, noise: float) -> float:
    return math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal > 0 else -math.inf


class Teaching:
    """A teacher and its student, and the comparison of their outputs.

    If outputs are maps, the teacher sees `margin` pixels more on each side than the student, and the outputs are
    compared pixel by pixel within the student's crop: near the student's border the teacher has true context. A
    classifier's decision depends on the whole picture, so both see the same one, and the student learns the teacher's
    class distribution and the input of its last linear layer.

    Both networks run in evaluation mode: norms keep their statistics, dropout is off.

    Args:
        teacher: The original; not changed.
        student: The converted one.
        dense: Whether outputs are maps (N, C, *spatial) rather than class scores (N, C).
        margin: Pixels of true context on each side, for maps.
        border: Width of the border band, in pixels of the image.
        features: Weight of the last features' loss relative to that of the distributions, for classes.

    Raises:
        UserValueError: The margin is below 1 for maps.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        *,
        dense: bool,
        margin: int = 0,
        border: int = 8,
        features: float = 0.0,
    ) -> None:
        if dense and margin < 1:
            message = f"Expected argument `margin`, the teacher's true context, to be at least 1, but got {margin}"
            raise UserValueError(message)
        self.teacher = teacher.eval().requires_grad_(False)
        self.student = student.eval()
        self.dense = dense
        self.margin = margin if dense else 0
        self.border = border
        self.features = 0.0 if dense else features

    def crop(self, image: Tensor) -> Tensor:
        """Crop images (N, C, H, W) to what the student sees."""
        m = self.margin
        return image[..., m : image.shape[-2] - m, m : image.shape[-1] - m] if m else image

    def loss(self, image: Tensor) -> Tensor:
        """Compute the training loss, a scalar.

        Args:
            image: (N, C, H, W) as the networks expect them, with the margin.

        Returns:
            For maps the mean squared difference over the teacher's variance, summed over the outputs; for classes the
            Kullback-Leibler divergence in nats, plus `features` times the relative squared difference of the last
            features.
        """
        return self._loss(*self._both(image))

    @torch.no_grad()
    def score(self, image: Tensor, scores: Adds) -> None:
        """Add a batch to the scores.

        Args:
            image: As for `loss`.
            scores: `Scores` of the same kind, or a metric with the same `add`; changed in place.

        Raises:
            UserRuntimeError: The teacher's output is not finite.
        """
        taught, learned, features = self._both(image)
        count = len(image)
        loss = float(self._loss(taught, learned, features))
        scores.add(loss=loss * count, images=count)
        target, output = taught[0].float(), learned[0].float()
        if not bool(target.isfinite().all()):
            message = (
                "The original network's output is not finite on these images, so there is nothing to learn from it: "
                "check their range (the network's mean and std) and its weights."
            )
            raise UserRuntimeError(message)
        if not self.dense:
            log_target, log_output = target.log_softmax(1), output.log_softmax(1)
            kl = (log_target.exp() * (log_target - log_output)).sum()
            scores.add(agreed=float((target.argmax(1) == output.argmax(1)).sum()), kl=float(kl))
            return
        error = (output - target).square().double()
        centered = target - target.mean(dim=tuple(range(2, target.dim())), keepdim=True)
        scores.add(square=float(centered.square().double().sum()), values=target.numel())
        inside = self._inside(error, image)
        scores.add(interior_error=float(inside.sum()), interior_values=inside.numel())
        scores.add(border_error=float(error.sum() - inside.sum()), border_values=error.numel() - inside.numel())

    def _inside(self, error: Tensor, image: Tensor) -> Tensor:
        for axis in range(2, error.dim()):
            # In pixels of the output, which may be larger or smaller than the image's; at least one.
            crop = image.shape[axis] - 2 * self.margin
            band = max(1, round(self.border * error.shape[axis] / crop))
            error = error.narrow(axis, band, max(0, error.shape[axis] - 2 * band))
        return error

    def _both(self, image: Tensor) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        wanted = self.features > 0
        with torch.no_grad(), _last_features(self.teacher, wanted) as of_teacher:
            taught = tensors_of(self.teacher(image))
        with _last_features(self.student, wanted) as of_student:
            learned = tensors_of(self.student(self.crop(image)))
        if self.margin:
            taught = [self._cut(target, output, image) for target, output in zip(taught, learned, strict=True)]
        return taught, learned, list(zip(of_teacher, of_student, strict=True))

    def _cut(self, target: Tensor, output: Tensor, image: Tensor) -> Tensor:
        """The part of the teacher's output that lies within the student's crop."""
        for axis in range(2, output.dim()):
            crop, size = image.shape[axis] - 2 * self.margin, output.shape[axis]
            offset, rest = divmod(self.margin * size, crop)
            if rest or target.shape[axis] != size + 2 * offset:
                message = (
                    f"A crop of {crop} pixels gives an output of {size}, but one of {image.shape[axis]}, with a margin "
                    f"of {self.margin} on each side, gives {target.shape[axis]}: the two grids are not aligned. Choose "
                    "a crop and a margin that are multiples of the network's stride."
                )
                raise UserValueError(message)
            target = target.narrow(axis, offset, size)
        return target

    def _loss(self, taught: list[Tensor], learned: list[Tensor], features: list[tuple[Tensor, Tensor]]) -> Tensor:
        parts = [_difference(target, output) for target, output in zip(taught, learned, strict=True)]
        parts += [self.features * _relative(target.float(), feature.float()) for target, feature in features]
        return torch.stack(parts).sum()


def _difference(target: Tensor, output: Tensor) -> Tensor:
    target, output = target.float(), output.float()
    if target.dim() == 2:
        return F.kl_div(output.log_softmax(1), target.log_softmax(1), reduction="batchmean", log_target=True)
    return _relative(target, output)


def _relative(target: Tensor, output: Tensor) -> Tensor:
    # Divided by the variance, so that the same learning rates suit outputs of any scale.
    over = tuple(range(2, target.dim())) or (0,)
    variance = (target - target.mean(dim=over, keepdim=True)).square().mean()
    return (output - target).square().mean() / variance.clamp(min=torch.finfo(torch.float32).tiny)


@contextmanager
def _last_features(network: nn.Module, wanted: bool) -> Iterator[list[Tensor]]:
    """Collect the last linear layer's input during one forward pass."""
    found: list[Tensor] = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1:] if wanted else []
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0])) for layer in last]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
