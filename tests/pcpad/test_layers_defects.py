"""The reference implementation's defects, one to seven of padding.md, each shown to be absent; and state in general."""

import copy
import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from pcpad import PartialConv1d, PartialConv2d, PartialConv3d
from pcpad.functional import padding_ratio, partial_conv1d, partial_conv2d

LAYERS = {1: PartialConv1d, 2: PartialConv2d, 3: PartialConv3d}


def _layer(seed=0, **options):
    torch.manual_seed(seed)
    return PartialConv2d(4, 6, 3, **{"padding": 1, **options})


# --- 1: a stale ratio after a call with a mask -----------------------------------------------------------------------


@pytest.mark.parametrize("first", ["masked", "plain"])
@pytest.mark.parametrize("gradients", [True, False])
def test_defect_1_no_stale_ratio(first, gradients):
    x, mask, other = torch.randn(2, 4, 13, 14), torch.rand(2, 1, 13, 14) < 0.3, torch.rand(2, 1, 13, 14) < 0.7
    calls = [lambda layer: layer(x, mask), lambda layer: layer(x), lambda layer: layer(x, other)]
    with torch.set_grad_enabled(gradients):
        fresh = [call(_layer()).detach() for call in calls]
        layer = _layer()
        for i in [0, 1, 2, 1, 0] if first == "masked" else [1, 0, 1, 2, 1]:
            assert torch.equal(calls[i](layer).detach(), fresh[i])


def test_defect_1_two_layers_of_one_size():
    # Same input size, other padding, stride, dilation or kernel: a memo keyed by the size alone would mix them up.
    x = torch.randn(1, 4, 16, 16)
    variants = [{"padding": 1}, {"padding": 2}, {"padding": 2, "dilation": 2}, {"padding": 1, "stride": 2}, {}]
    with torch.no_grad():
        layers = [_layer(**v) for v in variants]
        first = [layer(x) for layer in layers]
        for layer, expected, v in zip(layers[::-1], first[::-1], variants[::-1], strict=True):
            assert torch.equal(layer(x), expected)
            ratio = padding_ratio((16, 16), (3, 3), **{"padding": 1, **v})
            plain = nn.functional.conv2d(x, layer.weight, None, **{"padding": 1, **v})
            torch.testing.assert_close(layer(x), plain * ratio + layer.bias.view(-1, 1, 1))


# --- 2: half precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("fill", [0.0, 6e4, math.nan, math.inf])
def test_defect_2_windows_of_holes_are_finite(dtype, fill):
    layer = _layer(dtype=dtype)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 5:] = 1
    x = torch.where(mask == 1, 1.0, fill).expand(2, 4, 8, 8).to(dtype).requires_grad_()
    y = layer(x, mask)
    y.sum().backward()
    assert y.isfinite().all()
    assert (y[..., :4] == 0).all()
    assert (y[..., 4:] != 0).any()
    for tensor in (x, *layer.parameters()):
        assert tensor.grad.isfinite().all()
    assert (x.grad[..., :5] == 0).all()


def _masked_count(total, valid, dtype, path):
    """The output at the center of one 3 x 3 window in which `valid` of `total` entries are valid: the ratio itself."""
    channels = total // 9
    mask = torch.ones(channels * 9)
    mask[torch.randperm(channels * 9 - 9)[: total - valid] + 9] = 0  # channel 0 stays whole
    weight = torch.zeros(1, channels, 3, 3, dtype=dtype)
    weight[0, 0, 1, 1] = 1
    x = torch.ones(1, channels, 3, 3, dtype=dtype)
    with torch.set_grad_enabled(path == "training"):
        return partial_conv2d(x.requires_grad_(path == "training"), weight, mask=mask.view(1, channels, 3, 3)).item()


@pytest.mark.parametrize("path", ["training", "no_grad"])
@pytest.mark.parametrize(
    ("total", "valid", "dtype"),
    [
        (567, 567, torch.bfloat16),  # the reference counts 568
        (711, 567, torch.bfloat16),
        (792, 567, torch.bfloat16),
        (999, 567, torch.bfloat16),
        (2052, 2049, torch.float16),  # float16 has no 2049
        (4104, 2049, torch.float16),
        (4608, 4607, torch.float16),
    ],
)
def test_defect_2_counts_are_exact(total, valid, dtype, path):
    expected = torch.tensor(total / valid, dtype=torch.float32).to(dtype).item()
    assert _masked_count(total, valid, dtype, path) == expected


