"""Build the documentation: lay out its pages, run the builder, and check the result.

    python docs/build_site.py            # build/docs/site; ends with exit code 1 if anything is wrong

Whatever built the pages, these are checked: every link and anchor has a target, nothing is loaded from
other hosts, and every public name of pcpad and every verb of the command is in the reference. Pictures and
the verbs' output are taken from `build/`, where docs/draw.py and docs/command_pages.py write them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import yaml
from public_names import ROOT, package_names, public_modules
from reference import lay_out, made_pages, reference_navigation, verbs

__all__ = ["broken_links", "lay_out_site", "loaded_from_elsewhere", "main", "names_without_page"]

DOCS = ROOT / "docs"
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


def lay_out_site(folder: Path) -> Path:
    """Write the builder's input.

    Args:
        folder: Emptied, then filled with `mkdocs.yml`, `pages/` and `sources/`.

    Returns:
        The configuration's file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("*.py", "__pycache__", "mkdocs.yml"))
    shutil.copytree(ROOT / "benchmarks" / "pictures", pages / "measured" / "pictures")
    if (ROOT / "build" / "pictures").is_dir():  # drawn by docs/draw.py
        shutil.copytree(ROOT / "build" / "pictures", pages / "pictures", dirs_exist_ok=True)
    if (ROOT / "build" / "commands").is_dir():  # written by docs/command_pages.py
        shutil.copytree(ROOT / "build" / "commands", pages / "commands")
    for path, text in made_pages().items():
        (pages / path).parent.mkdir(parents=True, exist_ok=True)
        (pages / path).write_text(text, encoding="utf-8")
    lay_out(folder / "sources")
    config = yaml.safe_load((DOCS / "mkdocs.yml").read_text(encoding="utf-8"))
    config["nav"].append(reference_navigation())
    file = folder / "mkdocs.yml"
    file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


class _Page(HTMLParser):
    """The links of one page, the files it loads, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect one tag's links, files and anchors."""
        said = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := said.get(key))}
        if tag == "a" and (target := said.get("href")):
            self.links.append(target)
        if tag in LOADING and (target := said.get(LOADING[tag])):
            self.loads.append(target)
        if tag == "link" and (target := said.get("href")) and "canonical" not in (said.get("rel") or ""):
            self.loads.append(target)


def _read(site: Path) -> dict[Path, _Page]:
    found = {}
    for file in sorted(site.rglob("*.html")):
        found[file] = _Page()
        found[file].feed(file.read_text(encoding="utf-8"))
    return found


def broken_links(site: Path) -> list[str]:
    """Links and loaded files of the built pages that have no target.

    Args:
        site: The folder of built pages.

    Returns:
        One line per broken link. Links to other hosts are not followed.
    """
    pages = _read(site)
    wrong = []
    for file, page in pages.items():
        if file.name == "404.html":
            continue
        for link in dict.fromkeys([*page.links, *page.loads]):
            target, anchor = urldefrag(link)
            if "://" in target or target.startswith(("//", "mailto:", "data:", "javascript:")):
                continue
            there = file if not target else (file.parent / unquote(target.partition("?")[0])).resolve()
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file():
                wrong.append(f"{file.relative_to(site)}: {link} is not there")
            elif anchor and there in pages and unquote(anchor) not in pages[there].anchors:
                wrong.append(f"{file.relative_to(site)}: {link} has no such anchor")
    return wrong


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Scripts, styles and pictures that pages load from other hosts.

    Args:
        site: The folder of built pages.

    Returns:
        One line per page and address.
    """
    return [
        f"{file.relative_to(site)}: {address}"
        for file, page in _read(site).items()
        for address in page.loads
        if "://" in address or address.startswith("//")
    ]


def _inventory(site: Path) -> set[str]:
    """The names that are in the reference, from the inventory that mkdocstrings writes for other sites."""
    data = (site / "objects.inv").read_bytes()
    body = zlib.decompress(data.split(b"\n", 4)[4]).decode("utf-8")
    return {line.split(" ", 1)[0] for line in body.splitlines() if " py:" in line}


def names_without_page(site: Path) -> tuple[list[str], int]:
    """Public names that are missing in the built reference.

    Args:
        site: The folder of built pages.

    Returns:
        The names, and how many public names there are.
    """
    names = [f"{module}.{name}" for module, inside in public_modules().items() for name in inside]
    names += list(dict.fromkeys(package_names().values()))
    names = list(dict.fromkeys(names))
    known = _inventory(site)
    return [name for name in names if name not in known], len(names)


def main(args: list[str] | None = None) -> int:
    """Build and check.

    Args:
        args: The arguments; `sys.argv`'s when not given.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description="Build the documentation and check it.")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "docs", help="the folder; SITE is OUTPUT/site")
    parser.add_argument("--builder", default=f"{sys.executable} -m mkdocs", help="the command that builds")
    chosen = parser.parse_args(args)
    config = lay_out_site(chosen.output.resolve())
    command = [*chosen.builder.split(), "build", "--strict", "-f", config.name]
    code = subprocess.run(command, cwd=config.parent, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}).returncode
    if code:
        return 1
    site = config.parent / "site"
    missing, count = names_without_page(site)
    wrong = broken_links(site) + loaded_from_elsewhere(site)
    wrong += [f"{name} has no place in the reference" for name in missing]
    wrong += [f"pcpad {verb} has no page" for verb in verbs() if not (site / "commands" / f"{verb}.html").is_file()]
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(list(site.rglob('*.html')))} pages in {site}; {count} public names, {len(missing)} without a page")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
