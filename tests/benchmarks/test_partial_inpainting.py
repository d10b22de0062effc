"""The masks and the arithmetic of partial against ordinary convolution."""

import json

import numpy as np
import pytest
import torch

from benchmarks.partial_inpainting import (
    BORDER,
    SIZE,
    bin_name,
    holes_of,
    lay_out,
    over_seeds,
    read_scores,
    scores_of,
    summary,
    training,
)
from pcpad.metrics.inpainting import PAPER_BINS, InpaintingScores
from pcpad.tasks import InpaintingTask

PICTURES = [f"p{number}" for number in range(8)]


@pytest.mark.parametrize("bounds", PAPER_BINS)
def test_two_masks_differ_in_their_place_alone(bounds):
    for name in PICTURES:
        masks = holes_of(name, bounds)
        shares = {place: 1 - mask.mean() for place, mask in masks.items()}
        assert all(bounds[0] <= share <= bounds[1] for share in shares.values())
        assert abs(shares["inside"] - shares["border"]) <= 0.0051
        middle = slice(BORDER, -BORDER)
        outside = {place: (mask == 0).sum() - (mask[middle, middle] == 0).sum() for place, mask in masks.items()}
        assert outside["inside"] == 0 < outside["border"]
        assert all(np.array_equal(masks[place], mask) for place, mask in holes_of(name, bounds).items())


def test_the_photographs_are_laid_out(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for number in range(20):
            (tmp_path / part / f"{number:02}.jpg").write_bytes(b"")
    for _ in range(2):
        root = lay_out(tmp_path, tmp_path / "work")
    found = {part: {path.name for path in (root / part).iterdir()} for part in ("train", "val", "test")}
    assert found["val"] == {"00.jpg", "10.jpg"}
    assert len(found["train"]) == 18
    assert not found["train"] & found["val"]
    assert len(found["test"]) == 20
    assert "0," in training(tmp_path, tmp_path / "work", 0)


def test_scores_are_the_tasks_own(tmp_path):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 256, (140, 150, 3), dtype=np.uint8))
    torch.manual_seed(0)
    task = InpaintingTask(depth=2, width=4).eval()
    scores = scores_of(task, [tmp_path / "a.png"])
    assert list(scores) == [f"{bin_name(bounds)}/{place}" for bounds in PAPER_BINS for place in ("inside", "border")]

    from pcpad.datamodules.datasets.transforms import resize_and_crop
    from pcpad.datamodules.reading.images import read_image

    truth = resize_and_crop(read_image(tmp_path / "a.png"), SIZE, SIZE)[None] / 255
    mask = torch.from_numpy(holes_of("a", PAPER_BINS[1])["border"])[None, None]
    metric = InpaintingScores()
    with torch.no_grad():
        metric.update(task(truth, mask), truth, mask)
    expected = metric.compute()
    for name, [value] in scores["0.20-0.40/border"].items():
        assert value == pytest.approx(float(expected[name]), abs=1e-4)


def write_run(folder, arm, seed, gain, score="psnr"):
    cells = [f"{bin_name(bounds)}/{place}" for bounds in PAPER_BINS for place in ("inside", "border")]
    noise = np.random.default_rng(int(seed)).normal(0, 0.1, len(PICTURES))
    numbers = [round(25 + number + gain * (1 + number / 10) + one, 4) for number, one in enumerate(noise)]
    scores = {cell: {name: numbers for name in ("psnr", "ssim", "l1")} for cell in cells}
    content = {"arm": arm, "seed": seed, "pictures": PICTURES, "scores": scores}
    (folder / f"{arm}, seed {seed}.json").write_text(json.dumps(content))


def test_differences_are_of_pairs_of_seeds(tmp_path):
    for seed, gain in (("0", 1.0), ("1", 2.0)):
        write_run(tmp_path, "partial", seed, gain)
        write_run(tmp_path, "ordinary", seed, 0.0)
    write_run(tmp_path, "partial", "2", 50.0)  # the other arm is not finished: it does not count
    means, gains = over_seeds(read_scores(tmp_path, "0.20-0.40/inside", "psnr"))
    assert gains == pytest.approx([1.35, 2.7])
    differences = [means["partial"][name] - means["ordinary"][name] for name in PICTURES]
    assert differences == pytest.approx([1.5 * (1 + number / 10) for number in range(8)])
    text = summary(tmp_path)
    assert "Mean over 2 seeds" in text
    assert "| 0.20-0.40 | at the border |" in text
    assert "+2.025 [" in text
    assert "+1.35, +2.70" in text


def test_without_pairs_there_is_nothing_to_say(tmp_path):
    write_run(tmp_path, "partial", "0", 1.0)
    assert summary(tmp_path) == "No pair of runs is finished.\n"
