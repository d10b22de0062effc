"""Reports of `pcpad compare` from hand-written folders, against numbers worked out here."""

import csv
import json
import math
import statistics
import sys

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from pcpad import cli
from pcpad.commands.comparison.cells import CRASH_FILE, folder_of_test, remaining
from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid, read_grid
from pcpad.commands.comparison.report import COLUMNS
from pcpad.commands.comparison.results import Study

# The 2018 paper's Table 2, ResNet-50: best top-1 of five runs.
RESNET50 = {
    "zeros": [76.240, 76.074, 75.988, 76.136, 76.224],
    "partial": [76.606, 76.532, 76.638, 76.562, 76.716],
}
# Its Table 4: weights trained with zeros, run with partial.
CROSSED = [62.364, 55.576, 56.746, 61.824, 62.364]


def make_grid(root, axes, *, mode="max", monitor="val/top1", cross=False, metrics=()):
    resolved = {"checkpoint": {"monitor": monitor, "mode": mode}, "results": {"last_epochs": 5}}
    grid = Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved, metrics, cross=cross)
    return enter_grid(root, grid)


def write_fit(root, cell, history, *, version=0, finished=True, monitor="val/top1", logs=None):
    run = root / cell.name / "fit" / "fake" / f"version_{version}"
    run.mkdir(parents=True)
    entry = {"monitor": monitor, "history": dict(enumerate(history)), "finished": finished, "metrics": {}}
    (run / "results.json").write_text(json.dumps({"fit": entry}))
    rows = [{"epoch": epoch, "step": 9, **values} for epoch, values in (logs or {}).items()]
    names = list(dict.fromkeys(["epoch", "step", *(name for row in rows for name in row)]))
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def write_test(root, grid, cell, tested, metrics):
    run = folder_of_test(root, grid, cell, tested) / "fake" / "version_0"
    run.mkdir(parents=True)
    (run / "results.json").write_text(json.dumps({"test": {"metrics": metrics}}))


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def few_figures(request, monkeypatch):
    """Figures take longer than all the rest: one test draws them."""
    if "figures" not in request.node.name:
        monkeypatch.setattr("pcpad.commands.compare.draw", lambda study: [])


@pytest.fixture
def resnet(tmp_path):
    """The paper's ResNet-50 runs, with a cross test of the zero-padded ones."""
    root = tmp_path / "grid"
    axes = {PADDING: ("zeros", "partial"), SEED: tuple("01234")}
    grid = make_grid(root, axes, cross=True)
    for cell in grid.cells:
        padding, seed = cell.values[PADDING], int(cell.seed)
        top1 = RESNET50[padding][seed] / 100
        write_fit(root, cell, [0.1, top1, *[top1 - 0.001 * k for k in (1, 2, 3, 4)]])
        write_test(root, grid, cell, padding, {"test/top1": top1})
        other = CROSSED[seed] / 100 if padding == "zeros" else top1 - 0.00732
        write_test(root, grid, cell, {"zeros": "partial", "partial": "zeros"}[padding], {"test/top1": other})
    return root


def report(root, *args):
    cli.main(["compare", "--report", "--output", str(root), *map(str, args)])


