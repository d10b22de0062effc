"""The inpainting U-Net against a plain one whose masks have as many channels as its features."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from pcpad import PartialConv2d
from pcpad.models import inpainting_unet
from pcpad.models.inpainting_unet import InpaintingUNet

pytestmark = pytest.mark.usefixtures("seeded")


def plain_layer(x, mask, conv):
    """Eq. 1-3 with a mask of the features' shape, counted by a convolution with ones; the count comes back too."""
    count = F.conv2d(mask, torch.ones_like(conv.weight[:1]), stride=conv.stride, padding=conv.padding)
    y = F.conv2d(x * mask, conv.weight, stride=conv.stride, padding=conv.padding)
    y = y * torch.where(count > 0, conv.weight[0].numel() / count.clamp(min=1), 0)
    if conv.bias is not None:
        y = y + conv.bias.view(-1, 1, 1)
    valid = (count > 0).to(x.dtype)
    return y * valid, valid.expand_as(y), count


def plain_network(net, image, mask):
    """The whole network by its table, in float64; output, and by layer the mask (N, O, H, W) and the count."""
    net = net.double()
    *_, height, width = image.shape
    multiple = 2**net.depth
    fill = (0, -(width // -multiple) * multiple - width, 0, -(height // -multiple) * multiple - height)
    x = F.pad(torch.where(mask != 0, image, 0).double(), fill)
    m = F.pad(mask.double().expand(len(image), 3, -1, -1), fill)
    skips, seen = [], []
    for level, block in enumerate(net.encoder):
        skips.append((x, m))
        x, m, count = plain_layer(x, m, block.conv)
        seen.append((m, count))
        x = F.relu(block.norm(x) if level else x)
    for level, block in zip(reversed(range(net.depth)), net.decoder, strict=True):
        x, m = (t.repeat_interleave(2, 2).repeat_interleave(2, 3) for t in (x, m))
        x, m = (torch.cat(pair, dim=1) for pair in zip((x, m), skips.pop(), strict=True))
        x, m, count = plain_layer(x, m, block.conv)
        seen.append((m, count))
        x = F.leaky_relu(block.norm(x), 0.2) if level else x
    return x[..., :height, :width], seen


def unet(depth=3, width=4, partial=True, train=False):
    net = inpainting_unet(depth, partial, width).train(train)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # a shift that holes would show
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -1, 1)
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    for block in (net.encoder[0], net.decoder[-1]):
        nn.init.uniform_(block.conv.bias, -1, 1)
    return net


def holes(samples, height, width, share=0.6):
    """Blocks of holes and single ones, with one image that has none and a corner that is one."""
    mask = (torch.rand(samples, 1, height, width) > share).float()
    mask[0] = 1
    mask[-1, :, : height // 2] = 0
    return mask


def masks_and_inputs(net, image, mask):
    """What each convolution was called with and gave back, by hooks."""
    seen = []

    def hook(module, args, kwargs, output):
        seen.append((args, kwargs, output))

    handles = [
        module.register_forward_hook(hook, with_kwargs=True)
        for module in net.modules()
        if isinstance(module, PartialConv2d)
    ]
    output = net(image, mask)
    for handle in handles:
        handle.remove()
    return output, seen


@pytest.mark.parametrize("size", [(32, 40), (33, 47), (5, 3), (1, 1)])
@pytest.mark.parametrize("train", [False, True])
def test_output_is_that_of_materialized_masks(size, train):
    if train and size == (1, 1):
        size = (9, 1)
    image, mask = torch.randn(3, 3, *size), holes(3, *size)
    reference = unet(train=train)
    net = unet(train=train)
    net.load_state_dict(reference.state_dict())
    expected, _ = plain_network(reference, image, mask)
    expected, actual = expected.detach(), net(image, mask)
    assert actual.shape == image.shape
    torch.testing.assert_close(actual, expected.float(), rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_masks_and_counts_layer_by_layer():
    net, image = unet(depth=4), torch.randn(3, 3, 48, 32)
    mask = torch.zeros(3, 1, 48, 32)
    mask[0, :, :5, :5] = 1
    mask[1, :, 40:, ::3] = 1
    mask[2, :, 20, 20] = 1
    _, seen = masks_and_inputs(net, image, mask)
    with torch.no_grad():
        _, expected = plain_network(unet(depth=4), image, mask)
    assert len(seen) == len(expected) == 8
    for (args, kwargs, (_, new_mask)), (wanted, count), conv in zip(
        seen, expected, [block.conv for block in (*net.encoder, *net.decoder)], strict=True
    ):
        features, carried = args[0], args[1]
        assert kwargs["holes_are_zero"]
        if carried is None:  # all is valid from here on
            assert bool((wanted == 1).all())
            continue
        groups = kwargs["mask_channels"] or (features.shape[1],)
        assert carried.shape[1] == len(groups)
        full = carried.repeat_interleave(torch.tensor(groups), dim=1)
        assert bool((features[full == 0] == 0).all()), "the promise that holes are zero"
        ones = torch.ones_like(conv.weight[:1])
        assert torch.equal(F.conv2d(full, ones, stride=conv.stride, padding=conv.padding).double(), count)
        assert torch.equal(new_mask.expand_as(wanted).double(), wanted)
    assert any(args[1] is not None and args[1].shape[1] == 2 for args, *_ in seen)


def test_after_enough_layers_all_is_valid():
    net, mask = unet(depth=6), torch.zeros(1, 1, 64, 64)
    mask[..., 10, 50] = 1
    _, seen = masks_and_inputs(net, torch.randn(1, 3, 64, 64), mask)
    encoder = [output[1] for _, _, output in seen[:6]]
    assert float(encoder[0].mean()) < 0.05
    assert bool((encoder[-1] == 1).all())
    assert all(float(a.mean()) <= float(b.mean()) for a, b in itertools.pairwise(encoder))


def test_size_of_the_published_network():
    net = inpainting_unet()
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert sum(module.weight.numel() for module in convolutions) == 32_848_849
    side, total = 512, 0
    for block in net.encoder:
        side //= 2
        total += block.conv.weight.numel() * side**2
    for block in net.decoder:
        side *= 2
        total += block.conv.weight.numel() * side**2
    assert round(total / 1e9, 1) == 38.0
    assert [tuple(block.conv.weight.shape[:3]) for block in net.encoder] == [
        (64, 3, 7), (128, 64, 5), (256, 128, 5), (512, 256, 3), *[(512, 512, 3)] * 4
    ]  # fmt: skip
    assert [tuple(block.conv.weight.shape[:2]) for block in net.decoder] == [
        *[(512, 1024)] * 4, (256, 768), (128, 384), (64, 192), (3, 67)
    ]  # fmt: skip
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert norms == 14  # none in the first and the last block


def test_what_lies_in_holes_does_not_matter():
    net, image, mask = unet(), torch.randn(2, 3, 24, 24), holes(2, 24, 24)
    expected = net(image, mask)
    image[(mask == 0).expand_as(image)] = float("nan")
    assert torch.equal(net(image, mask), expected)
    assert torch.equal(net(image, mask.bool()), expected)
    assert torch.equal(net(image, (mask * 255).to(torch.uint8)), expected)


@pytest.mark.parametrize("train", [False, True])
def test_a_mask_of_nothing_but_holes(train):
    net, image = unet(train=train), torch.randn(2, 3, 16, 16)
    output = net(image, torch.zeros(2, 1, 16, 16))
    assert torch.equal(output, torch.zeros_like(output))
    if train:
        output.sum().backward()
        assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def test_an_image_does_not_depend_on_its_batch():
    net, image, mask = unet(), torch.randn(3, 3, 24, 40), holes(3, 24, 40)
    together = net(image, mask)
    for index in range(3):
        alone = net(image[index : index + 1], mask[index : index + 1])
        torch.testing.assert_close(alone, together[index : index + 1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net(image, mask[1:2]), net(image, mask[1:2].expand(3, -1, -1, -1)))


def test_gradients_are_those_of_materialized_masks():
    image, mask = torch.randn(2, 3, 16, 24), holes(2, 16, 24)
    results = []
    for run in ("plain", "grouped"):
        torch.manual_seed(1)
        net = unet(train=True).double()
        x = image.double().requires_grad_()
        output = plain_network(net, x, mask)[0] if run == "plain" else net(x, mask.double())
        output.square().sum().backward()
        results.append([x.grad, *[p.grad for p in net.parameters()]])
    assert bool((results[1][0][(mask == 0).expand_as(image)] == 0).all())
    for actual, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


def test_training_keeps_no_copies_for_the_masks():
    """Bytes saved for the backward pass, against ordinary convolutions: what the masks add is small maps of counts."""
    saved = {}
    for partial in (True, False):
        net, total = unet(4, 16, partial, train=True), {}

        def pack(tensor, total=total):
            total[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = net(torch.randn(2, 3, 64, 64), holes(2, 64, 64, share=0.9))
        saved[partial] = sum(total.values())
        assert output.requires_grad
    assert saved[True] / saved[False] < 1.05


def test_ordinary_convolutions():
    net, partial = unet(partial=False), unet()
    partial.load_state_dict(net.state_dict())  # the same names and shapes, both ways
    image, mask = torch.randn(2, 3, 32, 32), holes(2, 32, 32)
    x = torch.where(mask != 0, image, 0)
    skips, whole = [], x
    for level, block in enumerate(net.encoder):
        skips.append(x)
        x = block.conv(x)
        x = F.relu(block.norm(x) if level else x)
    for block in net.decoder:
        x = block.conv(torch.cat([x.repeat_interleave(2, 2).repeat_interleave(2, 3), skips.pop()], dim=1))
        x = F.leaky_relu(block.norm(x), 0.2) if block.has_norm else x
    torch.testing.assert_close(net(image, mask), x)
    torch.testing.assert_close(net(whole, torch.ones_like(mask)), x, msg="the mask acts through what it erases alone")
    assert not torch.allclose(partial(image, mask), x, atol=1e-2)


def test_freezing_the_encoders_batch_norm():
    net = unet(train=True).freeze_encoder_batch_norm()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.eval()
    net.train()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    net(torch.randn(2, 3, 16, 16), holes(2, 16, 16)).square().mean().backward()
    optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("encoder") and ".norm." in name for name in changed)
    assert {"encoder.1.conv.weight", "decoder.0.norm.running_mean", "decoder.0.norm.weight"} <= changed
    net.freeze_encoder_batch_norm(False)
    net(torch.randn(2, 3, 16, 16), holes(2, 16, 16))
    assert not torch.equal(net.encoder[1].norm.running_mean, before["encoder.1.norm.running_mean"])
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_finite_and_near(dtype, autocast):
    net, image, mask = unet(train=True), torch.randn(2, 3, 32, 40), holes(2, 32, 40)
    expected = net(image, mask).detach()
    if autocast:
        with torch.autocast("cpu", dtype=dtype):
            output = net(image, mask)
    else:
        output = net.to(dtype)(image.to(dtype), mask.to(dtype))
    assert output.dtype == dtype
    output.float().square().mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())
    error = (output.detach().float() - expected).abs().mean() / expected.abs().mean()
    assert float(error) < 0.1


def test_channels_last():
    net, image, mask = unet(), torch.randn(2, 3, 32, 40), holes(2, 32, 40)
    expected = net(image, mask)
    nhwc = {"memory_format": torch.channels_last}
    output, seen = masks_and_inputs(net.to(**nhwc), image.contiguous(**nhwc), mask)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    assert all(args[0].is_contiguous(**nhwc) for args, *_ in seen)


@pytest.mark.parametrize("sizes", [[(17, 30)], pytest.param([(16, 24), (17, 30), (9, 50)], marks=pytest.mark.slow)])
def test_compile_for_any_size(sizes):
    torch._dynamo.reset()
    net = unet(depth=2)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for size in sizes:
        image, mask = torch.randn(2, 3, *size), holes(2, *size)
        torch.testing.assert_close(compiled(image, mask), net(image, mask), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_export_with_dynamic_multiples():
    net, multiple = unet(depth=2), 4
    height, width = (multiple * Dim(name, min=2, max=512) for name in ("height", "width"))
    dynamic = {name: {2: height, 3: width} for name in ("image", "mask")}
    program = torch.export.export(net, (torch.randn(2, 3, 16, 24), holes(2, 16, 24)), dynamic_shapes=dynamic).module()
    for size in ((8, 40), (32, 12)):
        image, mask = torch.randn(2, 3, *size), holes(2, *size)
        torch.testing.assert_close(program(image, mask), net(image, mask), rtol=1e-4, atol=1e-4)
        full = torch.ones_like(mask)
        torch.testing.assert_close(program(image, full), net(image, full), rtol=1e-4, atol=1e-4)


def test_weights_from_a_file(tmp_path):
    net = unet(depth=2)
    torch.save(
        {"state_dict": {f"network.{name}": value for name, value in net.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    loaded = inpainting_unet(2, width=4, weights=tmp_path / "a.ckpt").eval()
    image, mask = torch.randn(1, 3, 8, 8), holes(1, 8, 8)
    assert torch.equal(loaded(image, mask), net(image, mask))


@pytest.mark.parametrize(
    ("image", "mask", "expected"),
    [
        (torch.zeros(3, 8, 8), torch.ones(1, 1, 8, 8), r"`image` to be floats of shape \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 1, 8, 8), "uint8"),
        (torch.zeros(1, 3, 8, 8), torch.ones(1, 8, 8), r"\(1 or 1, 1, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), r"\(2 or 1, 1, 8, 8\).*\(2, 3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 9), "1 where the image is valid"),
    ],
)
def test_wrong_shapes(image, mask, expected):
    with pytest.raises(ValueError, match=expected):
        unet()(image, mask)


@pytest.mark.parametrize("options", [{"depth": 0}, {"depth": 2.5}, {"width": -1}, {"depth": True}])
def test_wrong_sizes(options):
    with pytest.raises(ValueError, match="positive integer"):
        InpaintingUNet(**options)


@pytest.mark.faults
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_no_valid_pixel_reaches_is_known(depth):
    mask = torch.zeros(2, 1, 53, 70)
    mask[0, 0, 0, 0], mask[1, 0, 20:30, 69] = 1, 1
    net = unet(depth)
    _, seen = plain_network(net, torch.rand(2, 3, 53, 70), mask)
    reached = net.reached(mask)
    assert torch.equal(reached, seen[-1][0][:, :1, :53, :70] != 0)
    assert not reached.all()
