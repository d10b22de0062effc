"""A classifier's decisions under several paddings, with and without context, and under small shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pcpad.adaptation.border_results import Decision
from pcpad.adaptation.profiles import Samples, interval_of

__all__ = ["MOST_SHIFTED", "Decisions"]

# Shifts down and right, in pixels: both signs, even and odd, so that strides of 2 to 8 sample other phases.
_SHIFTS = ((0, 1), (3, 0), (-4, 5), (7, -8))
MOST_SHIFTED = 8

Classify = Callable[[Tensor], Tensor]


@dataclass
class Decisions:
    """Collects per image how decisions differ.

    Args:
        own: The network's own padding.
        size: The side of the windows that are classified, in pixels.
    """

    own: str
    size: int
    _found: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)

    def update(self, images: Tensor, networks: Mapping[str, Classify]) -> None:
        """Classify a batch.

        Args:
            images: (N, C, H, W); shifts are measured if H and W exceed `size` by at least `2 * MOST_SHIFTED`.
            networks: By padding, functions from images to logits (N, K).
        """
        middle = self._window(images, (0, 0))
        original = networks[self.own](middle)
        room = min(images.shape[-2:]) >= self.size + 2 * MOST_SHIFTED
        for padding, network in networks.items():
            logits = original if padding == self.own else network(middle)
            self._add(padding, "original", original, logits)
            if room:
                shifted = [network(self._window(images, shift)) for shift in _SHIFTS]
                pairs = [_compared(logits, moved) for moved in shifted]
                for what, values in zip(("same", "divergence"), zip(*pairs, strict=True), strict=True):
                    self._found.setdefault((padding, f"shift {what}"), []).append(torch.stack(values).mean(0))

    def add_context(self, padding: str, with_context: Tensor, logits: Tensor) -> None:
        """Add a batch of crops' logits (N, K), and those of the network with its own padding and true context."""
        self._add(padding, "context", with_context, logits)

    def _add(self, padding: str, name: str, reference: Tensor, logits: Tensor) -> None:
        for what, values in zip(("same", "divergence"), _compared(reference, logits), strict=True):
            self._found.setdefault((padding, f"{name} {what}"), []).append(values)

    def _window(self, images: Tensor, shift: tuple[int, int]) -> Tensor:
        starts = [(n - self.size) // 2 + moved for n, moved in zip(images.shape[-2:], shift, strict=True)]
        return images[..., starts[0] : starts[0] + self.size, starts[1] : starts[1] + self.size]

    def result(self, padding: str, samples: Samples) -> Decision:
        """The results for one padding."""

        def of(name: str, share_of_others: bool = False) -> object:
            values = self._found.get((padding, name))
            if values is None:
                return None
            joined = torch.cat(values)
            return interval_of(samples.mean(1 - joined if share_of_others else joined))

        return Decision(
            agreement=of("original same"),  # type: ignore[arg-type]
            divergence=of("original divergence"),  # type: ignore[arg-type]
            context_agreement=of("context same"),  # type: ignore[arg-type]
            context_divergence=of("context divergence"),  # type: ignore[arg-type]
            shifted=of("shift same", share_of_others=True),  # type: ignore[arg-type]
            shift_divergence=of("shift divergence"),  # type: ignore[arg-type]
        )


def _compared(reference: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each image's top-1 class is the same, and the divergence from the reference's distribution."""
    before, after = (torch.log_softmax(part.double(), 1) for part in (reference, logits))
    same = (before.argmax(1) == after.argmax(1)).double()
    return same.cpu(), (before.exp() * (before - after)).sum(1).clamp_min(0).cpu()
