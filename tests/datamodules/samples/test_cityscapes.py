"""The drawn streets: format, classes in every split, and labels that belong to the pictures."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules import CityscapesDataModule
from pcpad.datamodules.datasets.cityscapes_files import VAL_CITIES
from pcpad.datamodules.datasets.cityscapes_labels import CLASSES, LABELS, to_train_ids
from pcpad.datamodules.samples import SAMPLES, cityscapes
from pcpad.datamodules.samples.streets import Scene, draw_scene

NAME = re.compile(r"([a-z-]+)_\d{6}_\d{6}_(leftImg8bit|gt(Fine|Coarse)_(labelIds|instanceIds|color))\.png")
COLORS = {label.id: label.color for label in LABELS}
COUNTABLE = {label.id for label in LABELS if label.countable}


@pytest.fixture(scope="module")
def root(cityscapes_sample, tmp_path_factory):
    return shutil.copytree(cityscapes_sample, tmp_path_factory.mktemp("samples") / "cityscapes")


def read(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image), image.mode


def maps(root, kind="gtFine", part="*"):
    for path in sorted(root.glob(f"{kind}/{part}/*/*_labelIds.png")):
        yield path, read(path)[0]


def test_names(root):
    files = list(root.rglob("*.png"))
    assert len(files) == 125
    for path in files:
        found = NAME.fullmatch(path.name)
        assert found, path
        assert found[1] == path.parent.name
        assert path.parts[-4] in found[2]
    assert any("-" in path.parent.name for path in files)
    # Every label has its image.
    images = (root / "leftImg8bit").rglob("*.png")
    stems = {path.relative_to(root / "leftImg8bit").as_posix().replace("_leftImg8bit.png", "") for path in images}
    for path, _ in maps(root, "gt*"):
        assert path.relative_to(path.parents[2]).as_posix().rsplit("_gt", 1)[0] in stems


def test_formats(root):
    for path, ids in maps(root, "gt*"):
        assert ids.shape == (128, 256)
        assert set(np.unique(ids)) <= set(COLORS)
        instances, mode = read(str(path).replace("labelIds", "instanceIds"))
        assert mode == "I;16"
        assert instances.dtype == np.uint16
        single = instances >= 1000
        np.testing.assert_array_equal(np.where(single, instances // 1000, instances), ids)
        assert set(np.unique(ids[single])) <= COUNTABLE
        color, mode = read(str(path).replace("labelIds", "color"))
        assert mode == "RGBA"
        for label in np.unique(ids):
            assert (color[ids == label] == (*COLORS[label], 255)).all()
    for path in root.glob("leftImg8bit/*/*/*.png"):
        picture, mode = read(path)
        assert (picture.shape, mode) == ((128, 256, 3), "RGB")
        assert picture.std() > 25


def test_ids_above_32767_and_groups(root):
    instances = [read(path)[0] for path in root.glob("gtFine/*/*/*_instanceIds.png")]
    values = {int(value) for array in instances for value in np.unique(array)}
    assert any(value >= 33000 for value in values)  # negative when read as int16
    assert {24, 26, 33} <= values  # groups bear the bare id
    assert {1, 3} <= values  # the camera's car, and the margin


@pytest.mark.parametrize("split", VAL_CITIES)
def test_all_classes_in_training_and_validation_of_every_split(root, split):
    seen = {True: set(), False: set()}
    for path, ids in maps(root):
        if "test" not in path.parts:
            seen[path.parent.name in VAL_CITIES[split]] |= set(np.unique(to_train_ids(ids)).tolist())
    expected = {*range(len(CLASSES)), 255}
    assert seen == {True: expected, False: expected}


def test_objects_are_cut_by_the_borders(root):
    cut = 0
    for _, ids in maps(root, part="train"):
        edges = np.concatenate([ids[:, 2], ids[:, -3]])
        cut += np.isin(edges, list(COUNTABLE)).sum() > 10
    assert cut >= 10


def test_labels_lie_on_what_is_painted(root):
    """Neighboring pixels differ far more across a label's edge than inside of it."""
    for path, ids in maps(root, part="val"):
        picture = read(str(path).replace("gtFine_labelIds", "leftImg8bit").replace("gtFine", "leftImg8bit"))[0]
        steps = np.abs(np.diff(picture.astype(int), axis=1)).sum(-1)
        across = np.diff(ids.astype(int), axis=1) != 0
        across[:, :3] = across[:, -3:] = False
        assert steps[across].mean() > 3 * steps[~across].mean()


def test_coarse_labels_are_rough_and_agree_with_the_fine_ones(root):
    for path, coarse in maps(root, "gtCoarse", "train"):
        fine = read(str(path).replace("gtCoarse", "gtFine"))[0]
        covered = coarse > 0
        assert 0.4 < covered.mean() < 0.95
        assert (coarse[covered] == fine[covered]).mean() > 0.95


def test_labels_of_test_hold_no_class(root):
    for _, ids in maps(root, part="test"):
        assert set(np.unique(ids)) == {0, 1, 3}


def test_seed_decides_everything():
    first, again, other = (draw_scene(4, (128, 256), seed) for seed in (5, 5, 6))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.ids != other.ids).mean() > 0.2


def test_written_once(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    assert not SAMPLES["cityscapes"](root, image_height=128, images_per_city=1).written
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    with pytest.raises(FileExistsError, match="holds the sample 'cityscapes' with"):
        SAMPLES["cityscapes"](root)


def test_index_of_centroids_beside_it_does_not_make_it_another_sample(root):
    data = CityscapesDataModule(root, num_workers=0, crop_size=64, tile_size=64)
    data.setup("fit")
    assert list(root.glob("pcpad_centroids_*.npz"))
    assert not SAMPLES["cityscapes"](root, image_height=128, images_per_city=1).written


@pytest.mark.parametrize(
    ("options", "message"),
    [({"image_height": 127}, "`image_height` to be at least 128"), ({"images_per_city": 0}, "`images_per_city`")],
)
def test_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        SAMPLES["cityscapes"](tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_too_small_for_all_classes(monkeypatch):
    monkeypatch.setattr("pcpad.datamodules.samples.streets._ATTEMPTS", 1)
    with pytest.raises(ValueError, match="12 x 16 pixels are too few"):
        draw_scene(0, (12, 16), 0)


def test_coarse_polygons_do_not_cover_holes():
    ids = np.full((128, 256), 7, np.uint8)
    ids[40:90, 60:200] = 26
    ids[60:64, 100:104] = 24  # too small to be labeled coarsely
    scene = Scene(np.zeros((128, 256, 3), np.uint8), ids, np.where(ids == 26, 26004, ids.astype(np.uint16)))
    coarse = cityscapes.make_coarse(scene)
    assert set(np.unique(coarse.ids)) == {0, 7, 26}
    assert (coarse.ids[60:64, 100:104] == 0).all()
    assert (coarse.instances[coarse.ids == 26] == 26004).all()
    assert (coarse.ids[0] == 7).all()  # the picture's border is no border of the road
