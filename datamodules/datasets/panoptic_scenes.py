"""Street images with label ids and instance ids, all of one size, for image synthesis."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from pcpad._renamed import moved
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import LABELS, check_ids, count_ids
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.label_maps import match
from pcpad.datamodules.reading.folders import look_for_images
from pcpad.datamodules.reading.listing import Contents
from pcpad.datamodules.reading.names import Names
from pcpad.datamodules.reading.pngs import PngFile
from pcpad.errors import UserFileNotFoundError, UserValueError

UNKNOWN = 34
"""The label for -1 in Cityscapes' tables and 255 in its files: license plates of vehicles."""

_BY_ID = {label.id if label.id >= 0 else UNKNOWN: label for label in LABELS}
NAMES = tuple(_BY_ID[number].name for number in range(UNKNOWN + 1))
"""Names of the 35 labels, by number."""
COLORS = tuple(_BY_ID[number].color for number in range(UNKNOWN + 1))
"""RGB of the 35 labels, by number."""
TRAIN_IDS = tuple(_BY_ID[number].train_id for number in range(UNKNOWN + 1))
"""For each of the 35 labels the class 0 ... 18 in segmentation, or 255."""

_LABEL, _INSTANCE = "_labelIds.png", "_instanceIds.png"
_LABEL_OF_ANY_CASE = re.compile(r"_labelIds(?=\.png$)", re.IGNORECASE)
# Other files next to the maps in Cityscapes' archives, and files that its scripts write.
_BESIDE = re.compile(r"_(color|instanceIds|labelTrainIds|instanceTrainIds|leftImg8bit)\.png$", re.IGNORECASE)


def instance_of(label: str) -> str:
    """The name of the instance map that belongs to a label map."""
    return _LABEL_OF_ANY_CASE.sub("_instanceIds", label)


class Maps(NamedTuple):
    """A label map and its instance map; an image too, except for prediction."""

    label: str
    instance: str
    image: str | None = None


def with_instances(root: Path, pairs: Sequence[Pair]) -> list[Maps]:
    """Find the instance map of each label map.

    Args:
        root: The folder that the pairs are relative to.
        pairs: Images and label maps.

    Returns:
        The maps with their images, as paths that begin with `root`.

    Raises:
        FileNotFoundError: Some label maps have none.
    """
    found = [Maps(str(root / label), str(root / instance_of(label)), str(root / image)) for image, label in pairs]
    _all_there(found)
    return found


def find_maps(folder: Path, left_out: list[str] | None = None) -> list[Maps]:
    """List the label maps of a folder recursively, each with its instance map next to it.

    Args:
        folder: Holds `NAME_labelIds.png` and `NAME_instanceIds.png`, as Cityscapes names them.
        left_out: One line is added for each other file, except for kinds that are common next to maps.

    Returns:
        The maps, by path.

    Raises:
        FileNotFoundError: The folder does not exist, has no label maps, or some without instance map.
        ValueError: Several subfolders hold maps of the same name, whose pictures would overwrite each other.
    """
    contents = look_for_images(folder) if folder.is_dir() else Contents(Names(), [])
    names = [name for name in contents.names if _LABEL_OF_ANY_CASE.search(name)]
    if not names:
        what = "no label maps in" if folder.is_dir() else "no such folder:"
        message = f"{what} {folder.absolute()}: expected NAME{_LABEL}, each with a NAME{_INSTANCE} next to it"
        raise UserFileNotFoundError(message)
    found = [Maps(str(folder / name), str(folder / instance_of(name))) for name in names]
    _all_there(found)
    if left_out is not None:
        left_out += _others(folder, contents, found)
    # Checked here, where all maps are known: with several processes, each sees only its own.
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(Path(name).name, name)
        if other != name:
            message = (
                f"{folder / other} and {folder / name} have the same name, as would their pictures: rename one of "
                "them, or pass one folder at a time"
            )
            raise UserValueError(message)
    return found


def _others(folder: Path, contents: Contents, found: Sequence[Maps]) -> list[str]:
    used = {maps.instance for maps in found}
    others = list(contents.others)
    for name in contents.names:
        if name.lower().endswith(_INSTANCE.lower()) and str(folder / name) not in used:
            others.append((name, "an instance map without a label map"))
        elif not _LABEL_OF_ANY_CASE.search(name) and not _BESIDE.search(name):
            others.append((name, f"its name does not end in {_LABEL}"))
    return [f"{folder / name}: {reason}" for name, reason in sorted(others)]


def _all_there(maps: Sequence[Maps]) -> None:
    missing = [one.instance for one in maps if not Path(one.instance).is_file()]
    if missing:
        message = (
            f"{len(missing)} of {len(maps)} label maps have no instance map next to them: {missing[0]} is missing. "
            "Cityscapes' gtFine archives hold them (16-bit *_instanceIds.png)."
        )
        raise UserFileNotFoundError(message)