def test_the_papers_table(resnet, capsys):
    report(resnet)
    printed = capsys.readouterr().out
    best = {row["padding"]: row for row in rows(resnet / "summary.csv") if row["measure"] == "best"}
    # As printed in the paper, but for the standard deviation, see the test below.
    assert 100 * float(best["zeros"]["mean"]) == pytest.approx(76.132, abs=6e-4)
    assert 100 * float(best["partial"]["mean"]) == pytest.approx(76.611, abs=6e-4)
    assert 100 * float(best["partial"]["diff"]) == pytest.approx(0.478, abs=6e-4)
    for padding, values in RESNET50.items():
        assert 100 * float(best[padding]["stdev"]) == pytest.approx(statistics.stdev(values))
    difference = np.subtract(RESNET50["partial"], RESNET50["zeros"])
    error = difference.std(ddof=1) / math.sqrt(5)
    t_97_5, t = 2.7764451052, difference.mean() / error  # Student's t at 0.975 with 4 degrees of freedom
    # The two-sided p-value with 4 degrees of freedom in closed form.
    s = t / math.sqrt(4 + t * t)
    p = 1 - s * (1 + (1 - s * s) / 2)
    assert float(best["partial"]["p"]) == pytest.approx(p, rel=1e-6)
    assert 100 * float(best["partial"]["ci_low"]) == pytest.approx(difference.mean() - t_97_5 * error, rel=1e-6)
    assert 100 * float(best["partial"]["ci_high"]) == pytest.approx(difference.mean() + t_97_5 * error, rel=1e-6)
    assert best["zeros"]["diff"] == best["zeros"]["p"] == ""
    assert best["partial"]["note"] == ""
    last = {row["padding"]: row for row in rows(resnet / "summary.csv") if row["measure"] == "last"}
    assert 100 * float(last["zeros"]["mean"]) == pytest.approx(76.1324 - 0.2)
    markdown = (resnet / "report.md").read_text()
    assert "| zeros | 76.240 | 76.074 | 75.988 | 76.136 | 76.224 | 5 | 76.132 | 0.105 | – | – | – |" in markdown
    assert "+0.478" in markdown
    assert "mean of the last 5 epochs" in markdown
    assert "divides by n − 1, as the 2018 paper's Tables 2 and 3 do for reflect and replicate. For zeros" in markdown
    assert "deviation of the five runs and their average, which is √(2/3) of this one" in markdown
    for text in ("+0.478", "mean of the last 5 epochs"):
        assert text in printed


@pytest.mark.faults
def test_the_papers_standard_deviations_are_of_two_kinds():
    """As the footnote of every report says: the 2018 paper's Table 2, runs and printed standard deviation."""
    printed = {
        "vgg16BN_zero": ([73.986, 73.826, 73.610, 73.778, 73.204], 0.244),
        "vgg16BN_partial": ([74.154, 74.072, 73.790, 73.898, 74.072], 0.121),
        "resnet50_zero": (RESNET50["zeros"], 0.086),
        "resnet50_partial": (RESNET50["partial"], 0.058),
        "resnet50_ref": ([76.188, 76.24, 76.38, 75.884, 76.182], 0.181),
        "resnet50_rep": ([76.048, 76.452, 76.19, 76.186, 76.158], 0.149),
    }
    for name, (runs, stdev) in printed.items():
        sample = statistics.stdev(runs)
        with_average = statistics.pstdev([*runs, statistics.fmean(runs)])
        assert with_average == pytest.approx(math.sqrt(2 / 3) * sample)
        assert stdev == pytest.approx(sample if name.endswith(("ref", "rep")) else with_average, abs=6e-4)
        assert stdev != pytest.approx(statistics.pstdev(runs), abs=6e-4), "which divides by n"


def test_the_papers_cross_testing(resnet, capsys):
    report(resnet)
    crossed = {(row["trained"], row["tested"]): row for row in rows(resnet / "cross.csv")}
    assert len(crossed) == 4
    assert 100 * float(crossed["zeros", "partial"]["mean"]) == pytest.approx(59.7748)
    assert 100 * float(crossed["zeros", "partial"]["diff"]) == pytest.approx(-16.357, abs=6e-4)
    assert 100 * float(crossed["partial", "zeros"]["diff"]) == pytest.approx(-0.732)
    assert crossed["partial", "zeros"]["p"] == ""  # all five drop by the same
    assert "no p-value" in crossed["partial", "zeros"]["note"]
    assert 0 < float(crossed["zeros", "partial"]["p"]) < 0.001
    assert crossed["zeros", "zeros"]["diff"] == ""
    assert "| zeros | 76.132 | 59.775 / -16.358 |" in (resnet / "report.md").read_text()
    assert "Cross testing" in capsys.readouterr().out


