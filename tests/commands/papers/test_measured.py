"""The commands that make a table's runs can make all of them."""

import shlex

import pytest
import torch

from pcpad.commands.papers.measured import KINDS
from pcpad.tasks import ActionRecognitionTask


def option(words, name):
    return words[words.index(name) + 1] if name in words else None


VIDEOS = shlex.split(KINDS["videos"].takes)


@torch.no_grad()
@pytest.mark.parametrize("padding", option(VIDEOS, "--paddings").split(","))
def test_every_padding_of_the_videos_runs_in_the_last_stage(padding):
    task = ActionRecognitionTask("resnet3d50", 5, padding, fallback=option(VIDEOS, "--model.fallback"), width=2).eval()
    assert task(torch.rand(1, 3, 16, 64, 64)).shape == (1, 5)
