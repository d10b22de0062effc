"""`pcpad test --eval`: evaluators from the command line, on a small set in Cityscapes' format."""

import csv
import shutil

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from pcpad import cli
from pcpad.commands.run import main
from pcpad.errors import UserValueError
from pcpad.models import inpainting_unet
from pcpad.tasks import ClassificationTask, SegmentationTask
from pcpad.tasks.callbacks import SampleImages

QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture(scope="module")
def streets(cityscapes_sample, tmp_path_factory):
    return shutil.copytree(cityscapes_sample, tmp_path_factory.mktemp("eval") / "cityscapes")


@pytest.fixture
def arguments(streets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = [f"--data.root={streets}", "--data.num_workers=0"]
    return ["--config", "seg_demo.yaml", *data, "--trainer.limit_test_batches=1", "--untrained", *QUIET]


@pytest.mark.slow
def test_one_test_prints_and_writes_all_evaluations(arguments, tmp_path, capsys):
    asked = ["--eval+=Regular", "--eval+=Tile", "--eval.size=128", "--eval.overlap=1/3"]
    asked += ["--eval+=Border", "--eval.of=regular", "--eval.leave_out=[0, 1/2, 7/8]"]
    done = main("test", [*arguments, *asked])
    found = {name for name in done.trainer.callback_metrics if name.endswith("mIoU")}
    border = {f"test/border_regular/leave_{value}/mIoU" for value in ("0.000", "0.500", "0.875")}
    assert found == {"test/regular/mIoU", "test/tile128_o0.33/mIoU", *border}
    files = list(tmp_path.rglob("evaluation.csv"))
    assert len(files) == 1
    rows = list(csv.DictReader(files[0].open(encoding="utf-8")))
    assert [row["leave_out"] for row in rows] == ["", "", "0.0", "0.5", "0.875"]
    assert rows[0]["mIoU"] == rows[2]["mIoU"]  # nothing left out of the same pass
    assert rows[0]["mIoU"] != rows[3]["mIoU"]
    text = capsys.readouterr().out
    assert "border_regular" in text
    assert str(files[0].relative_to(tmp_path)) in text


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--eval+=Tile", "--eval.overlap=2"], "overlap"),
        (["--eval+=Border", "--eval.of=regular", "--eval.relative_to=tile"], "need tiles"),
        (["--eval+=Regular", "--eval+=Regular"], "more than once: regular"),
        (["--eval+=Squares"], "Squares"),
    ],
)
def test_mistakes_are_one_message(arguments, asked, words, capsys):
    with pytest.raises(SystemExit):
        cli.main(["test", *arguments, *asked])
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_fit_and_test_write_sample_pictures(streets, tmp_path, monkeypatch, capsys):
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    args = ["--config=seg_demo.yaml", f"--data.root={streets}", "--data.batch_size=2", "--data.crop_size=32", *QUIET]
    limits = [
        "--trainer.max_steps=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.limit_train_batches=1",
        "--trainer.limit_val_batches=2",
    ]
    main("fit", [*args, *limits, "--trainer.log_every_n_steps=1"])
    (sheet,) = tmp_path.rglob("images/val_epoch0000_step0000001.png")
    assert f"Sample pictures: {sheet.parent.relative_to(tmp_path)}" in capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    done = main("test", [f"--ckpt_path={checkpoint}", "--trainer.limit_test_batches=1", *QUIET])
    assert list(tmp_path.rglob("images/test.png"))
    assert sum(isinstance(callback, SampleImages) for callback in done.trainer.callbacks) == 1


# Weights that nobody trained


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "SegmentationTask would run with random weights in its network: name a checkpoint"),
        (["--model.encoder_weights=encoder.pth"], "random weights in its aspp, "),
    ],
)
def test_random_weights_are_not_tested(streets, tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    model = ["--model=SegmentationTask", "--model.encoder=resnet18"]
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), "encoder.pth")
    with pytest.raises(SystemExit) as stop:
        cli.main(["test", *model, *options, "--data=CityscapesDataModule", f"--data.root={streets}", *QUIET])
    assert stop.value.code == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.faults
