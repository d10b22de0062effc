"""The photographs of a recovery: the held-out split, the crops, and their order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FEWEST", "Material"]

FEWEST = 16  # images; fewer cannot show whether a network has improved
_KEPT = 1 << 26  # cached values of held-out images, 256 MiB
_MOST_HELD = 256  # images; more cost time and add little precision


class Material:
    """Square crops of photographs; those for training depend on the step's number alone, so that a run can resume.

    Args:
        images: Each (C, H, W), uint8 or float in [0, 1]; indexed repeatedly.
        side: Height and width of the crops; None for whole images, which must have one size.
        held_out: The share of images held out from training, in (0, 1).
        seed: Seed of the split, the crops and their order.
        prepare: Turns a batch (N, C, side, side) in [0, 1] into the networks' input: normalizes it, or adds noise,
            drawn from torch's generator.
        device: The batches' device.

    Raises:
        UserValueError: Fewer than 16 images, or a share that is not in (0, 1).
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
                f"Expected at least {FEWEST} images, and better a few hundred, but got {len(images)}; they need no "
                "labels."
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
        self._kept: dict[tuple[int, int], Tensor] = {}  # reading them again takes longer than scoring them
        self._epoch: tuple[int, list[int]] = (-1, [])

    def batch(self, step: int, size: int) -> Tensor:
        """Random crops of training images, randomly mirrored.

        Args:
            step: The step's number; every image is used once before any is used again.
            size: The batch size N.
        """
        numbers = []
        for position in range(step * size, (step + 1) * size):
            epoch, at = divmod(position, len(self.train))
            numbers.append(self._order(epoch)[at])
        draws = random.Random(f"{self.seed}/step {step}")
        return self._made([self._square(number, draws) for number in numbers], f"step {step}")

    def held_out(self, size: int) -> Iterator[Tensor]:
        """Center crops of the held-out images, with the same noise each time.

        Args:
            size: The largest batch size N.
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
                f"Image {number} is {image.shape[-1]}x{image.shape[-2]}, and the crop with its true context needs "
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
            # On the CPU, with its own seed: the same noise on every device and in every resumed run.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(random.Random(f"{self.seed}/{draw}").getrandbits(48))
                batch = self.prepare(batch)
        return batch.to(self.device)
