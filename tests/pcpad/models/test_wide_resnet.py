"""WideResNet38: the table of the reference page, the published names, and gradient checkpointing."""

import copy

import pytest
import torch
from torch import nn

from pcpad import PartialConv2d
from pcpad.models import load_weights, wide_resnet38
from pcpad.models.checkpointing import Stage, activation_bytes, set_checkpointing
from pcpad.models.wide_resnet import WideResNet38


def on_meta(**arguments):
    with torch.device("meta"):
        return wide_resnet38(**arguments)


def convolutions(module):
    return [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]


def test_modules_are_those_of_the_table():
    model = on_meta()
    blocks = {name: len(part) for name, part in model.named_children() if name.startswith("mod")}
    assert blocks == {"mod1": 1, "mod2": 3, "mod3": 3, "mod4": 6, "mod5": 3, "mod6": 1, "mod7": 1}
    dilations = {name: {c.dilation for c in convolutions(part)} for name, part in model.named_children()}
    one, two, four = {(1, 1)}, {(2, 2)}, {(4, 4)}
    assert [dilations[f"mod{i}"] for i in range(1, 8)] == [one, one, one, one, two, four, four]
    assert all(c.padding == c.dilation for c in convolutions(model))
    assert not any(c.bias is not None for c in model.modules() if isinstance(c, nn.Conv2d))
    strided = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strided == ["mod4.block1.convs.conv1", "mod4.block1.proj_conv"]
    dropouts = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout2d)}
    assert dropouts == {"mod6.block1.convs.dropout": 0.3, "mod7.block1.convs.dropout": 0.5}
    order = [name for name, _ in model.mod6.block1.convs.named_children()]
    assert order == ["conv1", "bn2", "conv2", "bn3", "dropout", "conv3"]
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}


