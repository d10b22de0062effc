"""Reports: rows of scores told alike in the table, the CSV file and to loggers."""

import csv
import math
from fractions import Fraction

from pcpad.tasks.evaluation.report import Report, ReportRow, Scale, shown


class Marks(Report):
    labels = ("part", "share")
    scales = {"right": Scale("right, %", 100, 1)}  # noqa: RUF012


def rows():
    return [
        ReportRow(("a", None), {"right": 0.25}, {"hits": [1.0, math.nan]}, "a"),
        ReportRow(("b", Fraction(1, 3)), {"right": math.nan, "other": 0.00123456}, {}, "b/third"),
        ReportRow(("c", None), {}, {"hits": [0.5, 0.75]}, "c"),
    ]


def test_scores_have_one_name_everywhere(tmp_path):
    report = Marks(rows(), ["x", "y"])
    table = report.table()
    assert table.columns == ["part", "share", "right, %", "other"]
    assert table.rows == [["a", "", "25.0", ""], ["b", "1/3", "–", "0.001235"]]
    found = report.scalars("test/")
    assert list(found) == ["test/a/right", "test/b/third/right", "test/b/third/other", "test/c/hits/x", "test/c/hits/y"]
    assert "test/a/hits/x" in report.scalars("test/", per_class=True)
    lines = list(csv.reader(report.write_csv(tmp_path / "new" / "marks.csv").open(encoding="utf-8")))
    assert lines[0] == ["part", "share", "right", "other", "hits_x", "hits_y"]
    assert lines[1] == ["a", "", "0.25", "", "1.0", ""]
    assert lines[2] == ["b", repr(1 / 3), "", repr(0.00123456), "", ""]
    assert lines[3] == ["c", "", "", "", "0.5", "0.75"]


def test_a_report_draws_nothing_unless_it_says_so(tmp_path):
    assert Report([]).draw(tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_small_numbers_keep_their_digits():
    assert [shown(value) for value in (0, 0.5, 0.0004192, -12)] == ["0.0000", "0.5000", "0.0004192", "-12.0000"]
