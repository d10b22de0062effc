"""The Gaussian-filtering U-Net: the paper's blocks, any size, every padding."""

import pytest
import torch
from torch import nn

from pcpad.models import filtering_unet


def test_blocks_are_the_papers():
    model = filtering_unet(padding="zeros")
    assert [(c.in_channels, c.out_channels) for c in model.encoder] == [(3, 32), (32, 64), (64, 128), (128, 256)]
    assert all((c.kernel_size, c.stride, c.padding) == ((5, 5), (2, 2), (2, 2)) for c in model.encoder)
    assert [c.out_channels for c in model.decoder] == [128, 64, 32]
    assert [c.in_channels for c in model.decoder] == [256 + 128, 128 + 64, 64 + 32], "skips from the first three"
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("padding", ["zeros", "partial", "reflect", "replicate", "explicit"])
@pytest.mark.parametrize("size", [(64, 64), (50, 33), (37, 41)])
def test_output_has_the_images_size(padding, size):
    torch.manual_seed(0)
    output = filtering_unet(4, padding, fallback="replicate" if padding == "reflect" else None)(torch.rand(1, 3, *size))
    assert output.shape == (1, 3, *size)
    assert output.isfinite().all()


def test_a_shift_by_the_networks_stride_shifts_the_output():
    """Enlarged maps lie where their inputs lay: only then do skips and decoder speak of the same place."""
    torch.manual_seed(0)
    model = filtering_unet(4, "zeros").double().eval()
    image = torch.rand(1, 3, 256, 256, dtype=torch.float64)
    moved = torch.roll(image, (16, 16), (2, 3))
    inside = slice(120, 136)  # 31 + 4 windows of 16 reach no border from here
    there = slice(136, 152)
    assert torch.allclose(model(moved)[..., there, there], model(image)[..., inside, inside], atol=1e-10)


def test_weights_go_from_one_padding_to_another(tmp_path):
    source = filtering_unet(4, "zeros")
    torch.save(source.state_dict(), tmp_path / "unet.pth")
    image = torch.rand(1, 3, 32, 32)
    for padding in ("zeros", "explicit"):  # whose border filters start as the center's copies
        copy = filtering_unet(4, padding, weights=tmp_path / "unet.pth")
        assert torch.allclose(copy(image), source(image), atol=1e-5)


@pytest.mark.parametrize("width", [0, True, 2.5])
def test_a_wrong_width(width):
    with pytest.raises(ValueError, match="`width`"):
        filtering_unet(width)
