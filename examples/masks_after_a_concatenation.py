# %% [markdown]
# # Masks after a concatenation
#
# Partial convolution takes a mask that says which pixels are valid, and returns a new one. In a U-Net two feature
# maps meet: the upsampled one, whose holes have been filled, and the encoder's, whose holes are still there. After
# the concatenation the channels have two different masks. This notebook shows how to pass both, what happens if one
# mask stands for all channels, and how to thread masks through the rest of a network. Needs `pip install
# 'pcpad[figures]'`. Takes a few seconds on one CPU core.

# %%
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from pcpad import MaskedSequential, PartialConv2d, convert_padding, pad_to_batch

# %% [markdown]
# ## One layer
#
# A mask is 1 where the image is valid and 0 in holes. The layer ignores the values in holes and rescales by how many
# pixels of its window were valid; the new mask is 1 where at least one was.

# %%
image = torch.from_numpy(data.camera()[150:278, 150:278]).float().div(255)[None, None]
mask = torch.ones(1, 1, 128, 128)
mask[..., 40:90, 50:100] = 0

torch.manual_seed(0)
layer = PartialConv2d(1, 16, 5, padding=2, return_mask=True)
features, new_mask = layer(image, mask)
print("holes before:", int((mask == 0).sum()), "pixels; after one layer:", int((new_mask == 0).sum()))
changed, _ = layer(torch.where(mask == 0, torch.nan, image), mask)
print("what lies in the hole does not matter:", bool(torch.equal(features, changed.nan_to_num())))

# %% [markdown]
# ## A block of a U-Net
#
# `mask_channels=(a, b)` means: the mask has two channels, one for the first a channels of features and one for
# the last b. This is equivalent to a mask with a + b channels, and costs as little as a mask with two.


# %%
class Block(nn.Module):
    """Down by two, up again, and concatenated with the input."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = PartialConv2d(channels, width, 5, stride=2, padding=2, return_mask=True)
        self.join = PartialConv2d(width + channels, channels, 3, padding=1, return_mask=True)
        self.mask_channels = (width, channels)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, low_mask = self.down(image, mask)
        up, up_mask = F.interpolate(low.relu(), scale_factor=2), F.interpolate(low_mask, scale_factor=2)
        both = torch.cat([up, image], dim=1)
        masks = torch.cat([up_mask, mask], dim=1)  # (N, 2, H, W), not one channel per feature
        output, new_mask = self.join(both, masks, mask_channels=self.mask_channels)
        return output, new_mask, masks


block = Block(16, 24)
with torch.inference_mode():
    output, output_mask, masks = block(features, new_mask)
print("masks that meet:", tuple(masks.shape), "with", [int((one == 0).sum()) for one in masks[0]], "pixels in holes")
print("after the block:", int((output_mask == 0).sum()), "pixels in holes")

# %% [markdown]
# The same with a mask per channel, which takes 20 times the memory for the mask:

# %%
low, low_mask = block.down(features, new_mask)
both = torch.cat([F.interpolate(low.relu(), scale_factor=2), features], dim=1)
with torch.inference_mode():
    per_channel = torch.cat([masks[:, :1].expand(-1, 24, -1, -1), masks[:, 1:].expand(-1, 16, -1, -1)], dim=1)
    slow, _ = block.join(both, per_channel)
print("largest difference to a mask per channel:", f"{float((slow - output).abs().max()):.1e}")

# %% [markdown]
# ## One mask for all channels is wrong
#
# Two shortcuts are seen in code. The union of both masks treats zeros in the encoder's holes as values; the
# intersection throws away the upsampled features there. Differences to the exact result, relative to its
# standard deviation:

# %%
shortcuts = {
    "union, valid where either is": masks.amax(1, keepdim=True),
    "intersection, valid where both are": masks.amin(1, keepdim=True),
}
differences = {}
with torch.inference_mode():
    for name, one in shortcuts.items():
        different, _ = block.join(both, one)
        differences[name] = (different - output).square().mean(1).sqrt()[0] / output.std()
print(f"{'one mask for all channels':36} {'in and at the hole':>18} {'elsewhere':>10}")
near = F.max_pool2d(1 - masks.amin(1, keepdim=True), 3, 1, 1)[0, 0] > 0
for name, difference in differences.items():
    print(f"{name:36} {float(difference[near].mean()):18.3f} {float(difference[~near].mean()):10.3f}")

# %%
figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), layout="constrained")
shown = [("image", torch.where(mask == 0, 1, image)[0, 0], "gray"), ("upsampled features' mask", masks[0, 0], "gray")]
shown += [("encoder's mask", masks[0, 1], "gray")]
shown += [(f"wrong by: {name.split(',')[0]}", difference, "magma") for name, difference in differences.items()]
top = max(float(difference.max()) for difference in differences.values())
for axis, (title, pixels, colors) in zip(axes, shown, strict=True):
    axis.imshow(pixels, cmap=colors, vmin=0, vmax=top if colors == "magma" else 1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
figure.savefig("masks.png", dpi=110)

# %% [markdown]
# ## The rest of a network
#
# Where nothing is concatenated, `MaskedSequential` passes the mask through: partial convolutions, batch norm (whose
# statistics then leave out invalid positions), pooling, activations. Here images of two sizes are in one batch, each
# with its mask, and the padded area has no influence on the statistics.

# %%
network = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, padding=1)
)
network = MaskedSequential(*convert_padding(network, "partial"))
batch, batch_mask = pad_to_batch([image[0], image[0, :, :64, :96]], multiple_of=2)
outputs, end_mask = network(batch, batch_mask)
print("batch", tuple(batch.shape), "valid pixels", batch_mask.flatten(1).sum(1).int().tolist())
print("output", tuple(outputs.shape), "valid pixels", end_mask.flatten(1).sum(1).int().tolist())
