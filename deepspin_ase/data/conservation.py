"""Do magnetic-force labels agree with the energies next to them?

For two frames a and b that are close, the energy difference is the work of the labels along the way, by the
trapezoid rule up to third order in their distance:

  E_a - E_b ≈ c_R · [-½ Σ (F_a + F_b)·ΔR]  +  c_m · [-½ Σ (τ_a + τ_b)·Δω - ½ Σ (F∥_a + F∥_b) Δ|m|],   c_R =
  c_m = 1,

with Δω the rotation vector that turns one direction into the other. A least-squares fit over many pairs
gives c_m. It is above 1 if the labels are smaller than the gradient of the energy, as in public
constrained-DFT sets (1.1 to 1.3).

==========  =====================================================
symbol      variable
==========  =====================================================
c_m         ``slope``; the scale of the labels is 1 / ``slope``
c_R         ``force_slope``
F∥          ``parallel``
Δω          ``turn``
==========  =====================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry import find_mic
from numpy.typing import NDArray

from deepspin_ase.data.frames import Frame

Array = NDArray[np.float64]

_SMALLEST_MOMENT = 0.05  # µB: below, the direction of a moment has no meaning
_SCALES = (0.1, 0.3, 0.1)  # Å, rad, µB: rms distances that count as equally far
_NEAR, _NEARER = 0.20, 0.05  # fractions of the pairs that are fitted; the two fits must agree
_MIN_PAIRS = 30
_ROTATION_INVARIANT = 0.1  # net torque / torque: below, a common rotation of all moments costs nothing


@dataclass(frozen=True)
class ConservationEstimate:
    """Energy change per work of the labels, or why it cannot be told.

    Parameters
    ----------
    slope, error
        c_m and its standard error (bootstrap over frames); None if it cannot be estimated.
    force_slope, force_error
        c_R of the same fit and its standard error; None if there is no estimate.
    pairs
        Number of pairs in the fit.
    reason
        Why there is no estimate; empty if there is one.
    """

    slope: float | None = None
    error: float | None = None
    force_slope: float | None = None
    force_error: float | None = None
    pairs: int = 0
    reason: str = ""

    @property
    def label_scale(self) -> float | None:
        """Magnetic-force labels divided by the gradient of the energies."""
        return None if self.slope is None else 1.0 / self.slope

    def to_text(self) -> str:
        """One sentence."""
        if self.slope is None or self.error is None:
            return f"cannot be estimated: {self.reason}"
        return (
            f"energies change by {self.slope:.3f} ± {self.error:.3f} times the work of the magnetic-force "
            "labels "
            f"({self.pairs} pairs of near frames), so the labels are {100 / self.slope:.0f} % of the "
            "energy gradient"
        )


def estimate_conservation(frames: Sequence[Frame], *, max_frames: int = 400, seed: int = 0) -> ConservationEstimate:
    """Estimate the ratio of energy differences to the work of the magnetic-force labels.

    Parameters
    ----------
    frames
        Frames; those with energy, forces and magnetic forces are used, in groups of one composition and cell.
    max_frames
        Larger groups are thinned at random.
    seed
        Of the thinning and the bootstrap.

    Returns
    -------
    ConservationEstimate
        Without a number if the pairs are too few, too far apart, or dominated by something else; the reason
        is given.
    """
    rng = np.random.default_rng(seed)
    tables, offset = [], 0
    for group in _groups(frames):
        if len(group) > max_frames:
            group = [group[k] for k in sorted(rng.choice(len(group), max_frames, replace=False))]
        if len(group) > 2:
            table = _pair_table(group)
            table[:, 6:] += offset
            tables.append(table)
        offset += len(group)
    if not tables:
        return ConservationEstimate(
            reason="fewer than three frames share composition and cell and have all of energy, forces, magnetic forces"
        )
    table = np.concatenate(tables)
    table = table[(np.abs(table[:, 1]) + np.abs(table[:, 2])) > 1e-9]  # the same state twice says nothing
    if len(table) * _NEARER < _MIN_PAIRS:
        return ConservationEstimate(pairs=len(table), reason=f"only {len(table)} pairs of comparable frames")
    distance = (table[:, 3:6] / _SCALES).sum(axis=1)
    near = table[distance <= np.quantile(distance, _NEAR)]
    nearer = table[distance <= np.quantile(distance, _NEARER)]
    return _judge(near, nearer, offset, rng)


def net_torque_ratio(frame: Frame) -> float | None:
    """|Σ m x F^m| / Σ |m x F^m|: 0 if the energy does not change when all moments turn together, without
    spin-orbit coupling. None without labels, and where torques are noise (below 0.1 % of Σ |m||F^m|), as in
    collinear states.
    """
    if frame.labels.magnetic_forces is None:
        return None
    moments, field = frame.moments, np.nan_to_num(frame.labels.magnetic_forces)
    torques = np.cross(moments, field)
    total = float(np.linalg.norm(torques, axis=1).sum())
    largest = float((np.linalg.norm(moments, axis=1) * np.linalg.norm(field, axis=1)).sum())
    return float(np.linalg.norm(torques.sum(axis=0))) / total if total > 1e-3 * largest > 0 else None


def _groups(frames: Sequence[Frame]) -> list[list[Frame]]:
    groups: dict[tuple, list[Frame]] = {}
    for frame in frames:
        labels = frame.labels
        if labels.energy is None or labels.forces is None or labels.magnetic_forces is None:
            continue
        if np.isnan(labels.magnetic_forces[_magnetic(frame.moments)]).any():
            continue
        cell = tuple(np.round(frame.atoms.cell.array.ravel(), 3))
        groups.setdefault((tuple(frame.atoms.numbers), cell, tuple(frame.atoms.pbc)), []).append(frame)
    return list(groups.values())


def _magnetic(moments: Array) -> NDArray[np.bool_]:
    return np.linalg.norm(moments, axis=-1) > _SMALLEST_MOMENT


def _pair_table(group: Sequence[Frame]) -> Array:
    """One row per pair: ΔE, work of forces, work of magnetic forces, rms ΔR, rms angle, rms Δ|m|, i, j."""
    energies = np.array([f.labels.energy for f in group], dtype=float)
    positions = np.array([f.atoms.positions for f in group])
    forces = np.array([f.labels.forces for f in group])
    moments = np.array([f.moments for f in group])
    magnetic = np.nan_to_num(np.array([f.labels.magnetic_forces for f in group]))
    ratios = [r for r in map(net_torque_ratio, group) if r is not None]
    free_rotation = bool(ratios) and float(np.median(ratios)) < _ROTATION_INVARIANT
    atoms = group[0].atoms
    rows = []
    for i in range(1, len(group)):
        shift = positions[i] - positions[:i]
        if atoms.pbc.any():
            shift = find_mic(shift.reshape(-1, 3), atoms.cell, atoms.pbc)[0].reshape(shift.shape)
        shift -= shift.mean(axis=1, keepdims=True)
        work = -0.5 * ((forces[i] + forces[:i]) * shift).sum(axis=(1, 2))
        own, field = np.repeat(moments[i][None], i, axis=0), np.repeat(magnetic[i][None], i, axis=0)
        if free_rotation:
            rotation = _alignment(moments[i], moments[:i])
            own, field = own @ rotation, field @ rotation
        magnetic_work, angle, change = _magnetic_work(own, field, moments[:i], magnetic[:i])
        distance = np.sqrt((shift**2).sum(axis=2).mean(axis=1))
        first, second = np.full(i, i, dtype=float), np.arange(i, dtype=float)
        rows.append(np.stack([energies[i] - energies[:i], work, magnetic_work, distance, angle, change, first, second]))
    return np.concatenate(rows, axis=1).T


def _alignment(moments: Array, others: Array) -> Array:
    """Rotations (k, 3, 3), improper ones too (time reversal), that bring moments (n, 3) closest to others."""
    u, _, vt = np.linalg.svd(np.einsum("na,knb->kab", moments, others))
    return np.asarray(u @ vt)


def _magnetic_work(a: Array, field_a: Array, b: Array, field_b: Array) -> tuple[Array, Array, Array]:
    """Work of magnetic forces from b to a (turning, then stretching); rms angle; rms Δ|m|."""
    length_a, length_b = np.linalg.norm(a, axis=2), np.linalg.norm(b, axis=2)
    valid = (length_a > _SMALLEST_MOMENT) & (length_b > _SMALLEST_MOMENT)
    unit_a = a / np.maximum(length_a, _SMALLEST_MOMENT)[..., None]
    unit_b = b / np.maximum(length_b, _SMALLEST_MOMENT)[..., None]
    axis = np.cross(unit_b, unit_a)
    sine = np.linalg.norm(axis, axis=2)
    angle = np.where(valid, np.arctan2(sine, (unit_a * unit_b).sum(axis=2)), 0.0)
    turn = axis * (angle / np.maximum(sine, 1e-12))[..., None]
    change = np.where(valid, length_a - length_b, 0.0)
    torque = np.cross(a, field_a) + np.cross(b, field_b)
    parallel = (unit_a * field_a).sum(axis=2) + (unit_b * field_b).sum(axis=2)
    work = -0.5 * (torque * turn).sum(axis=(1, 2)) - 0.5 * (parallel * change).sum(axis=1)
    count = np.maximum(valid.sum(axis=1), 1)
    return work, np.sqrt((angle**2).sum(axis=1) / count), np.sqrt((change**2).sum(axis=1) / count)


def _judge(near: Array, nearer: Array, n: int, rng: np.random.Generator) -> ConservationEstimate:
    """Fit two neighbourhoods, bootstrap the smaller one, and accept the number only if it is stable."""
    force_slope, slope, residual = _fit(nearer, np.ones(len(nearer)))
    draws = []
    first, second = nearer[:, 6].astype(int), nearer[:, 7].astype(int)
    for _ in range(200):
        weight = np.bincount(rng.integers(0, n, n), minlength=n)
        draws.append(_fit(nearer, np.sqrt(weight[first] * weight[second]))[:2])
    force_error, error = (float(e) for e in np.std(draws, axis=0))
    signal = abs(slope) * float(np.sqrt((nearer[:, 2] ** 2).mean()))
    wide = _fit(near, np.ones(len(near)))[1]
    reason = ""
    if signal < 2 * residual:
        reason = (
            f"between near frames the magnetic work explains {1e3 * signal:.2g} meV of the energy "
            "differences, other "
            f"terms leave {1e3 * residual:.2g} meV unexplained (frames differ too much in their positions)"
        )
    elif slope <= 0 or error > 0.1 * slope:
        reason = f"the fit scatters: {slope:.2f} ± {error:.2f}"
    elif abs(wide - slope) > max(3 * error, 0.1 * slope):
        reason = f"the fit depends on the range of pairs: {slope:.2f} for the nearest, {wide:.2f} for more of them"
    if reason:
        return ConservationEstimate(pairs=len(nearer), reason=reason)
    return ConservationEstimate(slope, error, force_slope, force_error, len(nearer))


def _fit(table: Array, weight: Array) -> tuple[float, float, float]:
    """c_R, c_m and the rms residual (eV) of a weighted fit."""
    scale = weight[:, None]
    (force_slope, slope), *_ = np.linalg.lstsq(table[:, 1:3] * scale, table[:, 0] * weight, rcond=None)
    residual = table[:, 0] - table[:, 1:3] @ np.array([force_slope, slope])
    return float(force_slope), float(slope), float(np.sqrt((residual**2).mean()))
