"""What a network makes of borders, against what is known of small ones."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PartialConv2d
from pcpad.adaptation import border_report
from pcpad.adaptation.borders import own_padding
from pcpad.errors import UserRuntimeError, UserTypeError, UserValueError


def photographs(count=16, channels=1, size=(48, 56)):
    """Smooth, with a mean above 0, as photographs are."""
    draw = torch.Generator().manual_seed(0)
    return F.interpolate(torch.rand(count, channels, 6, 7, generator=draw), size=size, mode="bicubic") + 0.5


def blur(width=3, **options):
    layer = nn.Conv2d(1, 1, width, padding=width // 2, bias=False, **options)
    nn.init.constant_(layer.weight, 1 / width**2)
    return layer


class Down(nn.Module):
    """Strides, two branches and a head of classes."""

    def __init__(self, head=True):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 5) if head else None

    def forward(self, x):
        maps = self.body(self.stem(x))
        return self.head(maps.mean((-2, -1))) if self.head is not None else F.interpolate(maps, scale_factor=2)


def test_the_reference_is_what_a_larger_image_gives():
    """Against a convolution by hand, ring by ring."""
    images = photographs()
    report = border_report(blur(), images, paddings=["partial"], crop=24, context=8)
    crops = images[:, :, 12:36, 16:40]
    weight = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    true = F.conv2d(images.double(), weight)[:, :, 11:35, 15:39]
    alone = F.conv2d(crops.double(), weight, padding=1)
    spread = true.var((-2, -1), correction=0).sum()
    squares = (alone - true).square()
    ring = torch.ones(24, 24, dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    expected = float((squares[:, 0, ring].mean(1).sum() / spread).sqrt())
    zeros, partial = report.results
    assert zeros.curve[0][1] == pytest.approx(expected, rel=1e-5)
    assert all(error < 1e-5 for _, error in zeros.curve[1:])
    assert (zeros.reach, zeros.margin) == (1, 1)
    assert partial.error.value < 0.2 * zeros.error.value
    assert report.order == [("partial", "zeros")]
    assert "gains" in report.verdict


def test_of_layers_the_error_grows_and_strides_are_known():
    torch.manual_seed(0)
    report = border_report(Down(head=False), photographs(size=(64, 64)), paddings=["zeros", "replicate"])
    assert report.kind == "dense"
    layers = report.results[0].layers
    assert [(layer.name, layer.stride) for layer in layers] == [("stem", 2), ("body.0", 2), ("body", 2)]
    assert all(layer.border > layer.whole > 0 for layer in layers)
    assert report.alignment == 2


def test_a_classifier_is_measured_by_its_last_maps_and_decisions():
    torch.manual_seed(0)
    report = border_report(Down().eval(), photographs(size=(64, 64)), paddings=["partial", "reflect"])
    assert report.kind == "classifier"
    zeros, partial, _ = report.results
    assert zeros.decision.agreement == (1, 1, 1)
    assert zeros.decision.divergence.value == 0 < partial.decision.divergence.value
    assert zeros.decision.context_divergence.value > 0
    assert zeros.decision.shifted is not None
    assert zeros.seam is None


def test_seams_are_compared_with_the_whole():
    report = border_report(nn.Sequential(blur(), blur()), photographs(), paddings=["replicate"])
    zeros, replicate = report.results
    assert zeros.seam.value > 5 * replicate.seam.value > 0


def test_targets_give_a_psnr_and_what_context_would_give():
    images = photographs()
    report = border_report(blur(), images, targets=images, paddings=["replicate"])
    zeros, replicate = report.results
    assert zeros.psnr.border.value < replicate.psnr.border.value <= report.psnr_context.border.value + 1
    assert zeros.psnr.inside.value == pytest.approx(report.psnr_context.inside.value)
    assert "against the targets that costs" in report.verdict


def test_of_classes_the_share_that_changes_is_told():
    network = nn.Conv2d(1, 6, 3, padding=1)
    assert border_report(network, photographs(), paddings=[]).results[0].changed.value > 0


@pytest.mark.faults
def test_the_network_is_left_as_it_was():
    torch.manual_seed(0)
    network = Down().train()
    network.stem.register_forward_hook(lambda *_: None)
    network.body[0].eval()
    modes = [module.training for module in network.modules()]
    classes = [type(module) for module in network.modules()]
    hooks = [len(module._forward_hooks) for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    in_training = border_report(network, photographs(size=(64, 64)))
    assert torch.equal(torch.rand(3), expected)
    assert modes == [module.training for module in network.modules()]
    assert classes == [type(module) for module in network.modules()]
    assert hooks == [len(module._forward_hooks) for module in network.modules()]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    in_evaluation = border_report(network.eval(), photographs(size=(64, 64)))
    assert in_training.to_dict() == in_evaluation.to_dict()


@pytest.mark.faults
def test_few_images_are_refused():
    with pytest.raises(UserValueError, match="at least 16 images, but got 15"):
        border_report(blur(), photographs(15))


@pytest.mark.faults
def test_a_network_without_padding_is_told():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 1))
    report = border_report(network, photographs())
    assert not report.results
    assert "nothing to measure" in str(report)
    assert own_padding(network) == ("own", False)


class ByFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, 3, 3), 1 / 9))

    def forward(self, x):
        return F.conv2d(x, self.weight, padding=1)


@pytest.mark.faults
@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.AvgPool2d(7, 1, 3),
        lambda: nn.Sequential(nn.Conv2d(1, 4, 2, stride=2), nn.ConvTranspose2d(4, 1, 4, 2, 1)),
        ByFunction,
    ],
    ids=["pooling", "transposed", "function"],
)
def test_what_pads_and_is_no_convolution_is_measured(build):
    torch.manual_seed(0)
    report = border_report(build().eval(), photographs(), paddings=("replicate",), crop=32, context=8)
    (own,) = report.results
    assert own.name == "own"
    assert own.error.value > 0.05 > own.inside
    assert report.failed or "only the network's own padding was measured" in str(report)
    assert "nothing to measure" not in report.verdict


@pytest.mark.faults
def test_images_that_are_too_small_are_refused():
    with pytest.raises(UserValueError, match="the smallest image is 7 pixels"):
        border_report(blur(), photographs(size=(9, 7)), crop=8, context=2)
    with pytest.raises(UserValueError, match="a multiple of 2"):
        border_report(Down(head=False), photographs(), crop=24, context=3)


@pytest.mark.faults
def test_limited_context_is_told():
    network = nn.Sequential(*(blur(7) for _ in range(12)))
    report = border_report(network, photographs(), paddings=[])
    assert any("context" in note for note in report.notes)
    assert report.results[0].margin is None


class Wrapped(nn.Module):
    """A network whose output is what `make` makes of the convolution's."""

    def __init__(self, make):
        super().__init__()
        self.conv, self.make = blur(), make

    def forward(self, x):
        return self.make(self.conv(x))


