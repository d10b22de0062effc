"""Run every code block and every console line of the documentation, each page in its own temporary folder.

    python docs/run_blocks.py                    # README.md and all pages; exit code 1 if anything is wrong
    python docs/run_blocks.py docs/start.md      # one page
    python docs/run_blocks.py --full             # training as long as on the pages, not a few steps

A block's language decides what is done with it:

- `python`: executed, all blocks of a page in one namespace; with `title="mine.py"` written to that file instead.
- `pycon`: run as a doctest in the same namespace.
- `console`: each line after `$ ` is run; lines below it must be in its output, in this order, `…` for anything.
- `yaml` with a title: written to that file.
- A first line `# not run here: REASON`, which readers see too: Python is compiled, and its imports from pcpad are
  imported; for commands the configuration is parsed (`--print_config`), or each option looked up in the verb's help.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import doctest
import io
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from page_blocks import Block, Line, blocks_of, complaints, lines_of
from public_names import sources

__all__ = ["all_pages", "import_once", "lacking", "main", "run_command", "run_page", "shortened"]

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 1800
# Options appended to a line, so that all pages take minutes; unless it states its own length.
SHORTER = {
    "fit": ("--trainer.max_steps", "6"),
    "compare": ("--seeds", "1", "--trainer.max_steps", "6"),
    "adapt": ("--steps", "4", "--search_steps", "2"),
    "bench": ("--rounds", "2"),
}
LONG_ALREADY = re.compile(r"--(trainer\.(max_|fast_dev_run)|steps|rounds|report|help|print_config)")
_FORK = multiprocessing.get_context("fork")


def shortened(words: tuple[str, ...]) -> tuple[str, ...]:
    """Limit a command that trains or measures to some steps.

    Args:
        words: The command.

    Returns:
        The command, with options at its end or before `--test`.
    """
    verb = words[1] if len(words) > 1 else ""
    if verb not in SHORTER or any(LONG_ALREADY.match(word) for word in words):
        return words
    at = words.index("--test") if "--test" in words else len(words)
    return (*words[:at], *SHORTER[verb], *words[at:])


def lacking(expected: tuple[str, ...], output: str) -> str:
    """The first line that a page shows and a command did not print.

    Args:
        expected: The lines; `…` stands for anything, and any white space equals any other.
        output: What was printed.

    Returns:
        The line; empty if all are there, one after the other.
    """
    left = " ".join(output.split())
    for line in expected:
        parts = [re.escape(part.strip()) for part in " ".join(line.split()).split("…")]
        found = re.search(".*?".join(parts), left)
        if not found:
            return line
        left = left[found.end() :]
    return ""


def _captured(do: Callable[[], object], log: str) -> None:
    """Run a function in this process, a child, with all its output going to a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    code = 0
    try:
        do()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _command(words: tuple[str, ...], columns: int) -> None:
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "COLUMNS": str(columns), "PYTHONSAFEPATH": "1"}
    sys.argv = list(words)
    from pcpad.cli import main as pcpad

    pcpad(list(words[1:]))


def run_command(words: tuple[str, ...], folder: Path, columns: int = 200) -> tuple[int | None, str]:
    """Run one command in a separate process.

    Args:
        words: `pcpad` and its arguments.
        folder: The working directory.
        columns: The terminal's width.

    Returns:
        Its exit code, None if it took too long, and its output.
    """
    with tempfile.NamedTemporaryFile(prefix="pcpad-line-") as log:

        def do() -> None:
            os.chdir(folder)
            _command(words, columns)

        child = _FORK.Process(target=_captured, args=(do, log.name))
        child.start()
        child.join(SECONDS)
        if child.is_alive():
            child.kill()
            child.join()
            return None, Path(log.name).read_text(encoding="utf-8", errors="replace")
        return child.exitcode, Path(log.name).read_text(encoding="utf-8", errors="replace")


