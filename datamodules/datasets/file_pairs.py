"""Pair the images and masks of user-provided folders by stem, by patterns or by a table, and split them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.file_splits import Shares, by_lists
from pcpad.datamodules.datasets.file_tables import SPLITS, find_below, find_table, read_table
from pcpad.datamodules.reading.folders import look_for_images
from pcpad.datamodules.reading.images import SUFFIXES
from pcpad.datamodules.reading.listing import say_passed_over
from pcpad.errors import UserFileNotFoundError, UserValueError

__all__ = ["LAYOUTS", "Layout", "find_pairs"]

LAYOUTS = (
    ("{split}/images", "{split}/labels"),
    ("{split}/images", "{split}/masks"),
    ("{split}/images", "{split}/annotations"),
    ("images/{split}", "labels/{split}"),
    ("images/{split}", "masks/{split}"),
    ("images/{split}", "annotations/{split}"),
    ("img_dir/{split}", "ann_dir/{split}"),
    ("{split}", "{split}annot"),
    ("{split}", "{split}_labels"),
    ("{split}", "{split}_masks"),
    ("{split}_images", "{split}_masks"),
    ("{split}_images", "{split}_labels"),
    ("images", "labels"),
    ("images", "masks"),
    ("images", "annotations"),
    ("JPEGImages", "SegmentationClass"),
)
"""The usual folders of images and masks, which are looked for if no patterns are given."""
_ENDINGS = ("_mask", "-mask", "_masks", "_label", "-label", "_labels", "_gt", "-gt", "_seg", "_segmentation", "_L")
"""Usual suffixes of mask names after their image's stem, used if no pattern is given."""
_PLACE = re.compile(r"\{(\w+)\}")
_SHOWN = 3


class Layout(NamedTuple):
    """Where images and masks are.

    Attributes:
        root: The data set's folder.
        images: A pattern below it, see `find_pairs`; None: one of `LAYOUTS`.
        masks: Likewise, for the masks.
        annotations: A table of pairs instead; `{split}` in its path stands for a split's name. None: no table.
        columns: The names of the table's columns, by role.
        roots: Further folders to look for the table's files in.
        lists: Lists of stems, one file per split, with `{split}` in the path; None: no lists.
        mask: The word for masks in messages.
    """

    root: Path
    images: str | None = None
    masks: str | None = None
    annotations: str | None = None
    columns: Mapping[str, str] = {}
    roots: Sequence[Path] = ()
    lists: str | None = None
    mask: str = "mask"


Note = Callable[[str, str, str], None]


def find_pairs(layout: Layout, shares: Shares, note: Note | None = None) -> dict[str, list[Pair]]:
    """Pair images with masks, and assign the pairs to splits.

    In a pattern, `{split}` stands for a split's name, `{stem}` for the part that an image and its mask have in common,
    folders included, and any other `{word}` for a further common part. A pattern without `{stem}` at its end is a
    folder: each picture in it counts, and its stem is its name without the extension.

    Args:
        layout: Where they are.
        shares: How to split them if neither folders, nor lists, nor the table define splits.
        note: Called for each file that is unpaired, a second one of its stem, or ignored, with its path, the problem
            and a detail; the other files are paired. None: the first two raise an error, and the third warns.

    Returns:
        The pairs by split, `train`, `val` and `test`, sorted; paths below the root are relative to it.

    Raises:
        FileNotFoundError: No folder, no files, or no pair; says what was expected.
        ValueError: Images without masks, masks without images, two files of one stem, or an empty split.
    """
    if not layout.root.is_dir():
        message = f"No such folder: {layout.root.absolute()}\n{_expected(layout)}"
        raise UserFileNotFoundError(message)
    found = _by_table(layout) if layout.annotations is not None else _by_patterns(layout, note)
    if layout.lists is not None:
        everything = [pair for pairs in found.values() for pair in pairs]
        found = by_lists(everything, find_table(layout.lists, layout.root, "lists"), _stem)
    return shares.divide(found, layout.root)


def _stem(pair: Pair) -> str:
    return pair.image.rpartition(".")[0]


# By a table


def _by_table(layout: Layout) -> dict[str, list[Pair]]:
    assert layout.annotations is not None
    found: dict[str, list[Pair]] = {}
    for split, path in find_table(layout.annotations, layout.root).items():
        rows = read_table(path, ("image", "mask"), () if split else ("split",), layout.columns)
        roots = [layout.root, path.parent, *layout.roots]
        images = find_below(roots, [(row, row.cells["image"]) for row in rows])
        masks = find_below(roots, [(row, row.cells["mask"]) for row in rows])
        first: dict[str, int] = {}
        for row, image, mask in zip(rows, images, masks, strict=True):
            if image in first:
                message = f"{path}, line {row.line}: {row.cells['image']} was already named in line {first[image]}"
                raise UserValueError(message)
            first[image] = row.line
            found.setdefault(split or row.split(), []).append(
                Pair(_below(layout.root, image), _below(layout.root, mask))
            )
    return found