@pytest.mark.faults
def test_outputs_of_several_tensors_are_picked_or_refused():
    several = Wrapped(lambda y: {"aux": y[..., ::2, ::2], "out": (y, y.mean((-2, -1)))})
    plain = border_report(blur(), photographs(), paddings=[])
    assert border_report(several, photographs(), paddings=[]).results[0].error == plain.results[0].error
    assert (
        border_report(several, photographs(), paddings=[], output_key="aux").results[0].error != plain.results[0].error
    )
    with pytest.raises(UserValueError, match=r"one of aux \(1, 1, \d+, \d+\), out\.0"):
        border_report(several, photographs(), output_key="aus")
    with pytest.raises(UserTypeError, match="select one with `output_key`"):
        border_report(Wrapped(lambda y: (y.long(), "no")), photographs())


@pytest.mark.faults
def test_only_the_output_that_is_measured_counts_and_is_named():
    wide = nn.Conv2d(1, 2, 11, padding=5)

    class Both(Wrapped):
        def forward(self, x):
            return {"features": wide(x), "out": self.conv(x)}

    report = border_report(Both(None), photographs(), paddings=[])
    assert report.reach == 1
    assert "the measured output is out" in report.notes[0].lower()
    assert "there are also features" in str(report)


@pytest.mark.faults
def test_outputs_that_are_not_finite_name_the_layer():
    network = nn.Sequential(blur(), blur(), nn.ReLU())
    nn.init.constant_(network[1].weight, float("nan"))
    with pytest.raises(UserRuntimeError, match="not finite on image 0; the first such layer is 1"):
        border_report(network, photographs())


