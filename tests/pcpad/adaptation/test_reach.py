"""How far networks look, against gradients of positive weights, and against parts of images."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PartialConv2d, convert_padding
from pcpad.adaptation.reach import Reach, receptive_field

pytestmark = pytest.mark.faults


class UNet(nn.Module):
    """A skip, a dilated convolution, and up by interpolation."""

    def __init__(self, mode="bilinear"):
        super().__init__()
        self.top = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(4, 4, (3, 5), padding=(2, 6), dilation=(2, 3))
        self.last = nn.Conv2d(8, 2, 3, padding=1)
        self.mode = mode

    def forward(self, image):
        top = F.relu(self.top(image))
        below = F.relu(self.middle(F.relu(self.down(top))))
        below = F.interpolate(below, size=top.shape[2:], mode=self.mode)
        return self.last(torch.cat([top, below], 1))


def randomized(network):
    """In evaluation mode, norms with statistics as after training."""
    chance = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=chance))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=chance))
    return network.eval()


NETWORKS = {
    "one": (lambda: nn.Conv2d(3, 4, 1), (1, 1)),
    "uneven": (lambda: nn.Conv2d(3, 4, (3, 7), padding=(1, 3)), (1, 1)),
    "even kernel": (lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(3, 4, 4)), (1, 1)),
    "dilated": (lambda: nn.Conv2d(3, 4, 3, padding=9, dilation=9), (1, 1)),
    "strided": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 4, 2, 1)), (2, 2)),
    "by three": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 3), nn.ReLU(), nn.Upsample(scale_factor=3)), (3, 3)),
    "along one axis": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, (1, 4), 1), nn.Upsample(scale_factor=(1, 4), mode="bilinear")),
        (1, 4),
    ),
    "max pool": (
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 4, 3, padding=1), nn.Upsample(scale_factor=2)),
        (2, 2),
    ),
    "shuffles": (
        lambda: nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 16, 3, padding=1), nn.PixelShuffle(4)),
        (4, 4),
    ),
    "skip": (UNet, (2, 2)),
    "skip, nearest": (lambda: UNet("nearest"), (2, 2)),
    "partial": (lambda: convert_padding(UNet(), "partial"), (2, 2)),
    "reflect": (lambda: convert_padding(UNet(), "reflect"), (2, 2)),
}


def by_gradient(network, alignment, size=96):
    """Pixels beyond an aligned block that it depends on: by positive weights, so that nothing cancels."""
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs() + 0.1)
    margins = []
    for axis in (2, 3):
        step, most = alignment[axis - 2], 0
        image = torch.rand(1, 3, size, size, dtype=torch.float64) + 0.1
        image.requires_grad_()
        first = size // 2 // step * step
        # Several values, since a maximum has a gradient for one of its inputs only.
        for seed in range(6):
            image.data = (
                torch.rand(image.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
            )
            output = network(image)
            (gradient,) = torch.autograd.grad(output.narrow(axis, first, step).sum(), image)
            seen = (gradient != 0).any(dim=[d for d in range(4) if d != axis]).nonzero()
            most = max(most, first - int(seen[0]), int(seen[-1]) - first - step + 1)
        margins.append(-(-most // step) * step)
    return tuple(margins)


@pytest.mark.parametrize("name", NETWORKS)
def test_margins_are_those_of_the_gradient(name):
    make, alignment = NETWORKS[name]
    torch.manual_seed(0)
    network = make().eval()
    channels = 3
    reach = receptive_field(network, channels=channels)
    assert not reach.obstacles
    assert reach.alignment == alignment
    assert reach.margin == by_gradient(network, alignment)
    assert reach.difference < 1e-10


def test_the_scale_of_super_resolution():
    network = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).eval()
    assert receptive_field(network).scale == (Fraction(2), Fraction(2))


class Position(nn.Module):
    """Adds where it is."""

    def forward(self, image):
        return image + torch.linspace(0, 1, image.shape[2]).view(-1, 1)


class Attention(nn.Module):
    """Every pixel to every other."""

    def forward(self, image):
        low = F.avg_pool2d(image, 8)
        flat = 4 * low.flatten(2).transpose(1, 2)
        seen = F.scaled_dot_product_attention(flat, flat, flat).transpose(1, 2).view_as(low)
        return image + F.interpolate(seen, scale_factor=8)


class Pooled(nn.Module):
    """ASPP's image pooling, in short."""

    def __init__(self, size=1):
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        low = F.adaptive_avg_pool2d(image, self.size)
        return self.conv(image) + F.interpolate(low, size=image.shape[2:], mode="bilinear")


