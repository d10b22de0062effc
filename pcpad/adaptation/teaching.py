"""The original network teaches the converted one: what the two are shown, how far apart they are, and in what units."""

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
    """The tensors of floats that a network puts out, whatever they are wrapped in.

    Args:
        output: A tensor; or a tuple, list, dict or data class of outputs. What is called `out` or `logits`, as by
            torchvision's and transformers' networks, is the first.

    Returns:
        They, in order; the first is what scores speak of.

    Raises:
        UserTypeError: There is none.

    Example:
        >>> [tensor.shape[1] for tensor in tensors_of({"aux": torch.zeros(1, 2), "out": (torch.zeros(1, 5), None)})]
        [5, 2]
    """
    found = list(_flat(output))
    if not found:
        message = (
            "Expected a network whose output is a tensor of floats, or a tuple, list, dict or data class of such, but "
            f"got {type(output).__name__}: wrap it in a module whose forward returns what is to be kept."
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
    """What sums of scores are added to."""

    def add(self, **parts: float) -> None:
        """Add to the sums, by name."""


@dataclass
class Scores:
    """How far a network is from its teacher on some images: sums, of which `values` makes figures.

    Args:
        dense: Whether outputs are maps, or else scores of classes.
        sums: What is added up.
    """

    dense: bool
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, **parts: float) -> None:
        """Add to the sums, by name."""
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def values(self) -> dict[str, float]:
        """The figures.

        Returns:
            `loss`, what training lowers; for maps `border` and `interior`, dB of the teacher's variance over the mean
            squared difference (infinite where there is none); for classes `agreement`, the part of images with the
            same likeliest class, and `kl`, nats.
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
    """A teacher and its student, and what is compared of the two.

    Where outputs are maps, the teacher sees the whole image, `margin` pixels more on each side than the student, and
    both are compared pixel by pixel on what the student sees: near the student's border the teacher has true context.
    A classifier's decision is about the picture that it sees, so both see the same one, and the student learns the
    teacher's distribution over the classes, and what its last linear layer gets.

    Both networks run as they do in evaluation: norms keep their statistics, dropout is off.

    Args:
        teacher: The original; not changed.
        student: The converted one.
        dense: Whether outputs are maps (N, C, *spatial), or else scores of classes (N, C).
        margin: Pixels of true context on each side, for maps.
        border: Width in pixels of the image of the band that is scored as the border.
        features: Weight of the last features beside the distributions, for classes.

    Raises:
        UserValueError: A negative margin or none for maps.
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
            message = f"Expected argument `margin` to be at least 1, the teacher's true context, but got {margin}"
            raise UserValueError(message)
        self.teacher = teacher.eval().requires_grad_(False)
        self.student = student.eval()
        self.dense = dense
        self.margin = margin if dense else 0
        self.border = border
        self.features = 0.0 if dense else features

    def crop(self, image: Tensor) -> Tensor:
        """What the student sees of images (N, C, H, W)."""
        m = self.margin
        return image[..., m : image.shape[-2] - m, m : image.shape[-1] - m] if m else image

    def loss(self, image: Tensor) -> Tensor:
        """What training lowers: a scalar.

        Args:
            image: (N, C, H, W) as the networks want them, with the margin.

        Returns:
            For maps the mean squared difference over the teacher's variance, summed over the outputs; for classes the
            Kullback-Leibler divergence in nats, and `features` times the same of the last features.
        """
        return self._loss(*self._both(image))

    @torch.no_grad()
    def score(self, image: Tensor, scores: Adds) -> None:
        """Add a batch to the scores.

        Args:
            image: As for `loss`.
            scores: `Scores` of the same kind, or a metric of them; changed in place.

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
                "look at their range (the network's mean and std) and at its weights."
            )
            raise UserRuntimeError(message)
        if not self.dense:
            log_target, log_output = target.log_softmax(1), output.log_softmax(1)
            kl = (log_target.exp() * (log_target - log_output)).sum()
            scores.add(agreed=float((target.argmax(1) == output.argmax(1)).sum()), kl=float(kl))
            return
        error = (output - target).square().double()
        centred = target - target.mean(dim=tuple(range(2, target.dim())), keepdim=True)
        scores.add(square=float(centred.square().double().sum()), values=target.numel())
        inside = self._inside(error, image)
        scores.add(interior_error=float(inside.sum()), interior_values=inside.numel())
        scores.add(border_error=float(error.sum() - inside.sum()), border_values=error.numel() - inside.numel())

    def _inside(self, error: Tensor, image: Tensor) -> Tensor:
        for axis in range(2, error.dim()):
            # In the output's own pixels, which may be larger or smaller than the image's; a band of one at least.
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
        """The part of the teacher's output that the student has one for."""
        for axis in range(2, output.dim()):
            crop, size = image.shape[axis] - 2 * self.margin, output.shape[axis]
            offset, rest = divmod(self.margin * size, crop)
            if rest or target.shape[axis] != size + 2 * offset:
                message = (
                    f"A crop of {crop} gives an output of {size}, and one of {image.shape[axis]}, with {self.margin} "
                    f"more on each side, {target.shape[axis]}: they do not lie on one grid. Choose a crop and a margin "
                    "that are multiples of the network's stride."
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
    # Over the variance, so that one learning rate means the same for networks of other outputs.
    over = tuple(range(2, target.dim())) or (0,)
    variance = (target - target.mean(dim=over, keepdim=True)).square().mean()
    return (output - target).square().mean() / variance.clamp(min=torch.finfo(torch.float32).tiny)


@contextmanager
def _last_features(network: nn.Module, wanted: bool) -> Iterator[list[Tensor]]:
    """Collect what the last linear layer gets during one forward pass."""
    found: list[Tensor] = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1:] if wanted else []
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0])) for layer in last]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
