"""Explorer ``monte-carlo`` of active learning: Metropolis walks of atoms and moments with the committee."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field

from deepspin_ase.active_learning.exploration import Exploration
from deepspin_ase.active_learning.storage import bare
from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.progress import track
from deepspin_ase.quantities import K_B
from deepspin_ase.sections import Section
from deepspin_plugins.spin_dynamics.exploration import BROKEN, Kelvin, stays_inside

Array = NDArray[np.float64]


class MonteCarloExplorer(Section):
    """Walks from every start structure at every temperature, all of them in one batch.

    Each move changes the position or the moment of one atom and is accepted with the probability min(1, e^{-ΔE/k_B T}):
    the canonical ensemble of the mean of the committee, at constant volume. A walk ends when the committee's deviation
    leaves its domain. Barriers between magnetic states that dynamics would not cross are no obstacle to long moves.

    Parameters
    ----------
    temperatures
        K.
    walks
        Per structure and temperature.
    sweeps
        Longest walk; a sweep is as many moves as there are atoms.
    interval
        Sweeps between structures that are kept and looked at.
    displacement
        Å; standard deviation of each coordinate of a move.
    turn
        µB; standard deviation of each component by which a move changes a moment.
    lengths
        Whether a move may change |m|, or is scaled back to it.
    """

    temperatures: list[Kelvin] = Field(min_length=1)
    walks: int = Field(default=1, ge=1)
    sweeps: int = Field(default=50, ge=1)
    interval: int = Field(default=5, ge=1)
    displacement: float = Field(default=0.05, gt=0, le=1)
    turn: float = Field(default=0.5, gt=0, le=10)
    lengths: bool = True

    @property
    def needs_model(self) -> bool:
        """Yes."""
        return True

    def size(self, structures: int) -> int:
        """Structures of walks that never leave the domain."""
        return structures * len(self.temperatures) * self.walks * (self.sweeps // self.interval)

    def explore(self, task: Exploration) -> list[Atoms]:
        """Make the walks.

        Raises
        ------
        InputError
            There is no committee yet.
        """
        if task.domain is None:
            raise InputError("the explorer monte-carlo needs a committee; it cannot make the first labels")
        calculator = task.domain.committee.calculator()
        conditions = product(task.structures, self.temperatures, range(self.walks))
        walks = [bare(start, temperature=temperature) for start, temperature, _ in conditions]
        energies = _energies(calculator, walks)
        found: list[Atoms] = []
        for sweep in track(range(1, self.sweeps + 1), "exploring by Monte Carlo"):
            for _ in range(max(len(atoms) for atoms in walks)):
                walks, energies = self._move(walks, energies, calculator, task.rng)
            if sweep % self.interval:
                continue
            kept = [bare(atoms, **atoms.info, sweep=sweep) for atoms in walks]
            inside = [stays_inside(task.domain, atoms) for atoms in kept]
            found += [atoms for atoms, answer in zip(kept, inside, strict=True) if answer is not None]
            alive = np.flatnonzero([bool(answer) for answer in inside])
            walks, energies = [walks[k] for k in alive], energies[alive]
            if not walks:
                break
        return found

    def _move(
        self, walks: list[Atoms], energies: Array, calculator: Any, rng: np.random.Generator
    ) -> tuple[list[Atoms], Array]:
        """Try one move in every walk."""
        trials = [self._trial(atoms, rng) for atoms in walks]
        heat = K_B * np.array([atoms.info["temperature"] for atoms in walks])
        threshold = np.log(rng.random(len(walks)))
        try:
            tried = _energies(calculator, trials)
        except BROKEN:  # atoms on top of each other
            return walks, energies
        accepted = np.isfinite(tried) & (threshold < -(tried - energies) / heat)
        moved = [trial if yes else atoms for yes, trial, atoms in zip(accepted, trials, walks, strict=True)]
        return moved, np.where(accepted, tried, energies)

    def _trial(self, atoms: Atoms, rng: np.random.Generator) -> Atoms:
        trial = atoms.copy()
        moments = get_moments(atoms)
        magnetic = np.flatnonzero(moments.any(axis=1))
        if len(magnetic) and rng.random() < 0.5:
            i = int(rng.choice(magnetic))
            length = np.linalg.norm(moments[i])
            moments[i] += self.turn * rng.standard_normal(3)
            if not self.lengths:
                moments[i] *= length / np.linalg.norm(moments[i])
            set_moments(trial, moments)
        else:
            trial.positions[rng.integers(len(atoms))] += self.displacement * rng.standard_normal(3)
        return trial


def _energies(calculator: Any, structures: Sequence[Atoms]) -> Array:
    """Energies in eV; in one batch if the calculator can."""
    if hasattr(calculator, "evaluate_many"):
        return np.array([float(results["energy"]) for results in calculator.evaluate_many(structures)])
    return np.array([float(calculator.get_property("energy", atoms)) for atoms in structures])
