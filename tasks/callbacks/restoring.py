"""Refuse to resume from a checkpoint whose states are not what a run would write."""

from __future__ import annotations

import copy
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from pcpad.errors import UserError, UserValueError

__all__ = ["OddStateError", "SoundStates", "is_number", "refuse_odd", "restoring"]

_LONGEST = 600  # characters of a library's message
# Errors raised by taking apart something of another shape.
_ODD = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, AssertionError)


class OddStateError(UserValueError):
    """A state that no run has written; `restoring` adds the file's name."""


class SoundStates(Callback):
    """Checks what Lightning restores of a run: counters, optimizers, schedules, callbacks, positions in the data.

    A checkpoint may come from anywhere, and its content goes straight into attributes of optimizers, schedules
    and loops. What does not fit would end the run with a traceback some steps later, or silently change numbers.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add checks before and after Lightning's own steps."""
        connector, loop = trainer._checkpoint_connector, trainer.fit_loop
        _guard(connector, "resume_start", trainer, "pytorch-lightning_version")
        _guard(connector, "restore_model", trainer, "state_dict")
        _guard(connector, "restore_datamodule", trainer, "data module")
        _guard(connector, "restore_precision_plugin_state", trainer, "precision")
        _guard(connector, "restore_callbacks", trainer, "callbacks", _look_at_callbacks)
        _guard(connector, "restore_loops", trainer, "loops", _look_at_loops)
        _guard(connector, "restore_optimizers_and_schedulers", trainer, "optimizer_states or lr_schedulers")
        _guard(connector, "restore_optimizers", trainer, "optimizer_states", _look_at_optimizers)
        _guard(connector, "restore_lr_schedulers", trainer, "lr_schedulers", _look_at_schedules)
        _guard(loop, "_load_combined_loader_states", trainer, "loops.fit_loop.state_dict.combined_loader")


@contextmanager
def restoring(trainer: Trainer, entry: str) -> Iterator[None]:
    """Attribute errors in this block to an entry of the checkpoint.

    Args:
        trainer: The trainer that resumes from it.
        entry: Its name.

    Yields:
        Nothing.

    Raises:
        UserValueError: In place of an `OddStateError`, and of errors from content of another shape.
    """
    try:
        yield
    except _ODD as error:
        if isinstance(error, UserError) and not isinstance(error, OddStateError):
            raise
        path = trainer._checkpoint_connector._ckpt_path
        reason = str(error.args[0] if isinstance(error, KeyError) and error.args else error) or type(error).__name__
        named = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        whose = _callback_in(error) if entry == "callbacks" else ""
        message = (
            f"{path}: its entry `{entry}`{whose} is not what a run writes ({named}{reason[:_LONGEST]}). Resume from "
            f"another checkpoint, or start a new run from its weights if the task takes them: --model.weights {path}"
        )
        raise UserValueError(message) from error


def refuse_odd(fresh: Any, stored: Any, name: str) -> None:
    """Refuse, before it is restored, a stored state that differs in kind from the current one.

    Args:
        fresh: From the run that is about to resume.
        stored: From the checkpoint.
        name: The state's name, for the error.

    Raises:
        OddStateError: A string where a number is expected, a list of another length, and so on. Names that only one of
            the two has are ignored.
    """
    if isinstance(fresh, Tensor):
        fine = isinstance(stored, Tensor) and (stored.shape == fresh.shape or stored.numel() == fresh.numel() == 1)
    elif isinstance(fresh, bool):
        fine = isinstance(stored, bool)
    elif is_number(fresh):
        fine = is_number(stored)
    elif isinstance(fresh, Mapping):
        fine = isinstance(stored, Mapping)
        for key in stored if fine else ():
            if not isinstance(key, str):
                refuse_odd(0, key, f"a key of {name}")
                refuse_odd(0, stored[key], f"{name}[{key}]")
            elif key in fresh:
                refuse_odd(fresh[key], stored[key], f"{name}.{key}")
    elif isinstance(fresh, (list, tuple)):
        fine = isinstance(stored, (list, tuple)) and len(stored) == len(fresh)
        for index, (one, other) in enumerate(zip(fresh, stored, strict=True) if fine else ()):
            refuse_odd(one, other, f"{name}[{index}]")
    elif fresh is None:
        fine = stored is None or isinstance(stored, str) or is_number(stored)
    else:
        fine = type(stored) is type(fresh)
    if not fine:
        message = f"expected {name} to be {_kind(fresh)}, but got {_kind(stored)}"
        raise OddStateError(message)


def is_number(value: Any) -> bool:
    """Whether a value is one number, in a tensor or not, that tensors can hold."""
    if isinstance(value, int):
        return abs(value) < 1 << 63
    return isinstance(value, float) or (isinstance(value, Tensor) and value.numel() == 1)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    many = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
    return f"{type(value).__name__}{many}"


def _callback_in(error: BaseException) -> str:
    """The callback that the error comes from."""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [type(owner).__name__ for owner in owners if isinstance(owner, Callback)]
    return f" (of {names[0]})" if names else ""


def _guard(
    owner: Any,
    method: str,
    trainer: Trainer,
    entry: str,
    look: Callable[[Trainer, dict[str, Any]], Callable[[], None] | None] | None = None,
) -> None:
    """Wrap one of Lightning's steps: `look` is called before it, and what that returns after it."""
    plain = getattr(owner, method)
    if hasattr(plain, "guarded"):
        return

    def guarded(*args: Any, **options: Any) -> None:
        content = trainer._checkpoint_connector._loaded_checkpoint
        with restoring(trainer, entry):
            after = look(trainer, content) if look is not None and content else None
            plain(*args, **options)
            if after is not None:
                after()

    guarded.guarded = True  # type: ignore[attr-defined]
    setattr(owner, method, guarded)


