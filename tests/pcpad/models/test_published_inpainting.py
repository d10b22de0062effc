"""Public inpainting networks, each written from its family's formulas, against what we make of their files."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from pcpad.errors import UserValueError
from pcpad.models import inpainting_unet, load_weights
from pcpad.models.inpainting_weights import load_inpainter
from pcpad.models.published_inpainting import swap_colors

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


pytestmark = pytest.mark.usefixtures("seeded")


class Public:
    """A public network as its state dict and a forward pass in float64 with masks of all channels.

    Subclasses say how a layer counts (`layer`), what its tensors are called and how its file looks.
    """

    family = ""
    eps = 1e-5
    scale = 1.0  # of random weights, by the fan-in
    skip_first = False
    norms = True
    bias_everywhere = False

    def __init__(self, depth=4, width=4):
        self.depth, self.width = depth, width
        outs = [width * min(2**level, 8) for level in range(depth)]
        ins = [3, *outs[:-1]]
        kernels = [7, 5, 5, *[3] * depth]
        self.plan = [(f"enc{i + 1}", ins[i], outs[i], kernels[i], 2, i > 0, "relu") for i in range(depth)]
        self.plan += [
            (f"dec{i + 1}", outs[i] + ins[i], ins[i], 3, 1, i > 0, "leaky" if i or self.family == "keras" else None)
            for i in reversed(range(depth))
        ]
        self.weights = {"out.w": torch.randn(3, 3, 1, 1), "out.b": torch.randn(3) * 0.3}
        for name, into, out, kernel, _, norm, _ in self.plan:
            fan = into * kernel**2
            scale = (2 / fan) ** 0.5 * (fan if self.scale == "fan" else into if self.scale == "channels" else 1)
            self.weights[f"{name}.w"] = torch.randn(out, into, kernel, kernel) * scale
            if self.has_bias(name, norm):
                self.weights[f"{name}.b"] = torch.randn(out) * 0.3
            if norm and self.norms:
                self.weights |= {
                    f"{name}.gamma": torch.rand(out) + 0.5,
                    f"{name}.beta": torch.randn(out) * 0.3,
                    f"{name}.mean": torch.randn(out) * 0.3,
                    f"{name}.var": torch.rand(out) + 0.2,
                }

        # Values stay near 1, as in a trained network: else what is near 0 would be lost beside what is near 1e6.
        side = 2**depth
        self.run(torch.randn(3, 3, side, side), holes(side, side), calibrate=True)

    def has_bias(self, name, norm):
        return name == "dec1"

    def run(self, image, mask, calibrate=False):
        """(N, 3, H, W) normalized as the network has it, mask (N, 1, H, W), of sizes that 2**depth divides."""
        x, m = image.double(), mask.double().expand(-1, 3, -1, -1)
        skips = []
        for name, _, _, kernel, stride, norm, activation in self.plan:
            if name.startswith("enc"):
                skips.append((x, m))
            else:
                x, m = (t.repeat_interleave(2, 2).repeat_interleave(2, 3) for t in (x, m))
                pairs = zip((x, m), skips.pop(), strict=True)
                x, m = (torch.cat(pair[::-1] if self.skip_first else pair, dim=1) for pair in pairs)
            w, b = self.weights[f"{name}.w"].double(), self.weights.get(f"{name}.b")
            b = torch.zeros(len(w)) if b is None else b
            count = F.conv2d(m, torch.ones_like(w), stride=stride, padding=kernel // 2)
            raw = F.conv2d(x * m, w, stride=stride, padding=kernel // 2)
            x = self.layer(raw, count, b.double().view(1, -1, 1, 1), w[0].numel(), kernel)
            m = count.clamp(0, 1)
            if calibrate:
                x = self.calibrate(name, x)
            if norm and self.norms:
                gamma, beta, mean, var = (
                    self.weights[f"{name}.{part}"].double().view(1, -1, 1, 1)
                    for part in ("gamma", "beta", "mean", "var")
                )
                x = (x - mean) / (var + self.eps).sqrt() * gamma + beta
            x = {"relu": torch.relu, "leaky": lambda y: F.leaky_relu(y, 0.2), None: lambda y: y}[activation](x)
        return x

    def calibrate(self, name, x):
        """Statistics of this size for the norm, random all the same; weights of this size for a layer without."""
        if f"{name}.mean" in self.weights:
            self.weights[f"{name}.mean"] *= x.std().float()
            self.weights[f"{name}.var"] *= x.var().float()
            return x
        self.weights[f"{name}.w"] /= x.std().float()
        return x / x.std()

    def normalized(self, image):
        return image

    def inpaint(self, image, mask):
        """Of an RGB image in [0, 1] to one in [0, 1]."""
        return self.run(self.normalized(image), mask).clamp(0, 1)


class Naoto0804(Public):
    family = "naoto0804"
    scale = "fan"
    conv, counter = "input_conv", "mask_conv"

    def layer(self, raw, count, b, taps, kernel):
        return torch.where(count == 0, 0, raw / count.clamp(min=1) + b)

    def normalized(self, image):
        return (image - MEAN) / STD

    def inpaint(self, image, mask):
        return (self.run(self.normalized(image), mask) * STD + MEAN).clamp(0, 1)

    def names(self):
        """Their names to tensors."""
        found = {}
        for name, *_ in self.plan:
            theirs = name[:3] + "_" + name[3:]
            weight = self.weights[f"{name}.w"]
            found[f"{theirs}.conv.{self.conv}.weight"] = weight
            if f"{name}.b" in self.weights:
                found[f"{theirs}.conv.{self.conv}.bias"] = self.weights[f"{name}.b"]
            found[f"{theirs}.conv.{self.counter}.weight"] = torch.ones_like(weight)
            found |= self.norm_names(name, f"{theirs}.bn")
        return found

    def norm_names(self, name, theirs):
        if f"{name}.gamma" not in self.weights:
            return {}
        parts = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
        found = {f"{theirs}.{part}": self.weights[f"{name}.{ours}"] for part, ours in parts.items()}
        return {**found, f"{theirs}.num_batches_tracked": torch.tensor(7)}

    def save(self, folder):
        content = {"n_iter": 3, "model": self.names(), "optimizer": {"state": {}, "param_groups": [{"lr": 2e-4}]}}
        torch.save(content, folder / "1000000.pth")
        return folder / "1000000.pth"


class Naoto0804Old(Naoto0804):
    """Of before August 2018: other names, and biases before the norms."""

    conv, counter = "conv2d", "mask2d"

    def has_bias(self, name, norm):
        return True

    def names(self):
        found = super().names()
        biases = {
            n.replace("conv2d", "mask2d"): torch.zeros_like(t) for n, t in found.items() if n.endswith("conv2d.bias")
        }
        return {**found, **biases}


class Mmagic(Naoto0804):
    family = "mmagic"
    scale = 1.0

    def has_bias(self, name, norm):
        return not norm

    def layer(self, raw, count, b, taps, kernel):
        updated = count.clamp(0, 1)
        return (raw * (taps / (count + 1e-8) * updated) + b) * updated

    def normalized(self, image):
        return (image.flip(1) * 255 - 127.5) / 127.5

    def inpaint(self, image, mask):
        return ((self.run(self.normalized(image), mask) * 127.5 + 127.5) / 255).clamp(0, 1).flip(1)

    def names(self):
        found = {
            "data_preprocessor.mean": torch.full((3, 1, 1), 127.5),
            "loss_percep.vgg.vgg_layers.0.weight": torch.zeros(4, 3, 3, 3),
            "loss_percep.vgg.mean": torch.zeros(1, 3, 1, 1),
        }
        for name, *_ in self.plan:
            theirs = f"generator.{'encoder' if name.startswith('enc') else 'decoder'}.{name}"
            found[f"{theirs}.conv.weight"] = self.weights[f"{name}.w"]
            if f"{name}.b" in self.weights:
                found[f"{theirs}.conv.bias"] = self.weights[f"{name}.b"]
            found[f"{theirs}.conv.weight_mask_updater"] = torch.ones_like(self.weights[f"{name}.w"])
            found |= self.norm_names(name, f"{theirs}.bn")
        return found

    def save(self, folder):
        torch.save({"meta": {"iter": 5, "config": "model = dict()"}, "state_dict": self.names()}, folder / "pconv.pth")
        return folder / "pconv.pth"


class Tanimutomo(Naoto0804):
    family = "tanimutomo"
    scale = 1.0
    norms = False

    def layer(self, raw, count, b, taps, kernel):
        ratio = taps / (count + 1e-8) * count.clamp(0, 1)
        return (raw * ratio + b) * ratio if bool(b.any()) else raw * ratio

    def normalized(self, image):
        return image

    def inpaint(self, image, mask):
        return self.run(image, mask).clamp(0, 1)

    def names(self):
        found = {}
        for name, *_ in self.plan:
            theirs = name[:3] + "_" + name[3:]
            found[f"{theirs}.conv.weight"] = self.weights[f"{name}.w"]
            if f"{name}.b" in self.weights:
                found[f"{theirs}.conv.bias"] = self.weights[f"{name}.b"]
        wide = 8 * self.width
        for level in range(self.depth + 1, 9):  # in the file, whether in use or not
            found[f"enc_{level}.conv.weight"] = torch.randn(wide, wide, 3, 3)
            found[f"dec_{level}.conv.weight"] = torch.randn(wide, 2 * wide, 3, 3)
        return found


class Keras(Public):
    family = "keras"
    eps = 1e-3
    scale = "channels"
    skip_first = True

    def has_bias(self, name, norm):
        return True

    def layer(self, raw, count, b, taps, kernel):
        return raw * (kernel**2 / (count + 1e-8) * count.clamp(0, 1)) + b

    def inpaint(self, image, mask):
        end = self.weights["out.w"].double(), self.weights["out.b"].double()
        return torch.sigmoid(F.conv2d(self.run(image, mask), *end))

    def arrays(self, first=1):
        """Keras' layers, arrays by name, in the order of building; numbering starts where a session is."""
        layers, norms = {}, itertools.count(first)
        for place, (name, *_) in enumerate(self.plan):
            layers[f"p_conv2d_{first + place}"] = {
                "img_kernel:0": self.weights[f"{name}.w"].permute(2, 3, 1, 0),
                "bias:0": self.weights[f"{name}.b"],
            }
            if f"{name}.gamma" in self.weights:
                norm = f"EncBN{int(name[3:]) - 1}" if name.startswith("enc") else f"batch_normalization_{next(norms)}"
                parts = {"gamma": "gamma", "beta": "beta", "moving_mean": "mean", "moving_variance": "var"}
                layers[norm] = {f"{part}:0": self.weights[f"{name}.{ours}"] for part, ours in parts.items()}
        layers["outputs_img"] = {"kernel:0": self.weights["out.w"].permute(2, 3, 1, 0), "bias:0": self.weights["out.b"]}
        return layers

    def save(self, folder, first=1, within="", scope=""):
        h5py = pytest.importorskip("h5py")
        path = folder / "weights.26-1.07.h5"
        with h5py.File(path, "w") as file:
            root = file.create_group("model_weights") if within == "model_weights" else file
            layers = self.arrays(first)
            root.attrs["layer_names"] = [name.encode() for name in layers]
            root.attrs["backend"] = b"tensorflow"
            root.create_group("inputs_img")
            for layer, arrays in layers.items():
                home = f"model_1/{layer}" if within == "model_1" else f"{layer}/{layer}{scope}"
                for name, value in arrays.items():
                    root.create_dataset(f"{home}/{name}", data=value.numpy())
            if within == "model_weights":
                file.create_dataset("optimizer_weights/Adam/p_conv2d_1/img_kernel:0", data=[0.0])
        return path