def test_lower_is_better_another_baseline_and_epochs_to_reach(tmp_path, capsys):
    root = tmp_path / "grid"
    grid = make_grid(root, {PADDING: ("reflect", "partial"), SEED: ("4", "7")}, mode="min", monitor="val/mse")
    histories = {("reflect", "4"): [3, 1, 2], ("reflect", "7"): [4, 3, 2.5], ("partial", "4"): [1, 0.5, 0.75]}
    histories["partial", "7"] = [2, 1, 0.5]
    for cell in grid.cells:
        write_fit(root, cell, histories[cell.values[PADDING], cell.seed], monitor="val/mse")
    report(root, "--reach", "1", "--reach", "0.1")
    found = {(row["padding"], row["measure"]): row for row in rows(root / "summary.csv") if row["metric"] == "val/mse"}
    assert float(found["reflect", "best"]["mean"]) == (1 + 2.5) / 2
    assert float(found["partial", "best"]["mean"]) == 0.5
    assert found["partial", "best"]["baseline"] == "reflect"  # the first, without zeros
    assert float(found["partial", "best"]["diff"]) == 0.5 - 1.75
    assert "low power: 2 pairs" in found["partial", "best"]["note"]
    assert float(found["reflect", "last"]["mean"]) == pytest.approx((2 + 9.5 / 3) / 2)
    text = (root / "report.md").read_text()
    assert "val/mse, best epoch of each run; lower is better" in text
    assert "| reflect | 2 | never | 2.0 | 1 of 2 |" in text
    assert "| partial | 1 | 2 | 1.5 | 0 of 2 |" in text
    assert "| partial | never | never | – | 2 of 2 |" in text
    assert "No finished run logged test/mse" in text
    assert "not tested" in capsys.readouterr().out
    report(root, "--baseline", "partial")
    assert {row["baseline"] for row in rows(root / "summary.csv")} == {"partial"}
    with pytest.raises(SystemExit):
        report(root, "--baseline", "mean")
    assert "none of what is compared: reflect, partial" in capsys.readouterr().err


@pytest.mark.faults
def test_no_best_epoch_where_nothing_says_which_way_is_better(tmp_path, capsys):
    root = tmp_path / "grid"
    grid = make_grid(root, {PADDING: ("zeros",), SEED: ("0",)}, monitor=None, metrics=("val/score",))
    for cell in grid.cells:
        write_fit(root, cell, [0], monitor=None, logs={0: {"val/score": 3.0}, 1: {"val/score": 1.0}})
    report(root)
    words = " ".join(capsys.readouterr().out.split())
    assert "which way is better is not known: say --metric val/score:min or val/score:max" in words
    assert [row["measure"] for row in rows(root / "summary.csv")] == ["last"]
    with pytest.raises(SystemExit):
        report(root, "--reach", "2")
    assert "--reach cannot be counted" in capsys.readouterr().err
    report(root, "--reach", "2", "--metric", "val/score:min")
    best = {row["measure"]: float(row["mean"]) for row in rows(root / "summary.csv")}
    assert best == {"best": 1.0, "last": 2.0}
    assert "Epochs trained until val/score ≤ 2" in capsys.readouterr().out


@pytest.mark.faults
def test_a_report_remembers_what_the_runs_were_compared_with(tmp_path, capsys):
    root = tmp_path / "grid"
    axes = {PADDING: ("zeros", "partial"), SEED: ("0", "1")}
    resolved = {"checkpoint": {"monitor": "val/top1", "mode": "max"}}
    asked = Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved, baseline="partial", reach=(0.55,))
    enter_grid(root, asked)
    for cell in asked.cells:
        write_fit(root, cell, [0.5 if cell.values[PADDING] == "zeros" else 0.6])

    def difference():
        (row,) = (row for row in rows(root / "summary.csv") if row["measure"] == "best" and row["diff"])
        return row["padding"], row["baseline"], round(float(row["diff"]), 6)

    report(root)
    assert difference() == ("zeros", "partial", -0.1)
    assert "Epochs trained until val/top1 ≥ 0.55" in capsys.readouterr().out
    report(root, "--baseline", "zeros")
    assert difference() == ("partial", "zeros", 0.1)
    # More seeds, and nothing said of the baseline: it stays.
    axes = {PADDING: ("zeros", "partial"), SEED: ("2",)}
    grid = enter_grid(root, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved))
    assert (grid.baseline, grid.reach, len(grid.cells)) == ("partial", (0.55,), 6)
    axes = {PADDING: ("reflect",), SEED: ("0",)}
    with pytest.raises(ValueError, match="--baseline 'mean' is none of what is compared: zeros, partial, reflect"):
        enter_grid(root, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved, baseline="mean"))


