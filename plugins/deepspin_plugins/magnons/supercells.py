"""Supercells that keep the symmetry of the crystal, so that interpolated energies keep it, too."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.supercell import Supercell, SupercellLike, make_supercell, shortest_period

_NO_CUTOFF = 1e-3


def symmetric_supercell(atoms: Atoms, supercell: SupercellLike, cutoff: float) -> Supercell:
    """The supercell as given, or for ``"auto"`` the smallest symmetric one that holds all pairs up to a cutoff (Å).

    Candidates are equal repeats, repeats to equal heights and nearly cubic cells; those whose lattice the point group
    of the crystal (with its moments as labels) does not leave alone are dropped. Structures with open directions get
    the smallest supercell.
    """
    if not isinstance(supercell, str):
        return make_supercell(atoms, supercell, _NO_CUTOFF)
    if not atoms.pbc.all() or supercell != "auto":
        return make_supercell(atoms, supercell, cutoff)
    rotations = _rotations(atoms)
    smallest = make_supercell(atoms, supercell, cutoff)
    if _invariant(smallest.matrix, rotations):
        return smallest
    good = [m for m in _candidates(atoms.cell.array, cutoff) if _fits(atoms, m, cutoff) and _invariant(m, rotations)]
    volumes = [np.linalg.det(matrix) for matrix in good]
    return make_supercell(atoms, good[int(np.argmin(volumes))], _NO_CUTOFF)


def _candidates(cell: Array, cutoff: float) -> list[NDArray[np.int64]]:
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    repeats = np.ceil(2 * cutoff / heights - 1e-6).astype(np.int64)
    diagonal = [n * np.eye(3, dtype=np.int64) for n in range(1, int(repeats.max()) + 1)]
    cubic = [np.rint(length * np.linalg.inv(cell)).astype(np.int64) for length in 2 * cutoff * np.linspace(1, 1.6, 31)]
    return [*diagonal, np.diag(repeats), *(matrix for matrix in cubic if np.linalg.det(matrix) > 0.5)]


def _fits(atoms: Atoms, matrix: NDArray[np.int64], cutoff: float) -> bool:
    return shortest_period(Atoms(cell=matrix @ atoms.cell.array, pbc=True)) >= 2 * cutoff - 1e-3


def _invariant(matrix: NDArray[np.int64], rotations: NDArray[np.int64]) -> bool:
    """Whether rotations (in fractions of the cell, acting on columns) map the lattice of the supercell on itself."""
    turned = matrix @ rotations.transpose(0, 2, 1) @ np.linalg.inv(matrix)
    return bool(np.abs(turned - np.rint(turned)).max() < 1e-6)


def _rotations(atoms: Atoms) -> NDArray[np.int64]:
    import spglib

    kinds = np.column_stack([atoms.numbers, get_moments(atoms).round(3)])
    number = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), number), symprec=1e-3)
    return np.eye(3, dtype=np.int64)[None] if found is None else np.asarray(found["rotations"], dtype=np.int64)
