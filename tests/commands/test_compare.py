"""`pcpad compare` with real runs of a small network on a few images."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcpad import _start, cli
from pcpad.bounded_yaml import read_yaml
from pcpad.commands.comparison import running, worker

QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
RECIPE = """\
# A small network on small images, for tests
model:
  class_path: ClassificationTask
  init_args:
    network: timm/test_resnet
    num_classes: 3
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.01, momentum: 0.9}}
data:
  class_path: ImageNetDataModule
  init_args: {root: images, batch_size: 3, num_workers: 0, image_size: 32, resize: 32}
checkpoint: {monitor: val/loss, mode: min}
trainer: {max_epochs: 2, log_every_n_steps: 1}
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with images and a recipe for them, and runs in this process: starting one takes seconds."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 9), ("val", 3), ("test", 3)):
        for index in range(count):
            path = tmp_path / "images" / split / "abc"[index % 3] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    (tmp_path / "small.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pcpad.commands.compare.draw", lambda study: [])
    monkeypatch.setattr(running.subprocess, "Popen", InThisProcess)
    InThisProcess.started = []
    return tmp_path


class InThisProcess:
    """Stands in for `subprocess.Popen`, for the cells' command alone."""

    started: list[str] = []  # noqa: RUF012  reset by the fixture
    pid = -1

    def __init__(self, command, **options):
        assert command[1:4] == ["-P", _start.__file__, "pcpad.commands.comparison.worker"]
        root, name, tests = command[4:]
        self.started.append(name)
        self.code = worker.run_cell(Path(root), name, json.loads(tests))

    def poll(self):
        return self.code


def compare(*args, config="small.yaml"):
    cli.main(["compare", "--config", config, "--output", "grid", *QUIET, *map(str, args)])


