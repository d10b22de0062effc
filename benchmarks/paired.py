"""Two methods on the same pictures: the mean difference, its interval, and two tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcpad.commands.comparison.statistics import holm, paired, sign_flips
from pcpad.files import write_text

__all__ = ["Comparison", "compare", "holm", "markdown", "sign_flips", "write_section"]


@dataclass(frozen=True)
class Comparison:
    """A mean difference over pictures.

    Args:
        count: How many pictures both have.
        difference: The mean of `values - baseline`.
        low: Lower end of its 95 % interval by Student's t.
        high: Its upper end.
        p_t: Of the two-sided paired t-test.
        p_flips: Of the two-sided test by random flips of the differences' signs; at least 0.0002.
        larger: The share of pictures whose value is the larger one.
    """

    count: int
    difference: float
    low: float
    high: float
    p_t: float
    p_flips: float
    larger: float


def compare(values: Mapping[str, float], baseline: Mapping[str, float]) -> Comparison:
    """Compare picture by picture.

    Args:
        values: Picture to finite number.
        baseline: The same for the baseline; pictures that only one of them has do not count.

    Returns:
        The comparison. Where all differences are equal there is no spread to test against: the interval is the
        difference itself, and the p-value of the t-test is 1 for a difference of 0, else 0.
    """
    names = [name for name in values if name in baseline]
    differences = np.array([values[name] - baseline[name] for name in names])
    found = paired({name: values[name] for name in names}, baseline)
    mean = float(differences.mean())
    low, high, p = found.low, found.high, found.p
    if low is None or high is None or p is None:
        low, high, p = mean, mean, float(mean == 0)
    return Comparison(len(names), mean, low, high, p, sign_flips(differences), float((differences > 0).mean()))


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table; empty without any."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "|".join("---" for _ in rows[0]) + "|"]
    lines += ["| " + " | ".join(str(row[column]) for column in rows[0]) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_section(path: Path, name: str, text: str) -> None:
    """Put a text between a file's `<!-- name -->` and `<!-- /name -->`, which are added at its end where missing."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    head, found, rest = old.partition(begin)
    tail = rest.partition(end)[2] if found else "\n"
    head = head if found or not head else head.rstrip("\n") + "\n\n"
    write_text(path, f"{head}{begin}\n{text.strip()}\n{end}{tail}")
