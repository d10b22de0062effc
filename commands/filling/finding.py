"""Which pictures are filled, which mask belongs to each, and where its result goes."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pcpad.datamodules.reading.folders import find_images
from pcpad.errors import UserError, UserFileNotFoundError, UserValueError
from pcpad.files import fitting_name, refuse_irregular

__all__ = ["Found", "Job", "Masks", "find_jobs"]


@dataclass(frozen=True)
class Masks:
    """Where the masks of pictures are.

    Args:
        given: A folder of masks, or one file for all; None for files beside the pictures.
        suffix: What stands behind a picture's name in that of its mask: `_mask`.
        needed: False where masks are made from the pictures themselves.
    """

    given: Path | None
    suffix: str
    needed: bool = True


@dataclass(frozen=True)
class Job:
    """A picture to be filled.

    Args:
        source: Its file.
        name: Of its result, relative to the output folder, without an ending.
        mask: Its mask's file; None where it is made from the picture.
    """

    source: Path
    name: str
    mask: Path | None


@dataclass
class Found:
    """The pictures to be filled, and notes.

    Attributes:
        jobs: The pictures.
        failures: What cannot be used and why, a line each.
        notes: What else there is to say.
    """

    jobs: list[Job] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_jobs(pictures: Sequence[Path], masks: Masks, output: Path) -> Found:
    """List pictures with their masks and the names of their results.

    Args:
        pictures: Files, and folders, which are looked through with all folders in them but `output` and the masks'.
        masks: Where the masks are.
        output: The folder of the results.

    Returns:
        The jobs, in the order given and by name, each picture once; and a line on each file that is none.

    Raises:
        UserFileNotFoundError: There are no pictures, or no masks.
    """
    found = Found()
    sources = _sources(pictures, masks, output, found)
    if not sources:
        lines = "".join(f"\n  {failure}" for failure in found.failures[:10])
        message = f"There is no picture to fill in {', '.join(map(str, pictures))}:{lines or ' nothing lies there'}"
        raise UserFileNotFoundError(message)
    of_each = _Matching(masks, found) if masks.needed else None
    taken: set[str] = set()
    stems = Counter(_key(name) for _, name in sources)
    for source, name in sources:
        result = name
        if stems[_key(name)] > 1:
            result = f"{name}_{source.suffix.removeprefix('.')}"
            found.notes.append(f"{source}: another picture has that name too, so its result is {result}")
        while _key(result) in taken:
            result += "_"
        taken.add(_key(result))
        try:
            mask = of_each.mask(source, name) if of_each is not None else None
        except UserError as error:
            found.failures.append(str(error))
            continue
        found.jobs.append(Job(source, result, mask))
    if of_each is not None:
        of_each.say_unused(job.mask for job in found.jobs)
    return found


def _key(name: str) -> str:
    """A key that is equal for names that some file systems take for the same: a and A, é and e with an accent."""
    return unicodedata.normalize("NFC", name).casefold()


def _sources(pictures: Sequence[Path], masks: Masks, output: Path, found: Found) -> list[tuple[Path, str]]:
    """The pictures, each with its name relative to the folder it was found in, without its ending."""
    sources: dict[Path, tuple[Path, str]] = {}
    for given in pictures:
        if given.is_dir():
            _take_folder(given, masks, output, found, sources)
            continue
        try:
            refuse_irregular(given)
            there = given.is_file()
        except OSError as error:
            found.failures.append(str(error))
            continue
        if not there:
            found.failures.append(f"{given}: no such file or folder")
            continue
        sources.setdefault(given.resolve(), (given, _shortened(given.stem)))
    return list(sources.values())


def _take_folder(folder: Path, masks: Masks, output: Path, found: Found, sources: dict[Path, tuple[Path, str]]) -> None:
    try:
        files = find_images(folder)
    except (UserError, OSError) as error:
        found.failures.append(str(error))
        return
    home = folder.resolve()
    others = [output.resolve(), *([masks.given.resolve()] if masks.given is not None else [])]
    # Results and masks that lie within the pictures are no pictures; unless all of them lie there.
    others = [other for other in others if other != home and not home.is_relative_to(other)]
    paths = [files[index] for index in range(len(files))]
    # Without masks of their own, what is called like a picture's mask is one: in a second run, those of the first.
    stems = {(path.parent, path.stem) for path in paths}
    for path in paths:
        real = path.resolve()
        beside = masks.suffix and path.stem.endswith(masks.suffix)
        if any(real.is_relative_to(other) for other in others):
            continue
        if beside and (path.parent, path.stem.removesuffix(masks.suffix)) in stems:
            continue
        relative = path.relative_to(folder).with_suffix("")
        name = (relative.parent / _shortened(relative.name)).as_posix()
        sources.setdefault(real, (path, name))
    found.failures += files.passed_over


def _shortened(stem: str) -> str:
    """A stem that leaves room for an ending in a file's name."""
    return fitting_name(stem, "_mask.tiff").removesuffix("_mask.tiff")


