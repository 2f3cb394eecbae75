"""Crystals of ideal springs: calculators whose phonons are known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from ase.units import _e
from numpy.typing import ArrayLike, NDArray
from phonopy.interface.calculator import get_calculator_physical_units

from deepspin_ase import Heisenberg, get_moments, set_moments
from deepspin_ase.heisenberg import Morse

Array = NDArray[np.float64]

THZ = float(get_calculator_physical_units(None).factor)
"""Frequency of ω² = 1 eV/(Å² amu), THz, with phonopy's constants: 1.3e-7 below those of CODATA 2018."""

NEWTON_PER_METRE = 1e-20 / _e
"""One N/m in eV/Å²."""


class Springs(Calculator):
    """Harmonic springs between atoms at given bond vectors d: E = ½ Σ_bonds (r - d)·K_d·(r - d), r from atom to atom.

    It knows nothing of atom orders and supercells, and gives exact second derivatives.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, vectors: ArrayLike, matrices: ArrayLike) -> None:
        super().__init__()
        self.vectors, self.matrices = np.array(vectors, dtype=float), np.array(matrices, dtype=float)
        self.cutoff = 1.1 * float(np.linalg.norm(self.vectors, axis=1).max())

    def _bonds(self, atoms: Atoms) -> tuple[NDArray[np.int64], NDArray[np.int64], Array, Array, Array]:
        i, j, r = neighbor_list("ijD", atoms, self.cutoff)
        nearest = np.linalg.norm(r[:, None] - self.vectors[None], axis=2)
        which = nearest.argmin(axis=1)
        keep = nearest[np.arange(len(i)), which] < 0.3
        i, j, r, which = i[keep], j[keep], r[keep], which[keep]
        return i, j, r, r - self.vectors[which], self.matrices[which]

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        i, _, r, stretch, matrix = self._bonds(self.atoms)
        pull = np.einsum("bij,bj->bi", matrix, stretch)
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, pull)
        virial = 0.5 * np.einsum("bi,bj->ij", r, pull) / self.atoms.get_volume()
        energy = 0.25 * float(np.sum(stretch * pull))
        voigt = ((virial + virial.T) / 2).flat[[0, 4, 8, 5, 2, 1]]
        self.results = {"energy": energy, "free_energy": energy, "forces": forces, "stress": voigt}

    def get_hessian(self, atoms: Atoms, *, kind: str = "positions", rows: Sequence[int] | None = None) -> Array:
        assert kind == "positions"
        i, j, _, _, matrix = self._bonds(atoms)
        hessian = np.zeros((len(atoms), len(atoms), 3, 3))
        np.add.at(hessian, (i, j), -matrix)
        np.add.at(hessian, (i, i), matrix)
        chosen = hessian if rows is None else hessian[np.asarray(rows)]
        return chosen.transpose(0, 2, 1, 3)


def rocksalt_springs(a: float, along: float, across: float) -> Springs:
    """Springs between nearest neighbours of rock salt, eV/Å² along and across the bond."""
    vectors = [sign * a / 2 * np.eye(3)[axis] for axis in range(3) for sign in (1, -1)]
    return Springs(vectors, [np.diag(np.where(np.abs(v) > 0, along, across)) for v in vectors])


def rocksalt_frequencies(q: Array, a: float, along: float, across: float, masses: tuple[float, float]) -> Array:
    """Closed form, THz, (6,), for a Cartesian wavevector q in 1/Å: three two-atom chains, one per polarisation."""
    levels = []
    first, second = masses
    for axis in range(3):
        k = np.where(np.arange(3) == axis, along, across)
        home, away = 2 * k.sum(), 2 * float(k @ np.cos(q * a / 2))
        mean = home * (first + second) / (2 * first * second)
        split = np.sqrt((home * (first - second) / (2 * first * second)) ** 2 + away**2 / (first * second))
        levels += [mean - split, mean + split]
    return THZ * np.sqrt(np.maximum(np.sort(levels), 0.0))


def cubic_shell(a: float, corner: ArrayLike, matrix: ArrayLike) -> tuple[Array, Array]:
    """All images of a bond a/2·corner and of its force-constant matrix under the 48 operations of the cube."""
    vectors: dict[tuple[float, ...], Array] = {}
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
        key = tuple((turn @ np.asarray(corner)).tolist())
        vectors[key] = turn @ np.asarray(matrix) @ turn.T
    return a / 2 * np.array(list(vectors)), np.array(list(vectors.values()))


def born_von_karman_iron(a: float = 2.8665) -> Springs:
    """bcc iron at room temperature, five shells, N/m: V. J. Minkiewicz et al., Phys. Rev. 162, 528 (1967)."""
    shells = [
        ((1, 1, 1), [[16.88, 15.01, 15.01], [15.01, 16.88, 15.01], [15.01, 15.01, 16.88]]),
        ((2, 0, 0), np.diag([14.63, 0.55, 0.55])),
        ((2, 2, 0), [[0.92, 0.69, 0.0], [0.69, 0.92, 0.0], [0.0, 0.0, -0.57]]),
        ((3, 1, 1), [[-0.12, 0.007, 0.007], [0.007, 0.03, 0.52], [0.007, 0.52, 0.03]]),
        ((2, 2, 2), [[-0.29, 0.32, 0.32], [0.32, -0.29, 0.32], [0.32, 0.32, -0.29]]),
    ]
    parts = [cubic_shell(a, corner, NEWTON_PER_METRE * np.array(matrix)) for corner, matrix in shells]
    return Springs(np.concatenate([v for v, _ in parts]), np.concatenate([k for _, k in parts]))


class DifferentiableHeisenberg(Heisenberg):
    """A spin model with second derivatives, by central differences of its forces and magnetic forces."""

    def get_hessian(self, atoms: Atoms, *, kind: str = "positions", rows: Sequence[int] | None = None) -> Array:
        chosen = range(len(atoms)) if rows is None else rows
        step = 1e-4
        result = np.zeros((len(chosen), 3, len(atoms), 3))
        for number, atom in enumerate(chosen):
            for axis in range(3):
                for sign in (1.0, -1.0):
                    work = atoms.copy()
                    if kind == "moments":
                        moments = get_moments(work)
                        moments[atom, axis] += sign * step
                        set_moments(work, moments)
                    else:
                        work.positions[atom, axis] += sign * step
                    force = self.get_property("forces" if kind == "positions" else "magnetic_forces", work)
                    result[number, axis] -= sign * np.asarray(force) / (2 * step)
        return result


def nickel_oxide(direction: ArrayLike = (0, 0, 1), *, a: float = 4.186, moment: float = 1.2737) -> Atoms:
    """NiO with AFM II order in its magnetic primitive cell: Ni up, Ni down, O, O."""
    cell = a * np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    positions = a * np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [1.5, 1.5, 1.5]])
    atoms = Atoms("Ni2O2", positions=positions, cell=cell, pbc=True)
    unit = np.array(direction) / np.linalg.norm(direction)
    set_moments(atoms, np.outer([moment, -moment, 0.0, 0.0], unit))
    return atoms


def triangular_antiferromagnet(side: float = 2.5) -> Atoms:
    """Layers of triangles, 6 Å apart, with the 120° order: three atoms per cell."""
    a = side * np.sqrt(3)
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 6.0]])
    atoms = Atoms("Fe3", cell=cell, pbc=True, scaled_positions=[[0, 0, 0], [2 / 3, 1 / 3, 0], [1 / 3, 2 / 3, 0]])
    angle = 2 * np.pi / 3 * np.arange(3)
    set_moments(atoms, 2.0 * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle]))
    return atoms


MORSE = Morse(depth=0.35, r0=2.55, stiffness=1.4, cutoff=3.3, onset=3.2)


def morse_iron() -> Atoms:
    """fcc with one smooth bond and moments that do nothing."""
    atoms = bulk("Fe", "fcc", a=3.6)
    set_moments(atoms, 2.0)
    atoms.calc = Heisenberg(lattice=MORSE)
    return atoms


def morse_salt() -> Atoms:
    """Two kinds of atoms with different masses."""
    atoms = bulk("MgO", "rocksalt", a=4.2)
    set_moments(atoms, [0.0, 0.0])
    bond = Morse(depth=1.0, r0=2.1, stiffness=1.5, cutoff=2.9, onset=2.8)
    second = Morse(depth=0.1, r0=2.97, stiffness=1.5, cutoff=4.0, onset=3.8)
    atoms.calc = Heisenberg(lattice={("Mg", "O"): bond, ("O", "O"): second, ("Mg", "Mg"): second})
    return atoms