def table(name):
    with Path("grid", name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def failing(capsys, *args, **options):
    with pytest.raises(SystemExit) as caught:
        compare(*args, **options)
    assert caught.value.code not in (0, None)
    return capsys.readouterr().err


def test_a_grid_is_run_once_grows_and_is_cross_tested(small, capsys):
    compare("--paddings", "zeros,partial", "--seeds", 1, "--trainer.max_epochs", 1)
    assert InThisProcess.started == ["padding=zeros/seed=0", "padding=partial/seed=0"]
    first = table("runs.csv")
    assert {row["metric"] for row in first} == {"val/loss", "test/loss"}
    assert all(float(row["value"]) > 0 for row in first)
    before = {path: path.stat().st_mtime_ns for path in Path("grid").rglob("results.json")}
    assert len(before) == 4  # a fit and a test each
    compare("--paddings", "zeros,partial", "--seeds", 1, "--trainer.max_epochs", 1, "--cross")
    assert len(InThisProcess.started) == 4
    after = {path: path.stat().st_mtime_ns for path in Path("grid").rglob("results.json")}
    assert len(after) == 6  # each tested under the other padding too
    assert before.items() <= after.items()  # and nothing done again
    crossed = {(row["trained"], row["tested"]): float(row["mean"]) for row in table("cross.csv")}
    for padding in ("zeros", "partial"):
        other = {"zeros": "partial", "partial": "zeros"}[padding]
        path = Path(f"grid/padding={padding}/seed=0/tests/best/padding={other}/small/version_0/results.json")
        entry = json.loads(path.read_text())["test"]
        assert (entry["trained_with"], entry["tested_with"]) == (padding, other)
        assert crossed[padding, other] == entry["metrics"]["test/loss"] != crossed[padding, padding]
    capsys.readouterr()
    compare("--paddings", "zeros,partial", "--seeds", 1, "--trainer.max_epochs", 1, "--cross")
    assert len(InThisProcess.started) == 4
    assert "2 of 2 runs are finished already" in capsys.readouterr().out


@pytest.mark.slow
def test_stages_are_checked_before_the_first_is_run_and_depend_on_each_other(small, capsys):
    common = "--config small.yaml --paddings zeros,partial --seeds 1 --trainer.max_epochs 1"
    wrong = "--config small.yaml --paddings zeros,partial --seeds 1 --after pre --set model.nothing={after}"
    Path("stages.txt").write_text(f"{common} --output pre\n{wrong} --output grid\n")
    with pytest.raises(SystemExit):
        cli.main(["compare", "--stages", "stages.txt", *QUIET])
    assert InThisProcess.started == []
    assert "stages.txt, line 2:" in capsys.readouterr().err
    after = "--after pre --set model.weights={after} --output grid"
    Path("stages.txt").write_text(f"pcpad compare {common} --output pre\n{common} \\\n  {after}\n")
    cli.main(["compare", "--stages", "stages.txt", *QUIET])
    assert InThisProcess.started == 2 * ["padding=zeros/seed=0", "padding=partial/seed=0"]
    used = read_yaml(next(Path("grid/padding=partial/seed=0/fit").rglob("config.yaml")).read_text(), "config")
    assert used["model"]["init_args"]["weights"] == "pre/padding=partial/seed=0/checkpoints/best.ckpt"
    cli.main(["compare", "--stages", "stages.txt", *QUIET])
    assert len(InThisProcess.started) == 4
    # Of runs that crash nothing starts, and the exit code says so.
    Path("stages.txt").write_text(
        f"{common} --model.optimizer.lr 1e30 --output broken\n{common} {after.replace('pre', 'broken')}2\n"
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", "--stages", "stages.txt", *QUIET])
    assert ended.value.code == 1
    assert len(InThisProcess.started) == 6
    assert "starts from broken/padding=zeros/seed=0, which is not finished" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_runs_start_from_earlier_ones_at_the_rate_that_validation_chose(small, capsys):
    short = ["--paddings", "zeros,partial", "--trainer.max_epochs", 1]
    after = ["--after", "pre", "--set", "model.weights={after}", "--tune", "model.optimizer.lr=1e6,0.001"]
    grid = [*short, "--seeds", 2, "--exclude", "padding=partial,seed=1", "--per-image", *after]
    compare(*short, "--seeds", 1, "--list", "--output", "pre")
    with pytest.raises(SystemExit):
        compare(*grid)
    assert InThisProcess.started == []
    printed = " ".join(capsys.readouterr().err.split())
    assert "not run: padding=zeros/seed=1 starts from pre/padding=zeros/seed=0, which is not finished" in printed
    assert "tune/padding=partial/model.optimizer.lr=0.001/seed=1000 starts from" in printed
    compare(*short, "--seeds", 1, "--output", "pre")
    InThisProcess.started.clear()
    compare(*grid)
    tuned = [
        f"tune/padding={name}/model.optimizer.lr={rate}/seed=1000"
        for name in ("zeros", "partial")
        for rate in ("1e6", "0.001")
    ]
    runs = ["padding=zeros/seed=0", "padding=partial/seed=0", "padding=zeros/seed=1"]
    assert InThisProcess.started == [*tuned, *runs]
    assert not list(Path("grid/tune").rglob("tests"))
    chosen = {name: choice["chosen"] for name, choice in json.loads(Path("grid/tune.json").read_text()).items()}
    assert chosen == {f"padding={name}": {"model.optimizer.lr": "0.001"} for name in ("zeros", "partial")}
    for name in runs:
        used = read_yaml(next(Path("grid", name, "fit").rglob("config.yaml")).read_text(), "config")["model"][
            "init_args"
        ]
        assert used["optimizer"]["init_args"]["lr"] == 0.001
        assert used["weights"] == f"pre/{name.partition('/')[0]}/seed=0/checkpoints/best.ckpt"
    assert {row["score"] for row in table("items.csv")} >= {"loss"}
    assert {row["items"] for row in table("items.csv")} == {"3"}
    text = Path("grid/report.md").read_text()
    assert "Chosen on validation: val/loss, best epoch; lower is better" in text
    assert "Each run starts from one in `pre`." in text
    before = {path: Path(path).read_bytes() for path in ("grid/summary.csv", "grid/items.csv", "grid/tune.json")}
    capsys.readouterr()
    compare(*grid)
    assert InThisProcess.started == [*tuned, *runs]
    assert {path: Path(path).read_bytes() for path in before} == before
    compare(*grid, "--list")
    assert len(capsys.readouterr().out.splitlines()) > 0
    assert "have --tune" in failing(capsys, *grid[:-2])
    Path("pre").rename("gone")
    cli.main(["compare", "--report", "--output", "grid"])
    assert Path("grid/summary.csv").read_bytes() == before["grid/summary.csv"]


@pytest.mark.slow
def test_listed_commands_run_by_hand_fill_the_same_folder(small, capsys):
    grid = ["--axis", "model.padding=zeros,mean", "--seeds", "7,", "--trainer.max_epochs", 1]
    compare(*grid, "--list")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in reversed(lines):
        commands = [shlex.split(command) for command in line.split(" && ")]
        assert [command[:2] for command in commands] == [["pcpad", "fit"], ["pcpad", "test"]]
        for command in commands:
            cli.main(command[1:])
    capsys.readouterr()
    compare(*grid, "--list")
    assert capsys.readouterr().out == ""
    cli.main(["compare", "--report", "--output", "grid"])
    by_hand = table("runs.csv")
    assert {(row["padding"], row["seed"], row["state"]) for row in by_hand} == {
        ("zeros", "7", "finished"),
        ("mean", "7", "finished"),
    }
    assert InThisProcess.started == []
    Path("grid").rename("by_hand")
    compare(*grid)
    assert table("runs.csv") == by_hand


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_where_it_would_have(small, monkeypatch):
    grid = ["--paddings", "partial", "--seeds", 1]
    compare(*grid)
    whole = table("runs.csv")
    Path("grid").rename("whole")

    from pcpad.tasks import ClassificationTask

    step = ClassificationTask.training_step

    def killed(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", killed)
        patch.setattr("pcpad.tasks.callbacks.BestAndLast.on_exception", lambda *args: None)  # as kill -9 leaves it
        with pytest.raises(SystemExit):
            compare(*grid)
    results = Path("grid/padding=partial/seed=0/fit/small/version_0/results.json")
    assert json.loads(results.read_text())["fit"]["finished"] is False
    compare(*grid)
    assert json.loads(results.read_text())["fit"]["finished"] is False
    resumed = json.loads((results.parent.parent / "version_1" / "results.json").read_text())["fit"]
    assert sorted(resumed["history"]) == ["0", "1"]
    # Images are shuffled: equal only if the random numbers are the same.
    assert table("runs.csv") == whole


@pytest.mark.slow
def test_a_crash_is_reported_the_others_go_on_and_mending_is_enough(small, capsys):
    # Images of 32 pixels end in maps of one, too small to reflect.
    grid = ["--paddings", "zeros,reflect,partial", "--seeds", 1, "--trainer.max_epochs", 1]
    with pytest.raises(SystemExit) as caught:
        compare(*grid)
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert "padding=reflect/seed=0 CRASHED" in printed.out
    assert "padding=reflect/seed=0 crashed: fit: " in printed.out
    assert "1 of 3 runs crashed: padding=reflect/seed=0" in printed.err
    assert "Traceback" not in printed.err.partition("pcpad: 1 of 3")[2]
    values = {row["padding"]: row["n"] for row in table("summary.csv") if row["measure"] == "test"}
    assert values == {"zeros": "1", "reflect": "0", "partial": "1"}
    assert InThisProcess.started[-1] == "padding=partial/seed=0"
    started = len(InThisProcess.started)
    with pytest.raises(SystemExit):
        compare(*grid)
    assert InThisProcess.started[started:] == ["padding=reflect/seed=0"]  # tried again, and it alone


def test_a_cell_is_run_by_one_process_only(small, capsys):
    import fcntl

    lock = Path("grid/padding=zeros/seed=0/.lock")
    compare("--paddings", "zeros", "--seeds", 1, "--list")
    lock.parent.mkdir(parents=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        compare("--paddings", "zeros", "--seeds", 1, "--trainer.max_epochs", 2)
    printed = capsys.readouterr().out
    assert "padding=zeros/seed=0 is being run by another process" in printed
    assert "padding=zeros/seed=0 is not finished" in printed
    assert not list(Path("grid").rglob("results.json"))


@pytest.mark.slow
def test_modules_named_are_loaded_in_every_step(small, capsys, monkeypatch):
    from pcpad import paddings

    monkeypatch.setattr(paddings, "_REGISTERED", dict(paddings._REGISTERED))
    Path("mine_for_compare.py").write_text(
        "from pcpad.paddings import pad_function, register_padding\n"
        "register_padding('edges')(pad_function('replicate'))\n"
    )
    grid = ["--paddings", "edges", "--seeds", 1, "--trainer.max_epochs", 1]
    message = failing(capsys, *grid)
    assert "Unknown padding 'edges'" in message
    compare(*grid, "--import", "mine_for_compare")
    assert {row["padding"] for row in table("summary.csv")} == {"edges"}
    assert float(table("summary.csv")[-1]["mean"]) > 0
    assert json.loads(Path("grid/grid.json").read_text())["arguments"][-2:] == ["--import", "mine_for_compare"]
    compare(*grid, "--import=mine_for_compare", "--list", "--output", "other")
    (line,) = capsys.readouterr().out.splitlines()[-1:]
    assert all("--import=mine_for_compare" in command for command in line.split(" && "))
    Path("own.yaml").write_text(RECIPE + "imports: [mine_for_compare]\n")
    compare(*grid, "--list", config="own.yaml")  # the same runs: what is loaded is no part of the configuration


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--seeds", "1"], "Nothing to compare"),
        (["--paddings", "zeros"], "Expected --seeds N"),
        (["--paddings", "zeros", "--seeds", "0"], "Expected --seeds N"),
        (["--paddings", "zeros", "--seeds", "1,1"], "Expected --seeds N"),
        (["--paddings", "zeros,zeros", "--seeds", "1"], "Expected different values"),
        (["--paddings", "zeros,partail", "--seeds", "1"], "Did you mean 'partial'?"),
        (["--paddings", "zeros", "--seeds", "1", "--model.padding=mean"], "is typed and varies too"),
        (["--paddings", "zeros", "--seeds", "1", "--axis", "data.split"], "Expected --axis"),
        (["--paddings", "zeros", "--seeds", "1", "--axis", "seed_everything=1,2"], "--seeds says it"),
        (["--paddings", "zeros", "--seeds", "1", "--ckpt_path", "x.ckpt"], "--model.weights"),
        (["--paddings", "zeros", "--seeds", "1", "--jobs", "0"], "--jobs must be at least 1"),
        (["--axis", "model.network=vgg11,vgg13", "--seeds", "1", "--cross"], "it needs --paddings"),
        (["--paddings", "zeros", "--seeds", "1", "--metric", "val/loss:up"], "NAME:min or NAME:max"),
        (["--paddings", "zeros", "--seeds", "1", "--trainer.max_epochz", "1"], "max_epochz"),
        (["--axis", "data.batch_size=2,many", "--seeds", "1"], "batch_size"),
        (["--paddings", "zeros", "--seeds", "1", "--test", "--eval+=Squares"], "Squares"),
        (["--paddings", "zeros", "--seeds", "1", "--trainer.fast_dev_run=true"], "must stay as it is"),
        (["--paddings", "zeros", "--seeds", "1", "--checkpoint.monitor=null"], "--metric NAME"),
    ],
)
def test_mistakes_are_one_message_before_anything_runs(args, expected, small, capsys):
    message = failing(capsys, *args)
    assert expected in message
    assert "Traceback" not in message
    assert InThisProcess.started == []
    assert not Path("grid").exists()


def test_a_folder_of_other_runs_is_refused_with_the_difference(small, capsys):
    compare("--paddings", "zeros", "--seeds", 2, "--list")
    message = failing(capsys, "--paddings", "zeros", "--seeds", 2, "--data.batch_size=2", "--list")
    assert "data.batch_size: 3 in the folder, 2 asked for" in message
    assert "another --output" in message
    axis = ["--axis", "data.batch_size=2,3"]
    assert "vary in padding, seed" in failing(capsys, "--paddings", "zeros", *axis, "--seeds", 2, "--list")
    compare("--paddings", "partial,mean", "--seeds", "5,", "--list")  # more of the same is welcome
    cells = json.loads(Path("grid/grid.json").read_text())["cells"]
    assert [(cell["model.padding"], cell["seed_everything"]) for cell in cells] == [
        ("zeros", "0"),
        ("zeros", "1"),
        ("partial", "5"),
        ("mean", "5"),
    ]
    Path("other").mkdir()
    Path("other/mine.txt").touch()
    message = failing(capsys, "--paddings", "zeros", "--seeds", 1, "--output", "other")
    assert "holds something else than a comparison" in message


@pytest.mark.faults
@pytest.mark.slow
def test_a_folder_of_an_earlier_version_lacks_options_and_goes_on_where_they_are_left_alone(small, capsys):
    callbacks = ", callbacks: [{class_path: lightning.pytorch.callbacks.LearningRateMonitor}]}"
    recipe = RECIPE.replace("log_every_n_steps: 1}", f"log_every_n_steps: 1{callbacks}")
    Path("small.yaml").write_text(recipe)
    grid = ["--paddings", "zeros", "--seeds", 1, "--list"]
    compare(*grid)
    path = Path("grid/grid.json")
    today = path.read_text()
    found = json.loads(today)
    resolved = found["resolved"]
    # An option of a group, of a class, of a class within a class, of a class in a list; and a group.
    del resolved["trainer"]["gradient_clip_val"]
    del resolved["model"]["init_args"]["mean"]
    del resolved["model"]["init_args"]["optimizer"]["init_args"]["nesterov"]
    del resolved["trainer"]["callbacks"][0]["init_args"]["log_momentum"]
    del resolved["results"]
    earlier = json.dumps(found)
    path.write_text(earlier)
    compare(*grid)
    assert json.loads(path.read_text()) == json.loads(today)
    for option, said in {
        "--trainer.gradient_clip_val=0.5": "trainer.gradient_clip_val: None in the folder, 0.5 asked for",
        "--model.optimizer.nesterov=true": "model.optimizer.nesterov: False in the folder, True asked for",
        "--results.last_epochs=3": "results.last_epochs: 5 in the folder, 3 asked for",
    }.items():
        path.write_text(earlier)
        message = failing(capsys, *grid, option)
        assert said in message
        assert message.count("asked for") == 2  # this option, and the advice
        assert path.read_text() == earlier
    # One that this version does not know: nothing says what it did.
    resolved["model"]["init_args"]["forgotten"] = 3
    path.write_text(json.dumps(found))
    assert "model.forgotten: 3 in the folder, nothing asked for" in failing(capsys, *grid)


def results():
    return sorted(str(path) for path in Path("grid").rglob("results.json"))


def alive(process_group):
    try:
        os.killpg(process_group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_grid_leaves_no_process_and_goes_on(small, number, monkeypatch):
    script = "import sys; from pcpad.cli import main; main(sys.argv[1:])"
    grid = ["compare", "--config=small.yaml", "--output=grid", *QUIET, "--paddings=zeros,partial", "--seeds=1"]
    # Long enough to be hit in its second run, with an epoch saved.
    command = [sys.executable, "-c", script, *grid, "--trainer.max_epochs=30", "--checkpoint.every_n_epochs=1"]
    monkeypatch.undo()
    os.chdir(small)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    saved = Path("grid/padding=partial/seed=0/checkpoints/last.ckpt")
    lock = saved.parent.parent / ".lock"
    deadline = time.monotonic() + 240
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert saved.exists()
    group = int(lock.read_text().split()[1])
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode in (-number, 128 + number), printed
    deadline = time.monotonic() + 20
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(group)
    before = {path: Path(path).stat().st_mtime_ns for path in results() if "padding=zeros" in path}
    assert len(before) == 2
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 2 runs are finished already" in done.stdout
    assert before.items() <= {path: Path(path).stat().st_mtime_ns for path in results()}.items()
    interrupted = Path("grid/runs.csv").read_text()
    assert Path("grid/padding=partial/seed=0/fit/small/version_1").is_dir()
    Path("grid").rename("interrupted")
    subprocess.run(command, check=True, capture_output=True, timeout=400)
    assert Path("grid/runs.csv").read_text() == interrupted