class _Matching:
    """Finds the mask of a picture: next to it, in a folder of masks, or the only file given."""

    def __init__(self, masks: Masks, found: Found) -> None:
        self.masks = masks
        self.found = found
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, list[Path]] = {}
        self.folders: dict[Path, dict[str, list[Path]]] = {}
        given = masks.given
        if given is None:
            return
        if not given.is_dir():
            refuse_irregular(given)
            if not given.is_file():
                message = f"{given}: no such file or folder of masks (--masks)"
                raise UserFileNotFoundError(message)
            return
        files = find_images(given)
        self.found.failures += files.passed_over
        for index in range(len(files)):
            path = files[index]
            self.by_name.setdefault(path.relative_to(given).with_suffix("").as_posix(), []).append(path)
            self.by_stem.setdefault(path.stem, []).append(path)

    def mask(self, source: Path, name: str) -> Path:
        """The mask of one picture.

        Raises:
            UserValueError: It has none, or several.
        """
        given, suffix = self.masks.given, self.masks.suffix
        if given is None:
            files = self._beside(source.parent).get(source.stem + suffix, [])
            where = f"beside it ({source.stem}{suffix}.*)"
        elif not given.is_dir():
            return given
        else:
            stem = name.rpartition("/")[2]
            # With the suffix first: results lie beside the masks that were written with them.
            tries = [(self.by_name, name + suffix), (self.by_name, name)]
            tries += [(self.by_stem, stem + suffix), (self.by_stem, stem)]
            files = next((table[key] for table, key in tries if key in table), [])
            where = f"in {given} ({stem}.* or {stem}{suffix}.*)"
        if not files:
            way = "pass --masks FILE, or let --mask_from make" if given is None else "--mask_from makes"
            message = f"{source}: there is no mask {where}; {way} one from the picture itself"
            raise UserValueError(message)
        if len(files) > 1:
            message = f"{source}: it has {len(files)} masks: {', '.join(map(str, files))}; keep only one"
            raise UserValueError(message)
        return files[0]

    def _beside(self, folder: Path) -> dict[str, list[Path]]:
        """The files of a folder by their stems, of those that may be masks."""
        if folder not in self.folders:
            table: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()):
                if path.stem.endswith(self.masks.suffix) and path.is_file():
                    table.setdefault(path.stem, []).append(path)
            self.folders[folder] = table
        return self.folders[folder]

    def say_unused(self, used: Iterable[Path | None]) -> None:
        """Note masks that belong to no picture."""
        taken = {path for path in used if path is not None}
        stems = {(path.parent, path.stem.removesuffix(self.masks.suffix)) for path in taken}
        unused = [
            path
            for files in self.by_name.values()
            for path in files
            if path not in taken and (path.parent, path.stem) not in stems
        ]
        if unused:
            names = ", ".join(str(path) for path in unused[:3]) + (", …" if len(unused) > 3 else "")
            number = "1 mask in {} belongs" if len(unused) == 1 else f"{len(unused)} masks in {{}} belong"
            self.found.notes.append(f"{number.format(self.masks.given)} to none of these pictures: {names}")
