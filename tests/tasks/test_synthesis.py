"""The synthesis task: its two steps against a loop by hand, resuming, processes, judges, pictures."""

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image
from torch.optim import Adam
from torch.utils.data import DataLoader

from pcpad.errors import UserValueError
from pcpad.losses import GeneratorLoss, discriminator_hinge
from pcpad.metrics.confusion import SegmentationIoU
from pcpad.models import drn_d_105
from pcpad.models.averaging import AveragedNetwork
from pcpad.tasks import SegmentationTask, SynthesisTask
from pcpad.tasks.base import NonFiniteLossError
from pcpad.tasks.callbacks import SynthesizedPictures
from pcpad.tasks.judges.segmentation import SegmentationJudge, load_judge
from pcpad.tasks.schedules import LinearDecay
from pcpad.tasks.synthesis_inputs import conditioning

LABELS = 4
TRAIN_IDS = (255, 0, 1, 2)


class Blocks(LightningDataModule):
    """Four images of colored blocks, a block an instance."""

    train_ids = TRAIN_IDS
    class_colors = ((0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200))

    def __init__(self, names=(), batch_size=2, size=4):
        super().__init__()
        self.names, self.batch_size, self.size = names, batch_size, size

    def items(self):
        draw = torch.Generator().manual_seed(0)
        colors = torch.tensor(self.class_colors, dtype=torch.uint8)
        for index in range(len(self.names) or self.size):
            instance = torch.randint(0, 3, (4, 4), generator=draw).repeat_interleave(16, 0).repeat_interleave(16, 1)
            label = torch.randint(0, LABELS, (4, 4), generator=draw).repeat_interleave(16, 0).repeat_interleave(16, 1)
            item = {"label": label[None], "instance": 1000 * label[None] + instance}
            if self.names:
                yield item | {"path": str(self.names[index])}
            else:
                full = label.repeat_interleave(2, 0).repeat_interleave(2, 1)[None].to(torch.uint8)
                yield item | {"image": colors[label].permute(2, 0, 1).contiguous(), "label_full": full}

    def train_dataloader(self):
        return DataLoader(list(self.items()), batch_size=self.batch_size)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator_adam(parameters):
    return Adam(parameters, lr=0.001, betas=(0.0, 0.9), weight_decay=0.0)


def discriminator_adam(parameters):
    return Adam(parameters, lr=0.004, betas=(0.0, 0.9), weight_decay=0.0)


def decay(optimizer):
    return LinearDecay(optimizer, total=4, start=1)


def task(**options):
    torch.manual_seed(0)
    small = {"num_labels": LABELS, "ngf": 1, "ndf": 4, "loss_weights": {"vgg": 0}, "ema": 0.9}
    made = {"generator_optimizer": generator_adam, "discriminator_optimizer": discriminator_adam, "scheduler": decay}
    return SynthesisTask(**small | made | options)


def trainer(folder, *callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"default_root_dir": folder, "max_epochs": 1, "callbacks": [*callbacks], "num_sanity_val_steps": 0}
    return Trainer(**quiet | {"enable_checkpointing": False, "log_every_n_steps": 1} | options)


