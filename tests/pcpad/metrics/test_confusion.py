"""One confusion matrix over the set: against cityscapesScripts' formulas, and over two processes."""

import math

import pytest
import torch
import torch.distributed as dist

from pcpad.metrics import BorderIoU, ConfusionMatrixMetric, SegmentationIoU, confusion
from pcpad.metrics.confusion import count_pairs


def maps(count=6, classes=19, size=(23, 31), seed=0):
    """Predictions and labels where classes 3 and 7 are in neither and 5 is predicted but never true; with void."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (count, *size), generator=generator)
    label[(label == 3) | (label == 7) | (label == 5)] = 0
    wrong = torch.rand(label.shape, generator=generator) < 0.4
    prediction = torch.where(wrong, torch.randint(0, classes, label.shape, generator=generator), label)
    prediction[(prediction == 3) | (prediction == 7)] = 1
    label[torch.rand(label.shape, generator=generator) < 0.1] = 255
    return prediction, label


def cityscapes_scores(prediction, label, classes):
    """As cityscapesScripts scores: a dictionary of pairs, counted pixel by pixel; float arithmetic of Python."""
    pairs = {}
    for guess, truth in zip(prediction.flatten().tolist(), label.flatten().tolist(), strict=True):
        pairs[truth, guess] = pairs.get((truth, guess), 0) + 1

    def iou(index):
        hit = pairs.get((index, index), 0)
        missed = sum(n for (truth, guess), n in pairs.items() if truth == index and guess != index)
        false = sum(n for (truth, guess), n in pairs.items() if truth not in (index, 255) and guess == index)
        return hit / (hit + missed + false) if hit + missed + false else math.nan

    values = [iou(index) for index in range(classes)]
    known = [value for value in values if not math.isnan(value)]
    return values, sum(known) / len(known)


def test_equal_to_cityscapes_scripts_formula():
    prediction, label = maps()
    metric = SegmentationIoU(19)
    for start in (0, 2, 5):
        stop = {0: 2, 2: 5, 5: 6}[start]
        metric.update(prediction[start:stop], label[start:stop])
    scores, (ious, mean) = metric.compute(), cityscapes_scores(prediction, label, 19)
    assert float(scores["mIoU"]) == pytest.approx(mean, abs=1e-12)
    assert scores["IoU"].tolist() == pytest.approx(ious, abs=1e-12, nan_ok=True)
    assert [index for index, value in enumerate(scores["IoU"].tolist()) if math.isnan(value)] == [3, 7]
    assert scores["IoU"][5] == 0  # predicted, never true: wrong, and part of the mean


def test_accuracies():
    prediction, label = maps()
    metric = SegmentationIoU(19)
    metric.update(prediction, label)
    counted = label != 255
    right = (prediction == label)[counted]
    assert float(metric.compute()["accuracy"]) == pytest.approx(right.double().mean().item(), abs=1e-12)
    classes = [right[label[counted] == k].double().mean().item() for k in range(19) if (label == k).any()]
    assert float(metric.compute()["class_accuracy"]) == pytest.approx(sum(classes) / len(classes), abs=1e-12)


def test_the_set_is_scored_and_not_the_images():
    metric = SegmentationIoU(2)
    metric.update(torch.tensor([[[0, 0, 0, 0]]]), torch.tensor([[[0, 0, 0, 0]]]))
    metric.update(torch.tensor([[[1, 0]]]), torch.tensor([[[1, 1]]]))
    assert metric.compute()["IoU"].tolist() == [4 / 5, 1 / 2]  # a mean over images would be 1/2 and 1/2


@pytest.mark.parametrize("label_type", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("prediction_type", [torch.uint8, torch.int32, torch.int64])
def test_integer_types(label_type, prediction_type):
    prediction, label = maps()
    expected = ConfusionMatrixMetric(19)
    expected.update(prediction, label)
    metric = ConfusionMatrixMetric(19)
    metric.update(prediction.to(prediction_type), label.to(label_type))
    assert metric.compute().dtype == torch.int64
    assert torch.equal(metric.compute(), expected.compute())
    assert int(metric.compute().sum()) == int((label != 255).sum())


def test_logits_are_classes_of_the_largest():
    logits, label = torch.randn(2, 5, 8, 9), torch.randint(0, 5, (2, 8, 9))
    metric, other = ConfusionMatrixMetric(5), ConfusionMatrixMetric(5)
    metric.update(logits, label)
    other.update(logits.argmax(1), label)
    assert torch.equal(metric.compute(), other.compute())


def test_other_ignore_indices_and_many_classes():
    label = torch.tensor([[[-1, 254, 255, 299]]])
    metric = ConfusionMatrixMetric(300, ignore_index=-1)
    metric.update(torch.tensor([[[7, 254, 254, 298]]]), label)
    found = metric.compute()[0]
    assert int(found.sum()) == 3
    assert found[254, 254] == found[255, 254] == found[299, 298] == 1
    metric = ConfusionMatrixMetric(300, ignore_index=301)  # neither fits into the label's byte
    metric.update(torch.tensor([[[5]]], dtype=torch.uint8), torch.tensor([[[255]]], dtype=torch.uint8))
    assert metric.compute()[0, 255, 5] == 1


def test_nothing_counted_is_nan_and_reset_starts_anew():
    metric = SegmentationIoU(3)
    metric.update(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 255))
    metric.update(torch.zeros(0, 2, 2).long(), torch.zeros(0, 2, 2).long())
    assert all(bool(value.isnan().all()) for value in metric.compute().values())
    metric.update(torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 2).long())
    assert float(metric.compute()["mIoU"]) == 1
    metric.reset()
    assert int(metric.confusion.sum()) == 0


@pytest.mark.parametrize(
    ("prediction", "label", "error", "words"),
    [
        (
            torch.full((1, 2, 2), 255),
            torch.zeros(1, 2, 2).long(),
            ValueError,
            "prediction to be in 0…18, but found 255",
        ),
        (torch.full((1, 2, 2), -1), torch.zeros(1, 2, 2).long(), ValueError, "found -1"),
        (
            torch.zeros(1, 2, 2).long(),
            torch.full((1, 2, 2), 33),
            ValueError,
            "label to be in 0…18, and 255 .* found 33",
        ),
        (torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), -1), ValueError, "label .* found -1"),
        (torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 2**32), ValueError, "label .* found 4294967296"),
        (torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 3).long(), ValueError, "one shape"),
        (torch.zeros(1, 5, 2, 2), torch.zeros(1, 2, 2).long(), ValueError, "logits of 19 classes"),
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2).long(), TypeError, "integer predictions"),
        (torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 2), TypeError, "integer labels"),
    ],
)
def test_wrong_values(prediction, label, error, words):
    metric = SegmentationIoU(19)
    with pytest.raises(error, match=words):
        metric.update(prediction, label)
    assert int(metric.confusion.sum()) == 0


def test_the_class_after_the_last_is_not_mistaken_for_what_is_ignored():
    with pytest.raises(ValueError, match="found 19"):
        SegmentationIoU(19).update(torch.full((1, 1, 1), 19), torch.zeros(1, 1, 1).long())
    with pytest.raises(ValueError, match="found 19"):
        SegmentationIoU(19).update(torch.zeros(1, 1, 1).long(), torch.full((1, 1, 1), 19))


@pytest.mark.parametrize("arguments", [{"num_classes": 0}, {"num_classes": 19, "ignore_index": 4}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="Expected argument"):
        SegmentationIoU(**arguments)


@pytest.mark.parametrize("band", [1, 40, 31 * 23 * 6])
@pytest.mark.parametrize("logits", [False, True], ids=["classes", "logits"])
def test_bands_of_rows_count_like_the_whole(monkeypatch, band, logits):
    prediction, label = maps()
    zones = torch.arange(23, dtype=torch.uint8) // 9, torch.arange(31, dtype=torch.uint8) // 8
    dense = torch.maximum(zones[0][:, None], zones[1])
    expected = torch.zeros(4, 19, 19, dtype=torch.int64)
    counted = label != 255
    ones = torch.ones(int(counted.sum()), dtype=torch.int64)
    where = (dense.expand_as(label)[counted].long(), label[counted], prediction[counted])
    expected.index_put_(where, ones, accumulate=True)
    monkeypatch.setattr(confusion, "_BAND", band)
    given = torch.nn.functional.one_hot(prediction, 19).permute(0, 3, 1, 2).float() if logits else prediction.byte()
    for form in (zones, dense):
        assert torch.equal(count_pairs(given, label, 19, zones=form), expected)
    assert torch.equal(count_pairs(given, label, 19)[0], expected.sum(0))


def _process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    prediction, label = maps(count=5)
    metrics = [SegmentationIoU(19), BorderIoU(19, leave_out=("1/2", 0))]
    for metric in metrics:
        for index in range(rank, 5, 2):  # three images and two
            metric.update(prediction[index : index + 1], label[index : index + 1])
    for metric in metrics:
        metric.sync()
    torch.save([metric.confusion for metric in metrics], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_count_like_one(tmp_path):
    torch.multiprocessing.start_processes(_process, (str(tmp_path),), nprocs=2, start_method="fork")
    prediction, label = maps(count=5)
    one = [SegmentationIoU(19), BorderIoU(19, leave_out=("1/2", 0))]
    for metric in one:
        metric.update(prediction, label)
    for rank in range(2):
        for counts, metric in zip(torch.load(tmp_path / f"{rank}.pt"), one, strict=True):
            assert torch.equal(counts, metric.confusion)
