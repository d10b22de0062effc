"""What the parts of segmentation cost: ``python -m benchmarks.segmentation [section …]``.

Training crops per second against two straightforward pipelines, evaluation at borders and by tiles against plain
evaluation, and partial against zero padding in whole networks. The variants alternate in one process; ratios
are medians of the rounds with a 95 % interval. ``--json FILE`` keeps it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch import nn
from torchvision import io, tv_tensors
from torchvision.transforms import v2

from benchmarks.common import alternate, peak_memory, ratio, run_sections
from benchmarks.padding import DEVICE, row, trio
from pcpad.datamodules.datasets.cityscapes_files import Pair
from pcpad.datamodules.datasets.cityscapes_labels import IGNORE, LABELS
from pcpad.datamodules.datasets.epochs import Crop
from pcpad.datamodules.datasets.scenes import SceneAugmentation, SceneCrops
from pcpad.datamodules.samples.streets import draw_scene
from pcpad.metrics import BorderIoU, SegmentationIoU
from pcpad.models import deeplabv3plus
from pcpad.tasks.evaluation.evaluators import Inference
from pcpad.tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CROP, SCALE, JITTER, SIGMA = 736, (0.5, 2.0), 0.25, (0.15, 1.3)
CLASSES = 19
LEAVE_OUT = (0, "1/4", "1/3", "1/2", "2/3", "3/4", "7/8")
TRAIN_IDS = np.full(256, IGNORE, np.uint8)
for label in LABELS:
    TRAIN_IDS[label.id] = label.train_id


def versus(what: str, seconds: dict[str, list], base: str, unit: float = 1e3) -> list[dict[str, object]]:
    """Rows of times and of their ratios to one of the calls."""
    rows = []
    for name, times in seconds.items():
        middle, low, high = ratio(times, seconds[base])
        cells = {"what": what, "by": name, "ms": f"{unit * statistics.median(times):.2f}"}
        rows.append(cells | {f"time / {base}": f"{middle:.3f} [{low:.3f}, {high:.3f}]"})
        print(*rows[-1].values(), file=sys.stderr, flush=True)  # while the rest is measured
    return rows


# Training crops


def with_albumentations(root: Path) -> Callable[[Pair], object]:
    """Read both files, map the ids, and hand both to albumentations."""
    factors = (1 - JITTER, 1 + JITTER)
    steps = A.Compose([
        A.RandomScale((SCALE[0] - 1, SCALE[1] - 1), p=1),
        A.PadIfNeeded(CROP, CROP, fill=0, fill_mask=IGNORE),
        A.RandomCrop(CROP, CROP),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(factors, factors, factors, (-JITTER, JITTER), p=1),
        A.GaussianBlur(blur_limit=0, sigma_limit=SIGMA, p=1),
        ToTensorV2(),
    ])  # fmt: skip

    def read(pair: Pair) -> object:
        image = cv2.imread(str(root / pair.image), cv2.IMREAD_COLOR_RGB)
        label = TRAIN_IDS[cv2.imread(str(root / pair.label), cv2.IMREAD_GRAYSCALE)]
        done = steps(image=image, mask=label)
        return {"image": done["image"], "label": done["mask"].long()}

    return read


def with_torchvision(root: Path) -> Callable[[Pair], object]:
    """Read both files, map the ids, and hand both to torchvision's v2 transforms."""
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
    steps = v2.Compose([
        v2.RandomCrop(CROP, pad_if_needed=True, fill=fill),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(JITTER, JITTER, JITTER, JITTER),
        v2.GaussianBlur(5, SIGMA),
    ])  # fmt: skip
    table = torch.from_numpy(TRAIN_IDS)

    def read(pair: Pair) -> object:
        image = tv_tensors.Image(io.decode_image(str(root / pair.image), io.ImageReadMode.RGB))
        label = tv_tensors.Mask(table[io.decode_image(str(root / pair.label), io.ImageReadMode.GRAY).int()])
        scale = float(torch.empty(()).uniform_(*SCALE))
        size = [round(side * scale) for side in image.shape[-2:]]
        image, label = steps(v2.functional.resize(image, size), v2.functional.resize(label, size))
        return {"image": image, "label": label[0].long()}

    return read


def with_pcpad(root: Path) -> Callable[[Pair], object]:
    """The work of `CityscapesDataModule` for a crop."""
    augment = SceneAugmentation(CROP, SCALE, 0.5, JITTER, SIGMA)
    seeds = itertools.count()
    return lambda pair: SceneCrops(root, [pair], 1, augment)[Crop(0, None, next(seeds))]