FAR = {
    "instance norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4)),
        "1 (InstanceNorm2d): normalizes",
    ),
    "group norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4)),
        "1 (GroupNorm): normalizes",
    ),
    "global pooling": (lambda: nn.Sequential(Pooled()), "0 (Pooled): pools over the whole image"),
    "pyramid": (lambda: nn.Sequential(Pooled(3)), "0 (Pooled): returns maps of a fixed size, 3 x 3"),
    "attention": (lambda: nn.Sequential(Attention()), "0 (Attention): attends to the whole image"),
    "mean": (lambda: nn.Sequential(Squeeze()), "0 (Squeeze): pools over the whole image"),
    "corners": (
        lambda: nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
        "1 (Upsample): resizes with align_corners=True",
    ),
    "fixed size": (
        lambda: nn.Sequential(nn.Upsample(size=(64, 64))),
        "0 (Upsample): returns maps of a fixed size, 64 x 64",
    ),
    "circular": (
        lambda: nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"),
        "Conv2d: connects each border with the opposite",
    ),
    "position": (lambda: nn.Sequential(Position()), "the network: its output depends on the position"),
}


class Squeeze(nn.Module):
    """Squeeze and excite."""

    def forward(self, image):
        return image * image.mean((2, 3), keepdim=True).sigmoid()


@pytest.mark.parametrize("name", FAR)
def test_what_has_no_margin_is_named(name):
    make, words = FAR[name]
    torch.manual_seed(0)
    reach = receptive_field(make().eval(), channels=3)
    assert any(words in obstacle for obstacle in reach.obstacles), reach.obstacles
    if name != "fixed size":  # which has no part to compare
        assert reach.difference > 1e-4


def test_the_rest_of_a_network_with_obstacles_has_a_margin():
    network = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)).eval()
    assert receptive_field(network).margin == (3, 3)


def test_every_obstacle_is_named_not_the_first_alone():
    network = nn.Sequential(*[nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), Squeeze()) for _ in range(4)]).eval()
    assert [each.split(" ")[0] for each in receptive_field(network).obstacles] == ["0.1", "1.1", "2.1", "3.1"]


class ToItsSize(nn.Module):
    """Down by four, and up to the image's own size by interpolation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, stride=4, padding=1)

    def forward(self, image):
        return F.interpolate(self.conv(image), size=image.shape[2:], mode="bilinear")


def test_sizes_that_the_strides_do_not_divide():
    network = ToItsSize().eval()
    assert not receptive_field(network, (400, 300)).obstacles
    (obstacle,) = receptive_field(network, (400, 301)).obstacles
    assert "a width of 301, which is no multiple of 4" in obstacle
    # Scale factors are the same for all sizes.
    network = nn.Sequential(nn.AvgPool2d(4, ceil_mode=True), nn.Conv2d(3, 3, 3, padding=1)).eval()
    assert not receptive_field(network, (401, 301)).obstacles


def test_the_network_is_left_as_it_was():
    network = randomized(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    receptive_field(network)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == before[name].dtype for name in before)


@pytest.mark.parametrize("network", [lambda x: {"out": 2 * x, "aux": x}, lambda x: (x, [x])])
def test_outputs_in_dicts_and_tuples(network):
    assert receptive_field(network) == Reach((0, 0))


def test_a_classifier_looks_as_far_as_its_last_map():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    reach = receptive_field(network)
    assert reach.obstacles == ("2 (AdaptiveAvgPool2d): pools over the whole image",)
    assert (reach.margin, reach.alignment) == ((4, 4), (2, 2))


def refuses_nan(image):
    if not bool(image.isfinite().all()):
        message = "not finite"
        raise RuntimeError(message)
    return image


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.BatchNorm2d(3), "is in training mode"),
        (nn.Linear(224, 10).eval(), "any size"),
        (refuses_nan, "without such checks"),
        (lambda x: x / 0, "not finite"),
        (lambda x: "map", "but got none"),
        (3, "`network`"),
    ],
)
def test_bad_networks(network, words):
    with pytest.raises((ValueError, TypeError), match=words):
        receptive_field(network)


@pytest.mark.parametrize("image", [(4,), (0, 4), torch.zeros(3, 4)])
def test_bad_images(image):
    with pytest.raises(ValueError, match="`image`"):
        receptive_field(PartialConv2d(3, 3, 3, padding=1), image)


class InFloat32(nn.Conv2d):
    """Casts what it is given."""

    def forward(self, image):
        return super().forward(image.float())


@pytest.mark.parametrize(
    "network",
    [
        InFloat32(3, 4, 5, padding=2),
        nn.Conv2d(3, 4, 5, padding=2).half(),
        nn.Conv2d(3, 4, 5, padding=2).bfloat16(),
        torch.jit.script(nn.Conv2d(3, 4, 5, padding=2)),
    ],
)
def test_other_types(network):
    reach = receptive_field(network.eval())
    assert (reach.margin, reach.obstacles) == ((2, 2), ())
