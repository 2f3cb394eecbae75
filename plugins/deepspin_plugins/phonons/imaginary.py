"""Imaginary modes: where they are, and the lower structure that they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.optimize import BFGS
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.filters import SpinLatticeFilter
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_plugins.phonons.averages import commensurate_points
from deepspin_plugins.phonons.forces import STATES, State
from deepspin_plugins.phonons.waves import mode_displacements, smallest_supercell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepspin_plugins.phonons.result import PhononResult

Array = NDArray[np.float64]

_POINTS = 20  # amplitudes to either side
_SMALL = 0.01  # Å, amplitude at which the curvature is measured


@dataclass(frozen=True, eq=False)
class ImaginaryModes(StoredResult):
    """Modes that lower the energy; k of them, the most unstable first.

    Attributes
    ----------
    q
        (k, 3), fractions of the reciprocal primitive cell.
    band
        (k,), number of the mode at q, from 0.
    frequency
        (k,), THz, negative: the imaginary part with a minus sign.
    eigenvector
        (k, n, 3), complex, orthonormal, mass-weighted; atom κ in cell l moves as Re e_κ exp(2πi q·r)/√m_κ.
    commensurate
        (k,), whether q fits into the supercell of the force constants. There a frequency is exact; elsewhere it is
        interpolated, and an imaginary one may be due to a supercell that is too small.
    tolerance
        THz; modes above -tolerance are not counted.
    searched
        Number of wavevectors that were looked at.
    """

    q: Array
    band: NDArray[np.int64]
    frequency: Array
    eigenvector: NDArray[np.complex128]
    commensurate: NDArray[np.bool_]
    tolerance: float
    searched: int

    def __len__(self) -> int:
        """Number of modes."""
        return len(self.q)

    def __str__(self) -> str:
        """One line per mode, at most ten."""
        if not len(self):
            return f"no imaginary modes beyond {self.tolerance:g} THz at {self.searched} wavevectors"
        lines = [f"{len(self)} imaginary modes at {self.searched} wavevectors; the most unstable:"]
        for q, band, frequency, fits in list(zip(self.q, self.band, self.frequency, self.commensurate, strict=True))[
            :10
        ]:
            where = "fits into the supercell" if fits else "interpolated"
            point = " ".join(f"{x:8.4f}" for x in q.round(4) + 0.0)
            lines.append(f"  q = {point}  mode {band + 1:2d}  {-frequency:7.3f}i THz  ({where})")
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the frequencies over the length of q in fractional coordinates."""
        ax = new_axes() if ax is None else ax
        length = np.linalg.norm(self.q, axis=1)
        for fits, label in ((True, "fits into the supercell"), (False, "interpolated")):
            chosen = self.commensurate == fits
            ax.plot(length[chosen], self.frequency[chosen], "o" if fits else ".", label=label)
        ax.set_xlabel("|q| (fractions of the reciprocal cell)")
        ax.set_ylabel("frequency (THz, imaginary as negative)")
        ax.legend()
        return ax


