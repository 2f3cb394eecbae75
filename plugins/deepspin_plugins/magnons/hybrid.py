"""Magnons and phonons together: the harmonic problem of positions and transverse moments.

To second order in displacements u and transverse deviations t of unit vectors,

    E₂ = ½ u Φ u + u G t + ½ t M t,   Φ = ∂²E/∂R∂R,  G_ij = ∂²E/∂R_i∂m_j |m_j|,  M: see ``potential.py``.

u and p obey Hamilton's equations, t turns about its field; both are first order in time and linear in bosons,

    u = ℓ (a + a†)/√2,  p = (ħ/ℓ)(a - a†)/(i√2),  ℓ² = ħ²/(mass ε₀);   t = (b p + b† p̄)/√(2S),

so that all modes at q follow from one Bogoliubov transformation. ε₀ only sets the scale of the bosons a; results do not
depend on it. For G = 0 the modes are the phonons and the magnons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.units import _amu, _e
from numpy.typing import ArrayLike

from deepspin_ase.band_path import draw_ticks
from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import HBAR
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array
from deepspin_plugins.exchange.hessian import Method, calculator_of, moment_hessian
from deepspin_plugins.exchange.supercell import SupercellLike
from deepspin_plugins.magnons import bosons
from deepspin_plugins.magnons.fourier import Complex, FourierSum, as_qpoints
from deepspin_plugins.magnons.lattice import displacement_hessian
from deepspin_plugins.magnons.lswt import SpinWaves
from deepspin_plugins.magnons.potential import magnetic_sites, spin_waves_from_hessian
from deepspin_plugins.magnons.qpoints import QPath, q_path
from deepspin_plugins.magnons.supercells import symmetric_supercell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepspin_plugins.magnons.qpoints import Point

_HBAR2_PER_AMU = (HBAR * 1e10) ** 2 * _e / _amu
"""ħ²/amu in eV Å²."""
_SCALE = 0.03
"""ε₀, eV."""


@dataclass(frozen=True, eq=False)
class HybridWaves:
    """Coupled magnons and phonons; made by :func:`hybrid_waves`.

    Parameters
    ----------
    atoms
        Magnetic cell.
    waves
        Spin waves of its magnetic sites.
    lattice
        Φ(q) in boson units, meV.
    coupling
        G(q) in boson units, meV.
    tolerance
        As in :class:`SpinWaves`.
    """

    atoms: Atoms
    waves: SpinWaves
    lattice: FourierSum
    coupling: FourierSum
    tolerance: float

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of phonon and magnon branches."""
        return 3 * len(self.atoms), len(self.waves)

    def hamiltonian(self, q: ArrayLike, *, coupled: bool = True) -> Complex:
        """Boson Hamiltonian, meV, (Q, 2b, 2b), b = 3n + n_magnetic: phonons, magnons, then their conjugates."""
        points = as_qpoints(q)
        phonons, magnons = self.sizes
        b = phonons + magnons
        h = np.zeros((len(points), 2 * b, 2 * b), dtype=complex)
        a, c = np.arange(phonons), np.arange(phonons, b)
        lattice = self.lattice(points)
        for row in (a, a + b):
            for column in (a, a + b):
                sign = 1.0 if row[0] == column[0] else -1.0  # ½ p²: (a† - a)(a - a†) up to a sign
                h[:, row[:, None], column] = lattice + sign * 1e3 * _SCALE / 2 * np.eye(phonons)
        spins = np.concatenate([c, c + b])
        h[:, spins[:, None], spins] = self.waves.hamiltonian(points)
        if coupled:
            mixed = self.coupling(points)
            for row in (a, a + b):
                h[:, row[:, None], spins] = mixed
                h[:, spins[:, None], row] = np.conj(mixed.swapaxes(1, 2))
        return h

    def energies(self, q: ArrayLike, *, coupled: bool = True) -> Array:
        """Energies of all modes, meV, (Q, 3n + n_magnetic), ascending."""
        points = as_qpoints(q)
        return bosons.energies(
            self.hamiltonian(points, coupled=coupled), points, scale=self._scale, tolerance=self.tolerance
        )

    def spin_weights(self, q: ArrayLike) -> tuple[Array, Array]:
        """Energies (Q, b), meV, and the part of each mode that is motion of moments, (Q, b), from 0 to 1."""
        points = as_qpoints(q)
        modes = bosons.modes(self.hamiltonian(points), points, scale=self._scale, tolerance=self.tolerance)
        phonons, magnons = self.sizes
        b = phonons + magnons
        norm = np.abs(modes.transformation[:, :, :b]) ** 2
        weight = norm[:, phonons:b].sum(axis=1) - norm[:, b + phonons :].sum(axis=1)
        return modes.energies, np.clip(weight, 0.0, 1.0)

    @cached_property
    def _scale(self) -> float:
        return float(np.abs(self.hamiltonian(np.array([0.31, 0.17, 0.23]))).max())


