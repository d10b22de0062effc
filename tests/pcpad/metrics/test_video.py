"""Accuracy per video against a slow loop, in any order and on any number of processes."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pcpad.metrics import VideoAccuracy
from pcpad.metrics import video as module
from pcpad.metrics.video import true_class_rank


def windows(videos=40, num_classes=9, most=12, seed=0):
    """Logits, labels and video numbers of videos of 1 to `most` windows, mixed; numbers with gaps."""
    draw = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, most + 1, (videos,), generator=draw)
    number = torch.randperm(5 * videos, generator=draw)[:videos].repeat_interleave(counts)
    label = torch.randint(0, num_classes, (videos,), generator=draw).repeat_interleave(counts)
    logits = 2 * torch.randn(len(label), num_classes, generator=draw)
    logits[torch.arange(len(label)), label] += 0.7
    mixed = torch.randperm(len(label), generator=draw)
    return logits[mixed], label[mixed], number[mixed]


def slowly(logits, label, video, k):
    right = []
    for number in sorted({int(x) for x in video}):
        scores = [logits[i].double().softmax(0) for i in range(len(video)) if video[i] == number]
        truth = next(int(label[i]) for i in range(len(video)) if video[i] == number)
        mean = sum(scores) / len(scores)
        right.append(truth in mean.topk(k).indices)
    return sum(right) / len(right)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_equals_a_slow_loop(batch):
    data = windows()
    metric = VideoAccuracy(9, top_k=(1, 3, 5))
    for part in zip(*(x.split(batch) for x in data), strict=True):
        metric.update(*part)
    scores = metric.compute()
    assert int(scores["videos"]) == 40
    for k in (1, 3, 5):
        assert float(scores[f"top{k}"]) == pytest.approx(slowly(*data, k), abs=1e-12)
    assert 0 < float(scores["top1"]) < float(scores["top5"]) < 1
    metric.reset()
    metric.update(torch.eye(9)[:1], torch.tensor([0]), torch.tensor([3]))
    assert {name: float(x) for name, x in metric.compute().items()} == {"top1": 1, "top3": 1, "top5": 1, "videos": 1}


def test_each_video_counts_once_and_the_mean_is_of_softmax():
    # Five windows of video 0 are wrong, the one of video 1 is right.
    logits = torch.tensor([[0.0, 9.0]] * 5 + [[0.0, 9.0]])
    metric = VideoAccuracy(2, top_k=(1,))
    metric.update(logits, torch.tensor([0] * 5 + [1]), torch.tensor([0] * 5 + [1]))
    assert float(metric.compute()["top1"]) == 0.5
    # The mean of logits would say class 0, the mean of probabilities says class 1.
    logits = torch.tensor([[30.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    metric = VideoAccuracy(2, top_k=(1,))
    metric.update(logits, torch.tensor([1, 1, 1]), torch.tensor([4, 4, 4]))
    assert float(logits.mean(0).argmax()) == 0
    assert float(metric.compute()["top1"]) == 1


def test_memory_grows_with_videos_alone(monkeypatch):
    monkeypatch.setattr(module, "_SPARE", 20)
    metric = VideoAccuracy(4, top_k=(1,))
    most = 0
    for step in range(500):
        metric.update(torch.randn(8, 4), torch.zeros(8, dtype=torch.long), torch.arange(8) + step % 2 * 8)
        most = max(most, sum(map(len, metric.sums)))
    assert most <= 16 * 1.25 + 20 + 8
    assert int(metric.compute()["videos"]) == 16


def test_windows_are_added_to_the_rows_in_place(monkeypatch):
    monkeypatch.setattr(module, "_SPARE", 30)
    logits, label, video = windows(videos=100)
    metric = VideoAccuracy(9)
    metric.update(logits, label, video)
    places = [table.data_ptr() for table in metric.sums]
    for order in torch.randperm(len(label), generator=torch.Generator().manual_seed(1)).split(20):
        metric.update(logits[order], label[order], video[order])
    numbers, labels, means = metric.per_video()
    assert [table.data_ptr() for table in metric.sums] == places
    assert numbers.tolist() == sorted(set(video.tolist()))
    expected = torch.stack([logits[video == number].double().softmax(1).mean(0) for number in numbers])
    torch.testing.assert_close(means, expected, rtol=1e-12, atol=1e-12)
    assert [int(label[video == number][0]) for number in numbers] == labels.tolist()


@pytest.mark.parametrize("spare", [0, 7, 1000])
def test_videos_that_come_late_get_rows_of_their_own(monkeypatch, spare):
    monkeypatch.setattr(module, "_SPARE", spare)
    logits, label, video = windows(videos=60, seed=2)
    once, metric = VideoAccuracy(9), VideoAccuracy(9)
    once.update(logits, label, video)
    for part in zip(logits.split(11), label.split(11), video.split(11), strict=True):
        metric.update(*part)
        metric.compute()
    copied = metric.clone()
    copied.update(logits, label, video)  # of a copy the tables are its own
    for ours, theirs in zip(metric.per_video(), once.per_video(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert sum(map(len, metric.sums)) == 60


def test_confident_networks_still_have_a_second_class():
    logits = torch.tensor([[500.0, 0.0, 10.0, 5.0]])  # in float32 all but the first have probability 0
    assert float(logits.softmax(1)[0, 2]) == 0
    metric = VideoAccuracy(4, top_k=(1, 2))
    metric.update(logits, torch.tensor([2]), torch.tensor([0]))
    assert [float(metric.compute()[name]) for name in ("top1", "top2")] == [0, 1]


def test_of_equal_scores_the_first_comes_first():
    scores = torch.full((5, 5), 0.2)
    assert true_class_rank(scores, torch.arange(5)).tolist() == [0, 1, 2, 3, 4]


def test_forward_and_half_precision():
    metric = VideoAccuracy(9).to(torch.bfloat16)
    logits, label, video = windows(5)
    batch = metric(logits[:9].bfloat16(), label[:9], video[:9])
    metric(logits[9:].bfloat16(), label[9:], video[9:])
    expected = slowly(logits.bfloat16(), label, video, 1)
    assert float(metric.compute()["top1"]) == pytest.approx(expected)
    assert int(batch["videos"]) == len(set(video[:9].tolist()))
    assert metric.sums[0].dtype == torch.float64


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_counted():
    metric = VideoAccuracy(9)
    metric.update(torch.zeros(0, 9), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    scores = metric.compute()
    assert scores["top1"].isnan()
    assert int(scores["videos"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_classes": 0}, "`num_classes`"), ({"top_k": ()}, "`top_k`"), ({"top_k": (1, 4)}, r"in 1…3, but got \(1, 4")],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        VideoAccuracy(**{"num_classes": 3, "top_k": (1,)} | options)


def test_bad_batches():
    metric, one = VideoAccuracy(3, top_k=(1,)), torch.tensor([1])
    with pytest.raises(ValueError, match=r"Expected logits \(N, 3\)"):
        metric.update(torch.zeros(1, 4), one, one)
    with pytest.raises(ValueError, match="Expected logits"):
        metric.update(torch.zeros(2, 3), one, one)
    with pytest.raises(TypeError, match="logits to be floating point"):
        metric.update(torch.zeros(1, 3, dtype=torch.long), one, one)
    with pytest.raises(TypeError, match="video numbers to be integers"):
        metric.update(torch.zeros(1, 3), one, one.float())
    with pytest.raises(ValueError, match=r"labels in 0…2, but got \[3\]"):
        metric.update(torch.zeros(1, 3), one + 2, one)
    metric.update(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([5, 5]))
    with pytest.raises(ValueError, match=r"video 5 have different labels"):
        metric.compute()
    metric.reset()
    metric.update(torch.full((1, 3), float("nan")), one, torch.tensor([8]))
    with pytest.raises(ValueError, match=r"video 8 is not finite"):
        metric.compute()


def _share(rank, shares, folder, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metric = VideoAccuracy(9)
    if len(shares[rank][1]):
        metric.update(*shares[rank])
    results[rank] = {name: float(value) for name, value in metric.compute().items()}
    metric.update(*shares[rank])  # computing in the middle takes nothing away and gives nothing twice
    results[rank + 2] = float(metric.compute()["videos"])
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole videos", "spread", "all on one"])
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_two_processes_count_like_one(tmp_path, how):
    data = windows()
    first = {
        "whole videos": data[2] % 3 == 0,
        "spread": torch.arange(len(data[2])) % 2 == 0,
        "all on one": torch.ones(len(data[2]), dtype=torch.bool),
    }[how]
    shares = [tuple(x[first] for x in data), tuple(x[~first] for x in data)]
    with mp.get_context("fork").Manager() as manager:
        results = manager.dict()
        mp.start_processes(_share, (shares, tmp_path, results), nprocs=2, start_method="fork")
        results = dict(results)
    one = VideoAccuracy(9)
    one.update(*data)
    assert results[0] == results[1] == {name: float(value) for name, value in one.compute().items()}
    assert results[2] == results[3] == 40
