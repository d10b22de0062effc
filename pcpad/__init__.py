"""Partial convolution: layers that ignore invalid taps and rescale by how many were valid.

Importing this package imports nothing else, and its layers only need torch. The task suite built on it lives in
`pcpad.tasks`, `pcpad.datamodules`, `pcpad.commands` and `pcpad.cli`, which need Lightning.
"""

from pathlib import Path as _Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# In a checkout the suite's folders are next to this package instead of inside it (see pyproject.toml).
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "cli.py").is_file():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from pcpad.convert import convert_padding as convert_padding
    from pcpad.fusing import fuse_padding as fuse_padding
    from pcpad.kernels import set_border_kernel as set_border_kernel
    from pcpad.layers import ExplicitPadConv2d as ExplicitPadConv2d
    from pcpad.layers import PartialConv1d as PartialConv1d
    from pcpad.layers import PartialConv2d as PartialConv2d
    from pcpad.layers import PartialConv3d as PartialConv3d
    from pcpad.masked import MaskedSequential as MaskedSequential
    from pcpad.masked import pad_to_batch as pad_to_batch
    from pcpad.paddings import padding_names as padding_names
    from pcpad.paddings import register_padding as register_padding
    from pcpad.panoptic import PanopticPartialConv2d as PanopticPartialConv2d
    from pcpad.panoptic import PanopticPlan as PanopticPlan

    __all__: list[str]
else:
    from pcpad._lazy import attach as _attach  # after the path is complete

    __getattr__, __dir__, __all__ = _attach(
        __name__,
        {
            "ExplicitPadConv2d": "pcpad.layers",
            "MaskedSequential": "pcpad.masked",
            "PanopticPartialConv2d": "pcpad.panoptic",
            "PanopticPlan": "pcpad.panoptic",
            "PartialConv1d": "pcpad.layers",
            "PartialConv2d": "pcpad.layers",
            "PartialConv3d": "pcpad.layers",
            "convert_padding": "pcpad.convert",
            "fuse_padding": "pcpad.fusing",
            "pad_to_batch": "pcpad.masked",
            "padding_names": "pcpad.paddings",
            "register_padding": "pcpad.paddings",
            "set_border_kernel": "pcpad.kernels",
        },
        modules=(
            *("cli", "commands", "configs", "datamodules", "tasks"),
            *(
                "adaptation",
                "bounded_yaml",
                "class_counts",
                "convert",
                "deprecation",
                "distributed",
                "errors",
                "file_kinds",
                "files",
                "filling",
                "functional",
                "fusing",
                "georeference",
                "kernels",
                "layers",
                "limits",
                "losses",
                "masked",
            ),
            *("metrics", "models", "paddings", "panoptic", "pictures", "tables", "terminal", "tiling", "trust"),
        ),
    )
    __all__ += ["__version__"]

from pcpad import _renamed as _renamed  # noqa: E402  # earlier versions' import paths
