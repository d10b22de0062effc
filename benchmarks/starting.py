"""What a start costs at the true size: ``python -m benchmarks.starting videos|images --folder DIR``.

``videos``: 240 000 names, links to five small videos of 300 frames (a file can have at most 65 000 links). A first
start, killed when half of them are indexed; the start that resumes; the next one. ``images``: 1.28 million names in
1000 class folders, links to small JPEGs, listed by this package, torchvision's ImageFolder and timm's reader; only
names count.

Everything is written below ``--folder``: existing files are reused, so an interrupted benchmark resumes, and
``--clean`` removes it. Times are wall-clock and processor seconds of a start and its worker processes, without imports;
memory is resident, of the main process and of all its processes together. ``--json FILE`` keeps the table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.common import save, show
from benchmarks.resident import status_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_VIDEOS, _IMAGES = 240_000, 1_281_167
_LINKS = 60_000  # ext4 allows 65 000
_LISTERS = ("pcpad", "torchvision", "timm")


def link_videos(root: Path, count: int) -> None:
    """Lay out `train/<400 classes>/` and `val/` of links to five videos.

    Args:
        root: The data set's folder.
        count: How many links.
    """
    import av

    sources = []
    for number in range(5):
        path = root / f"source_{number}.mp4"
        sources.append(path)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"g": "60"})
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for shift in range(300):
                frame = av.VideoFrame.from_ndarray(np.roll(picture, shift, axis=1), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    _link(root, sources, count, 400, ".mp4")


def link_images(root: Path, count: int) -> None:
    """Lay out `train/<1000 classes>/` and `val/` of links to small JPEGs.

    Args:
        root: The data set's folder.
        count: How many links.
    """
    from PIL import Image

    root.mkdir(parents=True, exist_ok=True)
    sources = [root / f"source_{number}.jpg" for number in range(-(-count // _LINKS) + 1)]
    for number, path in enumerate(sources):
        if not path.exists():
            Image.new("RGB", (8, 8), (number, number, number)).save(path)
    _link(root, sources, count, 1000, ".JPEG")


def _link(root: Path, sources: list[Path], count: int, classes: int, ending: str) -> None:
    done = root / "done"
    if done.exists():
        return
    for label in range(classes):
        for split, first, last in (("train", label, count), ("val", count + label, count + classes)):
            folder = root / split / f"n{label:08}"
            folder.mkdir(parents=True, exist_ok=True)
            there = set(os.listdir(folder))  # noqa: PTH208  # only names, of a million files
            for number in range(first, last, classes):
                name = f"n{label:08}_{number:07}{ending}"
                if name not in there:
                    os.link(sources[number % len(sources)], f"{folder}/{name}")
    done.touch()


def start(what: str, root: Path) -> dict[str, float]:
    """Start once, in this process.

    Args:
        what: `videos`, or the package that lists the images.
        root: The data set's folder.

    Returns:
        Names found, seconds, and MiB.
    """
    listers: dict[str, Callable[[Path], tuple[Callable[[], object], Callable[[object], int]]]] = {
        "videos": _by_videos,
        "pcpad": _by_pcpad,
        "torchvision": _by_torchvision,
        "timm": _by_timm,
    }
    list_all, length = listers[what](root)
    process = psutil.Process()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak, after the imports'
    before, began, used = process.memory_info().rss, time.perf_counter(), _processor()
    found = list_all()
    seconds, cpu = time.perf_counter() - began, _processor() - used
    return {
        "names": length(found),
        "seconds": seconds,
        "cpu": cpu,
        "MiB kept": (process.memory_info().rss - before) / 2**20,
        "MiB more at the peak": (status_bytes("VmHWM") - before) / 2**20,
    }


def _processor() -> float:
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def _by_videos(root: Path) -> tuple[Callable[[], object], Callable[[object], int]]:
    from pcpad.datamodules.kinetics import KineticsDataModule

    data = KineticsDataModule(root)

    def begin() -> object:
        data.setup("fit")
        return data

    return begin, lambda _: sum(len(table) for table in data._splits.values())


def _by_pcpad(root: Path) -> tuple[Callable[[], object], Callable[[object], int]]:
    from pcpad.datamodules.datasets.image_folders import scan_split
    from pcpad.datamodules.reading.folders import class_folders

    folder = root / "train"
    return lambda: scan_split(folder, class_folders(folder)), lambda found: len(found.files)  # type: ignore[attr-defined]


def _by_torchvision(root: Path) -> tuple[Callable[[], object], Callable[[object], int]]:
    from torchvision.datasets import ImageFolder

    return lambda: ImageFolder(root / "train"), len  # type: ignore[return-value]


def _by_timm(root: Path) -> tuple[Callable[[], object], Callable[[object], int]]:
    from timm.data.readers.reader_image_folder import ReaderImageFolder

    return lambda: ReaderImageFolder(str(root / "train")), len  # type: ignore[return-value]


def child(what: str, root: Path, stop: Callable[[], bool] = lambda: False) -> dict[str, object]:
    """Start once, in a separate process, and measure its memory and that of its children.

    Args:
        what: See `start`.
        root: See `start`.
        stop: Whether to kill it now; called every second.

    Returns:
        What `start` returns, and the peaks.
    """
    command = [sys.executable, "-m", "benchmarks.starting", "--child", what, "--folder", str(root)]
    began, peak, together = time.perf_counter(), 0, 0
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True) as process,
    ):
        asked = began
        while process.poll() is None:
            time.sleep(0.2)
            own, everyone = _resident(process.pid)
            peak, together = max(peak, own), max(together, everyone)
            if time.perf_counter() - asked > 1:
                asked = time.perf_counter()
                if stop():
                    os.killpg(process.pid, signal.SIGKILL)
        output = process.stdout.read() if process.stdout else b""
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    peaks: dict[str, object] = {"MiB, imports too": round(peak / 2**20), "of all processes": round(together / 2**20)}
    if process.returncode == -signal.SIGKILL:
        return {"names": "killed", "seconds": round(time.perf_counter() - began, 1), **peaks}
    if process.returncode:
        message = f"{what} ended with {process.returncode}: {said[-2000:]}"
        raise RuntimeError(message)
    return {name: round(value, 2) for name, value in json.loads(output.splitlines()[-1]).items()} | peaks


def _resident(pid: int) -> tuple[int, int]:
    try:
        process = psutil.Process(pid)
        own = process.memory_info().rss
        others = 0
        for each in process.children(recursive=True):
            try:
                # Pages shared after a fork count once.
                others += each.memory_full_info().uss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0, 0
    return own, own + others


def known(root: Path) -> int:
    """How many videos the index file has."""
    try:
        with np.load(root / "pcpad_videos.npz") as stored:
            return len(stored["sizes"])
    except (OSError, ValueError, KeyError):
        return 0


def videos(folder: Path, count: int) -> list[dict[str, object]]:
    """Starts with videos."""
    root = folder / "videos"
    began = time.perf_counter()
    link_videos(root, count)
    print(f"{count} links in {time.perf_counter() - began:.0f} s", flush=True)
    rows: list[dict[str, object]] = []
    if known(root) < count // 2:
        rows.append({"start": "first, killed half-way", **child("videos", root, lambda: known(root) >= count // 2)})
        rows[-1]["names"] = f"{known(root)} known after it was killed"
        show(rows[-1:])
    names = ["the one that goes on", "second", "third"] if known(root) < count else ["second", "third"]
    for name in names:
        rows.append({"start": name, **child("videos", root)})
        show(rows[-1:])
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column, "") for column in columns} for row in rows]


def images(folder: Path, count: int, rounds: int = 3) -> list[dict[str, object]]:
    """Names of images, listed by three packages."""
    root = folder / "images"
    began = time.perf_counter()
    link_images(root, count)
    print(f"{count} links in {time.perf_counter() - began:.0f} s", flush=True)
    found: dict[str, list[dict[str, object]]] = {name: [] for name in _LISTERS}
    for number in range(rounds):
        for name in _LISTERS[number % 3 :] + _LISTERS[: number % 3]:
            found[name].append(child(name, root))
            print(number, name, found[name][-1], flush=True)
    rows = []
    for name, each in found.items():
        row: dict[str, object] = {"by": name, "rounds": rounds}
        for column in each[0]:
            row[column] = round(float(np.median([float(str(one[column])) for one in each])), 2)
        rows.append(row)
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", nargs="?", choices=["videos", "images"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, help=f"names; by default {_VIDEOS} videos, {_IMAGES} images")
    parser.add_argument("--clean", action="store_true", help="remove the folder's content when done")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", choices=["videos", *_LISTERS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(start(given.child, given.folder)))
        return
    if given.section is None:
        parser.error("expected a section: videos or images")
    whole = {"videos": (videos, _VIDEOS), "images": (images, _IMAGES)}
    measure, most = whole[given.section]
    rows = measure(given.folder, given.count or most)
    show(rows)
    save(rows, given.json)
    if given.clean:
        shutil.rmtree(given.folder / given.section)


if __name__ == "__main__":
    main()