@dataclass(frozen=True, eq=False)
class FollowedMode(StoredResult):
    """Energy along a mode and the structure that relaxation finds from its minimum.

    Attributes
    ----------
    q, band, frequency
        The mode; frequency in THz from the force constants.
    curvature_frequency
        THz, from the energy at small amplitude; agrees with ``frequency`` if the force constants are right.
    supercell
        (3, 3) integers, vectors of the new cell in those of the primitive cell (rows).
    amplitude
        (k,), Å: displacement of the atom that moves farthest.
    energy
        (k,), eV per primitive cell, relative to the undisplaced crystal.
    energy_gain
        eV per primitive cell after relaxation; 0 if no amplitude lowers the energy.
    residual_force
        Largest force (eV/Å) that is left; compare with the ``fmax`` asked for.
    numbers, masses, cell, positions, moments
        Relaxed structure: (n,), (n,) u, (3, 3) Å, (n, 3) Å, (n, 3) µB.
    """

    q: Array
    band: int
    frequency: float
    curvature_frequency: float
    supercell: NDArray[np.int64]
    amplitude: Array
    energy: Array
    energy_gain: float
    residual_force: float
    numbers: NDArray[np.int64]
    masses: Array
    cell: Array
    positions: Array
    moments: Array

    def to_atoms(self) -> Atoms:
        """Relaxed structure, without a calculator."""
        atoms = Atoms(self.numbers, positions=self.positions, cell=self.cell, pbc=True, masses=self.masses)
        if self.moments.any():
            set_moments(atoms, self.moments)
        return atoms

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the energy along the mode."""
        ax = new_axes() if ax is None else ax
        ax.plot(self.amplitude, 1e3 * self.energy, "o-", label=f"{self.frequency:.2f} THz")
        ax.axhline(-1e3 * self.energy_gain, color="C3", lw=1, label="relaxed")
        ax.set_xlabel("largest displacement (Å)")
        ax.set_ylabel("energy (meV per primitive cell)")
        ax.legend()
        return ax


def imaginary_modes(result: PhononResult, *, mesh: ArrayLike | None = None, tolerance: float = 0.05) -> ImaginaryModes:
    """Look for imaginary modes.

    Parameters
    ----------
    result
        Phonons.
    mesh
        (3,), further wavevectors on a Γ-centred mesh; always searched are those that fit into the supercell.
    tolerance
        THz, size from which an imaginary frequency counts.
    """
    phonon = result.phonon
    own = commensurate_points(phonon)
    points = own
    if mesh is not None:
        axes = [np.arange(n) / n for n in np.asarray(mesh, dtype=np.int64)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        grid -= np.rint(grid)
        points = np.concatenate([own, grid[~_listed(grid, own)]])
    frequencies, vectors = result.modes(points)
    where, band = np.nonzero(frequencies < -abs(tolerance))
    order = np.argsort(frequencies[where, band], kind="stable")
    where, band = where[order], band[order]
    return ImaginaryModes(
        q=points[where],
        band=band.astype(np.int64),
        frequency=frequencies[where, band],
        eigenvector=vectors[where, :, band].reshape(len(where), len(phonon.primitive), 3),
        commensurate=where < len(own),
        tolerance=abs(float(tolerance)),
        searched=len(points),
    )


def follow_mode(
    result: PhononResult,
    calc: Any,
    q: ArrayLike,
    band: int = 0,
    *,
    largest: float = 0.5,
    state: State = "frozen",
    cell: bool = False,
    fmax: float = 1e-3,
    steps: int = 500,
) -> FollowedMode:
    """Displace the crystal along a mode, to where the energy is lowest, and relax it from there.

    Parameters
    ----------
    result
        Phonons.
    calc
        Calculator.
    q, band
        The mode; q (3,) in fractions of the reciprocal primitive cell with denominators up to 12. The smallest
        supercell that holds it is used.
    largest
        Å, largest amplitude to try; both signs.
    state
        What the moments do while the structure relaxes, as in :func:`phonons`; amplitudes are tried at frozen moments.
    cell
        Relax the cell, too.
    fmax, steps
        eV/Å, when the relaxation is done, and how many steps it may take.

    Returns
    -------
    FollowedMode
        Energies along the mode and the relaxed structure. A relaxation keeps the symmetry of its start, so the result
        may still be a saddle point: calculate its phonons.

    Raises
    ------
    InputError
        A wavevector without a small supercell, no such mode.
    """
    if state not in STATES:
        raise InputError(f"state = {state!r}; allowed: {', '.join(STATES)}.")
    phonon = result.phonon
    point = np.asarray(q, dtype=float)
    frequencies, vectors = result.modes(point)
    if not 0 <= band < frequencies.shape[1]:
        raise InputError(f"band = {band}; allowed: 0 to {frequencies.shape[1] - 1}.")
    primitive = result.primitive
    matrix = smallest_supercell(primitive, point)
    crystal = make_supercell(primitive, matrix)
    pattern = mode_displacements(crystal, primitive, point, vectors[0][:, band])
    cells = len(crystal) / len(primitive)

    grid = largest * (np.arange(_POINTS + 1) / _POINTS) ** 2
    grid = np.concatenate([-grid[:0:-1], grid])
    energy = np.array([_energy(crystal, a * pattern, calc) for a in grid])
    zero = energy[_POINTS]
    bend = sum(_energy(crystal, a * pattern, calc) for a in (_SMALL, -_SMALL)) - 2 * zero
    stiffness = bend / _SMALL**2 / (crystal.get_masses() @ (pattern**2).sum(axis=1))

    best = int(np.argmin(energy))
    crystal.calc = calc
    relaxed, gain = crystal, 0.0
    if best != _POINTS:
        relaxed = crystal.copy()
        relaxed.calc = calc
        relaxed.positions += grid[best] * pattern
        turn = state != "frozen" and relaxed.get_initial_magnetic_moments().ndim == 2
        target = SpinLatticeFilter(relaxed, directions=turn, magnitudes=state == "relaxed", cell=cell)
        with BFGS(cast("Atoms", target), logfile=None) as optimizer:
            optimizer.run(fmax=fmax, steps=steps)
        gain = (zero - relaxed.get_potential_energy()) / cells
    return FollowedMode(
        q=point,
        band=int(band),
        frequency=float(frequencies[0, band]),
        curvature_frequency=float(np.sign(stiffness) * np.sqrt(abs(stiffness)) * phonon.unit_conversion_factor),
        supercell=matrix,
        amplitude=grid,
        energy=(energy - zero) / cells,
        energy_gain=float(gain),
        residual_force=float(np.linalg.norm(relaxed.get_forces(), axis=1).max()),
        numbers=relaxed.numbers.astype(np.int64),
        masses=relaxed.get_masses(),
        cell=relaxed.cell.array,
        positions=relaxed.positions,
        moments=get_moments(relaxed),
    )


def _energy(crystal: Atoms, shift: Array, calc: Any) -> float:
    moved = crystal.copy()
    moved.positions += shift
    moved.calc = calc
    return float(moved.get_potential_energy())


def _listed(points: Array, known: Array) -> NDArray[np.bool_]:
    """Whether each point is one of the known ones, up to reciprocal lattice vectors."""
    apart = points[:, None] - known[None]
    return cast("NDArray[np.bool_]", (np.abs(apart - np.rint(apart)).max(axis=2) < 1e-6).any(axis=1))
