"""Force constants averaged over snapshots of moving atoms or moments, and how well the average is known.

The model is F = -Φ u in every snapshot, with one Φ that has the symmetry of the crystal and obeys the acoustic sum
rule; Φ is fitted to all snapshots by least squares (symfc). Errors are those of a jackknife: the fit is repeated
without each block of snapshots in turn, and everything that is derived from Φ gets its error from these replicas.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.band_path import QPath, draw_ticks, path_segments
from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_plugins.phonons.result import PhononResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from phonopy import Phonopy

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AveragedBands(StoredResult):
    """Bands of averaged force constants.

    Attributes
    ----------
    q
        (Q, 3), fractions of the reciprocal primitive cell.
    distance
        (Q,), 1/Å.
    ticks, labels
        Special points: distances (1/Å) and names.
    frequencies, errors
        (Q, 3n), THz, ascending; imaginary frequencies are negative. One standard error.
    """

    q: Array
    distance: Array
    ticks: Array
    labels: tuple[str, ...]
    frequencies: Array
    errors: Array

    def plot(self, ax: Axes | None = None, *, color: str = "C0", label: str | None = None) -> Axes:
        """Draw lines, and bands of one standard error to either side."""
        ax = new_axes() if ax is None else ax
        for part in path_segments(self.distance):
            for middle, error in zip(self.frequencies[part].T, self.errors[part].T, strict=True):
                ax.fill_between(self.distance[part], middle - error, middle + error, color=color, alpha=0.3, lw=0)
            lines = ax.plot(self.distance[part], self.frequencies[part], color=color, lw=1)
            lines[0].set_label(label)
            label = None
        draw_ticks(ax, self.ticks, self.labels, self.distance)
        ax.axhline(0.0, color="0.5", linewidth=0.8, zorder=0)
        ax.set_ylabel("frequency (THz)")
        return ax


@dataclass(frozen=True, eq=False)
class AveragedPhonons(StoredResult):
    """Phonons of averaged force constants; arrays are read-only.

    Attributes
    ----------
    cell
        Text of a phonopy.yaml with the cells, without force constants.
    force_constants
        Φ in eV/Å², (atoms of the primitive cell, atoms of the supercell, 3, 3), order of phonopy.
    replicas
        Φ fitted without one block of snapshots each, (blocks, ...) like ``force_constants``.
    misfit
        Root mean square of F + Φu over that of F: what the average does not describe, that is fluctuations of the
        moments, anharmonicity and noise.
    static_force
        Root mean square force in eV/Å that does not depend on the displacements; it averages to zero.
    snapshots
        How many there were.
    axis
        Line of a collinear (n, 3) state that phonopy knows as numbers, (3,); else None.
    temperature
        Of the snapshots in K; None for disordered moments.
    """

    cell: str
    force_constants: Array
    replicas: Array
    misfit: float
    static_force: float
    snapshots: int
    axis: Array | None = None
    temperature: float | None = None

    @cached_property
    def mean(self) -> PhononResult:
        """Phonons of the averaged force constants: density of states, thermal properties, phonopy.yaml, ..."""
        import phonopy

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said when the supercell was made
            phonon = phonopy.load(io.StringIO(self.cell), produce_fc=False, is_nac=False, log_level=0)
        phonon.force_constants = self.force_constants
        return PhononResult(phonon, self.axis, state="averaged", method="random")

    def frequencies(self, q: ArrayLike) -> tuple[Array, Array]:
        """Frequencies and their standard errors.

        Parameters
        ----------
        q
            (3,) or (k, 3), fractions of the reciprocal primitive cell.

        Returns
        -------
        tuple of ndarray
            Both (modes,) or (k, modes), THz. Imaginary frequencies are negative.
        """
        points = np.atleast_2d(np.asarray(q, dtype=float))
        mean, replicas = self._frequencies(points)
        error = jackknife_error(replicas)
        return (mean[0], error[0]) if np.ndim(q) == 1 else (mean, error)

    def correlation_of_blocks(self, q: ArrayLike) -> float:
        """Check that the blocks are independent.

        Parameters
        ----------
        q
            (k, 3), points to check at.

        Returns
        -------
        float
            Error with blocks of twice the length over the error as stated, root mean square over all modes: 1 within
            about 0.3 if blocks are independent; if it is clearly larger, blocks are shorter than the correlation time,
            errors are too small, and longer trajectories or fewer blocks are needed.
        """
        mean, replicas = self._frequencies(np.atleast_2d(np.asarray(q, dtype=float)))
        count = len(replicas) // 2 * 2
        pseudo = count * mean - (count - 1) * replicas[:count]
        pairs = pseudo.reshape(count // 2, 2, *mean.shape).mean(axis=1)
        single = np.var(pseudo, axis=0, ddof=1) / count
        double = np.var(pairs, axis=0, ddof=1) / (count // 2)
        return float(np.sqrt(double.sum() / single.sum()))

    def bands(self, path: QPath | str | None = None) -> AveragedBands:
        """Band structure with errors along a path; default that of seekpath."""
        chosen = path if isinstance(path, QPath) else self.mean.path(path)
        mean, error = self.frequencies(chosen.q)
        return AveragedBands(chosen.q, chosen.distance, chosen.ticks, chosen.labels, mean, error)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the bands along the default path with their errors."""
        return self.bands().plot(ax)

    def _frequencies(self, points: Array) -> tuple[Array, Array]:
        phonon = self.mean.phonon
        values = []
        try:
            for constants in (*self.replicas, self.force_constants):
                phonon.force_constants = constants
                values.append(np.array(phonon.run_qpoints(points).frequencies))
        finally:
            phonon.force_constants = self.force_constants
        return values[-1], np.array(values[:-1])


