"""Holes from mask files, from what is transparent and from what is painted; and what means nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pcpad.commands.filling.holes import MaskReading, color_of, has_bled, hole_of, painted
from pcpad.pictures import Picture, read_picture

SOURCE = Path("photo.jpg")


def picture(height=60, width=80, alpha=None, white=255):
    draws = np.random.default_rng(0)
    kind = np.uint8 if white == 255 else np.uint16
    return Picture(draws.integers(white // 5, white // 2, (height, width, 3)).astype(kind), alpha)


def square(height=60, width=80):
    mask = np.zeros((height, width), np.uint8)
    mask[10:20, 30:50] = 255
    return mask


@pytest.fixture
def saved(tmp_path):
    def save(pixels, name="mask.png"):
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return save


def hole(path, reading=None, of=None):
    return hole_of(of or picture(), SOURCE, path, reading or MaskReading())


def test_white_is_what_is_filled(saved):
    path = saved(square())
    assert np.array_equal(hole(path), square() // 255)
    valid = MaskReading(polarity="white_valid", sure=True)
    assert np.array_equal(hole(path, valid), 1 - square() // 255)


@pytest.mark.faults
@pytest.mark.parametrize("white_hole", [True, False])
def test_soft_edges_of_a_mask_are_filled_unless_a_threshold_is_given(white_hole, saved):
    pixels = square()
    pixels[9, 30:50], pixels[8, 30:50] = 100, 3
    pixels[7, 30:50] = 100  # too far
    pixels[40, 5] = 100
    expected = square() // 255
    expected[8:10, 30:50] = 1
    polarity = "white_hole" if white_hole else "white_valid"
    path = saved(pixels if white_hole else 255 - pixels)
    assert np.array_equal(hole(path, MaskReading(polarity=polarity)), expected)
    exact = MaskReading(polarity=polarity, threshold=0.5)
    assert np.array_equal(hole(path, exact), square() // 255)


@pytest.mark.faults
def test_what_jpeg_makes_of_black_is_no_soft_edge(tmp_path):
    Image.fromarray(square()).save(tmp_path / "mask.jpg", quality=75)
    assert (cv2.imread(str(tmp_path / "mask.jpg"), 0)[square() == 0] > 0).any()
    assert np.array_equal(hole(tmp_path / "mask.jpg"), square() // 255)


def test_holes_grow(saved):
    grown = hole(saved(square()), MaskReading(grow=2))
    assert grown[8:22, 32:48].all()
    assert not grown[:8].any()


@pytest.mark.faults
def test_a_mask_the_other_way_round_is_noticed(saved):
    with pytest.raises(ValueError, match=r"96% of it is a hole .* --mask_polarity white_valid"):
        hole(saved(255 - square()))
    assert hole(saved(255 - square()), MaskReading(sure=True)).mean() > 0.9


@pytest.mark.faults
def test_a_mask_of_everything_is_named(saved):
    with pytest.raises(ValueError, match=r"photo.jpg: its mask .* covers 100 % of it"):
        hole(saved(np.full((60, 80), 255, np.uint8)), MaskReading(sure=True))


@pytest.mark.faults
def test_a_mask_of_another_size_is_refused_or_resized(saved):
    path = saved(square(30, 40))
    with pytest.raises(ValueError, match=r"40x30 pixels, but the picture has 80x60.*--fit_masks nearest"):
        hole(path)
    assert hole(path, MaskReading(fit="nearest")).shape == (60, 80)
    with pytest.raises(ValueError, match="before it was turned upright"):
        hole(saved(square(80, 60)))


@pytest.mark.faults
def test_a_photograph_is_no_mask(saved):
    draws = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"does not say what is a hole.*--mask_polarity nonblack_hole"):
        hole(saved(draws.integers(0, 255, (60, 80, 3)).astype(np.uint8)))


def test_what_is_transparent():
    alpha = np.full((60, 80), 255, np.uint8)
    alpha[10:20, 30:50], alpha[40:50, 5:9] = 0, 200
    found = hole_of(picture(alpha=alpha), SOURCE, None, MaskReading("alpha"))
    assert np.array_equal(found, square() // 255)
    with pytest.raises(ValueError, match="no alpha channel"):
        hole_of(picture(), SOURCE, None, MaskReading("alpha"))


@pytest.mark.parametrize("white", [255, 65535])
@pytest.mark.parametrize(("name", "color"), [("red", (255, 0, 0)), ("#12C0FF", (18, 192, 255))])
def test_what_is_painted(name, color, white):
    given = picture(white=white)
    given.color[square() != 0] = np.array(color) * white // 255
    assert color_of(name) == color
    assert np.array_equal(hole_of(given, SOURCE, None, MaskReading(name)), square() // 255)


def test_paint_with_soft_edges_and_compressed_is_found_whole(tmp_path):
    mask = np.zeros((200, 200), np.uint8)
    cv2.line(mask, (20, 30), (170, 160), 255, 9, cv2.LINE_AA)
    smooth = cv2.resize(np.random.default_rng(0).integers(40, 200, (8, 8, 3)).astype(np.uint8), (200, 200))
    share = mask[..., None] / 255
    pixels = np.rint(smooth * (1 - share) + np.array([255, 0, 0]) * share).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=90, subsampling=0)
    found = hole_of(read_picture(tmp_path / "a.jpg"), SOURCE, None, MaskReading("red", grow=1)) != 0
    assert found[mask > 100].all()
    assert found[mask == 0].mean() < 0.03


@pytest.mark.faults
def test_a_color_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"nothing in it is red \(within 60 of 255\)"):
        hole_of(picture(), SOURCE, None, MaskReading("red"))
    assert not painted(picture(), (0, 255, 0), 20).any()


def test_colors_by_name_and_number():
    assert color_of("magenta") == (255, 0, 255)
    assert color_of("#fff") is None
    assert color_of("purplish") is None


def test_the_whole_picture_painted_is_named():
    with pytest.raises(ValueError, match="what is white covers 100 % of it"):
        hole_of(Picture(np.full((9, 9, 1), 255, np.uint8)), SOURCE, None, MaskReading("white"))


@pytest.mark.faults
def test_a_mask_may_have_as_many_pixels_as_its_picture_however_well_it_is_compressed(saved, monkeypatch):
    path = saved(square())
    monkeypatch.setattr("pcpad.limits._ANY", 1000)
    monkeypatch.setattr("pcpad.limits._BELIEVED", 1000)
    monkeypatch.setattr("pcpad.limits._GRAY_PIXELS_OF_A_BYTE", 1)
    monkeypatch.setattr("pcpad.limits._PIXELS_OF_A_BYTE", 1)
    with pytest.raises(ValueError, match="cannot hold the 80x60 pixels"):
        read_picture(path)
    assert np.array_equal(hole(path), square() // 255)


@pytest.mark.faults
@pytest.mark.parametrize(("ending", "options"), [("jpg", {"quality": 80}), ("webp", {"quality": 80}), ("png", {})])
def test_what_has_bled_into_its_surroundings_is_noticed(ending, options, tmp_path):
    smooth = cv2.resize(np.random.default_rng(0).integers(60, 120, (8, 8, 3)).astype(np.uint8), (200, 200))
    mask = np.zeros((200, 200), np.uint8)
    cv2.putText(mask, "1987", (20, 110), cv2.FONT_HERSHEY_SIMPLEX, 2, 1, 4)
    Image.fromarray(smooth).save(tmp_path / f"clean.{ending}", **options)
    smooth[mask != 0] = (255, 255, 0)
    Image.fromarray(smooth).save(tmp_path / f"a.{ending}", **options)
    painted, clean = tmp_path / f"a.{ending}", tmp_path / f"clean.{ending}"
    assert has_bled(read_picture(painted), painted, mask) == (ending != "png")
    assert not has_bled(read_picture(clean), clean, mask)
