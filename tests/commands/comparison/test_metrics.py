"""Which metrics `pcpad compare` reports, and how their numbers are written."""

from pcpad.commands.comparison.metrics import Metric, Numbers, select_metrics


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
