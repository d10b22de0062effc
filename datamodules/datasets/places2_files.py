"""The files of Places2, or of any set of images with train/, val/ and test/."""

from pathlib import Path
from typing import Literal

from lightning.pytorch.utilities import rank_zero_warn

from pcpad.datamodules.reading.folders import FileTable, list_images
from pcpad.errors import UserFileNotFoundError

Split = Literal["train", "val", "test"]

# The plain names, followed by the archives' folders at full size and at 256 pixels.
_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "data_large", "data_large_standard", "data_256", "data_256_standard"),
    "val": ("val", "val_large", "val_256"),
    "test": ("test", "test_large", "test_256"),
}
_STAND_IN: dict[Split, Split] = {"val": "test", "test": "val"}

_NO_DATA = """{what} {path}
Expected any images in folders and sub-folders of these names:
    {root}/train/…    or, as Places2's archives unpack, data_large/a/airfield/00000001.jpg (data_256/…)
    {root}/val/…      or val_large/Places365_val_00000001.jpg (val_256/…); test/ can replace it
    {root}/test/…     or test_large/Places365_test_00000001.jpg (test_256/…); val/ can replace it
Places2 (Places365) is available at http://places2.csail.mit.edu/download.html.
A small stand-in of real photographs:
    pcpad sample photos DIR    and then --data.root DIR"""


class ImageSplits:
    """The images of each split, listed on first use.

    Args:
        root: The folder with the splits' folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[Split, FileTable] = {}

    def __getitem__(self, split: Split) -> FileTable:
        """The images of a split, sorted; val replaces a missing test and the reverse, with a single warning.

        Raises:
            FileNotFoundError: There are none; says what was expected and where to get it.
        """
        if split not in self._found:
            self._found[split] = self._list(split)
        return self._found[split]

    def _list(self, split: Split) -> FileTable:
        folder, other = self._folder(split), _STAND_IN.get(split)
        if folder is None and other is not None and self._folder(other) is not None:
            rank_zero_warn(f"{self.root.absolute()} has no {split}/: {other}/ is used instead")
            return self[other]
        if folder is None:
            what = f"No folder of {split} images in" if self.root.is_dir() else "No such folder:"
            raise UserFileNotFoundError(_NO_DATA.format(what=what, path=self.root.absolute(), root=self.root))
        names = list_images(folder)
        if not names:
            raise UserFileNotFoundError(_NO_DATA.format(what="No images in", path=folder.absolute(), root=self.root))
        return FileTable(folder, names)

    def _folder(self, split: Split) -> Path | None:
        return next((self.root / name for name in _FOLDERS[split] if (self.root / name).is_dir()), None)
