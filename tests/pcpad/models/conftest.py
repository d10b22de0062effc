"""The public segmentation networks' forward passes, written from their description with torch.nn.functional alone."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from pcpad.models import wide_resnet

NARROW = ((2, (8, 8)), (1, (12, 12)), (3, (16, 16)), (2, (16, 24)), (1, (12, 16, 32)), (1, (16, 24, 40)))


@pytest.fixture
def seeded():
    """Random weights are the same whichever tests run before."""
    torch.manual_seed(0)


class PublicNetwork:
    """Evaluates a published state dict; `padding` is zeros or partial, the one by definition: taps over valid taps."""

    def __init__(self, state, padding="zeros"):
        self.state, self.padding = state, padding

    def conv(self, name, x, stride=1, dilation=1, padding=None):
        weight = self.state[name + ".weight"]
        taps = weight.shape[2:]
        padding = dilation * (taps[0] // 2) if padding is None else padding
        y = F.conv2d(x, weight, None, stride, padding, dilation)
        if self.padding == "partial":
            ones = torch.ones_like(x[:1, :1]), torch.ones_like(weight[:1, :1])
            y = y * (taps.numel() / F.conv2d(*ones, None, stride, padding, dilation))
        return y

    def norm(self, name, x, relu=True):
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        y = (x - mean) / (var + 1e-5).sqrt() * weight + bias
        return y.clamp(min=0) if relu else y

    def wide_resnet38(self, x):
        """The outputs of mod1 to mod7."""
        maps = [self.conv("mod1.conv1", x)]
        for mod in range(2, 8):
            x = maps[-1]
            if mod in (2, 3):
                x = F.max_pool2d(x, 3, 2, 1)
            dilation = {5: 2, 6: 4, 7: 4}.get(mod, 1)
            block = 1
            while f"mod{mod}.block{block}.bn1.0.weight" in self.state:
                name, stride = f"mod{mod}.block{block}", 2 if (mod, block) == (4, 1) else 1
                first = self.norm(f"{name}.bn1.0", x)
                skip = self.conv(f"{name}.proj_conv", first, stride) if f"{name}.proj_conv.weight" in self.state else x
                y = self.conv(f"{name}.convs.conv1", first, stride, dilation)
                y = self.conv(f"{name}.convs.conv2", self.norm(f"{name}.convs.bn2.0", y), 1, dilation)
                if f"{name}.convs.conv3.weight" in self.state:
                    y = self.conv(f"{name}.convs.conv3", self.norm(f"{name}.convs.bn3.0", y))
                x, block = skip + y, block + 1
            maps.append(x)
        return maps

    def resnet(self, x):
        """The outputs of layer0 to layer4, for bottleneck blocks."""
        x = self.norm("layer0.1", self.conv("layer0.0", x, 2, padding=3))
        maps = [F.max_pool2d(x, 3, 2, 1)]
        for layer in range(1, 5):
            x, block = maps[-1], 0
            while f"layer{layer}.{block}.conv1.weight" in self.state:
                name, stride = f"layer{layer}.{block}", 2 if (layer, block) == (2, 0) else 1
                y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x))
                y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y, stride, {3: 2, 4: 4}.get(layer, 1)))
                y = self.norm(f"{name}.bn3", self.conv(f"{name}.conv3", y), relu=False)
                if f"{name}.downsample.0.weight" in self.state:
                    x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride), relu=False)
                x, block = (x + y).clamp(min=0), block + 1
            maps.append(x)
        return maps

    def deeplabv3plus(self, image):
        """Logits at the image's size."""
        maps = self.wide_resnet38(image) if "mod1.conv1.weight" in self.state else self.resnet(image)
        fine, deep = maps[1], maps[-1]
        mean = self.norm("aspp.img_conv.1", self.conv("aspp.img_conv.0", deep.mean(dim=(2, 3), keepdim=True)))
        pyramid = [resize(mean, deep)]
        for index, rate in enumerate((1, 12, 24, 36)):
            branch = self.conv(f"aspp.features.{index}.0", deep, 1, rate)
            pyramid.append(self.norm(f"aspp.features.{index}.1", branch))
        coarse = resize(self.conv("bot_aspp", torch.cat(pyramid, 1)), fine)
        y = torch.cat([self.conv("bot_fine", fine), coarse], 1)
        for index in (0, 3):
            y = self.norm(f"final.{index + 1}", self.conv(f"final.{index}", y))
        return resize(self.conv("final.6", y), image)


def resize(x, like):
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


@pytest.fixture(scope="session")
def public_network():
    """`(state dict, padding)` -> the public network, with methods `deeplabv3plus`, `wide_resnet38` and `resnet`."""
    return PublicNetwork


@pytest.fixture(scope="session")
def fill():
    """Draw every weight and statistic of a model, the same ones each time, so that no layer is dead or trivial."""

    @torch.no_grad()
    def draw(model, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(3)
            elif value.dim() > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
            elif name.endswith(("running_var", "weight")):
                value.uniform_(0.5, 1.5, generator=generator)
            else:
                value.uniform_(-0.5, 0.5, generator=generator)
        return model

    return draw


@pytest.fixture(scope="session")
def names_and_shapes():
    """Count and digest of a model's names and shapes."""

    def digest(model):
        lines = sorted(f"{name} {'x'.join(map(str, value.shape))}" for name, value in model.state_dict().items())
        return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()

    return digest


@pytest.fixture
def narrow(monkeypatch):
    """A WideResNet38 of few channels and fewer blocks, with everything else as it is; its last widths."""
    monkeypatch.setattr(wide_resnet, "_STRUCTURE", NARROW)
    return NARROW[0][1][-1], NARROW[-1][1][-1]
