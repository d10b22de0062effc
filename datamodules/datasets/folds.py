"""k folds: which part of the training files is held out for validation, the same in every run and for every verb."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pcpad.errors import UserValueError

__all__ = ["Fold", "group_of"]


class Fold(NamedTuple):
    """One of k parts of the training files, of equally many files of each class.

    A file that is added, or cannot be read any more, moves others from one part to another.

    Attributes:
        number: Which one, from 1.
        of: How many there are.
        seed: Decides what is in which; not the run's seed, or a test under another one would meet training files.
        group: A regular expression; files in whose name it finds the same (its groups, if it has any, else all of it)
            stay together. None: each file by itself.
    """

    number: int
    of: int
    seed: int = 0
    group: str | None = None

    @classmethod
    def parse(cls, text: str, seed: int = 0, group: str | None = None) -> Fold:
        """Read `2/5`.

        Args:
            text: Which fold of how many.
            seed: See the class.
            group: See the class.

        Returns:
            The fold.

        Raises:
            UserValueError: It is written otherwise, or there is no such fold; a group that is no regular expression.

        Example:
            >>> Fold.parse("2/5")[:2]
            (2, 5)
        """
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", str(text))
        if match is None or int(match[2]) < 2 or not 1 <= int(match[1]) <= int(match[2]):
            message = f"Expected argument `fold` to be which one of how many, 1/5 to 5/5 for five, but got {text!r}"
            raise UserValueError(message)
        try:
            re.compile(group or "")
        except re.error as error:
            message = f"Expected argument `group` to be a regular expression, but got {group!r}: {error}"
            raise UserValueError(message) from error
        return cls(int(match[1]), int(match[2]), seed, group)

    def held_out(self, names: Sequence[str], labels: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Choose the files that this fold holds out.

        Args:
            names: Of the training files, the same whatever the folder is called that they lie in.
            labels: Their classes, over which each fold is spread evenly; None: there are none.

        Returns:
            (files,) bool: True for validation. The folds' are disjoint and together all files.

        Raises:
            UserValueError: Fewer groups than folds, or a name that `group` finds nothing in.
        """
        groups = [group_of(self.group, name) for name in names]
        classes = [0] * len(names) if labels is None else [int(label) for label in labels]
        kinds = dict(zip(reversed(groups), reversed(classes), strict=True))  # a group's first file names its class
        if len(kinds) < self.of:
            what = f"groups (by `group` {self.group!r})" if self.group else "training files"
            message = f"{len(kinds)} {what} cannot make {self.of} folds: each needs one at least"
            raise UserValueError(message)
        # By a checksum, so that the order says nothing; class by class, so that each fold has of all of them.
        order = sorted(kinds, key=lambda name: (kinds[name], zlib.crc32(_bytes(f"{self.seed}/{name}")), name))
        mine = set(order[self.number - 1 :: self.of])
        return np.asarray([group in mine for group in groups], dtype=bool)


def group_of(pattern: str | None, name: str) -> str:
    """What a file's name has in common with those that are to stay together with it.

    Args:
        pattern: A regular expression; what it finds (its groups, if it has any, else all of it) is in common. None:
            each file stands by itself.
        name: The file's.

    Returns:
        The same text for all files of a group.

    Raises:
        UserValueError: It finds nothing.

    Example:
        >>> group_of("^[^_]+", "drive3_0012.png")
        'drive3'
    """
    if pattern is None:
        return name
    match = re.search(pattern, name)
    if match is None:
        message = (
            f"--data.group {pattern!r} finds nothing in {name}: expected a regular expression that finds in each "
            "file's name what its group has in common, such as '^[^_]+' for the name up to the first _"
        )
        raise UserValueError(message)
    return "\0".join(part or "" for part in match.groups()) if match.re.groups else match[0]


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
