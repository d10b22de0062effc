"""The `pcpad` command, run in this process as a user would type it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import pcpad
from pcpad import cli
from pcpad.commands import TRAINER_VERBS, VERBS
from pcpad.commands.recipes import packaged_recipes
from pcpad.commands.run import main as run

NETWORK = "squeezenet1_1"
# Every recipe is run with its network and data swapped for these; a new task's recipes need a line here.
SWAPS = {
    "adapt": ["--data.size=64", "--data.effective_batch=3", "--data.crops_per_image=1"],
    "act": [
        *("--model.network=resnet3d18", "--model.num_classes=6", "--model.width=4"),
        *("--data.clip_length=4", "--data.stride=1", "--data.size=32"),
    ],
    "cls": [f"--model.network={NETWORK}", "--model.num_classes=3", "--data.image_size=32", "--data.resize=32"],
    "gauss": ["--model.width=4", "--data.crop_size=16", "--data.kernel_size=5", "--trainer.val_check_interval=1.0"],
    "seg": ["--model.encoder=resnet18", "--data.crop_size=32", "--data.coarse=false", "--trainer.precision=32"],
    "inp": [
        *("--model.depth=2", "--model.width=4", '--model.loss_weights={"perceptual": 0, "style": 0}'),
        *("--data.image_size=32", "--trainer.precision=32", "--trainer.val_check_interval=1.0"),
    ],
    "syn": [
        *("--model.ngf=1", "--model.ndf=4", '--model.loss_weights={"vgg": 0}', "--data.image_size=[64,128]"),
        *("--trainer.precision=32", "--checkpoint.monitor=val/l1", "--model.generator_optimizer.lr=0.0001"),
    ],
}
OWN_FOLDERS = [
    "--data.images=leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png",
    "--data.masks=gtFine/{split}/{city}/{stem}_gtFine_labelIds.png",
    *("--data.classes={7: road, 23: sky, 26: car}", "--data.ignore=others", "--trainer.val_check_interval=1.0"),
]
SCORES = {
    **{"act": "val/loss", "adapt": "val/loss", "cls": "val/loss", "gauss": "val/mse", "inp": "val/psnr"},
    **{"seg": "val/accuracy", "syn": "val/l1"},
}
DATA = {"act": "motion", "adapt": "unlabeled", "seg": "streets", "syn": "streets"}  # fixtures; `folder` for the others
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
MODEL = ["--model=ClassificationTask", f"--model.network={NETWORK}", "--model.num_classes=3"]
# Noise is not learned: at a rate of 0.001 every few runs end in losses that are not finite.
SGD = ["--model.optimizer=SGD", "--model.optimizer.lr=0.000001", "--model.optimizer.momentum=0.9"]
STEPS = ["--model.scheduler=StepLR", "--model.scheduler.step_size=1", "--model.scheduler.gamma=0.5"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Six training and five other images in three class folders."""
    root = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 5), ("test", 5)):
        for index in range(count):
            path = root / split / "abc"[index % 3] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture(scope="session")
