"""A fingerprint of a structure with moments, to tell whether two frames say the same.

For every ordered pair of species (a, b) and Gaussians w_k(r) at distances from 2 Å to the cutoff, per atom i of a

    g_k(i) = Σ_j w_k(r_ij),     s_k(i) = Σ_j w_k(r_ij) m_i·m_j,

and m_i²; mean and standard deviation over the atoms of a species make the fingerprint. It does not change when the
crystal, or all moments together, are turned, nor with the size of a supercell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.moments import get_moments

Array = NDArray[np.float64]

_SHELLS = 8
_SHORTEST = 2.0  # Å


def fingerprints(structures: Sequence[Atoms], cutoff: float = 5.0) -> Array:
    """Fingerprints, shape (structures, features).

    Parameters
    ----------
    structures
        Structures with moments. All of those that will be compared must be given together: the species that occur in
        any of them decide what the features are.
    cutoff
        Å.
    """
    species = sorted({int(z) for atoms in structures for z in atoms.numbers})
    return np.array([_fingerprint(atoms, species, cutoff) for atoms in structures])


def _fingerprint(atoms: Atoms, species: Sequence[int], cutoff: float) -> Array:
    from deepspin_ase.graph import find_neighbours

    moments = get_moments(atoms)
    i, j, image = find_neighbours(atoms, cutoff)
    r = np.linalg.norm(atoms.positions[j] - atoms.positions[i] + image @ atoms.cell.array, axis=1)
    centres = np.linspace(min(_SHORTEST, cutoff / 2), cutoff, _SHELLS, endpoint=False)
    width = centres[1] - centres[0]
    weights = np.exp(-(((r[:, None] - centres) / width) ** 2)) * (0.5 + 0.5 * np.cos(np.pi * r / cutoff))[:, None]
    products = (moments[i] * moments[j]).sum(axis=1, keepdims=True)
    per_atom = np.zeros((len(atoms), len(species), 2 * _SHELLS))
    np.add.at(per_atom, (i, np.searchsorted(species, atoms.numbers[j])), np.hstack([weights, weights * products]))
    table = np.hstack([per_atom.reshape(len(atoms), -1), (moments**2).sum(axis=1, keepdims=True)])
    parts = []
    for z in species:
        rows = table[atoms.numbers == z]
        rows = rows if len(rows) else np.zeros((1, table.shape[1]))
        parts += [rows.mean(axis=0), rows.std(axis=0)]
    return np.concatenate(parts)
