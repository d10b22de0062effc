"""Standard output and standard error whose failure ends no run: what cannot be printed is dropped and reported last."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["lasting_streams"]

_BROKEN_PIPE = 141  # as a shell reports programs that SIGPIPE ended


class _Lasting(io.FileIO):
    """Writes to a file descriptor until a write fails, and drops everything after that.

    Attributes:
        lost: Why it failed; None while it has not.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.lost: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


@contextmanager
def lasting_streams() -> Iterator[None]:
    """In this block, a full disk behind `> log.txt` or a closed pipe (`| head`) does not end the run.

    Training continues and its files are written; only what is printed is lost.

    Yields:
        Nothing.

    Raises:
        SystemExit: At the end, if something could not be printed: 141 if the reader closed the pipe, as is usual, else
            1 with a message on standard error.
    """
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    raws = {name: _Lasting(stream.fileno()) for name, stream in before.items() if _is_own(name, stream)}
    for name, raw in raws.items():
        stream = before[name]
        with suppress(OSError):
            stream.flush()
        wrapped = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, wrapped)
    try:
        yield
    finally:
        for name in raws:
            getattr(sys, name).flush()
            setattr(sys, name, before[name])
    lost = [raw.lost for raw in raws.values() if raw.lost is not None]
    if not lost:
        return
    if all(error.errno == errno.EPIPE for error in lost):
        raise SystemExit(_BROKEN_PIPE)
    error = next(error for error in lost if error.errno != errno.EPIPE)
    reason = os.strerror(error.errno or 0)
    with suppress(OSError):
        print(f"pcpad: error: not all lines could be printed ({reason}); all else is done", file=sys.stderr, flush=True)
    raise SystemExit(1)


def _is_own(name: str, stream: object) -> bool:
    """Whether a stream is the process's own, and not a replacement as tests and notebooks install them."""
    return stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper) and stream.buffer is not None
