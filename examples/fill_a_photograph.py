# %% [markdown]
# # Fill the holes of a photograph
#
# A photograph has scratches, a word written across it and a torn-off piece. A mask marks them; `fill_picture` does
# the rest, with a network of 3.2 MB that comes with pcpad, or with OpenCV's and scikit-image's methods. No GPU is
# needed, and nothing is downloaded. Needs `pip install 'pcpad[figures]'`. Takes less than a minute on one CPU core.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from pcpad.filling import fill_picture

# %% [markdown]
# ## A damaged photograph
#
# The shipped network has never seen this one (its training data are named in `pcpad/models/restoration.md`), and
# since the damage is drawn here, the truth is known.

# %%
truth = torch.from_numpy(data.astronaut()).permute(2, 0, 1).contiguous()  # (3, 512, 512) uint8
height, width = truth.shape[1:]


def drawn(draw_damage) -> torch.Tensor:
    """A mask (1, H, W) uint8 of what a function draws: 1 valid, 0 hole."""
    holes = Image.new("1", (width, height))
    draw_damage(ImageDraw.Draw(holes))
    return torch.from_numpy(1 - np.array(holes, dtype=np.uint8))[None]


def scratches(draw: ImageDraw.ImageDraw) -> None:
    """Thin lines from edge to edge."""
    draws = np.random.default_rng(1)
    for _ in range(9):
        start, end = (int(draws.integers(width)), 0), (int(draws.integers(width)), height)
        draw.line([start, end], fill=1, width=int(draws.integers(1, 4)))


def writing(draw: ImageDraw.ImageDraw) -> None:
    """A word in large letters."""
    draw.text((60, 200), "SAMPLE", fill=1, font=ImageFont.load_default(size=90))


def torn(draw: ImageDraw.ImageDraw) -> None:
    """A piece of a corner."""
    draw.polygon([(380, 512), (430, 452), (470, 440), (512, 400), (512, 512)], fill=1)


damages = {"scratches": drawn(scratches), "writing": drawn(writing), "torn corner": drawn(torn)}

# %% [markdown]
# ## Fill it
#
# The image is (3, H, W), uint8 here; the mask (1, H, W), 1 where the image is valid. What is under the mask's zeros
# does not matter. `auto` takes, for each hole, the method that was best for such holes on photographs held out from
# training.

# %%
mask = damages["scratches"] * damages["writing"] * damages["torn corner"]
damaged = torch.where(mask == 0, 255, truth)
filled = fill_picture(damaged, mask)
print("pixels filled, by method:", filled.methods)
print("farther from any valid pixel than the method reaches:", filled.unreached)
print("valid pixels unchanged:", torch.equal(filled.image[:, mask[0] == 1], truth[:, mask[0] == 1]))

# %% [markdown]
# ## How good is it?
#
# Peak signal-to-noise ratio over the holes' pixels in dB, higher is better. One picture is an example, not a
# measurement: `benchmarks/FILLING.md` has 200 photographs, several kinds of damage and intervals.

# %%
METHODS = ("auto", "network", "biharmonic", "telea", "ns")


def psnr(image: torch.Tensor, mask: torch.Tensor) -> float:
    """PSNR in dB, over the holes."""
    holes = mask[0] == 0
    error = (image[:, holes].double() - truth[:, holes].double()).square().mean()
    return float(10 * torch.log10(255**2 / error))


print(f"{'PSNR over the holes, dB':24}", *(f"{method:>11}" for method in METHODS))
for name, one in damages.items():
    broken = torch.where(one == 0, 255, truth)
    scores = [psnr(fill_picture(broken, one, method).image, one) for method in METHODS]
    print(f"{name:24}", *(f"{score:11.2f}" for score in scores))

# %% [markdown]
# ## Look at it

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for axis, image, title in zip(axes, (damaged, filled.image, truth), ("damaged", "filled", "truth"), strict=True):
    axis.imshow(image.permute(1, 2, 0))
    axis.set(title=title, xticks=[], yticks=[])
figure.savefig("filled_photograph.png", dpi=110)
Image.fromarray(filled.image.permute(1, 2, 0).numpy()).save("filled.png")

# %% [markdown]
# From the command line, for folders of pictures, with depth, alpha, color profile and EXIF data kept:
#
# ```
# pcpad fill photo.jpg --masks mask.png --output filled
# pcpad fill scans --mask_from scratches --output masks --masks_only
# ```
