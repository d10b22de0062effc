"""The benchmark of fillings: what is written, what is done again, and what the tables say."""

import argparse
import json

import cv2
import numpy as np
import pytest
import torch

from benchmarks import filling
from benchmarks.filling_holes import KINDS, digest, draw_hole
from benchmarks.filling_methods import Filler, filler
from benchmarks.filling_records import append, read_records, write_compact
from benchmarks.filling_report import best_competitor, report, verdict
from benchmarks.paired import compare
from pcpad.errors import UserFileNotFoundError

CLASSICAL = ["ns", "telea@5", "biharmonic", "mean"]


@pytest.fixture
def photographs(tmp_path):
    """Two, of which the middle is looked at."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(2):
        gray = cv2.GaussianBlur(np.random.default_rng(number).random((270, 300, 3)), (0, 0), 8)
        gray = (gray - gray.min()) / np.ptp(gray) * 255
        cv2.imwrite(str(folder / f"{number}.png"), gray.astype(np.uint8))
    return folder


@pytest.fixture
def given(tmp_path, photographs):
    return argparse.Namespace(
        json=tmp_path / "results" / "filling.jsonl",
        work=tmp_path / "work",
        methods=CLASSICAL,
        kinds=["scratches", "text"],
        again=False,
    )


def test_each_result_is_written_once(given, photographs):
    paths = sorted(photographs.iterdir())
    filling.fill_all(given, paths[:1])
    first = given.json.read_text()
    assert len(first.splitlines()) == 2 * len(CLASSICAL)
    filling.fill_all(given, paths)
    assert given.json.read_text().startswith(first)
    records = read_records(given.json)
    assert len(records) == len(given.json.read_text().splitlines()) == 4 * len(CLASSICAL)
    for (picture, kind, method), record in records.items():
        hole, truth = draw_hole(picture, kind), filling.crop(photographs / f"{picture}.png")
        kept = cv2.imread(str(given.work / kind / method / f"{picture}.png"))[..., ::-1]
        assert np.array_equal(kept[~hole], truth[~hole])
        assert record["mask"] == digest(hole)
        assert record["psnr"] == pytest.approx(filling.hole_psnr(kept, truth, hole), abs=1e-4)
        assert record["ssim"] == pytest.approx(filling.ssim(kept, truth), abs=1e-6)
    for kind in given.kinds:
        assert records["0", kind, "biharmonic"]["psnr"] > records["0", kind, "mean"]["psnr"] + 5


def test_what_was_in_the_hole_is_not_given_away(given, photographs):
    seen = []

    def run(picture, hole):
        seen.append(picture[hole])
        return picture

    truth, hole = filling.crop(photographs / "0.png"), draw_hole("0", "text")
    filling.filled_and_scored(Filler(run, "1"), truth, hole, given.work / "a.png")
    assert not seen[0].any()


def test_results_of_another_version_are_made_again(given, photographs, monkeypatch):
    paths, versions = sorted(photographs.iterdir())[:1], ["1", "1", "2"]
    given.kinds, given.methods = ["text"], ["mean"]
    monkeypatch.setattr(filling, "filler", lambda name: Filler(filler(name).run, versions.pop(0)))
    for lines in (1, 1, 2):
        filling.fill_all(given, paths)
        assert len(given.json.read_text().splitlines()) == lines
    [record] = read_records(given.json).values()
    assert record["version"] == "2"


def test_a_line_cut_off_costs_only_itself(tmp_path):
    file = tmp_path / "lines.jsonl"
    record = {"picture": "a", "kind": "text", "method": "ns", "psnr": 1.0}
    append(file, record)
    with file.open("a") as lines:
        lines.write('{"picture": "b", "ki')
    append(file, {**record, "picture": "c"})
    append(file, {"picture": "c", "kind": "text", "method": "ns", "distance": 0.5})
    append(file, {"picture": "d", "kind": "text", "method": "ns", "distance": 0.5})
    assert {key[0]: record.get("distance") for key, record in read_records(file).items()} == {"a": None, "c": 0.5}
    # A filling made again has another distance.
    append(file, {**record, "picture": "c"})
    assert "distance" not in read_records(file)["c", "text", "ns"]


def test_the_compact_file_holds_the_same(tmp_path):
    records = {}
    for number, (picture, method) in enumerate([("a", "ns"), ("b", "ns"), ("b", "fill"), ("c", "fill")]):
        record = {"picture": picture, "kind": "text", "method": method, "version": "1", "psnr": 20.5 + number}
        records[picture, "text", method] = record | ({"took": {"ns": number}} if method == "fill" else {})
    write_compact(tmp_path / "kept.json", records)
    assert read_records(tmp_path / "kept.json") == records
    assert len(read_records(tmp_path / "kept.json")) == 4


def test_photographs_that_are_too_small_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((255, 400, 3), np.uint8))
    with pytest.raises(ValueError, match=r"small.png: expected at least 256 x 256"):
        filling.crop(tmp_path / "small.png")


@pytest.mark.parametrize("name", ["lama", "biharmonic@3", ""])
def test_a_method_that_is_none_is_named(name):
    with pytest.raises(ValueError, match=f"but got {name!r}"):
        filler(name)


def records_of(numbers):
    """Results by method: PSNR of three pictures of scratches."""
    return {
        (f"p{number}", "scratches", method): {"psnr": value, "ssim": value / 40, "cpu": 0.1, "took": {}}
        for method, values in numbers.items()
        for number, value in enumerate(values)
    }


def test_the_best_competitor_is_never_ours():
    records = records_of({"fill": [30, 30, 30], "network": [50, 50, 50], "ns": [20, 21, 22], "telea": [22, 22, 25]})
    assert best_competitor(records, "scratches", "psnr", "fill") == "telea"
    # One that lacks a picture is no competitor yet.
    del records["p2", "scratches", "telea"]
    assert best_competitor(records, "scratches", "psnr", "fill") == "ns"
    assert best_competitor(records, "scratches", "psnr", "nothing") is None
    assert best_competitor(records, "scratches", "distance", "fill") is None


def test_the_tables_hold_the_numbers():
    records = records_of({"ns": [20, 21, 22], "fill": [22, 24, 23.5], "mean": [10, 11, 12]})
    text = report(records)
    assert "| fill | 3 | 23.17 | 0.5792 |  | 0.100 (0.100) |" in text
    assert "| ns | 3 | 21.00 |" in text
    assert "| fill | scratches | ns | 3 | +2.17 [" in text
    assert "| 100% |" in text
    assert text.index("| fill | 3") < text.index("| ns | 3")
    assert report({}) == "No results yet.\n"


@pytest.mark.parametrize(
    ("shift", "sign", "margin", "words"),
    [
        (0.5, 1, 0.1, "ahead"),
        (-0.5, 1, 0.1, "behind"),
        (-0.5, -1, None, "ahead"),
        (0.0, 1, 0.1, "not behind"),
        (0.0, 1, 0.05, "no difference found"),
        (0.0, 1, None, "no difference found"),
    ],
)
def test_verdicts(shift, sign, margin, words):
    noise = np.random.default_rng(0).normal(0, 0.3, 50)  # the interval is ±0.08
    values = {str(place): float(shift + one - noise.mean()) for place, one in enumerate(noise)}
    assert verdict(compare(values, dict.fromkeys(values, 0.0)), sign, margin) == words


def test_the_command(given, photographs, monkeypatch, capsys, tmp_path):
    page = tmp_path / "page.md"
    arguments = ["--photographs", photographs, "--work", given.work, "--methods", "mean", "--kinds", "blocks"]
    everything = ["filling", *arguments, "--first", 1, "--json", given.json, "--markdown", page]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in everything])
    filling.main()
    assert "1 of 1 photographs" in capsys.readouterr().out
    assert "### Blocks" in page.read_text()
    assert json.loads(given.json.read_text())["kind"] == "blocks"
    assert set(KINDS) == {"scratches", "strokes", "text", "blocks", "half page"}


class Gray(torch.nn.Module):
    """Fills with one gray."""

    context = 16

    def __init__(self, gray):
        super().__init__()
        self.register_buffer("gray", torch.tensor(gray))

    def forward(self, image, mask):
        return torch.where(mask != 0, image, self.gray)


def test_ours_are_what_ships(monkeypatch):
    network = Gray(0.2)
    for place in ("benchmarks.filling_methods.shipped_network", "pcpad._filling_picture.shipped_network"):
        monkeypatch.setattr(place, lambda: network)
    picture, hole = np.full((64, 64, 3), 200, np.uint8), np.zeros((64, 64), bool)
    hole[10:30, 20:50] = True
    alone, auto = filler("network"), filler("fill")
    assert (alone.run(picture, hole)[hole] == 51).all()
    assert alone.took == {"network": 600}
    filled = auto.run(picture, hole)
    assert sum(auto.took.values()) == 600
    assert filled.dtype == np.uint8
    assert np.array_equal(filled[~hole], picture[~hole])
    assert alone.version == auto.version
    network = Gray(0.3)
    assert filler("network").version != alone.version


def test_without_a_network_there_is_no_row_of_ours(monkeypatch):
    def missing():
        message = "none ships"
        raise UserFileNotFoundError(message)

    monkeypatch.setattr("benchmarks.filling_methods.shipped_network", missing)
    for name in ("fill", "network"):
        with pytest.raises(FileNotFoundError, match="none ships"):
            filler(name)
