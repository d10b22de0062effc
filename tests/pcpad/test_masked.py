"""Batches of several sizes: pad_to_batch, and a mask threaded through a network."""

import pytest
import torch
from torch import nn
from torchvision.models import vgg11_bn

from pcpad import MaskedSequential, PartialConv2d, convert_padding, pad_to_batch
from pcpad.masked import apply_masked


@pytest.fixture
def ragged():
    torch.manual_seed(0)
    return pad_to_batch([torch.rand(3, 12, 20), torch.rand(3, 17, 9)])


def test_pad_to_batch_keeps_the_images_and_marks_them():
    images = [torch.rand(3, 4, 6), torch.rand(3, 5, 2)]
    batch, mask = pad_to_batch(images, multiple_of=4)
    assert batch.shape == (2, 3, 8, 8)
    assert mask.shape == (2, 1, 8, 8)
    for image, padded, valid in zip(images, batch, mask, strict=True):
        assert torch.equal(padded[:, valid[0] == 1].view_as(image), image)
        assert padded[:, valid[0] == 0].abs().sum() == 0


def test_pad_to_batch_of_integers_has_a_float_mask():
    batch, mask = pad_to_batch([torch.full((3, 2, 2), 200, dtype=torch.uint8)])
    assert (batch.dtype, mask.dtype) == (torch.uint8, torch.float32)


@pytest.mark.parametrize(
    "images", [[], [torch.rand(3, 4, 4), torch.rand(1, 4, 4)], [torch.rand(3, 4, 4), torch.rand(3, 4, 4).double()]]
)
def test_pad_to_batch_refuses_what_does_not_go_together(images):
    with pytest.raises(ValueError, match="Expected"):
        pad_to_batch(images)


def test_a_converted_vgg_runs_and_a_full_mask_changes_nothing(ragged):
    torch.manual_seed(0)
    vgg = convert_padding(vgg11_bn(num_classes=5), "partial").eval()
    masked = MaskedSequential(vgg.features, vgg.avgpool, nn.Flatten(), vgg.classifier)
    x = torch.rand(2, 3, 64, 48)
    assert torch.allclose(masked(x, torch.ones(1, 1, 64, 48)), vgg(x), atol=1e-5)
    batch, mask = pad_to_batch([torch.rand(3, 64, 48), torch.rand(3, 40, 70)])
    assert masked(batch, mask).shape == (2, 5)


def test_what_lies_outside_the_mask_never_matters(ragged):
    batch, mask = ragged
    network = MaskedSequential(
        PartialConv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        PartialConv2d(8, 8, 3, padding=1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    for training in (True, False):
        network.train(training)
        clean = network(batch, mask)
        dirty = network(torch.where(mask != 0, batch, torch.nan), mask)
        assert torch.equal(clean, dirty)


def test_the_mask_grows_by_the_paper_s_rule(ragged):
    batch, mask = ragged
    _, new_mask = MaskedSequential(*[PartialConv2d(3, 3, 3, padding=1) for _ in range(3)])(batch, mask)
    expected = torch.zeros_like(mask)
    expected[0, 0, :15, :20] = 1
    expected[1, 0, :17, :12] = 1
    assert torch.equal(new_mask, expected)


def test_batch_norm_takes_its_statistics_over_valid_positions(ragged):
    batch, mask = ragged
    norm = nn.BatchNorm2d(3)
    output, _ = apply_masked(norm, batch, mask)
    values = torch.cat([batch[0, :, :12, :20].flatten(1), batch[1, :, :17, :9].flatten(1)], dim=1)
    assert torch.allclose(norm.running_mean, 0.1 * values.mean(1), atol=1e-6)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * values.var(1), atol=1e-6)
    expected = (batch[1, :, 3, 3] - values.mean(1)) / (values.var(1, unbiased=False) + norm.eps).sqrt()
    assert torch.allclose(output[1, :, 3, 3], expected, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_with_a_full_mask_is_torch_s(momentum, affine):
    x = torch.rand(4, 3, 5, 6)
    ours, theirs = (nn.BatchNorm2d(3, momentum=momentum, affine=affine) for _ in range(2))
    for _ in range(3):
        assert torch.allclose(apply_masked(ours, x, torch.ones(1, 1, 5, 6))[0], theirs(x), atol=1e-5)
    for name, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-6), name


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, ceil_mode=True)])
def test_average_pooling_divides_by_the_valid_count(pool, ragged):
    batch, mask = ragged
    output, new_mask = apply_masked(pool, batch, mask)
    k, s, p = pool.kernel_size, pool.stride, pool.padding
    assert output.shape == pool(batch).shape
    for i, j in [(0, 0), (3, 4), (output.shape[2] - 1, 1)]:
        rows, columns = (slice(max(a * s - p, 0), a * s - p + k) for a in (i, j))
        valid = mask[:, :, rows, columns]
        mean = (batch[:, :, rows, columns] * valid).sum((2, 3)) / valid.sum((2, 3)).clamp(min=1)
        assert torch.allclose(output[:, :, i, j], mean, atol=1e-6)
        assert torch.equal(new_mask[:, :, i, j], (valid.sum((2, 3)) > 0).float())


@pytest.mark.parametrize("pool", [nn.AvgPool2d(8), nn.AvgPool2d((4, 8), divisor_override=25)], ids=["mean", "divisor"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_average_pooling_with_a_full_mask_is_the_module(pool, dtype):
    batch = torch.full((1, 2, 16, 16), 2000.0, dtype=dtype)  # a window's sum is beyond float16's range
    for kind in (dtype, torch.bool, torch.uint8):
        output, new_mask = apply_masked(pool, batch, torch.ones(1, 1, 16, 16, dtype=kind))
        assert output.dtype == new_mask.dtype == dtype
        assert torch.equal(output, pool(batch.float()).to(dtype))


def test_max_pooling_ignores_what_is_outside(ragged):
    batch, mask = ragged
    output, _ = apply_masked(nn.MaxPool2d(2), torch.where(mask != 0, batch - 2, 100), mask)
    assert output.max() < 0.0001


def test_a_module_without_a_rule_is_named():
    network = MaskedSequential(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1)))
    with pytest.raises(TypeError, match=r"0\.1 \(Conv2d\)"):
        network(torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4))


def test_gradients_reach_valid_positions_only(ragged):
    batch, mask = ragged
    batch.requires_grad_()
    network = MaskedSequential(PartialConv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    network(batch, mask)[0].square().sum().backward()
    assert batch.grad.isfinite().all()
    assert batch.grad[(mask == 0).expand_as(batch)].abs().max() == 0
    assert batch.grad[(mask == 1).expand_as(batch)].abs().min() >= 0
    assert batch.grad.abs().sum() > 0
