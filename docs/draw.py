"""Draw the pictures of the documentation with pcpad itself, on drawn images: no photographs, no training.

python docs/draw.py build/pictures               # each for light and, as NAME-dark.png, for dark pages
python docs/draw.py docs/pictures idea borders   # the two that README shows, which are kept there
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from pcpad import PanopticPartialConv2d, convert_padding
from pcpad.adaptation import BorderReport, border_report
from pcpad.datamodules.datasets.damages import draw_damage
from pcpad.datamodules.datasets.filtered_crops import filter_inside, gaussian_kernel
from pcpad.datamodules.datasets.strokes import draw_mask
from pcpad.datamodules.samples.kinetics import draw_motion
from pcpad.datamodules.samples.streets import Scene, draw_scene
from pcpad.filling import fill_picture
from pcpad.functional import padding_ratio, update_mask
from pcpad.paddings import pad_function

__all__ = ["DRAWN", "main"]

INK = {"": "#202020", "-dark": "#e0e0e0"}
PAPER = {"": "#ffffff", "-dark": "#1e2129"}  # of Material's two schemes
TEAL, ORANGE = "#009688", "#e67e22"


@cache
def street(number: int, height: int = 160) -> Scene:
    """One drawn street scene."""
    return draw_scene(number, (height, 2 * height), 7)


def as_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) bytes as (3, H, W) in [0, 1]."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255


def as_picture(image: Tensor) -> np.ndarray:
    """(3, H, W) as (H, W, 3)."""
    return image.clamp(0, 1).permute(1, 2, 0).numpy()


def row(titles: list[str], pictures: list[np.ndarray], wide: float = 9.6, **options: object) -> Figure:
    """Pictures side by side, each below its title."""
    ratios = [picture.shape[1] / picture.shape[0] for picture in pictures]
    figure = Figure(figsize=(wide, wide / sum(ratios) + 0.35), layout="constrained")
    for axes, title, picture in zip(
        figure.subplots(1, len(pictures), width_ratios=ratios), titles, pictures, strict=True
    ):
        axes.imshow(picture, interpolation="nearest", **options)
        axes.set_title(title, fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


def numbers(axes: Axes, values: Tensor, form: Callable[[float], str]) -> None:
    """A small map with its values in it."""
    axes.imshow(values, cmap="YlGnBu", vmin=0.6, vmax=3.2)
    for (y, x), value in np.ndenumerate(values.numpy()):
        axes.text(x, y, form(float(value)), ha="center", va="center", color="#202020" if value < 2 else "white")
    axes.set_axis_off()


def idea() -> Figure:
    """A window in the corner, and the ratio at each position."""
    figure = Figure(figsize=(7.2, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(np.pad(np.ones((5, 5)), 1), cmap="Greys", vmin=-0.4, vmax=6, extent=(-1.5, 5.5, 5.5, -1.5))
    for line in range(8):
        left.axhline(line - 1.5, color="#999999", lw=0.5)
        left.axvline(line - 1.5, color="#999999", lw=0.5)
    for y in range(-1, 2):
        for x in range(-1, 2):
            inside = y >= 0 and x >= 0
            left.text(
                x, y, "w" if inside else "–", ha="center", va="center", color=TEAL if inside else ORANGE, fontsize=12
            )
    left.add_patch(mpl.patches.Rectangle((-1.5, -1.5), 3, 3, fill=False, lw=2.5, edgecolor=TEAL))
    left.set_title("in the corner 4 of 9 taps see the image", fontsize=10)
    left.set_axis_off()
    numbers(right, padding_ratio((5, 5), 3, padding=1), lambda value: "1" if value == 1 else f"9/{9 / value:.0f}")
    right.set_title("so their sum counts 9/4 times", fontsize=10)
    return figure


def paddings() -> Figure:
    """How each padding continues an image."""
    image = as_tensor(street(0).image)[None, :, :, 60:180]
    names = ["zeros", "reflect", "replicate", "circular", "mean", "extrapolate"]
    pads = (0, 70, 0, 0)
    padded = []
    for name in names:
        full = nn.functional.pad(image, pads) if name == "zeros" else pad_function(name)(image, pads)
        full = full[0].clamp(0, 1)
        full[:, :, 119:121] = torch.tensor([0.0, 0.6, 0.55])[:, None, None]
        padded.append(as_picture(full))
    return row(names, padded)


def blur(padding: str) -> nn.Module:
    """A network that blurs: two padded 7×7 convolutions of each color."""
    network = nn.Sequential(*(nn.Conv2d(3, 3, 7, padding=3, groups=3, bias=False) for _ in range(2)))
    for layer in network:
        layer.weight.data[:] = gaussian_kernel(7, 2.0)
    return convert_padding(network, padding) if padding != "zeros" else network


@cache
def blurred_report() -> BorderReport:
    """How wrong a blur is near borders, on drawn streets."""
    images = [as_tensor(street(number, 128).image) for number in range(16)]
    names = ("zeros", "reflect", "replicate", "mean", "partial")
    with redirect_stdout(StringIO()):
        return border_report(blur("zeros"), images, paddings=names, crop=64, context=16)


def borders() -> Figure:
    """How wrong each padding makes a network, by the distance from the border."""
    report = blurred_report()
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for result in report.results:
        distances, errors = zip(*result.curve, strict=True)
        axes.plot(distances, [100 * error for error in errors], marker=".", label=result.name)
    axes.set(xlabel="pixels from the border", ylabel="error, % of the output's spread", xlim=(0, 10))
    axes.legend(frameon=False)
    return figure


def holes() -> Figure:
    """The mask after each layer."""
    mask = torch.from_numpy(draw_mask(96, (0.3, 0.4), np.random.default_rng(4))).float()[None, None]
    mask = (mask > 0).float()
    masks = [mask]
    for _ in range(3):
        masks.append(update_mask(masks[-1], 7, stride=2, padding=3))
    titles = ["mask: white is valid", "after one layer, 7×7, stride 2", "after two", "after three"]
    return row(titles, [one[0, 0].numpy() for one in masks], cmap="gray", vmin=0, vmax=1)


def panoptic() -> Figure:
    """One filter with and without panoptic partial convolution."""
    scene = street(0)
    image = as_tensor(scene.image)[:, None, 40:130, 100:260]
    ids = torch.from_numpy(scene.instances.astype(np.int64))[None, None, 40:130, 100:260]
    plain = nn.Conv2d(1, 1, 9, padding=4, bias=False)
    layer = PanopticPartialConv2d(1, 1, 9, padding=4, bias=False)
    for one in (plain, layer):
        one.weight.data.fill_(1 / 81)
    with torch.no_grad():
        blurred, apart = plain(image)[:, 0], layer(image, ids.expand(3, -1, -1, -1))[:, 0]
    return row(
        ["image", "9×9 mean by convolution", "by panoptic partial convolution"],
        [as_picture(image[:, 0]), as_picture(blurred), as_picture(apart)],
    )


def filling() -> Figure:
    """A damaged picture, and filled by the shipped network."""
    image = torch.from_numpy(street(1, 192).image.copy()).permute(2, 0, 1)[:, :, 96:288]
    mask = draw_damage(192, np.random.default_rng(5), "scratches") > 0
    mask &= draw_damage(192, np.random.default_rng(9), "writing") > 0
    mask = torch.from_numpy(mask.astype(np.uint8))[None]
    filled = fill_picture(image, mask).image
    damaged = torch.where(mask.bool(), image, 255)
    shown = [as_picture(one / 255) for one in (damaged, filled, image)]
    return row(["damaged", "pcpad fill", "as it was"], shown)


def classification() -> Figure:
    """Handwritten digits, as `pcpad sample digits` writes them."""
    from sklearn.datasets import load_digits

    digits = load_digits().images[:10]
    return row([str(label) for label in range(10)], list(digits), cmap="gray")


def segmentation() -> Figure:
    """A street, its labels, and what the border evaluation leaves out."""
    scene = street(2)
    labels = mpl.colormaps["tab20"](scene.ids % 20)[..., :3]
    left_out = scene.image.copy()
    for x in (0, 160):
        left_out[160 // 4 : 160 * 3 // 4, x + 160 // 4 : x + 160 * 3 // 4] = 0
    return row(["image", "label ids", "two tiles, the middle half left out"], [scene.image, labels, left_out])


def action() -> Figure:
    """Frames of one drawn video."""
    frames = list(draw_motion("growing", 40, (96, 128), np.random.default_rng(1)))
    return row([f"frame {number}" for number in (0, 12, 24, 36)], [frames[number] for number in (0, 12, 24, 36)])


def inpainting() -> Figure:
    """An image, a drawn mask, and what the network sees."""
    image = street(1).image[:, 80:240]
    mask = draw_mask(160, (0.2, 0.3), np.random.default_rng(2)) > 0
    return row(
        ["image", "mask: 1 is valid", "what the network sees"],
        [image, np.repeat(mask[..., None] * 1.0, 3, axis=2), np.where(mask[..., None], image, 0)],
    )


def synthesis() -> Figure:
    """Label ids and instance ids of a street, and its image."""
    scene = street(2)
    colors = np.random.default_rng(0).random((70000, 3))
    return row(
        ["label ids", "instance ids", "image"],
        [mpl.colormaps["tab20"](scene.ids % 20)[..., :3], colors[scene.instances], scene.image],
    )


def gaussian() -> Figure:
    """A crop, and the filter's answer with true context around it."""
    kernel = gaussian_kernel(13, 2.0)
    whole = as_tensor(street(0).image)
    target = filter_inside(whole, kernel)
    inside = whole[:, 6:-6, 6:-6]
    y, x = 30, 100
    crops = [as_picture(one[:, y : y + 64, x : x + 64]) for one in (inside, target)]
    return row(["64 × 64 crop, the input", "target, filtered with true context"], crops, wide=5.6)