def write_pairs(root: Path, count: int, encoder: str) -> list[Pair]:
    """Drawn streets with a lens's blur and a sensor's noise, so that the files are as large as real ones."""
    pairs = []
    for number in range(count):
        scene = draw_scene(number, (1024, 2048), seed=1)
        noisy = scene.image + np.random.default_rng(number).normal(0, 7, scene.image.shape)
        image = np.clip(cv2.GaussianBlur(noisy, (0, 0), 1), 0, 255).round().astype(np.uint8)
        pair = Pair(f"{number}_leftImg8bit.png", f"{number}_gtFine_labelIds.png")
        for name, pixels in zip(pair, (image, scene.ids), strict=True):
            if encoder == "Pillow":
                Image.fromarray(pixels).save(root / name)
            else:
                cv2.imwrite(str(root / name), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
        pairs.append(pair)
    return pairs


class Each:
    """Calls a function with each of some arguments, again each time it is iterated over."""

    def __init__(self, function: Callable[[Pair], object], pairs: list[Pair]) -> None:
        self.function, self.pairs = function, pairs

    def __iter__(self) -> Iterator[object]:
        return map(self.function, self.pairs)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One core for torch and OpenCV."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def pipeline(rounds: int) -> list[dict[str, object]]:
    """Training crops of 736² from 1024×2048 PNG files to tensors, on one core, files in the page cache."""
    rows = []
    for encoder in (
        "Pillow",
        "OpenCV",
    ):  # a filter chosen for each row, as by libpng; always the same
        with tempfile.TemporaryDirectory() as folder, one_thread():
            root = Path(folder)
            pairs = write_pairs(root, 6, encoder)
            megabytes = statistics.mean((root / pair.image).stat().st_size for pair in pairs) / 1e6
            makers = {"pcpad": with_pcpad, "torchvision v2": with_torchvision, "albumentations": with_albumentations}
            # A round takes each image twice, so that the scales drawn even out.
            calls = {name: partial(list, Each(make(root), 2 * pairs)) for name, make in makers.items()}
            seconds = alternate(calls, rounds)
        each = 2 * len(pairs)
        for cells in versus(f"{encoder}'s files, {megabytes:.1f} MB", seconds, "pcpad", 1e3 / each):
            rate = each / statistics.median(seconds[str(cells["by"])])
            rows.append({**cells, "crops per second and core": f"{rate:.1f}"})
    return rows


# Evaluation


def border(rounds: int) -> list[dict[str, object]]:
    """Counting seven border regions against one plain mIoU, 1024×2048, labels as blobs, one in ten pixels wrong."""
    draws = np.random.default_rng(0)
    small = draws.integers(0, CLASSES + 1, (32, 64), dtype=np.uint8)
    blobs = torch.from_numpy(cv2.resize(small, (2048, 1024), interpolation=cv2.INTER_NEAREST)).long()[None]
    wrong = torch.from_numpy(draws.random((1, 1024, 2048)) < 0.1)
    label = blobs.masked_fill(blobs == CLASSES, IGNORE)
    prediction = torch.where(wrong, (blobs + 1) % CLASSES, blobs % CLASSES)
    label, prediction = label.to(DEVICE), prediction.to(DEVICE)
    metrics = {
        "one mIoU": SegmentationIoU(CLASSES),
        "one mIoU again": SegmentationIoU(CLASSES),
        "seven borders": BorderIoU(CLASSES, LEAVE_OUT),
    }
    calls = {name: partial(metric.to(DEVICE).update, prediction, label) for name, metric in metrics.items()}
    return versus("update, 1024×2048", alternate(calls, rounds), "one mIoU")


@torch.inference_mode()
def tiles(rounds: int) -> list[dict[str, object]]:
    """Evaluation by tiles of 256² against whole images of 256×512, DeepLabV3+ on ResNet-50, predictions included."""
    network = deeplabv3plus("resnet50", CLASSES).to(DEVICE).eval()
    image = torch.randn(1, 3, 256, 512, device=DEVICE)
    ways = {"whole": None, "whole again": None, "tiles": Tiling(256), "tiles, 1/3 overlap": Tiling(256, "1/3")}
    calls = {name: partial(Inference(tiling).run, network, image) for name, tiling in ways.items()}
    rows = versus("resnet50, 256×512", alternate(calls, max(rounds // 4, 5), warmup=1), "whole")
    for cells, tiling in zip(rows, ways.values(), strict=True):
        windows = tiling.windows(256, 512) if tiling else []
        pixels = sum(window.height * window.width for window in windows) / (256 * 512) if windows else 1
        cells["pixels / whole"] = f"{pixels:.3f}"
    return rows


@torch.inference_mode()
def memory(rounds: int) -> list[dict[str, object]]:
    """Peak memory of evaluation by tiles of 128² beyond the image's, DeepLabV3+ on ResNet-50, by size of the image."""
    network = deeplabv3plus("resnet50", CLASSES).to(DEVICE).eval()
    ways = {"whole": None, "tiles": Tiling(128), "tiles, 1/3 overlap": Tiling(128, "1/3")}
    rows = []
    for height, width in ((128, 256), (256, 512), (512, 512), (128, 2048)):
        image = torch.randn(1, 3, height, width, device=DEVICE)
        cells: dict[str, object] = {
            "image": f"{height}×{width}",
            "its classes, MiB": f"{8 * height * width / 2**20:.1f}",
        }
        for name, tiling in ways.items():
            peak = peak_memory(partial(Inference(tiling).run, network, image), DEVICE)
            cells[f"{name}, MiB"] = f"{peak / 2**20:.1f}"
        print(*cells.values(), file=sys.stderr, flush=True)
        rows.append(cells)
    return rows


# Whole networks


@torch.inference_mode()
def network(rounds: int) -> list[dict[str, object]]:
    """Inference of a whole DeepLabV3+ under partial and zero padding, with an identical zero-padded twin."""
    rows = []
    sizes = {"resnet50": (256, 512), "wide_resnet38": (128, 256)}
    if DEVICE.type == "cuda":
        sizes = dict.fromkeys(sizes, (1024, 2048))
    for encoder, (height, width) in sizes.items():
        nets = trio(lambda encoder=encoder: deeplabv3plus(encoder, CLASSES, padding="zeros").eval())
        image = torch.randn(1, 3, height, width, device=DEVICE)
        calls = {key: partial(nn.Module.__call__, net, image) for key, net in nets.items()}
        rows.append(row(f"{encoder}, {height}×{width}", alternate(calls, max(rounds // 2, 5))))
    return rows


SECTIONS = {function.__name__: function for function in (pipeline, border, tiles, memory, network)}


if __name__ == "__main__":
    run_sections(__doc__, SECTIONS, rounds=40, note=" (crops: always one)")
