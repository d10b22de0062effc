"""Files as nobody should write them, read by every reader of files from elsewhere.

What a reader may do with them: give a result, or raise the error that its docstring names, soon, in bounded memory, and
without importing, starting or writing anything. `make test` tries a few inputs of each kind, the same ones each time.
For a long run, with other inputs each time:

    PCPAD_FUZZ=long pytest tests/fuzz --hypothesis-show-statistics
    PCPAD_FUZZ=long PCPAD_FUZZ_EXAMPLES=100000 pytest tests/fuzz/test_pictures.py --hypothesis-seed=7

What such a run finds becomes a test of the module that was wrong.
"""

import os
import resource
import signal
import struct
import sys
import time
import zlib
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from pcpad.errors import UserError

_COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.generate, Phase.shrink),
}
settings.register_profile("fast", max_examples=40, derandomize=True, **_COMMON)
settings.register_profile(
    "long", max_examples=int(os.environ.get("PCPAD_FUZZ_EXAMPLES", "20000")), print_blob=True, **_COMMON
)
settings.load_profile(os.environ.get("PCPAD_FUZZ", "fast"))

SECONDS = 30  # of waiting, on a machine that has other work
CPU_SECONDS = 10
MEBIBYTES = 512
# Whose modules may be imported while a file is read; all others are imported before, or not at all.
IMPORTABLE = {
    "pcpad",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "PIL",
    "numpy",
    "cv2",
    "av",
    "segmentation_models_pytorch",
}
_STARTED = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "socket.connect",
    "webbrowser.open",
)
_CHANGED = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")


class TooLongError(BaseException):
    """Not an `Exception`, so that no reader takes it for a damaged file."""


class _Watch:
    """Notes what is imported, started and written in a block; as an audit hook, which nothing gets past."""

    def __init__(self):
        self.notes = None
        self.folder = ""
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.notes is None:
            return
        if event == "import":
            # The second argument is None for a module that is only looked for.
            if args[0].partition(".")[0] not in IMPORTABLE | set(sys.modules):
                self.notes.append(f"import {args[0]}")
        elif event == "open":
            path, mode, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (writes or (isinstance(mode, str) and set(mode) & set("wax+"))) and not self._is_ours(path):
                self.notes.append(f"open {path!r} {mode}")
        elif event in _CHANGED:
            if not self._is_ours(args[0]):
                self.notes.append(f"{event} {args[0]!r}")
        elif event in _STARTED:
            self.notes.append(f"{event} {args!r}")

    def _is_ours(self, path):
        return (
            bool(self.folder)
            and isinstance(path, (str, bytes, os.PathLike))
            and os.fsdecode(path).startswith(self.folder)
        )

    @contextmanager
    def watching(self, folder):
        self.folder, self.notes = str(folder or ""), []
        try:
            yield self.notes
        finally:
            self.notes = None


def _stop(*_):
    raise TooLongError


@pytest.fixture(scope="session")
def outcome():
    """Calls a reader: gives its result, or the error if it is one of the documented kinds.

    `writes` is the folder that it may write to.
    """
    watch = _Watch()

    def outcome(call, *args, errors=(UserError,), writes=None, **options):
        memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        before = signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with watch.watching(writes) as notes:
                try:
                    result = call(*args, **options)
                except errors as error:
                    assert str(error), "an error without a word"  # noqa: PT017
                    result = error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert not notes, notes
        assert time.process_time() - began < CPU_SECONDS
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) >> 10
        assert grown < MEBIBYTES, f"{grown} MiB"
        return result

    return outcome


@pytest.fixture(scope="session", autouse=True)
def _hypothesis_home(tmp_path_factory):
    """Hypothesis keeps tables of characters, which are no part of the repository."""
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


_ODD = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_CHANGE = st.tuples(
    st.sampled_from(("flip", "set", "put", "put", "insert", "cut", "repeat", "zero", "end")),
    st.integers(0, 1 << 20),
    st.integers(0, 255),
    st.sampled_from(_ODD),
    st.sampled_from((">H", "<H", ">I", "<I")),
)


def _changed(data, changes, start):
    """Bytes with some damage behind `start`."""
    data = bytearray(data)
    for kind, place, value, odd, form in changes:
        at = start + place % max(1, len(data) - start)
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << value % 8
        elif kind == "set" and at < len(data):
            data[at] = value
        elif kind == "put":
            number = struct.pack(form, odd & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
            data[at : at + len(number)] = number
        elif kind == "insert":
            data[at:at] = bytes([value]) * (1 + odd % 64)
        elif kind == "cut":
            del data[at : at + 1 + value % 32]
        elif kind == "repeat":
            data[at:at] = data[at : at + 1 + value]
        elif kind == "zero":
            data[at : at + 1 + value] = bytes(len(data[at : at + 1 + value]))
        elif kind == "end":
            del data[at:]
    return bytes(data)


def with_checksums(png):
    """A PNG whose chunks have the checksums of what is in them, so that damage reaches what is behind the check."""
    data, at = bytearray(png), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


@pytest.fixture(scope="session")
def damaged():
    """A strategy of damaged copies of some bytes; near their start, where headers are, as often as anywhere."""

    @cache
    def damaged(*originals, start=0, head=64, checksums=False):
        changes = st.lists(_CHANGE, min_size=1, max_size=6)
        near = st.lists(_CHANGE.map(lambda change: (change[0], change[1] % head, *change[2:])), min_size=1, max_size=4)
        made = st.builds(_changed, st.sampled_from(originals), st.one_of(changes, near), st.just(start))
        return st.one_of(made, made.map(with_checksums)) if checksums else made

    return damaged


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder to put inputs in."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="session")
def write(folder):
    """Puts bytes or text in a file and gives its path."""

    def write(name: str, content: bytes | str) -> Path:
        path = folder / name
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
        return path

    return write
