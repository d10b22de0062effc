"""Images that all runs of one padding classify correctly and all of another do not, with the networks' activations.

Activations are summed over channels (2018 paper, Figures 4 and 5; 2022 paper, Figure 11), averaged over the runs of a
padding, and shown relative to the map's own mean, so that 1 is average for every network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from pcpad.commands.figures import options
from pcpad.commands.figures.feature_maps import check_layers, last_two_sizes, maps_of, spatial_layers
from pcpad.commands.parser import file_name
from pcpad.errors import UserValueError
from pcpad.tasks.base import Task
from pcpad.tasks.pictures.plots import need_matplotlib, new_figure, save_figure
from pcpad.terminal import say


@dataclass(frozen=True)
class Group:
    """The runs of one padding.

    Args:
        padding: Its name.
        tasks: One a run.
    """

    padding: str
    tasks: Sequence[LightningModule]

    @torch.no_grad()
    def predictions(self, image: Tensor) -> Tensor:
        """The class that each run sees in each image: (runs, N) on the CPU."""
        return torch.stack([task(image).argmax(dim=1).cpu() for task in self.tasks])

    def activations(self, image: Tensor, layers: Sequence[str]) -> list[np.ndarray]:
        """For one image (1, 3, H, W) and each layer, activations summed over channels, relative to their mean."""
        found = []
        for maps in zip(*(maps_of(task, image, layers) for task in self.tasks), strict=True):
            summed = torch.stack([part.flatten(1, -3).sum(1)[0] for part in maps]).mean(0).cpu()
            # Outputs without ReLU sum to about zero somewhere; their mean size still is a scale.
            found.append((summed / summed.abs().mean().clamp_min(1e-12)).numpy())
        return found


@dataclass(frozen=True)
class Found:
    """An image that one group classifies correctly and the other does not.

    Args:
        index: Its place among the images looked at.
        image: (3, H, W), as the data module gives it.
        label: The true class.
        right: The group that is right: 0 or 1.
        seen: What the runs of the other group see in it.
    """

    index: int
    image: Tensor
    label: int
    right: int
    seen: tuple[int, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the figure's options."""
    parser.add_argument(
        "--first", nargs="+", type=file_name, required=True, metavar="CKPT", help="the runs of one padding"
    )
    parser.add_argument(
        "--second", nargs="+", type=file_name, required=True, metavar="CKPT", help="the runs of another padding"
    )
    parser.add_argument("--layers", nargs="+", metavar="NAME",
                        help="whose activations are shown (default: the last ones at the two last sizes)")  # fmt: skip
    parser.add_argument("--count", type=options.positive, default=3, metavar="N", help="images each way (default: 3)")
    options.add_checkpoint_options(parser, images=None)
    options.add_output(parser, "activations.png")


def draw(given: argparse.Namespace) -> None:
    """Find the images, draw their activations and write the figure.

    Args:
        given: The parsed options.

    Raises:
        ValueError: Checkpoints and data do not go together, or there is no such image.
    """
    need_matplotlib()
    groups = [_group(given.first, "--first", given), _group(given.second, "--second", given)]
    if groups[0].padding == groups[1].padding:
        message = (
            f"Both groups were trained with {groups[0].padding} padding; --first and --second should differ in it."
        )
        raise UserValueError(message)
    data = options.read_data(given.first[0], given)
    names = [*given.first, *given.second]
    options.check_classes(dict(zip(names, [*groups[0].tasks, *groups[1].tasks], strict=True)), data)
    found, counts, images = find_images(groups, data, given)
    for right in (0, 1):
        one, other = groups[right], groups[1 - right]
        which = f"right in all {len(one.tasks)} runs with {one.padding}, wrong in all {len(other.tasks)} with"
        say(f"{counts[right]} of {images} test images: {which} {other.padding}")
    if not found:
        message = (
            f"No test image is right in all runs of one padding and wrong in all of the other ({images} looked at), so "
            "there is nothing to draw. Use more test images, or fewer runs per padding."
        )
        raise UserValueError(message)
    layers = given.layers or _layers(groups[0].tasks[0], found[0].image[None])
    for task in (task for group in groups for task in group.tasks):
        check_layers(layers, spatial_layers(task, found[0].image[None]))
    _plot(found, groups, layers, _class_names(data, groups), given.output)


