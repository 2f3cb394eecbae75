"""Statistics of correlated time series: equilibration and jackknife.

A series of s measurements with integrated autocorrelation time τ (see ``deepspin_ase.statistics``) counts as s/2τ
independent ones. Sources: J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016) (equilibrium begins where most of them
are left); B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from deepspin_ase.errors import InputError
from deepspin_ase.statistics import autocorrelation_time
from deepspin_ase.vectors import Array

_SKIPPED = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # starts that are tried, as fractions of a series
_FEWEST = 8  # samples


class Estimate(NamedTuple):
    """A value and its standard error; arrays of the same shape."""

    value: Array
    error: Array


def slowest(series: Array) -> float:
    """Longest integrated autocorrelation time of series (T, s), in measurements."""
    return max(autocorrelation_time(row).value for row in series)


def equilibrated(*series: Array) -> int:
    """Measurements to leave out at the start of series (T, s), so that most effective samples are left in the worst.

    Raises
    ------
    InputError
        Fewer than 8 measurements.
    """
    s = series[0].shape[-1]
    if s < _FEWEST:
        raise InputError(f"there are {s} measurements per temperature; at least {_FEWEST} are needed.")
    starts = [int(fraction * s) for fraction in _SKIPPED]
    left = [min((s - start) / slowest(values[:, start:]) for values in series) for start in starts]
    return starts[int(np.argmax(left))]


def jackknife(estimate: Callable[[slice | None], Array], samples: int, blocks: int) -> Estimate:
    """Delete-one-block jackknife of anything calculated from time series.

    Parameters
    ----------
    estimate
        Calculates the quantity without the measurements in a slice, or with all of them for None.
    samples
        Number of measurements s.
    blocks
        How many blocks; each must be longer than the autocorrelation time.

    Returns
    -------
    Estimate
        The value of all measurements, and sqrt((b-1)/b Σ (x_k - x̄)²).
    """
    count = max(2, min(blocks, samples))
    ends = np.linspace(0, samples, count + 1).astype(int)
    value = np.asarray(estimate(None))
    partial = np.array([estimate(slice(a, b)) for a, b in pairwise(ends.tolist())])
    return Estimate(value, np.sqrt((count - 1) * partial.var(axis=0)))


def block_count(samples: int, tau: float) -> int:
    """Number of jackknife blocks, 5 to 20, each at least ten autocorrelation times long if there are enough data."""
    return int(np.clip(samples / max(10.0 * tau, 1.0), 5, 20))
