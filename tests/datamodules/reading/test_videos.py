"""One video file: exactly the frames asked for, and a clear word on what cannot be read."""

from fractions import Fraction

import av
import numpy as np
import pytest

from pcpad.datamodules.reading import video_files
from pcpad.datamodules.reading.video_files import BrokenVideoError, decode_all, index_video
from pcpad.datamodules.reading.videos import Video, View, cut

VARIABLE = np.cumsum(np.random.default_rng(3).integers(11, 140, 60))
KINDS = {
    "constant rate": {"options": {"g": "12", "bf": "3"}},
    "variable rate": {"times": VARIABLE, "options": {"g": "20", "bf": "3"}},
    "one key frame": {"options": {"g": "250", "b-pyramid": "strict"}},
    "open groups": {"options": {"g": "10", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}},
    "refreshed bit by bit": {"options": {"g": "15", "x264-params": "intra-refresh=1"}},
    "all key frames": {"options": {"g": "1"}},
    "no B frames, variable": {"times": VARIABLE, "options": {"g": "15", "bf": "0"}},
    "10 bit": {"pixels": "yuv420p10le"},
    "odd size": {"pixels": "yuv444p", "size": (51, 67)},
    "MPEG-4 part 2": {"codec": "mpeg4", "options": {"b": "2000000"}},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, videos, tmp_path_factory):
    path = videos.write(tmp_path_factory.mktemp("video") / f'{request.param}: it\'s "one".mp4', **KINDS[request.param])
    return path, index_video(path), videos.decoded(path)


def test_frames_are_exactly_those_of_decoding_everything(kind, videos):
    path, index, everything = kind
    assert len(index.pts) == len(everything) == 60
    assert [videos.number(picture) for picture in everything] == list(range(60))
    draws = np.random.default_rng(0)
    for _ in range(12):
        start, stride = draws.integers(0, 40), draws.integers(1, 4)
        positions = np.arange(start, min(60, start + 8 * stride), stride)
        with Video(path, index) as video:
            found = video.read(positions)
        assert [videos.number(picture) for picture in found] == positions.tolist()
        assert np.array_equal(found, everything[positions])


def test_any_order_and_on_from_call_to_call(kind, videos):
    path, index, everything = kind
    with Video(path, index) as video:
        for positions in (range(0, 16, 2), range(16, 32), [59, 3, 3, 40], range(32, 48), range(5, 9), [58], [59]):
            assert np.array_equal(video.read(list(positions), more=True), everything[list(positions)])


B_FRAMES = {"g": "12", "bf": "3"}
OLD = {"g": "12", "bf": "2", "b": "2000000"}
FILES = {
    "starts late.mp4": {"times": 5017 + VARIABLE, "options": B_FRAMES},
    "starts before an edit list.mp4": {
        "times": np.arange(60) * 40 - 400,
        "muxer": {"avoid_negative_ts": "disabled"},
        "options": B_FRAMES,
    },
    "starts late.mkv": {"times": 5017 + VARIABLE, "options": B_FRAMES},
    "no times.avi": {"options": B_FRAMES},
    "no times, old.avi": {"codec": "mpeg4", "options": OLD},
    "late after a seek.ts": {"options": B_FRAMES},
    "late after a seek, old.ts": {"codec": "mpeg4", "options": OLD},
    "variable.ts": {"times": VARIABLE, "options": B_FRAMES},
    "times now and then.mpg": {"codec": "mpeg2video", "options": OLD},
    "flash.flv": {"options": B_FRAMES},
}


@pytest.mark.parametrize("name", FILES)
def test_other_containers_and_starts(name, videos, tmp_path):
    path = videos.write(tmp_path / name, **FILES[name])
    index, everything = index_video(path), videos.decoded(path)
    shown = [videos.number(picture) for picture in everything]
    first = 10 if "edit list" in name else 0  # what it hides
    assert shown == list(range(first, 60))
    assert len(index.pts) == len(shown)
    assert (np.diff(index.pts) > 0).all()
    assert decode_all(path, index) == 0
    for positions in (range(30, 40), range(0, 9, 2), [13, 40], range(len(shown) - 3, len(shown))):
        with Video(path, index) as video:
            assert np.array_equal(video.read(list(positions)), everything[list(positions)])
    with Video(path, index) as video:
        for start in range(0, 45, 9):
            found = video.read(range(start, start + 9), more=True)
            assert np.array_equal(found, everything[start : start + 9])


def test_a_picture_that_only_seems_whole_is_refused(videos, tmp_path):
    """FFmpeg fills in damaged parts and says so in a mark, which has to be heeded."""
    texture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = videos.write(tmp_path / "a.mp4", 40, options={"g": "10"}, paint=lambda n, *_: np.roll(texture, n, 1))
    index, data = index_video(path), bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 40] = b"\x55" * 40
    path.write_bytes(bytes(data))
    assert index_video(path).pack() == index.pack(), "the damage is in the pictures alone"
    refused = 0
    for start in range(0, 40, 10):
        try:
            with Video(path, index) as video:
                video.read(range(start, start + 10))
        except BrokenVideoError as error:
            refused += 1
            assert "cannot all be decoded" in str(error)  # noqa: PT017
    assert refused == 1
    assert decode_all(path, index) >= 1


