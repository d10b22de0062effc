"""Images of several sizes in one batch: padded with their masks, and the masks threaded through a network.

The 2018 paper's "case of big padding" (§3): the first layer's mask is 1 on each image and 0 on its padding, and
each partial convolution passes the mask of Eq. 3 to the next. That rule only covers convolutions. Other layers leave
out what lies outside of the mask as well: batch norm takes its statistics over valid positions,
max pooling sees minus infinity there, average pooling divides by the valid count.

Validity grows with depth: a window that holds a single valid tap makes its output valid, so features beyond an
image's border come to count as valid, layer by layer. The result is therefore *not* that of the unpadded image.
"""

from __future__ import annotations

from functools import singledispatch
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pcpad import functional
from pcpad._border import Geometry, window_sum
from pcpad._mask_counts import ask_for_mask, asked_mask, counted_once, full_mask, known_full
from pcpad.errors import UserValueError
from pcpad.layers import PartialConv1d, PartialConv2d, PartialConv3d

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MaskedSequential", "apply_masked", "pad_to_batch"]

Masked = tuple[Tensor, "Tensor | None"]


def pad_to_batch(images: Sequence[Tensor], multiple_of: int = 1) -> tuple[Tensor, Tensor]:
    """Pad images to the largest height and width among them, at the right and bottom, with zeros.

    Args:
        images: Tensors (C, H, W) (or (C, L), (C, T, H, W)) of one dtype, device and number of channels.
        multiple_of: Round the batch's size up to a multiple of this on each axis.

    Returns:
        The batch (N, C, H, W) and its mask (N, 1, H, W) in the batch's dtype (float32 for integers): 1 on the
        images, 0 on the padding.

    Raises:
        ValueError: For no images, or images that differ in more than size.

    Example:
        >>> batch, mask = pad_to_batch([torch.ones(3, 4, 6), torch.ones(3, 5, 2)])
        >>> batch.shape, mask.flatten(1).sum(1)
        (torch.Size([2, 3, 5, 6]), tensor([24., 10.]))
    """
    if not images:
        message = "Expected at least one image, but got none."
        raise UserValueError(message)
    kinds = {(image.dim(), image.shape[0], image.dtype, image.device) for image in images}
    if len(kinds) > 1 or images[0].dim() < 2:
        shapes = ", ".join(f"{tuple(image.shape)} {image.dtype} on {image.device}" for image in images[:5])
        message = f"Expected images (C, H, W) that differ in size alone, but got {shapes}."
        raise UserValueError(message)
    first = images[0]
    size = [-(-max(sizes) // multiple_of) * multiple_of for sizes in zip(*(i.shape[1:] for i in images), strict=True)]
    batch = first.new_zeros(len(images), first.shape[0], *size)
    dtype = first.dtype if first.is_floating_point() else torch.float32
    mask = torch.zeros(len(images), 1, *size, dtype=dtype, device=first.device)
    for index, image in enumerate(images):
        inside: tuple[Any, ...] = tuple(slice(0, length) for length in image.shape[1:])
        batch[(index, slice(None), *inside)] = image
        mask[(index, slice(None), *inside)] = 1
    return batch, mask


class MaskedSequential(nn.Sequential):
    """Run modules one after the other and thread the mask through them.

    Takes partial convolutions, convolutions without padding, batch norm, max and average pooling (adaptive too),
    activations, dropout, `nn.Flatten`, `nn.Linear` after it, and `nn.Sequential` of these. The mask ends at
    `nn.Flatten`, which puts zeros where nothing is valid. Register others with `apply_masked.register`.

    Example:
        >>> from pcpad import convert_padding
        >>> network = convert_padding(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()))
        >>> batch, mask = pad_to_batch([torch.rand(3, 8, 6), torch.rand(3, 5, 7)])
        >>> features, new_mask = MaskedSequential(*network)(batch, mask)
        >>> features.shape, new_mask.flatten(1).sum(1)  # one pixel more at the right and at the bottom
        (torch.Size([2, 8, 8, 7]), tensor([56., 42.]))
    """

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Run a batch (N, C, H, W) with its mask (N|1, 1, H, W), 1 valid.

        Returns:
            The output, and the new mask unless the mask has ended.

        Raises:
            TypeError: For a module that no rule is registered for, with its place.
        """
        with counted_once():
            for name, module in self.named_children():
                try:
                    input, mask = apply_masked(module, input, mask)
                except _NoRule as error:
                    raise _NoRule(error.module, name, *error.path) from None
        return input if mask is None else (input, mask)


class _NoRule(TypeError):
    """A module that `apply_masked` does not know, and where it is."""

    def __init__(self, module: nn.Module, *path: str) -> None:
        self.module, self.path = module, path
        super().__init__(
            f"Cannot thread a mask through {'.'.join(path) or 'the module'} ({type(module).__name__}). Convert padded "
            "convolutions with `convert_padding(model, 'partial')`; register a rule for other modules with "
            "`@apply_masked.register`: a function (module, input, mask) -> (output, new_mask)."
        )


@singledispatch
def apply_masked(module: nn.Module, input: Tensor, mask: Tensor | None) -> Masked:
    """Run one module on the valid positions of its input.

    Args:
        module: The module; rules are chosen by its class.
        input: (N, C, *spatial).
        mask: (N|1, 1, *spatial), 1 valid; None once the mask has ended.

    Returns:
        The output and its mask.

    Raises:
        TypeError: If there is no rule for the module.
    """
    if mask is None or isinstance(module, _POINTWISE):
        return module(input), mask
    raise _NoRule(module)


_POINTWISE = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Threshold,
)  # fmt: skip


@apply_masked.register
def _sequential(module: nn.Sequential, input: Tensor, mask: Tensor | None) -> Masked:
    output = MaskedSequential.forward(module, input, mask)  # type: ignore[arg-type]  # it needs no more than children
    return output if isinstance(output, tuple) else (output, None)


@apply_masked.register(PartialConv1d)
@apply_masked.register(PartialConv2d)
@apply_masked.register(PartialConv3d)
def _partial_convolution(module: PartialConv2d, input: Tensor, mask: Tensor | None) -> Masked:
    # What comes with zeros around it has a mask of another size; a class's own forward takes no mask.
    if mask is not None and (getattr(module, "zeros_before", None) or getattr(module, "hands_on", False)):
        raise _NoRule(module)
    if mask is None:
        output = module(input)
        return (output[0] if module.return_mask else output), None
    with counted_once():
        ask_for_mask(mask)
        output = module(input, mask)  # called as a module, so that its hooks run
        if module.return_mask:
            found: Masked = output
            return found
        window = (module.kernel_size, module.stride, module.padding_for(input), module.dilation)
        geometry = Geometry.of(input.dim() - 2, *window)
        if known_full(mask) and not geometry.may_miss:
            return output, _full(mask, output)
        new_mask = asked_mask(mask, geometry, input.dtype)
        return output, functional.update_mask(mask, *window) if new_mask is None else new_mask.to(mask.dtype)


@apply_masked.register(nn.Conv1d)
@apply_masked.register(nn.Conv2d)
@apply_masked.register(nn.Conv3d)
def _convolution(module: nn.modules.conv._ConvNd, input: Tensor, mask: Tensor | None) -> Masked:
    """Without padding a plain convolution is a partial one that has no mask yet."""
    exact = type(module) in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if not exact or module.padding not in ("valid", (0,) * (input.dim() - 2)):
        raise _NoRule(module)
    if mask is None:
        return module(input), None
    run: Any = (functional.partial_conv1d, functional.partial_conv2d, functional.partial_conv3d)[input.dim() - 3]
    shape = (module.stride, module.padding, module.dilation, module.groups)
    found: Masked = run(input, module.weight, module.bias, *shape, mask=mask, return_mask=True)
    return found


@apply_masked.register(nn.modules.batchnorm._BatchNorm)
def _batch_norm(module: nn.modules.batchnorm._BatchNorm, input: Tensor, mask: Tensor | None) -> Masked:
    batch_statistics = module.training or module.running_mean is None
    if mask is None or not batch_statistics or known_full(mask):
        return module(input), mask
    if isinstance(module, nn.SyncBatchNorm):
        raise _NoRule(module)
    valid = (mask != 0).expand(input.shape[0], 1, *input.shape[2:])
    dims = [0, *range(2, input.dim())]
    shape = (1, -1, *[1] * (input.dim() - 2))
    count = valid.sum().clamp(min=1)
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    mean = torch.where(valid, x, 0).sum(dims) / count
    centered = torch.where(valid, x - mean.view(shape), 0)
    var = centered.square().sum(dims) / count
    if module.training and module.track_running_stats:
        _update_running(module, mean, var * count / (count - 1).clamp(min=1))
    y = centered * (var + module.eps).rsqrt().view(shape)
    if module.affine:
        y = y * module.weight.view(shape) + module.bias.view(shape)
    return y.to(input.dtype), mask


@torch.no_grad()
def _update_running(module: nn.modules.batchnorm._BatchNorm, mean: Tensor, var: Tensor) -> None:
    assert module.running_mean is not None
    assert module.running_var is not None
    assert module.num_batches_tracked is not None
    module.num_batches_tracked.add_(1)
    for running, batch in ((module.running_mean, mean), (module.running_var, var)):
        # momentum=None is torch's cumulative average
        weight = 1 / module.num_batches_tracked if module.momentum is None else torch.tensor(module.momentum)
        running.lerp_(batch.to(running.dtype), weight.to(running))


@apply_masked.register(nn.modules.pooling._MaxPoolNd)
def _max_pool(module: nn.modules.pooling._MaxPoolNd, input: Tensor, mask: Tensor | None) -> Masked:
    if mask is None:
        return module(input), None
    if module.return_indices:
        raise _NoRule(module)
    if known_full(mask) and not module.ceil_mode:
        window = (module.kernel_size, module.stride, module.padding, module.dilation)
        if not Geometry.of(input.dim() - 2, *window).may_miss:
            output = module(input)
            return output, _full(input, output)
    new_mask = module((mask != 0).to(input.dtype))
    return torch.where(new_mask != 0, module(torch.where(mask != 0, input, -torch.inf)), 0), new_mask


@apply_masked.register(nn.AvgPool1d)
@apply_masked.register(nn.AvgPool2d)
@apply_masked.register(nn.AvgPool3d)
def _average_pool(module: nn.AvgPool2d, input: Tensor, mask: Tensor | None) -> Masked:
    if mask is None:
        return module(input), None
    valid, wide = mask != 0, torch.promote_types(input.dtype, torch.float32)
    size = module(mask.to(wide)).shape[2:]  # with ceil_mode the last window may reach beyond, where room is added
    geometry = Geometry.of(len(size), module.kernel_size, module.stride, module.padding, 1)
    room = [
        max(0, (count - 1) * s + k - p - length)
        for count, k, s, p, length in zip(
            size, geometry.kernel, geometry.stride, geometry.lead, input.shape[2:], strict=True
        )
    ]
    geometry = geometry._replace(trail=tuple(room))
    total = window_sum(torch.where(valid, input, 0).to(wide), geometry, size)
    mean, new_mask = _over(total, window_sum(valid.to(wide), geometry, size))
    divisor = getattr(module, "divisor_override", None)  # what the sum of a window without holes is divided by
    if divisor is not None:
        mean = mean * (prod(geometry.kernel) / divisor)
    return mean.to(input.dtype), new_mask.to(input.dtype)


@apply_masked.register(nn.modules.pooling._AdaptiveAvgPoolNd)
def _adaptive_average_pool(module: nn.modules.pooling._AdaptiveAvgPoolNd, input: Tensor, mask: Tensor | None) -> Masked:
    if mask is None:
        return module(input), None
    if known_full(mask):
        output = module(input)
        return output, _full(input, output)
    # Both are divided by the same window's size, which cancels.
    return _over(module(torch.where(mask != 0, input, 0)), module((mask != 0).to(input.dtype)))


def _full(like: Tensor, output: Tensor) -> Tensor:
    """A mask without holes for an output, of the dtype of `like`."""
    return full_mask(like, (1, 1, *output.shape[2:]))


def _over(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """`total / count` where something was counted, else 0, and where that is."""
    mask = count > 0
    mean = torch.where(mask, total / torch.where(mask, count, 1), 0)
    return mean.to(total.dtype), mask.to(total.dtype)


@apply_masked.register
def _flatten(module: nn.Flatten, input: Tensor, mask: Tensor | None) -> Masked:
    return module(input if mask is None else torch.where(mask != 0, input, 0)), None
