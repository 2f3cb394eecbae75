"""Averaged weights, the budget with its learning rate, and progress on the screen."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from deepspin_ase.training.config import OptimizerSection
from deepspin_ase.training.metrics import QUANTITIES, UNIT_TEXT, metric_key

FLOOR = 1e-3
"""Learning rate at the end of the budget over the one at its start."""


class RampedEMA(WeightAveraging):
    """Moving average of the weights, w̄ ← d w̄ + (1 - d) w, with d = min(decay, (1 + n)/(10 + n)) at step n.

    Validation, and the model in the end, use w̄.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
            n = float(count)
            torch._foreach_lerp_(list(averaged), list(current), 1.0 - min(decay, (1.0 + n) / (10.0 + n)))

        super().__init__(use_buffers=False, multi_avg_fn=average)


class Budget(Callback):
    """Sets the learning rate (linear warm-up, then half a cosine) and stops when the budget is used up.

    The budget is a number of epochs, or minutes of wall time or of CPU time of this process. Time already
    used survives a restart. Compilation counts as used time, but the cosine is laid over the rest.

    Parameters
    ----------
    options
        Budget and learning rate.
    """

    def __init__(self, options: OptimizerSection) -> None:
        self._options = options
        self._used_before = {"wall": 0.0, "cpu": 0.0}
        self._start: dict[str, float] | None = None
        self._overhead = 0.0
        self._shapes = 0
        self._batch_start = 0.0
        self.stopped_by_user = False

    @property
    def _clock(self) -> str:
        return "cpu" if self._options.max_cpu_minutes is not None else "wall"

    def seconds(self, clock: str) -> float:
        """Time used so far, all runs included; ``wall`` or ``cpu`` (this process and its finished children)."""
        since = 0.0 if self._start is None else _now(clock) - self._start[clock]
        return self._used_before[clock] + since

    def fraction(self, trainer: pl.Trainer) -> float:
        """Used part of the budget, 0 to 1."""
        if self._options.epochs is not None:
            return min(trainer.global_step / max(self._options.epochs * trainer.num_training_batches, 1), 1.0)
        minutes = self._options.max_minutes or self._options.max_cpu_minutes or 0.0
        left = 60.0 * minutes - self._overhead
        return min((self.seconds(self._clock) - self._overhead) / left, 1.0) if left > 0 else 1.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self._start = {clock: _now(clock) for clock in ("wall", "cpu")}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate of this step."""
        self._batch_start = self.seconds(self._clock)
        step = trainer.global_step
        warm = min(1.0, (step + 1) / self._options.warmup_steps) if self._options.warmup_steps else 1.0
        cosine = 0.5 * (1.0 + math.cos(math.pi * self.fraction(trainer)))
        rate = self._options.learning_rate * warm * (FLOOR + (1.0 - FLOOR) * cosine)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop when nothing is left; all processes decide together."""
        shapes = int(getattr(pl_module, "compiled_shapes", 0))
        if shapes != self._shapes:
            self._shapes = shapes
            self._overhead += self.seconds(self._clock) - self._batch_start
        over = self.stopped_by_user or (self._options.epochs is None and self.fraction(trainer) >= 1.0)
        if trainer.world_size > 1:
            over = trainer.strategy.reduce_boolean_decision(over, all=False)
        if over:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Used time."""
        return {"used": {clock: self.seconds(clock) for clock in ("wall", "cpu")}, "overhead": self._overhead}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Used time of the runs before."""
        self._used_before = dict(state_dict["used"])
        self._overhead = float(state_dict["overhead"])


class ProgressDisplay(Callback):
    """One bar over the whole budget with the validation errors; lines of text where there is no terminal.

    Parameters
    ----------
    budget
        Tells how far the training is.
    say
        Writes a line.
    every
        Seconds between lines.
    """

    def __init__(self, budget: Budget, say: Callable[[str], None], *, every: float = 15.0) -> None:
        self._budget, self._say, self._every = budget, say, every
        self._last = -math.inf
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        console = Console(stderr=True)
        if not console.is_terminal or not trainer.is_global_zero:
            return
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[errors]}"),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=1.0, epoch=trainer.current_epoch, errors="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._budget.fraction(trainer), epoch=trainer.current_epoch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the errors."""
        text = error_text({name: float(value) for name, value in trainer.callback_metrics.items()})
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, errors=text)
        elif trainer.is_global_zero and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            used = self._budget.seconds("wall") / 60
            part = self._budget.fraction(trainer)
            self._say(f"epoch {trainer.current_epoch:5d}  {part:4.0%}  {used:6.1f} min  {text}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


_SHOWN = {"energy": "E", "force": "F", "magnetic_force_perp": "F⊥", "magnetic_force_par": "F∥"}


def error_text(metrics: dict[str, float]) -> str:
    """Validation errors in one line, such as ``E 0.61 meV/atom  F 33.1 meV/Å``."""
    parts = []
    for name, symbol in _SHOWN.items():
        value = metrics.get(f"val/{metric_key(name, 'rmse')}")
        if value is not None:
            parts.append(f"{symbol} {value:.3g} {UNIT_TEXT[QUANTITIES[name]]}")
    return "  ".join(parts)


def _now(clock: str) -> float:
    if clock == "wall":
        return time.monotonic()
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
