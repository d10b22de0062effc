"""`pcpad export`: files that hold a checkpoint's network, agree with PyTorch, and are not there when they do not."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn import functional as F

import pcpad
from pcpad import cli, convert_padding
from pcpad.adaptation.exponents import exponents_of, set_exponents
from pcpad.commands import export
from pcpad.commands.exporting import check, network, write
from pcpad.commands.loading import load_task
from pcpad.errors import UserValueError
from pcpad.models import classifier, exportable_pooling
from pcpad.models.padded_weights import save_padded_weights
from pcpad.models.pooling import ExportablePool2d
from pcpad.tasks import ActionRecognitionTask, ClassificationTask, InpaintingTask, SegmentationTask
from pcpad.tasks.base import Task

NETWORK = "timm/test_resnet"


def save(task, path):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path, weights_only=False)
    return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    classes = ClassificationTask(NETWORK, num_classes=4, mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7), compile=True)
    classes.class_names = ["a", "b", "c", "d"]
    classes.trained_with = "zeros"
    save(classes, folder / "cls.ckpt")
    save(ClassificationTask(NETWORK, num_classes=3, padding="explicit"), folder / "explicit.ckpt")
    return folder


def run(*args):
    cli.main(["export", *map(str, args)])


def failing(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        run(*args)
    assert caught.value.code not in (0, None)
    return capsys.readouterr().err


def loaded(path):
    """The file's function of NumPy or torch inputs, and its metadata."""
    if path.suffix == ".pt2":
        files = {write.METADATA: ""}
        module = torch.export.load(path, extra_files=files).module()
        return lambda *inputs: module(*inputs), json.loads(files[write.METADATA])
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def call(*inputs):
        return torch.from_numpy(session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))[0])

    about = session.get_modelmeta().custom_metadata_map
    return call, {name: _unwrapped(value) for name, value in about.items()}


def _unwrapped(value):
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


