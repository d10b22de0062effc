"""The Gaussian-filtering task from plain Python: it learns, scores, and goes through checkpoints."""

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.optim import Adam
from torch.utils.data import DataLoader

from pcpad.datamodules.datasets.filtered_crops import filter_inside, gaussian_kernel
from pcpad.tasks import GaussianFilteringTask
from pcpad.tasks.base import NonFiniteLossError
from pcpad.tasks.callbacks import BestAndLast
from pcpad.tasks.evaluation.report import shown


class Crops(LightningDataModule):
    """Eight seeded crops of smooth noise."""

    def train_dataloader(self):
        draw, items = torch.Generator().manual_seed(0), []
        for _ in range(8):
            patch = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12, generator=draw), 44, mode="bilinear")[0]
            items.append({"image": patch[:, 6:-6, 6:-6], "target": filter_inside(patch, gaussian_kernel(13, 2.0))})
        return DataLoader(items, 4)

    val_dataloader = test_dataloader = train_dataloader


def task(**options):
    torch.manual_seed(0)
    return GaussianFilteringTask(**{"width": 4, "optimizer": lambda p: Adam(p, lr=0.003)} | options)


def trainer(folder, *callbacks, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    quiet |= {"default_root_dir": folder, "max_epochs": 15, "callbacks": [*callbacks], "num_sanity_val_steps": 0}
    return Trainer(**quiet | {"enable_checkpointing": bool(callbacks)} | options)


def test_learns_and_tests_the_same_from_a_checkpoint(tmp_path):
    model = task()
    (before,) = trainer(tmp_path).test(model, Crops(), verbose=False)
    trainer(tmp_path, BestAndLast("val/mse", "min", dirpath=str(tmp_path))).fit(model, Crops())
    (after,) = trainer(tmp_path).test(model, Crops(), verbose=False)
    assert after["test/mse"] < 0.5 * before["test/mse"]
    assert set(after) == {"test/mse", "test/border_mse", "test/interior_mse"}
    again = GaussianFilteringTask.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.trained_with == "partial"
    assert trainer(tmp_path).test(again, Crops(), verbose=False)[0] == pytest.approx(after)


def test_scores_are_those_of_the_outputs(tmp_path):
    model = task(border=3).eval()
    (found,) = trainer(tmp_path).test(model, Crops(), verbose=False)
    batches = list(Crops().test_dataloader())
    with torch.no_grad():
        errors = torch.cat([(model(b["image"]) - b["target"]).square() for b in batches]).double()
    inside = errors[..., 3:-3, 3:-3]
    band = (errors.sum() - inside.sum()) / (errors.numel() - inside.numel())
    expected = {"mse": errors.mean(), "border_mse": band, "interior_mse": inside.mean()}
    assert found == pytest.approx({f"test/{name}": float(value) for name, value in expected.items()}, rel=1e-5)


def test_8_bit_images_are_the_same_images():
    model = task().eval()
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    assert torch.allclose(model(image), model(image / 255), atol=1e-6)


def test_cross_testing_with_explicit(tmp_path):
    model = task(padding="explicit")
    run = trainer(tmp_path)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "x.ckpt")
    image = torch.rand(1, 3, 32, 32)
    plain = GaussianFilteringTask.load_from_checkpoint(tmp_path / "x.ckpt", padding="zeros").eval()
    assert torch.allclose(plain(image), model.eval()(image), atol=1e-5), "untrained border filters are the center's"


def test_sample_images_show_the_error():
    model, batch = task().eval(), next(iter(Crops().val_dataloader()))
    with torch.no_grad():
        pictures = model.sample_images(batch)
    assert list(pictures) == ["input", "target", "output", "10 × |error|"]
    assert all(picture.shape == (4, 3, 32, 32) for picture in pictures.values())
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in pictures.values())


def test_outputs_that_are_no_numbers_have_no_score(tmp_path):
    model = task()
    with torch.no_grad():
        model.network.head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="test/mse"):
        trainer(tmp_path).test(model, Crops(), verbose=False)


def test_errors_of_tables_are_told_apart():
    """The paper's Table 2 has 0.000397 for explicit and 0.000419 for partial padding."""
    assert [shown(value) for value in (0.000397, 0.000419, 0.9917, 0.0, -0.02)] == [
        "0.000397",
        "0.000419",
        "0.9917",
        "0.0000",
        "-0.0200",
    ]
