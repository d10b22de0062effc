"""Images that need not be in memory: tensors, arrays and memory maps, readers of windows; and where results go."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pcpad.errors import UserTypeError, UserValueError

if TYPE_CHECKING:
    from pcpad._tiling_windows import Window

__all__ = ["Sink", "Source", "WindowReader"]


@runtime_checkable
class WindowReader(Protocol):
    """An object that reads parts of an image, as rasterio's data sets do."""

    height: int
    width: int
    count: int  # of channels

    def read(self, *, window: tuple[tuple[int, int], tuple[int, int]]) -> Any:
        """The array (C, h, w) of the rows and columns ((start, stop), (start, stop))."""
        ...


class Source:
    """An image from which tiles are read.

    Args:
        image: A tensor (N, C, H, W); an array (N, C, H, W), (C, H, W) or (H, W), of which slices are taken, such as a
            memory map or zarr's; or a `WindowReader`.

    Attributes:
        shape: (N, C, H, W).
        device: Where its tiles are.
        tensor: The image, where it is a tensor.
    """

    def __init__(self, image: Any) -> None:
        self.image = image
        self.tensor = image if isinstance(image, Tensor) else None
        self.device = image.device if isinstance(image, Tensor) else torch.device("cpu")
        self._reads = self.tensor is None and isinstance(image, WindowReader)
        if self._reads:
            self.shape: tuple[int, ...] = (1, image.count, image.height, image.width)
            return
        given = tuple(getattr(image, "shape", ()))
        if not given or not hasattr(image, "__getitem__"):
            message = (
                "Expected argument `image` to be a tensor, an array, or a reader with `read(window=…)`, `height`, "
                f"`width` and `count`, but got {type(image).__name__}"
            )
            raise UserTypeError(message)
        fits = len(given) == 4 if self.tensor is not None else 2 <= len(given) <= 4
        self.shape = (1,) * (4 - len(given)) + given
        if not fits or not math.prod(self.shape):
            message = f"Expected argument `image` to be (N, C, H, W) and not empty, but got {given}"
            raise UserValueError(message)

    def tile(self, window: Window) -> Tensor:
        """One tile (N, C, h, w)."""
        if self.tensor is not None:
            return self.tensor[:, :, window.rows, window.columns]
        if self._reads:
            piece = self.image.read(
                window=((window.rows.start, window.rows.stop), (window.columns.start, window.columns.stop))
            )
        else:
            piece = self.image[..., window.rows, window.columns]
        tile = _as_tensor(piece)
        shape = (*self.shape[:2], window.height, window.width)
        if tile.numel() != math.prod(shape):
            message = f"Expected {shape[1:]} of window {tuple(window)} of the image, but got {tuple(tile.shape)}"
            raise UserValueError(message)
        return tile.reshape(shape)


class Sink:
    """Where results are written, block by block.

    Args:
        output: A tensor, array or memory map of the result's shape, without the first axis if there is one image; or
            an object with `write(array, window=((start, stop), (start, stop)))`, as rasterio's data sets.
        shape: The result's, the first axis the images'.
        floats: Whether results are floats.

    Raises:
        ValueError: The shape does not match.
        TypeError: Floats would be cut down to integers, or nothing can be written to it.
    """

    def __init__(self, output: Any, shape: tuple[int, ...], floats: bool) -> None:
        self.output = output
        self._writes = not hasattr(output, "__setitem__") and callable(getattr(output, "write", None))
        if self._writes:
            return
        if not hasattr(output, "__setitem__") or not hasattr(output, "shape"):
            message = (
                "Expected argument `output` to be a tensor, a writable array, or an object with `write(array, "
                f"window=…)`, but got {type(output).__name__}"
            )
            raise UserTypeError(message)
        given = tuple(output.shape)
        if given != shape and not (shape[0] == 1 and given == shape[1:]):
            message = f"Expected argument `output` to be of shape {shape}, but got {given}"
            raise UserValueError(message)
        if getattr(getattr(output, "flags", None), "writeable", True) is False:
            message = "Expected argument `output` to be writable: open the memory map with mode 'r+' or 'w+'"
            raise UserValueError(message)
        if floats and not _holds_floats(output):
            message = f"Expected argument `output` to hold floats, but its type is {output.dtype}"
            raise UserTypeError(message)

    def write(self, window: Window, block: Tensor) -> None:
        """Put a block (N, …, h, w) in its place.

        Raises:
            ValueError: A whole number does not fit into the output's type.
        """
        block = block if isinstance(self.output, Tensor) else block.cpu()
        if self._writes:
            place = ((window.rows.start, window.rows.stop), (window.columns.start, window.columns.stop))
            self.output.write(block[0].numpy(), window=place)
            return
        values = block if len(self.output.shape) == block.dim() else block[0]
        if isinstance(self.output, Tensor):
            whole: Any = values
            cast: Any = values.to(self.output.dtype)
        else:
            whole = values.numpy()
            cast = whole.astype(self.output.dtype)
        if not values.is_floating_point() and not bool((cast == whole).all()):
            message = f"Values up to {int(values.max())} do not fit into `output`, whose type is {self.output.dtype}"
            raise UserValueError(message)
        self.output[..., window.rows, window.columns] = cast


def _holds_floats(output: Any) -> bool:
    if isinstance(output, Tensor):
        return output.is_floating_point()
    return getattr(output.dtype, "kind", "f") == "f"


def _as_tensor(piece: Any) -> Tensor:
    """A copy of a tensor: that of a memory map would be read-only."""
    if isinstance(piece, Tensor):
        return piece
    order = getattr(piece, "dtype", None)
    if order is not None and getattr(order, "byteorder", "=") not in "=|<":
        return torch.as_tensor(piece.astype(order.newbyteorder("=")))
    return torch.as_tensor(piece.copy() if hasattr(piece, "copy") else piece)
