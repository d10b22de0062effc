"""The modules: nn.ConvNd's shell, every dtype and device, autocast, memory formats, copies, batches."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch import nn

import pcpad
from pcpad import PartialConv1d, PartialConv2d, PartialConv3d
from pcpad.functional import partial_conv1d, partial_conv2d, partial_conv3d

LAYERS = {1: PartialConv1d, 2: PartialConv2d, 3: PartialConv3d}
PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PARTIAL = {1: partial_conv1d, 2: partial_conv2d, 3: partial_conv3d}
SIZES = {1: (11,), 2: (9, 10), 3: (5, 6, 7)}
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]

SETTINGS = {
    # constructor arguments after (in_channels, out_channels), for any number of axes
    "default": {"kernel_size": 3},
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    "same": {"kernel_size": 4, "padding": "same", "dilation": 2},
    "valid": {"kernel_size": 2, "padding": "valid"},
    "grouped": {"kernel_size": 3, "padding": 2, "groups": 2},
    "wide": {"kernel_size": 2, "padding": 3, "stride": 3},
}


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_signature_is_the_plain_layers(dims):
    ours = list(inspect.signature(LAYERS[dims]).parameters.values())
    plain = [
        name for name in inspect.signature(PLAIN[dims]).parameters if name not in ("padding_mode", "device", "dtype")
    ]
    positional = [p.name for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == plain
    assert [p.name for p in ours if p.kind is p.KEYWORD_ONLY] == ["return_mask", "device", "dtype"]
    defaults = {n: p.default for n, p in inspect.signature(PLAIN[dims]).parameters.items() if n in plain}
    assert {p.name: p.default for p in ours if p.name in plain} == defaults


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_layer_equals_its_function(dims, setting):
    torch.manual_seed(0)
    options = SETTINGS[setting]
    layer = LAYERS[dims](4, 6, **options, dtype=torch.float64)
    x = torch.randn(2, 4, *SIZES[dims], dtype=torch.float64)
    mask = torch.rand(2, 2, *SIZES[dims]) < 0.5
    others = {k: v for k, v in options.items() if k not in ("kernel_size", "bias")}
    expected = PARTIAL[dims](x, layer.weight, layer.bias, **others)
    assert torch.equal(layer(x), expected)
    torch.testing.assert_close(layer(x[0]), expected[0])  # unbatched
    masked, new_mask = PARTIAL[dims](
        x, layer.weight, layer.bias, **others, mask=mask, mask_channels=(1, 3), return_mask=True
    )
    assert torch.equal(layer(x, mask, mask_channels=(1, 3)), masked)
    torch.testing.assert_close(layer(x[1], mask[1], mask_channels=(1, 3)), masked[1])
    both = LAYERS[dims](4, 6, **options, dtype=torch.float64, return_mask=True)
    both.load_state_dict(layer.state_dict())
    y, m = both(x, mask, mask_channels=(1, 3))
    assert torch.equal(y, masked)
    assert torch.equal(m, new_mask)
    assert PLAIN[dims](4, 6, **options).double()(x).shape == expected.shape


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_state_is_the_plain_layers(dims):
    torch.manual_seed(3)
    plain = PLAIN[dims](4, 6, 3, padding=1)
    torch.manual_seed(3)
    layer = LAYERS[dims](4, 6, 3, padding=1)
    layer(torch.randn(1, 4, *SIZES[dims]), torch.ones(1, 1, *SIZES[dims]))
    layer(torch.randn(1, 4, *SIZES[dims]))
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert list(layer.buffers()) == []
    assert torch.equal(layer.weight, plain.weight), "initialized otherwise than nn.ConvNd"
    assert torch.equal(layer.bias, plain.bias)
    assert plain.load_state_dict(layer.state_dict()).missing_keys == []
    assert layer.load_state_dict(plain.state_dict()).unexpected_keys == []
    assert list(LAYERS[dims](4, 6, 3, bias=False).state_dict()) == ["weight"]
    before = layer.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.weight)


def test_public_names():
    assert set(pcpad.__all__) >= {"PartialConv1d", "PartialConv2d", "PartialConv3d"}
    assert "PartialConv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)" in repr(
        PartialConv2d(3, 8, 3, stride=2, padding=1)
    )
    assert "return_mask=True" in repr(PartialConv2d(3, 8, 3, return_mask=True))


def test_a_tensor_by_default_and_a_pair_on_request():
    x = torch.randn(2, 3, 8, 8)
    assert isinstance(PartialConv2d(3, 4, 3)(x, torch.ones(1, 1, 8, 8)), torch.Tensor)
    y, mask = PartialConv2d(3, 4, 3, padding=1, return_mask=True)(x)
    assert y.shape == (2, 4, 8, 8)
    assert mask.shape == (1, 1, 8, 8)


# --- dtypes ----------------------------------------------------------------------------------------------------------


def _masks(dims):
    torch.manual_seed(5)
    size = SIZES[dims]
    single, channel = torch.rand(1, 1, *size) < 0.4, torch.rand(2, 4, *size) < 0.4
    single[..., :4], channel[..., :4] = False, False  # whole windows without a valid tap
    return {"none": None, "single": single, "channel": channel}


@pytest.mark.parametrize("mask", ["none", "single", "channel"])
@pytest.mark.parametrize("setting", ["padded", "strided", "grouped", "wide"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_finite_and_near_double(dtype, dims, setting, mask, device, assert_near):
    torch.manual_seed(0)
    layer = LAYERS[dims](4, 6, **SETTINGS[setting], device=device, dtype=dtype, return_mask=True)
    exact = copy.deepcopy(layer).double()
    x = torch.randn(2, 4, *SIZES[dims], device=device).to(dtype)
    mask = _masks(dims)[mask]
    mask = None if mask is None else mask.to(device)
    x, x_exact = x.requires_grad_(), x.double().detach().requires_grad_()
    y, new_mask = layer(x, mask)
    y_exact, new_mask_exact = exact(x_exact, mask)
    assert y.dtype == new_mask.dtype == dtype
    assert torch.equal(new_mask.double(), new_mask_exact)
    assert_near(y, y_exact)
    with torch.no_grad():
        assert_near(layer(x, mask)[0], y_exact)
    torch.manual_seed(1)
    out = torch.randn(y.shape, device=device).to(dtype)
    y.backward(out)
    y_exact.backward(out.double())
    assert_near(x.grad, x_exact.grad)
    for parameter, parameter_exact in zip(layer.parameters(), exact.parameters(), strict=True):
        assert parameter.grad.dtype == dtype
        assert_near(parameter.grad, parameter_exact.grad)


@pytest.mark.parametrize(
    "mask_dtype", [torch.bool, torch.uint8, torch.int8, torch.int64, torch.bfloat16, torch.float64]
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_mask_dtype_with_any_input_dtype(dtype, mask_dtype):
    torch.manual_seed(0)
    layer = PartialConv2d(4, 6, 3, padding=1, dtype=dtype, return_mask=True)
    x, mask = torch.randn(2, 4, 9, 9).to(dtype), torch.rand(2, 1, 9, 9) < 0.3
    y, new_mask = layer(x, mask.to(mask_dtype))
    y_bool, new_mask_bool = layer(x, mask)
    assert y.dtype == new_mask.dtype == dtype
    assert torch.equal(y, y_bool)
    assert torch.equal(new_mask, new_mask_bool)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_autocast(masked, memory_format, device, assert_near):
    torch.manual_seed(0)
    layer = PartialConv2d(4, 6, 3, padding=1, device=device).to(memory_format=memory_format)
    x = torch.randn(2, 4, 40, 30, device=device).contiguous(memory_format=memory_format)
    mask = (torch.rand(2, 1, 40, 30, device=device) < 0.2) if masked else None
    expected = layer(x, mask)
    with torch.autocast(device.type, torch.bfloat16):
        y = layer(x, mask)
        with torch.no_grad():
            assert_near(layer(x, mask), expected)
    assert y.dtype == torch.bfloat16
    assert_near(y, expected)
    y.float().square().mean().backward()
    gradient = layer.weight.grad.clone()
    layer.zero_grad()
    expected.square().mean().backward()
    assert gradient.dtype == torch.float32
    assert_near(gradient, layer.weight.grad, dtype=torch.bfloat16)


def test_a_layer_moved_after_use():
    torch.manual_seed(0)
    layer = PartialConv2d(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 12, 12)
    expected = layer(x).detach()
    for dtype in (torch.float64, torch.bfloat16, torch.float16, torch.float32):
        y = copy.deepcopy(layer).to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=2e-2)
    assert copy.deepcopy(layer).half()(x.half()).dtype == torch.float16
    assert layer.double()(x.double()).dtype == torch.float64
    meta = copy.deepcopy(layer).to("meta")(x.to("meta"))
    assert meta.device.type == "meta"


# --- memory formats --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask_kind", ["none", "single", "sample", "channel", "grouped"])
@pytest.mark.parametrize("path", ["training", "no_grad", "inference_mode"])
@pytest.mark.parametrize("size", [(7, 8), (64, 64)], ids=str)
def test_channels_last_stays_channels_last(size, path, mask_kind):
    torch.manual_seed(0)
    layer = PartialConv2d(8, 4, 3, padding=1, return_mask=True).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, *size).contiguous(memory_format=torch.channels_last)
    shapes = {"single": (1, 1), "sample": (2, 1), "channel": (2, 8), "grouped": (2, 2)}
    mask = torch.rand(*shapes[mask_kind], *size) < 0.5 if mask_kind in shapes else None
    keywords = {"mask_channels": (3, 5)} if mask_kind == "grouped" else {}
    with {"training": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}[path]():
        y, _ = layer(x, mask, **keywords)
        contiguous, _ = layer(x.contiguous(), mask, **keywords)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, contiguous)


# --- copies ----------------------------------------------------------------------------------------------------------


def _saved_and_loaded(layer):
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer)), _saved_and_loaded],
    ids=["copy", "deepcopy", "pickle", "torch.save"],
)
@pytest.mark.parametrize(
    "options", [{"padding": 1, "return_mask": True}, {"padding": "same", "return_mask": True}], ids=str
)
def test_copies_after_use(duplicate, options):
    layer = PartialConv2d(4, 6, 3, **options)
    x, mask = torch.randn(2, 4, 12, 12), torch.rand(2, 1, 12, 12) < 0.5
    with torch.no_grad():
        layer(x)
    expected, expected_mask = layer(x, mask)
    twin = duplicate(layer)
    assert type(twin) is PartialConv2d
    y, new_mask = twin(x, mask)
    assert torch.equal(y, expected)
    assert torch.equal(new_mask, expected_mask)
    twin(x)[0].sum().backward()
    assert list(twin.state_dict()) == ["weight", "bias"]


def test_parametrized_weights():
    layer = nn.utils.parametrizations.spectral_norm(PartialConv2d(4, 6, 3, padding=1))
    x = torch.randn(2, 4, 12, 12)
    layer.eval()
    expected = partial_conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None


def test_training_lowers_the_loss_and_frozen_weights_stay():
    torch.manual_seed(0)
    network = nn.Sequential(PartialConv2d(3, 8, 3, padding=1), nn.ReLU(), PartialConv2d(8, 1, 3, padding=1))
    network[0].requires_grad_(False)
    frozen = network[0].weight.clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    x, target = torch.randn(4, 3, 16, 16), torch.randn(4, 1, 16, 16)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = (network(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert torch.equal(network[0].weight, frozen)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_bad_arguments_are_refused_at_construction(dims):
    with pytest.raises(ValueError, match="reflect"):
        LAYERS[dims](4, 6, 3, padding="reflect")
    with pytest.raises(ValueError, match="same"):
        LAYERS[dims](4, 6, 3, padding="same", stride=2)
    with pytest.raises(ValueError, match="divisible by groups"):
        LAYERS[dims](4, 6, 3, groups=3)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_bad_calls_are_refused(dims):
    layer, size = LAYERS[dims](4, 6, 3, padding=1), SIZES[dims]
    x = torch.randn(2, 4, *size)
    with pytest.raises(ValueError, match=r"\b5\b.*\b4\b|\b4\b.*\b5\b"):
        layer(torch.randn(2, 5, *size))
    with pytest.raises(ValueError, match="valid"):
        layer(x, torch.ones(2, 1, *[s + 1 for s in size]))
    with pytest.raises(ValueError, match="valid"):
        layer(x, torch.ones(2, 2, *size))
    with pytest.raises(ValueError, match="mask_channels"):
        layer(x, torch.ones(2, 2, *size), mask_channels=(1, 2))
    with pytest.raises(ValueError, match="mask_channels"):
        layer(x, mask_channels=(2, 2))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_negative_padding_is_refused_at_construction(dims):
    with pytest.raises(ValueError, match=r"padding.*-1"):
        LAYERS[dims](4, 6, 3, padding=-1)


def test_a_pair_where_a_tensor_belongs_is_refused():
    # What comes of return_mask=True in an nn.Sequential.
    network = nn.Sequential(PartialConv2d(3, 4, 3, return_mask=True), PartialConv2d(4, 4, 3))
    with pytest.raises(TypeError, match=r"[Tt]ensor.*tuple"):
        network(torch.randn(1, 3, 8, 8))
