"""The inpainting losses against formulas written out pixel by pixel, on a VGG16 of seeded random weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import vgg16

from pcpad.losses.inpainting import InpaintingLoss, errors_of_each, gram_matrix, hole_variation
from pcpad.losses.vgg import VGG16Features

OFF = {"perceptual": 0, "style": 0}


@pytest.fixture(scope="module")
def network():
    """torchvision's network up to its third pooling layer, with weights that keep features in range."""
    torch.manual_seed(0)
    with torch.device("meta"):
        features = vgg16(weights=None).features[:17]
    features = features.to_empty(device="cpu").eval()
    for parameter in features.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)
        else:
            torch.nn.init.zeros_(parameter)
    return features.requires_grad_(False)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    state = {f"features.{name}": value for name, value in network.state_dict().items()}
    torch.save({**state, "classifier.0.bias": torch.zeros(4)}, path)
    return path


@pytest.fixture
def pictures():
    draw = torch.Generator().manual_seed(1)
    output, truth = (torch.rand(2, 3, 16, 24, generator=draw) for _ in range(2))
    mask = (torch.rand(2, 1, 16, 24, generator=draw) < 0.6).float()
    return output, truth, mask


def features_of(network, x):
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    found = []
    for index, layer in enumerate(network):
        x = layer(x)
        if index in (4, 9, 16):
            found.append(x)
    return found


def test_features_are_torchvisions(network, file, pictures):
    actual = VGG16Features(file)(pictures[0])
    for ours, theirs in zip(actual, features_of(network, pictures[0]), strict=True):
        assert torch.equal(ours, theirs)


def test_every_term_by_its_formula(network, file, pictures):
    output, truth, mask = pictures
    terms = InpaintingLoss(vgg=file)(output, truth, mask)
    out, gt, m = (t.double().numpy() for t in (output, truth, mask))
    count = out.size
    assert float(terms["valid"]) == pytest.approx(np.abs(m * (out - gt)).sum() / count, rel=1e-5)
    assert float(terms["hole"]) == pytest.approx(np.abs((1 - m) * (out - gt)).sum() / count, rel=1e-5)
    comp = m * gt + (1 - m) * out
    assert float(terms["tv"]) == pytest.approx(variation(comp, m) / count, rel=1e-5)
    perceptual = {"out": 0.0, "comp": 0.0}
    style = {"out": 0.0, "comp": 0.0}
    theirs = features_of(network, truth)
    for name, image in (("out", output), ("comp", torch.from_numpy(comp).float())):
        for ours, wanted in zip(features_of(network, image), theirs, strict=True):
            perceptual[name] += float((ours - wanted).abs().double().mean())
            grams = []
            for f in (ours.double(), wanted.double()):
                _, c, h, w = f.shape
                grams.append(torch.einsum("nihw,njhw->nij", f, f) / (c * h * w))
            style[name] += float((grams[0] - grams[1]).abs().mean())
    assert float(terms["perceptual"]) == pytest.approx(sum(perceptual.values()), rel=1e-4)
    assert float(terms["style_out"]) == pytest.approx(style["out"], rel=1e-4)
    assert float(terms["style_comp"]) == pytest.approx(style["comp"], rel=1e-4)
    total = (
        terms["valid"] + 6 * terms["hole"] + 0.05 * terms["perceptual"]
        + 120 * (terms["style_out"] + terms["style_comp"]) + 0.1 * terms["tv"]
    )  # fmt: skip
    assert float(terms["loss"]) == pytest.approx(float(total), rel=1e-5)


def variation(image, mask):
    """Sums over pairs of neighbors that both lie in the hole or touch it, corners included."""
    samples, channels, height, width = image.shape
    total = 0.0
    for n in range(samples):
        hole = mask[n, 0] == 0
        near = np.zeros_like(hole)
        for y in range(height):
            for x in range(width):
                near[y, x] = hole[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()
        for y in range(height):
            for x in range(width):
                for b, a in ((y + 1, x), (y, x + 1)):
                    if b < height and a < width and near[y, x] and near[b, a]:
                        total += sum(abs(image[n, c, y, x] - image[n, c, b, a]) for c in range(channels))
    return total


def test_variation_counts_the_dilated_hole_alone():
    image, mask = torch.zeros(1, 3, 9, 9), torch.ones(1, 1, 9, 9)
    mask[..., 4, 4] = 0
    image[..., 3, 3] = 1  # in the ring around the hole: four neighbors, two of them in the ring
    image[..., 0, 0] = 1  # far off
    assert float(hole_variation(image, mask)) == pytest.approx(2 * 3 / image.numel())
    assert float(hole_variation(image, torch.ones_like(mask))) == 0


def test_each_hole_counts_as_much_whatever_its_size():
    truth, output, mask = torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8), torch.ones(3, 1, 8, 8)
    mask[0, :, 0, :1] = mask[1] = 0  # of one pixel, of all, and none
    output[0] = 0.5
    assert errors_of_each((output - truth).abs(), mask).tolist() == pytest.approx([0.5, 1, 0])
    assert errors_of_each(output, torch.ones(1, 1, 8, 8)).tolist() == [0, 0, 0]
    none = {"valid": 0, "hole": 0, "perceptual": 0, "style": 0, "tv": 0}
    assert not {"each", "level"} & set(InpaintingLoss({"perceptual": 0, "style": 0})(output, truth, mask))
    assert float(InpaintingLoss(none | {"each": 2})(output, truth, mask)["loss"]) == pytest.approx(2 * 0.5)
    level = float(InpaintingLoss(none | {"level": 1})(output[:2], truth[:2], mask[:2])["loss"])
    assert level == pytest.approx(np.log10(0.25) / 2, abs=1e-3)  # of 6 dB and 0 dB


