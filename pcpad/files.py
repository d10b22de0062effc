"""Writing files that are either complete or not there, opening them, and locks between processes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, overload

from pcpad.errors import UserError, UserFileNotFoundError, UserValueError

__all__ = [
    "FileName",
    "NoRegularFileError",
    "PathName",
    "UnreadableFileError",
    "again",
    "at_home",
    "fitting_name",
    "is_folder",
    "locked",
    "opened",
    "read_bytes",
    "read_text",
    "refuse_dear",
    "refuse_irregular",
    "refuse_no_folder",
    "refuse_replacing",
    "regular",
    "whole_file",
    "write_text",
]

# The type of arguments that name a file or a folder. `tests/test_file_options.py` tries each argument of this type, and
# fails for one that is named like a file and has another type.
FileName = str
PathName = str | Path

# Bytes that are read ahead: most files are opened for a header first, and Python 3.14 would read 128 KiB for it.
_BUFFER = 8192
_MOST_BYTES = 255  # of a name, on every file system in common use
# Files that nothing here writes as a result, and that would be costly to lose.
_DEAR = {
    **dict.fromkeys((".ckpt", ".pt", ".pth", ".safetensors"), "weights"),
    **dict.fromkeys((".yaml", ".yml"), "a configuration"),
    ".py": "code",
}
# A device or a pipe has no end, and opening one may already wait for another program.
_KINDS = (
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device, or a link to one"),
    (stat.S_ISBLK, "a device, or a link to one"),
)


class UnreadableFileError(UserError, OSError):
    """A file that the system does not allow to be read. `strerror` says why, and `filename` which."""

    def __str__(self) -> str:
        return super().__str__() if self.filename is None else f"{self.filename}: {self.strerror}"


class NoRegularFileError(UnreadableFileError):
    """A path that is not a regular file: a pipe, a socket, a device, a folder, or a link to one of these."""


def regular(path: str | Path) -> os.stat_result:
    """The status of a file that is to be read; anything but a regular file is refused without opening it.

    Args:
        path: The file; links are followed.

    Returns:
        As `os.stat` has it.

    Raises:
        NoRegularFileError: It is something else.
        OSError: It does not exist, or its folder cannot be read.
    """
    state = os.stat(path)  # noqa: PTH116  # `Path.stat` of a str would build a path for each of a million files
    _refuse_others(state.st_mode, path)
    return state


def refuse_irregular(path: str | Path) -> None:
    """Refuse anything but a regular file; a missing file is left to the caller, whose error says more.

    Raises:
        NoRegularFileError: It is something else.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            regular(path)
        except OSError as error:
            raise _as_users(error, path) from None


def _as_users(error: OSError, path: str | Path) -> OSError:
    """The same error, with a message for the user."""
    if isinstance(error, UserError):
        return error
    kind = UserFileNotFoundError if isinstance(error, FileNotFoundError) else UnreadableFileError
    return kind(error.errno, error.strerror, str(path))


def _refuse_others(mode: int, path: str | Path) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise NoRegularFileError(errno.EISDIR, "a directory, where a file is expected", str(path))
    what = next((name for test, name in _KINDS if test(mode)), "something else")
    raise NoRegularFileError(errno.EINVAL, f"{what}, where a file is expected", str(path))


def opened(path: Path) -> io.BufferedReader:
    """Open a user's file for reading: the only place where that is done.

    Args:
        path: The file.

    Returns:
        The file, to be closed, which `with` does.

    Raises:
        NoRegularFileError: It is a pipe, a socket, a device or a folder, which is detected without waiting.
        OSError: It cannot be opened.
    """
    # Another file may take its place after `regular`; without O_NONBLOCK a pipe waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        regular(path)
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _as_users(error, path) from None
    try:
        _refuse_others(os.fstat(descriptor).st_mode, path)
        return io.BufferedReader(io.FileIO(descriptor, "rb"), _BUFFER)
    except BaseException:
        os.close(descriptor)
        raise


def at_home(path: PathName) -> Path:
    """Replace a path's `~` by the home folder.

    Args:
        path: As the user typed it.

    Returns:
        The path, without `~`.

    Raises:
        UserValueError: There is no home folder, or no such user; or the path has a null byte, which no name can have.
    """
    if "\0" in str(path):
        message = f"{path}: a file name cannot contain a null byte"
        raise UserValueError(message)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        message = f"{path}: its `~` means a home folder, which is not known: write the full path"
        raise UserValueError(message) from None


def again(file: BinaryIO) -> str | None:
    """A name that opens an open file once more, even if another file has taken its place.

    For libraries that only take names, or map files by name.

    Args:
        file: What `opened` returned.

    Returns:
        The name, for as long as the file stays open; None where the system has none.
    """
    name = f"/proc/self/fd/{file.fileno()}"
    with suppress(OSError):
        there, own = os.stat(name), os.fstat(file.fileno())  # noqa: PTH116  # a link to no path that can be asked
        if os.path.samestat(there, own):
            return name
    return None


def read_bytes(path: Path) -> bytes:
    """Read all of a file; see `opened`."""
    with opened(path) as file:
        return file.read()


def read_text(path: Path, *, errors: str = "strict") -> str:
    r"""Read all of a text file in UTF-8; see `opened`.

    Args:
        path: The file.
        errors: What to do about bytes that are not UTF-8, as `bytes.decode` takes it.

    Returns:
        The text, line ends as `\n`.

    Raises:
        NoRegularFileError: As `opened` does.
        OSError: It cannot be opened.
        UserValueError: It is not UTF-8.
    """
    with io.TextIOWrapper(opened(path), encoding="utf-8", errors=errors) as file:
        try:
            return file.read()
        except UnicodeDecodeError as error:
            message = f"{path}: expected text in UTF-8, but there is a byte that is none ({error.reason})"
            raise UserValueError(message) from None


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
        make_folders: Make missing folders of the path.

    Yields:
        The file to write to. On an exception, an existing file at `path` is left as it was.
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
        path: The file; missing folders are made.
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
        `stem + ending`, of at most 255 bytes; a stem that was cut gets a hash, which tells it from others that begin
        alike.

    Example:
        >>> fitting_name("a" * 300, ".png")[-18:]
        'aaaaa~9835fa6b.png'
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
    """Whether an entry of `os.scandir` is a folder or a link to one; symbolic links that form a loop are not."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def refuse_replacing(outputs: Iterable[str | Path], inputs: Iterable[str | Path], say: str = "--output FILE") -> None:
    """Refuse outputs that would overwrite an input, before anything is written.

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
        UserValueError: It exists already, and is one of these by its ending.
    """
    what = _DEAR.get(output.suffix.lower())
    if what is not None and output.is_file():
        message = f"{output} exists already and holds {what}, which would be lost: pass another {say}"
        raise UserValueError(message)


def refuse_no_folder(output: Path) -> None:
    """Refuse to write a result into a folder that does not exist.

    Args:
        output: The file that will be written.

    Raises:
        UserFileNotFoundError: Its folder is missing.
    """
    folder = output.resolve().parent
    if not folder.is_dir():
        message = f"Cannot write {output}: there is no folder {folder}."
        raise UserFileNotFoundError(message)


def _identity(path: Path) -> tuple[int, int] | None:
    """An identifier shared by all names of one file; None where there is no file."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that the system releases when its process ends, however it ends.

    Args:
        path: The lock's file; it may stay. Missing folders are made.
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