def _below(root: Path, path: str) -> str:
    home = root.absolute()
    return Path(path).relative_to(home).as_posix() if Path(path).is_relative_to(home) else path


# By patterns


def _by_patterns(layout: Layout, note: Note | None) -> dict[str, list[Pair]]:
    if (layout.images is None) != (layout.masks is None):
        given = "masks" if layout.images is None else "images"
        message = f"--data.images and --data.masks must be given together, but only `{given}` is. {_expected(layout)}"
        raise UserValueError(message)
    images, masks = _usual(layout) if layout.images is None else (layout.images, layout.masks or "")
    for name, pattern in (("images", images), ("masks", masks)):
        if pattern.startswith(("/", "~")) or ".." in Path(pattern).parts:
            message = f"Expected argument `{name}` to be a pattern below `root`, but got {pattern!r}"
            raise UserValueError(message)
    if ("{split}" in images) != ("{split}" in masks):
        message = f"{{split}} must be in both patterns or in none, but got {images!r} and {masks!r}"
        raise UserValueError(message)
    if "{split}" not in images:
        return {"": _pairs_of(layout, images, masks, note)}
    found: dict[str, list[Pair]] = {}
    for split, names in SPLITS.items():
        for name in _spellings(names):
            of_split = [pattern.replace("{split}", name) for pattern in (images, masks)]
            if (layout.root / _fixed(of_split[0])).is_dir():
                found[split] = _pairs_of(layout, of_split[0], of_split[1], note)
                break
    if not found:
        at = layout.root.absolute() / _fixed(images)
        message = f"No such folder: {at} ({{split}} is train, val or test).\n{_expected(layout)}"
        raise UserFileNotFoundError(message)
    return found


def _spellings(names: Sequence[str]) -> list[str]:
    return [spelled for name in names for spelled in (name, name.capitalize(), name.upper())]


def _usual(layout: Layout) -> tuple[str, str]:
    """The first of the usual layouts that exists."""
    for images, masks in LAYOUTS:
        for name in [spelled for names in SPLITS.values() for spelled in _spellings(names)]:
            if all((layout.root / part.replace("{split}", name)).is_dir() for part in (images, masks)):
                return images, masks
            if "{split}" not in images:
                break
    beside = _side_by_side(layout.root)
    if beside is not None:
        return beside
    message = (
        f"No folders of images and {layout.mask}s of a usual name below {layout.root.absolute()}, which holds "
        f"{_contents(layout.root)}.\n{_expected(layout)}"
    )
    raise UserFileNotFoundError(message)


def _side_by_side(folder: Path) -> tuple[str, str] | None:
    """Patterns for images and masks in the same folder: `a.jpg`, `a_mask.png`."""
    files = [Path(name) for name in sorted(os.listdir(folder)) if name.lower().endswith(SUFFIXES)]  # noqa: PTH208
    by_stem = {file.stem: file for file in files}
    for ending in _ENDINGS:
        for file in files:
            image = by_stem.get(file.stem.removesuffix(ending))
            if file.stem.endswith(ending) and image is not None:
                return f"{{stem}}{image.suffix}", f"{{stem}}{ending}{file.suffix}"
    return None


def _contents(folder: Path) -> str:
    names = sorted(f"{each.name}/" if each.is_dir() else each.name for each in folder.iterdir())
    return (", ".join(names[:8]) + (", …" if len(names) > 8 else "")) or "nothing"


def _expected(layout: Layout) -> str:
    usual = "\n".join(f"    {images}    {masks}" for images, masks in LAYOUTS)
    return (
        f"Expected images and {layout.mask}s of the same names, except for extensions, in folders such as\n{usual}\n"
        "({split} is train, val or test); or patterns: --data.images '{split}/images/{stem}.jpg' --data.masks "
        "'{split}/labels/{stem}.png'; or a table: --data.annotations pairs.csv with the columns image and mask."
    )


def _fixed(pattern: str) -> str:
    """The folders before a pattern's first placeholder."""
    parts = Path(pattern if _has_stem(pattern) else f"{pattern}/{{stem}}").parent.parts
    fixed = next((at for at, part in enumerate(parts) if "{" in part), len(parts))
    return "/".join(parts[:fixed])


def _has_stem(pattern: str) -> bool:
    return "{stem}" in pattern


