"""Writing files that are either complete or not there, opening them, and locks between processes."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, overload

from pcpad.errors import UserValueError

__all__ = [
    "fitting_name",
    "is_folder",
    "locked",
    "opened",
    "read_bytes",
    "refuse_dear",
    "refuse_replacing",
    "whole_file",
    "write_text",
]

_MOST_BYTES = 255  # of a name, on every file system in common use
# Of files that nothing here writes as a result, and that are dear to whoever has them.
_DEAR = {
    **dict.fromkeys((".ckpt", ".pt", ".pth", ".safetensors"), "weights"),
    **dict.fromkeys((".yaml", ".yml"), "a configuration"),
    ".py": "code",
}


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


def fitting_name(stem: str, ending: str = "") -> str:
    """A file's name, cut where it would be longer than file systems allow.

    Args:
        stem: What it is named after.
        ending: Stays whole: `_overlay.png`.

    Returns:
        `stem + ending`, of at most 255 bytes; of a stem that was cut, a hash tells it from others that begin alike.

    Example:
        >>> fitting_name("a" * 300, ".png")[-18:]
        'aaaa~98835b0a.png'
    """
    encoded = os.fsencode(stem)
    if len(encoded) + len(os.fsencode(ending)) <= _MOST_BYTES:
        return stem + ending
    ending = f"~{hashlib.sha256(encoded).hexdigest()[:8]}{ending}"
    room = max(0, _MOST_BYTES - len(os.fsencode(ending)))
    while room and encoded[room] & 0xC0 == 0x80:  # within a character
        room -= 1
    return os.fsdecode(encoded[:room]) + ending


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of `os.scandir` is a folder or a link to one; links that lead round in a circle are none."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def refuse_replacing(outputs: Iterable[str | Path], inputs: Iterable[str | Path], say: str = "--output FILE") -> None:
    """Refuse to write over what is read, before anything is.

    Args:
        outputs: The files that will be written.
        inputs: The files that are read.
        say: The option that says where to write.

    Raises:
        UserValueError: An output is an input, under that name or another one, or through a link.
    """
    there: dict[tuple[int, int], Path] = {}
    for output in map(Path, outputs):
        key = _identity(output)
        if key is not None:
            there[key] = output
    # Data sets have millions of files, most results are new.
    for path in inputs if there else ():
        found = there.get(_identity(Path(path)) or (0, 0))
        if found is not None:
            message = f"{found} would replace the input {path}: pass another {say}"
            raise UserValueError(message)


def refuse_dear(output: Path, say: str = "--output FILE") -> None:
    """Refuse to write a result over weights, a configuration or code, whether they are read now or not.

    Args:
        output: The file that will be written.
        say: The option that says where to write.

    Raises:
        UserValueError: It is there already, and one of these by its ending.
    """
    what = _DEAR.get(output.suffix.lower())
    if what is not None and output.is_file():
        message = f"{output} is there already and holds {what}, which would be lost: pass another {say}"
        raise UserValueError(message)


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common; None where there is none."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino


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
