"""Writing small files whole."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Write a text file that is either complete or not there.

    The tasks' `whole_file` does the same for streams, but importing the tasks takes seconds, and reports and lists
    do without.

    Args:
        path: The file; folders on the way are made.
        text: Its content.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}~")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path
