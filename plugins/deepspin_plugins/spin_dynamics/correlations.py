"""Correlations of moments in space and time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.bonds import neighbour_pairs
from deepspin_ase.statistics import mean_with_error
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class SpinCorrelations(StoredResult):
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

    def plot(self, ax: Axes | None = None) -> Axes:
        """Correlation against distance."""
        ax = ax or new_axes()
        ax.errorbar(self.distance, self.correlation, np.nan_to_num(self.error), fmt="o-", markersize=4, capsize=2)
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel="distance (Å)", ylabel="⟨e$_i$·e$_j$⟩")
        return ax


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
