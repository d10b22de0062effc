"""Folders of JPEG frames: turned as they say, and none that is cut short."""

import io

import numpy as np
import pytest
from PIL import Image

from pcpad.datamodules.reading.frame_folders import FrameFolder, holds_frames, index_folder
from pcpad.datamodules.reading.video_files import BrokenVideoError

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((160, 120))


def jpeg(**options):
    buffer = io.BytesIO()
    PHOTO.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def frames(folder, *files):
    for number, data in enumerate(files, 1):
        (folder / f"image_{number:05d}.jpg").write_bytes(data)
    index = index_folder(folder)
    with FrameFolder(folder, index) as opened:
        return opened.read(range(len(files)))


@pytest.mark.faults
def test_frames_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (frame,) = frames(tmp_path, jpeg(exif=exif))
    (stored,) = frames(tmp_path, jpeg())
    assert np.array_equal(frame, np.rot90(stored, -1))


@pytest.mark.faults
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0"}]
)
def test_a_frame_cut_short_with_an_end_mark_is_noticed(tmp_path, options):
    whole = jpeg(**options)
    assert len(frames(tmp_path, whole, whole)) == 2
    with pytest.raises(BrokenVideoError, match=r"image_00002\.jpg: truncated"):
        frames(tmp_path, whole, whole[: len(whole) // 2] + b"\xff\xd9")


@pytest.mark.faults
@pytest.mark.parametrize("ending", ["JPG", "jpeg", "JPEG"])
def test_frames_under_endings_in_any_case(tmp_path, ending):
    expected = frames(tmp_path, jpeg(), jpeg())
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_suffix(f".{ending}"))
    assert holds_frames(tmp_path)
    index = index_folder(tmp_path)
    with FrameFolder(tmp_path, index) as opened:
        assert np.array_equal(opened.read([0, 1]), expected)


@pytest.mark.faults
def test_frames_that_are_no_jpeg_files_are_named(tmp_path):
    frames(tmp_path, jpeg(), jpeg())
    PHOTO.save(tmp_path / "image_00003.png")
    with pytest.raises(BrokenVideoError, match=r"image_00003\.png.* not JPEG files"):
        index_folder(tmp_path)


@pytest.mark.faults
def test_other_bytes_in_a_frame_are_noticed(tmp_path):
    whole = jpeg()
    middle = len(whole) // 2
    with pytest.raises(BrokenVideoError, match=r"image_00002\.jpg: damaged"):
        frames(tmp_path, whole, whole[:middle] + bytes(512) + whole[middle + 512 :])
