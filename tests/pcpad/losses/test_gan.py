"""The GAN losses against their definitions."""

import pytest
import torch
from torch import nn

from pcpad.losses import GeneratorLoss, discriminator_hinge, feature_matching, generator_hinge
from pcpad.losses.vgg import VGG19Features


def judgment(seed, scales=2):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(4, 9), (8, 5), (1, 3)]
    return [
        [torch.randn(2, c, s - k, s - k, generator=draw, requires_grad=True) for c, s in shapes] for k in range(scales)
    ]


def test_hinge_by_hand():
    fake, real = judgment(0), judgment(1)
    expected = 0.0
    for ours, theirs in zip(fake, real, strict=True):
        below = [max(0.0, 1 + v) for v in ours[-1].flatten().tolist()]
        above = [max(0.0, 1 - v) for v in theirs[-1].flatten().tolist()]
        expected += (sum(below) / len(below) + sum(above) / len(above)) / 2
    assert float(discriminator_hinge(fake, real).detach()) == pytest.approx(expected, rel=1e-5)
    mean = -sum(sum(maps[-1].flatten().tolist()) / maps[-1].numel() for maps in fake) / 2
    assert float(generator_hinge(fake).detach()) == pytest.approx(mean, rel=1e-5, abs=1e-6)


def test_feature_matching_by_hand():
    fake, real = judgment(0), judgment(1)
    loss = feature_matching(fake, real)
    pairs = [pair for x, y in zip(fake, real, strict=True) for pair in zip(x[:2], y[:2], strict=True)]
    differences = [(a - b).detach().abs().mean() for a, b in pairs]
    assert float(loss.detach()) == pytest.approx(float(sum(differences)) / 2, rel=1e-5)
    loss.backward()
    assert fake[0][0].grad is not None
    assert fake[0][2].grad is None
    assert real[0][0].grad is None


def test_half_precision_is_summed_in_float32():
    fake = [[m.half() for m in maps] for maps in judgment(0)]
    assert generator_hinge(fake).dtype == torch.float32
    assert feature_matching(fake, fake).dtype == torch.float32


def test_scales_must_agree():
    with pytest.raises(ValueError, match="but got 2, 1"):
        discriminator_hinge(judgment(0), judgment(1)[:1])


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """A file in torchvision's names, its convolutions drawn at random."""
    convolutions, layers, channels, index = {}, [], 3, 0
    torch.manual_seed(0)
    for stage, (count, wide) in enumerate([(2, 64), (2, 128), (4, 256), (4, 512), (1, 512)]):
        if stage:
            layers.append(nn.MaxPool2d(2))
            index += 1
        for _ in range(count):
            layer = nn.Conv2d(channels, wide, 3, padding=1)
            convolutions |= {f"features.{index}.weight": layer.weight, f"features.{index}.bias": layer.bias}
            layers += [layer, nn.ReLU()]
            channels, index = wide, index + 2
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({name: value.detach() for name, value in convolutions.items()}, path)
    return path, nn.Sequential(*layers)


def test_vgg_term_is_of_the_first_convolution_of_each_block(vgg):
    path, network = vgg
    loss = GeneratorLoss({"feature_matching": 0}, path)
    assert not loss.state_dict()
    image, truth = torch.rand(2, 1, 3, 32, 48).mul(2).sub(1)
    expected, weights, x, y = 0.0, iter((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)), image, truth
    for number, layer in enumerate(network):
        x, y = layer(x), layer(y)
        if number in (1, 6, 11, 20, 29):  # relu1_1 ... relu5_1 of torchvision's numbering
            expected += next(weights) * float((x - y).abs().mean())
    terms = loss(image, truth, judgment(0), judgment(1))
    assert set(terms) == {"loss", "hinge", "vgg"}
    assert float(terms["vgg"]) == pytest.approx(expected, rel=1e-4)
    assert float(terms["loss"]) == pytest.approx(float(terms["hinge"] + 10 * terms["vgg"]), rel=1e-5)


def test_missing_and_wrong_vgg(vgg, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"VGG19.*vgg: 0"):
        GeneratorLoss(None, tmp_path / "absent.pth")
    state = torch.load(vgg[0], weights_only=True)
    del state["features.28.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"features.28.bias` of \(512,\), which is missing"):
        VGG19Features(tmp_path / "short.pth")
    assert GeneratorLoss({"vgg": 0}, tmp_path / "absent.pth").features is None
    with pytest.raises(ValueError, match="style=1"):
        GeneratorLoss({"style": 1})
    with pytest.raises(ValueError, match="at least 16x16"):
        VGG19Features(vgg[0])(torch.zeros(1, 3, 8, 32))
