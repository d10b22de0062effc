"""Text for terminals and logs: control characters in file and class names are shown, never executed."""

from __future__ import annotations

import io
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["escaped_stderr", "for_terminal", "is_unicode", "safe_messages", "say", "tell"]

# What a terminal acts on (C0 without tab and line feed, C1), what turns the direction of the text around it, separates
# lines without looking like it, or is no character at all: a byte of a file name that is not UTF-8.
_ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def for_terminal(text: str, *, lines: bool = True) -> str:
    r"""Escape what a terminal would act on in a text, and what encodings of Unicode cannot write.

    Args:
        text: With names of files and classes in it, which may hold anything.
        lines: Whether the text may have several lines; otherwise line feeds and tabs are shown, too.

    Returns:
        The same text, with `\x1b` for an escape, `\xff` for a byte that is not UTF-8, `\u202e` for a turn of direction.

    Example:
        >>> for_terminal("a\x1b[2Jb\udcffc\n")
        'a\\x1b[2Jb\\xffc\n'
        >>> for_terminal("a\nb", lines=False)
        'a\\nb'
    """
    text = _ACTED_ON.sub(_shown, text)
    return text if lines else text.replace("\n", _NAMED["\n"]).replace("\t", _NAMED["\t"])


def _shown(found: re.Match[str]) -> str:
    sign = found[0]
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        code -= 0xDC00
    return _NAMED.get(sign) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8: false for file names that hold other bytes."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def say(line: object, *, file: TextIO | None = None) -> None:
    """Print one line, at once.

    Args:
        line: With names of files and classes in it; a line feed in one of them is shown, and starts no line.
        file: Where to; stdout when not given.
    """
    print(for_terminal(str(line), lines=False), file=file, flush=True)


def tell(item: Table | str) -> None:
    """Print a table at its full width, or a line, without interpreting markup.

    Args:
        item: What `pcpad.tables.Table.rich` makes, or a text.
    """
    if isinstance(item, str):
        say(item)
    else:
        from rich.console import Console

        Console(soft_wrap=True, highlight=False).print(item)


@contextmanager
def safe_messages() -> Iterator[None]:
    """In this block, escape warnings, log records and tracebacks with `for_terminal`, whoever writes them.

    Stdout then escapes what its encoding lacks, as stderr always does, instead of ending the run.

    Yields:
        Nothing.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook
    format_warning, make_record = warnings.formatwarning, logging.getLogRecordFactory()

    def formatted(*args: Any, **options: Any) -> str:
        return for_terminal(format_warning(*args, **options))

    def recorded(*args: Any, **options: Any) -> logging.LogRecord:
        record = make_record(*args, **options)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # which logging itself reports
            return record
        shown = for_terminal(text)
        if shown != text:
            record.msg, record.args = shown, ()
        return record

    warnings.formatwarning = formatted
    logging.setLogRecordFactory(recorded)
    try:
        yield
    finally:
        # Lightning wraps whatever is there when it is imported.
        if warnings.formatwarning is formatted:
            warnings.formatwarning = format_warning
        if logging.getLogRecordFactory() is recorded:
            logging.setLogRecordFactory(make_record)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print(for_terminal("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


class _Escaping:
    """A text stream that escapes what is written to it with `for_terminal`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(for_terminal(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def escaped_stderr() -> Iterator[None]:
    """In this block, escape all that is written to stderr with `for_terminal`, such as a parser's messages.

    Not while progress bars are drawn, which move the cursor.

    Yields:
        Nothing.
    """
    before = sys.stderr
    sys.stderr = cast("TextIO", _Escaping(before))
    try:
        yield
    finally:
        sys.stderr = before
