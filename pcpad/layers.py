"""Convolutions that differ in what happens at the border: `torch.nn`'s modules with another forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from pcpad import functional
from pcpad._border import Geometry
from pcpad._explicit import explicit_conv2d
from pcpad._exponent import Exponent
from pcpad._other_layers import Guarded, check_dense, check_unfused
from pcpad.errors import UserValueError
from pcpad.paddings import pad_function, smallest_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "ExplicitPadConv2d",
    "PaddedConv1d",
    "PaddedConv2d",
    "PaddedConv3d",
    "PartialConv1d",
    "PartialConv2d",
    "PartialConv3d",
]


def f_pad_order(module: nn.modules.conv._ConvNd) -> list[int]:
    """A convolution's current padding, in the order of `torch.nn.functional.pad`."""
    if module.padding == "same":  # torch puts the odd one last
        totals = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    if isinstance(module.padding, str):  # "valid"
        return [0] * 2 * len(module.kernel_size)
    return [int(pad) for pad in reversed(module.padding) for _ in range(2)]


def _geometry(module: nn.modules.conv._ConvNd) -> Geometry:
    # Read at each call, not at construction: networks are dilated after they are built.
    dims = len(module.kernel_size)
    return Geometry.of(dims, module.kernel_size, module.stride, module.padding, module.dilation)


