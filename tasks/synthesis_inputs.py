"""The inputs of a generator, from label and instance maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pcpad.errors import UserTypeError, UserValueError
from pcpad.panoptic import panoptic_ids


def conditioning(label: Tensor, instance: Tensor, num_labels: int) -> tuple[Tensor, Tensor]:
    """Make the conditioning map and the panoptic ids.

    Args:
        label: (N, 1, H, W) integers in [0, num_labels).
        instance: (N, 1, H, W) integers that differ between objects of one label; any values of 32 bits.
        num_labels: The number of labels, K.

    Returns:
        (N, K + 1, H, W) float32: one-hot labels, and 1 where the instance differs from that of one of the four
        neighbors; and (N, 1, H, W) int64, equal where both label and instance are.

    Raises:
        ValueError: Shapes do not fit, or a label is out of range: the message says which value, and where.
        TypeError: The maps are not integers.

    Example:
        >>> label, instance = torch.tensor([[[[0, 0, 1]]]]), torch.tensor([[[[5, 6, 6]]]])
        >>> conditioning(label, instance, 2)[0].squeeze().tolist()
        [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """
    _check(label, instance, num_labels)
    label, instance = label.long(), instance.long()
    size = (label.shape[0], num_labels, *label.shape[2:])
    one_hot = torch.zeros(size, device=label.device).scatter_(1, label, 1.0)
    edges = torch.zeros_like(instance, dtype=torch.bool)
    for axis in (2, 3):
        length = instance.shape[axis] - 1
        differs = instance.narrow(axis, 1, length) != instance.narrow(axis, 0, length)
        edges.narrow(axis, 1, length).logical_or_(differs)
        edges.narrow(axis, 0, length).logical_or_(differs)
    return torch.cat([one_hot, edges.to(one_hot.dtype)], dim=1), panoptic_ids(label, instance)


def judge_both(
    discriminator: nn.Module, semantics: Tensor, fake: Tensor, real: Tensor
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """Run the discriminator on generated and real images as one batch.

    Args:
        discriminator: See `pcpad.models.patch_discriminator`.
        semantics: (N, K + 1, H, W), the conditioning map of both.
        fake: (N, 3, H, W) in [-1, 1].
        real: (N, 3, H, W) in [-1, 1].

    Returns:
        Its maps of the generated images, by scale and layer, and its maps of the real ones.
    """
    both = torch.cat([torch.cat([semantics, image.to(semantics.dtype)], 1) for image in (fake, real)])
    maps = [[layer.chunk(2) for layer in scale] for scale in discriminator(both)]
    return [[pair[0] for pair in scale] for scale in maps], [[pair[1] for pair in scale] for scale in maps]


def _check(label: Tensor, instance: Tensor, num_labels: int) -> None:
    if label.dim() != 4 or label.shape[1] != 1 or label.shape != instance.shape:
        message = (
            "Expected label and instance maps of one shape (N, 1, H, W), but got labels "
            f"{tuple(label.shape)} and instances {tuple(instance.shape)}"
        )
        raise UserValueError(message)
    for name, tensor in (("labels", label), ("instance ids", instance)):
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            message = f"Expected integer {name}, but got {tensor.dtype}: ids must not pass through a float"
            raise UserTypeError(message)
    if torch.compiler.is_exporting():  # a graph cannot read values
        return
    wrong = (label < 0) | (label >= num_labels)
    if bool(wrong.any()):
        sample, _, row, column = wrong.nonzero()[0].tolist()
        message = (
            f"Label {int(label[sample, 0, row, column])} at row {row}, column {column} of sample {sample} is out of "
            f"range: expected 0 ... {num_labels - 1} (-1 is {num_labels - 1} there, as the data module gives it)"
        )
        raise UserValueError(message)
