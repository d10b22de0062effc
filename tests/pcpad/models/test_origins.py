"""Weight files of other people's networks: read, or refused with what differs."""

import re

import pytest
import torch
from torchvision.models import segmentation, video

from pcpad.models import classifier, deeplabv3plus, load_weights, resnet3d18, resnet3d50
from pcpad.models.origins import refuse_stated, stated, stated_here

R3D = {"no_max_pool": True, "conv1_t_size": 3}


@pytest.fixture(scope="module")
def r3d(tmp_path_factory):
    torch.manual_seed(0)
    network = video.r3d_18(num_classes=7)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("r3d") / "r3d_18.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), path


@pytest.mark.faults
def test_torchvision_s_r3d_18_is_read_and_computes_the_same(r3d):
    theirs, path = r3d
    ours = resnet3d18(7, "zeros", path, variant=R3D).eval()
    clip = torch.randn(1, 3, 8, 48, 48)
    torch.testing.assert_close(ours(clip), theirs(clip))
    again = load_weights(resnet3d18(7, "zeros", variant=R3D), theirs.state_dict())
    assert torch.equal(again.layer4[1].bn2.running_var, theirs.layer4[1].conv2[1].running_var)


@pytest.mark.faults
@pytest.mark.parametrize("variant", [None, {"conv1_t_size": 3}, {"no_max_pool": True}])
def test_r3d_18_in_a_network_with_another_stem_is_refused(r3d, variant):
    """With a pool and a kernel of 3 frames, all names and shapes fit."""
    with pytest.raises(ValueError, match=r"r3d_18 is resnet3d18 .*--model\.variant\.no_max_pool true"):
        resnet3d18(7, weights=r3d[1], variant=variant)


# Some names of each: enough for the message, and none of them is ours.
PYTORCHVIDEO = {
    "blocks.0.conv.weight": (64, 3, 1, 7, 7),
    "blocks.1.res_blocks.0.branch1_conv.weight": (256, 64, 1, 1, 1),
    "blocks.1.res_blocks.0.branch2.conv_a.weight": (64, 64, 1, 1, 1),
    "blocks.1.res_blocks.0.branch2.conv_b.weight": (64, 64, 1, 3, 3),
    "blocks.5.proj.weight": (400, 2048),
}
MMSEG = {
    "backbone.stem.0.weight": (32, 3, 3, 3),
    "backbone.layer1.0.conv1.weight": (64, 64, 1, 1),
    "decode_head.conv_seg.weight": (19, 512, 1, 1),
    "decode_head.c1_bottleneck.conv.weight": (48, 256, 1, 1),
    "auxiliary_head.conv_seg.weight": (19, 256, 1, 1),
}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("names", "build", "words"),
    [
        (PYTORCHVIDEO, resnet3d50, "names of pytorchvideo .slow_r50.* 1x3x3"),
        (MMSEG, lambda **options: deeplabv3plus("resnet18", **options), "names of mmsegmentation, whose DeepLabV3.*"),
    ],
)
def test_other_networks_are_refused_by_name(names, build, words, tmp_path):
    torch.save({"state_dict": {name: torch.zeros(shape) for name, shape in names.items()}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"(?s)does not fit.*missing from the file.*not in the network.*{words}"):
        build(weights=tmp_path / "w.pth")


@pytest.mark.faults
def test_torchvision_s_deeplab_is_sent_to_the_architecture_that_reads_it(tmp_path):
    with torch.device("meta"):
        theirs = segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=4)
    torch.save({name: torch.zeros(value.shape) for name, value in theirs.state_dict().items()}, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"DeepLabV3, which has no decoder: load it with --model\.architecture torchvision/deeplab"
    ):
        deeplabv3plus("resnet50", 4, weights=tmp_path / "w.pth")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            {"opt": {"no_max_pool": True}},
            "no_max_pool=True, but this network has no_max_pool=False.*variant.no_max_pool",
        ),
        ({"opts": {"conv1_t_stride": 2}}, "conv1_t_stride=2.*--model.variant.conv1_t_stride 2"),
        ({"arch": "resnet-34"}, "arch='resnet-34', but this network has arch='resnet-18'"),
        ({"opt": {"model": "preresnet", "model_depth": 18}}, "preresnet-18"),
        ({"hyper_parameters": {"_class_path": "x", "network": "r", "variant": R3D}}, "no_max_pool=True"),
    ],
)
def test_a_3d_resnet_s_file_that_speaks_of_another_variant_is_refused(said, words, tmp_path):
    network = resnet3d18(5, "zeros", width=4)
    torch.save({"state_dict": network.state_dict(), **said}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=words):
        resnet3d18(5, weights=tmp_path / "w.pth", width=4)


@pytest.mark.faults
def test_a_variant_is_another_computation_of_the_same_weights(tmp_path):
    torch.manual_seed(0)
    source = resnet3d18(5, "zeros", width=4).eval()
    said = {"opt": {"no_max_pool": True, "conv1_t_stride": 2}, "arch": "resnet-18"}
    torch.save({"state_dict": source.state_dict(), **said}, tmp_path / "w.pth")
    variant = {"no_max_pool": True, "conv1_t_stride": 2}
    other = resnet3d18(5, "zeros", tmp_path / "w.pth", width=4, variant=variant).eval()
    clip = torch.randn(1, 3, 8, 32, 32)
    assert [tuple(one.shape[2:]) for one in other.features(clip)[:2]] == [(4, 16, 16), (4, 16, 16)]
    assert (other(clip) - source(clip)).abs().max() > 0.05
    with pytest.raises(ValueError, match=r"no_max_pool=True.*no_max_pool=False"):
        resnet3d18(5, "zeros", tmp_path / "w.pth", width=4, variant={"conv1_t_stride": 2})


@pytest.mark.parametrize("variant", [{"no_max_pol": True}, {"conv1_t_size": 4}, {"no_max_pool": 3}])
def test_variants_that_are_none(variant):
    with pytest.raises(ValueError, match="Expected argument `variant`"):
        resnet3d18(5, width=4, variant=variant)


@pytest.mark.faults
def test_a_classifier_s_file_of_another_network_is_refused(tmp_path):
    torch.save({"arch": "resnet50", "state_dict": classifier("resnet18", 3, "zeros").state_dict()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"arch='resnet50'.*arch='resnet18'.*--model\.network resnet50"):
        classifier("resnet18", 3, weights=tmp_path / "w.pth")


def test_what_files_say():
    content = {"args": {"a": 1}, "arch": "x", "hyper_parameters": {"b": (1, 2)}, "epoch": 3}
    assert stated(content) == {"a": 1, "b": (1, 2), "arch": "x"}
    assert stated_here(content) == {}
    refuse_stated({"b": [1, 2]}, {"b": (1, 2), "c": 3}, "w.pth", {})
    with pytest.raises(ValueError, match=re.escape("b=[1, 2], but this network has b=(1, 3)")):
        refuse_stated({"b": [1, 2]}, {"b": (1, 3)}, "w.pth", {})
