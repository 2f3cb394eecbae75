"""Langevin bath for the atoms: settings (:class:`LatticeLangevin`) and a running bath (:class:`LatticeBath`).

The bath is the exact solution of dp = -γ p dt + √(2 γ M k_B T) dW over a step, the O of the splitting schemes OVRVO and
BAOAB; friction and temperature of an atom are its own:

    p' = c p + √((1 - c²) M k_B T) ξ,        c = exp(-γ Δt)

=========  ====================================  ============================================
symbol     meaning                               variable
=========  ====================================  ============================================
γ          friction                              ``friction`` (n,), 1/ASE unit of time
T          temperature, K                        ``temperature``
M          masses, u                             ``masses`` (n,)
Δt         time step                             ``timestep``, ASE units
p          momenta, ASE units                    ``momenta`` (n, 3)
ξ          normal random numbers                 drawn from ``rng``
=========  ====================================  ============================================

Source: B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013, 34 (2013).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.quantities import K_B
from deepspin_ase.vectors import resolve_magnitude
from deepspin_plugins.spin_dynamics.baths import check_temperature

Array = NDArray[np.float64]
Friction = float | Mapping[str, float] | ArrayLike
"""Friction γ in 1/ASE unit of time: one number, a number per species, or (n,)."""


@dataclass(frozen=True)
class LatticeLangevin:
    """Settings of a Langevin bath for the atoms.

    Parameters
    ----------
    temperature
        K. Zero means friction alone.
    friction
        γ in 1/ASE unit of time, as in ASE's ``Langevin``: ``0.01 / ase.units.fs`` is 1/(100 fs). One number,
        ``{"Ni": 0.01 / fs, "O": 0.0}`` by species, or (n,).

    Raises
    ------
    InputError
        Negative or not finite numbers.
    """

    temperature: float
    friction: Friction

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def start(self, atoms: Atoms, rng: np.random.Generator) -> LatticeBath:
        """Bath for the atoms of a structure."""
        friction = resolve_magnitude(atoms, self.friction, name="friction")  # type: ignore[arg-type]
        if np.any(friction < 0.0):
            raise InputError(f"friction = {friction.min()}; allowed: numbers that are not negative.")
        return LatticeBath(friction, self.temperature, rng)


class LatticeBath:
    """A running bath.

    Parameters
    ----------
    friction
        γ, (n,), 1/ASE unit of time.
    temperature
        K.
    rng
        Generator of the noise.

    Attributes
    ----------
    temperature
        K; may be changed at any time.
    """

    def __init__(self, friction: Array, temperature: float, rng: np.random.Generator) -> None:
        self.friction = np.asarray(friction, dtype=float)
        self.rng = rng
        self.temperature = temperature

    @property
    def temperature(self) -> float:
        """Temperature, K."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        check_temperature(value)
        if value > 0.0 and not self.friction.any():
            raise InputError(f"temperature = {value} K with friction 0: such a bath does nothing; give a friction.")
        self._temperature = float(value)

    def __call__(self, momenta: Array, masses: Array, timestep: float) -> Array:
        """Momenta after friction and noise of a step.

        Parameters
        ----------
        momenta
            (n, 3), ASE units.
        masses
            (n,), u.
        timestep
            ASE units.
        """
        kept = np.exp(-self.friction * timestep)[:, None]
        if self.temperature == 0.0:
            return np.asarray(kept * momenta)
        width = np.sqrt((1.0 - kept**2) * masses[:, None] * K_B * self.temperature)
        return np.asarray(kept * momenta + width * self.rng.standard_normal(momenta.shape))
