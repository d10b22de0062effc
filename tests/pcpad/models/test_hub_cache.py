"""Published weights by name, from caches alone."""

import pytest
import torch
from huggingface_hub import constants

from pcpad.models import classifier, deeplabv3plus, smp_network
from pcpad.models.hub_cache import hub_file, timm_file, timm_network


def cached(folder, repository, network, name="model.safetensors"):
    """A file where the hub's own client puts it."""
    from safetensors.torch import save_file

    home = folder / f"models--{repository.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("abc")
    (home / "snapshots" / "abc").mkdir(parents=True)
    save_file(network.state_dict(), home / "snapshots" / "abc" / name)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    folder.mkdir()
    return folder


@pytest.mark.faults
def test_timm_s_weights_are_read_from_the_hub_s_cache(hub):
    source = classifier("timm/resnet18", padding="zeros")
    cached(hub, "timm/resnet18.a1_in1k", source)
    for network, weights in (("resnet18", "timm/resnet18.a1_in1k"), ("timm/resnet18", "published")):
        found = classifier(network, 3, "zeros", weights, head="new")
        assert torch.equal(found.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    encoder = deeplabv3plus("resnet18", 3, "zeros", "timm/resnet18.a1_in1k")
    assert torch.equal(encoder.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    timm_encoder = smp_network("FPN", "tu-resnet18", 3, "zeros", "timm/resnet18.a1_in1k")
    assert torch.equal(timm_encoder.encoder.model.conv1.weight, source.conv1.weight)


@pytest.mark.faults
def test_smp_s_own_weights_are_read_from_the_hub_s_cache(hub):
    source = smp_network("FPN", "resnet18", 3, "zeros").encoder
    cached(hub, "smp-hub/resnet18.imagenet", source)
    found = smp_network("FPN", "resnet18", 3, "zeros", "imagenet").encoder
    assert torch.equal(found.layer3[0].conv1.weight, source.layer3[0].conv1.weight)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("network", "weights", "words"),
    [
        ("resnet18", "timm/resnet18.a1_in1k", r"(?s)models--timm--resnet18\.a1_in1k.*Nothing is downloaded"),
        ("resnet18", "timm/resnet50.a1_in1k", r"weights of timm's resnet50, but the network is resnet18"),
        ("timm/efficientnet_b0", "timm/tf_efficientnet_b0.in1k", "weights of timm's tf_efficientnet_b0"),
        ("timm/resnet18", "timm/resnet18.b1_in1k", r"no weights named 'resnet18\.b1_in1k'.*a1_in1k"),
    ],
)
def test_what_is_missing_or_of_another_network_is_said(hub, network, weights, words):
    with pytest.raises(ValueError, match=words):
        classifier(network, weights=weights)


def test_names(hub, tmp_path, monkeypatch):
    assert timm_network("timm/resnet50.a1_in1k") == "resnet50"
    assert timm_network("resnet50.pth") is None
    assert timm_network(None) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "w.pth").touch()
    assert timm_network("timm/w.pth") is None  # a file of that name
    with pytest.raises(FileNotFoundError, match="hub's cache"):
        hub_file("someone/network")
    folder = tmp_path / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    from timm.models import get_pretrained_cfg

    name = get_pretrained_cfg("resnet18.a1_in1k").url.rpartition("/")[2]
    (folder / name).touch()
    assert timm_file("resnet18.a1_in1k") == folder / name
