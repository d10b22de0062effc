"""What a user sees when something goes wrong: one message for a mistake, a traceback for a bug."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pcpad.errors import UserError
from pcpad.terminal import for_terminal

_ESCAPE = "PCPAD_TRACEBACK"
_LONGEST = 4000  # characters of a line
# What the system refuses: never a bug, and for each there is something to do.
_ADVICE = {
    errno.EACCES: "change who may read or write it (chmod, chown), or name another place",
    errno.EPERM: "change who may read or write it (chmod, chown), or name another place",
    errno.EROFS: "write somewhere else (--trainer.default_root_dir FOLDER, --output)",
    errno.ENOSPC: "free some space, or write somewhere else",
    errno.EFBIG: "allow larger files (ulimit -f), or write to another disk",
    errno.EDQUOT: "free some space, or write somewhere else",
    errno.ENOTDIR: "a part of this path is a file where a folder is needed",
    errno.EISDIR: "it is a folder where a file is needed",
    errno.ELOOP: "symbolic links form a loop there",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOMEM: "lower --data.num_workers or --data.batch_size",
    errno.EMFILE: "allow more (ulimit -n), or lower --data.num_workers",
    errno.ENFILE: "close other programs, or lower --data.num_workers",
    errno.EIO: "the disk or the network behind it failed",
    errno.ESTALE: "the network folder has changed in the meantime; start again",
    errno.ENXIO: "there is nothing to read",
}
# What libraries say of the data or the machine, and what to do.
_SAID = (
    (
        r"Expected more than 1 value per channel when training, got input size [^\n]*",
        "batch normalization needs more than one value per channel: train on more images per step "
        "(--data.batch_size 2 or more, per device) or on larger ones",
    ),
    (
        r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal: [^.]*|exited unexpectedly)",
        "a process that reads data ended, mostly because memory or /dev/shm ran out: lower --data.num_workers or "
        "--data.batch_size; --data.num_workers 0 shows the original error",
    ),
    (
        r"unable to (?:allocate shared memory|write to file|resize file|mmap \d+ bytes from file|open shared memory"
        r" object)[^\n]*",
        "/dev/shm, through which processes that read data pass it on, is full: make it larger (docker run --shm-size), "
        "or lower --data.num_workers or --data.batch_size",
    ),
    (
        r"PytorchStreamWriter failed writing[^\n]*|\[enforce fail at inline_container\.cc[^\n]*unexpected pos[^\n]*",
        "a file could not be written completely: free some space, or write somewhere else",
    ),
    (
        r"CUDA out of memory[^\n]*?\.(?= |$)|"
        r"DefaultCPUAllocator: can't allocate memory: you tried to allocate \d+ bytes",
        "lower --data.batch_size, or train on smaller images or crops",
    ),
)


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
        print(
            f"pcpad: error: {for_terminal(_shortened(message))}\n({_ESCAPE}=1 shows where it was raised.)",
            file=sys.stderr,
        )
        raise SystemExit(1) from None


def _shortened(message: str) -> str:
    """A message whose very long lines, such as a field of megabytes, are cut in the middle."""
    return "\n".join(
        line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
        for line in message.split("\n")
    )


def user_message(error: BaseException) -> str | None:
    """The message of an error that is meant for the user.

    An error is meant for the user when it is a `pcpad.errors.UserError`, here or in a data loader's worker, when it is
    Lightning's for a wrong combination of options, when the machine refuses something, or when a package is missing
    that somebody else's class needs. What else the interpreter or a library raises is a bug. jsonargparse wraps what a
    class's `__init__` raises, several times for a union of types; then the error inside counts.

    Args:
        error: What was caught.

    Returns:
        The message, or None for a bug.
    """
    if type(error).__name__ == "MisconfigurationException":
        return str(error)
    if isinstance(error, UserError):
        return _message_from_worker(error) or str(error)
    said = _of_system(error) or _of_package(error) or _of_callback(error) or _of_library(error)
    if said is not None:
        return said
    inside = error.__cause__ or error.__context__
    return user_message(inside) if inside is not None and _raised_in("jsonargparse", error) else None


def _of_system(error: BaseException) -> str | None:
    """What the system refused, with the path; a data loader's worker passes it on as text."""
    if isinstance(error, MemoryError):
        return "Memory ran out: lower --data.num_workers or --data.batch_size, or close other programs"
    if not isinstance(error, OSError):
        return None
    number, what = error.errno, f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    if number is None:
        found = re.findall(r"\w*Error: \[Errno (\d+)\] (.*)", str(error))
        number, what = (int(found[-1][0]), found[-1][1]) if found else (None, "")
    advice = _ADVICE.get(number) if number is not None else None
    return f"{what}: {advice}" if advice else None


def _of_package(error: BaseException) -> str | None:
    """The message for a missing package, unless our own code requires it."""
    if not isinstance(error, ModuleNotFoundError) or (_raised_in("pcpad", error) and error.name is None):
        return None
    if error.name is None:
        return f"A package is missing: {error}"
    package = error.name.partition(".")[0]
    if package == "pcpad" or _raised_in("pcpad", error):
        return None
    return f"A package is missing: {error} (pip install {package}, or what provides it)"


def _of_callback(error: BaseException) -> str | None:
    """The message where one of Lightning's callbacks needs a part that the model lacks."""
    found = re.fullmatch(r"'(\w+)' object has no attribute '(\w+)'", str(error))
    if found is None or not isinstance(error, AttributeError):
        return None
    model, part = found.groups()
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if _package_of(frame) != "torch"]
    callback = frames[-1].f_locals.get("self") if frames else None
    kind = type(callback)
    if not kind.__module__.startswith("lightning.pytorch.callbacks.") or kind.__name__ == model:
        return None
    return (
        f"{kind.__name__} needs a model with a part called `{part}`, which {model} lacks: leave this "
        f"callback out, or derive a task of your own that has one (a property `{part}`)"
    )


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _of_library(error: BaseException) -> str | None:
    """What libraries report about the data or the machine, with advice."""
    for pattern, advice in _SAID:
        found = re.search(pattern, str(error)) if isinstance(error, ValueError | RuntimeError) else None
        if found is not None:
            return f"{found[0]}: {advice}"
    return None


def _raised_in(package: str, error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and _package_of(frames[-1]) == package


def _message_from_worker(error: UserError) -> str | None:
    """PyTorch passes a worker's error on as text: its traceback, then `module.ErrorType: message`."""
    text = str(error)
    if not re.match(r"Caught \w+ in DataLoader worker process", text):
        return None
    head = f"\n{type(error).__module__}.{type(error).__qualname__}: "
    return text.rpartition(head)[2].strip()
