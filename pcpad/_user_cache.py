"""The folder in which the suite caches computed results for the user."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["user_cache"]


def user_cache() -> Path | None:
    """The user's cache folder: `$XDG_CACHE_HOME`, else `~/.cache`.

    Returns:
        The folder, which need not exist; None for a user whom neither `HOME` nor the system's list of users gives a
        home.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given) if given else Path.home() / ".cache"
    # pathlib's own, a uid that is not in the list, and a system without such a list.
    except (RuntimeError, KeyError, ImportError):
        return None
