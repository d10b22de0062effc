"""Split files into training, validation and test by lists, or by shares that keep groups together."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.utilities import rank_zero_info

from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.file_tables import read_lines
from pcpad.datamodules.datasets.folds import group_of
from pcpad.errors import UserValueError

__all__ = ["Shares", "by_lists"]

_SHOWN = 3


class Shares(NamedTuple):
    """How to divide files without a split.

    Attributes:
        val: Share for validation, in [0, 1).
        test: Share for test, in [0, 1); 0: none.
        seed: Seed of the division.
        group: A regular expression; files stay together if it matches the same text (its groups, if it has any) in
            their image's path. None: each file by itself.
    """

    val: float = 0.2
    test: float = 0.0
    seed: int = 0
    group: str | None = None

    def divide(self, found: Mapping[str, Sequence[Pair]], root: Path) -> dict[str, list[Pair]]:
        """Assign splits to pairs without one, and hold out part of training if there is no validation split.

        Args:
            found: Pairs by split; those without a split under `""`.
            root: For messages.

        Returns:
            `train`, `val` and `test`; the latter is empty unless asked for.

        Raises:
            ValueError: An empty split, or too few groups.
        """
        splits = {split: list(found.get(split, ())) for split in ("train", "val", "test")}
        rest = list(found.get("", ()))
        if rest:
            parts = self._divided(
                rest, self.val if not splits["val"] else 0, self.test if not splits["test"] else 0, root
            )
            for split, pairs in parts.items():
                splits[split] += pairs
        elif splits["train"] and not splits["val"]:
            parts = self._divided(splits["train"], self.val, 0, root)
            rank_zero_info(
                f"{root} has no validation images: {len(parts['val'])} of {len(splits['train'])} training images "
                f"are held out (--data.val_share {self.val})"
            )
            splits |= {split: parts[split] for split in ("train", "val")}
        return {split: sorted(pairs) for split, pairs in splits.items()}

    def _divided(self, pairs: list[Pair], val: float, test: float, root: Path) -> dict[str, list[Pair]]:
        groups: dict[str, list[Pair]] = {}
        for pair in pairs:
            groups.setdefault(group_of(self.group, pair.image), []).append(pair)
        wanted = {split: share for split, share in (("val", val), ("test", test)) if share > 0}
        if len(groups) <= len(wanted):
            what = f"groups (by --data.group {self.group!r})" if self.group else "pairs of image and mask"
            message = (
                f"{len(pairs)} files below {root.absolute()} make {len(groups)} {what}, too few for training, "
                f"{' and '.join(wanted)}: each needs at least one"
            )
            raise UserValueError(message)
        # By a checksum instead of the position: otherwise one additional file would move half of the others.
        order = sorted(
            groups, key=lambda name: (zlib.crc32(f"{self.seed}/{name}".encode("utf-8", "surrogateescape")), name)
        )
        parts: dict[str, list[Pair]] = {"train": [], "val": [], "test": []}
        for split, share in wanted.items():
            # Whole groups until the share is reached, leaving one for training and for each further split.
            reserve = 1 + sum(not parts[other] for other in wanted if other != split)
            while len(order) > reserve and (not parts[split] or len(parts[split]) < round(share * len(pairs))):
                parts[split] += groups[order.pop(0)]
        parts["train"] = [pair for name in order for pair in groups[name]]
        return parts


def by_lists(pairs: Sequence[Pair], lists: Mapping[str, Path], stem: Callable[[Pair], str]) -> dict[str, list[Pair]]:
    """Split pairs by lists of their names.

    Args:
        pairs: All of them.
        lists: The file of each split: one image path, name or stem per line.
        stem: Returns a pair's stem, folders included.

    Returns:
        The listed pairs, by split.

    Raises:
        ValueError: A name matches no pair or several, or is in two lists.
    """
    if "" in lists:
        message = f"--data.lists {lists['']} must name one list per split: put {{split}} into its path"
        raise UserValueError(message)
    known: dict[str, set[Pair]] = {}
    for pair in pairs:
        for name in _names(pair.image, stem(pair)):
            known.setdefault(name, set()).add(pair)
    found: dict[str, list[Pair]] = {}
    taken: dict[Pair, str] = {}
    for split, path in lists.items():
        unknown = []
        for number, line in enumerate(read_lines(path), 1):
            # Some lists also name the mask, after the image.
            name = line if line in known else line.split()[0].removeprefix("./").lstrip("/")
            matches = known.get(name) or known.get(name.rpartition(".")[0]) or set()
            if len(matches) != 1:
                unknown.append(f"line {number}: {line}" + (f" ({len(matches)} images)" if matches else ""))
                continue
            (pair,) = matches
            if pair in taken:
                message = f"{path}, line {number}: {pair.image} is already listed for {taken[pair]}"
                raise UserValueError(message)
            taken[pair] = split
            found.setdefault(split, []).append(pair)
        if unknown:
            more = f", … ({len(unknown)} in all)" if len(unknown) > _SHOWN else ""
            message = (
                f"{path} lists names of no image (images are {pairs[0].image}, …): {'; '.join(unknown[:_SHOWN])}{more}"
            )
            raise UserValueError(message)
        if split not in found:
            message = f"{path} lists nothing for {split}: expected one name per line"
            raise UserValueError(message)
    return found


def _names(image: str, stem: str) -> set[str]:
    """The names by which a list may refer to an image."""
    return {image, stem, image.rpartition("/")[2], stem.rpartition("/")[2]}
