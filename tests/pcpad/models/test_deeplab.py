"""DeepLabV3+: published names and shapes, the public network's logits, and where weights come from."""

import pytest
import torch
from torch import nn

from pcpad import ExplicitPadConv2d, PartialConv2d
from pcpad.models import classifier, deeplabv3plus, load_weights
from pcpad.models.deeplab import DeepLabV3Plus, deeplab_encoders
from pcpad.models.wide_resnet import WideResNet38

# Number of names, digest of the sorted "name shape" lines, and parameters of the published state dicts.
PUBLISHED = {
    "wide_resnet38": (268, "0cdb166d2194739a28eaca127daf779092e2295ac4352d2c7cdb7b2a0260c542", 137_103_936),
    "resnet50": (363, "427c93161e0febf7dc135eacf36fab9cfeec50ab98130d28703305fc34ad339f", 40_351_040),
}
SMALL = "resnet18"


def on_meta(*arguments, **options):
    with torch.device("meta"):
        return deeplabv3plus(*arguments, **options)


def images(*size, dtype=torch.float64):
    return torch.randn(*size, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("encoder", PUBLISHED)
@pytest.mark.parametrize("padding", ["partial", "zeros"])
def test_published_names_shapes_and_parameters(encoder, padding, names_and_shapes):
    model = on_meta(encoder, padding=padding)
    *names, parameters = PUBLISHED[encoder]
    assert names_and_shapes(model) == tuple(names)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("encoder", deeplab_encoders())
def test_output_stride_and_decoder_resolution(encoder):
    model = on_meta(encoder, num_classes=5)
    sizes = {}
    for name in ("aspp", "bot_fine", "final"):
        model.get_submodule(name).register_forward_hook(lambda _, args, out, name=name: sizes.update({name: out.shape}))
    assert model.eval()(torch.empty(1, 3, 128, 192, device="meta")).shape == (1, 5, 128, 192)
    decoder = 2 if encoder == "wide_resnet38" else 4
    assert sizes["aspp"] == (1, 1280, 128 // 8, 192 // 8)
    assert sizes["bot_fine"] == (1, 48, 128 // decoder, 192 // decoder)
    assert sizes["final"] == (1, 5, 128 // decoder, 192 // decoder)


def test_dilation_reaches_the_first_blocks():
    model = on_meta("resnet50")
    for layer, rate in (("layer1", 1), ("layer2", 1), ("layer3", 2), ("layer4", 4)):
        squares = [m for m in model.get_submodule(layer).modules() if getattr(m, "kernel_size", 0) == (3, 3)]
        assert {(m.dilation, m.padding) for m in squares} == {((rate, rate), (rate, rate))}
    strided = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strided == ["layer0.0", "layer2.0.conv2", "layer2.0.downsample.0"]
    rates = [branch[0].dilation[0] for branch in model.aspp.features]
    assert rates == [1, 12, 24, 36]


@pytest.mark.parametrize("padding", ["zeros", "partial"])
@pytest.mark.parametrize("size", [(2, 3, 40, 56), (1, 3, 33, 47), (1, 3, 9, 8)])
def test_logits_are_the_public_networks_narrow(narrow, fill, public_network, padding, size):
    model = DeepLabV3Plus(WideResNet38(), "mod2", narrow)
    model.load_state_dict(fill(model).state_dict())
    from pcpad import convert_padding

    convert_padding(model, padding).double().eval()
    expected = public_network(model.state_dict(), padding).deeplabv3plus(images(*size))
    assert expected.std() > 0.1
    torch.testing.assert_close(model(images(*size)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("encoder", ["resnet50", pytest.param("wide_resnet38", marks=pytest.mark.slow)])
def test_logits_are_the_public_networks(encoder, dtype, fill, public_network):
    model = fill(on_meta(encoder, padding="zeros").to_empty(device="cpu").to(dtype)).eval()
    state = {name: value.double() for name, value in model.state_dict().items()}
    with torch.no_grad():
        expected = public_network(state).deeplabv3plus(images(1, 3, 41, 50))
        actual = model(images(1, 3, 41, 50).to(dtype))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-10}[dtype] * float(expected.abs().max())
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (31, 64), (65, 33)])
def test_any_size_and_a_batch_of_one(size):
    model = deeplabv3plus(SMALL, num_classes=3).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


def test_training_on_a_batch_of_one():
    model = deeplabv3plus(SMALL, num_classes=3).train()
    with pytest.raises(ValueError, match=r"cannot be trained with a batch of one.*aspp\.img_conv\.eval\(\)"):
        model(torch.zeros(1, 3, 64, 64))
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    model.aspp.img_conv.eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_every_parameter_learns():
    model = deeplabv3plus(SMALL, num_classes=3).train()
    model(torch.randn(2, 3, 40, 40)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}])
def test_load_weights(wrap, fill, tmp_path):
    source = fill(deeplabv3plus(SMALL)).eval()
    torch.save(wrap(source.state_dict()), tmp_path / "w.pth")
    image = images(1, 3, 32, 32, dtype=torch.float32)
    for loaded in (
        load_weights(deeplabv3plus(SMALL), tmp_path / "w.pth"),
        deeplabv3plus(SMALL, weights=tmp_path / "w.pth"),
    ):
        assert torch.equal(loaded.eval()(image), source(image))
    with pytest.raises(ValueError, match=r"has 19 classes, the network 4: pass num_classes=19"):
        deeplabv3plus(SMALL, num_classes=4, weights=tmp_path / "w.pth")
    with pytest.raises(ValueError, match="does not fit DeepLabV3Plus"):
        load_weights(deeplabv3plus("resnet34"), tmp_path / "w.pth")


def encoder_equals(model, source):
    """Whether the encoder has the weights of a torchvision network."""
    theirs = dict(source.state_dict())
    renamed = {"layer0.0.weight": "conv1.weight"}
    for name, value in model.state_dict().items():
        top = name.partition(".")[0]
        name = renamed.get(name, name.replace("layer0.1.", "bn1."))
        if top in model.stages and not torch.equal(value, theirs[name]):
            return False
    return True


def test_encoder_weights_of_a_classification_checkpoint(fill, tmp_path):
    source = fill(classifier(SMALL, num_classes=10))
    checkpoint = {
        "pytorch-lightning_version": "2.6.6",
        "hyper_parameters": {"network": SMALL},
        "state_dict": {f"network.{name}": value for name, value in source.state_dict().items()},
    }
    torch.save(checkpoint, tmp_path / "cls.ckpt")
    model = deeplabv3plus(SMALL, num_classes=3, encoder_weights=tmp_path / "cls.ckpt")
    assert encoder_equals(model, source)
    with pytest.raises(ValueError, match=r"cls\.ckpt' does not fit DeepLabV3Plus[\s\S]*missing from the file"):
        deeplabv3plus("resnet34", encoder_weights=tmp_path / "cls.ckpt")
    with pytest.raises(ValueError, match=r"does not fit"):
        deeplabv3plus("wide_resnet38", encoder_weights=tmp_path / "cls.ckpt")


def test_encoder_weights_from_torchvisions_cache(fill, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"resnet18-f37072fd\.pth is missing from .*checkpoints"):
        deeplabv3plus(SMALL, encoder_weights="imagenet")
    (tmp_path / "checkpoints").mkdir()
    source = fill(classifier(SMALL))
    old = {name: value for name, value in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    model = deeplabv3plus(SMALL, encoder_weights="imagenet")
    assert int(model.layer0[1].num_batches_tracked) == 0
    assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert torch.equal(model.layer0[0].weight, source.conv1.weight)
    with pytest.raises(FileNotFoundError, match=r"resnet50-0676ba61\.pth"):  # V1, not torchvision's default
        deeplabv3plus("resnet50", encoder_weights="imagenet")
    with pytest.raises(FileNotFoundError, match=r"resnet50-11ad3fa6\.pth"):
        deeplabv3plus("resnet50", encoder_weights="IMAGENET1K_V2")


def test_encoder_weights_of_wide_resnet38(narrow, fill, tmp_path, monkeypatch):
    from pcpad.models import deeplab, wide_resnet38

    monkeypatch.setattr(
        deeplab, "DeepLabV3Plus", lambda encoder, skip, _, classes: DeepLabV3Plus(encoder, skip, narrow, classes)
    )
    source = fill(wide_resnet38(num_classes=6))
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "wn.pth")
    model = deeplabv3plus(encoder_weights=tmp_path / "wn.pth")
    assert torch.equal(model.mod7.block1.proj_conv.weight, source.mod7.block1.proj_conv.weight)
    torch.save(model.state_dict(), tmp_path / "seg.pth")
    again = deeplabv3plus(num_classes=2, encoder_weights=tmp_path / "seg.pth")  # another task's head is left out
    assert torch.equal(again.mod1.conv1.weight, source.mod1.conv1.weight)
    with pytest.raises(ValueError, match=r"torchvision has no WideResNet38.*wider_resnet38\.pth\.tar"):
        deeplabv3plus(encoder_weights="imagenet")


@pytest.mark.slow
def test_explicit_takes_both_kinds_of_file(fill, tmp_path):
    plain = fill(classifier(SMALL, padding="zeros"))
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    explicit = deeplabv3plus(SMALL, padding="explicit", encoder_weights=tmp_path / "plain.pth")
    layer = explicit.layer1[0].conv1
    assert isinstance(layer, ExplicitPadConv2d)
    assert torch.equal(layer.border_weight[3], plain.layer1[0].conv1.weight)
    trained = fill(classifier(SMALL, padding="explicit"), seed=5)
    torch.save(trained.state_dict(), tmp_path / "explicit.pth")
    again = deeplabv3plus(SMALL, padding="explicit", encoder_weights=tmp_path / "explicit.pth")
    assert torch.equal(again.layer1[0].conv1.border_weight, trained.layer1[0].conv1.border_weight)
    with pytest.raises(ValueError, match=r"not in the network"):
        deeplabv3plus(SMALL, encoder_weights=tmp_path / "explicit.pth")


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate", "circular", "explicit", "mean", "extrapolate"])
def test_paddings(padding):
    model = deeplabv3plus(SMALL, num_classes=2, padding=padding, fallback="replicate").eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2, 64, 64)
    assert not any(isinstance(m, PartialConv2d) for m in model.modules())


