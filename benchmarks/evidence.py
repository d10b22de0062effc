"""What was found about the papers' claims, made from the results in this repository.

    python -m benchmarks.evidence            writes benchmarks/EVIDENCE.md
    python -m benchmarks.evidence --check    exits with 1 if the file differs from what the results give

Nothing is run: results are the JSON files in `benchmarks/results`, which the commands in the page make.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.evidence_claims import classification, gauss, segmentation
from benchmarks.evidence_data import DRAWN
from benchmarks.evidence_drawn_claims import actions, synthesis
from benchmarks.evidence_further import norms, position
from benchmarks.evidence_rows import Cells, Form, Row
from benchmarks.evidence_runs import EXPERIMENTS
from benchmarks.paired import compare, holm, markdown
from benchmarks.partial_inpainting import bin_name, over_seeds, read_scores
from benchmarks.recovery import summary as recovered
from pcpad.files import write_text
from pcpad.metrics.inpainting import PAPER_BINS

HERE = Path(__file__).parent
PAGE = HERE / "EVIDENCE.md"
RESULTS = HERE / "results"
_INPAINTING = {
    "psnr": ((30.548, 31.030), (23.380, 23.673), (19.627, 19.743)),
    "l1": ((0.863, 0.808), (2.653, 2.495), (5.338, 5.098)),
    "ssim": ((0.903, 0.907), (0.724, 0.731), (0.526, 0.533)),
}

_HEAD = """\
# Evidence: the papers' claims, and the results here

Written by `python -m benchmarks.evidence` from the results in `benchmarks/results`; only the claims and the papers'
numbers are typed by hand. 2018 is arXiv 1811.11718, 2022 is the article in IEEE TPAMI; T and F are tables and
figures.

The experiments are small: networks of 0.08 to 5 million parameters on photographs of 32² to 192×288 pixels, and on
drawn videos and streets, trained for minutes. "Confirmed" means that an effect is also present at this size;
"undecided" means that this number of runs cannot decide, not that there is no effect. Question, data, design, test and
stopping rule of each experiment are in `benchmarks/protocols`, committed before its results. Intervals are 95 %;
differences are paired by seed, or by photograph where stated. p is corrected by Holm's method over the rows that the
protocol names. A claim is *confirmed* or *contradicted* if p is below .05 (inpainting and seams: below .01, and the
seeds agree). Hours are of one processor core and include the choice of learning rates.
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: Its heading.
        experiment: A key of `EXPERIMENTS`, by which runs are counted.
        rows: Makes its rows.
        note: The text above them.
    """

    title: str
    experiment: str
    rows: Callable[[Cells], list[Row]]
    note: str = ""


SECTIONS = (
    Section("Classification", "cls_cifar", classification, "CIFAR-10, 20 000 images; protocol `cls_cifar.md`."),
    Section("Learning a Gaussian filter", "gauss_unet", gauss, "BSDS500 and Urban100; protocol `gauss_unet.md`."),
    Section("Segmentation", "seg_camvid", segmentation, "CamVid; protocol `seg_camvid.md`."),
    Section(
        "Action recognition",
        "act_demo",
        actions,
        "Drawn videos of six movements of a camera; protocol `act_demo.md`. A run converges if it recognizes half of "
        "the 192 test videos; chance is a sixth. Their number is tested by Fisher's exact test, accuracy over "
        "the seeds whose runs converge with both paddings.",
    ),
    Section(
        "Image synthesis",
        "syn_demo",
        synthesis,
        "Drawn streets, judged by a segmentation network trained on other streets; protocol `syn_demo.md`. "
        "Instances are small below 64 pixels at 64×128.",
    ),
)
FURTHER = (
    Section(
        "Norm or padding: where artifacts of tiles come from",
        "seg_camvid",
        norms,
        "No claim of the papers: arXiv 2503.19545 attributes them to the norm. Share of pixels within 8 of a "
        "seam in which tiles predict another class than the whole photograph; protocol `seg_camvid.md`.",
    ),
    Section(
        "What padding does to position",
        "position",
        position,
        "Only the last two rows are claims of the papers. Which of 21 photographs a crop is from; protocol "
        "`position.md`.",
    ),
)


def main() -> None:
    """Write the page, or compare it with the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file differs")
    given = parser.parse_args()
    text = page(given.results)
    if not given.check:
        write_text(given.output, text)
        print(f"Written to {given.output}")
    elif not given.output.is_file() or given.output.read_text(encoding="utf-8") != text:
        print(f"{given.output} does not match the results: python -m benchmarks.evidence", file=sys.stderr)
        raise SystemExit(1)


def page(results: Path) -> str:
    """The page.

    Args:
        results: The folder of `benchmarks/results`.
    """
    parts = [_HEAD, _state(results)]
    parts += [_section(section, results) for section in SECTIONS]
    parts.append(_inpainting(results))
    parts.append(_elsewhere())
    parts += [_section(section, results) for section in FURTHER]
    parts.append(_recovery(results))
    return "\n".join(parts)


