"""`pcpad fill`: fill what is damaged in pictures, without a checkpoint."""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcpad._filling_rule import METHODS
from pcpad.commands.filling.finding import Job, Masks, find_jobs
from pcpad.commands.filling.holes import NAMED_COLORS, MaskReading, color_of, has_bled, hole_of
from pcpad.commands.filling.results import (
    ENDINGS,
    SheetRow,
    draw_sheet,
    filled,
    format_of,
    said,
    sheet_row,
    small,
    still_unseen,
)
from pcpad.commands.parser import Parser, file_name, path_name, verb_parser
from pcpad.errors import UserError, UserFileExistsError, UserFileNotFoundError, UserRuntimeError, UserValueError
from pcpad.file_kinds import IMAGE_ENDINGS
from pcpad.files import refuse_dear, refuse_replacing
from pcpad.pictures import FORMATS, Picture, read_picture, write_picture
from pcpad.terminal import say

if TYPE_CHECKING:
    from pcpad.filling import Inpainter

_POLARITIES = ("white_hole", "white_valid", "nonblack_hole", "nonwhite_hole", "transparent_hole", "opaque_hole")
_GROWN = 1  # pixels by which what is painted or scratched is taken larger
_ROWS = 200  # of a sheet
_EPILOG = """\
MASKS is a folder of masks that are called like their pictures (NAME.* or NAME_mask.*), or one mask for all. Without it,
a picture's mask lies beside it: photo_mask.png beside photo.jpg. White is what is filled, and so are its soft edges:
grays within two pixels of it. If white marks the valid part, pass --mask_polarity white_valid; if the mask is a layer
with strokes on a transparent ground, opaque_hole.

Results are OUT/NAME.png, and OUT/NAME.tif of TIFF and CMYK pictures, in folders as the pictures are. Pixels outside
holes are copied unchanged; depth, alpha, inks, color profile, EXIF data and resolution are kept. JPEG changes all of a
picture, so it is written only where --format says so.

--mask_from fills what the pictures themselves mark: what is transparent (alpha), what was painted in a color, or
scratches: a proposal, thin lines that are brighter or darker than their surroundings, which is written as
OUT/NAME_mask.png to be looked at. With --masks_only nothing is filled; correct the masks, and fill with --masks OUT.

examples:
  pcpad fill photo.jpg --masks mask.png --output filled
  pcpad fill scans --masks masks --output filled --sheet filled/sheet.png
  pcpad fill scans --mask_from red --output filled          # marked with a red brush in any paint program
  pcpad fill scans --mask_from scratches --output masks --masks_only
`pcpad.filling.fill_picture` is the same from Python.
"""


def main(args: list[str]) -> None:
    """Fill the pictures one after the other, and report each.

    Args:
        args: The arguments after `fill`.

    Raises:
        UserFileNotFoundError: There are no pictures, masks or weights.
        UserValueError: Options exclude each other, or a result would replace what is read.
        UserRuntimeError: Some pictures were not filled, and all others were; names each.
    """
    given = parser().parse_args(args)
    reading = _mask_reading(given)
    masks = Masks(given.masks, given.mask_suffix, needed=reading.source is None)
    found = find_jobs(given.pictures, masks, given.output)
    for note in found.notes:
        say(note)
    run = _Run(given, reading, list(found.failures))
    run.check(found.jobs)
    if found.jobs:
        run.network = None if given.masks_only else _network(given)
        run.prepare()
    for job in found.jobs:
        run.do(job)
    run.end(len(found.jobs))


def parser() -> Parser:
    """Of the command line."""
    made = verb_parser(
        "fill",
        "Fill what is damaged in pictures: scratches, writing, stamps, holes.",
        _EPILOG,
        usage="pcpad fill PICTURES [PICTURES ...] --output OUT [options]; pcpad fill --help lists them",
    )
    made.meant = dict.fromkeys(("inver", "negat", "revers"), "--mask_polarity white_valid")
    add = made.add_argument
    add("pictures", nargs="+", type=path_name, metavar="PICTURES", help="files, and folders to search")
    add("--masks", type=path_name, metavar="MASKS", help="a folder of masks, or one for all; default beside PICTURES")
    text = "what follows the picture's name in its mask's name; default %(default)s"
    add("--mask_suffix", default="_mask", metavar="TEXT", help=text)
    add("--mask_from", type=_mask_from, metavar="WHAT", help=f"alpha, scratches, {', '.join(NAMED_COLORS)} or #rrggbb")
    text = "how far from that color a channel may be, of 255; default %(default)s"
    add("--tolerance", type=_byte, default=60, metavar="N", help=text)
    add(
        "--grow",
        type=_byte,
        metavar="PIXELS",
        help="make holes wider all around; default 0 for masks and alpha, else 1",
    )
    add("--mask_polarity", choices=_POLARITIES, help="what is a hole in MASKS; default white_hole")
    add(
        "--mask_threshold",
        type=_share,
        metavar="SHARE",
        help="fraction of white above which grays count as white; default 0.5, and soft edges",
    )
    add("--fit_masks", choices=("nearest",), help="resize masks of another size than their picture")
    add("--output", required=True, type=path_name, metavar="OUT", help="the folder for the results")
    add("--method", choices=METHODS, default="auto", help="auto takes for each hole what is best for its kind")
    text = "weights of an inpainting network, published elsewhere or trained with pcpad; default the one that ships"
    add("--weights", type=file_name, metavar="FILE", help=text)
    add("--device", default="auto", help="where the network runs; default CUDA if there is one, else cpu")
    add("--format", choices=("auto", *FORMATS), default="auto", help="of the results")
    add("--overwrite", action="store_true", help="replace results of that name in OUT")
    add("--masks_too", action="store_true", help="also write what was filled, as OUT/NAME_mask.png")
    add("--masks_only", action="store_true", help="write these alone")
    add("--sheet", type=path_name, metavar="FILE", help="a PNG of all pictures: before, mask, after")
    return made


