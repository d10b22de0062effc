"""Which crops are trained on: centroids, the plan of an epoch, its shares, and the pixels of a crop."""

import os
import pickle
import random
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from torch.utils.data import Dataset

from pcpad.datamodules.datasets import centroids as centroids_module
from pcpad.datamodules.datasets.centroids import Centroids, find_centroids, load_centroids
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import IGNORE, LABELS, count_ids, to_train_ids
from pcpad.datamodules.datasets.epochs import Crop, CropLoader, CropPlan, CropSampler
from pcpad.datamodules.datasets.scenes import A, Augmentation, choose_span
from pcpad.datamodules.reading import caches as caches_module
from pcpad.datamodules.reading.pngs import PngFile


def png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def points(of_class):
    """Centroids from {trainId: number of points}, each in a file of its own number."""
    train_id = np.repeat(list(of_class), list(of_class.values())).astype(np.uint8)
    number = np.arange(len(train_id), dtype=np.int32)
    return Centroids(number % 10, train_id, number + 100, number + 200)


# Labels


def test_table_of_ids():
    # Written out once more, from the reference, as dict(id: trainId).
    evaluated = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    evaluated |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    ids = np.asarray([[*range(34), 255]], np.uint8)
    assert to_train_ids(ids)[0].tolist() == [*(evaluated.get(label, 255) for label in range(34)), 255]
    assert len({label.colour for label in LABELS if label.train_id != IGNORE}) == 19


def test_count_ids():
    ids = np.random.default_rng(0).integers(0, 256, (2100, 33), dtype=np.uint8)
    np.testing.assert_array_equal(count_ids(ids), np.bincount(ids.ravel(), minlength=256))


# Centroids


@pytest.mark.parametrize("tile", [16, 24, 100])
def test_centroids_equal_a_slow_loop(tile):
    ids = np.random.default_rng(1).choice([0, 3, 7, 18, IGNORE], (50, 70)).astype(np.uint8)
    ids[:20, :30] = 5
    expected = []
    for top in range(0, 50, tile):
        for left in range(0, 70, tile):
            part = ids[top : top + tile, left : left + tile]
            for train_id in range(19):
                if (part == train_id).any():
                    y, x = ndimage.center_of_mass(part == train_id)
                    # A hair more, as scipy divides floating-point numbers.
                    expected.append((train_id, top + int(y + 1e-9), left + int(x + 1e-9)))
    assert list(map(tuple, find_centroids(ids, tile).tolist())) == expected


def test_centroids_of_a_full_size_tile_are_exact():
    ids = np.zeros((1024, 2048), np.uint8)
    assert find_centroids(ids, 1024).tolist() == [[0, 511, 511], [0, 511, 1535]]


def test_no_centroids_of_ignored_pixels():
    assert find_centroids(np.full((4, 4), IGNORE, np.uint8), 4).shape == (0, 3)


@pytest.fixture
def labelled(tmp_path):
    pairs = []
    for number in range(3):
        pair = Pair(f"images/{number}.png", f"labels/{number}.png")
        ids = np.full((20, 40), 7, np.uint8)
        ids[4:8, 10 * number : 10 * number + 4] = 26
        png(tmp_path / pair.image, np.zeros((20, 40, 3), np.uint8))
        png(tmp_path / pair.label, ids)
        pairs.append(pair)
    return tmp_path, pairs


def counting(monkeypatch):
    looked = []

    def look(train_ids, tile):
        looked.append(tile)
        return find_centroids(train_ids, tile)

    monkeypatch.setattr(centroids_module, "find_centroids", look)
    return looked


def cars(found):
    car = found.select(found.train_id == 13)
    return list(zip(car.file.tolist(), car.y.tolist(), car.x.tolist(), strict=True))


def test_index_is_built_once_with_a_progress_bar(labelled, monkeypatch, capsys):
    root, pairs = labelled
    looked = counting(monkeypatch)
    first = load_centroids(root, "fine", pairs, 40)
    assert "class centroids of fine labels" in capsys.readouterr().err
    assert cars(first) == [(0, 5, 1), (1, 5, 11), (2, 5, 21)]
    assert looked == [40] * 3
    again = load_centroids(root, "fine", pairs, 40)
    assert looked == [40] * 3
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert [path.name for path in root.iterdir() if path.is_file()] == ["pcpad_centroids_fine_40.npz"]


