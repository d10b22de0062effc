"""Partial convolution layers: ``torch.nn``'s convolutions with another forward, and nothing else to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from pcpad import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

__all__ = ["PartialConv1d", "PartialConv2d", "PartialConv3d"]


class _PartialConv(nn.modules.conv._ConvNd):
    """What the three share. State, initialisation and attributes are those of the ``nn.ConvNd`` beside it."""

    _partial_conv: ClassVar[Callable[..., Tensor | tuple[Tensor, Tensor]]]
    return_mask: bool = False  # on the class, so that a converted nn.ConvNd has it too

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        return_mask: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        # The nn.ConvNd that follows in the method resolution order.
        shape: tuple[Any, ...] = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, device=device, dtype=dtype)
        self.return_mask = return_mask

    def forward(
        self, input: Tensor, mask: Tensor | None = None, *, mask_channels: Sequence[int] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Convolve the valid taps only; see :func:`pcpad.functional.partial_conv2d`.

        Args:
            input: (N, C, *spatial) or (C, *spatial).
            mask: (N|1, 1|C, *spatial), 1 valid, 0 hole; without it everything but the padding is valid.
            mask_channels: sizes of groups of channels that share a mask, as after a concatenation.

        Returns:
            The output, or ``(output, new_mask)`` with ``return_mask=True``.
        """
        return type(self)._partial_conv(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            mask=mask,
            mask_channels=mask_channels,
            return_mask=self.return_mask,
        )

    def extra_repr(self) -> str:
        """The arguments that differ from the defaults."""
        return super().extra_repr() + (", return_mask=True" if self.return_mask else "")


class PartialConv1d(_PartialConv, nn.Conv1d):  # type: ignore[misc]  # forward takes a mask too
    """Partial convolution of sequences (N, C, L); arguments and errors as in :class:`PartialConv2d`.

    Example:
        >>> import torch
        >>> PartialConv1d(2, 3, 5, padding="same")(torch.zeros(1, 2, 9)).shape
        torch.Size([1, 3, 9])
    """

    _partial_conv = staticmethod(functional.partial_conv1d)


class PartialConv2d(_PartialConv, nn.Conv2d):  # type: ignore[misc]  # forward takes a mask too
    """Partial convolution of images (Liu et al. 2018 and 2022, Eq. 1-3).

    Used like ``nn.Conv2d``, its padding counts as missing: partial-convolution padding. Called with a mask,
    holes count as missing too. It keeps ``nn.Conv2d``'s state and nothing else, so weights go both ways.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int or one int an axis, like the four that follow.
        stride: step between windows.
        padding: on each side; or ``"same"`` or ``"valid"``.
        dilation: step between taps.
        groups: blocks of channels that are convolved apart.
        bias: whether a learned bias is added.
        return_mask: make the layer return ``(output, new_mask)``. Off by default, so that the layer can stand
            in an ``nn.Sequential``.
        device: of the parameters.
        dtype: of the parameters.

    Example:
        >>> import torch
        >>> layer = PartialConv2d(3, 8, kernel_size=3, padding=1, return_mask=True)
        >>> image, mask = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
        >>> mask[:, :, 4:8, 4:8] = 0  # a hole; 1 is valid
        >>> output, new_mask = layer(image, mask)
        >>> output.shape, int((new_mask == 0).sum())  # the hole shrank from 16 to 4 pixels an image
        (torch.Size([2, 8, 16, 16]), 8)
    """

    _partial_conv = staticmethod(functional.partial_conv2d)


class PartialConv3d(_PartialConv, nn.Conv3d):  # type: ignore[misc]  # forward takes a mask too
    """Partial convolution of clips and volumes (N, C, T, H, W); arguments and errors as in :class:`PartialConv2d`.

    Example:
        >>> import torch
        >>> PartialConv3d(3, 4, (1, 3, 3), padding=(0, 1, 1))(torch.zeros(1, 3, 4, 8, 8)).shape
        torch.Size([1, 4, 4, 8, 8])
    """

    _partial_conv = staticmethod(functional.partial_conv3d)
