"""Energy and magnetic forces of one or many spin states of a structure, through its calculator."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import ENERGY, MAGNETIC_FORCES
from deepspin_ase.vectors import Array
from deepspin_plugins.spin_dynamics.sphere import exponential

ZERO_MOMENT = 1e-8
"""µB; below this an atom counts as not magnetic."""


def magnetic_atoms(atoms: Atoms) -> NDArray[np.int64]:
    """Indices of the atoms that carry a moment.

    Raises
    ------
    InputError
        There are none, or a moment is not finite.
    """
    moments = get_moments(atoms)
    if not np.isfinite(moments).all():
        first = int(np.flatnonzero(~np.isfinite(moments).all(axis=1))[0])
        raise InputError(f"the moment of atom {first} is {moments[first].tolist()}; all must be finite numbers.")
    found = np.flatnonzero(np.linalg.norm(moments, axis=1) > ZERO_MOMENT)
    if not len(found):
        raise InputError("the structure carries no moments; use set_moments(atoms, ...) first.")
    return found.astype(np.int64)


class SpinStates:
    """Energies and gradients of spin directions at fixed positions and lengths of the moments.

    Parameters
    ----------
    atoms
        Structure with moments and a calculator that gives magnetic forces; only a copy is changed.

    Attributes
    ----------
    moving
        Indices of the atoms that carry a moment, (k,).
    lengths
        Their |m|, µB, (k,).
    evaluations
        How many states have been evaluated.
    """

    def __init__(self, atoms: Atoms) -> None:
        if atoms.calc is None or MAGNETIC_FORCES not in getattr(atoms.calc, "implemented_properties", ()):
            what = "no calculator" if atoms.calc is None else f"{type(atoms.calc).__name__}, without {MAGNETIC_FORCES}"
            raise InputError(
                f"the structure has {what}; set atoms.calc to deepspin_ase.DeepSpin, deepspin_ase.Heisenberg "
                "or another calculator that gives magnetic forces."
            )
        self.moving = magnetic_atoms(atoms)
        self.calc = atoms.calc
        self.lengths = np.linalg.norm(get_moments(atoms)[self.moving], axis=1)
        self.evaluations = 0
        self._atoms = atoms.copy()
        set_moments(self._atoms, get_moments(atoms))

    @property
    def unit(self) -> Array:
        """Directions of the structure that was given, (k, 3)."""
        return get_moments(self._atoms)[self.moving] / self.lengths[:, None]

    def moments(self, unit: Array) -> Array:
        """Moments of all atoms, (..., n, 3), µB, from directions (..., k, 3)."""
        full = np.zeros((*unit.shape[:-2], len(self._atoms), 3))
        full[..., self.moving, :] = self.lengths[:, None] * unit
        return full

    def __call__(self, unit: Array) -> tuple[Array, Array]:
        """Evaluate M states: energies (M,), eV, and gradients dE/de in the tangent planes (M, k, 3), eV/rad."""
        structures = []
        for moments in self.moments(unit):
            structures.append(self._atoms.copy())
            set_moments(structures[-1], moments)
        self.evaluations += len(structures)
        if len(structures) > 1 and hasattr(self.calc, "evaluate_many"):
            results = [(r[ENERGY], r[MAGNETIC_FORCES]) for r in self.calc.evaluate_many(structures)]
        else:
            get = self.calc.get_property
            results = [(get(MAGNETIC_FORCES, atoms), get(ENERGY, atoms))[::-1] for atoms in structures]
        energies = np.array([energy for energy, _ in results])
        forces = np.array([force for _, force in results])[:, self.moving]
        along = np.sum(unit * forces, axis=-1, keepdims=True)
        return energies, -self.lengths[:, None] * (forces - along * unit)

    def curvature(self, unit: Array, gradient: Array) -> float:
        """Second derivative of the energy along the gradient, eV/rad², by one more evaluation; positive."""
        size = np.linalg.norm(gradient)
        if size == 0.0:
            return 1.0
        probe = 1e-3 * gradient / np.linalg.norm(gradient, axis=-1).max()
        _, (moved,) = self(exponential(unit, probe)[None])
        change = np.vdot(moved - gradient, probe) / np.vdot(probe, probe)
        return float(max(abs(change), 1e-3 * size))
