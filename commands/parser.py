"""The argument parser of verbs that are not the trainer's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from pcpad.errors import UserValueError
from pcpad.files import at_home
from pcpad.terminal import for_terminal

__all__ = ["Parser", "file_name", "path_name"]


def file_name(text: str) -> str:
    """The type of an argument that names a file or a folder, in words; see `pcpad.files.FileName`."""
    path = str(path_name(text))
    return path if text.startswith("~") else text


def path_name(text: str) -> Path:
    """The type of an argument that names a file or a folder."""
    try:
        return at_home(text)
    except UserValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that shows what was typed, file names of a shell's `*` included, and obeys nothing.

    Its arguments are those of `argparse.ArgumentParser`.
    """

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        super().error(for_terminal(message))
