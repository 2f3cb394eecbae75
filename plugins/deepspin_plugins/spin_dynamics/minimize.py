"""Turn the moments of a structure into the nearest minimum of the energy, at fixed positions and |m|."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from deepspin_ase.errors import InputError
from deepspin_ase.moments import set_moments
from deepspin_ase.progress import track
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array
from deepspin_plugins.spin_dynamics.evaluation import SpinStates
from deepspin_plugins.spin_dynamics.sphere import SphereLBFGS, exponential

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_STEP = 0.5
"""Longest turn of one moment in one step, rad."""

_ARMIJO = 1e-4  # part of the expected decrease that a step has to bring
_ROUND_OFF = 1e-12  # relative; energies closer than this are equal


@dataclass(frozen=True, eq=False)
class MomentMinimum(StoredResult):
    """Result of :func:`minimize_moments`; arrays are read-only.

    Attributes
    ----------
    moments
        Final moments, (n, 3), µB.
    energies
        Energy of every iterate, eV.
    torques
        Largest torque |m x F^m| of every iterate, eV/rad.
    fmax
        Torque that was asked for, eV/rad.
    evaluations
        Evaluations of energy and magnetic forces.
    """

    moments: Array
    energies: Array
    torques: Array
    fmax: float
    evaluations: int

    @property
    def energy(self) -> float:
        """Final energy, eV."""
        return float(self.energies[-1])

    @property
    def torque(self) -> float:
        """Largest final torque, eV/rad."""
        return float(self.torques[-1])

    @property
    def converged(self) -> bool:
        """Whether the largest torque is below ``fmax``."""
        return self.torque <= self.fmax

    @property
    def steps(self) -> int:
        """Steps that were made."""
        return len(self.energies) - 1

    def __str__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        return (
            f"{state}: E = {self.energy:.8f} eV, largest torque {1e3 * self.torque:.3g} meV/rad "
            f"(asked for {1e3 * self.fmax:.3g}), {self.steps} steps, {self.evaluations} evaluations"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Largest torque, and energy above the last one, against steps."""
        ax = ax or new_axes()
        excess = self.energies - self.energies.min()
        ax.semilogy(self.torques, "o-", markersize=3, label="largest torque (eV/rad)")
        ax.semilogy(np.where(excess > 0, excess, np.nan), "s-", markersize=3, label="energy above the lowest (eV)")
        ax.axhline(self.fmax, color="0.6", linestyle="--", linewidth=1, label="fmax (eV/rad)")
        ax.set(xlabel="step", ylabel="eV/rad, eV")
        ax.legend()
        return ax


def minimize_moments(atoms: Atoms, *, fmax: float = 1e-5, steps: int = 1000) -> MomentMinimum:
    """Relax the directions of all moments; positions, cell and lengths |m| stay.

    L-BFGS on the product of spheres: steps run along great circles, gradients and steps of the history are carried
    along with the spins, and a step that does not lower the energy enough (Armijo's rule) is shortened. Usually it
    needs several times fewer evaluations than FIRE on :class:`deepspin_ase.SpinLatticeFilter`, which relaxes positions,
    lengths and the cell as well.

    A state without torque, such as an exactly collinear one, is stationary, minimum or not: tilt it first
    (:func:`deepspin_ase.tilt`).

    Parameters
    ----------
    atoms
        Structure with moments and a calculator that gives magnetic forces. Its moments are changed in place.
    fmax
        Stop when all torques |m x F^m| are below this, eV/rad.
    steps
        Largest number of steps.

    Returns
    -------
    MomentMinimum
        With ``converged``; Ctrl-C leaves the best state so far on ``atoms``.

    Raises
    ------
    InputError
        No moments, no calculator with magnetic forces, fmax or steps that are not positive.

    References
    ----------
    A. V. Ivanov, V. M. Uzdin, H. Jónsson, Comput. Phys. Commun. 260, 107749 (2021).
    """
    if not (fmax > 0 and steps > 0):
        raise InputError(f"fmax = {fmax} eV/rad, steps = {steps}; both must be positive.")
    states = SpinStates(atoms)
    unit = states.unit
    energies, gradients = states(unit[None])
    energy, gradient = float(energies[0]), gradients[0]
    optimizer = SphereLBFGS(curvature=float(states.curvature(unit, gradient)))
    history = [(energy, _largest(gradient))]
    try:
        for _ in track(range(steps), "relaxing moments"):
            if history[-1][1] <= fmax:
                break
            found = _descend(states, unit, energy, gradient, optimizer)
            if found is None:  # no lower state along the gradient: round-off of the energy
                break
            unit, energy, gradient = found
            history.append((energy, _largest(gradient)))
    finally:
        set_moments(atoms, states.moments(unit))
    course = np.array(history)
    return MomentMinimum(states.moments(unit), course[:, 0], course[:, 1], float(fmax), states.evaluations)


def _descend(
    states: SpinStates, unit: Array, energy: float, gradient: Array, optimizer: SphereLBFGS
) -> tuple[Array, float, Array] | None:
    """One accepted step: new directions, energy and gradient; None if even short steps downhill raise the energy."""
    step = optimizer.direction(gradient)
    for fresh in (False, True):
        if fresh or np.vdot(step, gradient) >= 0.0:
            optimizer.forget()
            step = optimizer.direction(gradient)
        step = step * min(1.0, LONGEST_STEP / _largest(step))
        slope = float(np.vdot(step, gradient))
        fraction = 1.0
        while fraction > 1e-4:
            trial = exponential(unit, fraction * step)
            energies, gradients = states(trial[None])
            rise, new = float(energies[0]) - energy, gradients[0]
            flat = rise <= _ROUND_OFF * max(1.0, abs(energy)) and np.linalg.norm(new) < np.linalg.norm(gradient)
            if rise <= _ARMIJO * fraction * slope or flat:
                optimizer.accept(unit, fraction * step, gradient, new)
                return trial, float(energies[0]), new
            parabola = -0.5 * slope * fraction**2 / (rise - slope * fraction)
            fraction = float(np.clip(parabola, 0.1 * fraction, 0.5 * fraction))
    return None


def _largest(rows: Array) -> float:
    return float(np.linalg.norm(rows, axis=1).max())
