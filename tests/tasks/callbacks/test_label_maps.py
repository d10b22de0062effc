"""Label maps of TIFFs are TIFFs that lie where these do."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch

from pcpad.tasks import SegmentationTask
from pcpad.tasks.callbacks import LabelMaps

pytestmark = pytest.mark.faults
PLACE = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 3e5, 5e6, 0.0), True)]


@pytest.mark.parametrize("name", ["a.tif", "b.TIFF"])
def test_of_a_geotiff(tmp_path, name):
    tifffile.imwrite(tmp_path / name, np.zeros((8, 12, 3), np.uint8), photometric="rgb", extratags=PLACE)
    task = SegmentationTask("Unet", "resnet18", num_classes=3)
    trainer = SimpleNamespace(log_dir=None, predict_dataloaders=[], is_global_zero=True)
    writer = LabelMaps(tmp_path / "out")
    writer.on_predict_start(trainer, task)
    label = torch.randint(0, 3, (1, 8, 12), dtype=torch.uint8)
    batch = {"image": torch.zeros(1, 3, 8, 12, dtype=torch.uint8)}
    writer.write(trainer, task, {"path": [str(tmp_path / name)], "label": label}, batch)
    writer.on_predict_epoch_end(trainer, task)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{name[0]}.tif", f"{name[0]}_color.png", f"{name[0]}_overlay.png"
    ]  # fmt: skip
    with tifffile.TiffFile(tmp_path / "out" / f"{name[0]}.tif") as file:
        assert file.pages[0].tags[33922].value == PLACE[1][3]
        assert (file.asarray() == label[0].numpy()).all()
