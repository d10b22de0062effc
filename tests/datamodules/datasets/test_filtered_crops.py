"""The Gaussian filter against scipy's."""

import numpy as np
import pytest
import torch

from pcpad.datamodules.datasets.filtered_crops import filter_inside, gaussian_kernel


def test_filter_is_scipys():
    ndimage = pytest.importorskip("scipy.ndimage")
    image = torch.rand(3, 40, 50)
    kernel = gaussian_kernel(13, 2.0)
    assert float(kernel.sum()) == pytest.approx(1)
    expected = np.stack([ndimage.gaussian_filter(plane, 2.0, radius=6) for plane in image.double().numpy()])
    assert np.allclose(filter_inside(image, kernel), expected[:, 6:-6, 6:-6], atol=1e-6)
