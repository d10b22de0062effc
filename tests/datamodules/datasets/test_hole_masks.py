"""Masks: what white means, which shares of holes come how often, and that the same seed draws the same."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.datasets.hole_masks import (
    AugmentedMasks,
    DrawnMasks,
    FixedMasks,
    check_polarity,
    find_masks,
    fit_nearest,
    hole_share,
    read_mask,
)
from pcpad.datamodules.datasets.strokes import draw_mask
from pcpad.datamodules.reading.folders import find_images
from pcpad.datamodules.reading.images import BrokenImageError

BINS = ((0.01, 0.2), (0.2, 0.4), (0.4, 0.6))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve masks of 128², white = valid, of shares from 0.03 to 0.58, two of each."""
    root = tmp_path_factory.mktemp("masks")
    for index in range(12):
        low = 0.03 + 0.1 * (index // 2)
        Image.fromarray(255 * draw_mask(128, (low, low + 0.05), rng(index))).save(root / f"{index:02}.png")
    return root


# Reading


@pytest.mark.parametrize(
    ("values", "threshold", "white", "between"),
    [
        (np.array([[0, 255]], np.uint8), 0.5, [[0, 1]], 0),
        (np.array([[0, 127, 128, 255]], np.uint8), 0.5, [[0, 0, 1, 1]], 2),
        (np.array([[0, 152, 154, 255]], np.uint8), 0.6, [[0, 0, 1, 1]], 2),
        (np.array([[0, 1, 1, 0]], np.uint8), 0.5, [[0, 1, 1, 0]], 0),
        (np.array([[0, 30_000, 40_000, 65_535]], np.uint16), 0.5, [[0, 0, 1, 1]], 2),
        (np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8), 0.5, [[0, 1, 0]], 1),
        (np.array([[False, True]]), 0.5, [[0, 1]], 0),
        (np.zeros((2, 2), np.uint8), 0.5, [[0, 0], [0, 0]], 0),
    ],
)
def test_files_of_every_kind_become_two_values(tmp_path, values, threshold, white, between):
    Image.fromarray(values).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", "white_valid", threshold)
    assert (mask.valid.tolist(), mask.between) == (white, between)
    opposite = read_mask(tmp_path / "m.png", "white_hole", threshold)
    assert (1 - opposite.valid).tolist() == white
    assert opposite.valid.dtype == np.uint8


def test_fitting_makes_no_third_value():
    mask = draw_mask(50, (0.2, 0.6), rng())
    fitted = fit_nearest(mask, 77, 31)
    assert fitted.shape == (77, 31)
    assert set(np.unique(fitted)) == {0, 1}
    assert abs(hole_share(fitted) - hole_share(mask)) < 0.05


# Polarity


def test_the_wrong_polarity_is_found_out(tmp_path, folder):
    for index in range(9):
        Image.fromarray(255 * draw_mask(64, (0.1, 0.3), rng(index))).save(tmp_path / f"{index}.png")
    assert len(find_masks(tmp_path, "white_valid", "mask_polarity")[0]) == 9
    with pytest.raises(
        ValueError, match=r"mask_polarity=white_hole, the median mask is 7\d%.*mask_polarity white_valid"
    ):
        find_masks(tmp_path, "white_hole", "mask_polarity")
    with pytest.raises(ValueError, match=r"What does white mean in .*test_mask_polarity white_valid"):
        find_masks(tmp_path, None, "test_mask_polarity")


def test_masks_of_everything_or_broken_ones_say_nothing_about_polarity(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "all.png")
    (tmp_path / "broken.png").write_bytes(b"")
    check_polarity(find_images(tmp_path), "white_valid", "mask_polarity")
    half = np.full((8, 8), 255, np.uint8)
    half[0] = 0
    Image.fromarray(half).save(tmp_path / "part.png")
    with pytest.raises(ValueError, match=r"88% hole \(1 masks"):
        check_polarity(find_images(tmp_path), "white_hole", "mask_polarity")


# Meaning

DRAWN = np.zeros((60, 80), bool)
DRAWN[10:30, 20:60] = True
PHOTOGRAPH = np.clip(np.cumsum(np.cumsum(np.random.default_rng(0).normal(0, 3, (60, 80, 3)), 0), 1) % 256, 0, 255)


