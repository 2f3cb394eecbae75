"""Elasticity from the slopes of the acoustic branches.

Near Γ the three acoustic modes along a unit vector n have frequencies ω_k = v_k |q| and polarisations p_k, and

    ρ Σ_k v_k² p_k p_kᵀ = Γ(n),   Γ_ik(n) = Σ_jl C_ijkl n_j n_l   (Christoffel)

is linear in the 21 numbers C: they follow from Γ along enough directions, in any symmetry (M. Born, K. Huang, Dynamical
Theory of Crystal Lattices, chapter V). It holds for a crystal without stress. What the fit leaves over tells how far
force constants are from the invariance under rotations that elasticity rests on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepspin_ase.vectors import Array
from deepspin_plugins.phonons.elasticity import PRESSURE, VOIGT, Stiffness, full_tensor

if TYPE_CHECKING:
    from deepspin_plugins.phonons.result import PhononResult

_STEP = 0.04  # 1/Å; the slope is extrapolated from here and from half of it
_CORNERS = np.array(  # axes, diagonals of faces and of the cube, and directions of no symmetry
    [
        *([1, 0, 0], [0, 1, 0], [0, 0, 1]),
        *([0, 1, 1], [0, 1, -1], [1, 0, 1], [1, 0, -1], [1, 1, 0], [1, -1, 0]),
        *([1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]),
        *([3, 2, 1], [1, 3, -2], [-2, 1, 3]),
    ],
    dtype=float,
)


@dataclass(frozen=True, eq=False)
class SoundElasticity(Stiffness):
    """Stiffness from acoustic slopes.

    ``error`` is what the extrapolation to Γ changed; ``misfit`` (GPa) is the largest element of Γ(n) that no stiffness
    explains.
    """

    misfit: float


def sound_elasticity(result: PhononResult) -> SoundElasticity:
    """Elastic stiffness from the force constants of a phonon calculation.

    Parameters
    ----------
    result
        Phonons; the cell should be relaxed, for stress adds to the slopes but not to the stiffness.
    """
    unit = _CORNERS / np.linalg.norm(_CORNERS, axis=1, keepdims=True)
    primitive = result.phonon.primitive
    density = float(primitive.masses.sum() / primitive.volume)
    coarse, half = (_christoffel(result, unit, step, density) for step in (_STEP, _STEP / 2))
    fine = (4.0 * half - coarse) / 3.0
    (stiffness, misfit), (other, _) = _fit(unit, fine), _fit(unit, half)
    return SoundElasticity(
        stiffness, np.abs(stiffness - other), density, float(len(primitive) / primitive.volume), misfit
    )


def _christoffel(result: PhononResult, unit: Array, step: float, density: float) -> Array:
    """Γ(n) at finite |q|, (d, 3, 3), GPa."""
    cell, masses = result.phonon.primitive.cell, result.phonon.primitive.masses
    frequencies, vectors = result.modes(step * unit @ cell.T / (2.0 * np.pi))
    acoustic = np.argsort(np.abs(frequencies), axis=1)[:, :3]
    chosen = np.take_along_axis(frequencies, acoustic, axis=1)
    speed = 2.0 * np.pi * chosen / step / 10.0  # km/s
    modes = np.take_along_axis(vectors, acoustic[:, None, :], axis=2).reshape(len(unit), len(masses), 3, 3)
    moved = np.einsum("a,daik->dik", np.sqrt(masses / masses.sum()), modes)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    squared = PRESSURE * density * np.sign(speed) * speed**2
    return np.asarray(np.einsum("dik,dk,djk->dij", moved, squared, moved.conj()).real)


def _fit(unit: Array, christoffel: Array) -> tuple[Array, float]:
    """Voigt matrix, (6, 6), by least squares, and the largest deviation."""
    pairs = [(a, b) for a in range(6) for b in range(a, 6)]
    basis = np.zeros((len(pairs), 6, 6))
    for number, (a, b) in enumerate(pairs):
        basis[number, a, b] = basis[number, b, a] = 1.0
    i, k = np.transpose(VOIGT)
    rows = [np.einsum("ijkl,dj,dl->dik", full_tensor(c), unit, unit)[:, i, k] for c in basis]
    design = np.stack([row.ravel() for row in rows], axis=1)
    wanted = christoffel[:, i, k].ravel()
    values = np.linalg.lstsq(design, wanted, rcond=None)[0]
    return np.tensordot(values, basis, axes=1), float(np.abs(design @ values - wanted).max())