def test_pictures_are_not_filled_by_random_weights_but_by_those_of_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, value in (("images", 100), ("masks", 0)):
        (tmp_path / folder).mkdir()
        picture = np.full((16, 16), value, np.uint8)
        picture[4:8, 4:8] = 255
        Image.fromarray(picture).save(tmp_path / folder / "a.png")
    torch.save({f"network.{k}": v for k, v in inpainting_unet(2, True, 4).state_dict().items()}, "w.pth")
    paths = ["--data=Places2DataModule", "--data.predict_images=images", "--data.predict_masks=masks"]
    asked = ["--model=InpaintingTask", "--model.depth=2", "--model.width=4"]
    paths += ["--data.mask_polarity=white_hole", "--output=out"]
    with pytest.raises(SystemExit):
        cli.main(["predict", *asked, *paths, *QUIET])
    assert "InpaintingTask would run with random weights in its network" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    cli.main(["predict", *asked, *paths, "--model.weights=w.pth", *QUIET])
    once = (tmp_path / "out" / "a.png").read_bytes()
    cli.main(["predict", *asked, *paths, "--model.weights=w.pth", "--seed_everything=7", *QUIET])
    assert (tmp_path / "out" / "a.png").read_bytes() == once, "no random number of this run is in it"
    cli.main(["predict", *asked, *paths, "--untrained", *QUIET])
    assert (tmp_path / "out" / "a.png").read_bytes() != once


@pytest.mark.faults
def test_what_a_file_and_a_checkpoint_fill_is_known():
    assert SegmentationTask(encoder="resnet18").random_parts == ["network"]
    assert ClassificationTask("resnet18", 3).random_parts == ["network"]
    task = ClassificationTask("resnet18", 3)
    task.on_load_checkpoint({"state_dict": task.state_dict()})
    assert task.random_parts == []


