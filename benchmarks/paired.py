"""Two ways of doing the same to the same pictures: the mean difference, its interval, and two tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from pcpad.commands.comparison.statistics import paired
from pcpad.files import write_text

__all__ = ["Comparison", "compare", "holm", "markdown", "sign_flips", "write_section"]

_FLIPS = 9999


@dataclass(frozen=True)
class Comparison:
    """A mean difference over pictures.

    Args:
        count: How many pictures both have.
        difference: The mean of `values - baseline`.
        low: Where its 95 % interval by Student's t begins.
        high: Where it ends.
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
        baseline: The same of what it is compared with; pictures that only one has do not count.

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


def sign_flips(differences: Sequence[float] | np.ndarray, flips: int = _FLIPS, seed: int = 0) -> float:
    """The two-sided p-value of a mean of paired differences, by random flips of their signs.

    Args:
        differences: One for each pair.
        flips: How many.
        seed: Of the flips.

    Returns:
        The share of flips with a mean that is at least as far from 0 on the same side, doubled, the data themselves
        counting as one.
    """

    def mean(sample: np.ndarray, axis: int) -> np.ndarray:
        return sample.mean(axis=axis)

    sample = np.asarray(differences, dtype=float)
    if not sample.any():
        return 1.0
    found = stats.permutation_test(
        (sample,), mean, permutation_type="samples", n_resamples=flips, rng=np.random.default_rng(seed)
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, adjusted so that any false one among them is as rare as one test's (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table; empty without any."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "|".join("---" for _ in rows[0]) + "|"]
    lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_section(path: Path, name: str, text: str) -> None:
    """Put a text between a file's `<!-- name -->` and `<!-- /name -->`, which are added at its end where missing."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    head, found, rest = old.partition(begin)
    tail = rest.partition(end)[2] if found else "\n"
    head = head if found or not head else head.rstrip("\n") + "\n\n"
    write_text(path, f"{head}{begin}\n{text.strip()}\n{end}{tail}")
