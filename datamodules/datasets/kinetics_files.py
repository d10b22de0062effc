"""Which videos a split has, of which class, and which of the annotated ones are missing."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pcpad.datamodules.reading.folders import class_folders, list_files
from pcpad.datamodules.reading.frame_folders import holds_frames
from pcpad.datamodules.reading.video_files import SUFFIXES
from pcpad.errors import UserFileNotFoundError, UserValueError

NO_DATA = """{what}: {path}
Expected one of (videos in any of {suffixes}, or folders of frames image_00001.jpg, …):
    {root}/{{train,val,test}}/<class>/<name>.mp4                 test/ is optional; without it, `test` runs on val/
    {root}/{{train,val}}/<class>/<youtube id>_<start:06>_<end:06>.mp4 and --data.annotations FILE.csv, with the columns
        label,youtube_id,time_start,time_end,split
    any files below {root} and --data.annotations 'lists/{{split}}.txt', a path and a class a line
Kinetics-400 is to be had at https://github.com/cvdfoundation/kinetics-dataset (annotations and videos).
A small stand-in of real H.264 files, written in under a minute:
    pcpad sample kinetics DIR        and then --data.root DIR"""


_SPLITS = ("train", "val", "test")


class Listing(NamedTuple):
    """The videos of one split.

    Attributes:
        names: Paths relative to the root, `/` between their parts.
        labels: Their classes, by name.
        seconds: How long each should be by the annotations; None: not said.
        missing: Annotated ones that are not there.
    """

    names: list[str]
    labels: list[str]
    seconds: list[float | None]
    missing: list[str]


def list_videos(folder: str | Path) -> list[str]:
    """List the video files and folders of frames below a folder, links followed, hidden ones left out.

    Args:
        folder: An existing folder.

    Returns:
        Sorted names relative to the folder, `/` between their parts.
    """
    return list_files(folder, SUFFIXES, holds_frames)


def find_split(root: Path, split: str, annotations: str | None, *, may_be_empty: bool = False) -> Listing:
    """List the videos of a split.

    Args:
        root: The data set's folder.
        split: "train", "val" or "test".
        annotations: None for class folders; else a csv or list file, `{split}` in its path standing for the split.
        may_be_empty: Whether a file of which no video is there will do.

    Returns:
        The videos, by name for class folders, else in the file's order.

    Raises:
        FileNotFoundError: No such folder or file; says what was looked for and where to get it.
        ValueError: A file that cannot be understood, or a row that points outside the root.
    """
    if annotations is None:
        folder = root / split
        if not class_folders(folder):
            what = "No class folders in" if folder.is_dir() else "No such folder"
            raise UserFileNotFoundError(no_data(what, folder, root))
        names = [f"{name}/{video}" for name in class_folders(folder) for video in list_videos(folder / name)]
        if not names:
            raise UserFileNotFoundError(no_data("No videos in", folder, root))
        labels = [name.split("/")[0] for name in names]
        return Listing([f"{split}/{name}" for name in names], labels, [None] * len(names), [])
    path = _annotation_file(root, split, annotations)
    listing = (_from_csv if path.suffix.lower() == ".csv" else _from_list)(root, split, path)
    if not listing.names and not may_be_empty:
        what = f"None of the {len(listing.missing)} videos of {split} that {path} lists is below"
        raise UserFileNotFoundError(no_data(what, root.absolute(), root))
    return listing


def no_data(what: str, path: Path, root: Path) -> str:
    """What to say where data is missing."""
    return NO_DATA.format(what=what, path=path.absolute(), root=root, suffixes=" ".join(SUFFIXES))


def _annotation_file(root: Path, split: str, annotations: str) -> Path:
    given = Path(annotations.replace("{split}", split)).expanduser()
    for path in (given, root / given):
        if path.is_file():
            return path
    raise UserFileNotFoundError(no_data("No such annotation file", given, root))


def _from_csv(root: Path, split: str, path: Path) -> Listing:
    """The CVDF format; the csv module reads class names with commas and quotes."""
    have = set(list_videos(root / split)) if (root / split).is_dir() else set()
    listing = Listing([], [], [], [])
    wanted = {split, "validate"} if split == "val" else {split}
    with io.StringIO(_text(path), newline="") as file:
        rows = csv.DictReader(file)
        needed = ("label", "youtube_id", "time_start", "time_end", "split")
        lacking = [name for name in needed if name not in (rows.fieldnames or [])]
        if lacking:
            message = f"{path}: expected the columns {','.join(needed)}, but {', '.join(lacking)} is not in line 1"
            raise UserValueError(message)
        for row in rows:
            if row["split"] not in wanted:
                continue
            if not row["label"] or not row["youtube_id"]:
                message = f"{path}, line {rows.line_num}: expected a label and a youtube_id, but came {row}"
                raise UserValueError(message)
            try:
                start, end = float(row["time_start"]), float(row["time_end"])
                file_name = f"{row['youtube_id']}_{int(start):06}_{int(end):06}.mp4"
            except (TypeError, ValueError, OverflowError) as error:
                message = f"{path}, line {rows.line_num}: time_start and time_end have to be seconds, but came {row}"
                raise UserValueError(message) from error
            # As annotated; with underscores, as some archives name the folders; or without folders, as CVDF packs them.
            label = row["label"]
            candidates = [f"{label}/{file_name}", f"{label.replace(' ', '_')}/{file_name}", file_name]
            for candidate in candidates:
                _inside(root, f"{split}/{candidate}", path, rows.line_num)
            there = next((name for name in candidates if name in have), None)
            _add(listing, there and f"{split}/{there}", f"{split}/{candidates[0]}", label, end - start)
    return listing


def _from_list(root: Path, split: str, path: Path) -> Listing:
    """Lines of `path label`, split from the right, as paths may hold spaces."""
    listing = Listing([], [], [], [])
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        name = name.strip()
        if not name:
            message = f"{path}, line {number}: expected a path, a space and a class, but got {line!r}"
            raise UserValueError(message)
        name = _inside(root, name, path, number)
        there = next((n for n in (name, f"{split}/{name}") if (root / n).exists()), None)
        _add(listing, there, name, label, None)
    return listing


def _add(listing: Listing, there: str | None, name: str, label: str, seconds: float | None) -> None:
    if there is None:
        listing.missing.append(name)
        return
    listing.names.append(there)
    listing.labels.append(label)
    listing.seconds.append(seconds)


def _inside(root: Path, name: str, source: Path, line: int) -> str:
    """Give a path relative to the root, and refuse one that leads out of it."""
    given = name.replace("\\", "/")
    absolute = os.path.normpath(root.absolute() / given)
    home = os.path.normpath(root.absolute())
    if "\0" in given or not PurePosixPath(absolute).is_relative_to(home) or absolute == home:
        message = (
            f"{source}, line {line}: {name!r} points outside of {home}. Nothing outside of the data set's folder "
            "is read: correct the line, or name a folder above as --data.root"
        )
        raise UserValueError(message)
    return PurePosixPath(absolute).relative_to(home).as_posix()


def find_classes(root: Path, annotations: str | None) -> list[str]:
    """Name the classes; a class's position is its index.

    Args:
        root: The data set's folder.
        annotations: As for `find_split`.

    Returns:
        For class folders those of train/ (where there is none, of val/, else of test/), for a csv file the labels in
        it, both alphabetically; for lists with class numbers all numbers up to the largest, called as the folder
        that all videos of the class lie in where each class has one of its own.

    Raises:
        FileNotFoundError: No annotation file.
    """
    if annotations is None:
        return next((names for split in _SPLITS if (names := class_folders(root / split))), [])
    files = []
    for split in _SPLITS:
        try:
            files.append(_annotation_file(root, split, annotations))
        except FileNotFoundError:
            continue
    if not files:
        _annotation_file(root, _SPLITS[0], annotations)
    if files[0].suffix.lower() == ".csv":
        return sorted(_csv_labels(files))
    rows = [row.rpartition(" ") for path in files for row in _lines(path)]
    labels = {label for _, _, label in rows}
    if not is_numbered(labels):
        return sorted(labels)
    folders: dict[int, set[str]] = {}
    for name, _, label in rows:
        folders.setdefault(int(label), set()).add(PurePosixPath(name.strip()).parent.name)
    own = {next(iter(found)) for found in folders.values() if len(found) == 1} - {""}
    named = len(own) == len(folders)
    return [min(folders[n]) if named and n in folders else str(n) for n in range(max(folders) + 1)]


def class_indices(listing: Listing, classes: Sequence[str], annotations: str | None) -> list[int]:
    """Give each video its class's index.

    Raises:
        ValueError: A class that `classes` does not have.
    """
    if annotations is not None and not annotations.lower().endswith(".csv") and is_numbered(set(listing.labels)):
        return [int(label) for label in listing.labels]
    index = {name: place for place, name in enumerate(classes)}
    others = sorted(set(listing.labels) - set(index))
    if others:
        message = (
            f"{len(others)} classes of these videos are none of the {len(classes)} training classes: "
            f"{', '.join(others[:5])}. Every split needs the same class names."
        )
        raise UserValueError(message)
    return [index[label] for label in listing.labels]


def is_numbered(labels: set[str]) -> bool:
    """Whether all of some labels are whole numbers from 0."""
    return bool(labels) and all(label.isascii() and label.isdigit() for label in labels)


def _csv_labels(files: Sequence[Path]) -> set[str]:
    labels = set()
    for path in dict.fromkeys(files):
        with io.StringIO(_text(path), newline="") as file:
            labels |= {row.get("label") or "" for row in csv.DictReader(file)}
    return labels - {""}


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: annotations have to be text in UTF-8, this file is not: {error}"
        raise UserValueError(message) from error
    if "\0" in text:
        message = f"{path}: annotations have to be text, this file has zero bytes"
        raise UserValueError(message)
    return text


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]
