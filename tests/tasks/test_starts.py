"""Training that starts from other weights: what is taken, what is said, and that it helps."""

import pytest
import torch

from pcpad.models import spade_generator
from pcpad.tasks import ActionRecognitionTask, ClassificationTask, SegmentationTask, SynthesisTask

SMALL = {"num_labels": 4, "ngf": 2, "ndf": 2}


def saved(task, path):
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, path)
    return str(path)


@pytest.mark.faults
def test_a_segmentation_network_starts_from_a_whole_one_with_a_new_head(tmp_path, caplog):
    source = SegmentationTask(encoder="resnet18", num_classes=19)
    path = saved(source, tmp_path / "cityscapes.ckpt")
    with pytest.raises(ValueError, match=r"19 classes, the network 11: .*--model\.head new"):
        SegmentationTask(encoder="resnet18", num_classes=11, weights=path)
    task = SegmentationTask(encoder="resnet18", num_classes=11, weights=path, head="new")
    assert task.random_parts == ["final.6"]
    ours, theirs = task.network.state_dict(), source.network.state_dict()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == ["final.6.weight"]
    assert not {"weights", "head"} & set(task.hparams)
    assert SegmentationTask(encoder="resnet18", num_classes=19, weights=path).random_parts == []
    with pytest.raises(ValueError, match="encoder='resnet18', but this network has encoder='resnet34'"):
        SegmentationTask(encoder="resnet34", num_classes=19, weights=path)


@pytest.mark.faults
def test_other_images_than_the_file_was_trained_on_are_said(tmp_path):
    path = saved(ClassificationTask("resnet18", 3, mean=(0.5, 0.5, 0.5)), tmp_path / "w.ckpt")
    with pytest.warns(UserWarning, match=r"trained with mean=\[0\.5, 0\.5, 0\.5\] \(here \[0\.485.*--model\.mean"):
        ClassificationTask("resnet18", 3, weights=path)


@pytest.mark.faults
def test_synthesis_starts_from_a_generator_or_a_checkpoint(tmp_path):
    source = SynthesisTask(**SMALL)
    task = SynthesisTask(**SMALL, weights=saved(source, tmp_path / "w.ckpt"))
    assert all(torch.equal(value, task.state_dict()[name]) for name, value in source.state_dict().items())
    assert task.random_parts == []
    generator = spade_generator(5, ngf=2)
    torch.save(generator.state_dict(), tmp_path / "latest_net_G.pth")
    task = SynthesisTask(**SMALL, weights=str(tmp_path / "latest_net_G.pth"))
    assert torch.equal(task.generator.fc.weight, generator.fc.weight)
    assert torch.equal(task.average.network.fc.weight, generator.fc.weight)
    with pytest.raises(ValueError, match="num_upsampling_layers='more'"):
        SynthesisTask(**SMALL, weights=str(tmp_path / "w.ckpt"), num_upsampling_layers="normal")


@pytest.mark.faults
def test_a_clip_network_of_a_variant_starts_with_a_new_head(tmp_path):
    options = {"network": "resnet3d18", "width": 4, "variant": {"no_max_pool": True}}
    path = saved(ActionRecognitionTask(num_classes=400, **options), tmp_path / "w.ckpt")
    task = ActionRecognitionTask(num_classes=6, weights=path, head="new", **options)
    assert task.random_parts == ["fc"]
    assert dict(task.hparams)["variant"] == {"no_max_pool": True}
    with pytest.raises(ValueError, match=r"no_max_pool=True.*--model\.variant\.no_max_pool True"):
        ActionRecognitionTask("resnet3d18", 400, weights=path, width=4)
