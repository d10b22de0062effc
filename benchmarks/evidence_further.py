"""Questions that the papers do not answer, tested on the runs of `benchmarks.evidence_runs` as the protocols say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.evidence_claims import OTHERS, TOP1, crossed
from benchmarks.evidence_rows import Cells, Claim, Form, Row, corrected

__all__ = ["norms", "position"]


def norms(cells: Cells) -> list[Row]:
    """Norm × padding, by how much tiles disagree with whole images near seams."""

    def near(arm: str) -> np.ndarray | None:
        runs = cells.runs.get(arm, {})
        if any(seed not in runs for seed in range(3)):
            return None
        return np.mean([runs[seed]["near"] for seed in range(3)], axis=0)

    def signs(first: str, second: str) -> str:
        means = [
            np.mean(cells.runs[first][seed]["near"]) - np.mean(cells.runs[second][seed]["near"]) for seed in range(3)
        ]
        return f"; each seed {', '.join(f'{100 * value:+.2f}' for value in means)}"

    def name(padding: str, norm: str) -> str:
        return padding if norm == "batch" else f"{padding}, {norm} norm"

    pairs = [(name("partial", norm), name("zeros", norm)) for norm in ("batch", "group", "instance")]
    pairs += [(name(padding, norm), padding) for norm in ("group", "instance") for padding in ("zeros", "partial")]
    family, told = [], []
    for first, second in pairs:
        found = near(first), near(second)
        there = found[0] is not None and found[1] is not None
        differences = list(found[0] - found[1]) if there else []
        row = Row(
            f"Disagreement near seams, {first} against {second}", "arXiv 2503.19545", "artifacts come from the norm", ""
        )
        family.append(Claim(row, differences, Form(), sign=-1, flips=True, word="photographs"))
        told.append(signs(first, second) if there else "")
    rows = [
        replace(row, ours=row.ours + more, verdict=_direction(row.verdict, more))
        for row, more in zip(corrected(family, alpha=0.01), told, strict=True)
    ]
    return [*rows, _larger([(pair, one, row) for pair, one, row in zip(pairs, family, rows, strict=True)])]


def _larger(tested: list[tuple[tuple[str, str], Claim, Row]]) -> Row:
    """The answer: the largest effect of padding that counts beside the largest of the norm."""
    row = Row("Which has the larger effect on it, padding or norm", "arXiv 2503.19545", "the norm", "")
    if not all(one.differences for _, one, _ in tested):
        return replace(row, ours="not all pairs of runs are there")
    largest: dict[str, tuple[float, str]] = {}
    for place, ((first, second), one, found) in enumerate(tested):
        if found.verdict in ("**less**", "**more**"):
            mean = 100 * float(np.mean(one.differences))
            kind = "padding" if place < 3 else "norm"
            said = f"{kind} {mean:+.2f} points ({first} against {second})"
            largest[kind] = max(largest.get(kind, (0.0, "")), (abs(mean), said))
    if not largest:
        return replace(row, ours="no difference counts", verdict="undecided")
    ours = "; ".join(said for _, said in largest.values()) + (", the largest that count" if len(largest) == 2 else "")
    return replace(row, ours=ours, verdict=f"**{max(largest, key=lambda kind: largest[kind])}**")


def _direction(said: str, signs: str) -> str:
    if not signs:
        return said
    values = [float(part) for part in signs.removeprefix("; each seed ").split(", ")]
    agree = all(value > 0 for value in values) or all(value < 0 for value in values)
    if "confirmed" in said or "contradicted" in said:
        if not agree:
            return "undecided: the seeds disagree"
        return "**less**" if values[0] < 0 else "**more**"
    return "undecided"


def position(cells: Cells) -> list[Row]:
    """What padding does to position."""
    zeros = cells.metric("zeros", TOP1)
    rows = corrected(
        [
            Claim(
                Row(f"Top-1 with {one} against zeros", "protocol", "–", ""),
                cells.differences(cells.metric(one, TOP1), zeros),
                Form(),
                flips=True,
            )
            for one in OTHERS
        ]
    )
    under = crossed(cells)[2:]
    for what, text in (("border", "the distance to the border"), ("row", "the row"), ("column", "the column")):
        known = {
            arm: {seed: run["place"][what] for seed, run in cells.runs.get(arm, {}).items()}
            for arm in ("zeros", *OTHERS)
        }
        rows += corrected(
            [
                Claim(
                    Row(f"R² of {text} from one place's features, {one} against zeros", "protocol", "–", ""),
                    cells.differences(known[one], known["zeros"]),
                    Form(3, 1, ""),
                    sign=-1,
                    prefix=_means(known, one),
                    flips=True,
                )
                for one in OTHERS
            ]
        )
    renamed = [replace(row, verdict=_better(row)) for row in rows]
    return [*renamed, *under]


def _means(known: dict[str, dict[int, float]], arm: str) -> str:
    if not known[arm] or not known["zeros"]:
        return ""
    return f"{np.mean(list(known[arm].values())):.3f} against {np.mean(list(known['zeros'].values())):.3f}, "


def _better(row: Row) -> str:
    """The verdict on an open question: what was seen, instead of whether it was claimed."""
    if "undecided" in row.verdict or row.verdict == "not run yet":
        return row.verdict.replace(", as claimed,", "").replace(", against the claim,", "")
    up = ("confirmed" in row.verdict) == (not row.claim.startswith("R²"))
    return "**higher**" if up else "**lower**"
