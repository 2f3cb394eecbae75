"""The result of a path calculation: energies, barrier, picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class MinimumEnergyPath(StoredResult):
    """Result of :func:`geodesic_neb`; arrays are read-only.

    Attributes
    ----------
    moments
        All images, (P + 1, n, 3), µB.
    energies
        (P + 1,), eV.
    coordinate
        Geodesic length of the path from the start, (P + 1,), rad.
    slopes
        dE/d(coordinate) at the images, (P + 1,), eV/rad.
    history
        Largest force on the band before every step, eV/rad.
    fmax
        Force that was asked for, eV/rad.
    climbing
        Index of the climbing image; -1 if none climbed (no barrier inside, or not asked for).
    evaluations
        Evaluations of states, the relaxation of the ends not counted.
    """

    moments: Array
    energies: Array
    coordinate: Array
    slopes: Array
    history: Array
    fmax: float
    climbing: int
    evaluations: int

    @property
    def converged(self) -> bool:
        """Whether all forces are below ``fmax``."""
        return bool(self.history[-1] <= self.fmax)

    @property
    def saddle(self) -> tuple[float, float]:
        """Coordinate (rad) and energy (eV) of the highest point: the climbing image, or else of the interpolation."""
        if self.climbing >= 0:
            return float(self.coordinate[self.climbing]), float(self.energies[self.climbing])
        fine, curve = self.interpolate()
        top = int(np.argmax(curve))
        return float(fine[top]), float(curve[top])

    @property
    def saddle_moments(self) -> Array:
        """Moments of the highest image, (n, 3), µB."""
        return self.moments[self.climbing if self.climbing >= 0 else int(np.argmax(self.energies))]

    @property
    def barrier(self) -> float:
        """Energy of the saddle point above the start, eV."""
        return self.saddle[1] - float(self.energies[0])

    @property
    def reverse_barrier(self) -> float:
        """Energy of the saddle point above the end, eV."""
        return self.saddle[1] - float(self.energies[-1])

    def interpolate(self, points: int = 401) -> tuple[Array, Array]:
        """Coordinate (rad) and energy (eV) along the path: cubic pieces with the right slopes at the images."""
        fine = np.linspace(self.coordinate[0], self.coordinate[-1], points)
        return fine, CubicHermiteSpline(self.coordinate, self.energies, self.slopes)(fine)

    def __str__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        return (
            f"{state}: barrier {1e3 * self.barrier:.4f} meV, back {1e3 * self.reverse_barrier:.4f} meV; largest force "
            f"{1e3 * self.history[-1]:.3g} meV/rad (asked for {1e3 * self.fmax:.3g}), {len(self.energies)} images, "
            f"{len(self.history) - 1} steps, {self.evaluations} evaluations"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Energy along the path, with the saddle point."""
        ax = ax or new_axes()
        fine, curve = self.interpolate()
        zero = self.energies[0]
        ax.plot(fine, 1e3 * (curve - zero), color="C0", label="interpolated")
        ax.plot(self.coordinate, 1e3 * (self.energies - zero), "o", color="C0", label="images")
        where, top = self.saddle
        ax.plot(where, 1e3 * (top - zero), "*", markersize=14, color="C3", label="saddle point")
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(
            xlabel="reaction coordinate (rad)",
            ylabel="energy above the start (meV)",
            title=f"barrier {1e3 * self.barrier:.3g} meV, back {1e3 * self.reverse_barrier:.3g} meV"
            + ("" if self.converged else " (not converged)"),
        )
        ax.legend()
        return ax
