"""Waves in a crystal: the smallest supercell that holds one, and the displacements of a mode in it."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import cast

import numpy as np
from ase import Atoms
from ase.geometry.minkowski_reduction import minkowski_reduce
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError

Array = NDArray[np.float64]

_DENOMINATOR = 12


def mode_displacements(crystal: Atoms, primitive: Atoms, q: Array, eigenvector: NDArray[np.complex128]) -> Array:
    """Displacements of a mode, the largest of length 1, (n, 3).

    Parameters
    ----------
    crystal
        Supercell made from ``primitive`` by ``ase.build.make_supercell``.
    q
        (3,), fractions of the reciprocal primitive cell.
    eigenvector
        (3 p,), phonopy's, for the p atoms of the primitive cell.
    """
    turns = crystal.positions @ np.linalg.inv(primitive.cell.array) @ q
    copies = len(crystal) // len(primitive)
    waves = np.tile(eigenvector.reshape(-1, 3), (copies, 1)) * np.exp(2j * np.pi * turns)[:, None]
    waves /= np.sqrt(crystal.get_masses())[:, None]
    largest = waves.flat[np.argmax(np.abs(waves))]
    pattern = (waves * np.conj(largest) / abs(largest)).real
    return cast("Array", pattern / np.linalg.norm(pattern, axis=1).max())


def smallest_supercell(primitive: Atoms, q: ArrayLike) -> NDArray[np.int64]:
    """Smallest supercell in which a wave is periodic, its cell vectors as short as possible.

    Parameters
    ----------
    primitive
        Primitive cell.
    q
        (3,), fractions of its reciprocal cell.

    Returns
    -------
    ndarray
        (3, 3) integers, vectors of the supercell in those of the primitive cell (rows).

    Raises
    ------
    InputError
        q has a denominator above 12.
    """
    vector = np.asarray(q, dtype=float)
    parts = [Fraction(float(x)).limit_denominator(_DENOMINATOR) for x in vector]
    if vector.shape != (3,) or np.abs(vector - [float(x) for x in parts]).max() > 1e-4:
        raise InputError(
            f"q = {vector.tolist()}; allowed: three fractions with denominators up to {_DENOMINATOR}. Choose a "
            "wavevector close by, for instance one that fits into the supercell."
        )
    period = lcm(*(x.denominator for x in parts))
    waves = np.array([int(x * period) for x in parts])
    axis = np.arange(period + 1)
    steps = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    steps = steps[(steps @ waves) % period == 0]  # lattice vectors that leave the wave alone
    rows = []
    for k in range(3):  # Hermite normal form: the shortest step along axis k that needs no later axis
        allowed = steps[(steps[:, k] > 0) & ~steps[:, k + 1 :].any(axis=1)]
        rows.append(allowed[np.argmin(allowed[:, k])])
    _, reduction = minkowski_reduce(np.array(rows) @ primitive.cell.array)
    matrix = np.asarray(reduction @ np.array(rows), dtype=np.int64)
    return matrix if np.linalg.det(matrix) > 0 else -matrix