@pytest.mark.parametrize("partial", [True, False])
def test_steps_are_those_of_a_loop_by_hand(partial, tmp_path):
    model = task(partial=partial)
    generator, discriminator = copy.deepcopy(model.generator).train(), copy.deepcopy(model.discriminator).train()
    first, second = generator_adam(generator.parameters()), discriminator_adam(discriminator.parameters())
    average = [one.detach().clone() for one in generator.parameters()]
    for count, batch in enumerate(Blocks().train_dataloader(), start=1):
        semantics, ids = conditioning(batch["label"], batch["instance"], LABELS)
        real = batch["image"] / 255 * 2 - 1

        def judge(fake, semantics=semantics, real=real):
            both = torch.cat([torch.cat([semantics, fake], 1), torch.cat([semantics, real], 1)])
            maps = discriminator(both)
            return [[one[:2] for one in scale] for scale in maps], [[one[2:] for one in scale] for scale in maps]

        fake = generator(semantics, ids)
        loss = GeneratorLoss({"vgg": 0})(fake, real, *judge(fake))["loss"]
        first.zero_grad()
        loss.backward()
        first.step()
        keep = min(0.9, (1 + count) / (10 + count))
        average = [keep * a + (1 - keep) * b.detach() for a, b in zip(average, generator.parameters(), strict=True)]
        second.zero_grad()
        discriminator_hinge(*judge(fake.detach())).backward()
        second.step()
    run = trainer(tmp_path)
    run.fit(model, Blocks())
    assert run.global_step == 4  # both optimizers count
    for ours, theirs in ((model.generator, generator), (model.discriminator, discriminator)):
        for (name, value), wanted in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(value, wanted, msg=name)
    for value, wanted in zip(model.average.network.parameters(), average, strict=True):
        torch.testing.assert_close(value, wanted)
    logged = set(run.callback_metrics)
    assert {"train/loss", "train/hinge", "train/feature_matching", "train/discriminator", "val/l1"} <= logged
    assert "train/vgg" not in logged
    assert all(np.isfinite(float(value)) for value in run.callback_metrics.values())
    assert model.trained_with == ("partial" if partial else "zeros")
    assert {name.split(".")[0] for name in model.state_dict()} == {"generator", "discriminator", "average"}


@pytest.mark.faults
def test_frozen_parts_of_the_generator_do_not_change(tmp_path):
    model = task(freeze=["norms", "head_0"], weights=None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="norms, head_0 of SynthesisTask is frozen at random values"):
        trainer(tmp_path).fit(model, Blocks())
    after = model.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("generator.head_0.", "average.network.head_0."))}
    # Spectral norms go on finding the largest direction of weights that stay as they are.
    moved = {name for name in frozen - same if not name.endswith(("_u", "_v", ".0", ".1"))}
    assert not moved, sorted(moved)
    statistics = {name for name in before if name.startswith("generator.") and name.endswith("running_mean")}
    assert statistics <= same, "batch norms keep their statistics"
    assert any(name.startswith("generator.up_3") for name in set(before) - same)
    assert any(name.startswith("discriminator") for name in set(before) - same)


@pytest.mark.faults
def test_what_can_be_frozen_is_said():
    with pytest.raises(UserValueError, match=r"parts of .*\(.*head_0.*\) or norms, but got 'encoder'"):
        task(freeze="encoder")


@pytest.mark.slow
def test_training_comes_nearer_to_the_images(tmp_path):
    model = task(scheduler=None)
    (before,) = trainer(tmp_path).test(model, Blocks(), verbose=False)
    trainer(tmp_path, max_epochs=10).fit(model, Blocks())
    (after,) = trainer(tmp_path).test(model, Blocks(), verbose=False)
    assert after["test/l1"] < 0.95 * before["test/l1"]


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append([one.param_groups[0]["lr"] for one in trainer.optimizers])


def flat(state):
    if isinstance(state, dict):
        return [item for key in sorted(state, key=str) for item in flat(state[key])]
    if isinstance(state, (list, tuple)):
        return [item for one in state for item in flat(one)]
    return [state]