def border_counts() -> Figure:
    """How much of each convolution's output reaches into the padding."""
    import torchvision

    network = torchvision.models.resnet50().eval()
    shares, names = [], []

    def count(layer: nn.Conv2d, given: tuple[Tensor, ...], result: Tensor) -> None:
        if any(layer.padding):
            ratio = padding_ratio(
                tuple(given[0].shape[-2:]), layer.kernel_size, layer.stride, layer.padding, layer.dilation
            )
            shares.append(float((ratio != 1).float().mean()))
            names.append(f"{result.shape[-2]}²")

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(shares)), [100 * share for share in shares], color=TEAL)
    axes.set_xticks(range(len(shares)), names, fontsize=8)
    axes.set(ylabel="% of positions at the border", xlabel="padded convolutions of ResNet-50, by size of their output")
    return figure


DRAWN: dict[str, Callable[[], Figure]] = {
    "idea": idea,
    "paddings": paddings,
    "borders": borders,
    "holes": holes,
    "panoptic": panoptic,
    "filling": filling,
    "classification": classification,
    "segmentation": segmentation,
    "action": action,
    "inpainting": inpainting,
    "synthesis": synthesis,
    "gaussian": gaussian,
    "border-counts": border_counts,
}


def main(args: list[str] | None = None) -> None:
    """Draw all pictures.

    Args:
        args: The folder, and names of pictures; all of them when none is given.
    """
    folder, *names = sys.argv[1:] if args is None else args
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or DRAWN:
        for scheme, ink in INK.items():
            colors = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
            fill = {"axes.facecolor": PAPER[scheme]}
            with mpl.rc_context({"font.size": 9, **fill, **dict.fromkeys(colors, ink)}):
                figure = DRAWN[name]()
                figure.savefig(Path(folder) / f"{name}{scheme}.png", dpi=110, facecolor=PAPER[scheme])
        print(Path(folder) / f"{name}.png")


if __name__ == "__main__":
    main()
