"""Top-k accuracy per video, of a network that sees one window of it at a time."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pcpad.class_counts import check_num_classes
from pcpad.errors import UserTypeError, UserValueError
from pcpad.metrics.precision import KeepsPrecision

__all__ = ["VideoAccuracy", "true_class_rank"]

_SPARE = 1024  # rows that may wait to be merged


def true_class_rank(scores: Tensor, label: Tensor) -> Tensor:
    """The rank of the true class among all classes, by their scores.

    Args:
        scores: (N, K), higher is likelier. Classes with equal scores are ranked in their own order.
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

    Every video counts once, regardless of how many windows it has and in which order they arrive. A video is identified
    by its number, so its windows may be spread over batches and processes. The state is one row of K sums per video, in
    float64 (float32 on Apple's GPUs): memory grows with the number of videos (63 MB for the 19 535 of Kinetics-400's
    validation set), not with the number of windows. New windows are added to the rows in place.

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
        self._tables: list[Tensor] = []  # those of `sums` in which a video has one row, and no row elsewhere
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
        # In float32 the softmax of a class whose logit is 104 below the highest is exactly 0, in float64 it is not.
        self.sums.append(logits.detach().to(_precision(logits)).softmax(dim=1))
        tables = self._merged_already()
        if sum(map(len, self.videos[tables:])) > _SPARE:
            self._merge()

    def compute(self) -> dict[str, Tensor]:
        """The accuracy over all videos so far.

        Returns:
            `top1` and so on, fractions in [0, 1] as float64 (float32 on Apple's GPUs), NaN without any video; `videos`,
            how many were counted.

        Raises:
            ValueError: Windows of one video have different labels, or a network's output was not finite.
        """
        tables = self._merge()
        infinite = [videos[~sums.isfinite().all(dim=1)] for videos, _, sums in tables]
        if any(map(len, infinite)):
            message = f"The network's output for video {int(torch.cat(infinite).min())} is not finite."
            raise UserValueError(message)
        none = torch.zeros(0, self.num_classes, device=self.device)
        ranks = [true_class_rank(sums, label) for _, label, sums in tables]
        rank = torch.cat(ranks) if ranks else none[:, 0].long()
        dtype = _precision(none)
        scores = {f"top{k}": (rank < k).to(dtype).mean() for k in self.top_k}
        return {**scores, "videos": torch.tensor(len(rank), device=rank.device)}

    def per_video(self) -> tuple[Tensor, Tensor, Tensor]:
        """The mean scores of each video so far, over all processes; all of them must call this together.

        Returns:
            Numbers of the videos (V,), their labels (V,), and the means of their windows' softmax (V, K).
        """
        with self.sync_context():
            tables = self._merge()
        if not tables:
            none = torch.zeros(0, dtype=torch.int64, device=self.device)
            return none, none, torch.zeros(0, self.num_classes, dtype=_precision(none), device=self.device)
        videos, labels, sums = (torch.cat(part) for part in zip(*tables, strict=True))
        videos, order = videos.sort()
        sums = sums[order]
        return videos, labels[order], sums.div_(sums.sum(dim=1, keepdim=True))

    def reset(self) -> None:
        """Forget all windows."""
        super().reset()
        self._tables = []

    def sync(self, *args: Any, **options: Any) -> None:
        """Merge before rows are sent between processes; a process without rows sends an empty table."""
        if not self._is_synced:
            self._merge()
            if not self.videos:
                none = torch.zeros(0, dtype=torch.int64, device=self.device)
                self.videos, self.labels = [none], [none]
                self.sums = [torch.zeros(0, self.num_classes, dtype=_precision(none), device=self.device)]
        super().sync(*args, **options)

    def _merged_already(self) -> int:
        """How many of the first parts are merged already; 0 after torchmetrics has replaced them."""
        parts = self.sums if isinstance(self.sums, list) else [self.sums]
        same = len(parts) >= len(self._tables) and all(map(operator.is_, parts, self._tables))
        return len(self._tables) if same else 0

    def _merge(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Add the waiting windows to the rows of their videos.

        Returns:
            Numbers of videos (v,), labels (v,) and sums (v, K): each video in one row of one table. Those of all
            processes are not kept, since torchmetrics puts this process's own back.
        """
        # Between processes torchmetrics makes one tensor of each list.
        states = (self.videos, self.labels, self.sums)
        parts = list(zip(*([state] if isinstance(state, Tensor) else state for state in states), strict=True))
        known = self._merged_already()
        tables, waiting = parts[:known], parts[known:]
        if waiting:
            tables = _added(tables, *(torch.cat(part) for part in zip(*waiting, strict=True)))
        if not self._is_synced:
            self.videos, self.labels, self.sums = (
                (list(part) for part in zip(*tables, strict=True)) if tables else ([], [], [])
            )
            self._tables = list(self.sums)
        return tables

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


def _added(
    tables: list[tuple[Tensor, Tensor, Tensor]], videos: Tensor, labels: Tensor, rows: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Add windows (n,), (n,), (n, K) to tables of videos in place; videos that are new get a table of their own.

    Raises:
        ValueError: Windows of one video have different labels.
    """
    all_videos = torch.cat([*(table[0] for table in tables), videos])
    all_labels = torch.cat([*(table[1] for table in tables), labels])
    numbers, place = all_videos.unique(return_inverse=True)
    expected = torch.empty_like(numbers).scatter_(0, place, all_labels)
    other = expected[place] != all_labels
    if bool(other.any()):
        where = int(other.nonzero()[0])
        message = (
            f"Windows of video {int(all_videos[where])} have different labels, {int(all_labels[where])} and "
            f"{int(expected[place[where]])}: is the number of a video used for another one, too?"
        )
        raise UserValueError(message)
    held = len(all_videos) - len(videos)
    row_of = torch.full_like(numbers, -1)
    row_of[place[:held]] = torch.arange(held, device=place.device)
    new = (row_of < 0).nonzero().flatten()
    row_of[new] = held + torch.arange(len(new), device=new.device)
    target, start = row_of[place[held:]], 0
    if len(new):
        # A small table is replaced by a larger one, so that there are few.
        small = tables.pop() if tables and len(tables[-1][0]) < _SPARE else None
        table = (numbers[new], expected[new], rows.new_zeros(len(new), rows.shape[1]))
        if small is not None:
            numbers_of, labels_of, sums_of = map(torch.cat, zip(small, table, strict=True))
            table = (numbers_of, labels_of, sums_of)
        tables = [*tables, table]
    for _, _, sums in tables:
        here = (target >= start) & (target < start + len(sums))
        if len(tables) == 1:
            sums.index_add_(0, target, rows)
        else:
            sums.index_add_(0, target[here] - start, rows[here])
        start += len(sums)
    return tables


def _precision(values: Tensor) -> torch.dtype:
    return torch.float32 if values.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
