"""pcpad.functional against dense references: maps so large that borders are scaled in place, and views."""

import pytest
import torch
import torch.nn.functional as F

from pcpad import _border
from pcpad.functional import partial_conv1d, partial_conv2d, partial_conv3d

PARTIAL = {1: partial_conv1d, 2: partial_conv2d, 3: partial_conv3d}
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


LARGE = [
    # size, channels, outs, kernel, stride, padding, dilation, groups
    ((130, 130), 8, 4, (3, 3), 1, 1, 1, 1),
    ((130, 130), 8, 4, (3, 3), 2, 1, 1, 1),
    ((130, 131), 8, 8, (7, 7), 2, 3, 1, 2),
    ((131, 130), 8, 8, (5, 5), (2, 1), (2, 0), (1, 3), 8),
    ((130, 130), 4, 4, (3, 3), 1, 12, 12, 1),
    ((130, 130), 4, 4, (3, 3), 1, "same", (1, 2), 1),
    ((130, 130), 4, 4, (3, 3), 1, 5, 1, 1),  # two rings of windows see padding only
    ((130, 130), 4, 4, (3, 5), 3, (4, 7), 1, 1),
    ((300, 300), 4, 4, (3, 3), 1, 1, 1, 1),
    ((300, 300), 4, 4, (3, 3), 2, 1, 1, 1),
    ((300, 2), 4, 4, (3, 3), 1, 1, 1, 1),
    ((2, 300), 4, 4, (3, 7), 2, (1, 3), 1, 1),
    ((300, 300), 4, 4, (1, 1), 1, 0, 1, 1),
    ((300, 300), 4, 4, (1, 1), 2, 1, 1, 1),
    ((4096,), 4, 4, (5,), 2, 2, 1, 1),
    ((20, 33, 34), 4, 4, (3, 3, 3), 1, 1, 1, 1),
    ((20, 33, 34), 4, 4, (3, 3, 3), 2, (1, 2, 0), 1, 1),
    ((1, 64, 64), 4, 4, (3, 3, 3), 1, 1, 1, 1),
    ((7, 7), 64, 64, (3, 3), 1, 1, 1, 1),
    ((14, 14), 32, 32, (3, 3), 2, 1, 1, 32),
]
HUGE = [  # over 2**20 outputs
    ((301, 300), 2, 16, (3, 3), 1, 1, 1, 1),
    ((400, 401), 2, 32, (7, 7), 2, 3, 1, 2),
    ((300001,), 2, 4, (5,), 1, "same", 2, 1),
    ((20, 130, 120), 1, 4, (1, 3, 3), 1, (0, 1, 1), 1, 1),
]
PATHS = [(setting, path) for setting in LARGE for path in ("plain", "plain_strips", "masked")]
PATHS += [(setting, "plain") for setting in HUGE]


def _large(size, channels, outs, kernel, groups, samples=1):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, channels, *size, dtype=torch.float64, generator=generator)
    weight = torch.randn(outs, channels // groups, *kernel, dtype=torch.float64, generator=generator)
    return x, weight, torch.randn(outs, dtype=torch.float64, generator=generator)


def _formats(dims):
    return [torch.contiguous_format, *{2: [torch.channels_last], 3: [torch.channels_last_3d]}.get(dims, [])]


@pytest.mark.parametrize(
    ("setting", "path"), PATHS, ids=["x".join(map(str, s[0])) + f"_k{s[3]}_s{s[4]}_p{s[5]}_{path}" for s, path in PATHS]
)
def test_training_and_inference_agree_on_large_maps(setting, path, dense_reference, monkeypatch):
    if path == "plain_strips":  # scale the border alone wherever that is possible, not only where it is quicker
        monkeypatch.setattr(_border, "_STRIPS_FROM", 0)
    size, channels, outs, kernel, stride, padding, dilation, groups = setting
    x, weight, bias = _large(size, channels, outs, kernel, groups)
    mask = (torch.rand(1, 1, *size) < 0.4).double() if path == "masked" else None
    partial = PARTIAL[len(size)]
    for b in (bias, None):
        args = (b, stride, padding, dilation, groups)
        expected = dense_reference(x, weight, *args, mask=mask)
        tolerance = {"rtol": 0, "atol": 1e-12 * max(1, expected.abs().max().item())}
        for memory_format in _formats(len(size)):
            x = x.contiguous(memory_format=memory_format)
            results = {"training": partial(x.clone().requires_grad_(), weight, *args, mask=mask).detach()}
            with torch.no_grad():
                results["no_grad"] = partial(x, weight, *args, mask=mask)
            with torch.inference_mode():
                results["inference_mode"] = partial(x, weight, *args, mask=mask)
            results["frozen"] = partial(x, weight, *args, mask=mask)  # gradients on, nothing asks for one
            layout = PLAIN[len(size)](x, weight, *args).stride()
            for name, y in results.items():
                torch.testing.assert_close(y, expected, **tolerance, msg=lambda m, n=name: n + m)
                assert y.stride() == layout, f"{name}: another layout than the plain convolution of {memory_format}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_inference_on_a_huge_map_in_lower_precision(memory_format, dtype, dense_reference, assert_near):
    x, weight, bias = (t.to(dtype) for t in _large((270, 260), 2, 16, (3, 3), 1))
    bias = 10 * bias  # so that an error in how the border's bias is treated stands out
    with torch.no_grad():
        y = partial_conv2d(x.contiguous(memory_format=memory_format), weight, bias, padding=1)
        alone = partial_conv2d(x, weight, None, padding=1)
    assert y.dtype == dtype
    assert_near(y, dense_reference(x.double(), weight.double(), bias.double(), padding=1))
    assert_near(alone, dense_reference(x.double(), weight.double(), padding=1))


def test_unpadded_convolution_is_the_plain_one():
    x, weight, bias = _large((40, 40), 8, 8, (3, 3), 1)
    with torch.no_grad():
        assert torch.equal(partial_conv2d(x, weight, bias), F.conv2d(x, weight, bias))
        assert torch.equal(partial_conv2d(x, weight, bias, padding="valid"), F.conv2d(x, weight, bias))


def test_interior_of_a_padded_convolution_is_the_plain_one():
    x, weight, bias = _large((40, 40), 8, 8, (3, 3), 1)
    y, plain = partial_conv2d(x, weight, bias, padding=1), F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(y[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1], rtol=0, atol=1e-13)
    assert (y[..., 0, :] - plain[..., 0, :]).abs().min() > 0


def test_strided_views_and_expanded_inputs(dense_reference, assert_near):
    x, weight, bias = _large((24, 18), 6, 4, (3, 3), 1, samples=2)
    views = {
        "transposed": x.transpose(2, 3),
        "sliced": x[..., ::2, 1:],
        "expanded": x[:1].expand(3, -1, -1, -1),
        "permuted": x.permute(1, 0, 2, 3)[:, :1].expand(-1, 6, -1, -1),
    }
    with torch.no_grad():
        for view in views.values():
            before = view.clone()
            assert_near(partial_conv2d(view, weight, bias, padding=2), dense_reference(view, weight, bias, padding=2))
            assert torch.equal(view, before)
