"""Errors in the band along the border against masks and loops."""

import pytest
import torch
import torch.distributed as dist

from pcpad.metrics import BandError


@pytest.mark.parametrize("width", [1, 3, 6])
def test_equals_masked_means_over_the_whole_set(width):
    torch.manual_seed(0)
    metric, sums = BandError(width), {"mse": [], "border_mse": [], "interior_mse": []}
    for size in ((2, 3, 16, 20), (1, 3, 9, 30)):
        prediction, target = torch.rand(*size), torch.rand(*size)
        metric.update(prediction, target)
        for n in range(size[0]):
            for i in range(size[2]):
                for j in range(size[3]):
                    near = min(i, j, size[2] - 1 - i, size[3] - 1 - j) < width
                    errors = (prediction[n, :, i, j].double() - target[n, :, i, j].double()).square().tolist()
                    sums["mse"] += errors
                    sums["border_mse" if near else "interior_mse"] += errors
    found = metric.compute()
    for name, values in sums.items():
        assert float(found[name]) == pytest.approx(sum(values) / len(values), rel=1e-6)


def test_no_interior_is_no_number():
    metric = BandError(4)
    metric.update(torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    assert float(metric.compute()["border_mse"]) == 1
    assert metric.compute()["interior_mse"].isnan()


def test_half_precision_predictions_are_compared_in_full():
    metric = BandError(1)
    metric.update(torch.full((1, 1, 4, 4), 0.5, dtype=torch.bfloat16), torch.full((1, 1, 4, 4), 0.501))
    assert float(metric.compute()["mse"]) == pytest.approx(1e-6, rel=1e-3)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`width`"):
        BandError(0)
    with pytest.raises(ValueError, match="one shape"):
        BandError(1).update(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))


def batches():
    draw = torch.Generator().manual_seed(1)
    return [tuple(torch.rand(size, 3, 16, 16, generator=draw) for _ in range(2)) for size in (3, 1, 2)]


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metric = BandError(3)
    for prediction, target in batches()[rank::2]:  # five images and one
        metric.update(prediction, target)
    torch.save(metric.compute(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_with_unequal_shares_score_like_one(tmp_path):
    torch.multiprocessing.start_processes(process, (str(tmp_path),), nprocs=2, start_method="fork")
    one = BandError(3)
    for prediction, target in batches():
        one.update(prediction, target)
    expected = {name: float(value) for name, value in one.compute().items()}
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-12)
