"""`pcpad figure`, run as a user would type it."""

import csv
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from pcpad import cli
from pcpad.commands.figure import take_data_options
from pcpad.commands.figures import FIGURES
from pcpad.commands.figures.border_counts import BorderCount, build, count_borders
from pcpad.commands.figures.leave_out import leave_out_rows
from pcpad.commands.figures.places import edges, most_different, near_edges
from pcpad.commands.figures.seams import mark_edges
from pcpad.commands.run import main as run
from pcpad.functional import padding_ratio
from pcpad.metrics.border import centred_rectangle
from pcpad.tasks import ClassificationTask, SegmentationTask
from pcpad.tasks.callbacks import SampleImages
from pcpad.tiling import Tiling, Window

QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def save(task, path, padding):
    task.trained_with = padding
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path)
    return str(path)


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Two images of 64 x 128 pixels for training and two for testing, in Cityscapes' format."""
    root, draw = tmp_path_factory.mktemp("streets"), np.random.default_rng(0)
    for part, city, number in product(("train", "val"), ("aachen", "munster"), range(2)):
        if (part == "val") == (city == "munster"):
            stem = f"{part}/{city}/{city}_{number:06d}_000019"
            ids = draw.choice(np.array([7, 8, 11, 23, 26], np.uint8), (8, 16)).repeat(8, 0).repeat(8, 1)
            image = draw.integers(0, 256, (64, 128, 3), dtype=np.uint8) // 2 + 3 * ids[..., None]
            for path, array in ((f"leftImg8bit/{stem}_leftImg8bit", image), (f"gtFine/{stem}_gtFine_labelIds", ids)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / f"{path}.png")
    return root


