"""Image classification: one label per image, top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from pcpad.errors import UserValueError
from pcpad.files import FileName
from pcpad.models.classifiers import classifier
from pcpad.models.heads import Head
from pcpad.models.input_channels import adapt_input_channels, channel_statistics
from pcpad.tasks.base import Task, check_finite, plain
from pcpad.tasks.callbacks.predictions import PredictionTable
from pcpad.tasks.class_scores import class_metrics, class_scores, log_class_metrics
from pcpad.tasks.optimization import Interval


class ClassificationTask(Task):
    """Train, test and apply a classifier under a padding of choice.

    A batch is a dict: `image` (N, C, H, W), uint8 or float in [0, 1]; `label` (N,) long. In prediction `image` and
    `path`, a list of N file names. Logged: `train/loss`, and for `val` and `test` each `loss`, `top1` and, with more
    than five classes, `top5`; fractions in [0, 1], every sample counted once over all processes.

    Args:
        network: A torchvision or timm name, see `pcpad.models.classifier`.
        num_classes: Number of classes; must match the data's. None: the data's number, on the
            command line; else ImageNet's 1000.
        padding: The padding of the network's convolutions, see `pcpad.convert_padding`.
        fallback: What `padding` does where a feature map is too small for it, such as `replicate` for `reflect`.
        weights: Where training starts from: None, a local file, or the name of weights in a local cache: `published`,
            one of torchvision's sets (`IMAGENET1K_V2`), timm's (`timm/resnet50.a1_in1k`). Not kept in checkpoints.
        label_smoothing: In [0, 1), for the training loss only.
        mean: Of each channel of images in [0, 1], or one number for all; subtracted. Where `in_channels` is not 3, the
            default's average is used for each.
        std: Likewise; divided by.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        channels_last: Keep images and filters in NHWC memory order, which GPUs with tensor cores prefer.
        compile: Run the network through `torch.compile`.
        in_channels: Of the images; if not 3, the first convolution's filters are summed or widened, see
            `pcpad.models.input_channels`. None: as many as the data's have, on the command line; else 3.
        head: `new` starts with a new last layer, where `weights` are of other classes. Not kept in checkpoints.
        freeze: Parts that do not learn: `encoder` (all but the last layer), `norms`, names of parts. See `Task`.
        rates: Learning rates of parts, as factors. See `Task`.
        scheduler_interval: When the schedule is stepped. See `Task`.

    Example:
        >>> from torch.optim import SGD
        >>> task = ClassificationTask(network="resnet18", num_classes=10, optimizer=lambda p: SGD(p, lr=0.1))
        >>> task(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 10])
    """

    padding: str
    item_metric = "loss"
    units = {"loss": "nats"}  # noqa: RUF012  # a ClassVar in the base

    def __init__(
        self,
        network: str = "resnet50",
        num_classes: int | None = None,
        padding: str = "partial",
        fallback: str | None = None,
        weights: FileName | None = None,
        label_smoothing: float = 0.0,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        channels_last: bool = False,
        compile: bool = False,
        in_channels: int | None = None,
        head: Head | None = None,
        freeze: str | list[str] | None = None,
        rates: dict[str, float] | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        num_classes = 1000 if num_classes is None else num_classes
        in_channels = 3 if in_channels is None else plain(in_channels)
        mean, std = channel_statistics(mean, std, in_channels)
        network, num_classes = plain(network), plain(num_classes)
        super().__init__(
            network_name=network,
            padding=padding,
            num_classes=num_classes,
            mean=mean,
            std=std,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
            not_kept=["weights", "head"],
            freeze=freeze,
            rates=rates,
        )
        self.keep_resolved(num_classes=num_classes, in_channels=in_channels, mean=mean, std=std)
        if not 0 <= label_smoothing < 1:
            message = f"Expected argument `label_smoothing` to be in [0, 1), but got {label_smoothing}"
            raise UserValueError(message)
        self.fallback = fallback
        self.label_smoothing = label_smoothing
        self.channels_last = channels_last

        self.network = classifier(
            network, num_classes, padding=self.padding, weights=weights, fallback=fallback, head=head
        )
        self.in_channels = adapt_input_channels(self.network, in_channels, trained=bool(weights))
        self.starts_from(weights, head)
        if channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        if compile:
            self.network.compile()  # in place: names in the state dict stay
        self.val_metrics: Any = class_metrics(num_classes)
        self.test_metrics: Any = class_metrics(num_classes)

    def encoder_parts(self) -> list[str]:
        """All of the network except the head, whatever its parts are called."""
        return self.all_but_head()

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, C, H, W), uint8 or float in [0, 1], to logits (N, num_classes)."""
        image = self.normalize(image)
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross entropy of one batch."""
        loss = F.cross_entropy(self(batch["image"]), batch["label"], label_smoothing=self.label_smoothing)
        return self.log_loss(loss, len(batch["label"]))

    def _shared_step(self, batch: dict[str, Any], stage: str) -> None:
        metrics = self.val_metrics if stage == "val" else self.test_metrics
        logits = self(batch["image"]).float()
        log_class_metrics(self, stage, metrics, logits, batch["label"])
        if stage == "test" and self.items is not None:
            exact = logits if logits.device.type == "mps" else logits.double()
            self.items.add(class_scores(exact.softmax(dim=1), batch["label"], self.class_names))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Update `val/*`."""
        self._shared_step(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Update `test/*`."""
        self._shared_step(batch, "test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The five most likely classes of each image: `path` list, `label` (N, k) and `probability` (N, k)."""
        probability = self(batch["image"]).float().softmax(dim=1)
        top = probability.topk(min(5, probability.shape[1]), dim=1)
        return {"path": list(batch["path"]), "label": top.indices, "probability": top.values}

    def validation_names(self) -> set[str]:
        """The names of `val/*`."""
        return set(self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """A validation loss that is not finite ends the run."""
        check_finite(self.val_metrics["loss"].compute(), "val/loss")

    def on_test_epoch_end(self) -> None:
        """A test loss that is not finite ends the run."""
        check_finite(self.test_metrics["loss"].compute(), "test/loss")

    def prediction_writer(self, output: str | None = None) -> Callback:
        """The callback by which `pcpad predict` writes predictions."""
        return PredictionTable(output)
