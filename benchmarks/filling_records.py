"""Results of `benchmarks.filling`: one line each as they are computed, and a compact file to keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from pcpad.files import write_text

__all__ = ["Key", "Record", "append", "read_records", "write_compact"]

Key = tuple[str, str, str]  # picture, kind, method
Record = dict[str, Any]
_KEPT = ("version", "psnr", "ssim", "distance", "cpu", "took")  # in a compact file


def read_records(file: Path) -> dict[Key, Record]:
    """The results of a file, compact or not.

    Later lines override earlier ones, and add to them if they are of the same filling.
    """
    if file.suffix == ".json" and file.is_file():
        return _read_compact(file)
    found: dict[Key, Record] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off by an interruption
        key = (record["picture"], record["kind"], record["method"])
        found[key] = record if "psnr" in record else found.get(key, {}) | record
    return {key: record for key, record in found.items() if "psnr" in record}


def append(file: Path, record: Record) -> None:
    """Add a result to a file, on a line of its own even after one that was cut off."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as lines:
        whole = lines.tell() == 0 or _last_byte(file) == b"\n"
        lines.write((b"" if whole else b"\n") + json.dumps(record).encode() + b"\n")


def _last_byte(file: Path) -> bytes:
    with file.open("rb") as lines:
        lines.seek(-1, 2)
        return lines.read()


def write_compact(file: Path, records: Mapping[Key, Record]) -> None:
    """Keep results in one file: for each kind and method a list per score, in the order of the pictures."""
    pictures = sorted({picture for picture, _, _ in records})
    rows = []
    for kind, method in dict.fromkeys((kind, method) for _, kind, method in records):
        found = [records.get((picture, kind, method), {}) for picture in pictures]
        names = dict.fromkeys(name for record in found for name in record if name in _KEPT)
        rows.append({"kind": kind, "method": method} | {name: [one.get(name) for one in found] for name in names})
        for name, values in rows[-1].items():
            if isinstance(values, list) and all(value == values[0] for value in values):
                rows[-1][name] = {"all": values[0]}  # the version, for example
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    start = json.dumps({"machine": machine(), "pictures": pictures, "holes": _holes(records)})
    write_text(file, f'{start[:-1]},\n"rows": [\n{text}\n]}}\n')


def _holes(records: Mapping[Key, Record]) -> dict[str, str]:
    """A digest of each kind's holes, all pictures together."""
    found: dict[str, set[str]] = {}
    for (picture, kind, _), record in records.items():
        found.setdefault(kind, set()).add(f"{picture} {record.get('mask')}")
    return {kind: hashlib.sha256("\n".join(sorted(ones)).encode()).hexdigest()[:16] for kind, ones in found.items()}


def _read_compact(file: Path) -> dict[Key, Record]:
    content, found = json.loads(file.read_text(encoding="utf-8")), dict[Key, Record]()
    pictures = content["pictures"]
    for row in content["rows"]:
        kind, method = row.pop("kind"), row.pop("method")
        columns = {name: [values["all"]] * len(pictures) if "all" in values else values for name, values in row.items()}
        for place, picture in enumerate(pictures):
            record = {name: values[place] for name, values in columns.items() if values[place] is not None}
            if "psnr" in record:
                found[picture, kind, method] = {"picture": picture, "kind": kind, "method": method} | record
    return found
