"""What the values of a label map mean, and how they are counted."""

import numpy as np

from pcpad.datamodules.datasets.cityscapes_labels import IGNORE, LABELS, count_ids, to_train_ids

# Labels


def test_table_of_ids():
    # Written out once more, from the reference, as dict(id: trainId).
    evaluated = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    evaluated |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    ids = np.asarray([[*range(34), 255]], np.uint8)
    assert to_train_ids(ids)[0].tolist() == [*(evaluated.get(label, 255) for label in range(34)), 255]
    assert len({label.color for label in LABELS if label.train_id != IGNORE}) == 19


def test_count_ids():
    ids = np.random.default_rng(0).integers(0, 256, (2100, 33), dtype=np.uint8)
    np.testing.assert_array_equal(count_ids(ids), np.bincount(ids.ravel(), minlength=256))
