"""Sample pictures come by themselves, in training and in tests."""

from pcpad.commands.run import main as run
from pcpad.datamodules.samples.cityscapes import write_cityscapes
from pcpad.tasks.callbacks import SampleImages

QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def test_fit_and_test_write_sample_pictures(tmp_path, monkeypatch, capsys):
    streets = tmp_path / "streets"
    write_cityscapes(streets, image_height=128, images_per_city=1)
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    args = ["--config=seg_demo.yaml", f"--data.root={streets}", "--data.batch_size=2", "--data.crop_size=32", *QUIET]
    limits = [
        "--trainer.max_steps=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.limit_train_batches=1",
        "--trainer.limit_val_batches=2",
    ]
    run("fit", [*args, *limits, "--trainer.log_every_n_steps=1"])
    (sheet,) = tmp_path.rglob("images/val_epoch0000_step0000001.png")
    assert f"Sample pictures: {sheet.parent.relative_to(tmp_path)}" in capsys.readouterr().out
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    done = run("test", [f"--ckpt_path={checkpoint}", "--trainer.limit_test_batches=1", *QUIET])
    assert list(tmp_path.rglob("images/test.png"))
    assert sum(isinstance(callback, SampleImages) for callback in done.trainer.callbacks) == 1
