"""One table for terminal, Markdown and CSV."""

import csv
import io
import math

import pytest
from rich.console import Console

from pcpad.tables import Table, as_markdown, as_typed, safe_cell, safe_path, write_csv

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


@pytest.mark.faults
def test_markdown_shows_names_and_obeys_none():
    cells = [
        "a|b",
        r"a\|b",
        "two\nlines",
        "<img src=x onerror=a>",
        "![x](http://a)",
        "*b* `c`",
        "[x]: y",
        "&lt;",
    ]
    text = Table("T <b>\n# more", ["name"], [[cell] for cell in cells], ["[r]: http://a"]).markdown()
    lines = text.splitlines()
    assert lines[0] == r"## T &lt;b>\n# more"
    rows = [r"a\|b", r"a\\\|b", r"two\nlines", "&lt;img src=x onerror=a>", r"![x]\(http://a)", r"\*b\* \`c\`"]
    assert lines[4:12] == [f"| {row} |" for row in [*rows, r"[x]\: y", "&amp;lt;"]]
    assert lines[-1] == r"[r]\: http://a"


@pytest.mark.faults
def test_a_terminal_is_shown_names_and_acts_on_none():
    table = Table("t\x1b[2J", ["c\x07"], [["[red]a\x1b]0;owned\x07\udcff\nb"]], ["n\x9b"])
    console = Console(file=io.StringIO(), width=100)
    console.print(table.rich())
    text = console.file.getvalue()
    assert r"[red]a\x1b]0;owned\x07\xff\nb" in text
    assert not set(text) & set("\x1b\x07\x9b\udcff")


@pytest.mark.faults
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_text_in_a_csv_is_a_formula(tmp_path, sign):
    texts = [f"{sign}cmd|' /C calc'!A1", f"'{sign}x", f"'{sign}", "'tis", "a=b", "-1.5", "+2e-3", "-inf", "1", "–"]
    path = write_csv(tmp_path / "a.csv", [f"{sign}head"], [[text] for text in texts] + [[-1.5], [-2]])
    with path.open(newline="", encoding="utf-8") as file:
        (head,), *cells = csv.reader(file)
    found = [cell for (cell,) in cells]
    assert head == f"'{sign}head"
    assert found[:3] == [f"'{text}" for text in texts[:3]]
    assert found[3:] == [*texts[3:], "-1.5", "-2"]
    assert [as_typed(cell) for cell in found[:10]] == texts
    assert all(as_typed(safe_cell(text)) == text for text in [*texts, *found])


@pytest.mark.faults
def test_formats_of_data_sets_are_written_as_they_are(tmp_path):
    assert write_csv(tmp_path / "a.csv", ["youtube_id"], [["-abc"]], for_people=False).read_text().split() == [
        "youtube_id",
        "-abc",
    ]


@pytest.mark.faults
def test_a_path_that_looks_like_a_formula_can_still_be_opened():
    assert [safe_path(path) for path in ("=1+1.png", "-a", "a/=b", "é.png")] == ["./=1+1.png", "./-a", "a/=b", "é.png"]
    assert as_markdown("-1.5 and - 3") == "-1.5 and - 3"
