"""Options that follow from what varies, and runs that start from those of an earlier comparison."""

import json
from dataclasses import replace

import pytest

from pcpad.commands.comparison.cells import remaining, steps, waits_for
from pcpad.commands.comparison.grid import PADDING, SEED, Cell, Grid, Tuning, expand
from pcpad.commands.comparison.grid_file import enter_grid
from pcpad.commands.comparison.templates import check_templates, filled, predecessor, read_templates

AXES = {PADDING: ("zeros", "partial"), "model.network": ("timm/a", "b"), SEED: ("0", "1")}


def make_grid(axes=AXES, **said):
    return Grid(("fake.yaml",), (), tuple(axes), expand(axes), resolved={}, **said)


def set_to(text, after=None):
    return read_templates([f"model.weights={text}"], after, tuple(AXES), [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pre/{padding}/{seed}.x", "pre/partial/1.x"),
        ("{network}-{model.network}-{seed_everything}", "timm/a-timm/a-1"),
        ("{{padding}} {{{padding}}}", "{padding} {partial}"),
        ("{{a: [{seed}, 2]}}", "{a: [1, 2]}"),
        ("as it is", "as it is"),
    ],
)
def test_names_are_replaced_and_braces_are_doubled(text, expected):
    grid = make_grid(templates=set_to(text))
    cell = Cell({PADDING: "partial", "model.network": "timm/a", SEED: "1"})
    assert filled(grid, cell) == [f"--model.weights={expected}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{paddin}", r"{paddin} is none of {padding}, {model.network}, {seed}, .*Did you mean '{padding}'"),
        ("{}", "{} is none of"),
        ("{padding", "a single '{'"),
        ("padding}", "a single '}'"),
        ("{after}", "needs --after DIR"),
        ("{padding.__class__}", "is none of"),
    ],
)
def test_unknown_names_are_refused_with_those_there_are(text, said):
    with pytest.raises(ValueError, match=said):
        set_to(text)


def test_an_option_is_set_once():
    for typed in (["model.weights=a", "model.weights=b"], ["model.network=a"], ["model.weights"], ["ckpt_path=a"]):
        with pytest.raises(ValueError, match=r"--set|--ckpt_path cannot be given"):
            read_templates(typed, None, tuple(AXES), [])
    with pytest.raises(ValueError, match="is typed and varies too"):
        read_templates(["model.weights=a"], None, tuple(AXES), ["--model.weights=b"])
    with pytest.raises(ValueError, match="--after has no effect"):
        set_to("{padding}", "pre")


def test_files_that_are_not_there_are_named_before_anything_runs(tmp_path):
    grid = make_grid({PADDING: ("zeros", "partial"), SEED: ("0",)}, templates={"w": f"{tmp_path}/{{padding}}.ckpt"})
    (tmp_path / "zeros.ckpt").touch()
    with pytest.raises(FileNotFoundError, match=r"not there: .*partial.ckpt \(of padding=partial/seed=0\)$"):
        check_templates(grid)
    (tmp_path / "partial.ckpt").touch()
    check_templates(grid)


def test_tests_under_another_padding_are_told_what_the_run_was_trained_from(tmp_path):
    axes = {PADDING: ("zeros", "partial"), SEED: ("0",)}
    grid = make_grid(axes, templates={"model.weights": "{padding}.ckpt"}, cross=True)
    found = [step.arguments for step in steps(tmp_path, grid, grid.cells[0])]
    assert len(found) == 3
    assert all("--model.weights=zeros.ckpt" in arguments for arguments in found)
    assert "--model.padding=partial" in found[2]


def finish(root, cell):
    run = root / cell.name / "fit" / "fake" / "version_0"
    run.mkdir(parents=True)
    (run / "results.json").write_text(json.dumps({"fit": {"metrics": {}}}))


def test_a_run_starts_from_the_earlier_one_of_the_same_values(tmp_path):
    earlier = enter_grid(tmp_path / "pre", make_grid({PADDING: ("zeros", "partial"), SEED: ("0", "1", "2")}))
    grid = make_grid(templates={"w": "{after}"}, after=str(tmp_path / "pre"))
    check_templates(grid)  # the files may come
    cell = Cell({PADDING: "partial", "model.network": "b", SEED: "1"})
    start = tmp_path / "pre" / "padding=partial" / "seed=1"
    assert filled(grid, cell) == [f"--w={start / 'checkpoints' / 'best.ckpt'}"]
    last = replace(grid, templates={"w": "{after_last}"})
    assert filled(last, cell) == [f"--w={start / 'checkpoints' / 'last.ckpt'}"]
    assert waits_for(tmp_path, grid, cell) == f"starts from {start}, which is not finished"
    finish(tmp_path / "pre", predecessor(grid, cell))
    assert waits_for(tmp_path, grid, cell) is None
    assert f"--w={start / 'checkpoints' / 'best.ckpt'}" in remaining(tmp_path, grid, cell)[0].command()
    # A run that tunes starts from the first seed's.
    tuning = replace(grid, tuning=Tuning({"lr": ("1", "2")}, "1000"))
    assert "padding=zeros/seed=0" in filled(tuning, tuning.tune_cells[0])[0]
    assert len(earlier.cells) == 6


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (
            {PADDING: ("zeros",), SEED: ("0", "1")},
            "with padding=partial, seed=0, and there is none: run it there first",
        ),
        ({PADDING: ("zeros", "partial"), "data.split": ("a", "b"), SEED: ("0",)}, "vary in data.split .a, b."),
    ],
)
def test_no_earlier_run_or_several_are_refused(tmp_path, axes, said):
    enter_grid(tmp_path / "pre", make_grid(axes))
    with pytest.raises(ValueError, match=said):
        check_templates(make_grid(templates={"w": "{after}"}, after=str(tmp_path / "pre")))


def test_an_earlier_run_of_one_seed_is_that_of_all(tmp_path):
    enter_grid(tmp_path / "pre", make_grid({PADDING: ("zeros", "partial"), "data.split": ("a",), SEED: ("7",)}))
    grid = make_grid(templates={"w": "{after}"}, after=str(tmp_path / "pre"))
    assert {predecessor(grid, cell).seed for cell in grid.cells} == {"7"}


def test_a_folder_keeps_to_what_its_runs_were_made_from(tmp_path):
    grid = make_grid(templates={"w": "{padding}"})
    enter_grid(tmp_path / "grid", grid)
    assert enter_grid(tmp_path / "grid", grid).templates == {"w": "{padding}"}
    for other in (make_grid(), make_grid(templates={"w": "{seed}"})):
        with pytest.raises(ValueError, match=r"have --set w={padding}, those asked for .*: choose another --output"):
            enter_grid(tmp_path / "grid", other)
