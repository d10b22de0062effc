"""Partial convolution: layers that ignore invalid taps and rescale by how many were valid.

Importing this package needs torch alone. The task suite built on it lives in `pcpad.tasks`,
`pcpad.datamodules`, `pcpad.commands` and `pcpad.cli`, which need Lightning.
"""

from pathlib import Path as _Path

__version__ = "0.1.0"

# In a checkout the suite's folders stand beside this package instead of inside it (see pyproject.toml).
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "cli.py").is_file():
    __path__.append(str(_root))

from pcpad.convert import convert_padding  # noqa: E402  # after the path is complete
from pcpad.layers import ExplicitPadConv2d, PartialConv1d, PartialConv2d, PartialConv3d  # noqa: E402
from pcpad.masked import MaskedSequential, pad_to_batch  # noqa: E402
from pcpad.panoptic import PanopticPartialConv2d, PanopticPlan  # noqa: E402

__all__ = [
    "ExplicitPadConv2d",
    "MaskedSequential",
    "PanopticPartialConv2d",
    "PanopticPlan",
    "PartialConv1d",
    "PartialConv2d",
    "PartialConv3d",
    "__version__",
    "convert_padding",
    "pad_to_batch",
]

from pcpad import _renamed as _renamed  # noqa: E402  # earlier versions' import paths