def _mask_from(text: str) -> str:
    if text in ("alpha", "scratches") or color_of(text) is not None:
        return text
    message = f"expected alpha, scratches, {', '.join(NAMED_COLORS)} or a color as #rrggbb, but got {text!r}"
    raise argparse.ArgumentTypeError(message)


def _byte(text: str) -> int:
    if not text.isdecimal() or int(text) > 255:
        message = f"expected a whole number from 0 to 255, but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share < 1:
        message = f"expected a number in [0, 1), but got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return share


def _mask_reading(given: argparse.Namespace) -> MaskReading:
    """How masks are to be read.

    Raises:
        UserValueError: Options that exclude each other.
    """
    if given.mask_from is not None:
        for option in ("masks", "mask_polarity", "mask_threshold", "fit_masks"):
            if getattr(given, option) is not None:
                message = f"--{option} is about masks in files, and --mask_from makes them: leave one of them out"
                raise UserValueError(message)
    if given.weights is not None and given.method not in ("auto", "network"):
        message = f"--weights are a network's, and --method {given.method} has none: leave one of them out"
        raise UserValueError(message)
    paint = given.mask_from is not None and given.mask_from != "alpha"
    grow = given.grow if given.grow is not None else _GROWN if paint else 0
    return MaskReading(
        given.mask_from, given.mask_polarity or "white_hole", given.mask_polarity is not None, given.mask_threshold,
        given.fit_masks, given.tolerance, grow,
    )  # fmt: skip


def _network(given: argparse.Namespace) -> Inpainter | None:
    """The network that is asked for or may be chosen; if none is included, `auto` says so.

    Raises:
        UserFileNotFoundError: It is asked for, and not there.
    """
    if given.method not in ("auto", "network"):
        return None
    if given.weights is not None:
        from pcpad.models.inpainting_weights import load_inpainter

        network: Any = load_inpainter(given.weights)
        say(f"Weights of the family {getattr(network, 'family', 'unknown')}: {given.weights}")
    else:
        from pcpad.filling import shipped_network

        try:
            network = shipped_network()
        except UserFileNotFoundError as error:
            if given.method == "network":
                raise
            say(f"auto uses classical methods alone, without a network: {error}")
            return None
    from pcpad.commands.benching.timing import default_device, device_named

    moved: Inpainter | None = network.to(default_device() if given.device == "auto" else device_named(given.device))
    return moved


