"""Signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from pcpad.distributed import gathered

__all__ = ["StopSignals"]

_PATIENCE = 1.0
"""Seconds within which a second Ctrl-C counts as the first: torchrun forwards what a terminal has already sent."""


class StopSignals:
    """Notes SIGINT, SIGTERM and SLURM's signal to requeue, so that training answers them where its state is complete.

    Lightning raises, saves or, under DDP, communicates wherever a signal arrives. A signal that was taken or ignored
    by other code before training is left alone.

    Args:
        trainer: The trainer whose processes are informed; every process must create one of these.
        at_once: Called at a second Ctrl-C.

    Attributes:
        received: The first signal noted; None before.
        started_by_another: Whether another process of the run started this one, and informs the user for it.
    """

    def __init__(self, trainer: Trainer, at_once: Callable[[], None]) -> None:
        self.trainer = trainer
        self.at_once = at_once
        self.received: int | None = None
        self.started_by_another = os.getppid() in gathered(os.getpid())
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @property
    def requeuing(self) -> int | None:
        """SLURM's signal, where Lightning requeues the job at it."""
        environment = self.trainer._accelerator_connector.cluster_environment
        if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
            return None
        return environment.requeue_signal

    def take(self) -> None:
        """Install the handlers; again, after Lightning has installed its own, just before the first step."""
        if threading.current_thread() is not threading.main_thread():
            return
        untaken: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        for number, untouched in untaken.items():
            if number not in self._before and signal.getsignal(number) is untouched:
                self._before[number] = untouched
        connector = self.trainer._signal_connector
        if self.requeuing is not None and connector._original_handlers:
            self._before.setdefault(self.requeuing, connector._original_handlers.get(signal.Signals(self.requeuing)))
        for number, before in self._before.items():
            signal.signal(number, self._note)
            if connector._original_handlers:  # which Lightning restores when the run ends
                connector._original_handlers[signal.Signals(number)] = before

    def give_back(self) -> None:
        """Restore the signal handlers."""
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                signal.signal(number, before)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        launcher = self.trainer.strategy.launcher
        started = launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            for process in started:  # as a terminal would, but `kill` and batch systems do not
                process.send_signal(signal.SIGTERM)
            if self.trainer.is_global_zero:  # print is not safe in signal handlers
                name = signal.Signals(number).name
                os.write(2, f"\npcpad: {name}: saving at the end of this step; Ctrl-C stops at once\n".encode())
        elif number == signal.SIGINT and time.monotonic() - self._since > _PATIENCE and not self.started_by_another:
            for process in started:
                process.kill()
            self.at_once()
