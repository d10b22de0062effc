"""The proposal of scratches: lines are found, the picture's own structures mostly not."""

import cv2
import numpy as np
import pytest

from pcpad.commands.filling.scratches import find_scratches


def background(height=300, width=400, white=255):
    """Smooth shading, a sharp edge and noise."""
    draws = np.random.default_rng(0)
    picture = cv2.GaussianBlur(draws.random((height, width, 3)).astype(np.float32), (0, 0), 25)
    picture = (picture - picture.min()) / (picture.max() - picture.min()) * 0.6 + 0.2
    picture[height // 2 :, width // 3 : width // 2] = 0.3
    picture += draws.normal(0, 0.006, picture.shape)
    return np.rint(picture.clip(0, 1) * white).astype(np.uint8 if white == 255 else np.uint16)


def scratched(picture, level, thickness):
    damage = np.zeros(picture.shape[:2], np.uint8)
    for start, end in (((20, 30), (370, 90)), ((60, 280), (120, 20)), ((200, 250), (380, 260))):
        cv2.line(damage, start, end, 1, thickness)
    picture = picture.copy()
    picture[damage != 0] = level
    return picture, damage != 0


@pytest.mark.parametrize("white", [255, 65535, 4095])
@pytest.mark.parametrize(("level", "thickness"), [(1.0, 1), (1.0, 3), (0.0, 2)])
def test_bright_and_dark_lines_are_found(level, thickness, white):
    picture, damage = scratched(background(white=white), round(level * white), thickness)
    found = find_scratches(picture, white) != 0
    assert found[damage].mean() > 0.9
    near = cv2.dilate(damage.astype(np.uint8), np.ones((7, 7))) != 0
    assert (found & ~near).sum() < 0.1 * damage.sum()


def test_gray_pictures_too():
    picture, damage = scratched(background()[..., :1], 255, 2)
    assert (find_scratches(picture, 255) != 0)[damage].mean() > 0.9


def test_what_is_not_scratched_has_no_scratches():
    assert find_scratches(background(), 255).mean() < 0.001
    assert not find_scratches(np.full((200, 200, 3), 90, np.uint8), 255).any()
    assert not find_scratches(np.full((1, 1, 3), 90, np.uint8), 255).any()


def test_large_pictures_are_looked_through_in_bands(monkeypatch):
    picture, _ = scratched(background(), 255, 2)
    whole = find_scratches(picture, 255)
    monkeypatch.setattr("pcpad.commands.filling.scratches._BAND", 400 * 64)
    assert np.array_equal(find_scratches(picture, 255), whole)


def test_of_large_pictures_lines_are_found_at_a_fraction_of_their_size():
    small = background()
    picture = cv2.resize(small, (2000, 1500), interpolation=cv2.INTER_CUBIC)
    damage = np.zeros((1500, 2000), np.uint8)
    cv2.line(damage, (100, 150), (1850, 450), 1, 3)
    picture[damage != 0] = 255
    found = find_scratches(picture, 255) != 0
    assert found[damage != 0].mean() > 0.9
    assert found.mean() < 4 * damage.mean()