@pytest.mark.slow
def test_a_resumed_run_ends_like_one_that_never_stopped(tmp_path):
    whole, rates = task(), Rates()
    run = trainer(tmp_path, rates, max_epochs=4)
    run.fit(whole, Blocks())
    expected = [0.001, 0.001, 0.001 * 2 / 3, 0.001 / 3]
    assert [one for one, _ in rates.seen[::2]] == pytest.approx(expected)
    assert [one for _, one in rates.seen] == pytest.approx([4 * one for one, _ in rates.seen])
    run.save_checkpoint(tmp_path / "whole.ckpt")
    half = trainer(tmp_path, max_epochs=2)
    half.fit(task(), Blocks())
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed = trainer(tmp_path, rates, max_epochs=4)
    resumed.fit(task(), Blocks(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    resumed.save_checkpoint(tmp_path / "resumed.ckpt")
    assert rates.seen[8:] == rates.seen[4:8]
    one, other = (torch.load(tmp_path / name, weights_only=True) for name in ("whole.ckpt", "resumed.ckpt"))
    assert int(one["state_dict"]["average.updates"]) == 8
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        pairs = list(zip(flat(one[part]), flat(other[part]), strict=True))
        assert len(pairs) > 5
        assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs), part
    assert one["global_step"] == other["global_step"] == 16
    assert one["trained_with"] == "partial"


def test_resuming_with_other_optimizers_is_refused(tmp_path):
    run = trainer(tmp_path)
    run.fit(task(), Blocks())
    run.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["hyper_parameters"]["generator_optimizer"] = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}
    torch.save(content, tmp_path / "a.ckpt")
    model = task()
    model.hparams["generator_optimizer"] = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.2}}
    with pytest.raises(ValueError, match="generator_optimizer differ"):
        trainer(tmp_path, max_epochs=2).fit(model, Blocks(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_schedules_that_wait_for_a_metric_are_refused(tmp_path):
    model = task(scheduler=lambda optimizer: ReduceLROnPlateau(optimizer, monitor="val/l1"))
    with pytest.raises(ValueError, match=r"no `scheduler` can wait for one here: .*LinearDecay"):
        trainer(tmp_path).fit(model, Blocks())


def test_a_loss_gone_wrong_is_not_blamed_on_missing_clipping(tmp_path):
    model = task()
    torch.nn.init.constant_(model.generator.fc.weight, float("nan"))
    with pytest.raises(NonFiniteLossError, match="Lower the learning rate or warm it up") as caught:
        trainer(tmp_path).fit(model, Blocks())
    assert "clip" not in str(caught.value)  # Lightning refuses to clip here
    with pytest.raises(MisconfigurationException, match="gradient_clip_val"):
        trainer(tmp_path, gradient_clip_val=1.0).fit(task(), Blocks())


class Counted(DataLoader):
    """A loader that goes on where its state was saved, as those of the data modules do."""

    first = seen = 0

    def __iter__(self):
        self.seen, self.first = self.first, 0
        for batch in list(super().__iter__())[self.seen :]:
            self.seen += 1
            yield batch

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state_dict):
        self.first = state_dict["seen"]


class CountedBlocks(Blocks):
    def train_dataloader(self):
        return Counted(list(self.items()), batch_size=2)


def test_a_run_broken_off_within_an_epoch_ends_like_one_that_never_stopped(tmp_path):
    class Save(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch == 1 and batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "within.ckpt")

    runs = [trainer(tmp_path, *callbacks, max_epochs=3) for callbacks in ([Save()], [])]
    runs[0].fit(task(), CountedBlocks(size=8))
    assert torch.load(tmp_path / "within.ckpt", weights_only=True)["global_step"] == 12  # 4 + 2 batches
    runs[1].fit(task(), CountedBlocks(size=8), ckpt_path=tmp_path / "within.ckpt", weights_only=True)
    states = []
    for run in runs:
        run.save_checkpoint(tmp_path / "end.ckpt")
        states.append(torch.load(tmp_path / "end.ckpt", weights_only=True))
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        pairs = list(zip(*(flat(state[part]) for state in states), strict=True))
        assert len(pairs) > 5
        assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs), part
    assert [state["global_step"] for state in states] == [24, 24]


@pytest.mark.slow
def test_export_with_a_dynamic_batch():
    model = task(panoptic_upsampling=True).eval().requires_grad_(False)
    axes = {0: torch.export.Dim.DYNAMIC}
    inputs = tuple(model.export_example(2, 64, 64).values())
    module = torch.export.export(model, inputs, dynamic_shapes=(axes, axes)).module()
    for batch in (1, 3):
        label, instance = model.export_example(batch, 64, 64).values()
        torch.testing.assert_close(module(label, instance), model(label, instance), rtol=1e-4, atol=1e-5)