class _Session:
    """The Python of one page: a process that keeps the names its blocks have defined."""

    def __init__(self, folder: Path) -> None:
        self.pipe, other = _FORK.Pipe()
        self.process = _FORK.Process(target=self._serve, args=(other, folder), daemon=False)
        self.process.start()

    @staticmethod
    def _serve(pipe: Any, folder: Path) -> None:
        os.chdir(folder)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        sys.path.insert(0, str(folder))
        names: dict[str, Any] = {"__name__": "__main__"}
        while (sent := pipe.recv()) is not None:
            kind, text, place = sent
            printed = io.StringIO()
            try:
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                    if kind == "pycon":
                        wrong = _doctest(text, names, place)
                    else:
                        wrong = exec(compile(text, place, "exec"), names)
            except BaseException:
                wrong = traceback.format_exc()
            pipe.send((wrong or "", printed.getvalue()))

    def run(self, kind: str, text: str, place: str) -> str:
        """Run one block; returns its error, or nothing."""
        self.pipe.send((kind, text, place))
        if not self.pipe.poll(SECONDS):
            self.process.kill()
            return "took too long"
        try:
            wrong, printed = self.pipe.recv()
        except EOFError:
            return "the process ended"
        return f"{wrong}{printed[-2000:]}" if wrong else ""

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(10)


def _doctest(text: str, names: dict[str, Any], place: str) -> str:
    test = doctest.DocTestParser().get_doctest(text, {}, place, place, 0)
    test.globs = names  # keeps the defined names
    told = io.StringIO()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(verbose=False, optionflags=flags).run(test, out=told.write, clear_globs=False)
    return told.getvalue()


def _only_imported(block: Block, session: _Session) -> str:
    """Compile a block that is not run, and run its imports from pcpad."""
    tree = ast.parse(block.text)
    imports = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pcpad")
        or (isinstance(node, ast.Import) and node.names[0].name.split(".")[0] == "pcpad")
    ]
    return session.run("python", "\n".join(ast.unparse(node) for node in imports), block.place)


def _only_parsed(words: tuple[str, ...], folder: Path) -> str:
    """Parse the configuration of a command that is not run, or look its options up."""
    verb = words[1]
    if verb in {"fit", "validate", "test", "predict"} and "--config" in words and "--ckpt_path" not in words:
        code, printed = run_command((*words, "--print_config"), folder)
        return "" if code == 0 else printed[-2000:]
    said = " ".join(run_command(("pcpad", verb, *more), folder)[1] for more in (("--help",), ("--help", "all")))
    options = [word.partition("=")[0].rstrip("+") for word in words if word.startswith("--") and word != "--"]
    unknown = [option for option in options if option not in said]
    if verb == "compare":  # it takes the options of fit
        unknown = [option for option in unknown if not re.match(r"--(data|model|trainer|eval|checkpoint)\.?", option)]
    return f"`pcpad {verb} --help` does not know {', '.join(unknown)}" if unknown else ""


