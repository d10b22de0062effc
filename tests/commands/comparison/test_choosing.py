"""What is chosen on validation."""

import json
import math

import pytest

from pcpad.commands.comparison.cells import remaining, steps, waits_for, write_failures
from pcpad.commands.comparison.choosing import decide, tune_cells_for, tuned_table
from pcpad.commands.comparison.grid import PADDING, SEED, Grid, Tuning, expand
from pcpad.commands.comparison.grid_file import enter_grid, read_grid
from pcpad.commands.comparison.tuning import read_choices, read_tuning

RATES = Tuning({"model.lr": ("0.1", "0.01", "0.001")}, "1000")


def make_grid(root, mode="max", paddings=("zeros", "partial"), tuning=RATES):
    axes = {PADDING: paddings, SEED: ("0", "1")}
    resolved = {"checkpoint": {"monitor": "val/top1", "mode": mode}}
    return enter_grid(root, Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved, tuning=tuning))


def write_fit(root, cell, history, by=None):
    history = dict(enumerate(history)) if by is None else history
    entry = {"history": history, "metrics": {}, **({} if by is None else {"history_by": by})}
    run = root / cell.name / "fit" / "fake" / "version_0"
    run.mkdir(parents=True)
    (run / "results.json").write_text(json.dumps({"fit": entry}))


def tune(root, grid, scores):
    for cell in grid.tune_cells:
        history = scores.get((cell.values[PADDING], cell.values["model.lr"]))
        if history is not None:
            write_fit(root, cell, history)


def test_each_padding_has_its_own_best_by_validation_alone(tmp_path):
    grid = make_grid(tmp_path)
    assert [cell.name for cell in grid.tune_cells[:2]] == [
        "tune/padding=zeros/model.lr=0.1/seed=1000",
        "tune/padding=zeros/model.lr=0.01/seed=1000",
    ]
    assert len(grid.tune_cells) == 6
    assert [step.name for step in steps(tmp_path, grid, grid.tune_cells[0])] == ["fit"]  # never a test
    assert waits_for(tmp_path, grid, grid.cells[0]) == "model.lr is not chosen yet"
    tune(
        tmp_path,
        grid,
        {
            ("zeros", "0.1"): [0.5, 0.8, 0.1],  # its best epoch counts
            ("zeros", "0.01"): [0.6, 0.7, 0.7],
            ("zeros", "0.001"): [0.1],
            ("partial", "0.1"): [0.9, math.nan],
            ("partial", "0.01"): [0.2],
            ("partial", "0.001"): [0.2],
        },
    )
    assert decide(tmp_path, grid) == []
    chosen = {group: choice["chosen"] for group, choice in read_choices(tmp_path, grid).items()}
    assert chosen == {"padding=zeros": {"model.lr": "0.1"}, "padding=partial": {"model.lr": "0.01"}}
    for cell in grid.cells:
        assert waits_for(tmp_path, grid, cell) is None
        rate = "--model.lr=0.1" if cell.values[PADDING] == "zeros" else "--model.lr=0.01"
        assert all(rate in step.arguments for step in remaining(tmp_path, grid, cell))
    text = tuned_table(tmp_path, grid).markdown()
    assert "| padding=zeros | 0.1 | 80.000 | chosen |" in text
    assert "| padding=partial | 0.1 | not finite |  |" in text
    assert "padding=partial: model.lr=0.001 is as good; the first that was typed is taken." in text
    assert "padding=zeros: model.lr=0.1 is the largest that was tried; a better one may lie beyond." in text
    assert "padding=partial: model.lr=0.01" not in text
    assert "one run of the full length with seed 1000, 3 for each row" in text


def test_every_validation_counts_where_an_epoch_has_several(tmp_path):
    grid = make_grid(tmp_path, paddings=("zeros",))
    for cell, history in zip(grid.tune_cells, [{100: 0.5, 200: 0.4}, {100: 0.9, 200: 0.1}, {100: 0.6}], strict=True):
        write_fit(tmp_path, cell, history, by="step")
    assert decide(tmp_path, grid) == []
    assert read_choices(tmp_path, grid)["padding=zeros"]["chosen"] == {"model.lr": "0.01"}
    assert "Chosen on validation: val/top1, best validation" in tuned_table(tmp_path, grid).markdown()