class _PartialConv(Guarded, nn.modules.conv._ConvNd):
    """What the three layers share; state, initialization and attributes are those of the `nn.ConvNd` that follows."""

    _partial_conv: ClassVar[Callable[..., Tensor | tuple[Tensor, Tensor]]]
    return_mask: bool = False  # on the class, so that a converted nn.ConvNd has it too
    exponent: Exponent | None = None  # of the ratio, None is 1; no part of the state: see pcpad.adaptation.exponents

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
        super().__init__(*shape, device=device, dtype=dtype)  # type: ignore[misc]
        _geometry(self)  # refuses a negative padding now
        self.return_mask = return_mask

    def forward(
        self,
        input: Tensor,
        mask: Tensor | None = None,
        *,
        mask_channels: Sequence[int] | None = None,
        holes_are_zero: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Convolve the valid taps only; see `pcpad.functional.partial_conv2d`.

        Args:
            input: (N, C, *spatial) or (C, *spatial).
            mask: (N|1, 1|C, *spatial), 1 valid, 0 hole; without it everything but the padding is valid.
            mask_channels: Sizes of groups of channels that share a mask, as after a concatenation.
            holes_are_zero: A promise that the input is 0 wherever the mask is; saves a pass over it.

        Returns:
            The output, or `(output, new_mask)` with `return_mask=True`.
        """
        if mask is None and mask_channels is None:  # the commonest call: the less Python, the better
            return self._convolve(input, self.weight, self.bias, self.padding)
        if mask is not None:
            check_unfused(self)
        options = {"mask": mask, "mask_channels": mask_channels, "holes_are_zero": holes_are_zero}
        return self._convolve(input, self.weight, self.bias, self.padding, **options)

    def padding_for(self, input: Tensor) -> Any:
        """The padding around an input: an int or a pair per axis, or torch's name for it."""
        return self.padding

    def _convolve(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, padding: Any, **options: Any
    ) -> Tensor | tuple[Tensor, Tensor]:
        where = (self.stride, padding, self.dilation, self.groups)
        if self.return_mask or self.exponent is not None:
            options |= {"return_mask": self.return_mask, "exponent": self.exponent}
        return type(self)._partial_conv(input, weight, bias, *where, **options)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        # For subclasses of `nn.ConvNd` with a forward of their own, which call this with a weight computed from their
        # own.
        return self._convolve(input, weight, bias, self.padding)

    def extra_repr(self) -> str:
        """The arguments that differ from the defaults."""
        extra = ", return_mask=True" if self.return_mask else ""
        if self.exponent is not None:
            own = self.exponent
            extra += f", exponent={own:.4g}" if not isinstance(own, Tensor) else f", exponent={tuple(own.shape)}"
        inherited: str = super().extra_repr()  # type: ignore[no-untyped-call]  # torch has no types there
        return inherited + extra


class PartialConv1d(_PartialConv, nn.Conv1d):  # type: ignore[misc]  # forward takes a mask too
    """Partial convolution of sequences (N, C, L); arguments and errors as in `PartialConv2d`.

    Example:
        >>> import torch
        >>> PartialConv1d(2, 3, 5, padding="same")(torch.zeros(1, 2, 9)).shape
        torch.Size([1, 3, 9])
    """

    _partial_conv = staticmethod(functional.partial_conv1d)


class PartialConv2d(_PartialConv, nn.Conv2d):  # type: ignore[misc]  # forward takes a mask too
    """Partial convolution of images (Liu et al. 2018 and 2022, Eq. 1-3).

    Used like `nn.Conv2d`, its padding counts as missing: partial-convolution padding. Called with a mask,
    holes count as missing too. It keeps `nn.Conv2d`'s state and nothing else, so weights can be exchanged in both
    directions.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: An int or one int per axis, like the four that follow.
        stride: Step between windows.
        padding: On each side; or `"same"` or `"valid"`.
        dilation: Step between taps.
        groups: Groups of channels that are convolved separately.
        bias: Whether a learned bias is added.
        return_mask: Make the layer return `(output, new_mask)`. Off by default, so that the layer can be used
            in an `nn.Sequential`.
        device: The parameters' device.
        dtype: The parameters' dtype.

    Example:
        >>> import torch
        >>> layer = PartialConv2d(3, 8, kernel_size=3, padding=1, return_mask=True)
        >>> image, mask = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
        >>> mask[:, :, 4:8, 4:8] = 0  # a hole; 1 is valid
        >>> output, new_mask = layer(image, mask)
        >>> output.shape, int((new_mask == 0).sum())  # the hole shrank from 16 to 4 pixels per image
        (torch.Size([2, 8, 16, 16]), 8)
    """

    _partial_conv = staticmethod(functional.partial_conv2d)


class PartialConv3d(_PartialConv, nn.Conv3d):  # type: ignore[misc]  # forward takes a mask too
    """Partial convolution of clips and volumes (N, C, T, H, W); arguments and errors as in `PartialConv2d`.

    Example:
        >>> import torch
        >>> PartialConv3d(3, 4, (1, 3, 3), padding=(0, 1, 1))(torch.zeros(1, 3, 4, 8, 8)).shape
        torch.Size([1, 4, 4, 8, 8])
    """

    _partial_conv = staticmethod(functional.partial_conv3d)


class _PaddedConv(Guarded, nn.modules.conv._ConvNd):
    """What the three layers share: pad by a registered function, then convolve without padding."""

    fallback: str | None = None
    _found_as: str | None = None  # where `convert_padding` found the layer, for its errors

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
        padding_mode: str = "reflect",
        *,
        fallback: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        pad_function(padding_mode)  # refuses an unknown one early
        shape: tuple[Any, ...] = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(*shape, device=device, dtype=dtype)  # type: ignore[misc]
        self.padding_mode = padding_mode  # type: ignore[assignment]  # more names than nn.ConvNd knows
        self.fallback = fallback

    @property
    def _padding_name(self) -> str:  # type: ignore[override]
        return self.padding_mode

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._convolve(input, weight, bias, self.padding)

    def _convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
        where = (self.stride, padding, self.dilation, self.groups)
        return _padded_conv(
            input, weight, bias, *where, padding_mode=self.padding_mode, fallback=self.fallback, layer=self._said()
        )

    def _said(self) -> str:
        return f"Layer {self._found_as!r}" if self._found_as else f"This {type(self).__name__}"

    def extra_repr(self) -> str:
        """The arguments that differ from the defaults."""
        inherited: str = super().extra_repr()  # type: ignore[no-untyped-call]  # torch has no types there
        return inherited + (f", fallback={self.fallback!r}" if self.fallback else "")


def _padded_conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    *,
    padding_mode: str,
    fallback: str | None,
    layer: str,
) -> Tensor:
    """Pad by a registered function, then convolve; `layer` is the layer's name in errors."""
    conv = (input, weight, bias, stride, padding, dilation, groups)
    if has_torch_function(conv[:3]):  # torch.fx's proxies: the whole is one node, whatever the input's size
        options: dict[str, Any] = {"padding_mode": padding_mode, "fallback": fallback, "layer": layer}
        return handle_torch_function(_padded_conv, conv[:3], *conv, **options)
    check_dense(input)
    pads = Geometry.of(weight.dim() - 2, weight.shape[2:], stride, padding, dilation).pads_of_f_pad
    if any(pads):
        input = _pad(input, pads, padding_mode, fallback, f"{layer} cannot pad", padding)
    return (F.conv1d, F.conv2d, F.conv3d)[weight.dim() - 3](input, weight, bias, stride, 0, dilation, groups)


