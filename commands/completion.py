"""`pcpad completion`: a shell completes verbs, options, classes, recipes and files."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from pcpad.commands import TRAINER_VERBS, VERBS
from pcpad.commands.parser import Parser, file_name, path_name, verb_parser
from pcpad.commands.recipes import packaged_recipes
from pcpad.commands.short_help import options_of_classes
from pcpad.errors import UserModuleNotFoundError

SHELLS = ("bash", "zsh", "tcsh", "fish")
# Where a verb's parser is not its module's own.
_PARSERS = {"compare": "pcpad.commands.comparison.request"}
_WITHOUT = ("configs", "figure", "completion")  # theirs are made as they are called
_CONFIGS = """\
_pcpad_configs() {{
  compgen -W "{recipes}" -- "$1"
  compgen -f -- "$1"
}}
"""


def main(args: list[str]) -> None:
    """Print a shell's script.

    Args:
        args: `SHELL`.

    Raises:
        UserModuleNotFoundError: shtab is not installed (extra `completion`).
    """
    given = parser().parse_args(args)
    try:
        import shtab
    except ImportError as error:
        message = "Completion needs shtab: pip install 'pcpad[completion]'"
        raise UserModuleNotFoundError(message, name="shtab") from error
    preamble = _CONFIGS.format(recipes=" ".join(packaged_recipes())) if given.shell == "bash" else ""
    print(shtab.complete(_whole(shtab.FILE, given.shell), given.shell, root_prefix="pcpad", preamble=preamble))


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser(
        "completion",
        "Print what makes a shell complete verbs, options, classes, recipes and files.",
        "bash: pcpad completion bash > ~/.local/share/bash-completion/completions/pcpad\n"
        "zsh:  pcpad completion zsh > FOLDER/_pcpad, FOLDER being in $fpath\n"
        "fish: pcpad completion fish > ~/.config/fish/completions/pcpad.fish",
        allow_abbrev=True,
    )
    made.add_argument("shell", choices=SHELLS, help="which shell")
    return made


def _whole(file: Any, shell: str) -> Parser:
    """One parser of everything, for shtab to look at."""
    whole = Parser(prog="pcpad")
    whole.add_argument("--version", action="store_true", help="the versions that matter")
    verbs = whole.add_subparsers(dest="verb")
    for verb, text in TRAINER_VERBS.items():
        _add_trainer_options(verbs.add_parser(verb, help=text), verb, file, shell)
    for verb, text in VERBS.items():
        own = [] if verb in _WITHOUT else [_parser_of(verb)]
        for each in own:
            _mark_files(each, file)
        added = verbs.add_parser(verb, help=text, parents=own, add_help=not own, conflict_handler="resolve")
        if verb == "figure":
            added.add_argument("name", choices=list(import_module("pcpad.commands.figure").FIGURES))
        elif verb == "completion":
            added.add_argument("shell", choices=SHELLS)
        elif verb == "sample":
            _choose(added, "name", list(import_module("pcpad.datamodules.samples").SAMPLES))
    return whole


def _parser_of(verb: str) -> Parser:
    parser: Parser = import_module(_PARSERS.get(verb, f"pcpad.commands.{verb}")).parser()
    return parser


def _mark_files(parser: argparse.ArgumentParser, file: Any) -> None:
    for action in parser._actions:
        if action.type in (file_name, path_name):
            action.complete = file  # type: ignore[attr-defined]  # where shtab looks


def _choose(parser: argparse.ArgumentParser, dest: str, choices: list[str]) -> None:
    for action in parser._actions:
        if action.dest == dest:
            action.choices = choices


def _add_trainer_options(parser: argparse.ArgumentParser, verb: str, file: Any, shell: str) -> None:
    classes = options_of_classes()
    known = {part: [name for name, _ in found] for part, found in classes.items()}
    of_classes = {option: text for found in classes.values() for _, options in found for option, text in options}
    seen = set(parser._option_string_actions)
    parsed = import_module("pcpad.commands.completing.trainer").parsed_options(verb)
    for names, text, choices in [*parsed, *(([name], text, None) for name, text in of_classes.items())]:
        new = [name for name in names if name not in seen]
        if not new:
            continue
        seen |= set(new)
        made = parser.add_argument(*new, help=text.replace("%", "%%"))
        part = new[-1].removeprefix("--").removesuffix(".help")
        if part in known:
            made.choices = known[part]
        elif choices:
            made.choices = choices
        elif new[-1] in ("--config", "--ckpt_path", "--output", "--per_image"):
            config = new[-1] == "--config" and shell == "bash"
            made.complete = {"bash": "_pcpad_configs"} if config else file  # type: ignore[attr-defined]
