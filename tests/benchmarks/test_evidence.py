"""EVIDENCE.md, and what decides its verdicts."""

import json

import numpy as np
import pytest

from benchmarks.evidence import PAGE, RESULTS, page
from benchmarks.evidence_claims import border_log, classification
from benchmarks.evidence_further import norms
from benchmarks.evidence_rows import Cells, Claim, Form, Row, corrected, verdict


@pytest.mark.slow
def test_committed_page_is_what_the_committed_results_make():
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS)


def claim_of(differences, sign):
    return Claim(Row("claim", "", "", ""), differences, Form(), sign=sign)


@pytest.mark.parametrize(
    ("differences", "sign", "said"),
    [
        ([0.010, 0.012, 0.011, 0.009, 0.010], 1, "**confirmed**"),
        ([0.010, 0.012, 0.011, 0.009, 0.010], -1, "**contradicted**"),
        ([0.010, -0.012, 0.011, -0.009, 0.002], 1, "undecided"),
    ],
    ids=["confirmed", "contradicted", "undecided"],
)
def test_verdict_follows_p_and_sign(differences, sign, said):
    assert corrected([claim_of(differences, sign)])[0].verdict.startswith(said)


def test_p_is_corrected_over_the_family_that_was_run():
    clear = [0.010, 0.012, 0.011, 0.009, 0.010]
    alone = corrected([claim_of(clear, 1)])[0]
    among = corrected([claim_of(clear, 1), claim_of([0.01, -0.01, 0.02], 1), claim_of([], 1)])
    assert float(among[0].p.split(";")[0]) == pytest.approx(2 * float(alone.p.split(";")[0]), rel=0.05)
    assert among[2].verdict == "not run yet"


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([0.5, 1.5, 1.0, 2.0, 0.0], "as claimed, would take about 8 seeds"),
        ([-0.5, -1.5, -1.0, -2.0, 0.0], "against the claim, would take about 8 seeds"),
        ([1.0, -1.0], "no difference was seen at all"),
        ([1.0, -1.0, 0.001], "would take more than 100000 seeds"),
    ],
    ids=["for", "against", "none", "next to none"],
)
def test_what_is_undecided_says_how_many_seeds_it_would_take(differences, words):
    assert words in verdict(differences, 1, p=0.5)


def test_border_places_are_the_outermost_ones():
    values = np.ones((8, 8))
    values[0], values[-1], values[:, 0], values[:, -1] = 2, 2, 2, 2
    assert border_log(values.tolist()) == pytest.approx(np.log(2))


def write_run(folder, arm, seed, top1, others):
    correct = {tested: "1" * round(100 * value) + "0" * round(100 - 100 * value) for tested, value in others.items()}
    moved = {tested: [[1.0, 1.0, 1.0], [1.0, 0.5, 1.0], [1.0, 1.0, 1.0]] for tested in others if tested != arm}
    content = {"arm": arm, "seed": seed, "test": {"test/top1": top1}, "history": {"0": 0.1 * seed, "1": top1}}
    content |= {"correct": correct, "moved": moved, "activation": [[1.0] * 3] * 3, "cpu_seconds": 1800}
    (folder / f"{arm}, seed {seed}.json").write_text(json.dumps(content))


def test_claims_are_computed_from_the_runs(tmp_path):
    for seed in range(5):
        write_run(tmp_path, "zeros", seed, 0.50 + 0.01 * seed, {"zeros": 0.50 + 0.01 * seed, "partial": 0.20})
        write_run(tmp_path, "partial", seed, 0.60 + 0.011 * seed, {"partial": 0.60, "zeros": 0.59})
    cells = Cells(tmp_path)
    assert cells.hours == pytest.approx(5.0)
    rows = {row.claim: row for row in classification(cells)}
    better = rows["Partial padding classifies better than zeros"]
    assert better.verdict == "**confirmed**"
    assert "+10.20 points" in better.ours
    assert rows["Reflection is not better than zeros"].verdict == "not run yet"
    assert rows["… zeros lose more under partial than partial under zeros"].verdict == "**confirmed**"


def test_norm_and_padding_are_compared_by_the_largest_effects_that_count(tmp_path):
    shares = {
        "zeros": 0.20,
        "partial": 0.15,
        "zeros, group norm": 0.20,
        "partial, group norm": 0.20,
        "zeros, instance norm": 0.29,
        "partial, instance norm": 0.22,
    }
    noise = np.random.default_rng(0)

    def write(arm, steps):
        for seed, step in enumerate(steps):
            near = list(shares[arm] + step + noise.normal(0, 0.01, 40))
            (tmp_path / f"{arm}, seed {seed}.json").write_text(json.dumps({"arm": arm, "seed": seed, "near": near}))

    for arm in shares:
        write(arm, (0, 0, 0))
    answer = norms(Cells(tmp_path))[-1]
    assert answer.verdict == "**norm**"
    assert "norm +9." in answer.ours or "norm +8." in answer.ours
    assert "(zeros, instance norm against zeros)" in answer.ours
    write("zeros, instance norm", (0.1, 0.1, -0.3))  # the largest, but the seeds disagree
    answer = norms(Cells(tmp_path))[-1]
    assert "padding -" in answer.ours
    assert answer.ours.endswith("(partial, instance norm against partial), the largest that count")
    (tmp_path / "zeros, group norm, seed 1.json").unlink()
    assert norms(Cells(tmp_path))[-1].verdict == "not run yet"
