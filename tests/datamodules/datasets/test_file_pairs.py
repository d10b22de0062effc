"""Images and masks are paired by stem, by patterns and by tables; what does not fit is named."""

import pytest

from pcpad.datamodules.datasets.file_pairs import Layout, find_pairs
from pcpad.datamodules.datasets.file_splits import Shares
from pcpad.errors import UserFileNotFoundError, UserValueError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(root, shares=None, **layout):
    splits = find_pairs(Layout(root, **layout), shares or Shares(0.5))
    return {split: [tuple(pair) for pair in pairs] for split, pairs in splits.items()}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{split}/images", "{split}/labels"),
        ("images/{split}", "masks/{split}"),
        ("{split}", "{split}annot"),
        ("Training/images", "Training/annotations"),
    ],
)
def test_usual_layouts_are_found(tmp_path, images, masks):
    for split in ("train", "val"):
        for stem in ("a.b", "deep/c"):
            touch(tmp_path, f"{images}/{stem}.jpg".replace("{split}", split))
            touch(tmp_path, f"{masks}/{stem}.png".replace("{split}", split))
    splits = found(tmp_path)
    assert {pair[0][-5:] for pair in splits["train"] + splits["val"]} == {"b.jpg", "c.jpg"}
    assert len(splits["train"]) + len(splits["val"]) == (4 if "{split}" in images else 2)
    assert splits["test"] == []


def test_patterns_with_more_in_common_than_a_stem(tmp_path):
    touch(tmp_path, "d1/rgb/x_img.tif", "d1/gt/x.png", "d2/rgb/x_img.tif", "d2/gt/x.png", "d2/notes.txt")
    splits = found(tmp_path, images="{drive}/rgb/{stem}_img.tif", masks="{drive}/gt/{stem}.png")
    assert sorted(splits["train"] + splits["val"]) == [
        ("d1/rgb/x_img.tif", "d1/gt/x.png"),
        ("d2/rgb/x_img.tif", "d2/gt/x.png"),
    ]
    touch(tmp_path / "one", "a.jpg", "a_mask.png", "b.jpg", "b_mask.png")
    splits = found(tmp_path / "one", images="{stem}.jpg", masks="{stem}_mask.png")
    assert len(splits["train"]) == len(splits["val"]) == 1


