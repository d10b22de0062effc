"""FID and the Inception Score of filled images, with a network from a local file."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.distributed import gathered, rank, world_size
from pcpad.errors import UserFileNotFoundError, UserModuleNotFoundError, UserValueError
from pcpad.models.weights import read_weights

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance

__all__ = ["InceptionJudge", "frechet_distance"]

_FILE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
_FEATURES = 2048
_PARTS = 10


class InceptionJudge:
    """The Fréchet Inception distance to the true images and the Inception Score, as defined by torchmetrics.

    Both use the same features, computed once, and do not depend on the number of processes or on when they are
    computed. Not an `nn.Module`, so that its 24 million weights stay out of its owner's checkpoints.

    Args:
        weights: A local file with the weights of TensorFlow's Inception of 2015, as published by torch-fidelity.

    Raises:
        ModuleNotFoundError: torch-fidelity, which defines that network, is not installed.
        FileNotFoundError: There is no such file.
        ValueError: The file holds another network's weights, or contains code.
    """

    def __init__(self, weights: str | Path) -> None:
        if find_spec("torch_fidelity") is None:
            message = "FID and the Inception Score need torch-fidelity: pip install 'pcpad[inception]'"
            raise UserModuleNotFoundError(message, name="torch_fidelity")
        from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

        try:
            state = read_weights(weights)
        except FileNotFoundError as error:
            message = f"{error} FID and the Inception Score need the Inception weights of 2015: get {_FILE}"
            raise UserFileNotFoundError(message) from error
        with tempfile.TemporaryDirectory() as folder:
            # torch-fidelity would run any code in the file; this copy contains none.
            copy = Path(folder) / "inception.pth"
            torch.save(dict(state), copy)
            try:
                self._network = NoTrainInceptionV3("inception-v3-compat", [str(_FEATURES)], str(copy))
            except RuntimeError as error:
                message = f"{weights} does not hold the weights of TensorFlow's Inception of 2015: get {_FILE}"
                raise UserValueError(message) from error
        given = nn.Identity()
        given.num_features = _FEATURES  # type: ignore[assignment]  # required by torchmetrics
        self._fid: FrechetInceptionDistance = _stable(FrechetInceptionDistance)(feature=given)
        self._score = InceptionParts()

    def to(self, device: torch.device) -> InceptionJudge:
        """Move the network and the sums to a device."""
        self._network.to(device)
        self._fid.to(device)
        return self

    @torch.no_grad()
    def update(self, image: Tensor, truth: Tensor) -> None:
        """Add one batch.

        Args:
            image: (N, 3, H, W) in [0, 1], the judged images.
            truth: (N, 3, H, W) in [0, 1], the true images, for FID.
        """
        with torch.autocast(image.device.type, enabled=False):
            found, wanted = (self._network((x.float() * 255).round().byte()) for x in (image, truth))
            self._fid.update(found, real=False)
            self._fid.update(wanted, real=True)
            # The Inception Score is defined on logits without bias.
            self._score.update(F.linear(found, self._network.fc.weight).cpu())

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores over all batches and processes; every process must call it.

        Returns:
            `fid` (0-d), >= 0, lower is better; `inception_score` (0-d), >= 1, higher is better: the mean over ten parts
            of the set (fewer for sets with fewer images), which are drawn at random with a fixed seed. FID is
            unreliable with fewer images than features, 2048.

        Raises:
            RuntimeError: There are fewer than two images.
        """
        fid = self._fid.compute().float()
        return {"fid": fid, "inception_score": self._score.compute().to(fid.device)}

    def reset(self) -> None:
        """Reset the sums."""
        self._fid.reset()
        self._score.reset()


