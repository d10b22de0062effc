"""Which metrics `pcpad compare` reports, and how their numbers are written."""

import pytest

from pcpad.commands.comparison.metrics import Metric, Numbers, known_mode, select_metrics


def test_metric_selection():
    logged = {"val/mIoU", "test/regular/mIoU", "test/tile/mIoU", "val/loss", "test/psnr"}
    assert select_metrics([], "val/mIoU", "max", logged) == [
        Metric("val/mIoU", "max"),
        Metric("test/regular/mIoU", "max"),
        Metric("test/tile/mIoU", "max"),
    ]
    assert select_metrics([], "val/top1", "max", {"val/top1"})[1] == Metric("test/top1", "max")
    chosen = select_metrics(["val/loss", "test/psnr", "test/own:min", "test/mse_border"], "val/top1", "max", logged)
    assert [metric.mode for metric in chosen] == ["min", "max", "min", "min"]
    assert select_metrics(["test/score"], "val/score", "min", logged)[0].mode == "min"
    assert Numbers("test/psnr", [30.5482]).plain(30.5482) == "30.548"
    assert Numbers("test/mse", [0.00123, 0.0005]).signed(-0.0005) == "-0.0005000"
    assert Numbers("val/top1", [76.2]).unit == ""  # percent already


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("test/l1/0.01-0.20", "min"),
        ("test/l1/0.01-0.20/border", "min"),
        ("test/psnr/0.40-0.60/inside", "max"),
        ("test/faster_rcnn_coco_256x512/real_detAP50", "max"),
        ("test/border_tile1024/leave_0.500/mIoU", "max"),
        ("test/IoU/road", "max"),
        ("test/loss_of_tiles/mIoU", "max"),
        ("train/loss_step", "min"),
        ("val_loss", "min"),
        ("valLoss", "min"),
        ("val_MulticlassAccuracy", "max"),
        ("MeanSquaredError", "min"),
        ("val/psnr_loss", "min"),
        ("val/top1_err", "min"),
        ("test/inception_score", "max"),
        ("test/fid", "min"),
        ("val/border_mse", "min"),
        ("test/nll", "min"),
        # Nothing says it: neither is claimed.
        ("test/images", None),
        ("val/score", None),
        ("train/discriminator", None),
        ("test/IoU/error", None),  # a class of this name?
    ],
)
def test_the_whole_path_says_which_way_is_better(name, mode):
    assert known_mode(name) == mode
    (metric,) = select_metrics([name], "val/mIoU" if "mIoU" not in name else "val/top1", "max", [name])
    assert metric.mode == mode
    assert {"min": "lower is better", "max": "higher is better", None: "not known"}[mode] in metric.direction


def test_the_recipes_word_on_a_metric_holds_for_its_parts():
    for name in ("test/score/0.01-0.20", "test/regular/score", "test/tile/score/border"):
        assert select_metrics([name], "val/score", "min", [name])[0].mode == "min"
    assert select_metrics(["test/scores"], "val/score", "min", [])[0].mode is None
    assert Numbers("test/top1/border", [0.5]).percent
    assert not Numbers("test/error/accuracy_loss", [0.5]).percent
