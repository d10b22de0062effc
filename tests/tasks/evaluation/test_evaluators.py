"""What `--eval` takes: one pass an inference, named results, CSV, table and plot."""

import builtins
import csv
import io
import math
import warnings

import pytest
import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from torch import nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from pcpad import PartialConv2d
from pcpad.metrics import BorderIoU, SegmentationIoU
from pcpad.tasks.evaluation.evaluators import Border, Evaluator, Evaluators, Inference, Regular, Tile
from pcpad.tasks.evaluation.segmentation_report import EvaluationReport, plot_leave_out
from pcpad.tiling import Tiling, run_tiled

CLASSES = 4


class Counting(nn.Module):
    """A small network that remembers the sizes it was called with."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = PartialConv2d(3, CLASSES, 5, padding=2)
        self.calls = []

    def forward(self, image):
        self.calls.append(tuple(image.shape[2:]))
        return self.layer(image)


def batch(seed=0, size=(16, 32)):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CLASSES - 1, (2, *size), generator=generator)  # the last class is never true
    label[:, 0, :3] = 255
    return torch.rand(2, 3, *size, generator=generator), label


def test_one_pass_an_inference_feeds_all_metrics():
    network, (image, label) = Counting(), batch()
    asked = [Regular(), Tile(16), Border(of="regular"), Border(size=16), Border(size=16, relative_to="tile")]
    Evaluators(asked, CLASSES).update(network, image, label)
    assert sorted(network.calls) == [(16, 16), (16, 16), (16, 32)]


def test_results_are_those_of_the_metrics_alone():
    network = Counting()
    evaluators = Evaluators(
        [Regular(), Tile(12, overlap=1 / 3, average="probabilities"), Border(["1/2", 0], size=16, relative_to="tile")],
        CLASSES,
        class_names=["road", "wall", "sky", "car"],
    )
    regular, tile = SegmentationIoU(CLASSES), SegmentationIoU(CLASSES)
    border = BorderIoU(CLASSES, ("1/2", 0), relative_to="tile")
    for seed in range(2):
        image, label = batch(seed)
        evaluators.update(network, image, label)
        regular.update(network(image), label)
        tile.update(run_tiled(network, image, Tiling(12, 1 / 3), average="probabilities"), label)
        border.update(run_tiled(network, image, Tiling(16)), label, Tiling(16).windows(16, 32))
    found = evaluators.report().scalars("test/", per_class=True)
    expected = {
        "test/regular": regular.compute(),
        "test/tile12_o0.33_probabilities": tile.compute(),
        **{f"test/border_tile16_by_tile/leave_{float(k):.3f}": scores for k, scores in border.compute().items()},
    }
    assert len(found) == 4 * (3 + CLASSES)
    for name, scores in expected.items():
        for key in ("mIoU", "accuracy", "class_accuracy"):
            assert found[f"{name}/{key}"] == float(scores[key])
        ious = [found[f"{name}/IoU/{key}"] for key in ("road", "wall", "sky", "car")]
        assert ious == scores["IoU"].tolist()
    assert "test/border_tile16_by_tile/leave_0.500/mIoU" in found
    assert not any("/IoU/" in name for name in evaluators.report().scalars())
    evaluators.reset()
    evaluators.update(network, image, torch.full_like(label, 255))
    assert math.isnan(evaluators.report().scalars()["regular/mIoU"])


def test_flip_and_scales_reach_the_network():
    network, (image, label) = Counting(), batch()
    Evaluators([Regular(flip=True, scales=(1, 0.5))], CLASSES).update(network, image, label)
    assert network.calls == [(16, 32), (16, 32), (8, 16), (8, 16)]


@pytest.mark.parametrize(
    ("evaluator", "name"),
    [
        (Regular(), "regular"),
        (Regular("probabilities", flip=True, scales=(0.5, 1, 2)), "regular_probabilities_flip_x0.5-1-2"),
        (Tile(), "tile1024_o0"),
        (Tile(overlap="1/3"), "tile1024_o0.33"),
        (Border(), "border_tile1024"),
        (Border(of="regular"), "border_regular"),
        (Border(size=512, relative_to="tile"), "border_tile512_by_tile"),
    ],
)
def test_names(evaluator, name):
    assert evaluator.name == name


def test_a_network_is_scored_regularly_when_nothing_is_asked_for():
    evaluators = Evaluators([], CLASSES)
    evaluators.update(Counting(), *batch())
    assert list(evaluators.report().scalars()) == ["regular/mIoU", "regular/accuracy", "regular/class_accuracy"]


def test_evaluators_leave_no_trace_in_a_state_dict():
    assert not Evaluators([Regular(), Border()], CLASSES).state_dict()


def test_the_command_line_s_way_of_writing():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--eval", type=list[Evaluator] | None, default=None)
    arguments = [
        "--eval+=Tile",
        "--eval.size=512",
        "--eval.overlap=1/3",
        "--eval+=Border",
        "--eval.leave_out=[0, 1/2, 0.75]",
    ]
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    tile, border = instantiate(parser.parse_args(arguments)).eval
    assert tile.inference == Inference(Tiling(512, 1 / 3))
    assert [float(value) for value in border.leave_out] == [0, 0.5, 0.75]


@pytest.fixture
def report():
    evaluators = Evaluators([Regular(), Border(["1/2", 0, "1/3"], of="regular")], CLASSES, ["a", "b", "c", "d"])
    label = torch.zeros(1, 8, 8, dtype=torch.int64)
    label[:, 2:6, 2:6] = 1
    logits = torch.nn.functional.one_hot(torch.zeros_like(label), CLASSES).movedim(-1, 1).float()
    evaluators.update(lambda image: logits, torch.zeros(1, 3, 8, 8), label)
    return evaluators.report()


def test_csv_has_every_number_and_nothing_where_there_is_none(report, tmp_path):
    path = report.write_csv(tmp_path / "deep" / "scores.csv")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert [row["evaluation"] for row in rows] == ["regular", *["border_regular"] * 3]
    assert [row["leave_out"] for row in rows] == ["", "0.5", "0.0", repr(1 / 3)]
    assert [float(row["mIoU"]) for row in rows] == [row.scores["mIoU"] for row in report.rows]
    assert float(rows[0]["accuracy"]) == 0.75
    assert float(rows[1]["mIoU"]) == 1.0  # the square of class 1 is what is left out
    assert (rows[0]["IoU_b"], rows[0]["IoU_d"], rows[1]["IoU_b"]) == ("0.0", "", "")


def test_tables_in_percent(report):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.table("title").rich(), report.class_table().rich())
    text = console.export_text()
    lines = [line for line in text.splitlines() if "border_regular" in line]
    assert "1/2" in lines[0]
    assert "100.000" in lines[0]
    assert "37.500" in next(line for line in text.splitlines() if "│ regular" in line)
    assert any("d" in line and "–" in line for line in text.splitlines())


def test_plot(report, tmp_path):
    pytest.importorskip("matplotlib")
    assert report.curves()["border_regular"][0] == [0.0, pytest.approx(1 / 3), 0.5]
    path = plot_leave_out({"partial": report.curves()["border_regular"]}, tmp_path / "new" / "leave_out.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="Border"):
        plot_leave_out({}, tmp_path / "none.png")


def test_plotting_without_matplotlib_names_the_extra(report, tmp_path, monkeypatch):
    original = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pcpad\[figures\]"):
        plot_leave_out(report.curves(), tmp_path / "plot.png")


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"`of`"):
        Border(of="crop")
    with pytest.raises(ValueError, match="need tiles"):
        Border(of="regular", relative_to="tile")
    with pytest.raises(ValueError, match="`leave_out`"):
        Border([1.5])
    with pytest.raises(ValueError, match="`relative_to`"):
        Border(relative_to="crop")
    with pytest.raises(ValueError, match="`average`"):
        Tile(average="mean")
    with pytest.raises(ValueError, match="`scales`"):
        Regular(scales=())
    with pytest.raises(ValueError, match="`overlap`"):
        Tile(overlap=1)
    with pytest.raises(ValueError, match="more than once: regular"):
        Evaluators([Regular(), Regular()], CLASSES)
    with pytest.raises(ValueError, match="4 class names, but got 2"):
        Evaluators([], CLASSES, ["a", "b"])
    with pytest.raises(ValueError, match="differ in number or size"):
        Evaluators([], CLASSES).update(Counting(), torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 9).long())


def test_an_empty_report_has_no_curves():
    assert EvaluationReport([], ["a"]).curves() == {}


def test_tiles_larger_than_the_image_are_said_once_and_nothing_is_resized():
    seen = []

    def network(image):
        seen.append(tuple(image.shape[-2:]))
        return torch.cat([image, -image], dim=1)

    evaluators = Evaluators([Tile(16), Tile(8), Regular()], num_classes=2)
    image, label = torch.randn(1, 1, 12, 24), torch.zeros(1, 12, 24, dtype=torch.int64)
    with pytest.warns(UserWarning, match="smaller than the tile") as warned:
        evaluators.update(network, image, label)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said again
        evaluators.update(network, image, label)
    (message,) = (str(warning.message) for warning in warned)
    assert "tile16_o0: images of 12 x 24 pixels (height x width) are smaller than the tiles of 16 x 16, " in message
    assert "so tiles of 12 x 16 are used" in message
    assert set(seen) == {(12, 16), (8, 8), (12, 24)}


def test_a_tile_as_large_as_the_image_or_larger_gives_the_regular_scores():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 4, 3, padding=1)
    image, label = torch.rand(2, 3, 10, 14), torch.randint(0, 4, (2, 10, 14))
    evaluators = Evaluators([Regular(), Tile(1024), Tile(512, "1/3")], num_classes=4)
    with pytest.warns(UserWarning, match="smaller than the tile"):
        evaluators.update(network, image, label)
    regular, *others = (metric.confusion for metric in evaluators.metrics)
    assert all(torch.equal(regular, other) for other in others)


class Wrong(Metric):
    """How many pixels are wrong, of those that have a class."""

    def __init__(self, ignore_index=255):
        super().__init__()
        self.ignore_index = ignore_index
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction, label):
        self.count += ((prediction != label) & (label != self.ignore_index)).sum()

    def compute(self):
        return self.count


def test_any_metric_of_classes_stands_beside_our_own(tmp_path):
    per_class = MulticlassAccuracy(CLASSES, average=None, ignore_index=255)
    both = MetricCollection({"f1": MulticlassF1Score(CLASSES, ignore_index=255), "wrong": Wrong()})
    evaluators = Evaluators([Regular(), Wrong(), per_class, both], CLASSES, class_names=["a", "b", "c", "d"])
    network = Counting()
    for seed in range(2):
        evaluators.update(network, *batch(seed))
    assert len(network.calls) == 2, "one pass feeds them all"
    found = evaluators.report().scalars("test/")
    expected = Wrong()
    for seed in range(2):
        image, label = batch(seed)
        expected.update(network(image).argmax(1), label)
    assert found["test/Wrong"] == found["test/MetricCollection/wrong"] == int(expected.compute())
    assert found["test/MulticlassAccuracy/a"] == found["test/MulticlassAccuracy/a"] <= 1
    assert 0 < found["test/MetricCollection/f1"] < 1
    report = evaluators.report()
    rows = list(csv.DictReader(report.write_csv(tmp_path / "scores.csv").open(encoding="utf-8")))
    assert [row["evaluation"] for row in rows] == ["regular", "Wrong", "MulticlassAccuracy", "MetricCollection"]
    assert float(rows[1]["Wrong"]) == found["test/Wrong"]
    assert float(rows[2]["MulticlassAccuracy_b"]) == found["test/MulticlassAccuracy/b"]
    assert report.class_table().columns == ["class", "regular", "MulticlassAccuracy"]
    evaluators.reset()
    assert evaluators.metrics[1].compute() == 0


def test_a_metric_that_was_given_is_left_alone():
    mine = Wrong()
    evaluators = Evaluators([mine], CLASSES)
    evaluators.update(Counting(), *batch())
    assert mine.compute() == 0


@pytest.mark.faults
def test_tiles_with_an_exact_margin_score_as_whole_images():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 12, 5, padding=2))
    network = nn.Sequential(network, nn.PixelShuffle(2)).eval()

    def checked(image):
        assert bool(image.isfinite().all())
        return network(image)

    found = Evaluators([Regular(), Tile(16, margin="exact"), Tile(16), Tile(16, "1/2", margin=2, blend="hann")], 3)
    image, label = torch.rand(2, 3, 40, 50), torch.randint(0, 3, (2, 40, 50))
    for _ in range(2):
        found.update(checked, image, label, module=network)
    scores = found.report().scalars()
    names = ["regular", "tile16_o0_margin_exact", "tile16_o0", "tile16_o0.5_margin_2_hann"]
    assert [name.removesuffix("/mIoU") for name in scores if name.endswith("/mIoU")] == names
    assert scores["tile16_o0_margin_exact/mIoU"] == scores["regular/mIoU"] != scores["tile16_o0/mIoU"]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"margin": "exact", "overlap": "1/3"}, "overlap=0"),
        ({"margin": -2}, "`margin`"),
        ({"blend": "cosine"}, "`blend`"),
    ],
)
def test_wrong_margins(options, words):
    with pytest.raises(ValueError, match=words):
        Tile(64, **options)
