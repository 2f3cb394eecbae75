"""Nose-Hoover chain for momenta: settings (:class:`NoseHooverChain`) and a running chain (:class:`Chain`).

    dp/dt = F - p v_1
    Q_1 dv_1/dt = Σ p²/M - N_f k_B T - Q_1 v_1 v_2
    Q_k dv_k/dt = Q_{k-1} v_{k-1}² - k_B T - Q_k v_k v_{k+1},        dη_k/dt = v_k

with Q_1 = N_f k_B T τ², Q_k = k_B T τ². Conserved is E + Σ p²/2M + Σ ½ Q_k v_k² + N_f k_B T η_1 + k_B T Σ_{k>1} η_k.

=========  ====================================  ============================================
symbol     meaning                               variable
=========  ====================================  ============================================
p, M       momenta and masses                    ``momenta`` (n, 3), ``masses`` (n,)
N_f        degrees of freedom                    ``freedom``
T          temperature, K                        ``temperature``
τ          time constant, ASE units              ``time``
v_k        speeds of the chain                   ``speeds`` (length,)
η_k        their positions                       ``positions`` (length,)
Q_k        masses of the chain, eV t²            ``inertia`` (length,)
=========  ====================================  ============================================

Source: G. J. Martyna, M. E. Tuckerman, D. J. Tobias and M. L. Klein, Mol. Phys. 87, 1117 (1996), with their
Suzuki-Yoshida weights of fourth order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.quantities import K_B

Array = NDArray[np.float64]

_FIRST = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
_WEIGHTS = (_FIRST, 1.0 - 2.0 * _FIRST, _FIRST)


@dataclass(frozen=True)
class NoseHooverChain:
    """Settings of a Nose-Hoover chain.

    Parameters
    ----------
    temperature
        K, above zero.
    time
        Time constant τ, ASE units; about the slowest period of what is thermostatted, e.g. ``100 * ase.units.fs``.
    length
        Number of thermostats.

    Raises
    ------
    InputError
        Numbers that are not finite and positive.
    """

    temperature: float
    time: float
    length: int = 3

    def __post_init__(self) -> None:
        for name in ("temperature", "time", "length"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} = {getattr(self, name)}; allowed: a positive number.")

    def start(self, freedom: int) -> Chain:
        """Chain at rest for a number of degrees of freedom."""
        return Chain(self, freedom)


class Chain:
    """A running chain; ``chain(momenta, masses, timestep)`` gives the momenta after a time.

    Parameters
    ----------
    settings
        See :class:`NoseHooverChain`.
    freedom
        Degrees of freedom.
    """

    def __init__(self, settings: NoseHooverChain, freedom: int) -> None:
        self.settings = settings
        self.freedom = freedom
        self.speeds: Array = np.zeros(settings.length)
        self.positions: Array = np.zeros(settings.length)

    @property
    def temperature(self) -> float:
        """Temperature, K."""
        return self.settings.temperature

    @property
    def inertia(self) -> Array:
        """Masses of the chain."""
        heat = K_B * self.temperature
        inertia = np.full(self.settings.length, heat * self.settings.time**2)
        inertia[0] *= self.freedom
        return inertia

    @property
    def energy(self) -> float:
        """Part of the chain in the conserved energy, eV."""
        heat = K_B * self.temperature
        potential = heat * (self.freedom * self.positions[0] + self.positions[1:].sum())
        return float(potential + 0.5 * (self.inertia * self.speeds**2).sum())

    def __call__(self, momenta: Array, masses: Array, timestep: float) -> Array:
        """Momenta, (n, 3), after a time; atoms of mass zero do not take part."""
        inverse = np.divide(1.0, masses, out=np.zeros_like(masses), where=masses > 0.0)
        kinetic = float(np.einsum("i,ia,ia->", inverse, momenta, momenta))  # twice the kinetic energy
        scale = 1.0
        inertia, last = self.inertia, self.settings.length - 1
        for weight in _WEIGHTS:
            step = weight * timestep
            for k in range(last, -1, -1):
                self._push(k, last, kinetic * scale**2, inertia, 0.5 * step)
            self.positions = self.positions + step * self.speeds
            scale *= np.exp(-step * self.speeds[0])
            for k in range(last + 1):
                self._push(k, last, kinetic * scale**2, inertia, 0.5 * step)
        return np.asarray(scale * momenta)

    def _push(self, k: int, last: int, kinetic: float, inertia: Array, step: float) -> None:
        heat = K_B * self.temperature
        gain = kinetic - self.freedom * heat if k == 0 else inertia[k - 1] * self.speeds[k - 1] ** 2 - heat
        drag = np.exp(-0.5 * step * self.speeds[k + 1]) if k < last else 1.0
        speeds = self.speeds.copy()
        speeds[k] = (speeds[k] * drag + step * gain / inertia[k]) * drag
        self.speeds = speeds
