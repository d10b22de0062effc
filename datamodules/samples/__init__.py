"""Writers of small data sets in the true on-disk formats, for trying things out and for tests.

`SAMPLES[name](folder)` writes the sample data set of that name and returns a `SampleSummary`. Importing this
package needs none of the optional dependencies; a writer says what it needs when it is called.
"""

from collections.abc import Callable

from pcpad.datamodules.samples.cityscapes import write_cityscapes
from pcpad.datamodules.samples.digits import write_digits
from pcpad.datamodules.samples.kinetics import write_kinetics
from pcpad.datamodules.samples.photos import write_photos
from pcpad.datamodules.samples.writing import SampleSummary

SAMPLES: dict[str, Callable[..., SampleSummary]] = {
    "cityscapes": write_cityscapes,
    "digits": write_digits,
    "kinetics": write_kinetics,
    "photos": write_photos,
}
"""Writers by name. Each takes the folder to write first, and options by keyword."""

__all__ = ["SAMPLES", "SampleSummary", "write_cityscapes", "write_digits", "write_kinetics", "write_photos"]
