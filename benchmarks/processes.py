"""All numbers that every task logs or writes, on one process and on several, on sets that these do not divide.

`python benchmarks/processes.py [classification …] [--processes 2] [--size 5] [--loader ours|plain] [--json FILE]`

Each task is trained for two steps of four samples, tested and, if it can predict, applied. Batch norms keep their
statistics, which several processes would otherwise compute from fewer samples each, and dropout is off. For each file
the table shows the number that differs most. Ends with exit code 1 if numbers differ.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import logging
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD
from torch.utils.data import DataLoader
from torchmetrics.image import fid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common
from pcpad.datamodules.base import DataModule
from pcpad.models.street_detector import StreetDetector
from pcpad.tasks import (
    ActionRecognitionTask,
    ClassificationTask,
    GaussianFilteringTask,
    InpaintingTask,
    SegmentationTask,
    SynthesisTask,
    Task,
)
from pcpad.tasks.callbacks import RunResults
from pcpad.tasks.evaluation import EvaluationFiles
from pcpad.tasks.evaluation.evaluators import Border, Regular, Tile
from pcpad.tasks.judges import detection, inception

_BATCH = 4  # samples per training step, over all processes
_CLOSE = 1e-6  # relative to the larger number, or absolute below 1
_LABELS = 4
_IN = ": "
_STREET = (7, 24, 26)  # road, person, car

Item = dict[str, object]
Numbers = dict[str, float]


@dataclass
class Case:
    """A task and its data.

    Args:
        task: Makes it.
        item: Makes the sample of a number.
        testing: What the test has besides: evaluators.
        training_item: Makes those to train on, where they differ.
        predicts: Keys of a sample to predict.
        offers: Attributes of the data module.
    """

    task: Callable[[], Task]
    item: Callable[[int], Item]
    testing: Callable[[Task], None] = lambda task: None
    training_item: Callable[[int], Item] | None = None
    predicts: tuple[str, ...] = ()
    offers: dict[str, object] = field(default_factory=dict)


class Ours(DataModule):
    """Samples, distributed over processes by this package."""

    def __init__(self, case: Case, size: int, processes: int) -> None:
        super().__init__(batch_size=_BATCH // processes, eval_batch_size=2)
        self.case = case
        self.items = [case.item(number) for number in range(size)]
        for name, value in case.offers.items():
            setattr(self, name, value)

    def train_dataloader(self) -> DataLoader:
        """Two steps of them and one sample."""
        item = self.case.training_item or self.case.item
        return self.training_loader([item(number) for number in range(2 * _BATCH + 1)])

    def val_dataloader(self) -> DataLoader:
        """All of them."""
        return self.evaluation_loader(self.items)

    test_dataloader = val_dataloader

    def predict_dataloader(self) -> DataLoader:
        """All of them, without their labels."""
        return self.prediction_loader(self.unlabeled(), batch_size=1)

    def unlabeled(self) -> list[Item]:
        """The data to predict from."""
        return [
            {"path": f"{number}.png", **{key: item[key] for key in self.case.predicts}}
            for number, item in enumerate(self.items)
        ]


class Plain(LightningDataModule):
    """The same samples in plain loaders, which Lightning distributes."""

    def __init__(self, case: Case, size: int, processes: int) -> None:
        super().__init__()
        self.ours = Ours(case, size, processes)
        for name, value in case.offers.items():
            setattr(self, name, value)

    def train_dataloader(self) -> DataLoader:
        """As in the other data module: the order of the samples is not compared."""
        self.ours.trainer = self.trainer
        return self.ours.train_dataloader()

    def val_dataloader(self) -> DataLoader:
        """All of them."""
        return DataLoader(self.ours.items, batch_size=2)

    test_dataloader = val_dataloader

    def predict_dataloader(self) -> DataLoader:
        """All of them, without their labels."""
        return DataLoader(self.ours.unlabeled(), batch_size=1)


class KeepStatistics(Callback):
    """Batch norms that normalize by their running statistics, and no dropout."""

    def on_train_batch_start(self, trainer, task, batch, number) -> None:
        """Set them to evaluation mode."""
        for module in task.modules():
            if isinstance(module, (_BatchNorm, torch.nn.Dropout)):
                module.eval()


def sgd(parameters) -> SGD:
    """An optimizer with a small learning rate."""
    return SGD(parameters, lr=1e-5)


def noise(number: int, *shape: int, high: int = 256) -> torch.Tensor:
    """Bytes that depend on the sample alone."""
    return torch.randint(high, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(number))


def blocks(number: int, high: int, size: int, block: int) -> torch.Tensor:
    """A map (size, size) of blocks."""
    small = noise(number, size // block, size // block, high=high)
    return small.repeat_interleave(block, 0).repeat_interleave(block, 1)


def scene(number: int) -> Item:
    """A street of three classes, brighter toward the top; a row and, in every third scene, much more is ignored."""
    label = blocks(number, 3, 48, 8).long()
    image = (label * 60 + noise(number, 3, 48, 48, high=120)).to(torch.uint8)
    label[0] = 255
    if number % 3 == 2:
        label[:, 24:] = 255
    return {"image": image, "label": label}


def training_scene(number: int) -> Item:
    """The same with all labels: processes' losses are averaged like their gradients, whatever they are means of."""
    item = scene(number)
    item["label"] = torch.where(item["label"] == 255, 1, item["label"])
    return item