def test_crashed_unfinished_and_nan_runs_are_named_and_never_averaged(tmp_path, capsys):
    root = tmp_path / "grid"
    grid = make_grid(root, {PADDING: ("zeros", "partial"), SEED: ("0", "1", "2")}, metrics=("val/top1",))
    top1 = {("zeros", "0"): 0.5, ("zeros", "1"): 0.7, ("zeros", "2"): math.nan, ("partial", "0"): 0.9}
    for cell in grid.cells:
        padding = cell.values[PADDING]
        if (padding, cell.seed) in top1:
            write_fit(root, cell, [0.4, top1[padding, cell.seed]])
            write_test(root, grid, cell, padding, {})
    crashed, unfinished = (cell for cell in grid.cells if cell.values[PADDING] == "partial" and cell.seed != "0")
    write_fit(root, unfinished, [0.99], finished=False)
    (root / crashed.name).mkdir(parents=True)
    (root / crashed.name / CRASH_FILE).write_text(json.dumps([{"step": "fit", "error": "ValueError: too big"}]))
    with pytest.raises(SystemExit) as caught:
        report(root)
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert "padding=partial/seed=1 crashed: fit: ValueError: too big (log: " in printed.out
    assert "padding=partial/seed=2 is not finished" in printed.out
    assert "1 of 6 runs crashed" in printed.err
    found = {(row["padding"], row["measure"]): row for row in rows(root / "summary.csv")}
    assert (found["zeros", "best"]["n"], float(found["zeros", "best"]["mean"])) == ("2", pytest.approx(0.6))
    assert (found["partial", "best"]["n"], found["partial", "best"]["mean"]) == ("1", "0.9")
    assert found["partial", "best"]["stdev"] == ""
    assert found["partial", "best"]["note"] == "too few seeds for a p-value"
    text = (root / "report.md").read_text()
    assert "| zeros | 50.000 | 70.000 | nan | 2 | 60.000 | 14.142 | – | – | – |" in text
    assert "| partial | 90.000 | missing | missing | 1 | 90.000 | – | +40.000 | – | too few seeds |" in text
    assert "zeros: seed 2 left out of average, stdev and diff: not finite." in text
    assert "partial: too few seeds for a p-value." in text
    assert "ValueError: too big" in text
    states = {(row["padding"], row["seed"]): row["state"] for row in rows(root / "runs.csv")}
    assert states["partial", "1"] == "crashed: fit: ValueError: too big"
    assert states["partial", "2"] == "not finished"


def test_a_crash_that_was_mended_by_hand_is_forgotten(tmp_path):
    root = tmp_path / "grid"
    grid = make_grid(root, {PADDING: ("zeros",), SEED: ("0",)})
    write_fit(root, grid.cells[0], [0.5])
    (root / grid.cells[0].name / CRASH_FILE).write_text(json.dumps([{"step": "fit", "error": "x"}]))
    assert Study(root, grid).runs[0].failed == []


