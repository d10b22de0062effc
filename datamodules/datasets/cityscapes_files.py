"""The files of Cityscapes: where they are, which label belongs to which image, and which city to which split."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.utilities import rank_zero_warn

from pcpad.datamodules.reading.folders import IMAGES, class_folders, outside_of_folders
from pcpad.datamodules.reading.listing import look_through, say_passed_over
from pcpad.errors import UserFileNotFoundError, UserValueError

VAL_CITIES = {
    "cv0": ("frankfurt", "lindau", "munster"),
    "cv1": ("darmstadt", "dusseldorf", "erfurt"),
    "cv2": ("monchengladbach", "strasbourg", "stuttgart"),
}
"""The cities each split validates on; it trains on all others. cv0 is the official one."""

CITIES = tuple(
    sorted(
        (
            *(city for cities in VAL_CITIES.values() for city in cities),
            *("aachen", "bochum", "bremen", "cologne", "hamburg", "hanover", "jena", "krefeld"),
            *("tubingen", "ulm", "weimar", "zurich"),
        )
    )
)
"""The 21 cities of train/ and val/."""

_IMAGE_ENDING = "_leftImg8bit.png"
# The one image of train_extra/ that is broken in the official archive; its authors advise to remove it, and not its
# label.
_BROKEN = "troisdorf_000000_000073"

_MISSING = """{what}: {path}
Expected (the layout of the official archives; each may also be in its own folder, root/leftImg8bit_trainvaltest/
leftImg8bit/…, root/gtFine_trainvaltest/gtFine/…):
    {root}/leftImg8bit/{{train,val}}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
    {root}/gtFine/{{train,val}}/<city>/<city>_<sequence>_<frame>_gtFine_labelIds.png
    {root}/leftImg8bit/train_extra/<city>/…_leftImg8bit.png       only with data.coarse
    {root}/gtCoarse/train_extra/<city>/…_gtCoarse_labelIds.png    only with data.coarse
