"""Image synthesis: SPADE from label and instance maps, with ordinary or panoptic partial convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from pcpad.errors import UserValueError
from pcpad.files import FileName
from pcpad.losses.gan import GeneratorLoss, discriminator_hinge
from pcpad.models.averaging import AveragedNetwork
from pcpad.models.patch_discriminator import patch_discriminator
from pcpad.models.spade import Upsampling, spade_generator
from pcpad.panoptic import PanopticPlan
from pcpad.tasks.base import Task, check_finite, plain, unit
from pcpad.tasks.callbacks.synthesized import SynthesizedPictures
from pcpad.tasks.judges.synthesis import JudgeFiles, SynthesisJudges
from pcpad.tasks.optimization import Interval
from pcpad.tasks.pictures.palette import palette
from pcpad.tasks.schedules import refuse_other_options
from pcpad.tasks.starts import warn_of_other_start
from pcpad.tasks.synthesis_inputs import conditioning, judge_both
from pcpad.tasks.synthesis_start import start_synthesis

_OPTIONS = ("generator_optimizer", "discriminator_optimizer", "scheduler", "scheduler_interval")


class SynthesisTask(Task):
    """Train, test and apply a SPADE generator against a multi-scale discriminator.

    A batch is a dict: `image` (N, 3, H, W), uint8 or float in [0, 1]; `label` (N, 1, H, W) integers in [0,
    num_labels); `instance` (N, 1, H, W) integers, different for objects of one label; for the judge also `label_full`
    (N, 1, H0, W0), the labels at their own size; in prediction no image but `path`, a list of names. H and W are
    divisible by 64. It may hold `plans`, see `pcpad.models.spade.plans_of_strides`, of `panoptic_ids(label,
    instance)`: a data module makes them in its workers where `panoptic_plans` says so. Logged: `train/loss` (the
    generator's) and its terms `train/hinge`, `train/feature_matching`, `train/vgg`, and `train/discriminator`; the
    same for `val`, and `val/l1`, the mean distance to the real image in [0, 1]; with `judge` `val/mIoU`, and for
    `test` `test/PROTOCOL/mIoU`, `…/accuracy`, `…/real_mIoU`, `…/real_accuracy`; with `detector` `test/PROTOCOL/detAP`,
    `…/detAP50`, `…/real_detAP`, `…/real_detAP50`; with `inception` `test/fid` and `test/inception_score`. Everything
    except training uses the average.

    Args:
        num_labels: One-hot channels; the edge map is one more.
        ngf: Channels of the generator's last stage; 64 as published.
        ndf: Channels of the discriminators' first; 64 as published.
        partial: Panoptic partial convolution in the generator; false: ordinary convolution.
        panoptic_upsampling: Upsample within instances, see `pcpad.models.spade.panoptic_upsample`.
        loss_weights: Of `feature_matching` and `vgg`; those not named keep the published 10.
        vgg: VGG19's weights, `published` or a local file; read for training only.
        ema: Decay of the generator's running average.
        judge: For testing, a segmentation checkpoint of this suite or DRN-D-105's file.
        protocols: How the judge compares, see `SegmentationJudge`; `val/mIoU` uses the first.
        detector: For testing, Faster R-CNN's weights, `published` (torchvision's of COCO) or a local file; it needs
            Cityscapes' instance ids, see `DetectionJudge`.
        inception: A local file of Inception weights, for FID of a test.
        generator_optimizer: Makes the generator's optimizer from its parameters; needed to train.
        discriminator_optimizer: Likewise.
        scheduler: Makes a learning-rate schedule from an optimizer; each of the two gets its own.
        weights: A local file that training starts from, or that is tested or applied: a generator with the public
            code's names (`latest_net_G.pth`), or a checkpoint of this task, whose discriminators are then used too.
            Not kept in checkpoints.
        num_upsampling_layers: The public code's option: `more`, as for Cityscapes, or `normal`, whose weights have the
            same names and shapes, see `pcpad.models.spade_generator`.
        freeze: Parts of the generator that do not learn: `norms` (its batch norms keep their statistics) and names of
            parts (`head_0`, `up_3`). It has no encoder; the discriminators, which are not kept for use, learn all.
        scheduler_interval: When the schedule is stepped. See `Task`.

    Raises:
        ValueError: An argument is out of range, or the generator has no such part.
    """

    export_outputs = ("image",)
    item_metric = "l1"
    units = {"l1": "value range"}  # noqa: RUF012  # a ClassVar in the base
    learner = "generator"

    def __init__(
        self,
        num_labels: int = 35,
        ngf: int = 64,
        ndf: int = 64,
        partial: bool = True,
        panoptic_upsampling: bool = False,
        loss_weights: dict[str, float] | None = None,
        vgg: FileName = "published",
        ema: float = 0.999,
        judge: FileName | None = None,
        protocols: Sequence[str] = ("upsample_image",),
        detector: FileName | None = None,
        inception: FileName | None = None,
        generator_optimizer: OptimizerCallable | None = None,
        discriminator_optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        weights: FileName | None = None,
        num_upsampling_layers: Upsampling = "more",
        freeze: str | list[str] | None = None,
        scheduler_interval: Interval | None = None,
    ) -> None:
        num_labels, partial = plain(num_labels), plain(partial)
        super().__init__(
            network_name=f"spade_generator ngf {ngf}",
            padding="partial" if partial else "zeros",
            scheduler=scheduler,
            scheduler_interval=scheduler_interval,
            not_kept=["weights", "vgg", "judge", "protocols", "detector", "inception"],
            clips_gradients=False,
            freeze=freeze,
        )
        self.loss_weights = GeneratorLoss.complete(plain(loss_weights))
        self.judge_files = JudgeFiles(judge, protocols, detector, inception)
        self.automatic_optimization = False
        self.num_labels = num_labels
        self.vgg = vgg
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer

        upsampling: dict[str, Any] = {"num_upsampling_layers": plain(num_upsampling_layers)}
        upsampling["panoptic_upsampling"] = panoptic_upsampling
        self.generator = spade_generator(num_labels + 1, partial, ngf=ngf, **upsampling)
        self.discriminator = patch_discriminator(num_labels + 4, ndf=ndf)
        self.average = AveragedNetwork(self.generator, ema)
        self.random_parts = ["generator"]
        if weights is not None:
            start_synthesis(self, weights, upsampling["num_upsampling_layers"])
            warn_of_other_start(self, weights)
            self.random_parts = []
        self.freeze_parts()
        self.loss: GeneratorLoss | None = None
        self.judges = SynthesisJudges()

    def configure_optimizers(self) -> Any:
        """The generator's and the discriminator's optimizer, each with a schedule of its own."""
        pairs = {
            "generator_optimizer": (self.generator, self.generator_optimizer),
            "discriminator_optimizer": (self.discriminator, self.discriminator_optimizer),
        }
        for name, (_, optimizer) in pairs.items():
            if optimizer is None:
                message = f"Training needs `{name}` (the packaged recipes have one: `pcpad configs`)"
                raise UserValueError(message)
        made = [
            self.optimized([one for one in net.parameters() if one.requires_grad], optimizer=make)
            for net, make in pairs.values()
        ]
        if any("monitor" in one.get("lr_scheduler", {}) for one in made):
            message = (
                "A GAN's losses do not fall to a plateau, so no `scheduler` can wait for one here: pass "
                "pcpad.tasks.schedules.LinearDecay, or one of PyTorch's that counts epochs or steps"
            )
            raise UserValueError(message)
        return made

    def setup(self, stage: str) -> None:
        """Read the files that training or testing needs, before hours are spent."""
        super().setup(stage)
        self.judges = self.judge_files.read(stage, self.data_offer("train_ids"))
        if stage != "fit":
            return
        self.loss = GeneratorLoss(self.loss_weights, self.vgg)
        if self.loss.features is None:
            rank_zero_info("Training without VGG19's perceptual loss: its weight is 0.")
        # VGG19 is the same on all processes: broadcasting it at every step would be wasted.
        self._ddp_params_and_buffers_to_ignore = [f"loss.{name}" for name, _ in self.loss.named_buffers()]
        if isinstance(self.trainer.strategy, DDPStrategy):
            # Each of a step's two backward passes only reaches one of the networks.
            self.trainer.strategy._ddp_kwargs["find_unused_parameters"] = True

    def on_train_epoch_start(self) -> None:
        """Set the schedules to this epoch, whether the checkpoint was made before or after a step."""
        for config in self.trainer.lr_scheduler_configs:
            while config.interval == "epoch" and config.scheduler.last_epoch < self.current_epoch:
                config.scheduler.step()  # type: ignore[call-arg]  # none that waits for a metric

    @property
    def panoptic_plans(self) -> bool:
        """Whether batches should contain `plans`."""
        return self.generator.partial

    def forward(self, label: Tensor, instance: Tensor, plans: dict[int, PanopticPlan] | None = None) -> Tensor:
        """Maps (N, 1, H, W) of label and instance ids to images (N, 3, H, W) in [0, 1], by the average, in float32."""
        image = self.average(*conditioning(label, instance, self.num_labels), plans)
        unit: Tensor = (image.float() + 1) / 2
        return unit

    def export_example(self, batch: int, height: int, width: int) -> dict[str, Tensor]:
        """Maps of random ids, for exporting `forward`."""
        label = torch.randint(self.num_labels, (batch, 1, height, width))
        return {"label": label, "instance": 1000 * label + torch.randint(2, label.shape)}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One step of the generator, and one of the discriminator on the same images."""
        assert self.loss is not None
        generator_optimizer, discriminator_optimizer = self.optimizers()  # type: ignore[attr-defined]
        semantics, ids = conditioning(batch["label"], batch["instance"], self.num_labels)
        real = 2 * unit(batch["image"]) - 1

        with generator_optimizer.toggle_model():
            fake = self.generator(semantics, ids, batch.get("plans"))
            terms = self.loss(fake, real, *judge_both(self.discriminator, semantics, fake, real))
            loss = terms.pop("loss")
            self._step(generator_optimizer, loss)
        self.average.update(self.generator)
        with discriminator_optimizer.toggle_model():
            judged = discriminator_hinge(*judge_both(self.discriminator, semantics, fake.detach(), real))
            self._step(discriminator_optimizer, judged)

        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "step":
                config.scheduler.step()  # type: ignore[call-arg]  # none that waits for a metric
        self.log_loss(loss, len(real), terms | {"discriminator": judged})

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Losses and, with a judge, mIoU of the average's images."""
        semantics, ids = conditioning(batch["label"], batch["instance"], self.num_labels)
        real, fake = 2 * unit(batch["image"]) - 1, self.average(semantics, ids, batch.get("plans"))
        terms = {"l1": (fake.float() - real).abs().mean() / 2}
        check_finite(terms["l1"], "The distance of generated from real images")
        judged = judge_both(self.discriminator, semantics, fake, real)
        if self.loss is not None:  # `validate` reads no VGG19
            terms |= self.loss(fake, real, *judged)
        terms["discriminator"] = discriminator_hinge(*judged)
        self.log_dict({f"val/{name}": value for name, value in terms.items()}, batch_size=len(real))
        self.judges.update((fake.float() + 1) / 2, unit(batch["image"]).float(), batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Pass one batch to the judges, generated and real."""
        fake, truth = self(batch["label"], batch["instance"], batch.get("plans")), unit(batch["image"]).float()
        check_finite(fake.mean(), "The mean of the generated images")
        each = (fake - truth).abs().mean(dim=(1, 2, 3))
        self.log("test/l1", each.mean(), batch_size=len(fake))
        if self.items is not None:
            self.items.add({"l1": each})
        self.judges.update(fake, truth, batch)

    def validation_names(self) -> set[str]:
        """The names of `val/*`: terms with weight 0 are not computed, and mIoU needs a judge."""
        terms = {name for name, weight in self.loss_weights.items() if weight}
        judged = {"mIoU"} if self.judge_files.segmentation is not None else set()
        return {"l1", "loss", "hinge", "discriminator", *terms, *judged}

    def on_validation_epoch_end(self) -> None:
        """Log the judge's `val/mIoU`."""
        scores = self.judges.compute()
        if scores:
            self.log("val/mIoU", scores[f"{self.judge_files.protocols[0]}/mIoU"], prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Log the judges' `test/*`, each under its protocol's name."""
        self.log_dict({f"test/{name}": value for name, value in self.judges.compute().items()})

    @torch.no_grad()
    def sample_images(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The columns of the sheets, (N, 3, H, W) each: the labels' colors, the real image, the generated one."""
        colors = torch.from_numpy(palette(self.num_labels, self.data_offer("class_colors")))
        labels = colors.to(batch["label"].device)[batch["label"][:, 0].long()].permute(0, 3, 1, 2)
        fake = self(batch["label"], batch["instance"]).clamp(0, 1)
        return {"labels": labels, "real": batch["image"], "synthesized": (fake * 255).round().byte()}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Synthesize images: `path` list and `image` (N, 3, H, W) uint8."""
        image = self(batch["label"], batch["instance"], batch.get("plans"))
        check_finite(image.mean(), "The mean of the generated images")
        return {"path": list(batch["path"]), "image": (image.clamp(0, 1) * 255).round().byte()}

    def prediction_writer(self, output: str | None = None) -> Callback:
        """The callback by which `pcpad predict` writes predictions."""
        return SynthesizedPictures(output)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record what the weights were trained with; refuse to resume with other optimizers."""
        super().on_load_checkpoint(checkpoint)
        refuse_other_options(self, checkpoint, _OPTIONS)
