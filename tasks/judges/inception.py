"""FID and the Inception Score of filled images, judged by a network that a local file holds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.distributed import gathered, in_turns
from pcpad.errors import UserFileNotFoundError, UserModuleNotFoundError, UserValueError
from pcpad.models.weights import read_weights

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance

__all__ = ["InceptionJudge", "frechet_distance"]

_FILE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
_FEATURES = 2048


class InceptionJudge:
    """The Fréchet Inception distance to the true images and the Inception Score, as torchmetrics defines them.

    Both see the same features, computed once, and are the same on any number of processes and whenever asked. No
    `nn.Module`, so that what holds it keeps its 24 million weights out of checkpoints.

    Args:
        weights: A local file with the weights of TensorFlow's Inception of 2015, as torch-fidelity publishes them.

    Raises:
        ModuleNotFoundError: torch-fidelity, which defines that network, is not installed.
        FileNotFoundError: The file is not there.
        ValueError: The file holds another network's weights, or code.
    """

    def __init__(self, weights: str | Path) -> None:
        if find_spec("torch_fidelity") is None:
            message = "FID and the Inception Score need torch-fidelity: pip install 'pcpad[inception]'"
            raise UserModuleNotFoundError(message, name="torch_fidelity")
        from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
        from torchmetrics.image.inception import InceptionScore

        try:
            state = read_weights(weights)
        except FileNotFoundError as error:
            message = f"{error} FID and the Inception Score need the Inception weights of 2015: get {_FILE}"
            raise UserFileNotFoundError(message) from error
        with tempfile.TemporaryDirectory() as folder:
            # torch-fidelity would run whatever code the file carries; this copy has been read without.
            copy = Path(folder) / "inception.pth"
            torch.save(dict(state), copy)
            try:
                self._network = NoTrainInceptionV3("inception-v3-compat", [str(_FEATURES)], str(copy))
            except RuntimeError as error:
                message = f"{weights} does not hold the weights of TensorFlow's Inception of 2015: get {_FILE}"
                raise UserValueError(message) from error
        given = nn.Identity()
        given.num_features = _FEATURES  # type: ignore[assignment]  # torchmetrics asks for it
        self._fid: FrechetInceptionDistance = _stable(FrechetInceptionDistance)(feature=given)
        # Its own exchange puts one process's images behind the other's, and its ten parts are by their order.
        self._score = InceptionScore(feature=nn.Identity(), sync_on_compute=False)
        self._logits: list[Tensor] = []

    def to(self, device: torch.device) -> InceptionJudge:
        """Move the network and the sums to a device."""
        self._network.to(device)
        self._fid.to(device)
        return self

    @torch.no_grad()
    def update(self, image: Tensor, truth: Tensor) -> None:
        """Look at one batch.

        Args:
            image: (N, 3, H, W) in [0, 1], what is judged.
            truth: (N, 3, H, W) in [0, 1], the true images, for FID.
        """
        with torch.autocast(image.device.type, enabled=False):
            found, wanted = (self._network((x.float() * 255).round().byte()) for x in (image, truth))
            self._fid.update(found, real=False)
            self._fid.update(wanted, real=True)
            # The logits without bias that the Inception Score is defined on.
            self._logits.append(F.linear(found, self._network.fc.weight).cpu())

    def compute(self) -> dict[str, Tensor]:
        """The scores over all that was looked at, over all processes; every process has to ask.

        Returns:
            `fid`, >= 0, lower is better (0-d); `inception_score`, >= 1, higher is better: the mean over ten parts of
            the set, fewer for sets of fewer images, which are drawn at random but always alike. FID of fewer images
            than features, 2048, says little.

        Raises:
            RuntimeError: Fewer than two images were seen.
        """
        fid = self._fid.compute().float()
        rows = in_turns(gathered(torch.cat(self._logits) if self._logits else torch.zeros(0, 0)))
        self._score.update(torch.stack(rows))
        with torch.random.fork_rng(devices=[]):  # it draws the parts
            torch.default_generator.manual_seed(0)
            mean, _ = self._score.compute()
        self._score.reset()
        return {"fid": fid, "inception_score": mean.float().to(fid.device)}

    def reset(self) -> None:
        """Forget what was seen."""
        self._fid.reset()
        self._logits = []


def frechet_distance(sums: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The Fréchet distance of two sets of features, each taken for normally distributed.

    `|μ1 − μ2|² + tr Σ1 + tr Σ2 − 2 tr √(Σ1 Σ2)`. The last trace is the nuclear norm of the product of the covariances'
    roots. torchmetrics sums roots of the eigenvalues of `Σ1 Σ2` instead; of fewer images than features most of these
    are rounding errors, whose roots are none: its seventh digit is chance.

    Args:
        sums: Of each set the sum of its features (D,), the sum of their outer products (D, D), both float64, and their
            number.

    Returns:
        A scalar >= 0 in float64.
    """
    means, roots, traces = [], [], []
    for total, products, count in sums:
        mean = total / count
        covariance = (products - count * torch.outer(mean, mean)) / (count - 1)
        values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
        # Below this they are the errors of the difference above.
        smallest = len(mean) * torch.finfo(torch.float64).eps * products.diagonal().sum() / (count - 1)
        kept = values > smallest
        roots.append(vectors[:, kept] * values[kept].sqrt())
        means.append(mean)
        traces.append(covariance.trace())
    shared = torch.linalg.svdvals(roots[0].T @ roots[1]).sum() if min(map(Tensor.numel, roots)) else 0.0
    return ((means[0] - means[1]).square().sum() + traces[0] + traces[1] - 2 * shared).clamp_min(0)


def _stable(metric: type[FrechetInceptionDistance]) -> type[FrechetInceptionDistance]:
    """Torchmetrics' sums, and the distance computed from them as above."""

    class StableFrechetInceptionDistance(metric):  # type: ignore[misc,valid-type]
        def compute(self) -> Tensor:
            counts = (self.real_features_num_samples, self.fake_features_num_samples)
            if min(map(int, counts)) < 2:
                score: Tensor = super().compute()  # which refuses
                return score
            return frechet_distance(
                [
                    (self.real_features_sum, self.real_features_cov_sum, counts[0]),
                    (self.fake_features_sum, self.fake_features_cov_sum, counts[1]),
                ]
            )

    return StableFrechetInceptionDistance
