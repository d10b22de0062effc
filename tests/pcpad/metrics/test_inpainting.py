"""l1, PSNR and SSIM against scikit-image, and how pictures are grouped and counted."""

import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from pcpad.metrics import InpaintingScores
from pcpad.metrics.inpainting import SIX_BINS, picture_scores

DRAW = torch.Generator().manual_seed(0)


def pictures(count, height=40, width=33):
    target = torch.rand(count, 3, height, width, generator=DRAW)
    prediction = (target + 0.2 * torch.randn(target.shape, generator=DRAW)).clamp(0, 1)
    return prediction, target


def masks(*shares, size=40):
    """Of each share, the lower rows are a hole."""
    mask = torch.ones(len(shares), 1, size, size)
    for one, share in zip(mask, shares, strict=True):
        one.view(-1)[size * size - round(share * size * size) :] = 0
    return mask


def by_scikit_image(image, target):
    image, target = (x.double().permute(1, 2, 0).numpy() for x in (image, target))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(target, image, channel_axis=-1, data_range=1, **options)
    return 100 * abs(image - target).mean(), peak_signal_noise_ratio(target, image, data_range=1), ssim


@pytest.mark.parametrize("size", [(11, 11), (12, 47), (64, 64)])
def test_each_picture_agrees_with_scikit_image(size):
    prediction, target = pictures(3, *size)
    mask = (torch.rand(3, 1, *size, generator=DRAW) > 0.5).float()
    filled = target * mask + prediction * (1 - mask)
    expected = []
    for row in range(3):
        expected.append(by_scikit_image(filled[row], target[row]))
        assert picture_scores(filled[row], target[row]) == pytest.approx(expected[-1], rel=1e-12)
        metric = InpaintingScores()
        metric.update(prediction[row : row + 1], target[row : row + 1], mask[row : row + 1])
        scores = metric.compute()
        assert [float(scores[name]) for name in ("l1", "psnr", "ssim")] == pytest.approx(expected[-1], rel=1e-9)


def test_smooth_pictures_lose_nothing_to_rounding():
    target = torch.full((3, 32, 32), 0.9)
    image = target + torch.linspace(0, 1e-3, 32)
    assert picture_scores(image, target)[2] == pytest.approx(by_scikit_image(image, target)[2], rel=1e-9)


def test_torchmetrics_differs_by_its_border_alone():
    (image,), (target,) = pictures(1)
    image, target = image.double(), target.double()
    mean, full = structural_similarity_index_measure(image[None], target[None], data_range=1.0, return_full_image=True)
    assert float(full[..., 5:-5, 5:-5].mean()) == pytest.approx(picture_scores(image, target)[2], rel=1e-12)
    assert abs(float(mean) - picture_scores(image, target)[2]) > 1e-5


def test_means_are_over_pictures_and_bins():
    prediction, target = pictures(5, 40, 40)
    mask = masks(0.01, 0.2, 0.2 + 1 / 1600, 0.6, 0.9)
    metric = InpaintingScores()
    metric.update(prediction, target, mask)
    scores = {name: float(value) for name, value in metric.compute().items()}
    filled = torch.where(mask == 1, target, prediction)
    each = torch.tensor([by_scikit_image(*pair) for pair in zip(filled, target, strict=True)], dtype=torch.float64)
    groups = {"": range(5), "/0.01-0.20": (0, 1), "/0.20-0.40": (2,), "/0.40-0.60": (3,)}
    for name, rows in groups.items():
        means = each[list(rows)].mean(0)
        for score, expected in zip(("l1", "psnr", "ssim"), means, strict=True):
            assert scores[f"{score}{name}"] == pytest.approx(float(expected), rel=1e-8)
        assert scores[f"images{name}"] == len(rows)
    assert scores["images/other"] == 1
    assert scores["images/exact"] == 0


def test_batches_order_and_types_make_no_difference():
    prediction, target = pictures(6, 40, 40)
    mask = masks(0.1, 0.3, 0.5, 0.1, 0.3, 0.5)
    whole, single = InpaintingScores(), InpaintingScores()
    whole.update(prediction, target, mask)
    for row in (5, 2, 0, 1, 4, 3):
        single.update(*(x[row : row + 1] for x in (prediction, target, mask.to(torch.uint8))))
    a, b = whole.compute(), single.compute()
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_only_holes_count():
    prediction, target = pictures(1, 40, 40)
    spoilt = prediction.clone()
    mask = masks(0.3)
    spoilt[mask.expand_as(spoilt) == 1] = 0.123
    a, b = InpaintingScores(), InpaintingScores()
    a.update(prediction, target, mask)
    b.update(spoilt, target, mask)
    assert a.compute() == b.compute()


