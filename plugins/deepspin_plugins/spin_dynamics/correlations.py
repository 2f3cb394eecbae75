"""Statistics of correlated numbers, and correlations of moments in space and time.

Symbols: C(t) = <δx(0) δx(t)>/<δx²> the normalised autocorrelation, τ = ½ + Σ_{t≥1} C(t) the integrated
autocorrelation time in units of the sampling interval. The mean of n numbers has the error σ √(2τ/n).

Sources: U. Wolff, Comput. Phys. Commun. 156, 143 (2004), and N. Madras, A. D. Sokal, J. Stat. Phys. 50, 109 (1988)
for the window W ≥ 6 τ(W) and the error of τ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.bonds import neighbour_pairs
from deepspin_ase.vectors import Array, as_finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORMAT = "deepspin-spin-correlations-1"
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


@dataclass(frozen=True, eq=False)
class SpinCorrelations:
    """<e_i·e_j> against distance; result of :func:`spin_correlations`, arrays are read-only.

    Attributes
    ----------
    distance
        Mean distance of the pairs in a shell, Å, (s,).
    correlation
        Mean of e_i·e_j over the pairs and frames, (s,).
    error
        Its standard error from the spread over frames, (s,); NaN for a single frame.
    pairs
        Number of pairs (each counted once) per shell, (s,).
    """

    distance: Array
    correlation: Array
    error: Array
    pairs: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("distance", "correlation", "error", "pairs"):
            array = np.array(getattr(self, name))
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Correlation against distance."""
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(6, 4), layout="constrained").subplots()
        ax.errorbar(self.distance, self.correlation, np.nan_to_num(self.error), fmt="o-", markersize=4, capsize=2)
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="distance (Å)", ylabel="⟨e$_i$·e$_j$⟩")
        return ax

    def save(self, path: str | Path) -> None:
        """Write to a numpy ``.npz`` file (exactly this path)."""
        with Path(path).open("wb") as stream:
            np.savez(stream, format=np.array(_FORMAT), **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> SpinCorrelations:
        """Read what :meth:`save` wrote; a foreign file raises InputError."""
        with np.load(path, allow_pickle=False) as stored:
            if "format" not in stored or str(stored["format"]) != _FORMAT:
                raise InputError(f"{path} is no file of spin correlations ({_FORMAT}).")
            values: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls)}
        return cls(**values)


def spin_correlations(
    atoms: Atoms, frames: Iterable[ArrayLike], cutoff: float, *, width: float = 0.05
) -> SpinCorrelations:
    """Correlations <e_i·e_j> of the directions of moments against distance.

    Parameters
    ----------
    atoms
        Structure whose positions give the distances: for vibrating atoms the lattice they vibrate about.
    frames
        Moments (n, 3) of each frame, µB: an array (frames, n, 3), or an iterator such as a
        :class:`MomentTrajectory`, of which one frame at a time is in memory.
    cutoff
        Largest distance, Å.
    width
        Distances closer than this (Å) belong to one shell.

    Returns
    -------
    SpinCorrelations
        Shells of pairs that both carry a moment.
    """
    if not (cutoff > 0 and width > 0):
        raise InputError(f"cutoff = {cutoff} Å, width = {width} Å; both must be positive.")
    i, j, _, _, distance = neighbour_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    shell: NDArray[np.int64] | None = None
    centres, counts = np.zeros(0), np.zeros(0, dtype=np.int64)
    sums: list[Array] = []
    for moments in frames:
        array = as_finite(moments, "moments")
        if array.shape != (len(atoms), 3):
            raise InputError(f"a frame has shape {array.shape}; allowed for {len(atoms)} atoms: ({len(atoms)}, 3).")
        length = np.linalg.norm(array, axis=1, keepdims=True)
        if shell is None:  # the first frame says which atoms are magnetic
            keep = (length[i, 0] > 0) & (length[j, 0] > 0)
            i, j, distance = i[keep], j[keep], distance[keep]
            if not len(i):
                raise InputError(f"there is no pair of moments closer than {cutoff} Å; raise cutoff.")
            order = np.argsort(distance, kind="stable")
            i, j, distance = i[order], j[order], distance[order]
            shell = np.concatenate([[0], np.cumsum(np.diff(distance) > width)])
            counts = np.bincount(shell).astype(np.int64)
            centres = np.bincount(shell, distance) / counts
        unit = array / np.where(length > 0.0, length, 1.0)
        sums.append(np.bincount(shell, np.einsum("ba,ba->b", unit[i], unit[j])) / counts)
    if shell is None:
        raise InputError("frames is empty; give at least one frame of moments.")
    table = np.array(sums)
    means = [mean_with_error(column) for column in table.T]
    return SpinCorrelations(
        distance=centres,
        correlation=np.array([m.value for m in means]),
        error=np.array([m.error for m in means]),
        pairs=counts // 2,
    )
