"""The code blocks of pages: where they are, what each is for, and mistakes that can be found without running them."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Line", "blocks_of", "complaints", "lines_of"]

RUN = {"python", "pycon", "console"}
# `sh` is for what cannot run inside a page: installing, `make`. Its targets and extras are looked up.
SHOWN = {"sh", "text", "yaml", "toml", "bibtex", "diff"}
NOT_RUN = re.compile(r"# not run here: (.+)")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: The file it is in.
        number: The line of its fence, from 1.
        language: The word after the fence; empty without.
        title: The file that it shows; empty without.
        text: Its content.
    """

    page: Path
    number: int
    language: str
    title: str
    text: str

    @property
    def place(self) -> str:
        """Its place, for messages."""
        return f"{self.page}:{self.number}"

    @property
    def reason(self) -> str:
        """Why it is not run, as its first line states; empty if it is."""
        found = NOT_RUN.match(self.text)
        return found[1].strip() if found else ""


@dataclass(frozen=True)
class Line:
    """One command of a console block.

    Attributes:
        words: The command and its arguments.
        expected: Parts of its output, in this order; `…` stands for anything.
    """

    words: tuple[str, ...]
    expected: tuple[str, ...]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of one page.

    Args:
        page: A Markdown file.

    Returns:
        The blocks in order.
    """
    found, inside = [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            inside = (number, fence["info"].strip(), [])
        elif inside is not None and fence and not fence["info"].strip():
            start, info, lines = inside
            title = _TITLE.search(info)
            text = textwrap.dedent("\n".join(lines)) + "\n"
            found.append(Block(page, start, info.split(" ")[0], title[1] if title else "", text))
            inside = None
        elif inside is not None:
            inside[2].append(line)
    return found


def lines_of(block: Block) -> list[Line]:
    """The commands of a console block, each with the output that the page shows.

    Args:
        block: Its commands begin with `$ `, and continue on the next line after a backslash.

    Returns:
        The commands in order.
    """
    found: list[tuple[str, list[str]]] = []
    more = False
    for line in block.text.splitlines():
        if more:
            found[-1] = (f"{found[-1][0][:-1]} {line.strip()}", [])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        elif found and line.strip():
            found[-1][1].append(line.strip())
        more = bool(found) and not found[-1][1] and found[-1][0].endswith("\\")
    return [Line(tuple(shlex.split(command, comments=True)), tuple(expected)) for command, expected in found]


def complaints(block: Block, targets: set[str], extras: set[str]) -> list[str]:
    """Mistakes in how a block is written.

    Args:
        block: The block.
        targets: Those of the Makefile.
        extras: Those of the package.

    Returns:
        One line per mistake.
    """
    wrong = []
    if block.language not in RUN | SHOWN:
        wrong.append(f"a block's language is one of {', '.join(sorted(RUN | SHOWN))}, not {block.language!r}")
    if block.text.startswith("# not run") and not block.reason:
        wrong.append("a block that is not run must say why: `# not run here: REASON`")
    if block.language == "console":
        lines = lines_of(block)
        if not lines:
            wrong.append("a console block needs lines that begin with `$ `")
        wrong += [f"only pcpad can be run, not {line.words[0]}" for line in lines if line.words[0] != "pcpad"]
    elif block.language in SHOWN and not block.title and re.search(r"^(\$ |pcpad )", block.text, re.MULTILINE):
        wrong.append("commands of pcpad belong in a console block, where they are run")
    if block.language == "sh":
        made = re.findall(r"^make ([\w-]+)", block.text, re.MULTILINE)
        wrong += [f"make has no target {target}" for target in made if target not in targets]
        asked = [e for group in re.findall(r"pcpad\[([\w,]+)\]", block.text) for e in group.split(",")]
        wrong += [f"pcpad has no extra {extra}" for extra in asked if extra not in extras]
    return [f"{block.place}: {one}" for one in wrong]
