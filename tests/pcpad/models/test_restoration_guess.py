"""Membrane and thin plate: against direct solutions, and what they may not depend on."""

import numpy as np
import pytest
import torch

from pcpad.models.restoration_guess import smooth_guesses


def hole(size=24, low=8, high=15):
    mask = torch.ones(1, 1, size, size)
    mask[..., low:high, low:high] = 0
    return mask


def test_the_membrane_is_harmonic():
    """Against the equations, solved as one dense system."""
    image, mask = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)), hole()
    unknown = [(y, x) for y in range(8, 15) for x in range(8, 15)]
    number = {place: index for index, place in enumerate(unknown)}
    matrix, right = np.zeros((49, 49)), np.zeros((49, 3))
    for (y, x), index in number.items():
        matrix[index, index] = 4
        for neighbor in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if neighbor in number:
                matrix[index, number[neighbor]] = -1
            else:
                right[index] += image[0, :, neighbor[0], neighbor[1]].numpy()
    solved = np.linalg.solve(matrix, right).T.reshape(3, 7, 7)
    found = smooth_guesses(image, mask)[0, :3, 8:15, 8:15].numpy()
    assert np.abs(found - solved).max() < 0.02  # after few steps, on noise


def test_the_plate_continues_slopes_and_the_membrane_does_not():
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32).contiguous()
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 24:] = 0  # up to the border
    membrane, plate = smooth_guesses(ramp, mask).chunk(2, dim=1)
    inside = hole(32, 10, 20)
    assert (
        smooth_guesses(ramp, inside) - torch.cat([ramp, ramp], dim=1)
    ).abs().max() < 0.02  # after few steps, on noise
    assert (membrane[..., 24:] - ramp[..., 23:24]).abs().max() < 0.03
    assert (plate[..., 26] - ramp[..., 26]).abs().max() < (membrane[..., 26] - ramp[..., 26]).abs().max()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 9), (33, 70)])
def test_any_size(shape):
    mask = torch.ones(2, 1, *shape)
    mask[0, :, :, shape[1] // 2 :] = 0
    image = torch.full((2, 3, *shape), 0.3)
    guesses = smooth_guesses(image, mask)
    assert guesses.shape == (2, 6, *shape)
    wanted = 0.5 if shape[1] == 1 else 0.3  # nothing to go by
    assert torch.allclose(guesses[0], torch.tensor(wanted), atol=1e-3)
    assert torch.allclose(guesses[1], torch.tensor(0.3))


def test_what_lies_in_holes_has_no_influence():
    image, mask = torch.rand(1, 3, 24, 24), hole()
    other = torch.where(mask != 0, image, torch.nan)
    assert torch.equal(smooth_guesses(image, mask), smooth_guesses(other, mask))
    assert torch.equal(smooth_guesses(image, mask)[:, :3] * mask, image * mask)
