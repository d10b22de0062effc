"""Trained networks written and read again by name; what others may have written is not trusted."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from pcpad import convert_padding
from pcpad.adaptation.exponents import exponents_of, set_exponents
from pcpad.errors import UserError, UserFileExistsError, UserFileNotFoundError, UserValueError
from pcpad.models import (
    classifier,
    filtering_unet,
    from_pretrained,
    inpainting_unet,
    padded_weights,
    patch_discriminator,
    pretrained,
    push_to_hub,
    read_pretrained,
    resnet3d,
    restoration_network,
    save_pretrained,
    smp_network,
    spade_generator,
    weight_files,
    wide_resnet38,
)
from pcpad.models.torchvision_segmentation import torchvision_segmentation

SAID = {"data": "noise", "license": "CC0-1.0"}
BUILDERS = {
    "classifier": (classifier, {"network": "timm/test_resnet", "num_classes": 3, "padding": "explicit"}),
    "filtering_unet": (filtering_unet, {"width": 4, "padding": "mean"}),
    "inpainting_unet": (inpainting_unet, {"depth": 2, "width": 4}),
    "patch_discriminator": (patch_discriminator, {"in_channels": 5, "ndf": 4}),
    "resnet3d": (resnet3d, {"depth": 18, "width": 4, "num_classes": 2, "variant": {"conv1_t_size": 3}}),
    "restoration_network": (lambda **given: restoration_network(None, **given), {"views": 2}),
    "smp_network": (
        smp_network,
        {"architecture": "FPN", "encoder": "resnet18", "options": {"decoder_segmentation_channels": 32}},
    ),
    "spade_generator": (spade_generator, {"semantic_channels": 4, "ngf": 1}),
    "torchvision_segmentation": (torchvision_segmentation, {"architecture": "fcn", "num_classes": 2}),
}


@pytest.fixture
def saved(tmp_path):
    """A folder with a small trained network."""
    torch.manual_seed(0)
    network = filtering_unet(width=4, padding="partial")
    options = {"width": 4, "padding": "partial"}
    return save_pretrained(network, tmp_path / "smooth", "filtering_unet", options, **SAID), network.eval()


def edit(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "spade_generator" else name for name in BUILDERS]
)
def test_networks_come_back_as_they_were(name, tmp_path):
    builder, arguments = BUILDERS[name]
    torch.manual_seed(0)
    network = builder(**arguments)
    folder = save_pretrained(network, tmp_path / name, name, arguments, **SAID)
    torch.manual_seed(1)
    again = from_pretrained(folder)
    assert not again.training
    assert type(again).__name__ == type(network).__name__
    state = again.state_dict()
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in [*again.parameters(), *again.buffers()])


def test_outputs_are_the_same_from_folder_and_files(saved):
    folder, network = saved
    image = torch.rand(1, 3, 33, 40)
    for source in (folder, str(folder), folder / "model.safetensors", folder / "config.json"):
        assert torch.equal(from_pretrained(source)(image), network(image))


def test_converted_networks_and_their_exponents_come_back(tmp_path):
    network = convert_padding(classifier("resnet18", 2, padding="zeros"), "partial")
    set_exponents(network, {"conv1": 0.5, "layer1.0.conv1": [0.25] * 64})
    options = {"network": "resnet18", "num_classes": 2, "padding": "partial"}
    folder = save_pretrained(network, tmp_path / "net", "classifier", options, **SAID)
    again = from_pretrained(folder)
    assert exponents_of(again) == {**exponents_of(again), "conv1": 0.5, "layer1.0.conv1": [0.25] * 64}
    assert torch.equal(again(torch.ones(1, 3, 32, 32)), network.eval()(torch.ones(1, 3, 32, 32)))


def test_the_description_says_where_weights_come_from(tmp_path):
    network = filtering_unet(width=4)
    numbers = {"PSNR | val": 31.5, "seeds": "three"}
    folder = save_pretrained(
        network,
        tmp_path / "smooth",
        "filtering_unet",
        {"width": 4},
        data="Own photographs, *CC0*",
        license="free for | research",
        numbers=numbers,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        notes="Trained for **minutes**.",
    )
    found = read_pretrained(folder)
    assert (found.network, found.arguments, found.numbers) == ("filtering_unet", {"width": 4}, numbers)
    assert (found.data, found.mean, found.std) == ("Own photographs, *CC0*", [0.5] * 3, [0.25] * 3)
    card = (folder / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "pcpad",
        "license": "other",
        "license_name": "free for | research",
        "pipeline_tag": "image-to-image",
        "tags": ["pytorch", "partial-convolution", "partial-padding"],
    }
    for said in (
        "**partial** padding",
        r"Own photographs, \*CC0\*",
        r"| PSNR \| val | 31.5 |",
        "mean 0.5, 0.5, 0.5, std 0.25",
        r"free for \| research",
        "Trained for **minutes**.",
    ):
        assert said in text


@pytest.mark.faults
def test_another_network_than_the_description_s_is_not_written(tmp_path, narrow):
    network = filtering_unet(width=4, padding="zeros")
    with pytest.raises(UserValueError, match="builds a different network from the one to save"):
        save_pretrained(network, tmp_path / "a", "filtering_unet", {"width": 4, "padding": "partial"}, **SAID)
    with pytest.raises(UserValueError, match="of another shape"):
        save_pretrained(network, tmp_path / "a", "filtering_unet", {"width": 8, "padding": "zeros"}, **SAID)
    # Weights that fit, and a stride that differs.
    wide = wide_resnet38(output_stride=16, num_classes=2).half()
    with pytest.raises(UserValueError, match="builds a different network"):
        save_pretrained(wide, tmp_path / "a", "wide_resnet38", {"num_classes": 2}, **SAID)
    with pytest.raises(UserValueError, match="builds a different network"):
        save_pretrained(nn.Conv2d(1, 1, 1), tmp_path / "a", "filtering_unet", **SAID)
    assert not (tmp_path / "a").exists()


@pytest.mark.faults
def test_what_users_have_to_know_is_asked_for(tmp_path):
    network = filtering_unet(width=4)
    for missing in ("data", "license"):
        with pytest.raises(UserValueError, match=f"Expected a text for `{missing}`"):
            save_pretrained(network, tmp_path / "a", "filtering_unet", {"width": 4}, **{**SAID, missing: " "})
    (tmp_path / "file").touch()
    with pytest.raises(UserFileExistsError, match="is a file"):
        save_pretrained(network, tmp_path / "file", "filtering_unet", {"width": 4}, **SAID)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"network": "os.system"}, "expected one of classifier, deeplabv3plus"),
        ({"network": "load_weights"}, "expected one of classifier"),
        ({"network": "filtering_unett"}, "Did you mean filtering_unet"),
        ({"arguments": {"weights": "/etc/passwd"}}, "has an argument 'weights'"),
        ({"arguments": {"width": 4, "_class_path": "os.system"}}, "has an argument '_class_path'"),
        ({"arguments": {"width": 10**9}}, "a number of reasonable size"),
        ({"arguments": {"width": -4}}, "a number of reasonable size"),
        ({"arguments": {"width": {"a": {"b": 1}}}}, "as a: expected a short text"),
        ({"arguments": {"width": [[1]]}}, "as width: expected"),
        ({"arguments": {"width": "4"}}, "to be a positive integer"),
        ({"arguments": {"width": None}}, "width"),
        ({"network": "drn_d_105", "arguments": {"num_classes": "x"}}, "drn_d_105 that cannot be built"),
        ({"arguments": {"width": 60000}}, "of another shape"),
        ({"arguments": {"padding": "zeros", "width": 4}}, "holds weights for partial padding"),
        ({"arguments": {"padding": "mine", "width": 4}}, "padding"),
        ({"network": "classifier", "arguments": {}}, "lacks the argument network"),
        ({"network": "classifier", "arguments": {"network": "timm/hf-hub:a/b"}}, "Unknown network"),
        ({"network": "inpainting_unet", "arguments": {"depth": 5000}}, "a number of reasonable size"),
        (
            {
                "network": "smp_network",
                "arguments": {"architecture": "FPN", "options": {"checkpoint_path": "/etc/passwd"}},
            },
            "has an option 'checkpoint_path'",
        ),
        ({"arguments": []}, "has no valid arguments"),
        ({"library_name": "timm"}, "does not describe weights of pcpad"),
        ({"format": 2}, "reads format 1"),
        ({"sha256": "0"}, "has no valid sha256"),
        ({"sha256": "0" * 64}, "the checksums differ"),
        ({"mean": [0.5], "std": [0]}, "expected mean and std"),
        ({"mean": 0.5, "std": 0.5}, "expected mean and std"),
        ({"numbers": {"a": {}}}, "expected numbers"),
    ],
)
def test_descriptions_of_anybody_s_making_are_refused_in_a_sentence(saved, changed, said):
    folder = edit(saved[0], **changed)
    with pytest.raises(UserError) as caught:
        from_pretrained(folder)
    assert said in str(caught.value)


@pytest.mark.faults
@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", " " * (1 << 20) + "{}", "\x00", "{}"])
def test_descriptions_that_are_none_are_refused(saved, text):
    (saved[0] / "config.json").write_text(text)
    with pytest.raises(UserValueError, match="does not describe weights of pcpad"):
        from_pretrained(saved[0])


@pytest.mark.faults
def test_weights_are_opened_once_and_are_those_that_were_summed(saved, monkeypatch):
    folder, network = saved
    weights = folder / "model.safetensors"
    other = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    opened = []

    def replaced_after(path):
        opened.append(path)
        file = open_file(path)
        if path == weights:  # somebody puts another file under its name
            save_file(other, folder / "other")
            (folder / "other").replace(weights)
        return file

    open_file = pretrained.opened
    for module in (pretrained, weight_files, padded_weights):
        monkeypatch.setattr(module, "opened", replaced_after)
    loaded = from_pretrained(folder).state_dict()
    assert opened.count(weights) == 1
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())
    with pytest.raises(UserValueError, match="checksums differ"):
        from_pretrained(folder)


def test_a_flipped_bit_is_noticed(saved):
    folder, _ = saved
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserValueError, match="the checksums differ"):
        from_pretrained(folder)
    with pytest.raises(UserValueError, match="the checksums differ"):
        push_to_hub(folder, "me/mine")


@pytest.mark.faults
def test_what_is_not_there_is_told(saved, tmp_path, monkeypatch):
    folder, _ = saved
    with pytest.raises(UserFileNotFoundError, match="expected a folder that save_pretrained wrote"):
        from_pretrained(tmp_path / "nowhere")
    alone = tmp_path / "alone.safetensors"
    shutil.copy(folder / "model.safetensors", alone)
    with pytest.raises(UserFileNotFoundError, match="Load weights without a description with"):
        from_pretrained(alone)
    (folder / "README.md").unlink()
    with pytest.raises(UserFileNotFoundError, match=r"lacks README\.md"):
        push_to_hub(folder, "me/mine")
    for name in ("mine", "a/b/c", "../x", "a--b/c", "a/b.."):
        with pytest.raises(UserValueError, match="OWNER/NAME"):
            push_to_hub(folder, name)
