"""List the videos of a split with their classes, and the annotated videos that are missing."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pcpad.datamodules.datasets.video_list_checks import Listed, check_numbers, check_twice, listed_rows
from pcpad.datamodules.datasets.video_lists import EXPECTED, Annotations, VideoPlaces, inside, read_list
from pcpad.datamodules.reading.folders import IMAGES, class_folders, outside_of_folders
from pcpad.datamodules.reading.frame_folders import holds_frames
from pcpad.datamodules.reading.listing import Contents, Wanted, look_through, say_passed_over
from pcpad.datamodules.reading.names import Names
from pcpad.datamodules.reading.video_files import SUFFIXES
from pcpad.errors import UserFileNotFoundError, UserValueError
from pcpad.files import at_home, refuse_irregular

NO_DATA = """{what}: {path}
Expected one of (videos in any of {suffixes}, or folders of frames image_00001.jpg, …):
    {root}/{{train,val,test}}/<class>/<name>.mp4                 test/ is optional; without it, `test` runs on val/
    {root}/{{train,val}}/<class>/<youtube id>_<start:06>_<end:06>.mp4 and --data.annotations FILE.csv, with the columns
        label,youtube_id,time_start,time_end,split
    any files below {root} and --data.annotations 'lists/{{split}}.txt': path and class per line, or columns path,label
