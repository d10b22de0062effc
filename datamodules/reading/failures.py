"""What could not be read while all else was done."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset, default_collate

from pcpad.distributed import raise_failures
from pcpad.errors import UserError

__all__ = ["UsableItems", "UsableLoader", "WhatCanBeRead", "raise_failures"]


class WhatCanBeRead(Dataset[dict[str, Any]]):
    """A data set of which an item that raises a `UserError` is `{"failure": str}`, for `UsableLoader` to keep.

    Args:
        dataset: Asked for positions; its items are dicts.

    Attributes:
        failures: What could not be read and why, filled by `UsableLoader`.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset
        self.failures: list[str] = []

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def input_files(self) -> Iterator[Sequence[str]]:
        """The files of each sample, where the data set tells."""
        listed = getattr(self.dataset, "input_files", None)
        return iter(()) if listed is None else listed()

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            item: dict[str, Any] = self.dataset[index]
            return item
        except UserError as error:
            return {"failure": str(error)}


class UsableLoader(DataLoader[Any]):
    """Hands out the batches of a `WhatCanBeRead`, collated by `UsableItems`, and keeps in its `failures` the reasons.

    Its arguments are a DataLoader's, as Lightning makes another one of them.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Read the items."""
        for batch, failures in super().__iter__():
            if isinstance(self.dataset, WhatCanBeRead):
                self.dataset.failures += failures
            if batch is not None:
                yield batch


class UsableItems:
    """Makes a batch of what could be read, or None of nothing, and a list of the failures.

    Args:
        collate: Makes a batch of items.
    """

    def __init__(self, collate: Callable[[list[Any]], Any] = default_collate) -> None:
        self.collate = collate

    def __call__(self, items: list[dict[str, Any]]) -> tuple[Any, list[str]]:
        """Sort the items."""
        whole = [item for item in items if "failure" not in item]
        return (self.collate(whole) if whole else None), [item["failure"] for item in items if "failure" in item]
