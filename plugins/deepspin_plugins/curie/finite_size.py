"""Finite-size analysis: crossings of Binder cumulants, and a scaling fit of all sizes together.

Near T_c the cumulant of a supercell with L cells per direction is a function of x = (T/T_c - 1) L^{1/ν} alone, up to a
correction L^{-ω}:

    U(T, L) = U* + a₁ x + a₂ x² + a₃ x³ + b L^{-ω}.

Sources: K. Binder, Z. Phys. B 43, 119 (1981); exponents of the classical Heisenberg (O(3)) class from M. Campostrini
et al., Phys. Rev. B 65, 144520 (2002): ν = 0.7112(5), η = 0.0375(5), and ω = 0.773 from M. Hasenbusch and E. Vicari,
Phys. Rev. B 84, 125136 (2011).
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from deepspin_ase.vectors import Array
from deepspin_plugins.curie.curves import Measured, binder_cumulant
from deepspin_plugins.curie.reweighting import Reweighting

NU = 0.7112
BETA_OVER_NU = 0.5187
OMEGA = 0.773

_CUBIC = 3
_BINS = 2000
_SIGNIFICANT = 2.0  # standard errors on either side of a crossing


class BinderCurves(NamedTuple):
    """Reweighted cumulants and orders of several sizes on one grid of temperatures.

    Attributes
    ----------
    sizes
        L, (S,).
    temperatures
        K, (F,).
    binder, order
        (1 + B, S, F): all measurements first, then without each of B jackknife blocks.
    """

    sizes: Array
    temperatures: Array
    binder: Array
    order: Array

    def error(self, values: Array) -> Array:
        """Jackknife error of something calculated for all 1 + B cases, (1 + B, ...)."""
        cases = values[1:]
        known = np.isfinite(cases)
        count = np.maximum(known.sum(axis=0), 1)
        deviation = np.where(known, cases - np.where(known, cases, 0.0).sum(axis=0) / count, 0.0)
        error = np.sqrt((len(cases) - 1) * np.square(deviation).sum(axis=0) / count)
        return np.asarray(np.where(known.sum(axis=0) > len(cases) / 2, error, np.nan))


class ScalingFit(NamedTuple):
    """Parameters of a scaling fit and its χ² per degree of freedom (points of one curve are correlated)."""

    tc: float
    nu: float
    binder: float
    chi2: float


def binder_curves(sizes: Array, temperatures: Array, runs: list[Measured], grid: Array) -> BinderCurves:
    """Cumulants of all sizes between the temperatures that were measured.

    Parameters
    ----------
    sizes, runs
        L, and the measurements of each size.
    temperatures
        Of the measurements, K, (T,).
    grid
        K, (F,).
    """
    blocks = min(found.blocks for found in runs)
    moments = np.array([_moments(temperatures, found, grid, blocks) for found in runs]).swapaxes(0, 1)
    m, m2, m4 = moments.transpose(2, 0, 1, 3)
    return BinderCurves(sizes, grid, binder_cumulant(m2, m4), m)


def crossings(curves: BinderCurves) -> tuple[list[tuple[float, float]], Array]:
    """Where the cumulants of two sizes cross.

    Returns
    -------
    pairs of sizes, temperatures (1 + B, pairs) in K
        NaN where two curves do not cross on the grid, or no more than their noise does.
    """
    pairs = list(combinations(range(len(curves.sizes)), 2))
    difference = np.stack([curves.binder[:, b] - curves.binder[:, a] for a, b in pairs], axis=1)
    clear = difference[0] / np.maximum(curves.error(difference), 1e-12)
    real = (clear.max(axis=-1) > _SIGNIFICANT) & (clear.min(axis=-1) < -_SIGNIFICANT)
    found = np.array([[crossing_temperature(curves.temperatures, d) for d in case] for case in difference])
    found[:, ~real] = np.nan
    return [(float(curves.sizes[a]), float(curves.sizes[b])) for a, b in pairs], found


def crossing_temperature(temperatures: Array, difference: Array) -> float:
    """Temperature above which the larger supercell has the smaller cumulant; NaN if there is none.

    Parameters
    ----------
    temperatures, difference
        K, and the cumulant of the larger supercell minus that of the smaller one, (F,) each.
    """
    at = np.flatnonzero((difference[:-1] > 0) & (difference[1:] <= 0))
    if not len(at):
        return float("nan")
    steepest = at[np.argmin(difference[at + 1] - difference[at])]
    d0, d1 = difference[steepest], difference[steepest + 1]
    t0, t1 = temperatures[steepest], temperatures[steepest + 1]
    return float(t0 + (t1 - t0) * d0 / (d0 - d1))


def scaling_fit(
    sizes: Array,
    temperatures: Array,
    binder: Array,
    error: Array,
    start: float,
    *,
    nu: float | None = NU,
    correction: bool = False,
) -> ScalingFit:
    """Fit the scaling form to cumulants (S, F) with errors; T_c starts at ``start`` (K), ν is free for None."""
    length = sizes[:, None]
    weight = 1.0 / np.maximum(error, 1e-12)
    target = (weight * binder).ravel()

    def design(parameters: Array) -> tuple[Array, Array]:
        tc = start * (1.0 + parameters[0])
        x = (temperatures / tc - 1.0) * length ** (1.0 / (parameters[1] if nu is None else nu))
        columns = [x**k for k in range(_CUBIC + 1)]
        if correction:
            columns.append(np.broadcast_to(length**-OMEGA, x.shape))
        matrix = np.stack([(weight * column).ravel() for column in columns], axis=1)
        return matrix, np.linalg.lstsq(matrix, target, rcond=None)[0]

    def residuals(parameters: Array) -> Array:
        matrix, coefficients = design(parameters)
        return np.asarray(matrix @ coefficients - target)

    first = [0.0] if nu is not None else [0.0, NU]
    done = least_squares(residuals, first, x_scale=[1e-3] if nu is not None else [1e-3, 0.1])
    coefficients = design(done.x)[1]
    freedom = max(len(target) - len(coefficients) - len(first), 1)
    return ScalingFit(
        tc=start * (1.0 + float(done.x[0])),
        nu=float(done.x[1]) if nu is None else nu,
        binder=float(coefficients[0]),
        chi2=2.0 * done.cost / freedom,
    )


def exponents(curves: BinderCurves, tc: Array) -> tuple[Array, Array]:
    """1/ν from the slopes dU/dT at T_c, and β/ν from the order at T_c, by power laws in L; (1 + B,) each."""
    slope, order = (np.empty((len(tc), len(curves.sizes))) for _ in range(2))
    for k, temperature in enumerate(tc):
        for s in range(len(curves.sizes)):
            shifted = curves.temperatures - temperature
            slope[k, s] = -np.polyfit(shifted, curves.binder[k, s], 2)[-2]
            order[k, s] = np.polyfit(shifted, curves.order[k, s], 2)[-1]
    length = np.log(curves.sizes)
    with np.errstate(invalid="ignore"):
        return (
            np.array([np.polyfit(length, np.log(row), 1)[0] for row in slope]),
            -np.array([np.polyfit(length, np.log(row), 1)[0] for row in order]),
        )


def _moments(temperatures: Array, found: Measured, grid: Array, blocks: int) -> Array:
    """⟨m⟩, ⟨m²⟩, ⟨m⁴⟩ on the grid, of all measurements and without each block, (1 + B, 3, F)."""
    samples = found.energy.shape[1]
    block = np.broadcast_to(np.arange(samples) * blocks // samples, found.energy.shape).ravel()
    energy, m = found.energy.ravel(), found.magnitude.ravel()
    edges = np.linspace(energy.min(), energy.max() + 1e-9 * np.ptp(energy), _BINS + 1)
    place = block * _BINS + np.clip(np.searchsorted(edges, energy, side="right") - 1, 0, _BINS - 1)
    sums = np.array(
        [
            np.bincount(place, values, minlength=blocks * _BINS).reshape(blocks, _BINS)
            for values in (np.ones_like(m), energy - energy.mean(), m, m**2, m**4)
        ]
    )
    whole = sums.sum(axis=1)
    lengths = np.bincount(block[:samples], minlength=blocks)
    rows, start = [], None
    for left_out in [None, *range(blocks)]:
        counts, energies, *powers = whole if left_out is None else whole - sums[:, left_out]
        used = counts > 0.5
        remaining = samples - (0 if left_out is None else int(lengths[left_out]))
        weighting = Reweighting(temperatures, remaining, energies[used] / counts[used], counts[used], start)
        start = weighting.free_energies
        rows.append(np.array(powers)[:, used] @ weighting.weights(grid).T)
    return np.array(rows)
