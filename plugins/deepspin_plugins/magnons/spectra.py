"""Spectra: intensity against wavevector and energy, and their pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Spectrum(StoredResult):
    """Intensity on a grid of wavevectors and energies.

    Attributes
    ----------
    distance
        (Q,), 1/Å: along the path, or |Q| of a powder.
    ticks, labels
        Special points of the path, if any.
    energy
        (E,), meV.
    intensity
        (Q, E), ħ² per meV and magnetic cell (spins of length |m|/2).
    error
        (Q, E), same unit, or None where the intensity is exact.
    component
        Which part of the correlations.
    axis
        Label of the horizontal axis.
    """

    distance: Array
    ticks: Array
    labels: tuple[str, ...]
    energy: Array
    intensity: Array
    error: Array | None
    component: str
    axis: str

    def plot(self, ax: Axes | None = None, *, vmax: float | None = None, cmap: str = "inferno", **style: Any) -> Axes:
        """Draw the map; colours saturate at ``vmax`` (default: the 99th percentile)."""
        ax = new_axes() if ax is None else ax
        top = float(np.percentile(self.intensity, 99)) if vmax is None else vmax
        x = self.distance if len(self.distance) > 1 else np.array([0.0, 1.0])
        # equal distances occur where a path jumps; the mesh must not go backwards, only stand still
        image = self.intensity.T if len(self.distance) > 1 else np.repeat(self.intensity.T, 2, axis=1)
        mesh = ax.pcolormesh(x, self.energy, image, vmin=0.0, vmax=top or None, cmap=cmap, shading="nearest", **style)
        mesh.set_rasterized(True)
        ax.figure.colorbar(mesh, ax=ax, label=f"S(q, ω), {self.component} (1/meV per cell)")
        if len(self.labels):
            ax.set_xticks(self.ticks, self.labels)
        ax.set_xlabel(self.axis)
        ax.set_ylabel("energy (meV)")
        return ax


def broadened(levels: Array, intensity: Array, energy: Array, fwhm: float | Array) -> Array:
    """Gaussians of unit area at levels (Q, M) with intensities (Q, M), on energies (E,): (Q, E)."""
    sigma = np.broadcast_to(np.asarray(fwhm, dtype=float) / np.sqrt(8 * np.log(2)), energy.shape)
    result = np.zeros((len(levels), len(energy)))
    for row, (level, height) in enumerate(zip(levels, intensity, strict=True)):
        used = np.flatnonzero(height)
        kernel = np.exp(-0.5 * ((energy[:, None] - level[used]) / sigma[:, None]) ** 2)
        result[row] = kernel @ height[used] / (sigma * np.sqrt(2 * np.pi))
    return result
