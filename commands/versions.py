"""`pcpad --version`: the versions that matter, read from package metadata; nothing is imported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import pcpad

__all__ = ["MATTER", "OPENCV", "installed", "opencv_packages", "version_text"]

MATTER = (
    "torch",
    "lightning",
    "torchvision",
    "torchmetrics",
    "albumentations",
    "segmentation-models-pytorch",
    "timm",
    "opencv",
    "numpy",
)
"""Packages whose versions decide what pcpad does, as pip calls them; `opencv` stands for any of `OPENCV`."""

OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
"""The packages that provide `cv2`, each with files of the same names."""

_SECOND_LINE = "torchmetrics"


def installed(package: str) -> str | None:
    """The version of a package that is installed.

    Args:
        package: As pip calls it; `opencv` for any of `OPENCV`.

    Returns:
        Its version; None where it is not installed, or its metadata cannot be read.
    """
    names = opencv_packages() if package == "opencv" else [package]
    try:
        return version(names[0]) if names else None
    # A folder that an interrupted pip left behind has no version, or none that can be read.
    except (PackageNotFoundError, KeyError, TypeError, ValueError, OSError):
        return None


def opencv_packages() -> list[str]:
    """The installed packages that provide `cv2`; several of them overwrite each other's files."""
    return [name for name in OPENCV if installed(name) is not None]


def version_text() -> str:
    """The two lines of `pcpad --version`."""
    first = [f"pcpad {pcpad.__version__}", f"Python {platform.python_version()}"]
    second: list[str] = []
    for package in MATTER:
        line = second if second or package == _SECOND_LINE else first
        line.append(f"{package} {installed(package) or 'missing'}")
    return ", ".join(first) + "\n" + ", ".join(second) + "\n"
