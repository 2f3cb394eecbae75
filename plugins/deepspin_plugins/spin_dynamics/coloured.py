"""Coloured thermal noise: Planck's spectrum instead of a white one, for magnetisation at low temperature.

A classical bath gives every mode k_B T; the quantum one gives ħω/(exp(ħω/k_B T) - 1). The noise of this module has that
ratio as its power spectrum, S(x) = |x|/(exp|x| - 1) with x = ħω/k_B T (S = 1 is white). Zero-point motion is left out.

It is the sum of three damped oscillators driven by white noise η_i, in the reduced time τ = k_B T t/ħ:

    ζ_i'' = -Γ_i ζ_i' - Ω_i² ζ_i + √c_i Ω_i² η_i,        Φ = Σ_i ζ_i

with constants fitted to S (largest error 0.011). The oscillators are advanced exactly, for any step.

=========  ===================================  =======================
symbol     meaning                              variable
=========  ===================================  =======================
c_i        weight; they sum to one              ``_WEIGHT``
Ω_i, Γ_i   frequency and friction               ``_FREQUENCY``, ``_FRICTION``
ζ_i, ζ_i'  state of the oscillators             ``memory`` (3, 2, n, 3)
=========  ===================================  =======================

Source: J. Barker and G. E. W. Bauer, Phys. Rev. B 100, 140401(R) (2019) for the bath; A. V. Savin, Y. A. Kosevich and
A. Cantarero, Phys. Rev. B 86, 064305 (2012) for noise from oscillators. The constants here are a fit of our own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from deepspin_ase.errors import InputError
from deepspin_ase.quantities import HBAR, K_B
from deepspin_plugins.spin_dynamics.constants import FEMTOSECOND

Array = NDArray[np.float64]

_WEIGHT: Final = np.array([0.40155971, 0.11958674, 0.47885355])
_FREQUENCY: Final = np.array([2.84669281, 0.38591716, 1.67291087])
_FRICTION: Final = np.array([4.70375856, 1.16620692, 3.76391565])
_LONGEST = 0.5  # step in reduced time beyond which the samples would miss a part of the spectrum


class ColouredNoise:
    """Noise with Planck's spectrum for n atoms.

    Attributes
    ----------
    memory
        State of the oscillators, (3, 2, n, 3); None before the first step, which draws it from the stationary state.
    """

    def __init__(self, n: int) -> None:
        self._shape = (3, 2, n, 3)
        self.memory: Array | None = None

    def step(self, rng: np.random.Generator, temperature: float, timestep: float) -> Array:
        """Noise of the next step, (n, 3), in units of the white noise of the same bath and step.

        Raises
        ------
        InputError
            If the step is so long that the spectrum is not resolved.
        """
        reduced = K_B * temperature / HBAR * 1e-15 * timestep / FEMTOSECOND
        if reduced > _LONGEST:
            longest = timestep / FEMTOSECOND * _LONGEST / reduced
            raise InputError(
                f"coloured noise at {temperature} K needs steps below ħ/(2 k_B T) = {longest:.3g} fs; "
                f"given: {timestep / FEMTOSECOND:.3g} fs."
            )
        if self.memory is None:
            self.memory = rng.standard_normal(self._shape)
            self.memory *= np.sqrt(_stationary())[:, :, None, None]
        matrix, factor = _propagator(reduced)
        fresh = rng.standard_normal(self._shape)
        self.memory = np.einsum("kab,kbic->kaic", matrix, self.memory) + np.einsum("kab,kbic->kaic", factor, fresh)
        return np.asarray(self.memory[:, 0].sum(axis=0) * np.sqrt(reduced))


def spectrum(x: Array) -> Array:
    """Power spectrum of the noise at x = ħω/k_B T, relative to white noise; it approximates |x|/(exp|x| - 1)."""
    square = np.asarray(x, dtype=float)[..., None] ** 2
    resonance = (_FREQUENCY**2 - square) ** 2 + _FRICTION**2 * square
    return np.asarray((_WEIGHT * _FREQUENCY**4 / resonance).sum(axis=-1))


def _stationary() -> Array:
    """Variances of ζ and ζ' in the stationary state, (3, 2)."""
    speed = _WEIGHT * _FREQUENCY**4 / (2.0 * _FRICTION)
    return np.stack([speed / _FREQUENCY**2, speed], axis=1)


def _propagator(step: float) -> tuple[Array, Array]:
    """Matrices (3, 2, 2) of the exact step: what stays of (ζ, ζ'), and the factor of fresh normal numbers."""
    matrix, factor = np.empty((3, 2, 2)), np.empty((3, 2, 2))
    for k, variance in enumerate(_stationary()):
        drift = np.array([[0.0, 1.0], [-(_FREQUENCY[k] ** 2), -_FRICTION[k]]])
        matrix[k] = expm(step * drift)
        kept = matrix[k] @ np.diag(variance) @ matrix[k].T
        values, vectors = np.linalg.eigh(np.diag(variance) - kept)
        factor[k] = vectors * np.sqrt(np.maximum(values, 0.0))
    return matrix, factor
