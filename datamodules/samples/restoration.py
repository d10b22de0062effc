"""The photographs that the included restoration network was trained on, as far as they are installed."""

import hashlib
import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.utilities import rank_zero_warn

from pcpad.datamodules.samples.writing import SampleSummary, write_once
from pcpad.errors import UserFileNotFoundError

__all__ = ["HELD_OUT", "TRAINED_ON", "Source", "write_restoration"]

_LOMIRI = ("Debian's lomiri-wallpapers-16.04 20.04.0-2", "/usr/share/backgrounds")
_SKIMAGE = ("scikit-image", "skimage/data")
_SKLEARN = ("scikit-learn", "sklearn/datasets/images")
_MATPLOTLIB = ("matplotlib", "matplotlib/mpl-data/sample_data")
_SCIPY = ("SciPy 1.9.3 (scipy/misc/*.dat, decoded)", "")


class Source(NamedTuple):
    """A photograph with its author and origin.

    Attributes:
        name: The file's name.
        package: The package that contains it.
        folder: The package's folder: below Python's packages, or an absolute path; empty if it is not a file.
        license: Its license.
        author: Its author.
        sha256: The checksum of the file, or of the package's data file that contains it.
    """

    name: str
    package: str
    folder: str
    license: str
    author: str
    sha256: str


