"""Image inpainting: fill holes, scored on the composite by l1, PSNR and SSIM."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from pcpad.errors import UserFileNotFoundError, UserTypeError, UserValueError
from pcpad.files import FileName
from pcpad.filling import count_unreached, fill
from pcpad.losses.inpainting import InpaintingLoss
from pcpad.metrics.inpainting import SIX_BINS, InpaintingScores, composite, picture_scores
from pcpad.models.averaging import AveragedNetwork
from pcpad.models.inpainting_unet import InpaintingUNet, inpainting_unet
from pcpad.models.inpainting_weights import load_start
from pcpad.models.restoration import RestorationNetwork, restoration_network
from pcpad.tasks.base import Task, plain, unit
from pcpad.tasks.callbacks.inpainted import InpaintedPictures
from pcpad.tasks.evaluation.files import EvaluationFiles
from pcpad.tasks.evaluation.inpainting_report import InpaintingReport
from pcpad.tasks.judges.inception import InceptionJudge
from pcpad.tasks.optimization import Interval

_SCORES = ("l1", "psnr", "ssim")
# Of the 2018 test set, whose pictures have 512x512 pixels.
_BORDER = 50


class InpaintingTask(Task):
    """Train, test and apply the inpainting U-Net, with partial or with ordinary convolutions.

    A batch is a dict: `image` (N, 3, H, W), uint8 or float in [0, 1]; `mask` (N, 1, H, W), 1 = valid, 0 = hole. In
    prediction one image of any size, its mask and `path`, a list of its file name. Logged: `train/loss` and its
    terms unweighted (`train/hole`, `train/style_out`, …); `val/l1` (percent, over whole images), `val/psnr`, `val/ssim`
    of the composite; for `test` the same, and each again for the hole ratios of the papers: `test/psnr/0.20-0.40` of
    the 2022 one, `test/psnr/0.10-0.20/border` (a hole within 50 pixels of the border) and `…/inside` of the 2018 one;
    with `inception` also `test/fid` and `test/inception_score`.

    Args:
        depth: How often the network halves the image, see `pcpad.models.inpainting_unet`; 8 at 512x512, 7 at 256x256.
        width: Channels of its first level.
        partial: Partial convolutions; false: the baseline with ordinary ones, which sees the mean color in holes.
        weights: A local file that training starts from, such as stage 1's checkpoint, or that is tested or applied;
            also naoto0804's and mmagic's files, with the `mean` and `std` that they were trained with. Of a checkpoint
            with `ema`, training starts from the network, and its average is tested or applied. Read when a training
            run starts, not when one resumes, nor together with a checkpoint; not kept in checkpoints.
        freeze_encoder_norm: The second stage: the encoder's batch norms keep the statistics of `weights`.
        loss_weights: Of `valid`, `hole`, `perceptual`, `style`, `tv`; those not named keep the published ones.
        vgg: VGG16's weights for the perceptual and style losses, `published` or a local file; read for training only.
        inception: A local file of Inception weights, for FID and the Inception Score of a test.
        mean: Of each channel of images in [0, 1]; subtracted before and added after the network.
        std: Of each channel of images in [0, 1]; divided by before and multiplied by after the network.
        optimizer: Makes the optimizer from the parameters; needed to train.
        scheduler: Makes the learning-rate schedule from the optimizer.
        freeze: Parts that do not learn: `encoder`, `norms`, names of parts. See `Task`.
        rates: Learning rates of parts, as factors. See `Task`.
        network: `inpainting_unet`, or `restoration`, see `pcpad.models.restoration`, whose depth and width are fixed;
            it takes images in [0, 1]: `mean` 0, `std` 1, and without `depth`, `width` and `partial`.
        ema: Decay of a running average of the network's weights, which is used in evaluation and prediction; 0: none.
        scheduler_interval: When the schedule is stepped. See `Task`.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> task = InpaintingTask(depth=3, width=8).eval()
        >>> image, mask = torch.zeros(1, 3, 20, 30, dtype=torch.uint8), torch.ones(1, 1, 20, 30)
        >>> task(image, mask).shape
        torch.Size([1, 3, 20, 30])
    """

    item_metric = "l1"
    units = {"l1": "percent of the value range"}  # noqa: RUF012  # a ClassVar in the base

    def __init__(
        self,
        depth: int = 8,
        width: int = 64,
        partial: bool = True,
        weights: FileName | None = None,
        freeze_encoder_norm: bool = False,
        loss_weights: dict[str, float] | None = None,
        vgg: FileName = "published",
        inception: FileName | None = None,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        freeze: str | list[str] | None = None,
        rates: dict[str, float] | None = None,
        network: Literal["inpainting_unet", "restoration"] = "inpainting_unet",
        ema: float = 0.0,
        scheduler_interval: Interval | None = None,
    ) -> None:
        partial = plain(partial)
        own_size = network == "restoration"
        super().__init__(
            network_name=network if own_size else f"{network} depth {depth} width {width}",
            padding="partial" if partial else "zeros",
            mean=mean,
            std=std,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
            not_kept=["weights", "vgg", "inception"],
            freeze=freeze,
            rates=rates,
        )
        self.loss_weights = InpaintingLoss.complete(plain(loss_weights))
        self.weights = weights
        self.freeze_encoder_norm = freeze_encoder_norm
        self.vgg = vgg
        self.inception = inception

        self.network: InpaintingUNet | RestorationNetwork
        if own_size:
            _refuse_unet_options(depth, width, partial, freeze_encoder_norm, tuple(mean), tuple(std))
            self.network = restoration_network(weights=None)
        else:
            self.network = inpainting_unet(depth, partial, width).freeze_encoder_batch_norm(freeze_encoder_norm)
        self.average = AveragedNetwork(self.network, ema) if ema else None
        self.loss: InpaintingLoss | None = None
        self.val_metric = InpaintingScores()
        self.test_metric = InpaintingScores()
        self.test_border_metric = InpaintingScores(SIX_BINS, border=_BORDER)
        self.judge: InceptionJudge | None = None
        self.starts_from(weights)
        self._started = False

    def configure_optimizers(self) -> Any:
        """One optimizer over the network's parameters, of which frozen ones get no gradient, and its schedule."""
        if self.frozen or self.rates:
            return super().configure_optimizers()
        return self.optimized(self.network.parameters())

    def configure_callbacks(self) -> list[Callback]:
        """The table of a test."""
        return [EvaluationFiles()]

    def setup(self, stage: str) -> None:
        """Read the files that training or testing needs, before hours are spent."""
        super().setup(stage)
        if stage == "fit":
            self.loss = InpaintingLoss(self.loss_weights, self.vgg)
            if self.loss.features is None:
                rank_zero_info("Training without VGG16's perceptual and style losses: their weights are 0.")
        elif self.weights is not None and not self._started and not self.trainer.ckpt_path:
            self._load(averaged=True)
        self.judge = InceptionJudge(self.inception) if stage == "test" and self.inception else None

    def on_fit_start(self) -> None:
        """Start from `weights`, unless a checkpoint was restored or training resumes."""
        first = "Train stage 1 first (pcpad fit --config inp_places2.yaml) and pass --model.weights its checkpoint."
        if self._started:
            return
        if self.weights is None:
            if self.freeze_encoder_norm:
                message = f"`freeze_encoder_norm` would freeze statistics of no data: it needs `weights`. {first}"
                raise UserValueError(message)
            return
        try:
            self._load()
        except FileNotFoundError as error:
            message = f"{error} {first}"
            raise UserFileNotFoundError(message) from error

    def _load(self, averaged: bool = False) -> None:
        assert self.weights is not None
        statistics = self.mean.flatten().tolist(), self.std.flatten().tolist()
        taken = load_start(self.network, self.weights, *statistics, averaged=averaged)
        if taken is not None:
            used = {"network": "network, not from its running average", "average": "running average of its network"}
            rank_zero_info(f"The network's weights are from {self.weights}, from the {used[taken]}")
        if self.average is not None:  # built as a copy of the random network, before the file was read
            self.average.restart(self.network)

    def on_train_start(self) -> None:
        """Record that weights trained here are trained with this convolution, whatever was loaded before."""
        super().on_train_start()
        self._started = True

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 or float in [0, 1], and masks (N, 1, H, W) to raw outputs (N, 3, H, W), float32.

        They are about in [0, 1], for all pixels: `pcpad.losses.composite` puts the known ones back.
        """
        network = self.network if self.average is None or self.training else self.average
        output = network(self.normalize(image), mask)
        restored: Tensor = output.to(self.mean.dtype) * self.std + self.mean
        return restored

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The weighted sum of the losses over one batch."""
        assert self.loss is not None
        terms = self.loss(self(batch["image"], batch["mask"]), unit(batch["image"]), batch["mask"])
        loss = terms.pop("loss")
        return self.log_loss(loss, len(batch["image"]), terms)

    def on_before_zero_grad(self, optimizer: Any) -> None:
        """Update the running average after a step of the optimizer."""
        if self.average is not None and self.trainer.global_step:
            self.average.update(self.network)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score one batch."""
        self.val_metric.update(*self._scored(batch))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score one batch, also with Inception if its file was given."""
        merged, truth, mask = self._scored(batch)
        for metric in (self.test_metric, self.test_border_metric):
            metric.update(merged, truth, mask)
        if self.judge is not None:
            self.judge.to(self.device).update(merged, truth)
        if self.items is not None:
            found = [picture_scores(*pair) for pair in zip(merged, truth, strict=True)]
            scores = {name: [one[place] for one in found] for place, name in enumerate(_SCORES)}
            self.items.add({**scores, "hole_ratio": 1 - mask.mean(dim=(1, 2, 3))})

    def _scored(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Composite, truth and mask, in float32."""
        truth, mask = unit(batch["image"]).float(), (batch["mask"] != 0).float()
        output = self(batch["image"], batch["mask"]).float().clamp(0, 1)
        return composite(output, truth, mask), truth, mask

    def validation_names(self) -> set[str]:
        """The names of `val/*`, whatever the losses."""
        return set(_SCORES)

    def on_validation_epoch_end(self) -> None:
        """Log `val/*`."""
        scores = self.val_metric.compute()
        self.val_metric.reset()
        self.log_dict({f"val/{name}": scores[name].float() for name in _SCORES}, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Log `test/*`, for hole ratios that had images."""
        scores = {**self.test_border_metric.compute(), **self.test_metric.compute()}
        self.test_border_metric.reset()
        self.test_metric.reset()
        self.report = InpaintingReport.of(scores)
        # The report states how many images a range had.
        shown = {name: value for name, value in scores.items() if not name.startswith("images/")}
        self.log_dict({f"test/{name}": value.float() for name, value in shown.items()})
        if self.judge is not None:
            self.log_dict({f"test/{name}": value for name, value in self.judge.compute().items()})
            self.judge = None

    @torch.no_grad()
    def sample_images(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The columns of the sheets of sample pictures: (N, 3, H, W) in [0, 1]; holes are gray in `input`."""
        truth, mask = unit(batch["image"]).float(), (batch["mask"] != 0).float()
        output = self(batch["image"], batch["mask"]).float().clamp(0, 1)
        shown = {"input": torch.where(mask != 0, truth, 0.5), "mask": mask.expand_as(truth), "output": output}
        return {**shown, "composite": composite(output, truth, mask), "truth": truth}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Fill one picture, a large one in tiles.

        Returns:
            `path` list, `image` (N, 3, H, W) of the batch's type and device, and `unreached`, a list of how many pixels
            of each hole no valid pixel reached.
        """
        image = fill(self, batch["image"], batch["mask"], device=self.device)
        unreached = count_unreached(self.network.reached, batch["mask"], device=self.device)
        return {"path": list(batch["path"]), "image": image, "unreached": unreached}

    def export_example(self, batch: int, height: int, width: int) -> dict[str, Tensor]:
        """Refuse: how a mask shrinks from layer to layer depends on its values, which an export would fix.

        Raises:
            UserTypeError: Always.
        """
        message = (
            "pcpad export writes networks of images, and InpaintingTask takes masks too: run it from Python "
            "(pcpad.commands.loading.load_task, pcpad.filling.fill) or by `pcpad predict`"
        )
        raise UserTypeError(message)

    def prediction_writer(self, output: str | None = None) -> Callback:
        """The callback by which `pcpad predict` writes predictions."""
        return InpaintedPictures(output)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record that there are weights, and what they were trained with."""
        super().on_load_checkpoint(checkpoint)
        self._started = True


def _refuse_unet_options(*given: Any) -> None:
    """Refuse options that a network of fixed depth and width would ignore."""
    names = ("depth", "width", "partial", "freeze_encoder_norm", "mean", "std")
    expected = (8, 64, True, False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    other = [f"{name} {value}" for name, value, fine in zip(names, given, expected, strict=True) if value != fine]
    if other:
        message = (
            f"Expected the restoration network with `mean` [0, 0, 0] and `std` [1, 1, 1] and without options of the "
            f"U-Net, but got {', '.join(other)}"
        )
        raise UserValueError(message)
