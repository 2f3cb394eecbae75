"""Band structures and densities of states."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.band_path import draw_ticks, index_of_point, path_segments
from deepspin_ase.errors import InputError
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array
from deepspin_plugins.magnons.lswt import SpinWaves
from deepspin_plugins.magnons.qpoints import QPath, q_mesh, q_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepspin_plugins.magnons.qpoints import Point

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class MagnonBands(StoredResult):
    """Magnon energies along a path.

    Attributes
    ----------
    q
        (Q, 3), fractions of the reciprocal magnetic cell.
    distance
        (Q,), 1/Å.
    ticks, labels
        Special points: distances (1/Å) and names.
    energies
        (Q, n), meV.
    """

    q: Array
    distance: Array
    ticks: Array
    labels: tuple[str, ...]
    energies: Array

    def at(self, label: str) -> Array:
        """Energies (n,), meV, at a special point."""
        return self.energies[index_of_point(label, self.labels, self.ticks, self.distance)]

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw the bands; ``style`` goes to matplotlib's ``plot``."""
        ax = new_axes() if ax is None else ax
        style = {"color": "C0", "linewidth": 1.3, **style}
        for part in path_segments(self.distance):
            ax.plot(self.distance[part], self.energies[part], **style)
        draw_ticks(ax, self.ticks, self.labels, self.distance)
        ax.set_ylabel("magnon energy (meV)")
        ax.set_ylim(bottom=0.0)
        return ax


@dataclass(frozen=True, eq=False)
class MagnonDos(StoredResult):
    """Magnon density of states.

    Attributes
    ----------
    energy
        (E,), meV.
    density
        (E,), states per meV and magnetic cell; its integral is the number of magnetic sites.
    error
        (E,): difference to the mesh with half as many points per direction.
    mesh
        Points per direction.
    fwhm
        Width of the Gaussians, meV.
    """

    energy: Array
    density: Array
    error: Array
    mesh: Array
    fwhm: float

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the density with its uncertainty."""
        ax = new_axes() if ax is None else ax
        ax.plot(self.energy, self.density, color="C0")
        ax.fill_between(self.energy, self.density - self.error, self.density + self.error, color="C0", alpha=0.3)
        ax.set_xlabel("energy (meV)")
        ax.set_ylabel("density of states (1/meV per cell)")
        ax.set_xlim(self.energy[0], self.energy[-1])
        ax.set_ylim(bottom=0.0)
        return ax


def band_structure(
    waves: SpinWaves,
    path: QPath | str | Sequence[Sequence[Point]] | None = None,
    *,
    atoms: Atoms | None = None,
    points: dict[str, ArrayLike] | None = None,
    spacing: float = 0.02,
    executor: Executor | None = None,
) -> MagnonBands:
    """Magnon energies along a path.

    Parameters
    ----------
    waves
        Spin waves of the magnetic cell.
    path, points, spacing
        See :func:`q_path`; a ``QPath`` is used as it is.
    atoms
        Full magnetic cell; default the magnetic sites alone. It decides about symmetry, and so the default path.
    executor
        Runs blocks of wavevectors.
    """
    if not isinstance(path, QPath):
        path = q_path(waves.to_atoms() if atoms is None else atoms, path, points=points, spacing=spacing)
    energies = waves.energies(path.q, executor=executor)
    return MagnonBands(q=path.q, distance=path.distance, ticks=path.ticks, labels=path.labels, energies=energies)


def density_of_states(
    waves: SpinWaves,
    mesh: int | Sequence[int] = 24,
    *,
    fwhm: float | None = None,
    points: int = 400,
    executor: Executor | None = None,
) -> MagnonDos:
    """Density of states with Gaussian broadening, adapted to the slope of the bands.

    Parameters
    ----------
    waves
        Spin waves.
    mesh
        Points per direction, one or three.
    fwhm
        meV; default 2 % of the highest energy.
    points
        Energies from zero to 5 % above the highest.
    executor
        Runs blocks of wavevectors.
    """
    counts = np.where(waves.pbc, np.broadcast_to(np.asarray(mesh, dtype=int), (3,)), 1)
    fine = waves.energies(q_mesh(counts), executor=executor)
    half = np.maximum(counts // 2, 1)
    coarse = waves.energies(q_mesh(half), executor=executor)
    width = 0.02 * float(fine.max()) if fwhm is None else float(fwhm)
    if not width > 0.0:
        raise InputError(f"fwhm = {width} meV; allowed: a positive number.")
    energy = np.linspace(0.0, 1.05 * float(fine.max()) + width, points)
    density, other = (_smooth(levels, size, energy, width) for levels, size in ((fine, counts), (coarse, half)))
    return MagnonDos(energy=energy, density=density, error=np.abs(density - other), mesh=counts, fwhm=width)


def _smooth(levels: Array, mesh: Array, energy: Array, fwhm: float) -> Array:
    """Sum of Gaussians at the levels (N, n), per point of the mesh; what reaches below zero is reflected.

    Each is widened by the spread of its band over one cell of the mesh (J. R. Yates et al., PRB 75, 195121 (2007)).
    """
    bands = levels.reshape(*mesh, -1)
    variance = np.full(bands.shape, fwhm**2 / (8 * np.log(2)))
    for axis in range(3):
        variance += (np.roll(bands, -1, axis) - np.roll(bands, 1, axis)) ** 2 / 48  # (ΔE)²/12, central difference
    centre, sigma = bands.ravel(), np.sqrt(variance).ravel()
    density = np.zeros_like(energy)
    for start in range(0, len(centre), _BLOCK):
        x, s = centre[start : start + _BLOCK], sigma[start : start + _BLOCK]
        kernel = np.exp(-0.5 * ((energy[:, None] - x) / s) ** 2) + np.exp(-0.5 * ((energy[:, None] + x) / s) ** 2)
        density += kernel @ (1 / s)
    return density / (len(levels) * np.sqrt(2 * np.pi))
