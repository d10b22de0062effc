"""One picture filled in memory: valid pixels bit by bit, windows, coarse to fine, and what is refused."""

import numpy as np
import pytest
import torch

import pcpad._filling_holes as filling_holes
import pcpad._filling_picture as filling_picture
from pcpad.errors import UserFileNotFoundError
from pcpad.filling import METHODS, fill_picture, fill_pixels

KINDS = [torch.uint8, torch.uint16, torch.float32, torch.float64, torch.float16]


def ramp(kind=torch.uint8, channels=3, height=90, width=110):
    """A smooth picture, which every method can continue."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    values = torch.stack([(rows * (c + 1) + columns) / (4.0 * height + width) for c in range(channels)])
    if kind.is_floating_point:
        return values.to(kind)
    white = torch.iinfo(kind).max
    return (values * white).round().to(torch.int32).to(kind)


def holes(height=90, width=110):
    mask = torch.ones(1, height, width)
    mask[:, 20:23, 10:90] = 0
    mask[:, 50:62, 40:52] = 0
    mask[:, 0:4, 0:5] = 0
    return mask


class Mean:
    """An inpainter that gives holes the mean of what is valid, and keeps the sizes it is asked for."""

    context = 16

    def __init__(self):
        self.sizes = []

    def __call__(self, image, mask):
        self.sizes.append(tuple(image.shape[2:]))
        assert image.dtype == torch.float32
        assert image.min() >= 0
        assert image.max() <= 1
        mean = (image * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)
        return torch.where(mask != 0, image, mean)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_valid_pixels_stay_bit_by_bit_and_holes_are_continued(method, channels, kind):
    image, mask = ramp(kind, channels), holes()
    broken = torch.where(mask != 0, image.to(torch.float64), 0).to(torch.int32 if kind is torch.uint16 else kind)
    filled = fill_picture(broken.to(kind), mask, method, Mean())
    assert filled.image.dtype == kind
    assert filled.image.shape == image.shape
    valid = (mask != 0).expand_as(image)
    left, right = filled.image.to(torch.float64), image.to(torch.float64)
    assert torch.equal(left[valid], right[valid])
    white = 1.0 if kind.is_floating_point else torch.iinfo(kind).max
    assert ((left - right)[~valid].abs().max() / white) < (0.5 if method in ("network", "auto") else 0.1)
    assert sum(filled.methods.values()) == int((mask == 0).sum())


def test_what_lies_in_holes_has_no_influence():
    image, mask = ramp(torch.float32), holes()
    spoiled = torch.where(mask != 0, image, torch.nan)
    for method in METHODS:
        one, other = (fill_picture(given, mask, method, Mean()).image for given in (image, spoiled))
        assert torch.equal(one, other), method


def test_the_image_given_is_left_as_it_is():
    image, mask = ramp(), holes()
    before = image.clone()
    fill_picture(image, mask, "telea")
    assert torch.equal(image, before)


def test_a_network_sees_the_surroundings_of_holes_alone():
    image, mask = ramp(height=400, width=500), torch.ones(1, 400, 500)
    mask[:, 100:104, 100:104] = 0
    mask[:, 300:324, 300:324] = 0
    network = Mean()
    fill_picture(image, mask, "network", network)
    assert network.sizes == [(36, 36), (56, 56)]


def test_a_long_scratch_is_filled_in_pieces(monkeypatch):
    monkeypatch.setattr(filling_holes, "_MOST", 1 << 12)
    image, mask = ramp(height=300, width=300), torch.ones(1, 300, 300)
    for place in range(290):
        mask[:, place, place : place + 3] = 0
    network = Mean()
    filled = fill_picture(image, mask, "network", network)
    assert len(network.sizes) > 3
    assert max(height * width for height, width in network.sizes) < 300 * 300 // 3
    error = (filled.image.int() - image.int()).abs()
    assert int(error.max()) < 40
    assert torch.equal(filled.image[:, mask[0] != 0], image[:, mask[0] != 0])


@pytest.mark.parametrize("method", METHODS)
def test_large_holes_are_filled_from_coarse_to_fine(method):
    """Every pixel gets a value of its surroundings: no gray, no black."""
    image, mask = ramp(torch.float32, height=260, width=260) * 0.5 + 0.4, torch.ones(1, 260, 260)
    mask[:, 20:240, 20:240] = 0
    filled = fill_picture(image * mask, mask, method, Mean())
    assert filled.unreached > 0
    assert float(filled.image.min()) >= 0.39
    assert float((filled.image - image).abs().max()) < 0.25


@pytest.mark.parametrize("method", ["telea", "network"])
def test_a_hole_larger_than_a_piece_is_guessed_from_a_smaller_picture(monkeypatch, method):
    monkeypatch.setattr(filling_holes, "_MOST", 1 << 14)
    image, mask = ramp(torch.float32, height=400, width=500) * 0.5 + 0.4, torch.ones(1, 400, 500)
    mask[:, 40:390, 30:] = 0
    filled = fill_picture(image * mask, mask, method, Mean())
    assert torch.equal(filled.image[:, mask[0] != 0], image[:, mask[0] != 0])
    assert filled.unreached > 100_000
    assert float(filled.image.min()) >= 0.39


def test_what_a_network_says_that_it_does_not_reach_is_filled_at_half_the_size():
    class Near(Mean):
        context = 64

        def reached(self, mask):
            return torch.nn.functional.max_pool2d(mask, 21, stride=1, padding=10) != 0

    image, mask = torch.full((3, 200, 200), 0.7), torch.ones(1, 200, 200)
    mask[:, 60:140, 60:140] = 0
    filled = fill_picture(image * mask, mask, "network", Near())
    assert filled.unreached == 60 * 60
    assert torch.allclose(filled.image, image, atol=1e-5)


def test_one_valid_pixel_is_enough():
    image, mask = torch.full((3, 70, 60), 7, dtype=torch.uint8), torch.zeros(1, 70, 60)
    mask[:, 33, 20] = 1
    for method in METHODS:
        filled = fill_picture(image * (mask != 0), mask, method, Mean())
        assert filled.image.unique().tolist() == [7], method


def test_random_holes_of_most_pixels_are_filled():
    torch.manual_seed(0)
    image, mask = ramp(), (torch.rand(1, 90, 110) > 0.7).float()
    for method in METHODS:
        filled = fill_picture(image * (mask != 0), mask, method, Mean())
        assert torch.equal(filled.image[:, mask[0] != 0], image[:, mask[0] != 0])
        assert int((filled.image == 0).all(dim=0).sum()) < 5, method


def test_no_hole_is_nothing_to_do():
    image = ramp()
    filled = fill_picture(image, torch.ones(1, 90, 110), "network", Mean())
    assert torch.equal(filled.image, image)
    assert filled.methods == {}


def test_a_picture_of_one_color_stays_one():
    image, mask = torch.full((3, 90, 110), 200, dtype=torch.uint8), holes()
    for method in METHODS:
        assert fill_picture(image * (mask != 0), mask, method, Mean()).image.unique().tolist() == [200], method


def test_pixels_of_twelve_bits_are_shown_to_the_network_as_what_they_are():
    pixels = np.full((40, 40, 1), 2000, np.uint16)
    hole = np.zeros((40, 40), np.uint8)
    hole[10:14, 10:14] = 1

    def network(image, mask):
        assert abs(float(image.max()) - 2000 / 4095) < 1e-5
        return torch.full_like(image, 0.5)

    fill_pixels(pixels, hole, "network", network, white=4095)
    assert pixels[12, 12, 0] == round(4095 / 2)


def test_inks_are_filled_each_as_it_is():
    pixels = np.empty((40, 40, 4), np.uint8)
    pixels[...] = (10, 60, 120, 240)
    hole = np.zeros((40, 40), np.uint8)
    hole[10:14, 10:14] = 1
    for method in METHODS:
        given = np.where(hole[..., None] != 0, 0, pixels).astype(np.uint8)
        fill_pixels(given, hole, method, Mean())
        assert np.array_equal(given, pixels), method


def test_progress_counts_the_pixels_of_holes():
    seen = []
    fill_pixels(
        np.zeros((90, 110, 3), np.uint8), (holes()[0] == 0).numpy().view(np.uint8), "telea", progress=seen.append
    )
    assert sum(seen) == int((holes() == 0).sum())


@pytest.mark.faults
def test_a_hole_of_everything_is_refused():
    with pytest.raises(ValueError, match="All of the picture is a hole"):
        fill_picture(ramp(), torch.zeros(1, 90, 110), "telea")
    with pytest.raises(ValueError, match="All of the picture is a hole"):
        fill_picture(torch.zeros(3, 1, 1, dtype=torch.uint8), torch.zeros(1, 1, 1))


@pytest.mark.faults
def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"`image` to be \(3, H, W\)"):
        fill_picture(torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match=r"`mask` to be \(1, 90, 110\)"):
        fill_picture(ramp(), torch.ones(1, 90, 100))
    with pytest.raises(TypeError, match="uint8, uint16 or floating point"):
        fill_picture(ramp().int(), holes())
    with pytest.raises(ValueError, match="`method` to be one of auto, network"):
        fill_picture(ramp(), holes(), "magic")
    with pytest.raises(ValueError, match="not finite"):
        fill_picture(ramp(), holes(), "network", lambda image, mask: image / 0)
    with pytest.raises(ValueError, match="network to return"):
        fill_picture(ramp(), holes(), "network", lambda image, mask: image[..., 1:])


@pytest.mark.faults
def test_without_a_network_auto_goes_on_and_network_is_refused(monkeypatch):
    def missing():
        message = "no weights"
        raise UserFileNotFoundError(message)

    monkeypatch.setattr(filling_picture, "shipped_network", missing)
    with pytest.raises(FileNotFoundError, match="no weights"):
        fill_picture(ramp(), holes(), "network")
    filled = fill_picture(ramp(), holes())
    assert "network" not in filled.methods
    assert sum(filled.methods.values()) == int((holes() == 0).sum())