def unlabeled(tmp_path_factory):
    """As few photographs as a network can be adapted on."""
    root, draw = tmp_path_factory.mktemp("unlabeled"), np.random.default_rng(0)
    for index in range(16):
        Image.fromarray(draw.integers(0, 256, (64, 70, 3), dtype=np.uint8)).save(root / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def streets(cityscapes_sample, tmp_path_factory):
    """A few drawn streets in Cityscapes' format."""
    return shutil.copytree(cityscapes_sample, tmp_path_factory.mktemp("streets") / "cityscapes")


@pytest.fixture(scope="session")
def motion(kinetics_sample, tmp_path_factory):
    """A few encoded videos of moving scenes, in Kinetics' folders."""
    return shutil.copytree(kinetics_sample, tmp_path_factory.mktemp("motion") / "kinetics")


def data(root):
    options = {"root": root, "batch_size": 2, "num_workers": 0, "image_size": 32, "resize": 32}
    return ["--data=ImageNetDataModule", *(f"--data.{name}={value}" for name, value in options.items())]


def fit(root, *args, epochs=1):
    return run("fit", [*MODEL, *SGD, *data(root), *QUIET, f"--trainer.max_epochs={epochs}", *args])


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(folder, tmp_path_factory):
    """A run of two epochs under zero padding, with a schedule; its folder."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("trained"))
    monitor = ["--checkpoint.monitor=val/loss", "--checkpoint.mode=min", "--trainer.log_every_n_steps=1"]
    cli_object = fit(folder, *STEPS, *monitor, "--model.padding=zeros", epochs=2)
    path = Path(cli_object.trainer.log_dir).resolve()
    os.chdir(before)
    return path


@pytest.fixture(scope="session")
def checkpoint(trained):
    return str(trained / "checkpoints" / "last.ckpt")


def failing(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        cli.main([str(arg) for arg in args])
    assert caught.value.code not in (0, None)
    return capsys.readouterr().err


# What needs no run


def test_help_and_version_do_without_lightning():
    code = (
        "import sys; from pcpad.cli import main; main([]); main(['--help']); main(['--version']); "
        "assert not {'lightning', 'torchvision', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pcpad {pcpad.__version__}" in done.stdout
    assert all(verb in done.stdout for verb in [*TRAINER_VERBS, *VERBS])


def test_unknown_verb(capsys):
    assert "Did you mean validate?" in failing(capsys, "valdate")
    assert "The verb comes first" in failing(capsys, "--config", "x.yaml", "fit")


def test_configs_lists_each_with_its_description(elsewhere, capsys):
    cli.main(["configs"])
    printed = capsys.readouterr().out
    recipes = packaged_recipes()
    assert {"cls_digits.yaml", "cls_rn50.yaml", "cls_rn101.yaml", "cls_rn152.yaml"} <= set(recipes)
    assert {"cls_vgg16bn.yaml", "cls_vgg19bn.yaml"} <= set(recipes)
    for name, path in recipes.items():
        assert name in printed
        assert len(path.read_text().splitlines()[0]) > 10


def test_unknown_config_suggests(elsewhere, capsys):
    message = failing(capsys, "fit", "--config", "cls_rn5.yaml")
    assert "Did you mean cls_rn50.yaml" in message
    assert "`pcpad configs` lists" in message
    assert "Traceback" not in message


def test_packaged_config_from_an_empty_folder(elsewhere, capsys):
    for name in ("cls_rn50.yaml", "cls_rn50"):
        with pytest.raises(SystemExit) as caught:
            cli.main(["fit", "--config", name, "--print_config"])
        assert caught.value.code == 0
        config = yaml.safe_load(capsys.readouterr().out)
        assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.1
        assert config["model"]["init_args"]["padding"] == "partial"
    assert not list(elsewhere.iterdir())


def test_missing_data_is_one_message(elsewhere, capsys):
    message = failing(capsys, "fit", "--config=cls_rn50.yaml", *QUIET)
    assert "pcpad: error:" in message
    assert "data/imagenet/train" in message
    assert "pcpad sample digits" in message
    assert "Traceback" not in message


def test_sample(elsewhere, capsys):
    pytest.importorskip("sklearn")
    cli.main(["sample", "digits", "d"])
    assert len(list((elsewhere / "d").glob("*/*/*.png"))) == 1797
    assert "Did you mean digits?" in failing(capsys, "sample", "digit", "e")
    (elsewhere / "full").mkdir()
    (elsewhere / "full" / "mine.txt").touch()
    assert "Traceback" not in failing(capsys, "sample", "digits", "full")


# Recipes


SLOW = {"syn_cityscapes.yaml"}  # syn_demo.yaml is its like


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in sorted(packaged_recipes())],
)
def test_every_recipe_runs_two_steps(recipe, elsewhere, request):
    path, task = packaged_recipes()[recipe], recipe.split("_")[0]
    folder = request.getfixturevalue(DATA.get(task, "folder"))
    if recipe == "inp_places2_finetune.yaml":  # starts from what stage 1 left
        first = Path(yaml.safe_load(path.read_text())["model"]["init_args"]["weights"])
        first.parent.mkdir(parents=True)
        torch.save(pcpad.models.inpainting_unet(2, width=4).state_dict(), first)
    if task == "adapt":  # what the original was trained to
        small = (
            pcpad.models.classifier(NETWORK, 3)
            if "classifier" in recipe
            else pcpad.models.smp_network("FPN", "resnet18", 3)
        )
        torch.save(small.state_dict(), "original.pth")
        name, margin = (NETWORK, 0) if "classifier" in recipe else ("smp/FPN-resnet18", 16)
        extra = [f"--model.network={name}", "--model.num_classes=3", f"--model.margin={margin}"]
        extra += ["--model.weights=original.pth", *(["--data.resize=64"] if not margin else [])]
    else:
        extra = []
    assert path.read_text().startswith("# "), "the first line is what `pcpad configs` says of it"
    assert "padding:" not in path.read_text(), "a recipe that names a padding would change a checkpoint's"
    swaps = [*SWAPS[task], *extra, f"--data.root={folder}", "--data.batch_size=3", "--data.num_workers=0"]
    if recipe == "seg_folder.yaml":  # any folders will do, those of Cityscapes too
        swaps = [swap for swap in swaps if "coarse" not in swap] + OWN_FOLDERS
    if recipe == "inp_restore.yaml":  # the network has a size of its own
        swaps = [swap for swap in swaps if "depth" not in swap and "width" not in swap] + ["--data.eval_image_size=32"]
    steps = 4 if task == "syn" else 2  # two optimizers count two steps a batch
    # The small network was not made for the recipe's learning rate.
    limits = [
        *(["--model.optimizer.lr=0.0001"] if task != "syn" else []),
        f"--trainer.max_steps={steps}",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.log_every_n_steps=1",
    ]
    done = run("fit", ["--config", recipe, *swaps, *limits, *QUIET])
    assert done.trainer.global_step == steps
    assert np.isfinite(float(done.trainer.callback_metrics["train/loss"]))
    assert np.isfinite(float(done.trainer.callback_metrics[SCORES[task]]))
    assert (elsewhere / "runs" / path.stem / "version_0" / "checkpoints" / "best.ckpt").is_file()


def test_filtering_at_full_size_takes_a_folder_of_few_photographs(folder, elsewhere):
    """Validation comes every so many steps, not epochs: a folder can have far fewer batches than that."""
    swaps = [*SWAPS["gauss"][:3], f"--data.root={folder}", "--data.batch_size=3", "--data.num_workers=0"]
    swaps += ["--data.effective_batch=3", "--trainer.val_check_interval=3", "--trainer.max_steps=6"]
    done = run("fit", ["--config", "gauss_unet.yaml", *swaps, *QUIET])
    assert (done.trainer.global_step, done.trainer.current_epoch) == (6, 3)
    results = json.loads(Path(done.trainer.log_dir, "results.json").read_text())["fit"]
    assert len(results["history"]) == 2


@pytest.mark.parametrize("recipe", sorted(name for name in packaged_recipes() if name.startswith("cls_")))
def test_classification_recipes_state_their_training(recipe):
    config = yaml.safe_load(packaged_recipes()[recipe].read_text())
    optimizer = config["model"]["init_args"]["optimizer"]["init_args"]
    assert {"lr", "momentum", "weight_decay"} <= set(optimizer)
    assert config["data"]["init_args"]["effective_batch"] > 0
    if recipe != "cls_digits.yaml":
        assert (optimizer["lr"], optimizer["momentum"], optimizer["weight_decay"]) == (0.1, 0.9, 1e-4)
        assert config["model"]["init_args"]["scheduler"]["init_args"]["milestones"] == [30, 60, 90]
        assert config["trainer"]["max_epochs"] == 100
        assert config["data"]["init_args"]["effective_batch"] == 256


# Training


def test_fit_leaves_logs_checkpoints_and_results(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"checkpoints", "config.yaml", "hparams.yaml", "metrics.csv", "results.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert {path.name for path in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert trained.parts[-3:] == ("runs", "classification", "version_0")
    result = json.loads((trained / "results.json").read_text())["fit"]
    assert result["finished"] is True
    assert (result["trained_with"], result["tested_with"]) == ("zeros", "zeros")
    assert result["best"] == min(result["history"].values())
    with (trained / "metrics.csv").open() as file:
        assert {"train/loss", "val/loss", "val/top1", "lr-SGD"} <= set(next(csv.reader(file)))


def test_checkpoints_load_without_code(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    assert content["hyper_parameters"]["padding"] == "zeros"
    assert content["datamodule_hyper_parameters"]["_class_path"].endswith("ImageNetDataModule")


def test_fit_changes_weights_and_test_from_the_checkpoint_agrees(folder, elsewhere, capsys):
    done = fit(folder)
    first = torch.manual_seed(0) and pcpad.models.classifier(NETWORK, 3)
    assert not torch.equal(
        done.model.network.state_dict()["features.0.weight"], first.state_dict()["features.0.weight"]
    )
    (after_fit,) = done.trainer.test(done.model, done.datamodule, verbose=False)
    capsys.readouterr()
    from_file = run("test", ["--ckpt_path=runs/classification/version_0/checkpoints/last.ckpt", *QUIET])
    result = {name: float(value) for name, value in from_file.trainer.callback_metrics.items()}
    assert result == after_fit
    printed = capsys.readouterr().out
    assert "test: trained with partial padding, tested with partial" in printed
    assert f"{result['test/loss']:.4f}" in printed
    assert "Differs" not in printed
    written = json.loads(Path(from_file.trainer.log_dir, "results.json").read_text())["test"]
    assert written["metrics"] == result


# Precedence: checkpoint < config < typed


def test_checkpoint_alone(checkpoint, elsewhere, capsys):
    done = run("test", ["--ckpt_path", checkpoint, *QUIET])
    assert done.model.padding == "zeros"
    assert "trained with zeros padding, tested with zeros" in capsys.readouterr().out


def test_typed_padding_beats_the_checkpoint_and_is_said(checkpoint, elsewhere, capsys):
    done = run("test", [f"--ckpt_path={checkpoint}", "--model.padding=reflect", "--model.fallback=replicate", *QUIET])
    assert done.model.padding == "reflect"
    printed = capsys.readouterr().out
    assert "Differs from the checkpoint: model.padding: checkpoint 'zeros', used 'reflect'" in printed
    assert "trained with zeros padding, tested with reflect" in printed
    written = json.loads(Path(done.trainer.log_dir, "results.json").read_text())["test"]
    assert (written["trained_with"], written["tested_with"]) == ("zeros", "reflect")


def test_a_recipe_leaves_the_checkpoints_padding(checkpoint, folder, elsewhere, capsys):
    swaps = [*SWAPS["cls"], f"--data.root={folder}", "--data.num_workers=0"]
    done = run("test", ["--config=cls_rn50.yaml", "--ckpt_path", checkpoint, *swaps, *QUIET])
    assert done.model.padding == "zeros"
    assert "model.optimizer.lr: checkpoint 1e-06, used 0.1" in capsys.readouterr().out


def test_config_beats_checkpoint_and_typed_beats_config(checkpoint, elsewhere, capsys):
    Path("mine.yaml").write_text(
        "model:\n  class_path: ClassificationTask\n  init_args: {padding: circular, label_smoothing: 0.1}\n"
    )
    done = run("test", ["--config", "mine.yaml", "--ckpt_path", checkpoint, "--model.label_smoothing=0.2", *QUIET])
    assert (done.model.padding, done.model.label_smoothing, done.model.num_classes) == ("circular", 0.2, 3)
    printed = capsys.readouterr().out
    assert "model.label_smoothing: checkpoint 0.0, used 0.2" in printed


def rates(trainer):
    (optimizer,) = trainer.optimizers
    (group,) = optimizer.param_groups
    return group


def test_resume_keeps_the_checkpoints_schedule(checkpoint, elsewhere):
    done = run("fit", ["--ckpt_path", checkpoint, "--trainer.max_epochs=3", *QUIET])
    assert done.trainer.current_epoch == 3
    assert rates(done.trainer)["lr"] == pytest.approx(1e-6 * 0.5**3)


def test_typed_learning_rate_beats_the_checkpoints_optimizer(checkpoint, elsewhere, capsys):
    typed = ["--model.optimizer.lr=0.00001", "--model.optimizer.weight_decay=0.3"]
    done = run("fit", ["--ckpt_path", checkpoint, *typed, "--trainer.max_epochs=3", *QUIET])
    group = rates(done.trainer)
    # Two epochs were done, this is the third: the schedule goes on, from the rate that was typed.
    assert group["lr"] == pytest.approx(1e-5 * 0.5**3)
    assert (group["initial_lr"], group["weight_decay"], group["momentum"]) == (1e-5, 0.3, 0.9)
    assert done.trainer.lr_scheduler_configs[0].scheduler.base_lrs == [1e-5]
    assert "momentum_buffer" in next(iter(done.trainer.optimizers[0].state.values()))
    with Path(done.trainer.log_dir, "metrics.csv").open() as file:
        logged = [float(row["lr-SGD"]) for row in csv.DictReader(file) if row["lr-SGD"]]
    assert logged[0] == pytest.approx(1e-5 * 0.5**2)
    assert "model.optimizer.lr: checkpoint 1e-06, used 1e-05" in capsys.readouterr().out
    again = torch.load(Path(done.trainer.log_dir, "checkpoints", "last.ckpt"), weights_only=True)
    assert again["hyper_parameters"]["optimizer"]["init_args"]["lr"] == 1e-5


def test_typed_schedule_beats_the_checkpoints(checkpoint, elsewhere):
    done = run("fit", ["--ckpt_path", checkpoint, "--model.scheduler.gamma=0.1", "--trainer.max_epochs=3", *QUIET])
    assert rates(done.trainer)["lr"] == pytest.approx(1e-6 * 0.1**3)


def test_another_optimizer_on_resume_starts_afresh(checkpoint, elsewhere):
    typed = ["--model.optimizer=Adam", "--model.optimizer.lr=0.0001"]
    done = run("fit", ["--ckpt_path", checkpoint, *typed, "--trainer.max_epochs=3", *QUIET])
    group = rates(done.trainer)
    assert "betas" in group
    assert "momentum" not in group
    assert np.isfinite(float(done.trainer.callback_metrics["train/loss"]))


def test_a_checkpoint_made_from_python_knows_its_class(folder, elsewhere):
    from lightning.pytorch import Trainer

    from pcpad.tasks import ClassificationTask

    task = ClassificationTask(NETWORK, num_classes=3, padding="circular")
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint("python.ckpt")
    done = run("test", ["--ckpt_path=python.ckpt", *data(folder), *QUIET])
    assert done.model.padding == "circular"


# Bad input


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--ckpt_path=https://example.com/x.ckpt"], "local files only"),
        (["--ckpt_path=nowhere/x.ckpt"], "there is no folder"),
        (["--ckpt_path=x.ckpt"], "No checkpoint at x.ckpt"),
        (["--ckpt_path=last"], "--ckpt_path takes a file"),
        (["--model=ClassificationTask", "--model.network=resnet5O"], "Did you mean"),
        (["--model=ClassificationTask", f"--model.network={NETWORK}", "--model.padding=partail"], "partial"),
        (
            ["--model=ClassificationTask", f"--model.network={NETWORK}", "--model.weights=x.pth"],
            "No weight file at x.pth",
        ),
        ([*MODEL, "--model.num_classes=4", "--untrained"], "The data has 3 classes and the network 4"),
    ],
)
def test_mistakes_are_one_message(args, expected, folder, elsewhere, capsys):
    message = failing(capsys, "test", *args, *data(folder), *QUIET)
    assert expected in message
    assert "Traceback" not in message


def test_nothing_to_do(elsewhere, capsys):
    assert "Nothing to fit: name a recipe" in failing(capsys, "fit")


def test_weights_are_no_checkpoint(folder, elsewhere, capsys):
    torch.save({"a": torch.zeros(1)}, "w.pth")
    assert "pass it as --model.weights w.pth" in failing(capsys, "test", "--ckpt_path=w.pth", *data(folder))


def test_a_checkpoint_cannot_name_foreign_classes(checkpoint, elsewhere, capsys):
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["optimizer"]["class_path"] = "antigravity.Optimizer"
    torch.save(content, "x.ckpt")
    assert "'antigravity.Optimizer', which is not pcpad's" in failing(capsys, "test", "--ckpt_path=x.ckpt", *QUIET)
    assert "antigravity" not in sys.modules


def test_tracebacks_on_request_and_for_bugs(folder, elsewhere, monkeypatch):
    monkeypatch.setenv("PCPAD_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        cli.main(["fit", "--config=absent.yaml"])
    monkeypatch.delenv("PCPAD_TRACEBACK")
    monkeypatch.setattr("pcpad.tasks.classification.F.cross_entropy", lambda *args, **kwargs: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        cli.main(["fit", *MODEL, *SGD, *data(folder), *QUIET])


def test_an_error_in_a_loaders_worker_is_one_message(folder, elsewhere, capsys):
    for source in (folder / "test").rglob("*.png"):
        target = Path("broken", *source.parts[-3:])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes()[:60])
    message = failing(capsys, "test", *MODEL, *data("broken"), "--data.num_workers=1", "--untrained", *QUIET)
    assert ".png" in message
    assert "Traceback" not in message


# Predicting


def test_predict_writes_a_table(checkpoint, folder, elsewhere, capsys):
    for output, written in ((None, None), ("out.csv", "out.csv")):
        args = ["--ckpt_path", checkpoint, f"--data.predict_images={folder / 'test' / 'a'}", *QUIET]
        done = run("predict", args + ([f"--output={output}"] if output else []))
        path = Path(written or Path(done.trainer.log_dir, "predictions.csv"))
        with path.open() as file:
            rows = list(csv.DictReader(file))
        assert [Path(row["path"]).name for row in rows] == ["0.png", "3.png"]
        assert {row["class_1"] for row in rows} <= {"a", "b", "c"}
        assert sum(float(rows[0][f"probability_{k}"]) for k in (1, 2, 3)) == pytest.approx(1, abs=1e-4)


# Whole processes


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_to_resume_from(folder, elsewhere):
    script = "import sys; from pcpad.cli import main; main(sys.argv[1:])"
    args = ["fit", *MODEL, *SGD, *data(folder), *QUIET, "--checkpoint.monitor=val/loss", "--checkpoint.mode=min"]
    endless = ["--trainer.max_epochs=-1", "--trainer.log_every_n_steps=1", "--trainer.check_val_every_n_epoch=100000"]
    process = subprocess.Popen([sys.executable, "-c", script, *args, *endless], stderr=subprocess.PIPE, text=True)
    metrics = elsewhere / "runs" / "classification" / "version_0" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 143, printed
    assert "stopped by SIGTERM" in printed
    saved = metrics.parent / "checkpoints"
    assert [path.name for path in saved.iterdir()] == ["last.ckpt"]
    step = torch.load(saved / "last.ckpt", weights_only=True)["global_step"]
    assert step > 0
    done = run("fit", [f"--ckpt_path={saved / 'last.ckpt'}", f"--trainer.max_steps={step + 1}", *QUIET])
    assert done.trainer.global_step == step + 1


@pytest.mark.slow
def test_two_processes_from_the_command_line(checkpoint, elsewhere):
    one = run("test", ["--ckpt_path", checkpoint, *QUIET])
    two = ["test", "--ckpt_path", checkpoint, *QUIET, "--trainer.strategy=ddp", "--trainer.devices=2"]
    pcpad_command = Path(sys.executable).with_name("pcpad")
    subprocess.run([pcpad_command, *two], check=True, timeout=300)
    results = [json.loads((elsewhere / f"runs/classification/version_{n}/results.json").read_text()) for n in (0, 1)]
    assert results[1]["test"]["metrics"] == pytest.approx(results[0]["test"]["metrics"], rel=1e-5)
    assert one.trainer.world_size == 1
