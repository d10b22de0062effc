"""A memory-efficient list of names."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

__all__ = ["Names"]

# File names may hold bytes that are not UTF-8, which Python keeps as lone surrogates.
_CODEC = ("utf-8", "surrogateescape")


class Names(Sequence[str]):
    """File names in two flat buffers, with the interface of a list.

    A list of eight million names takes 0.7 GB, and each worker process copies it page by page, as reading it changes
    the reference counts; this takes 0.3 GB and is shared after a fork.

    Args:
        names: The initial names.

    Example:
        >>> names = Names(["a.jpg", "b.jpg"])
        >>> names.append("c.jpg")
        >>> names[-1], len(names), names == ["a.jpg", "b.jpg", "c.jpg"]
        ('c.jpg', 3, True)
    """

    __hash__ = None  # type: ignore[assignment]  # as for a list

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._text = bytearray()
        self._ends = array("q")
        self.extend(names)

    def append(self, name: str) -> None:
        """Add a name."""
        self._text += name.encode(*_CODEC)
        self._ends.append(len(self._text))

    def extend(self, names: Iterable[str]) -> None:
        """Add names."""
        text, ends = self._text, self._ends
        for name in names:
            text += name.encode(*_CODEC)
            ends.append(len(text))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._text[self._ends[index - 1] if index else 0 : self._ends[index]].decode(*_CODEC)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends:
            yield self._text[start:end].decode(*_CODEC)
            start = end

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Names):
            return self._text == other._text and self._ends == other._ends
        return list(self) == other if isinstance(other, list) else NotImplemented

    def __repr__(self) -> str:
        return f"Names({self[:3]!r}{f', … {len(self)} in all' if len(self) > 3 else ''})"
