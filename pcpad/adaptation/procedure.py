"""One training run of a recovery, from a learning rate to the best weights on held-out images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pcpad.adaptation.exponents import annealed, exponents_of, learned_exponents, partial_layers, set_exponents
from pcpad.adaptation.material import Material
from pcpad.adaptation.teaching import Scores, Teaching
from pcpad.errors import UserRuntimeError, UserValueError

__all__ = ["Leg", "Procedure", "Values", "restored", "scored", "shown", "train"]

_WARM = 0.05  # share of the steps with linear warm-up
_HALVES = {"bf16": torch.bfloat16, "16": torch.float16}
Values = dict[str, float]


@dataclass(frozen=True)
class Procedure:
    """Training settings, the same for the converted network and its control.

    Args:
        steps: Training steps.
        batch_size: Images per step.
        rates: Learning rates to choose from; a single one is used directly.
        search_steps: Steps for which each of several rates is tried, from the same weights.
        exponent: Exponent of partial convolution's ratio: `anneal` raises it from 0 to 1 over the first 60 % of the
            steps; `learn` trains one per output channel, starting from 0; a number is constant.
        weights: Whether to train the weights. False, with `learn`, trains the exponents alone, which changes only
            borders.
        exponent_rate: Factor of the learning rate for learned exponents.
        crop: Side of the student's crops in pixels; if None, at most 128, and whole images for classifiers.
        margin: True context on each side in pixels; if None, the receptive field's, as far as the images allow.
        border: Width of the border band, in pixels.
        features: Weight of the loss of a classifier's last features relative to that of its distributions.
        norms: `auto` re-estimates the batch norms' statistics at the end, and keeps them if the held-out loss falls;
            `frozen` never changes them.
        held_out: Share of the images used for choosing the rate, for early stopping and for the scores.
        evaluations: Number of evaluations per run.
        patience: Evaluations without improvement after which a run stops.
        precision: `32`, or `bf16` or `16` for autocast.
        seed: Seed of the images' split, order and crops.

    Raises:
        UserValueError: A value out of range.
    """

    steps: int = 400
    batch_size: int = 16
    rates: tuple[float, ...] = (3e-6, 3e-5, 1e-4)
    search_steps: int = 60
    exponent: float | Literal["anneal", "learn"] = "anneal"
    weights: bool = True
    exponent_rate: float = 300.0
    crop: int | None = None
    margin: int | None = None
    border: int = 8
    features: float = 0.0
    norms: Literal["auto", "frozen"] = "auto"
    held_out: float = 0.2
    evaluations: int = 10
    patience: int = 5
    precision: Literal["32", "bf16", "16"] = "32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "search_steps", "border", "evaluations", "patience"):
            if getattr(self, name) < 1:
                message = f"Expected argument `{name}` to be at least 1, but got {getattr(self, name)}"
                raise UserValueError(message)
        if not self.rates or min(self.rates) <= 0:
            message = f"Expected argument `rates` to be learning rates > 0, but got {self.rates}"
            raise UserValueError(message)
        if isinstance(self.exponent, str) and self.exponent not in ("anneal", "learn"):
            message = f"Expected argument `exponent` to be 'anneal', 'learn' or a number, but got {self.exponent!r}"
            raise UserValueError(message)
        if not self.weights and self.exponent != "learn":
            message = f"weights=False trains the exponents alone: expected exponent='learn', but got {self.exponent!r}"
            raise UserValueError(message)


@dataclass
class Leg:
    """The result of one training run.

    Args:
        values: Scores of the best evaluation, see `Scores.values`; an infinite loss before the first.
        state: The student's weights at that evaluation.
        exponents: The student's exponents at that evaluation.
        step: The step of that evaluation.
        history: Steps and scores of all evaluations.
        renormed: Whether its batch norms' statistics are re-estimated.
    """

    values: Values = field(default_factory=lambda: {"loss": math.inf})
    state: dict[str, Tensor] = field(default_factory=dict)
    exponents: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    history: list[tuple[int, Values]] = field(default_factory=list)
    renormed: bool = False


def scored(teaching: Teaching, material: Material, size: int) -> Values:
    """Score the student on the held-out images.

    Args:
        teaching: The two networks.
        material: The images.
        size: Batch size.
    """
    scores = Scores(teaching.dense)
    for image in material.held_out(size):
        teaching.score(image, scores)
    return scores.values()


def train(
    teaching: Teaching,
    material: Material,
    procedure: Procedure,
    rate: float,
    steps: int,
    *,
    started: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda state: None,
    said: Callable[[str], None] = lambda line: None,
) -> Leg:
    """Train the student of `teaching` in place.

    Args:
        teaching: The two networks; the student ends with its best weights on held-out images.
        material: The images.
        procedure: The training settings.
        rate: The peak learning rate, with warm-up and cosine decay to 0.
        steps: The number of steps.
        started: The last state that an interrupted run passed to `keep`.
        keep: Called with the run's state at each evaluation.
        said: Called with a line at each evaluation.

    Returns:
        The best of the evaluations at the final exponent.

    Raises:
        UserRuntimeError: The loss is not finite.
    """
    run = _Run(teaching, procedure, rate, steps)
    if started:
        run.load_state_dict(started)
    every = max(1, steps // procedure.evaluations)
    while run.step < steps and run.waited < procedure.patience:
        run.set_progress()
        with run.autocast(material.device):
            loss = teaching.loss(material.batch(run.step, procedure.batch_size))
        if not bool(loss.detach().isfinite()):
            message = f"The loss is not finite at step {run.step}, with a learning rate of {rate:g}: lower the rate"
            raise UserRuntimeError(message)
        run.descend(loss)
        if run.step % every == 0 or run.step == steps:
            run.set_progress()
            run.take(scored(teaching, material, procedure.batch_size))
            keep(run.state_dict())
            said(f"step {run.step}/{steps}, learning rate {rate:g}: {shown(run.leg.history[-1][1])}")
    run.restore_best()
    if procedure.norms == "auto":
        _try_norms(teaching, material, procedure, run.leg)
    return run.leg


def shown(values: Values) -> str:
    """Format scores in one line: `border 41.20 dB, interior 55.31 dB` or `agreement 90.0 %, KL 0.1234`."""
    if "border" in values:
        return f"border {values['border']:.2f} dB, interior {values['interior']:.2f} dB"
    if "agreement" in values:
        return f"agreement {100 * values['agreement']:.1f} %, KL {values['kl']:.4f}"
    return f"loss {values['loss']:.4g}"


def restored(student: nn.Module, leg: Leg) -> nn.Module:
    """Load the weights and exponents of a run's best evaluation into a network.

    Args:
        student: Changed in place.
        leg: The run.

    Returns:
        The network, in evaluation mode.
    """
    student.load_state_dict(leg.state)
    if partial_layers(student):
        set_exponents(student, 1)
        set_exponents(student, leg.exponents)
    return student.eval()


class _Run:
    """The state of one training run."""

    def __init__(self, teaching: Teaching, procedure: Procedure, rate: float, steps: int) -> None:
        self.teaching, self.procedure, self.rate, self.steps = teaching, procedure, rate, steps
        self.leg, self.step, self.waited = Leg(), 0, 0
        student = teaching.student.requires_grad_(procedure.weights)
        # The control has no exponents, whatever the procedure does with them.
        self.partial = bool(partial_layers(student))
        self.learned = nn.ParameterList()
        groups: list[dict[str, Any]] = []
        weights = [weight for weight in student.parameters() if weight.requires_grad]
        if weights:
            groups.append({"params": weights, "factor": 1.0})
        if self.partial and procedure.exponent == "learn":
            self.learned = learned_exponents(student)
            groups.append({"params": list(self.learned), "factor": procedure.exponent_rate})
        if not groups:  # the control of a run that trains exponents alone
            groups.append({"params": [nn.Parameter(torch.zeros(()))], "factor": 0.0})
        # A control that equals its teacher has gradients from rounding alone (7e-9 in Lite0, where real ones are 1e-4
        # to 1e-2), which Adam with PyTorch's eps of 1e-8 would turn into full-size steps.
        self.optimizer = torch.optim.Adam(groups, lr=rate, eps=1e-6)
        self.scaler = torch.amp.GradScaler("cuda", enabled=procedure.precision == "16")

    @property
    def annealing(self) -> bool:
        """Whether the exponent is still below 1."""
        moves = self.partial and self.procedure.exponent == "anneal"
        return moves and annealed(self.step / self.steps) < 1

    def set_progress(self) -> None:
        """Set the exponent and the learning rate of the current step."""
        done = self.step / self.steps
        exponent = self.procedure.exponent
        if self.partial and exponent != "learn":
            set_exponents(self.teaching.student, annealed(done) if isinstance(exponent, str) else exponent)
        factor = min(1.0, (self.step + 1) / max(1.0, _WARM * self.steps)) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["factor"] * factor

    @contextmanager
    def autocast(self, device: torch.device) -> Iterator[None]:
        half = _HALVES.get(self.procedure.precision)
        with torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None):
            yield

    def descend(self, loss: Tensor) -> None:
        """One step of the optimizer."""
        self.optimizer.zero_grad()
        if loss.requires_grad:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            parameters = [weight for group in self.optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.step += 1

    def take(self, values: Values) -> None:
        """Record an evaluation, and keep the weights if it is the best."""
        self.leg.history.append((self.step, values))
        if self.annealing:
            return
        if values["loss"] < self.leg.values["loss"]:
            student = self.teaching.student
            self.leg.values, self.leg.step, self.waited = values, self.step, 0
            self.leg.state = copy.deepcopy(student.state_dict())
            self.leg.exponents = exponents_of(student)
        else:
            self.waited += 1

    def restore_best(self) -> None:
        """Load the weights of the best evaluation into the student."""
        if not self.leg.state:
            message = f"No evaluation of the network was finite with a learning rate of {self.rate:g}: lower the rate"
            raise UserRuntimeError(message)
        restored(self.teaching.student, self.leg)

    def state_dict(self) -> dict[str, Any]:
        """The state that a run resumes from, as tensors and plain values."""
        return {
            "step": self.step,
            "waited": self.waited,
            "student": self.teaching.student.state_dict(),
            "learned": [value.detach() for value in self.learned],
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "leg": vars(self.leg),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.waited = state["step"], state["waited"]
        self.teaching.student.load_state_dict(state["student"])
        with torch.no_grad():
            for mine, value in zip(self.learned, state["learned"], strict=True):
                mine.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.leg = Leg(**state["leg"])


def _try_norms(teaching: Teaching, material: Material, procedure: Procedure, leg: Leg) -> None:
    """Re-estimate the batch norms' statistics, and keep them if the held-out loss falls."""
    student = teaching.student
    norms = [module for module in student.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean over all batches
        norm.train()
    steps = max(1, min(32, len(material.train) // procedure.batch_size))
    with torch.no_grad():
        for step in range(steps):
            student(teaching.crop(material.batch(step, procedure.batch_size)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    student.eval()
    values = scored(teaching, material, procedure.batch_size)
    if values["loss"] < leg.values["loss"]:
        leg.values, leg.state, leg.renormed = values, copy.deepcopy(student.state_dict()), True
    else:
        student.load_state_dict(leg.state)