FAMILIES = {
    "naoto0804": Naoto0804,
    "naoto0804 old": Naoto0804Old,
    "mmagic": Mmagic,
    "tanimutomo": Tanimutomo,
    "keras": Keras,
}


def holes(height, width):
    """Three masks: random spots with a large hole at the border; all but one corner a hole; all valid."""
    mask = (torch.rand(3, 1, height, width) > 0.3).float()
    mask[0, :, : height // 2, width // 3 :] = 0
    mask[1] = 0
    mask[1, :, -5:, -7:] = 1
    mask[2] = 1
    return mask


def difference(ours, theirs, of=None):
    """The largest difference, relative to the largest value; of images, to the largest before they are clamped."""
    return float((ours.double() - theirs).abs().max() / (theirs if of is None else of).abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_inpainters_equal_the_public_definitions(family, tmp_path):
    public = FAMILIES[family](depth=7 if family == "tanimutomo" else 5)
    network = load_inpainter(public.save(tmp_path))
    side = 2**public.depth
    image, mask = torch.rand(3, 3, 2 * side, side), holes(2 * side, side)
    expected = public.inpaint(image, mask)
    with torch.no_grad():
        found = network(torch.where(mask != 0, image, torch.nan), mask)
    raw = public.run(public.normalized(image), mask)
    assert difference(found, expected, raw) < 1e-5
    assert float((found - expected).abs().max()) < 1e-3  # of images in [0, 1]
    assert float(((expected > 0) & (expected < 1)).double().mean()) > 0.01  # else clamping would hide all
    assert not network.training
    assert (network.family, network.context) == ({"keras": "PConv-Keras"}.get(family, family.split()[0]), side)


@pytest.mark.parametrize("family", ["naoto0804", "naoto0804 old", "mmagic"])
@pytest.mark.parametrize("depth", [4, 7])
def test_load_weights_gives_the_public_networks_outputs(family, depth, tmp_path):
    public = FAMILIES[family](depth)
    network = load_weights(inpainting_unet(depth, width=4), public.save(tmp_path)).eval()
    side = 2**depth
    image, mask = torch.randn(3, 3, side, 2 * side), holes(side, 2 * side)
    with torch.no_grad():
        assert difference(network(image, mask), public.run(image, mask)) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_between_are_filled_up_with_holes(family, tmp_path):
    public = FAMILIES[family](depth=7 if family == "tanimutomo" else 4)
    network = load_inpainter(public.save(tmp_path))
    image, mask = torch.rand(3, 3, 100, 70), holes(100, 70)
    multiple = 2**public.depth
    fill = (0, -70 % multiple, 0, -100 % multiple)
    image_filled, mask_filled = F.pad(image, fill), F.pad(mask, fill)
    expected = public.inpaint(image_filled, mask_filled)[..., :100, :70]
    raw = public.run(public.normalized(image_filled), mask_filled)
    with torch.no_grad():
        assert difference(network(image, mask), expected, raw) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_public_networks_of_full_size(family, tmp_path):
    public = FAMILIES[family](8 if family == "keras" else 7, 64)
    network = load_inpainter(public.save(tmp_path))
    image, mask = torch.rand(1, 3, 256, 256), holes(256, 256)[:1]
    raw = public.run(public.normalized(image), mask)
    with torch.no_grad():
        assert difference(network(image, mask), public.inpaint(image, mask), raw) < 1e-5


def test_files_of_tanimutomo_do_not_say_their_depth(tmp_path):
    public = Tanimutomo(depth=6)
    network = load_inpainter(public.save(tmp_path), depth=6)
    image, mask = torch.rand(3, 3, 64, 64), holes(64, 64)
    with torch.no_grad():
        assert (
            difference(network(image, mask), public.inpaint(image, mask), public.run(public.normalized(image), mask))
            < 1e-5
        )


@pytest.mark.parametrize(
    "layout", [{"first": 17}, {"within": "model_weights"}, {"within": "model_1"}, {"scope": "_1"}], ids=str
)
def test_layouts_of_keras_files(layout, tmp_path):
    public = Keras()
    network = load_inpainter(public.save(tmp_path, **layout))
    image, mask = torch.rand(3, 3, 32, 32), holes(32, 32)
    with torch.no_grad():
        assert (
            difference(network(image, mask), public.inpaint(image, mask), public.run(public.normalized(image), mask))
            < 1e-5
        )


def test_colors_are_swapped_in_the_weights():
    network = inpainting_unet(3, width=4).eval()
    torch.nn.init.normal_(network.decoder[-1].conv.bias)
    swapped = inpainting_unet(3, width=4).eval()
    swapped.load_state_dict(swap_colors(network.state_dict()))
    image, mask = torch.randn(3, 3, 16, 16), holes(16, 16)
    with torch.no_grad():
        assert difference(swapped(image.flip(1), mask).flip(1), network(image, mask).double()) < 1e-5


@pytest.mark.faults
@pytest.mark.parametrize("family", ["naoto0804", "mmagic", "tanimutomo", "keras"])
@pytest.mark.parametrize(
    "network", [{"depth": 4, "width": 8}, {"depth": 5, "width": 4}, {"depth": 4, "width": 4, "partial": False}]
)
def test_public_weights_are_refused_by_networks_that_compute_something_else(family, network, tmp_path):
    model = inpainting_unet(**network)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    public = FAMILIES[family]()
    said = {"tanimutomo": "no norms", "keras": "1x1 convolution"}.get(family, "pass ")
    with pytest.raises(UserValueError, match=said):
        load_weights(model, public.save(tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.faults
@pytest.mark.parametrize("family", ["naoto0804", "mmagic", "tanimutomo"])
def test_public_files_with_other_tensors_are_refused_in_their_own_names(family, tmp_path):
    public = FAMILIES[family](depth=7 if family == "tanimutomo" else 4)
    names = public.names()
    one = next(name for name in names if "enc" in name and "2.conv" in name and name.endswith("weight"))
    wrong = {
        "missing": {name: value for name, value in names.items() if name != one},
        "not in that network": {**names, one.replace("weight", "weights"): torch.ones(3)},
        "of another shape": {**names, one: torch.ones(3)},
    }
    for what, state in wrong.items():
        torch.save({"model": state}, tmp_path / "wrong.pth")
        with pytest.raises(
            UserValueError, match=rf"(?s){family}.*{what} \(1\): \S*{one.removeprefix('generator.')[:12]}"
        ):
            load_inpainter(tmp_path / "wrong.pth")


@pytest.mark.faults
@pytest.mark.parametrize("family", ["naoto0804", "mmagic"])
def test_counters_that_are_not_ones_are_refused(family, tmp_path):
    names = FAMILIES[family]().names()
    counter = next(name for name in names if "mask" in name)
    torch.save({"model": {**names, counter: torch.zeros_like(names[counter])}}, tmp_path / "wrong.pth")
    with pytest.raises(UserValueError, match="not all ones"):
        load_inpainter(tmp_path / "wrong.pth")
