"""Band structures and densities of states of phonons."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.band_path import QPath, draw_ticks, index_of_point, path_segments
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from phonopy import Phonopy

VELOCITY = 0.1
"""km/s in one THz Å."""


@dataclass(frozen=True, eq=False)
class PhononBands(StoredResult):
    """Phonon frequencies along a path.

    Attributes
    ----------
    q
        (Q, 3), fractions of the reciprocal magnetic primitive cell.
    distance
        (Q,), 1/Å.
    ticks, labels
        Special points: distances (1/Å) and names.
    frequencies
        (Q, 3n), THz, ascending; imaginary frequencies are negative.
    velocities
        Group velocities (Q, 3n, 3), km/s.
    """

    q: Array
    distance: Array
    ticks: Array
    labels: tuple[str, ...]
    frequencies: Array
    velocities: Array

    def at(self, label: str) -> Array:
        """Frequencies (3n,), THz, at a special point."""
        return self.frequencies[index_of_point(label, self.labels, self.ticks, self.distance)]

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw the bands, imaginary ones below zero; ``style`` goes to matplotlib's ``plot``."""
        ax = new_axes() if ax is None else ax
        style = {"color": "C0", "linewidth": 1.3, **style}
        label = style.pop("label", None)
        for part in path_segments(self.distance):
            lines = ax.plot(self.distance[part], self.frequencies[part], **style)
            lines[0].set_label(label)
            label = None
        draw_ticks(ax, self.ticks, self.labels, self.distance)
        ax.axhline(0.0, color="0.5", linewidth=0.8, zorder=0)
        ax.set_ylabel("frequency (THz)")
        if self.frequencies.min() > -1e-3 * self.frequencies.max():
            ax.set_ylim(bottom=0.0)
        return ax


@dataclass(frozen=True, eq=False)
class PhononDos(StoredResult):
    """Phonon density of states.

    Attributes
    ----------
    frequency
        (F,), THz.
    density
        (F,), states per THz and primitive cell; the integral is 3n.
    projected
        (s, F), the part of each species; they add up to ``density``.
    species
        Symbols, s of them.
    error
        (F,): difference to the mesh with half as many points per direction.
    mesh
        Points per direction.
    """

    frequency: Array
    density: Array
    projected: Array
    species: tuple[str, ...]
    error: Array
    mesh: NDArray[np.int64]

    def plot(self, ax: Axes | None = None, *, upright: bool = False) -> Axes:
        """Draw the density with its uncertainty and the species; ``upright`` puts frequencies on the vertical axis."""
        ax = new_axes() if ax is None else ax
        names = ("frequency (THz)", "density of states (1/THz per cell)")
        fill: Any = ax.fill_between
        if upright:
            fill, names = ax.fill_betweenx, names[::-1]
        low, high = self.density - self.error, self.density + self.error
        fill(self.frequency, low, high, color="0.5", alpha=0.4, linewidth=0.0)
        for name, y in (("total", self.density), *zip(self.species, self.projected, strict=True)):
            if len(self.species) > 1 or name == "total":
                line = ax.plot(*((y, self.frequency) if upright else (self.frequency, y)), linewidth=1.2, label=name)
                line[0].set_color("k" if name == "total" else line[0].get_color())
        ax.set(xlabel=names[0], ylabel=names[1])
        (ax.set_xlim if upright else ax.set_ylim)(0.0, 1.05 * float(self.density.max()))
        ax.legend(fontsize=8)
        return ax


def band_structure(phonon: Phonopy, path: QPath) -> PhononBands:
    """Frequencies and group velocities along a path; with Born charges Γ takes the direction of its segment."""
    bands: Any = phonon.run_band_structure(
        [path.q[part] for part in path_segments(path.distance)], with_group_velocities=True
    )
    return PhononBands(
        path.q,
        path.distance,
        path.ticks,
        path.labels,
        np.concatenate(bands.frequencies),
        VELOCITY * np.concatenate(bands.group_velocities),
    )


def sample(phonon: Phonopy, mesh: NDArray[np.int64], **options: Any) -> Any:
    """phonopy's mesh, with Γ on it; one that does not fit the point group is used in full, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return phonon.run_mesh(mesh, is_gamma_center=True, **options)


def density_of_states(phonon: Phonopy, mesh: NDArray[np.int64], *, points: int = 200) -> PhononDos:
    """Total and projected densities by the tetrahedron method, and the total one of the mesh of half the size."""
    run = sample(phonon, mesh, with_eigenvectors=True, is_mesh_symmetry=False)
    low, high = float(run.frequencies.min()), float(run.frequencies.max())
    margin = 0.03 * (high - min(low, 0.0))
    window: dict[str, Any] = {"freq_min": min(low, 0.0) - margin, "freq_max": high + margin}
    window["freq_pitch"] = (window["freq_max"] - window["freq_min"]) / points
    atoms: Any = phonon.run_projected_dos(**window)
    sample(phonon, np.maximum(mesh // 2, 1))
    coarse = phonon.run_total_dos(**window).dos
    symbols = phonon.primitive.symbols
    species = tuple(dict.fromkeys(symbols))
    projected = np.array([atoms.projected_dos[[s == name for s in symbols]].sum(axis=0) for name in species])
    total = projected.sum(axis=0)
    return PhononDos(np.array(atoms.frequency_points), total, projected, species, np.abs(total - coarse), mesh)
