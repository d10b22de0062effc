"""Errors in the band along the border against masks and loops."""

import pytest
import torch

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
