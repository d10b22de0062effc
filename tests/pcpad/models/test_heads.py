"""New heads on networks of other classes."""

import pytest
import torch
from torch import nn

from pcpad.models import classifier, deeplabv3plus, resnet3d18, smp_network
from pcpad.models.heads import head_of, within


@pytest.mark.faults
@pytest.mark.parametrize("padding", ["partial", "explicit"])
def test_all_but_the_head_of_a_network_of_other_classes_is_taken(padding, tmp_path):
    source = classifier("resnet18", 1000, "zeros")
    torch.save({"state_dict": source.state_dict(), "arch": "resnet18"}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"1000 classes, the network 3: .*--model\.head new"):
        classifier("resnet18", 3, padding, tmp_path / "w.pth")
    found = classifier("resnet18", 3, padding, tmp_path / "w.pth", head="new").state_dict()
    same = [name for name, value in source.state_dict().items() if torch.equal(found[name], value)]
    assert set(source.state_dict()) - set(same) == {"fc.weight", "fc.bias"}
    assert found["fc.weight"].shape == (3, 512)


def test_a_head_of_as_many_classes_is_left_out_too(tmp_path):
    source = classifier("resnet18", 3, "zeros")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    found = classifier("resnet18", 3, "zeros", tmp_path / "w.pth", head="new")
    assert torch.equal(found.conv1.weight, source.conv1.weight)
    assert not torch.equal(found.fc.weight, source.fc.weight)


def test_heads_are_found():
    assert head_of(deeplabv3plus("resnet18", num_classes=11), 11) == ["final.6"]
    assert head_of(resnet3d18(6, width=4), 6) == ["fc"]
    assert head_of(smp_network("FPN", "resnet18", 4), 4) == ["segmentation_head.0"]
    assert head_of(classifier("timm/deit_tiny_distilled_patch16_224", 5), 5) == ["head", "head_dist"]
    with pytest.raises(ValueError, match="no layer with 7 outputs"):
        head_of(nn.Sequential(nn.Linear(2, 3)), 7)
    assert within("fc.weight", ["fc"])
    assert not within("fc2.weight", ["fc"])


@pytest.mark.parametrize(("head", "words"), [("new", "there are no `weights`"), ("old", "'new' or left out")])
def test_a_head_without_effect_is_refused(head, words):
    with pytest.raises(ValueError, match=words):
        classifier("resnet18", 3, head=head)