def _pad(input: Tensor, pads: list[int], mode: str, fallback: str | None, cannot: str, padding: Any) -> Tensor:
    size, least = input.shape[-len(pads) // 2 :], smallest_size(mode, pads)
    small = [axis for axis, length in enumerate(least or ()) if size[axis] < length]
    if not small:
        return pad_function(mode)(input, pads)
    if fallback is None:
        message = (
            f"{cannot} an input of spatial size {tuple(size)} by {padding} with {mode!r}: that needs a size of at "
            f"least {least}. Use larger inputs, another padding, or `fallback='replicate'` (of a task on the command "
            "line: --model.fallback replicate), which replicates on just those axes."
        )
        raise UserValueError(message)
    # Both paddings work axis by axis, so the small axes can go first and by the other one.
    first, then = [0] * len(pads), list(pads)
    for axis in small:
        at = len(pads) - 2 * (axis + 1)
        first[at : at + 2], then[at : at + 2] = then[at : at + 2], [0, 0]
    return pad_function(mode)(pad_function(fallback)(input, first), then)


class PaddedConv1d(_PaddedConv, nn.Conv1d):
    """Convolution of sequences under a registered padding; arguments as `PaddedConv2d`."""


class PaddedConv2d(_PaddedConv, nn.Conv2d):
    """Convolution of images whose border is filled by a registered padding function.

    Args are `nn.Conv2d`'s, and:
        padding_mode: A padding registered in `pcpad.paddings`.
        fallback: The padding for axes that are too small for that one; None refuses these.

    Raises:
        ValueError: For an unknown padding; in the forward pass, for an axis too small to be padded.

    Example:
        >>> layer = PaddedConv2d(3, 8, 3, padding=1, padding_mode="mean")
        >>> layer(torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 8, 8, 8])
    """


class PaddedConv3d(_PaddedConv, nn.Conv3d):
    """Convolution of clips and volumes under a registered padding; arguments as `PaddedConv2d`."""


class ExplicitPadConv2d(Guarded, nn.Conv2d):
    """Convolution with filters of its own for the borders and corners (Innamorati et al. 2018, arXiv 1805.03106).

    Nine filters: `weight` (O, C / groups, kH, kW) for windows inside the input, and `border_weight`
    (8, O, C / groups, kH, kW) for windows that reach out of it, in the order top left, top, top right, left,
    right, bottom left, bottom, bottom right. A window that reaches out on two opposite sides (an input smaller
    than the kernel) belongs to the nearer one. The bias is shared, and the padding reads as zeros. The border
    filters start as copies of `weight`, so that a new layer is a zero-padded one.

    Args are `nn.Conv2d`'s, without `padding_mode`.

    Example:
        >>> layer = ExplicitPadConv2d(3, 4, 5, stride=2, padding=2)
        >>> layer.border_weight.shape, layer(torch.rand(1, 3, 9, 9)).shape
        (torch.Size([8, 4, 3, 5, 5]), torch.Size([1, 4, 5, 5]))
    """

    border_weight: nn.Parameter
    _padding_name = "explicit"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device=device, dtype=dtype
        )
        self.add_border_filters()

    def add_border_filters(self) -> None:
        """Make `border_weight` of eight copies of `weight`."""
        copies = self.weight.detach().expand(8, *self.weight.shape).clone()
        self.border_weight = nn.Parameter(copies, requires_grad=self.weight.requires_grad)

    def reset_parameters(self) -> None:
        """Initialize as `nn.Conv2d` does; the border filters become copies of `weight`."""
        super().reset_parameters()
        if hasattr(self, "border_weight"):
            with torch.no_grad():
                self.border_weight.copy_(self.weight.expand_as(self.border_weight))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExplicitPadConv2d:
        # `.to(memory_format=torch.channels_last)` only takes tensors of four dimensions: it sees more filters.
        def on_filters(value: Tensor) -> Tensor:
            return fn(value.flatten(0, 1)).unflatten(0, value.shape[:2]) if value.dim() == 5 else fn(value)

        applied: ExplicitPadConv2d = super()._apply(on_filters, recurse)  # type: ignore[no-untyped-call]  # as above
        return applied

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, C, H, W) or (C, H, W), each output position with its class's filter."""
        return self._convolve(input, self.weight, self.border_weight, self.padding)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # Where a library has put a function in the place of the instance's forward that calls `nn.Conv2d`'s.
        return self._convolve(input, weight, self.border_weight, self.padding)

    def _convolve(self, input: Tensor, weight: Tensor, border_weight: Tensor, padding: Any) -> Tensor:
        where = (self.stride, padding, self.dilation, self.groups)
        return explicit_conv2d(input, weight, border_weight, self.bias, *where)