def test_settings_other_metrics_and_a_resumed_runs_log(tmp_path):
    root = tmp_path / "grid"
    axes = {PADDING: ("zeros", "partial"), "data.split": ("cv0", "cv2"), SEED: ("0",)}
    metrics = ("val/loss", "test/*/mIoU")
    grid = make_grid(root, axes, monitor="val/mIoU", metrics=metrics)
    for index, cell in enumerate(grid.cells):
        logs = {0: {"val/loss": 3.0}, 1: {"val/loss": 9.0}}
        write_fit(root, cell, [0.1], finished=False, logs=logs, monitor="val/mIoU")
        # The second epoch was not saved before the run was killed, and done again.
        logs = {1: {"val/loss": 2.0 + index, "train/loss": 1.0}}
        write_fit(root, cell, [0.1, 0.2], logs=logs, version=1, monitor="val/mIoU")
        scores = {f"test/border_tile1024/leave_{part}/mIoU": 0.7 + index / 100 for part in ("0.000", "0.875")}
        write_test(root, grid, cell, cell.values[PADDING], {**scores, "test/regular/accuracy": 0.9})
    report(root)
    found = rows(root / "summary.csv")
    assert {row["data.split"] for row in found} == {"cv0", "cv2"}
    assert {row["metric"] for row in found} == {
        "val/loss",
        "test/border_tile1024/leave_0.000/mIoU",
        "test/border_tile1024/leave_0.875/mIoU",
    }
    loss = {(row["measure"], row["padding"], row["data.split"]): row for row in found if row["metric"] == "val/loss"}
    # The best of 3 and 2, though the monitored metric's best is the highest; cells are numbered split by split.
    assert float(loss["best", "zeros", "cv0"]["mean"]) == 2.0
    assert float(loss["last", "zeros", "cv0"]["mean"]) == 2.5
    assert float(loss["last", "zeros", "cv2"]["mean"]) == 3.0
    assert float(loss["last", "partial", "cv2"]["mean"]) == 4.0
    text = (root / "report.md").read_text()
    assert "data.split=cv2" in text
    assert "border_tile1024/leave_0.875/mIoU (%)" in text  # the overview, a column a metric
    report(root, "--metric", "val/los")
    assert "No finished run logged val/los. There are: val/loss." in (root / "report.md").read_text()


def test_the_same_numbers_stand_in_json(resnet):
    grid = read_grid(resnet)
    path = next(folder_of_test(resnet, grid, grid.cells[0], "zeros").rglob("results.json"))
    path.write_text('{"test": {"metrics": {"test/top1": null}}}')
    report(resnet)
    found = json.loads((resnet / "summary.json").read_text(), parse_constant=pytest.fail)
    assert (found["compared"], found["baseline"], found["monitor"]) == ("padding", "zeros", "val/top1")
    assert found["axes"] == {"padding": ["zeros", "partial"], "seed": list("01234")}
    for name in ("runs", "summary", "cross"):
        table = rows(resnet / f"{name}.csv")
        assert list(found[name][0]) == list(table[0])
        for one, two in zip(found[name], table, strict=True):
            assert ["" if value is None else str(value) for value in one.values()] == [
                "" if cell == "nan" else cell for cell in two.values()
            ]
    (best,) = (row for row in found["summary"] if row["measure"] == "best" and row["padding"] == "partial")
    assert best["p_holm"] == best["p"] < 0.05  # alone in its family
    assert best["p_flips"] == 2 / 32
    assert best["dz_low"] < best["dz"] < best["dz_high"]
    assert best["seeds_needed"] == 3
    assert "| 0.062 |" in (resnet / "report.md").read_text()


