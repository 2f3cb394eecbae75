"""Runs as the command makes them: a folder with log, trajectory, checkpoint, pictures and the final structure.

Several replicas have one such folder each, ``replica_0``, ``replica_1``, ..., with seeds that count upwards; with a
network they share its calculator and are evaluated in batches.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms, units
from ase.io import read, write

from deepspin_ase import write_results
from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.statistics import Mean
from deepspin_plugins.spin_dynamics.arrows import plot_moments
from deepspin_plugins.spin_dynamics.config import Settings
from deepspin_plugins.spin_dynamics.log import SpinLogger, read_log
from deepspin_plugins.spin_dynamics.observers import TimeSeries
from deepspin_plugins.spin_dynamics.plots import plot_history
from deepspin_plugins.spin_dynamics.preparation import (
    Calculators,
    make_dynamics,
    make_structure,
    resumed_dynamics,
)
from deepspin_plugins.spin_dynamics.replicas import ReplicaSpinDynamics
from deepspin_plugins.spin_dynamics.timestep import suggest_timestep
from deepspin_plugins.spin_dynamics.trajectory import MomentTrajectoryWriter

SETTINGS, LOG, TRAJECTORY, CHECKPOINT = "settings.yaml", "log.txt", "moments.h5", "checkpoint.npz"
INITIAL, FINAL, HISTORY, ARROWS = "initial.extxyz", "final.extxyz", "history.png", "moments.png"


def simulate(
    settings: Settings,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> list[TimeSeries]:
    """Make a run, or continue one, and leave everything in a folder.

    Parameters
    ----------
    settings
        Options of the run.
    folder
        Output folder; made if needed.
    resume
        Continue from the checkpoint in the folder up to ``settings.steps``.
    overwrite
        Start anew in a folder that holds a run.
    say
        Called with lines for the user.

    Returns
    -------
    list of TimeSeries
        The log of every replica.

    Raises
    ------
    InputError
        Wrong settings; a folder that holds a run already, or none to resume.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, when checkpoint, trajectory, log, pictures and final structure are written.
    """
    if not resume and not overwrite and (folder / SETTINGS).exists():
        raise InputError(
            f"{folder} holds a run; continue it with --resume, replace it with --overwrite, or give another --output."
        )
    calculators = Calculators(settings)
    several = settings.replicas > 1
    folders = [folder / f"replica_{k}" for k in range(settings.replicas)] if several else [folder]
    with ExitStack() as stack:
        if resume:
            states = [resumed_dynamics(settings, place / CHECKPOINT, calculators()) for place in folders]
            runs = [_Run(dynamics, place, mode="a") for dynamics, place in zip(states, folders, strict=True)]
        else:
            runs = _fresh_runs(settings, folders, calculators, say)
            folder.mkdir(parents=True, exist_ok=True)
        furthest = max(run.dynamics.nsteps for run in runs)
        if settings.steps <= furthest:
            raise InputError(f"the run has {furthest} steps already; give a larger number: --steps.")
        (folder / SETTINGS).write_text(settings.to_yaml(), encoding="utf-8")
        stop = stack.enter_context(_Stop())
        for run in runs:
            stack.enter_context(run.observed(settings, stop))
        try:
            for run in runs:  # after a kill the checkpoints of replicas may be of different steps
                if run.dynamics.nsteps < furthest:
                    run.dynamics.run(furthest - run.dynamics.nsteps)
            driver: Any = ReplicaSpinDynamics([run.dynamics for run in runs]) if several else runs[0].dynamics
            driver.run(settings.steps - furthest)
        except KeyboardInterrupt:
            say("stopping; writing what there is ...")
    for run in runs:
        run.finish(settings)
    if stop.asked:
        raise KeyboardInterrupt
    return [run.series for run in runs]


class _Run:
    """A driver and its folder."""

    def __init__(self, dynamics: Any, folder: Path, *, mode: str) -> None:
        self.dynamics, self.folder, self._mode = dynamics, folder, mode

    @property
    def series(self) -> TimeSeries:
        return read_log(self.folder / LOG)

    def observed(self, settings: Settings, stop: _Stop) -> ExitStack:
        """Attach log, trajectory and checkpoints; they are finished when the context ends."""
        dynamics, folder, mode = self.dynamics, self.folder, cast(Any, self._mode)
        reference = cast(Atoms, read(folder / INITIAL))
        stack = ExitStack()
        writer = stack.enter_context(
            MomentTrajectoryWriter(
                folder / TRAJECTORY, dynamics.atoms, dynamics, mode=mode, positions=settings.lattice, energies=True
            )
        )
        logger = stack.enter_context(
            SpinLogger(dynamics, folder / LOG, reference=reference, temperature=settings.spin_temperature)
        )

        def save() -> None:
            writer.flush()  # first: a checkpoint later than the trajectory would leave a gap
            dynamics.save_checkpoint(folder / CHECKPOINT)

        stack.callback(save)
        dynamics.attach(writer, settings.interval)
        dynamics.attach(logger, settings.interval)
        dynamics.attach(save, settings.checkpoint_interval)
        dynamics.attach(stop)  # the last one: everything else has seen the step
        return stack

    def finish(self, settings: Settings) -> None:
        """Write the final structure and the pictures."""
        atoms = self.dynamics.atoms
        write_results(self.folder / FINAL, atoms, calculate=True)
        title = _title(settings, atoms, self.dynamics.get_time() / units.fs)
        plot_history(self.series, title=title).savefig(self.folder / HISTORY, dpi=130)
        arrows: Any = plot_moments(atoms, title=title).figure
        arrows.savefig(self.folder / ARROWS, dpi=130, bbox_inches="tight", pad_inches=0.1)


def _fresh_runs(
    settings: Settings, folders: list[Path], calculators: Calculators, say: Callable[[str], None]
) -> list[_Run]:
    """New runs; their folders get the structure at the start."""
    atoms = make_structure(settings)
    atoms.calc = calculators()
    magnetic = int(get_moments(atoms).any(axis=1).sum())
    say(f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {magnetic} with a moment")
    if settings.moment_mass is None:
        best = suggest_timestep(atoms) / units.fs
        timestep = min(1.0, float(f"{best:.2g}")) if settings.timestep is None else settings.timestep
        say(f"time step {timestep:g} fs; the fastest mode of the moments suggests at most {best:.2g} fs")
    else:
        timestep = settings.timestep or 1.0
        say(f"time step {timestep:g} fs; moments have inertia: they sample, they do not precess")
    runs = []
    for number, folder in enumerate(folders):
        copy = atoms.copy()
        copy.calc = calculators()
        own = settings.model_copy(update={"seed": settings.seed + number})
        runs.append(_Run(make_dynamics(own, copy, timestep), folder, mode="w"))
        folder.mkdir(parents=True, exist_ok=True)
        for name in (TRAJECTORY, LOG, CHECKPOINT):
            (folder / name).unlink(missing_ok=True)
        write(folder / INITIAL, copy, write_results=False)
    return runs


class _Stop:
    """Turn Ctrl-C and SIGTERM into a KeyboardInterrupt between two steps; a second one acts at once.

    An observer; as a context it takes over the two signals (in the main thread, where Python delivers them).
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def summary(runs: list[TimeSeries], settings: Settings) -> list[str]:
    """Means over the second half of a run with their errors, and the drift of the energy without baths; as text."""
    halves = [series.after(0.5 * (series.times[0] + series.times[-1])) for series in runs]
    lines = [f"means over the second half of the run ({len(halves[0])} lines of the log):"]
    rows = [("M", "µB"), ("order", "µB"), ("T_spin", "K"), ("E_potential", "eV/atom")]
    rows += [("T_lattice", "K")] if settings.lattice else []
    for name, unit in rows:
        if all(np.isfinite(half[name]).all() for half in halves):
            mean = _mean([half.mean(name) for half in halves])
            doubt = "" if mean.reliable else "   (too short a run for its correlations: do not trust the error)"
            lines.append(f"  {name:12s} {mean.value:14.6f} ± {mean.error:.6f} {unit}{doubt}")
    if len(runs) > 1:
        lines.append(f"  ({len(runs)} replicas; the errors are from the spread between them)")
    free = settings.spin_damping == 0.0 and settings.bath_of_atoms is None and settings.moment_mass is None
    if free and len(runs[0]) > 2:
        drift = float(np.polyfit(1e-3 * runs[0].times, runs[0]["E_total"], 1)[0])
        lines.append(f"  energy drift {drift:14.3e} eV/atom/ps")
    return lines


def _mean(means: list[Mean]) -> Mean:
    """Mean over independent replicas, with the standard error of their spread."""
    if len(means) == 1:
        return means[0]
    values = np.array([mean.value for mean in means])
    return Mean(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), True)


def _title(settings: Settings, atoms: Atoms, time: float) -> str:
    what = "moments and atoms" if settings.lattice else "moments"
    bath = "" if settings.temperature is None else f", {settings.temperature:g} K"
    span = f"{time:g} fs" if time < 1000 else f"{1e-3 * time:g} ps"
    return f"{atoms.get_chemical_formula(empirical=True)} ({len(atoms)} atoms), {what}{bath}, {span}"
