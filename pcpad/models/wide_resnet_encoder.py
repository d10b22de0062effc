"""WideResNet38 as an encoder of segmentation-models-pytorch; `pcpad.models.smp` registers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn

from pcpad.errors import UserValueError
from pcpad.models.wide_resnet import FEATURES, WideResNet38

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WideResNet38Encoder"]


class WideResNet38Encoder(WideResNet38, EncoderMixin):  # type: ignore[misc]  # smp has no types
    """WideResNet38 with smp's encoder interface: six features, at strides 1 to 32 unless dilated.

    Args:
        out_channels: Channels of the six features.
        depth: The number of features after the image; deeper layers are left out.
        output_stride: smp's output stride; the network is built at 32 and dilated by `make_dilated`.
    """

    _is_torch_scriptable = False  # TorchScript does not support gradient checkpointing

    def __init__(self, out_channels: list[int], depth: int = 5, output_stride: int = 32) -> None:
        if not 1 <= depth <= 5:
            message = f"Expected argument `encoder_depth` to be in 1 to 5, but got {depth}"
            raise UserValueError(message)
        super().__init__(output_stride=32)
        self._depth = depth
        self._in_channels = 3
        self._out_channels = list(out_channels)
        self._output_stride = output_stride
        # Unused parameters stop distributed training.
        names = [name for name, _ in self.named_children()]
        for name in names[names.index(FEATURES[depth - 1]) + 1 :]:
            delattr(self, name)

    def get_stages(self) -> dict[int, Sequence[nn.Module]]:
        """The modules that smp dilates for smaller output strides, by their own output stride."""
        stages = {16: ["mod5"], 32: ["mod6", "mod7"]}
        here = {
            stride: [getattr(self, name) for name in names if hasattr(self, name)] for stride, names in stages.items()
        }
        return {stride: modules for stride, modules in here.items() if modules}

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        """The image and the outputs of the first `depth` of mod2, mod3, mod4, mod5 and mod7."""
        return [x, *self.features(x, self._depth)]
