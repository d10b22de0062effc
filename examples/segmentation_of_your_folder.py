# %% [markdown]
# # Segmentation of images in your own folder, scored by tiles and borders
#
# Images and masks are in a folder. A network is trained on them, and then scored in three ways: on whole images, on
# tiles as large images are often processed, and near the borders of tiles, where the padding matters.
#
# The folder is made here, of textures that come with scikit-image; put yours in its place. Needs `pip install
# 'pcpad[figures]'`. Takes less than a minute on one CPU core, which is far too little training for any conclusion
# about paddings.

# %%
from functools import partial
from pathlib import Path

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import rich
import torch
from PIL import Image
from skimage import data

from pcpad.datamodules import FolderSegmentationDataModule
from pcpad.tasks import SegmentationTask
from pcpad.tasks.evaluation.evaluators import Border, Regular, Tile
from pcpad.tiling import Tiling, run_tiled

# %% [markdown]
# ## The folder
#
# ```
# textures/train/images/00.png    textures/train/labels/00.png
# textures/val/images/00.png      textures/val/labels/00.png
# ```
#
# A label is an image of class ids, here 0 to 2. Other layouts, patterns, tables, palettes and colors are supported too:
# see `FolderSegmentationDataModule`; `pcpad check folder` reports what is wrong with a folder.

# %%
CLASSES = {0: "brick", 1: "grass", 2: "clock"}
SIDE = 128
textures = [getattr(data, name)() for name in CLASSES.values()]


def write(root: Path, number: int, draws: np.random.Generator) -> None:
    """An image of two discs on a background, each with one texture, and its labels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.full((SIDE, SIDE), draws.integers(len(CLASSES)), np.uint8)
    for _ in range(2):
        middle, radius = draws.uniform(0, SIDE, 2), draws.uniform(20, 50)
        labels[np.hypot(y - middle[0], x - middle[1]) < radius] = draws.integers(len(CLASSES))
    image = np.zeros((SIDE, SIDE), np.uint8)
    for index, texture in enumerate(textures):
        top, left = (int(draws.integers(0, length - SIDE)) for length in texture.shape)
        image = np.where(labels == index, texture[top : top + SIDE, left : left + SIDE], image)
    for folder, pixels in (("images", np.stack([image] * 3, axis=2)), ("labels", labels)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / folder / f"{number:02}.png")


draws = np.random.default_rng(0)
for split, count in (("train", 24), ("val", 8)):
    for number in range(count):
        write(Path("textures") / split, number, draws)

# %% [markdown]
# ## Train
#
# The task and the data are Lightning's modules; this is an ordinary trainer. On the command line the same is `pcpad
# fit --config seg_folder.yaml --data.root textures --data.classes '{0: brick, 1: grass, 2: clock}'`.

# %%
L.seed_everything(0)
folder = FolderSegmentationDataModule(
    "textures", classes=CLASSES, batch_size=8, eval_batch_size=4, num_workers=0, crop_size=96, crops=4, color_jitter=0.0
)
task = SegmentationTask(
    architecture="Linknet",  # small; Unet, DeepLabV3Plus and others for real data
    encoder="tu-test_resnet",  # timm's smallest; likewise resnet34 or resnet50
    num_classes=len(CLASSES),
    padding="partial",
    optimizer=partial(torch.optim.AdamW, lr=3e-3),
)
trainer = L.Trainer(
    max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0,
)  # fmt: skip
trainer.fit(task, folder)

# %% [markdown]
# ## Evaluate
#
# All of these are computed in one pass over the images; evaluators with the same predictions share the network's runs.
# `Tile` cuts images into tiles and runs each as a separate image. With a margin each tile sees its surroundings,
# as far as the network looks: `exact` predicts the same as on the whole image. `Border` leaves out the middle of each
# image, so that pixels near borders weigh more.

# %%
task.use_evaluators([Regular(), Tile(64), Tile(64, margin=32), Border(of="tile", size=64, leave_out=[0, "1/2", "3/4"])])
trainer.test(task, folder, verbose=False)

for table in task.report.tables():
    rich.print(table.rich())
print("written:", *task.report.draw(Path()).values())

# %% [markdown]
# ## Look at the predictions
#
# Errors at the tiles' edges are caused by the padding; a margin removes them.

# %%
task.eval()
batch = next(iter(folder.val_dataloader()))
with torch.inference_mode():
    whole = task(batch["image"][:3])
tiled = run_tiled(task, batch["image"][:3], Tiling(64))
figure, axes = plt.subplots(3, 4, figsize=(9, 7), layout="constrained")
for row, image, label, logits, parts in zip(axes, batch["image"], batch["label"], whole, tiled, strict=False):
    row[0].imshow(image.permute(1, 2, 0))
    for axis, classes in zip(row[1:], (label, logits.argmax(0), parts.argmax(0)), strict=True):
        axis.imshow(classes, cmap="viridis", vmin=0, vmax=len(CLASSES) - 1)
    for axis in row:
        axis.set(xticks=[], yticks=[])
for axis, title in zip(axes[0], ("image", "label", "whole image", "tiles of 64 pixels"), strict=True):
    axis.set_title(title)
figure.savefig("segmentation.png", dpi=100)
