"""How many kernels each layer runs and what they move: limits, so that one more of them fails here."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from pcpad import MaskedSequential, PartialConv2d, functional
from pcpad.commands.benching.counted import Case, counts_of
from pcpad.commands.benching.counting import as_on_a_gpu, count
from pcpad.masked import apply_masked

pytestmark = pytest.mark.faults

# Maps whose ratio is kept whole, and larger ones, of which the border's is.
KEPT, LARGE = ("7x7", "56x56"), ("368x368", "1024x2048")
SETTINGS = [
    pytest.param((size, dtype, bias, training), marks=[pytest.mark.slow] * (size == "1024x2048"))
    for size, dtype, bias, training in itertools.product(
        KEPT + LARGE, ("float32", "bfloat16"), (True, False), (True, False)
    )
]
# Of other layers the number does not depend on the size.
SMALL = [setting for setting in SETTINGS if setting.values[0][0] == "56x56"]


def check(layer, setting, forward, backward, *, waits=0):
    size, dtype, bias, training = setting
    case = Case(layer, size, dtype, bias, training)
    ahead, back = counts_of(case)
    assert ahead.total <= forward, f"{case}: {dict(ahead.kernels)}"
    assert back.total <= backward, f"{case}: {dict(back.kernels)}"
    assert ahead.waits + back.waits <= waits
    return ahead, back


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_partial_padding(setting, gpu):
    size, dtype, bias, _ = setting
    half = dtype == "bfloat16"
    with as_on_a_gpu() if gpu else nullcontext():
        if size in KEPT:
            # Forward a convolution and one multiply; backward a multiply, and the sum for the bias.
            check("partial", setting, 2, (3 if half else 4) if bias else 2)
            return
        # The convolution and four strips, in half precision with a bias what is taken off them; and in training a copy.
        ahead, _ = check("partial", setting, 6 if bias and half else 5, 7 if bias else 6)
        plain, _ = counts_of(Case("zeros", *setting))
        assert ahead.bytes <= 1.05 * plain.bytes


@pytest.mark.parametrize("setting", SMALL[:1], ids=str)
def test_zeros_are_one_kernel_each_way(setting):
    ahead, back = check("zeros", setting, 1, 1)
    size, channels, kernel, item = 56 * 56, 64, 9, 4
    assert ahead.bytes == item * (2 * size * channels + channels**2 * kernel + channels)
    assert back.bytes == item * (3 * size * channels + 2 * channels**2 * kernel + channels)


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("setting", SMALL, ids=str)
def test_masks_of_one_channel(setting, gpu):
    """On a CPU the axes are summed one after the other and tables looked up apart, each of which is quicker there."""
    bias, half = setting[2], setting[1] == "bfloat16"
    backward = (7 if half else 6) if bias else (4 if half else 3)
    with as_on_a_gpu() if gpu else nullcontext():
        check("masked", setting, (8 if bias else 7) if gpu else (10 if bias else 9), backward)


@pytest.mark.parametrize("setting", SMALL, ids=str)
@pytest.mark.parametrize(("padding", "forward"), [("mean", 4), ("extrapolate", 7)])
def test_paddings_that_fill_the_border(padding, forward, setting):
    widened = 2 if padding == "mean" and setting[1] == "bfloat16" else 0  # means are taken in float32
    check(padding, setting, forward + widened, {"mean": 5, "extrapolate": 33}[padding])


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.values[0][0] in KEPT], ids=str)
def test_explicit_padding(setting):
    """Padded (2), five convolutions, corners read together and multiplied row by row, and four joints.

    Backward each of the five, two per product, nine for what is read of the padded copy, filters put together, sums.
    """
    size, _, bias, training = setting
    _, back = check("explicit", setting, 14, 29 if bias else 23)
    if training and size == "56x56":  # a gradient of the whole size for each slice was 16.4 times zeros' bytes
        assert back.bytes <= 4.5 * counts_of(Case("zeros", *setting))[1].bytes


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("setting", SMALL, ids=str)
def test_panoptic(setting, gpu):
    """On a CPU taps are counted one after the other, which is quicker there; listing what mixes waits for it twice."""
    with as_on_a_gpu() if gpu else nullcontext():
        check("panoptic", setting, 12, 25)
        check("panoptic with its plan", setting, 28 if gpu else 36, 28, waits=2)


# Masks within a network


class TwoBranches(nn.Module):
    """Two convolutions of what came in, added."""

    def __init__(self, between=None):
        super().__init__()
        self.branches = nn.ModuleList(PartialConv2d(8, 8, 3, padding=1) for _ in range(2))
        self.between = between or (lambda mask: None)


@apply_masked.register
def _two_branches(module: TwoBranches, input, mask):
    first, grown = apply_masked(module.branches[0], input, mask)
    module.between(mask)
    second, again = apply_masked(module.branches[1], input, mask)
    assert torch.equal(again, functional.update_mask(mask, 3, 1, 1))
    return first + second, grown


@pytest.fixture
def holed():
    torch.manual_seed(0)
    mask = (torch.rand(2, 1, 24, 24) > 0.6).float()
    mask[0, :, 4:12, 6:20] = 0
    return torch.randn(2, 8, 24, 24), mask


def kernels(call):
    call()
    return count(call)


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_a_network_counts_a_mask_once_for_the_output_and_the_next_mask(gpu, guard, holed):
    layer = PartialConv2d(8, 8, 3, padding=1)
    network = MaskedSequential(layer)
    with as_on_a_gpu() if gpu else nullcontext(), guard():
        found = kernels(lambda: network(*holed))
        layer.return_mask = True
        alone = kernels(lambda: layer(*holed))
    assert found.total == alone.total == (8 if gpu else 10), dict(found.kernels)


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_windows_of_one_tap_are_not_summed(gpu, padding, stride, holed):
    torch.manual_seed(0)
    x, mask = holed
    layer = PartialConv2d(8, 4, 1, stride, padding, return_mask=True)
    with as_on_a_gpu() if gpu else nullcontext(), torch.no_grad():
        y, new_mask = layer(x, mask)
        found = kernels(lambda: layer(x, mask))
    window = torch.nn.functional.pad(mask, [padding] * 4)[..., ::stride, ::stride]
    plain = torch.nn.functional.conv2d(x * mask, layer.weight, None, stride, padding)
    assert torch.equal(new_mask, window)
    assert torch.allclose(y, plain + layer.bias.view(1, -1, 1, 1) * window, atol=1e-6)
    assert not y[(window == 0).expand_as(y)].any()
    # Seven, or the zeros around it too: whether each is valid, holes filled, convolved, the mask, times it, the bias.
    assert found.total <= (7 if padding else 6), dict(found.kernels)


def test_equal_masks_within_a_network_are_counted_once(holed):
    """The second branch fills its holes, convolves, multiplies and adds its bias, and counts nothing."""
    network = MaskedSequential(TwoBranches())
    with as_on_a_gpu(), torch.no_grad():
        found = kernels(lambda: network(*holed))
        both = network(*holed)[0]
        alone = [branch(*holed) for branch in network[0].branches]
    checks = count(lambda: functional.update_mask(holed[1], 3, 1, 1)).total
    assert torch.equal(both, alone[0] + alone[1])
    assert found.total - checks - 2 <= 8 + 4, dict(found.kernels)  # two more: torch.equal and the sum of both


@pytest.mark.parametrize("guard", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_mask_that_is_changed_is_counted_again(guard, holed):
    x, mask = holed
    network = MaskedSequential(TwoBranches(lambda mask: mask[..., :12].zero_()))
    with guard():
        before, after = mask.clone(), mask.clone()
        after[..., :12] = 0
        first, second = network[0].branches
        expected = first(x, before) + second(x, after)
        assert torch.equal(network(x, mask.clone())[0], expected)


def test_nothing_is_kept_between_two_passes(holed):
    """A mask may share its memory with an array that is filled anew, which torch does not see."""
    x, mask = holed
    layer = PartialConv2d(8, 8, 3, padding=1)
    network, array = MaskedSequential(layer), mask.numpy().copy()
    shared = torch.from_numpy(array)
    network(x, shared)
    array[:] = 1 - array
    assert torch.equal(network(x, shared)[0], layer(x, 1 - mask))


# Masks that are known to be full


def chain(guard, masks):
    """Two layers that hand on masks, and how many kernels the second runs where the first made its mask."""
    torch.manual_seed(0)
    first, second = (PartialConv2d(8, 8, 3, padding=1, bias=bias, return_mask=True) for bias in (True, False))
    x = torch.randn(2, 8, 24, 24)
    with as_on_a_gpu(), guard():
        y, mask = first(x)
        second(y, mask)
        mask = masks(mask)
        result: list[tuple[torch.Tensor, torch.Tensor]] = []
        found = count(lambda: result.append(second(y, mask)))
    with guard():
        plain, new_mask = second(y, mask)
    assert torch.allclose(result[0][0], plain, atol=1e-6)
    assert torch.equal(result[0][1].expand_as(new_mask), new_mask)
    return found


@pytest.mark.parametrize("guard", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_mask_that_the_layer_before_made_full_costs_nothing(guard):
    """The convolution and the ratio, as without a mask; and ones for the new mask."""
    found = chain(guard, lambda mask: mask)
    assert found.total == 3, dict(found.kernels)


def masked_network():
    torch.manual_seed(0)
    stem = PartialConv2d(8, 8, 3, padding=1, return_mask=True)
    layers = [PartialConv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return stem, nn.Sequential(*layers, nn.Conv2d(8, 8, 3, bias=False), nn.AdaptiveAvgPool2d(1))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("how", ["no mask", "of the layer before"])
def test_a_network_without_holes_costs_what_it_does_without_masks(training, how):
    """Each layer that moves windows makes ones for the next where a mask came, and that is all."""
    stem, network = masked_network()
    network.train(training)
    masked, x = MaskedSequential(*network), torch.randn(2, 8, 24, 24)
    with as_on_a_gpu(), torch.no_grad():
        y, mask = stem(x)
        mask = None if how == "no mask" else mask
        plain = kernels(lambda: network(y))
        found = kernels(lambda: masked(y, mask))
        result = masked(y, mask)
        result = result if mask is None else result[0]
    assert torch.allclose(result, network(y), atol=1e-5)
    more = found.kernels - plain.kernels
    assert not plain.kernels - found.kernels
    assert dict(more) == ({} if mask is None else {"ones": 4}), dict(found.kernels)


def changed(mask):
    mask[..., 3:5, 4:9] = 0
    return mask


@pytest.mark.parametrize("guard", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("masks", [changed, torch.clone], ids=["changed", "another"])
def test_a_full_mask_that_is_changed_or_another_one_is_counted(guard, masks):
    assert chain(guard, masks).total == 7