@pytest.mark.parametrize("change", ["content", "time", "fewer", "tile", "other name", "damage"])
def test_index_is_rebuilt_when_anything_changes(labelled, monkeypatch, change):
    root, pairs = labelled
    load_centroids(root, "fine", pairs, 40)
    looked = counting(monkeypatch)
    label, tile, expected = root / pairs[1].label, 40, [(0, 5, 1), (1, 5, 11), (2, 5, 21)]
    if change == "content":
        ids = np.full((20, 40), 7, np.uint8)
        ids[10:12, 2:4] = 26
        png(label, ids)
        expected[1] = (1, 10, 2)
    elif change == "time":
        os.utime(label, ns=(1, 1))
    elif change == "fewer":
        pairs, expected = pairs[1:], [(0, 5, 11), (1, 5, 21)]
    elif change == "tile":
        tile, expected = 10, [(0, 5, 1), (1, 5, 11), (2, 5, 21)]
    elif change == "other name":
        (root / "labels/x.png").write_bytes(label.read_bytes())
        pairs = [pairs[0], Pair(pairs[1].image, "labels/x.png"), pairs[2]]
    else:
        (root / "pcpad_centroids_fine_40.npz").write_bytes(b"PK\3\4 no archive")
    found = load_centroids(root, "fine", pairs, tile)
    assert len(looked) == len(pairs)
    assert cars(found) == expected
    load_centroids(root, "fine", pairs, tile)
    assert len(looked) == len(pairs)


def test_index_of_read_only_data_lies_in_the_users_cache(labelled, tmp_path_factory, monkeypatch):
    root, pairs = labelled
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    write = caches_module._write

    def refuse_root(path, arrays):
        if path.parent == root:
            raise PermissionError(13, "Permission denied")
        write(path, arrays)

    monkeypatch.setattr(caches_module, "_write", refuse_root)
    looked = counting(monkeypatch)
    for _ in range(2):
        assert len(cars(load_centroids(root, "fine", pairs, 40))) == 3
    assert len(looked) == 3
    assert [path.name[16:] for path in (cache / "pcpad").iterdir()] == ["_pcpad_centroids_fine_40.npz"]
    assert not list(root.glob("*.npz"))


def test_index_that_can_be_kept_nowhere_is_used_with_a_warning(labelled, monkeypatch):
    root, pairs = labelled

    def refuse(path, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches_module, "_write", refuse)
    with pytest.warns(UserWarning, match="could not be kept and is built in each run: .*No space left"):
        assert len(cars(load_centroids(root, "fine", pairs, 40))) == 3


def test_a_failed_write_leaves_nothing(labelled, monkeypatch):
    root, pairs = labelled
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "labels" / "0.png"))  # a file: no folder can be made in it

    def fill_the_disk(path, **arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fill_the_disk)
    with pytest.warns(UserWarning, match="could not be kept"):
        load_centroids(root, "fine", pairs, 40)
    assert sorted(path.name for path in root.iterdir()) == ["images", "labels"]


def test_points_of_other_files_are_dropped_when_moved():
    found = Centroids(*(np.asarray(column, np.int32) for column in ([0, 1, 1, 2], [3, 4, 5, 6], [1] * 4, [2] * 4)))
    moved = found.moved(np.asarray([7, -1, 0], np.int32))
    assert moved.file.tolist() == [7, 0]
    assert moved.train_id.tolist() == [3, 6]


# The plan