def _look_at_callbacks(trainer: Trainer, content: dict[str, Any]) -> None:
    stored = content.get("callbacks")
    if stored is None:
        return
    refuse_odd({}, stored, "it")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        # There are as many random states as the run had processes; `RandomState` checks them itself.
        if callback.state_key not in stored or callback.state_key == "RandomState":
            continue
        fresh: Any = {}
        with suppress(Exception):  # a callback may have no state before it starts
            fresh = callback.state_dict()
        refuse_odd(fresh, stored[callback.state_key], type(callback).__name__)


def _look_at_loops(trainer: Trainer, content: dict[str, Any]) -> None:
    loops = content.get("loops")
    if loops is None:
        return
    refuse_odd({"fit_loop": {}}, loops, "it")
    if trainer.state.fn != "fit":
        return
    fresh, stored = trainer.fit_loop.state_dict(), loops["fit_loop"]
    for name in fresh.keys() & stored.keys():
        if name.endswith("state_dict"):
            refuse_odd({**fresh[name], "_batches_that_stepped": 0}, stored[name], name)
            loaders = stored[name].get("combined_loader", [])
            refuse_odd([{}] * (len(loaders) if isinstance(loaders, list) else 1), loaders, "combined_loader")
        else:
            _refuse_odd_counters(fresh[name], stored[name], name)


def _refuse_odd_counters(fresh: Any, stored: Any, name: str) -> None:
    """Refuse invalid counters: every stored value becomes an attribute that counting continues from."""
    refuse_odd(fresh, stored, name)
    if isinstance(fresh, Mapping):
        for key, value in stored.items():
            if key not in fresh:
                message = f"{name} has no {key!r}"
                raise OddStateError(message)
            _refuse_odd_counters(fresh[key], value, f"{name}.{key}")
    elif type(stored) is not type(fresh) or stored < 0:
        message = f"expected {name} to be a count, but got {stored!r}"
        raise OddStateError(message)


def _look_at_optimizers(trainer: Trainer, content: dict[str, Any]) -> Callable[[], None]:
    stored = content["optimizer_states"]
    groups = [[dict(group) for group in optimizer.param_groups] for optimizer in trainer.optimizers]
    refuse_odd([{"param_groups": [{}] * len(kept)} for kept in groups], stored, "it")
    reference = [_References(optimizer) for optimizer in trainer.optimizers]

    def after() -> None:
        for optimizer, before, states in zip(trainer.optimizers, groups, reference, strict=True):
            for number, (fresh, group) in enumerate(zip(before, optimizer.param_groups, strict=True)):
                for key in fresh.keys() - {"params"}:
                    if key not in group:
                        message = f"param_groups[{number}] has no {key!r}"
                        raise OddStateError(message)
                    refuse_odd(fresh[key], group[key], f"param_groups[{number}].{key}")
                for parameter in group["params"]:
                    states.compare(number, parameter, optimizer.state.get(parameter))

    return after


class _References:
    """The state that an optimizer keeps of a parameter, found by a step with a small one.

    Args:
        optimizer: Before anything is restored.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = copy.copy(optimizer)
        self._groups = [dict(group) for group in optimizer.param_groups]
        self._known: dict[tuple[int, int], tuple[torch.Size, Mapping[str, Any]]] = {}

    def compare(self, number: int, parameter: Tensor, state: Any) -> None:
        """Refuse a state of another shape than the parameter's."""
        if state is None:
            return
        refuse_odd({}, state, "a parameter's state")
        if not state:
            return
        key = number, parameter.dim()
        if key not in self._known:
            self._known[key] = self._step(number, parameter)
        shape, reference = self._known[key]
        for name, fresh in reference.items():
            if name not in state:
                message = f"a parameter's state has no {name!r}"
                raise OddStateError(message)
            like_it = isinstance(fresh, Tensor) and fresh.shape == shape
            if not (isinstance(fresh, Tensor) and fresh.dim() and not like_it):
                refuse_odd(parameter if like_it else fresh, state[name], f"a parameter's {name}")
            if name == "step" and float(state[name]) < 0:  # Adam would divide by zero, or its averages grow
                message = f"a parameter's step is {float(state[name]):g}"
                raise OddStateError(message)

    def _step(self, number: int, like: Tensor) -> tuple[torch.Size, Mapping[str, Any]]:
        small = torch.zeros(tuple(range(2, 2 + like.dim())), dtype=like.dtype).requires_grad_()
        small.grad = torch.zeros_like(small)
        optimizer: Any = self._optimizer
        optimizer.state = defaultdict(dict)
        optimizer.param_groups = [{**self._groups[number], "params": [small]}]
        try:
            type(optimizer).step(optimizer)
        except Exception:  # an optimizer that takes a closure, or more than a parameter: not compared
            return small.shape, {}
        return small.shape, optimizer.state.get(small, {})


def _look_at_schedules(trainer: Trainer, content: dict[str, Any]) -> None:
    stored = content["lr_schedulers"]
    configs = trainer.lr_scheduler_configs
    # No states are left if the schedule is another one than the checkpoint's.
    refuse_odd([{}] * len(configs) if stored != [] else [], stored, "it")
    for config, state in zip(configs, stored, strict=False):
        kind = type(config.scheduler)
        expected = config.scheduler.state_dict()
        refuse_odd(expected, state, kind.__name__)
        for key in state:
            if key not in expected and hasattr(kind, key):  # a method, which it would replace
                message = f"{kind.__name__} keeps no {key!r}"
                raise OddStateError(message)