def test_items_are_compared_one_by_one(tmp_path, capsys):
    root = tmp_path / "grid"
    axes = {PADDING: ("zeros", "partial", "mean"), SEED: ("0", "1")}
    grid = make_grid(root, axes).with_tests({"checkpoint": "best", "arguments": [], "cross": False, "per_image": True})
    enter_grid(root, grid)
    scores = {  # loss of a, b and c by seed
        "zeros": ((1.0, 2.0, 3.0), (2.0, 2.0, 5.0)),
        "partial": ((0.5, 1.5, 3.0), (1.5, 2.5, 2.0)),
        "mean": ((1.0, 2.0, 3.0),),
    }
    for cell in grid.cells:
        write_fit(root, cell, [0.5])
        write_test(root, grid, cell, cell.values[PADDING], {"test/top1": 0.5})
        (left,) = remaining(root, grid, cell)  # its scores are missing
        assert left.arguments[-1].startswith("--per_image=")
        assert left.arguments[-1].endswith("/items.csv")
        if int(cell.seed) < len(scores[cell.values[PADDING]]):
            losses = dict(zip("abc", scores[cell.values[PADDING]][int(cell.seed)], strict=True))
            lines = [f"{name},{losses[name]},cat,7" for name in "cab"]  # in any order
            path = folder_of_test(root, grid, cell, cell.values[PADDING]) / "items.csv"
            path.write_text("\n".join(["file,loss,predicted,size", *lines, "d,,dog,7"]))
            assert not remaining(root, grid, cell)
    report(root)
    found = {row["padding"]: row for row in rows(root / "items.csv")}
    assert {row["score"] for row in found.values()} == {"loss"}
    # Differences of the means over both seeds: 1.0 - 1.5, 2.0 - 2.0, 2.5 - 4.0.
    assert (found["partial"]["items"], found["partial"]["seeds"]) == ("3", "2")
    assert float(found["partial"]["diff"]) == pytest.approx(-2 / 3)
    assert float(found["partial"]["better"]) == pytest.approx(2 / 3)
    assert float(found["partial"]["p"]) == pytest.approx(ttest_1samp([-0.5, 0, -1.5], 0).pvalue)
    assert float(found["partial"]["p_flips"]) == 0.5  # flipping the 0 changes nothing: 2 of 4
    # Of seed 0 alone, the one that both have.
    assert (found["mean"]["seeds"], float(found["mean"]["diff"])) == ("1", 0)
    assert float(found["mean"]["p_flips_holm"]) == 1
    assert (float(found["zeros"]["mean"]), found["zeros"]["diff"]) == (2.5, "")
    assert json.loads((root / "summary.json").read_text())["items"][1]["diff"] == pytest.approx(-2 / 3)
    assert "Item by item: loss; lower is better" in capsys.readouterr().out
    text = (root / "report.md").read_text()
    assert "| partial | 3 | 2 | 1.8333 | -0.6667 | " in text
    assert "what pairs of seeds are for" in text
    path.with_name("items.csv").write_text("file,loss\na,much\n")
    with pytest.raises(SystemExit):
        report(root)
    assert "items.csv is damaged (ValueError" in capsys.readouterr().err


def test_figures(resnet, monkeypatch, capsys):
    report(resnet)
    from PIL import Image

    for name in ("bars.png", "convergence.png"):
        with Image.open(resnet / name) as picture:
            assert picture.width > 600
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
        (resnet / name).unlink()
    assert "![bars](bars.png)" in (resnet / "report.md").read_text()
    for name in list(sys.modules):
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    capsys.readouterr()
    report(resnet)
    assert "No figures: they need matplotlib" in capsys.readouterr().out
    assert not (resnet / "bars.png").exists()
    assert "![" not in (resnet / "report.md").read_text()


def test_no_grid_there(tmp_path, capsys):
    for args in (["--report", "--output", str(tmp_path)], ["--report"]):
        with pytest.raises(SystemExit):
            cli.main(["compare", *args])
        assert "pcpad: error: No" in capsys.readouterr().err


def test_a_column_is_stated_once(resnet, monkeypatch, capsys):
    """One entry puts it into every table of statistics, on the terminal and in Markdown, and into both CSV files."""

    def least(row, numbers):
        value = min(row.finite.values())
        return numbers.plain(value), {"least": value}

    monkeypatch.setitem(COLUMNS, "lowest", least)
    report(resnet)
    printed = capsys.readouterr().out
    markdown = (resnet / "report.md").read_text()
    assert (
        "| zeros | 76.240 | 76.074 | 75.988 | 76.136 | 76.224 | 5 | 76.132 | 0.105 "
        "| – | – | – | – | – | – | – | 75.988 |" in markdown
    )
    assert printed.count("lowest") == markdown.count("| lowest |") == 4  # best, last and test; and cross testing
    least_of = {row["padding"]: float(row["least"]) for row in rows(resnet / "summary.csv") if row["measure"] == "best"}
    assert least_of == {padding: min(values) / 100 for padding, values in RESNET50.items()}
    crossed = {(row["trained"], row["tested"]): float(row["least"]) for row in rows(resnet / "cross.csv")}
    assert crossed["zeros", "partial"] == min(CROSSED) / 100


