"""Spin vectors, and magnetic forces from derivatives with respect to unit vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array


class Spins:
    """Spin vectors s (n, 3) and what is summed for them.

    ======================  ====================================================
    ``s``                   unit vectors e, or moments m in µB
    ``h``                   -dE/ds, eV (or eV/µB)
    ``anisotropic``         sites with a single-ion anisotropy, (n,) bool
    ======================  ====================================================
    """

    def __init__(self, s: Array) -> None:
        self.s = s
        self.h = np.zeros_like(s)
        self.anisotropic: NDArray[np.bool_] = np.zeros(len(s), dtype=bool)


def directions(moments: Array) -> tuple[Array, Array]:
    """Lengths (n,) and unit vectors (n, 3); a zero moment gets a zero vector."""
    length = np.linalg.norm(moments, axis=1)
    return length, moments / np.where(length > 0.0, length, 1.0)[:, None]


def undirected_sites(length: Array, h: Array, anisotropic: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Sites whose moment has length zero, hence no direction, although exchange or anisotropy acts on it."""
    return np.asarray((length == 0.0) & (h.any(axis=1) | anisotropic))


def transverse_force(h: Array, e: Array, length: Array, undirected: NDArray[np.bool_]) -> Array:
    """-dE/dm from h = -dE/de: the part of h across e, divided by |m|."""
    if undirected.any():
        site = int(np.flatnonzero(undirected)[0])
        raise InputError(
            f"the moment of site {site} has length zero (and {int(undirected.sum()) - 1} more), but "
            "exchange or "
            "anisotropy acts on it: an energy through unit vectors has no magnetic force there. Give "
            "it a moment, "
            'leave the species out of the model, exchange={("Ni", "Ni"): ...}, or use '
            "Heisenberg(..., normalise=False), whose energy is smooth at |m| = 0."
        )
    across = h - np.einsum("ia,ia->i", h, e)[:, None] * e
    return across / np.where(length > 0.0, length, 1.0)[:, None] * (length > 0.0)[:, None]