def _pairs_of(layout: Layout, images: str, masks: str, note: Note | None) -> list[Pair]:
    if images == masks:
        message = f"`images` and `masks` are the same pattern {images!r}: which file is which?"
        raise UserValueError(message)
    image_files = _matching(layout, images, "images", _expression(masks), note)
    mask_files = _matching(layout, masks, f"{layout.mask}s", _expression(images), note)
    at_images, at_masks = layout.root.absolute() / images, layout.root.absolute() / masks
    if not image_files.keys() & mask_files.keys() and not _has_stem(masks):
        longer = {(stem.removesuffix(ending),): ending for stem, *_ in mask_files for ending in _ENDINGS}
        ending = next((longer[key] for key in image_files if key in longer), None)
        if ending is not None:
            return _pairs_of(layout, images, f"{masks.rstrip('/')}/{{stem}}{ending}.*", note)
    if not image_files.keys() & mask_files.keys():
        examples = [next(iter(files.values())) for files in (image_files, mask_files)]
        message = (
            f"No image has a {layout.mask} of its stem: {len(image_files)} images as {at_images} (such as "
            f"{examples[0]}) and {len(mask_files)} {layout.mask}s as {at_masks} (such as {examples[1]}). Give "
            "patterns with the common part of their names: --data.images 'images/{stem}.jpg' --data.masks "
            "'masks/{stem}_mask.png'"
        )
        raise UserFileNotFoundError(message)
    for what, have, lack, where in (
        ("images", image_files, mask_files, f"{layout.mask} {masks}"),
        (f"{layout.mask}s", mask_files, image_files, f"image {images}"),
    ):
        alone = sorted(name for key, name in have.items() if key not in lack)
        if note is not None:
            for name in alone:
                note(name, "missing", f"no {where} of its stem")
        elif alone:
            message = (
                f"{len(alone)} of {len(have)} {what} below {layout.root.absolute()} have no {where}: {_some(alone)}. "
                "Add what is missing, move these elsewhere, or list the pairs in a table (--data.annotations)"
            )
            raise UserValueError(message)
    return [Pair(image_files[key], mask_files[key]) for key in sorted(image_files.keys() & mask_files.keys())]


def _matching(
    layout: Layout, pattern: str, what: str, also: re.Pattern[str], note: Note | None
) -> dict[tuple[str, ...], str]:
    """Files that match a pattern, by the values of its placeholders; files that match `also` are allowed among them."""
    fixed = _fixed(pattern)
    folder = layout.root / fixed
    if not folder.is_dir():
        message = f"No such folder: {folder.absolute()}, which should hold {what}.\n{_expected(layout)}"
        raise UserFileNotFoundError(message)
    contents = look_for_images(folder)
    prefix = f"{fixed}/" if fixed and fixed != "." else ""
    named = [prefix + name for name in contents.names]
    whole = _expression(pattern)
    found: dict[tuple[str, ...], str] = {}
    unfit = []
    for name in named:
        match = whole.fullmatch(name)
        if match is None:
            if not also.fullmatch(name):
                unfit.append((name.removeprefix(prefix), f"its name does not fit {pattern}"))
            continue
        key = tuple(match[place] for place in sorted(match.groupdict()))
        if key in found and note is not None:
            note(name, "twice", f"{found[key]} has the same stem")
        elif key in found:
            message = (
                f"Two files of one stem among the {what} below {folder.absolute()}: {found[key]} and {name}. Remove "
                f"one of them, or choose one by its extension: '{{stem}}{Path(name).suffix}'"
            )
            raise UserValueError(message)
        found.setdefault(key, name)
    if not found:
        there = f", but {len(named)} others such as {named[0]}" if named else f" ({', '.join(SUFFIXES[:7])}, …)"
        message = f"No {what} as {layout.root.absolute() / pattern}{there}.\n{_expected(layout)}"
        raise UserFileNotFoundError(message)
    others = [*unfit, *contents.others]
    if note is None:
        say_passed_over(folder, others, what)
        return found
    for name, reason in others:
        note(prefix + name, "unused", reason)
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    """A regular expression with a pattern's placeholders as named groups."""
    pattern = pattern if _has_stem(pattern) else f"{pattern.rstrip('/')}/{{stem}}.*"
    if pattern.endswith("{stem}"):
        pattern += ".*"
    any_ending = pattern.endswith(".*")
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{'.+' if name == 'stem' else '[^/]+'})"

    parts: list[str] = []
    at = 0
    text = pattern.removesuffix(".*").lstrip("/")
    for match in _PLACE.finditer(text):
        parts += [_literal(text[at : match.start()]), group(match)]
        at = match.end()
    parts.append(_literal(text[at:]))
    return re.compile("".join(parts) + (r"\.[^./]+" if any_ending else ""))


def _literal(text: str) -> str:
    return "[^/]*".join(map(re.escape, text.split("*")))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
