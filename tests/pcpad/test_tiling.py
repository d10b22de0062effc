"""Cutting into tiles and merging, against loops over pixels and over windows."""

import itertools
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PartialConv2d
from pcpad._fractions import as_fraction
from pcpad.tiling import Tiling, run_tiled, tiled_argmax, tiled_bands, tiled_blocks


@pytest.fixture
def network():
    """Three classes, with a border of its own: tiles and whole images differ."""
    torch.manual_seed(0)
    return nn.Sequential(PartialConv2d(3, 8, 3, padding=1), nn.ReLU(), PartialConv2d(8, 3, 5, padding=2)).eval()


def slow(network, image, size, stride, average="logits", flip=False):
    """One tile after another, sums and counts as whole float64 maps; places found by walking."""
    height, width = image.shape[2:]
    tall, wide = min(size[0], height), min(size[1], width)

    def places(length, side, step):
        found, start = [], 0
        while start + side < length:
            found.append(start)
            start += step
        return [*found, length - side]

    total, count = 0, torch.zeros(height, width, dtype=torch.float64)
    for top in places(height, tall, stride[0]):
        for left in places(width, wide, stride[1]):
            tile = image[:, :, top : top + tall, left : left + wide]
            views = [network(tile)]
            if flip:
                views.append(torch.flip(network(torch.flip(tile, [3])), [3]))
            for view in views:
                value = view.double().softmax(1) if average == "probabilities" else view.double()
                padding = (left, width - left - wide, top, height - top - tall)
                total = total + F.pad(value, padding)
            count[top : top + tall, left : left + wide] += len(views)
    return total / count


def test_the_papers_tiles():
    assert Tiling(1024).stride == (1024, 1024)
    assert Tiling(1024, 1 / 3).stride == Tiling(1024, "1/3").stride == (683, 683)
    assert [w.left for w in Tiling(1024).windows(1024, 2048)] == [0, 1024]
    assert [w.left for w in Tiling(1024, 1 / 3).windows(1024, 2048)] == [0, 683, 1024]


def test_no_rounding_of_binary_digits_in_strides():
    # 10 * (1 - 0.3) is 7.000000000000001 where 0.3 is what a float holds.
    assert Tiling(10, 0.3).stride == (7, 7)
    assert Tiling((10, 20), Fraction(1, 3)) == Tiling((10, 20), 1 / 3)
    assert as_fraction("2/3") == Fraction(2, 3)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 23, 40])
@pytest.mark.parametrize("overlap", [0, 1 / 3, 0.5, 0.9])
def test_windows_cover_the_image_and_stay_in_it(length, overlap):
    tiling = Tiling((8, 5), overlap)
    seen = torch.zeros(length, 11, dtype=torch.int64)
    windows = tiling.windows(length, 11)
    assert len(set(windows)) == len(windows)
    for window in windows:
        assert seen[window.rows, window.columns].shape == (min(8, length), 5)
        seen[window.rows, window.columns] += 1
    assert seen.min() == 1 or overlap == 0.9
    assert bool((seen > 0).all())


@pytest.mark.parametrize("size", [(29, 41), (12, 12), (5, 60), (31, 12)])
@pytest.mark.parametrize("overlap", [0, 1 / 3, 0.75])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_equal_to_a_slow_loop(network, size, overlap, average, batch_size):
    image = torch.rand(2, 3, *size)
    stride = {0: (12, 9), 1 / 3: (8, 6), 0.75: (3, 3)}[overlap]
    merged = run_tiled(network, image, Tiling((12, 9), overlap), average=average, batch_size=batch_size)
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged.double(), slow(network, image, (12, 9), stride, average), rtol=0, atol=2e-6)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_flips_are_averaged(network, average):
    image = torch.rand(1, 3, 20, 27)
    merged = run_tiled(network, image, Tiling(12), average=average, flip=True)
    expected = slow(network, image, (12, 12), (12, 12), average, flip=True)
    torch.testing.assert_close(merged.double(), expected, rtol=0, atol=2e-6)


