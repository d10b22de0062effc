"""pcpad.functional against a loop over windows written from Eq. 1-3, and against PyTorch's own gradients."""

import inspect
import math

import numpy as np
import pytest
import torch

from pcpad import _border, functional
from pcpad.functional import padding_ratio, partial_conv1d, partial_conv2d, partial_conv3d

PARTIAL = {1: partial_conv1d, 2: partial_conv2d, 3: partial_conv3d}
MASK_KINDS = ("none", "shared", "sample", "channel", "channel_sample", "grouped", "grouped_sample")
MASK_DTYPES = (torch.bool, torch.uint8, torch.int64, torch.int32, torch.float64, torch.float32, torch.float16)


def _geometry(rng, dims):
    """Random kernel, stride, dilation, padding and input size whose output is not empty and not large."""
    kernel = [int(k) for k in rng.integers(1, 4 if dims == 3 else 6, dims)]
    dilation = [int(d) for d in rng.integers(1, 3 if dims == 3 else 4, dims)]
    stride = [int(s) for s in rng.integers(1, 4, dims)]
    size = [int(s) for s in rng.integers(1, {1: 13, 2: 8, 3: 5}[dims], dims)]
    if rng.random() < 0.15:
        size[rng.integers(dims)] = 1
    kind = rng.choice(["int", "tuple", "large", "same", "valid"], p=[0.25, 0.25, 0.15, 0.2, 0.15])
    if kind == "same":
        stride, padding = [1] * dims, "same"
        pads = [d * (k - 1) / 2 for k, d in zip(kernel, dilation, strict=True)]
    else:
        pads = [0] * dims
        if kind == "int":
            pads = [int(rng.integers(0, 3))] * dims
        elif kind == "tuple":
            pads = [int(p) for p in rng.integers(0, 4, dims)]
        elif kind == "large":  # whole windows in the padding
            axis = int(rng.integers(dims))
            pads[axis] = dilation[axis] * (kernel[axis] - 1) + int(rng.integers(1, 4))
        padding = "valid" if kind == "valid" else pads[0] if kind == "int" else tuple(pads)
    for axis in range(dims):
        size[axis] = max(size[axis], math.ceil(dilation[axis] * (kernel[axis] - 1) + 1 - 2 * pads[axis]))
    scalar = rng.random() < 0.3
    if scalar:
        stride = [stride[0]] * dims
    return {
        "size": size,
        "kernel": kernel,
        "stride": stride[0] if scalar else tuple(stride),
        "padding": padding,
        "dilation": tuple(dilation),
    }


def _random_mask(rng, kind, samples, channels, size):
    """(mask, mask_channels); some masks are nearly empty, so that whole windows are holes."""
    if kind == "none":
        return None, None
    lead = samples if kind.endswith("sample") else 1
    split, mask_channels = 1, None
    if kind.startswith("channel"):
        split = channels
    elif kind.startswith("grouped"):
        split = int(rng.integers(1, channels + 1)) if channels < 2 else int(rng.integers(2, channels + 1))
        cuts = sorted(rng.choice(np.arange(1, channels), split - 1, replace=False)) if split > 1 else []
        mask_channels = tuple(int(c) for c in np.diff([0, *cuts, channels]))
    density = rng.choice([0.0, 0.1, 0.3, 0.6, 0.95, 1.0], p=[0.04, 0.26, 0.25, 0.25, 0.15, 0.05])
    return (rng.random((lead, split, *size)) < density).astype(np.float64), mask_channels


