"""The verdict, which follows from the figures alone."""

import re

import pytest
from torch import nn

from pcpad.adaptation.procedure import Procedure
from pcpad.adaptation.result import ROWS, Recovery, plain_rows


def maps(original, recovered, control, inside=60.0, reach=32):
    values = [(original, float("inf")), (5.0, float("inf")), (recovered, inside), (control, 60.0)]
    rows = {
        row: {"loss": 10 ** (-border / 10) + 10 ** (-interior / 10), "border": border, "interior": interior}
        for row, (border, interior) in zip(ROWS, values, strict=True)
    }
    return Recovery(
        nn.Identity(), "partial", True, rows, {ROWS[2]: 1e-4}, 40, 32, 8, nn.Identity(), Procedure(), (), reach
    )  # fmt: skip


def classes(converted, recovered, control):
    values = [1.0, converted, recovered, control]
    rows = {row: {"loss": 0.1, "agreement": value, "kl": 0.1} for row, value in zip(ROWS, values, strict=True)}
    return Recovery(nn.Identity(), "partial", False, rows, {}, 40, 0, 8, nn.Identity(), Procedure())


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (maps(20, 22, 21), "partial is worth it: at the border +2.00 dB over the original as it is and +1.00"),
        (maps(20, 22, 21, inside=10.0), "Stay with the original's padding"),  # bought with the interior
        (maps(20, 21, 22), "Stay with the original's padding: the same procedure brings it +2.00 dB"),
        (maps(20, 15, 20), "Stay with the original's padding: partial is at -5.00 dB … margin of 32 px"),
        (classes(0.8, 0.96, 1.0), "most of the loss is recovered, 80 % … stay with the original's padding"),
        (classes(0.8, 0.99, 1.0), "95 %); the original after the same procedure, 0.0 %."),
        (classes(0.8, 0.79, 1.0), "none of the loss"),
        (classes(0.999, 1.0, 1.0), "little to recover"),
    ],
)
def test_the_verdict_rests_on_the_figures(found, words):
    assert all(part in found.verdict for part in words.split(" … ")), found.verdict
    assert found.verdict in found.table().notes


def test_a_border_that_costs_some_of_the_interior_is_worth_it_on_small_images_alone():
    """ESRGAN with `replicate`: the errors of both networks are equal on crops of the side that the verdict names."""
    found = maps(24.33, 25.19, 24.0, inside=38.31)
    (side,) = re.findall(r"up to about (\d+) px per side", found.verdict)
    border = 1 - ((int(side) - 16) / int(side)) ** 2

    def error(at_border, inside):
        return border * 10 ** (-at_border / 10) + (1 - border) * 10 ** (-inside / 10)

    assert error(25.19, 38.31) == pytest.approx(error(24.33, float("inf")), rel=2e-3)
    assert "px per side" not in maps(20, 22, 21, inside=float("inf")).verdict
    assert "px per side" not in maps(20, 22, 21).verdict  # 100 000 pixels


def test_json_has_no_infinite_numbers():
    rows = plain_rows(maps(20, 22, 21))
    assert rows["original"]["interior"] is None
    assert rows["recovered"]["border"] == 22


def test_an_exact_interior_is_called_so():
    assert "exact" in str(maps(20, 22, 21))


@pytest.mark.faults
def test_the_margin_without_error_is_how_far_the_network_looks():
    """And not the true context that the images allowed, nor one where no margin is exact."""
    assert "a margin of 224 px have no such error" in maps(20, 15, 20, reach=224).verdict
    assert "no such error" not in maps(20, 15, 20, reach=None).verdict
