"""The papers' claims on padding, tested on the runs of `benchmarks.evidence_runs` as the protocols say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from benchmarks.evidence_rows import Cells, Claim, Form, Row, corrected

__all__ = ["OTHERS", "TOP1", "classification", "crossed", "gauss", "segmentation"]

OTHERS = ("partial", "reflect", "replicate")
TOP1 = "test/top1"


def classification(cells: Cells) -> list[Row]:
    """2018 T2 to T4, F3; 2022 F4, T8, F9, F11."""
    published = {
        "partial": "+0.32 to +0.69 (VGG), +0.25 to +0.48 (ResNet)",
        "reflect": "−0.44 to +0.04",
        "replicate": "−0.16 to +0.09",
    }
    claims = {
        "partial": "Partial padding classifies better than zeros",
        "reflect": "Reflection is not better than zeros",
        "replicate": "Replication is not better than zeros",
    }
    zeros = cells.metric("zeros", TOP1)
    family = [
        Claim(
            Row(claims[one], "2018 T2, 2022 F4", published[one] + " points", ""),
            cells.differences(cells.metric(one, TOP1), zeros),
            Form(),
            sign=1 if one == "partial" else -1,
        )
        for one in OTHERS
    ]
    explicit = Claim(
        Row("Explicit padding classifies worst: worse than zeros", "2022 F4", "no numbers printed", ""),
        cells.differences(cells.metric("explicit", TOP1), zeros),
        Form(),
        sign=-1,
    )
    rows = corrected([*family, explicit])
    images = _over_images(cells)
    if images:
        rows[0] = replace(rows[0], ours=f"{rows[0].ours}; over images {images}")
    last5 = Claim(
        Row("… and in the mean of the last five epochs", "2018 T3", "+0.28 to +0.68 points", ""),
        cells.differences(_last_five(cells, "partial"), _last_five(cells, "zeros")),
        Form(),
        prefix="validation ",
    )
    rows += corrected([last5])
    return [*rows, _spread(cells), _epochs(cells), *crossed(cells), *_features(cells)]


def _over_images(cells: Cells) -> str:
    seeds = [seed for seed in cells.runs.get("partial", {}) if seed in cells.runs.get("zeros", {})]
    if not seeds:
        return ""
    means = [
        np.mean([[int(one) for one in cells.runs[arm][seed]["correct"][arm]] for seed in seeds], axis=0)
        for arm in ("partial", "zeros")
    ]
    found = stats.ttest_1samp(means[0] - means[1], 0)
    interval = found.confidence_interval()
    low, high = (f"{100 * value:+.2f}" for value in (interval.low, interval.high))
    return f"[{low}, {high}], p {found.pvalue:.2g}"


def _last_five(cells: Cells, arm: str) -> dict[int, float]:
    return {seed: float(np.mean(_curve(run["history"])[-5:])) for seed, run in cells.runs.get(arm, {}).items()}


def _curve(history: dict[str, float]) -> list[float]:
    return [history[epoch] for epoch in sorted(history, key=int)]


def _spread(cells: Cells) -> Row:
    row = Row(
        "Runs with partial padding spread less than with zeros",
        "2018 T2",
        "stdev .058 to .121 against .086 to .244 points; equal for ResNet-152",
        "",
    )
    partial, zeros = (list(cells.metric(arm, TOP1).values()) for arm in ("partial", "zeros"))
    if min(len(partial), len(zeros)) < 3:
        return replace(row, ours=f"{min(len(partial), len(zeros))} seeds")
    ratio = np.var(partial, ddof=1) / np.var(zeros, ddof=1)
    freedom = len(partial) - 1, len(zeros) - 1
    below = stats.f.cdf(ratio, *freedom)
    p = float(2 * min(below, 1 - below))
    low, high = math.sqrt(ratio / stats.f.ppf(0.975, *freedom)), math.sqrt(ratio / stats.f.ppf(0.025, *freedom))
    stdev = [100 * float(np.std(values, ddof=1)) for values in (partial, zeros)]
    ours = f"stdev {stdev[0]:.2f} against {stdev[1]:.2f} points, ratio {math.sqrt(ratio):.2f} [{low:.2f}, {high:.2f}]"
    if p < 0.05:
        said = "**confirmed**" if ratio < 1 else "**contradicted**"
    else:
        said = f"undecided at this size: {_seeds_of_ratio(ratio)}"
    return replace(row, ours=ours, p=f"{p:.2g} (F-test)", verdict=said)


def _seeds_of_ratio(ratio: float) -> str:
    """How many runs of each an F-test needs to find a ratio of variances."""
    wide = max(ratio, 1 / ratio)
    for count in range(3, 2001):
        limit = stats.f.ppf(0.975, count - 1, count - 1)
        if stats.f.sf(limit / wide, count - 1, count - 1) >= 0.8:
            return f"the ratio seen would take about {count} seeds"
    return "the ratio seen would take more than 2000 seeds"


def _epochs(cells: Cells) -> Row:
    row = Row(
        "Partial padding reaches a level in fewer epochs than zeros", "2018 F3", "63 against 68 epochs to 74.9 %", ""
    )
    curves = {
        arm: np.mean([_curve(run["history"]) for run in cells.runs[arm].values()], axis=0)
        for arm in ("partial", "zeros")
        if cells.count(arm)
    }
    if len(curves) < 2:
        return replace(row, ours="no runs")
    level = float(curves["zeros"].max())
    reached = {
        arm: int(np.argmax(curve >= level)) + 1 if curve.max() >= level else None for arm, curve in curves.items()
    }
    ours = ", ".join(f"{arm} {epoch if epoch else 'never'}" for arm, epoch in reached.items())
    ours = f"epochs of {len(curves['zeros'])} to {100 * level:.1f} % on the mean curves: {ours}"
    partial, zeros = reached["partial"], reached["zeros"]
    fewer = partial is not None and zeros is not None and partial < zeros
    said = "fewer, as claimed; a count without a test" if fewer else "not seen; a count without a test"
    return replace(row, ours=ours, verdict=said)


def crossed(cells: Cells) -> list[Row]:
    """Weights under other paddings than their own; the last two rows compare zeros with partial."""

    def loss(arm: str, tested: str) -> dict[int, float]:
        own, other = cells.top1(arm, arm), cells.top1(arm, tested)
        return {seed: other[seed] - own[seed] for seed in own if seed in other}

    source = "2018 T4, 2022 T8"
    rows = [
        Claim(
            Row("Weights trained with zeros lose much under partial", source, "−16.36 points", ""),
            list(loss("zeros", "partial").values()),
            Form(),
            sign=-1,
        ),
        Claim(
            Row("Weights trained with partial lose little under zeros", source, "−0.73 points", ""),
            list(loss("partial", "zeros").values()),
            Form(),
            sign=-1,
        ),
        Claim(
            Row("… zeros lose more under partial than partial under zeros", source, "15.63 points more", ""),
            cells.differences(loss("partial", "zeros"), loss("zeros", "partial")),
            Form(),
        ),
        Claim(
            Row(
                "On average partial loses less under the other paddings than zeros do",
                "2022 T8",
                "−2.21 against −7.43",
                "",
            ),
            cells.differences(_average_loss(loss, "partial"), _average_loss(loss, "zeros")),
            Form(),
        ),
    ]
    found = corrected(rows)
    found[1] = replace(found[1], verdict=_small(found[1].verdict))
    return found


def _small(said: str) -> str:
    return "a loss, the size beside the paper's" if "confirmed" in said else said


def _average_loss(loss: Callable[[str, str], dict[int, float]], arm: str) -> dict[int, float]:
    parts = [loss(arm, tested) for tested in ("zeros", "reflect", "replicate", "partial") if tested != arm]
    return {
        seed: float(np.mean([part[seed] for part in parts])) for seed in parts[0] if all(seed in part for part in parts)
    }


def _features(cells: Cells) -> list[Row]:
    largest = Row("Of all pairs, zeros under partial move the last maps most", "2022 F9", "a picture", "")
    uneven = Row("… and most at corners and borders", "2022 F9, F10", "a picture, largest at the left corner", "")
    active = Row(
        "With zeros the last maps are more active at borders than with partial", "2018 F5, 2022 F11", "pictures", ""
    )
    moved = {
        (arm, tested): np.mean([run["moved"][tested] for run in cells.runs[arm].values()], axis=0)
        for arm in ("zeros", "reflect", "replicate", "partial")
        if cells.count(arm)
        for tested in next(iter(cells.runs[arm].values())).get("moved", {})
    }
    if ("zeros", "partial") not in moved:
        return [replace(row, ours="no runs") for row in (largest, uneven, active)]
    order = sorted(moved, key=lambda pair: -float(moved[pair].mean()))
    means = {pair: float(moved[pair].mean()) for pair in order}
    first, second = order[:2]
    said = "as claimed; a rank without a test" if first == ("zeros", "partial") else "not seen; a rank without a test"
    ours = ", then ".join(f"{arm} under {tested} {means[arm, tested]:.3f}" for arm, tested in (first, second))
    rows = [replace(largest, ours=ours, verdict=said)]
    rows += corrected(
        [
            Claim(
                uneven,
                _border_logs(cells, "zeros", "partial"),
                Form(2, 1, "", ratio=True),
                prefix="border over inside ",
            ),
            Claim(
                active,
                cells.differences(_active(cells, "zeros"), _active(cells, "partial")),
                Form(2, 1, "", ratio=True),
                prefix="border over inside, zeros to partial ",
            ),
        ]
    )
    return rows


def _border_logs(cells: Cells, arm: str, tested: str) -> list[float]:
    return [border_log(run["moved"][tested]) for _, run in sorted(cells.runs[arm].items())]


def _active(cells: Cells, arm: str) -> dict[int, float]:
    return {seed: border_log(run["activation"]) for seed, run in cells.runs.get(arm, {}).items()}


def border_log(values: Sequence[Sequence[float]]) -> float:
    """The logarithm of the mean at a map's border positions over that of the others."""
    found = np.asarray(values)
    inside = np.zeros(found.shape, dtype=bool)
    inside[1:-1, 1:-1] = True
    return float(np.log(found[~inside].mean() / found[inside].mean()))


