"""Which squares of which photographs a run sees, and when."""

import pytest
import torch

from pcpad.adaptation.material import Material
from pcpad.errors import UserTypeError, UserValueError

IMAGES = [torch.full((1, 12, 14), number / 255) for number in range(20)]


def test_a_fifth_is_held_out_and_never_trained_on():
    material = Material(IMAGES, side=8)
    assert (len(material.held), len(material.train)) == (4, 16)
    trained = torch.cat([material.batch(step, 4) for step in range(8)])
    numbers = {round(float(square.mean() * 255)) for square in trained}
    assert numbers == set(material.train)
    held = torch.cat(list(material.held_out(3)))
    assert [round(float(square.mean() * 255)) for square in held] == material.held


def test_a_step_is_the_same_whatever_came_before():
    late, early = Material(IMAGES, side=8), Material(IMAGES, side=8)
    for step in range(5):
        early.batch(step, 4)
    assert torch.equal(late.batch(5, 4), early.batch(5, 4))
    assert not torch.equal(late.batch(5, 4), Material(IMAGES, side=8, seed=1).batch(5, 4))


def test_bytes_become_floats_in_the_unit_interval():
    images = [torch.full((3, 8, 8), 255, dtype=torch.uint8)] * 16
    assert float(Material(images, side=None).first().max()) == 1


def test_noise_is_drawn_from_the_step_s_own_seed():
    def noisy(batch):
        return batch + torch.randn_like(batch)

    torch.manual_seed(1)
    first = Material(IMAGES, side=8, prepare=noisy).batch(3, 2)
    torch.manual_seed(2)
    assert torch.equal(first, Material(IMAGES, side=8, prepare=noisy).batch(3, 2))


@pytest.mark.parametrize(
    ("images", "options", "error", "words"),
    [
        (IMAGES[:15], {}, UserValueError, "at least 16"),
        (IMAGES, {"held_out": 1.0}, UserValueError, "held_out"),
        (5, {}, UserTypeError, "sequence"),
    ],
)
def test_what_will_not_do_is_refused(images, options, error, words):
    with pytest.raises(error, match=words):
        Material(images, side=8, **options)


def test_an_image_that_is_too_small_or_of_another_size_is_named():
    with pytest.raises(UserValueError, match=r"Image .* is 14x12.*needs 16x16"):
        Material(IMAGES, side=16).first()
    images = [torch.zeros(1, 8, 8 + number) for number in range(16)]
    with pytest.raises(UserValueError, match="one size"):
        Material(images, side=None).batch(0, 4)
    with pytest.raises(UserTypeError, match=r"shape \(8, 8\)"):
        Material([torch.zeros(8, 8)] * 16, side=4).first()
