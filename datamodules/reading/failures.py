"""Skip samples that cannot be read, and keep the reasons."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset, default_collate

from pcpad.distributed import raise_failures
from pcpad.errors import UserError

__all__ = ["UsableItems", "UsableLoader", "WhatCanBeRead", "raise_failures"]


class WhatCanBeRead(Dataset[dict[str, Any]]):
    """A data set whose items are `{"failure": str}` where reading raises a `UserError`, for `UsableLoader` to collect.

    Args:
        dataset: Indexed by position; its items are dicts.

    Attributes:
        failures: The items that could not be read and why, filled by `UsableLoader`.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset
        self.failures: list[str] = []

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def input_files(self) -> Iterator[Sequence[str]]:
        """The files of each sample, if the data set knows them."""
        listed = getattr(self.dataset, "input_files", None)
        return iter(()) if listed is None else listed()

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            item: dict[str, Any] = self.dataset[index]
            return item
        except UserError as error:
            return {"failure": str(error)}


class UsableLoader(DataLoader[Any]):
    """Yields the batches of a `WhatCanBeRead`, collated by `UsableItems`, and collects the reasons in its `failures`.

    Its arguments are those of a DataLoader, since Lightning re-creates loaders from them.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches of the items that can be read."""
        for batch, failures in super().__iter__():
            if isinstance(self.dataset, WhatCanBeRead):
                self.dataset.failures += failures
            if batch is not None:
                yield batch


class UsableItems:
    """Collates the items that could be read, None if there are none, and lists the failures.

    Args:
        collate: Makes a batch from items.
    """

    def __init__(self, collate: Callable[[list[Any]], Any] = default_collate) -> None:
        self.collate = collate

    def __call__(self, items: list[dict[str, Any]]) -> tuple[Any, list[str]]:
        """Separate items from failures."""
        whole = [item for item in items if "failure" not in item]
        return (self.collate(whole) if whole else None), [item["failure"] for item in items if "failure" in item]
