"""Epochs: their plan, each process's share, going on within one, items that follow from their seed."""

import pickle
from collections import Counter

import numpy as np
import pytest
from torch.utils.data import Dataset

from pcpad.datamodules.datasets.centroids import Centroids
from pcpad.datamodules.datasets.epochs import Crop, CropLoader, CropPlan, CropSampler
from pcpad.datamodules.datasets.scenes import SceneAugmentation


def points(of_class):
    """Centroids from {trainId: number of points}, each in a file of its own number."""
    train_id = np.repeat(list(of_class), list(of_class.values())).astype(np.uint8)
    number = np.arange(len(train_id), dtype=np.int32)
    return Centroids(number % 10, train_id, number + 100, number + 200)


# The plan


def test_half_of_an_epoch_is_spread_evenly_over_the_classes():
    where = points(dict.fromkeys(range(19), 500))
    plan = CropPlan(2975, where, 0.5, 19, seed=0)
    for epoch in (0, 1):
        crops = plan.epoch(epoch)
        assert len(crops) == 2975
        centered = [crop for crop in crops if crop.center]
        assert len(centered) == round(2975 / 2)
        # Row 100 + number and column 200 + number, 500 numbers a class.
        assert all(x - y == 100 for y, x in (crop.center for crop in centered))
        per_class = Counter((crop.center[0] - 100) // 500 for crop in centered)
        assert set(per_class) == set(range(19))
        assert set(per_class.values()) <= {78, 79}
        # Drawn without repetition, each with its own file, and no two crops alike.
        assert len({crop.center for crop in centered}) == len(centered)
        assert all(crop.file == (crop.center[0] - 100) % 10 for crop in centered)
        assert len({crop.seed for crop in crops}) == 2975
        anywhere = [crop.file for crop in crops if not crop.center]
        assert len(set(anywhere)) == len(anywhere)
        assert max(anywhere) < 2975


def test_plan_is_a_function_of_seed_and_epoch():
    where = points(dict.fromkeys(range(19), 5))
    plan = CropPlan(40, where, 0.5, 19, seed=3)
    third = plan.epoch(3)
    plan.epoch(1)
    assert plan.epoch(3) == third == CropPlan(40, where, 0.5, 19, seed=3).epoch(3)
    assert pickle.loads(pickle.dumps(plan)).epoch(3) == third
    assert plan.epoch(4) != third
    assert CropPlan(40, where, 0.5, 19, seed=4).epoch(3) != third


def test_few_centroids_are_repeated_evenly_and_missing_classes_leave_their_share():
    plan = CropPlan(40, points({0: 3, 5: 1}), 1.0, 4 * 5, seed=0)
    crops = plan.epoch(0)
    assert len(crops) == 40
    assert Counter(crop.center for crop in crops if crop.center)[103, 203] == 2  # the one point of class 5, twice
    assert sum(crop.center is not None for crop in crops) == 4
    # 36 crops anywhere in 40 images.
    assert len({crop.file for crop in crops if not crop.center}) == 36


def test_small_sets_get_classes_in_turn():
    plan = CropPlan(24, points(dict.fromkeys(range(19), 2)), 0.5, 19, seed=0)
    seen = Counter((crop.center[0] - 100) // 2 for epoch in range(60) for crop in plan.epoch(epoch) if crop.center)
    assert sum(seen.values()) == 12 * 60
    assert len(seen) == 19
    assert min(seen.values()) > 20


@pytest.mark.parametrize(("where", "share"), [(None, 0.5), (points({0: 3}), 0.0)])
def test_without_centroids_each_image_is_seen_once(where, share):
    crops = CropPlan(30, where, share, 19, seed=0).epoch(0)
    assert sorted(crop.file for crop in crops) == list(range(30))
    assert not any(crop.center for crop in crops)


# Shares, epochs, resuming


class Seeds(Dataset):
    """Hands out the seed of the crop it is asked for."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, crop):
        return crop.seed if isinstance(crop, Crop) else crop


def plan_of(size, seed=0):
    return CropPlan(size, points(dict.fromkeys(range(19), 3)), 0.5, 19, seed)


def loader(size=23, ranks=(1, 0), **options):
    return CropLoader(Seeds(size), batch_size=3, sampler=CropSampler(plan_of(size), *ranks), drop_last=True, **options)


def seeds(batches):
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_an_epoch(processes):
    whole = plan_of(23).epoch(0)
    shares = [list(CropSampler(plan_of(23), processes, rank)) for rank in range(processes)]
    assert {len(share) for share in shares} == {23 // processes}
    assert all(len(share) == len(CropSampler(plan_of(23), processes, 0)) for share in shares)
    # In every step the processes together hold what one process with a larger batch holds.
    together = [crop for step in zip(*shares, strict=True) for crop in step]
    assert together == whole[: 23 // processes * processes]


def test_more_processes_than_images():
    with pytest.raises(ValueError, match="2 training images cannot be distributed over 3 processes"):
        CropSampler(plan_of(2), 3, 0)


def test_each_pass_is_the_next_epoch_and_set_epoch_names_it():
    sampler = CropSampler(plan_of(23))
    passes = [list(sampler) for _ in range(3)]
    assert passes == [plan_of(23).epoch(epoch) for epoch in range(3)]
    sampler.set_epoch(1)
    assert list(sampler) == passes[1]


def test_loader_resumes_within_an_epoch():
    reading = loader()
    reading.sampler.set_epoch(4)
    expected = seeds(reading)
    reading.sampler.set_epoch(5)
    following = seeds(reading)
    for done in range(len(expected) + 1):
        first, second = loader(), loader()
        first.sampler.set_epoch(4)
        iterator = iter(first)
        assert seeds(next(iterator) for _ in range(done)) == expected[:done]
        second.load_state_dict(first.state_dict())
        # Lightning makes the iterator first and names the epoch afterwards.
        iterator = iter(second)
        second.sampler.set_epoch(4)
        assert seeds(iterator) == expected[done:]
        second.sampler.set_epoch(5)
        assert seeds(second) == following


def test_loader_resumes_with_another_number_of_processes():
    first = loader(24)
    iterator = iter(first)
    expected = [seed for batch in seeds(iterator) for seed in batch][12:]
    again = loader(24)
    iterator = iter(again)
    for _ in range(4):
        next(iterator)
    rest = []
    for rank in range(2):
        other = loader(24, (2, rank))
        other.load_state_dict(again.state_dict())
        other.sampler.set_epoch(0)
        rest.append([seed for batch in seeds(other) for seed in batch])
    assert [seed for pair in zip(*rest, strict=True) for seed in pair] == expected


@pytest.mark.parametrize(
    ("done", "size", "processes", "counted"), [(3, 8, 1, 2), (3, 2, 1, 6), (2, 3, 2, 1), (9, 8, 1, 5), (3, 2, 2, None)]
)
def test_loader_says_which_batch_it_resumes_with_where_batches_are_of_another_size(done, size, processes, counted):
    def of(size, processes=1, rank=0):
        sampler = CropSampler(plan_of(40), processes, rank)
        return CropLoader(Seeds(40), batch_size=size, sampler=sampler, drop_last=True)

    first = of(4)
    iterator = iter(first)
    for _ in range(done):
        next(iterator)
    for rank in range(processes):
        other = of(size, processes, rank)
        other.load_state_dict(first.state_dict())
        assert other.batches_done == counted
        left = len(list(other))
        assert counted in (None, len(other) - left)


def test_a_state_of_an_earlier_version_resumes_as_before():
    reading = loader()
    reading.load_state_dict({"epoch": 1, "seen": 4})
    assert (reading.sampler.seen, reading.batches_done) == (4, None)


def test_a_finished_epochs_state_starts_the_next_one():
    first, second = loader(), loader()
    seeds(first)
    second.load_state_dict(first.state_dict())
    second.sampler.set_epoch(1)
    assert seeds(second) == seeds(first)


def test_persistent_workers_read_each_epoch():
    reading = loader(num_workers=2, persistent_workers=True)
    plain = loader()
    for _ in range(3):
        assert seeds(reading) == seeds(plain)


def test_a_plain_sampler_in_place_of_ours():
    """As Lightning's overfit_batches does it."""
    reading = CropLoader(Seeds(4), batch_size=2)
    assert seeds(reading) == [[0, 1], [2, 3]]
    assert reading.state_dict() == {}
    reading.load_state_dict({})


def plain(crop, scale=(0.5, 2.0), flip=0.5):
    return SceneAugmentation(crop, scale, flip, jitter=0, blur=None)
