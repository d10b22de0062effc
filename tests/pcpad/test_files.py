"""Files are whole or not there; locks end with their process."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from pcpad import files
from pcpad.errors import UserError, UserFileNotFoundError, UserValueError
from pcpad.files import (
    NoRegularFileError,
    UnreadableFileError,
    fitting_name,
    is_folder,
    locked,
    opened,
    read_bytes,
    read_text,
    refuse_dear,
    refuse_irregular,
    refuse_replacing,
    regular,
    whole_file,
    write_text,
)


def test_a_file_appears_once_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folders" / "a.txt"
    with whole_file(path) as file:
        file.write("grün\r\n\udcff")
        assert not path.exists()
    assert path.read_bytes() == "grün\r\n".encode() + b"\xff"
    assert list(path.parent.iterdir()) == [path]
    assert write_text(path, "over") == path
    assert path.read_text() == "over"


def test_an_exception_leaves_what_was_there(tmp_path):
    path = write_text(tmp_path / "a", "before")

    def half():
        with whole_file(path, "wb") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_folders_are_not_made_unless_wanted(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "none" / "a", make_folders=False):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == []


def test_names_as_long_as_file_systems_allow(tmp_path):
    path = write_text(tmp_path / ("a" * 255), "x")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_many_writers_of_one_file(tmp_path):
    path, texts = tmp_path / "a", [str(digit) * 100_000 for digit in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    path = tmp_path / "folder" / "lock"
    code = f"""
from pathlib import Path
from pcpad.files import locked
with locked(Path({str(path)!r})) as held:
    print(held, flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "True\n"
        with locked(path, wait=False) as held:
            assert not held
    finally:
        other.kill()
        other.communicate()
    with locked(path, wait=False) as held:
        assert held


@pytest.mark.faults
def test_a_name_that_is_too_long_is_cut_between_letters():
    assert fitting_name("a" * 251, ".png") == "a" * 251 + ".png"
    cut = [fitting_name(stem, "_overlay.png") for stem in ("ä" * 125 + "xy", "ä" * 125 + "xz", "\udcff" * 300)]
    assert len(set(cut)) == 3
    assert all(245 < len(os.fsencode(name)) <= 255 for name in cut)
    assert all(name.endswith("_overlay.png") for name in cut)
    assert cut[0].encode()


@pytest.mark.faults
def test_links_in_a_circle_are_no_folders(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with os.scandir(tmp_path) as entries:
        found = {entry.name: is_folder(entry) for entry in entries}
    assert found == {"one": False, "two": False, "real": True, "link": True}


@pytest.mark.faults
def test_an_output_that_is_an_input_is_refused(tmp_path):
    inputs = [write_text(tmp_path / name, "x") for name in ("a", "b")]
    refuse_replacing([tmp_path / "new", tmp_path / ("x" * 300)], [*inputs, tmp_path / "gone"])
    (tmp_path / "link").symlink_to("b")
    os.link(inputs[1], tmp_path / "hard")
    for output in (tmp_path / "b", tmp_path / "link", tmp_path / "hard", tmp_path / "." / "b"):
        with pytest.raises(ValueError, match=r"would replace the input .*b: pass another --csv"):
            refuse_replacing([tmp_path / "new", output], inputs, "--csv")
    refuse_dear(tmp_path / "new.ckpt")
    with pytest.raises(ValueError, match="holds weights"):
        refuse_dear(write_text(tmp_path / "x.CKPT", "x"))


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("kind", ["csv", "text", "figure", "sheet", "picture", "arrays"])
def test_a_full_disk_leaves_every_file_as_it_was(tmp_path, kind):
    """In a process that may write no more than 64 bytes a file, which fails as a full disk does."""
    path = write_text(tmp_path / "a.png", "before")
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from pcpad.datamodules.reading.caches import _write
from pcpad.files import write_text
from pcpad.pictures import Picture, write_picture
from pcpad.tables import write_csv
from pcpad.tasks.pictures.plots import new_figure, save_figure
from pcpad.tasks.pictures.sheets import save_png
pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
write = {{
    "csv": lambda path: write_csv(path, ["x"], [[number] for number in range(10_000)]),
    "text": lambda path: write_text(path, "x" * 100),
    "figure": lambda path: save_figure(new_figure(1, 1, (4, 3))[0], path),
    "sheet": lambda path: save_png(Image.fromarray(pixels), path),
    "picture": lambda path: write_picture(path, Picture(pixels)),
    "arrays": lambda path: _write(path, {{"x": pixels}}),
}}[{kind!r}]
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
write(Path({str(path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.png", "before")]


@contextmanager
def within(seconds):
    def late(*_):
        message = f"still waiting after {seconds} s"
        raise TimeoutError(message)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["pipe", "link to a pipe", "socket", "device", "link to a device", "directory"])
def irregular(request, tmp_path):
    path, kind = tmp_path / "a.png", request.param
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    elif kind == "directory":
        path.mkdir()
    else:
        path = Path("/dev/zero") if kind == "device" else path
        if kind == "link to a device":
            path.symlink_to("/dev/zero")
    return path, kind.removeprefix("link to ").removeprefix("a ")


@pytest.mark.faults
@pytest.mark.parametrize("read", [opened, read_bytes, read_text, regular, refuse_irregular])
def test_what_is_no_regular_file_is_refused_without_waiting(irregular, read):
    path, kind = irregular
    with within(5), pytest.raises(NoRegularFileError, match=rf"{kind}.*where a file is expected") as caught:
        read(path)
    assert isinstance(caught.value, UserError)
    assert str(caught.value).startswith(f"{path}: a")
    assert pickle.loads(pickle.dumps(caught.value)).strerror == caught.value.strerror


@pytest.mark.faults
def test_a_pipe_put_in_the_place_of_a_file_is_refused_too(tmp_path, monkeypatch):
    path = write_text(tmp_path / "a", "before")
    looked = files.regular

    def swapped(at):
        state = looked(at)
        path.unlink()
        os.mkfifo(path)
        return state

    monkeypatch.setattr(files, "regular", swapped)
    with within(5), pytest.raises(NoRegularFileError, match="FIFO"):
        opened(path)


@pytest.mark.faults
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserFileNotFoundError, match="No such file"):
        opened(tmp_path / "none")
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\x80\x04\x95")
    with pytest.raises(UserValueError, match=r"a\.yaml: expected text in UTF-8"):
        read_text(path)

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(UnreadableFileError, match=r"a\.yaml: Permission denied$"):
        opened(path)
    refuse_irregular(tmp_path / "none")
