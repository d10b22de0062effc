"""Generated pages: one reference page per public module, one per notebook of `examples/`, and files from elsewhere.

The reference is read from a copy of the sources laid out as they are installed (`tasks/` inside `pcpad/`), so that
building the pages imports nothing of pcpad. The verbs' output is written before, by `docs/command_pages.py`.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from public_names import PARTS, ROOT, first_line, package_names, public_modules

__all__ = ["ELSEWHERE", "example_page", "lay_out", "made_pages", "reference_navigation", "verbs"]

# Pages that are files elsewhere in the repository, with their names here.
ELSEWHERE = {
    "benchmarks/RESULTS.md": "measured/results.md",
    "benchmarks/EVIDENCE.md": "measured/evidence.md",
    "benchmarks/FILLING.md": "measured/filling.md",
    "pcpad/models/restoration.md": "measured/restoration.md",
    "SECURITY.md": "project/security.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changes.md",
}
GROUPS = {
    "Layers, conversion, files": "pcpad",
    "Adaptation": "pcpad.adaptation",
    "Losses": "pcpad.losses",
    "Metrics": "pcpad.metrics",
    "Networks and weights": "pcpad.models",
    "Panoptic": "pcpad.panoptic",
    "Tasks": "pcpad.tasks",
    "Callbacks": "pcpad.tasks.callbacks",
    "Evaluation": "pcpad.tasks.evaluation",
    "Judges": "pcpad.tasks.judges",
    "Pictures of tasks": "pcpad.tasks.pictures",
    "Data modules": "pcpad.datamodules",
    "Data sets": "pcpad.datamodules.datasets",
    "Reading files": "pcpad.datamodules.reading",
    "Small data sets": "pcpad.datamodules.samples",
}


def lay_out(folder: Path) -> None:
    """Copy the sources to their installed layout.

    Args:
        folder: Where `pcpad/` is created.
    """
    for part in PARTS:
        target = folder / "pcpad" if part == "pcpad" else folder / "pcpad" / part
        shutil.copytree(
            ROOT / part, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    # griffe takes the section with the plural name for doctests; under the singular its output is read as text.
    for file in (folder / "pcpad").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"^( +)Example:$", r"\1Examples:", text, flags=re.MULTILINE), encoding="utf-8")


def _page(module: str) -> str:
    return f"reference/{module}.md"


def _grouped() -> Iterator[tuple[str, list[str]]]:
    """Groups of the navigation, and the modules in each."""
    modules = list(public_modules())
    for title, package in GROUPS.items():
        own = set(GROUPS.values()) - {package}
        inside = [m for m in modules if m == package or (m.rpartition(".")[0] == package and m not in own)]
        if inside:
            yield title, inside


def _overview() -> str:
    """The reference's first page: the names that packages offer, then all modules."""
    lines = [
        "# Reference",
        "",
        "Every verb of the [command](../command.md) and every public name has its place here.",
        "",
        "## Verbs of the command",
        "",
        "| verb | |",
        "|---|---|",
        *(f"| [`{verb}`](../commands/{verb}.md) | {text} |" for verb, text in verbs().items()),
        "",
        "What packages offer under short names comes next, then all modules.",
        "",
    ]
    package = ""
    for short, full in package_names().items():
        if short.rpartition(".")[0] != package:
            package = short.rpartition(".")[0]
            lines += ["", f"## `{package}`", "", first_line(package), "", "| name | defined in |", "|---|---|"]
        module = full.rpartition(".")[0]
        lines.append(f"| [`{short.rpartition('.')[2]}`]({module}.md#{full}) | `{module}` |")
    lines += ["", "## All modules", ""]
    for title, inside in _grouped():
        lines += ["", f"### {title}", "", "| module | |", "|---|---|"]
        lines += [f"| [`{module}`]({module}.md) | {first_line(module)} |" for module in inside]
    return "\n".join(lines) + "\n"


def _moved(path: str, text: str) -> str:
    """A file of the repository, with its links adapted to its place in the site."""
    to = Path(ELSEWHERE[path]).parent

    def link(found: re.Match[str]) -> str:
        target, _, anchor = found[2].partition("#")
        if not target or "://" in target:
            return found[0]
        old = (ROOT / path).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()
        if old not in ELSEWHERE:
            return f"`{old}`" if not found[1].startswith("!") else f"{found[1]}(../{old})"
        new = Path(ELSEWHERE[old])
        shown = new.name if new.parent == to else f"../{new.as_posix()}"
        return f"{found[1]}({shown}{'#' * bool(anchor)}{anchor})"

    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", link, text)


@cache
def verbs() -> dict[str, str]:
    """The verbs of the command, read from the sources.

    Returns:
        Verb to its description in `pcpad --help`.
    """
    tree = ast.parse((ROOT / "commands" / "__init__.py").read_text(encoding="utf-8"))
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(assigned["TRAINER_VERBS"]) | ast.literal_eval(assigned["VERBS"])


def example_page(text: str) -> str:
    """A notebook in percent format as a page.

    Args:
        text: The file's content; cells begin with `# %%` or `# %% [markdown]`.

    Returns:
        Markdown; cells of code are `python` blocks.
    """
    lines: list[str] = []
    for cell in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if kind.strip() == "[markdown]":
            lines += [re.sub("^# ?", "", line) for line in body.strip().splitlines()] + [""]
        else:
            lines += ["```python", *body.strip().splitlines(), "```", ""]
    return "\n".join(lines)


def reference_navigation() -> dict[str, list]:
    """The reference's part of the navigation, as `mkdocs.yml` has it.

    Returns:
        One entry, its overview first.
    """
    groups = [{title: [_page(module) for module in inside]} for title, inside in _grouped()]
    commands = {"Verbs of the command": [f"commands/{verb}.md" for verb in verbs()]}
    return {"Reference": ["reference/index.md", commands, *groups]}


@cache
def made_pages() -> dict[str, str]:
    """The generated pages, and those that lie elsewhere in the repository.

    Returns:
        Path within the site's sources to Markdown.
    """
    made = {"reference/index.md": _overview()}
    for file in sorted((ROOT / "examples").glob("*.py")):
        made[f"examples/{file.stem}.md"] = example_page(file.read_text(encoding="utf-8"))
    made |= {_page(module): f"# `{module}`\n\n::: {module}\n" for module in public_modules()}
    return made | {to: _moved(path, (ROOT / path).read_text(encoding="utf-8")) for path, to in ELSEWHERE.items()}
