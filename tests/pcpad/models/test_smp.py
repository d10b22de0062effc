"""segmentation-models-pytorch under any padding, and WideResNet38 inside it."""

import copy
import pickle
import subprocess
import sys

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn

from pcpad import PartialConv2d, convert_padding
from pcpad.models import classifier, smp_network, wide_resnet38
from pcpad.models.checkpointing import set_checkpointing
from pcpad.models.wide_resnet_encoder import WideResNet38Encoder


def on_meta(*arguments, **options):
    with torch.device("meta"):
        return smp_network(*arguments, **options)


def test_smp_is_imported_when_asked_for():
    code = "import sys, pcpad, pcpad.models; assert 'segmentation_models_pytorch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_fetched(monkeypatch):
    import huggingface_hub

    def fetch(*_, **__):
        pytest.fail("went to the network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(smp.encoders, "hf_hub_download", fetch)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    for encoder in ("resnet18", "tu-resnet18"):
        model = smp_network("Unet", encoder, num_classes=3, options={"decoder_channels": [16, 8, 8, 8, 4]}).eval()
        assert model(torch.zeros(1, 3, 32, 64)).shape == (1, 3, 32, 64)
        assert any(isinstance(m, PartialConv2d) for m in model.encoder.modules())
    with pytest.raises(FileNotFoundError, match="No weight file at"):
        smp_network("Unet", "resnet18", encoder_weights="imagenet")


# DPT takes vision transformers alone.
ARCHITECTURES = [
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_wide_resnet38_in_every_architecture(architecture):
    model = on_meta(architecture, "wide_resnet38", num_classes=4).eval()
    assert model(torch.empty(1, 3, 128, 256, device="meta")).shape == (1, 4, 128, 256)
    assert type(model.encoder.mod2.block1.convs.conv1) is PartialConv2d


@pytest.mark.parametrize(
    ("stride", "sizes"), [(32, (32, 16, 8, 4, 2)), (16, (32, 16, 8, 4, 4)), (8, (32, 16, 8, 8, 8))]
)
def test_six_features(narrow, stride, sizes):
    encoder = smp.encoders.get_encoder("wide_resnet38", output_stride=stride)
    assert type(encoder) is WideResNet38Encoder
    image = torch.zeros(1, 3, 64, 64)
    features = encoder.eval()(image)
    assert features[0] is image
    assert tuple(f.shape[2] for f in features[1:]) == sizes
    assert encoder.out_channels == [3, 128, 256, 512, 1024, 4096]
    assert encoder.output_stride == stride
    assert len(encoder.get_stages()) == 2
    assert set_checkpointing(encoder) == 6


def test_dilated_encoder_is_the_segmentation_network(narrow, fill):
    """smp dilates an undilated network; the outcome must be ours at output stride 8, weights and features."""
    theirs = fill(convert_padding(smp.encoders.get_encoder("wide_resnet38", output_stride=8), "partial")).eval()
    ours = fill(wide_resnet38()).eval()
    image = torch.randn(1, 3, 40, 56)
    for a, b in zip(theirs(image)[1:], ours.features(image), strict=True):
        assert torch.equal(a, b)


def test_a_shallow_encoder_has_no_idle_parameters():
    model = on_meta("DeepLabV3Plus", "wide_resnet38", options={"encoder_depth": 3})
    assert not hasattr(model.encoder, "mod5")
    shapes = [f.shape[1] for f in model.encoder(torch.empty(1, 3, 32, 32, device="meta"))]
    assert shapes == [3, 128, 256, 512]


def test_more_input_channels():
    model = on_meta("FPN", "wide_resnet38", options={"in_channels": 4}).eval()
    assert model(torch.empty(1, 4, 64, 64, device="meta")).shape == (1, 19, 64, 64)


def test_dilation_comes_before_padding():
    model = smp_network("DeepLabV3", "resnet18", num_classes=2, padding="reflect", options={"encoder_output_stride": 8})
    layer = model.encoder.layer4[0].conv1
    assert (layer.padding_mode, layer.padding, layer.dilation) == ("reflect", (4, 4), (4, 4))
    assert list(layer._reversed_padding_repeated_twice) == [4, 4, 4, 4]


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_encoder_weights(encoder, fill, tmp_path):
    source = fill(classifier("resnet18", num_classes=5))
    torch.save({"state_dict": {f"network.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "cls.ckpt")
    model = smp_network("FPN", encoder, num_classes=3, encoder_weights=tmp_path / "cls.ckpt")
    inner = model.encoder.model if encoder.startswith("tu-") else model.encoder
    for name, value in inner.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name
    with pytest.raises(ValueError, match=r"does not fit"):
        smp_network("FPN", encoder.replace("18", "34"), encoder_weights=tmp_path / "cls.ckpt")


def test_encoder_weights_of_wide_resnet38(narrow, fill, tmp_path, monkeypatch):
    widths = [3, 8, 12, 16, 24, 40]
    monkeypatch.setitem(smp.encoders.encoders["wide_resnet38"], "params", {"out_channels": widths})
    source = fill(wide_resnet38(num_classes=5))
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "wn.pth")
    for depth in (5, 3):
        model = smp_network(
            "DeepLabV3Plus", "wide_resnet38", encoder_weights=tmp_path / "wn.pth", options={"encoder_depth": depth}
        )
        for name, value in model.encoder.state_dict().items():
            assert torch.equal(value, source.state_dict()[name])


@pytest.mark.faults
@pytest.mark.parametrize("architecture", ["linknet", "fpn", "deeplabv3plus"])
def test_any_size(architecture, fill):
    """What the stride does not divide is padded on the right and below, and the logits are cut back."""
    model = fill(smp_network(architecture, "resnet18", num_classes=3)).eval()
    image = torch.randn(2, 3, 100, 75)
    logits = model(image)
    assert logits.shape == (2, 3, 100, 75)
    height, width = (-side % model.encoder.output_stride for side in (100, 75))
    padded = model(F.pad(image, (0, width, 0, height), mode="replicate"))
    assert torch.equal(logits, padded[..., :100, :75])
    # What it divides goes through smp's own forward, as before.
    whole = torch.randn(1, 3, 64, 96)
    assert torch.equal(model(whole), smp.base.SegmentationModel.forward(model, whole))
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin(image), logits)
    assert isinstance(model, smp.MODEL_ARCHITECTURES_MAPPING[architecture])


@pytest.mark.faults
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_architecture_refuses_a_size(architecture):
    model = on_meta(architecture, "resnet18", num_classes=4).eval()
    assert model(torch.empty(1, 3, 300, 275, device="meta")).shape == (1, 4, 300, 275)


@pytest.mark.faults
@pytest.mark.parametrize("size", [(1, 1), (100, 75), (33, 300)])
def test_pan_takes_maps_that_its_decoder_would_halve_to_nothing(size):
    model = on_meta("pan", "resnet18", num_classes=4).eval()
    assert model(torch.empty(1, 3, *size, device="meta")).shape == (1, 4, *size)


@pytest.mark.faults
def test_any_size_with_an_auxiliary_head(fill):
    model = fill(smp_network("FPN", "resnet18", num_classes=3, options={"aux_params": {"classes": 5}})).eval()
    logits, labels = model(torch.randn(2, 3, 100, 75))
    assert (logits.shape, labels.shape) == ((2, 3, 100, 75), (2, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Unett", "resnet18"), r"no architecture 'unett': did you mean unet"),
        (("Unet", "resnet19"), r"no encoder 'resnet19': did you mean .*resnet18"),
        (("Unet", "tu-resnet19x"), r"no encoder 'tu-resnet19x': did you mean tu-resnet"),
        (("Unet", "resnet18", 0), "`num_classes`"),
        (("Unet", "resnet18", 2, "partal"), "Unknown padding 'partal'"),
        (("Unet", "qqqqqqqq"), r"no encoder 'qqqqqqqq': it has resnet18, "),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        smp_network(*arguments)


def test_checkpointing_inside_smp(narrow, fill, monkeypatch):
    monkeypatch.setitem(smp.encoders.encoders["wide_resnet38"], "params", {"out_channels": [3, 8, 12, 16, 24, 40]})
    results = []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = fill(smp_network("Unet", "wide_resnet38", num_classes=2)).train()
        set_checkpointing(model, enabled)
        torch.manual_seed(1)
        model(torch.randn(2, 3, 64, 64)).square().mean().backward()
        results.append([p.grad for p in model.parameters()] + list(model.buffers()))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
    assert isinstance(model.encoder.mod2, nn.Sequential)
