"""Writers of small data sets in the original on-disk formats, for experiments and tests.

`SAMPLES[name](folder)` writes the sample data set of that name and returns a `SampleSummary`. A writer's module is
imported on access, and reports itself which optional packages it needs.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pcpad.datamodules.samples.writing import SampleSummary

if TYPE_CHECKING:
    from pcpad.datamodules.samples.cityscapes import write_cityscapes
    from pcpad.datamodules.samples.digits import write_digits
    from pcpad.datamodules.samples.kinetics import write_kinetics
    from pcpad.datamodules.samples.photos import write_photos
    from pcpad.datamodules.samples.restoration import write_restoration

__all__ = [
    "SAMPLES",
    "SampleSummary",
    "write_cityscapes",
    "write_digits",
    "write_kinetics",
    "write_photos",
    "write_restoration",
]


class _Writers(Mapping[str, Callable[..., SampleSummary]]):
    """A mapping from names to the functions `write_NAME` of the modules NAME, imported on access."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getitem__(self, name: str) -> Callable[..., SampleSummary]:
        if name not in self._names:
            raise KeyError(name)
        writer: Callable[..., SampleSummary] = getattr(import_module(f"{__name__}.{name}"), f"write_{name}")
        return writer

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


SAMPLES: Mapping[str, Callable[..., SampleSummary]] = _Writers(
    "cityscapes", "digits", "kinetics", "photos", "restoration"
)
"""Writers by name. Each takes the folder to write as its first argument, and options by keyword."""


def __getattr__(name: str) -> Any:
    sample = name.removeprefix("write_")
    if sample == name or sample not in SAMPLES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return SAMPLES[sample]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