@pytest.mark.faults
def test_a_padding_that_explodes_is_told_and_the_others_measured():
    from pcpad import register_padding
    from pcpad.paddings import _REGISTERED

    @register_padding("exploding")
    def exploding(x, pads):
        """Infinity all around."""
        return F.pad(x, list(pads), value=float("inf"))

    try:
        report = border_report(blur(), photographs(), paddings=["exploding", "replicate"])
    finally:
        del _REGISTERED["exploding"]
    assert [result.name for result in report.results] == ["zeros", "replicate"]
    assert "first such layer" in report.failed["exploding"]
    assert "exploding could not be run" in str(report)


class Own(nn.Conv2d):
    """Pads in a way of its own."""

    def forward(self, x):
        return super().forward(F.pad(x, (1, 1, 1, 1), value=1.0))


@pytest.mark.faults
def test_a_padding_that_converts_nothing_is_no_result():
    report = border_report(Own(1, 1, 3), photographs(), paddings=["partial"])
    assert [result.own for result in report.results] == [True]
    assert "Nothing was converted" in report.failed["partial"]


@pytest.mark.faults
def test_a_network_of_one_size_is_refused_with_the_size():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(64 * 64, 5))
    with pytest.raises(UserRuntimeError, match="fails on images of 128×128 pixels: RuntimeError"):
        border_report(network, photographs(size=(64, 64)), crop=64)
    with pytest.raises(UserRuntimeError, match=r"but runs on 64×64\. .* the part of it that takes any size"):
        border_report(network, photographs(size=(64, 64)), crop=64)


@pytest.mark.parametrize(
    ("images", "options", "kind", "words"),
    [
        ((torch.rand(1, 48, 48) * 255).byte().expand(16, 1, 48, 48), {}, UserTypeError, "pass `normalize`"),
        (torch.rand(16, 48, 48), {}, UserTypeError, "image 0 is"),
        (torch.full((16, 1, 48, 48), float("nan")), {}, UserValueError, "not finite"),
        (torch.rand(16, 1, 48, 48), {"paddings": ["partal"]}, UserValueError, "'partial'"),
        (torch.rand(16, 1, 48, 48), {"band": 0}, UserValueError, "`band`"),
        (torch.rand(16, 1, 48, 48), {"targets": torch.rand(3, 1, 48, 48)}, UserValueError, "a target for each of 16"),
    ],
)
def test_mistakes_are_told(images, options, kind, words):
    with pytest.raises(kind, match=words):
        border_report(blur(), images, **options)


def test_the_own_padding_of_most_convolutions():
    assert (
        own_padding(nn.Sequential(blur(), blur(padding_mode="reflect"), blur(padding_mode="reflect")))[0] == "reflect"
    )
    assert own_padding(PartialConv2d(1, 1, 3, padding=1)) == ("partial", True)
    report = border_report(PartialConv2d(1, 1, 3, padding=1), photographs(), paddings=["zeros"])
    assert [(result.name, result.own) for result in report.results] == [("partial", True), ("zeros", False)]


def test_json_and_text_hold_everything():
    report = border_report(Down().eval(), photographs(size=(64, 64)), paddings=["partial"])
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["verdict"] in str(report)
    assert found["results"][1]["cost"].keys() == {"value", "low", "high"}
    assert set(found["results"][0]["sides"]) == {"top", "bottom", "left", "right"}
    assert report.table().markdown()
