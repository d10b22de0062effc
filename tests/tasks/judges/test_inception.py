"""FID and the Inception Score on two processes, without rounding errors that are roots of themselves."""

from multiprocessing import get_context

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

pytest.importorskip("torch_fidelity")

from torchmetrics.image.fid import _compute_fid

from pcpad.tasks.judges import inception
from pcpad.tasks.judges.inception import InceptionJudge, InceptionParts, frechet_distance

COUNT = 23


class Features(nn.Module):
    """A layer in place of a network of 24 million weights."""

    def __init__(self, *args):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.fc = nn.Linear(48, 40), nn.Linear(40, 12)

    def forward(self, image):
        return self.layer(image.flatten(1).float() / 255).relu()


def judge(patch, folder):
    folder.mkdir(exist_ok=True)
    torch.save({}, folder / "none.pth")
    patch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", Features)
    patch.setattr(inception, "_FEATURES", 40)
    return InceptionJudge(folder / "none.pth")


def pictures():
    draw = torch.Generator().manual_seed(1)
    return torch.rand(2, COUNT, 3, 4, 4, generator=draw) ** torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1)


def _process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    patch = pytest.MonkeyPatch()
    seen = judge(patch, folder / str(rank))
    patch.undo()
    torch.manual_seed(rank)  # whatever was drawn before
    for fake, real in zip(*(part[rank::2].split(3) for part in pictures()), strict=True):
        seen.update(fake, real)
    torch.save(seen.compute(), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save")
def test_two_processes_score_as_one(monkeypatch, tmp_path):
    seen = judge(monkeypatch, tmp_path)
    found = []
    for _ in range(2):  # the second time with other random numbers
        for fake, real in zip(*(part.split(4) for part in pictures()), strict=True):
            seen.update(fake, real)
        before = torch.random.get_rng_state()
        found.append({name: float(value) for name, value in seen.compute().items()})
        assert torch.equal(torch.random.get_rng_state(), before)
        seen.reset()
        torch.rand(1)
    assert found[1] == found[0]
    assert found[0]["inception_score"] > 1.00001, "a score that can show a difference"
    processes = [get_context("fork").Process(target=_process, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in range(2):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert {name: float(value) for name, value in shared.items()} == pytest.approx(found[0], rel=1e-6)


@pytest.mark.parametrize("number", [1, 7, 400])
def test_the_inception_score_of_parts_that_are_not_kept(number):
    """By the formula, of the logits of each part; whatever the batches."""
    logits = 2 * torch.randn(number, 6, generator=torch.Generator().manual_seed(0))
    logits[0] = torch.tensor([500.0, 0, 0, 0, 0, 0])  # of probabilities that are 0
    scores = []
    for step in (1, 3, 400):
        parts = InceptionParts()
        for part in logits.split(step):
            parts.update(part)
        scores.append(float(parts.compute()))
    of = torch.tensor([inception._part(place) for place in range(number)])
    slow = []
    for part in of.unique():
        p = logits[of == part].double().softmax(1)
        divergence = torch.special.xlogy(p, p).sum(1) - torch.special.xlogy(p, p.mean(0)).sum(1)
        slow.append(float(divergence.mean().exp()))
    assert scores == pytest.approx([np.mean(slow)] * 3, rel=1e-6)
    assert number < 10 or of.bincount().tolist() == [40] * 10


def sums(features, order):
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    products = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for part in features[order].split(2):
        total += part.sum(0)
        products += part.T @ part
    return total, products, torch.tensor(len(features))


@pytest.mark.faults
def test_the_distance_of_few_images_is_no_rounding_error():
    draw = torch.Generator().manual_seed(0)
    sets = [torch.rand(5, 200, generator=draw).double() + shift for shift in (0, 0.3)]
    found = [
        frechet_distance([sums(one, order) for one in sets]) for order in (torch.arange(5), torch.arange(4, -1, -1))
    ]
    fake, real = (one.numpy() for one in sets)
    centered = [(one - one.mean(0)) / np.sqrt(len(one) - 1) for one in (fake, real)]
    root = np.linalg.norm(centered[0] @ centered[1].T, "nuc")
    exact = ((fake.mean(0) - real.mean(0)) ** 2).sum() + sum((one**2).sum() for one in centered) - 2 * root
    assert [float(value) for value in found] == pytest.approx([exact] * 2, rel=1e-10)


def test_the_distance_of_many_images_is_torchmetrics_one():
    draw = torch.Generator().manual_seed(0)
    sets = [torch.rand(300, 30, generator=draw).double() ** power for power in (1, 2)]
    moments = [value for one in sets for value in (one.mean(0), one.T.cov())]
    found = frechet_distance([sums(one, torch.arange(300)) for one in sets])
    assert float(found) == pytest.approx(float(_compute_fid(*moments)), rel=1e-9)
    same = frechet_distance([sums(sets[0], torch.arange(300)), sums(sets[0], torch.arange(299, -1, -1))])
    assert 0 <= float(same) < 1e-10
    constant = torch.ones(3, 30, dtype=torch.float64)
    found = frechet_distance([sums(constant, torch.arange(3)), sums(constant + 1, torch.arange(3))])
    assert float(found) == pytest.approx(30)
