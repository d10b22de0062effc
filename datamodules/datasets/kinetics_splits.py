"""Load a split's usable videos, and report the others."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_warn

from pcpad._renamed import moved
from pcpad.datamodules.datasets.kinetics_files import class_indices, find_split, look_for_videos
from pcpad.datamodules.datasets.video_indices import KnownVideos
from pcpad.datamodules.datasets.video_lists import Annotations
from pcpad.datamodules.datasets.video_table import BrokenVideo, VideoTable, load_videos
from pcpad.datamodules.reading.folders import class_folders
from pcpad.datamodules.reading.frame_folders import holds_frames
from pcpad.datamodules.reading.listing import Contents, say_passed_over
from pcpad.datamodules.reading.names import Names
from pcpad.datamodules.reading.video_files import SUFFIXES, BrokenVideoError
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import refuse_irregular

_SHOWN = 10


def load_split(
    root: Path,
    split: str,
    annotations: str | Annotations | None,
    classes: Sequence[str],
    *,
    jpeg_fps: float,
    max_missing: float,
    max_broken: int | None,
    known: KnownVideos | None = None,
) -> VideoTable:
    """List and index the videos of a split; warn about missing and broken ones.

    Args:
        root: The data set's folder.
        split: "train", "val" or "test".
        annotations: See `find_split`.
        classes: Class names.
        jpeg_fps: See `VideoTable`.
        max_missing: Largest fraction of the annotated videos that may be missing.
        max_broken: How many may be broken; None: any number, for evaluations, which report what they leave out.
        known: The content of the cache file, if it has been read already.

    Returns:
        The usable videos.

    Raises:
        FileNotFoundError: No data.
        ValueError: Annotations cannot be parsed, classes are unknown, or too many videos are missing.
        BrokenVideoError: Too many videos are broken, or all are.
    """
    listing = find_split(root, split, annotations)
    annotated = len(listing.names) + len(listing.missing)
    if len(listing.missing) > max_missing * annotated:
        message = (
            f"{len(listing.missing)} of the {annotated} annotated videos of {split} are missing below "
            f"{root.absolute()}, but data.max_missing={max_missing} allows {int(max_missing * annotated)}:"
            f"{_some(listing.missing)}\n`pcpad check kinetics` lists them all."
        )
        raise UserValueError(message)
    labels = class_indices(listing, classes, annotations)
    # Evaluations check all indices when they start; training replaces a video that turns out to have none.
    lazily = max_broken is not None
    table, broken = load_videos(root, listing.names, labels, jpeg_fps, known=known, lazily=lazily)
    _judge(root, split, broken, len(table), max_broken)
    say_passed_over(root, listing.others, "videos of a class")
    if listing.missing or broken:
        use = "training continues with" if max_broken is not None else "scores are computed on"
        rank_zero_warn(
            f"{split}: of {annotated} videos, {len(listing.missing)} are missing and {len(broken)} broken; {use} the "
            f"{len(table)} others:{_some([*(f'{name}: missing' for name in listing.missing), *_lines(broken)])}"
        )
    return table


def load_unlabeled(path: Path, jpeg_fps: float) -> tuple[VideoTable, list[str]]:
    """List and index the videos below a folder, or a single video.

    Args:
        path: A folder, or a video.
        jpeg_fps: See `VideoTable`.

    Returns:
        The usable videos, and one line about each other file; a warning reports these too.

    Raises:
        FileNotFoundError: The path does not exist, or is a folder without videos; names it.
        BrokenVideoError: No video is usable.
    """
    root, contents = path, Contents(Names(), [])
    if not path.is_dir():
        refuse_irregular(path)
    if path.is_file() or (path.is_dir() and holds_frames(path)):
        root, contents = path.parent, Contents(Names([path.name]), [])
    elif path.is_dir():
        contents = look_for_videos(path)
    names, others = contents
    if not names:
        what = f"no videos ({', '.join(SUFFIXES)}) below" if path.is_dir() else "no such folder or video:"
        there = "".join(f"\n  {name}: {reason}" for name, reason in others[:_SHOWN])
        message = f"{what} {path.absolute()}{f', but{there}' if there else ''}"
        raise UserFileNotFoundError(message)
    table, broken = load_videos(root, names, None, jpeg_fps, beside=False)
    _judge(root, "predict_videos", broken, len(table), None)
    if broken:
        rank_zero_warn(f"{len(broken)} of {len(names)} videos are broken and skipped:{_some(_lines(broken))}")
    return table, [f"{root / name}: {reason}" for name, reason in [*broken, *others]]


def find_test_split(root: Path, annotations: str | Annotations | None) -> str:
    """Choose test if it has class folders or existing annotated videos, else val."""
    if annotations is None:
        return "test" if class_folders(root / "test") else "val"
    try:
        return "test" if find_split(root, "test", annotations).names else "val"
    except FileNotFoundError:
        return "val"


def _judge(root: Path, split: str, broken: Sequence[BrokenVideo], usable: int, most: int | None) -> None:
    if most is not None and len(broken) > most:
        reason = f"more than data.max_broken={most} allows"
    elif not usable:
        reason = "and there are no other videos"
    else:
        return
    message = f"{len(broken)} videos of {split} below {root.absolute()} are broken, {reason}:{_some(_lines(broken))}"
    raise BrokenVideoError(message)


def _lines(broken: Sequence[BrokenVideo]) -> list[str]:
    return [f"{video.name}: {video.reason}" for video in broken]


def _some(lines: Sequence[str]) -> str:
    shown = [f"\n  {line}" for line in lines[:_SHOWN]]
    return "".join(shown) + (f"\n  … and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else "")


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
