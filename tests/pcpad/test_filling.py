"""Filling: valid pixels stay, holes come from the network, tiles show no seam and bound the memory."""

import pytest
import torch

from pcpad.filling import count_unreached, fill
from pcpad.tiling import Tiling


def constant(value):
    return lambda image, mask: torch.full_like(image, value)


def holes(height, width, *boxes):
    mask = torch.ones(1, 1, height, width, dtype=torch.uint8)
    for top, left, tall, wide in boxes:
        mask[..., top : top + tall, left : left + wide] = 0
    return mask


@pytest.mark.parametrize("max_pixels", [10**6, 1])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
def test_valid_pixels_stay_bit_by_bit_and_holes_are_filled(dtype, max_pixels):
    image = torch.rand(1, 3, 90, 70, generator=torch.Generator().manual_seed(0))
    image = (image * 255).to(dtype) if dtype == torch.uint8 else image.to(dtype)
    before, mask = image.clone(), holes(90, 70, (20, 10, 40, 40))
    filled = fill(constant(0.5), image, mask, Tiling(32, "1/4"), max_pixels=max_pixels)
    valid = mask.bool().expand_as(image)
    assert filled.dtype == dtype
    assert torch.equal(filled[valid], image[valid])
    assert torch.equal(image, before)
    expected = 128 if dtype == torch.uint8 else 0.5
    assert torch.allclose(filled[~valid].double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_one_piece_is_what_the_network_says():
    network = torch.nn.Conv2d(4, 3, 5, padding=2)
    image, mask = torch.rand(2, 3, 20, 30), holes(20, 30, (3, 3, 9, 9)).expand(2, 1, 20, 30)

    def run(image, mask):
        return network(torch.cat([image, mask], dim=1))

    with torch.no_grad():
        said = run(image, mask.float()).clamp(0, 1)
    assert torch.equal(fill(run, image, mask), torch.where(mask == 1, image, said))


def test_tiles_see_bytes_as_floats_and_only_where_there_are_holes():
    seen = []

    def network(image, mask):
        seen.append((tuple(image.shape), image.dtype, mask.dtype, float(image.max()), float(mask.mean())))
        return image

    image = torch.full((1, 3, 128, 128), 255, dtype=torch.uint8)
    fill(network, image, holes(128, 128, (2, 2, 8, 8)), Tiling(32), max_pixels=1)
    assert seen == [((1, 3, 32, 32), torch.float32, torch.float32, 1.0, 1 - 64 / 1024)]


def test_where_tiles_meet_there_is_no_seam():
    # Each tile says something else; within the hole neighboring pixels must still be near each other.
    calls = iter(torch.linspace(0, 1, 16))

    def network(image, mask):
        return torch.full_like(image, float(next(calls)))

    mask = holes(128, 128, (4, 4, 120, 120))
    with pytest.warns(UserWarning, match="1 tiles lie wholly"):
        filled = fill(network, torch.rand(1, 3, 128, 128), mask, Tiling(64, "1/2"), max_pixels=1)
    inside = filled[..., 4:124, 4:124]
    steps = max(float(inside.diff(dim=dim).abs().max()) for dim in (-1, -2))
    assert steps < 0.03  # uniform averages would step by 0.1 and more
    assert float(inside.max() - inside.min()) > 0.5


def test_without_holes_or_without_anything_valid_the_picture_comes_back_unrun():
    def network(image, mask):
        pytest.fail("not to be run")

    image = torch.rand(2, 3, 8, 8)
    mask = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    assert torch.equal(fill(network, image, mask), image)


def test_tiles_wholly_in_a_hole_are_told_of():
    mask = holes(96, 96, (0, 0, 96, 90))
    with pytest.warns(UserWarning, match="6 tiles lie wholly in a hole.*larger tiles than 32 x 32"):
        fill(constant(0.5), torch.rand(1, 3, 96, 96), mask, Tiling(32), max_pixels=1)


def test_memory_is_that_of_a_row_of_tiles():
    largest = []

    def network(image, mask):
        largest.append(image.numel())
        return image

    fill(network, torch.zeros(1, 3, 700, 50), holes(700, 50, (0, 0, 700, 25)), Tiling(50), max_pixels=2500)
    assert max(largest) == 3 * 2500


@pytest.mark.parametrize("max_pixels", [10**6, 1])
def test_broken_weights_are_no_picture(max_pixels):
    with pytest.raises(ValueError, match="not finite"):
        fill(
            constant(float("nan")),
            torch.rand(1, 3, 64, 64),
            holes(64, 64, (1, 1, 9, 9)),
            Tiling(32),
            max_pixels=max_pixels,
        )


@pytest.mark.parametrize(
    ("image", "mask", "error"),
    [
        (torch.rand(3, 8, 8), torch.ones(1, 1, 8, 8), "`image` to be"),
        (torch.rand(1, 3, 8, 8), torch.ones(1, 3, 8, 8), "`mask` to be"),
        (torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 9), "`mask` to be"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int32), torch.ones(1, 1, 8, 8), "uint8 or floating"),
    ],
)
def test_refused(image, mask, error):
    with pytest.raises((ValueError, TypeError), match=error):
        fill(constant(0.0), image, mask)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_only_tiles_go_to_the_device():
    image, mask = torch.rand(1, 3, 300, 300), holes(300, 300, (20, 20, 200, 200))
    devices = set()

    def network(image, mask):
        devices.add(image.device.type)
        return 1 - image

    filled = fill(network, image, mask, Tiling(128, "1/4"), max_pixels=1, device="cuda")
    assert filled.device.type == "cpu"
    assert devices == {"cuda"}
    assert torch.allclose(filled, torch.where(mask == 1, image, 1 - image), atol=1e-6)


@pytest.mark.faults
@pytest.mark.parametrize(("max_pixels", "count"), [(10**6, 40), (1, 39 + 64)])
def test_pixels_out_of_reach_are_counted_where_no_tile_sees_them(max_pixels, count):
    mask = torch.zeros(1, 1, 1, 128)
    mask[..., 63] = 1

    def reached(mask):  # 25 to the left, 63 to the right
        return torch.stack([mask[..., max(0, x - 63) : x + 25].amax(-1) for x in range(mask.shape[-1])], dim=-1)

    assert count_unreached(reached, mask, Tiling(64), max_pixels=max_pixels) == [count]