Kinetics-400 is available at https://github.com/cvdfoundation/kinetics-dataset (annotations and videos).
A small stand-in of real H.264 files, written in under a minute:
    pcpad sample kinetics DIR        and then --data.root DIR"""


_SPLITS = ("train", "val", "test")
VIDEOS = Wanted(
    "video",
    SUFFIXES,
    lambda kind: kind.what == "video" or kind.name == "GIF",
    holds_frames,
    (".wav", ".mp3", ".m4a", ".aac", ".flac", ".opus", ".npy", ".pkl"),  # sounds and features
)


class Listing(NamedTuple):
    """The videos of one split.

    Attributes:
        names: Paths relative to the root, with `/` as separator.
        labels: The name of each video's class.
        seconds: The annotated duration of each; None: unknown.
        missing: Annotated videos that do not exist.
        by_path: Whether they come from a list of paths, where integer classes are class indices.
        others: Other files in the class folders, each with what it is.
    """

    names: list[str]
    labels: list[str]
    seconds: list[float | None]
    missing: list[str]
    by_path: bool = False
    others: tuple[tuple[str, str], ...] = ()


def list_videos(folder: str | Path) -> Names:
    """The names of the videos below a folder, as in `look_for_videos`; a warning lists other files."""
    contents = look_for_videos(folder)
    say_passed_over(folder, contents.others, "videos")
    return contents.names


def look_for_videos(folder: str | Path) -> Contents:
    """List the video files and folders of frames below a folder, following links and ignoring hidden files.

    Args:
        folder: An existing folder.

    Returns:
        Sorted names relative to the folder, with `/` as separator, and the other files there, except for pictures with
        the name of a video next to them.
    """
    contents = look_through(folder, VIDEOS)
    stems = {os.path.splitext(name)[0] for name in contents.names}  # noqa: PTH122 - of names, not of files
    others: dict[str, str] = {}
    pictures: dict[str, list[str]] = {}
    for name, reason in contents.others:
        parent, _, last = name.rpartition("/")
        if not last.lower().endswith(IMAGES.endings):
            others[name] = reason
        elif os.path.splitext(name)[0] not in stems:  # noqa: PTH122
            pictures.setdefault(parent, []).append(last)
    for parent, names in pictures.items():
        count = "a picture" if len(names) == 1 else f"one of {len(names)} pictures"
        reason = f"{count}, not frames of a video, which are named image_00001.jpg, image_00002.jpg, …"
        others[f"{parent}/{names[0]}".removeprefix("/")] = reason
    return Contents(contents.names, sorted(others.items()))


def find_split(root: Path, split: str, annotations: str | Annotations | None, *, may_be_empty: bool = False) -> Listing:
    """List the videos of a split.

    Args:
        root: The data set's folder.
        split: "train", "val" or "test".
        annotations: None for class folders; else a CSV or list file; `{split}` in its path stands for the split.
        may_be_empty: Whether to accept a file none of whose videos exist.

    Returns:
        The videos, ordered by name for class folders, else as in the file.

    Raises:
        FileNotFoundError: The folder or file does not exist; says what was expected and where to get it.
        ValueError: The file cannot be parsed, or a row points outside of the root.
    """
    if annotations is None:
        folder = root / split
        if not class_folders(folder):
            what = "No class folders in" if folder.is_dir() else "No such folder"
            raise UserFileNotFoundError(no_data(what, folder, root))
        others = [(f"{split}/{name}", reason) for name, reason in outside_of_folders(folder, VIDEOS)]
        names = []
        for name in class_folders(folder):
            contents = look_for_videos(folder / name)
            names += [f"{name}/{video}" for video in contents.names]
            others += [(f"{split}/{name}/{other}", reason) for other, reason in contents.others]
        if not names:
            raise UserFileNotFoundError(no_data("No videos in", folder, root))
        labels = [name.split("/")[0] for name in names]
        return Listing([f"{split}/{name}" for name in names], labels, [None] * len(names), [], others=tuple(others))
    annotations = Annotations(annotations) if isinstance(annotations, str) else annotations
    path = _annotation_file(root, split, annotations.path)
    listing, gone = _listed(root, split, path, annotations)
    if not listing.names and not may_be_empty:
        count = len(listing.missing)
        what = (
            f"None of the {count} videos of {split} that {path} lists exists. {gone}. Expected {EXPECTED}.\nLooked in"
        )
        raise UserFileNotFoundError(no_data(what if count else f"{gone}. Looked in", root.absolute(), root))
    return listing


def no_data(what: str, path: Path, root: Path) -> str:
    """The error message for missing data."""
    return NO_DATA.format(what=what, path=path.absolute(), root=root, suffixes=" ".join(SUFFIXES))


def _annotation_file(root: Path, split: str, annotations: str) -> Path:
    given = at_home(annotations.replace("{split}", split))
    for path in (given, root / given):
        refuse_irregular(path)
        if path.is_file():
            return path
    raise UserFileNotFoundError(no_data("No such annotation file", given, root))


def _listed(root: Path, split: str, path: Path, annotations: Annotations) -> tuple[Listing, str]:
    """The videos of a split that a file lists, and a message about the first missing one, or about an empty list."""
    places = VideoPlaces(root, annotations.roots)
    found = read_list(path, _is_there(root, split, places), annotations.columns)
    listing = Listing([], [], [], [], not found.official)
    gone = ""
    for row in found.rows:
        if row.split not in (None, split):
            continue
        names = [inside(root, name, path, row.line, annotations.roots) for name in row.names]
        if row.split is None:
            names += [f"{split}/{name}" for name in names]
        there = _only([other for name in names if (other := places.find(name))], path, row.line, names[0])
        if there is None:
            gone = gone or (
                f"{path}, line {row.line} is read as the video {names[0]!r} of class {row.label!r}, which is not below "
                f"{root.absolute()}, nor with another extension"
            )
            listing.missing.append(names[0])
            continue
        listing.names.append(there)
        listing.labels.append(row.label)
        listing.seconds.append(row.seconds)
    splits = ", ".join(sorted({row.split for row in found.rows if row.split})) or "none"
    return listing, gone or f"{path} lists no video of {split} (splits in it: {splits})"


def _only(found: Sequence[Sequence[str]], path: Path, line: int, name: str) -> str | None:
    """The video of the first name under which any is found."""
    several = next(iter(found), ())
    if len(several) > 1:
        message = (
            f"{path}, line {line}: {name!r} does not exist, and could be any of {', '.join(several)}: correct the "
            "line, or keep only one of these"
        )
        raise UserValueError(message)
    return several[0] if several else None


def _is_there(root: Path, split: str, places: VideoPlaces) -> Callable[[str], bool]:
    def is_there(name: str) -> bool:
        if not name:
            return False
        try:
            name = inside(root, name, root, 0, list(map(Path, places.others)))
        except UserValueError:
            return False
        return bool(places.find(name) or places.find(f"{split}/{name}"))

    return is_there


def find_classes(root: Path, annotations: str | Annotations | None) -> list[str]:
    """The names of the classes; a class's position is its index.

    Args:
        root: The data set's folder.
        annotations: See `find_split`.

    Returns:
        For class folders, those of train/ (without it of val/, else of test/), and for a CSV file its labels, both in
        alphabetical order; for lists with class numbers all numbers up to the largest, named after the folder of the
        class's videos if each class has its own.

    Raises:
        FileNotFoundError: The annotation file does not exist.
        ValueError: Lists are contradictory, or number the classes from 1.
    """
    if annotations is None:
        return next((names for split in _SPLITS if (names := class_folders(root / split))), [])
    annotations = Annotations(annotations) if isinstance(annotations, str) else annotations
    files: dict[str, Path] = {}
    for split in _SPLITS:
        try:
            files[split] = _annotation_file(root, split, annotations.path)
        except FileNotFoundError:
            continue
    if not files:
        _annotation_file(root, _SPLITS[0], annotations.path)
    places = VideoPlaces(root, annotations.roots)
    lists = {
        split: (path, read_list(path, _is_there(root, split, places), annotations.columns))
        for split, path in files.items()
    }
    rows = [row for _, found in lists.values() for row in found.rows]
    labels = {row.label for row in rows}
    listed = listed_rows(lists)
    check_twice(listed, partial(_place, root, places))
    if any(found.official for _, found in lists.values()) or not is_numbered(labels):
        return sorted(labels)
    check_numbers(listed)
    folders: dict[int, set[str]] = {}
    for row in rows:
        folders.setdefault(int(row.label), set()).add(PurePosixPath(row.names[0]).parent.name)
    own = {next(iter(found)) for found in folders.values() if len(found) == 1} - {""}
    named = len(own) == len(folders)
    return [min(folders[n]) if named and n in folders else str(n) for n in range(max(folders) + 1)]


def _place(root: Path, places: VideoPlaces, listed: Listed) -> str:
    """The path of a line's video; for Kinetics' own table the clip, which may be in several places."""
    split, path, row, official = listed
    if official:
        return PurePosixPath(row.names[0]).name
    name = inside(root, row.names[0], path, row.line, list(map(Path, places.others)))
    return next(iter(places.find(name) or places.find(f"{split}/{name}")), name)


def class_indices(listing: Listing, classes: Sequence[str], annotations: str | Annotations | None) -> list[int]:
    """The class index of each video.

    Raises:
        ValueError: A class is not in `classes`.
    """
    if listing.by_path and is_numbered(set(listing.labels)):
        return [int(label) for label in listing.labels]
    index = {name: place for place, name in enumerate(classes)}
    others = sorted(set(listing.labels) - set(index))
    if others:
        message = (
            f"{len(others)} classes of these videos are not among the {len(classes)} training classes: "
            f"{', '.join(others[:5])}. Every split needs the same class names."
        )
        raise UserValueError(message)
    return [index[label] for label in listing.labels]


def is_numbered(labels: set[str]) -> bool:
    """Whether all labels are non-negative integers."""
    return bool(labels) and all(label.isascii() and label.isdigit() for label in labels)
