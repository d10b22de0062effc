"""3D ResNets: the published names, the sizes of the papers, and the public network's logits."""

import pytest
import torch
import torch.nn.functional as F

from pcpad import PartialConv3d
from pcpad.models import load_weights, resnet3d, resnet3d18, resnet3d34, resnet3d50, resnet3d101

SMALL = {"num_classes": 5, "width": 8}


def public_logits(state, clip, padding="zeros"):
    """The public network's forward pass, written from its description with torch.nn.functional alone."""

    def conv(name, x, stride=1):
        weight = state[name + ".weight"]
        pad = weight.shape[-1] // 2
        y = F.conv3d(x, weight, None, stride, pad)
        if padding == "partial":
            valid = F.conv3d(torch.ones_like(x[:1, :1]), torch.ones_like(weight[:1, :1]), None, stride, pad)
            y = y * (weight[0, 0].numel() / valid)
        return y

    def norm(name, x):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = F.max_pool3d(norm("bn1", conv("conv1", clip, (1, 2, 2))).relu(), 3, 2, 1)
    for layer in range(1, 5):
        block = 0
        while f"layer{layer}.{block}.conv1.weight" in state:
            name = f"layer{layer}.{block}"
            stride, bottleneck = (2 if layer > 1 and block == 0 else 1), f"{name}.conv3.weight" in state
            y = norm(f"{name}.bn1", conv(f"{name}.conv1", x, 1 if bottleneck else stride)).relu()
            y = norm(f"{name}.bn2", conv(f"{name}.conv2", y, stride if bottleneck else 1))
            if bottleneck:
                y = norm(f"{name}.bn3", conv(f"{name}.conv3", y.relu()))
            if f"{name}.downsample.0.weight" in state:
                x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
            x, block = (x + y).relu(), block + 1
    return F.linear(x.mean((2, 3, 4)), state["fc.weight"], state["fc.bias"])


def test_names_and_parameters_of_the_published_network(names_and_shapes):
    with torch.device("meta"):
        model = resnet3d50(num_classes=400)
    assert sum(p.numel() for p in model.parameters()) == 47_018_576
    assert names_and_shapes(model) == (320, "2cba26f730d81b4a6d5b7d759b04f1dde203f7a0f6c556db18c5697fc51da3db")
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build().parameters()) for build in (resnet3d18, resnet3d34, resnet3d101)]
    assert counts == [33_409_104, 63_718_736, 86_064_720]


def test_sizes_of_the_papers_clips():
    with torch.device("meta"):
        maps = resnet3d50().features(torch.empty(1, 3, 16, 112, 112))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 56, 56), (8, 28, 28), (4, 14, 14), (2, 7, 7), (1, 4, 4)]
    assert [m.shape[1] for m in maps] == [64, 256, 512, 1024, 2048]


@pytest.mark.parametrize("padding", ["zeros", "partial"])
@pytest.mark.parametrize("depth", [18, 50])
def test_logits_are_the_public_networks(fill, depth, padding):
    model = fill(resnet3d(depth, padding=padding, **SMALL).double()).eval()
    clip = torch.randn(2, 3, 9, 33, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = public_logits(model.state_dict(), clip, padding)
    assert torch.allclose(model(clip), expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    # Those with padding, and none of side 1.
    assert sum(isinstance(m, PartialConv3d) for m in model.modules()) == (0 if padding == "zeros" else 17)


def test_weights_from_a_file(fill, tmp_path):
    source = fill(resnet3d18(padding="zeros", **SMALL)).eval()
    wrapped = {"epoch": 200, "state_dict": {f"module.{name}": value for name, value in source.state_dict().items()}}
    torch.save(wrapped, tmp_path / "r3d18.pth")
    clip = torch.rand(1, 3, 8, 32, 32)
    for model in (
        resnet3d18(padding="zeros", weights=tmp_path / "r3d18.pth", **SMALL),
        load_weights(resnet3d18(padding="zeros", **SMALL), tmp_path / "r3d18.pth"),
    ):
        assert torch.equal(model.eval()(clip), source(clip))


def test_reflection_runs_out_of_frames():
    clip = torch.zeros(1, 3, 16, 64, 64)
    with pytest.raises(ValueError, match=r"layer4.*\(1, "):
        resnet3d18(padding="reflect", **SMALL).eval()(clip)
    for options in ({"padding": "reflect", "fallback": "replicate"}, {"padding": "replicate"}):
        assert resnet3d18(**options, **SMALL).eval()(clip).shape == (1, 5)


@pytest.mark.parametrize("options", [{"depth": 26}, {"depth": 18, "num_classes": 0}, {"depth": 18, "width": 0}])
def test_arguments_out_of_range(options):
    with pytest.raises(ValueError, match="Expected argument"):
        resnet3d(**options)
