"""Langevin baths for moments: settings (:class:`SpinLangevin`) and a running bath (:class:`SpinBath`).

A bath gives a random magnetic force ξ (eV/µB), constant during a step, with independent Gaussian components of variance

    σ² = 2 α k_B T / (γ/µB |m| Δt)        (fluctuation-dissipation theorem; in tesla: 2 α k_B T / (γ |m| µB Δt))

It scales with 1/√|m_i|, atom by atom, so that all moments reach one temperature whatever their lengths.

=========  ====================================  ============================================
symbol     meaning                               variable
=========  ====================================  ============================================
α          Gilbert damping                       ``damping`` (n,)
T          temperature, K                        ``temperature``
|m|        lengths of the moments, µB            ``lengths`` (n,)
Δt         time step                             ``timestep``, ASE units
γ/µB       3.042 rad/ps per meV/µB               ``constants.PRECESSION``
ξ          thermal magnetic force, eV/µB         result of ``SpinBath.noise``, (n, 3)
=========  ====================================  ============================================

Source: W. F. Brown, Phys. Rev. 130, 1677 (1963).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.quantities import K_B
from deepspin_ase.vectors import resolve_magnitude
from deepspin_plugins.spin_dynamics.coloured import ColouredNoise
from deepspin_plugins.spin_dynamics.constants import PRECESSION

Array = NDArray[np.float64]
Damping = float | Mapping[str, float] | ArrayLike
"""Gilbert damping α: one number, a number per species, or (n,)."""


@dataclass(frozen=True)
class RescaledTemperature:
    """Quantum statistics by a rescaled temperature: the classical bath runs at T' = T_c (T/T_c)^η below T_c.

    The classical magnetisation falls linearly at low temperature; rescaled it falls as T^η, as measured.

    Source: R. F. L. Evans, U. Atxitia and R. W. Chantrell, Phys. Rev. B 91, 144425 (2015); fitted there: η = 2.876 for
    Fe, 2.369 for Co, 2.322 for Ni.

    Parameters
    ----------
    curie_temperature
        T_c, K.
    exponent
        η.
    """

    curie_temperature: float
    exponent: float

    def __post_init__(self) -> None:
        for name in ("curie_temperature", "exponent"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} = {getattr(self, name)}; allowed: a positive number.")

    def classical(self, temperature: float) -> float:
        """Temperature of the classical bath, K."""
        if temperature >= self.curie_temperature:
            return temperature
        return float(self.curie_temperature * (temperature / self.curie_temperature) ** self.exponent)


Statistics = Literal["classical", "coloured"] | RescaledTemperature
"""Statistics of a bath: classical white noise, coloured (Bose) noise, or a rescaled temperature."""


@dataclass(frozen=True)
class SpinLangevin:
    """Settings of a Langevin bath for moments.

    Parameters
    ----------
    temperature
        K. Zero means damping alone.
    damping
        Gilbert damping α: one number, ``{"Fe": 0.1, "O": 0.0}`` or (n,).
    statistics
        ``"classical"``; ``"coloured"``: noise with Planck's spectrum, see ``coloured.py``; or a
        :class:`RescaledTemperature`.

    Raises
    ------
    InputError
        Negative or not finite numbers, unknown statistics.
    """

    temperature: float
    damping: Damping = 0.1
    statistics: Statistics = "classical"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.statistics not in ("classical", "coloured") and not isinstance(self.statistics, RescaledTemperature):
            raise InputError(
                f"statistics = {self.statistics!r}; allowed: 'classical', 'coloured' or "
                "RescaledTemperature(curie_temperature, exponent)."
            )

    def start(self, atoms: Atoms, rng: int | np.random.Generator | None) -> SpinBath:
        """Bath for the atoms of a structure.

        Parameters
        ----------
        atoms
            Structure, for the number of atoms and their species.
        rng
            Seed or generator; needed at a temperature above zero.
        """
        return SpinBath(resolve_damping(atoms, self.damping), self.temperature, rng, statistics=self.statistics)


class SpinBath:
    """A running bath: damping, temperature and a stream of random numbers.

    Parameters
    ----------
    damping
        α, (n,).
    temperature
        K.
    rng
        Seed or generator; None is allowed while the temperature is zero.
    statistics
        See :class:`SpinLangevin`.

    Attributes
    ----------
    temperature
        K; may be changed at any time.
    """

    def __init__(
        self,
        damping: Array,
        temperature: float,
        rng: int | np.random.Generator | None,
        *,
        statistics: Statistics = "classical",
    ) -> None:
        self.damping = np.asarray(damping, dtype=float)
        self.statistics = statistics
        self.rng = None if rng is None else np.random.default_rng(rng)
        self.temperature = temperature
        self._coloured = ColouredNoise(len(self.damping)) if statistics == "coloured" else None

    @property
    def temperature(self) -> float:
        """Temperature, K."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        check_temperature(value)
        if value > 0.0 and not self.damping.any():
            raise InputError(
                f"temperature = {value} K with damping 0: such a bath does nothing; give a damping, e.g. 0.1."
            )
        if value > 0.0 and self.rng is None:
            raise InputError(f"temperature = {value} K needs random numbers: give rng=, a seed or a numpy Generator.")
        self._temperature = float(value)

    def noise(self, lengths: Array, timestep: float) -> Array | None:
        """Thermal magnetic force of the next step.

        Parameters
        ----------
        lengths
            |m|, µB, (n,); atoms without a moment get no force.
        timestep
            ASE units.

        Returns
        -------
        ndarray or None
            (n, 3), eV/µB; None at zero temperature.
        """
        temperature = self.temperature
        if isinstance(self.statistics, RescaledTemperature):
            temperature = self.statistics.classical(temperature)
        if temperature == 0.0:
            return None
        assert self.rng is not None
        magnetic = lengths > 0.0
        variance = (
            2.0 * self.damping * K_B * temperature / (PRECESSION * np.where(magnetic, lengths, np.inf) * timestep)
        )
        if self._coloured is not None:
            unit = self._coloured.step(self.rng, temperature, timestep)
        else:
            unit = self.rng.standard_normal((len(lengths), 3))
        unit *= np.sqrt(variance)[:, None]
        return unit

    def state(self) -> dict[str, Any]:
        """Everything that a restart needs beside the settings: plain numbers, dicts and arrays."""
        state: dict[str, Any] = {"rng": None if self.rng is None else self.rng.bit_generator.state}
        if self._coloured is not None and self._coloured.memory is not None:
            state["coloured"] = self._coloured.memory
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave."""
        if state["rng"] is not None:
            kind = getattr(np.random, state["rng"]["bit_generator"])
            bits = kind()
            bits.state = state["rng"]
            self.rng = np.random.Generator(bits)
        if self._coloured is not None:
            self._coloured.memory = state.get("coloured")


def check_temperature(temperature: float) -> None:
    """Raise InputError unless a temperature (K) is finite and not negative."""
    if not (np.isfinite(temperature) and temperature >= 0.0):
        raise InputError(f"temperature = {temperature} K; allowed: a number that is not negative.")


def resolve_damping(atoms: Atoms, damping: Damping) -> Array:
    """Gilbert damping per atom, (n,), from a number, a dict by species or an array; not negative."""
    alpha = resolve_magnitude(atoms, damping, name="damping")  # type: ignore[arg-type]
    if np.any(alpha < 0.0):
        raise InputError(f"damping = {alpha.min()}; allowed: numbers that are not negative.")
    return alpha
