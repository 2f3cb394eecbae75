"""Crystals, models and calculators that the tests of exchange share."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes

from deepspin_ase import HeisenbergModel, get_moments, set_moments
from deepspin_ase.heisenberg.bonds import neighbour_pairs
from deepspin_ase.heisenberg.spins import directions, transverse_force
from deepspin_ase.magnetic_calculator import MagneticCalculator
from deepspin_ase.quantities import MAGNETIC_FORCES


def low_symmetry_crystal() -> Atoms:
    """FeCo in a triclinic cell with moments of 2.2 and 1.6 µB along z."""
    cell = [[2.9, 0.0, 0.0], [0.2, 3.0, 0.0], [0.0, 0.3, 2.8]]
    atoms = Atoms("FeCo", positions=[[0, 0, 0], [1.3, 1.5, 1.4]], cell=cell, pbc=True)
    set_moments(atoms, [2.2, 1.6])
    return atoms


def random_model(rng: np.random.Generator, *, cutoff: float = 3.2) -> HeisenbergModel:
    """Random 3x3 tensors and anisotropies on that crystal."""
    atoms = low_symmetry_crystal()
    i, j, image, _, distance = neighbour_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, both_orders=False)
    tensors = rng.normal(size=(len(i), 3, 3)) * np.exp(2.0 - distance)[:, None, None] * 0.01
    anisotropy = rng.normal(size=(2, 3, 3)) * 1e-3
    entries = list(zip(i, j, image, tensors, strict=True))
    return HeisenbergModel.from_bonds(atoms, entries, anisotropy=anisotropy + anisotropy.transpose(0, 2, 1))


def traceless(tensors: np.ndarray) -> np.ndarray:
    """Tensors without their traces."""
    return tensors - np.trace(tensors, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3


def nickel_oxide() -> Atoms:
    """NiO with AFM II order in its magnetic cell, at the lattice constant of the shipped model's data."""
    a = 4.186
    cell = a * np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    positions = a * np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [1.5, 1.5, 1.5]])
    atoms = Atoms("Ni2O2", positions=positions, cell=cell, pbc=True)
    set_moments(atoms, np.array([[0, 0, 1.2737], [0, 0, -1.2737], [0, 0, 0], [0, 0, 0]]))
    return atoms


class Biquadratic(MagneticCalculator):
    """E = -½ Σ [J e_i·e_j + B (e_i·e_j)²] over neighbours closer than a cutoff."""

    implemented_properties = ["energy", "magnetic_forces"]  # noqa: RUF012

    def __init__(self, j: float, b: float, cutoff: float) -> None:
        super().__init__()
        self.j, self.b, self.cutoff = j, b, cutoff

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        length, e = directions(get_moments(self.atoms))
        i, k, *_ = neighbour_pairs(self.atoms.positions, self.atoms.cell.array, self.atoms.pbc, self.cutoff)
        dot = np.einsum("ba,ba->b", e[i], e[k])
        h = np.zeros_like(e)
        np.add.at(h, i, (self.j + 2 * self.b * dot)[:, None] * e[k])
        self.results = {
            "energy": -0.5 * float((self.j * dot + self.b * dot**2).sum()),
            MAGNETIC_FORCES: transverse_force(h, e, length, length < 0),
        }
