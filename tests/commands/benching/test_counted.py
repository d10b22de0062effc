"""How many kernels each layer runs and what they move: limits, so that one more of them fails here."""

import itertools
from contextlib import nullcontext

import pytest

from pcpad.commands.benching.counted import Case, counts_of
from pcpad.commands.benching.counting import as_on_a_gpu

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


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("setting", SMALL, ids=str)
def test_panoptic(setting, gpu):
    """On a CPU taps are counted one after the other, which is quicker there; listing what mixes waits for it twice."""
    with as_on_a_gpu() if gpu else nullcontext():
        check("panoptic", setting, 12, 25)
        check("panoptic with its plan", setting, 28 if gpu else 36, 28, waits=2)
