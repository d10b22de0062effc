"""Networks by name, checkpoint and function."""

import pytest
import torch
from torch import nn

from pcpad import PartialConv2d, convert_padding
from pcpad.commands.networks import load_network
from pcpad.errors import UserTypeError, UserValueError
from pcpad.models import classifier
from pcpad.models.padded_weights import save_padded_weights
from pcpad.tasks import ClassificationTask, SegmentationTask


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the current folder with functions that make networks, or none."""
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))\n"
        "def mirrored():\n    return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode='reflect'))\n"
        "def other():\n    return 3\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 2, 3, padding=1)\n"
        "class Wide(nn.Conv2d):\n    def __init__(self, width, depth, *more, bias=True):\n        pass\n"
        "number = 4\n"
    )
    monkeypatch.chdir(tmp_path)
    return "my_nets"


def test_a_classifier_with_weights_of_a_file(tmp_path):
    original = classifier("resnet18", padding="zeros").eval()
    torch.save(original.state_dict(), tmp_path / "w.pth")
    loaded = load_network("resnet18", weights=tmp_path / "w.pth")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.module(x), original(x))
    assert loaded.trained
    assert (loaded.size, loaded.mean[0], loaded.std[0]) == (224, 0.485, 0.229)


@pytest.mark.parametrize(
    ("name", "mean", "size"),
    [
        ("timm/test_resnet", 0.5, 160),
        ("smp/FPN-resnet18", 0.485, None),
        ("deeplabv3plus/resnet18", 0.485, None),
        ("lraspp_mobilenet_v3_large", 0.485, None),
    ],
)
def test_names_of_all_libraries(name, mean, size):
    loaded = load_network(name, untrained=True)
    assert not loaded.module.training
    assert not loaded.trained
    assert (loaded.mean[0], loaded.size) == (mean, size)


def test_a_checkpoint_of_the_suite(tmp_path):
    from lightning.pytorch import Trainer

    task = ClassificationTask("timm/test_resnet", num_classes=3, padding="partial", mean=(0.1, 0.2, 0.3))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_network(str(tmp_path / "a.ckpt"))
    image = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.allclose(loaded.module(loaded.normalize(image)), task.eval()(image), atol=1e-5)
    with pytest.raises(UserValueError, match="has weights and classes of its own"):
        load_network(str(tmp_path / "a.ckpt"), weights="x.pth")


def test_a_checkpoint_of_a_network_of_other_inputs(tmp_path):
    from lightning.pytorch import Trainer

    from pcpad.tasks import InpaintingTask

    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(InpaintingTask(depth=2, width=4))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(UserTypeError, match="takes inputs other than one image"):
        load_network(str(tmp_path / "a.ckpt"))


def test_a_function_of_the_users_is_called_only_where_allowed(mine):
    with pytest.raises(UserValueError, match=f"allow it by --import {mine}"):
        load_network(f"{mine}:make")
    loaded = load_network(f"{mine}:make", imports=[mine], mean=[0.5])
    assert isinstance(loaded.module[0], nn.Conv2d)
    white = loaded.normalize(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    assert torch.allclose(white, torch.full((1, 1, 2, 2), 0.5))
    with pytest.raises(UserTypeError, match="but got a int"):
        load_network(f"{mine}:other", imports=[mine])
    with pytest.raises(UserValueError, match="has no function 'number'"):
        load_network(f"{mine}:number", imports=[mine])


@pytest.mark.faults
@pytest.mark.faults
def test_recovered_weights_of_a_function_s_network_bring_their_padding(mine):
    """As `pcpad adapt --network my_nets:make` writes them, for `pcpad borders`, `export` and the others."""
    network = convert_padding(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), "partial").eval()
    save_padded_weights(network, "recovered.safetensors", "partial", {"0": 0.5})
    loaded = load_network(f"{mine}:make", imports=[mine], weights="recovered.safetensors").module
    image = torch.rand(1, 1, 8, 8)
    network[0].exponent = 0.5
    assert isinstance(loaded[0], PartialConv2d)
    assert torch.equal(loaded(image), network(image))


def test_weights_for_zeros_convert_a_network_of_another_padding(mine):
    network = convert_padding(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), "zeros").eval()
    save_padded_weights(network, "zeros.safetensors", "zeros")
    loaded = load_network(f"{mine}:mirrored", imports=[mine], weights="zeros.safetensors").module
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(loaded(image), network(image))


def test_random_weights_are_refused_unless_meant():
    with pytest.raises(UserValueError, match="resnet18 has random weights"):
        load_network("resnet18")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "resnt18", "untrained": True}, "Did you mean resnet18"),
        ({"name": "a b:c"}, "or my\\.module:make"),
        ({"name": "smp/Unt-resnet18", "untrained": True}, "no architecture 'unt'"),
        ({"name": "resnet18", "untrained": True, "std": [0, 1, 1]}, "numbers > 0"),
        ({"name": "resnet18", "untrained": True, "mean": [0, 1]}, "one number each"),
        ({"name": "deeplabv3plus/resnet18", "untrained": True, "num_classes": 3}, "has its own number"),
    ],
)
def test_mistakes_are_one_message(options, words):
    with pytest.raises(UserValueError, match=words):
        load_network(**options)


def test_converted():
    loaded = load_network("resnet18", untrained=True, padding="replicate")
    assert loaded.module.conv1.padding_mode == "replicate"


def test_a_segmentation_checkpoint_gives_its_network(tmp_path):
    from lightning.pytorch import Trainer

    task = SegmentationTask(encoder="resnet18", padding="zeros")
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "s.ckpt")
    assert type(load_network(str(tmp_path / "s.ckpt")).module) is type(task.network)


def test_a_class_with_the_checkpoint_of_its_own_project(mine, capsys):
    from lightning.pytorch import LightningModule, Trainer

    class Project(LightningModule):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, padding=1)

    project = Project()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(project)
    trainer.save_checkpoint("net.ckpt")
    loaded = load_network(f"{mine}:Net", imports=[mine], weights="net.ckpt")
    assert torch.equal(loaded.module.conv.weight, project.conv.weight)
    assert "is a class" not in capsys.readouterr().err
    with pytest.raises(UserValueError, match=r"--import mine --network mine:MyNetwork --weights net\.ckpt"):
        load_network("net.ckpt")


def test_a_class_without_weights_is_said_to_be_so(mine, capsys):
    load_network(f"{mine}:Net", imports=[mine])
    assert "my_nets:Net is a class, and there are no --weights" in capsys.readouterr().err


def test_a_class_that_needs_arguments(mine):
    with pytest.raises(
        UserTypeError, match=r"needs width, depth, .*`def network\(\): return Wide\(width=…, depth=…\)`"
    ):
        load_network(f"{mine}:Wide", imports=[mine])
