"""Independent references for the layer package's tests, written from the papers' equations alone."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

# One table for every comparison with a reference: largest error, relative to the largest magnitude expected.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2.5e-3}


def _per_axis(value, dims):
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _paddings(padding, kernel, dilation):
    """Padding before and after each axis; "same" puts the odd one on the right, as torch does."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in _per_axis(padding, len(kernel))]


def brute_force_convolution(
    x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, mask=None, mask_channels=None
):
    """Eq. 1-3 as a loop over windows and taps, in float64.

    Args are numpy arrays, x as (N, C, *S), mask as (N|1, 1|C|G, *S).

    Returns:
        y (N, out_channels, *S'), and the new mask (N|1, 1|out_channels, *S'), both float64.
    """
    samples, channels, *size = x.shape
    outs, group_channels, *kernel = weight.shape
    dims = len(size)
    stride, dilation = _per_axis(stride, dims), _per_axis(dilation, dims)
    pads = _paddings(padding, kernel, dilation)
    out_size = [
        (s + lo + hi - d * (k - 1) - 1) // st + 1
        for s, (lo, hi), k, st, d in zip(size, pads, kernel, stride, dilation, strict=True)
    ]
    if mask is None:
        mask = np.ones((1, 1, *size))
    single = mask.shape[1] == 1  # then Eq. 2 counts taps; else channels too
    if mask_channels is not None:
        mask = np.repeat(mask, mask_channels, axis=1)
    valid = np.broadcast_to(mask != 0, (mask.shape[0], channels, *size))
    group_outs = outs // groups
    y = np.zeros((samples, outs, *out_size))
    new_mask = np.zeros((valid.shape[0], outs, *out_size))

    for window in itertools.product(*map(range, out_size)):
        inside = []  # (tap, position) pairs of the window that fall on the input
        for tap in itertools.product(*map(range, kernel)):
            at = tuple(
                w * st - lo + t * d for w, st, (lo, _), t, d in zip(window, stride, pads, tap, dilation, strict=True)
            )
            if all(0 <= a < s for a, s in zip(at, size, strict=True)):
                inside.append((tap, at))
        for group in range(groups):
            ins = slice(group * group_channels, (group + 1) * group_channels)
            out = slice(group * group_outs, (group + 1) * group_outs)
            ones = math.prod(kernel) * (1 if single else group_channels)
            counts = [
                sum(int(v[(ins, *at)][:1].sum() if single else v[(ins, *at)].sum()) for _, at in inside) for v in valid
            ]
            for m, count in enumerate(counts):
                new_mask[(m, out, *window)] = count > 0
            for n in range(samples):
                m = n % len(counts)
                if counts[m] == 0:
                    continue  # y = 0, the bias included
                total = np.zeros(group_outs)
                for tap, at in inside:
                    known = valid[(m, ins, *at)]
                    total += weight[(out, slice(None), *tap)][:, known] @ x[(n, ins, *at)][known]
                y[(n, out, *window)] = total * ones / counts[m] + (0 if bias is None else bias[out])
    if groups == 1 or single:
        new_mask = new_mask[:, :1]
    return y, new_mask


def brute_force_ratio(size, kernel, stride, padding, dilation):
    """Kernel taps over valid taps for each window (0 where none is valid): numpy, (*S')."""
    dims = len(size)
    stride, dilation = _per_axis(stride, dims), _per_axis(dilation, dims)
    counts = np.array(1)
    for s, k, st, d, (lo, hi) in zip(size, kernel, stride, dilation, _paddings(padding, kernel, dilation), strict=True):
        starts = range(-lo, s + hi - d * (k - 1), st)
        axis = np.array([sum(0 <= start + t * d < s for t in range(k)) for start in starts])
        counts = np.multiply.outer(counts, axis)
    return np.divide(math.prod(kernel), counts, out=np.zeros(counts.shape), where=counts > 0)


def dense_convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, mask=None):
    """The definition with whole-map torch operations: a second convolution counts the valid taps.

    For maps too large for the loop. A mask is (N|1, 1|C, *S); without one, all of the input is valid. "same" wants odd
    kernels here.
    """
    convolution = CONVOLUTIONS[weight.dim() - 2]
    valid = torch.ones_like(x[:1]) if mask is None else (mask != 0).to(x.dtype).expand(-1, x.shape[1], *x.shape[2:])
    ones = torch.ones_like(weight)
    count = convolution(valid, ones, None, stride, padding, dilation, groups)
    y = convolution(torch.where(valid != 0, x, 0), weight, None, stride, padding, dilation, groups)
    y = y * (weight[0].numel() / count.clamp(min=1))
    if bias is not None:
        y = y + bias.view(-1, *[1] * (weight.dim() - 2))
    return torch.where(count > 0, y, 0)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Tiny operations gain nothing from threads and, on a busy machine, wait 20 times as long for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def brute_force():
    """Loop over windows: (x, weight, bias, ..., mask, mask_channels) -> (y, new_mask), numpy."""
    return brute_force_convolution


@pytest.fixture(scope="session")
def ratio_by_counting():
    """Loop over windows: (size, kernel, stride, padding, dilation) -> ratio, numpy."""
    return brute_force_ratio


@pytest.fixture(scope="session")
def dense_reference():
    """Whole-map reference for large maps: torch tensors in, torch tensor out."""
    return dense_convolution


@pytest.fixture(scope="session")
def assert_near():
    """Compare with a reference at the tolerance of the checked tensor's dtype (or of `dtype`)."""

    def check(actual, expected, dtype=None):
        tolerance = TOLERANCES[dtype or actual.dtype]
        actual, expected = actual.detach().double().cpu(), torch.as_tensor(expected).detach().double().cpu()
        assert actual.shape == expected.shape
        assert actual.isfinite().all()
        scale = max(1e-300, float(expected.abs().max())) if expected.numel() else 1.0
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * max(scale, 1.0))

    return check


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
        ),
    ]
)
def device(request):
    """Every device a layer test runs on; TF32 is off so that float32 means float32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield torch.device(request.param)