def gauss(cells: Cells) -> list[Row]:
    """2022 T2."""
    published = {"zeros": "81.8", "reflect": "66.1", "replicate": "64.4", "explicit": "100"}
    rows = []
    for metric, where in (("test/mse", ""), ("test/border_mse", " in the outermost 6 pixels")):
        family = []
        for other, percent in published.items():
            better = other != "explicit"
            claim = f"Partial errs {'less' if better else 'more'} than {other} in a Gaussian filter{where}"
            numbers = f"94.7 against {percent} % of the best" if not where else "not printed"
            logs = [
                {seed: math.log(value) for seed, value in cells.metric(arm, metric).items()}
                for arm in ("partial", other)
            ]
            row = Row(claim, "2022 T2", numbers, "")
            differences = cells.differences(*logs)
            form = Form(3, 1, "", ratio=True)
            family.append(Claim(row, differences, form, sign=-1 if better else 1, prefix="error ", flips=True))
        rows += corrected(family)
    return [*rows, _relative(cells)]


def _relative(cells: Cells) -> Row:
    order = ("explicit", "partial", "zeros", "reflect", "replicate")
    means = {arm: float(np.mean(list(found.values()))) for arm in order if (found := cells.metric(arm, "test/mse"))}
    row = Row(
        "Relative percentage over best",
        "2022 T2",
        "explicit 100, partial 94.7, zeros 81.8, reflect 66.1, replicate 64.4",
        "",
    )
    if len(means) < 2:
        return replace(row, ours="no runs")
    best = min(means.values())
    ours = ", ".join(f"{arm} {100 * best / value:.1f} ({value:.2e})" for arm, value in means.items())
    return replace(row, ours=ours, verdict="the means, tested above")


