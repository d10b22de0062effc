"""Pictures with masks: what cannot fit is refused before it is decoded."""

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.datasets import damaged as module
from pcpad.datamodules.datasets.damaged import DamagedPictures
from pcpad.datamodules.reading.folders import FileTable


@pytest.mark.faults
def test_a_mask_of_another_size_is_refused_by_its_header(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    Image.new("L", (4000, 3000)).save(tmp_path / "mask.png")

    def decoded(*_, **__):
        message = "the mask was decoded"
        raise AssertionError(message)

    monkeypatch.setattr(module, "read_mask", decoded)
    files = FileTable(tmp_path, ["a.png"])
    item = DamagedPictures(files, [tmp_path / "mask.png"], "white_hole", None)[0]
    expected = f"{tmp_path / 'mask.png'} has 4000x3000 pixels, but {tmp_path / 'a.png'} has 30x20: correct it"
    assert item["failure"].startswith(expected)
    with pytest.raises(AssertionError, match="was decoded"):
        DamagedPictures(files, [tmp_path / "mask.png"], "white_hole", "nearest")[0]
