"""Reports of runs that validate several times in an epoch."""

import csv
import json

import pytest

from pcpad.commands.comparison.grid import PADDING, SEED, Grid, expand
from pcpad.commands.comparison.grid_file import enter_grid, read_grid
from pcpad.commands.comparison.metrics import Metric
from pcpad.commands.comparison.plots import draw_convergence
from pcpad.commands.comparison.report import all_tables, footnotes
from pcpad.commands.comparison.results import Study
from pcpad.commands.comparison.runs import read_run

TOP1, OTHER, TRAINING = Metric("val/top1", "max"), Metric("val/top5", "max"), Metric("train/loss", "min")


def write_fit(root, cell, history, by, logs=()):
    run = root / cell.name / "fit" / "fake" / "version_0"
    run.mkdir(parents=True)
    entry = {"monitor": "val/top1", "history": history, "finished": True, "metrics": {}}
    (run / "results.json").write_text(json.dumps({"fit": {**entry, **({"history_by": by} if by else {})}}))
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["epoch", "step", "val/top5", "train/loss"], *logs])


@pytest.fixture
def grid(tmp_path):
    axes = {PADDING: ("zeros", "partial"), SEED: ("0",)}
    resolved = {"checkpoint": {"monitor": "val/top1", "mode": "max"}, "results": {"last_epochs": 2}}
    return enter_grid(tmp_path, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved, reach=(0.7,)))


HISTORIES = {"zeros": {100: 0.8, 200: 0.5, 300: 0.6}, "partial": {100: 0.6, 200: 0.7, 300: 0.65}}
LOGS = [[0, 99, 0.9, ""], [0, 149, "", 3.0], [0, 199, 0.6, ""], [1, 299, 0.8, ""], [1, 299, "", 2.0]]


def test_best_and_mean_are_over_validations(grid, tmp_path):
    cell = grid.cells[0]
    write_fit(tmp_path, cell, HISTORIES["zeros"], "step", LOGS)
    run = read_run(tmp_path, grid, cell)
    assert run.value(TOP1, "best") == 0.8
    assert run.value(TOP1, "last") == pytest.approx(0.55)
    # The other metrics' values are from the log, of each validation as well.
    assert run.epochs(OTHER) == {100: 0.9, 200: 0.6, 300: 0.8}
    assert (run.by(TOP1), run.by(OTHER), run.by(TRAINING)) == ("step", "step", "epoch")
    assert run.epochs(TRAINING) == {0: 3.0, 1: 2.0}


def test_texts_say_validations_and_steps(grid, tmp_path):
    for cell in grid.cells:
        write_fit(tmp_path, cell, HISTORIES[cell.values[PADDING]], "step")
    study = Study(tmp_path, read_grid(tmp_path))
    text = "\n".join(table.markdown() for table in all_tables(study))
    assert "best validation of each run" in text
    assert "mean of the last 2 validations" in text
    assert "Steps trained until val/top1 ≥ 0.7" in text
    assert "| partial | 200 | 200.0 |" in text
    assert "epoch" not in text.lower()
    assert draw_convergence(study, tmp_path / "curves.png").is_file()
    assert not any("earlier version" in note for note in footnotes(study))


@pytest.mark.faults
def test_runs_of_which_some_validations_are_lost_are_named(grid, tmp_path):
    for cell, by in zip(grid.cells, (None, "step"), strict=True):
        write_fit(tmp_path, cell, {0: 0.9} if by is None else HISTORIES["partial"], by)
    study = Study(tmp_path, read_grid(tmp_path))
    (note,) = (note for note in footnotes(study) if "earlier version" in note)
    assert "padding=zeros" in note
    text = "\n".join(table.markdown() for table in all_tables(study))
    assert "| zeros | missing |" in text  # epochs are not counted among steps


@pytest.mark.faults
def test_a_history_by_something_else_is_damaged(grid, tmp_path):
    write_fit(tmp_path, grid.cells[0], {0: 0.9}, "hour")
    run = read_run(tmp_path, grid, grid.cells[0])
    assert not run.finished
    assert "hour" in run.damaged[0]
