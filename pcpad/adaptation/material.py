"""The photographs of a recovery: which are held out, what is cut out of them, in what order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FEWEST", "Material"]

FEWEST = 16  # images: fewer say nothing of a network, and less of whether it has become better
_KEPT = 1 << 26  # values of held-out images in memory, 256 MiB
_MOST_HELD = 256  # images; more cost more than they tell


class Material:
    """Squares of photographs, for training at places that follow from the step's number alone, so that a run resumes.

    Args:
        images: Each (C, H, W), uint8 or float in [0, 1]; asked for by number, and as often as it takes.
        side: Height and width of what is cut out; None: whole images, which then have one size.
        held_out: The part of the images that is not for training, in (0, 1).
        seed: Decides which images, places and order.
        prepare: Makes the networks' input of a batch (N, C, side, side) in [0, 1]: normalizes it, adds noise; it
            draws from torch's generator.
        device: Where batches are put.

    Raises:
        UserValueError: Fewer than 16 images, or a part that is not in (0, 1).
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        *,
        side: int | None,
        held_out: float = 0.2,
        seed: int = 0,
        prepare: Callable[[Tensor], Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not hasattr(images, "__len__") or not hasattr(images, "__getitem__"):
            message = f"Expected `images` to be a sequence of tensors (C, H, W), but got {type(images).__name__}"
            raise UserTypeError(message)
        if len(images) < FEWEST:
            message = (
                f"{len(images)} images are too few: at least {FEWEST} are needed, and a few hundred are better; they "
                "need no labels."
            )
            raise UserValueError(message)
        if not 0 < held_out < 1:
            message = f"Expected argument `held_out` to be in (0, 1), but got {held_out}"
            raise UserValueError(message)
        order = list(range(len(images)))
        random.Random(seed).shuffle(order)
        count = min(max(4, round(held_out * len(order))), _MOST_HELD)
        self.images, self.side, self.seed = images, side, seed
        self.held, self.train = order[:count], order[count:]
        self.prepare, self.device = prepare, torch.device(device)
        self._kept: dict[tuple[int, int], Tensor] = {}  # reading them anew takes longer than looking at them
        self._epoch: tuple[int, list[int]] = (-1, [])

    def batch(self, step: int, size: int) -> Tensor:
        """Training images at random places, some of them mirrored.

        Args:
            step: Each image comes once before any comes again.
            size: N.
        """
        numbers = []
        for position in range(step * size, (step + 1) * size):
            epoch, at = divmod(position, len(self.train))
            numbers.append(self._order(epoch)[at])
        draws = random.Random(f"{self.seed}/step {step}")
        return self._made([self._square(number, draws) for number in numbers], f"step {step}")

    def held_out(self, size: int) -> Iterator[Tensor]:
        """The held-out images, cut out of the middle: the same pixels, and noise, each time.

        Args:
            size: N at most.
        """
        for start in range(0, len(self.held), size):
            if (start, size) in self._kept:
                yield self._kept[start, size].to(self.device)
                continue
            numbers = self.held[start : start + size]
            batch = self._made([self._square(number, None) for number in numbers], f"held out {start}")
            if sum(kept.numel() for kept in self._kept.values()) + batch.numel() <= _KEPT:
                self._kept[start, size] = batch.cpu()
            yield batch

    def first(self) -> Tensor:
        """One held-out image as a batch, to try networks on."""
        return next(self.held_out(1))

    def _order(self, epoch: int) -> list[int]:
        if self._epoch[0] != epoch:
            self._epoch = epoch, random.Random(f"{self.seed}/{epoch}").sample(self.train, len(self.train))
        return self._epoch[1]

    def _square(self, number: int, draws: random.Random | None) -> Tensor:
        image = self._read(number)
        if self.side is None:
            return image
        places = [image.shape[-2] - self.side, image.shape[-1] - self.side]
        if min(places) < 0:
            message = (
                f"Image {number} is {image.shape[-1]}x{image.shape[-2]}, and the crop with its true context takes "
                f"{self.side}x{self.side}: leave small images out, or choose a smaller crop or margin."
            )
            raise UserValueError(message)
        top, left = (draws.randint(0, place) if draws else place // 2 for place in places)
        square = image[:, top : top + self.side, left : left + self.side]
        return square.flip(-1) if draws and draws.random() < 0.5 else square

    def _read(self, number: int) -> Tensor:
        image: Any = self.images[number]
        if not isinstance(image, Tensor) or image.dim() != 3:
            came = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            message = f"Expected each of `images` to be a tensor (C, H, W), but got {came} for image {number}"
            raise UserTypeError(message)
        return image.float() / 255 if image.dtype == torch.uint8 else image.float()

    def _made(self, squares: list[Tensor], draw: str) -> Tensor:
        sizes = {tuple(square.shape) for square in squares}
        if len(sizes) > 1:
            message = (
                f"Expected images of one size, but got {' and '.join(map(str, sorted(sizes)[:2]))}: resize them, or "
                "choose a `crop`."
            )
            raise UserValueError(message)
        batch = torch.stack(squares)
        if self.prepare is not None:
            # On the CPU, from a seed of its own: the same noise on every device and in every resumed run.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(random.Random(f"{self.seed}/{draw}").getrandbits(48))
                batch = self.prepare(batch)
        return batch.to(self.device)
