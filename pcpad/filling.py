"""Fill the holes of a picture: with an inpainting network, with classical methods, or with what suits each hole.

`fill_picture` does the work of `pcpad fill` in memory: pictures of any size, holes of any size. `fill` runs one network
over a batch of pictures, and leaves the rest to it.
"""

from __future__ import annotations

from pcpad._filling_picture import Filled, Summary, fill_picture, fill_pixels, shipped_network
from pcpad._filling_rule import METHODS, Method
from pcpad._filling_tiles import MOST_PIXELS_AT_ONCE, TILING, Inpainter, count_unreached, fill

__all__ = [
    "METHODS",
    "MOST_PIXELS_AT_ONCE",
    "TILING",
    "Filled",
    "Inpainter",
    "Method",
    "Summary",
    "count_unreached",
    "fill",
    "fill_picture",
    "fill_pixels",
    "shipped_network",
]
