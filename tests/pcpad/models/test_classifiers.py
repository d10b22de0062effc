"""Networks by name, under a padding, with weights."""

import pytest
import torch

from pcpad import PartialConv2d
from pcpad.models import classifier
from pcpad.models.classifiers import find_network, published_file

SMALL = "shufflenet_v2_x0_5"


def logits(model):
    torch.manual_seed(0)
    return model.eval()(torch.randn(2, 3, 32, 32)).detach()


def test_torchvision_and_timm_names():
    assert find_network("resnet50") == ("resnet50", "torchvision")
    assert find_network("timm/resnet50") == ("resnet50", "timm")
    assert find_network("resnet10t") == ("resnet10t", "timm")


@pytest.mark.parametrize(("typo", "meant"), [("resnet5O", "resnet50"), ("timm/resnet10", "resnet10t")])
def test_unknown_network_suggests(typo, meant):
    with pytest.raises(ValueError, match=f"Unknown network '{typo}'.*Did you mean.*{meant}"):
        classifier(typo)


def test_padding_is_applied():
    torch.manual_seed(0)
    partial = classifier(SMALL, num_classes=4)
    torch.manual_seed(0)
    zeros = classifier(SMALL, num_classes=4, padding="zeros")
    assert any(isinstance(module, PartialConv2d) for module in partial.modules())
    assert not any(isinstance(module, PartialConv2d) for module in zeros.modules())
    assert logits(partial).shape == (2, 4)
    assert not torch.equal(logits(partial), logits(zeros))


def test_unknown_padding_and_class_count():
    with pytest.raises(ValueError, match="partial"):
        classifier(SMALL, padding="partal")
    with pytest.raises(ValueError, match="`num_classes`"):
        classifier(SMALL, num_classes=0)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18", "vgg11_bn"])
def test_partialconv_checkpoints_load(network, tmp_path):
    """The layout of NVIDIA/partialconv's files: DataParallel's prefix, no batch-norm counters, torchvision's names."""
    source = classifier(network, num_classes=3, padding="partial")
    state = {f"module.{k}": v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(
        {"epoch": 90, "arch": network, "state_dict": state, "best_prec1": torch.tensor(71.0)}, tmp_path / "w.pth"
    )
    loaded = classifier(network, num_classes=3, weights=tmp_path / "w.pth")
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(source.eval()(image), loaded.eval()(image))


def test_explicit_takes_both_kinds_of_file(tmp_path):
    plain = classifier(SMALL, num_classes=3, padding="zeros")
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    explicit = classifier(SMALL, num_classes=3, padding="explicit", weights=tmp_path / "plain.pth")
    assert torch.allclose(logits(explicit), logits(plain), atol=1e-5)  # border filters start as the center's copy
    with torch.no_grad():
        for parameter in explicit.parameters():
            parameter.add_(0.01)
    torch.save(explicit.state_dict(), tmp_path / "explicit.pth")
    again = classifier(SMALL, num_classes=3, padding="explicit", weights=tmp_path / "explicit.pth")
    assert torch.equal(logits(again), logits(explicit))
    with pytest.raises(ValueError, match=r"explicit\.pth' does not fit"):
        classifier(SMALL, num_classes=3, padding="zeros", weights=tmp_path / "explicit.pth")


def test_published_weights_come_from_the_cache_only(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"shufflenetv2_x0\.5-.*\.pth is missing from .*checkpoints.*Download https://"
    ):
        classifier(SMALL, weights="published")
    with pytest.raises(FileNotFoundError, match=r"resnet50-0676ba61\.pth"):
        published_file("resnet50", "IMAGENET1K_V1")
    (tmp_path / "checkpoints").mkdir()
    source = classifier(SMALL, padding="zeros")
    name = "shufflenetv2_x0.5-f707e7126e.pth"
    torch.save(source.state_dict(), tmp_path / "checkpoints" / name)
    assert torch.equal(logits(classifier(SMALL, padding="zeros", weights="published")), logits(source))
    with pytest.raises(ValueError, match="1000 classes, the network 10"):
        classifier(SMALL, num_classes=10, weights="published")


def test_published_weights_of_timm():
    with pytest.raises(ValueError, match=r"huggingface\.co/timm"):
        classifier("timm/resnet10t", weights="published")


def test_wide_resnet38_is_pretrained_at_the_strides_of_a_classifier():
    with torch.device("meta"):
        network = classifier("wide_resnet38", num_classes=7)
        assert network.classifier.fc.out_features == 7
        assert network.features(torch.empty(1, 3, 224, 224))[-1].shape == (1, 4096, 7, 7)
    with pytest.raises(ValueError, match="wider_resnet38"):
        classifier("wide_resnet38", weights="published")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out(network):
    model = classifier(network, num_classes=3).train()
    assert model(torch.randn(2, 3, 96, 96)).shape == (2, 3)
