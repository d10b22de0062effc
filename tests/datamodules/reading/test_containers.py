"""Videos of which a part is missing, or other bytes stand in the middle."""

import av
import numpy as np
import pytest

from pcpad.datamodules.reading.containers import refuse_incomplete
from pcpad.datamodules.reading.video_files import BrokenVideoError, index_video
from pcpad.datamodules.reading.videos import Video

NOISE = np.random.default_rng(0).integers(0, 60, (48, 64, 3), dtype=np.uint8)
# Name, encoder, muxer, pixels.
WRITTEN = [
    ("a.mkv", "libx264", "matroska", "yuv420p", {}),
    ("live.mkv", "libx264", "matroska", "yuv420p", {"live": "1"}),
    ("a.webm", "libvpx-vp9", "webm", "yuv420p", {}),
    ("vp8.webm", "libvpx", "webm", "yuv420p", {}),
    ("a.ogv", "libvpx", "ogg", "yuv420p", {}),
    ("a.gif", "gif", "gif", "rgb8", {}),
    ("a.MXF", "mpeg2video", "mxf", "yuv420p", {}),
    ("a.wmv", "wmv2", "asf", "yuv420p", {}),
    ("a.avi", "mpeg4", "avi", "yuv420p", {}),
    ("a.mov", "libx264", "mov", "yuv420p", {}),
    ("parts.mp4", "libx264", "mp4", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("a.MTS", "libx264", "mpegts", "yuv420p", {}),
    ("a.vob", "mpeg2video", "vob", "yuv420p", {}),
    ("a.m2v", "mpeg2video", "mpeg2video", "yuv420p", {}),
]
IDS = [written[0] for written in WRITTEN]
SUMMED = ("a.mkv", "live.mkv", "a.webm", "vp8.webm", "a.ogv", "a.MXF", "a.gif")


def write(folder, videos, name, codec, muxer, pixels, options):
    with av.open(str(folder / name), "w", format=muxer, options=options) as container:
        more = {} if codec == "gif" else {"g": "10", "threads": "1"}
        stream = container.add_stream(codec, rate=25, options=more)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
        for number in range(40):
            picture = np.maximum(videos.picture(number), NOISE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return folder / name


@pytest.mark.faults
@pytest.mark.parametrize("written", WRITTEN, ids=IDS)
def test_whole_files_are_read_frame_by_frame(written, videos, tmp_path):
    path = write(tmp_path, videos, *written)
    refuse_incomplete(path)
    index = index_video(path)
    assert len(index.pts) == 40
    assert abs(index.times[-1] - 1.6) < 0.05
    with Video(path, index) as video:
        assert [videos.number(picture) for picture in video.read([0, 7, 20, 39])] == [0, 7, 20, 39]


@pytest.mark.faults
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("written", WRITTEN[:11], ids=IDS[:11])
def test_part_of_a_file_is_noticed(written, part, videos, tmp_path):
    path = write(tmp_path, videos, *written)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(BrokenVideoError, match=r"(truncated|damaged|not a video file)"):
        index_video(path)


@pytest.mark.faults
@pytest.mark.parametrize("written", [w for w in WRITTEN if w[0] in SUMMED], ids=[i for i in IDS if i in SUMMED])
def test_zeros_in_the_middle_are_noticed(written, videos, tmp_path):
    path = write(tmp_path, videos, *written)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(4096) + data[middle + 4096 :])
    with pytest.raises(BrokenVideoError, match="damaged"):
        index_video(path)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["a.mkv", "a.ogv"])
def test_one_flipped_bit_is_noticed_where_there_are_checksums(name, videos, tmp_path):
    path = write(tmp_path, videos, *next(w for w in WRITTEN if w[0] == name))
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(BrokenVideoError, match="does not match its checksum"):
        index_video(path)


def said_of(path):
    try:
        refuse_incomplete(path)
    except ValueError as error:
        return str(error)
    return "whole"


@pytest.mark.parametrize("data", [b"", b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS", b"GIF89a", bytes(64), b"\x47" * 400])
def test_scraps_raise_nothing_but_words(data, tmp_path):
    (tmp_path / "a").write_bytes(data)
    assert said_of(tmp_path / "a").startswith(("truncated", "damaged", "whole"))


def test_any_damage_raises_nothing_but_words(videos, tmp_path):
    draws = np.random.default_rng(0)
    for written in WRITTEN[:11]:
        data = write(tmp_path, videos, *written).read_bytes()
        for _ in range(60):
            spoilt = bytearray(data[: int(draws.integers(1, len(data)))] if draws.random() < 0.3 else data)
            for at in draws.integers(0, min(len(spoilt), 400), 3):
                spoilt[at] = int(draws.integers(256))
            (tmp_path / "b").write_bytes(bytes(spoilt))
            assert said_of(tmp_path / "b").startswith(("truncated", "damaged", "whole"))
