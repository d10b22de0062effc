# %% [markdown]
# # How wrong is my network near the borders of its images?
#
# You have a PyTorch Lightning project of your own with a network from timm. Three questions come up:
#
# 1. How far from the image border is the output disturbed by the padding, and by how much?
# 2. Would another padding be better?
# 3. Can a large image be cut into tiles without seams?
#
# This notebook answers them for a small network that is trained here in a few seconds. Nothing is downloaded: the
# pictures come with scikit-image. Needs `pip install 'pcpad[figures]'`. Takes less than a minute on one CPU core.

# %%
import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
import torch.nn.functional as F
from skimage import data
from torch import nn

from pcpad import convert_padding
from pcpad.adaptation import border_report, receptive_field
from pcpad.tiling import Tiling, run_tiled

# %% [markdown]
# ## A project of your own
#
# The task: predict for each pixel which of four surfaces it shows. Training images are collages of parts of four
# photographs, so the labels cost nothing. The module does not use pcpad.

# %%
SURFACES = ("brick", "grass", "gravel", "clock")
photographs = [torch.from_numpy(getattr(data, name)()).float().div(255).sub(0.5).div(0.25) for name in SURFACES]


def collage(side: int, draws: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One surface with a rectangle of another on it: an image (3, side, side) and its labels (side, side)."""
    labels = torch.full((side, side), int(draws.integers(len(SURFACES))))
    top, left = draws.integers(0, side // 2, 2)
    labels[top : top + side // 2, left : left + side // 2] = int(draws.integers(len(SURFACES)))
    image = torch.zeros(side, side)
    for index, photograph in enumerate(photographs):
        y, x = (int(draws.integers(0, length - side)) for length in photograph.shape)
        image = torch.where(labels == index, photograph[y : y + side, x : x + side], image)
    return image.expand(3, -1, -1), labels


class Surfaces(L.LightningModule):
    """The first two stages of a timm network, and a small head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = timm.create_model("test_resnet", features_only=True, out_indices=(1,))
        channels = self.features.feature_info.channels()[-1]
        self.head = nn.Sequential(nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, len(SURFACES), 1))

    def forward(self, image):
        (features,) = self.features(image)
        return F.interpolate(self.head(features), scale_factor=4, mode="nearest")

    def training_step(self, batch, batch_idx):
        image, labels = batch
        return F.cross_entropy(self(image), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


L.seed_everything(0)
draws = np.random.default_rng(0)
collages = torch.utils.data.DataLoader([collage(96, draws) for _ in range(320)], batch_size=8, shuffle=True)
project = Surfaces()
trainer = L.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
)  # fmt: skip
trainer.fit(project, collages)
project.eval()

# %% [markdown]
# How good is it? Measured on new collages, over all pixels and over those within 8 pixels of the border.

# %%
images, labels = map(torch.stack, zip(*(collage(96, draws) for _ in range(64)), strict=True))
with torch.inference_mode():
    right = (project(images).argmax(1) == labels).float()
near = torch.ones(96, 96, dtype=torch.bool)
near[8:-8, 8:-8] = False
print(f"right pixels: {100 * right.mean():.1f} %, near the border {100 * right[:, near].mean():.1f} %")

# %% [markdown]
# ## 1 and 2. The report
#
# `border_report` needs no labels. It runs the network on crops in two ways: on a larger part of the photograph, whose
# output is then cropped, and on the crop by itself. Differences near the border are caused by the padding.
# Copies of the network are converted to other paddings, without training, and measured in the same way.

# %%
print("the network looks", receptive_field(project).margin, "pixels far")
parts = []
for photograph in photographs:
    for top in (0, 100):
        for left in (0, 100):
            parts.append(photograph[top : top + 200, left : left + 200].expand(3, -1, -1))

report = border_report(project, parts, paddings=("partial", "reflect", "replicate"), crop=96, name="Surfaces")
print(report)

# %% [markdown]
# The error by distance from the border. All of it comes from the padding: without a border the curves would be
# zero.

# %%
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for result in report.results:
    distances, errors = zip(*result.curve, strict=True)
    axes.plot(distances, errors, marker=".", label=result.name)
axes.set(xlabel="distance from the border, pixels", ylabel="error / standard deviation", xlim=(0, 40))
axes.legend()
figure.savefig("borders_error.png", dpi=110)

# %% [markdown]
# ## Changing the padding
#
# One line changes the padding of a network in place; weights, keys and hooks stay. `return_report=True` says what
# was converted and what was left, and why. A *trained* network has learned its padding: convert before training, or
# let the original teach the converted network (`pcpad.adaptation.recover`). Going back is exact.

# %%
before = project(images[:1])
_, conversion = convert_padding(project, "partial", example=images[:1], return_report=True)
print(conversion)
convert_padding(project, "zeros")
print("back to zeros, the same bit for bit:", torch.equal(project(images[:1]), before))

# %% [markdown]
# ## 3. Tiles without seams
#
# Within a large image no padding is needed: the true surroundings are there. `margin="exact"` gives
# each tile as much context as the network looks at, and keeps the inner part of its output.

# %%
quarters = [photograph[:120, :120] for photograph in photographs]
large = torch.cat([torch.cat(quarters[:2], dim=1), torch.cat(quarters[2:], dim=1)]).expand(1, 3, -1, -1)
with torch.inference_mode():
    whole = project(large)
tiled = run_tiled(project, large, Tiling(80))
exact = run_tiled(project, large, Tiling(80), margin="exact")
differing = {
    "tiles of 80 pixels": (tiled.argmax(1) != whole.argmax(1)).float().mean(),
    "tiles with an exact margin": (exact.argmax(1) != whole.argmax(1)).float().mean(),
}
for name, share in differing.items():
    print(f"{name:28} {100 * share:.2f} % of pixels get another class than in the whole image")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
left.imshow(large[0, 0], cmap="gray")
left.set_title("image")
for axes, outputs, title in ((middle, tiled, "tiles: |difference to whole|"), (right, exact, "with an exact margin")):
    shown = axes.imshow(
        (outputs - whole).abs().amax(1)[0], cmap="magma", vmin=0, vmax=float((tiled - whole).abs().max())
    )
    axes.set_title(title)
for axes in (left, middle, right):
    axes.set(xticks=[], yticks=[])
figure.colorbar(shown, ax=[middle, right], shrink=0.8)
figure.savefig("borders_seams.png", dpi=110)
