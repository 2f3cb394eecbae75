"""Samplers of several sizes, run together: in this process or by an executor, with progress, interruption, restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol
from zlib import crc32

import numpy as np

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.analysis import Run
from deepspin_plugins.curie.series import Series

_PIECES = 20  # of a run, for the progress bar


class Engine(Protocol):
    """What :class:`MonteCarlo` and :class:`PotentialSampler` have in common."""

    @property
    def sweeps(self) -> int:
        """Sweeps so far."""

    def thermalize(self, sweeps: int) -> None:
        """Sweep without measuring."""

    def run(self, sweeps: int) -> Series:
        """Sweep and measure after each sweep."""

    @property
    def series(self) -> Series:
        """All measurements."""

    def save(self, path: str | Path) -> None:
        """Write a checkpoint."""

    def restore(self, path: str | Path) -> None:
        """Go on from a checkpoint."""


Maker = Callable[[int, Array, int], Engine]
"""Makes an engine from a size, temperatures (K) and a seed."""


class Study:
    """All samplers of a search for an ordering temperature.

    Parameters
    ----------
    make
        Makes the sampler of one size.
    seed
        Every sampler gets a seed of its own that depends on this one, its stage and its size.
    executor
        Runs the sizes of a stage side by side; samplers travel there and back, so they must be picklable.
    checkpoint
        Folder in which all samplers are kept; what is found there is not sampled again.
    quiet
        No progress bar, for samplers that have their own.
    """

    def __init__(
        self,
        make: Maker,
        *,
        seed: int,
        executor: Executor | None = None,
        checkpoint: str | Path | None = None,
        quiet: bool = False,
    ) -> None:
        self._make = make
        self._seed = seed
        self._executor = executor
        self._folder = None if checkpoint is None else Path(checkpoint)
        self._quiet = quiet
        self._engines: dict[str, dict[int, Engine]] = {}
        self._warm: dict[str, int] = {}

    def measure(
        self, stage: str, sizes: Sequence[int], temperatures: Array, sweeps: int, *, warm: int = 0
    ) -> list[Run]:
        """Bring all sizes of a stage to this many measured sweeps, and return all their measurements.

        Parameters
        ----------
        stage
            Name; a stage that exists is continued.
        sizes, temperatures
            Of the supercells; K.
        sweeps, warm
            Measured sweeps in total, and sweeps before the first measurement.
        """
        if stage not in self._engines:
            self._engines[stage] = {size: self._engine(stage, size, temperatures) for size in sizes}
            self._warm[stage] = warm
        engines = self._engines[stage]
        label = f"{stage}: L = {', '.join(map(str, sizes))}"
        try:
            for size, engine in self._advance(engines, self._warm[stage] + sweeps, self._warm[stage], label):
                engines[size] = engine
        finally:
            self._save(stage)
        return self.runs(stage)

    def runs(self, stage: str) -> list[Run]:
        """Measurements of a stage so far; sizes without any are left out."""
        warm = self._warm.get(stage, 0)
        engines = self._engines.get(stage, {})
        return [Run(size, engine.series) for size, engine in engines.items() if engine.sweeps > warm]

    def _engine(self, stage: str, size: int, temperatures: Array) -> Engine:
        seed = np.random.SeedSequence([self._seed, crc32(stage.encode()), size]).generate_state(1)[0]
        engine = self._make(size, temperatures, int(seed))
        if self._folder is not None and (path := self._path(stage, size)).is_file():
            engine.restore(path)
        return engine

    def _advance(self, engines: dict[int, Engine], sweeps: int, warm: int, label: str) -> Iterator[tuple[int, Engine]]:
        show = False if self._quiet else None
        if self._executor is not None:
            count = len(engines)
            done = self._executor.map(advance, engines.values(), [sweeps] * count, [warm] * count)
            yield from zip(engines, track(done, label, total=count, show=show), strict=True)
            return
        start = min(engine.sweeps for engine in engines.values())
        targets = [sweeps] if self._quiet else np.linspace(start, sweeps, _PIECES + 1).astype(int)[1:].tolist()
        for target, size in track([(t, size) for t in targets for size in engines], label, show=show):
            yield size, advance(engines[size], target, warm)

    def _save(self, stage: str) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for size, engine in self._engines[stage].items():
            if engine.sweeps:
                engine.save(self._path(stage, size))

    def _path(self, stage: str, size: int) -> Path:
        if self._folder is None:
            raise InputError("there is no folder for checkpoints.")
        return self._folder / f"{stage.replace(' ', '-')}-L{size}.npz"


def advance(engine: Engine, sweeps: int, warm: int) -> Engine:
    """Bring an engine to a number of sweeps, of which the first ``warm`` are not measured."""
    if engine.sweeps < min(warm, sweeps):
        engine.thermalize(min(warm, sweeps) - engine.sweeps)
    if engine.sweeps < sweeps:
        engine.run(sweeps - engine.sweeps)
    return engine