def segmentation(cells: Cells) -> list[Row]:
    """2018 T5 to T7, 2022 T3 and T4."""
    regular, tiles = "test/regular/mIoU", "test/tile96_o0/mIoU"

    def lead(other: str, metric: str) -> dict[int, float]:
        first, second = cells.metric(other, metric), cells.metric("zeros", metric)
        return {seed: first[seed] - second[seed] for seed in first if seed in second}

    def leads(claims: dict[str, tuple[str, str, int]], source: str, metric: str) -> list[Row]:
        return corrected(
            [
                Claim(Row(claim, source, published, ""), list(lead(other, metric).values()), Form(), sign=sign)
                for other, (claim, published, sign) in claims.items()
            ]
        )

    rows = leads(
        {
            "partial": ("Partial padding segments whole images better than zeros", "+0.11 to +0.33 points", 1),
            "replicate": ("Replication segments whole images worse than zeros", "−0.38 to −0.78 points", -1),
        },
        "2018 T5, 2022 T3",
        regular,
    )
    rows += leads(
        {
            "partial": ("… and better by tiles without overlap", "+0.38 points", 1),
            "replicate": ("Replication segments tiles worse than zeros", "−1.23 points", -1),
        },
        "2018 T6, 2022 T4",
        tiles,
    )
    gained = cells.differences(lead("partial", tiles), lead("partial", regular))
    overlap = cells.differences(lead("partial", "test/tile96_o0.33/mIoU"), lead("partial", regular))
    border, whole = (f"test/border_tile96/leave_{name}/mIoU" for name in ("0.875", "0.000"))
    wider = cells.differences(lead("partial", border), lead("partial", whole))
    rows += corrected(
        [
            Claim(
                Row("Partial gains more from tiles than zeros do", "2018 T6", "0.36 points more", ""), gained, Form()
            ),
            Claim(Row("… and from tiles with 1/3 overlap", "2018 T6", "0.36 points more", ""), overlap, Form()),
        ]
    )
    claim = "Partial's lead grows towards the border (7/8 left out against nothing)"
    return [*rows, *corrected([Claim(Row(claim, "2018 T7, 2022 T4", "0.87 points more", ""), wider, Form())])]
