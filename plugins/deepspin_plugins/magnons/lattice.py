"""Second derivatives with respect to positions, and mixed ones, by finite displacements in a supercell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.quantities import FORCES, MAGNETIC_FORCES
from deepspin_ase.vectors import Array

# f(±h), f(±h/2) -> slope to fourth order
_STENCIL = ((1.0, -1.0 / 6.0), (-1.0, 1.0 / 6.0), (0.5, 4.0 / 3.0), (-0.5, -4.0 / 3.0))


@dataclass(frozen=True, eq=False)
class DisplacementHessian:
    """Rows of second derivatives for the atoms of the first cell of a supercell.

    Attributes
    ----------
    positions
        ∂²E/∂R_i∂R_j, (n, 3, N, 3), eV/Å²; the acoustic sum rule holds exactly.
    mixed
        ∂²E/∂R_i∂m_j, (n, 3, N, 3), eV/(Å µB).
    forces
        Residual forces of the first cell, (n, 3), eV/Å.
    """

    positions: Array
    mixed: Array
    forces: Array


def displacement_hessian(atoms: Atoms, calc: Any, count: int, *, step: float = 0.01) -> DisplacementHessian:
    """Displace the first ``count`` atoms and differentiate forces and magnetic forces (four evaluations each axis).

    Parameters
    ----------
    atoms
        Supercell with moments; left as it is.
    calc
        Calculator with forces and magnetic forces.
    count
        Number of atoms in the cell; they come first.
    step
        Largest displacement, Å.

    Raises
    ------
    InputError
        A step that is not positive, results that are not finite.
    """
    if not step > 0.0:
        raise InputError(f"step = {step} Å; allowed: a positive number.")
    work = atoms.copy()
    home = work.positions.copy()
    forces = np.array(calc.get_property(FORCES, work), dtype=float)[:count]
    positions, mixed = np.zeros((2, count, 3, len(atoms), 3))
    components = [(atom, axis) for atom in range(count) for axis in range(3)]
    for atom, axis in track(components, "Displacements"):
        for factor, weight in _STENCIL:
            work.positions = home
            work.positions[atom, axis] += factor * step
            positions[atom, axis] -= weight / step * np.asarray(calc.get_property(FORCES, work))
            mixed[atom, axis] -= weight / step * np.asarray(calc.get_property(MAGNETIC_FORCES, work))
    for name, array in (("forces", positions), ("magnetic forces", mixed)):
        if not np.isfinite(array).all():
            raise InputError(f"{name} of {type(calc).__name__} contain NaN or infinity.")
    for atom in range(count):  # what moves with everything costs nothing
        positions[atom, :, atom] -= positions[atom].sum(axis=1)
    return DisplacementHessian(positions, mixed, forces)
