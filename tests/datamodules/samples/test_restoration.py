"""The photographs that the shipped network was trained on: which, whose, and none that is held out."""

from pathlib import Path

import pytest

import pcpad
from pcpad.datamodules import RestorationDataModule
from pcpad.datamodules.samples import SAMPLES
from pcpad.datamodules.samples.restoration import HELD_OUT, TRAINED_ON

FREE = {"CC0-1.0", "CC-BY-2.0", "CC-BY-4.0", "public domain"}


def test_all_are_free_and_listed_in_the_model_card():
    card = Path(pcpad.__file__).with_name("models").joinpath("restoration.md").read_text(encoding="utf-8")
    for source in TRAINED_ON:
        assert source.license in FREE
        line = next(line for line in card.splitlines() if f"`{source.name}`" in line)
        for said in (source.license, source.author, source.sha256):
            assert said in line
    assert not {source.name for source in TRAINED_ON} & set(HELD_OUT)
    assert len({source.sha256 for source in TRAINED_ON}) == len(TRAINED_ON)


def test_those_of_installed_packages_are_written(tmp_path):
    pytest.importorskip("skimage")
    with pytest.warns(UserWarning, match="are missing: "):  # SciPy's are no files
        summary = SAMPLES["restoration"](tmp_path / "r")
    assert summary.counts["train"] >= 8
    assert summary.counts["val"] == len(HELD_OUT)
    data = RestorationDataModule(tmp_path / "r", num_workers=0, crops=2, batch_size=2, image_size=64)
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["image"].float().std() > 10
