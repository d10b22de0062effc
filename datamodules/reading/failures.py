"""What could not be read while all else was done."""

from pcpad.distributed import gathered


def raise_failures(failures: list[str], what: str, error: type[Exception]) -> None:
    """Raise what failed, in this process or another, and forget it; every process has to ask.

    Args:
        failures: This process's, a line each; empty afterwards.
        what: What happened to them: "pictures could not be used".
        error: What to raise.

    Raises:
        error: Something failed; names each.
    """
    found = [failure for part in gathered(failures) for failure in part]
    failures.clear()
    if found:
        raise error(f"{len(found)} {what}; all others are done:\n  " + "\n  ".join(found))