def test_defect_2_the_counts_above_would_show_a_rounded_one():
    for total in (711, 792, 999):
        assert torch.tensor(total / 567).bfloat16() != torch.tensor(total / 568).bfloat16()
    assert torch.tensor(2052 / 2049).half() != torch.tensor(2052 / 2048).half()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_defect_2_a_tiny_ratio_and_a_huge_one(dtype):
    # One valid tap of 4097: the ratio 4097 is exact in float32 only; 4097 * 2**-6 rounds like the true product.
    weight, x = torch.zeros(1, 1, 4097, dtype=dtype), torch.full((1, 1, 4097), 2.0**-6, dtype=dtype)
    weight[..., 2048] = 1
    mask = torch.zeros(1, 1, 4097)
    mask[..., 2048] = 1
    y = partial_conv1d(x, weight, mask=mask)
    assert y.item() == torch.tensor(4097 * 2.0**-6).to(dtype).item()


# --- 3: groups with a mask per channel -------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("grouped", [False, True], ids=["per_channel", "mask_channels"])
def test_defect_3_a_group_sees_its_own_mask_only(dims, grouped):
    torch.manual_seed(0)
    size = (6,) * dims
    layer = LAYERS[dims](4, 6, 3, padding=1, groups=2, return_mask=True, dtype=torch.float64)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    keywords, width = ({"mask_channels": (2, 2)}, 2) if grouped else ({}, 4)
    mask = torch.ones(2, width, *size)
    mask[:, width // 2 :] = 0  # the second group is all holes
    y, new_mask = layer(x, mask, **keywords)
    whole, _ = layer(x)
    torch.testing.assert_close(y[:, :3], whole[:, :3], rtol=0, atol=1e-13)
    assert (y[:, 3:] == 0).all()
    assert (new_mask[:, :3] == 1).all()
    assert (new_mask[:, 3:] == 0).all()


# --- 4: another padding mode that is rescaled all the same -----------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "zeros"])
def test_defect_4_no_padding_mode(dims, mode):
    with pytest.raises(TypeError, match="padding_mode"):
        LAYERS[dims](4, 6, 3, padding=1, padding_mode=mode)


# --- 5: a kernel that is not moved, a cache that goes stale ----------------------------------------------------------


def test_defect_5_dtype_and_batch_changes():
    layer, x = _layer(), torch.randn(3, 4, 10, 10)
    mask = torch.rand(3, 1, 10, 10) < 0.5
    expected = {n: (_layer()(x[:n]), _layer()(x[:n], mask[:n])) for n in (3, 1, 2)}
    for n, (plain, masked) in expected.items():
        assert torch.equal(layer(x[:n]), plain)
        assert torch.equal(layer(x[:n], mask[:n]), masked)
        assert layer(x[:n], mask[:1]).shape == plain.shape
    double, half = copy.deepcopy(layer).double(), copy.deepcopy(layer).bfloat16()
    for _ in range(2):
        assert double(x.double(), mask).dtype == torch.float64
        assert half(x.bfloat16(), mask.float()).dtype == torch.bfloat16
        assert torch.equal(layer(x), expected[3][0])


def test_defect_5_meta_device_before_the_real_one():
    size = (23, 29)  # a size no other test uses: the first call ever is on meta
    meta = PartialConv2d(4, 6, 3, padding=1, device="meta", return_mask=True)
    with torch.no_grad():
        y, new_mask = meta(torch.empty(2, 4, *size, device="meta"), torch.empty(2, 1, *size, device="meta"))
        assert (y.device.type, new_mask.device.type) == ("meta", "meta")
        assert meta(torch.empty(2, 4, *size, device="meta"))[0].shape == (2, 6, *size)
    with torch.device("meta"):
        layer = _layer(device="cpu")
        real = layer(torch.randn(2, 4, 23, 31, device="cpu"))  # the default device must not matter
    assert real.device.type == "cpu"
    for width in (29, 31):
        x = torch.randn(2, 4, 23, width)
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients):
                y = layer(x)
            plain = nn.functional.conv2d(x, layer.weight, None, padding=1)
            expected = plain * padding_ratio(x.shape[2:], (3, 3), padding=1) + layer.bias.view(-1, 1, 1)
            torch.testing.assert_close(y, expected)