def find_images(
    groups: Sequence[Group], data: LightningDataModule, given: argparse.Namespace
) -> tuple[list[Found], list[int], int]:
    """Look through the test images in order.

    Args:
        groups: Two.
        data: Set up.
        given: The parsed options.

    Returns:
        The first `count` images each way; how many there are each way; how many images were looked at.

    Raises:
        ValueError: The data are no classification.
    """
    found: list[list[Found]] = [[], []]
    counts, images = [0, 0], 0
    for batch in options.read_batches(data, given):
        label = batch["label"].cpu()
        if label.dim() != 1:
            message = f"Expected one label per image, (N,), but got {tuple(label.shape)}: is this classification?"
            raise UserValueError(message)
        seen = [group.predictions(batch["image"]) for group in groups]
        for right in (0, 1):
            hits = (seen[right] == label).all(0) & (seen[1 - right] != label).all(0)
            counts[right] += int(hits.sum())
            for at in hits.nonzero().flatten().tolist()[: given.count - len(found[right])]:
                wrong = tuple(seen[1 - right][:, at].tolist())
                found[right].append(Found(images + at, batch["image"][at], int(label[at]), right, wrong))
        images += len(label)
    return [*found[0], *found[1]], counts, images


def _group(checkpoints: Sequence[str], option: str, given: argparse.Namespace) -> Group:
    tasks = [options.read_task(checkpoint, given) for checkpoint in checkpoints]
    kinds = {checkpoint: options.trained_with(task) for checkpoint, task in zip(checkpoints, tasks, strict=True)}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{checkpoint} ({padding})" for checkpoint, padding in kinds.items())
        message = f"Expected the checkpoints of {option} to be runs of one padding, but got {said}"
        raise UserValueError(message)
    return Group(next(iter(kinds.values())), tasks)


def _layers(task: LightningModule, image: Tensor) -> list[str]:
    return last_two_sizes(spatial_layers(task, image))


def _class_names(data: LightningDataModule, groups: Sequence[Group]) -> list[str]:
    task = groups[0].tasks[0]
    names = getattr(data, "class_names", None) or (task.class_names if isinstance(task, Task) else None)
    return [str(name) for name in names] if names else []


def _plot(
    found: Sequence[Found], groups: Sequence[Group], layers: Sequence[str], names: Sequence[str], path: Path
) -> None:
    columns = 1 + len(groups) * len(layers)
    figure, axes = new_figure(len(found), columns, (1.2 + 2.1 * columns, 0.9 + 2.4 * len(found)))
    maps = [[part for group in groups for part in group.activations(item.image[None], layers)] for item in found]
    top = max(float(part.max()) for row in maps for part in row)
    # Layers without ReLU have sums below zero, which a scale from zero would hide.
    low = min(0.0, *(float(part.min()) for row in maps for part in row))
    titles = [f"{group.padding}\n{layer}" for layer in layers for group in groups]
    order = [len(layers) * group + layer for layer in range(len(layers)) for group in range(len(groups))]
    for item, line, parts in zip(found, axes, maps, strict=True):
        line[0].imshow(_picture(item.image))
        line[0].set_xlabel(_caption(item, groups, names), fontsize=8)
        for axis, title, place in zip(line[1:], titles, order, strict=True):
            shown = axis.imshow(parts[place], cmap="viridis", vmin=low, vmax=top)
            axis.set_title(title if item is found[0] else "", fontsize=9)
        for axis in line:
            axis.set(xticks=[], yticks=[])
    axes[0, 0].set_title("input", fontsize=9)
    label = "activations summed over channels, relative to the map's mean"
    figure.colorbar(shown, ax=axes, label=label, aspect=40)
    say(f"Written to {save_figure(figure, path)}")


def _picture(image: Tensor) -> np.ndarray:
    values = image.cpu().permute(1, 2, 0)
    return values.numpy() if values.dtype == torch.uint8 else values.float().clamp(0, 1).numpy()


def _caption(item: Found, groups: Sequence[Group], names: Sequence[str]) -> str:
    called = [names[index] if names else str(index) for index in dict.fromkeys(item.seen)]
    right, wrong = groups[item.right].padding, groups[1 - item.right].padding
    label = names[item.label] if names else str(item.label)
    return f"image {item.index}: {label}\n{right}: right\n{wrong}: {', '.join(called)}"
