"""Drawn moving scenes: real H.264 with annotations, and motions as they are called."""

import csv

import av
import numpy as np
import pytest

from pcpad.datamodules.samples import SAMPLES
from pcpad.datamodules.samples.kinetics import MOTIONS, draw_motion

# The sample


def test_the_sample_is_real_h264_with_annotations(kinetics_sample):
    with (kinetics_sample / "annotations" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split"]
    assert sorted(row["label"] for row in rows) == list(MOTIONS)
    for row in rows:
        stem = f"{row['youtube_id']}_{int(row['time_start']):06}_{int(row['time_end']):06}"
        with av.open(str(kinetics_sample / "train" / row["label"] / f"{stem}.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.height) == ("h264", 32)
            assert 17 <= stream.frames <= 25


def test_motions_move_as_they_are_called():
    for motion in MOTIONS:
        draws = np.random.default_rng(1)
        clip = np.stack(list(draw_motion(motion, 8, (96, 128), draws))).astype(int)
        assert clip.shape == (8, 96, 128, 3)
        # More changes than the drift of the ground makes.
        assert (np.abs(np.diff(clip, axis=0)).max(axis=(1, 2, 3)) > 60).all(), motion
    same = [next(iter(draw_motion("spinning", 1, (96, 128), np.random.default_rng(seed)))) for seed in (3, 3, 4)]
    assert np.array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])


@pytest.mark.parametrize("option", [{"train_videos": 0}, {"val_videos": 0}, {"height": 33}, {"seconds": (2.0, 1.0)}])
def test_sample_arguments_out_of_range(option, tmp_path):
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` to be"):
        SAMPLES["kinetics"](tmp_path / "x", **option)
