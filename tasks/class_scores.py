"""The loss and accuracies of tasks that give each sample one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from pcpad.metrics.precision import SampleMean
from pcpad.metrics.video import true_class_rank


def class_metrics(num_classes: int, prefix: str = "") -> nn.ModuleDict:
    """The metrics of one stage.

    Args:
        num_classes: How many classes there are.
        prefix: Put before the accuracies' names.

    Returns:
        `loss`, `top1` and, with more than five classes, `top5`.
    """
    metrics: dict[str, nn.Module] = {"loss": SampleMean()}
    for k in top_ks(num_classes):
        metrics[f"{prefix}top{k}"] = MulticlassAccuracy(num_classes, top_k=k, average="micro", validate_args=False)
    return nn.ModuleDict(metrics)


def top_ks(num_classes: int) -> tuple[int, ...]:
    """The k of top-k accuracy: among five classes, the top five always contain the true one."""
    return (1, 5) if num_classes > 5 else (1,)


def log_class_metrics(task: LightningModule, stage: str, metrics: Any, logits: Tensor, label: Tensor) -> None:
    """Count one batch and log the metrics, as objects: Lightning computes and resets them at the epoch's end.

    Args:
        task: The task, in one of its steps.
        stage: `val` or `test`, put before the names.
        metrics: Those of `class_metrics`.
        logits: (N, K).
        label: (N,).
    """
    metrics["loss"].update(F.cross_entropy(logits, label, reduction="none"))
    for name, metric in metrics.items():
        if name != "loss":
            metric.update(logits, label)
        task.log(f"{stage}/{name}", metric, prog_bar=name.endswith("top1"), on_step=False, on_epoch=True)


def class_scores(probability: Tensor, label: Tensor, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The scores of each sample.

    Args:
        probability: (N, K), best in float64: in float32 the smallest are all 0.
        label: (N,).
        names: Of the classes; their numbers when not given.

    Returns:
        `loss` (cross entropy in nats), `top1` and, with more than five classes, `top5` (0 or 1), each (N,); the names
        of the `label` and the `predicted` class, and the `probability` of the latter.
    """
    rank = true_class_rank(probability, label)
    highest, predicted = probability.max(dim=1)
    named = [[names[index] if names else index for index in which.tolist()] for which in (label, predicted)]
    loss = F.nll_loss(probability.clamp_min(torch.finfo(probability.dtype).tiny).log(), label, reduction="none")
    tops = {f"top{k}": (rank < k).int() for k in top_ks(probability.shape[1])}
    return {"loss": loss, **tops, "label": named[0], "predicted": named[1], "probability": highest}
