"""The experiments of `benchmarks/protocols` on padding: each run uses the learning rate that validation chose.

    python -m benchmarks.evidence_runs position gauss_unet cls_cifar seg_camvid --data REAL --work DIR
    python -m benchmarks.evidence_runs act_demo syn_demo --work DIR
    python -m benchmarks.evidence_runs position --data REAL --work DIR --cell 'partial, seed 3'
    python -m benchmarks.evidence_runs --list

REAL holds `bsds500/`, `camvid/`, `cifar10/` and `urban100/` as `benchmarks/evidence_data.py` reads them; `position`
takes the photographs of `pcpad sample photos`, and `act_demo` and `syn_demo` draw theirs. Runs are made by
`pcpad compare` in DIR; each that is finished, its tests included, is one JSON file in `benchmarks/results/EXPERIMENT`,
and one that is there is not run again. That also holds for a run whose loss was not finite, where the protocol says so.
It may be stopped at any time: the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine
from benchmarks.evidence_data import DRAWN, lay_out
from benchmarks.evidence_scores import JUDGE, TILE, classification_scores, segmentation_scores, synthesis_scores
from pcpad.commands.comparison.cells import failures, finished_entry
from pcpad.commands.comparison.grid import SEED, Cell
from pcpad.files import write_text

RESULTS = Path(__file__).parent / "results"
RECIPES = Path(__file__).parent / "recipes"
RATE = "model.optimizer.init_args.lr"
PEAK_RATE = "model.scheduler.init_args.max_lr"
TUNING_SEED = 100
_NOT_FINITE = re.compile(
    r"(?:pcpad: error: )?"
    r"(?:The loss is not finite \(|\S+ is \S+: the weights or the data hold values that are not finite)"
)
_TESTS = [
    *("--test", "--eval+=Regular", "--eval+=Tile", f"--eval.size={TILE}"),
    *("--eval+=Tile", f"--eval.size={TILE}", "--eval.overlap=1/3"),
    *("--eval+=Tile", f"--eval.size={TILE}", "--eval.margin=32"),
    *("--eval+=Border", f"--eval.size={TILE}"),
]


@dataclass(frozen=True)
class Arm:
    """One arm of an experiment.

    Args:
        name: In files and tables.
        options: Of `pcpad fit`, by name.
        seeds: How many runs it gets, seeds 0 and up.
        rates: The arm whose tuning determines its learning rate; its own if None.
    """

    name: str
    options: Mapping[str, str]
    seeds: int
    rates: str | None = None

    @property
    def padding(self) -> str:
        """The padding that it is trained with; its name where something else is compared."""
        return self.options.get("model.padding", self.name)


@dataclass(frozen=True)
class Experiment:
    """One of the protocols.

    Args:
        recipe: In `benchmarks/recipes`.
        arms: What is compared.
        rates: The learning rates that validation chooses from; if empty, the recipe's own is used.
        mode: Whether the `max` or the `min` of the monitored metric is best.
        tests: Further options of `pcpad compare`, in which `{data}` is the data's folder.
        score: Further measurements of a run, from checkpoint, data, and the paddings that it is tested under.
        rate: The option of `pcpad fit` that is the learning rate.
        judge: The recipe of a judge that is trained before the first run, on `judge/` of the data.
        diverged: What the test of a run counts as whose loss was not finite; None where the protocol does not say that
            such a run is not repeated.
    """

    recipe: str
    arms: Sequence[Arm]
    rates: Sequence[float]
    mode: str = "max"
    tests: Sequence[str] = ()
    score: Callable[[Path, Path, Sequence[str]], dict[str, Any]] | None = None
    rate: str = RATE
    judge: str | None = None
    diverged: Mapping[str, float] | None = None

    def crossed(self, arm: Arm) -> list[str]:
        """The paddings that an arm is tested under, its own first; one with parameters only under itself."""
        if arm.padding == "explicit":
            return [arm.padding]
        others = [each.padding for each in self.arms if each.padding != "explicit"]
        return list(dict.fromkeys([arm.padding, *others]))


def _arms(paddings: Sequence[str], seeds: int) -> list[Arm]:
    return [Arm(padding, {"model.padding": padding}, seeds) for padding in paddings]


def _normed(norm: str, padding: str, seeds: int) -> Arm:
    options = {"model.padding": padding, "model.norm": norm}
    if norm == "batch":
        return Arm(padding, options, seeds)
    return Arm(f"{padding}, {norm} norm", options, seeds, rates=f"zeros, {norm} norm")


_FOUR = ("zeros", "reflect", "replicate", "partial")
EXPERIMENTS = {
    "position": Experiment("position.yaml", _arms(_FOUR, 10), (0.03, 0.1, 0.3), score=classification_scores),
    "gauss_unet": Experiment(
        "gauss_narrow.yaml", _arms((*_FOUR, "explicit"), 10), (0.001, 0.003, 0.01), mode="min", diverged={}
    ),
    "cls_cifar": Experiment(
        "cls_cifar.yaml",
        [*_arms(_FOUR, 5), Arm("explicit", {"model.padding": "explicit"}, 3, rates="zeros")],
        (0.03, 0.1, 0.3),
        score=classification_scores,
    ),
    "seg_camvid": Experiment(
        "seg_camvid.yaml",
        [
            *(_normed("batch", padding, 5) for padding in ("zeros", "replicate", "partial")),
            *(_normed(norm, padding, 3) for norm in ("group", "instance") for padding in ("zeros", "partial")),
        ],
        (0.03, 0.1, 0.3),
        tests=_TESTS,
        score=segmentation_scores,
    ),
    "act_demo": Experiment(
        "act_demo.yaml",
        _arms(("zeros", "replicate", "partial"), 5),
        (0.01, 0.03, 0.1),
        rate=PEAK_RATE,
        diverged={"test/video_top1": 1 / 6},  # one movement of six for every video
    ),
    "syn_demo": Experiment(
        "syn_demo.yaml",
        [
            Arm("convolution", {"model.partial": "false"}, 5),
            Arm("panoptic partial", {"model.partial": "true"}, 5),
        ],
        rates=(),
        tests=("--test", "--data.root={data}/test", f"--model.judge={{data}}/{JUDGE}"),
        score=synthesis_scores,
        judge="syn_judge.yaml",
        diverged={},
    ),
}


def main() -> None:
    """Run the unfinished cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("experiments", nargs="*", metavar="EXPERIMENT", help=f"of {', '.join(EXPERIMENTS)}, in this order")
    add("--data", type=Path, help="the folder of the published data sets; not needed for drawn data")
    add("--work", type=Path, help="folder for the runs")
    add("--results", type=Path, default=RESULTS)
    add("--cell", help="only this run, such as 'partial, seed 3'")
    add("--limit-minutes", type=float, default=float("inf"), help="start no run after this time")
    add("--list", action="store_true", help="list which runs are finished, and run none")
    given = parser.parse_args()
    unknown = [name for name in given.experiments if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"expected experiments of {', '.join(EXPERIMENTS)}, but got {', '.join(unknown)}")
    torch.set_num_threads(1)
    if given.list:
        for name in given.experiments or EXPERIMENTS:
            for arm, seed in cells(EXPERIMENTS[name]):
                done = file_of(given.results, name, arm, seed).is_file()
                print(f"{name}: {arm.name}, seed {seed}: {'finished' if done else 'to be run'}")
        return
    read = [name for name in given.experiments if name not in DRAWN]
    if given.work is None or not given.experiments or (read and given.data is None):
        parser.error("experiments and --work are needed, and --data unless the data are drawn")
    until = time.monotonic() + 60 * given.limit_minutes
    for name in given.experiments:
        run(name, given, until)


