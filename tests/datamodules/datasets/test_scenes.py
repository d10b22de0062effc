"""The pixels of a crop: where it lies, what it shows, how it is augmented."""

import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from pcpad.datamodules.datasets.cityscapes_labels import IGNORE
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.scenes import A, SceneAugmentation, choose_span
from pcpad.datamodules.reading.pngs import PngFile


def png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


# Where a crop lies


def test_span_reaches_all_places_uniformly():
    draws = np.random.default_rng(0)
    spans = [choose_span(100, 30, 1.0, None, draws) for _ in range(7100)]
    assert {(span.size, span.shown, span.offset) for span in spans} == {(30, 30, 0)}
    counts = np.bincount([span.start for span in spans], minlength=71)
    assert len(counts) == 71
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.faults
@pytest.mark.parametrize("center", [50, 0, 99, 14, 16])
def test_span_holds_the_point_anywhere_within(center):
    """All places that hold it are as likely, but for those beyond the image, which are moved inside."""
    draws = np.random.default_rng(0)
    spans = [choose_span(100, 60, 2.0, center, draws) for _ in range(6000)]
    assert {(span.size, span.shown, span.offset) for span in spans} == {(30, 60, 0)}
    counts = np.bincount([span.start for span in spans], minlength=71)
    expected = np.bincount(np.clip(np.arange(center - 29, center + 1), 0, 70), minlength=71) * 200
    assert (counts[expected == 0] == 0).all(), "all of them hold the point"
    if (expected > 0).sum() > 1:
        assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 0.01


@pytest.mark.parametrize("center", [None, 3])
def test_small_image_is_padded_on_both_sides(center):
    assert choose_span(20, 60, 2.0, center, np.random.default_rng(0)) == (0, 20, 40, 10)
    assert choose_span(1, 60, 0.1, center, np.random.default_rng(0)) == (0, 1, 1, 29)


def coordinates(height, width):
    """An image whose color says where a pixel is, and a label map that says it roughly, in blocks of 16."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 90)], axis=-1).astype(np.uint8)
    return image, (y // 16 + x // 16).astype(np.uint8)


@pytest.fixture
def painted(tmp_path):
    image, ids = coordinates(120, 250)
    return PngFile(png(tmp_path / "i.png", image)), PngFile(png(tmp_path / "l.png", ids))


def plain(crop, scale=(0.5, 2.0), flip=0.5):
    return SceneAugmentation(crop, scale, flip, jitter=0, blur=None)


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


@pytest.mark.faults
def test_rare_classes_lie_near_the_borders_of_crops_too(painted):
    """In their outer eighth in 7 of 16 crops, as anything does that is not put into the middle."""
    near = 0
    for seed in range(300):
        image, _ = plain(32, (1.0, 1.0), flip=0)(*painted, Crop(0, (60, 130), seed))
        y, x = 60 - int(image[0, 0, 0]), 130 - int(image[0, 0, 1])
        assert 0 <= y < 32
        assert 0 <= x < 32
        near += not (4 <= y < 28 and 4 <= x < 28)
    assert 0.35 < near / 300 < 0.53


def test_same_seed_same_crop_whatever_came_before(painted):
    full = SceneAugmentation(48, (0.5, 2.0), 0.5, 0.25, (0.15, 1.3))
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


def test_changes_of_color_and_blur_are_drawn_independently(tmp_path):
    """albumentations' set_random_seed would give each step the same numbers."""
    gray = np.full((80, 80, 3), 100, np.uint8)
    gray[40:] = 140
    files = PngFile(png(tmp_path / "i.png", gray)), PngFile(png(tmp_path / "l.png", gray[..., 0] // 50))
    full = SceneAugmentation(64, (1.0, 1.0), 0.0, 0.25, (0.15, 1.3))
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
    # Whole pixels: where all rows are shown, their middle is 44.5 but for how the colors were rounded.
    assert_equal_distributions(*(np.floor(np.multiply(found, (20, 1, 1)) + 0.25) for found in (ours, slow)))
    mirrored = [np.mean([step < 0 for step, _, _ in found]) for found in (ours, slow)]
    assert all(0.45 < share < 0.55 for share in mirrored)


def test_colors_and_blur_are_distributed_as_by_whole_images(tmp_path):
    """The color of one side (brightness, contrast, saturation, hue), and how far the edge between two is spread."""
    image = np.full((40, 40, 3), (170, 110, 70), np.uint8)
    image[20:] = (90, 120, 140)
    files = PngFile(png(tmp_path / "i.png", image)), PngFile(png(tmp_path / "l.png", image[..., 0] // 50))
    reference = straightforward(40, (1.0, 1.0), 1)
    full = SceneAugmentation(40, (1.0, 1.0), 0.5, 0.25, (0.15, 1.3))
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
    from pcpad.datamodules.datasets import scenes

    real = scenes.A.GaussianBlur
    monkeypatch.setattr(scenes.A, "GaussianBlur", lambda **given: real(**given, sigma_limits=(1, 2)))
    with pytest.raises((UserWarning, ValueError), match="not valid for transform GaussianBlur"):
        SceneAugmentation(8, (1, 1), 0, 0, (1, 2))