def _random_setting(seed):
    rng = np.random.default_rng(seed)
    dims = seed % 3 + 1
    geometry = _geometry(rng, dims)
    groups = int(rng.choice([1, 1, 2, 3]))
    group_channels, group_outs = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    if rng.random() < 0.15:  # depthwise, at times with a multiplier
        groups, group_channels = int(rng.integers(2, 5)), 1
    channels = groups * group_channels
    unbatched = rng.random() < 0.15
    samples = 1 if unbatched else int(rng.choice([0, 1, 2, 3], p=[0.05, 0.3, 0.4, 0.25]))
    kind = MASK_KINDS[(seed // 3) % len(MASK_KINDS)]
    mask, mask_channels = _random_mask(rng, kind, samples, channels, geometry["size"])
    size, kernel = geometry.pop("size"), geometry.pop("kernel")
    return {
        "dims": dims,
        "x": rng.standard_normal((samples, channels, *size)),
        "weight": rng.standard_normal((groups * group_outs, group_channels, *kernel)),
        "bias": rng.standard_normal(groups * group_outs) if rng.random() < 0.6 else None,
        "options": {**geometry, "groups": groups},
        "mask": mask,
        "mask_channels": mask_channels,
        "mask_dtype": MASK_DTYPES[int(rng.integers(len(MASK_DTYPES)))],
        "mask_scale": float(rng.choice([1, 3])),  # any value but 0 is valid
        "unbatched": unbatched,
        "poison": mask is not None and rng.random() < 0.5,
    }


def _as_tensors(setting):
    """The setting as torch sees it: (x, weight, bias), mask; NaN or inf put under the holes where it says so."""
    x, weight = torch.tensor(setting["x"]), torch.tensor(setting["weight"])
    bias = None if setting["bias"] is None else torch.tensor(setting["bias"])
    mask = None
    if setting["mask"] is not None:
        mask = (torch.tensor(setting["mask"]) * setting["mask_scale"]).to(setting["mask_dtype"])
        if setting["poison"]:
            full = setting["mask"]
            if setting["mask_channels"] is not None:
                full = np.repeat(full, setting["mask_channels"], axis=1)
            x = torch.where(torch.tensor(full) != 0, x, torch.tensor([math.nan, math.inf, -math.inf])[x.shape[1] % 3])
    if setting["unbatched"]:
        x, mask = x[0], None if mask is None else mask[0]
    return x, weight, bias, mask


@pytest.mark.parametrize("seed", range(500))
def test_random_setting_equals_the_loop_over_windows(seed, brute_force, monkeypatch):
    setting = _random_setting(seed)
    x, weight, bias, mask = _as_tensors(setting)
    y_expected, mask_expected = brute_force(
        setting["x"],
        setting["weight"],
        setting["bias"],
        **setting["options"],
        mask=setting["mask"],
        mask_channels=setting["mask_channels"],
    )
    y_expected, mask_expected = torch.tensor(y_expected), torch.tensor(mask_expected)
    if setting["unbatched"]:
        y_expected, mask_expected = y_expected[0], mask_expected[0]
    before = [None if t is None else t.clone() for t in (x, weight, bias, mask)]

    partial = PARTIAL[setting["dims"]]
    keywords = {**setting["options"], "mask": mask, "mask_channels": setting["mask_channels"]}
    with torch.no_grad():
        y = partial(x, weight, bias, **keywords)
        y_again, new_mask = partial(x, weight, bias, **keywords, return_mask=True)
    trained = [None if t is None else t.clone().requires_grad_() for t in (x, weight, bias)]
    y_trained, new_mask_trained = partial(*trained, **keywords, return_mask=True)
    monkeypatch.setattr(_border, "_STRIPS_FROM", 0)  # what large maps take
    with torch.no_grad():
        y_strips = partial(x, weight, bias, **keywords)

    assert y.dtype == torch.float64
    for actual in (y, y_again, y_trained, y_strips):
        torch.testing.assert_close(actual.detach(), y_expected, rtol=1e-10, atol=1e-10)
    for actual in (new_mask, new_mask_trained):
        assert actual.dtype == x.dtype
        assert not actual.requires_grad
        torch.testing.assert_close(actual, mask_expected, rtol=0, atol=0)
    for now, then in zip((x, weight, bias, mask), before, strict=True):
        assert now is None or torch.equal(now.nan_to_num(7.0), then.nan_to_num(7.0)), "an argument was modified"


def test_random_settings_cover_every_feature():
    settings = [_random_setting(seed) for seed in range(500)]
    assert {s["dims"] for s in settings} == {1, 2, 3}
    assert {s["options"]["padding"] for s in settings} >= {"same", "valid", 0, 1, 2}
    assert any(s["options"]["padding"] == "same" and min(s["weight"].shape[2:]) % 2 == 0 for s in settings)
    assert any(s["x"].shape[0] == 0 for s in settings)
    assert any(s["x"].shape[0] == 0 and s["mask"] is not None for s in settings)
    assert any(min(s["x"].shape[2:], default=0) == 1 for s in settings)
    assert any(s["options"]["groups"] > 1 and s["x"].shape[1] == s["options"]["groups"] for s in settings)
    assert any(s["options"]["groups"] > 1 and s["mask_channels"] is not None for s in settings)
    assert any(s["unbatched"] and s["mask"] is not None and s["mask"].shape[1] > 1 for s in settings)
    assert {s["mask_dtype"] for s in settings if s["mask"] is not None} == set(MASK_DTYPES)
    wide = [
        s
        for s in settings
        if isinstance(s["options"]["padding"], tuple)
        and any(
            p > d * (k - 1)
            for p, d, k in zip(s["options"]["padding"], s["options"]["dilation"], s["weight"].shape[2:], strict=True)
        )
    ]
    assert len(wide) > 30


@pytest.mark.parametrize("seed", range(90))
def test_padding_ratio_equals_counting(seed, ratio_by_counting):
    geometry = _geometry(np.random.default_rng(1000 + seed), seed % 3 + 1)
    size, kernel = tuple(geometry["size"]), tuple(geometry["kernel"])
    options = {name: geometry[name] for name in ("stride", "padding", "dilation")}
    if len(size) == 1 and seed % 2:
        size, kernel = size[0], kernel[0]
    expected = ratio_by_counting(geometry["size"], geometry["kernel"], **options)
    ratio = padding_ratio(size, kernel, **options, dtype=torch.float64)
    assert ratio.shape == expected.shape
    torch.testing.assert_close(ratio, torch.tensor(expected), rtol=5e-16, atol=0)
    assert torch.equal(ratio == 1, torch.tensor(expected == 1)), "1 must be exactly 1"
    assert torch.equal(ratio == 0, torch.tensor(expected == 0))


def test_padding_ratio_of_the_papers_corner():
    ratio = padding_ratio((4, 5), (3, 3), padding=1)
    assert ratio.shape == (4, 5)
    assert ratio.dtype == torch.get_default_dtype()
    assert padding_ratio((4, 5), (3, 3), padding=1, dtype=None, device=None).dtype == torch.get_default_dtype()
    assert ratio[0, 0].item() == 2.25
    assert ratio[0, 1].item() == 1.5
    assert (ratio[1:-1, 1:-1] == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_padding_ratio_counts_exactly_in_every_dtype(dtype, ratio_by_counting):
    # 21 x 28 = 588 taps, 567 of them valid at the first column: bfloat16 has 566 and 568 only.
    expected = torch.tensor(ratio_by_counting((30, 40), (21, 28), 1, (0, 1), 1))
    assert (expected == 588 / 567).any()
    ratio = padding_ratio((30, 40), (21, 28), padding=(0, 1), dtype=dtype)
    assert ratio.dtype == dtype
    assert torch.equal(ratio, expected.float().to(dtype))


def test_padding_ratio_device():
    assert padding_ratio((4, 4), 3, padding=1, device="meta").device.type == "meta"
    ratio = padding_ratio((4, 4), 3, padding=1, device="cpu")  # an int kernel holds for every axis
    assert ratio.shape == (4, 4)


def test_padding_ratio_is_not_shared_between_callers():
    first = padding_ratio((6, 6), (3, 3), padding=1)
    expected = first.clone()
    first.zero_()
    assert torch.equal(padding_ratio((6, 6), (3, 3), padding=1), expected)


GRADIENTS = {
    # name: dims, size, kernel, options
    "1d": (1, (5,), (3,), {"padding": 1}),
    "1d_same_even": (1, (5,), (4,), {"padding": "same", "dilation": 2}),
    "2d": (2, (3, 3), (3, 3), {"padding": 1}),
    "2d_strided_grouped": (2, (3, 4), (3, 2), {"padding": (1, 2), "stride": (2, 3), "groups": 2}),
    "2d_wide_padding": (2, (2, 2), (2, 2), {"padding": 3, "stride": 2}),
    "3d": (3, (2, 3, 2), (2, 3, 1), {"padding": (1, 1, 0), "stride": (2, 2, 1)}),
}
GRADIENT_MASKS = ("none", "sample", "channel", "grouped_sample")


def _gradient_setting(name, mask_kind, with_bias):
    dims, size, kernel, options = GRADIENTS[name]
    rng = np.random.default_rng(7)
    channels = 4 if mask_kind.startswith("grouped") else 2
    samples = 1 if dims == 3 else 2
    mask, mask_channels = _random_mask(rng, mask_kind, samples, channels, size)
    mask = None if mask is None else torch.tensor(rng.random(mask.shape) < 0.6)
    x = torch.tensor(rng.standard_normal((samples, channels, *size)), requires_grad=True)
    shape = (2, channels // options.get("groups", 1), *kernel)
    weight = torch.tensor(rng.standard_normal(shape), requires_grad=True)
    bias = (torch.tensor(rng.standard_normal(2), requires_grad=True),) if with_bias else ()

    def call(x, weight, bias=None):
        return PARTIAL[dims](x, weight, bias, **options, mask=mask, mask_channels=mask_channels)

    return call, (x, weight, *bias)


@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("mask_kind", GRADIENT_MASKS)
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name, mask_kind, with_bias):
    call, inputs = _gradient_setting(name, mask_kind, with_bias)
    assert torch.autograd.gradcheck(call, inputs, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.slow
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("mask_kind", GRADIENT_MASKS)
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_entry_by_entry(name, mask_kind, with_bias):
    call, inputs = _gradient_setting(name, mask_kind, with_bias)
    assert torch.autograd.gradcheck(call, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e300])
@pytest.mark.parametrize("mask_shape", [(1, 1), (2, 1), (1, 4), (2, 4)], ids=str)
def test_no_gradient_and_no_value_passes_a_hole(mask_shape, poison):
    torch.manual_seed(0)
    mask = torch.rand(*mask_shape, 9, 9) < 0.5
    mask[..., :5, :5] = False  # several windows hold no valid tap at all
    full = mask.expand(2, 4, 9, 9)
    clean = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64)
    outputs = []
    for fill in (0.0, poison):
        x = torch.where(full, clean, fill).requires_grad_()
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        y = partial_conv2d(x, w, b, padding=1, mask=mask)
        (y * torch.linspace(-1e6, 1e6, y.numel(), dtype=torch.float64).view_as(y)).sum().backward()
        assert (x.grad[~full] == 0).all()
        assert (x.grad[full] != 0).all()
        outputs.append((y.detach(), x.grad, w.grad, b.grad))
    for zero_filled, poisoned in zip(*outputs, strict=True):
        assert poisoned.isfinite().all()
        assert torch.equal(zero_filled, poisoned)


def test_windows_without_a_valid_tap_are_zero_and_give_nothing_back():
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.ones(3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    y, new_mask = partial_conv2d(x, weight, bias, padding=1, mask=torch.zeros(1, 1, 6, 6), return_mask=True)
    y.sum().backward()
    assert (y == 0).all()
    assert (new_mask == 0).all()
    for tensor in (x, weight, bias):
        assert (tensor.grad == 0).all()


def test_padding_wider_than_the_kernel_is_zero_without_the_bias():
    weight, bias = torch.randn(3, 2, 3, 3), torch.full((3,), 5.0)
    y, new_mask = partial_conv2d(torch.randn(1, 2, 4, 4), weight, bias, padding=4, return_mask=True)
    assert y.shape == (1, 3, 10, 10)
    border = torch.ones(10, 10, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    assert (y[..., border] == 0).all()
    assert (y[..., ~border] != 0).all()
    assert torch.equal(new_mask, (~border).float()[None, None])


def test_new_mask_without_a_mask_is_of_ones():
    y, new_mask = partial_conv2d(torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3), padding=1, return_mask=True)
    assert y.shape == (2, 4, 5, 5)
    assert new_mask.shape == (1, 1, 5, 5)
    assert (new_mask == 1).all()


@pytest.mark.parametrize(
    ("groups", "lead", "width", "mask_channels", "expected"),
    [
        (1, 1, 1, None, (1, 1)),
        (1, 2, 1, None, (2, 1)),
        (1, 1, 4, None, (1, 1)),
        (1, 2, 4, None, (2, 1)),
        (1, 2, 2, (3, 1), (2, 1)),
        (2, 1, 1, None, (1, 1)),
        (2, 2, 1, None, (2, 1)),
        (2, 1, 4, None, (1, 6)),
        (2, 2, 4, None, (2, 6)),
        (2, 1, 2, (2, 2), (1, 6)),
        (2, 2, 3, (1, 2, 1), (2, 6)),
    ],
)
def test_new_mask_shape(groups, lead, width, mask_channels, expected):
    mask = torch.ones(lead, width, 5, 6)
    keywords = {"groups": groups, "padding": 1, "mask_channels": mask_channels, "return_mask": True}
    weight = torch.randn(6, 4 // groups, 3, 3)
    _, new_mask = partial_conv2d(torch.randn(2, 4, 5, 6), weight, mask=mask, **keywords)
    assert new_mask.shape == (*expected, 5, 6)
    _, new_mask = partial_conv2d(torch.randn(4, 5, 6), weight, mask=mask[0], **keywords)
    assert new_mask.shape == (expected[1], 5, 6)


def test_mask_channels_equal_the_repeated_mask():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, 7, 7, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    mask = torch.rand(2, 3, 7, 7) < 0.3
    sizes = (1, 3, 2)  # the middle one straddles both convolution groups
    repeated = mask.repeat_interleave(torch.tensor(sizes), dim=1)
    keywords = {"padding": 1, "groups": 2, "return_mask": True}
    y, new_mask = partial_conv2d(x, weight, mask=mask, mask_channels=sizes, **keywords)
    y_expected, new_mask_expected = partial_conv2d(x, weight, mask=repeated, **keywords)
    torch.testing.assert_close(y, y_expected, rtol=0, atol=1e-13)
    assert torch.equal(new_mask, new_mask_expected)


def test_mask_values_other_than_zero_are_valid():
    x, weight = torch.randn(1, 3, 6, 6), torch.randn(2, 3, 3, 3)
    values = torch.tensor([0.0, 1.0, -1.0, 0.25, 1e-30, math.inf])[torch.randint(0, 6, (1, 1, 6, 6))]
    expected = partial_conv2d(x, weight, padding=1, mask=values != 0)
    assert torch.equal(partial_conv2d(x, weight, padding=1, mask=values), expected)


def _settings_for_batches():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 4, 12, 11), torch.randn(6, 4, 3, 3), torch.randn(6)
    return x, weight, bias, torch.rand(5, 1, 12, 11) < 0.4


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_a_sample_does_not_depend_on_its_batch(masked, assert_near):
    x, weight, bias, mask = _settings_for_batches()
    mask = mask if masked else None
    with torch.no_grad():
        together = partial_conv2d(x, weight, bias, padding=1, stride=2, mask=mask)
        for n in range(5):
            own = None if mask is None else mask[n : n + 1]
            alone = partial_conv2d(x[n : n + 1], weight, bias, padding=1, stride=2, mask=own)
            assert_near(alone, together[n : n + 1])


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ratios_do_not_depend_on_the_batch(width, dtype):
    # A kernel with one tap of 1 on an image of ones: the output is the ratio wherever that tap is valid.
    torch.manual_seed(0)
    mask = torch.rand(5, width, 12, 11) < 0.6
    weight = torch.zeros(1, 4, 3, 3, dtype=dtype)
    weight[0, 0, 1, 1] = 1
    x = torch.ones(5, 4, 12, 11, dtype=dtype)
    together = partial_conv2d(x, weight, padding=1, mask=mask)
    for n in range(5):
        assert torch.equal(partial_conv2d(x[n : n + 1], weight, padding=1, mask=mask[n : n + 1])[0], together[n])
        padded = [partial_conv2d(x[:k], weight, padding=1)[0] for k in (1, n + 1)]
        assert torch.equal(*padded)


def test_results_do_not_depend_on_the_calls_before():
    torch.manual_seed(0)
    cases = []
    for size in [(9, 9), (9, 10), (64, 64), (5, 3), (9, 9)]:
        for options in (
            {"padding": 1},
            {"padding": 1, "stride": 2},
            {"padding": 2, "dilation": 2},
            {"padding": "same"},
        ):
            for dtype in (torch.float32, torch.float64, torch.bfloat16):
                x, weight = torch.randn(2, 3, *size).to(dtype), torch.randn(4, 3, 3, 3).to(dtype)
                for mask in (None, torch.rand(2, 1, *size) < 0.5):
                    cases.append((x, weight, options, mask))
    with torch.no_grad():
        first = [partial_conv2d(x, w, **options, mask=mask) for x, w, options, mask in cases]
        for i in np.random.default_rng(0).permutation(len(cases)):
            x, w, options, mask = cases[i]
            assert torch.equal(partial_conv2d(x, w, **options, mask=mask), first[i])


def test_every_memo_is_bounded():
    members = inspect.getmembers(functional) + inspect.getmembers(_border)
    memos = [member for _, member in members if hasattr(member, "cache_info")]
    assert all(memo.cache_info().maxsize is not None for memo in memos)


@pytest.mark.parametrize("sizes", [None, (2, 4)])
def test_holes_that_are_zero_already_need_not_be_erased(sizes):
    mask = (torch.rand(2, 1 if sizes is None else 2, 7, 9) < 0.5).float()
    full = mask if sizes is None else mask.repeat_interleave(torch.tensor(sizes), dim=1)
    x, weight, bias = torch.randn(2, 6, 7, 9) * full, torch.randn(3, 6, 3, 3), torch.randn(3)
    options = {"stride": 2, "padding": 1, "mask": mask, "mask_channels": sizes, "return_mask": True}
    expected, new_mask = partial_conv2d(x, weight, bias, **options)
    actual, same_mask = partial_conv2d(x, weight, bias, **options, holes_are_zero=True)
    assert torch.equal(actual, expected)
    assert torch.equal(same_mask, new_mask)
    x.requires_grad_()
    storages = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: storages.append(t.data_ptr()) or t, lambda t: t):
        partial_conv2d(x, weight, bias, **options, holes_are_zero=True)
    assert x.data_ptr() in storages, "the input itself is kept for the backward pass, no copy"
