"""What the runs on drawn data say of the papers' claims."""

import json
from itertools import product

import pytest
from scipy import stats

from benchmarks.evidence import SECTIONS, _section
from benchmarks.evidence_drawn_claims import _power, actions, runs_needed, synthesis
from benchmarks.evidence_rows import Cells


def write(folder, arm, seed, **content):
    (folder / f"{arm}, seed {seed}.json").write_text(json.dumps({"arm": arm, "seed": seed, **content}))


def test_how_many_runs_converge_is_apart_from_how_well_those_do(tmp_path):
    zeros = [0.2, 0.2, 0.3, 0.80, 0.82]
    partial = [0.9, 0.9, 0.9, 0.90, 0.93]
    for seed in range(5):
        write(tmp_path, "zeros", seed, test={"test/video_top1": zeros[seed]})
        write(tmp_path, "partial", seed, test={"test/video_top1": partial[seed]})
    rows = {row.claim: row for row in actions(Cells(tmp_path))}
    counted = rows["More runs converge with partial than with zeros"]
    assert counted.ours == "5 of 5 against 2 of 5"
    assert counted.p == "0.17 (Fisher)"
    assert counted.verdict.endswith("as claimed, would take about 10 runs of each")
    apart = rows["Of runs that converge, partial recognizes better than zeros"]
    assert apart.ours.startswith("91.5 against 81.0 %, +10.50 points")
    assert ", 2 seeds" in apart.ours
    assert "+43.60" not in apart.ours
    assert ", 5 seeds" in rows["Of all runs, partial recognizes better than zeros"].ours
    for claim, row in rows.items():
        assert (row.verdict == "not run yet") == claim.endswith("replicate")


def test_runs_whose_loss_was_not_finite_count_as_their_protocol_says(tmp_path):
    for seed in range(5):
        write(tmp_path, "partial", seed, test={"test/video_top1": 0.9 + 0.001 * seed}, cpu_seconds=1800)
        diverged = {"diverged": "The loss is not finite (epoch 1).", "test": {"test/video_top1": 1 / 6}}
        write(tmp_path, "zeros", seed, **(diverged if seed < 2 else {"test": {"test/video_top1": 0.7}}))
    cells = Cells(tmp_path)
    rows = {row.claim: row for row in actions(cells)}
    assert rows["More runs converge with partial than with zeros"].ours == "5 of 5 against 3 of 5"
    assert ", 3 seeds" in rows["Of runs that converge, partial recognizes better than zeros"].ours
    assert ", 5 seeds" in rows["Of all runs, partial recognizes better than zeros"].ours
    assert cells.diverged == {"zeros": dict.fromkeys((0, 1), "The loss is not finite (epoch 1).")}


def test_where_nothing_is_said_of_them_they_have_no_part_and_are_named(tmp_path):
    folder = tmp_path / "gauss_unet"
    folder.mkdir()
    write(folder, "zeros", 3, test={}, diverged="The loss is not finite (epoch 1).", cpu_seconds=3600)
    cells = Cells(folder)
    assert (cells.runs, cells.count("zeros"), cells.hours) == ({}, 1, 1)
    section = next(section for section in SECTIONS if section.experiment == "gauss_unet")
    text = _section(section, tmp_path)
    assert "not finite, and not repeated: zeros, seed 3: The loss is not finite (epoch 1)." in text
    assert "1.00 hours" in text


def test_one_arm_that_never_converges_decides(tmp_path):
    for seed in range(5):
        write(tmp_path, "partial", seed, test={"test/video_top1": 0.9})
        write(tmp_path, "replicate", seed, test={"test/video_top1": 0.2})
    rows = {row.claim: row for row in actions(Cells(tmp_path))}
    assert rows["More runs converge with partial than with replicate"].verdict == "**confirmed**"
    of_these = rows["Of runs that converge, partial recognizes better than replicate"]
    assert of_these.ours == "of 5 seeds none converges with both"
    assert of_these.verdict == "cannot be tested by these runs"


@pytest.mark.parametrize(("shares", "needed"), [((1.0, 0.0), 4), ((0.4, 0.4), None)], ids=["all or none", "equal"])
def test_runs_that_two_shares_take(shares, needed):
    assert runs_needed(*shares) == needed


def test_the_power_is_that_of_the_exact_test():
    count, shares = 6, (0.9, 0.3)
    power = sum(
        stats.binom.pmf(one, count, shares[0]) * stats.binom.pmf(other, count, shares[1])
        for one, other in product(range(count + 1), repeat=2)
        if stats.fisher_exact([[one, count - one], [other, count - other]]).pvalue < 0.05
    )
    assert _power(*shares, count) == pytest.approx(power)


def test_small_instances_are_apart(tmp_path):
    for seed in range(5):
        for arm, better in (("convolution", 0.0), ("panoptic partial", 0.1)):
            small = [[2, 0.3 + better + 0.001 * seed * better], [0, 0.0], [1, 0.3 + better]]
            large = [[1, 0.6 + 0.01 * seed * better]] * 3
            test = {"test/upsample_image/mIoU": 0.2 + better + 0.01 * seed * better}
            test |= {"test/upsample_image/real_mIoU": 0.4, "test/l1": 0.1 + 0.1 * better}
            write(tmp_path, arm, seed, small=small, large=large, real_small=small, real_large=large, test=test)
    (tmp_path / "judge.json").write_text(json.dumps({"arm": "judge", "cpu_seconds": 7200}))
    cells = Cells(tmp_path)
    assert cells.hours == 2
    rows = {row.claim: row for row in synthesis(cells)}
    small = rows["… and knows more of each small instance's pixels"]
    assert small.ours.startswith("40.0 against 30.0 %, real images 30.0 %, +10.01 points")
    assert small.verdict == "**confirmed**"
    assert rows["The gain is larger with small instances than with large ones"].verdict == "**confirmed**"
    assert rows["What it draws is nearer to the real image: ℓ1"].verdict.startswith("**contradicted**")


def test_without_runs_nothing_is_said(tmp_path):
    assert {row.verdict for row in [*actions(Cells(tmp_path)), *synthesis(Cells(tmp_path))]} == {"not run yet"}
