"""The loss and accuracies of tasks that give each sample one class."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from pcpad.metrics.precision import SampleMean


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
    """For which k top-k accuracy is told: among five classes, five always hold the true one."""
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
