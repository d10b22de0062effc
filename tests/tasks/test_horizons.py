"""Schedules whose length is not that of the run are warned of, and those of the recipes end as they say."""

import math
import re
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch.optim import SGD, lr_scheduler

from pcpad import configs
from pcpad.tasks.horizons import complaint, run_length, warn_of_other_horizons
from pcpad.tasks.optimization import optimizer_and_scheduler
from pcpad.tasks.schedules import LinearDecay

RECIPES = [*Path(configs.__path__[0]).glob("*.yaml"), *Path(__file__).parents[2].glob("benchmarks/recipes/*.yaml")]
RECIPES = sorted(RECIPES, key=lambda path: (path.parent.name, path.name))


def made(kind, rate=1.0, **options):
    return kind(SGD([torch.zeros(1, requires_grad=True)], lr=rate), **options)


def sequence(warm_up, *rest):
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    parts = [kind(optimizer, **options) for kind, options in (warm_up, *rest)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[5])


def trainer(**options):
    plain = {"num_training_batches": 200, "accumulate_grad_batches": 1, "max_epochs": -1, "max_steps": -1}
    return SimpleNamespace(**{**plain, "optimizers": [None], "callbacks": [], "fast_dev_run": False} | options)


def recipe_of(path):
    """The schedule of a recipe with a learning rate of 1, its interval and the number of its steps."""
    content = yaml.safe_load(path.read_text())
    options, limits = content["model"]["init_args"], content["trainer"]
    given = options.get("scheduler")
    if given is None:
        return None, None, None
    module, _, name = given["class_path"].rpartition(".")
    kind, arguments = getattr(import_module(module), name), dict(given["init_args"])
    if "max_lr" in arguments:
        arguments["max_lr"] = 1.0

    def schedule(optimizer):
        return kind(optimizer, **arguments)

    config = optimizer_and_scheduler(
        [torch.zeros(1, requires_grad=True)],
        lambda parameters: SGD(parameters, lr=1.0),
        schedule,
        interval=options.get("scheduler_interval"),
    )["lr_scheduler"]
    return (
        config["scheduler"],
        config["interval"],
        limits["max_steps" if config["interval"] == "step" else "max_epochs"],
    )


def expected(schedule, length):
    """The rate of the last step, as a share of the highest."""
    left = 1 / length
    if isinstance(schedule, lr_scheduler.CosineAnnealingLR):
        return (1 - math.cos(math.pi * left)) / 2
    if isinstance(schedule, lr_scheduler.PolynomialLR):
        return left**schedule.power
    if isinstance(schedule, lr_scheduler.MultiStepLR):
        return schedule.gamma ** len(schedule.milestones)
    if isinstance(schedule, LinearDecay):
        return 1 / (length - schedule.start)
    assert isinstance(schedule, lr_scheduler.OneCycleLR)
    return float(schedule.optimizer.param_groups[0]["min_lr"])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recipes_come_to_the_end_of_their_schedules(recipe):
    schedule, interval, length = recipe_of(recipe)
    if schedule is None or isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        return  # constant, or decided by a metric
    assert complaint(schedule, interval, {"step": math.inf, "epoch": math.inf, interval: length}) is None
    for _ in range(length - 1):
        schedule.optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == pytest.approx([expected(schedule, length)], rel=0.1, abs=1e-5)


COSINE = lr_scheduler.CosineAnnealingLR
FITTING = {
    "cosine": made(COSINE, T_max=100),
    "cosine-after-a-warm-up": made(COSINE, T_max=95),
    "milestones": made(lr_scheduler.MultiStepLR, milestones=[30, 60, 90]),
    "early-milestone": made(lr_scheduler.MultiStepLR, milestones=[5]),
    "steps": made(lr_scheduler.StepLR, step_size=1000),
    "restarts": made(lr_scheduler.CosineAnnealingWarmRestarts, T_0=7),
    "plateau": made(lr_scheduler.ReduceLROnPlateau),
    "exponential": made(lr_scheduler.ExponentialLR, gamma=0.9),
    "warm-up": made(lr_scheduler.LinearLR, total_iters=5),
    "warm-up-and-cosine": sequence((lr_scheduler.LinearLR, {"total_iters": 5}), (COSINE, {"T_max": 95})),
    "warm-up-and-steps": sequence((lr_scheduler.LinearLR, {}), (lr_scheduler.StepLR, {"step_size": 9})),
}


