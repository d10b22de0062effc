"""The tables of `benchmarks.filling`: each method's scores, and ours against the best of the others, by hole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.filling_holes import KINDS
from benchmarks.filling_methods import OURS
from benchmarks.paired import Comparison, compare, holm, markdown

__all__ = ["best_competitor", "report", "verdict"]

Records = Mapping[tuple[str, str, str], Mapping[str, Any]]

SCORES = {"psnr": ("PSNR in holes, dB", 2, 1), "ssim": ("SSIM", 4, 1), "distance": ("distance of edge features", 4, -1)}
"""Title, digits, and 1 where more is better."""

LEVEL = 0.01
MARGINS = {"psnr": 0.1}


def report(records: Records) -> str:
    """All tables for the results so far.

    Args:
        records: By picture, kind and method, see `benchmarks.filling.read_records`.

    Returns:
        Markdown.
    """
    kinds = [kind for kind in KINDS if any(other == kind for _, other, _ in records)]
    if not kinds:
        return "No results yet.\n"
    parts = [f"### {kind[0].upper()}{kind[1:]}\n\n{_table(records, kind)}" for kind in kinds]
    for score in SCORES:
        rows = _against_best(records, kinds, score)
        if rows:
            parts.append(f"### Against the best competitor: {SCORES[score][0]}\n\n{markdown(rows)}")
    return "\n".join(parts)


def column(records: Records, kind: str, method: str, score: str) -> dict[str, float]:
    """A method's numbers, by picture."""
    return {
        picture: float(record[score])
        for (picture, other, name), record in records.items()
        if other == kind and name == method and score in record
    }


def methods_of(records: Records) -> list[str]:
    """Ours first, then the others in their order."""
    names = dict.fromkeys(name for _, _, name in records)
    return [name for name in OURS if name in names] + [name for name in names if name not in OURS]


def _table(records: Records, kind: str) -> str:
    rows = []
    for method in methods_of(records):
        psnr, times = column(records, kind, method, "psnr"), column(records, kind, method, "cpu")
        if not psnr:
            continue
        row: dict[str, object] = {"method": method, "pictures": len(psnr)}
        for score, (title, digits, _) in SCORES.items():
            values = list(column(records, kind, method, score).values())
            row[title] = f"{np.mean(values):.{digits}f}" if values else ""
        middle, late = np.quantile(list(times.values()), [0.5, 0.95])
        row["CPU seconds a picture, median (95 %)"] = f"{_short(middle)} ({_short(late)})"
        rows.append(row)
    return markdown(rows) + _took(records, kind)


def _short(seconds: float) -> str:
    return f"{seconds:.4f}" if seconds < 0.01 else f"{seconds:.3f}" if seconds < 1 else f"{seconds:.1f}"


def _took(records: Records, kind: str) -> str:
    """Which methods `fill` took."""
    total: dict[str, int] = {}
    for (_, other, method), record in records.items():
        if other == kind and method == "fill":
            for name, pixels in record.get("took", {}).items():
                total[name] = total.get(name, 0) + pixels
    whole = sum(total.values())
    shares = ", ".join(f"{name} {pixels / whole:.0%}" for name, pixels in sorted(total.items()))
    return f"\n`fill` took, of the holes' pixels: {shares}.\n" if whole else ""


def best_competitor(records: Records, kind: str, score: str, ours: str) -> str | None:
    """The other method with the best mean over the pictures that ours has; None without any."""
    sign, pictures = SCORES[score][2], column(records, kind, ours, score)
    means = {}
    for method in methods_of(records):
        values = column(records, kind, method, score)
        if method not in OURS and pictures and set(values) >= set(pictures):
            means[method] = sign * np.mean([values[picture] for picture in pictures])
    return max(means, key=lambda method: means[method]) if means else None


def verdict(found: Comparison, sign: int, margin: float | None = None) -> str:
    """A difference in the protocol's words.

    Args:
        found: Ours minus the best competitor's.
        sign: 1 where more is better, else -1.
        margin: How far the interval may reach to the worse side for `not behind`; None where that is not tested.

    Returns:
        `ahead`, `behind`, `not behind`, or `no difference found`.
    """
    if max(found.p_t, found.p_flips) < LEVEL:
        return "ahead" if sign * found.difference > 0 else "behind"
    return "not behind" if margin is not None and found.low > -margin else "no difference found"


def _against_best(records: Records, kinds: list[str], score: str) -> list[dict[str, object]]:
    _, digits, sign = SCORES[score]
    rows, p_values = [], []
    for ours in OURS:
        for kind in kinds:
            best = best_competitor(records, kind, score, ours)
            if best is None:
                continue
            found = compare(column(records, kind, ours, score), column(records, kind, best, score))
            better = found.larger if sign > 0 else 1 - found.larger
            interval = f"[{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
            row: dict[str, object] = {"ours": ours, "holes": kind, "best competitor": best, "pictures": found.count}
            row |= {"difference [95 %]": f"{found.difference:+.{digits}f} {interval}", "better in": f"{better:.0%}"}
            row |= {"p (t)": f"{found.p_t:.2g}", "p (flips)": f"{found.p_flips:.2g}"}
            rows.append(row | {"verdict": verdict(found, sign, MARGINS.get(score))})
            p_values.append(max(found.p_t, found.p_flips))
    if len(rows) > 1:
        for row, p in zip(rows, holm(p_values), strict=True):
            row["p, Holm"] = f"{p:.2g}"
    return rows
