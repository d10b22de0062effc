"""Street images with their label maps: augmented crops for training, whole images for evaluation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from pcpad._renamed import moved
from pcpad.datamodules.datasets.albumentation import A, compose, draw_from, strictly
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import IGNORE, to_train_ids
from pcpad.datamodules.datasets.epochs import Crop, CropDataset
from pcpad.datamodules.datasets.label_maps import check_part, match, read_checked_ids
from pcpad.datamodules.reading.folders import FileTable
from pcpad.datamodules.reading.pngs import PngFile
from pcpad.deprecation import renamed_keywords
from pcpad.errors import UserValueError


class Span(NamedTuple):
    """The part of an image that a crop shows, along one axis.

    Attributes:
        start: The first pixel of the image that is shown.
        size: How many pixels of the image are shown.
        shown: How many pixels of the crop they are resized to; the rest is padding.
        offset: The crop's first pixel that is not padding.
    """

    start: int
    size: int
    shown: int
    offset: int


@renamed_keywords(removed="0.3.0", centre="center")
def choose_span(length: int, crop: int, scale: float, center: int | None, draws: np.random.Generator) -> Span:
    """Choose the part that a crop of a resized image shows, along one axis, in pixels of the original image.

    Cropping before resizing equals resizing before cropping to within half a pixel, and costs only the crop's pixels.

    Args:
        length: The image's size in pixels.
        crop: The crop's size in pixels.
        scale: Factor by which the image is resized.
        center: A pixel that the crop contains, at a random place within it as far as the image allows; None: anywhere.
            (As in public code. Centered crops would hardly ever show rare classes near a border.)
        draws: The random generator.

    Returns:
        The part; if the resized image is smaller than the crop, all of the image, padded on both sides.
    """
    size = max(1, round(crop / scale))
    if size > length:
        shown = min(crop, max(1, round(length * scale)))
        return Span(0, length, shown, (crop - shown) // 2)
    last = length - size
    start = draws.integers(last + 1) if center is None else draws.integers(center - size + 1, center + 1).clip(0, last)
    return Span(int(start), size, crop, 0)


class Pixels(Protocol):
    """An image that can be read in parts."""

    @property
    def height(self) -> int:
        """Rows, upright."""

    @property
    def width(self) -> int:
        """Columns, upright."""

    def rgb(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of the image, `(rows, columns, channels)`: uint8 in [0, 255] or float32 in [0, 1]."""


LabelT = TypeVar("LabelT", bound="Labels")


