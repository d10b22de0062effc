"""convert_padding: what it keeps, what it leaves, what it refuses."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize, spectral_norm
from torch.nn.utils.parametrizations import spectral_norm as parametrized_spectral_norm
from torchvision.models import get_model, list_models

from pcpad import PanopticPartialConv2d, PartialConv2d, convert_padding
from pcpad.convert import watch_conversions
from pcpad.layers import PaddedConv2d

ALL = ["partial", "zeros", "reflect", "replicate", "circular", "mean", "extrapolate", "explicit"]


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, padding=2, dilation=2), nn.Conv2d(8, 4, 1)
    )


@pytest.mark.parametrize("name", ALL)
def test_there_and_back_keeps_the_output_bit_for_bit(name):
    network, x = small_network(), torch.rand(2, 3, 12, 13)
    before, keys = network(x), list(network.state_dict())
    assert convert_padding(network, name) is network
    network(x)
    if name != "explicit":
        assert list(network.state_dict()) == keys
    convert_padding(network, "zeros", drop_border_filters=True)
    assert torch.equal(network(x), before)
    assert type(network[0]) is nn.Conv2d
    assert vars(network[0]).keys() == vars(small_network()[0]).keys()


@pytest.mark.parametrize("first", ALL)
@pytest.mark.parametrize("second", ALL)
def test_a_conversion_does_not_depend_on_what_was_before(first, second):
    x = torch.rand(1, 3, 12, 13)
    direct = convert_padding(small_network(), second)(x)
    by_way = convert_padding(convert_padding(small_network(), first), second, drop_border_filters=True)
    assert torch.equal(by_way(x), direct)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_torch_s_own_padding_modes_are_read_and_reproduced(mode):
    conv, x = nn.Conv2d(3, 4, 3, 2, padding=2, padding_mode=mode), torch.rand(1, 3, 9, 8)
    expected = conv(x)
    assert torch.equal(convert_padding(copy.deepcopy(conv), mode)(x), expected)
    partial = convert_padding(conv, "partial")
    assert type(partial) is PartialConv2d
    assert partial.padding_mode == "zeros"


def test_padding_changed_after_construction_counts():
    conv = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    conv.padding, conv.dilation = (2, 2), (2, 2)
    assert convert_padding(conv, "reflect")(torch.rand(1, 1, 8, 8)).shape[2:] == (8, 8)
    convert_padding(conv, "zeros")
    assert conv._reversed_padding_repeated_twice == [2, 2, 2, 2]


def test_hooks_sharing_and_a_root_convolution_survive():
    shared = nn.Conv2d(2, 2, 3, padding=1)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    calls = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    convert_padding(network, "partial")
    network(torch.rand(1, 2, 4, 4))
    assert network[0] is network[2]
    assert len(calls) == 2
    root = nn.Conv2d(1, 1, 3, padding=1)
    assert type(convert_padding(root, "reflect")) is PaddedConv2d


def test_parametrizations_survive_every_padding():
    network = nn.Sequential(parametrized_spectral_norm(nn.Conv2d(2, 2, 3, padding=1))).eval()
    x, keys = torch.rand(1, 2, 5, 5), list(network.state_dict())
    before = network(x)
    for name in ("partial", "reflect", "mean"):
        convert_padding(network, name)
        assert parametrize.is_parametrized(network[0], "weight")
        assert list(network.state_dict()) == keys
        assert torch.allclose(copy.deepcopy(network)(x), network(x))
    convert_padding(network, "zeros")
    assert torch.equal(network(x), before)
    parametrize.remove_parametrizations(convert_padding(network, "partial")[0], "weight")
    assert type(network[0]) is PartialConv2d


def test_the_older_spectral_norm_survives():
    conv = spectral_norm(nn.Conv2d(2, 2, 3, padding=1)).eval()
    x = torch.rand(1, 2, 5, 5)
    before = conv(x)
    assert "weight_orig" in convert_padding(conv, "partial").state_dict()
    conv(x)
    assert torch.equal(convert_padding(conv, "zeros")(x), before)


def test_dtype_and_requires_grad_reach_the_border_filters():
    conv = nn.Conv2d(1, 1, 3, padding=1, dtype=torch.float64).requires_grad_(False)
    convert_padding(conv, "explicit")
    assert conv.border_weight.dtype == torch.float64
    assert not conv.border_weight.requires_grad
    assert set(conv.state_dict()) == {"weight", "bias", "border_weight"}


def test_a_converted_network_pickles_and_copies():
    network, x = convert_padding(small_network(), "partial"), torch.rand(1, 3, 8, 8)
    for twin in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert torch.equal(twin(x), network(x))


class OwnConv(nn.Conv2d):
    """A subclass: nobody knows what its forward does."""

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


def test_the_report_says_what_was_left_and_why():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), OwnConv(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 2, padding=1), nn.AvgPool2d(3, padding=1), nn.ZeroPad2d(1), nn.LazyConv2d(2, 3),
        PartialConv2d(2, 2, 3, padding=1, return_mask=True),
    )  # fmt: skip
    _, report = convert_padding(network, "reflect", return_report=True)
    assert [(row.name, row.before, row.after) for row in report.converted] == [("0", "zeros", "reflect")]
    reasons = {row.name: row.why for row in report.left}
    assert list(reasons) == ["1", "2", "4", "5", "6", "7", "8"]
    for name, words in {
        "1": "of its own kind", "2": "no padding", "4": "transposed", "5": "average pooling", "6": "outside",
        "7": "not initialized", "8": "returns masks",
    }.items():  # fmt: skip
        assert words in reasons[name]
    assert "1 modules converted, 7 left" in str(report)


def what_is_said(network, padding="partial"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        convert_padding(network, padding)
    return [str(warning.message).partition(". `convert")[0] for warning in caught]


def timm_network(name):
    import timm

    with torch.device("meta"):
        return timm.create_model(name)


OWN_KIND = "a convolution of its own kind, not exactly torch.nn's"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: timm_network("resnetv2_50x1_bit"), "17 modules were converted to 'partial'; 1 keeps its own padding: "
         "1 of ConstantPad2d (pads outside of a convolution): stem.pad"),
        (lambda: nn.Sequential(OwnConv(3, 4, 3, padding=1), OwnConv(4, 4, 3, padding=1)), "Nothing was converted to "
         f"'partial'; 2 keep their own padding: 2 of OwnConv ({OWN_KIND}): 0, 1"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Unfold(3, padding=1)), "1 modules were converted to "
         "'partial'; 1 keeps its own padding: 1 of Unfold (pads outside of a convolution): 1"),
        (lambda: get_model("vit_b_16", image_size=32), "Nothing was converted to 'partial': no convolution pads"),
    ],
)  # fmt: skip
def test_what_is_left_is_said_once(build, said):
    assert what_is_said(build()) == [said]


@pytest.mark.faults
def test_nothing_is_said_where_all_was_done():
    for name in (
        "resnet18", "convnext_atto", "efficientnet_b0", "densenet121",
        "nf_resnet26", "tf_efficientnet_b0", "tf_mixnet_s", "resnetv2_50d_gn",
    ):  # fmt: skip
        assert what_is_said(timm_network(name)) == []
    assert what_is_said(get_model("r3d_18")) == []
    # Zero padding by other means is what was asked for.
    assert what_is_said(timm_network("tf_efficientnet_b0"), "zeros") == []
    assert what_is_said(nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)), "zeros") == []
    assert (
        what_is_said(nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3, padding=1)), "reflect")
        == []
    )
    assert what_is_said(nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3)), "zeros") != []
    assert what_is_said(nn.Sequential(PanopticPartialConv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))) == []
    assert what_is_said(nn.Sequential(nn.ConvTranspose2d(3, 4, 4, 2, 1), nn.Conv2d(4, 4, 3, padding=1))) == []
    # A report and a watcher say it in place of the warning.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert_padding(nn.Conv2d(3, 4, 1), return_report=True)
        with watch_conversions() as reports:
            convert_padding(nn.Sequential(OwnConv(3, 4, 3, padding=1)))
            convert_padding(nn.Conv2d(3, 4, 3, padding=1))
    assert [len(report.kept) for report in reports] == [1, 0]


def test_average_pooling_on_request():
    network = nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(2))
    convert_padding(network, "partial")
    assert network[0].count_include_pad
    _, report = convert_padding(network, "partial", count_include_pad=False, return_report=True)
    assert not network[0].count_include_pad
    assert network[1].count_include_pad, "it has no padding to count"
    assert [row.after for row in report.converted] == ["count_include_pad=False"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"padding": "refelct"}, "Did you mean 'reflect'"),
        ({"padding": "reflect", "fallback": "partial"}, "not a function"),
        ({"padding": "zeros"}, "drop_border_filters=True"),
    ],
)
def test_refusals_change_nothing(change, words):
    network = convert_padding(small_network(), "explicit")
    classes = [type(module) for module in network]
    with pytest.raises(ValueError, match=words):
        convert_padding(network, **change)
    assert [type(module) for module in network] == classes


def test_explicit_is_refused_for_other_dimensions_by_name():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 3, padding=1))
    with pytest.raises(ValueError, match="another dimension: 1"):
        convert_padding(network, "explicit")
    assert type(network[0]) is nn.Conv2d


def small_input(name):
    if name.startswith(("r3d", "mc3", "r2plus1d", "s3d", "swin3d", "mvit")):
        return (
            torch.rand(1, 3, 16, 112, 112) if not name.startswith(("mvit", "s3d")) else torch.rand(1, 3, 16, 224, 224)
        )
    return torch.rand(1, 3, 224, 224)


def round_trip(network, x):
    """zeros → partial → zeros: keys unchanged, outputs bit-equal, the partial forward runs and is finite."""

    def run():
        with torch.inference_mode():
            out = network(x)
        out = out["out"] if isinstance(out, dict) else out
        return out[0] if isinstance(out, tuple) else out

    keys, before = list(network.state_dict()), run()
    _, report = convert_padding(network, "partial", return_report=True)
    partial = run()
    assert list(network.state_dict()) == keys
    assert partial.isfinite().all()
    assert partial.shape == before.shape
    if report.converted:
        assert not torch.equal(partial, before)
    convert_padding(network, "zeros")
    assert torch.equal(run(), before)


def test_resnet18_round_trip():
    round_trip(get_model("resnet18").eval(), torch.rand(1, 3, 64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("module", ["", "segmentation", "video"])
def test_every_torchvision_network(module):
    import torchvision

    package = getattr(torchvision.models, module) if module else torchvision.models
    names = list_models(package)
    assert len(names) > 3
    for name in names:
        extra = {"weights_backbone": None} if module == "segmentation" else {}
        extra |= {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        network = get_model(name, weights=None, **extra).eval()
        x = torch.rand(1, 3, 299, 299) if name == "inception_v3" else small_input(name)
        size = {"vit_h_14": 224, "maxvit_t": 224}.get(name, x.shape[-1])
        round_trip(network, x[..., :size, :size])


TIMM = [
    "resnet18",
    "resnet26d",
    "resnetv2_50x1_bit",
    "convnext_atto",
    "efficientnet_b0",
    "tf_efficientnet_b0",
    "mobilenetv3_small_100",
    "fasternet_t0",
    "densenet121",
    "dla34",
    "hrnet_w18_small",
    "regnetx_002",
    "repvgg_a0",
    "seresnet18",
    "ghostnet_100",
    "mixnet_s",
    "rexnet_100",
    "nf_resnet26",
    "vgg11_bn",
    "inception_v4",
    "res2net50_26w_4s",
    "edgenext_xx_small",
]


@pytest.mark.slow
def test_twenty_timm_networks():
    import timm

    for name in TIMM:
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False).eval()
        round_trip(
            network, torch.rand(1, 3, 299 if name == "inception_v4" else 224, 299 if name == "inception_v4" else 224)
        )
