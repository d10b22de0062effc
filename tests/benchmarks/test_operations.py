"""The table of kernels and bytes."""

import argparse
import json
import sys

from benchmarks import operations


def test_a_row_for_each_layer_and_what_was_before(monkeypatch, capsys, tmp_path):
    chosen = {"layer": ["partial"], "size": ["7x7"], "dtype": ["float32"], "gpu": False}
    table = operations.rows(argparse.Namespace(**chosen))
    assert [row["forward"] for row in table] == [2, 2, 2, 2]
    before = tmp_path / "before.json"
    before.write_text(json.dumps([row | {"forward": 29} for row in table]), encoding="utf-8")
    command = ["operations", "--layer", "partial", "--size", "7x7", "--dtype", "float32", "--format", "markdown"]
    monkeypatch.setattr(sys, "argv", [*command, "--before", str(before)])
    operations.main()
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert "inference, bias: yes" in head
    assert len(lines) == 1
    assert "29 (×1.15) → 2 (×1.15)" in lines[0]
    assert "29 + 2 (×1.15, ×1.08) → 2 + 2 (×1.15, ×1.08)" in lines[0]
