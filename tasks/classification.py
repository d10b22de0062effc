"""Image classification: one label an image, top-1 and top-5 accuracy."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from pcpad.errors import UserValueError
from pcpad.models import classifier
from pcpad.tasks.callbacks.predictions import PredictionTable
from pcpad.tasks.class_scores import class_metrics, log_class_metrics
from pcpad.tasks.crosstesting import convert_checkpoint
from pcpad.tasks.finite import FiniteLoss, check_finite
from pcpad.tasks.hyperparameters import plain, save_plain_hyperparameters
from pcpad.tasks.inputs import check_class_count, data_class_names, normalise, warn_of_other_classes
from pcpad.tasks.optimization import optimizer_and_scheduler


class ClassificationTask(LightningModule):
    """Train, test and apply a classifier under a padding of choice.

    A batch is a dict: `image` (N, 3, H, W), uint8 or float in [0, 1]; `label` (N,) long. In prediction `image` and
    `path`, a list of N file names. Logged: `train/loss`, and for `val` and `test` each `loss`, `top1` and, with more
    than five classes, `top5`; fractions in [0, 1], every sample counted once over all processes.

    Args:
        network: A torchvision or timm name, see `pcpad.models.classifier`.
        num_classes: How many classes the network tells apart; must be the data's.
        padding: The padding of every convolution, see `pcpad.convert_padding`.
        fallback: What `reflect` does where a feature map is too small for it: `replicate`.
        weights: Where training starts from: None, `published`, or a local file. Not kept in checkpoints.
        label_smoothing: In [0, 1), for the training loss alone.
        mean: Of each channel of images in [0, 1]; subtracted.
        std: Of each channel of images in [0, 1]; divided by.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        channels_last: Keep images and filters in NHWC memory order, which GPUs with tensor cores prefer.
        compile: Run the network through `torch.compile`.

    Example:
        >>> from torch.optim import SGD
        >>> task = ClassificationTask(network="resnet18", num_classes=10, optimizer=lambda p: SGD(p, lr=0.1))
        >>> task(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 10])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: str = "resnet50",
        num_classes: int = 1000,
        padding: str = "partial",
        fallback: str | None = None,
        weights: str | None = None,
        label_smoothing: float = 0.0,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        network, padding, fallback = plain(network), plain(padding), plain(fallback)
        num_classes, label_smoothing, mean, std = plain(num_classes), plain(label_smoothing), plain(mean), plain(std)
        if not 0 <= label_smoothing < 1:
            message = f"Expected argument `label_smoothing` to be in [0, 1), but got {label_smoothing}"
            raise UserValueError(message)
        save_plain_hyperparameters(self, leave_out=["weights"])
        self.num_classes = num_classes
        self.padding = padding
        self.fallback = fallback
        self.network_name = network
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.channels_last = channels_last
        # What the weights were trained with: known for a run's own training and for checkpoints, not for other files.
        self.trained_with: str | None = None
        self.class_names: list[str] | None = None

        self.network = classifier(network, num_classes, padding=padding, weights=weights, fallback=fallback)
        if channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        if compile:
            self.network.compile()  # in place: names in the state dict stay
        # Hyper-parameters already; in the state dict they would keep published weights from loading strictly.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.val_metrics: Any = class_metrics(num_classes)
        self.test_metrics: Any = class_metrics(num_classes)
        self._finite = FiniteLoss()

    def configure_optimizers(self) -> Any:
        """One optimizer over all parameters, and its schedule."""
        return optimizer_and_scheduler(self.parameters(), self.optimizer, self.scheduler)

    def setup(self, stage: str) -> None:
        """Compare the data's classes with the network's before hours are spent on them."""
        check_class_count(self, stage, self.num_classes)

    def on_train_start(self) -> None:
        """What is trained here is trained with this padding, on these classes, whatever was loaded before."""
        self.trained_with = self.padding
        self.class_names = data_class_names(self)

    def on_test_start(self) -> None:
        """Class 3 of the network should be class 3 of the data."""
        warn_of_other_classes(self, self.class_names)

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 or float in [0, 1], to logits (N, num_classes)."""
        normalised = normalise(image, self.mean, self.std)
        if self.channels_last:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        return self.network(normalised)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross entropy of one batch."""
        loss = F.cross_entropy(self(batch["image"]), batch["label"], label_smoothing=self.label_smoothing)
        self._finite.update(loss, f"epoch {self.current_epoch}, step {self.global_step}")
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["label"]))
        return loss

    def _shared_step(self, batch: dict[str, Any], stage: str) -> None:
        metrics = self.val_metrics if stage == "val" else self.test_metrics
        log_class_metrics(self, stage, metrics, self(batch["image"]).float(), batch["label"])

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Update `val/*`."""
        self._shared_step(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Update `test/*`."""
        self._shared_step(batch, "test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The five likeliest classes of each image: `path` list, `label` (N, k) and `probability` (N, k)."""
        top = self(batch["image"]).float().softmax(dim=1).topk(min(5, self.num_classes), dim=1)
        return {"path": list(batch["path"]), "label": top.indices, "probability": top.values}

    def on_validation_epoch_start(self) -> None:
        """On a GPU, look at the training losses gathered so far, before a checkpoint of them is written."""
        self._finite.check(f"epoch {self.current_epoch}")

    def on_validation_epoch_end(self) -> None:
        """A validation loss that is no number ends the run."""
        check_finite(self.val_metrics["loss"].compute(), "val/loss")

    def on_test_epoch_end(self) -> None:
        """A test loss that is no number ends the run."""
        check_finite(self.test_metrics["loss"].compute(), "test/loss")

    def prediction_writer(self, output: str | None = None) -> Callback:
        """The callback with which the `predict` command writes what this task predicts."""
        return PredictionTable(output)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint names its classes, so that predictions can be read without the training data."""
        checkpoint["class_names"] = self.class_names
        checkpoint["trained_with"] = self.trained_with

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember what the weights were trained with; translate them to and from explicit padding."""
        self.class_names = checkpoint.get("class_names")
        self.trained_with = checkpoint.get("trained_with")
        convert_checkpoint(self, checkpoint)
