"""FID and the Inception Score of filled images, judged by a network that a local file holds."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcpad.errors import UserFileNotFoundError, UserModuleNotFoundError, UserValueError
from pcpad.models.weights import read_weights

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["InceptionJudge"]

_FILE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
_FEATURES = 2048


class InceptionJudge:
    """The Fréchet Inception distance to the true images and the Inception Score, as torchmetrics defines them.

    Both see the same features, computed once. No `nn.Module`, so that what holds it keeps its 24 million weights out of
    checkpoints. Sums over processes are torchmetrics'.

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
        self._metrics: dict[str, Metric] = {
            "fid": FrechetInceptionDistance(feature=given),
            "inception_score": InceptionScore(feature=nn.Identity()),
        }

    def to(self, device: torch.device) -> InceptionJudge:
        """Move the network and the sums to a device."""
        self._network.to(device)
        for metric in self._metrics.values():
            metric.to(device)
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
            self._metrics["fid"].update(found, real=False)
            self._metrics["fid"].update(wanted, real=True)
            # The logits without bias that the Inception Score is defined on.
            self._metrics["inception_score"].update(F.linear(found, self._network.fc.weight))

    def compute(self) -> dict[str, Tensor]:
        """The scores over all that was looked at.

        Returns:
            `fid`, >= 0, lower is better (0-d); `inception_score`, >= 1, higher is better: the mean over ten parts of
            the set, fewer for sets of fewer images. FID of fewer images than features, 2048, says little.

        Raises:
            RuntimeError: Fewer than two images were seen.
        """
        mean, _ = self._metrics["inception_score"].compute()
        return {"fid": self._metrics["fid"].compute().float(), "inception_score": mean.float()}

    def reset(self) -> None:
        """Forget what was seen."""
        for metric in self._metrics.values():
            metric.reset()