def test_half_of_an_epoch_is_spread_evenly_over_the_classes():
    where = points(dict.fromkeys(range(19), 500))
    plan = CropPlan(2975, where, 0.5, 19, seed=0)
    for epoch in (0, 1):
        crops = plan.epoch(epoch)
        assert len(crops) == 2975
        centred = [crop for crop in crops if crop.centre]
        assert len(centred) == round(2975 / 2)
        # Row 100 + number and column 200 + number, 500 numbers a class.
        assert all(x - y == 100 for y, x in (crop.centre for crop in centred))
        per_class = Counter((crop.centre[0] - 100) // 500 for crop in centred)
        assert set(per_class) == set(range(19))
        assert set(per_class.values()) <= {78, 79}
        # Drawn without repetition, each with its own file, and no two crops alike.
        assert len({crop.centre for crop in centred}) == len(centred)
        assert all(crop.file == (crop.centre[0] - 100) % 10 for crop in centred)
        assert len({crop.seed for crop in crops}) == 2975
        anywhere = [crop.file for crop in crops if not crop.centre]
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
    assert Counter(crop.centre for crop in crops if crop.centre)[103, 203] == 2  # the one point of class 5, twice
    assert sum(crop.centre is not None for crop in crops) == 4
    # 36 crops anywhere in 40 images.
    assert len({crop.file for crop in crops if not crop.centre}) == 36


def test_small_sets_get_classes_in_turn():
    plan = CropPlan(24, points(dict.fromkeys(range(19), 2)), 0.5, 19, seed=0)
    seen = Counter((crop.centre[0] - 100) // 2 for epoch in range(60) for crop in plan.epoch(epoch) if crop.centre)
    assert sum(seen.values()) == 12 * 60
    assert len(seen) == 19
    assert min(seen.values()) > 20


@pytest.mark.parametrize(("where", "share"), [(None, 0.5), (points({0: 3}), 0.0)])
def test_without_centroids_each_image_is_seen_once(where, share):
    crops = CropPlan(30, where, share, 19, seed=0).epoch(0)
    assert sorted(crop.file for crop in crops) == list(range(30))
    assert not any(crop.centre for crop in crops)


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
    with pytest.raises(ValueError, match="2 training images cannot be shared out over 3 processes"):
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


# Where a crop lies


def test_span_reaches_all_places_uniformly():
    draws = np.random.default_rng(0)
    spans = [choose_span(100, 30, 1.0, None, draws) for _ in range(7100)]
    assert {(span.size, span.shown, span.offset) for span in spans} == {(30, 30, 0)}
    counts = np.bincount([span.start for span in spans], minlength=71)
    assert len(counts) == 71
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize(("centre", "start"), [(50, 35), (0, 0), (99, 70), (14, 0), (16, 1)])
def test_span_is_centred_as_far_as_the_image_reaches(centre, start):
    assert choose_span(100, 60, 2.0, centre, np.random.default_rng(0)) == (start, 30, 60, 0)


@pytest.mark.parametrize("centre", [None, 3])
def test_small_image_is_padded_on_both_sides(centre):
    assert choose_span(20, 60, 2.0, centre, np.random.default_rng(0)) == (0, 20, 40, 10)
    assert choose_span(1, 60, 0.1, centre, np.random.default_rng(0)) == (0, 1, 1, 29)


def coordinates(height, width):
    """An image whose colour says where a pixel is, and a label map that says it roughly, in blocks of 16."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 90)], axis=-1).astype(np.uint8)
    return image, (y // 16 + x // 16).astype(np.uint8)


@pytest.fixture
def painted(tmp_path):
    image, ids = coordinates(120, 250)
    return PngFile(png(tmp_path / "i.png", image)), PngFile(png(tmp_path / "l.png", ids))


def plain(crop, scale=(0.5, 2.0), flip=0.5):
    return Augmentation(crop, scale, flip, jitter=0, blur=None)


@pytest.mark.parametrize("crop", [48, 160])
def test_image_and_label_stay_aligned(painted, crop):
    mirrored = 0
    for seed in range(40):
        image, ids = plain(crop)(*painted, Crop(0, None, seed))
        assert image.shape == (crop, crop, 3)
        assert ids.shape == (crop, crop)
        valid = image[..., 2] == 90
        y, x = image[..., 0].astype(float), image[..., 1].astype(float)
        # Where a pixel of the image says it comes from the middle of a block, the label must say so too.
        inside = valid & (abs(y % 16 - 7.5) < 6) & (abs(x % 16 - 7.5) < 6)
        assert inside.sum() > 100
        np.testing.assert_array_equal(ids[inside], (y // 16 + x // 16)[inside])
        assert (ids[~valid] == IGNORE).all() or crop == 48
        mirrored += bool((np.diff(x[valid.argmax() // crop]) <= 0).sum() > crop // 2)
    assert 8 < mirrored < 32


def test_padding_is_black_and_ignored(painted):
    image, ids = plain(300, (1.0, 1.0), flip=0)(*painted, Crop(0, None, 0))
    expected, labels = coordinates(120, 250)
    np.testing.assert_array_equal(image[90:210, 25:275], expected)
    np.testing.assert_array_equal(ids[90:210, 25:275], labels)
    image[90:210, 25:275] = 0
    ids[90:210, 25:275] = IGNORE
    assert (image == 0).all()
    assert (ids == IGNORE).all()


def test_crop_is_centred_on_the_centroid(painted):
    for seed in range(20):
        image, _ = plain(30)(*painted, Crop(0, (60, 130), seed))
        assert abs(int(image[15, 15, 0]) - 60) <= 2
        assert abs(int(image[15, 15, 1]) - 130) <= 2


def test_same_seed_same_crop_whatever_came_before(painted):
    full = Augmentation(48, (0.5, 2.0), 0.5, 0.25, (0.15, 1.3))
    first = full(*painted, Crop(0, None, 7))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    full(*painted, Crop(0, None, 8))
    for other in (full, pickle.loads(pickle.dumps(full))):
        for a, b in zip(first, other(*painted, Crop(0, None, 7)), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (first[0] != full(*painted, Crop(0, None, 8))[0]).any()


def test_distribution_is_that_of_resizing_padding_and_cropping(tmp_path):
    """Scale and place of a crop, read off its pixels, against the recipe done step by step."""
    y, x = np.mgrid[:90, :200]
    image = np.stack([y, x, np.full_like(y, 255)], axis=-1).astype(np.uint8)
    files = PngFile(png(tmp_path / "i.png", image)), PngFile(png(tmp_path / "l.png", image[..., 2]))
    draws = np.random.default_rng(0)
    ours, slow = [], []
    for seed in range(600):
        ours.append(measure(plain(64, flip=0)(*files, Crop(0, None, seed))[0]))
        scale = draws.uniform(0.5, 2)
        big = cv2.resize(image, (round(200 * scale), round(90 * scale)), interpolation=cv2.INTER_LINEAR)
        down, right = (max(64 - side, 0) for side in big.shape[:2])
        big = np.pad(big, ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0)))
        top, left = (int(draws.integers(side - 63)) for side in big.shape[:2])
        slow.append(measure(big[top : top + 64, left : left + 64]))
    for one, other in zip(np.transpose(ours), np.transpose(slow), strict=True):
        assert stats.ks_2samp(one, other).pvalue > 0.01


def measure(crop):
    """Return pixels of the source a pixel, and the source's row and column in the middle of what is shown."""
    rows, columns = np.nonzero(crop[..., 2] > 200)
    box = crop[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(float)
    step = (box[0, -1, 1] - box[0, 0, 1]) / max(box.shape[1] - 1, 1)
    return step, box[:, 0, 0].mean(), box[0, :, 1].mean()


def test_changes_of_colour_and_blur_are_drawn_independently(tmp_path):
    """albumentations' set_random_seed would give each step the same numbers."""
    grey = np.full((80, 80, 3), 100, np.uint8)
    grey[40:] = 140
    files = PngFile(png(tmp_path / "i.png", grey)), PngFile(png(tmp_path / "l.png", grey[..., 0] // 50))
    full = Augmentation(64, (1.0, 1.0), 0.0, 0.25, (0.15, 1.3))
    seen = []
    for seed in range(300):
        image, _ = full(*files, Crop(0, (40, 40), seed))
        column = image[:, 32].mean(-1)
        seen.append((column[0], (column[-1] - column[0]) / column.mean(), np.count_nonzero(np.diff(column))))
    correlation = np.corrcoef(np.transpose(seen))
    assert abs(correlation[0, 2]) < 0.2  # brightness and blur
    brightness = np.transpose(seen)[0] / 100
    assert 0.7 < brightness.min() < 0.85
    assert 1.15 < brightness.max() < 1.3


def straightforward(crop, scale, seed, jitter=0.25, blur=(0.15, 1.3)):
    """The recipe as anyone would write it: whole images through albumentations, one step after the other."""
    factors = (1 - jitter, 1 + jitter)
    steps = [
        A.RandomScale((scale[0] - 1, scale[1] - 1), p=1),
        A.PadIfNeeded(crop, crop, fill=0, fill_mask=IGNORE),
        A.RandomCrop(crop, crop),
        A.HorizontalFlip(p=0.5),
    ]
    if jitter:
        steps.append(A.ColorJitter(factors, factors, factors, (-jitter, jitter), p=1))
    if blur:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=blur, p=1))
    composed = A.Compose(steps)
    # One stream for all: by its own seed each step would draw the same numbers, and mirror large images more often.
    composed.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return composed


def assert_equal_distributions(ours, plain):
    for one, other in zip(np.transpose(ours), np.transpose(plain), strict=True):
        assert stats.ks_2samp(one, other).pvalue > 0.01


@pytest.mark.parametrize(("crop", "size"), [(48, (90, 200)), (100, (90, 200))])
def test_places_are_distributed_as_by_whole_images(tmp_path, crop, size):
    """Scale with the flip as its sign, and the middle of what is shown; with and without padding."""
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.stack([y, x, np.full_like(y, 255)], axis=-1).astype(np.uint8)
    files = PngFile(png(tmp_path / "i.png", image)), PngFile(png(tmp_path / "l.png", image[..., 2]))
    reference = straightforward(crop, (0.5, 2.0), 1, jitter=0, blur=None)
    fast = plain(crop)
    ours = [measure(fast(*files, Crop(0, None, seed))[0]) for seed in range(700)]
    slow = [measure(reference(image=image, mask=image[..., 2])["image"]) for _ in range(700)]
    # Whole pixels: where all rows are shown, their middle is 44.5 but for how the colours were rounded.
    assert_equal_distributions(*(np.floor(np.multiply(found, (20, 1, 1)) + 0.25) for found in (ours, slow)))
    mirrored = [np.mean([step < 0 for step, _, _ in found]) for found in (ours, slow)]
    assert all(0.45 < share < 0.55 for share in mirrored)


def test_colours_and_blur_are_distributed_as_by_whole_images(tmp_path):
    """The colour of one side (brightness, contrast, saturation, hue), and how far the edge between two is spread."""
    image = np.full((40, 40, 3), (170, 110, 70), np.uint8)
    image[20:] = (90, 120, 140)
    files = PngFile(png(tmp_path / "i.png", image)), PngFile(png(tmp_path / "l.png", image[..., 0] // 50))
    reference = straightforward(40, (1.0, 1.0), 1)
    full = Augmentation(40, (1.0, 1.0), 0.5, 0.25, (0.15, 1.3))
    ours = [tint(full(*files, Crop(0, None, seed))[0]) for seed in range(500)]
    slow = [tint(reference(image=image, mask=image[..., 0])["image"]) for _ in range(500)]
    assert_equal_distributions(ours, slow)
    # The test sees what it is to see: a narrower range of any of them does not pass.
    for changed in ({"jitter": 0.15}, {"blur": (0.15, 0.9)}):
        other = straightforward(40, (1.0, 1.0), 1, **changed)
        wrong = [tint(other(image=image, mask=image[..., 0])["image"]) for _ in range(500)]
        with pytest.raises(AssertionError):
            assert_equal_distributions(ours, wrong)


def tint(crop):
    """Hue, saturation and value of the upper side, its contrast to the lower one, the steepest step's share of it."""
    upper, lower = crop[2, 20].astype(float), crop[-3, 20].astype(float)
    hue, saturation, value = cv2.cvtColor(crop[2:3, 20:21], cv2.COLOR_RGB2HSV)[0, 0].astype(float)
    profile = crop[:, 20].astype(float).sum(axis=-1)
    whole = upper.sum() - lower.sum()
    steepest = abs(np.diff(profile)).max() / max(abs(whole), 1)
    return hue, saturation, value, whole, steepest


def test_unknown_argument_of_albumentations_is_an_error(monkeypatch):
    from pcpad.datamodules import scenes

    real = scenes.A.GaussianBlur
    monkeypatch.setattr(scenes.A, "GaussianBlur", lambda **given: real(**given, sigma_limits=(1, 2)))
    with pytest.raises((UserWarning, ValueError), match="not valid for transform GaussianBlur"):
        Augmentation(8, (1, 1), 0, 0, (1, 2))
