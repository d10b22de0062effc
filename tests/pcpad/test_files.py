"""Files are whole or not there; locks end with their process."""

import subprocess
import sys
import threading

import pytest

from pcpad.files import locked, whole_file, write_text


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
