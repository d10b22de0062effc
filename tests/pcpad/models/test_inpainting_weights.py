"""Inpainters from our own files, and what is said of files that are none; the public's are in the file beside it."""

import itertools

import pytest
import torch
from safetensors.torch import save_file

from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.models import inpainting_unet
from pcpad.models.inpainting_weights import load_inpainter, load_start
from pcpad.models.padded_weights import save_padded_weights
from pcpad.models.restoration import restoration_network

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


pytestmark = pytest.mark.usefixtures("seeded")


def trained(depth=3, width=4, partial=True):
    """A network whose norms have statistics."""
    network = inpainting_unet(depth, partial, width)
    for _ in range(2):
        network(torch.randn(4, 3, 16, 16), (torch.rand(4, 1, 16, 16) > 0.2).float())
    return network.eval()


def checkpoint(network, **said):
    """What Lightning writes of an InpaintingTask, by its keys."""
    kept = {"_class_path": "pcpad.tasks.InpaintingTask", "depth": network.depth, "partial": network.partial, **said}
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {
        "pytorch-lightning_version": "2.6.6",
        "epoch": 3,
        "hyper_parameters": kept,
        "state_dict": {**state, "loss.features.0.weight": torch.zeros(1)},
    }


def expected(network, image, mask, mean, std):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return (network((image - mean) / std, mask) * std + mean).clamp(0, 1)


def sample():
    return torch.rand(2, 3, 30, 41), (torch.rand(2, 1, 30, 41) > 0.4).float()


@torch.no_grad()
@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("depth", [1, 3])
def test_checkpoints_say_all_of_themselves(depth, partial, tmp_path):
    network, mean, std = trained(depth, partial=partial), [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    torch.save(checkpoint(network, mean=mean, std=std), tmp_path / "last.ckpt")
    found = load_inpainter(tmp_path / "last.ckpt")
    image, mask = sample()
    torch.testing.assert_close(found(image, mask), expected(network, image, mask, mean, std))
    assert (found.family, found.context, found.training) == ("pcpad", 2**depth, False)
    assert torch.equal(found.reached(mask), network.reached(mask))


@torch.no_grad()
@pytest.mark.parametrize("form", ["pth", "module.", "safetensors", "envelope"])
def test_plain_weights_are_taken_as_the_tasks_defaults(form, tmp_path):
    network = trained()
    state, path = network.state_dict(), tmp_path / "weights.pth"
    if form == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    else:
        state = {f"module.{name}": value for name, value in state.items()} if form == "module." else state
        torch.save({"model_state_dict": state} if form == "envelope" else state, path)
    image, mask = sample()
    torch.testing.assert_close(load_inpainter(path)(image, mask), expected(network, image, mask, *IMAGENET))


@torch.no_grad()
@pytest.mark.parametrize("padding", ["partial", "zeros"])
def test_files_that_say_their_padding_are_believed(padding, tmp_path):
    network = trained(partial=padding == "partial")
    found = load_inpainter(save_padded_weights(network, tmp_path / "w.safetensors", padding))
    assert found.network.partial is (padding == "partial")
    image, mask = sample()
    torch.testing.assert_close(found(image, mask), expected(network, image, mask, *IMAGENET))


@torch.no_grad()
def test_weights_of_the_network_for_damage_are_known(tmp_path):
    network = restoration_network(None).eval()
    torch.nn.init.normal_(network.head.weight, std=0.01)
    torch.save({"state_dict": {f"network.{n}": v for n, v in network.state_dict().items()}}, tmp_path / "last.ckpt")
    found, (image, mask) = load_inpainter(tmp_path / "last.ckpt"), sample()
    assert found.family == network.family
    torch.testing.assert_close(found(image, mask), network(image, mask))


@torch.no_grad()
def test_of_a_running_average_it_is_the_average_that_is_taken(tmp_path):
    now, average = trained(), trained()
    content = checkpoint(now, mean=IMAGENET[0], std=IMAGENET[1])
    averaged = {f"average.network.{name}": value for name, value in average.state_dict().items()}
    content["state_dict"] = {**content["state_dict"], **averaged, "average.updates": torch.tensor(9)}
    torch.save(content, tmp_path / "last.ckpt")
    image, mask = sample()
    torch.testing.assert_close(
        load_inpainter(tmp_path / "last.ckpt")(image, mask), expected(average, image, mask, *IMAGENET)
    )


def state_of(**changes):
    return {**inpainting_unet(2, width=4).state_dict(), **changes}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"weight": torch.ones(2, 2), "bias": torch.ones(2)},
            r"no known inpainting network.*2 tensors, weight, bias.*Known",
        ),
        (
            {
                "pytorch-lightning_version": "2.6.6",
                "hyper_parameters": {"_class_path": "pcpad.tasks.ClassificationTask"},
                "state_dict": {"network.fc.weight": torch.ones(2, 2)},
            },
            "no known inpainting network.*It is a checkpoint of ClassificationTask",
        ),
        ({"p_conv2d_1.kernel": torch.ones(7, 7, 3, 64)}, "later version of PConv-Keras"),
        ({"epoch": 3}, "holds no state dict"),
        ({n: v for n, v in state_of().items() if n != "decoder.1.conv.weight"}, r"decoder\.1\.conv\.weight is missing"),
        ({n: v for n, v in state_of().items() if n != "encoder.1.norm.bias"}, r"missing.*encoder\.1\.norm\.bias"),
        (state_of(extra=torch.ones(1)), "not in the network.*extra"),
        (state_of(**{"encoder.1.conv.weight": torch.ones(8, 4, 3, 3)}), r"is 8 x 4 x 3 x 3, expected 8 x 4 x 5 x 5"),
        (state_of(**{"encoder.7.conv.weight": torch.ones(1)}), r"levels \[0, 1, 7\]"),
        # A file of some bytes that would have a network of 19 GB built.
        (
            {"encoder.0.conv.weight": torch.ones(1, 1).expand(4000, 1), "decoder.0.conv.weight": torch.ones(1)},
            "does not fit it",
        ),
        (state_of(**{"encoder.0.conv.weight": torch.ones(4, 3, 7, 7) / 0}), "NaN or infinite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_other_files_are_refused_with_what_was_found(content, said, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserValueError, match=f"(?s){said}"):
        load_inpainter(tmp_path / "weights.pth")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(["mean", "std"], [[1.0], "abc", [float("nan")] * 3, {"a": 1}]),
        ("std", [0.0, -1.0, 0.0]),
    ],
    ids=str,
)
def test_checkpoints_that_say_nonsense_of_their_images_are_refused(name, value, tmp_path):
    torch.save(checkpoint(inpainting_unet(1, width=2), **{name: value}), tmp_path / "last.ckpt")
    with pytest.raises(UserValueError, match=f"Expected `{name}` of the images in"):
        load_inpainter(tmp_path / "last.ckpt")


