"""What our paddings cost on a GPU compared with zero padding: `python -m benchmarks.gpu`.

Twelve cells, each a network in a setting: the papers' Table 1, training and inference, eager and compiled, mostly in
bfloat16. `--all` measures the rest too. In a cell the same weights are timed under zero padding, again under zero
padding in a copy (the control), and under partial padding, masks or panoptic ids, alternately in one process.

Each finished cell is a JSON file in `--results`, and after each the section of `--page` is rewritten. A cell that was
measured on this device with these versions is not measured again; one that failed is named, skipped, and tried again by
the next call, as are those for which there was no time left. The exit status is 0 if all requested cells are
there.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine
from benchmarks.gpu_cells import CORE, FRAMES, SMALL_FRAMES, Cell, all_cells
from benchmarks.gpu_page import FOLDER, file_of, kept, section
from benchmarks.paired import write_section
from pcpad.commands.benching.measure import measure
from pcpad.files import write_text

PAGE = Path(__file__).parent / "RESULTS.md"
NO_DEVICE = (
    "benchmarks.gpu measures on an NVIDIA GPU, and torch sees none here. `--device cpu --small` runs it in a small "
    "form that shows that it works; `python -m benchmarks.padding` measures a CPU."
)


def main(args: Sequence[str] | None = None) -> int:
    """Measure the cells that are missing.

    Args:
        args: The command line; this process's if None.

    Returns:
        The exit status.
    """
    given = _parsed(args)
    with contextlib.ExitStack() as stack:
        if given.results is None:
            given.results = FOLDER if not given.small else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if given.page is None and not given.small:
            given.page = PAGE
        if given.write:
            _write(given)
            return 0
        if given.device == "cuda" and not torch.cuda.is_available():
            print(NO_DEVICE, file=sys.stderr)
            return 1
        return _run(given, torch.device(given.device))


def _parsed(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("cells", nargs="*", metavar="CELL", help="see --list; default: the twelve core cells")
    add("--all", action="store_true", help="all cells, without a time limit")
    add("--list", action="store_true", help="print the cells' names, core cells first, and stop")
    add(
        "--minutes", type=float, help="start no cell after this time; default: 7 for the core, so that it ends within 8"
    )
    add("--rounds", type=int, help="how often each is timed; default 60, small 3")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--small", action="store_true", help="small networks and inputs, to see that it works; keeps and writes "
        "nothing unless told where to")  # fmt: skip
    add("--results", type=Path, metavar="DIR", help="folder of the cells' files; default: benchmarks/results/gpu")
    add("--page", type=Path, metavar="FILE", help="file with the section; default: benchmarks/RESULTS.md")
    add("--write", action="store_true", help="measure nothing; write the section from the measured cells")
    given = parser.parse_args(args)
    known = {cell.name: cell for cell in all_cells()}
    if given.list:
        print("\n".join(known))
        parser.exit()
    if given.write and given.small and None in (given.results, given.page):
        parser.error("`--write --small` needs --results and --page")
    if given.device == "cpu" and not given.small and not given.write:
        parser.error("a CPU would take days; `--device cpu --small` shows that it works")
    unknown = [name for name in given.cells if name not in known]
    if unknown:
        parser.error(f"there is no cell {', '.join(unknown)}; `--list` prints them")
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"expected --rounds to be at least 1, but got {given.rounds}")
    if given.minutes is None and not given.all and not given.cells:
        given.minutes = 7
    given.rounds = given.rounds or (3 if given.small else 60)
    given.cells = [known[name] for name in given.cells] or (all_cells() if given.all else list(CORE))
    return given


def _run(given: argparse.Namespace, device: torch.device) -> int:
    """Run the cells one after the other. Returns the exit status."""
    start, here, wanting = time.monotonic(), machine(device), 0
    for number, cell in enumerate(given.cells, start=1):
        path = file_of(given.results, str(here["device"]), cell.name)
        if _is_there(path, here, given):
            _say(f"{number}/{len(given.cells)} {cell.name}: there already")
            continue
        if given.minutes is not None and time.monotonic() - start > 60 * given.minutes:
            wanting += 1
            _say(f"{number}/{len(given.cells)} {cell.name}: left for the next call, {given.minutes:g} minutes are over")
            continue
        content = _content(cell, device, given)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content, indent=1) + "\n")
        wanting += bool(content["failed"])
        _say(f"{number}/{len(given.cells)} {cell.name}: {content['took']:.0f} s")
        for reason in content["failed"]:
            _say(f"  not measured: {reason}")
        if given.page is not None:
            _write(given)
    print(section(kept(given.results)))
    return int(wanting > 0)


def _is_there(path: Path, here: dict[str, Any], given: argparse.Namespace) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing, or cut off by an interruption
        return False
    same = content["machine"] == here and content["small"] == given.small and content["rounds"] >= given.rounds
    return same and not content["failed"]


def _content(cell: Cell, device: torch.device, given: argparse.Namespace) -> dict[str, Any]:
    """Measure one cell and return its file's content, in which any error is recorded."""
    small, start = given.small, time.monotonic()
    setting, size, frames = cell.setting(small), cell.size(small), SMALL_FRAMES if small else FRAMES
    rows, failed, dims = [], [], None
    try:
        made = cell.networks(small)
        dims = made.dims
        for network in made.networks.values():
            network.to(device)
        rows = measure(made, setting, size, frames, device, given.rounds, lambda _step: None)
        failed = [f"{row.padding}: {row.note}" for row in rows if row.note is not None]
    except Exception as error:  # one failing cell must not stop the others
        failed = [f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no message')}"]
    _clean_up(device)
    return {
        "cell": cell.name,
        "network": cell.network,
        "table_1": cell.table_1,
        **dataclasses.asdict(setting),
        "size": [frames, *size] if dims == 3 else list(size),
        "rounds": given.rounds,
        "small": small,
        "machine": machine(device),
        "took": round(time.monotonic() - start, 1),
        "failed": failed,
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _clean_up(device: torch.device) -> None:
    """Free what one cell allocated before the next one."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        # After an error of the device itself this fails too, and so will the next cells, each with its name.
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


def _write(given: argparse.Namespace) -> None:
    write_section(given.page, "gpu", section(kept(given.results)))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
