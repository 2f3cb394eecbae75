"""Averages at the measured temperatures: order, susceptibility, heat capacity, Binder cumulant, with errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deepspin_ase.quantities import K_B, MU_B
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.series import Series
from deepspin_plugins.curie.statistics import Estimate, block_count, equilibrated, jackknife, slowest


class Curves(NamedTuple):
    """Averages of one supercell at its temperatures, each with values and errors (T,).

    Attributes
    ----------
    order
        Mean magnitude of the order parameter, 1 = perfect.
    susceptibility
        Of lengths, (⟨M²⟩ - ⟨|M|⟩²)/(N k_B T), µB/T per magnetic site, of the moment (staggered, ...) M.
    heat_capacity
        Of the moments (and of positions that moved), k_B per magnetic site.
    binder
        U = 1 - ⟨m⁴⟩/(3⟨m²⟩²).
    energy
        meV per magnetic site.
    """

    order: Estimate
    susceptibility: Estimate
    heat_capacity: Estimate
    binder: Estimate
    energy: Estimate


class Measured(NamedTuple):
    """Equilibrated part of a series.

    Attributes
    ----------
    energy, magnitude
        (T, s): eV, and length of the order parameter.
    discarded
        Measurements left out at the start.
    tau
        Largest integrated autocorrelation time of energy or order at any temperature, in measurements.
    """

    energy: Array
    magnitude: Array
    discarded: int
    tau: float

    @property
    def blocks(self) -> int:
        """Number of jackknife blocks."""
        return block_count(self.energy.shape[1], self.tau)

    @property
    def effective(self) -> float:
        """Number of independent measurements at the slowest temperature, s/2τ."""
        return self.energy.shape[1] / (2.0 * self.tau)


def measured(series: Series, magnitude: Array) -> Measured:
    """Leave out what is not yet in equilibrium.

    Parameters
    ----------
    series, magnitude
        From a sampler, and the length of its order parameter (T, s).
    """
    start = equilibrated(series.energy, magnitude)
    energy, magnitude = series.energy[:, start:], magnitude[:, start:]
    tau = max(slowest(energy), slowest(magnitude))
    return Measured(energy, magnitude, start, tau)


def averages(series: Series, found: Measured, moment: float) -> Curves:
    """Averages with jackknife errors at the temperatures of a series; ``moment`` is µB per site in perfect order."""
    kT = K_B * series.temperatures
    n = series.sites
    middle = found.energy.mean(axis=1, keepdims=True)
    deviation = found.energy - middle
    samples = np.stack([deviation, deviation**2, found.magnitude, found.magnitude**2, found.magnitude**4])
    total, count = samples.sum(axis=2), samples.shape[2]

    def observables(left_out: slice | None) -> Array:
        if left_out is None:
            mean = total / count
        else:
            block = samples[:, :, left_out]
            mean = (total - block.sum(axis=2)) / (count - block.shape[2])
        e, e2, m, m2, m4 = mean
        susceptibility = MU_B * n * moment**2 * (m2 - m**2) / kT
        capacity = (e2 - e**2) / (n * kT**2)
        return np.stack([m, susceptibility, capacity, binder_cumulant(m2, m4), 1e3 * (e + middle[:, 0]) / n])

    value, error = jackknife(observables, count, found.blocks)
    return Curves(*(Estimate(v, e) for v, e in zip(value, error, strict=True)))


def binder_cumulant(m2: Array, m4: Array) -> Array:
    """U = 1 - ⟨m⁴⟩/(3⟨m²⟩²): 2/3 in perfect order, 4/9 for three disordered components."""
    return np.asarray(1.0 - m4 / (3.0 * m2**2))