def test_lower_is_better_where_the_recipe_says_so(tmp_path):
    grid = make_grid(tmp_path, "min", paddings=("zeros",))
    tune(tmp_path, grid, {("zeros", rate): [value] for rate, value in {"0.1": 3, "0.01": 1, "0.001": 2}.items()})
    assert decide(tmp_path, grid) == []
    assert read_choices(tmp_path, grid)["padding=zeros"]["chosen"] == {"model.lr": "0.01"}


def test_a_choice_waits_for_all_and_stays_once_it_is_made(tmp_path):
    grid = make_grid(tmp_path, paddings=("zeros",))
    tune(tmp_path, grid, {("zeros", "0.1"): [0.5], ("zeros", "0.01"): [0.4]})
    missing = grid.tune_cells[2]
    assert decide(tmp_path, grid) == [f"padding=zeros: {missing.name} has not come to its end"]
    (tmp_path / missing.name).mkdir(parents=True)
    write_failures(tmp_path / missing.name, [{"step": "fit", "error": "OutOfMemoryError: CUDA"}])
    assert decide(tmp_path, grid) == [f"padding=zeros: {missing.name} crashed: OutOfMemoryError: CUDA"]
    assert read_choices(tmp_path, grid) == {}
    # A rate that makes the loss infinite has lost, and the others are what there is to choose from.
    write_failures(tmp_path / missing.name, [{"step": "fit", "error": "pcpad: error: The loss is not finite (step 3)"}])
    assert decide(tmp_path, grid) == []
    made = (tmp_path / "tune.json").read_text()
    assert json.loads(made)["padding=zeros"]["chosen"] == {"model.lr": "0.1"}
    write_fit(tmp_path, missing, [0.9])
    assert decide(tmp_path, grid) == []
    assert (tmp_path / "tune.json").read_text() == made
    # Another padding later: its own choice, and the old one stays.
    grid = make_grid(tmp_path, paddings=("partial",))
    assert {cell.values[PADDING] for cell in grid.tune_cells} == {"zeros", "partial"}
    assert {cell.values[PADDING] for cell in tune_cells_for(tmp_path, grid, grid.cells)} == {"partial"}
    tune(tmp_path, grid, {("partial", rate): [0.1] for rate in RATES.options["model.lr"]})
    assert decide(tmp_path, grid) == []
    assert list(read_choices(tmp_path, grid)) == ["padding=zeros", "padding=partial"]


def test_nothing_finite_is_no_choice(tmp_path):
    grid = make_grid(tmp_path, paddings=("zeros",))
    tune(tmp_path, grid, {("zeros", rate): [math.inf] for rate in RATES.options["model.lr"]})
    assert decide(tmp_path, grid) == ["padding=zeros: val/top1 is not finite for any of the values to choose from"]


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"padding=zeros": {"chosen": {"model.lr": "9; rm"}, "candidates": []}}', b"\xff"]
)
def test_a_damaged_choice_is_none(tmp_path, content):
    grid = make_grid(tmp_path)
    (tmp_path / "tune.json").write_bytes(content)
    assert read_choices(tmp_path, grid) == {}
    assert waits_for(tmp_path, grid, grid.cells[0]) == "model.lr is not chosen yet"


def test_a_folder_keeps_to_what_it_chose_from(tmp_path):
    make_grid(tmp_path)
    assert read_grid(tmp_path).tuning == RATES
    for other in (None, Tuning({"model.lr": ("0.1", "0.01")}, "1000"), Tuning(RATES.options, "7")):
        with pytest.raises(ValueError, match=r"have --tune model.lr=0.1,0.01,0.001 \(seed 1000\), those asked for "):
            make_grid(tmp_path, tuning=other)


@pytest.mark.parametrize(
    ("typed", "seed", "said"),
    [
        (["model.lr"], "1000", "Expected --tune OPTION=A,B"),
        (["model.lr=0.1"], "1000", "there is nothing to choose from"),
        (["model.lr=0.1,0.1"], "1000", "Expected different values"),
        (["model.padding=zeros,partial"], "1000", "tuned, set or varies already"),
        (["model.width=1,2"], "1000", "--model.width is typed and varies too"),
        (["ckpt_path=a,b"], "1000", "--ckpt_path cannot be given"),
        (["model.lr=0.1,0.2"], "0", "--tune-seed 0 is one of --seeds"),
        (["model.lr=0.1,0.2"], "x", "--tune-seed must be a number"),
    ],
)
def test_what_cannot_be_chosen(tmp_path, typed, seed, said):
    grid = make_grid(tmp_path)
    with pytest.raises(ValueError, match=said):
        read_tuning(typed, seed, grid, set(grid.axes), ["--model.width=3"])
