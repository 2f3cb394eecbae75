"""Wavevectors: meshes, and the paths of ``deepspin_ase.band_path``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.band_path import Point, QPath, q_path
from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array

__all__ = ["Point", "QPath", "mesh_size", "q_mesh", "q_path"]


def q_mesh(size: int | Sequence[int] | NDArray[np.int64], *, shift: float = 0.5) -> Array:
    """Uniform mesh, (N, 3), fractions of the reciprocal cell: (i + shift)/size along each direction.

    A direction of size 1 is not shifted. With the default no point lies on Γ.
    """
    counts = np.broadcast_to(np.asarray(size, dtype=int), (3,))
    if np.any(counts < 1):
        raise InputError(f"mesh = {counts.tolist()}; allowed: one or three positive integers.")
    axes = [(np.arange(n) + (shift if n > 1 else 0.0)) / n for n in counts]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def mesh_size(cell: Array, pbc: NDArray[np.bool_], length: float) -> Array:
    """Points per direction for a mesh of the given length (Å): length/|a_i|, 1 where nothing is periodic."""
    counts = np.ceil(length / np.maximum(np.linalg.norm(cell, axis=1), 1e-9)).astype(int)
    return np.where(pbc, np.maximum(counts, 1), 1)
