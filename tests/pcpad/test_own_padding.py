"""Padding that modules do by themselves, seen in their code."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import pad
from torchvision.ops import DeformConv2d

from pcpad._own_padding import padding_of_its_own

HAND = "it calls `pad` before a convolution without padding"
FUNCTION = "it calls a convolution as a function, whose padding is not seen"
OWN = "a convolution of its own kind, not exactly torch.nn's"


def same_by_hand(features, conv):
    """As transformers' MobileNets pad."""
    return pad(features, [conv.dilation[0]] * 4, "constant", 0.0)


class Valid(nn.Module):
    """A convolution that takes borders off."""

    def __init__(self, **options):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, **options)

    def forward(self, x):
        return self.convolution(x)


class Helper(Valid):
    def forward(self, x):
        return self.convolution(same_by_hand(x, self.convolution))


class Downsampler(Valid):
    """As diffusers' downsamplers pad."""

    def forward(self, x):
        return self.convolution(F.pad(x, (0, 1, 0, 1), mode="constant", value=0))


class Method(Valid):
    def grown(self, x):
        return torch.nn.functional.pad(x, (1, 1, 1, 1))

    def forward(self, x):
        return self.convolution(self.grown(x))


class Static(Valid):
    @staticmethod
    def grown(x):
        return F.pad(x, (1, 1, 1, 1))

    def forward(module, x):
        return module.convolution(module.grown(x))


class OfClass(Valid):
    @classmethod
    def grown(cls, x):
        return F.pad(x, (1, 1, 1, 1))

    def forward(self, x):
        return self.convolution(self.grown(x))


class Inline(Valid):
    """Makes a layer that pads whenever it is called."""

    def forward(self, x):
        return self.convolution(nn.ZeroPad2d((0, 1, 0, 1))(x))


class Grown(nn.Module):
    def forward(self, x):
        return F.pad(x, (1, 1, 1, 1))


class InlineOwn(Valid):
    def forward(self, x):
        return self.convolution(Grown()(x))


class Deep(nn.Module):
    """Pads what is convolved further down."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Identity(), Valid())

    def forward(self, x):
        return torch.cat([self.stem(part) for part in [F.pad(x, (1, 1, 1, 1))]])


class Patches(nn.Module):
    """Pads to whole patches, which do not overlap: no border is made up for a window."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x):
        return self.convolution(F.pad(x, (0, -x.shape[-1] % 4, 0, -x.shape[-2] % 4)))


class Skip(nn.Module):
    """Pads no convolution's input."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return F.pad(self.convolution(x), (1, 1, 1, 1))


class Blur(nn.Module):
    def forward(self, x):
        return F.conv2d(x, torch.ones(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


class Attribute(Valid):
    """Has a `pad` of its own, which is none of torch's."""

    def forward(self, x):
        return F.relu(self.convolution(x)) + self.pad

    pad = 1


@pytest.mark.faults
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Helper(), HAND),
        (Downsampler(stride=2), HAND),
        (Method(), HAND),
        (Static(), HAND),
        (OfClass(), HAND),
        (Inline(), HAND),
        (InlineOwn(), HAND),
        (Deep(), HAND),
        (Blur(), FUNCTION),
        (DeformConv2d(3, 4, 3, padding=1), OWN),
        # Nothing to say.
        (Helper(padding=1), None),  # transformers' `tf_padding=False`: the line is not reached
        (DeformConv2d(3, 4, 3), None),
        (Valid(), None),
        (Patches(), None),
        (Skip(), None),
        (Attribute(), None),
        (nn.Sequential(Valid()), None),
        (nn.MaxPool2d(3, padding=1), None),
        (nn.MultiheadAttention(4, 1), None),
    ],
)
def test_what_pads_by_itself_is_seen(module, reason):
    assert padding_of_its_own(module) == reason