def test_tables_of_any_delimiter_and_several_folders(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.png", "b/2.png")
    touch(tmp_path / "other", "3.jpg", "3.png")
    (tmp_path / "pairs.csv").write_text(
        "photo|drawn|fold\na/1.jpg|b/1.png|Training\na/2.jpg|b/2.png|valid\n3.jpg|3.png|test"
    )
    columns = {"image": "photo", "mask": "drawn", "split": "fold"}
    splits = found(tmp_path, annotations="pairs.csv", columns=columns, roots=[tmp_path / "other"])
    assert splits["train"] == [("a/1.jpg", "b/1.png")]
    assert splits["test"] == [("other/3.jpg", "other/3.png")]
    (tmp_path / "train.tsv").write_text("path\tlabel\na/1.jpg\tb/1.png\n")
    (tmp_path / "val.tsv").write_text("path\tlabel\na/2.jpg\tb/2.png\n")
    splits = found(tmp_path, annotations="{split}.tsv")
    assert (len(splits["train"]), len(splits["val"])) == (1, 1)


def test_lists_say_the_splits(tmp_path):
    touch(tmp_path, *(f"images/{name}.jpg" for name in "abc"), *(f"masks/{name}.png" for name in "abc"))
    (tmp_path / "train.txt").write_text("a\nimages/c.jpg\n")
    (tmp_path / "val.txt").write_text("b.jpg\n")
    splits = found(tmp_path, lists="{split}.txt")
    assert [pair[0] for pair in splits["train"]] == ["images/a.jpg", "images/c.jpg"]
    assert [pair[0] for pair in splits["val"]] == ["images/b.jpg"]
    (tmp_path / "val.txt").write_text("b\na\n")
    with pytest.raises(UserValueError, match=r"val.txt, line 2: images/a.jpg is already listed for train"):
        found(tmp_path, lists="{split}.txt")
    (tmp_path / "val.txt").write_text("d\n")
    with pytest.raises(UserValueError, match=r"lists names of no image \(images are images/a.jpg, …\): line 1: d"):
        found(tmp_path, lists="{split}.txt")


@pytest.mark.faults
def test_what_has_no_partner_or_two_is_named(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a.png")
    with pytest.raises(UserValueError, match=r"1 of 2 images below .* have no mask masks: images/b.jpg"):
        found(tmp_path)
    touch(tmp_path, "masks/b.png", "masks/c.png")
    with pytest.raises(UserValueError, match=r"1 of 3 masks below .* have no image images: masks/c.png"):
        found(tmp_path)
    touch(tmp_path, "images/c.jpg", "images/c.png")
    with pytest.raises(UserValueError, match=r"Two files of one stem among the images .*images/c.jpg and images/c.png"):
        found(tmp_path)
    noted = []
    pairs = find_pairs(Layout(tmp_path), Shares(0.3), lambda *finding: noted.append(finding))
    assert noted == [("images/c.png", "twice", "images/c.jpg has the same stem")]
    assert sum(map(len, pairs.values())) == 3
    with pytest.warns(UserWarning, match=r"c.png: its name does not fit images/\{stem\}.jpg"):
        splits = found(tmp_path, images="images/{stem}.jpg", masks="masks")
    assert sum(map(len, splits.values())) == 3


@pytest.mark.faults
def test_no_pair_at_all(tmp_path):
    with pytest.raises(UserFileNotFoundError, match=r"No such folder: .*nowhere\n"):
        found(tmp_path / "nowhere")
    touch(tmp_path, "photos/a.jpg", "drawings/a.png")
    with pytest.raises(
        UserFileNotFoundError, match=r"which holds drawings/, photos/\.\nExpected images and masks of the same"
    ):
        found(tmp_path)
    touch(tmp_path, "images/a.jpg", "masks/a_drawn.png")
    with pytest.raises(
        UserFileNotFoundError, match=r"No image has a mask of its stem: 1 images as .*such as masks/a_drawn"
    ):
        found(tmp_path)
    (tmp_path / "images/a.jpg").unlink()
    touch(tmp_path, "images/readme.txt")
    with pytest.raises(UserFileNotFoundError, match="No images as"):
        found(tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": "images"}, "--data.images and --data.masks must be given together"),
        ({"images": "images", "masks": "../masks"}, "a pattern below `root`"),
        ({"images": "images", "masks": "images"}, "which file is which"),
        ({"images": "{split}/x", "masks": "y"}, "in both patterns or in none"),
    ],
)
def test_patterns_that_make_no_sense(tmp_path, options, said):
    touch(tmp_path, "images/a.jpg", "masks/a.png")
    with pytest.raises(UserValueError, match=said):
        found(tmp_path, **options)


@pytest.mark.faults
def test_tables_that_cannot_be_read(tmp_path):
    touch(tmp_path, "a.jpg", "a.png")
    for text, said in (
        ("", "is empty: expected a first line of column names"),
        (
            "image,size\na.jpg,3\n",
            r"no column for the mask: expected one of mask, .* but the first line names image, size",
        ),
        ("image,mask\n", "but no further lines"),
        ("image,mask\na.jpg,\n", r"line 2: empty in the column mask: 'a.jpg,'"),
        ("image,mask\na.jpg,a.png\na.jpg,a.png\n", "line 3: a.jpg was already named in line 2"),
        ("image,mask,split\na.jpg,a.png,alpha\n", "expected a split among train, val and test, but got 'alpha'"),
        ("image,mask\n../../etc/x,a.png\n", "is outside of"),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(UserValueError, match=said):
            found(tmp_path, annotations="t.csv")
    (tmp_path / "t.csv").write_text("image,mask\nb.jpg,a.png\n")
    with pytest.raises(
        UserFileNotFoundError, match=r"1 of 1 files that .*t.csv names do not exist.*\n  t.csv, line 2: b.jpg"
    ):
        found(tmp_path, annotations="t.csv")
    with pytest.raises(UserFileNotFoundError, match=r"--data.annotations u.csv is not a file: looked for"):
        found(tmp_path, annotations="u.csv")
    with pytest.raises(UserValueError, match=r"Did you mean image\?"):
        found(tmp_path, annotations="t.csv", columns={"image": "imag"})
