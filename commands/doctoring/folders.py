"""The folders of weights and indices, and their contents."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pcpad._user_cache import user_cache
from pcpad.commands.doctoring.machine import size
from pcpad.commands.doctoring.sections import Section

__all__ = ["look_at_folders", "short"]

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".h5")
_SHOWN = 12
_LEAST_FREE = 1 << 30


def look_at_folders() -> Section:
    """Caches, whether they can be written to, and the weights in them."""
    section = Section("Caches")
    home = user_cache()
    if home is None and not all(os.environ.get(name) for name in ("TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME")):
        section.warn(
            "there is no home folder, so nothing can be cached", "set HOME, or XDG_CACHE_HOME to a folder that lasts"
        )
    for name, folder, variable in _places(home):
        if folder is None:
            section.add(name, "none")
            continue
        section.add(name, f"{short(folder)}: {_holds(name, folder)}")
        if not _writable(folder):
            section.warn(f"{short(folder)} cannot be written to", f"set {variable} to a folder that can")
        for file in _listed(_weights(folder) if name != "pcpad" else []):
            section.add("", file)
    try:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        section.add("temporary files", f"{short(Path(tempfile.gettempdir()))}: {size(free)} free")
        if free < _LEAST_FREE:
            section.warn(f"{tempfile.gettempdir()} has {size(free)} left", "free some space, or set TMPDIR")
    except OSError as error:  # tempfile finds no folder at all
        section.fault(f"there is no folder for temporary files: {error.strerror}", "set TMPDIR to one")
    return section


def _places(home: Path | None) -> Iterator[tuple[str, Path | None, str]]:
    """Name, folder and the variable that moves it, by the libraries' rules and without importing them."""
    torch = os.environ.get("TORCH_HOME") or (home and home / "torch")
    yield "torch hub", Path(torch).expanduser() / "hub" / "checkpoints" if torch else None, "TORCH_HOME"
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    face = os.environ.get("HF_HOME") or (home and home / "huggingface")
    folder = hub or (face and Path(face) / "hub")
    yield "Hugging Face", Path(folder).expanduser() if folder else None, "HF_HOME"
    yield "pcpad", home / "pcpad" if home else None, "XDG_CACHE_HOME"


def _holds(name: str, folder: Path) -> str:
    if not folder.is_dir():
        return "nothing yet"
    files = [file for file in folder.iterdir() if file.is_file()] if name == "pcpad" else list(_weights(folder))
    total = sum(file.stat().st_size for file in files if file.is_file())
    what = "index" if name == "pcpad" else "weight file"
    plural = {"index": "indices of data sets", "weight file": "weight files"}[what]
    return f"{len(files)} {what if len(files) == 1 else plural}, {size(total)}"


def _weights(folder: Path) -> Iterator[Path]:
    """Files of weights at any depth; those of the hub are links to files without endings."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root) / name
            if path.suffix in _WEIGHTS and path.exists():
                yield path


def _listed(files: Iterator[Path] | list[Path]) -> Iterator[str]:
    found = list(files)
    for file in found[:_SHOWN]:
        repository = next((part for part in file.parts if part.startswith("models--")), None)
        name = file.name
        if repository is not None:
            name = f"{repository.removeprefix('models--').replace('--', '/')}: {name}"
        yield f"{name}, {size(file.stat().st_size)}"
    if len(found) > _SHOWN:
        yield f"… and {len(found) - _SHOWN} more"


def _writable(folder: Path) -> bool:
    """Whether a folder, or its nearest existing parent, can be written to."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def short(path: Path) -> str:
    """A path with `~` for the home folder: reports are pasted into public places."""
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError, KeyError):
        return str(path)
