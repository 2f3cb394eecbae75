"""Statistics of correlated numbers: autocorrelation, its integrated time, and honest errors of means.

Symbols: C(t) = <δx(0) δx(t)>/<δx²> the normalised autocorrelation, τ = ½ + Σ_{t≥1} C(t) the integrated
autocorrelation time in units of the sampling interval. The mean of n numbers has the error σ √(2τ/n).

Sources: U. Wolff, Comput. Phys. Commun. 156, 143 (2004), and N. Madras, A. D. Sokal, J. Stat. Phys. 50, 109 (1988)
for the window W ≥ 6 τ(W) and the error of τ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array, as_finite

_WINDOW = 6.0  # sum C(t) up to this many autocorrelation times
_SHORTEST = 20.0  # a series shorter than this many times τ says little about its own error


class AutocorrelationTime(NamedTuple):
    """Integrated autocorrelation time in units of the sampling interval."""

    value: float
    error: float
    reliable: bool
    """Whether the series is at least 20 autocorrelation times long."""


class Mean(NamedTuple):
    """Mean value with its standard error; correlations are taken into account."""

    value: float
    error: float
    reliable: bool
    """Whether the series is long enough for the error to be believed."""


def autocorrelation(series: ArrayLike, *, subtract_mean: bool = True) -> Array:
    """C(t) of a series, averaged over everything but time; C(0) = 1.

    Parameters
    ----------
    series
        (frames, ...). For moments (frames, n, 3) it is the average of <e_i(0)·e_i(t)> if the mean is not subtracted.
    subtract_mean
        Subtract the mean over time of every component.

    Returns
    -------
    ndarray
        (frames,); a constant series has zeros after the first entry.
    """
    values = as_finite(series, "series")
    if values.ndim == 0 or len(values) < 2:
        raise InputError(f"series has shape {values.shape}; at least two frames are needed.")
    n = len(values)
    columns = values.reshape(n, -1)
    columns = columns - columns.mean(axis=0) if subtract_mean else columns
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    total = np.zeros(n)
    for start in range(0, columns.shape[1], 256):  # bounded memory
        spectrum = np.abs(np.fft.rfft(columns[:, start : start + 256], size, axis=0)) ** 2
        total += np.fft.irfft(spectrum.sum(axis=1), size)[:n]
    total /= n - np.arange(n)
    scale = float(np.square(values).mean()) * columns.shape[1]
    if total[0] <= 1e-28 * max(scale, 1e-300):
        return np.concatenate([[1.0], np.zeros(n - 1)])
    return total / total[0]


def autocorrelation_time(series: ArrayLike) -> AutocorrelationTime:
    """Integrated autocorrelation time τ = ½ + Σ C(t) of a series of numbers, in sampling intervals.

    White noise has ½; x_{t+1} = a x_t + noise has (1 + a)/(2(1 - a)).

    Parameters
    ----------
    series
        (frames,), or (frames, ...): then C(t) is averaged over the components.
    """
    c = autocorrelation(series)
    n = len(c)
    tau = 0.5 + np.cumsum(c[1:])
    lags = np.arange(1, n)
    enough = np.flatnonzero(lags >= _WINDOW * np.maximum(tau, 0.5))
    window = int(enough[0]) if len(enough) else n - 2
    value = max(float(tau[window]), 0.5)
    error = value * float(np.sqrt(2.0 * (2.0 * lags[window] + 1.0) / n))
    return AutocorrelationTime(value, error, bool(n >= _SHORTEST * value))


def mean_with_error(series: ArrayLike) -> Mean:
    """Mean of a series of numbers (frames,) and its standard error σ √(2τ/n)."""
    values = as_finite(series, "series")
    if values.ndim != 1 or not len(values):
        raise InputError(f"series has shape {values.shape}; allowed: (frames,) with at least one frame.")
    if len(values) == 1:
        return Mean(float(values[0]), float("nan"), False)
    tau = autocorrelation_time(values)
    error = float(values.std() * np.sqrt(2.0 * tau.value / len(values)))
    return Mean(float(values.mean()), error, tau.reliable)