@dataclass
class _Run:
    """The settings for all pictures, and their results."""

    given: argparse.Namespace
    reading: MaskReading
    failures: list[str]
    network: Inpainter | None = None
    filled: int = 0
    copied: int = 0
    proposed: int = 0
    methods: Counter[str] = field(default_factory=Counter)
    rows: list[SheetRow] = field(default_factory=list)

    @property
    def writes_masks(self) -> bool:
        """Whether masks are results, too."""
        return self.given.masks_only or self.given.masks_too or self.reading.source == "scratches"

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse, before any work, results that would replace an input.

        Raises:
            UserValueError: One would, or they could not be files of that name.
        """
        folder, sheet = self.given.output, self.given.sheet
        if folder.exists() and not folder.is_dir():
            message = f"Expected --output to be a folder for the results, but {folder} is a file"
            raise UserValueError(message)
        if folder.suffix.lower() in IMAGE_ENDINGS and not folder.exists():
            message = (
                f"Expected --output to be a folder for the results, but {folder} is called like a picture: results "
                "are called like their pictures, in a folder; --output filled, say"
            )
            raise UserValueError(message)
        inputs = [path for job in jobs for path in (job.source, job.mask) if path is not None]
        inputs += [Path(self.given.weights)] if self.given.weights is not None else []
        results = [path for job in jobs for path in self._targets(job)]
        refuse_replacing(results, inputs, "--output FOLDER")
        if sheet is not None:
            refuse_replacing([sheet], inputs, "--sheet FILE")
            refuse_dear(sheet, "--sheet FILE")
            if sheet.suffix.lower() != ".png":
                message = f"Expected --sheet to be a PNG file, but got {sheet}"
                raise UserValueError(message)

    def prepare(self) -> None:
        """Create the folder of results, and check that it can be written to.

        Raises:
            UserRuntimeError: It cannot.
        """
        folder = self.given.output
        # Heard of now, and not after the first picture; as root, access() says yes to anything.
        probe = folder / ".pcpad-write-test"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            message = f"--output {folder}: nothing can be written there: {error.strerror or error}; name another folder"
            raise UserRuntimeError(message) from error

    def _targets(self, job: Job) -> list[Path]:
        """All files that may be written for a picture; its format is known once it is read."""
        endings = ENDINGS.values() if self.given.format == "auto" else [ENDINGS[self.given.format]]
        results = [] if self.given.masks_only else [self._target(job.name, ending) for ending in endings]
        return results + ([self._target(f"{job.name}_mask", ".png")] if self.writes_masks else [])

    def _target(self, name: str, ending: str) -> Path:
        return Path(f"{self.given.output / name}{ending}")

    def do(self, job: Job) -> None:
        """Fill one picture; errors are kept for the end."""
        try:
            with _notes_of(job.source):
                self._do(job)
        except (UserError, OSError) as error:
            text = str(error)
            self.failures.append(text if str(job.source) in text else f"{job.source}: {text}")
            say(f"{job.source}: not filled")
        except MemoryError:
            self.failures.append(f"{job.source}: there is not enough memory for it")

    def _do(self, job: Job) -> None:
        picture = read_picture(job.source, keep_inks=True)
        for note in picture.notes:
            say(f"{job.source}: {note}")
        hole = hole_of(picture, job.source, job.mask, self.reading)
        kind = format_of(job.source, picture, self.given.format)
        target, mask = self._target(job.name, ENDINGS[kind]), self._target(f"{job.name}_mask", ".png")
        for path in [*([] if self.given.masks_only else [target]), *([mask] if self.writes_masks else [])]:
            if path.exists() and not self.given.overwrite:
                message = f"{job.source}: {path} is there already: pass --overwrite, or another --output FOLDER"
                raise UserFileExistsError(message)
            path.parent.mkdir(parents=True, exist_ok=True)
        if self.writes_masks:
            write_picture(mask, Picture((hole * np.uint8(255))[..., None], dpi=picture.dpi))
            self.proposed += 1
        if self.given.masks_only:
            say(f"{job.source}: {np.count_nonzero(hole) / hole.size:.2%} would be filled: {mask}")
            return
        if has_bled(picture, job.source, hole):
            say(
                f"{job.source}: what is filled has colored what is next to it, as it was compressed with it: if its "
                f"outlines stay, --grow {self.reading.grow + 2} fills these pixels, too"
            )
        before = small(picture) if self.given.sheet is not None else None
        damaged = bool(hole.any())
        if damaged:
            picture, summary = filled(
                picture, hole, self.given.method, self.network, opaque=self.reading.source == "alpha"
            )
            self.methods += summary.methods
            text = said(summary, hole.size)
        else:
            text = "it has no hole and is copied unchanged"
        lost = write_picture(target, picture, kind)
        if damaged:
            self.filled += 1
        else:
            self.copied += 1
        say(f"{job.source}: {text}: {target}")
        if hidden := still_unseen(picture, hole):
            say(f"{job.source}: {hidden}")
        if lost:
            say(f"{job.source}: {kind} does not keep {' and '.join(lost)}")
        if self.reading.source == "scratches":
            say(f"{job.source}: what was taken for scratches is white in {mask}: look at it")
        if before is not None and len(self.rows) < _ROWS:
            self.rows.append(sheet_row(f"{job.name}: {text}", before, hole, picture))

    def end(self, count: int) -> None:
        """Write the sheet, and print a summary.

        Raises:
            UserRuntimeError: Something was not done, or there was nothing to fill.
        """
        if self.rows:
            more = f" (the first {_ROWS} pictures)" if self.filled + self.copied > _ROWS else ""
            say(f"Sheet: {draw_sheet(self.rows, self.given.sheet)}{more}")
        if count and self.given.masks_only:
            say(f"{self.proposed} masks of {count} pictures: {self.given.output}")
        elif count:
            by = f" ({', '.join(f'{name} {number}' for name, number in self.methods.most_common())} pixels)"
            copied = f", {self.copied} had no hole and were copied" if self.copied else ""
            say(f"{self.filled} of {count} pictures filled{by if self.filled else ''}{copied}: {self.given.output}")
        if self.failures:
            lines = "\n  ".join(self.failures)
            files = "1 file" if len(self.failures) == 1 else f"{len(self.failures)} files"
            rest = "all else is done" if count else "nothing is filled"
            message = f"{files} could not be filled or used; {rest}:\n  {lines}"
            raise UserRuntimeError(message)
        if not self.filled and not self.given.masks_only:
            message = "Nothing was filled: no picture has a hole. Is it the right mask, and the right --mask_polarity?"
            if self.reading.source == "scratches":
                message = (
                    "Nothing was filled: no scratch was found. Paint over what is damaged and name its color "
                    "(--mask_from red), or pass --masks"
                )
            raise UserRuntimeError(message)


@contextmanager
def _notes_of(source: Path) -> Iterator[None]:
    """Turn warnings that are raised while a picture is read and filled into notes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning)):
        say(text if str(source) in text else f"{source}: {text}")
