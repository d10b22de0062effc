"""`pcpad doctor`: what is installed here, and its known problems."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from pcpad.commands.doctoring.folders import look_at_folders
from pcpad.commands.doctoring.imports import look_at_imports
from pcpad.commands.doctoring.machine import look_at_machine
from pcpad.commands.doctoring.packages import look_at_extras, look_at_packages
from pcpad.commands.doctoring.sections import Section
from pcpad.commands.parser import Parser
from pcpad.terminal import say


def main(args: list[str]) -> None:
    """Report on the installation: exit code 0 where pcpad works, 1 where it does not.

    Args:
        args: The arguments after `doctor`; there are none but `--help`.

    Raises:
        SystemExit: Something keeps pcpad from working.
    """
    parser().parse_args(args)
    packages = look_at_packages()
    imports, torch = look_at_imports()
    sections = [packages, imports, look_at_machine(torch), look_at_folders(), look_at_extras()]
    _report(sections)
    if any(finding.fatal for section in sections for finding in section.findings):
        raise SystemExit(1)


def _report(sections: Sequence[Section]) -> None:
    for section in sections:
        say(section.title)
        width = max((len(name) for name, _ in section.lines), default=0)
        for name, text in section.lines:
            say(f"  {name:<{width}}  {text}")
    found = [finding for section in sections for finding in section.findings]
    faults, warnings = ([one for one in found if one.fatal is fatal] for fatal in (True, False))
    for kind, findings in (("fault", faults), ("warning", warnings)):
        for finding in findings:
            say(f"{kind}: {finding.text}")
            say(f"  → {finding.advice}")
    if not found:
        say(f"Nothing is wrong on this {platform.system()} machine as far as pcpad can see.")
    else:
        say(f"{_number(faults, 'fault')}, {_number(warnings, 'warning')}.")


def _number(findings: Sequence[object], what: str) -> str:
    return f"{len(findings)} {what}{'' if len(findings) == 1 else 's'}"


def parser() -> Parser:
    """Of the command line."""
    return Parser(
        prog="pcpad doctor",
        description="Say what is installed and found here: versions, devices, threads, shared memory, caches and the "
        "weights in them, extras; and what of it is known to be wrong. Works where torch does not.",
        epilog="Exit code: 0 pcpad works, with or without warnings; 1 something keeps it from working. Nothing is "
        "fetched.",
    )