@pytest.mark.parametrize("ending", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_classifier(checkpoints, ending, tmp_path, capsys):
    path = tmp_path / f"model.{ending}"
    run("--ckpt_path", checkpoints / "cls.ckpt", "--output", path, "--size", 64)
    printed = capsys.readouterr().out
    assert "agrees with PyTorch" in printed
    assert printed.count("largest difference") == 4
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    call, about = loaded(path)
    assert about["pcpad"] == pcpad.__version__
    assert (about["task"], about["network"], about["padding"]) == ("ClassificationTask", NETWORK, "partial")
    assert (about["trained_with"], about["classes"], about["class_names"]) == ("zeros", 4, ["a", "b", "c", "d"])
    assert (about["mean"], about["std"]) == ([0.2, 0.3, 0.4], [0.5, 0.6, 0.7])
    assert about["inputs"] == {"image": ["N", 3, "H", "W"]}
    assert about["sizes"] == "any height and width that the network takes"
    task = load_task(checkpoints / "cls.ckpt", where_known={"compile": False})
    # Smaller, larger, odd and even; and down to maps of one pixel, which the example did not have.
    for shape in ((1, 3, 31, 40), (5, 3, 97, 64), (2, 3, 20, 21)):
        image = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(call(image), task(image), rtol=1e-4, atol=1e-5)
            raw = task.network((image - task.mean) / task.std)
            torch.testing.assert_close(call(image), raw, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_a_segmentation_network(ending, tmp_path):
    torch.manual_seed(0)
    task = SegmentationTask(encoder="resnet18", num_classes=4).eval()
    checkpoint, path = save(task, tmp_path / "seg.ckpt"), tmp_path / f"model.{ending}"
    run("--ckpt_path", checkpoint, "--output", path, "--size", "48x33")
    call, about = loaded(path)
    assert about["task"] == "SegmentationTask"
    image = torch.rand(3, 3, 35, 70)
    with torch.no_grad():
        expected = task(image)
    actual = call(image)
    assert actual.shape == (3, 4, 35, 70)
    assert float((actual - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_networks_of_five_channels(kind, ending, tmp_path):
    torch.manual_seed(0)
    if kind == "classification":
        task = ClassificationTask("resnet18", num_classes=3, in_channels=5)
    else:
        task = SegmentationTask(encoder="resnet18", num_classes=4, in_channels=5)
    checkpoint, path = save(task.eval(), tmp_path / "five.ckpt"), tmp_path / f"five.{ending}"
    run("--ckpt_path", checkpoint, "--output", path, "--size", "64x48")
    call, about = loaded(path)
    assert about["inputs"] == {"image": ["N", 5, "H", "W"]}
    assert about["input_range"].startswith("images are 5-channel floats")
    assert len(about["mean"]) == len(about["std"]) == 5
    image = torch.rand(3, 5, 51, 70)
    with torch.no_grad():
        expected = task(image)
    assert float((call(image) - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.slow
def test_vgg_to_onnx_at_any_size(tmp_path):
    # torch.onnx itself writes the adaptive pooling of the example's size into the file.
    torch.manual_seed(0)
    checkpoint = save(ClassificationTask("vgg11_bn", num_classes=3), tmp_path / "vgg.ckpt")
    run("--ckpt_path", checkpoint, "--output", tmp_path / "vgg.onnx", "--size", 224)
    call, _ = loaded(tmp_path / "vgg.onnx")
    task = load_task(checkpoint)
    image = torch.rand(2, 3, 257, 200)
    with torch.no_grad():
        torch.testing.assert_close(call(image), task(image), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 7), (1, 5), (None, 3), (9, 14)])
def test_exportable_pooling(size):
    x = torch.rand(2, 3, 9, 14, dtype=torch.float64)
    model = exportable_pooling(nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(size), nn.AdaptiveAvgPool2d(1)))
    assert type(model[1]) is ExportablePool2d
    assert type(model[2]) is nn.AdaptiveAvgPool2d  # a mean, which exports as it is
    torch.testing.assert_close(model[1](x), F.adaptive_avg_pool2d(x, size), rtol=0, atol=1e-12)
    assert model.state_dict() == {}


@pytest.mark.slow
def test_explicit_padding_is_exported_for_one_size(checkpoints, tmp_path, capsys):
    path = tmp_path / "model.pt2"
    args = ["--ckpt_path", checkpoints / "explicit.ckpt", "--output", path, "--size", 64]
    assert "Pass --fixed_size" in failing(capsys, *args)
    assert not list(tmp_path.iterdir())
    run(*args, "--fixed_size")
    call, about = loaded(path)
    assert about["sizes"] == "H x W = 64 x 64"
    task, image = load_task(checkpoints / "explicit.ckpt"), torch.rand(6, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(call(image), task(image), rtol=1e-4, atol=1e-5)


class TwoInputs(Task):
    """A task with inputs of its own, to sizes that are multiples of four, and two outputs."""

    export_outputs = ("image", "valid")

    def __init__(self, num_classes=2):
        super().__init__(num_classes=num_classes)
        self.network = nn.Conv2d(4, 3, 3, stride=4, padding=1)

    def export_example(self, batch, height, width):
        return {
            "image": torch.rand(batch, 3, height, width),
            "mask": (torch.rand(batch, 1, height, width) < 0.5).float(),
        }

    def forward(self, image, mask):
        if image.shape[-1] % 4 or image.shape[-2] % 4:
            message = "multiples of 4"
            raise ValueError(message)
        y = self.network(torch.cat([image * mask, mask], dim=1))
        return F.interpolate(y, scale_factor=4), mask


def test_tasks_say_how_they_are_exported(tmp_path):
    task = TwoInputs().eval()
    assert network.size_step(task, (16, 24)) == 4
    assert network.size_step(ClassificationTask(NETWORK).eval(), (33, 40)) == 1
    inputs = network.example(task, 2, (16, 24))
    assert list(inputs) == ["image", "mask"]
    about = network.describe(task, (16, 24), 4)
    assert about["sizes"] == "height and width in multiples of 4"
    assert about["inputs"]["mask"] == ["N", 1, "H", "W"]
    program = write.export_program(task, "torch", inputs, dynamic=True)
    path = tmp_path / "two.pt2"
    write.write(program, path, "torch", list(inputs), task.export_outputs, about)
    found = check.check_file(path, "torch", task, (16, 24), 4)
    assert len(found) == 3
    assert all(line.absolute == 0 for line in found)
    with torch.no_grad():
        task.network.weight.add_(0.01)
    with pytest.raises(ValueError, match="failed its check and was deleted"):
        check.check_file(path, "torch", task, (16, 24), 4)


def test_a_network_that_pads_large_maps_otherwise_is_refused_for_any_size():
    layers = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(4, 2, 3, padding=12, dilation=12))
    convert_padding(layers, "reflect", fallback="replicate")
    task = network.Normalized(layers, "x", "reflect", (0.0,) * 3, (1.0,) * 3).eval()
    write.export_program(task, "torch", network.example(task, 2, (128, 128)), dynamic=True)
    small = network.example(task, 2, (64, 64))
    with pytest.raises(UserValueError, match=r"more than 103 pixels .* of 64x64 would not: pass a larger --size"):
        write.export_program(task, "torch", small, dynamic=True)
    write.export_program(task, "torch", small, dynamic=False)


@pytest.mark.parametrize(("size", "step"), [((224, 224), 1), ((65, 96), 1), ((64, 64), 32), ((96, 64), 32)])
def test_both_parities_are_checked(size, step):
    checked = check.sizes_to_check(size, step)
    parities = [(height // step % 2, width // step % 2) for _, (height, width) in checked]
    assert parities == [(0, 0), (1, 1), (0, 1)]
    assert {batch for batch, _ in checked} == {1, 3, 4}  # the example's is 2
    for _, (height, width) in checked:
        assert height != size[0]
        assert width != size[1]
        assert height != width
        assert (height - size[0]) % step == (width - size[1]) % step == 0


@pytest.mark.slow
def test_a_file_that_fails_its_check_is_not_left(checkpoints, tmp_path, monkeypatch, capsys):
    path = tmp_path / "model.pt2"
    path.write_text("an earlier one")
    inner = export.write

    def spoilt(program, *rest):
        with torch.no_grad():
            next(value for name, value in program.state_dict.items() if name.endswith("weight")).mul_(1.01)
        inner(program, *rest)

    monkeypatch.setattr(export, "write", spoilt)
    message = failing(capsys, "--ckpt_path", checkpoints / "cls.ckpt", "--output", path, "--size", 64, "--fixed_size")
    assert "model.pt2 failed its check and was deleted" in message
    assert "differs by" in message
    assert "Traceback" not in message
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]
    assert path.read_text() == "an earlier one"


def test_a_network_of_one_size(tmp_path, capsys):
    torch.manual_seed(0)
    task = ClassificationTask("timm/test_vit", num_classes=3)
    checkpoint = save(task, tmp_path / "vit.ckpt")
    message = failing(capsys, "--ckpt_path", checkpoint, "--output", tmp_path / "vit.pt2", "--size", 97)
    assert "does not run at 97x97" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--ckpt_path", "nowhere.ckpt", "--output", "x.pt2"], "No checkpoint at nowhere.ckpt"),
        (["--ckpt_path", "nowhere.ckpt", "--output", "x.bin"], "ending in .onnx or .pt2"),
        (["--ckpt_path", "nowhere.ckpt", "--output", "x.pt2", "--format", "onnx"], "disagree"),
        (["--ckpt_path", "nowhere.ckpt", "--output", "not/there.pt2"], "there is no folder"),
        (["--ckpt_path", "nowhere.ckpt", "--output", "x.pt2", "--size", "tall"], "a size like 224"),
    ],
)
def test_mistakes_are_one_message(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = failing(capsys, *args)
    assert words in message
    assert "Traceback" not in message


def test_onnx_missing_names_the_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == "onnxscript" else object())
    message = failing(capsys, "--ckpt_path", "x.ckpt", "--output", tmp_path / "x.onnx")
    assert "onnxscript" in message
    assert "pip install 'pcpad[onnx]'" in message


def test_loading_a_task_under_options_that_not_every_task_has(checkpoints):
    task = load_task(checkpoints / "cls.ckpt", padding="zeros", where_known={"no_such_argument": 1, "compile": False})
    assert (task.padding, task.training) == ("zeros", False)
    explicit = load_task(checkpoints / "cls.ckpt", padding="explicit")
    assert any(name.endswith("border_weight") for name in explicit.state_dict())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: InpaintingTask(depth=2, width=4), "InpaintingTask takes masks too"),
        (lambda: ActionRecognitionTask("resnet3d18", num_classes=3, width=4), "ActionRecognitionTask takes clips"),
    ],
)
def test_tasks_that_are_not_exported_say_so(make, why, tmp_path, capsys):
    message = failing(capsys, "--ckpt_path", save(make(), tmp_path / "a.ckpt"), "--output", tmp_path / "a.pt2")
    assert why in message
    assert "pass another --size" not in message, "no size would do"


def test_what_is_no_task_says_what_it_lacks():
    with pytest.raises(TypeError, match="LightningModule lacks `export_example` and `export_outputs`"):
        network.need_task(LightningModule())


@pytest.mark.slow
def test_weights_of_a_network_by_name_are_exported_with_their_padding(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = classifier("timm/test_resnet", 3, "partial").eval()
    set_exponents(made, 0.5)
    save_padded_weights(made, "w.safetensors", "partial", exponents_of(made))
    named = ["--network=timm/test_resnet", "--weights=w.safetensors", "--num_classes=3", "--size=64"]
    run(*named, "--output=w.pt2")
    assert "partial padding" in capsys.readouterr().out
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in ((0.5,) * 3, (0.5,) * 3))
    written = torch.export.load("w.pt2").module()
    torch.testing.assert_close(written(image), made((image - mean) / std), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "args", [[], ["--network=resnet50"], ["--weights=w.pth"], ["--ckpt_path=a", "--network=b", "--weights=c"]]
)
def test_half_a_network_is_refused(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(*args, "--output=w.pt2")
    assert "either --ckpt_path FILE, or --network NAME and --weights FILE" in capsys.readouterr().err
