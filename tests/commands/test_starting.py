"""A run's folder is its own; one that failed to start leaves nothing behind, one that began keeps all."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from pcpad import cli
from pcpad.commands.starting import Start
from pcpad.commands.suite_cli import _loggers
from pcpad.errors import UserRuntimeError

pytestmark = pytest.mark.faults


def test_new_folders_go_and_old_ones_stay(tmp_path):
    start = Start()
    start.watch(tmp_path / "runs" / "name" / "version_0")
    (tmp_path / "runs" / "name" / "version_0" / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "hparams.yaml", "events.out.tfevents.1.host.2.0"):
        (tmp_path / "runs" / "name" / "version_0" / name).write_text("x")
    start.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("began", [False, True])
def test_what_is_somebody_s_stays(tmp_path, began):
    start = Start()
    start.watch(tmp_path / "runs" / "version_1")
    (tmp_path / "runs" / "version_0").mkdir(parents=True)  # another run's, meanwhile
    (tmp_path / "runs" / "version_1").mkdir()
    (tmp_path / "runs" / "version_1" / "results.json").write_text("x")
    (tmp_path / "runs" / "version_1" / "config.yaml").write_text("x")
    start.began = began
    start.undo()
    assert (tmp_path / "runs" / "version_1" / "results.json").is_file()
    assert (tmp_path / "runs" / "version_1" / "config.yaml").is_file() == began
    assert (tmp_path / "runs" / "version_0").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["--model.num_classes=3", "--data.root=nowhere", "--model.optimizer=null"])
@pytest.mark.parametrize("logger", [[], ["--trainer.logger=false"]])
def test_a_refused_run_leaves_no_folder(tmp_path, monkeypatch, capsys, problem, logger):
    from pcpad.datamodules.samples.digits import write_digits

    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "data")
    args = ["--config=cls_digits.yaml", "--data.root=data", "--trainer.accelerator=cpu", problem, *logger]
    with pytest.raises(SystemExit):
        cli.main(["fit", *args, "--trainer.default_root_dir=new/runs"])
    assert "pcpad: error" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_runs_that_start_in_the_same_instant_have_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: _loggers(tmp_path / "runs", "name", Start(), ()), range(16)))
    folders = [{logger.log_dir for logger in loggers} for loggers in runs]
    assert all(len(of_run) == 1 for of_run in folders)  # TensorBoard's and the CSV file in one
    assert set.union(*folders) == {str(tmp_path / "runs" / "name" / f"version_{number}") for number in range(16)}


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_loggers_of_one_s_own_take_their_folders_too(tmp_path, kind):
    start = Start()
    loggers = [kind(tmp_path, name="mine") for _ in range(2)]
    for logger in loggers:
        start.take(logger)
    assert [logger.version for logger in loggers] == [0, 1]
    told = kind(tmp_path, name="mine", version=1)
    start.take(told)
    assert told.version == 1  # a run that was told to go on there
    start.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_run_took_is_not_removed(tmp_path):
    starts = [Start(), Start()]
    folders = [_loggers(tmp_path, "name", start, ())[0].log_dir for start in starts]
    starts[1].undo()
    assert [path.name for path in (tmp_path / "name").iterdir()] == ["version_0"]
    assert folders[0].endswith("version_0")


def test_further_processes_of_a_run_take_none(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    _loggers(tmp_path, "name", Start(), ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null", "/proc/nowhere/name/version_0"])
def test_a_folder_that_cannot_be_made_is_a_sentence(place):
    with pytest.raises(UserRuntimeError, match=rf"folder {place}.*name another place with --trainer"):
        _loggers(place, "name", Start(), ())


def test_a_place_that_takes_no_files(tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuses)
    with pytest.raises(UserRuntimeError, match=r"version_0 cannot be made \(Read-only file system\): name another"):
        _loggers(tmp_path / "runs", "name", Start(), ())


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_two_seeds_at_once_have_a_result_each(tmp_path, devices):
    from pcpad.datamodules.samples.digits import write_digits

    write_digits(tmp_path / "data")
    options = ["--data.root=data", "--data.num_workers=0", "--trainer.max_steps=2", "--trainer.accelerator=cpu"]
    options += ["--trainer.limit_val_batches=1", f"--trainer.devices={devices}", "--data.batch_size=8"]
    command = [sys.executable, "-m", "pcpad", "fit", "--config=cls_digits.yaml", *options]
    runs = [
        subprocess.Popen([*command, f"--seed_everything={seed}"], cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE)
        for seed in (1, 2)
    ]
    said = [run.communicate()[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    folders = sorted((tmp_path / "runs" / "cls_digits").iterdir())
    assert [folder.name for folder in folders] == ["version_0", "version_1"]
    seeds = {
        line for folder in folders for line in (folder / "config.yaml").read_text().splitlines() if "seed_" in line
    }
    assert seeds == {"seed_everything: 1", "seed_everything: 2"}
    assert all(json.loads((folder / "results.json").read_text())["fit"]["finished"] for folder in folders)
