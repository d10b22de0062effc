"""torchvision's segmentation networks: the same outputs from the same files."""

import pytest
import torch
from torchvision.models import segmentation

from pcpad.models.torchvision_segmentation import torchvision_segmentation


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["deeplabv3", "fcn"])
def test_files_are_read_and_compute_the_same(kind, tmp_path):
    torch.manual_seed(0)
    make = getattr(segmentation, f"{kind}_resnet50")
    theirs = make(weights=None, weights_backbone=None, num_classes=4, aux_loss=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = torchvision_segmentation(kind, "resnet50", 4, "zeros", weights=tmp_path / "w.pth").eval()
    image = torch.randn(1, 3, 40, 56)
    torch.testing.assert_close(ours(image), theirs(image)["out"])
    other = torchvision_segmentation(kind, "resnet50", 3, weights=tmp_path / "w.pth", head="new")
    assert torch.equal(other.backbone.conv1.weight, theirs.backbone.conv1.weight)


def test_names(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"deeplabv3_resnet50_coco-cd0a2569\.pth is missing"):
        torchvision_segmentation("deeplabv3", weights="COCO_WITH_VOC_LABELS_V1")
    with pytest.raises(FileNotFoundError, match="resnet50-0676ba61"):
        torchvision_segmentation("fcn", encoder_weights="imagenet")
    with pytest.raises(ValueError, match="no 'deeplab' on 'resnet50': expected one of"):
        torchvision_segmentation("deeplab")
