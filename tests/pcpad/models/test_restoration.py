"""The network that comes with pcpad: what it may not depend on, its file, and whether it is worth its guesses."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pcpad.datamodules.datasets.damages import draw_damage
from pcpad.errors import UserFileNotFoundError, UserTypeError, UserValueError
from pcpad.filling import fill
from pcpad.models import restoration
from pcpad.models.restoration import SHIPPED, restoration_network
from pcpad.models.restoration_file import write_restoration_weights
from pcpad.models.restoration_guess import smooth_guesses
from pcpad.tasks import InpaintingTask


@pytest.fixture
def awake():
    """A network whose last layers say something, as a trained one's."""
    torch.manual_seed(0)
    network = restoration_network(weights=None)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.002)
    return network.eval()


def damaged(height=50, width=70):
    image, mask = torch.rand(2, 3, height, width), torch.ones(2, 1, height, width)
    mask[0, :, 10:30, 20:40] = 0
    mask[1, :, :, 60:] = 0
    return image, mask


def test_it_begins_as_the_mean_of_its_guesses():
    image, mask = damaged()
    with torch.no_grad():
        filled = restoration_network(weights=None)(image, mask)
    membrane, plate = smooth_guesses(image, mask).chunk(2, dim=1)
    inside = (slice(None), slice(None), slice(12, 28), slice(22, 38))
    assert torch.allclose(filled[inside][:1], ((membrane + plate) / 2)[inside][:1], atol=0.05)


@torch.no_grad()
def test_valid_pixels_stay_and_what_lies_in_holes_has_no_influence(awake):
    image, mask = damaged()
    filled = awake(image, mask)
    assert torch.equal(filled * mask, image * mask)
    assert filled.min() >= 0
    assert filled.max() <= 1
    for kind in (mask.bool(), mask.long(), 7 * mask):
        assert torch.equal(awake(torch.where(mask != 0, image, torch.nan), kind), filled)
    assert not torch.allclose(
        awake(image / 2, mask)[mask.expand_as(image) == 0] * 2, filled[mask.expand_as(image) == 0]
    )


@torch.no_grad()
def test_each_picture_counts_for_itself(awake):
    image, mask = damaged()
    together = awake(image, mask)
    for one in range(2):
        assert torch.allclose(awake(image[one : one + 1], mask[one : one + 1]), together[one : one + 1], atol=1e-5)


@torch.no_grad()
def test_of_eight_views_a_mirror_image_comes_back_mirrored(awake):
    image, mask = torch.rand(1, 3, 32, 64), torch.ones(1, 1, 32, 64)
    mask[..., 10:20, 7:31] = 0
    assert not torch.allclose(awake(image.flip(-1), mask.flip(-1)).flip(-1), awake(image, mask), atol=1e-5)
    awake.views = 8
    filled = awake(image, mask)
    assert torch.allclose(awake(image.flip(-1), mask.flip(-1)).flip(-1), filled, atol=1e-5)
    assert torch.allclose(awake(image.mT, mask.mT).mT, filled, atol=1e-5)
    with pytest.raises(UserValueError, match="views"):
        restoration_network(weights=None, views=3)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (31, 33), (64, 64)])
def test_any_size_all_holes_and_none(awake, shape):
    image = torch.rand(1, 3, *shape)
    assert torch.equal(awake(image, torch.ones(1, 1, *shape)), image)
    nothing = awake(image, torch.zeros(1, 1, *shape))
    assert nothing.shape == image.shape
    assert nothing.isfinite().all()
    assert not awake.reached(torch.zeros(1, 1, *shape)).any()
    assert awake.reached(torch.ones(1, 1, *shape)).all()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("image", "mask", "error"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 1, 8, 8), UserTypeError),
        (torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8), UserValueError),
        (torch.zeros(1, 3, 0, 8), torch.ones(1, 1, 0, 8), UserValueError),
        (torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), UserValueError),
        (torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 9), UserValueError),
        (torch.zeros(1, 3, 8, 8), torch.ones(8, 8), UserValueError),
    ],
)
def test_inputs_that_do_not_fit_are_refused(image, mask, error):
    with pytest.raises(error, match="Expected argument"):
        restoration_network(weights=None)(image, mask)


@pytest.mark.faults
def test_weights_that_are_missing_or_of_another_network(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        restoration_network(weights=tmp_path / "none.safetensors")
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(UserValueError, match="does not fit"):
        restoration_network(weights=tmp_path / "other.pth")
    monkeypatch.setattr(restoration, "SHIPPED", tmp_path / "gone.safetensors")
    with pytest.raises(UserFileNotFoundError, match="inp_restore"):
        restoration_network()


def test_the_file_is_written_from_a_checkpoint(tmp_path, awake):
    task = InpaintingTask(network="restoration", mean=(0, 0, 0), std=(1, 1, 1), ema=0.9)
    task.average.network.load_state_dict(awake.state_dict())
    torch.save({"state_dict": task.state_dict(), "global_step": 3}, tmp_path / "last.ckpt")
    file = write_restoration_weights(tmp_path / "last.ckpt", tmp_path / "out.safetensors")
    image, mask = damaged()
    with torch.no_grad():
        assert torch.allclose(restoration_network(file)(image, mask), awake(image, mask), atol=0.02)
    torch.save({"state_dict": awake.state_dict()}, tmp_path / "plain.ckpt")
    with pytest.raises(UserValueError, match="running average"):
        write_restoration_weights(tmp_path / "plain.ckpt", tmp_path / "out2.safetensors")


def test_the_shipped_file():
    assert SHIPPED.stat().st_size <= 4_000_000
    with safe_open(SHIPPED, "pt") as file:
        said = file.metadata()
        assert all(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118  # no mapping
    assert (said["version"], said["recipe"]) == ("1", "inp_restore.yaml")
    assert json.loads(said["steps"]) > 100
    assert SHIPPED.with_name("restoration.md").is_file()
    network = restoration_network()
    assert not network.training
    assert network.context > 0


@pytest.fixture(scope="module")
def held_out():
    """Photographs that it was not trained on."""
    data = pytest.importorskip("skimage.data")
    photographs = [torch.from_numpy(np.array(getattr(data, name)())) for name in ("astronaut", "chelsea", "coffee")]
    return [one.permute(2, 0, 1)[None, :, 40:168, 60:188].float() / 255 for one in photographs]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["scratches", "strokes", "writing", "dust", "blocks"])
def test_the_shipped_network_is_better_than_its_guesses_and_the_mean(held_out, kind):
    """By the PSNR over the pixels of the holes, on average over pictures."""
    network, levels = restoration_network(), []
    for seed in range(4):
        mask = torch.from_numpy(draw_damage(128, np.random.default_rng(seed), kind))[None, None].float()
        for truth in held_out:
            membrane, plate = smooth_guesses(truth, mask).chunk(2, dim=1)
            mean = (truth * mask).sum(dim=(2, 3), keepdim=True) / mask.sum()
            guesses = [fill(network, truth, mask), membrane, plate, (membrane + plate) / 2, mean.expand_as(truth)]
            hole = (mask == 0).expand_as(truth)
            levels.append([float(-10 * torch.log10((one - truth)[hole].square().mean())) for one in guesses])
    ours, *others = np.mean(levels, axis=0)
    if kind == "blocks":
        others[2] -= 0.1  # within wide holes it has little to add to the mean of its guesses
    assert ours > max(others)
