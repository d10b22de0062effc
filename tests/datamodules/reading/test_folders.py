"""Listing folders of images, and the table of their names."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.reading import listing
from pcpad.datamodules.reading.folders import FileTable, class_folders, find_images, list_images

pytestmark = [
    # Said by torchvision 0.29 for each image; images.py silences it, but pytest resets the filters before each test.
    pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def write_picture(path, seed, size=(48, 36)):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, "JPEG", quality=95)


def test_listing_skips_hidden_files_follows_links_and_ends(tmp_path):
    write_picture(tmp_path / "a" / "deeper" / "1.jpg", 0)
    write_picture(tmp_path / "elsewhere.png", 1)
    (tmp_path / "a" / "._1.jpg").write_bytes(b"macOS resource fork")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / ".cache").mkdir()
    write_picture(tmp_path / "a" / ".cache" / "2.jpg", 2)
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "linked").mkdir()
    write_picture(tmp_path / "linked" / "3.WEBP", 3)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "linked", target_is_directory=True)
    assert list_images(tmp_path / "a") == ["deeper/1.jpg", "link/3.WEBP"]


def test_file_table_keeps_any_name(tmp_path):
    names = ["a/1.jpg", "b/ü 名.png", os.fsdecode(b"c/\xff.jpg"), "d"]
    table = pickle.loads(pickle.dumps(FileTable(tmp_path, names)))
    assert [table[index] for index in range(len(table))] == [tmp_path / name for name in names]


KINDS = {
    **{"a.PNG": "PNG", "b.jfif": "JPEG", "c.jpe": "JPEG", "d.tga": "TGA", "e.pbm": "PPM", "f.JP2": "JPEG2000"},
    **{"g.avif": "AVIF", "noending": "PNG", "h.dat": "WEBP", "i.jpg.part": "JPEG", "LICENSE_plate": "JPEG"},
}
BESIDE = [
    *("Thumbs.db", "desktop.ini", "README", "README.md", "LICENSE", "labels.txt", "list.CSV", "meta.json", "a.xmp"),
    *("MD5SUMS", ".DS_Store", "._a.PNG", ".hidden", "a.txt", "pcpad_videos.npz", "IMG_1.AAE"),
]


def fill(folder):
    """Pictures under many names, what lies beside them, and what does not belong there."""
    folder.mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))
    for name, kind in KINDS.items():
        (image.convert("1") if name == "e.pbm" else image).save(folder / name, kind)
    for name in BESIDE:
        (folder / name).write_text("some text")
    for name in ("__MACOSX", "@eaDir", ".cache"):
        (folder / name).mkdir()
        image.save(folder / name / "z.png")
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2")
    (folder / "letter.docx").write_bytes(b"PK\3\4")
    (folder / "notes").write_text("of any kind")
    (folder / "nowhere").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe")


@pytest.mark.faults
def test_what_lies_in_a_folder_is_listed_or_named(tmp_path):
    fill(tmp_path / "a")
    found = find_images(tmp_path / "a")
    assert sorted(found[index].name for index in range(len(found))) == sorted(KINDS)
    assert found.passed_over == [
        f"{tmp_path / 'a' / 'clip.mp4'}: an MP4 or QuickTime video",
        f"{tmp_path / 'a' / 'letter.docx'}: a ZIP archive",
        f"{tmp_path / 'a' / 'notes'}: not in a known image format",
        f"{tmp_path / 'a' / 'nowhere'}: a broken link",
        f"{tmp_path / 'a' / 'pipe'}: not a regular file",
    ]
    with pytest.warns(
        UserWarning, match=r"(?s)5 files below .*/a are not images and are ignored:.*letter\.docx: a ZIP"
    ):
        assert sorted(list_images(tmp_path / "a")) == sorted(KINDS)


@pytest.mark.faults
def test_a_folder_without_images_says_what_is_there(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2")
    with pytest.raises(FileNotFoundError, match=r"no images .* below (.|\n)*clip\.mp4: an MP4 or QuickTime video"):
        find_images(tmp_path)


def test_endings_are_taken_at_their_word_without_a_look(tmp_path, monkeypatch):
    for number in range(3):
        (tmp_path / f"{number}.JPEG").touch()
    monkeypatch.setattr(listing, "kind_of_file", lambda path: pytest.fail(f"{path} was opened"))
    assert len(find_images(tmp_path)) == 3


@pytest.mark.faults
def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    for name, target in (("one", "two"), ("two", "one"), ("self", "self"), ("a/up", "..")):
        (tmp_path / name).symlink_to(target)
    with pytest.warns(UserWarning, match="3 files below"):
        assert list_images(tmp_path) == ["a/x.png"]
    assert class_folders(tmp_path) == ["a"]
