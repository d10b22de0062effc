"""What pcpad.functional refuses, and what it says then."""

import re

import numpy as np
import pytest
import torch

from pcpad.functional import padding_ratio, partial_conv1d, partial_conv2d, partial_conv3d

PARTIAL = {1: partial_conv1d, 2: partial_conv2d, 3: partial_conv3d}


X, W = torch.randn(2, 4, 6, 7), torch.randn(6, 4, 3, 3)
BAD_MASKS = {
    # what is wrong: (mask, what the text must say came, what it must say was expected)
    "spatial": (torch.ones(2, 1, 5, 7), r"2, 1, 5, 7", r"6, 7"),
    "spatial_swapped": (torch.ones(2, 1, 7, 6), r"2, 1, 7, 6", r"6, 7"),
    "channels": (torch.ones(2, 3, 6, 7), r"2, 3, 6, 7", r"\b4\b"),
    "batch": (torch.ones(3, 1, 6, 7), r"3, 1, 6, 7", r"\b2\b"),
    "batch_zero": (torch.ones(0, 1, 6, 7), r"0, 1, 6, 7", r"\b2\b"),
    "no_batch": (torch.ones(1, 6, 7), r"1, 6, 7", r"6, 7"),
    "no_channel": (torch.ones(6, 7), r"6, 7", r"\b4\b"),
    "too_many_axes": (torch.ones(2, 1, 1, 6, 7), r"2, 1, 1, 6, 7", r"6, 7"),
    "complex": (torch.ones(2, 1, 6, 7, dtype=torch.complex64), r"complex64", r"bool|int|float"),
    "array": (np.ones((2, 1, 6, 7)), r"ndarray", r"[Tt]ensor"),
    "list": ([[1, 0]], r"list", r"[Tt]ensor"),
    "device": (torch.ones(2, 1, 6, 7, device="meta"), r"meta", r"cpu"),
}


@pytest.mark.parametrize("wrong", BAD_MASKS)
def test_bad_mask_is_refused_with_the_reason(wrong):
    mask, came, expected = BAD_MASKS[wrong]
    with pytest.raises((ValueError, TypeError), match=came) as error:
        partial_conv2d(X, W, padding=1, mask=mask)
    text = str(error.value)
    assert "mask" in text
    assert re.search(expected, text), text
    assert re.search(r"\b1 (=|is|where|means).{0,25}valid", text), text
    assert re.search(r"\b0 (=|is|in|where|means).{0,20}hole", text), text


@pytest.mark.parametrize(
    ("mask", "mask_channels", "match"),
    [
        (torch.ones(2, 2, 6, 7), (1, 2), "4"),  # sums to 3
        (torch.ones(2, 2, 6, 7), (3, 3), "4"),
        (torch.ones(2, 2, 6, 7), (5, -1), "-1"),
        (torch.ones(2, 3, 6, 7), (2, 2), "2, 3, 6, 7"),  # one mask channel too many
        (torch.ones(2, 4, 6, 7), (2, 2), "2, 4, 6, 7"),
        (None, (2, 2), "mask"),
    ],
)
def test_bad_mask_channels_are_refused(mask, mask_channels, match):
    with pytest.raises((ValueError, TypeError), match=match) as error:
        partial_conv2d(X, W, padding=1, mask=mask, mask_channels=mask_channels)
    assert "mask_channels" in str(error.value)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_bad_input_shape_is_refused(dims):
    weight = torch.randn(6, 4, *[3] * dims)
    size = [5] * dims
    with pytest.raises((ValueError, TypeError), match=r"\b5\b.*\b4\b|\b4\b.*\b5\b"):
        PARTIAL[dims](torch.randn(2, 5, *size), weight, padding=1)
    with pytest.raises((ValueError, TypeError), match="4"):
        PARTIAL[dims](torch.randn(*size), weight, padding=1)
    with pytest.raises((ValueError, TypeError), match="2, 4, 5"):
        PARTIAL[dims](torch.randn(2, 4, *size, 5), weight, padding=1)


def test_bad_weight_dimensions_are_refused():
    with pytest.raises((ValueError, TypeError), match="weight"):
        partial_conv2d(X, torch.randn(6, 4, 3), padding=1)


@pytest.mark.parametrize("padding", [-1, (1, -1), (-2, 0)])
def test_negative_padding_is_refused(padding):
    with pytest.raises(ValueError, match=r"padding.*-\d"):
        partial_conv2d(X, W, padding=padding)
    with pytest.raises(ValueError, match=r"padding.*-\d"):
        padding_ratio((6, 7), (3, 3), padding=padding)


def test_unknown_padding_name_is_refused():
    with pytest.raises(ValueError, match=r"padding.*reflect"):
        partial_conv2d(X, W, padding="reflect")


def test_same_padding_refuses_a_stride():
    with pytest.raises((ValueError, RuntimeError), match="same"):
        partial_conv2d(X, W, padding="same", stride=2)


def test_kernel_larger_than_the_padded_input_is_refused():
    with pytest.raises((ValueError, RuntimeError), match=r"[Kk]ernel"):
        partial_conv2d(X, torch.randn(6, 4, 9, 9), padding=1)
    with pytest.raises((ValueError, RuntimeError), match=r"[Kk]ernel"):
        partial_conv2d(X, torch.randn(6, 4, 9, 9), padding=1, mask=torch.ones(1, 1, 6, 7))


def test_errors_name_what_came_for_unbatched_masks():
    with pytest.raises(ValueError, match="3, 6, 7"):
        partial_conv2d(X[0], W, padding=1, mask=torch.ones(3, 6, 7))
    with pytest.raises(ValueError, match="1, 1, 6, 7"):
        partial_conv2d(X[0], W, padding=1, mask=torch.ones(1, 1, 6, 7))
