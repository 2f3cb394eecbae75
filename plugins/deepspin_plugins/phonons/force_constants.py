"""Force constants of a supercell on three routes: finite displacements, random displacements, exact derivatives.

For moments that follow the atoms, the exact route eliminates them: with x the coordinates of the moments,

    Φ = Φ_RR - Φ_Rx Φ_xx⁻¹ Φ_xR,

where x are the Cartesian components of all moments, or two angles per moment if only directions follow; Φ_xx then has
the curvature term of unit vectors. Directions that cost nothing (a common turn of all moments) are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import MAGNETIC_FORCES
from deepspin_ase.vectors import Array
from deepspin_plugins.phonons.forces import State, displaced

if TYPE_CHECKING:
    from phonopy import Phonopy

Method = Literal["displacements", "random", "hessian"]
METHODS: tuple[str, ...] = get_args(Method)
Evaluate = Callable[[list[Atoms], Atoms], Array]

_ZERO_MOMENT = 1e-8  # µB
_FREE = 1e-7  # relative; softer turns of the moments than this count as free


def by_displacements(phonon: Phonopy, supercell: Atoms, evaluate: Evaluate, distance: float) -> Array:
    """Displacements along few directions, completed by symmetry; forces of the undisplaced supercell are subtracted.

    Returns
    -------
    ndarray
        Forces of the undisplaced supercell, (n, 3), eV/Å; the force constants are in ``phonon``.
    """
    phonon.generate_displacements(distance=distance)
    shifts = np.zeros((len(phonon.displacements), len(supercell), 3))
    for index, (atom, *shift) in enumerate(phonon.displacements):
        shifts[index, int(atom)] = shift
    home = _set_forces(phonon, supercell, evaluate, shifts)
    phonon.produce_force_constants(calculate_full_force_constants=False)
    return home


def by_random_displacements(
    phonon: Phonopy, supercell: Atoms, evaluate: Evaluate, distance: float, *, snapshots: int | None, seed: int
) -> Array:
    """All atoms displaced at random and in the opposite way, and a fit by symfc that knows every symmetry.

    Sources: A. Seko, A. Togo, Phys. Rev. B 110, 214302 (2024).
    """
    from phonopy.harmonic.force_constants import full_fc_to_compact_fc

    phonon.generate_displacements(
        distance=distance,
        number_of_snapshots="auto" if snapshots is None else snapshots,
        is_plusminus=True,  # odd anharmonic forces cancel
        random_seed=seed,
    )
    home = _set_forces(phonon, supercell, evaluate, np.asarray(phonon.displacements))
    phonon.produce_force_constants(fc_calculator="symfc", calculate_full_force_constants=True)
    phonon.force_constants = full_fc_to_compact_fc(phonon.primitive, constants_of(phonon))
    return home


def by_hessian(phonon: Phonopy, supercell: Atoms, calc: Any, state: State) -> Array:
    """Second derivatives from ``calc.get_hessian``; no displacement, no step."""
    if not hasattr(calc, "get_hessian"):
        raise InputError(
            f"{type(calc).__name__} has no get_hessian, so there are no exact second derivatives; use "
            "method='displacements' or method='random'."
        )
    rows = np.asarray(phonon.primitive.p2s_map)
    hessian: Array = np.array(calc.get_hessian(supercell, kind="positions", rows=rows), dtype=float)
    if state != "frozen":
        hessian += _response(supercell, calc, rows, lengths=state == "relaxed")
    phonon.force_constants = hessian.transpose(0, 2, 1, 3)
    return np.array(calc.get_property("forces", supercell), dtype=float)


def enforce_sum_rule(phonon: Phonopy) -> float:
    """Make force constants obey the acoustic sum rule and Newton's third law.

    Returns
    -------
    float
        Largest violation of the sum rule before, eV/Å².
    """
    before = float(np.abs(constants_of(phonon).sum(axis=1)).max())
    for _ in range(3):
        phonon.symmetrize_force_constants(show_drift=False)
    return before


def constants_of(phonon: Phonopy) -> Array:
    """Force constants of a phonopy object that has them, eV/Å²."""
    if phonon.force_constants is None:
        raise InputError("the phonopy object has no force constants.")
    return np.asarray(phonon.force_constants)


def _set_forces(phonon: Phonopy, supercell: Atoms, evaluate: Evaluate, shifts: Array) -> Array:
    """Evaluate the undisplaced supercell first, then the displaced ones."""
    forces = evaluate(displaced(supercell, [np.zeros_like(shifts[0]), *shifts]), supercell)
    phonon.forces = forces[1:] - forces[0]
    return forces[0]


def _response(supercell: Atoms, calc: Any, rows: NDArray[np.int64], *, lengths: bool) -> Array:
    """What moments that follow take off the force constants, (rows, 3, n, 3), eV/Å²."""
    moments = get_moments(supercell)
    size = np.linalg.norm(moments, axis=1)
    moving = np.flatnonzero(size > _ZERO_MOMENT)
    if not len(moving):
        raise InputError("the structure carries no moments that could follow; use state='frozen', or set_moments().")
    n, k = len(supercell), len(moving)
    curvature = np.array(calc.get_hessian(supercell, kind="moments", rows=moving), dtype=float)[:, :, moving]
    curvature = curvature.reshape(3 * k, 3 * k)
    mixed = np.array(calc.get_hessian(supercell, kind="mixed"), dtype=float)[:, :, moving].reshape(3 * n, 3 * k)
    if supercell.arrays["initial_magmoms"].ndim == 1:
        basis = np.kron(np.eye(k), np.array([[0.0], [0.0], [1.0]])) if lengths else np.zeros((3 * k, 0))
    elif lengths:
        basis = np.eye(3 * k)
    else:
        unit = moments[moving] / size[moving, None]
        along = np.sum(np.asarray(calc.get_property(MAGNETIC_FORCES, supercell))[moving] * unit, axis=1)
        curvature += np.kron(np.diag(along / size[moving]), np.eye(3))
        basis = _tangents(unit)
    values, vectors = np.linalg.eigh(basis.T @ (curvature + curvature.T) / 2 @ basis)
    stiff = values > _FREE * np.abs(values).max(initial=0.0)
    if np.any(values < -1e-5 * np.abs(values).max(initial=0.0)):
        raise InputError("the moments are no minimum of the energy, so they cannot follow; use state='frozen'.")
    coupling = mixed @ basis @ vectors[:, stiff] / np.sqrt(values[stiff])
    taken = coupling.reshape(n, 3, -1)[rows].reshape(3 * len(rows), -1) @ coupling.T
    return -taken.reshape(len(rows), 3, n, 3)


def _tangents(unit: Array) -> Array:
    """Two orthonormal tangent vectors per unit vector as columns of a block-diagonal matrix, (3k, 2k)."""
    from scipy.linalg import block_diag

    return np.asarray(block_diag(*[np.linalg.svd(row[None])[2][1:].T for row in unit]))