def test_scales_are_averaged_at_the_image_s_size(network):
    image = torch.rand(1, 3, 21, 34)
    merged = run_tiled(network, image, Tiling(16), scales=(0.5, 1.0, 1.5))
    expected = 0
    for size in [(10, 17), (21, 34), (32, 51)]:  # round() of halves goes to the even number
        resized = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        part = slow(network, resized, (16, 16), (16, 16))
        expected = expected + F.interpolate(part, size=(21, 34), mode="bilinear", align_corners=False) / 3
    torch.testing.assert_close(merged.double(), expected, rtol=0, atol=2e-6)


def test_bytes_stay_bytes_at_every_scale():
    kinds = []

    def network(image):
        kinds.append((image.dtype, tuple(image.shape[2:])))
        return image / 255

    run_tiled(network, torch.randint(0, 256, (1, 3, 10, 12), dtype=torch.uint8), None, scales=(1, 0.5))
    assert kinds == [(torch.uint8, (10, 12)), (torch.uint8, (5, 6))]


@pytest.mark.parametrize("tiling", [None, Tiling((19, 23)), Tiling(64, 1 / 3)])
def test_one_tile_is_the_regular_pass_bit_for_bit(network, tiling):
    image = torch.randn(2, 3, 19, 23)
    with torch.no_grad():
        assert torch.equal(run_tiled(network, image, tiling), network(image))
        assert torch.equal(run_tiled(network, image, tiling, average="probabilities"), network(image).softmax(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_are_float32_or_wider(dtype):
    image = torch.rand(1, 3, 20, 20).to(dtype)
    merged = run_tiled(lambda x: x, image, Tiling(8, 0.75))
    assert merged.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # Sums of up to 16 equal values are exact in float32 for the half types' few digits.
    torch.testing.assert_close(merged, image.to(merged.dtype), rtol=0, atol=0 if dtype != torch.float64 else 1e-15)


def test_autocast(network):
    image = torch.rand(1, 3, 20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        merged = run_tiled(network, image, Tiling(12, 0.5), average="probabilities")
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged.sum(1), torch.ones(1, 20, 20), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        merged, run_tiled(network, image, Tiling(12, 0.5), average="probabilities"), atol=0.02, rtol=0
    )


def test_the_image_is_left_as_it_was():
    image = torch.rand(1, 3, 16, 16)
    before = image.clone()
    run_tiled(lambda x: x, image, None, scales=(1, 1))
    run_tiled(lambda x: x, image, Tiling(8, 0.5), flip=True)
    assert torch.equal(image, before)


def test_bands_come_top_down_each_row_once_and_a_tile_tall(network):
    image = torch.rand(1, 3, 100, 11)
    bands = list(tiled_bands(network, image, Tiling(10, 0.5)))
    tops = [top for top, _ in bands]
    assert tops == list(range(0, 95, 5))
    assert max(band.shape[2] for _, band in bands) <= 10
    assert torch.equal(torch.cat([band for _, band in bands], dim=2), run_tiled(network, image, Tiling(10, 0.5)))


def test_one_batch_of_tiles_is_alive_at_a_time():
    import weakref

    alive, most = weakref.WeakSet(), []

    def network(tiles):
        most.append(len(alive))
        output = tiles.clone()
        alive.add(output)
        return output

    for _ in tiled_bands(network, torch.rand(1, 3, 200, 8), Tiling(8), batch_size=2):
        pass
    assert len(most) == 13
    assert max(most) <= 2  # the one being merged may still be named while the next is made


def test_no_graph_is_kept(network):
    assert not run_tiled(network, torch.rand(1, 3, 16, 16), Tiling(8)).requires_grad


@pytest.mark.parametrize("size", [0, -4, (3,), (3, 4, 5), (3, 0), 2.5, "12"])
def test_wrong_sizes(size):
    with pytest.raises(ValueError, match="`size`"):
        Tiling(size)


@pytest.mark.parametrize("overlap", [-0.1, 1, 1.5, "1/0", "third", float("nan"), float("inf")])
def test_wrong_overlaps(overlap):
    with pytest.raises(ValueError, match=r"`overlap`|a number"):
        Tiling(8, overlap)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"average": "mean"}, "`average`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"scales": ()}, "`scales`"),
        ({"scales": (1, 0)}, "`scales`"),
        ({"scales": (float("nan"),)}, "`scales`"),
    ],
)
def test_wrong_options(network, options, words):
    with pytest.raises(ValueError, match=words):
        run_tiled(network, torch.rand(1, 3, 8, 8), Tiling(4), **options)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 0, 8), (0, 3, 8, 8)])
