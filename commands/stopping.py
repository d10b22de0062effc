"""Tell a user who stops a run where it was saved, and how to resume it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["resume_command", "telling_how_to_resume"]

_SIGINT, _SIGTERM = 130, 143  # 128 + the signal's number, as a shell reports it


@contextmanager
def telling_how_to_resume(verb: str, args: Sequence[str]) -> Iterator[None]:
    """Say, when a run was stopped, how to resume it, in place of a traceback.

    Args:
        verb: `fit`, `validate`, `test` or `predict`.
        args: The arguments after it.

    Yields:
        Nothing.

    Raises:
        SystemExit: The run was stopped: 130 by SIGINT, 143 by SIGTERM.
    """
    try:
        yield
    except KeyboardInterrupt:
        _leave(verb, "SIGINT", _SIGINT)
    except SystemExit as end:
        # `Interrupted` cannot be imported here without Lightning, whose import may be what was interrupted.
        if hasattr(end, "where"):
            _tell(end, verb, args)
            raise SystemExit(end.code) from None
        if isinstance(end.__context__, KeyboardInterrupt):  # what Lightning makes of it
            _leave(verb, "SIGINT", _SIGINT)
        if type(end).__name__ == "SIGTERMException":
            _leave(verb, "SIGTERM", _SIGTERM)
        raise


def resume_command(verb: str, args: Sequence[str], checkpoint: Path) -> str:
    """The command that resumes a run.

    Args:
        verb: `fit`.
        args: The arguments that the run was started with.
        checkpoint: What it resumes from.

    Returns:
        The same command, from the checkpoint.
    """
    kept = []
    words = iter(args)
    for word in words:
        if word == "--ckpt_path":
            next(words, None)
        elif not word.startswith("--ckpt_path="):
            kept.append(word)
    return shlex.join(["pcpad", verb, *kept, "--ckpt_path", str(checkpoint)])


def _tell(stop: SystemExit, verb: str, args: Sequence[str]) -> None:
    if not stop.speaks:  # type: ignore[attr-defined]
        return
    file: Path | None = stop.file  # type: ignore[attr-defined]
    lines = [f"pcpad: stopped by {stop.signal} {stop.where}."]  # type: ignore[attr-defined]
    lines += stop.notes  # type: ignore[attr-defined]
    if file is not None:
        lines += [f"Saved in {file}. Resume with:", f"  {resume_command(verb, args, file)}"]
    print(*lines, sep="\n", file=sys.stderr)


def _leave(verb: str, signal: str, code: int) -> None:
    before = " before training began; the same command starts it again" if verb == "fit" else ""
    print(f"pcpad: stopped by {signal}{before}.", file=sys.stderr)
    raise SystemExit(code) from None
