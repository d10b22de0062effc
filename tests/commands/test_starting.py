"""A run that failed to start leaves nothing behind; one that began keeps all."""

import pytest

from pcpad import cli
from pcpad.commands.starting import Start

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