def picture(number: int) -> Item:
    """Noise on a slope, each with a hole of another share of it, at the border or not."""
    slope = torch.linspace(0, 100 + 20 * (number % 5), 112).round().to(torch.uint8)
    mask = torch.ones(1, 112, 112)
    side = (20, 45, 60, 75, 82)[number % 5]
    top = 0 if number % 2 else (112 - side) // 2
    mask[:, top : top + side, (112 - side) // 2 :][:, :, :side] = 0
    return {"image": (slope + noise(number, 3, 112, 112, high=60)).to(torch.uint8), "mask": mask}


def street(number: int) -> Item:
    """Maps of a road with people and cars, in Cityscapes' ids, and a picture of them."""
    which = blocks(number, 3, 64, 16).long()
    label = torch.tensor(_STREET)[which]
    instance = torch.where(which == 0, label, 1000 * label + blocks(number + 50, 3, 64, 16))[None]
    image = (label * 8 + noise(number, 3, 64, 64, high=40)).clamp(0, 255).to(torch.uint8)
    full = label.repeat_interleave(2, 0).repeat_interleave(2, 1)[None].to(torch.uint8)
    return {"image": image, "label": label[None], "instance": instance, "label_full": full}


def crop(number: int) -> Item:
    """Noise and its target."""
    image = noise(number, 3, 48, 48)
    return {"image": image, "target": torch.nn.functional.avg_pool2d(image / 255, 5, 1, 2)}


def clip(number: int) -> Item:
    """A window of one of few videos, some of which have more."""
    video = (0, 0, 0, 1, 2, 2, 3)[number % 7]
    return {"clip": noise(number, 3, 6, 16, 16), "label": torch.tensor(2 * video), "video": torch.tensor(video)}


def settled(task: Task) -> Task:
    """The task with batch norms that have seen clips; otherwise its numbers grow from layer to layer."""
    for module in task.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None  # the mean over what it sees
    with torch.no_grad():
        task.train()(torch.stack([clip(number)["clip"] for number in range(8)]))
    return task


class Sees(torch.nn.Module):
    """A detector whose boxes depend on the picture."""

    def forward(self, images) -> list[dict[str, torch.Tensor]]:
        """One car and one person in each."""
        edges = [16 * float(image.mean()) for image in images]
        boxes = [torch.tensor([[16 - edge, 0, 48, 32 + edge], [0, 32, 16 + edge, 64]]) for edge in edges]
        labels, scores = torch.tensor([3, 1]), torch.tensor([0.9, 0.5])
        return [{"boxes": box, "labels": labels, "scores": scores} for box in boxes]


def judge_file(folder: Path) -> str:
    """A segmentation checkpoint that serves as judge."""
    torch.manual_seed(1)
    judge = SegmentationTask(encoder="resnet18", num_classes=3)
    torch.save({"state_dict": judge.state_dict(), "hyper_parameters": dict(judge.hparams)}, folder / "judge.ckpt")
    return str(folder / "judge.ckpt")


class Features(torch.nn.Module):
    """A layer in place of Inception, with arbitrary weights."""

    def __init__(self, *names: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.fc = torch.nn.Linear(192, 40), torch.nn.Linear(40, 12)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Bytes (N, 3, H, W) to features (N, 40)."""
        small = torch.nn.functional.adaptive_avg_pool2d(image.float() / 255, 8)
        return self.layer(small.flatten(1)).relu()


def inception_file(folder: Path) -> str | None:
    """A file in place of Inception's, if torch-fidelity is installed."""
    if find_spec("torch_fidelity") is None:
        return None
    fid.NoTrainInceptionV3, inception._FEATURES = Features, 40
    torch.save({}, folder / "inception.pth")
    return str(folder / "inception.pth")


def cases(folder: Path) -> dict[str, Callable[[], Case]]:
    """All tasks, small."""
    evaluators = [Regular(flip=True), Tile(24, "1/3"), Border(size=24), Border(of="regular")]
    train_ids = [255] * 35
    for place, label in enumerate(_STREET):
        train_ids[label] = place
    small = {"num_labels": 35, "ngf": 2, "ndf": 4, "loss_weights": {"vgg": 0}}
    optimizers = {"generator_optimizer": sgd, "discriminator_optimizer": sgd}

    def synthesis() -> Case:
        detection.load_detector = lambda weights: StreetDetector(Sees(), {1: 24, 3: 26}, "sees")
        found = {"detector": "sees" if find_spec("faster_coco_eval") else None, "inception": inception_file(folder)}
        found |= {"judge": judge_file(folder), "protocols": ["upsample_image", "upsample_logits", "downsample_labels"]}
        return Case(
            lambda: SynthesisTask(**small, **optimizers, **found),
            street,
            predicts=("label", "instance"),
            offers={"train_ids": train_ids},
        )

    def inpainting() -> Case:
        options = {"depth": 3, "width": 8, "loss_weights": {"perceptual": 0, "style": 0}}
        made = {"optimizer": sgd, "inception": inception_file(folder)}
        return Case(lambda: InpaintingTask(**options, **made), picture)

    few = {"num_classes": 3, "optimizer": sgd}
    return {
        "classification": lambda: Case(
            lambda: ClassificationTask("squeezenet1_1", 7, optimizer=sgd),
            lambda number: {"image": noise(number, 3, 32, 32), "label": torch.tensor(number % 7)},
            predicts=("image",),
        ),
        "segmentation": lambda: Case(
            lambda: SegmentationTask(encoder="resnet18", **few), scene, training_item=training_scene
        ),
        "segmentation --eval": lambda: Case(
            lambda: SegmentationTask(encoder="resnet18", **few),
            scene,
            testing=lambda task: task.use_evaluators(evaluators),
            training_item=training_scene,
            predicts=("image",),
        ),
        "action recognition": lambda: Case(
            lambda: settled(ActionRecognitionTask("resnet3d18", 7, width=4, optimizer=sgd)),
            clip,
        ),
        "inpainting": inpainting,
        "synthesis": synthesis,
        "gaussian filtering": lambda: Case(lambda: GaussianFilteringTask(width=4, optimizer=sgd), crop),
    }


def run(case: Case, processes: int, size: int, loader: str) -> Numbers:
    """Train, test and apply a task.

    Returns:
        All numbers that were logged or written, by name.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), {}

        def trainer(*callbacks: Callback) -> Trainer:
            os.environ.pop("MASTER_PORT", None)  # the last run's may still be in use
            return Trainer(
                accelerator="cpu",
                devices=processes,
                strategy="ddp_fork" if processes > 1 else "auto",
                max_epochs=1,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
                callbacks=[*callbacks],
            )

        def made() -> tuple[Task, LightningDataModule]:
            torch.manual_seed(0)
            data = (Ours if loader == "ours" else Plain)(case, size, processes)
            return case.task(), data

        task, data = made()
        case.testing(task)
        files = [] if isinstance(task, InpaintingTask) else [EvaluationFiles()]
        (scores,) = trainer(RunResults(), *files).test(task, data, verbose=False)
        found |= scores
        fit = trainer(KeepStatistics(), RunResults(monitor=_monitor(task), last_epochs=1))
        fit.fit(*made())
        found |= {name: float(value) for name, value in fit.callback_metrics.items()}
        if case.predicts:
            writer = made()[0].prediction_writer(str(folder / "predictions"))
            trainer(writer).predict(*made(), return_predictions=False)
        found |= dict(written(folder))
    return {name: float(value) for name, value in found.items()}


def _monitor(task: Task) -> str:
    names = {SegmentationTask: "val/mIoU", SynthesisTask: "val/l1", InpaintingTask: "val/psnr"}
    return names.get(type(task), "val/mse" if isinstance(task, GaussianFilteringTask) else "val/loss")


def written(folder: Path) -> Iterator[tuple[str, float]]:
    """The numbers in the files of a run, by file and place: results.json, tables, and pictures by a hash."""
    for path in sorted(folder.rglob("*")):
        if path.name == "results.json":
            for command, entry in json.loads(path.read_text()).items():
                numbers = entry["metrics"] | {key: entry.get(key) for key in ("best", "mean_last_epochs")}
                yield from ((f"{path.name}{_IN}{command} {key}", value) for key, value in numbers.items() if value)
        elif path.suffix == ".csv":
            for row in csv.DictReader(path.open()):
                cells = [cell for cell in row.items() if _is_number(cell[1])]
                yield from ((f"{path.name}{_IN}{[*row.values()][:2]} {key}", float(value)) for key, value in cells)
        elif path.suffix == ".png":
            yield f"*.png{_IN}{path.name}", int(hashlib.sha256(path.read_bytes()).hexdigest()[:6], 16)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def compare(names: list[str], processes: int, size: int, loader: str, folder: Path) -> list[dict[str, object]]:
    """Run tasks on several processes, then on one: a process that has computed gradients cannot fork ones that do."""
    made = {name: cases(folder)[name]() for name in names}
    several = {name: run(case, processes, size, loader) for name, case in made.items()}
    rows = []
    for name, case in made.items():
        one, other = run(case, 1, size, loader), several[name]
        for key in sorted({*one, *other}):
            a, b = one.get(key), other.get(key)
            rows.append({"task": name, "metric": key, "one": a, "several": b, "same": _same(a, b)})
    return rows


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return one == other or (one != one and other != other) or abs(one - other) <= _CLOSE * max(1.0, abs(one))


def told(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows to print: for each file the one that differs most."""
    shown: dict[tuple[object, str], list[dict[str, object]]] = {}
    for row in rows:
        file, found, _ = str(row["metric"]).partition(_IN)
        shown.setdefault((row["task"], f"{file} (of its numbers)" if found else file), []).append(row)
    return [_told(task, name, group) for (task, name), group in shown.items()]


def _told(task: object, name: str, group: list[dict[str, object]]) -> dict[str, object]:
    row = max(group, key=lambda row: (not row["same"], _difference(row)))
    values = ["–" if value is None else f"{value:.9g}" for value in (row["one"], row["several"])]
    verdict = "" if row["same"] else " **differs**"
    name = name.replace("(of its", f"({len(group)}")
    return {"task": task, "metric": name, "one process": values[0], "several": values[1],
            "difference": f"{_difference(row):.1e}{verdict}"}  # fmt: skip


def _difference(row: dict[str, object]) -> float:
    one, other = row["one"], row["several"]
    return math.inf if one is None or other is None else 0.0 if one != one and other != other else abs(one - other)


def main() -> int:
    """Run, print the table, and say whether all numbers agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", help="all by default")
    parser.add_argument("--processes", type=int, default=2, choices=(2, 4))
    parser.add_argument("--size", type=int, default=5, help="samples per evaluation")
    parser.add_argument("--loader", choices=("ours", "plain"), default="ours")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a forked process cannot use the OpenMP threads of the one it comes from
    warnings.filterwarnings("ignore")
    seed_everything(0, verbose=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        names = arguments.tasks or list(cases(Path(folder)))
        rows = compare(names, arguments.processes, arguments.size, arguments.loader, Path(folder))
    common.show(told(rows))
    common.save(rows, arguments.json)
    different = sum(not row["same"] for row in rows)
    print(f"\n{len(rows)} numbers of {arguments.size} samples, one process and {arguments.processes}: "
          f"{different or 'none'} differ by more than {_CLOSE:g} of the number, or of 1")  # fmt: skip
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
