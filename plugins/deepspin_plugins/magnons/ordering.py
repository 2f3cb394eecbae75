"""Ordering temperatures from exchange alone: mean field and random phase approximation (classical spins)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import root

from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.quantities import K_B
from deepspin_ase.stored_result import StoredResult
from deepspin_ase.vectors import Array
from deepspin_plugins.magnons.fourier import Complex, FourierSum
from deepspin_plugins.magnons.lswt import checked_directions
from deepspin_plugins.magnons.qpoints import q_mesh


@dataclass(frozen=True, eq=False)
class OrderingTemperatures(StoredResult):
    """Estimates of the ordering temperature, K.

    Attributes
    ----------
    mean_field
        Mean field: largest eigenvalue of J(q = 0) of the magnetic cell, over 3 k_B. An upper bound.
    rpa, rpa_error
        Random phase approximation, and the change of the last extrapolation in the mesh.
    mesh
        Points per direction of the finest mesh.
    """

    mean_field: float
    rpa: float
    rpa_error: float
    mesh: Array


def ordering_temperatures(
    model: HeisenbergModel, moments: ArrayLike, mesh: int | Sequence[int] = 32
) -> OrderingTemperatures:
    """Mean-field and RPA temperatures of a collinear structure.

    Parameters
    ----------
    model
        Only the isotropic part of the exchange is used.
    moments
        Collinear state, (n, 3) or (n,), in the cell of the model.
    mesh
        Points per direction, a multiple of 4.

    Raises
    ------
    InputError
        The structure is not collinear, not periodic in three directions (RPA gives zero there), or not stable.

    Notes
    -----
    With σ_i = ±1 the matrix L_ij(q) = δ_ij Σ_k σ_i σ_k J_ik(0) x_k/x_i - σ_i σ_j J_ij(q) has the sublattice
    magnetisations x_i > 0 near T_c as unknowns, and 3 k_B T_c ⟨(L⁻¹)_ii⟩_q = 1 for every i. One sublattice:
    1/(k_B T_c) = 3 ⟨1/[J(0) - J(q)]⟩. Source: M. Pajda et al., PRB 64, 174402 (2001), eq. 17; for sublattices
    J. Rusz, I. Turek and M. Diviš, PRB 71, 174408 (2005).
    """
    e = checked_directions(model, moments)
    keep = np.flatnonzero(model.magnitudes)
    axis = e[keep[0]]
    sign = (e @ axis)[keep]
    if np.abs(np.abs(sign) - 1).max() > 1e-6:
        raise InputError("ordering_temperatures needs a collinear structure; use Monte Carlo for others.")
    if not model.pbc.all():
        raise InputError("the RPA temperature is zero in one and two dimensions without anisotropy; use Monte Carlo.")
    counts = np.broadcast_to(np.asarray(mesh, dtype=int), (3,))
    if np.any(counts % 4) or np.any(counts < 4):
        raise InputError(f"mesh = {counts.tolist()}; allowed: multiples of 4.")
    isotropic = np.einsum("baa->b", model.bonds.tensor) / 3
    new = np.zeros(len(model), dtype=int)
    new[keep] = np.arange(len(keep))
    i, j = new[model.bonds.i], new[model.bonds.j]
    exchange = FourierSum(i, j, model.bonds.image, isotropic * np.round(sign[i] * sign[j]), (len(keep), len(keep)))
    at_zero = exchange(np.zeros((1, 3)))[0].real
    top = float(np.linalg.eigvalsh(at_zero)[-1])
    if top <= 0.0:
        raise InputError(
            "exchange does not favour order at q = 0 of this cell (largest eigenvalue of J is not positive)."
        )
    estimates = [_rpa(exchange, at_zero, counts // division) for division in (4, 2, 1)]
    inverse = [1 / x for x in estimates]  # the error of the mean over q is ∝ 1/N
    first, second = 2 * inverse[1] - inverse[0], 2 * inverse[2] - inverse[1]
    return OrderingTemperatures(
        mean_field=top / 3 / K_B, rpa=1 / second / K_B, rpa_error=abs(1 / second - 1 / first) / K_B, mesh=counts
    )


def _rpa(exchange: FourierSum, at_zero: Array, mesh: NDArray[np.int64]) -> float:
    """k_B T_c, eV, on one mesh."""
    j: Complex = exchange(q_mesh(mesh))
    n = len(at_zero)

    def green(log_x: Array) -> Array:
        x = np.exp(np.concatenate([[0.0], log_x]))
        matrix = np.diag(at_zero @ x / x) - j
        if not np.isfinite(matrix).all():  # a step of the search that went far astray
            return np.full(n, np.nan)
        if np.linalg.eigvalsh(matrix)[:, 0].min() <= 0.0:
            return np.full(n, np.nan)
        return np.einsum("qii->qi", np.linalg.inv(matrix)).real.mean(axis=0)

    def imbalance(log_x: Array) -> Array:
        g = green(log_x)
        return np.log(g[1:] / g[0])

    start = np.abs(np.linalg.eigh(at_zero)[1][:, -1])
    log_x = np.log(np.maximum(start[1:], 1e-3) / max(start[0], 1e-3))
    if n > 1:
        with np.errstate(invalid="ignore", over="ignore"):
            found = root(imbalance, log_x, tol=1e-10)
        log_x = found.x
        if not found.success and not np.abs(imbalance(log_x)).max() < 1e-6:
            raise DeepSpinError(f"the RPA equations of the sublattices did not converge: {found.message}")
    g = green(log_x)
    if np.isnan(g).any():
        raise InputError("the structure is not stable: J(q) is largest away from q = 0 of this cell.")
    return float(1 / (3 * g.mean()))
