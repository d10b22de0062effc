"""Adapters around our layers: those of peft (`make test-interop`), and stand-ins that do what they do to a layer."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PanopticPartialConv2d, PartialConv1d, PartialConv2d, PartialConv3d, convert_padding
from pcpad.errors import UserTypeError, UserValueError
from pcpad.layers import ExplicitPadConv2d, PaddedConv1d, PaddedConv2d, PaddedConv3d
from pcpad.paddings import _REGISTERED, register_padding

PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PARTIAL = {1: PartialConv1d, 2: PartialConv2d, 3: PartialConv3d}
PADDED = {1: PaddedConv1d, 2: PaddedConv2d, 3: PaddedConv3d}
CONSTANT = "of_test_other_layers_adapters"


def half(x, pads):
    """Surround the input with 0.5."""
    return F.pad(x, list(pads), value=0.5)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """For these tests alone: others list all paddings."""
    register_padding(CONSTANT)(half)
    yield
    del _REGISTERED[CONSTANT]


MODES = ["reflect", "replicate", "circular", "mean", "extrapolate", CONSTANT]
CASES = {
    **{f"partial-{dims}d": (PARTIAL[dims], dims, {}) for dims in (1, 2, 3)},
    **{f"{mode}-{dims}d": (PADDED[dims], dims, {"padding_mode": mode}) for mode in MODES for dims in (1, 2, 3)},
    "explicit-2d": (ExplicitPadConv2d, 2, {}),
    "masked-2d": (PartialConv2d, 2, {"return_mask": True}),
    "panoptic-2d": (PanopticPartialConv2d, 2, {}),
}


def line(cell, verdict):  # read by the test of the page's table
    """The decorated test shows this line of the page's table."""
    return pytest.mark.faults


def make(case):
    cls, _, own = CASES[case]
    torch.manual_seed(0)
    return cls(3, 4, 3, padding=1, **own)


def inputs(dims=2):
    """An input and a mask with a hole."""
    torch.manual_seed(1)
    x = torch.randn(2, 3, *[9] * dims)
    mask = torch.ones(2, 1, *x.shape[2:])
    mask[..., 1:6] = 0
    return x, mask


def same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.detach().abs().max()))


class Adapter(nn.Module):
    """What LoHa and LoKr are in peft: they convolve with a difference, by the layer's numbers alone."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.delta = nn.Parameter(torch.randn_like(base_layer.weight))

    def get_base_layer(self):
        return self.base_layer

    def difference(self, x):
        layer = self.get_base_layer()
        conv = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[layer.weight.dim()]
        return conv(x, self.delta, None, layer.stride, layer.padding, layer.dilation, layer.groups)

    def forward(self, x, *args):
        return self.base_layer(x, *args) + self.difference(x)


class Scale(nn.Module):
    """An adapter that convolves with nothing: what the layer does, it keeps."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer

    def forward(self, x, *args):
        return 2 * self.base_layer(x, *args)


@line("a module of yours or theirs that calls `F.conv2d` with another layer's `padding`", "refused")
@pytest.mark.parametrize("case", CASES)
def test_an_adapter_that_borrows_the_padding(case):
    with pytest.raises(UserTypeError, match="calls a convolution as a function with this layer's `padding`"):
        Adapter(make(case))
    if not case.startswith(("masked", "panoptic")):
        x, _ = inputs(CASES[case][1])
        same(Scale(make(case))(x), 2 * make(case)(x))


@pytest.mark.faults
@pytest.mark.parametrize("padding", ["partial", *MODES, "explicit"])
def test_converting_under_an_adapter(padding):
    network = nn.Sequential(Adapter(nn.Conv2d(3, 4, 3, padding=1)), nn.Conv2d(4, 4, 3, padding=1))
    convert_padding(network[1], padding)
    with pytest.warns(UserWarning, match="1 of Conv2d .Adapter calls a convolution as a function"):
        convert_padding(network, padding)
    assert type(network[0].base_layer) is nn.Conv2d  # as the adapter's difference: both pad with zeros


@pytest.mark.faults
def test_masks_under_an_adapter():
    x, mask = inputs()
    adapter = Adapter(PartialConv2d(3, 4, 3))  # pads with nothing, so that only the mask can get lost
    adapter(x)
    with pytest.raises(UserTypeError, match="holes would be seen"):
        adapter(x, mask)