@pytest.mark.parametrize("schedule", FITTING.values(), ids=FITTING)
def test_schedules_that_fit_are_not_warned_of(schedule):
    assert complaint(schedule, "epoch", {"step": 20000, "epoch": 100}) is None


OTHER = {
    "longer": (made(COSINE, T_max=4000), "epoch", 4000, 20, "T_max.*this run has 20,.*interval step .*would fit"),
    "in-epochs": (made(COSINE, T_max=100), "step", 20000, 100, "per iteration.*this run has 20000.*interval epoch"),
    "shortened": (made(lr_scheduler.PolynomialLR, total_iters=900), "step", 90, 3, "900 of them .`total_iters`"),
    "cycle": (made(lr_scheduler.OneCycleLR, max_lr=1, total_steps=9), "step", 90, 3, "scheduler.total_steps"),
    "decay": (made(LinearDecay, total=200, start=100), "epoch", 900, 20, r"scheduler\.total sets"),
    "milestones": (made(lr_scheduler.MultiStepLR, milestones=[3, 90]), "epoch", 900, 20, "milestones"),
    "milestones-in-epochs": (made(lr_scheduler.MultiStepLR, milestones=[30]), "step", 20000, 40, "interval epoch"),
    "warm-up": (made(lr_scheduler.LinearLR, total_iters=500), "epoch", 900, 20, "total_iters"),
    "sequence": (
        sequence((lr_scheduler.LinearLR, {}), (COSINE, {"T_max": 400})),
        "epoch",
        900,
        20,
        "SequentialLR.*made for 405",
    ),
}


@pytest.mark.faults
@pytest.mark.parametrize(("schedule", "interval", "steps", "epochs", "said"), OTHER.values(), ids=OTHER)
def test_schedules_of_another_length_are_warned_of(schedule, interval, steps, epochs, said):
    found = complaint(schedule, interval, {"step": steps, "epoch": epochs})
    assert found is not None
    assert re.search(said, found), found
    assert "--model.scheduler_interval" in found


@pytest.mark.parametrize(
    ("limits", "steps", "epochs"),
    [
        ({"max_steps": 4000}, 4000, 20),
        ({"max_epochs": 20}, 4000, 20),
        ({"max_epochs": 3, "max_steps": 450}, 450, 3),
        ({"max_epochs": 20, "accumulate_grad_batches": 8}, 500, 20),
        ({"max_epochs": 20, "max_steps": 8000, "optimizers": [None, None]}, 4000, 20),
        ({"max_steps": 4000, "num_training_batches": math.inf}, 4000, math.inf),
        ({}, math.inf, math.inf),
    ],
    ids=["steps", "epochs", "both", "accumulated", "two-optimizers", "endless-data", "no-limit"],
)
def test_the_length_of_a_run(limits, steps, epochs):
    assert run_length(trainer(**limits), "step") == steps
    assert run_length(trainer(**limits), "epoch") == epochs


@pytest.mark.faults
def test_two_optimizers_with_one_mistake_are_warned_of_once(recwarn):
    config = SimpleNamespace(scheduler=made(LinearDecay, total=200, start=100), interval="epoch")
    warn_of_other_horizons(trainer(max_epochs=2, lr_scheduler_configs=[config, config]))
    assert len(recwarn) == 1
    warn_of_other_horizons(trainer(max_epochs=2, lr_scheduler_configs=[config], fast_dev_run=True))
    assert len(recwarn) == 1