def test_windows_in_a_row_seek_once(videos, tmp_path, monkeypatch):
    path = videos.write(tmp_path / "a.mp4", options={"g": "250"})
    index, everything = index_video(path), videos.decoded(path)
    decoders = []
    start = Video._decode
    monkeypatch.setattr(Video, "_decode", lambda self, **how: decoders.append(self) or start(self, **how))
    with Video(path, index) as video:
        for first in (0, 16, 32):
            found = video.read(range(first, first + 16), more=True)
            assert np.array_equal(found, everything[first : first + 16])
    assert len(decoders) == 1


def test_wrong_key_frames_cost_time_not_exactness(videos, tmp_path):
    path = videos.write(tmp_path / "a.mp4", options={"g": "30", "bf": "3"})
    index, everything = index_video(path), videos.decoded(path)
    wrong = index._replace(keys=np.asarray([0, 7, 21, 33, 50], np.int32))
    for positions in ([22, 23, 24], [34], [51, 59]):
        with Video(path, wrong) as video:
            assert np.array_equal(video.read(positions), everything[positions])


def test_a_frame_that_is_not_there(videos, tmp_path):
    path = videos.write(tmp_path / "a.mp4")
    index = index_video(path)
    pts = index.pts.copy()
    pts[30] += 1
    with (
        Video(path, index._replace(pts=pts)) as video,
        pytest.raises(BrokenVideoError, match=r"a\.mp4: .* 1\.160 s to 1\.200 s"),
    ):
        video.read([29, 30])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(degrees, videos, tmp_path):
    path = videos.write(tmp_path / "a.mp4", 20, rotation=degrees)
    index = index_video(path)
    assert index.rotation == degrees
    assert (index.height, index.width) == ((64, 48) if degrees != 180 else (48, 64))
    with Video(path, index) as video:
        found = video.read([3, 17])
    assert np.array_equal(found, np.rot90(videos.decoded(path)[[3, 17]], degrees // 90, axes=(1, 2)))


def test_reduced_decoding_where_the_codec_allows_it(videos, tmp_path):
    big = {"size": (192, 256), "options": {"b": "4000000"}}
    old, new = videos.write(tmp_path / "a.avi", 10, codec="mpeg4", **big), videos.write(tmp_path / "b.mp4", 10, **big)
    view = View(48, 64, 0, 0, 48, 64)
    for path, reduced in ((old, 48), (new, 192)):
        index = index_video(path)
        with Video(path, index, least=48) as video:
            sizes = []
            convert = video._convert
            video._convert = lambda frame, view: sizes.append(frame.height) or convert(frame, view)  # noqa: B023
            small = video.read([4, 9], view)
        with Video(path, index) as video:
            full = video.read([4, 9], view)
        assert set(sizes) == {reduced}
        assert [videos.number(picture) for picture in small] == [4, 9]
        assert np.abs(small.astype(int) - full).mean() < 6


def test_a_view_is_the_part_of_the_whole():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (128, 256, 3))
    part = cut(ramp, View(64, 128, 8, 32, 40, 50))
    assert part.shape == (40, 50, 3)
    assert np.abs(part[0, :, 0].astype(float) - (64.5 + 2 * np.arange(50))).max() <= 1
    assert np.array_equal(cut(ramp, View(128, 256, 3, 5, 7, 9)), ramp[3:10, 5:14])
    assert cut(ramp, View(256, 512, 10, 20, 30, 40)).shape == (30, 40, 3)


# Pictures that grow or shrink midway


def growing(folder, name, videos, first=(48, 64), then=(96, 128)):
    """A stream of two sizes under one header, ten frames each, as broadcasts and joined recordings have it."""
    raw = b"".join(
        videos.write(folder / f"{index}.h264", 10, size=size, options={"g": "5", "bf": "0"}).read_bytes()
        for index, size in enumerate((first, then))
    )
    (folder / "both.h264").write_bytes(raw)
    with av.open(str(folder / "both.h264"), format="h264") as whole, av.open(str(folder / name), "w") as made:
        stream = made.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(packet for packet in whole.demux(video=0) if packet.size):
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration = 1
            made.mux(packet)
    return folder / name


@pytest.mark.faults
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pictures_of_two_sizes_are_brought_to_that_of_the_header(name, videos, tmp_path):
    path = growing(tmp_path, name, videos)
    index = index_video(path)
    assert (index.height, index.width, len(index.pts)) == (48, 64, 20)
    with Video(path, index) as video:
        read = video.read([8, 9, 10, 19])
    assert read.shape == (4, 48, 64, 3)
    assert [videos.number(picture) for picture in read] == [8, 9, 0, 9]
    assert decode_all(path, index) == 0


@pytest.mark.faults
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pictures_that_grow_beyond_the_limit_are_not_decoded(name, videos, tmp_path, monkeypatch):
    path = growing(tmp_path, name, videos)
    monkeypatch.setattr(video_files, "MOST_PIXELS", 64 * 64)
    index = index_video(path)
    with Video(path, index) as video:
        assert videos.number(video.read([8])[0]) == 8
        with pytest.raises(BrokenVideoError, match=r"or frames of more than the 4096 pixels allowed \(PCPAD_MOST_P"):
            video.read([12])
    with pytest.raises(BrokenVideoError, match=r"decoding stops after 10 of 20 frames: .* more than the 4096 pixels"):
        decode_all(path, index)