TRAINED_ON = (
    Source(
        "Picture_0B_by_freespace.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        'Trevor "Freespace"',
        "c8c0ab18e48d9e0419fe42881112137f3afafc27dfddc29ec3a6d54c56d225ad",
    ),
    Source(
        "Picture_1A_by_freespace.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        'Trevor "Freespace"',
        "89e86af38d04daaef975665dc2127e9fa76f0fd68f4eea105a2d0ae3390b010b",
    ),
    Source(
        "Wine_by_Jakkub_Mede.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        "Jakub Mede",
        "d2e96e6d4da40dd804b3d0ce295e94de04a2d7d9b6785d42cd9d92ba58bced74",
    ),
    Source(
        "aitzgorri_by_Aitzol_Berasategi.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        "Aitzol Berasategi",
        "66268e7b48f8854d36a28765fac6e23ec1aee251daa6da1f64715f201020ad36",
    ),
    Source(
        "friends_by_Aitzol_Berasategi.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        "Aitzol Berasategi",
        "cc40e313c74e421edffe3403def413c16878ce14661cce7ec5915baeab35538d",
    ),
    Source(
        "life_by_Aitzol_Berasategi.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        "Aitzol Berasategi",
        "4c119350ead80201fe256850c3d316309ddfb4bdf10b235ce982dcde0c667c05",
    ),
    Source(
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        "Aitzol Berasategi",
        "414d0072b2f6f2c555deafeaef6e45c4fed6fa9ad26eba6560ca8803959cf97a",
    ),
    Source(
        "seeding_by_Clements_Engelhardt.jpg",
        *_LOMIRI,
        "CC0-1.0",
        "Clemens Engelhardt",
        "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
    ),
    Source(
        "sunset_by_Aitzol_Berasategi.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        "Aitzol Berasategi",
        "474dab6a4b9f94dc76c29dfe30e9f5db4af0fd2e33fe5d695f8152b371efca18",
    ),
    Source(
        "umang_by_Abhishek_Mudgal.jpg",
        *_LOMIRI,
        "CC-BY-4.0",
        "Abhishek Mudgal",
        "bfb425545e77e9f0eb1b037b607fc9ed4a446f3b0f04aa2879be3556073c57ef",
    ),
    Source(
        "brick.png",
        *_SKIMAGE,
        "CC0-1.0",
        "CC0Textures",
        "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    ),
    Source(
        "clock_motion.png",
        *_SKIMAGE,
        "public domain",
        "Stefan van der Walt",
        "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
    ),
    Source(
        "grass.png",
        *_SKIMAGE,
        "CC0-1.0",
        "linolafett",
        "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    ),
    Source(
        "hubble_deep_field.jpg",
        *_SKIMAGE,
        "public domain",
        "NASA",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    ),
    Source(
        "retina.jpg",
        *_SKIMAGE,
        "CC0-1.0",
        "Mikael Häggström",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    ),
    Source(
        "text.png",
        *_SKIMAGE,
        "public domain",
        "Wikipedia, File:Corner.png",
        "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1",
    ),
    Source(
        "china.jpg",
        *_SKLEARN,
        "CC-BY-2.0",
        "danielbuechele",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    Source(
        "flower.jpg",
        *_SKLEARN,
        "CC-BY-2.0",
        "vultilion",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
    Source(
        "grace_hopper.jpg",
        *_MATPLOTLIB,
        "public domain",
        "James S. Davis, U.S. Navy",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    ),
    Source(
        "ascent.png",
        *_SCIPY,
        "public domain",
        "public-domain-image.com, accent-to-the-top",
        "e8a84939484463ab8051aedc5b40aa262ab33a91d6458a6cd13c6a1cad5a023d",
    ),
    Source(
        "face.png",
        *_SCIPY,
        "public domain",
        "public-domain-image.com, raccoon-procyon-lotor",
        "9d8b0b4d081313e2b485748c770472e5a95ed1738146883d84c7030493e82886",
    ),
)
"""The photographs that the included weights were trained on. `pcpad/models/restoration.md` lists them too."""

HELD_OUT = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")
"""The photographs of scikit-image that the recipe validates on."""


def write_restoration(root: str | Path) -> SampleSummary:
    """Write the photographs of `inp_restore.yaml` that are installed, and five held-out ones from scikit-image.

    ```
    root/train/*.png, *.jpg      of the 21 that the included weights were trained on: eight with the extra `samples`,
                                 one more with `figures`, ten more with Debian's lomiri-wallpapers-16.04
    root/val/*.png, *.jpg        astronaut, camera, chelsea, coffee, rocket
    ```

    A warning lists the missing ones and their sources; any photographs can be added.

    Args:
        root: A new or empty folder; if it already holds the same sample, nothing is written.

    Returns:
        A summary of the folder.

    Raises:
        FileNotFoundError: The photographs of scikit-image are missing too.
        FileExistsError: The folder holds something else.
    """
    found = {source: path for source in TRAINED_ON if (path := _found(source)) is not None}
    held_out = [path for name in HELD_OUT if (path := _place(f"{_SKIMAGE[1]}/{name}")) is not None]
    if len(held_out) < len(HELD_OUT):
        message = "the held-out photographs come with scikit-image 0.26 or later: pip install 'pcpad[samples]'"
        raise UserFileNotFoundError(message)
    settings = {"train": [source.name for source in found]}
    summary = write_once(root, "restoration", settings, lambda folder: _fill(folder, list(found.values()), held_out))
    missing = [source for source in TRAINED_ON if source not in found]
    if missing:
        packages = ", ".join(sorted({source.package for source in missing}))
        rank_zero_warn(
            f"{len(missing)} of the {len(TRAINED_ON)} photographs that the included weights were trained on are "
            f"missing: {', '.join(source.name for source in missing)}. They come with {packages}."
        )
    return summary


def _fill(folder: Path, train: list[Path], held_out: list[Path]) -> Mapping[str, int]:
    splits = {"train": train, "val": held_out}
    for split, paths in splits.items():
        (folder / split).mkdir()
        for path in paths:
            shutil.copyfile(path, folder / split / path.name)
    return {split: len(paths) for split, paths in splits.items()}


def _found(source: Source) -> Path | None:
    """The path of the exact file; None if it is missing, or is another file of that name."""
    path = _place(f"{source.folder}/{source.name}") if source.folder else None
    if path is None or hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
        return None
    return path


def _place(name: str) -> Path | None:
    """The path of a file given by absolute path, or within a Python package, which is not imported."""
    path = Path(name)
    if not path.is_absolute():
        package, _, rest = name.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / rest
    return path if path.is_file() else None