def test_brackets_are_no_markup(tmp_path, capsys):
    root = tmp_path / "grid"
    grid = make_grid(root, {"model.stages": ("[bold]", "[1, 2]"), SEED: ("0",)}, metrics=("val/top1",))
    for cell in grid.cells:
        write_fit(root, cell, [0.5])
    report(root)
    assert "[bold]" in capsys.readouterr().out


DAMAGE = [
    b"",
    b"{",
    b'{"fit": null}',
    b'{"test": {"metrics": {"test/top1": "high"}}}',
    b"\xff\xfe\0",
    b"[" * 100000,
    b"[1]",
]


@pytest.mark.faults
@pytest.mark.parametrize("content", DAMAGE, ids=lambda content: repr(content)[:20])
def test_a_damaged_result_is_named_the_rest_is_reported_and_it_is_run_again(resnet, capsys, content):
    grid = read_grid(resnet)
    cell = grid.cells[3]
    path = next(folder_of_test(resnet, grid, cell, cell.values[PADDING]).rglob("results.json"))
    before = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        report(resnet)
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert f"{cell.name}: {path} is damaged (" in "".join(printed.out.split("\n"))
    assert f"files of 1 of 10 runs are damaged: {cell.name}" in printed.err
    assert len(rows(resnet / "summary.csv")) > 2
    assert [step.name for step in remaining(resnet, grid, cell)] == [f"test under {cell.values[PADDING]}"]
    newer = path.parent.with_name("version_1") / "results.json"  # the step done again
    newer.parent.mkdir()
    newer.write_bytes(before)
    report(resnet)
    assert "is damaged" not in capsys.readouterr().out


@pytest.mark.faults
def test_a_metric_without_a_number_counts_as_not_finite(resnet, capsys):
    grid = read_grid(resnet)
    cell = grid.cells[0]
    path = next(folder_of_test(resnet, grid, cell, cell.values[PADDING]).rglob("results.json"))
    path.write_text('{"test": {"metrics": {"test/top1": null}}}')
    fit = next((resnet / cell.name / "fit").rglob("results.json"))
    content = json.loads(fit.read_text())
    content["fit"]["history"]["1"] = None
    fit.write_text(json.dumps(content))
    report(resnet)
    assert "seed 0 left out of average, stdev and diff: not finite." in (resnet / "report.md").read_text()
    assert {row["n"] for row in rows(resnet / "summary.csv") if row["padding"] == cell.values[PADDING]} == {"4"}


@pytest.mark.faults
def test_a_damaged_log_and_a_damaged_crash_file_are_no_traceback(tmp_path, capsys):
    root = tmp_path / "grid"
    grid = make_grid(root, {PADDING: ("zeros",), SEED: ("0",)})
    write_fit(root, grid.cells[0], [0.5])
    log = next(root.rglob("metrics.csv"))
    log.write_bytes(b"epoch,step,val/top1\n0,1,0.5\n1,2,\0\xff")
    (log.parent.with_name("version_of_mine")).mkdir()
    (root / grid.cells[0].name / CRASH_FILE).write_bytes(b"{")
    with pytest.raises(SystemExit):
        report(root)
    printed = capsys.readouterr()
    assert f"remove {log.parent}, and the cell is run again" in "".join(printed.out.split("\n"))
    assert "Traceback" not in printed.err


@pytest.mark.faults
@pytest.mark.parametrize(
    "content", [*DAMAGE, b'{"cells": [], "config": [], "arguments": [], "axes": [], "metrics": []}']
)
def test_a_damaged_grid_is_a_sentence(resnet, capsys, content):
    (resnet / "grid.json").write_bytes(content)
    with pytest.raises(SystemExit):
        report(resnet)
    printed = capsys.readouterr()
    assert f"pcpad: error: {resnet / 'grid.json'} is damaged (" in printed.err
    assert "restore it from a copy, or run the comparison with another --output" in printed.err
