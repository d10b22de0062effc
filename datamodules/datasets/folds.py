"""k folds: the part of the training files that is held out for validation, the same in every run and command."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pcpad.errors import UserValueError

__all__ = ["Fold", "group_of"]


class Fold(NamedTuple):
    """One of k parts of the training files, each with the same number of files per class.

    Adding a file, or losing one, moves others from one part to another.

    Attributes:
        number: The number of this fold, from 1.
        of: The number of folds.
        seed: Seed of the division; not the run's seed, or a test with another seed would contain training files.
        group: A regular expression; files stay together if it matches the same text (its groups, if it has any) in
            their names. None: each file by itself.
    """

    number: int
    of: int
    seed: int = 0
    group: str | None = None

    @classmethod
    def parse(cls, text: str, seed: int = 0, group: str | None = None) -> Fold:
        """Parse text such as `2/5`.

        Args:
            text: The fold's number, a slash, and the number of folds.
            seed: See the class.
            group: See the class.

        Returns:
            The fold.

        Raises:
            UserValueError: The text has another form, there is no such fold, or the group is not a regular expression.

        Example:
            >>> Fold.parse("2/5")[:2]
            (2, 5)
        """
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", str(text))
        if match is None or int(match[2]) < 2 or not 1 <= int(match[1]) <= int(match[2]):
            message = f"Expected argument `fold` to be NUMBER/TOTAL, 1/5 to 5/5 for five folds, but got {text!r}"
            raise UserValueError(message)
        try:
            re.compile(group or "")
        except re.error as error:
            message = f"Expected argument `group` to be a regular expression, but got {group!r}: {error}"
            raise UserValueError(message) from error
        return cls(int(match[1]), int(match[2]), seed, group)

    def held_out(self, names: Sequence[str], labels: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Select the files that this fold holds out.

        Args:
            names: Names of the training files, independent of the name of the folder they are in.
            labels: Their classes, over which each fold is spread evenly; None: no classes.

        Returns:
            (files,) bool: True for validation. The folds are disjoint and together contain all files.

        Raises:
            UserValueError: There are fewer groups than folds, or `group` does not match a name.
        """
        groups = [group_of(self.group, name) for name in names]
        classes = [0] * len(names) if labels is None else [int(label) for label in labels]
        kinds = dict(zip(reversed(groups), reversed(classes), strict=True))  # a group has the class of its first file
        if len(kinds) < self.of:
            what = f"groups (by `group` {self.group!r})" if self.group else "training files"
            message = f"{len(kinds)} {what} cannot make {self.of} folds: each needs at least one"
            raise UserValueError(message)
        # By a checksum, independent of the names' order, and class by class, so that each fold has all classes.
        order = sorted(kinds, key=lambda name: (kinds[name], zlib.crc32(_bytes(f"{self.seed}/{name}")), name))
        mine = set(order[self.number - 1 :: self.of])
        return np.asarray([group in mine for group in groups], dtype=bool)


def group_of(pattern: str | None, name: str) -> str:
    """The part of a file's name that identifies its group.

    Args:
        pattern: A regular expression that matches the common part (its groups, if it has any). None: each file is a
            group of its own.
        name: The file's.

    Returns:
        The same text for all files of a group.

    Raises:
        UserValueError: The expression does not match.

    Example:
        >>> group_of("^[^_]+", "drive3_0012.png")
        'drive3'
    """
    if pattern is None:
        return name
    match = re.search(pattern, name)
    if match is None:
        message = (
            f"--data.group {pattern!r} does not match {name}: expected a regular expression that matches the part of "
            "a file's name that its group has in common, such as '^[^_]+' for the name up to the first _"
        )
        raise UserValueError(message)
    return "\0".join(part or "" for part in match.groups()) if match.re.groups else match[0]


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