def cells(experiment: Experiment) -> list[tuple[Arm, int]]:
    """Every run, seed by seed, so that there are pairs whenever it stops."""
    most = max(arm.seeds for arm in experiment.arms)
    return [(arm, seed) for seed in range(most) for arm in experiment.arms if seed < arm.seeds]


def file_of(results: Path, name: str, arm: Arm, seed: int) -> Path:
    """Where a run's results are."""
    return results / name / f"{arm.name}, seed {seed}.json"


def run(name: str, given: argparse.Namespace, until: float) -> None:
    """Choose the rates, then run an experiment's cells until the time is over."""
    experiment = EXPERIMENTS[name]
    data = lay_out(name, given.data, given.work / "data")
    grid = given.work / name
    for arm, seed in cells(experiment):
        file = file_of(given.results, name, arm, seed)
        if file.is_file() or given.cell not in (None, file.stem):
            continue
        if time.monotonic() > until:
            return
        rate = chosen_rate(name, arm, given, data, until) if experiment.rates else None
        if rate is None and experiment.rates:
            return
        if experiment.judge is not None:
            train_judge(name, given.results, data)
        content: dict[str, Any] = {"experiment": name, "arm": arm.name, "seed": seed, "rate": rate}
        folder = _cell_folder(grid, experiment, arm, rate, seed)
        if _record_diverged(experiment, file, folder, content):  # of an earlier call
            continue
        spent = _spend(_compare(experiment, arm, rate, seed, grid, data))
        fit, test = finished_entry(folder / "fit", "fit"), _tested(folder)
        if _record_diverged(experiment, file, folder, content | {"cpu_seconds": spent}):
            continue
        if fit is None or test is None:
            print(f"{name}: {file.stem}: no result, see {folder}", flush=True)
            continue
        content |= {**_history(fit), "test": test, "cpu_seconds": spent}
        began = time.process_time()
        if experiment.score is not None:
            checkpoint = folder / "checkpoints" / "last.ckpt"
            content |= experiment.score(checkpoint, data, experiment.crossed(arm))
        content["cpu_seconds"] = round(spent + time.process_time() - began, 1)
        write_text(file, json.dumps(content | {"machine": machine()}) + "\n")
        print(f"{time.strftime('%H:%M')} {name}: {file.stem}: {content['cpu_seconds']:.0f} s of CPU", flush=True)


