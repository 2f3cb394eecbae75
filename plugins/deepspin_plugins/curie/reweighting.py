"""Multi-histogram reweighting: what all temperatures of a run together say about any temperature in between.

With h_b measurements of energy E_b, N of them at each temperature k (β_k = 1/k_B T_k), the free energies f_k solve

    exp(-f_k) = Σ_b h_b exp(-β_k E_b) / Σ_l N exp(f_l - β_l E_b),

and ⟨A⟩(β) = Σ_b w_b A_b with w_b ∝ h_b exp(-β E_b) / Σ_l N exp(f_l - β_l E_b). Sources: A. M. Ferrenberg and
R. H. Swendsen, Phys. Rev. Lett. 63, 1195 (1989); M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008).

These are the equations of MBAR. Here all states differ in β alone, so that energies can be binned and Newton's method
starts from thermodynamic integration: a solution takes milliseconds, and a jackknife needs dozens of them. pymbar, with
which the tests compare, takes about a second for each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.quantities import K_B
from deepspin_ase.vectors import Array

_STEPS = 100
_CONVERGED = 1e-9
_LARGEST_STEP = 5.0
_LEAST_OVERLAP = 3e-3  # share of the measurements that could as well come from the next temperature


class Reweighting:
    """Weights of measurements that were made at several temperatures.

    Parameters
    ----------
    temperatures
        K, (T,), increasing.
    samples
        Measurements N at each temperature.
    energy, counts
        Energies of bins, eV, and how many measurements each holds, (b,).
    start
        Free energies of a similar problem, (T,), to start from.

    Attributes
    ----------
    free_energies
        f_k, (T,), in units of k_B T, of energies counted from their mean; f_0 = 0.

    Raises
    ------
    DeepSpinError
        The energies at neighbouring temperatures do not overlap.
    """

    def __init__(
        self, temperatures: Array, samples: int, energy: Array, counts: Array, start: Array | None = None
    ) -> None:
        if energy.ndim != 1 or energy.shape != counts.shape or not len(energy):
            raise InputError(f"energy {energy.shape} and counts {counts.shape}; allowed: two equal shapes (b,), b > 0.")
        self._energy = energy - np.average(energy, weights=counts)
        self._counts = counts
        self._beta = 1.0 / (K_B * np.asarray(temperatures, dtype=float))
        self._reduced = np.log(samples) - self._beta[:, None] * self._energy
        self.free_energies = self._solve(samples, np.zeros(len(self._beta)) if start is None else start)
        exponent = self.free_energies[:, None] + self._reduced
        top = exponent.max(axis=0)
        self._mixture = top + np.log(np.exp(exponent - top).sum(axis=0))

    def weights(self, temperatures: ArrayLike) -> Array:
        """Weight of a single measurement of each bin at new temperatures, (F, b); ``weights @ counts`` is 1."""
        beta = 1.0 / (K_B * np.atleast_1d(np.asarray(temperatures, dtype=float)))
        exponent = -beta[:, None] * self._energy - self._mixture
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        return np.asarray(weight / (weight @ self._counts)[:, None])

    def _solve(self, samples: int, f: Array) -> Array:
        """Newton's method for the convex function Σ_b h_b ln Σ_k N exp(f_k - β_k E_b) - Σ_k N f_k."""
        for _ in range(_STEPS):
            p = f[:, None] + self._reduced
            p = np.exp(p - p.max(axis=0))
            p /= p.sum(axis=0)
            total = p @ self._counts
            hessian = np.diag(total) - (p * self._counts) @ p.T
            step = np.zeros(len(f))
            step[1:] = np.linalg.lstsq(hessian[1:, 1:], (total - samples)[1:], rcond=1e-13)[0]
            f = f - step * min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-300))
            if np.abs(step).max() < _CONVERGED:
                if np.any(np.diag(hessian, 1) > -_LEAST_OVERLAP * samples):
                    break
                return f - f[0]
        raise DeepSpinError(
            "the energies at neighbouring temperatures do not overlap, so they cannot be combined; take more "
            "temperatures, a narrower range or a smaller supercell."
        )
