"""Adaptive pooling that can be exported with dynamic sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ExportablePool2d", "exportable_pooling"]


class ExportablePool2d(nn.Module):
    """`nn.AdaptiveAvgPool2d` as a product with a matrix on either side.

    ONNX has no adaptive pooling: torch.onnx exports the windows for the example's size, so that the file is wrong at
    other sizes. The matrices are computed from the input's size. VGG, for example, pools to 7x7 before its linear head.

    Args:
        output_size: Rows and columns of the output; None keeps the input's.

    Example:
        >>> x = torch.rand(1, 2, 9, 14)
        >>> torch.allclose(ExportablePool2d((7, 7))(x), nn.functional.adaptive_avg_pool2d(x, 7), atol=1e-6)
        True
    """

    def __init__(self, output_size: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, *output_size)."""
        rows, columns = self.output_size
        if rows is not None:
            x = _means(x.shape[-2], rows, x) @ x
        return x if columns is None else x @ _means(x.shape[-1], columns, x).mT

    def extra_repr(self) -> str:
        """The same as in `nn.AdaptiveAvgPool2d`."""
        return f"output_size={self.output_size}"


def _means(size: int, count: int, like: Tensor) -> Tensor:
    """(count, size): row i averages from floor(i·size / count) to ceil((i + 1)·size / count)."""
    i = torch.arange(count, device=like.device).unsqueeze(1)
    at = torch.arange(size, device=like.device)
    start = torch.div(i * size, count, rounding_mode="floor")
    end = torch.div((i + 1) * size + (count - 1), count, rounding_mode="floor")
    inside = (at >= start) & (at < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def exportable_pooling(model: nn.Module) -> nn.Module:
    """Replace each `nn.AdaptiveAvgPool2d` to more than one pixel in place, by one that exports to ONNX for any size.

    Args:
        model: Any network.

    Returns:
        The network, with the same outputs up to rounding and the same state dict.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.AdaptiveAvgPool2d:
                wanted = child.output_size
                rows, columns = (wanted, wanted) if isinstance(wanted, int) or wanted is None else wanted
                if (rows, columns) != (1, 1):
                    setattr(parent, name, ExportablePool2d((rows, columns)))
    return model