@pytest.mark.faults
def test_a_file_that_is_cut_off_or_missing_or_of_another_depth(tmp_path):
    torch.save(state_of(), tmp_path / "weights.pth")
    with pytest.raises(UserValueError, match="depth 2, but got depth=7"):
        load_inpainter(tmp_path / "weights.pth", depth=7)
    with pytest.raises(UserValueError, match="Expected argument `depth` to be a positive integer or None, but got 0"):
        load_inpainter(tmp_path / "weights.pth", depth=0)
    (tmp_path / "weights.pth").write_bytes((tmp_path / "weights.pth").read_bytes()[:-300])
    with pytest.raises(UserValueError, match="is it complete"):
        load_inpainter(tmp_path / "weights.pth")
    with pytest.raises(UserFileNotFoundError, match="No weight file at"):
        load_inpainter(tmp_path / "nowhere.pth")


def naoto_like(depth=4, width=4):
    """A state dict under naoto0804's names that gives ours back; the scale is its own test's."""
    network = inpainting_unet(depth, width=width)
    state = {}
    for name, value in network.state_dict().items():
        part, level, rest = name.split(".", 2)
        level = int(level) + 1 if part == "encoder" else depth - int(level)
        rest = rest.replace("conv.", "conv.input_conv.").replace("norm.", "bn.")
        state[f"{part[:3]}_{level}.{rest}"] = value * value[0].numel() if rest.endswith("conv.weight") else value
    return network, state


def test_a_start_from_public_weights(tmp_path):
    ours, theirs = naoto_like()
    torch.save({"model": theirs}, tmp_path / "naoto.pth")
    network = inpainting_unet(4, width=4)
    load_start(network, tmp_path / "naoto.pth", *IMAGENET)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value)


@pytest.mark.faults
def test_a_start_with_another_range_of_values_is_refused(tmp_path):
    _, theirs = naoto_like()
    torch.save({"model": theirs}, tmp_path / "naoto.pth")
    network = inpainting_unet(4, width=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    wanted = r"--model.mean '\[0.485, 0.456, 0.406\]' --model.std '\[0.229, 0.224, 0.225\]'"
    with pytest.raises(UserValueError, match=wanted):
        load_start(network, tmp_path / "naoto.pth", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