class PanopticScenes(CropDataset[dict[str, Any]]):
    """`{"image": (3, H, W) uint8, "label": (1, H, W) int64 in [0, 34], "instance": (1, H, W) int64}`, and more.

    Indexed with a `Crop`, whose seed determines the mirroring, or with a plain position, which is never mirrored.
    `label_full`, for evaluation and prediction, is the label map (1, H0, W0) uint8 at its original size; `path` is the
    label map's path. Items without an image have no `image`.

    Args:
        maps: The files.
        size: H and W.
        flip: Probability of mirroring.
        full: Whether items have `label_full`.
    """

    def __init__(self, maps: Sequence[Maps], size: tuple[int, int], flip: float = 0.0, full: bool = False) -> None:
        self.maps = list(maps)
        self.size = size
        self.flip = flip
        self.full = full

    def __len__(self) -> int:
        return len(self.maps)

    def input_files(self) -> Iterator[tuple[str, ...]]:
        """The label map and the instance map of each sample, which writers must not overwrite."""
        return ((one.label, one.instance) for one in self.maps)

    def __getitem__(self, crop: Crop | int) -> dict[str, Any]:
        number, seed = (crop.file, crop.seed) if isinstance(crop, Crop) else (crop, None)
        maps = self.maps[number]
        file = None if maps.image is None else PngFile(maps.image)
        labels, instances = read_maps(maps.label, maps.instance, file)
        tensors = {"label": _nearest(labels, self.size), "instance": _nearest(instances, self.size)}
        if file is not None:
            image = torch.from_numpy(np.ascontiguousarray(file.rgb().transpose(2, 0, 1)))
            bicubic = InterpolationMode.BICUBIC
            tensors["image"] = tvf.resize(image, list(self.size), interpolation=bicubic, antialias=True)
        if seed is not None and np.random.default_rng(seed).random() < self.flip:
            tensors = {name: tensor.flip(-1) for name, tensor in tensors.items()}
        if self.full:
            tensors["label_full"] = torch.from_numpy(labels)[None]
        return {**tensors, "path": maps.label}


def read_maps(label: str | Path, instance: str | Path, image: PngFile | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a label map and its instance map.

    Args:
        label: An 8-bit file of label ids 0 ... 33, 255 for -1.
        instance: A 16-bit file of instance ids: the label id, or 1000 times the label id plus a number.
        image: Their image, whose orientation is applied to them.

    Returns:
        `(H0, W0)` uint8 in [0, 34], -1 as 34; and `(H0, W0)` uint16.

    Raises:
        BrokenImageError: A file cannot be read.
        ValueError: The files are of another kind, differ in size, or have values that are not label ids.
    """
    file = PngFile(label)
    other = _instances_of(file, instance)
    if image is not None:
        match(image, file)
        match(image, other)
    ids = file.gray()
    wrong = np.flatnonzero((ids.ravel() >= UNKNOWN) & (ids.ravel() != 255))
    if len(wrong):
        row, column = divmod(int(wrong[0]), file.width)
        message = (
            f"{label}: row {row}, column {column} holds {ids[row, column]} ({len(wrong)} such pixels), which is "
            "not a Cityscapes label id (0 ... 33; 255 for -1)"
        )
        raise UserValueError(message)
    check_ids(count_ids(ids), label)
    return np.where(ids == 255, np.uint8(UNKNOWN), ids), other.gray16()


def read_instances(label: str | Path, instance: str | Path) -> np.ndarray:
    """Read only an instance map; see `read_maps` for arguments and errors.

    Returns:
        `(H0, W0)` uint16.
    """
    return _instances_of(PngFile(label), instance).gray16()


def _instances_of(labels: PngFile, instance: str | Path) -> PngFile:
    """Open the instance map of a label map; ValueError if it has another size."""
    other = PngFile(instance)
    if (labels.height, labels.width) != (other.height, other.width):
        message = (
            f"{labels.path} has {labels.width}x{labels.height} pixels (width x height), but its instance map "
            f"{instance} has {other.width}x{other.height}"
        )
        raise UserValueError(message)
    return other


def _nearest(values: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Resize by picking the nearest value, so that ids are not mixed."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64).clip(max=old - 1)
        for new, old in zip(size, values.shape, strict=True)
    )
    return torch.from_numpy(values[rows[:, None], columns].astype(np.int64))[None]


def collate_scenes(items: list[dict[str, Any]], plans: Literal["no", "inference", "training"] = "no") -> dict[str, Any]:
    """Collate items to a batch, with `path` as a list; label maps of several sizes raise ValueError.

    Args:
        items: Items of `PanopticScenes`.
        plans: Whether the batch also gets `plans`, see `pcpad.models.spade.plans_of_strides`; for training they include
            the data for a backward pass.
    """
    sizes = {tuple(item["label_full"].shape[-2:]) for item in items if "label_full" in item}
    if len(sizes) > 1:
        held = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        message = f"label maps of several sizes ({held}) don't fit into one batch: set data.eval_batch_size to 1"
        raise UserValueError(message)
    batch: dict[str, Any] = default_collate(items)
    if plans != "no":
        # Imported here, so that data of other tasks does not wait for it; a task that asks for plans has imported it.
        from pcpad.models.spade import plans_of_strides
        from pcpad.panoptic import panoptic_ids

        ids = panoptic_ids(batch["label"], batch["instance"])
        batch["plans"] = plans_of_strides(ids, gradients=plans == "training")
    return batch


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