def painted(on, off=0, kind=np.uint8):
    return np.where(DRAWN[..., None], np.array(on), np.array(off)).astype(kind).squeeze()


MEANINGLESS = {
    "red": painted((255, 0, 0)),
    "red on white": painted((255, 0, 0), (255, 255, 255)),
    "green": painted((0, 255, 0)),
    "yellow": painted((255, 255, 0)),
    "value 2": painted([2]),
    "values 1 and 2": painted([2], [1]),
    "values 254 and 255": painted([254], [255]),
    "gray": painted([127]),
    "16 bits of which 8 are used": painted([255], kind=np.uint16),
    "one gray": np.full((60, 80), 127, np.uint8),
    "photograph": PHOTOGRAPH.astype(np.uint8),
    "dark photograph": (PHOTOGRAPH / 3).astype(np.uint8),
    "photograph with alpha": np.dstack([PHOTOGRAPH, painted([0], [255])]).astype(np.uint8),
    "white with alpha": np.dstack([*[np.full((60, 80), 255)] * 3, painted([0], [255])]).astype(np.uint8),
}


@pytest.mark.faults
@pytest.mark.parametrize("polarity", ["white_hole", "white_valid"])
@pytest.mark.parametrize("kind", MEANINGLESS)
def test_a_mask_that_means_nothing_is_known_as_such(tmp_path, kind, polarity):
    Image.fromarray(MEANINGLESS[kind]).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", polarity, 0.5, judge=True).unclear
    with pytest.raises(ValueError, match=r"1 of 1 masks .*m\.png: .*define holes with: --data\.mask_polarity nonblack"):
        find_masks(tmp_path, polarity, "mask_polarity")


def test_a_palette_means_what_its_colors_do(tmp_path):
    mask = Image.fromarray(painted([15])).convert("P")
    mask.putpalette([c for i in range(256) for c in (i * 7 % 256, i * 13 % 256, i * 29 % 256)])
    mask.save(tmp_path / "m.png")
    assert "neither black nor white" in read_mask(tmp_path / "m.png", "white_hole", 0.5, judge=True).unclear


@pytest.mark.parametrize("kind", ["jpg", "soft edge", "white on transparent", "one value", "0 and 1", "opaque"])
def test_a_mask_that_means_something_is_taken(tmp_path, kind):
    mask = painted([1 if kind == "0 and 1" else 255])
    if kind == "soft edge":
        mask = cv2.GaussianBlur(mask, (5, 5), 0)
    if kind == "one value":
        mask[:] = 255
    if kind in ("white on transparent", "opaque"):
        mask = np.dstack([mask, mask, mask, mask if kind == "white on transparent" else np.full_like(mask, 255)])
    name = tmp_path / ("m.jpg" if kind == "jpg" else "m.png")
    Image.fromarray(mask).save(name)
    assert read_mask(name, "white_hole", 0.5, judge=True).unclear == ""


@pytest.mark.parametrize("polarity", ["white_hole", "white_valid"])
def test_what_a_soft_brush_touched_belongs_to_the_hole_if_asked_for(tmp_path, polarity):
    """Its edge is colored too; what is gray far from any hole is not."""
    gray = np.zeros((9, 20), np.uint8)
    gray[:, :6], gray[:, 6], gray[:, 7], gray[:, 8] = 255, 90, 2, 12
    gray[:, 15] = 90
    Image.fromarray(gray if polarity == "white_hole" else 255 - gray).save(tmp_path / "mask.png")
    columns = [
        (read_mask(tmp_path / "mask.png", polarity, 0.5, soft_edges=soft).valid == 0).any(axis=0).nonzero()[0].tolist()
        for soft in (None, 0)
    ]
    assert columns == [list(range(6)), list(range(8))]


@pytest.mark.parametrize(
    ("polarity", "kind"),
    [
        ("nonblack_hole", "red"),
        ("nonblack_hole", "value 2"),
        ("nonblack_hole", "16 bits of which 8 are used"),
        ("nonwhite_hole", "red on white"),
        ("transparent_hole", "photograph with alpha"),
    ],
)
def test_what_else_is_a_hole_can_be_said(tmp_path, polarity, kind):
    Image.fromarray(MEANINGLESS[kind]).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", polarity, 0.5, judge=True)
    assert np.array_equal(mask.valid == 0, DRAWN)
    assert mask.unclear == ""
    assert len(find_masks(tmp_path, polarity, "mask_polarity")[0]) == 1


