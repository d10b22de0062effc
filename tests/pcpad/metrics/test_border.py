"""All leave-out fractions in one pass, against one masked evaluation a fraction."""

from fractions import Fraction

import pytest
import torch

from pcpad._fractions import as_fraction
from pcpad.metrics import BorderIoU, SegmentationIoU
from pcpad.metrics.border import border_zones, centered_rectangle
from pcpad.tiling import Tiling

PAPER = (0, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 7 / 8)


def left_out(label, fraction, boxes=None):
    """The labels with the centered rectangle of each box ignored, as the paper describes it."""
    label = label.clone()
    height, width = label.shape[1:]
    for top, left, tall, wide in boxes or [(0, 0, height, width)]:
        h, w = round(tall * fraction), round(wide * fraction)
        y, x = top + (tall - h) // 2, left + (wide - w) // 2
        label[:, y : y + h, x : x + w] = 255
    return label


def direct(pairs, fraction, classes, boxes=None):
    metric = SegmentationIoU(classes)
    for prediction, label in pairs:
        metric.update(prediction, left_out(label, fraction, boxes))
    return metric.compute()


def pairs(*sizes, classes=6):
    generator = torch.Generator().manual_seed(1)
    found = []
    for size in sizes:
        label = torch.randint(0, classes, (2, *size), generator=generator)
        label[torch.rand(label.shape, generator=generator) < 0.2] = 255
        found.append((torch.randint(0, classes, (2, *size), generator=generator), label))
    return found


def assert_same(found, fraction, expected):
    assert set(found[as_fraction(fraction)]) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[as_fraction(fraction)][name], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("leave_out", [PAPER, (7 / 8, 1 / 3, 0.6), (0,), (0.99,)])
def test_equal_to_one_evaluation_a_fraction(leave_out):
    batches = pairs((32, 64), (33, 47), (5, 4), (1, 1))
    metric = BorderIoU(6, leave_out)
    for prediction, label in batches:
        metric.update(prediction, label)
    found = metric.compute()
    assert list(found) == [as_fraction(fraction) for fraction in leave_out]
    for fraction in leave_out:
        assert_same(found, fraction, direct(batches, fraction, 6))


def test_relative_to_the_tile():
    batches = pairs((30, 44))
    boxes = [(top, left, 15, 22) for top in (0, 15) for left in (0, 22)]
    metric = BorderIoU(6, PAPER, relative_to="tile")
    metric.update(*batches[0], Tiling((15, 22)).windows(30, 44))
    for fraction in PAPER:
        assert_same(metric.compute(), fraction, direct(batches, fraction, 6, boxes))


def test_of_a_batch_with_a_wrong_value_in_its_last_tile_nothing_is_counted():
    label = torch.zeros(1, 8, 8).long()
    prediction = label.clone()
    prediction[:, 7, 7] = 9
    metric = BorderIoU(2, (0,), relative_to="tile")
    with pytest.raises(ValueError, match="found 9"):
        metric.update(prediction, label, Tiling(4).windows(8, 8))
    assert metric.confusion.sum() == 0


def test_the_rectangle_of_the_paper():
    assert centered_rectangle(1024, 2048, 1 / 3) == (341, 682, 341, 683)
    assert centered_rectangle(1024, 2048, Fraction(7, 8)) == (64, 128, 896, 1792)
    assert centered_rectangle(1024, 2048, 0) == (512, 1024, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (24, 31)])
def test_regions_are_nested(size):
    fractions = tuple(Fraction(k, 50) for k in range(50))
    zones = border_zones(*size, fractions)
    for index, fraction in enumerate(fractions):
        region = left_out(torch.zeros(1, *size), fraction)[0] != 255
        assert torch.equal(zones > index, region)


def test_outside_the_region_nothing_counts_but_wrong_values_are_still_caught():
    label = torch.zeros(1, 8, 8).long()
    metric = BorderIoU(2, (0.5,))
    prediction = label.clone()
    prediction[:, 3:5, 3:5] = 1
    metric.update(prediction, label)
    assert metric.compute()[Fraction(1, 2)]["accuracy"] == 1
    prediction[:, 3, 3] = 9
    with pytest.raises(ValueError, match="found 9"):
        metric.update(prediction, label)


def test_an_empty_batch_and_half_precision_of_the_module_change_nothing():
    metric = BorderIoU(3, (0, 0.5))
    metric.update(torch.zeros(0, 4, 4).long(), torch.zeros(0, 4, 4).long())
    metric.update(torch.zeros(1, 4, 4).long(), torch.zeros(1, 4, 4).long())
    metric.to(torch.float16).set_dtype(torch.float16)
    assert metric.confusion.dtype == torch.int64
    assert metric.confusion.sum() == 16


@pytest.mark.parametrize("leave_out", [(), (1,), (-0.1,), (0.5, "1/2"), tuple(k / 300 for k in range(299))])
def test_wrong_fractions(leave_out):
    with pytest.raises(ValueError, match="`leave_out`"):
        BorderIoU(3, leave_out)


def test_wrong_tiles():
    zeros = torch.zeros(1, 8, 8).long()
    with pytest.raises(ValueError, match="`relative_to`"):
        BorderIoU(3, relative_to="crop")
    with pytest.raises(ValueError, match="takes no `windows`"):
        BorderIoU(3).update(zeros, zeros, Tiling(4).windows(8, 8))
    with pytest.raises(ValueError, match="needs `windows`"):
        BorderIoU(3, relative_to="tile").update(zeros, zeros)
    for windows in (Tiling(4, 0.5).windows(8, 8), Tiling(3).windows(8, 8), Tiling(4).windows(8, 8)[:3]):
        with pytest.raises(ValueError, match="without overlap"):
            BorderIoU(3, relative_to="tile").update(zeros, zeros, windows)
    with pytest.raises(ValueError, match="without overlap"):
        BorderIoU(3, relative_to="tile").update(zeros, zeros, Tiling(4).windows(8, 12))
