"""What happens to an image between its file and its batch."""

import pytest
import torch

from pcpad.datamodules.datasets.transforms import evaluation_transform, training_transform

pytestmark = [
    # Said by torchvision 0.29 for each image; images.py silences it, but pytest resets the filters before each test.
    pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def test_flip_without_crop():
    ramp = torch.arange(16, dtype=torch.uint8).expand(3, 16, 16)
    flip = training_transform(16, 16, None, (1, 1), 1.0)
    assert torch.equal(flip(ramp), ramp.flip(-1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 100_000), (100_000, 1), (7, 500)])
def test_extreme_shapes_stay_small(shape):
    image = torch.full((3, *shape), 77, dtype=torch.uint8)
    for transform in (evaluation_transform(256, 224), training_transform(256, 224, (0.08, 1), (0.75, 1.34), 0.5)):
        out = transform(image)
        assert out.shape == (3, 224, 224)
        assert (out == 77).all()