class Neighbors(nn.Module):
    """Convolves as a function, with a padding of its own: nothing of the layer beside it gets lost."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.padding = layer, 1
        self.weight = nn.Parameter(torch.ones(3, 3, 3, 3))

    def forward(self, x):
        sizes = ()  # a constant that is an empty tuple, as argument specifications have
        return self.layer(F.conv2d(x, self.weight, None, 1, self.padding)).view(*sizes, len(x), -1)


def test_a_module_with_a_padding_of_its_own_may_hold_layers():
    Neighbors(make("partial-2d"))(inputs()[0])


def test_layers_that_pad_with_zeros_may_be_adapted():
    Adapter(nn.Conv2d(3, 4, 3, padding=1))
    Adapter(PartialConv2d(3, 4, 1))


class Net(nn.Module):
    """A padded convolution named `conv`, and one that does not pad."""

    def __init__(self, dims=2):
        super().__init__()
        self.conv = PLAIN[dims](3, 8, 3, padding=1)
        self.last = PLAIN[dims](8, 4, 1)

    def forward(self, x, *rest):
        return self.last(self.conv(x, *rest).relu())


def adapted(peft, network, config):
    """The network with random adapters, as after training."""
    torch.manual_seed(2)
    model = peft.get_peft_model(network, config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def config_of(peft, name, **options):
    kinds = {
        "LoRA": peft.LoraConfig,
        "DoRA": peft.LoraConfig,
        "IA3": peft.IA3Config,
        "LoHa": peft.LoHaConfig,
        "LoKr": peft.LoKrConfig,
        "AdaLoRA": peft.AdaLoraConfig,
        "HRA": peft.HRAConfig,
        "BOFT": peft.BOFTConfig,
    }
    own = {
        "DoRA": {"use_dora": True},
        "IA3": {"feedforward_modules": ["conv"]},
        "AdaLoRA": {"total_step": 10},
        "BOFT": {"boft_block_size": 3},
    }
    return kinds[name](target_modules=["conv"], **{**own.get(name, {}), **options})


@line("peft: LoRA, DoRA, IA³ of `partial` and `reflect`; of others if the adapters come first", "works")
@pytest.mark.interop
@pytest.mark.parametrize("order", ["converted first", "adapted first"])
@pytest.mark.parametrize("padding", ["partial", *MODES])
@pytest.mark.parametrize("name", ["LoRA", "DoRA", "IA3"])
@pytest.mark.filterwarnings("ignore")
def test_peft_that_works(name, padding, order):
    peft = pytest.importorskip("peft")
    for dims in (1, 2, 3) if name != "IA3" else (2, 3):
        network, x = Net(dims), torch.randn(2, 3, *[7] * dims)
        if order == "converted first":
            convert_padding(network, padding)
            if name != "IA3" and padding not in ("partial", "reflect"):
                with pytest.raises(UserTypeError, match="Add adapters to the network of plain convolutions"):
                    adapted(peft, network, config_of(peft, name))
                continue
        # What scales the input and is merged into the weights would scale a constant border too.
        scaled = {"feedforward_modules": []} if name == "IA3" and padding == CONSTANT else {}
        model = adapted(peft, network, config_of(peft, name, **scaled))
        if order == "adapted first":
            convert_padding(model, padding)
        apart = model(x)
        merged = model.merge_and_unload()
        assert type(merged.conv) is (PARTIAL if padding == "partial" else PADDED)[dims]
        same(apart, merged(x))


@line("peft: LoHa, LoKr, AdaLoRA, HRA, BOFT, HiRA", "refused")
@pytest.mark.interop
@pytest.mark.parametrize("padding", ["partial", *MODES, "explicit"])
@pytest.mark.parametrize("name", ["LoHa", "LoKr", "AdaLoRA", "HRA", "BOFT", "HiRA"])
@pytest.mark.filterwarnings("ignore")
def test_peft_that_is_refused(name, padding):
    peft = pytest.importorskip("peft")
    config = peft.HiraConfig(target_modules=["conv"]) if name == "HiRA" else config_of(peft, name)
    with pytest.raises(UserTypeError, match="calls a convolution as a function with this layer's `padding`"):
        adapted(peft, convert_padding(Net(), padding), config)
    # Trained with zero padding, merged, and then converted: the adapter is in the weights.
    merged = adapted(peft, Net(), config).merge_and_unload()
    x, _ = inputs()
    assert not torch.allclose(convert_padding(merged, padding)(x), Net()(x))


class LikePeft(nn.Module):
    """What our layers see of peft's LoRA, without peft."""

    def __init__(self, base_layer, dropout=0.0):
        super().__init__()
        self.base_layer = base_layer
        self.added = copy.deepcopy(base_layer)
        self.use_dora, self.active_adapters, self.merged = {"default": True}, ["default"], False
        self.lora_dropout = nn.ModuleDict({"default": nn.Dropout(dropout) if dropout else nn.Identity()})

    def forward(self, x, *args):
        return self.base_layer(x, *args) + self.added(x)


LikePeft.__module__ = "peft.tuners.lora.layer"


@line("peft of `explicit`, of panoptic layers, of masks; DoRA with `lora_dropout`", "refused")
def test_what_adapters_would_lose():
    for case, words in (("explicit-2d", "merges into `weight` alone"), ("panoptic-2d", "does not hand ids and masks")):
        with pytest.raises(UserTypeError, match=words):
            LikePeft(make(case))
    with pytest.raises(UserTypeError, match="does not hand ids and masks"):
        LikePeft(make("masked-2d"))
    with pytest.raises(UserTypeError, match=r"`convert_padding\(model, 'mean'\)` afterwards"):
        LikePeft(make("mean-2d"))
    LikePeft(make("reflect-2d"))
    adapter = LikePeft(make("partial-2d"))
    x, mask = inputs()
    adapter(x)
    with pytest.raises(UserTypeError, match="holes would be seen"):
        adapter(x, mask)
    adapter.merged = True
    adapter(x, mask)


@pytest.mark.faults
@pytest.mark.parametrize("first", ["converted", "adapted"])
def test_dora_with_dropout(first):
    layer = make("partial-2d") if first == "converted" else nn.Conv2d(3, 4, 3, padding=1)
    adapter = LikePeft(layer, dropout=0.1)
    if first == "adapted":
        convert_padding(adapter)
    x, _ = inputs()
    with pytest.raises(UserValueError, match="DoRA with `lora_dropout`"):
        adapter(x)
    adapter.eval()(x)


@pytest.mark.interop
@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
def test_what_peft_itself_would_lose():
    peft = pytest.importorskip("peft")
    x, mask = inputs()
    for name in ("LoRA", "IA3"):
        with pytest.raises(UserTypeError, match="merges into `weight` alone"):
            adapted(peft, convert_padding(Net(), "explicit"), config_of(peft, name))
    model = adapted(peft, convert_padding(Net()), config_of(peft, "DoRA", lora_dropout=0.1))
    with pytest.raises(UserValueError, match="DoRA with `lora_dropout`"):
        model.train()(x)
    with pytest.raises(UserTypeError, match="holes would be seen"):
        model.eval()(x, mask)