@pytest.mark.faults
@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_seeds_that_numpy_does_not_take(seed, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--config=cls_digits.yaml", f"--seed_everything={seed}"])
    assert stop.value.code == 1
    assert f"to be in 0 to 4294967295, or true or false, but got {seed}" in capsys.readouterr().err


@pytest.mark.faults
def test_tiles_with_an_exact_margin_are_asked_for_by_an_option(arguments, tmp_path):
    network = ["--model.architecture=Unet", "--model.encoder=resnet18", "--model.encoder_weights=null"]
    asked = ["--eval+=Regular", "--eval+=Tile", "--eval.size=128", "--eval.margin=exact"]
    with pytest.warns(UserWarning, match="pixels beyond its tiles of 128 x 128"):
        scores = main("test", [*arguments, *network, *asked]).trainer.callback_metrics
    assert scores["test/tile128_o0_margin_exact/mIoU"] == scores["test/regular/mIoU"]


@pytest.mark.faults
def test_predict_takes_tiles_as_options(streets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = next(streets.rglob("*_leftImg8bit.png")).parent
    common = ["--config", "seg_demo.yaml", f"--data.root={streets}", f"--data.predict_images={pictures}", "--untrained"]
    task = main("predict", [*common, *QUIET, "--output=a", "--tiling.size=64", "--tiling.overlap=1/2"]).model
    assert (task.predict_tiling.size, task.predict_tiling.stride) == ((64, 64), (32, 32))
    with pytest.raises(ValueError, match="`margin`"):
        main("predict", [*common, *QUIET, "--output=b", "--tiling.margin=-3"])


# Images and masks of one's own


def write_scenes(root, bands=3):
    """Four training and two validation images of a box on the ground, with ids 0, 1 and 7 for what is not known."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            ids = np.zeros((48, 64), np.uint8)
            ids[8:30, 10 + number : 40] = 1
            ids[-2:] = 7
            image = np.where(ids[..., None] == 1, 200, 60) + draw.integers(0, 40, (48, 64, bands))
            for folder in ("images", "labels"):
                (root / split / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids).save(root / split / "labels" / f"{number}.png")
            path = root / split / "images" / f"{number}.png"
            if bands == 3:
                Image.fromarray(image.astype(np.uint8)).save(path)
            else:
                tifffile = pytest.importorskip("tifffile")
                options = {"photometric": "minisblack", "planarconfig": "contig"}
                tifffile.imwrite(path.with_suffix(".tif"), image.astype(np.uint16) * 40, **options)
    return root


SMALL = [
    *("--model.architecture=Unet", "--model.encoder=resnet18", "--data.crop_size=32", "--data.num_workers=0"),
    *("--data.batch_size=2", "--data.effective_batch=2", "--trainer.max_steps=2", "--trainer.val_check_interval=2"),
]
NAMES = ["--data.classes={0: ground, 1: box}", "--data.ignore=7"]


@pytest.mark.slow
@pytest.mark.faults
def test_own_images_train_test_and_predict_without_code(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = write_scenes(tmp_path / "own")
    done = main("fit", ["--config", "seg_folder.yaml", f"--data.root={root}", *NAMES, *SMALL, *QUIET])
    assert (done.model.num_classes, done.model.class_names, done.model.in_channels) == (2, ["ground", "box"], 3)
    assert np.isfinite(float(done.trainer.callback_metrics["val/mIoU"]))
    capsys.readouterr()
    evaluators = ["--eval+=Regular", "--eval+=Tile", "--eval.size=32", "--eval+=Border", "--eval.of=regular"]
    best = str(tmp_path / "runs" / "seg_folder" / "version_0" / "checkpoints" / "best.ckpt")
    tested = main("test", ["--ckpt_path", best, *evaluators, *QUIET])
    assert float(tested.trainer.callback_metrics["test/regular/mIoU"]) == pytest.approx(
        float(done.trainer.callback_metrics["val/mIoU"]), abs=1e-6
    )
    assert "box" in capsys.readouterr().out, "the classes' names stand in the report"
    main("predict", ["--ckpt_path", best, f"--data.predict_images={root / 'val' / 'images'}", "--output=out", *QUIET])
    label = np.asarray(Image.open(tmp_path / "out" / "0.png"))
    assert label.shape == (48, 64)
    assert label.max() <= 1


@pytest.mark.slow
@pytest.mark.faults
def test_tiffs_of_five_channels_train_test_predict_and_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_scenes(tmp_path / "own", bands=5)
    five = ["--data.channels=5", "--data.white=10000"]
    done = main("fit", ["--config", "seg_folder.yaml", f"--data.root={root}", *NAMES, *five, *SMALL, *QUIET])
    first = next(module for module in done.model.modules() if isinstance(module, torch.nn.Conv2d))
    assert (done.model.in_channels, first.in_channels, done.model.mean.numel()) == (5, 5, 5)
    assert len(list(tmp_path.rglob("images/val_*.png"))) == 1
    last = str(tmp_path / "runs" / "seg_folder" / "version_0" / "checkpoints" / "last.ckpt")
    tested = main("test", ["--ckpt_path", last, *QUIET])
    assert np.isfinite(float(tested.trainer.callback_metrics["test/mIoU"]))
    main("predict", ["--ckpt_path", last, f"--data.predict_images={root / 'val' / 'images'}", "--output=out", *QUIET])
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"0.tif", "0_overlay.png", "1.tif"}
    cli.main(["export", "--ckpt_path", last, "--output", "five.pt2", "--size", "64x64", "--fixed_size"])
    program = torch.export.load(tmp_path / "five.pt2").module()
    assert program(torch.rand(2, 5, 64, 64)).shape == (2, 2, 64, 64)
    with pytest.raises(UserValueError, match=r"it has 5 channels, but 3 were asked for: set --data.channels 5"):
        main("test", ["--ckpt_path", last, "--data.channels=3", *QUIET])


@pytest.mark.faults
def test_a_number_of_classes_that_was_said_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_scenes(tmp_path / "own")
    with pytest.raises(UserValueError, match=r"The data has 2 classes and the network 3"):
        main(
            "fit",
            ["--config", "seg_folder.yaml", f"--data.root={root}", *NAMES, *SMALL, "--model.num_classes=3", *QUIET],
        )
