"""Tables for the terminal, Markdown and CSV files."""

from rich.console import Console

from pcpad.tables import Table, write_csv


def test_a_narrow_terminal_leaves_the_single_runs_out():
    rows = [["zeros", "1.11", "2.22", "3.33"]]
    columns = ["padding", "seed 0", "seed 1", "average"]
    table = Table("t", columns, rows, details=(1, 3), details_are="Single runs are in report.md.")
    texts = []
    for width in (80, 24):
        console = Console(width=width)
        with console.capture() as capture:
            console.print(table.rich(console))
        texts.append(capture.get())
    assert "2.22" in texts[0]
    assert "2.22" not in texts[1]
    assert "3.33" in texts[1]
    assert "report.md" in texts[1]


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


def test_csv_has_all_digits(tmp_path):
    path = write_csv(tmp_path / "new" / "a.csv", ["a", "b"], [{"b": 1 / 3, "a": None}, {"a": float("nan")}, ["x,y"]])
    assert path.read_bytes() == b'a,b\n,0.3333333333333333\nnan,\n"x,y"\n'