def _state(results: Path) -> str:
    rows, hours = [], 0.0
    for name, experiment in EXPERIMENTS.items():
        cells = Cells(results / name)
        hours += cells.hours
        missing = [
            f"{arm.name}: {cells.count(arm.name)} of {arm.seeds}"
            for arm in experiment.arms
            if cells.count(arm.name) < arm.seeds
        ]
        done = sum(cells.count(arm.name) for arm in experiment.arms)
        asked = sum(arm.seeds for arm in experiment.arms)
        rates = ", ".join(f"{arm} {found['chosen']:g}" for arm, found in cells.rates.items())
        none = "none yet" if experiment.rates else "the recipe's for both"
        rows.append(
            {
                "experiment": f"`{name}`",
                "runs finished": f"{done} of {asked}",
                "not finished": "; ".join(missing) or "–",
                "learning rates chosen": rates or none,
                "hours": f"{cells.hours:.2f}",
                "command": f"`{_command(name)}`",
            }
        )
    inpainting = len(list((results / "inpainting").glob("*.json")))
    rows.append(
        {
            "experiment": "`inpainting`",
            "runs finished": f"{inpainting} of 10",
            "not finished": "–" if inpainting >= 10 else f"{10 - inpainting} runs",
            "learning rates chosen": "the recipe's for both",
            "hours": "not recorded",
            "command": "`python -m benchmarks.partial_inpainting train --photographs BSDS500 --work DIR`, then `score`",
        }
    )
    return f"## What has been run\n\n{markdown(rows)}\nHours recorded in all: {hours:.2f}.\n"


def _command(name: str) -> str:
    read = "" if name in DRAWN else "--data REAL "
    return f"python -m benchmarks.evidence_runs {name} {read}--work DIR"


def _section(section: Section, results: Path) -> str:
    cells = Cells(results / section.experiment)
    rows = section.rows(cells)
    command = _command(section.experiment)
    said = f"{section.note} `{command}`, {cells.hours:.2f} hours."
    ended = [f"{arm}, seed {seed}: {why}" for arm, found in cells.diverged.items() for seed, why in found.items()]
    if ended:
        said += f"\n\nEnded because the loss was not finite, and not repeated: {'; '.join(ended)}"
    return f"## {section.title}\n\n{said}\n\n{_table(rows)}"


def _table(rows: Sequence[Row]) -> str:
    return markdown(
        [
            {
                "claim": row.claim,
                "where": row.source,
                "published": row.published,
                "ours": row.ours,
                "p": row.p,
                "verdict": row.verdict,
            }
            for row in rows
        ]
    )


def _inpainting(results: Path) -> str:
    """2022 T6, with holes inside and at the border; per photograph, as its protocol says."""
    folder = results / "inpainting"
    rows: list[Row] = []
    forms = {
        "psnr": (Form(3, 1, " dB"), 1, "PSNR"),
        "l1": (Form(3, 1, " %"), -1, "ℓ1"),
        "ssim": (Form(4, 1, ""), 1, "SSIM"),
    }
    for score, (form, sign, word) in forms.items():
        family = []
        for bounds, numbers in zip(PAPER_BINS, _INPAINTING[score], strict=True):
            for place in ("inside", "border"):
                means, gains = over_seeds(read_scores(folder, f"{bin_name(bounds)}/{place}", score))
                holes = "at the border" if place == "border" else "inside"
                claim = f"Partial convolution fills better: {word}, holes of {bin_name(bounds)} {holes}"
                published = f"{numbers[1] - numbers[0]:+.3f} ({numbers[0]:.3f} to {numbers[1]:.3f}), all holes"
                row = Row(claim, "2022 T6", published, "no pair of runs")
                found = compare(means["partial"], means["ordinary"]) if gains else None
                family.append((row, found, gains))
        there = [max(found.p_t, found.p_flips) for _, found, _ in family if found is not None]
        adjusted = iter(holm(there))
        for row, found, gains in family:
            if found is None:
                rows.append(row)
                continue
            p = next(adjusted)
            agree = sum(gain * sign > 0 for gain in gains)
            each = ", ".join(form.text(gain) for gain in gains)
            said = _by_photograph(found.difference * sign, p, agree, len(gains))
            rows.append(
                replace(
                    row, ours=f"{form.compared(found, 'photographs')}; each seed {each}", p=f"{p:.2g}", verdict=said
                )
            )
    note = (
        "BSDS500, 200 test photographs, five seeds of each; protocol `inpainting.md`. "
        "`python -m benchmarks.partial_inpainting`."
    )
    return f"## Inpainting\n\n{note}\n\n{_table(rows)}"


def _by_photograph(toward: float, p: float, agree: int, seeds: int) -> str:
    if p < 0.01 and toward > 0 and agree >= 0.8 * seeds:
        return "**confirmed**"
    if p < 0.01 and toward < 0 and seeds - agree >= 0.8 * seeds:
        return "**contradicted**"
    return f"undecided: {agree} of {seeds} seeds as claimed"


_ELSEWHERE = (
    Row(
        "Partial padding costs 3 to 6 % (2018) or 21 to 25 % (2022) more time than zeros",
        "2018 T1, 2022 T1",
        "×1.03 to ×1.06 after the first pass; ×1.21, ×1.25",
        "other hardware: `benchmarks/RESULTS.md`",
        verdict="costs are measured there",
    ),
    Row(
        "Detection in images of a generator with panoptic partial convolution is better",
        "2022 T7",
        "detAP +0.53 points",
        "needs a detector's trained weights; the mIoU of that table is above",
        verdict="cannot be run here",
    ),
    Row(
        "Inception Score of inpaintings is lower with partial convolution",
        "2022 T6",
        ".088, .559, 1.978 against .122, .741, 2.486",
        "not comparable: lower is better in the paper, whose formula it does not print",
        verdict="cannot be tested from what is published",
    ),
)


def _elsewhere() -> str:
    return f"## Claims without runs here\n\n{_table(_ELSEWHERE)}"


def _recovery(results: Path) -> str:
    folder = results / "recovery"
    parts = [
        "## Recovery without labels\n\nNo claim of the papers; protocol `recovery.md`. "
        "`python -m benchmarks.recovery`.\n"
    ]
    parts += [recovered(network, folder).strip() + "\n" for network in ("ffdnet", "lite0")]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