@pytest.mark.parametrize(
    ("output_stride", "strides"), [(8, (2, 4, 8, 8, 8)), (16, (2, 4, 8, 16, 16)), (32, (2, 4, 8, 16, 32))]
)
def test_features(output_stride, strides):
    model = on_meta(output_stride=output_stride)
    features = model.features(torch.empty(2, 3, 96, 160, device="meta"))
    assert [f.shape[1] for f in features] == [128, 256, 512, 1024, 4096]
    assert [(96 // f.shape[2], 160 // f.shape[3]) for f in features] == [(s, s) for s in strides]
    assert len(model.features(torch.empty(1, 3, 32, 32, device="meta"), depth=2)) == 2
    assert model(torch.empty(1, 3, 33, 41, device="meta")).shape[2:] == (
        -(-33 // output_stride),
        -(-41 // output_stride),
    )


def test_names_of_a_classifier(names_and_shapes):
    model = on_meta(num_classes=1000)
    state = model.state_dict()
    for name, shape in {
        "mod1.conv1.weight": (64, 3, 3, 3),
        "mod2.block1.bn1.0.weight": (64,),
        "mod2.block1.convs.conv1.weight": (128, 64, 3, 3),
        "mod2.block1.convs.bn2.0.weight": (128,),
        "mod5.block1.proj_conv.weight": (1024, 512, 1, 1),
        "bn_out.0.running_mean": (4096,),
        "classifier.fc.weight": (1000, 4096),
        "classifier.fc.bias": (1000,),
    }.items():
        assert state[name].shape == shape
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 1000)
    extra = set(state) - set(on_meta().state_dict())
    assert {name.rpartition(".")[0] for name in extra} == {"bn_out.0", "classifier.fc"}


def test_features_are_the_public_networks(narrow, fill, public_network):
    model = fill(wide_resnet38(padding="zeros").double()).eval()
    image = torch.randn(2, 3, 37, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = public_network(model.state_dict()).wide_resnet38(image)
    for mine, index in zip(model.features(image), (1, 2, 3, 4, 6), strict=True):
        torch.testing.assert_close(mine, expected[index], rtol=1e-10, atol=1e-10)


def test_encoder_takes_a_classifiers_file(narrow, fill, tmp_path):
    classifier = fill(wide_resnet38(num_classes=7))
    published = {"state_dict": {f"module.{name}": value for name, value in classifier.state_dict().items()}}
    torch.save(published, tmp_path / "w.pth")
    encoder = wide_resnet38(weights=tmp_path / "w.pth")
    assert all(torch.equal(value, classifier.state_dict()[name]) for name, value in encoder.state_dict().items())
    again = load_weights(wide_resnet38(num_classes=7), tmp_path / "w.pth")
    assert torch.equal(again.classifier.fc.weight, classifier.classifier.fc.weight)
    with pytest.raises(ValueError, match=r"classifier has 7 classes, the network 8"):
        wide_resnet38(num_classes=8, weights=tmp_path / "w.pth")
    del published["state_dict"]["module.mod7.block1.convs.conv3.weight"]
    torch.save(published, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"missing from the file \(1 of \d+\): mod7\.block1\.convs\.conv3\.weight"):
        wide_resnet38(weights=tmp_path / "w.pth")


def test_padding_and_bad_arguments(narrow):
    partial = [m for m in wide_resnet38().modules() if isinstance(m, PartialConv2d)]
    assert len(partial) == len(convolutions(wide_resnet38()))
    assert not any(isinstance(m, PartialConv2d) for m in wide_resnet38(padding="zeros").modules())
    with pytest.raises(ValueError, match="Unknown padding 'partal'"):
        wide_resnet38(padding="partal")
    with pytest.raises(ValueError, match="`output_stride` to be 8, 16 or 32, but got 4"):
        wide_resnet38(output_stride=4)
    with pytest.raises(ValueError, match="`num_classes`"):
        wide_resnet38(num_classes=0)


def train_step(model, backwards=1):
    """Gradients and buffers after a step; dropout draws the same channels for equal models."""
    torch.manual_seed(3)
    image = torch.randn(2, 3, 40, 40)
    loss = model.train()(image).square().mean()
    for _ in range(backwards):
        loss.backward(retain_graph=backwards > 1)
    return {name: p.grad for name, p in model.named_parameters()}, dict(model.named_buffers())


@pytest.mark.parametrize("backwards", [1, 2])
def test_checkpointing_changes_nothing(narrow, fill, backwards):
    plain = fill(wide_resnet38())
    saving = copy.deepcopy(plain)
    assert set_checkpointing(saving) == 6
    gradients, buffers = train_step(plain, backwards)
    again, others = train_step(saving, backwards)
    assert all(torch.equal(gradients[name], again[name]) for name in gradients)
    # The second run of each block must not count the batch a second time.
    assert all(torch.equal(buffers[name], others[name]) for name in buffers)
    assert int(others["mod4.block1.bn1.0.num_batches_tracked"]) == 4


def test_checkpointing_rests_in_evaluation(narrow):
    model = wide_resnet38(checkpointing=True).eval()
    runs = []
    model.mod4.block2.register_forward_pre_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        model(torch.zeros(1, 3, 16, 16))
    assert len(runs) == 1
    frozen = model(torch.zeros(1, 3, 16, 16)).sum()  # with gradients it works in evaluation too
    frozen.backward()
    assert len(runs) == 3


def test_frozen_norms_keep_their_statistics(narrow, fill):
    model = fill(wide_resnet38(checkpointing=True)).eval()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.zeros(1, 3, 16, 16)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_bytes_on_meta_are_the_real_ones(narrow):
    model = WideResNet38().train()
    image = torch.zeros(2, 3, 48, 48)
    for enabled in (False, True):
        set_checkpointing(model, enabled)
        there = copy.deepcopy(model).to("meta")
        counted = activation_bytes(there, lambda net=there: net(image.to("meta")))
        # CPU kernels keep a norm's mean and scale as the meta ones do; only the dropout masks may differ in type.
        assert counted == pytest.approx(activation_bytes(model, lambda: model(image)), rel=0.02)


@pytest.mark.slow
def test_checkpointing_compiles(narrow, fill):
    plain = fill(wide_resnet38())
    for part in plain.modules():
        if isinstance(part, nn.Dropout2d):
            part.p = 0.0  # compiled code draws other channels
    saving = copy.deepcopy(plain)
    set_checkpointing(saving)
    gradients, buffers = train_step(plain)
    compiled = torch.compile(saving, backend="aot_eager", fullgraph=True)
    torch.manual_seed(3)
    compiled.train()(torch.randn(2, 3, 40, 40)).square().mean().backward()
    for name, parameter in saving.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)
    for name, value in saving.named_buffers():
        torch.testing.assert_close(value, buffers[name], rtol=1e-4, atol=1e-5)


def test_stage_is_a_sequential():
    stage = Stage(nn.Linear(2, 2), nn.ReLU())
    assert list(stage.state_dict()) == ["0.weight", "0.bias"]
    assert isinstance(stage[:1], nn.Sequential)