def test_means_are_over_all_pixels():
    truth, mask = torch.zeros(1, 3, 10, 10), torch.ones(1, 1, 10, 10)
    mask[..., 0, 0] = 0
    terms = InpaintingLoss(OFF)(torch.full_like(truth, 0.5), truth, mask)
    assert float(terms["hole"]) == pytest.approx(0.5 / 100)
    assert float(terms["valid"]) == pytest.approx(0.5 * 99 / 100)
    assert set(terms) == {"loss", "valid", "hole", "tv"}


def test_gram_in_half_precision():
    features = torch.full((1, 8, 64, 64), 200.0)
    expected = torch.full((1, 8, 8), 200.0**2 / 8)  # the sum over positions, 1.6e8, is not in float16's range
    for dtype in (torch.float16, torch.bfloat16):
        for enabled in (True, False):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                gram = gram_matrix(features.to(dtype))
            assert gram.dtype == torch.float32
            torch.testing.assert_close(gram, expected, rtol=1e-2, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(file, pictures, dtype):
    loss = InpaintingLoss(vgg=file)
    output, truth, mask = pictures
    expected = float(loss(output, truth, mask)["loss"])
    leaf = output.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        terms = loss(leaf, truth, mask)
    assert all(value.dtype == torch.float32 for value in terms.values())
    assert float(terms["loss"].detach()) == pytest.approx(expected, rel=0.03)
    terms["loss"].backward()
    assert bool(leaf.grad.isfinite().all())
    assert float(leaf.grad.abs().max()) > 0


def test_gradients_reach_the_output_alone(file, pictures):
    loss = InpaintingLoss(vgg=file)
    output, truth, mask = (t.clone().requires_grad_() for t in pictures)
    loss(output, truth, mask)["loss"].backward()
    assert bool((output.grad != 0).any())
    assert list(loss.parameters()) == []
    assert not any(buffer.requires_grad for buffer in loss.buffers())


def test_the_features_stay_out_of_checkpoints_and_move_along(file):
    loss = InpaintingLoss(vgg=file)
    assert loss.state_dict() == {}
    torch.nn.Sequential(loss).load_state_dict({}, strict=True)
    assert {buffer.device.type for buffer in torch.nn.Sequential(loss).to("meta")[0].buffers()} == {"meta"}


@pytest.mark.parametrize("hole", [0.0, 1.0])
def test_masks_of_one_kind(file, pictures, hole):
    output, truth, mask = pictures
    terms = InpaintingLoss(vgg=file)(output, truth, torch.full_like(mask, 1 - hole))
    assert all(math.isfinite(float(value)) for value in terms.values())
    assert float(terms["hole" if hole == 0 else "valid"]) == 0
    if hole == 0:
        assert float(terms["style_comp"]) == 0
    else:
        assert float(terms["style_comp"]) == pytest.approx(float(terms["style_out"]))


def test_missing_vgg_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        InpaintingLoss()
    message = str(caught.value)
    assert "vgg16-397923af.pth is missing" in message
    assert "https://download.pytorch.org/models/vgg16-397923af.pth" in message
    assert "vgg=PATH" in message
    assert "`perceptual` and `style`, to 0" in message
    assert InpaintingLoss(OFF).features is None
    assert InpaintingLoss({"perceptual": 0, "style": 0.0, "tv": 0}).weights["hole"] == 6


def test_published_weights_come_from_torchvisions_cache(tmp_path, monkeypatch, file, pictures):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(file.read_bytes())
    assert torch.equal(VGG16Features()(pictures[0])[2], VGG16Features(file)(pictures[0])[2])


def test_other_files_are_refused(tmp_path, network):
    state = {f"features.{name}": value for name, value in network.state_dict().items()}
    for change, expected in (
        ({"features.7.weight": torch.zeros(128, 128, 1, 1)}, r"features.7.weight` of \(128, 128, 3, 3\)"),
        ({"features.14.bias": torch.full((256,), float("nan"))}, "not finite"),
    ):
        torch.save(state | change, tmp_path / "vgg.pth")
        with pytest.raises(ValueError, match=expected):
            VGG16Features(tmp_path / "vgg.pth")
    torch.save(state, tmp_path / "vgg.pth")
    features = VGG16Features(tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="at least 8x8"):
        features(torch.zeros(1, 3, 7, 30))


@pytest.mark.parametrize("weights", [{"styl": 1}, {"tv": -1}, {"hole": float("nan")}])
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match="loss weights >= 0 for some of valid, hole, perceptual, style, tv"):
        InpaintingLoss(weights)


def test_each_weight_scales_its_term(file, pictures):
    whole = InpaintingLoss(vgg=file)(*pictures)
    for name in ("valid", "hole", "tv", "perceptual", "style"):
        scaled = InpaintingLoss({name: 0.5}, vgg=file)(*pictures)
        published = {"valid": 1, "hole": 6, "tv": 0.1, "perceptual": 0.05, "style": 120}[name]
        term = whole["style_out"] + whole["style_comp"] if name == "style" else whole[name]
        assert float(whole["loss"] - scaled["loss"]) == pytest.approx(
            float((published - 0.5) * term), rel=1e-3, abs=1e-6
        )
    assert F.l1_loss(pictures[0], pictures[1]) == pytest.approx(float(whole["valid"] + whole["hole"]), rel=1e-5)