Cityscapes is available at https://www.cityscapes-dataset.com/downloads and needs an account: the archives
leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip; for coarse images leftImg8bit_trainextra.zip and gtCoarse.zip.
A small stand-in, drawn in seconds in the same format:
    pcpad sample cityscapes DIR        and then --data.root DIR"""


class Pair(NamedTuple):
    """An image and its label map, as paths relative to the root, with `/` as separator."""

    image: str
    label: str


def find_fine(root: Path) -> dict[str, list[Pair]]:
    """Pair the images of train/ and val/ with their fine labels.

    Args:
        root: The data set's folder.

    Returns:
        The pairs by city, for the cities that are there.

    Raises:
        FileNotFoundError: Neither folder exists; says what was expected and where to get it.
        ValueError: An unknown city, an image without a label, or a label without an image.
    """
    pairs: dict[str, list[Pair]] = {}
    for part in ("train", "val"):
        # One of them is enough if it holds all cities asked for.
        if _locate(root, "leftImg8bit", part) or _locate(root, "gtFine", part):
            for city, found in _find_part(root, part, "gtFine").items():
                if city not in CITIES:
                    message = (
                        f"unknown city {city!r} in {root.absolute()}, {part}/: the splits {', '.join(VAL_CITIES)} "
                        f"consist of the 21 official cities {', '.join(CITIES)}"
                    )
                    raise UserValueError(message)
                pairs[city] = pairs.get(city, []) + found
    if not pairs:
        raise _missing(root, "leftImg8bit", "train")
    return dict(sorted(pairs.items()))


def select_cities(pairs: dict[str, list[Pair]], cities: Sequence[str], problem: str, root: Path) -> list[Pair]:
    """Select the pairs of some cities.

    Args:
        pairs: From `find_fine`.
        cities: The cities to select; some may be missing.
        problem: Start of the message if all are missing.
        root: The data set's folder, for the message.

    Returns:
        The pairs, by city.

    Raises:
        ValueError: None of the cities is there.
    """
    found = [pair for city in cities for pair in pairs.get(city, [])]
    if not found:
        message = f"{problem}: {root.absolute()} holds {', '.join(pairs)}, but none of {', '.join(cities)}"
        raise UserValueError(message)
    return found


def find_coarse(root: Path) -> list[Pair]:
    """Pair the images of train_extra/ with their coarse labels.

    Args:
        root: The data set's folder.

    Returns:
        The pairs, by city and then by name.

    Raises:
        FileNotFoundError: The folders do not exist; says what was expected and where to get it.
        ValueError: An image without a label, a label without an image, or no images.
    """
    pairs = [pair for found in _find_part(root, "train_extra", "gtCoarse").values() for pair in found]
    if not pairs:
        raise _missing(root, "leftImg8bit", "train_extra")
    return pairs


def _find_part(root: Path, part: str, annotation: str) -> dict[str, list[Pair]]:
    """Pair the images of one official folder with one kind of label, by city."""
    image_folder = _locate(root, "leftImg8bit", part)
    label_folder = _locate(root, annotation, part)
    if image_folder is None:
        raise _missing(root, "leftImg8bit", part)
    if label_folder is None:
        raise _missing(root, annotation, part)
    ending = f"_{annotation}_labelIds.png"
    pairs: dict[str, list[Pair]] = {}
    without_label: list[str] = []
    without_image: list[str] = []
    others = [
        (f"{folder.relative_to(root).as_posix()}/{name}", reason)
        for folder in (image_folder, label_folder)
        for name, reason in outside_of_folders(folder)
    ]
    for city in sorted({*class_folders(image_folder), *class_folders(label_folder)}):
        images, other_images = _stems(image_folder / city, _IMAGE_ENDING)
        labels, other_labels = _stems(label_folder / city, ending)
        # The official archives also hold maps of colors and instances next to the labels.
        kept = [(name, reason) for name, reason in other_labels if f"_{annotation}_".lower() not in name.lower()]
        for folder, found_there in ((image_folder, other_images), (label_folder, kept)):
            at = (folder / city).relative_to(root).as_posix()
            others += [(f"{at}/{name}", reason) for name, reason in found_there]
        gone = {_BROKEN} & (images.keys() ^ labels.keys()) if part == "train_extra" else set()
        for stem in gone:
            _say_removed(root, city, "label" if stem in images else "image")
            images.pop(stem, None)
            labels.pop(stem, None)
        without_label += [str(image_folder / city / images[stem]) for stem in sorted(images.keys() - labels.keys())]
        without_image += [str(label_folder / city / labels[stem]) for stem in sorted(labels.keys() - images.keys())]
        at_image, at_label = ((folder / city).relative_to(root).as_posix() for folder in (image_folder, label_folder))
        both = sorted(images.keys() & labels.keys())
        found = [Pair(f"{at_image}/{images[stem]}", f"{at_label}/{labels[stem]}") for stem in both]
        if found:
            pairs[city] = found
    say_passed_over(root, others, "images and labels of Cityscapes")
    if without_label:
        raise UserValueError(_unpaired(without_label, "images", f"label <name>{ending} below {label_folder}"))
    if without_image:
        raise UserValueError(_unpaired(without_image, "labels", f"image <name>{_IMAGE_ENDING} below {image_folder}"))
    return pairs


@cache
def _say_removed(root: Path, city: str, what: str) -> None:
    """Report it once per run; `prepare_data` and `setup` both find it."""
    rank_zero_warn(
        f"{root.absolute()}: the {what} of {city}/{_BROKEN} is missing, and its other file is ignored: Cityscapes' "
        "own image of that name is broken"
    )


def _locate(root: Path, kind: str, part: str) -> Path | None:
    """Find root/<kind>/<part>, or root/<kind>*/<kind>/<part> where each archive was unpacked on its own."""
    for folder in (root / kind, *sorted(root.glob(f"{kind}*/{kind}"))):
        if class_folders(folder / part):
            return folder / part
    return None


def _stems(folder: Path, ending: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Map stems to the names with a given ending (in any case), and list the folder's other files."""
    if not folder.is_dir():
        return {}, []
    contents = look_through(folder, IMAGES, deep=False)
    fitting = {name[: -len(ending)]: name for name in contents.names if name.lower().endswith(ending.lower())}
    used = set(fitting.values())
    unfit = [(name, f"its name does not end in {ending}") for name in contents.names if name not in used]
    return fitting, sorted(unfit + contents.others)


def _missing(root: Path, kind: str, part: str) -> UserFileNotFoundError:
    path = root.absolute() / kind / part
    what = "No city folders with images in" if path.is_dir() else "No such folder"
    return UserFileNotFoundError(_MISSING.format(what=what, path=path, root=root))


def _unpaired(paths: Sequence[str], what: str, expected: str) -> str:
    return f"{len(paths)} {what} have no {expected}: {_some(paths)}. Was the data set copied or unpacked in full?"


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
