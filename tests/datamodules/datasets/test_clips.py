"""Which frames a clip consists of, and which part of the pictures it shows."""

import math

import numpy as np
import pytest

from pcpad.datamodules.datasets import video_table as table_module
from pcpad.datamodules.datasets.clips import ClipAugmentation, Sampling, center_view
from pcpad.datamodules.reading.videos import View


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def test_sampling_loops_strides_and_resamples(videos, tmp_path):
    timeline = np.arange(10)
    assert Sampling(4, 2).clip(timeline, 1).tolist() == [1, 3, 5, 7]
    assert Sampling(4, 2).clip(timeline, 6).tolist() == [6, 8, 6, 8]
    assert Sampling(4, 3).latest_start(timeline) == 0
    assert Sampling(4, 2).latest_start(timeline) == 3
    assert list(Sampling(4, 2).windows(timeline)) == [0, 8]
    times = np.asarray([0, 10, 50, 300, 310, 320, 700, 1000])
    index = table_module.index_video(videos.write(tmp_path / "a.mkv", 8, times=times))
    shown = Sampling(fps=20).timeline(index)
    end = index.times[-1]
    slow = [max(i for i, time in enumerate(times) if time <= tick) for tick in range(0, round(1000 * end), 50)]
    assert shown.tolist() == slow
    assert len(Sampling(fps=0.1).timeline(index)) == 1
    # Of a picture that stands still every window has its own time.
    fast = Sampling(4, fps=20)
    ticks = fast.timeline(index)
    parts = [fast.seconds(index, ticks, start) for start in fast.windows(ticks)]
    assert parts[:3] == [(0.0, pytest.approx(0.2)), (pytest.approx(0.2), pytest.approx(0.4)), (0.4, pytest.approx(0.6))]
    assert len(set(parts)) == len(parts)
    assert parts[-1][1] == pytest.approx(index.times[-1])


def public_starts(frames, size, samples=3):
    """`TemporalEvenCrop` of the public 3D ResNets, of which the looped clips are left out."""
    stride = max(1, math.ceil((frames - 1 - size) / (samples - 1)))
    return [start for start in range(0, frames, stride)[:samples] if frames - start >= size]


@pytest.mark.faults
def test_clips_to_validate_on_are_the_public_ones():
    assert public_starts(300, 16) == [0, 142, 284], "of ten seconds"
    for frames in range(16, 400):
        assert Sampling(16).spread(np.arange(frames), 3) == public_starts(frames, 16)
    assert Sampling(16).spread(np.arange(5), 3) == [0], "looped"
    for count in range(1, 12):
        starts = Sampling(8, 2).spread(np.arange(250), count)
        assert len(starts) == count
        assert starts[0] == 0
        assert starts[-1] <= 250 - 15


def test_crops_stay_inside_and_have_the_sizes_asked_for():
    draws = np.random.default_rng(0)
    sides = set()
    for _ in range(300):
        view, _ = ClipAugmentation(112).draw(240, 320, draws)
        assert view.rows == view.columns == 112
        assert 0 <= view.top <= view.height - 112
        assert 0 <= view.left <= view.width - 112
        sides.add(view.height)
    # 112 px of a side of 240 · 2^(-k/4)
    assert sides == {round(240 * 112 / int(240 * 2 ** (-k / 4))) for k in range(5)}
    areas = []
    for _ in range(300):
        view, _ = ClipAugmentation(112, "random_resized").draw(240, 320, draws)
        area = (112 / view.height) * (112 / view.width)
        areas.append(area)
        assert 0.74 < view.height / 240 / (view.width / 320) < 1.35
        assert 0 <= view.top <= view.height - 112
        assert 0 <= view.left <= view.width - 112
    # The public networks' --train_crop_min_scale is 0.25, unlike torchvision's 0.08.
    assert 0.24 < min(areas) < 0.3
    assert 0.9 < max(areas) <= 1
    flips = [ClipAugmentation(112, flip=0.5).draw(240, 320, draws)[1] for _ in range(400)]
    assert 150 < sum(flips) < 250
    assert ClipAugmentation(112, "random_resized").draw(10, 1000, draws)[0].rows == 112
    assert center_view(240, 320, 112) == View(112, 149, 0, 18, 112, 112)
