"""Video files: what their index says, and what is refused."""

import os
import signal
from fractions import Fraction

import numpy as np
import pytest

from pcpad.datamodules.reading import video_files as module
from pcpad.datamodules.reading.video_files import BrokenVideoError, VideoIndex, decode_all, index_video
from pcpad.datamodules.reading.videos import Video

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


def test_the_index_says_when_frames_are_shown(videos, tmp_path):
    path = videos.write(tmp_path / "a.mp4", **KINDS["variable rate"])
    index = index_video(path)
    assert np.allclose(index.times[:-1], (VARIABLE - VARIABLE[0]) / 1000, atol=2e-4)
    assert index.times[-1] > index.times[-2]
    assert index.keys.tolist() == [0, 20, 40]
    assert (index.height, index.width, index.rotation, index.codec) == (48, 64, 0, "h264")
    again = VideoIndex.unpack(index.pack())
    assert np.array_equal(again.pts, index.pts)
    assert np.array_equal(again.keys, index.keys)
    assert again[2:] == index[2:]
    constant = index_video(videos.write(tmp_path / "b.mp4", 300))
    assert len(constant.pack()) < 200, "240 000 of them are held in memory"


# Bad input


def test_empty_missing_and_foreign_files(videos, tmp_path):
    whole = videos.write(tmp_path / "whole.mp4", 10)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all " * 50)
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{whole}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {whole.name}\n")
    videos.write_sound(tmp_path / "sound.mp4")
    expected = {
        "empty": "the file is empty",
        "text": "not a video file in a known format",
        "list": "(not a video file in a known format|a playlist, or a format that is not)",
        "concat": "a playlist, or a format that is not supported",
        "absent": "No such file",
        "sound": "no video stream, but audio",
    }
    for name, reason in expected.items():
        with pytest.raises(BrokenVideoError, match=rf"{name}\.mp4: .*{reason}"):
            index_video(tmp_path / f"{name}.mp4")


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files(part, videos, tmp_path):
    noise = np.random.default_rng(0)
    path = videos.write(tmp_path / "a.mp4", 40, paint=lambda n, h, w: noise.integers(0, 256, (h, w, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(BrokenVideoError, match=r"a\.mp4: (truncated|not a video file)"):
        index_video(path)


def test_truncated_between_two_frames(videos, tmp_path):
    import av

    path = videos.write(tmp_path / "a.mp4", 40)
    with av.open(str(path)) as container:
        ends = sorted(p.pos + p.size for p in container.demux(video=0) if p.size)
    path.write_bytes(path.read_bytes()[: ends[24]])
    with pytest.raises(BrokenVideoError, match=r"truncated or damaged after \d+ frames of the 40 "):
        index_video(path)


def test_one_frame(videos, tmp_path):
    path = videos.write(tmp_path / "a.mp4", 1)
    index = index_video(path)
    assert (len(index.pts), index.keys.tolist()) == (1, [0])
    with Video(path, index) as video:
        assert videos.number(video.read([0, 0, 0])[2]) == 0


def test_titles_of_any_bytes(videos, tmp_path):
    import av

    path, tagged = videos.write(tmp_path / "a.mp4", 3), tmp_path / "b.mp4"
    with av.open(str(path)) as plain, av.open(str(tagged), "w") as container:
        container.metadata["title"] = "a title"
        stream = container.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    content = tagged.read_bytes()
    assert content.count(b"a title") == 1
    tagged.write_bytes(content.replace(b"a title", b"a \xfftitl"))
    assert len(index_video(tagged).pts) == 3


def test_impossible_sizes_are_refused_unread(videos, tmp_path, monkeypatch):
    path = videos.write(tmp_path / "a.mp4", 2)
    monkeypatch.setattr(module, "MOST_PIXELS", 3000)
    with pytest.raises(BrokenVideoError, match="claims 3072 pixels per frame, more than the 3000 allowed"):
        index_video(path)


def test_damage_in_the_middle_shows_when_all_is_decoded(videos, tmp_path):
    path = videos.write(tmp_path / "a.mp4", 40, options={"g": "10"})
    index = index_video(path)
    assert decode_all(path, index) == 0
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 120] = bytes(120)
    path.write_bytes(bytes(data))
    try:
        said = f"{decode_all(path, index)} frames lost"
    except BrokenVideoError as error:
        said = str(error)
    assert said != "0 frames lost"


def test_time_bases_survive(videos, tmp_path):
    index = index_video(videos.write(tmp_path / "a.mkv", 10))
    assert index.time_base == Fraction(1, 1000)
    assert np.allclose(np.diff(index.times[:-1]), 0.04)


@pytest.mark.faults
def test_a_pipe_is_no_video_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    signal.setitimer(signal.ITIMER_REAL, 10)  # ends the process where it waits
    try:
        with pytest.raises(BrokenVideoError, match=r"a\.mp4: a named pipe \(FIFO\), where a file is expected"):
            index_video(tmp_path / "a.mp4")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