@dataclass(frozen=True, eq=False)
class HybridBands(StoredResult):
    """Coupled magnon-phonon bands along a path.

    Attributes
    ----------
    q, distance, ticks, labels
        As in ``MagnonBands``.
    energies
        (Q, b), meV.
    spin_weight
        (Q, b): 1 is a magnon, 0 a phonon.
    """

    q: Array
    distance: Array
    ticks: Array
    labels: tuple[str, ...]
    energies: Array
    spin_weight: Array

    def plot(self, ax: Axes | None = None, *, cmap: str = "coolwarm") -> Axes:
        """Draw the bands; colour is the spin weight."""
        from matplotlib.collections import LineCollection

        ax = new_axes() if ax is None else ax
        lines, colours = [], []
        for band in range(self.energies.shape[1]):
            points = np.column_stack([self.distance, self.energies[:, band]])
            keep = np.diff(self.distance) > 0.0
            middle = (points[1:] + points[:-1]) / 2  # each half has the colour of its own end: crossings do not blend
            lines += [np.stack([points[:-1], middle], axis=1)[keep], np.stack([middle, points[1:]], axis=1)[keep]]
            colours += [self.spin_weight[:-1, band][keep], self.spin_weight[1:, band][keep]]
        drawn = LineCollection(list(np.concatenate(lines)), array=np.concatenate(colours), cmap=cmap, linewidths=1.6)
        drawn.set_clim(0.0, 1.0)
        ax.add_collection(drawn)
        ax.figure.colorbar(drawn, ax=ax, label="spin weight")
        ax.set_ylim(0.0, 1.05 * float(self.energies.max()))
        ax.set_ylabel("energy (meV)")
        draw_ticks(ax, self.ticks, self.labels, self.distance)
        return ax


def hybrid_waves(
    atoms: Atoms,
    calc: Any = None,
    *,
    cutoff: float = 6.0,
    supercell: SupercellLike = "auto",
    method: Method = "auto",
    moment_step: float = 0.02,
    displacement: float = 0.01,
    minimum_moment: float = 0.05,
    tolerance: float = 1e-4,
) -> HybridWaves:
    """Coupled magnons and phonons of a relaxed magnetic structure.

    Parameters
    ----------
    atoms
        Magnetic cell with relaxed positions and moments; left as it is.
    calc
        Calculator with forces and magnetic forces; default ``atoms.calc``.
    cutoff, supercell, method, minimum_moment
        As in :func:`spin_waves_from_potential`.
    moment_step, displacement
        Steps of finite differences, µB and Å.
    tolerance
        Stiffnesses down to -tolerance times the largest one count as zero.

    Raises
    ------
    InputError
        A state with torques; lattice forces of more than 0.05 eV/Å.
    """
    calculator = calculator_of(atoms, calc)
    big = symmetric_supercell(atoms, supercell, cutoff)
    own = magnetic_sites(atoms, minimum_moment)
    waves = spin_waves_from_hessian(
        atoms,
        big,
        moment_hessian(big.atoms, calculator, sites=own, method=method, step=moment_step),
        tolerance=tolerance,
    )
    n = len(atoms)
    moved = displacement_hessian(big.atoms, calculator, n, step=displacement)
    largest = float(np.linalg.norm(moved.forces, axis=1).max())
    if largest > 0.05:
        raise InputError(
            f"the structure is not relaxed: the largest force is {largest:.3g} eV/Å (allowed: 0.05). "
            "Relax it with FIRE(SpinLatticeFilter(atoms)).run(fmax=0.001)."
        )
    row, atom, offset, _, weight = big.images(np.arange(n))
    size = np.sqrt(_HBAR2_PER_AMU / (atoms.get_masses() * _SCALE) / 2)  # ℓ/√2, Å
    phi = moved.positions.transpose(0, 2, 1, 3)[row, atom] * weight[:, None, None]
    column = big.site[atom]
    phi = 1e3 * phi * (size[row] * size[column])[:, None, None]
    parts = [(row, column, offset, phi / 2), (column, row, -offset, phi.transpose(0, 2, 1) / 2)]
    lattice = FourierSum.from_blocks(parts, (3 * n, 3 * n))

    spin = np.isin(column, own)
    row, atom, offset, weight = row[spin], atom[spin], offset[spin], weight[spin]
    site = np.searchsorted(own, big.site[atom])
    length = np.linalg.norm(get_moments(atoms), axis=1)[own]
    mixed = moved.mixed.transpose(0, 2, 1, 3)[row, atom] * (1e3 * weight * size[row] * length[site])[:, None, None]
    frame = waves.frames / np.sqrt(length)[:, None]
    m = len(own)
    parts = [
        (row, site + k * m, offset, np.einsum("bxa,ba->bx", mixed, w[site])[:, :, None])
        for k, w in enumerate((frame, frame.conj()))
    ]
    coupling = FourierSum.from_blocks(parts, (3 * n, 2 * m))
    return HybridWaves(atoms.copy(), waves, lattice, coupling, tolerance)


def hybrid_bands(
    waves: HybridWaves,
    path: QPath | str | Sequence[Sequence[Point]] | None = None,
    *,
    points: dict[str, ArrayLike] | None = None,
    spacing: float = 0.02,
) -> HybridBands:
    """Coupled bands along a path; see :func:`q_path` for its options."""
    if not isinstance(path, QPath):
        path = q_path(waves.atoms, path, points=points, spacing=spacing)
    energies, weight = waves.spin_weights(path.q)
    return HybridBands(path.q, path.distance, path.ticks, path.labels, energies, weight)
