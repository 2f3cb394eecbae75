"""Coordinates of direct sampling: moments and positions of a structure as rows of points, and their energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import ENERGY, FORCES, MAGNETIC_FORCES
from deepspin_ase.vectors import Array

_ZERO_MOMENT = 1e-8  # µB; below this an atom has no moment to sample


class PhaseSpace:
    """What moves in a structure, and the calculator that says at which cost.

    Rows are, in this order: the k magnetic atoms, directions m/|m| (or m itself, µB, with ``longitudinal``), then with
    ``lattice`` the positions of all n atoms, Å.

    Parameters
    ----------
    atoms
        Structure with moments and a calculator that gives magnetic forces; left as it is.
    lattice
        Positions move, too.
    longitudinal
        Lengths of the moments change, too.

    Attributes
    ----------
    magnetic
        Atoms with a moment, (k,).
    curved
        Which rows are unit vectors, (K,).
    kinds
        Kind of each row, (K,): species of the moments, then species of the positions.
    """

    def __init__(self, atoms: Atoms, *, lattice: bool, longitudinal: bool) -> None:
        needed = [ENERGY, MAGNETIC_FORCES] + [FORCES] * lattice
        calc: Any = atoms.calc
        missing = [name for name in needed if name not in getattr(calc, "implemented_properties", ())]
        if missing:
            what = "has no calculator" if calc is None else f"has {type(calc).__name__}, without {', '.join(missing)}"
            raise InputError(
                f"the structure {what}; set atoms.calc to deepspin_ase.DeepSpin, deepspin_ase.Heisenberg or another "
                "calculator that gives magnetic forces."
            )
        moments = get_moments(atoms)
        if not (np.isfinite(moments).all() and np.isfinite(atoms.positions).all()):
            raise InputError("moments or positions contain NaN or infinity; all must be finite numbers.")
        if lattice and atoms.constraints:
            raise InputError("the structure has constraints, which lattice moves do not obey; atoms.set_constraint().")
        length = np.linalg.norm(moments, axis=1)
        self.magnetic = np.flatnonzero(length > _ZERO_MOMENT)
        if not len(self.magnetic):
            raise InputError("the structure carries no moments; use set_moments(atoms, ...) first.")
        self.lattice, self.longitudinal = bool(lattice), bool(longitudinal)
        self.reference = atoms.copy()
        self.reference.calc = None
        self.reference.set_constraint()
        set_moments(self.reference, moments)
        self.lengths = length[self.magnetic]
        k, n = len(self.magnetic), len(atoms)
        self.curved = np.repeat([not longitudinal, False], [k, n * lattice])
        names = [("m", z) for z in atoms.numbers[self.magnetic]] + [("R", z) for z in atoms.numbers] * lattice
        order = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self.kinds = np.array([order[name] for name in names])
        self._calc = calc
        self._structures: list[Atoms] = []

    def point(self, atoms: Atoms) -> Array:
        """Rows of a structure, (K, 3)."""
        m = get_moments(atoms)[self.magnetic]
        rows = m if self.longitudinal else m / np.linalg.norm(m, axis=1, keepdims=True)
        return np.concatenate([rows, atoms.positions]) if self.lattice else rows

    def moments(self, points: Array) -> Array:
        """Moments of the magnetic atoms, µB, (..., k, 3)."""
        rows = points[..., : len(self.magnetic), :]
        return rows if self.longitudinal else self.lengths[:, None] * rows

    def structure(self, point: Array) -> Atoms:
        """Structure of one point, without a calculator."""
        atoms = self.reference.copy()
        self._put(atoms, point)
        return atoms

    def evaluate(self, replicas: NDArray[np.int64], points: Array) -> tuple[Array, Array]:
        """Energies (r,), eV, and their derivatives, (r, K, 3), eV per unit of the row."""
        while len(self._structures) <= replicas.max():
            self._structures.append(self.reference.copy())
        structures = [self._structures[r] for r in replicas]
        for atoms, point in zip(structures, points, strict=True):
            self._put(atoms, point)
        results = self._results(structures)
        energy = np.array([float(result[ENERGY]) for result in results])
        across = -np.array([result[MAGNETIC_FORCES] for result in results])[:, self.magnetic]
        if not self.longitudinal:
            across = across * self.lengths[:, None]
        if not self.lattice:
            return energy, across
        return energy, np.concatenate([across, -np.array([result[FORCES] for result in results])], axis=1)

    def _put(self, atoms: Atoms, point: Array) -> None:
        moments = np.zeros((len(atoms), 3))
        moments[self.magnetic] = self.moments(point)
        set_moments(atoms, moments)
        if self.lattice:
            atoms.positions = point[len(self.magnetic) :]

    def _results(self, structures: Sequence[Atoms]) -> Sequence[Any]:
        if hasattr(self._calc, "evaluate_many"):
            return list(self._calc.evaluate_many(structures))
        names = [MAGNETIC_FORCES, ENERGY] + [FORCES] * self.lattice
        results = []
        for (
            atoms
        ) in structures:  # not get_property, which compares with the structure before, the one of another replica
            self._calc.calculate(atoms, names, all_changes)
            results.append({name: np.copy(self._calc.results[name]) for name in names})
        return results
