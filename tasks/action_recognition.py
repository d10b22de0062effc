"""Action recognition: one label per video, accuracy of clips and of whole videos."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from pcpad.errors import UserTypeError, UserValueError
from pcpad.files import FileName
from pcpad.metrics.video import VideoAccuracy
from pcpad.models.heads import Head
from pcpad.models.resnet3d import resnet3d
from pcpad.tasks.base import Task, check_finite, plain
from pcpad.tasks.callbacks.predictions import VideoPredictionTable
from pcpad.tasks.class_scores import class_metrics, class_scores, log_class_metrics, top_ks
from pcpad.tasks.optimization import Interval

_NETWORKS = {f"resnet3d{depth}": depth for depth in (18, 34, 50, 101)}
# ActivityNet's mean color in 0…255 and no scaling, the public code's default for Kinetics; here in units of [0, 1].
_MEAN = (114.77 / 255, 107.74 / 255, 99.48 / 255)
_STD = (1 / 255, 1 / 255, 1 / 255)


class ActionRecognitionTask(Task):
    """Train, test and apply a 3D network for clips under a padding of choice.

    A batch is a dict: `clip` (N, 3, T, H, W), uint8 or float in [0, 1]; `label` (N,) long; for testing also `video`
    (N,), the number of the video that a clip is a window of, the same on all processes; optional in validation. In
    prediction `clip`, `path`, a list of N file names, and the windows' `start` and `end`, lists of N seconds.

    Logged: `train/loss`; for `val` and `test` each `loss`, `clip_top1` and, with more than five classes, `clip_top5`,
    every clip counted once; for `test`, and for `val` where batches hold `video`, also `video_top1` and `video_top5`,
    of the mean softmax of each video's clips, every video counted once over all processes; `test/videos` is their
    number. Accuracies are fractions in [0, 1]. Papers report that of videos; that of clips is far lower.

    Args:
        network: `resnet3d18`, `resnet3d34`, `resnet3d50` or `resnet3d101`, see `pcpad.models.resnet3d`.
        num_classes: Number of classes; must match the data's.
        padding: The padding of the network's convolutions, see `pcpad.convert_padding`.
        fallback: What `padding` does where a feature map is too small for it, such as `replicate` for `reflect`.
        weights: Where training starts from: None or a local file, with the names of 3D-ResNets-PyTorch or of
            torchvision's `r3d_18`. Not kept in checkpoints.
        width: Channels of the stem; 64 is the published networks'.
        mean: Of each channel of clips in [0, 1]; subtracted.
        std: Of each channel of clips in [0, 1]; divided by. 1 / 255 scales clips to 0…255.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        variant: `no_max_pool`, `conv1_t_stride`, `conv1_t_size` of public networks, see `pcpad.models.resnet3d`.
        head: `new` starts with a new last layer, where `weights` are of other classes. Not kept in checkpoints.
        freeze: Parts that do not learn: `encoder` (all but the last layer), `norms`, names of parts. See `Task`.
        rates: Learning rates of parts, as factors. See `Task`.
        scheduler_interval: When the schedule is stepped. See `Task`.

    Raises:
        ValueError: An argument is out of range, or the weights do not fit.

    Example:
        >>> import torch
        >>> from torch.optim import SGD
        >>> options = {"network": "resnet3d18", "num_classes": 5, "width": 4}
        >>> task = ActionRecognitionTask(**options, optimizer=lambda p: SGD(p, lr=0.1)).eval()
        >>> task(torch.zeros(2, 3, 8, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 5])
    """

    padding: str
    item_metric = "loss"
    units = {"loss": "nats"}  # noqa: RUF012  # a ClassVar in the base

    def __init__(
        self,
        network: str = "resnet3d50",
        num_classes: int | None = None,
        padding: str = "partial",
        fallback: str | None = None,
        weights: FileName | None = None,
        width: int = 64,
        mean: tuple[float, float, float] = _MEAN,
        std: tuple[float, float, float] = _STD,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        variant: dict[str, int | bool] | None = None,
        head: Head | None = None,
        freeze: str | list[str] | None = None,
        rates: dict[str, float] | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        num_classes = 400 if num_classes is None else num_classes
        network, num_classes = plain(network), plain(num_classes)
        super().__init__(
            network_name=network,
            padding=padding,
            num_classes=num_classes,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
            not_kept=["weights", "head"],
            freeze=freeze,
            rates=rates,
        )
        self.keep_resolved(num_classes=num_classes)
        if network not in _NETWORKS:
            message = f"Expected argument `network` to be one of {', '.join(_NETWORKS)}, but got {network!r}"
            raise UserValueError(message)
        self.set_normalization(mean, std, dims=3)
        shape: dict[str, Any] = {"fallback": fallback, "width": width, "variant": plain(variant)}
        self.network = resnet3d(_NETWORKS[network], num_classes, self.padding, weights, head=head, **shape)
        self.starts_from(weights, head)
        self.val_metrics: Any = class_metrics(num_classes, "clip_")
        self.test_metrics: Any = class_metrics(num_classes, "clip_")
        self.val_videos = VideoAccuracy(num_classes, top_ks(num_classes))
        self.video_accuracy = VideoAccuracy(num_classes, top_ks(num_classes))

    def forward(self, clip: Tensor) -> Tensor:
        """Clips (N, 3, T, H, W), uint8 or float in [0, 1], to logits (N, num_classes)."""
        logits: Tensor = self.network(self.normalize(clip))
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross entropy of one batch."""
        loss = F.cross_entropy(self(batch["clip"]), batch["label"])
        return self.log_loss(loss, len(batch["label"]))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Update `val/*`, of clips and, where batches have `video`, of videos."""
        logits = self(batch["clip"]).float()
        log_class_metrics(self, "val", self.val_metrics, logits, batch["label"])
        if "video" in batch:
            self.val_videos.update(logits, batch["label"], batch["video"])

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Update `test/*`, of windows and of the videos they belong to."""
        logits = self(batch["clip"]).float()
        log_class_metrics(self, "test", self.test_metrics, logits, batch["label"])
        self.video_accuracy.update(logits, batch["label"], batch["video"])
        if self.items is not None:
            self.items.belong_to(batch["video"])

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Each window's probabilities: `path`, `start` and `end` (seconds) lists, `probability` (N, K)."""
        probability = self(batch["clip"]).float().softmax(dim=1)
        kept = {name: batch[name] for name in ("start", "end")}
        return {"path": list(batch["path"]), **kept, "probability": probability}

    def validation_names(self) -> set[str]:
        """The names of `val/*`; those of videos are logged if batches have `video`."""
        assert self.num_classes is not None
        return {*self.val_metrics, *(f"video_top{k}" for k in top_ks(self.num_classes))}

    def on_validation_epoch_start(self) -> None:
        """Forget the videos of a validation that was interrupted."""
        super().on_validation_epoch_start()
        self.val_videos.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy of videos; a validation loss that is not finite ends the run."""
        check_finite(self.val_metrics["loss"].compute(), "val/loss")
        # Every process has batches, so all of them have seen videos or none has.
        if self.val_videos.update_called:
            self._log_videos("val", self.val_videos)

    def on_test_epoch_start(self) -> None:
        """Forget the videos of a test that was interrupted."""
        self.video_accuracy.reset()

    def on_test_epoch_end(self) -> None:
        """Log the accuracy of videos; a test loss that is not finite ends the run."""
        check_finite(self.test_metrics["loss"].compute(), "test/loss")
        if self.items is not None:
            videos, labels, probability = self.video_accuracy.per_video()
            self.items.add_groups(videos, class_scores(probability, labels, self.class_names))
        self.log("test/videos", self._log_videos("test", self.video_accuracy))

    def _log_videos(self, stage: str, accuracy: VideoAccuracy) -> Tensor:
        scores = accuracy.compute()
        videos = scores.pop("videos")
        # Already summed over the processes; reset by hand since it is not the metric that is logged.
        self.log_dict({f"{stage}/video_{name}": value.float() for name, value in scores.items()}, prog_bar=True)
        accuracy.reset()
        return videos.float()

    def export_example(self, batch: int, height: int, width: int) -> dict[str, Tensor]:
        """Refuse: `pcpad export` writes networks of images, with height and width alone.

        Raises:
            UserTypeError: Always.
        """
        message = (
            "pcpad export writes networks of images, and ActionRecognitionTask takes clips: "
            "export its `network` from Python (torch.export.export(task.network, (clip,)))"
        )
        raise UserTypeError(message)

    def prediction_writer(self, output: str | None = None) -> Callback:
        """The callback by which `pcpad predict` writes predictions."""
        return VideoPredictionTable(output)