def average_force_constants(
    phonon: Phonopy,
    displacements: ArrayLike,
    forces: ArrayLike,
    *,
    blocks: int,
    axis: Array | None = None,
    temperature: float | None = None,
    static_force: float = 0.0,
) -> AveragedPhonons:
    """Fit force constants to snapshots; errors from leaving out blocks.

    Parameters
    ----------
    phonon
        Cells and symmetry; it is not changed.
    displacements, forces
        (snapshots, atoms, 3) in Å and eV/Å, atoms in the order of phonopy's supercell.
    blocks
        Number of blocks of consecutive snapshots.
    axis, temperature, static_force
        Kept with the result.

    Returns
    -------
    AveragedPhonons
        Fit and jackknife replicas.

    Raises
    ------
    InputError
        Wrong shapes, values that are not finite, or fewer data than force constants.

    Notes
    -----
    Symmetric force constants: A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024).
    """
    u, f = _snapshots(displacements, forces, len(phonon.supercell))
    if not 2 <= blocks <= len(u):
        raise InputError(f"blocks = {blocks}; allowed: 2 to {len(u)}, the number of snapshots.")
    parts = np.array_split(np.arange(len(u)), blocks)
    solver = _Fit(phonon)
    kept = len(u) - max(len(part) for part in parts)
    if solver.unknowns > 3 * len(phonon.supercell) * kept:
        raise InputError(
            f"{len(u)} snapshots in {blocks} blocks cannot determine {solver.unknowns} independent force constants; "
            "give more snapshots."
        )
    mean = solver(u, f)
    replicas = [
        solver(np.delete(u, part, axis=0), np.delete(f, part, axis=0)) for part in track(parts, "jackknife of the fit")
    ]
    rest = f + np.einsum("ijab,sjb->sia", mean, u)
    return AveragedPhonons(
        cell=str(phonon.to_phonopy_yaml(settings={"force_sets": False, "displacements": False})),
        force_constants=solver.compact(mean),
        replicas=np.array([solver.compact(one) for one in replicas]),
        misfit=float(np.sqrt((rest**2).mean() / (f**2).mean())) if f.any() else 0.0,
        static_force=static_force,
        snapshots=len(u),
        axis=axis,
        temperature=temperature,
    )


def commensurate_points(phonon: Phonopy) -> Array:
    """Wavevectors that fit into the supercell, in fractions of the reciprocal primitive cell, near Γ, (k, 3)."""
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points
    from phonopy.structure.brillouin_zone import get_qpoints_in_Brillouin_zone

    matrix = np.rint(np.linalg.solve(phonon.primitive.cell.T, phonon.supercell.cell.T)).astype(np.int64)
    points = get_commensurate_points(matrix)
    reciprocal = np.array(np.linalg.inv(phonon.primitive.cell), dtype=np.float64)
    return np.array(get_qpoints_in_Brillouin_zone(reciprocal, points, only_unique=True))


def jackknife_error(replicas: Sequence[Any] | Array) -> Array:
    """Standard error of a number from its values without one block each (first axis)."""
    values = np.asarray(replicas, dtype=float)
    count = len(values)
    return np.asarray(np.sqrt((count - 1) * np.var(values, axis=0)))


class _Fit:
    """symfc with the basis of symmetric force constants kept between fits."""

    def __init__(self, phonon: Phonopy) -> None:
        from symfc import Symfc
        from symfc.utils.utils import SymfcAtoms

        cell = phonon.supercell
        self._primitive = phonon.primitive
        self._symfc = Symfc(
            SymfcAtoms(cell=cell.cell, scaled_positions=cell.scaled_positions, numbers=cell.numbers),
            spacegroup_operations=phonon.symmetry.symmetry_operations,
        )
        self._symfc.compute_basis_set(orders=[2])

    @property
    def unknowns(self) -> int:
        """Number of independent force constants."""
        return int(self._symfc.basis_set[2].basis_set.shape[1])

    def __call__(self, u: Array, f: Array) -> Array:
        """Full force constants, (n, n, 3, 3)."""
        self._symfc.displacements, self._symfc.forces = u, f
        self._symfc.solve(orders=[2], is_compact_fc=False)
        return np.array(self._symfc.force_constants[2])

    def compact(self, full: Array) -> Array:
        """Rows of the primitive cell's atoms, in the order of phonopy."""
        return full[self._primitive.p2s_map]


def _snapshots(displacements: ArrayLike, forces: ArrayLike, atoms: int) -> tuple[Array, Array]:
    arrays = []
    for name, value in (("displacements", displacements), ("forces", forces)):
        array = np.asarray(value, dtype=float)
        if array.ndim != 3 or array.shape[1:] != (atoms, 3):
            raise InputError(f"{name} have shape {array.shape}; allowed: (snapshots, {atoms}, 3).")
        if not np.isfinite(array).all():
            raise InputError(f"{name} hold values that are not finite.")
        arrays.append(array)
    if len(arrays[0]) != len(arrays[1]):
        raise InputError(f"{len(arrays[0])} sets of displacements, but {len(arrays[1])} of forces.")
    return arrays[0], arrays[1]
