"""`pcpad figure features`."""

import numpy as np
import pytest
import torch
from PIL import Image

from pcpad import cli
from pcpad.tasks import ClassificationTask


def test_feature_distances_are_those_of_the_definition(images, tmp_path, capsys, data, dots_per_inch, opinionated):
    checkpoint = opinionated(tmp_path / "x.ckpt", "zeros", 0)
    args = ["figure", "features", "--checkpoint", checkpoint, *data(images), "--layer", "layer3"]
    cli.main([*args, "--output", str(tmp_path / "a.png")])
    printed = capsys.readouterr().out
    features, batch = [], torch.stack([picture(path) for path in sorted(images.glob("val/*/*.png"))])
    for padding in ("zeros", "partial"):
        task = ClassificationTask.load_from_checkpoint(checkpoint, padding=padding).eval()
        task.network.layer3.register_forward_hook(lambda *args: features.append(args[2].detach()))
        task(batch)
    expected = (features[1] - features[0]).abs().mean((0, 1))
    assert f"trained with zeros, zeros to partial: mean {expected.mean():.3g}"[:-1] in printed
    assert f"middle {float(expected[2, 2]):.3g}"[:-1] in printed
    assert "mean over 6 test images" in printed
    assert dots_per_inch(tmp_path / "a.png") == 150


def picture(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_several_networks_and_paddings(images, tmp_path, capsys, data, opinionated):
    checkpoints = [opinionated(tmp_path / f"{padding}.ckpt", padding, 0) for padding in ("zeros", "explicit")]
    args = ["figure", "features", "--checkpoint", *checkpoints, *data(images), "--images", "2", "--relative"]
    cli.main([*args, "--paddings", "zeros", "replicate", "explicit", "--output", str(tmp_path / "a.png")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[:4]] == [
        "trained with zeros, zeros to replicate",
        "trained with zeros, zeros to explicit",
        "trained with explicit, explicit to zeros",
        "trained with explicit, explicit to replicate",
    ]
    values = [float(line.partition("mean ")[2].partition(",")[0]) for line in lines[:4]]
    assert values[1] < 1e-5, "explicit filters start as copies of the filter: zero padding"
    assert min(values[0], values[3]) > 0.01
    assert "Layer layer4, mean over 2 test images." in lines


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--paddings", "zeros"], "two or more different"),
        (["--paddings", "zeros", "partail"], "Did you mean 'partial'"),
        (["--layer", "layer9"], "No layer 'layer9'"),
        (["--data.root=nowhere"], "No such folder"),
        (["--device=cuda:99"], "--device cuda:99 cannot be used here"),
    ],
)
def test_features_mistakes(args, words, images, tmp_path, data, failing, opinionated):
    checkpoint = opinionated(tmp_path / "x.ckpt", "zeros", 0)
    assert words in failing("features", "--checkpoint", checkpoint, *data(images), *args)
