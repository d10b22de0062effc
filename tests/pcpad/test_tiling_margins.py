"""Tiles with a margin against whole images."""

import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import convert_padding
from pcpad.adaptation.reach import receptive_field
from pcpad.tiling import Margin, Reach, Tiling, run_tiled, tiled_argmax, tiled_bands, tiled_blocks

pytestmark = pytest.mark.faults


class UNet(nn.Module):
    """Two levels down, with skips."""

    def __init__(self):
        super().__init__()
        self.top = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.under = nn.Conv2d(6, 6, 3, stride=2, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(6, 6, 2, 2)
        self.last = nn.Conv2d(10, 5, 3, padding=1)

    def forward(self, image):
        top = F.relu(self.top(image))
        down = F.relu(self.norm(self.down(top)))
        up = F.relu(self.up(F.relu(self.under(down)))) + down
        return self.last(torch.cat([top, F.interpolate(up, scale_factor=2, mode="bilinear")], 1))


class Pooled(UNet):
    """With ASPP's image pooling."""

    def forward(self, image):
        found = super().forward(image)
        return found + found.mean((2, 3), keepdim=True)


def made(kind=UNet, padding="zeros"):
    torch.manual_seed(0)
    network = kind()
    network.norm.running_mean.normal_()
    return convert_padding(network, padding).eval()


@pytest.fixture
def network():
    return made().double()


def image(height, width, number=1, dtype=torch.float64):
    return torch.rand(number, 3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _without_remarks():
    """On small images margins are wider than tiles."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The network looks")
        yield


@pytest.mark.parametrize("padding", ["zeros", "partial", "reflect", "replicate"])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 3},
        *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"flip": True}, {"average": "probabilities"})),
    ],
)
def test_exact_tiles_are_the_whole_image(padding, options):
    network, whole = made(padding=padding).double(), image(120, 172, 2)
    margin = Margin("exact", network)
    expected = run_tiled(network, whole, None, **options)
    for size in ((32, 48), 36, 31, (200, 16)):
        found = run_tiled(network, whole, Tiling(size), margin=margin, **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_without_a_margin_they_are_not(network):
    whole = image(120, 172)
    found = run_tiled(network, whole, Tiling(32, "1/3"))
    assert float((found - network(whole)).detach().abs().max()) > 1e-2


def test_float32(network):
    network, whole = network.float(), image(120, 172, dtype=torch.float32)
    expected = run_tiled(network, whole, None)
    found = run_tiled(network, whole, Tiling(32), margin="exact")
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("size", [(121, 172), (122, 175), (5, 9), (3, 200), (97, 33)])
@pytest.mark.parametrize("flip", [False, True])
def test_sizes_that_the_strides_do_not_divide(flip, size):
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Upsample(scale_factor=2),
    ]

    class Cut(nn.Sequential):
        def forward(self, image):
            return super().forward(image)[..., : image.shape[2], : image.shape[3]]

    network, whole = Cut(*parts).double().eval(), image(*size)
    expected = run_tiled(network, whole, None, flip=flip)
    found = run_tiled(network, whole, Tiling(16), margin="exact", flip=flip)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_sizes_at_which_nothing_is_exact_are_refused():
    class ToItsSize(nn.Sequential):
        def forward(self, image):
            return F.interpolate(super().forward(image), size=image.shape[2:], mode="bilinear")

    network = ToItsSize(nn.Conv2d(3, 3, 3, stride=4, padding=1)).double().eval()
    margin = Margin("exact", network)
    whole = image(80, 120)
    torch.testing.assert_close(run_tiled(network, whole, Tiling(16), margin=margin), network(whole))
    with pytest.raises(ValueError, match="a width of 121, which is no multiple of 4") as refused:
        run_tiled(network, image(80, 121), Tiling(16), margin=margin)
    assert "(80 x 120)" in str(refused.value)


def test_scales(network):
    whole = image(80, 120)
    found = run_tiled(network, whole, Tiling(32), margin="exact", scales=(0.5, 1, 1.5))
    torch.testing.assert_close(found, run_tiled(network, whole, None, scales=(0.5, 1, 1.5)), rtol=0, atol=1e-12)


def test_super_resolution():
    torch.manual_seed(0)
    network = (
        nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.PixelShuffle(2), nn.Conv2d(3, 3, 3, padding=1)).double().eval()
    )
    whole = image(50, 70)
    found = run_tiled(network, whole, Tiling(16), margin="exact")
    torch.testing.assert_close(found, network(whole), rtol=0, atol=1e-12)
    merged = run_tiled(network, whole, Tiling(16, "1/2"), margin=4, blend="hann")
    torch.testing.assert_close(merged, network(whole), rtol=0, atol=1e-12)
    places = [window for window, _ in tiled_blocks(network, whole, Tiling(16), margin="exact")]
    assert sum(place.height * place.width for place in places) == 100 * 140


def test_maps_smaller_than_the_image():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.Conv2d(4, 2, 3, padding=1)).double().eval()
    whole = image(80, 120)
    torch.testing.assert_close(
        run_tiled(network, whole, Tiling(30), margin="exact"), network(whole), rtol=0, atol=1e-12
    )
    with pytest.raises(ValueError, match="must be multiples of"):
        run_tiled(network, image(81, 120), Tiling(30), margin="exact")


def test_argmax_bands_and_blocks(network):
    whole = image(120, 100)
    expected, margin = network(whole), Margin("exact", network)
    assert torch.equal(tiled_argmax(network, whole, Tiling(32), margin=margin), expected.argmax(1))
    bands = torch.cat([band for _, band in tiled_bands(network, whole, Tiling(32), margin=margin)], 2)
    torch.testing.assert_close(bands, expected, rtol=0, atol=1e-12)
    seen = torch.zeros(120, 100)
    for window, block in tiled_blocks(network, whole, Tiling(32), margin=margin):
        seen[window.rows, window.columns] += 1
        torch.testing.assert_close(block, expected[..., window.rows, window.columns], rtol=0, atol=1e-12)
    assert bool((seen == 1).all())


def test_no_tile_is_larger_than_it_with_its_margin(network):
    shapes = []

    def watched(tile):
        shapes.append(tuple(tile.shape[2:]))
        return network(tile)

    margin = Margin("exact", network)
    far = receptive_field(network).margin[0]
    run_tiled(watched, image(160, 160), Tiling(32), margin=margin)
    assert max(max(shape) for shape in shapes) <= 32 + 2 * far
    assert len(shapes) == 25


def test_a_margin_in_pixels_is_rounded_up_to_the_strides(network):
    whole = image(120, 172)
    far = receptive_field(network).margin[0]
    found = run_tiled(network, whole, Tiling(32), margin=far - 3)
    torch.testing.assert_close(found, network(whole), rtol=0, atol=1e-12)
    less = run_tiled(network, whole, Tiling(32), margin=(4, 4))
    assert float((less - network(whole)).detach().abs().max()) > 1e-6


def test_what_is_not_exact_is_refused_and_named():
    network, whole = made(Pooled).double(), image(120, 172)
    with pytest.raises(ValueError, match=re.escape("Pooled: pools over the whole image")) as refused:
        run_tiled(network, whole, Tiling(32), margin="exact")
    assert re.search(r"differ by up to 0?\.\d+ of the largest value", str(refused.value))
    assert "blend='hann'" in str(refused.value)


def test_blending_hides_seams_where_tiles_cannot_be_exact():
    network, whole = made(Pooled).double(), image(120, 172)

    def jump(found):
        error = (found - network(whole))[0, 0]
        return float((error[:, 1:] - error[:, :-1]).abs().max())

    cut = jump(run_tiled(network, whole, Tiling(48), margin=24))
    for blend in ("linear", "hann"):
        assert jump(run_tiled(network, whole, Tiling(48, "1/2"), margin=24, blend=blend)) < cut / 3


@pytest.mark.parametrize("blend", ["mean", "linear", "hann"])
@pytest.mark.parametrize("size", [(40, 64), (33, 57), (10, 100)])
def test_weights_sum_to_one(blend, size):
    whole = image(*size)
    torch.testing.assert_close(run_tiled(lambda x: x, whole, Tiling((16, 20), "1/3"), blend=blend), whole)


def test_weights_are_those_asked_for():
    """Two tiles of 8 that share 4 columns, of the numbers 0 and 1."""
    tiles = iter([0.0, 1.0])
    found = run_tiled(
        lambda x: torch.full_like(x, next(tiles)), torch.zeros(1, 1, 8, 12), Tiling(8, "1/2"), blend="linear"
    )
    weight = torch.tensor([1, 3, 5, 7, 7, 5, 3, 1.0])
    expected = weight[:4] / (weight[:4] + weight[4:])
    torch.testing.assert_close(found[0, 0, 0], torch.cat([torch.zeros(4), expected, torch.ones(4)]))


@pytest.mark.slow
def test_wide_margins_are_said_with_a_better_size(network):
    far = receptive_field(network).margin[0]
    with pytest.warns(UserWarning, match=rf"looks {far} x {far} pixels beyond its tiles of 8 x 8") as said:
        run_tiled(network, image(200, 200), Tiling(8), margin="exact")
    (words,) = [str(each.message) for each in said if "looks" in str(each.message)]
    times, size, better = re.search(
        r"takes ([\d.]+) times the pixels; tiles of (\d+) x .* take ([\d.]+) times", words
    ).groups()
    assert int(size) % 64 == 0
    assert 1 < float(better) < 3 < float(times)
    counted = []
    run_tiled(
        lambda x: counted.append(x.shape[2] * x.shape[3]) or network(x),
        image(200, 200),
        Tiling(8),
        margin=Margin("exact", network),
    )
    assert sum(counted) / 200**2 == pytest.approx(float(times), abs=0.01)


@pytest.mark.parametrize("margin", ["precise", -1, 1.5, (1,), (1, -2), True, (1, 2, 3)])
def test_wrong_margins(network, margin):
    with pytest.raises(ValueError, match="`margin`"):
        run_tiled(network, image(40, 40), Tiling(16), margin=margin)


def test_what_does_not_go_together(network):
    with pytest.raises(ValueError, match="no overlap"):
        run_tiled(network, image(40, 40), Tiling(16, "1/3"), margin="exact")
    with pytest.raises(ValueError, match="training mode"):
        run_tiled(network.train(), image(40, 40), Tiling(16), margin="exact")
    with pytest.raises(ValueError, match="`blend`"):
        run_tiled(network, image(40, 40), Tiling(16), blend="cosine")


def test_a_network_that_cannot_be_looked_through_takes_its_reach_by_hand(network):
    def checked(tile):
        if not bool(tile.isfinite().all()):
            message = "not finite"
            raise RuntimeError(message)
        return network(tile)

    whole = image(120, 172)
    with pytest.raises(ValueError, match="without such checks"):
        run_tiled(checked, whole, Tiling(32), margin="exact")
    for margin in (Margin("exact", network), Reach((24, 24), (4, 4))):
        torch.testing.assert_close(run_tiled(checked, whole, Tiling(32), margin=margin), network(whole))


def test_an_image_that_is_one_tile_is_run_whatever_the_network():
    network, whole = made(Pooled).double(), image(60, 72)
    for tiling in (Tiling(72), None):
        assert torch.equal(run_tiled(network, whole, tiling, margin="exact"), network(whole))
    larger = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).double().eval()
    assert torch.equal(run_tiled(larger, whole, Tiling(72), margin="exact"), larger(whole))
