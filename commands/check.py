"""`pcpad check`: decodes what training and evaluation read, and lists what is broken, short, missing or unused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pcpad.commands.outputs import named_files
from pcpad.commands.parser import Parser, file_name, path_name
from pcpad.datamodules.datasets.checks import CHECKS
from pcpad.datamodules.reading.caches import work_through
from pcpad.errors import UserValueError, did_you_mean
from pcpad.files import at_home, refuse_dear, refuse_replacing
from pcpad.tables import safe_path, write_csv
from pcpad.terminal import say

_SHOWN = 20


def main(args: list[str]) -> None:
    """Check a data set: exit code 0 where all is well, 1 where something was found, which a CSV file then lists.

    Args:
        args: `NAME --data.root DIR [--data.annotations FILE] [--csv FILE]`.

    Raises:
        ValueError: There is no data set of that name.
        FileNotFoundError: No data.
        SystemExit: Something was found.
    """
    if args[:1] == ["folder"]:
        from pcpad.commands.checking.folder import check_folder

        check_folder(args[1:])
        return
    given = parser().parse_args(args)
    names = ", ".join((*CHECKS, "folder"))
    if given.name not in CHECKS:
        message = f"No data set {given.name!r}.{did_you_mean(given.name, (*CHECKS, 'folder'))} There are: {names}."
        raise UserValueError(message)
    if given.annotations and given.name != "kinetics":
        message = f"--data.annotations is for kinetics; {given.name} has none"
        raise UserValueError(message)
    check = CHECKS[given.name](at_home(given.root), given.annotations)
    csv = given.csv or Path(f"check_{given.name}.csv")
    root = at_home(given.root)
    refuse_dear(csv, "--csv FILE")
    refuse_replacing([csv], (*named_files(given.annotations), *(root / name for name in check.files)), "--csv FILE")
    findings = list(check.known)
    for found in work_through(check.look, check.files, f"checking {len(check.files)} files"):
        findings += found
    findings.sort()
    check.note(findings)
    rows = [(safe_path(found.path), found.problem, found.detail) for found in findings]
    path = write_csv(csv, ["path", "problem", "detail"], rows)
    for finding in findings[:_SHOWN]:
        say(f"{finding.problem}: {finding.path}: {finding.detail}")
    if len(findings) > _SHOWN:
        print(f"… and {len(findings) - _SHOWN} more")
    counts = Counter(finding.problem for finding in findings)
    said = ", ".join(f"{counts[problem]} {problem}" for problem in ("broken", "short", "missing"))
    said += f", {counts['unused']} unused" if counts["unused"] else ""
    say(f"{given.name}: {len(check.files)} files decoded: {said}. Listed in {path}.")
    if findings:
        raise SystemExit(1)


def parser() -> Parser:
    """Of the command line."""
    names = ", ".join((*CHECKS, "folder"))
    made = Parser(
        prog="pcpad check",
        description=f"Decode what training and evaluation read of a data set ({names}), and list what is broken, "
        "short, missing or unused.",
        epilog="Exit code: 0 all is well, 1 something was found. For images and masks in folders of your own: "
        "`pcpad check folder --help`.",
    )
    made.add_argument("name", metavar="NAME", help="which data set")
    made.add_argument("--data.root", dest="root", type=path_name, required=True, metavar="DIR", help="its folder")
    made.add_argument(
        "--data.annotations", dest="annotations", type=file_name, metavar="FILE", help="kinetics: as for training"
    )
    made.add_argument(
        "--csv", type=path_name, metavar="FILE", help="where to write the list; check_NAME.csv by default"
    )
    return made