class SharedBlocks(Blocks):
    def train_dataloader(self):
        items = list(self.items())
        return DataLoader(items[self.trainer.global_rank :: self.trainer.world_size], batch_size=2)

    val_dataloader = train_dataloader


class WriteState(Callback):
    def __init__(self, folder):
        self.folder = folder

    def on_train_end(self, trainer, pl_module):
        parts = {name: value for name, value in pl_module.named_parameters() if not name.startswith("loss.")}
        torch.save(
            {name: value.detach() for name, value in parts.items()}, self.folder / f"rank{trainer.global_rank}.pt"
        )


@pytest.mark.slow
@pytest.mark.own_process
def test_two_processes_stay_identical(tmp_path):
    run = trainer(tmp_path, WriteState(tmp_path), devices=2, strategy="ddp_fork", use_distributed_sampler=False)
    before = {name: value.clone() for name, value in task().named_parameters()}
    run.fit(task(), SharedBlocks(size=8))
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert set(first) == set(second) == set(before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], before[name])}
    assert changed == {"generator", "discriminator", "average"}


@pytest.mark.faults
@pytest.mark.slow
def test_five_images_on_two_processes_are_five(tmp_path, monkeypatch):
    found = []
    for devices in (1, 2):
        monkeypatch.delenv("MASTER_PORT", raising=False)  # the last run's may not be free again yet
        run = trainer(tmp_path, devices=devices, strategy="auto" if devices == 1 else "ddp_fork")
        (tested,) = run.test(task(), Blocks(size=5), verbose=False)
        monkeypatch.delenv("MASTER_PORT", raising=False)
        run = trainer(tmp_path, devices=devices, strategy="auto" if devices == 1 else "ddp_fork")
        (validated,) = run.validate(task(), Blocks(size=5), verbose=False)
        found.append(tested | validated)
    assert {"test/l1", "val/l1", "val/discriminator"} <= set(found[0])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_conditioning_by_hand():
    draw = torch.Generator().manual_seed(0)
    label, instance = (torch.randint(0, 3, (2, 1, 5, 6), generator=draw) for _ in range(2))
    instance = instance * 7 - 3  # negative ids too
    semantics, ids = conditioning(label.to(torch.uint8), instance.to(torch.int16), 3)
    assert semantics.shape == (2, 4, 5, 6)
    for n in range(2):
        for y in range(5):
            for x in range(6):
                near = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
                near = [(r, c) for r, c in near if 0 <= r < 5 and 0 <= c < 6]
                edge = any(instance[n, 0, r, c] != instance[n, 0, y, x] for r, c in near)
                one_hot = [float(label[n, 0, y, x] == k) for k in range(3)]
                assert semantics[n, :, y, x].tolist() == [*one_hot, float(edge)]
    pairs = {(int(a), int(b)) for a, b in zip(label.flatten(), instance.flatten(), strict=True)}
    assert len(ids.unique()) == len(pairs)


def test_bad_maps_are_named():
    label, instance = torch.zeros(2, 1, 4, 4, dtype=torch.long), torch.zeros(2, 1, 4, 4, dtype=torch.long)
    label[1, 0, 2, 3] = 7
    with pytest.raises(ValueError, match=r"Label 7 at row 2, column 3 of sample 1 .* 0 ... 3"):
        conditioning(label, instance, 4)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\)"):
        conditioning(label.expand(2, 3, 4, 4), instance, 4)
    with pytest.raises(TypeError, match=r"instance ids, but got torch\.float32"):
        conditioning(label, instance.float(), 4)


def test_average_keeps_off_its_own_statistics():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    average = AveragedNetwork(network, 0.5).train()
    assert not average.network[1].training
    network[1].running_mean.fill_(4.0)
    average.update(network)
    # The first update keeps 2 / 11 of what was there.
    assert float(average.network[1].running_mean) == pytest.approx(4 * 9 / 11)
    with pytest.raises(ValueError, match="`ema`"):
        AveragedNetwork(network, 1.0)