def _history(fit: Mapping[str, Any]) -> dict[str, Any]:
    """The validations of a run, by epoch, or by step where it says so."""
    by = {} if fit.get("history_by", "epoch") == "epoch" else {"history_by": fit["history_by"]}
    return {"history": fit["history"], **by}


def _record_diverged(experiment: Experiment, file: Path, folder: Path, content: Mapping[str, Any]) -> bool:
    """Write the results of a run that ended because its loss was not finite; whether it is one."""
    errors = (failure["error"] for failure in failures(folder))
    reason = next(filter(_NOT_FINITE.match, errors), None)
    if reason is None or experiment.diverged is None:
        return False
    reason = reason.removeprefix("pcpad: error: ")
    found = {"history": {}, "test": dict(experiment.diverged), "diverged": reason, "machine": machine()}
    write_text(file, json.dumps({**content, **found}) + "\n")
    print(f"{time.strftime('%H:%M')} {content['experiment']}: {file.stem}: diverged: {reason}", flush=True)
    return True


def chosen_rate(name: str, arm: Arm, given: argparse.Namespace, data: Path, until: float) -> float | None:
    """The learning rate that did best on validation, with a seed outside the experiment; None when time is up."""
    experiment = EXPERIMENTS[name]
    tuned = arm.rates or arm.name
    (arm,) = (each for each in experiment.arms if each.name == tuned)
    file = given.results / name / f"rates, {tuned}.json"
    if file.is_file():
        return float(json.loads(file.read_text(encoding="utf-8"))["chosen"])
    found, spent = {}, 0.0
    for rate in experiment.rates:
        if time.monotonic() > until:
            return None
        folder = given.work / f"{name}_rates" / f"{arm.name}, {rate:g}"
        if finished_entry(folder, "fit") is None:
            spent += _spend(_fit(experiment, arm, rate, folder, data))
        fit = finished_entry(folder, "fit")
        found[rate] = fit["history"][max(fit["history"])] if fit else float("nan")
    chosen = best_rate(found, experiment.mode)
    content = {"arm": tuned, "seed": TUNING_SEED, "chosen": chosen, "cpu_seconds": round(spent, 1)}
    write_text(file, json.dumps(content | {"validation": {str(rate): value for rate, value in found.items()}}) + "\n")
    print(f"{time.strftime('%H:%M')} {name}: {tuned}: rate {chosen} of {found}", flush=True)
    return chosen


