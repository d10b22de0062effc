"""What a clip costs to decode: ``python -m benchmarks.video [section …]``.

320×240, 10 s, 30 frames per second, H.264 as x264 writes it by default, with a key frame every 30 to 250 frames; random
clips of 16 frames, cropped at random to 112². Processor time of one process, with all its threads, so that other
load on the machine does not count; the readers alternate in one process. ``--json FILE`` keeps the table.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import psutil
import torch

from benchmarks.common import machine, ratio, save, show
from pcpad.datamodules.datasets.clip_datasets import TrainingClips
from pcpad.datamodules.datasets.clips import ClipAugmentation, Sampling
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.video_table import load_videos

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES, RATE, HEIGHT, WIDTH, LENGTH, SIZE = 300, 30, 240, 320, 16, 112
AUGMENT = ClipAugmentation(SIZE)


def write_video(path: Path, gop: int, codec: str = "libx264", seed: int = 0) -> None:
    """A textured scene under a moving camera, with grain, like a video from a hand-held camera."""
    draw = np.random.default_rng(seed)
    noise = draw.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    scene = cv2.resize(noise, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    x, y = np.cumsum(draw.normal(0, 2, (2, FRAMES)), axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": str(gop)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if codec == "mpeg4":
            stream.bit_rate = 1_000_000
        for number in range(FRAMES):
            move = np.float32([[1, 0, x[number] - WIDTH / 2], [0, 1, y[number] - HEIGHT / 2]])
            picture = cv2.warpAffine(scene, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
            grain = draw.integers(-4, 5, picture.shape, dtype=np.int16)
            picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def straightforward(path: Path, draws: np.random.Generator, seek: bool) -> torch.Tensor:
    """Open, decode from the start or seek by the average frame rate, convert whole pictures, crop and resize."""
    start = int(draws.integers(FRAMES - LENGTH + 1))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        at = start / stream.average_rate
        if seek:
            container.seek(int(at / stream.time_base), stream=stream)
        pictures: list[np.ndarray] = []
        for frame in container.decode(stream):
            if frame.time >= float(at) - 1e-4:
                pictures.append(frame.to_ndarray(format="rgb24"))
            if len(pictures) == LENGTH:
                break
    return crop(np.stack(pictures), draws)


def crop(pictures: np.ndarray, draws: np.random.Generator) -> torch.Tensor:
    """The same random crop, from whole pictures (T, H, W, 3)."""
    top, left, rows, columns = AUGMENT._corner(*pictures.shape[1:3], draws)
    flip = draws.random() < 0.5
    parts = [cv2.resize(p[top : top + rows, left : left + columns], (SIZE, SIZE)) for p in pictures]
    clip = np.stack(parts)[:, :, :: -1 if flip else 1]
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))


def torchcodec(path: Path, draws: np.random.Generator) -> torch.Tensor:
    """Torchcodec's decoder in its exact mode, one thread, as torchvision's datasets.Kinetics calls it."""
    from torchcodec.decoders import VideoDecoder

    start = int(draws.integers(FRAMES - LENGTH + 1))
    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
    return crop(decoder.get_frames_in_range(start, start + LENGTH).data.numpy(), draws)


def own(clips: TrainingClips, draws: np.random.Generator) -> torch.Tensor:
    """This package's training clip."""
    return clips[Crop(0, None, int(draws.integers(2**62)))]["clip"]


def table_of(path: Path) -> TrainingClips:
    """The training clips of one video."""
    table, broken = load_videos(path.parent, [path.name], [0])
    assert not broken
    return TrainingClips(table, Sampling(LENGTH), AUGMENT, 0)


def cpu_seconds(calls: dict[str, Callable[[np.random.Generator], object]], rounds: int) -> dict[str, list]:
    """Processor seconds of each reader in each round; a round's random clip is the same for all."""
    order, draw = list(calls), np.random.default_rng(0)
    seconds: dict[str, list] = {name: [] for name in order}
    for number in range(-2, rounds):
        draw.shuffle(order)
        for name in order:
            draws = np.random.default_rng(number + 2)
            start = time.process_time()
            result = calls[name](draws)
            if number >= 0:
                seconds[name].append(time.process_time() - start)
            assert result.shape == (3, LENGTH, SIZE, SIZE)
    return seconds


def speed(rounds: int, folder: Path) -> list[dict[str, object]]:
    """Clips per second and core."""
    rows = []
    for name, codec, gop in [(f"H.264, GOP {gop}", "libx264", gop) for gop in (30, 60, 250)] + [
        ("MPEG-4 part 2, GOP 30 (decodes at half size where the crop allows)", "mpeg4", 30)
    ]:
        path = folder / f"{codec}_{gop}.mp4"
        write_video(path, gop, codec)
        calls: dict[str, Callable[[np.random.Generator], object]] = {
            "pcpad": partial(own, table_of(path)),
            "PyAV, seek": partial(straightforward, path, seek=True),
            "PyAV, from start": partial(straightforward, path, seek=False),
        }
        try:
            torchcodec(path, np.random.default_rng(0))
            calls["torchcodec"] = partial(torchcodec, path)
        except (ImportError, RuntimeError, OSError) as error:
            print(f"torchcodec does not run here: {str(error).strip().splitlines()[0]}")
        seconds = cpu_seconds(calls, rounds)
        row: dict[str, object] = {"file": name}
        for way, values in seconds.items():
            row[f"{way}, clips/s"] = f"{1 / float(np.mean(values)):.1f}"
        for way in list(calls)[1:]:
            middle, low, high = ratio(seconds[way], seconds["pcpad"])
            total = sum(seconds[way]) / sum(seconds["pcpad"])
            row[f"{way} / pcpad"] = f"{total:.2f} (median {middle:.2f} [{low:.2f}, {high:.2f}])"
        rows.append(row)
    return rows


def memory(rounds: int, folder: Path, clips: int = 2000) -> list[dict[str, object]]:
    """Resident memory over 2000 clips of files with several key frame distances."""
    paths = []
    for number in range(4):
        path = folder / f"memory_{number}.mp4"
        write_video(path, (12, 30, 60, 250)[number], seed=number)
        paths.append(path)
    table, _ = load_videos(folder, [path.name for path in paths], [0] * len(paths))
    dataset, process = TrainingClips(table, Sampling(LENGTH), AUGMENT, 0), psutil.Process()
    rows = []
    for number in range(clips + 1):
        if number % 500 == 0:
            gc.collect()
            rows.append({"clips": number, "resident, MiB": f"{process.memory_info().rss / 2**20:.1f}"})
        dataset[Crop(number % len(paths), None, number)]
    return rows


SECTIONS = {"speed": speed, "memory": memory}


def main() -> None:
    """Run the requested sections, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}: expected some of {', '.join(SECTIONS)}")
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print(machine() | {"PyAV": av.__version__})
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sections or SECTIONS:
            print(f"\n{SECTIONS[name].__doc__}\n")
            part = SECTIONS[name](arguments.rounds, Path(folder))
            show(part)
            rows += part
    save(rows, arguments.json)


if __name__ == "__main__":
    main()
