"""One table for terminal, Markdown and CSV."""

import csv
import io
import math

import pytest
from rich.console import Console

from pcpad.tables import Table, write_csv

TABLE = Table(
    "Errors, in %",
    ["padding", "best", "mean", "seed 0", "seed 1"],
    [["zeros", "1.0", "2.0", "1.0", "3.0"], ["[bold]a|b", "", "nan", "0.5", ""]],
    notes=["Lower is better."],
    details=(3, 5),
    details_are="Seeds: see the CSV file.",
)


def shown(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(TABLE.rich(console))
    return console.file.getvalue()


def test_a_narrow_terminal_gets_no_details_and_is_told_so():
    wide, narrow = shown(100), shown(30)
    assert "seed 0" in wide
    assert "Seeds:" not in wide
    assert "seed 0" not in narrow
    assert "Seeds: see the CSV" in " ".join(narrow.split())
    for text in (wide, narrow):
        assert "[bold]a|b" in text  # nothing is markup
        assert "Errors, in %" in text
        assert "Lower is better." in text


def test_without_a_console_it_is_whole():
    assert len(TABLE.rich().columns) == 5


def test_markdown():
    assert TABLE.markdown() == (
        "## Errors, in %\n\n"
        "| padding | best | mean | seed 0 | seed 1 |\n"
        "|---|---:|---:|---:|---:|\n"
        "| zeros | 1.0 | 2.0 | 1.0 | 3.0 |\n"
        "| [bold]a\\|b |  | nan | 0.5 |  |\n\n"
        "Lower is better.\n"
    )
    assert Table("", ["a"], []).markdown() == "| a |\n|---|\n"


@pytest.mark.parametrize("as_mapping", [True, False])
def test_csv_keeps_all_digits(tmp_path, as_mapping):
    rows = [(0.1 + 0.2, None, 'a, "b"'), (math.nan, 3, "")]
    given = [dict(zip("xyz", row, strict=True)) for row in rows] if as_mapping else rows
    path = write_csv(tmp_path / "folder" / "a.csv", "xyz", given)
    assert path.read_bytes() == b'x,y,z\n0.30000000000000004,,"a, ""b"""\nnan,3,\n'
    with path.open(newline="") as file:
        assert float(next(csv.DictReader(file))["x"]) == 0.1 + 0.2


def test_columns_that_are_not_there_stay_empty(tmp_path):
    assert write_csv(tmp_path / "a.csv", ["x", "y"], [{"y": 1}]).read_text() == "x,y\n,1\n"


def test_without_a_frame_numbers_are_whole():
    table = Table("", ["recipe", "what it is", "s"], [["a.yaml", "word " * 30, "12345"]], texts=2, frame=False)
    console = Console(width=40)
    with console.capture() as capture:
        console.print(table.rich(console))
    lines = capture.get().splitlines()
    assert lines[0].split() == ["recipe", "what", "it", "is", "s"]
    assert lines[1].startswith("a.yaml")
    assert lines[1].endswith("12345")
    assert len(lines) > 3