@pytest.fixture(scope="module")
def judge_file(tmp_path_factory):
    """A segmentation checkpoint of this suite."""
    torch.manual_seed(1)
    model = SegmentationTask("DeepLabV3Plus", "resnet18", num_classes=3)
    path = tmp_path_factory.mktemp("judge") / "judge.ckpt"
    run = trainer(path.parent)
    run.strategy.connect(model)
    run.save_checkpoint(path)
    return path


def test_judge_compares_by_each_protocol(judge_file, tmp_path):
    protocols = ["upsample_image", "upsample_logits", "downsample_labels"]
    model = task(judge=str(judge_file), protocols=protocols).eval()
    (scores,) = trainer(tmp_path).test(model, Blocks(), verbose=False)
    judge = SegmentationTask.load_from_checkpoint(judge_file, weights_only=True).eval()
    counts = {(kind, name): SegmentationIoU(3, 255) for kind in ("", "real_") for name in protocols}
    table = torch.tensor(TRAIN_IDS)
    with torch.no_grad():
        for batch in Blocks().test_dataloader():
            images = {"": model(batch["label"], batch["instance"]), "real_": batch["image"] / 255}
            full, small = table[batch["label_full"][:, 0].long()], table[batch["label"][:, 0]]
            for kind, image in images.items():
                large = torch.nn.functional.interpolate(image, (128, 128), mode="bilinear")
                logits = judge(image)
                wide = torch.nn.functional.interpolate(logits, (128, 128), mode="bilinear")
                for name, seen, wanted in zip(
                    protocols, (judge(large), wide, logits), (full, full, small), strict=True
                ):
                    counts[kind, name].update(seen, wanted)
    for (kind, name), count in counts.items():
        assert scores[f"test/{name}/{kind}mIoU"] == pytest.approx(float(count.compute()["mIoU"]), rel=1e-5)
        assert scores[f"test/{name}/{kind}accuracy"] == pytest.approx(float(count.compute()["accuracy"]), rel=1e-5)
    assert not any("judge" in name for name in model.state_dict())


def test_judges_that_will_not_do(judge_file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"drn-d-105_ms_cityscapes\.pth"):
        SegmentationJudge(tmp_path / "absent.pth", TRAIN_IDS, ["upsample_image"])
    with pytest.raises(ValueError, match=r"4 evaluated classes, but the judge .* has 3"):
        SegmentationJudge(judge_file, (0, 1, 2, 3), ["upsample_image"])
    with pytest.raises(ValueError, match="some of upsample_image, upsample_logits, downsample_labels"):
        task(protocols=["upsample"])
    judge = SegmentationJudge(judge_file, TRAIN_IDS, ["upsample_image"])
    image = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match="label_full"):
        judge.update(image, image, torch.zeros(1, 1, 64, 64, dtype=torch.long))
    trainer(tmp_path).strategy.connect(model := task())
    run = trainer(tmp_path)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "syn.ckpt")
    with pytest.raises(ValueError, match="Expected a checkpoint of SegmentationTask"):
        SegmentationJudge(tmp_path / "syn.ckpt", TRAIN_IDS, ["upsample_image"])


