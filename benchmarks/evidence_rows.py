"""Rows of EVIDENCE.md: what a paper claims, the result here, and the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paired import Comparison, compare, holm
from pcpad.commands.comparison.statistics import ALPHA, MOST_NEEDED, pairs_needed

__all__ = ["Cells", "Claim", "Form", "Row", "corrected", "verdict"]


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Args:
        claim: The claim.
        source: Table or figure of the paper.
        published: The paper's numbers.
        ours: Ours, with interval; or why there are none.
        p: Corrected, as text.
        verdict: The verdict.
    """

    claim: str
    source: str
    published: str
    ours: str
    p: str = "–"
    verdict: str = "not run yet"


@dataclass(frozen=True)
class Form:
    """How differences are printed.

    Args:
        digits: After the decimal point.
        factor: What they are multiplied by, 100 for percentage points.
        unit: Printed after them.
        ratio: Whether they are logarithms, printed as factors.
    """

    digits: int = 2
    factor: float = 100.0
    unit: str = " points"
    ratio: bool = False

    def text(self, value: float) -> str:
        """One number."""
        if self.ratio:
            return f"×{math.exp(value):.{self.digits}f}"
        return f"{self.factor * value:+.{self.digits}f}"

    def compared(self, found: Comparison, word: str = "seeds") -> str:
        """Difference, interval and number of pairs."""
        inside = f"{self.text(found.low)}, {self.text(found.high)}"
        return f"{self.text(found.difference)}{self.unit} [{inside}], {found.count} {word}"


@dataclass(frozen=True)
class Claim:
    """A claim's test.

    Args:
        row: The row before the test.
        differences: Of the pairs; positive ones support the claim unless `sign` says otherwise.
        form: How they are printed.
        sign: −1 where the claim is that they are negative.
        prefix: Printed before the difference.
        flips: Whether the sign-flip test decides too; with five pairs its p cannot be below .0625.
        word: What is paired.
    """

    row: Row
    differences: Sequence[float]
    form: Form
    sign: int = 1
    prefix: str = ""
    flips: bool = False
    word: str = "seeds"


def corrected(family: Sequence[Claim], alpha: float = ALPHA) -> list[Row]:
    """The rows of tests that belong together; their p is corrected by Holm's method over those that have pairs.

    Args:
        family: The tests.
        alpha: The corrected p must be below this.

    Returns:
        Their rows, in order.
    """
    found = [_compared(one.differences) for one in family]
    there = [place for place, one in enumerate(found) if one is not None]
    p_values = [_decides(family[place], found[place]) for place in there]
    adjusted = dict(zip(there, holm(p_values), strict=True))
    rows = []
    for place, (one, comparison) in enumerate(zip(family, found, strict=True)):
        if comparison is None:
            rows.append(replace(one.row, ours=_too_few(len(one.differences), one.word)))
            continue
        p = adjusted[place]
        text = one.prefix + one.form.compared(comparison, one.word)
        flips = "" if one.flips else f"; by flips {comparison.p_flips:.2g}"
        said = verdict(one.differences, one.sign, p, alpha)
        rows.append(replace(one.row, ours=text, p=f"{p:.2g}{flips}", verdict=said))
    return rows


def _too_few(count: int, word: str) -> str:
    return f"{count or 'no'} pairs of runs" if word == "seeds" else "fewer than three pairs of runs"


def _compared(differences: Sequence[float]) -> Comparison | None:
    if len(differences) < 2:
        return None
    names = [str(place) for place in range(len(differences))]
    return compare(dict(zip(names, differences, strict=True)), dict.fromkeys(names, 0.0))


def _decides(one: Claim, found: Comparison | None) -> float:
    assert found is not None
    return max(found.p_t, found.p_flips) if one.flips else found.p_t


def verdict(differences: Sequence[float], sign: int, p: float, alpha: float = ALPHA) -> str:
    """Whether a claim is confirmed.

    Args:
        differences: Of the pairs.
        sign: The sign of the mean that the claim predicts.
        p: Corrected.
        alpha: What p must be below.

    Returns:
        `confirmed`, `contradicted`, or `undecided` with the number of seeds that would find what was seen.
    """
    mean = float(np.mean(differences))
    if p < alpha:
        return "**confirmed**" if mean * sign > 0 else "**contradicted**"
    if mean == 0:
        return "undecided at this size: no difference was seen at all"
    spread = float(np.std(differences, ddof=1))
    needed = pairs_needed(mean / spread) if spread else 2
    way = "as claimed" if mean * sign > 0 else "against the claim"
    count = f"more than {MOST_NEEDED}" if needed is None else f"about {needed}"
    return f"undecided at this size: the difference seen, {way}, would take {count} seeds"


class Cells:
    """An experiment's finished runs.

    Args:
        folder: Where their JSON files are.

    Attributes:
        runs: By arm and seed those that have a result.
        diverged: By arm and seed why those ended whose loss was not finite; they are among `runs` only where their
            protocol says what they count as.
        rates: By arm how its learning rate was chosen.
        judge: How the judge was trained.
        hours: Of processor time in all files, the choice of learning rates and the judge included.
    """

    def __init__(self, folder: Path) -> None:
        self.runs: dict[str, dict[int, Any]] = {}
        self.diverged: dict[str, dict[int, str]] = {}
        self.rates: dict[str, Any] = {}
        self.judge: dict[str, Any] | None = None
        seconds = 0.0
        for path in sorted(folder.glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            seconds += content.get("cpu_seconds", 0.0)
            if path.stem.startswith("rates, "):
                self.rates[content["arm"]] = content
                continue
            if path.stem == "judge":
                self.judge = content
                continue
            arm, seed = content["arm"], int(content["seed"])
            if "diverged" in content:
                self.diverged.setdefault(arm, {})[seed] = content["diverged"]
                if not content["test"]:
                    continue
            self.runs.setdefault(arm, {})[seed] = content
        self.hours = seconds / 3600

    def count(self, arm: str) -> int:
        """How many of an arm's runs are at their end, those included whose loss was not finite."""
        return len({*self.runs.get(arm, {}), *self.diverged.get(arm, {})})

    def metric(self, arm: str, name: str) -> dict[int, float]:
        """A test metric by seed, for runs in which it is finite."""
        found = {seed: float(run["test"][name]) for seed, run in self.runs.get(arm, {}).items() if name in run["test"]}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    def top1(self, arm: str, tested: str) -> dict[int, float]:
        """Top-1 by seed under a padding."""
        found = self.runs.get(arm, {}).items()
        return {seed: share(run["correct"][tested]) for seed, run in found if tested in run.get("correct", {})}

    def differences(self, first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
        """Seed by seed."""
        return [first[seed] - second[seed] for seed in sorted(first) if seed in second]


def share(correct: str) -> float:
    """The share of ones in a text of zeros and ones."""
    return correct.count("1") / len(correct)
