"""The argument parser of verbs that are not the trainer's."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pcpad.terminal import for_terminal

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that shows what was typed, file names of a shell's `*` included, and obeys nothing.

    Its arguments are those of `argparse.ArgumentParser`.
    """

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        super().error(for_terminal(message))