class _Page:
    """A page that is being run."""

    def __init__(self, folder: Path, full: bool, show: bool) -> None:
        self.folder, self.full, self.show = folder, full, show
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.session = _Session(folder)

    def line(self, block: Block, line: Line) -> None:
        """Run or parse one line of a console block."""
        words = line.words if self.full else shortened(line.words)
        if block.reason:
            self.counts["console lines parsed only"] += 1
            if wrong := _only_parsed(words, self.folder):
                self.wrong.append(f"{block.place}: {' '.join(words)}\n{wrong}")
            return
        self.counts["console lines run"] += 1
        self.counts["of these for some steps only"] += int(words != line.words)
        code, printed = run_command(words, self.folder)
        if self.show:
            print(f"$ {' '.join(words)}\n{printed}", flush=True)
        if code != 0:
            self.wrong.append(f"{block.place}: {' '.join(words)} ended with {code}\n{printed[-3000:]}")
        elif missing := lacking(line.expected, printed):
            self.wrong.append(f"{block.place}: {' '.join(words)} did not print {missing!r}, but\n{printed[-3000:]}")

    def block(self, block: Block) -> None:
        """Process a block according to its language."""
        if block.title:
            self.counts["files written"] += 1
            (self.folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for line in lines_of(block):
                self.line(block, line)
        elif block.language in {"python", "pycon"}:
            if block.reason:
                self.counts["blocks imported only"] += 1
                wrong = _only_imported(block, self.session)
            else:
                self.counts["blocks run"] += 1
                wrong = self.session.run(block.language, block.text, block.place)
            if wrong:
                self.wrong.append(f"{block.place}:\n{wrong}")


def run_page(page: Path, full: bool = False, show: bool = False) -> tuple[Counter[str], list[str]]:
    """Run all blocks of a page.

    Args:
        page: A Markdown file.
        full: Whether training takes as long as the page says.
        show: Whether to print what each command prints.

    Returns:
        How many of each kind were run, and the errors.
    """
    with tempfile.TemporaryDirectory(prefix=f"pcpad-{page.stem}-") as folder:
        state = _Page(Path(folder), full, show)
        try:
            for block in blocks_of(page):
                state.block(block)
        finally:
            state.session.close()
    return +state.counts, state.wrong


def _timed(page: Path, full: bool, show: bool) -> tuple[Counter[str], list[str], str]:
    """Run a page; returns also how long it took, in CPU time too, since a busy machine makes everything slower."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    found = run_page(page, full, show)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return *found, f"{seconds:.0f} s, {used:.0f} s of CPU time"


def _run_pages(pages: list[Path], full: bool, show: bool, jobs: int) -> tuple[Counter[str], list[str]]:
    """Run pages, several in parallel. Their processes compute nothing themselves, so their children may fork them."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    with ProcessPoolExecutor(jobs, mp_context=_FORK) as pool:
        for page, (counted, failures, took) in zip(
            pages, pool.map(partial(_timed, full=full, show=show), pages), strict=True
        ):
            told = ", ".join(f"{n} {what}" for what, n in counted.items()) or "nothing to run"
            shown = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
            print(f"{shown}: {told}; {took}", flush=True)
            for failure in failures:
                print(failure, file=sys.stderr, flush=True)
            counts += counted
            wrong += failures
    return counts, wrong


def _known() -> tuple[set[str], set[str]]:
    """The Makefile's targets, and the package's extras."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(targets), set(project["optional-dependencies"])


def import_once() -> None:
    """Import what nearly every line needs before processes are forked from this one; nothing is computed here."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    names = ["torchvision", "timm", "segmentation_models_pytorch", "matplotlib.pyplot", "tensorboard", "pcpad.cli"]
    names += [module for module in sources() if module.startswith(("pcpad.tasks.", "pcpad.datamodules."))]
    names += [f"pcpad.commands.{verb}" for verb in ("run", "fill", "compare", "bench", "borders", "export", "figure")]
    for name in names:
        with contextlib.suppress(ImportError):  # a missing extra is reported by the line that needs it
            import_module(name)
    import torch

    torch.set_num_threads(1)


def all_pages() -> list[Path]:
    """README and the hand-written pages of the documentation.

    Returns:
        The files.
    """
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main(args: list[str] | None = None) -> int:
    """Run pages.

    Args:
        args: The arguments; `sys.argv`'s when not given.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description="Run the code blocks and console lines of pages.")
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and all of docs/")
    parser.add_argument("--full", action="store_true", help="train as long as the pages say")
    parser.add_argument("--show", action="store_true", help="print what each command prints")
    parser.add_argument("--jobs", type=int, default=1, help="pages in parallel")
    chosen = parser.parse_args(args)
    pages = [page.resolve() for page in chosen.pages] or all_pages()
    wrong = [one for page in pages for block in blocks_of(page) for one in complaints(block, *_known())]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    import_once()
    counts, wrong = _run_pages(pages, chosen.full, chosen.show, chosen.jobs)
    print(f"{len(pages)} pages: {', '.join(f'{n} {what}' for what, n in counts.items())}; {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