@pytest.mark.slow
def test_the_customary_judge(tmp_path):
    torch.manual_seed(0)
    network = drn_d_105().eval()
    torch.save(network.state_dict(), tmp_path / "drn.pth")
    judge, classes = load_judge(tmp_path / "drn.pth")
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.2901, 0.3281, 0.2870), (0.1830, 0.1866, 0.1845)))
    with torch.no_grad():
        torch.testing.assert_close(judge(image), network((image - mean) / std))
    assert classes == 19
    assert not any(one.requires_grad for one in judge.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save")
def test_fid_is_that_of_the_features_by_hand(inception_file, tmp_path):
    from torchmetrics.image.fid import NoTrainInceptionV3

    model = task(inception=str(inception_file))
    run = trainer(tmp_path)
    (scores,) = run.test(model, Blocks(), verbose=False)
    assert run.test(model, Blocks(), verbose=False) == [scores]  # starts anew
    network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(inception_file))
    features, logits = {"fake": [], "real": []}, []
    with torch.no_grad():
        for batch in Blocks().test_dataloader():
            fake = (model.eval()(batch["label"], batch["instance"]) * 255).round().byte()
            features["fake"].append(network(fake))
            features["real"].append(network(batch["image"]))
            logits.append(features["fake"][-1] @ network.fc.weight.T)
    fake, real = (torch.cat(features[kind]).double().numpy() for kind in ("fake", "real"))
    # Of few images: the trace of a root of the covariances' product is the nuclear norm of what is left of both.
    centered = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (fake, real)]
    root = np.linalg.norm(centered[0] @ centered[1].T, "nuc")
    fid = ((fake.mean(0) - real.mean(0)) ** 2).sum() + sum((x**2).sum() for x in centered) - 2 * root
    assert fid > 1
    assert scores["test/fid"] == pytest.approx(fid, rel=1e-3)
    # Ten parts of four images: each a part of its own, and so no different from its part's mean.
    assert torch.cat(logits).softmax(1).std(0).max() > 0
    assert scores["test/inception_score"] == pytest.approx(1, abs=1e-4)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert not any("inception" in name for name in [*content["state_dict"], *content["hyper_parameters"]])


def test_predictions_are_pictures_of_the_maps_names(tmp_path):
    names = [tmp_path / "in" / f"{name}_labelIds.png" for name in "ab"]
    out = tmp_path / "out"
    model = task().eval()
    trainer(tmp_path, SynthesizedPictures(out)).predict(model, Blocks(names), return_predictions=False)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]
    (batch,) = Blocks(names).predict_dataloader()
    with torch.no_grad():
        expected = (model(batch["label"], batch["instance"]) * 255).round().byte()
    np.testing.assert_array_equal(np.array(Image.open(out / "b.png")), expected[1].permute(1, 2, 0))
    twice = Blocks([names[0], tmp_path / "other" / names[0].name])
    with pytest.raises(ValueError, match="would both be written"):
        trainer(tmp_path, SynthesizedPictures(out)).predict(model, twice, return_predictions=False)


def test_sample_images():
    batch = next(iter(Blocks().train_dataloader()))
    columns = task().eval().sample_images(batch)
    assert list(columns) == ["labels", "real", "synthesized"]
    assert all(image.shape == (2, 3, 64, 64) and image.dtype == torch.uint8 for image in columns.values())


def test_missing_optimizers_and_weights(tmp_path):
    with pytest.raises(ValueError, match="discriminator_optimizer"):
        trainer(tmp_path).fit(task(discriminator_optimizer=None), Blocks())
    with pytest.raises(FileNotFoundError, match="vgg: 0"):
        trainer(tmp_path).fit(task(loss_weights=None, vgg=str(tmp_path / "absent.pth")), Blocks())
    with pytest.raises(ValueError, match="start < total"):
        LinearDecay(generator_adam([torch.zeros(1, requires_grad=True)]), total=2, start=2)


ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize(
    ("accelerator", "precision"),
    [
        ("cpu", "bf16-mixed"),
        *(pytest.param("gpu", name, marks=ON_GPU) for name in ("bf16-mixed", "16-mixed")),
    ],
)
def test_mixed_precision(accelerator, precision, tmp_path):
    model = task()
    before = [one.detach().clone() for one in model.generator.parameters()]
    run = trainer(tmp_path, accelerator=accelerator, devices=1, precision=precision)
    run.fit(model, Blocks())
    assert all(np.isfinite(float(value)) for value in run.callback_metrics.values())
    assert any(not torch.equal(a, b.cpu()) for a, b in zip(before, model.generator.parameters(), strict=True))
