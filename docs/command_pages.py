"""One page per verb of the command: the output of its own `--help`, so that no page can be older than the command.

    python docs/command_pages.py build/commands        # docs/build_site.py takes them from there

The parsers need Lightning and the tasks. These are imported once; each help is then printed by
a process forked from this one, so that all of them take seconds.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

from public_names import ROOT
from reference import verbs
from run_blocks import import_once, run_command

__all__ = ["helps_of", "main", "page_of", "write_pages"]

COLUMNS = 100
TRAINER = ("fit", "validate", "test", "predict")
EVERY_OPTION = "Every option"
OF_CLASSES = (
    "`--model.NAME` are the arguments of the task's class, `--data.NAME` those of the data module's: "
    "[tasks](../reference/index.md#pcpadtasks), [data modules](../reference/index.md#pcpaddatamodules)."
)
# Where a verb is explained, besides docs/command.md.
EXPLAINED = {
    "fit": "[Tasks](../tasks/index.md)",
    "validate": "[Tasks](../tasks/index.md)",
    "test": "[the evaluations](../tasks/segmentation.md#the-evaluations)",
    "predict": "[Tasks](../tasks/index.md)",
    "sample": "[Tasks](../tasks/index.md)",
    "check": "[Your own images](../own-data.md)",
    "fill": "[Filling pictures](../filling.md)",
    "adapt": "[Recovery](../borders.md#recovery)",
    "borders": "[Borders](../borders.md#the-report)",
    "compare": "[Grids](../command.md#grids)",
    "paper": "[The papers' tables](../papers.md)",
    "bench": "[Speed](../speed.md)",
    "export": "[Exporting](../sharing.md#onnx-and-torchexport)",
}


def helps_of(verb: str) -> list[tuple[str, tuple[str, ...]]]:
    """The help outputs of one verb.

    Args:
        verb: One of `reference.verbs()`.

    Returns:
        Headings, the first of them empty, and commands.
    """
    found: list[tuple[str, tuple[str, ...]]] = [("", ("pcpad", verb, "--help"))]
    if verb in TRAINER:
        found.append((EVERY_OPTION, ("pcpad", verb, "--help", "all")))
    elif verb == "check":
        found.append(("Images and masks in folders", ("pcpad", "check", "folder", "--help")))
    elif verb == "figure":
        from pcpad.commands.figures import FIGURES

        found += [(f"`pcpad figure {name}`", ("pcpad", "figure", name, "--help")) for name in FIGURES]
    return found


def page_of(verb: str, sentence: str, printed: list[tuple[str, tuple[str, ...], str]]) -> str:
    """The page of one verb.

    Args:
        verb: Its name.
        sentence: Its description in `pcpad --help`.
        printed: Headings, commands, and their output.

    Returns:
        Markdown.
    """
    more = f" More in {EXPLAINED[verb]}." if verb in EXPLAINED else ""
    lines = [
        "---",
        "hide: [toc]  # room for wide lines",
        "---",
        "",
        f"# `pcpad {verb}`",
        "",
        f"{sentence[0].upper()}{sentence[1:]}.{more}",
        "",
    ]
    lines += [OF_CLASSES, ""] if verb in TRAINER else []
    for title, words, text in printed:
        block = ["```text", f"$ {' '.join(words)}", *text.rstrip().splitlines(), "```"]
        if title == EVERY_OPTION:  # hundreds of lines, folded
            lines += [f'??? note "{title}"', "", *textwrap.indent("\n".join(block), "    ").splitlines(), ""]
        else:
            lines += [*([f"## {title}", ""] if title else []), *block, ""]
    lines.append("[All verbs](../command.md)")
    return "\n".join(lines) + "\n"


def write_pages(folder: Path, chosen: list[str] | None = None) -> list[str]:
    """Write the pages.

    folder: Created if missing; `VERB.md` are written into it.
        folder: Made if missing; `VERB.md` are written into it.
        chosen: The verbs; all of them when not given.

    Returns:
        The errors, one line per command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wrong = []
    for verb, sentence in verbs().items():
        if verb not in (chosen or verbs()):
            continue
        printed = []
        for title, words in helps_of(verb):
            code, text = run_command(words, folder, columns=COLUMNS)
            if code != 0 or not text.startswith("usage: "):
                wrong.append(f"{' '.join(words)} ended with {code}: {text[-500:]}")
            printed.append((title, words, text))
        (folder / f"{verb}.md").write_text(page_of(verb, sentence, printed), encoding="utf-8")
    return wrong


def main(args: list[str] | None = None) -> int:
    """Write the pages of all verbs.

    Args:
        args: The arguments; `sys.argv`'s when not given.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description="Write one page per verb of the command.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "commands")
    folder = parser.parse_args(args).folder
    import_once()
    wrong = write_pages(folder)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(verbs())} verbs in {folder}; {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
