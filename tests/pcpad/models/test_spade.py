"""SPADE's generator and discriminator and the DRN judge: published names, sizes, and outputs for equal weights."""

import hashlib
import itertools
import re

import pytest
import torch
import torch.nn.functional as F

from pcpad import PanopticPartialConv2d, PanopticPlan
from pcpad.models import drn_d_105, load_weights, patch_discriminator, spade_generator
from pcpad.models.spade import panoptic_upsample, plans_of_strides
from pcpad.panoptic import panoptic_conv2d

STAGES = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3"]


def on_meta(build, **arguments):
    with torch.device("meta"):
        return build(**arguments)


def published(model):
    """The state dict under the names of the older spectral norm, which the published files have."""
    names = {
        r"\.parametrizations\.(\w+)\.original$": r".\1_orig",
        r"\.parametrizations\.(\w+)\.0\._([uv])$": r".\1_\2",
    }
    state = {}
    for name, value in model.state_dict().items():
        for ours, theirs in names.items():
            name = re.sub(ours, theirs, name)
        state[name] = value
    return state


def draw(state, seed=0):
    """Values for each name, so that no layer is dead; u and v are directions, not those of the weight."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            drawn[name] = torch.tensor(3)
        elif name.endswith(("_u", "_v")):
            drawn[name] = F.normalize(noise.abs(), dim=0)
        elif value.dim() > 1:
            drawn[name] = noise * (2 / value[0].numel()) ** 0.5
        else:
            drawn[name] = 0.5 + noise.abs() if name.endswith(("running_var", "weight")) else 0.3 * noise
    return drawn


class Public:
    """Evaluates a published state dict by the networks' descriptions, with torch.nn.functional alone."""

    def __init__(self, state, ids=None):
        self.state, self.ids = {name: value.double() for name, value in state.items()}, ids

    def weight(self, name):
        if f"{name}.weight" in self.state:
            return self.state[f"{name}.weight"]
        weight = self.state[f"{name}.weight_orig"]
        u, v = self.state[f"{name}.weight_u"], self.state[f"{name}.weight_v"]
        return weight / torch.einsum("o,oi,i->", u, weight.flatten(1), v)

    def conv(self, name, x, padding=1, **arguments):
        return F.conv2d(x, self.weight(name), self.state.get(f"{name}.bias"), padding=padding, **arguments)

    def panoptic(self, name, x):
        """Every window by itself, with what has another id than its center set to zero."""
        if self.ids is None:
            return self.conv(name, x)
        ids = self.ids[..., :: self.ids.shape[2] // x.shape[2], :: self.ids.shape[3] // x.shape[3]]
        taps = F.unfold(F.pad(ids.double(), (1, 1, 1, 1), value=-1), 3)
        mask = (taps == taps[:, 4:5]).double()
        columns = F.unfold(x, 3, padding=1).unflatten(1, (-1, 9)) * mask.unsqueeze(1)
        y = self.weight(name).flatten(1) @ columns.flatten(1, 2) * (9 / mask.sum(1, keepdim=True))
        return (y + self.state[f"{name}.bias"][:, None]).view(len(x), -1, *x.shape[2:])

    def norm(self, name, x):
        mean, var = (self.state[f"{name}.running_{part}"].view(-1, 1, 1) for part in ("mean", "var"))
        y = (x - mean) / (var + 1e-5).sqrt()
        if f"{name}.weight" in self.state:
            y = y * self.state[f"{name}.weight"].view(-1, 1, 1) + self.state[f"{name}.bias"].view(-1, 1, 1)
        return y

    def spade(self, name, x, seg):
        hidden = self.conv(f"{name}.mlp_shared.0", F.interpolate(seg, x.shape[2:], mode="nearest")).clamp(min=0)
        gamma, beta = self.conv(f"{name}.mlp_gamma", hidden), self.conv(f"{name}.mlp_beta", hidden)
        return self.norm(f"{name}.param_free_norm", x) * (1 + gamma) + beta

    def generator(self, seg):
        x = self.conv("fc", F.interpolate(seg, (seg.shape[2] // 64, seg.shape[3] // 64), mode="nearest"))
        for stage in STAGES:
            if stage != "head_0":
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            y = self.panoptic(f"{stage}.conv_0", F.leaky_relu(self.spade(f"{stage}.norm_0", x, seg), 0.2))
            y = self.panoptic(f"{stage}.conv_1", F.leaky_relu(self.spade(f"{stage}.norm_1", y, seg), 0.2))
            if f"{stage}.conv_s.weight_orig" in self.state:
                x = self.conv(f"{stage}.conv_s", self.spade(f"{stage}.norm_s", x, seg), padding=0)
            x = x + y
        return torch.tanh(self.conv("conv_img", F.leaky_relu(x, 0.2)))

    def discriminator(self, x):
        scales = []
        for scale in range(2):
            if scale:
                counted = F.avg_pool2d(F.pad(torch.ones_like(x), (1, 1, 1, 1)), 3, 2)
                x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2) / counted
            y, maps = x, []
            for layer, stride in enumerate((2, 2, 2, 1, 1)):
                inner = ".0" if 0 < layer < 4 else ""
                y = self.conv(f"discriminator_{scale}.model{layer}{inner}.0", y, 2, stride=stride)
                if inner:
                    var, mean = torch.var_mean(y, dim=(2, 3), correction=0, keepdim=True)
                    y = (y - mean) / (var + 1e-5).sqrt()
                y = F.leaky_relu(y, 0.2) if layer < 4 else y
                maps.append(y)
            scales.append(maps)
        return scales

    def drn(self, x):
        def plain(level, x, stride=1, dilation=1, kernel=3):
            y = self.conv(f"base.{level}.0", x, dilation * (kernel // 2), stride=stride, dilation=dilation)
            return self.norm(f"base.{level}.1", y).clamp(min=0)

        x = plain(2, plain(1, plain(0, x, kernel=7)), stride=2)
        for level, stride, dilation in ((3, 2, 1), (4, 2, 1), (5, 1, 2), (6, 1, 4)):
            block = 0
            while (name := f"base.{level}.{block}") + ".conv1.weight" in self.state:
                step = stride if block == 0 else 1
                y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, 0)).clamp(min=0)
                y = self.conv(f"{name}.conv2", y, dilation, stride=step, dilation=dilation)
                y = self.conv(f"{name}.conv3", self.norm(f"{name}.bn2", y).clamp(min=0), 0)
                if f"{name}.downsample.0.weight" in self.state:
                    x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, 0, stride=step))
                x, block = (self.norm(f"{name}.bn3", y) + x).clamp(min=0), block + 1
        x = self.conv("seg", plain(8, plain(7, x, dilation=2)), 0)
        x = F.conv_transpose2d(x, self.state["up.weight"], stride=8, padding=4, groups=x.shape[1])
        return x.log_softmax(1)


PUBLISHED = {  # names and shapes of the published files
    spade_generator: (234, "5a87fd39536443be7d0a5a4501eaf70af83d67eee14068b0c55b8cb843f03406"),
    patch_discriminator: (26, "71227951283f81f321f14182cfebbffe3a0f4423917b3b765f4e75efc03217d4"),
    drn_d_105: (651, "7d4f6eb0d5ce8b8896aed81acb12d9f65f9a3a89ed8b8b4ec65376514e58e023"),
}


@pytest.mark.parametrize(("build", "known"), PUBLISHED.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_published_names_and_shapes(build, known):
    state = published(on_meta(build))
    lines = sorted(f"{name} {'x'.join(map(str, value.shape))}" for name, value in state.items())
    assert (len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()) == known


@pytest.mark.slow
def test_parameter_counts():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert round(count(on_meta(spade_generator)) / 1e6, 2) == 93.05
    assert count(spade_generator(5, ngf=1)) == count(spade_generator(5, partial=False, ngf=1))
    assert round(count(on_meta(patch_discriminator)) / 1e6, 2) == 5.60
    judge = on_meta(drn_d_105)
    assert not judge.up.weight.requires_grad


def maps(height=64, width=128, labels=5, samples=2):
    """One-hot labels and ids of some overlapping rectangles."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.zeros(samples, 1, height, width, dtype=torch.int32)
    for sample, instance in ((s, i) for s in range(samples) for i in range(1, 12)):
        top, left = (int(torch.randint(0, size, (), generator=generator)) for size in (height, width))
        ids[sample, :, top : top + 30, left : left + 40] = 26000 + instance
    return F.one_hot((ids[:, 0] % labels).long(), labels).permute(0, 3, 1, 2).double(), ids


@pytest.mark.parametrize("partial", [False, True], ids=["ordinary", "partial"])
def test_generator_is_the_public_one(partial):
    model = spade_generator(5, partial, ngf=2).eval()
    state = draw(published(model))
    load_weights(model, {f"module.{name}": value for name, value in state.items()}).double()
    semantics, ids = maps()
    image = model(semantics, ids)
    assert image.abs().max() <= 1
    torch.testing.assert_close(image, Public(state, ids if partial else None).generator(semantics), rtol=0, atol=1e-9)
    model.train()  # the norms of a GAN in training are the batch's
    assert not torch.equal(model(semantics, ids), image)


def test_discriminator_is_the_public_one():
    model = patch_discriminator(8, ndf=4).eval()
    state = draw(published(model))
    load_weights(model, state).double()
    x = torch.randn(2, 8, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = Public(state).discriminator(x)
    result = model(x)
    assert [len(scale) for scale in result] == [5, 5]
    for mine, theirs in zip(itertools.chain(*result), itertools.chain(*expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_judge_is_the_public_one(monkeypatch):
    monkeypatch.setattr("pcpad.models.drn._LEVELS", ((2, 4, 2, 1), (1, 6, 2, 1), (3, 8, 1, 2), (2, 10, 1, 4)))
    model = drn_d_105(4).eval()
    fresh = model.up.weight.detach().clone()
    state = draw(model.state_dict())
    load_weights(model, state).double()
    image = torch.randn(2, 3, 40, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(image), Public(state).drn(image), rtol=0, atol=1e-9)
    assert model(image[..., :37, :50]).shape == (2, 4, 37, 50)
    # A new network's upsampling is bilinear: a ramp stays one.
    ramp = torch.arange(6.0).expand(1, 4, 5, 6)
    up = F.conv_transpose2d(ramp, fresh, stride=8, padding=4, groups=4)
    torch.testing.assert_close(
        up[..., 8:-8, 8:-8], F.interpolate(ramp, scale_factor=8, mode="bilinear")[..., 8:-8, 8:-8]
    )


def test_weights_must_fit():
    model = spade_generator(5, ngf=2)
    state = draw(published(model))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broken = {name: value for name, value in state.items() if name != "up_3.conv_1.weight_v"}
    with pytest.raises(ValueError, match=r"missing from the file \(1 of \d+\): up_3\.conv_1\.parametrizations\.weight"):
        load_weights(model, broken)
    with pytest.raises(ValueError, match=r"of another shape .*fc\.weight"):
        load_weights(model, {**state, "fc.weight": torch.zeros(32, 4, 3, 3)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = load_weights(spade_generator(5, partial=False, ngf=2), model.state_dict())  # its own names, either way
    assert torch.equal(again.state_dict()["fc.weight"], model.fc.weight)


def test_other_sizes_and_bad_input():
    model = spade_generator(5, ngf=1).eval()
    semantics, ids = maps(192, 64)
    with torch.no_grad():
        assert model(semantics.float(), ids[:1]).shape == (2, 3, 192, 64)
    semantics = semantics.float()
    for arguments, message in (
        ((semantics,), "needs panoptic ids.*partial=False"),
        ((semantics[:, :4], ids), r"conditioning map \(N, 5, H, W\).*got \(2, 4, 192, 64\)"),
        ((semantics.long(), ids), "of floats"),
        ((semantics[:, :, :100], ids[:, :, :100]), "divisible by 64, but got 100x64"),
        ((semantics, ids[..., :32]), r"panoptic ids \(2, 1, 192, 64\), but got \(2, 1, 192, 32\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model(*arguments)
    with pytest.raises(TypeError, match="tensor of integers"):
        model(semantics, ids.float())
    with pytest.raises(ValueError, match="`ngf` to be a positive integer, but got 0"):
        spade_generator(5, ngf=0)
    with pytest.raises(ValueError, match="`scales`"):
        patch_discriminator(5, scales=0)
    with pytest.raises(ValueError, match="`num_classes`"):
        drn_d_105(0)


def test_one_plan_for_each_resolution(monkeypatch):
    sizes = []
    init = PanopticPlan.__init__

    def count(self, geometry, ids, form):
        sizes.append(ids.shape[2:])
        init(self, geometry, ids, form)

    monkeypatch.setattr(PanopticPlan, "__init__", count)
    model = spade_generator(5, ngf=1)
    assert sum(isinstance(module, PanopticPartialConv2d) for module in model.modules()) == 14
    semantics, ids = maps()
    model(semantics.float(), ids)
    assert [tuple(size) for size in sizes] == [(2**i, 2 ** (i + 1)) for i in range(7)]


def test_training_step():
    torch.manual_seed(0)
    generator, judge = spade_generator(5, ngf=2, panoptic_upsampling=True), patch_discriminator(8, ndf=4)
    semantics, ids = maps()
    semantics = semantics.float()
    u = generator.head_0.conv_0.parametrizations.weight[0]._u.clone()
    verdicts = judge(torch.cat([semantics, generator(semantics, ids)], 1))
    (-sum(scale[-1].mean() for scale in verdicts)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())
    moved = [name for name, p in generator.named_parameters() if p.grad.abs().max() > 0]
    assert {"fc.weight", "up_3.conv_0.parametrizations.weight.original", "conv_img.bias"} <= set(moved)
    assert not torch.equal(generator.head_0.conv_0.parametrizations.weight[0]._u, u)  # the power iteration runs


def test_first_values():
    model = spade_generator(5, ngf=16)
    fan = 9 * (5 + 256)
    assert model.fc.weight.std().item() == pytest.approx(0.02 * (2 / fan) ** 0.5, rel=0.05)
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))
    original = model.up_0.conv_0.parametrizations.weight.original
    assert original.abs().max().item() == pytest.approx(1 / (9 * 256) ** 0.5, rel=0.05)  # nn.Conv2d's own


def test_panoptic_upsampling_copies_from_its_own_instance():
    ids = torch.randint(0, 4, (2, 1, 16, 24), generator=torch.Generator().manual_seed(0))
    coarse = ids[..., ::2, ::2]
    values = coarse.double() * 100 + torch.rand(2, 1, 8, 12, dtype=torch.float64)
    up = panoptic_upsample(values, coarse, ids)
    nearest = F.interpolate(values, scale_factor=2)
    own = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3) == ids
    assert torch.equal(up[own], nearest[own])
    # Where some neighbor of the coarse pixel has the id, it is a pixel of that id that is copied.
    around = F.unfold(F.pad(coarse.double(), (1, 1, 1, 1), value=-1), 3).view(2, 9, 8, 12)
    around = around.repeat_interleave(2, 2).repeat_interleave(2, 3)
    known = (around == ids).any(1, keepdim=True)
    assert torch.equal((up // 100).long()[known], ids[known])
    assert torch.equal(up[~known], nearest[~known])
    assert 0 < known.float().mean() < 1
    one = panoptic_upsample(values, coarse[:1] * 0, ids[:1] * 0)
    assert torch.equal(one, nearest)


@pytest.mark.slow
def test_generator_exports():
    model = spade_generator(5, ngf=1, panoptic_upsampling=True).eval()
    semantics, ids = maps()
    inputs = semantics.float(), ids
    module = torch.export.export(model, inputs).module()
    semantics, ids = maps(samples=2)
    inputs = semantics.flip(3).float(), ids.flip(3)
    with torch.no_grad():
        torch.testing.assert_close(module(*inputs), model(*inputs), rtol=1e-4, atol=1e-5)


def test_layer_inside_is_the_plain_one_without_ids_of_others():
    layer = spade_generator(5, ngf=1).up_3.conv_1.eval()
    x, ids = torch.randn(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    expected = F.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x, ids)[inner], expected)
    torch.testing.assert_close(panoptic_conv2d(x, layer.weight, layer.bias, ids), expected)


@pytest.mark.faults
def test_normal_and_more_have_the_same_weights_and_compute_different_things(tmp_path):
    torch.manual_seed(0)
    more = spade_generator(36, False, ngf=2).eval()
    for parameter in more.parameters():
        parameter.data.normal_(0, 0.2)
    torch.save({"state_dict": more.state_dict(), "opt": {"num_upsampling_layers": "normal"}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"num_upsampling_layers='normal'.*--model\.num_upsampling_layers normal"):
        spade_generator(36, False, tmp_path / "w.pth", ngf=2)
    normal = spade_generator(36, False, tmp_path / "w.pth", ngf=2, num_upsampling_layers="normal").eval()
    semantics = torch.rand(1, 36, 64, 64)
    assert (normal(semantics) - more(semantics)).abs().max() > 0.05
    assert normal(torch.rand(1, 36, 32, 96)).shape == (1, 3, 32, 96)
    with pytest.raises(ValueError, match="divisible by 64"):
        more(torch.rand(1, 36, 32, 96))
    with pytest.raises(ValueError, match="more or normal, but got 'most'"):
        spade_generator(36, num_upsampling_layers="most")


@pytest.mark.parametrize("upsampling", ["more", pytest.param("normal", marks=pytest.mark.slow)])
def test_plans_made_ahead_change_nothing(upsampling, monkeypatch):
    torch.manual_seed(0)
    model = spade_generator(5, ngf=1, num_upsampling_layers=upsampling).eval()  # training turns the spectral norms
    height = {"more": 64, "normal": 96}[upsampling]  # of a width and a height that are not alike
    labels = torch.randint(0, 5, (1, 1, height, 128)) // 2
    semantics = F.one_hot(labels[:, 0], 5).movedim(3, 1).float()

    def results(plans):
        model.zero_grad()
        image = model(semantics, labels, plans)
        image.square().sum().backward()
        return [image.detach(), *(parameter.grad for parameter in model.parameters())]

    expected = [one.clone() for one in results(None)]
    plans = plans_of_strides(labels)
    assert (64 in plans) == (upsampling == "more")
    some = {stride: plan for stride, plan in plans.items() if stride > 2}  # the rest is built on the spot
    for given in (plans, some):
        assert all(map(torch.equal, results(given), expected))
    monkeypatch.setattr(PanopticPlan, "build", None)
    results(plans)