@pytest.fixture(scope="module")
def segmentations(tmp_path_factory):
    """One network under two paddings: its predictions differ at borders alone."""
    folder, found = tmp_path_factory.mktemp("segmentations"), []
    for padding in ("zeros", "partial"):
        torch.manual_seed(0)
        found.append(save(SegmentationTask(encoder="resnet18", padding=padding), folder / f"{padding}.ckpt", padding))
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six images of three classes."""
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for index in range(6):
        path = root / "val" / "abc"[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return root


def opinionated(path, padding, label, seed=0):
    """A classifier that sees one class in everything."""
    torch.manual_seed(seed)
    task = ClassificationTask("timm/test_resnet", num_classes=3, padding=padding)
    with torch.no_grad():
        task.network.fc.bias[label] += 100
    return save(task, path, padding)


def data(root):
    options = {"root": root, "num_workers": 0, "image_size": 64, "resize": 64, "batch_size": 4}
    return ["--data", "ImageNetDataModule", *(f"--data.{name}={value}" for name, value in options.items())]


def scenes(root):
    return ["--data", "CityscapesDataModule", f"--data.root={root}", "--data.num_workers=0"]


def failing(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        cli.main(["figure", *map(str, args)])
    assert caught.value.code not in (0, None)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def dots_per_inch(path):
    with Image.open(path) as picture:
        return round(picture.info["dpi"][0])


# The verb


def test_help_lists_the_figures_without_loading_them(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["figure", "--help"])
    assert caught.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {text}" in printed for name, (_, text) in FIGURES.items())


def test_a_sheet_needs_no_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setattr("pcpad.tasks.pictures.plots.find_spec", lambda name: None)
    Image.new("RGB", (32, 16)).save(tmp_path / "a.png")
    cli.main(["figure", "leave-out", str(tmp_path / "a.png"), "--output", str(tmp_path / "b.png")])
    assert dots_per_inch(tmp_path / "b.png") == 150


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_has_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["figure", name, "--help"])
    assert caught.value.code == 0
    assert "--output FILE.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["seam"], "No figure 'seam'. Did you mean seams?"),
        (["leave-out", "absent.png"], "No picture at absent.png"),
        (["leave-out", "a.png", "--data.root=x"], "reads no data set"),
        (["leave-out", "a.png", "--output=x.jpg"], ".png file"),
        (["seams", "--checkpoints", "a", "b", "--data.root"], "--data.root needs a value"),
        (["seams", "--checkpoints", "a.ckpt", "b.ckpt"], "No checkpoint at a.ckpt"),
        (["border-counts", "--network", "resnet5O"], "Did you mean"),
        (["border-counts", "--network", "resnet18", "--options", "a=b"], "networks of pcpad.models"),
        (["border-counts", "--network", "deeplabv3plus", "--options", "encode=b"], "no option 'encode'"),
        (["border-counts", "--network", "inception_v3", "--size", "5"], "cannot be run on an input of 5×5"),
        (["border-counts", "--network", "resnet18", "--size", "0"], "above 0"),
    ],
)
def test_mistakes_are_one_message(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert words in failing(capsys, *args)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr("pcpad.tasks.pictures.plots.find_spec", lambda name: None)
    assert "pip install 'pcpad[figures]'" in failing(capsys, "border-counts", "--network", "resnet18")


def test_data_options_are_taken_out():
    rest, found = take_data_options(
        ["--size", "3", "--data.root", "x y", "--data.split=cv1", "--data", "D", "--data.n=2"]
    )
    assert rest == ["--size", "3", "--data", "D"]
    assert found == {"root": "x y", "split": "cv1", "n": 2}


# Leave-out regions


def test_the_middle_is_black_and_the_rest_as_it_was():
    picture = np.random.default_rng(0).integers(1, 256, (30, 50, 3), dtype=np.uint8)
    fractions = (Fraction(1, 3), Fraction(7, 8), Fraction(0), Fraction(1, 2))
    rows = leave_out_rows(picture, fractions)
    assert [len(row.images) for row in rows] == [3, 1]
    for fraction, shown in zip(fractions, [image for row in rows for image in row.images], strict=True):
        middle = centred_rectangle(30, 50, fraction)
        expected = picture.copy()
        expected[middle.rows, middle.columns] = 0
        np.testing.assert_array_equal(shown, expected)
    assert rows[1].labels == ["leave out 1/2: 75.0 % of the pixels are counted"]
    tiled = leave_out_rows(picture[:24, :48], fractions[-1:], tile=24)[0].images[0]
    assert not tiled[6:18, [*range(6, 18), *range(30, 42)]].any()
    assert tiled[:, 18:30].all()


def test_tiles_that_overlap_have_no_middles(tmp_path, capsys):
    Image.new("RGB", (50, 24)).save(tmp_path / "a.png")
    assert "without overlap" in failing(capsys, "leave-out", tmp_path / "a.png", "--tile", 24)


# Border counts


@pytest.mark.parametrize("network", ["resnet18", "mobilenet_v3_small", "deeplabv3_resnet50", "r3d_18"])
def test_border_positions_are_those_that_partial_convolution_rescales(network):
    size = (4, 33, 40) if network == "r3d_18" else (65, 72)
    with torch.device("meta"):
        counts, left = count_borders(build(network, {}), size)
    assert counts
    assert not left
    for count in counts:
        geometry = count.geometry
        ratio = padding_ratio(count.size, geometry.kernel, geometry.stride, geometry.lead, geometry.dilation)
        assert count.at_border == int((ratio != 1).sum())
        assert count.positions == ratio.numel()


def test_padded_entries_by_side():
    with torch.device("meta"):
        counts, _ = count_borders(build("resnet50", {}), (224, 225))
    stem = counts[0]
    assert isinstance(stem, BorderCount)
    assert (stem.name, stem.size, stem.windows) == ("conv1", (224, 225), (112, 113))
    for length, entries, reaching in zip(stem.size, stem.entries, stem.reaching, strict=True):
        reads = [(start * 2 - 3 + tap, start) for start, tap in product(range((length - 1) // 2 + 1), range(7))]
        before, after = [s for at, s in reads if at < 0], [s for at, s in reads if at >= length]
        assert entries == (len(before), len(after))
        assert reaching == (len(set(before)), len(set(after)))
    assert stem.entries == ((4, 2), (4, 4)), "an even side is padded unevenly under stride 2, an odd one is not"


def test_counts_are_written(tmp_path, capsys):
    cli.main(["figure", "border-counts", "--network", "resnet50", "--output", str(tmp_path / "a.png")])
    assert "17 padded convolutions" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    assert len(rows) == 17
    assert (rows[0]["layer"], rows[0]["positions"], rows[0]["border_positions"]) == ("conv1", "12544", "663")
    assert float(rows[-1]["border_share"]) == 24 / 49
    assert dots_per_inch(tmp_path / "a.png") == 150


def test_counts_of_a_checkpoint(segmentations, tmp_path, capsys):
    output = str(tmp_path / "a.png")
    cli.main(["figure", "border-counts", "--checkpoint", segmentations[1], "--size", "64", "128", "--output", output])
    assert "deeplabv3plus resnet18 at 64×128" in capsys.readouterr().out
    assert (tmp_path / "a.csv").is_file()


# Seams


def test_most_different_places_by_brute_force():
    windows = Tiling(20).windows(40, 60)
    different = torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) < 0.2
    found = most_different(different, windows, 12, 3)
    rows, columns = edges(windows)
    assert (rows, columns) == ([0, 20, 40], [0, 20, 40, 60])
    on_rows = {(min(max(0, row - 6), 28), left) for row in rows for left in range(0, 49, 4)}
    on_columns = {(top, min(max(0, column - 6), 48)) for column in columns for top in range(0, 29, 4)}
    scores = {at: int(different[at[0] : at[0] + 12, at[1] : at[1] + 12].sum()) for at in on_rows | on_columns}
    best = min(scores, key=lambda at: (-scores[at], at))
    assert (found[0].window[:2], found[0].pixels) == (best, scores[best])
    assert len(found) == 3
    covered = torch.zeros(40, 60)
    for place in found:
        covered[place.window.rows, place.window.columns] += 1
    assert covered.max() == 1


def test_near_edges_counts_both_sides():
    near = near_edges(20, 30, Tiling((20, 15)).windows(20, 30), 2)
    assert near[10].nonzero().flatten().tolist() == [0, 1, 13, 14, 15, 16, 28, 29]
    assert near[:2].all()
    assert near[18:].all()


def test_lines_lie_on_seams_and_borders():
    drawn = mark_edges(np.full((64, 64, 3), 100, np.uint8), Window(0, 32, 64, 64), Tiling(64).windows(64, 128))
    assert drawn.shape == (320, 320, 3)
    lines = (drawn != 100).any(-1)
    assert lines[:, 159:161].all(), "the seam at column 64"
    assert lines[:5].all()
    assert lines[-5:].all()
    assert not lines[5:-5, :159].any()
    assert not lines[5:-5, 161:].any()


def test_seams_end_to_end(segmentations, streets, tmp_path, capsys):
    args = ["figure", "seams", "--checkpoints", *segmentations, *scenes(streets), "--size", "64", "--images", "2"]
    for name in ("a.png", "b.png"):
        cli.main([*args, "--output", str(tmp_path / name)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "Right within 4 pixels of a seam or border: zeros " in capsys.readouterr().out
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width == 4 * 320 + 5 * 10
        assert sheet.height > 4 * 320


def test_equal_networks_are_said(segmentations, streets, capsys):
    zeros = segmentations[0]
    assert "tell them apart with --labels" in failing(capsys, "seams", "--checkpoints", zeros, zeros, *scenes(streets))
    args = ["seams", "--checkpoints", zeros, zeros, "--labels", "a", "b", *scenes(streets), "--images", 1, "--size", 64]
    assert "the same network?" in failing(capsys, *args)


def test_other_classes_are_said(segmentations, images, streets, tmp_path, capsys):
    other = opinionated(tmp_path / "x.ckpt", "partial", 0)
    message = failing(capsys, "seams", "--checkpoints", segmentations[0], other, *scenes(streets))
    assert "differ in their number of classes" in message


# Feature distances


def test_feature_distances_are_those_of_the_definition(images, tmp_path, capsys):
    checkpoint = opinionated(tmp_path / "x.ckpt", "zeros", 0)
    args = ["figure", "features", "--checkpoint", checkpoint, *data(images), "--layer", "layer3"]
    cli.main([*args, "--output", str(tmp_path / "a.png")])
    printed = capsys.readouterr().out
    features, batch = [], torch.stack([picture(path) for path in sorted(images.glob("val/*/*.png"))])
    for padding in ("zeros", "partial"):
        task = ClassificationTask.load_from_checkpoint(checkpoint, padding=padding).eval()
        task.network.layer3.register_forward_hook(lambda *args: features.append(args[2].detach()))
        task(batch)
    expected = (features[1] - features[0]).abs().mean((0, 1))
    assert f"trained with zeros, zeros to partial: mean {expected.mean():.3g}"[:-1] in printed
    assert f"middle {float(expected[2, 2]):.3g}"[:-1] in printed
    assert "mean over 6 test images" in printed
    assert dots_per_inch(tmp_path / "a.png") == 150


def picture(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_several_networks_and_paddings(images, tmp_path, capsys):
    checkpoints = [opinionated(tmp_path / f"{padding}.ckpt", padding, 0) for padding in ("zeros", "explicit")]
    args = ["figure", "features", "--checkpoint", *checkpoints, *data(images), "--images", "2", "--relative"]
    cli.main([*args, "--paddings", "zeros", "replicate", "explicit", "--output", str(tmp_path / "a.png")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[:4]] == [
        "trained with zeros, zeros to replicate",
        "trained with zeros, zeros to explicit",
        "trained with explicit, explicit to zeros",
        "trained with explicit, explicit to replicate",
    ]
    values = [float(line.partition("mean ")[2].partition(",")[0]) for line in lines[:4]]
    assert values[1] < 1e-5, "explicit filters start as copies of the filter: zero padding"
    assert min(values[0], values[3]) > 0.01
    assert "Layer layer4, mean over 2 test images." in lines


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--paddings", "zeros"], "two or more different"),
        (["--paddings", "zeros", "partail"], "Did you mean 'partial'"),
        (["--layer", "layer9"], "No layer 'layer9'"),
        (["--data.root=nowhere"], "No such folder"),
        (["--device=cuda:99"], "--device cuda:99 cannot be used here"),
    ],
)
def test_features_mistakes(args, words, images, tmp_path, capsys):
    checkpoint = opinionated(tmp_path / "x.ckpt", "zeros", 0)
    assert words in failing(capsys, "features", "--checkpoint", checkpoint, *data(images), *args)


# Activations


def test_images_that_one_padding_alone_gets_right(images, tmp_path, capsys):
    first = [opinionated(tmp_path / f"p{seed}.ckpt", "partial", 0, seed) for seed in (0, 1)]
    second = [opinionated(tmp_path / f"z{label}.ckpt", "zeros", label) for label in (1, 2)]
    output = tmp_path / "a.png"
    args = ["figure", "activations", "--first", *first, "--second", *second, *data(images), "--output", str(output)]
    cli.main(args)
    printed = capsys.readouterr().out
    assert "2 of 6 test images: right in all 2 runs with partial, wrong in all 2 with zeros" in printed
    assert "0 of 6 test images: right in all 2 runs with zeros, wrong in all 2 with partial" in printed
    assert dots_per_inch(output) == 150


def test_no_such_image_is_said(images, tmp_path, capsys):
    same = [opinionated(tmp_path / f"{padding}.ckpt", padding, 0) for padding in ("partial", "zeros")]
    args = ["activations", "--first", same[0], "--second", same[1], *data(images), "--output", tmp_path / "a.png"]
    assert "No test image is right in all runs of one padding and wrong in all of the other (6 looked at)" in failing(
        capsys, *args
    )
    assert not (tmp_path / "a.png").exists()
    assert "one padding, but got" in failing(capsys, "activations", "--first", *same, "--second", same[1])
    message = failing(capsys, "activations", "--first", same[0], "--second", same[0])
    assert "Both groups were trained with partial" in message


def test_activations_are_for_classification(segmentations, streets, capsys):
    args = ["activations", "--first", segmentations[0], "--second", segmentations[1], *scenes(streets)]
    assert "is this classification?" in failing(capsys, *args, "--images", 1)


# Sample pictures come by themselves


def test_fit_and_test_write_sample_pictures(streets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    args = ["--config=seg_demo.yaml", f"--data.root={streets}", "--data.batch_size=2", "--data.crop_size=32", *QUIET]
    limits = [
        "--trainer.max_steps=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.limit_train_batches=1",
        "--trainer.limit_val_batches=2",
    ]
    run("fit", [*args, *limits, "--trainer.log_every_n_steps=1"])
    (sheet,) = tmp_path.rglob("images/val_epoch0000_step0000001.png")
    assert f"Sample pictures: {sheet.parent.relative_to(tmp_path)}" in capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    done = run("test", [f"--ckpt_path={checkpoint}", "--trainer.limit_test_batches=1", *QUIET])
    assert list(tmp_path.rglob("images/test.png"))
    assert sum(isinstance(callback, SampleImages) for callback in done.trainer.callbacks) == 1
