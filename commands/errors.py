"""What a user sees when something goes wrong: one message for a mistake, a traceback for a bug."""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

_ESCAPE = "PCPAD_TRACEBACK"


@contextmanager
def clean_errors() -> Iterator[None]:
    """Turn errors that pcpad raises on purpose into one message and exit code 1.

    Everything else keeps its traceback, and with `PCPAD_TRACEBACK=1` everything does.

    Yields:
        Nothing.
    """
    try:
        yield
    except Exception as error:
        message = user_message(error)
        if message is None or os.environ.get(_ESCAPE, "0") not in ("", "0"):
            raise
        print(f"pcpad: error: {message}\n({_ESCAPE}=1 shows where it was raised.)", file=sys.stderr)
        raise SystemExit(1) from None


def user_message(error: BaseException) -> str | None:
    """The message of an error that is meant for the user.

    An error is meant for the user when a `raise` statement in pcpad itself made it, here or in a data loader's worker,
    or when it is Lightning's for a wrong combination of options. What the interpreter or a library raises is a bug.
    jsonargparse wraps what a class's `__init__` raises; then the error inside counts.

    Args:
        error: What was caught.

    Returns:
        The message, or None for a bug.
    """
    if type(error).__name__ == "MisconfigurationException":
        return str(error)
    frame = _innermost(error.__traceback__)
    if frame is None:
        return None
    module = str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    inside = error.__cause__ or error.__context__
    if module == "jsonargparse" and inside is not None:
        return user_message(inside)
    line = linecache.getline(frame.tb_frame.f_code.co_filename, frame.tb_lineno)
    if module == "pcpad" and line.lstrip().startswith("raise "):
        return str(error)
    return _message_from_worker(str(error))


def _innermost(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _message_from_worker(text: str) -> str | None:
    """PyTorch passes a worker's error on as text: its traceback, then `ErrorType: message`."""
    if not re.match(r"Caught \w+ in DataLoader worker process", text):
        return None
    frames = list(
        re.finditer(r'^  File "(?P<file>.+)", line \d+, in .+\n    (?P<code>.+)\n(?:    [ ~^]+\n)?', text, re.M)
    )
    if not frames or not frames[-1]["code"].startswith("raise ") or not _is_ours(frames[-1]["file"]):
        return None
    return text[frames[-1].end() :].strip().partition(": ")[2]


def _is_ours(file: str) -> bool:
    # A worker is forked from, or imports what, this process has imported: the file is some loaded module's.
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "pcpad"]
    return any(getattr(module, "__file__", None) == file for module in modules)