def test_transparency_that_is_not_there_is_missed(tmp_path):
    Image.fromarray(MEANINGLESS["red"]).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png: it has no alpha channel"):
        read_mask(tmp_path / "m.png", "transparent_hole", 0.5)


# Augmenting


def test_augmented_masks_have_two_values_and_grown_holes(folder):
    masks = AugmentedMasks(find_images(folder), "white_valid", 96)
    drawn = [masks(rng(seed)) for seed in range(120)]
    assert all(mask.shape == (96, 96) and set(np.unique(mask)) <= {0, 1} for mask in drawn)
    shares = [hole_share(mask) for mask in drawn]
    files = [hole_share(read_mask(path, "white_valid", 0.6).valid) for path in folder.iterdir()]
    assert max(shares) <= 0.9
    assert min(shares) > 0
    assert np.mean(shares) > np.mean(files) + 0.03  # dilated
    assert len({mask.tobytes() for mask in drawn}) == 120
    assert np.array_equal(masks(rng(5)), drawn[5])


def test_holes_are_dilated_by_9_to_49_pixels_of_512(tmp_path):
    dot = np.full((512, 512), 255, np.uint8)
    dot[256, 256] = 0
    Image.fromarray(dot).save(tmp_path / "dot.png")
    masks = AugmentedMasks(find_images(tmp_path), "white_valid", 512)
    widths = []
    for seed in range(60):
        holes = masks(rng(seed)) == 0
        # Some are cut by the border or mirrored at it.
        columns, rows = holes.any(0), holes.any(1)
        if not (columns[[0, -1]].any() or rows[[0, -1]].any()) and columns.sum() == np.ptp(np.flatnonzero(columns)) + 1:
            widths.append(int(columns.sum()))
    assert len(widths) > 10
    assert min(widths) >= 8
    assert 38 <= max(widths) <= 51


@pytest.mark.parametrize("black", [0, 255])
def test_masks_without_any_use_still_end(tmp_path, black):
    Image.fromarray(np.full((20, 20), black, np.uint8)).save(tmp_path / "m.png")
    mask = AugmentedMasks(find_images(tmp_path), "white_valid", 16)(rng())
    assert hole_share(mask) == (black == 0)


def test_a_broken_mask_is_named(tmp_path):
    (tmp_path / "m.png").write_bytes(b"x")
    with pytest.raises(BrokenImageError, match=r"m\.png"):
        AugmentedMasks(find_images(tmp_path), "white_valid", 16)(rng())


def test_drawn_masks_as_a_source():
    assert np.array_equal(DrawnMasks(32, (0.1, 0.3))(rng(7)), draw_mask(32, (0.1, 0.3), rng(7)))


# Evaluation


@pytest.mark.parametrize("from_files", [True, False])
def test_each_image_has_its_mask_and_each_bin_as_many(folder, from_files):
    files = find_images(folder) if from_files else None
    masks = FixedMasks(files, "white_valid", 64, BINS, 0)
    again = FixedMasks(files, "white_valid", 64, BINS, 0)
    for index in reversed(range(30)):
        low, high = BINS[index % 3]
        mask = masks[index]
        assert low < hole_share(mask) <= high
        assert np.array_equal(again[index], mask)
        assert set(np.unique(mask)) == {0, 1}
    other = FixedMasks(files, "white_valid", 64, BINS, 1)
    assert any(not np.array_equal(other[index], masks[index]) for index in range(30))
    assert len({masks[index].tobytes() for index in range(0, 30, 3)}) > 2


def test_bins_that_no_file_is_in_are_told_of(folder):
    masks = FixedMasks(find_images(folder), "white_valid", 64, [(0.7, 0.8)], 0)
    with pytest.raises(
        ValueError, match=r"none of 12 masks checked .* has a hole share in \(0\.7, 0\.8\].*--data.bins"
    ):
        masks[0]
