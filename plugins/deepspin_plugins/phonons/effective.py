"""Effective phonons at a finite temperature, from snapshots of molecular or spin-lattice dynamics."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_plugins.phonons.averages import AveragedPhonons, average_force_constants
from deepspin_plugins.phonons.bridge import match_atoms, moment_axis, to_ase
from deepspin_plugins.phonons.cells import build_phonopy

Array = NDArray[np.float64]

_CELL_TOLERANCE = 1e-4
_FARTHEST = 1.5  # Å, a displacement beyond which an atom has left its site


def effective_phonons(
    crystal: Atoms,
    snapshots: Iterable[Atoms],
    *,
    temperature: float,
    blocks: int = 10,
    spin_orbit: bool = False,
    symprec: float = 1e-4,
) -> AveragedPhonons:
    """Harmonic force constants that describe the forces along a trajectory best.

    Least squares of F - <F> = -Φ (u - <u>) over all snapshots, the temperature-dependent effective potential of second
    order. The state of the moments is that of the trajectory: fixed, or moving as in spin-lattice dynamics.

    Parameters
    ----------
    crystal
        Cell of the crystal, ideal positions; its moments decide which symmetry is used. Leave them out for a
        paramagnet.
    snapshots
        Structures with forces (a calculator with results, as ``ase.io.Trajectory`` gives them): supercells of the
        crystal with one common cell, in order of time and in equilibrium. Any order of atoms, the same in all.
    temperature
        K, of the trajectory; kept with the result.
    blocks
        Blocks of consecutive snapshots for the errors; each must be longer than the correlation time, see
        :meth:`AveragedPhonons.correlation_of_blocks`.
    spin_orbit
        Whether the forces know how moments lie in the lattice. Then collinear moments are axial vectors like any
        others, and the symmetry is lower.
    symprec
        Å, tolerance of the symmetry search.

    Returns
    -------
    AveragedPhonons
        Frequencies with errors. Its ``misfit`` is the anharmonicity measure σ of F. Knoop et al., Phys. Rev.
        Materials 4, 083809 (2020), for the effective force constants.

    Raises
    ------
    InputError
        Snapshots that are no supercells of the crystal, with different cells, without forces, too few, or with atoms
        that have left their sites.

    Notes
    -----
    O. Hellman, I. A. Abrikosov and S. I. Simak, Phys. Rev. B 84, 180301 (2011). Classical dynamics samples a classical
    ensemble; the frequencies are those of the classical crystal at this temperature.
    """
    frames = list(snapshots)
    if len(frames) < 2:
        raise InputError(f"{len(frames)} snapshots; allowed: at least 2, better some hundred.")
    if not temperature > 0:
        raise InputError(f"temperature = {temperature} K; allowed: a positive number.")
    axis = None if spin_orbit else moment_axis(crystal)
    phonon = build_phonopy(crystal, _matrix(crystal, frames[0]), axis=axis, symprec=symprec)
    sites = to_ase(phonon.supercell)
    order = match_atoms(sites, frames[0])
    u = np.array([displacements(sites, frame, order) for frame in frames])
    f = np.array([_forces(frame)[order] for frame in frames])
    static = f.mean(axis=0)
    return average_force_constants(
        phonon,
        u - u.mean(axis=0),
        f - static,
        blocks=blocks,
        axis=axis,
        temperature=float(temperature),
        static_force=float(np.sqrt((static**2).mean())),
    )


def _matrix(crystal: Atoms, supercell: Atoms) -> NDArray[np.int64]:
    """Vectors of the supercell in those of the crystal (rows)."""
    matrix = np.rint(supercell.cell.array @ np.linalg.inv(crystal.cell.complete().array)).astype(np.int64)
    apart = np.abs(matrix @ crystal.cell.array - supercell.cell.array).max()
    if apart > _CELL_TOLERANCE or round(np.linalg.det(matrix)) * len(crystal) != len(supercell):
        raise InputError(
            f"the snapshots ({len(supercell)} atoms) are no supercell of the crystal ({len(crystal)} atoms): the "
            f"nearest integer matrix {matrix.tolist()} misses the cell by {apart:.2g} Å. Give the crystal with the "
            "mean lattice constant of the trajectory, and snapshots at constant volume."
        )
    return matrix


def displacements(sites: Atoms, frame: Atoms, order: NDArray[np.int64]) -> Array:
    """How far atoms are from their sites (minimum image), without the shift of the whole, (n, 3) in Å.

    Raises
    ------
    InputError
        Another cell, other atoms, or an atom that has left its site.
    """
    if len(frame) != len(sites) or np.abs(frame.cell.array - sites.cell.array).max() > _CELL_TOLERANCE:
        raise InputError("snapshots have different cells or numbers of atoms; use a trajectory at constant volume.")
    if not np.array_equal(frame.numbers[order], sites.numbers):
        raise InputError("snapshots list their atoms in different orders; keep one order.")
    vectors = find_mic(frame.positions[order] - sites.positions, sites.cell, pbc=True)[0]
    vectors = find_mic(vectors - vectors.mean(axis=0), sites.cell, pbc=True)[0]
    farthest = np.linalg.norm(vectors, axis=1).max()
    if not farthest < _FARTHEST:
        raise InputError(
            f"an atom is {farthest:.2f} Å away from its site (allowed: {_FARTHEST}); atoms hop, the crystal is another "
            "one, or positions are not finite. Force constants describe vibrations about fixed sites only."
        )
    return np.asarray(vectors)


def _forces(frame: Atoms) -> Array:
    if frame.calc is None:
        raise InputError(
            "a snapshot has no forces; read trajectories that store them (ase.io.Trajectory, extended xyz with "
            "forces), or set frame.calc."
        )
    return np.asarray(frame.get_forces(apply_constraint=False))
