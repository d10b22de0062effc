"""`pcpad check`: decodes what training and evaluation read, and lists what is broken, short, missing or unused."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pcpad.bounded_yaml import read_yaml
from pcpad.commands.outputs import named_files
from pcpad.commands.parser import Parser, file_name, path_name
from pcpad.datamodules.datasets.checks import CHECKS
from pcpad.datamodules.datasets.video_lists import Annotations
from pcpad.datamodules.reading.caches import work_through
from pcpad.errors import UserValueError, did_you_mean
from pcpad.files import at_home, refuse_dear, refuse_replacing
from pcpad.tables import safe_path, write_csv
from pcpad.terminal import say

_SHOWN = 20
_TABLES = ("imagenet", "kinetics")


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
    check = CHECKS[given.name](at_home(given.root), _annotations(given))
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
    said += "".join(f", {counts[problem]} {problem}" for problem in ("twice", "unused") if counts[problem])
    say(f"{given.name}: {len(check.files)} files decoded: {said}. Listed in {path}.")
    if findings:
        raise SystemExit(1)


def _annotations(given: argparse.Namespace) -> Annotations | None:
    if given.annotations is None:
        if given.columns or given.roots:
            said = "--data.columns" if given.columns else f"--data.roots {given.roots[0]}"
            message = f"{said} says how to read --data.annotations FILE: pass that file too."
            raise UserValueError(message)
        return None
    if given.name not in _TABLES:
        message = f"--data.annotations is for {' and '.join(_TABLES)}; {given.name} has none"
        raise UserValueError(message)
    return Annotations(given.annotations, given.columns or {}, _folders(given.roots or ()))


def _names_of_columns(text: str) -> dict[str, str]:
    found = _plain(text)
    if not isinstance(found, dict) or not all(isinstance(part, str) for pair in found.items() for part in pair):
        message = f"expected names by role, such as '{{image: file, label: species}}', but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return found


def _folders(given: Sequence[Path]) -> tuple[Path, ...]:
    """Folders one by one, or in one list as for training: `[first, second]`."""
    found: list[str] = []
    for each in map(str, given):
        several = read_yaml(each, "--data.roots") if each.startswith("[") and not Path(each).is_dir() else [each]
        if not isinstance(several, list) or not all(isinstance(part, str) for part in several):
            message = f"Expected --data.roots to be folders, but got {each!r}"
            raise UserValueError(message)
        found += several
    return tuple(map(at_home, found))


def _plain(text: str) -> object:
    try:
        return read_yaml(text, "the argument")
    except UserValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
        "--data.annotations",
        dest="annotations",
        type=file_name,
        metavar="FILE",
        help=f"{' and '.join(_TABLES)}: a table, as for training",
    )
    made.add_argument(
        "--data.columns",
        dest="columns",
        type=_names_of_columns,
        metavar="NAMES",
        help="what its columns are called, as for training: '{image: file, label: species}'",
    )
    made.add_argument(
        "--data.roots",
        dest="roots",
        type=path_name,
        nargs="+",
        metavar="DIR",
        help="further folders of its files",
    )
    made.add_argument(
        "--csv", type=path_name, metavar="FILE", help="where to write the list; check_NAME.csv by default"
    )
    return made
