"""Accuracy per video, of a network that sees windows of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserTypeError, UserValueError
from pcpad.metrics.precision import KeepsPrecision

__all__ = ["VideoAccuracy", "true_class_rank"]

_SPARE = 1024  # rows that may wait to be merged, besides a quarter of those merged


def true_class_rank(scores: Tensor, label: Tensor) -> Tensor:
    """At which place the true class comes.

    Args:
        scores: (N, K), higher is likelier. Of classes with equal scores the first comes first.
        label: (N,), the true classes, integers in [0, K).

    Returns:
        (N,) int64, 0 where the true class is the likeliest.

    Example:
        >>> true_class_rank(torch.tensor([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]]), torch.tensor([0, 2])).tolist()
        [1, 1]
    """
    own = scores.gather(1, label[:, None])
    before = torch.arange(scores.shape[1], device=scores.device) < label[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(dim=1)


class VideoAccuracy(KeepsPrecision):
    """Top-k accuracy over videos: each video's class scores are the mean of its windows' softmax.

    Every video counts once, however many windows it has, in whatever order they come, and on whichever processes: a
    video's number stands for it everywhere, so windows of one video may be spread over batches and processes. What is
    kept is one row of K sums a video, in float64 (float32 on Apple's GPUs): memory grows with the number of videos
    (63 MB for the 19 535 of Kinetics-400's validation set), not with that of windows.

    Args:
        num_classes: How many classes there are, K.
        top_k: For which k the true class has to be among the k likeliest.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> metric = VideoAccuracy(num_classes=3, top_k=(1, 2))
        >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.0]])
        >>> metric.update(logits, label=torch.tensor([0, 0, 1]), video=torch.tensor([7, 7, 9]))
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'top1': 0.5, 'top2': 1.0, 'videos': 2.0}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    videos: list[Tensor]
    labels: list[Tensor]
    sums: list[Tensor]

    def __init__(self, num_classes: int, top_k: Sequence[int] = (1, 5), **options: Any) -> None:
        super().__init__(**options)
        check_num_classes(num_classes)
        if not top_k or len(set(top_k)) < len(top_k) or not all(1 <= k <= num_classes for k in top_k):
            message = f"Expected argument `top_k` to be different numbers in 1…{num_classes}, but got {top_k!r}"
            raise UserValueError(message)
        self.num_classes = num_classes
        self.top_k = tuple(top_k)
        for name in ("videos", "labels", "sums"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, label: Tensor, video: Tensor) -> None:
        """Count one batch of windows.

        Args:
            logits: (N, K), before softmax.
            label: (N,), the class of each window's video, integers in [0, K).
            video: (N,), the number of each window's video, the same on all processes.

        Raises:
            ValueError: Shapes do not fit, or a label is out of range.
            TypeError: Logits are no floats, or labels or video numbers no integers.
        """
        self._check(logits, label, video)
        if not len(video):
            return
        self.videos.append(video.detach().long())
        self.labels.append(label.detach().long())
        # In float64 no class of a confident network vanishes: in float32 those 104 below the highest logit are all 0.
        self.sums.append(logits.detach().to(_precision(logits)).softmax(dim=1))
        if sum(map(len, self.videos[1:])) > len(self.videos[0]) / 4 + _SPARE:
            self._merge()

    def compute(self) -> dict[str, Tensor]:
        """The accuracy over all videos so far.

        Returns:
            `top1` and so on, fractions in [0, 1] as float64 (float32 on Apple's GPUs), NaN without any video; `videos`,
            how many were counted.

        Raises:
            ValueError: Windows of one video have different labels, or a network's output was not finite.
        """
        videos, label, sums = self._merged()
        finite = sums.isfinite().all(dim=1)
        if not bool(finite.all()):
            message = f"The network's output for video {int(videos[~finite][0])} is not finite."
            raise UserValueError(message)
        rank = true_class_rank(sums, label)
        scores = {f"top{k}": (rank < k).to(sums.dtype).mean() for k in self.top_k}
        return {**scores, "videos": torch.tensor(len(videos), device=sums.device)}

    def per_video(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is known of each video so far, over all processes; every process has to ask.

        Returns:
            Numbers of the videos (V,), their labels (V,), and the means of their windows' softmax (V, K).
        """
        with self.sync_context():
            videos, labels, sums = self._merged()
        return videos, labels, sums / sums.sum(dim=1, keepdim=True)

    def sync(self, *args: Any, **options: Any) -> None:
        """Merge before rows travel between processes; a process without any sends an empty table, not nothing."""
        if not self._is_synced:
            self._merge()
        super().sync(*args, **options)

    def _merge(self) -> None:
        videos, labels, sums = self._merged()
        self.videos, self.labels, self.sums = [videos], [labels], [sums]

    def _merged(self) -> tuple[Tensor, Tensor, Tensor]:
        """One row a video: its number (V,), label (V,) and sums (V, K)."""
        # Between processes torchmetrics makes one tensor of each list.
        parts = [[value] if isinstance(value, Tensor) else value for value in (self.videos, self.labels, self.sums)]
        if not parts[0]:
            none = torch.zeros(0, dtype=torch.int64, device=self.device)
            empty = torch.zeros(0, self.num_classes, device=self.device)
            return none, none, empty.to(_precision(empty))
        all_videos, all_labels, rows = (torch.cat(part) for part in parts)
        videos, place = all_videos.unique(return_inverse=True)
        labels = torch.empty_like(videos).scatter_(0, place, all_labels)
        other = labels[place] != all_labels
        if bool(other.any()):
            where = int(other.nonzero()[0])
            message = (
                f"Windows of video {int(all_videos[where])} have different labels, {int(all_labels[where])} and "
                f"{int(labels[place[where]])}: is the number of a video used for another one, too?"
            )
            raise UserValueError(message)
        return videos, labels, rows.new_zeros(len(videos), self.num_classes).index_add_(0, place, rows)

    def _check(self, logits: Tensor, label: Tensor, video: Tensor) -> None:
        if (
            logits.ndim != 2
            or logits.shape[1] != self.num_classes
            or not label.shape == video.shape == logits.shape[:1]
        ):
            message = (
                f"Expected logits (N, {self.num_classes}), labels (N,) and video numbers (N,), but got shapes "
                f"{tuple(logits.shape)}, {tuple(label.shape)} and {tuple(video.shape)}"
            )
            raise UserValueError(message)
        if not logits.is_floating_point():
            message = f"Expected logits to be floating point, but got {logits.dtype}"
            raise UserTypeError(message)
        for name, values in (("labels", label), ("video numbers", video)):
            if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
                message = f"Expected {name} to be integers, but got {values.dtype}"
                raise UserTypeError(message)
        if len(label) and not 0 <= int(label.min()) <= int(label.max()) < self.num_classes:
            message = f"Expected labels in 0…{self.num_classes - 1}, but got {label.tolist()}"
            raise UserValueError(message)


def _precision(values: Tensor) -> torch.dtype:
    return torch.float32 if values.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