def test_wrong_images(network, shape):
    with pytest.raises(ValueError, match="`image`"):
        run_tiled(network, torch.zeros(shape), Tiling(4))


def test_wrong_networks():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(TypeError, match="dict"):
        run_tiled(lambda x: {"out": x}, image, Tiling(4))
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 4\) became \(1, 3, 2, 2\)"):
        run_tiled(lambda x: F.avg_pool2d(x, 2), image, Tiling(4))
    with pytest.raises(ValueError, match="one output channel"):
        run_tiled(lambda x: x[:, :1], image, Tiling(4), average="probabilities")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_holds_one_tile(network):
    network = network.cuda()
    image = torch.rand(1, 3, 2048, 2048)
    torch.cuda.reset_peak_memory_stats()
    merged = run_tiled(network, image, Tiling(64), device="cuda")
    assert merged.device.type == "cpu"
    assert torch.cuda.max_memory_allocated() < 32 * 2**20  # the output alone is 48 MiB


@pytest.mark.parametrize("size", [(29, 41), (12, 12), (5, 60), (31, 12)])
@pytest.mark.parametrize("overlap", [0, 1 / 3, 0.75])
def test_blocks_are_finished_parts_of_the_whole(network, size, overlap):
    image = torch.rand(2, 3, *size)
    expected = run_tiled(network, image, Tiling((12, 9), overlap))
    seen = torch.zeros(size, dtype=torch.int64)
    for window, block in tiled_blocks(network, image, Tiling((12, 9), overlap)):
        assert torch.equal(block, expected[..., window.rows, window.columns])
        seen[window.rows, window.columns] += 1
    assert bool((seen == 1).all())
    assert torch.equal(tiled_argmax(network, image, Tiling((12, 9), overlap)), expected.argmax(dim=1))


@pytest.mark.parametrize("overlap", [0, 0.5])
def test_a_network_that_returns_its_input_keeps_it(overlap):
    image = torch.rand(1, 3, 20, 30)
    kept = image.clone()
    merged = run_tiled(lambda x: x, image, Tiling(8, overlap))
    assert torch.equal(image, kept)
    torch.testing.assert_close(merged, image)


def peak(network, image, tiling):
    """The most bytes of tensors alive at once, beyond the classes handed out."""
    tiled_argmax(network, image, tiling)  # what the first call remembers is not counted
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(profile_memory=True, activities=activities) as profile, torch.no_grad():
        classes = tiled_argmax(network, image, tiling)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(itertools.accumulate(sizes)) - classes.nbytes


def test_memory_without_overlap_is_that_of_a_tile(network):
    small, tall, wide = (
        peak(network, torch.rand(1, 3, *size), Tiling(32)) for size in ((64, 64), (512, 64), (64, 512))
    )
    assert tall < small + 8192
    assert wide < small + 8192


def test_memory_with_overlap_grows_by_the_overlap_of_two_rows_of_tiles(network):
    # 24 pixels from tile to tile: all sizes are whole numbers of them and 8 more.
    small, tall, wide = (
        peak(network, torch.rand(1, 3, *size), Tiling(32, "1/4")) for size in ((80, 80), (512, 80), (80, 512))
    )
    assert tall < small + 8192
    channels, rows = 3, 2 * 8
    assert wide < small + 4 * channels * rows * (512 - 80) + 8192
