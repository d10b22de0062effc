"""Check the files that training and evaluation read: decode each one, and report what is missing.

`CHECKS[name](root, annotations)` lists the checks of a data set.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.file_tables import TableRow, find_below, find_table, read_table
from pcpad.datamodules.datasets.image_folders import split_folder, undivided_classes
from pcpad.datamodules.datasets.kinetics_files import find_classes, find_split, no_data
from pcpad.datamodules.datasets.label_maps import read_checked_ids
from pcpad.datamodules.datasets.panoptic_scenes import instance_of, read_instances
from pcpad.datamodules.datasets.video_lists import Annotations
from pcpad.datamodules.datasets.video_table import BrokenVideo, index_any, note_broken
from pcpad.datamodules.reading.folders import class_folders, look_for_images, outside_of_folders
from pcpad.datamodules.reading.frame_folders import frame_path
from pcpad.datamodules.reading.images import BrokenImageError, read_image
from pcpad.datamodules.reading.listing import Contents
from pcpad.datamodules.reading.names import Names
from pcpad.datamodules.reading.pngs import PngFile
from pcpad.datamodules.reading.video_files import BrokenVideoError, VideoIndex, decode_all
from pcpad.errors import UserFileNotFoundError, UserValueError

_SPLITS = ("train", "val", "test")
# Seconds that a video may be shorter than annotated, and the frames of a clip.
_SHORT_SECONDS, _SHORT_FRAMES = 1.0, 16


class Finding(NamedTuple):
    """A problem with a file.

    Attributes:
        path: The file, relative to the root.
        problem: "broken", "short", "missing", "twice" or "unused".
        detail: The details.
    """

    path: str
    problem: str
    detail: str


class Check(NamedTuple):
    """The checks of a data set.

    Attributes:
        files: The files to call `look` with.
        look: Decodes one file and returns its problems. Picklable.
        known: Problems that are found without decoding.
        note: Called with all findings at the end.
    """

    files: Sequence[str]
    look: Callable[[str], list[Finding]]
    known: list[Finding]
    note: Callable[[list[Finding]], None] = len  # type: ignore[assignment]


def check_kinetics(root: Path, annotations: Annotations | None) -> Check:
    """Check all videos of all splits, and compare them with the annotations if any; see `KineticsDataModule`."""
    find_classes(root, annotations)
    seconds: dict[str, float | None] = {}
    known = []
    for split in _SPLITS:
        if annotations is None and not class_folders(root / split):
            continue
        try:
            listing = find_split(root, split, annotations, may_be_empty=True)
        except FileNotFoundError:
            continue  # folders without videos, or no list for this split
        seconds |= zip(listing.names, listing.seconds, strict=True)
        known += [Finding(name, "missing", f"annotated in {split}, but not found") for name in listing.missing]
        known += _unused("", listing.others)
    if not seconds and not any(found.problem == "missing" for found in known):
        raise UserFileNotFoundError(no_data("No videos in", root, root))
    return Check(list(seconds), partial(_look_at_video, root, seconds), known, partial(_note, root))


def _look_at_video(root: Path, seconds: dict[str, float | None], name: str) -> list[Finding]:
    packed = index_any(root, name)
    if isinstance(packed, str):
        return [Finding(name, "broken", packed)]
    index, path = VideoIndex.unpack(packed), root / name
    if path.is_dir():
        frames = (f"{name}/{frame_path(path, number + 1).name}" for number in range(len(index.pts)))
        return [found for frame in frames for found in _look_at_image(root, frame)] + _short(name, index, None)
    try:
        lost = decode_all(path, index)
    except BrokenVideoError as error:
        return [Finding(name, "broken", str(error).removeprefix(f"{path}: "))]
    if lost:
        return [Finding(name, "broken", f"{lost} of {len(index.pts)} frames are damaged or do not decode")]
    return _short(name, index, seconds[name])


def _short(name: str, index: VideoIndex, annotated: float | None) -> list[Finding]:
    if len(index.pts) < _SHORT_FRAMES:
        return [Finding(name, "short", f"{len(index.pts)} frames, less than a clip of {_SHORT_FRAMES}")]
    lasts = float(index.times[-1])
    if annotated is not None and lasts < annotated - _SHORT_SECONDS:
        return [Finding(name, "short", f"lasts {lasts:.2f} s instead of the annotated {annotated:.2f} s")]
    return []


def _note(root: Path, findings: list[Finding]) -> None:
    """Add problems that only decoding shows to the index, so that evaluations leave these videos out and report it."""
    broken: dict[str, BrokenVideo] = {}
    for finding in findings:
        if finding.problem == "broken":
            path = root / finding.path
            name = finding.path.rpartition("/")[0] if path.name.startswith("image_") else finding.path
            broken[name] = BrokenVideo(name, finding.detail)
    if broken:
        note_broken(root, list(broken.values()))


def _look_at_image(root: Path, name: str) -> list[Finding]:
    try:
        read_image(root / name)
    except BrokenImageError as error:
        return [Finding(name, "broken", str(error).removeprefix(f"{root / name}: "))]
    return []


def check_imagenet(root: Path, annotations: Annotations | None) -> Check:
    """Check all images of all class folders, and report classes that a split lacks; see `ImageNetDataModule`.

    With annotations, check all images that the table names.
    """
    if annotations is not None:
        return _check_image_table(root, annotations)
    found = {split_folder(root, split).name: class_folders(split_folder(root, split)) for split in _SPLITS}
    classes = next((names for names in found.values() if names), None)
    if classes is None:
        classes = undivided_classes(root)
        found = {".": classes}
    if not classes:
        message = f"no class folders in {', '.join(str(root.absolute() / split) for split in _SPLITS)}"
        raise UserFileNotFoundError(message)
    files, known = [], []
    for split, names in found.items():
        folder = f"{split}/".removeprefix("./")
        for name in names:
            images, others = look_for_images(root / split / name)
            known += _unused(f"{folder}{name}/", others)
            files += [f"{folder}{name}/{image}" for image in images]
            if not images:
                known.append(Finding(f"{folder}{name}", "missing", "a class folder without images"))
        if names:
            known += _unused(folder, outside_of_folders(root / split))
            known += [
                Finding(f"{folder}{name}", "missing", f"a class of {split if name in names else 'other splits'} only")
                for name in sorted(set(names) ^ set(classes))
            ]
    return Check(files, partial(_look_at_image, root), known)


def _check_image_table(root: Path, table: Annotations) -> Check:
    known: list[Finding] = []
    first: dict[str, TableRow] = {}
    classes: dict[str, set[str]] = {}
    for split, path in find_table(table.path, root).items():
        for row in read_table(path, ("image", "label"), () if split else ("split",), table.columns):
            name, label, line = row.cells["image"], row.cells["label"], f"{path.name}, line {row.line}"
            try:
                (file,) = find_below([root, path.parent, *table.roots], [(row, name)])
            except UserFileNotFoundError:
                known.append(Finding(name, "missing", f"named in {line}, but not found"))
                continue
            except UserValueError as error:  # it is outside of the folders
                known.append(Finding(name, "missing", str(error)))
                continue
            if file in first:
                other = first[file]
                was = other.cells["label"]
                classes_differ = f", with class {was} there and {label} here" * (was != label)
                known.append(Finding(name, "twice", f"named in {line} and in {_line_of(other)}{classes_differ}"))
                continue
            first[file] = row
            classes.setdefault(split or row.split(), set()).add(label)
    for split in set(classes) - {"train", ""} if "train" in classes else ():
        extra = sorted(classes[split] - classes["train"])
        known += [Finding(label, "missing", f"a class of {split} without training images") for label in extra]
    home = root.absolute()
    files = [Path(file).relative_to(home).as_posix() if Path(file).is_relative_to(home) else file for file in first]
    if root.is_dir():
        images, others = look_for_images(root)
        used = set(files)
        known += _unused("", [(name, "an image that the table does not name") for name in images if name not in used])
        known += _unused("", [(name, reason) for name, reason in others if (root / name).name != Path(table.path).name])
    return Check(files, partial(_look_at_image, root), known)


def _line_of(row: TableRow) -> str:
    return f"{row.source.name}, line {row.line}"


def check_photos(root: Path, annotations: Annotations | None) -> Check:
    """Check all images below a folder, such as Places2 or a folder of photographs."""
    files, others = look_for_images(root) if root.is_dir() else Contents(Names(), [])
    if not files:
        message = f"no images below {root.absolute()}"
        raise UserFileNotFoundError(message)
    return Check(files, partial(_look_at_image, root), _unused("", others))


def _unused(prefix: str, others: Sequence[tuple[str, str]]) -> list[Finding]:
    return [Finding(prefix + name, "unused", reason) for name, reason in others]


def check_cityscapes(root: Path, annotations: Annotations | None) -> Check:
    """Check all images, label maps and instance maps: values, sizes, pairs; see `CityscapesPanopticDataModule`."""
    pictures, others = look_for_images(root) if root.is_dir() else Contents(Names(), [])
    stems: dict[str, dict[str, str]] = {"leftImg8bit": {}, "gtFine": {}, "gtCoarse": {}}
    for name in pictures:
        base = name.rsplit("/", 1)[-1]
        for kind, ending in (("leftImg8bit", ".png"), ("gtFine", "_labelIds.png"), ("gtCoarse", "_labelIds.png")):
            if base.lower().endswith(f"_{kind}{ending}".lower()):
                stems[kind][base[: -len(f"_{kind}{ending}")]] = name
    images = stems["leftImg8bit"]
    if not images:
        message = f"no *_leftImg8bit.png below {root.absolute()}"
        raise UserFileNotFoundError(message)
    pairs, known = {}, []
    for kind in ("gtFine", "gtCoarse"):
        for stem, label in stems[kind].items():
            if stem in images:
                pairs[label] = images[stem]
            else:
                known.append(Finding(label, "missing", f"there is no image {stem}_leftImg8bit.png for this label"))
    labeled = set(stems["gtFine"]) | set(stems["gtCoarse"])
    known += [
        Finding(name, "missing", "there is no label map for this image")
        for stem, name in images.items()
        if stem not in labeled and "/test/" not in name
    ]
    there = set(pictures)
    instances = {label: instance_of(label) for label in stems["gtFine"].values()}
    if there & set(instances.values()):  # segmentation needs none
        known += [
            Finding(name, "missing", "there is no such file next to the label map")
            for name in instances.values()
            if name not in there
        ]
    instances = {label: name for label, name in instances.items() if name in there and label in pairs}
    files = [*images.values(), *pairs, *instances.values()]
    known += _unused(
        "", _unused_scenes(pictures, others, {*files, *stems["gtFine"].values(), *stems["gtCoarse"].values()})
    )
    return Check(files, partial(_look_at_scene, root, pairs, {name: label for label, name in instances.items()}), known)


def _unused_scenes(pictures: Sequence[str], others: Sequence[tuple[str, str]], used: set[str]) -> list[tuple[str, str]]:
    """Unknown files in the folders of images and labels; other folders are not checked."""
    rooms = {"leftImg8bit", "gtFine", "gtCoarse"}
    ours = [name for name in pictures if name not in used and not re.search(r"_gt(fine|coarse)_[^/]*$", name.lower())]
    found = [*((name, "not a name of Cityscapes' images and labels") for name in ours), *others]
    return [(name, reason) for name, reason in found if rooms & set(name.split("/")[:-1])]


def _look_at_scene(root: Path, pairs: dict[str, str], labels: dict[str, str], name: str) -> list[Finding]:
    try:
        if name in pairs:
            read_checked_ids(root, Pair(pairs[name], name))
        elif name in labels:
            read_instances(root / labels[name], root / name)
        else:
            PngFile(root / name).rgb()
    except ValueError as error:
        return [Finding(name, "broken", str(error).removeprefix(f"{root / name}: "))]
    return []


CHECKS: dict[str, Callable[[Path, Annotations | None], Check]] = {
    "cityscapes": check_cityscapes,
    "imagenet": check_imagenet,
    "kinetics": check_kinetics,
    "photos": check_photos,
    "places2": check_photos,
}
"""The checks by name; each takes the root and the annotations (None for data sets without them)."""
