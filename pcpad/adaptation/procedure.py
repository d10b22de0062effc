"""How a network is recovered: one training run of it, from a learning rate to the best weights on held-out images."""

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

_WARM = 0.05  # part of the steps in which the rate rises
_HALVES = {"bf16": torch.bfloat16, "16": torch.float16}
Values = dict[str, float]


@dataclass(frozen=True)
class Procedure:
    """What is done to a network, the converted one and its control alike.

    Args:
        steps: Of training.
        batch_size: Images per step.
        rates: Learning rates to choose from; a single one is taken as it is.
        search_steps: What each of several rates is tried for, from the same start.
        exponent: Of partial convolution's ratio: `anneal` raises it from 0 to 1 within the first 60 % of the steps;
            `learn` makes one for each output channel a parameter, from 0, and keeps it; a number stays.
        weights: Train the weights. False, with `learn`, trains the exponents alone: nothing changes beyond the border.
        exponent_rate: How much larger the learned exponents' learning rate is.
        crop: What the student sees, in pixels; None: 128, and whole images for classifiers.
        margin: True context on each side; None: as far as the network looks, or the images go.
        border: Width in pixels of the band that is scored as the border.
        features: Weight of a classifier's last features beside its distributions.
        norms: `auto` estimates batch norms' statistics again at the end, and keeps them where held-out images say that
            it helps; `frozen` leaves them.
        held_out: The part of the images that chooses the rate, stops the run, and is scored.
        evaluations: How often within the steps.
        patience: Evaluations without a better one after which a run stops.
        precision: `32`, or under autocast `bf16` or `16`.
        seed: Of the images' order and places.

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
            message = "weights=False trains the exponents alone: that needs exponent='learn'"
            raise UserValueError(message)


@dataclass
class Leg:
    """What one training run came to.

    Args:
        values: Of the best evaluation, see `Scores.values`; infinite losses for an interrupted run.
        state: The student's weights then.
        exponents: And its exponents.
        step: When that was.
        history: Values of all evaluations, by step.
        renormed: Whether its batch norms' statistics are estimated again.
    """

    values: Values = field(default_factory=lambda: {"loss": math.inf})
    state: dict[str, Tensor] = field(default_factory=dict)
    exponents: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    history: list[tuple[int, Values]] = field(default_factory=list)
    renormed: bool = False


def scored(teaching: Teaching, material: Material, size: int) -> Values:
    """The student's values on the held-out images.

    Args:
        teaching: The two networks.
        material: The images.
        size: Images at a time.
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
        procedure: How.
        rate: The learning rate, which rises at first and falls to 0 by half a cosine.
        steps: How many.
        started: What `keep` was last given by an interrupted run.
        keep: Called with the run's state at each evaluation.
        said: Called with a line at each evaluation.

    Returns:
        The best evaluation, of those at the exponent that is to stay.

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
            message = f"The loss is not finite at step {run.step}, at a learning rate of {rate:g}: lower it"
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
    """Values in a line: `border 41.20 dB, interior 55.31 dB` or `agreement 90.0 %, KL 0.1234`."""
    if "border" in values:
        return f"border {values['border']:.2f} dB, interior {values['interior']:.2f} dB"
    if "agreement" in values:
        return f"agreement {100 * values['agreement']:.1f} %, KL {values['kl']:.4f}"
    return f"loss {values['loss']:.4g}"


def restored(student: nn.Module, leg: Leg) -> nn.Module:
    """Give a network the weights and exponents of a run's best evaluation.

    Args:
        student: Changed in place.
        leg: The run.

    Returns:
        The same.
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
        # A control that is its own teacher has gradients of rounding alone (7e-9 in Lite0, where real ones are 1e-4 to
        # 1e-2), of which PyTorch's 1e-8 would make whole steps.
        self.optimizer = torch.optim.Adam(groups, lr=rate, eps=1e-6)
        self.scaler = torch.amp.GradScaler("cuda", enabled=procedure.precision == "16")

    @property
    def annealing(self) -> bool:
        """Whether the exponent has not arrived yet."""
        moves = self.partial and self.procedure.exponent == "anneal"
        return moves and annealed(self.step / self.steps) < 1

    def set_progress(self) -> None:
        """The exponent and the learning rate of the present step."""
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
        """Take an evaluation into account."""
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
        """Give the student the weights of the best evaluation."""
        if not self.leg.state:
            message = f"No evaluation of the network was finite, at a learning rate of {self.rate:g}: lower it"
            raise UserRuntimeError(message)
        restored(self.teaching.student, self.leg)

    def state_dict(self) -> dict[str, Any]:
        """What a run resumes from, of tensors and plain values."""
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
    """Estimate batch norms' statistics again, and keep them if that helps on held-out images."""
    student = teaching.student
    norms = [module for module in student.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
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
