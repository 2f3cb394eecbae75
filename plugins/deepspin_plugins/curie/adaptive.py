"""Temperatures to measure at: a scan, finer steps where something happens, and a window about the transition."""

from __future__ import annotations

import numpy as np
from scipy.signal import find_peaks

from deepspin_ase.vectors import Array
from deepspin_plugins.curie.curves import Curves
from deepspin_plugins.curie.finite_size import NU
from deepspin_plugins.curie.statistics import Estimate

_SCANNED = (0.05, 1.05)  # in units of the mean-field temperature, which is an upper bound
_STEEP = 0.1
_SIGNIFICANT = 4.0  # standard errors by which a maximum of C exceeds the valleys beside it
_PROMINENT = 0.1
_WIDTH = 1.2  # of x = (T/Tc - 1) L^{1/ν}


def scan_temperatures(mean_field: float, count: int = 16) -> Array:
    """Evenly spaced temperatures up to just above the mean-field one, K."""
    low, high = _SCANNED
    return np.linspace(low, high, count) * mean_field


def refined(temperatures: Array, curves: Curves) -> Array:
    """Temperatures to add to a scan: in the middle of steep steps of the order, and beside maxima of C."""
    steps = np.abs(np.diff(curves.order.value)) > _STEEP
    for peak in heat_capacity_maxima(temperatures, curves.heat_capacity)[0]:
        at = int(np.argmin(np.abs(temperatures - peak)))
        steps[max(at - 1, 0) : at + 1] = True
    return ((temperatures[1:] + temperatures[:-1]) / 2)[steps]


def heat_capacity_maxima(temperatures: Array, capacity: Estimate) -> tuple[Array, Array]:
    """Significant maxima of C(T) inside the range, highest first: K, and half the distance of the neighbours, K."""
    prominence = np.maximum(_SIGNIFICANT * capacity.error, _PROMINENT * capacity.value)
    peaks = find_peaks(capacity.value, prominence=0.0)
    kept = peaks[0][peaks[1]["prominences"] > prominence[peaks[0]]]
    kept = kept[np.argsort(-capacity.value[kept])]
    return temperatures[kept], (temperatures[kept + 1] - temperatures[kept - 1]) / 2


def window(centre: float, largest: float, count: int, *, least: float = 0.0) -> Array:
    """Temperatures about a transition, as narrow as the largest size can resolve, K.

    Parameters
    ----------
    centre
        K.
    largest
        Number of sites along an edge of the largest supercell.
    count
        Number of temperatures.
    least
        Smallest relative half width, for a centre that is not yet sure.
    """
    half = min(max(_WIDTH * largest ** (-1.0 / NU), least), 0.5)
    return centre * np.linspace(1.0 - half, 1.0 + half, count)