class InceptionParts:
    """The Inception Score (Salimans et al. 2016, arXiv 1606.03498) over ten parts of the set, in constant memory.

    The mean over parts of `exp(mean KL(p(y|x) || p(y)))`, as in torchmetrics. Each ten consecutive images of the set
    are assigned to the ten parts in a random order; so three float64 sums per part suffice: 80 KB in total, whereas the
    logits of 50 000 images take 200 MB.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Reset the sums."""
        self._seen = 0
        self._sums: Tensor | None = None  # of the probabilities, of `Σ p·log p`, and the number of images: (10, K + 2)

    def update(self, logits: Tensor) -> None:
        """Add one batch of logits (N, K), on the CPU; each of R processes has every R-th image."""
        if not len(logits):
            return
        logs = logits.double().log_softmax(dim=1)
        probabilities = logs.exp()
        entropy = torch.where(probabilities > 0, probabilities * logs, 0).sum(dim=1, keepdim=True)
        rows = torch.cat([probabilities, entropy, torch.ones_like(entropy)], dim=1)
        if self._sums is None:
            self._sums = rows.new_zeros(_PARTS, rows.shape[1])
        of, this = world_size(), rank()
        places = [(self._seen + index) * of + this for index in range(len(rows))]
        self._sums.index_add_(0, torch.tensor([_part(place) for place in places]), rows)
        self._seen += len(rows)

    def compute(self) -> Tensor:
        """Compute the score over all processes; every process must call it. NaN without images."""
        sums = [part for part in gathered(self._sums) if part is not None]
        if not sums:
            return torch.tensor(torch.nan)
        total = torch.stack(sums).sum(dim=0)
        total = total[total[:, -1] > 0]
        mean, entropy = total[:, :-2] / total[:, -1:], total[:, -2] / total[:, -1]
        marginal = torch.where(mean > 0, mean * mean.log(), 0).sum(dim=1)
        return (entropy - marginal).exp().mean().float()


def _part(place: int) -> int:
    """The part of the image at a position in the set; the order of each ten is random but the same on every machine."""
    ten, index = divmod(place, _PARTS)
    return random.Random(ten).sample(range(_PARTS), _PARTS)[index]


def frechet_distance(sums: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The Fréchet distance of two sets of features, both assumed to be normally distributed.

    `|μ1 − μ2|² + tr Σ1 + tr Σ2 − 2 tr √(Σ1 Σ2)`. The last trace is the nuclear norm of the product of the covariances'
    square roots. torchmetrics sums square roots of the eigenvalues of `Σ1 Σ2` instead; with fewer images than features
    most of these are rounding errors, whose square roots are not small: its seventh digit is random.

    Args:
        sums: For each set, the sum of its features (D,), the sum of their outer products (D, D), both float64, and
            their number.

    Returns:
        A scalar >= 0 in float64.
    """
    means, roots, traces = [], [], []
    for total, products, count in sums:
        mean = total / count
        covariance = (products - count * torch.outer(mean, mean)) / (count - 1)
        values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
        # Smaller eigenvalues are rounding errors of the difference above.
        smallest = len(mean) * torch.finfo(torch.float64).eps * products.diagonal().sum() / (count - 1)
        kept = values > smallest
        roots.append(vectors[:, kept] * values[kept].sqrt())
        means.append(mean)
        traces.append(covariance.trace())
    shared = torch.linalg.svdvals(roots[0].T @ roots[1]).sum() if min(map(Tensor.numel, roots)) else 0.0
    return ((means[0] - means[1]).square().sum() + traces[0] + traces[1] - 2 * shared).clamp_min(0)


def _stable(metric: type[FrechetInceptionDistance]) -> type[FrechetInceptionDistance]:
    """Make a metric with torchmetrics' sums, and the distance from `frechet_distance`."""

    class StableFrechetInceptionDistance(metric):  # type: ignore[misc,valid-type]
        def compute(self) -> Tensor:
            counts = (self.real_features_num_samples, self.fake_features_num_samples)
            if min(map(int, counts)) < 2:
                score: Tensor = super().compute()  # raises the error
                return score
            return frechet_distance(
                [
                    (self.real_features_sum, self.real_features_cov_sum, counts[0]),
                    (self.fake_features_sum, self.fake_features_cov_sum, counts[1]),
                ]
            )

    return StableFrechetInceptionDistance