def test_reflect_says_which_layer_is_too_small():
    with pytest.raises(ValueError, match=r"aspp\.features\.\d\.0.*fallback='replicate'"):
        deeplabv3plus(SMALL, padding="reflect").eval()(torch.randn(1, 3, 64, 64))


def test_partial_converts_every_padded_convolution():
    model = on_meta()
    left = [name for name, m in model.named_modules() if type(m) is nn.Conv2d and any(m.padding)]
    assert left == []
    assert type(model.aspp.features[3][0]) is PartialConv2d
    assert type(model.bot_fine) is nn.Conv2d


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"Unknown encoder 'resnet5O'.*Did you mean resnet50"):
        deeplabv3plus("resnet5O")
    with pytest.raises(ValueError, match="Unknown padding 'partal'"):
        deeplabv3plus(SMALL, padding="partal")
    with pytest.raises(ValueError, match="`num_classes`"):
        deeplabv3plus(SMALL, num_classes=0)
    with pytest.raises(ValueError, match="either `weights`"):
        deeplabv3plus(SMALL, weights="a.pth", encoder_weights="b.pth")
    with pytest.raises(FileNotFoundError, match="No weight file at"):
        deeplabv3plus(SMALL, encoder_weights="nowhere.pth")


def test_checkpointing_changes_nothing(fill):
    image = images(2, 3, 40, 40, dtype=torch.float32)
    results = []
    for enabled in (False, True):
        model = fill(deeplabv3plus(SMALL, num_classes=3, checkpointing=enabled)).train()
        model(image).square().mean().backward()
        results.append([*(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_fit_the_published_memory(checkpointing):
    """Crop 800, two images: 15.5 GB is published for training on it, of which weights and optimizer are 1.6 GB."""
    from pcpad.models.checkpointing import activation_bytes

    model = on_meta(checkpointing=checkpointing).train()
    image, label = torch.empty(2, 3, 800, 800, device="meta"), torch.zeros(2, 800, 800, dtype=torch.long, device="meta")
    kept = activation_bytes(model, lambda: nn.functional.cross_entropy(model(image), label, ignore_index=255))
    assert kept < (4.6e9 if checkpointing else 9.2e9)


@pytest.mark.slow
def test_compiles_and_exports():
    model = deeplabv3plus(SMALL, num_classes=2).double().eval()
    image = images(1, 3, 40, 48)
    with torch.no_grad():
        expected = model(image)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(image), expected, rtol=1e-9, atol=1e-9)
        program = torch.export.export(model, (image,))
        torch.testing.assert_close(program.module()(image), expected, rtol=1e-9, atol=1e-9)
