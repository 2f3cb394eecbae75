"""What the second derivatives of one state, or of several turned ones, say about exchange and anisotropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments, tilt
from deepspin_ase.quantities import MAGNETIC_FORCES
from deepspin_ase.vectors import Array, rotation_matrix
from deepspin_plugins.exchange.hessian import Method, moment_hessian
from deepspin_plugins.exchange.supercell import Supercell

_TURNED = 1e-5  # share of the largest magnetic force; float32 models have noise of 2e-6
_GENERIC = rotation_matrix(77.0, (0.36, 0.48, 0.8))
_TILT = 10.0  # degrees
_SINGULAR = 1e-3
_TRACELESS = np.array(
    [
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[0, 0, 1], [0, 0, 0], [1, 0, 0]],
        [[1, 0, 0], [0, -1, 0], [0, 0, 0]],
        [[-1, 0, 0], [0, -1, 0], [0, 0, 2]],
    ]
) / np.sqrt([2, 2, 2, 2, 6]).reshape(5, 1, 1)


@dataclass(frozen=True, eq=False)
class State:
    """What one orientation shows; r rows, N atoms of the supercell, n of the cell.

    Attributes
    ----------
    rows
        Atoms i of the supercell, (r,).
    across
        -|m_i||m_j| P_i H_ij P_j, eV, (r, N, 3, 3): zero for j = i and where there is no moment.
    noise
        Numerical error of ``across``, eV, (r, N).
    onsite
        |m_i|² P_i [H_ii + (F^m_i·m̂_i)/|m_i|] P_i, eV, (r, 3, 3).
    unit, projector
        e (n, 3) and P = 1 - e eᵀ (n, 3, 3) of the sites.
    method
        How second derivatives were made.
    """

    rows: NDArray[np.int64]
    across: Array
    noise: Array
    onsite: Array
    unit: Array
    projector: Array
    method: str


def differentiate(
    big: Supercell,
    magnetic: NDArray[np.bool_],
    rows: NDArray[np.int64],
    calculator: Any,
    *,
    rotation: Array | None = None,
    method: Method = "auto",
    step: float = 0.02,
) -> State:
    """Hessian of a supercell, projected across the moments.

    Parameters
    ----------
    big
        Supercell with moments.
    magnetic
        Which atoms of the cell are sites, (n,).
    rows
        Atoms of the supercell whose rows are computed; all magnetic.
    calculator
        Gives magnetic forces.
    rotation
        Turns all moments first, (3, 3).
    method, step
        As in :func:`moment_hessian`.
    """
    work = big.atoms.copy()
    moments = get_moments(big.atoms) @ (np.eye(3) if rotation is None else rotation.T)
    set_moments(work, moments)
    found = moment_hessian(work, calculator, sites=rows, method=method, step=step)
    n = len(magnetic)
    length = np.where(magnetic[big.site], np.linalg.norm(moments, axis=1), 0.0)
    unit = np.where(magnetic[:, None], moments[:n] / np.where(magnetic, length[:n], 1.0)[:, None], 0.0)
    projector = np.eye(3) - unit[:, :, None] * unit[:, None, :]
    left, right = projector[big.site[rows]], projector[big.site]
    scale = (length[rows][:, None] * length)[:, :, None, None]
    across = -_sandwich(left, scale * found.rows.transpose(0, 2, 1, 3), right)
    noise = np.abs(_sandwich(left, scale * found.deviation.transpose(0, 2, 1, 3), right)).max(axis=(2, 3))
    number = np.arange(len(rows))
    parallel = np.einsum("ia,ia->i", found.magnetic_forces[rows], unit[big.site[rows]]) * length[rows]
    onsite = -across[number, rows] + parallel[:, None, None] * left
    across[number, rows] = 0.0
    return State(rows, across, noise, onsite, unit, projector, found.method)


def feels_a_turn(atoms: Atoms, calculator: Any) -> bool:
    """Whether magnetic forces fail to turn with the moments: spin-orbit coupling, or anything else that breaks it.

    The moments are tilted at random first, because in a uniform state much of it cancels (Σ_j D_ij, for one).
    """
    work = atoms.copy()
    moments = tilt(get_moments(atoms), _TILT, np.random.default_rng(0), uniform=True)
    set_moments(work, moments)
    force = np.array(calculator.get_property(MAGNETIC_FORCES, work), dtype=float)
    set_moments(work, moments @ _GENERIC.T)
    turned = np.array(calculator.get_property(MAGNETIC_FORCES, work), dtype=float)
    return bool(np.abs(turned - force @ _GENERIC.T).max() > _TURNED * max(np.abs(force).max(), 1e-6))


def orientations(moments: Array) -> Array:
    """Three common rotations that give every moment three independent directions, (3, 3, 3).

    They are the turns by 0°, 120° and 240° about the diagonal of a frame whose first axis is the first moment, so that
    collinear moments point along the three axes of that frame. The frame is turned about its first axis to where the
    worst moment of a non-collinear state does best.
    """
    unit = moments / np.linalg.norm(moments, axis=1, keepdims=True)
    first = unit[0]
    side = np.linalg.svd(first[None])[2][1]
    best, quality = np.zeros((3, 3, 3)), -1.0
    for angle in np.linspace(0.0, np.pi, 13):
        second = np.cos(angle) * side + np.sin(angle) * np.cross(first, side)
        third = np.cross(first, second)
        cycle = np.outer(second, first) + np.outer(third, second) + np.outer(first, third)
        trial = np.stack([np.eye(3), cycle, cycle @ cycle])
        volume = float(np.abs(np.linalg.det(np.einsum("kab,ib->ika", trial, unit))).min())
        if volume > quality + 1e-9:
            best, quality = trial, volume
    return best


def pair_tensors(states: list[State], site: NDArray[np.int64]) -> tuple[Array, Array]:
    """J_ij (r, N, 3, 3) from what the states show of it, and how far they disagree, (r, N)."""
    own = site[states[0].rows]
    if len(states) == 1:
        seen = np.einsum("iab,jbc->ijac", states[0].projector[own], states[0].projector)[:, site]
        shown = states[0].across
        scalar = np.einsum("ijab,ijab->ij", shown, seen) / np.einsum("ijab,ijab->ij", seen, seen)
        return shown + scalar[:, :, None, None] * (np.eye(3) - seen), states[0].noise
    projectors = np.stack([state.projector for state in states])
    normal = np.einsum("kiab,kjdc->ijacbd", projectors[:, own], projectors).reshape(len(own), -1, 9, 9)
    if np.linalg.eigvalsh(normal)[:, np.unique(own)].min() < _SINGULAR:
        raise InputError(
            "the three orientations do not determine all tensors of this non-collinear state; turn the state as a "
            "whole (rotate every moment about [111] by 30°, say) or use spin_orbit=False."
        )
    shown = np.sum([state.across for state in states], axis=0)
    flat = shown.reshape(*shown.shape[:2], 9, 1)
    tensors = np.linalg.solve(normal[:, site], flat).reshape(shown.shape)
    errors = np.maximum.reduce([state.noise for state in states])
    for state in states:
        again = _sandwich(state.projector[own], tensors, state.projector[site])
        errors = np.maximum(errors, np.abs(again - state.across).max(axis=(2, 3)))
    return tensors, errors


def single_ion(states: list[State], tensors: Array, site: NDArray[np.int64]) -> Array:
    """Traceless K of the rows, eV, (r, 3, 3), from the on-site curvatures of all states by least squares."""
    result = np.zeros((len(states[0].rows), 3, 3))
    for row, i in enumerate(site[states[0].rows]):
        design, target = [], []
        for state in states:
            p, e = state.projector[i], state.unit[i]
            along = np.einsum("a,jab,jb->", e, tensors[row], state.unit[site])
            target.append((state.onsite[row] - along * p).ravel())
            stiffness = 2 * np.einsum("a,kab,b->k", e, _TRACELESS, e)
            design.append((stiffness[:, None, None] * p - 2 * p @ _TRACELESS @ p).reshape(5, 9).T)
        values = np.linalg.lstsq(np.concatenate(design), np.concatenate(target), rcond=None)[0]
        result[row] = np.einsum("k,kab->ab", values, _TRACELESS)
    return result


def _sandwich(left: Array, middle: Array, right: Array) -> Array:
    """left_i · middle_ij · right_j."""
    return np.asarray(left[:, None] @ middle @ right[None])
