"""What a user sees when something goes wrong: one message for a mistake, a traceback for a bug."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pcpad.errors import UserError
from pcpad.terminal import for_terminal

_ESCAPE = "PCPAD_TRACEBACK"


@contextmanager
def clean_errors() -> Iterator[None]:
    """Turn errors that are meant for the user into one message and exit code 1.

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
        print(f"pcpad: error: {for_terminal(message)}\n({_ESCAPE}=1 shows where it was raised.)", file=sys.stderr)
        raise SystemExit(1) from None


def user_message(error: BaseException) -> str | None:
    """The message of an error that is meant for the user.

    An error is meant for the user when it is a `pcpad.errors.UserError`, here or in a data loader's worker, or when it
    is Lightning's for a wrong combination of options. What the interpreter or a library raises is a bug. jsonargparse
    wraps what a class's `__init__` raises, several times for a union of types; then the error inside counts.

    Args:
        error: What was caught.

    Returns:
        The message, or None for a bug.
    """
    if type(error).__name__ == "MisconfigurationException":
        return str(error)
    if isinstance(error, UserError):
        return _message_from_worker(error) or str(error)
    inside = error.__cause__ or error.__context__
    return user_message(inside) if inside is not None and _raised_in("jsonargparse", error) else None


def _raised_in(package: str, error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == package


def _message_from_worker(error: UserError) -> str | None:
    """PyTorch passes a worker's error on as text: its traceback, then `module.ErrorType: message`."""
    text = str(error)
    if not re.match(r"Caught \w+ in DataLoader worker process", text):
        return None
    head = f"\n{type(error).__module__}.{type(error).__qualname__}: "
    return text.rpartition(head)[2].strip()