def test_defect_5_default_dtype_does_not_matter():
    layer, x = _layer(), torch.randn(2, 4, 19, 37)
    expected = layer(x)
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            y = layer(x)
            first = layer(x[..., :36])
    finally:
        torch.set_default_dtype(torch.float32)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(first, layer(x[..., :36]))


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_defect_5_threads(masked):
    layer = PartialConv2d(2, 3, 3, padding=1, stride=2, dtype=torch.float64)
    rng = random.Random(0)
    sizes = [(rng.randint(3, 40), rng.randint(3, 40)) for _ in range(60)]
    inputs = {s: torch.randn(1, 2, *s, dtype=torch.float64) for s in sizes}
    masks = {s: torch.rand(1, 1, *s) < 0.5 if masked else None for s in sizes}
    expected = {s: layer(x, masks[s]).detach() for s, x in inputs.items()}

    def work(seed):
        own = random.Random(seed)
        worst = 0.0
        for _ in range(60):
            size = own.choice(sizes)
            with torch.set_grad_enabled(own.random() < 0.5):
                y = layer(inputs[size], masks[size]).detach()
            worst = max(worst, (y - expected[size]).abs().max().item())
        return worst

    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(work, range(8)))
    assert len(errors) == 8
    assert max(errors) <= 1e-12


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("size", [(27, 41), (140, 141)], ids=str)
def test_defect_5_inference_mode_first_then_training(size, masked):
    layer, x = _layer(), torch.randn(2, 4, *size)
    mask = torch.rand(2, 1, *size) < 0.5 if masked else None
    with torch.inference_mode():
        first = layer(x, mask)
    x.requires_grad_()
    y = layer(x, mask)
    y.square().sum().backward()
    torch.testing.assert_close(y.detach(), first.clone())
    assert x.grad.abs().sum() > 0
    assert layer.weight.grad.isfinite().all()
    with torch.no_grad():
        torch.testing.assert_close(layer(x, mask), first.clone())


def test_defect_5_inference_tensors_as_input():
    layer = _layer()
    with torch.inference_mode():
        x, mask = torch.randn(2, 4, 26, 43), torch.ones(2, 1, 26, 43)
    with torch.no_grad():
        y = layer(x, mask)
        torch.testing.assert_close(layer(x), y)
    trained = layer(x.clone().requires_grad_(), mask.clone())
    trained.sum().backward()
    torch.testing.assert_close(trained.detach(), y)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_defect_5_fake_tensors_first(masked):
    size = (31, 47) if masked else (31, 53)
    with FakeTensorMode():
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                fake = _layer(return_mask=True)
                y, new_mask = fake(torch.randn(2, 4, *size), torch.ones(2, 1, *size) if masked else None)
                assert y.shape == (2, 6, *size)
                assert new_mask.shape[2:] == size
    layer, x = _layer(), torch.randn(2, 4, *size)
    plain = nn.functional.conv2d(x, layer.weight, None, padding=1)
    expected = plain * padding_ratio(size, (3, 3), padding=1) + layer.bias.view(-1, 1, 1)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            y = layer(x, torch.ones(2, 1, *size) if masked else None)
        assert type(y) is torch.Tensor
        torch.testing.assert_close(y.detach(), expected.detach())


# --- 6: one tensor out, so that it fits where nn.Conv2d does ---------------------------------------------------------


def test_defect_6_sequential():
    network = nn.Sequential(_layer(), nn.BatchNorm2d(6), nn.ReLU(), PartialConv2d(6, 2, 3, stride=2, padding=1))
    y = network(torch.randn(2, 4, 9, 9))
    assert isinstance(y, torch.Tensor)
    assert y.shape == (2, 2, 5, 5)


# --- 7: a single-channel mask, and what a mask costs -----------------------------------------------------------------


def test_defect_7_a_single_channel_mask_on_many_channels():
    layer, x = _layer(dtype=torch.float64), torch.randn(2, 4, 9, 9, dtype=torch.float64)
    mask = torch.rand(2, 1, 9, 9) < 0.5
    torch.testing.assert_close(layer(x, mask), layer(x, mask.expand(-1, 4, -1, -1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask_kind", ["single", "channel", "grouped"])
def test_defect_7_the_mask_costs_a_fraction_of_the_convolution(mask_kind):
    layer = PartialConv2d(32, 32, 3, padding=1, return_mask=True)
    x = torch.randn(2, 32, 20, 20)
    shape, keywords = {"single": (2, 1), "channel": (2, 32), "grouped": (2, 2)}[mask_kind], {}
    if mask_kind == "grouped":
        keywords["mask_channels"] = (16, 16)
    flops = {}
    for name, mask in (("plain", None), ("masked", torch.rand(*shape, 20, 20) < 0.5)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(x, mask, **(keywords if mask is not None else {}))
        flops[name] = counter.get_total_flops()
    assert flops["plain"] == 2 * x.shape[0] * 20 * 20 * 32 * 32 * 9
    assert flops["masked"] <= 1.01 * flops["plain"]
