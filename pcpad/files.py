"""Writing files that are either complete or not there, opening them, and locks between processes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, overload

__all__ = ["locked", "opened", "read_bytes", "whole_file", "write_text"]


def opened(path: Path) -> BinaryIO:
    """Open a file that somebody handed over, to read it: the one place where that is done.

    Args:
        path: The file.

    Returns:
        The file, to be closed, which `with` does.

    Raises:
        OSError: It cannot be opened.
    """
    return path.open("rb")


def read_bytes(path: Path) -> bytes:
    """Read all of a file; see `opened`."""
    with opened(path) as file:
        return file.read()


@overload
def whole_file(
    path: Path, mode: Literal["w"] = "w", *, make_folders: bool = ...
) -> AbstractContextManager[IO[str]]: ...
@overload
def whole_file(path: Path, mode: Literal["wb"], *, make_folders: bool = ...) -> AbstractContextManager[IO[bytes]]: ...
@contextmanager
def whole_file(path: Path, mode: Literal["w", "wb"] = "w", *, make_folders: bool = True) -> Iterator[IO[Any]]:
    """Open a file that appears under its name only once it is complete.

    Args:
        path: Where it will be; a file of that name is replaced.
        mode: `w` for text in UTF-8, whose line ends are written as they are; `wb` for bytes.
        make_folders: Make the folders on the way that are missing.

    Yields:
        The file to write to. An exception leaves whatever stood at `path` as it was.
    """
    if make_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Unique over threads, processes and the machines of one network folder, and short: `path.name` may be 255 bytes.
    draft = path.with_name(f".pcpad-{uuid.uuid4().hex}.part")
    text: dict[str, Any] = {} if mode == "wb" else {"encoding": "utf-8", "newline": "", "errors": "surrogateescape"}
    try:
        with draft.open(mode, **text) as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file that is either complete or not there.

    Args:
        path: The file; folders on the way are made.
        text: Its content.

    Returns:
        The path.
    """
    with whole_file(path) as file:
        file.write(text)
    return path


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that the system gives back when its process ends, however it ends.

    Args:
        path: The lock's file; it may stay. Folders on the way are made.
        wait: Wait until no other process holds it.

    Yields:
        True while the lock is held; False, without `wait`, where another process holds it.

    Raises:
        OSError: The file system has no locks, or the file cannot be made.
    """
    from filelock import FileLock, Timeout  # torch depends on it

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