def train_judge(name: str, results: Path, data: Path) -> None:
    """Train the judge of an experiment, unless it is there.

    Raises:
        SystemExit: Its training did not finish.
    """
    recipe = EXPERIMENTS[name].judge
    folder = (data / JUDGE).parents[1]
    if finished_entry(folder, "fit") is not None:
        return
    spent = _spend(
        [
            *(sys.executable, "-m", "pcpad", "fit", "--config", str(RECIPES / str(recipe)), "--model.padding=zeros"),
            *(f"--data.root={folder.parent}", f"--seed_everything={TUNING_SEED}"),
            *(f"--trainer.default_root_dir={folder}", f"--checkpoint.dirpath={(data / JUDGE).parent}"),
        ]
    )
    fit = finished_entry(folder, "fit")
    if fit is None:
        message = f"{name}: the judge has no result, see {folder}"
        raise SystemExit(message)
    content = {"arm": "judge", "seed": TUNING_SEED, **_history(fit), "cpu_seconds": spent}
    write_text(results / name / "judge.json", json.dumps(content | {"machine": machine()}) + "\n")


def best_rate(found: Mapping[float, float], mode: str) -> float:
    """The rate of the best finite value; the first where none is finite."""
    finite = {rate: value for rate, value in found.items() if value == value and abs(value) != float("inf")}
    if not finite:
        return next(iter(found))
    return (max if mode == "max" else min)(finite, key=finite.__getitem__)


def _fit(experiment: Experiment, arm: Arm, rate: float, folder: Path, data: Path) -> list[str]:
    """The command that trains an arm to score a learning rate."""
    return [
        *(sys.executable, "-m", "pcpad", "fit", "--config", str(RECIPES / experiment.recipe), f"--data.root={data}"),
        *(f"--{option}={value}" for option, value in _axes(experiment, arm, rate).items()),
        *(f"--seed_everything={TUNING_SEED}", f"--trainer.default_root_dir={folder}"),
        f"--checkpoint.dirpath={folder / 'checkpoints'}",
    ]


def _compare(experiment: Experiment, arm: Arm, rate: float | None, seed: int, grid: Path, data: Path) -> list[str]:
    """The command that trains and tests a cell."""
    return [
        *(sys.executable, "-m", "pcpad", "compare", "--config", str(RECIPES / experiment.recipe)),
        *(f"--axis={option}={value}" for option, value in _axes(experiment, arm, rate).items()),
        *("--seeds", f"{seed},", "--test-checkpoint", "last", "--output", str(grid), f"--data.root={data}"),
        *(each.replace("{data}", str(data)) for each in experiment.tests),
    ]


def _spend(command: Sequence[str]) -> float:
    """Run a command; the CPU seconds that it took. What it printed stays in its own files."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def _axes(experiment: Experiment, arm: Arm, rate: float | None) -> dict[str, str]:
    return {**arm.options, **({} if rate is None else {experiment.rate: f"{rate:g}"})}


def _cell_folder(grid: Path, experiment: Experiment, arm: Arm, rate: float | None, seed: int) -> Path:
    return grid / Cell({**_axes(experiment, arm, rate), SEED: str(seed)}).name


def _tested(folder: Path) -> dict[str, float] | None:
    for tests in sorted((folder / "tests").glob("*/*")):
        entry = finished_entry(tests, "test")
        if entry is not None:
            return entry["metrics"]
    return None


if __name__ == "__main__":
    main()
