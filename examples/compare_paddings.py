# %% [markdown]
# # Compare paddings over several seeds
#
# One run shows little: another seed changes the score as much as another padding does. So each padding is trained
# with several seeds, runs of one seed start from the same weights and see the same data, and the differences are
# compared seed by seed.
#
# The task is the papers' simplest: a small network learns to blur crops of photographs without seeing their
# surroundings, so only the border is hard. Needs `pip install 'pcpad[figures]'`. Takes less than a minute
# on one CPU core.

# %%
import matplotlib.pyplot as plt
import rich
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from pcpad import convert_padding
from pcpad.commands.comparison.statistics import paired
from pcpad.tables import Table
from pcpad.tasks.pictures.plots import padding_style

# %% [markdown]
# ## Crops of photographs
#
# The target of each pixel is a Gaussian mean over 13×13 pixels, computed with the surroundings known. The
# network only sees the crop: within 6 pixels of its border it lacks part of what the target depends on.

# %%
REACH, SIGMA, SIDE = 6, 2.0, 32
ramp = torch.exp(-0.5 * (torch.arange(-REACH, REACH + 1) / SIGMA) ** 2)
kernel = (ramp[:, None] * ramp / ramp.sum() ** 2)[None, None]


def crops(names: tuple[str, ...], count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random crops (count, 1, SIDE, SIDE), and their blurred targets."""
    photographs = [torch.from_numpy(getattr(data, name)()).float().div(255).sub(0.5) for name in names]
    photographs = [photograph if photograph.dim() == 2 else photograph.mean(2) for photograph in photographs]
    wide = SIDE + 2 * REACH
    parts = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        top, left = (int(torch.randint(length - wide, (), generator=draws)) for length in photograph.shape)
        parts.append(photograph[top : top + wide, left : left + wide])
    parts = torch.stack(parts)[:, None]
    return parts[..., REACH:-REACH, REACH:-REACH], F.conv2d(parts, kernel)


held_out = crops(("chelsea", "coffee", "camera"), 60, torch.Generator().manual_seed(100))

# %% [markdown]
# ## One run
#
# The seed determines the initial weights and the crops, and nothing else: runs of one seed differ only in the
# padding.

# %%
PADDINGS = ("zeros", "partial", "replicate")
SEEDS = (0, 1, 2, 3, 4)
inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
inside[REACH:-REACH, REACH:-REACH] = True


def run(padding: str, seed: int) -> dict[str, float]:
    """Train a network, and score it on the held-out photographs: 1000 × mean squared errors."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 8, 7, padding=3), nn.ReLU(), nn.Conv2d(8, 1, 7, padding=3))
    convert_padding(network, padding)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=120)
    images, targets = crops(
        ("brick", "grass", "gravel", "clock", "coins", "moon"), 8 * 120, draws=torch.default_generator
    )
    for image, target in zip(images.split(8), targets.split(8), strict=True):
        optimizer.zero_grad()
        F.mse_loss(network(image), target).backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        errors = 1000 * (network(held_out[0]) - held_out[1]).square().mean((0, 1))
    return {"border": float(errors[~inside].mean()), "inside": float(errors[inside].mean())}


found = {padding: {str(seed): run(padding, seed) for seed in SEEDS} for padding in PADDINGS}

# %% [markdown]
# ## The table
#
# Errors are in thousandths of the squared value range; lower is better. `diff` is relative to zero padding, seed by
# seed, with its 95 % confidence interval; p is from the paired t-test. An interval that contains 0 means that this
# number of short runs cannot tell the two apart, not that they are equal.

# %%
for metric, where in (("border", "the outermost 6 pixels"), ("inside", "inside of them")):
    values = {padding: {seed: scores[metric] for seed, scores in by_seed.items()} for padding, by_seed in found.items()}
    rows = []
    for padding in PADDINGS:
        one = paired(values[padding], values["zeros"])
        row = [padding, f"{one.mean:.3f}", f"{one.stdev:.3f}"]
        if padding == "zeros":
            rows.append([*row, "–", "–", "–"])
        else:
            rows.append([*row, f"{one.difference:+.3f}", f"{one.low:+.3f} … {one.high:+.3f}", f"{one.p:.3f}"])
    columns = ["padding", "mean", "stdev", "diff", "95 % interval", "p"]
    rich.print(Table(f"1000 × mean squared error, {where}", columns, rows).rich())

# %%
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for padding in PADDINGS:
    errors = [found[padding][str(seed)]["border"] for seed in SEEDS]
    axes.plot([str(seed) for seed in SEEDS], errors, label=padding, **padding_style(padding))
axes.set(xlabel="seed", ylabel="1000 × error of the border")
axes.legend()
figure.savefig("paddings_compared.png", dpi=110)

# %% [markdown]
# ## The full comparison
#
# `pcpad compare` runs such a grid from a recipe, resumes when interrupted, evaluates the best checkpoints,
# tests weights under the other paddings as well, and writes these tables and figures. Half an hour on two CPU
# cores:
#
# ```
# pcpad sample photos data/photos
# pcpad compare --config gauss_small.yaml --paddings zeros,reflect,replicate,explicit,partial --seeds 5
# ```