class Labels(Protocol):
    """A label map that can be read in parts."""

    def gray(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of the label map, `(rows, columns)` uint8."""


class SceneAugmentation:
    """The recipe's augmentation: scale, pad, crop, flip, color jitter, Gaussian blur.

    Args:
        crop: Height and width of the crops.
        scale: Smallest and largest factor an image is resized by, drawn uniformly.
        flip: Probability of mirroring.
        jitter: Largest change of brightness, contrast and saturation (a factor between 1 - jitter and 1 + jitter)
            and of hue (fraction of the color circle); 0: none. For images other than gray or RGB, only brightness and
            contrast change, equally in all channels.
        blur: Smallest and largest σ of the Gaussian, in pixels of the crop; None: no blur.
        channels: The images' number of channels.
    """

    def __init__(
        self,
        crop: int,
        scale: tuple[float, float],
        flip: float,
        jitter: float,
        blur: tuple[float, float] | None,
        channels: int = 3,
    ) -> None:
        self.crop = crop
        self.scale = scale
        steps: list[A.BasicTransform] = [A.HorizontalFlip(p=flip)]
        factors = (1 - jitter, 1 + jitter)
        with strictly():
            if jitter and channels not in (1, 3):
                steps.append(A.RandomBrightnessContrast((-jitter, jitter), (-jitter, jitter), p=1))
            elif jitter:
                steps.append(A.ColorJitter(factors, factors, factors, hue=(-jitter, jitter), p=1))
            if blur is not None:
                # A limit of 0 chooses the kernel size by σ.
                steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=blur, p=1))
            self.steps = compose(steps)

    def __call__(
        self,
        image: Pixels,
        label: LabelT,
        crop: Crop,
        check: Callable[[np.ndarray, LabelT], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut a crop.

        Args:
            image: The image.
            label: Its label map, of the same size.
            crop: Its `center` and `seed` are used. The same seed gives the same crop, in any process.
            check: Called with the part of the label map before it is padded with 255, which the file does not hold.

        Returns:
            `(crop, crop, channels)` in the image's dtype, padded with 0, and label ids `(crop, crop)` uint8, padded
            with 255.
        """
        draws = np.random.default_rng(crop.seed)
        scale = draws.uniform(*self.scale)
        y, x = crop.center or (None, None)
        down = choose_span(image.height, self.crop, scale, y, draws)
        right = choose_span(image.width, self.crop, scale, x, draws)
        # Antialiased when shrinking, as in PIL and torchvision; plain bilinear interpolation would skip pixels.
        smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        part = (slice(down.start, down.start + down.size), slice(right.start, right.start + right.size))
        pixels = self._place(image.rgb(*part), down, right, smooth, 0)
        shown = label.gray(*part)
        if check is not None:
            check(shown, label)
        ids = self._place(shown, down, right, cv2.INTER_NEAREST_EXACT, IGNORE)
        draw_from(self.steps, draws)
        done = self.steps(image=pixels, mask=ids)
        return done["image"], done["mask"]

    def _place(self, part: np.ndarray, down: Span, right: Span, interpolation: int, fill: int) -> np.ndarray:
        part = _resized(part, (right.shown, down.shown), interpolation)
        if part.shape[:2] == (self.crop, self.crop):
            return part
        whole = np.full((self.crop, self.crop, *part.shape[2:]), fill, part.dtype)
        whole[down.offset : down.offset + down.shown, right.offset : right.offset + right.shown] = part
        return whole


def _resized(part: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    """Resize with OpenCV, which drops the axis of a single channel, and supports at most four channels by area."""
    if part.ndim == 2 or part.shape[2] in (3, 4):
        return cv2.resize(part, size, interpolation=interpolation)
    groups = (np.ascontiguousarray(part[..., at : at + 4]) for at in range(0, part.shape[2], 4))
    done = (cv2.resize(group, size, interpolation=interpolation) for group in groups)
    return np.concatenate([group.reshape(size[1], size[0], -1) for group in done], axis=2)


class _Pairs:
    """Images and label maps, in compact tables."""

    def __init__(self, root: Path, pairs: Sequence[Pair]) -> None:
        self._images = FileTable(root, [pair.image for pair in pairs])
        self._labels = FileTable(root, [pair.label for pair in pairs])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Pair:
        return Pair(str(self._images[index]), str(self._labels[index]))


class SceneCrops(CropDataset[dict[str, torch.Tensor]]):
    """Crops for training: `{"image": (3, crop, crop) uint8, "label": (crop, crop) int64 trainIds}`.

    Indexed with a `Crop`; a plain position, as from standard samplers, always gives the same crop of that image.

    Args:
        root: The data set's folder.
        pairs: Images and label maps, relative to it.
        length: Crops per epoch.
        augment: Cuts the crops.
    """

    def __init__(self, root: Path, pairs: Sequence[Pair], length: int, augment: SceneAugmentation) -> None:
        self.pairs = _Pairs(root, pairs)
        self.length = length
        self.augment = augment

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, crop: Crop | int) -> dict[str, torch.Tensor]:
        if not isinstance(crop, Crop):
            crop = Crop(crop, None, crop)
        pair = self.pairs[crop.file]
        image, label = PngFile(pair.image), PngFile(pair.label)
        match(image, label)
        pixels, ids = self.augment(image, label, crop, check_part)
        return scene_item(pixels, to_train_ids(ids))


class WholeScenes(Dataset[dict[str, torch.Tensor]]):
    """Whole images for evaluation: `{"image": (3, H, W) uint8, "label": (H, W) int64 trainIds}`.

    Args:
        root: The data set's folder.
        pairs: Images and label maps, relative to it.
    """

    def __init__(self, root: Path, pairs: Sequence[Pair]) -> None:
        self.pairs = _Pairs(root, pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def file_of(self, index: int) -> str:
        """The image of a sample."""
        return self.pairs[index].image

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pair = self.pairs[index]
        ids = read_checked_ids(Path(), pair)  # the pair's paths include the root
        return scene_item(PngFile(pair.image).rgb(), to_train_ids(ids))


def scene_item(pixels: np.ndarray, train_ids: np.ndarray) -> dict[str, torch.Tensor]:
    """An item of a data set from pixels `(H, W, channels)` and classes `(H, W)` uint8."""
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return {"image": image, "label": torch.from_numpy(np.ascontiguousarray(train_ids)).long()}


def collate_equal_sizes(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Collate items to a batch, as a DataLoader does; images of several sizes raise ValueError."""
    sizes = {tuple(item["image"].shape[-2:]) for item in items}
    if len(sizes) > 1:
        held = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        message = f"images of several sizes ({held}) don't fit into one batch: set data.eval_batch_size to 1"
        raise UserValueError(message)
    batch: dict[str, Any] = default_collate(items)
    return batch


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Names that were here in earlier versions."""
        return moved(__name__, name)
