"""The benchmark of GPUs, in its small form: what is measured, kept and written, and what is said of what fails."""

import json

import pytest
import torch
from torch import nn

from benchmarks import gpu, gpu_cells
from benchmarks.gpu_cells import CORE, Cell, all_cells

CELLS = ["inpainting_unet-inference-eager-bfloat16", "resnet50-training-eager-bfloat16"]


@pytest.fixture
def run(tmp_path):
    def call(*cells, small=("--device", "cpu", "--small")):
        return gpu.main([*small, "--results", str(tmp_path / "cells"), "--page", str(tmp_path / "page.md"), *cells])

    return call


@pytest.fixture
def cells(tmp_path):
    return lambda: {path.stem: json.loads(path.read_text()) for path in (tmp_path / "cells").glob("*/*.json")}


@pytest.fixture
def measured(monkeypatch):
    """The cells' modes in the order in which they are measured."""
    found, really = [], gpu.measure
    monkeypatch.setattr(
        gpu, "measure", lambda made, setting, *rest: found.append(setting.mode) or really(made, setting, *rest)
    )
    return found


def test_two_cells_and_the_section(run, cells, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Results\n\n<!-- gpu -->\nold\n<!-- /gpu -->\n\n## Another\n")
    assert run(*CELLS) == 0
    assert set(cells()) == set(CELLS)
    for content in cells().values():
        rows = {row["padding"]: row for row in content["rows"]}
        assert {"zeros", "control"} < set(rows)
        for row in rows.values():
            assert len(row["seconds"]) == content["rounds"] == 3
            assert row["relative"][1] <= row["relative"][0] <= row["relative"][2]
        assert content["machine"]["torch"] == torch.__version__
        assert content["failed"] == []
    assert [row["padding"] for row in cells()[CELLS[0]]["rows"]] == ["zeros", "control", "masked"]
    assert {"partial, first call", "partial, later calls"} < {row["padding"] for row in cells()[CELLS[1]]["rows"]}
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- gpu -->\n## On a GPU\n")
    assert text.endswith("<!-- /gpu -->\n\n## Another\n")
    assert "old" not in text
    lines = [
        line.split(" | ") for line in text.splitlines() if line.startswith(("| inpainting_unet |", "| resnet50 |"))
    ]
    assert [line[:3] for line in lines] == [
        ["| resnet50", "partial", "training, 2 of 32×32, eager, bfloat16"],
        ["| inpainting_unet", "masked", "inference, 2 of 32×32, eager, bfloat16"],
    ]
    middle, low, high = cells()[CELLS[0]]["rows"][2]["relative"]
    assert lines[1][5] == f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    assert "no result" in text
    assert "## On a GPU" in capsys.readouterr().out


def test_table_1_has_a_row_for_each_padding(run, cells):
    name = "table1-resnet50"
    assert run(name) == 0
    paddings = ["zeros", "control", "reflect", "replicate", "explicit", "partial, first call", "partial, later calls"]
    assert [row["padding"] for row in cells()[name]["rows"]] == paddings


def test_what_is_there_is_not_measured_again(run, cells, measured, tmp_path):
    assert run(*CELLS) == 0
    assert measured == ["inference", "training"]
    assert run(*CELLS) == 0
    assert measured == ["inference", "training"]
    assert run(*CELLS, "--rounds", "4") == 0  # three were not enough
    assert len(measured) == 4
    inference, training = (next((tmp_path / "cells").glob(f"*/{name}.json")) for name in CELLS)
    inference.write_text(inference.read_text()[:100])  # cut off
    content = json.loads(training.read_text())
    content["machine"]["torch"] = "1.0"
    training.write_text(json.dumps(content))
    assert run(*CELLS) == 0
    assert measured[4:] == ["inference", "training"]
    assert cells()[CELLS[1]]["machine"]["torch"] == torch.__version__


@pytest.mark.faults
def test_a_cell_that_fails_is_named_passed_over_and_tried_again(run, cells, monkeypatch, tmp_path, capsys):
    class Refusing(nn.Module):
        def forward(self, x, mask):
            message = "No kernel for this device."
            raise RuntimeError(message)

    def broken(**options):
        message = "Out of luck\nand more"
        raise MemoryError(message)

    unet, other = CELLS
    with monkeypatch.context() as patch:
        patch.setattr(gpu_cells, "inpainting_unet", broken)
        assert run(unet, other) == 1
    assert cells()[unet]["failed"] == ["MemoryError: Out of luck"]
    assert cells()[other]["failed"] == []
    assert f"- {unet}: MemoryError: Out of luck\n" in (tmp_path / "page.md").read_text()
    assert "not measured: MemoryError: Out of luck" in capsys.readouterr().err
    made = gpu_cells.NETWORKS["inpainting_unet"].make_small((), 2)
    made.networks["masked"].network = Refusing()
    network = gpu_cells.NETWORKS["inpainting_unet"]._replace(make_small=lambda _paddings, _batch: made)
    with monkeypatch.context() as patch:
        patch.setitem(gpu_cells.NETWORKS, "inpainting_unet", network)
        assert run(unet, other) == 1
    assert cells()[unet]["failed"] == ["masked: RuntimeError: No kernel for this device."]
    assert "No kernel for this device." in (tmp_path / "page.md").read_text()
    assert run(unet, other) == 0
    assert cells()[unet]["failed"] == []
    assert "Not measured" not in (tmp_path / "page.md").read_text()


@pytest.mark.faults
def test_time_that_is_over_leaves_the_rest_to_the_next_call(run, cells, capsys):
    assert run(*CELLS, "--minutes", "0") == 1
    assert cells() == {}
    assert capsys.readouterr().err.count("left for the next call") == 2


@pytest.mark.faults
@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_it_is_said(run, cells, tmp_path, capsys):
    assert run(small=()) == 1
    assert "torch sees none here. `--device cpu --small` runs it in a small form" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_small_results_are_not_put_into_the_page_unasked(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(gpu, "FOLDER", tmp_path / "cells")
    assert gpu.main(["--device", "cpu", "--small", "--rounds", "1", CELLS[1]]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "| resnet50 | partial |" in capsys.readouterr().out


def test_the_section_alone(run, tmp_path):
    page = tmp_path / "page.md"
    assert run("--write", small=()) == 0
    assert "Nothing has been measured yet." in page.read_text()


@pytest.mark.parametrize("options", [["no-such"], ["--rounds", "0"], ["--write"]])
def test_wrong_arguments(options, capsys):
    with pytest.raises(SystemExit) as caught:
        gpu.main(["--device", "cpu", "--small", *options])
    assert caught.value.code == 2
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cpu"])
    assert "--small" in capsys.readouterr().err


def test_the_core_and_the_rest(capsys):
    assert len(CORE) == len(set(CORE)) == 12
    names = [cell.name for cell in all_cells()]
    assert len(names) == len(set(names)) > 60
    assert names[:12] == [cell.name for cell in CORE]
    assert {(cell.network, cell.mode) for cell in CORE if not cell.table_1} == {
        (network, mode) for network in gpu_cells.MAIN for mode in ("inference", "training")
    }
    assert {cell.backend for cell in CORE} == {"eager", "compile"}
    assert not (gpu_cells.NETWORKS.keys() - {cell.network for cell in all_cells()})
    with pytest.raises(SystemExit) as caught:
        gpu.main(["--list"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.split() == names


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for cell in CORE if cell.backend == "eager"], ids=lambda cell: cell.name)
def test_each_eager_cell_of_the_core_in_its_small_form(run, cells, cell):
    assert run(cell.name, "--rounds", "1") == 0
    assert cells()[cell.name]["failed"] == []


@pytest.mark.slow
def test_a_compiled_cell(run, cells):
    name = "resnet50-inference-compile-bfloat16"
    assert run(name, "--rounds", "1") == 0
    rows = {row["padding"]: row for row in cells()[name]["rows"]}
    assert rows["zeros"]["compile_seconds"] > 0
    assert rows["partial"]["compile_seconds"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_cell_on_a_gpu(run, cells):
    cell = Cell("resnet50", "training")
    assert run(cell.name, "--rounds", "10", small=()) == 0
    rows = {row["padding"]: row for row in cells()[cell.name]["rows"]}
    assert 0.5 < rows["partial, later calls"]["relative"][0] < 2
    assert 0.8 < rows["control"]["relative"][0] < 1.25