def test_a_perfect_picture_is_counted_and_left_out_of_the_mean_of_psnr():
    prediction, target = pictures(2, 40, 40)
    prediction[0] = target[0]
    metric = InpaintingScores()
    metric.update(prediction, target, masks(0.3, 0.3))
    scores = metric.compute()
    alone = InpaintingScores()
    alone.update(prediction[1:], target[1:], masks(0.3))
    assert scores["images/exact"] == 1
    assert scores["psnr"] == alone.compute()["psnr"]
    assert float(scores["l1"]) == pytest.approx(float(alone.compute()["l1"]) / 2)
    perfect = InpaintingScores()
    perfect.update(target, target, masks(0.3, 0.3))
    assert float(perfect.compute()["psnr/0.20-0.40"]) == float("inf")
    assert float(perfect.compute()["ssim"]) == 1


def test_the_six_bins_with_and_without_a_hole_near_the_border():
    prediction, target = pictures(3, 128, 128)
    mask = torch.ones(3, 1, 128, 128)
    mask[0, :, 52:76, 50:78] = 0  # inside, to the pixel: 50 from each side
    mask[1, :, 52:76, 49:77] = 0
    mask[2, :, 0:100, 30:100] = 0
    metric = InpaintingScores(SIX_BINS, border=50)
    metric.update(prediction, target, mask)
    scores = metric.compute()
    counts = {name: int(value) for name, value in scores.items() if name.startswith("images/") and value}
    assert counts == {"images/0.01-0.10/inside": 1, "images/0.01-0.10/border": 1, "images/0.40-0.50/border": 1}
    assert len([name for name in scores if name.startswith("images/0.")]) == 12
    assert "psnr/0.40-0.50/inside" not in scores
    assert "psnr/0.40-0.50/border" in scores


def test_nothing_counted_yet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics': compute before update
        scores = InpaintingScores().compute()
    assert "l1" not in scores
    assert scores["images"] == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"bins": ()}, "bins"),
        ({"bins": ((0.2, 0.1),)}, "bins"),
        ({"bins": ((0.1, 0.3), (0.2, 0.4))}, "bins"),
        ({"bins": ((0.1, 20),)}, r"shares in \[0, 1\]"),
        ({"border": 0}, "border"),
    ],
)
def test_refused_arguments(arguments, error):
    with pytest.raises(ValueError, match=error):
        InpaintingScores(**arguments)


def test_refused_pictures():
    prediction, target = pictures(1, 40, 40)
    metric = InpaintingScores()
    with pytest.raises(ValueError, match="one shape"):
        metric.update(prediction[..., 1:], target, masks(0.3))
    with pytest.raises(ValueError, match="`mask` to be"):
        metric.update(prediction, target, masks(0.3).expand(1, 3, 40, 40))
    with pytest.raises(TypeError, match="floating-point"):
        metric.update(prediction, (target * 255).to(torch.uint8), masks(0.3))
    with pytest.raises(ValueError, match="not finite"):
        metric.update(prediction * float("nan"), target, masks(0.3))
    with pytest.raises(ValueError, match="at least 11 x 11"):
        metric.update(prediction[..., :9], target[..., :9], torch.zeros(1, 1, 40, 9))


def _share(rank, batch, folder, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metric = InpaintingScores()
    metric.update(*(x[rank::2] for x in batch))
    results[rank] = {name: float(value) for name, value in metric.compute().items()}
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_same_to_the_last_bit(tmp_path):
    prediction, target = pictures(5, 40, 40)
    batch = (prediction, target, masks(0.1, 0.3, 0.5, 0.3, 0.8))
    one = InpaintingScores()
    one.update(*batch)
    with mp.get_context("fork").Manager() as manager:
        results = manager.dict()
        mp.start_processes(_share, (batch, tmp_path, results), nprocs=2, start_method="fork")
        expected = {name: float(value) for name, value in one.compute().items()}
        assert dict(results[0]) == dict(results[1]) == expected
