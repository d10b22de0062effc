"""The published numbers: what the papers' rows say of each other, computed again."""

import math
import statistics

import pytest

from pcpad.commands.papers.drawing import DRAWN
from pcpad.commands.papers.measured import KINDS
from pcpad.commands.papers.published import Form, find, number, published_figures, published_tables
from pcpad.errors import UserValueError

TABLES = published_tables()
# Where a printed average is not that of the printed runs, by half of the last digit and more.
CUT_OFF = {("2018:T2", "resnet50_ref")}
# A printed difference that is not that of the printed averages; the table's notes say so.
MISPRINTED = {("2018:T3", "vgg19BN_ref"): -0.465}


def test_every_table_and_figure_is_there():
    papers = {"2018": (7, 8), "2022": (8, 11)}
    for paper, (tables, figures) in papers.items():
        assert {f"{paper}:T{place + 1}" for place in range(tables)} <= set(TABLES)
        assert {name for name in published_figures() if name.startswith(paper)} == {
            f"{paper}:F{place + 1}" for place in range(figures)
        }
    for table in TABLES.values():
        assert table.kind in KINDS
        assert set(table.setup) == {"data", "schedule", "runs"}
        for line in table.lines:
            assert (len(line.names), len(line.cells)) == (len(table.heads), len(table.columns)), (table.name, line)
    for figure in published_figures().values():
        assert figure.drawn in DRAWN


@pytest.mark.parametrize("name", ["2018:T2", "2018:T3", "2018:T4"])
def test_averages_and_differences_are_those_of_the_printed_runs(name):
    zeros = {}
    for line in TABLES[name].lines:
        runs = [float(cell) for cell in line.cells[:5]]
        average = float(line.cells[5])
        close = 0.0011 if (name, line.names[0]) in CUT_OFF else 0.00051
        assert statistics.fmean(runs) == pytest.approx(average, abs=close)
        network = line.names[0].partition("_")[0] if name != "2018:T4" else line.names[0]
        if line.cells[6] == "-":
            zeros[network] = average
        else:
            printed = MISPRINTED.get((name, line.names[0]), float(line.cells[6]))
            assert average - zeros[network] == pytest.approx(printed, abs=0.0011)


@pytest.mark.parametrize("name", ["2018:T2", "2018:T3"])
def test_deviations_follow_two_rules(name):
    """Of zeros and partial the population's of the runs and their average, of reflect and replicate n - 1."""
    for line in TABLES[name].lines:
        runs = [float(cell) for cell in line.cells[:5]]
        population = line.names[0].endswith(("_zero", "_partial"))
        rules = {
            True: statistics.pstdev([*runs, statistics.fmean(runs)]),
            False: statistics.stdev(runs),
        }
        assert rules[population] == pytest.approx(float(line.cells[7]), abs=0.00055)
        assert rules[not population] != pytest.approx(float(line.cells[7]), abs=0.00055)
    # And the first rule is the square root of 2/3 of the second.
    assert rules[True] / rules[False] == pytest.approx(math.sqrt(2 / 3))


def test_tables_agree_with_each_other():
    cells = {name: {line.names[0]: line.cells for line in table.lines} for name, table in TABLES.items()}
    first, second = cells["2018:T5"], cells["2022:T3"]
    for row, place, other in [(row, *pair) for row in first for pair in ((3, 0), (8, 3))]:
        assert float(first[row][place]) == pytest.approx(float(second[row][other]), abs=0.0051)
    for row in ("WN38_zero", "WN38_partial"):
        # The 2022 paper's `1/3 x 1/3` is the 2018 paper's 1/2.
        assert cells["2022:T4"][row] == tuple(cells["2018:T7"][row][place] for place in (1, 3, 4, 5, 6))
        assert cells["2018:T6"][row][:2] == cells["2018:T7"][row][:2]
    best = float(cells["2022:T2"]["U-NET_explicit"][0])
    for mse, relative in cells["2022:T2"].values():
        assert 100 * best / float(mse) == pytest.approx(number(relative), abs=0.07)
    factors = {row: cells["2018:T1"][row][1] for row in cells["2018:T1"] if "2nd" in row}
    assert list(factors.values()) == ["104.06%", "103.39%"]
    base = None
    for row, (time, relative) in cells["2018:T1"].items():
        base = float(time) if row.endswith("_zero") else base
        assert 100 * float(time) / base == pytest.approx(number(relative), abs=0.011)


def test_digits_are_kept_as_printed():
    cells = {line.names[0]: line.cells for line in TABLES["2018:T2"].lines}
    assert cells["vgg16BN_zero"][2] == "73.610"
    assert cells["resnet101_rep"][3] == "78.1"
    assert [line.cells[-1] for line in TABLES["2018:T2"].lines if line.cells[-1] != "-"] == [
        "73.37",
        "74.24",
        "76.15",
        "77.37",
        "78.31",
    ]


@pytest.mark.parametrize(
    ("cells", "values", "text"),
    [
        (["-", "76.24", "76.074"], (75.5,), "75.500"),
        (["%81.8", "%100"], (94.749,), "%94.7"),
        (["100%", "104.06%"], (103.394,), "103.39%"),
        (["76.13/0", "72.79/-3.33"], (75.0, -0.004), "75.00/0.00"),
        (["0.000485"], (0.0000001234,), "1.23e-07"),
        (["-", ""], (1.0,), "1.000"),
    ],
)
def test_ours_is_written_as_the_column_is(cells, values, text):
    assert Form.of(cells).text(*values) == text


def test_names_as_typed():
    assert find("2018:t2") == "2018:T2"
    with pytest.raises(UserValueError, match=r"no '2018:T9'.*Did you mean 2018:T\d or .*pcpad paper list"):
        find("2018:T9")
