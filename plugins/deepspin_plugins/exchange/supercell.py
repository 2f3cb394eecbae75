"""Supercells for exchange: which to take, and which periodic image of a pair an element of a Hessian belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from ase import Atoms
from ase.build.supercells import lattice_points_in_supercell
from ase.cell import Cell
from ase.geometry import minkowski_reduce
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.vectors import Array

Integers = NDArray[np.int64]
SupercellLike = Literal["auto"] | int | ArrayLike

_EQUAL = 1e-3  # Å: images closer to each other in length than this are equidistant
_MAX_REPEAT = 40
_MAX_ATOMS = 10_000  # of an automatic supercell
_COMPACT = (  # cells with a shortest vector of one that waste little volume: cubic, body and face centred
    np.eye(3),
    np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / np.sqrt(3),
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2),
)


@dataclass(frozen=True, eq=False)
class Supercell:
    """A supercell whose first n atoms are the cell it was made from.

    Attributes
    ----------
    atoms
        (n·N) atoms with moments, cell by cell.
    matrix
        Rows: vectors of the supercell in those of the cell, (3, 3).
    site, offset
        Atom a is atom ``site[a]`` of the cell, shifted by ``offset[a]`` cells.
    """

    atoms: Atoms
    matrix: Integers
    site: Integers
    offset: Integers

    @property
    def largest_cutoff(self) -> float:
        """Half the shortest period of the supercell, Å: up to here every pair has one image, or equidistant ones."""
        return shortest_period(self.atoms) / 2

    def images(self, i: Integers) -> tuple[Integers, Integers, Integers, Array, Array]:
        """Nearest images of every atom as seen from atoms i (of the first cell).

        Returns
        -------
        row, atom, offset, vector, weight
            Row (which of i), atom of the supercell, its image in units of the *small* cell relative to the cell of
            i, bond vector (Å), and one over the number of equidistant images.
        """
        reduced, operation = _reduced(self.atoms)
        inverse = np.linalg.inv(reduced)
        shifts = _neighbour_shifts(self.atoms.pbc)
        cells = shifts @ operation  # in vectors of the supercell
        results = []
        for row, centre in enumerate(i):
            vector = self.atoms.positions - self.atoms.positions[centre]
            home = -np.where(self.atoms.pbc, np.rint(vector @ inverse), 0.0).astype(np.int64)  # to within ±1
            near = vector + home @ reduced
            trial = near[:, None] + (shifts @ reduced)[None]
            distance = np.linalg.norm(trial, axis=2)
            shortest = distance.min(axis=1, keepdims=True)
            atom, choice = np.nonzero(distance < shortest + _EQUAL)
            moved = (home @ operation)[atom] + cells[choice]
            offset = self.offset[atom] + moved @ self.matrix - self.offset[centre]
            weight = 1.0 / np.bincount(atom, minlength=len(self.atoms))[atom]
            results.append((np.full(len(atom), row), atom, offset, trial[atom, choice], weight))
        rows, atoms, offsets, vectors, weights = (np.concatenate(parts) for parts in zip(*results, strict=True))
        return rows, atoms, offsets, vectors, weights


def make_supercell(atoms: Atoms, supercell: SupercellLike, cutoff: float) -> Supercell:
    """Build a supercell that can hold all pairs up to a cutoff.

    Parameters
    ----------
    atoms
        Magnetic cell.
    supercell
        Repeats (one or three numbers), an integer (3, 3) matrix, or ``"auto"``: the smallest of the diagonal and
        the compact ones.
    cutoff
        Å.

    Raises
    ------
    InputError
        The cutoff exceeds half the shortest period (the message names a supercell that is large enough), the
        supercell is no matrix of integers with a positive determinant, or the automatic one has more than 10,000 atoms.
    """
    if len(atoms) == 0:
        raise InputError("the structure has no atoms.")
    if not np.isfinite(cutoff) or cutoff <= 0.0:
        raise InputError(f"cutoff = {cutoff}; it must be a positive number of Å.")
    missing = atoms.pbc & (atoms.cell.lengths() == 0.0)
    if missing.any():
        raise InputError(
            f"the structure is periodic along vectors {np.flatnonzero(missing).tolist()} of its cell, which are zero; "
            "set the cell, or atoms.pbc."
        )
    matrix = _smallest_matrix(atoms, cutoff) if isinstance(supercell, str) else _matrix(supercell, atoms.pbc)
    if isinstance(supercell, str) and supercell != "auto":
        raise InputError(f"supercell = {supercell!r}; allowed: 'auto', repeats (one or three), or a (3, 3) matrix.")
    size = len(atoms) * _volume(matrix)
    if isinstance(supercell, str) and size > _MAX_ATOMS:
        raise InputError(
            f"cutoff = {cutoff:g} Å needs a supercell of {size} atoms; use a shorter cutoff, or ask for that supercell "
            f"with supercell={matrix.tolist()}."
        )
    built = _build(atoms, matrix)
    if cutoff > built.largest_cutoff + _EQUAL:
        enough = _smallest_matrix(atoms, cutoff)
        raise InputError(
            f"cutoff = {cutoff:g} Å exceeds {built.largest_cutoff:.4f} Å, half the shortest period of the supercell "
            f"{matrix.tolist()}: pairs further apart cannot be told from their periodic images. Use a cutoff up to "
            f"that, or supercell={enough.tolist()} ({len(atoms) * _volume(enough)} atoms), or supercell='auto'."
        )
    return built


def shortest_period(atoms: Atoms) -> float:
    """Length of the shortest lattice vector along periodic directions, Å; infinite for a cluster."""
    if not atoms.pbc.any():
        return np.inf
    reduced, _ = _reduced(atoms)
    shifts = _neighbour_shifts(atoms.pbc)
    return float(np.linalg.norm(shifts[shifts.any(axis=1)] @ reduced, axis=1).min())


def _build(atoms: Atoms, matrix: Integers) -> Supercell:
    points = lattice_points_in_supercell(matrix) @ matrix
    offsets = np.rint(points).astype(np.int64)
    offsets = offsets[np.lexsort((*offsets.T[::-1], np.abs(offsets).sum(axis=1)))]  # the cell itself first
    n = len(atoms)
    big = Atoms(
        numbers=np.tile(atoms.numbers, len(offsets)),
        positions=(atoms.positions[None] + (offsets @ atoms.cell.array)[:, None]).reshape(-1, 3),
        cell=matrix @ atoms.cell.array,
        pbc=atoms.pbc,
    )
    set_moments(big, np.tile(get_moments(atoms), (len(offsets), 1)))
    return Supercell(big, matrix, np.tile(np.arange(n), len(offsets)), np.repeat(offsets, n, axis=0))


def _matrix(supercell: ArrayLike, pbc: NDArray[np.bool_]) -> Integers:
    given = np.asarray(supercell, dtype=float)
    if given.ndim == 0:
        given = np.where(pbc, given, 1.0)
    matrix = np.diag(given) if given.shape == (3,) else given
    if matrix.shape != (3, 3) or not np.array_equal(matrix, np.rint(matrix)):
        raise InputError(f"supercell = {given.tolist()}; allowed: 'auto', one or three integers, or a (3, 3) matrix.")
    whole = matrix.astype(np.int64)
    if np.linalg.det(matrix) < 0.5:
        raise InputError(
            f"supercell = {given.tolist()} has determinant {np.linalg.det(matrix):g}; it must be positive."
        )
    if not np.array_equal(whole[~pbc], np.eye(3, dtype=np.int64)[~pbc]):
        raise InputError(f"supercell = {given.tolist()} repeats an open direction (pbc = {pbc.tolist()}).")
    return whole


def _smallest_matrix(atoms: Atoms, cutoff: float) -> Integers:
    """The supercell with the fewest atoms, out of diagonal and compact ones, whose shortest period is enough."""
    if not atoms.pbc.any():
        return np.eye(3, dtype=np.int64)
    good = [_smallest_diagonal(atoms, cutoff)]
    if atoms.pbc.all():
        inverse = np.linalg.inv(atoms.cell.array)
        for shape, stretch in product(_COMPACT, np.linspace(1.0, 1.5, 26)):
            candidate = np.rint(2 * cutoff * stretch * shape @ inverse).astype(np.int64)
            if np.linalg.det(candidate) > 0.5 and _holds(atoms, candidate, cutoff):
                good.append(candidate)
    return min(good, key=_volume)


def _smallest_diagonal(atoms: Atoms, cutoff: float) -> Integers:
    """Repeat along the direction with the closest planes until the shortest period is enough."""
    repeats = np.ones(3, dtype=np.int64)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.complete().array), axis=0)
    while not _holds(atoms, np.diag(repeats), cutoff):
        axis = int(np.argmin(np.where(atoms.pbc, repeats * heights, np.inf)))
        repeats[axis] += 1
        if repeats[axis] > _MAX_REPEAT:
            raise InputError(f"cutoff = {cutoff:g} Å needs more than {_MAX_REPEAT} repeats of the cell; lower it.")
    return np.diag(repeats)


def _holds(atoms: Atoms, matrix: Integers, cutoff: float) -> bool:
    cell = Atoms(cell=matrix @ atoms.cell.array, pbc=atoms.pbc)
    return shortest_period(cell) >= 2 * cutoff - 2 * _EQUAL


def _reduced(atoms: Atoms) -> tuple[Array, Integers]:
    """Shortest vectors that span the periodic directions, completed by normals, and what they are made of."""
    cell = Cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)).complete().array
    reduced, operation = minkowski_reduce(cell, pbc=atoms.pbc)
    return np.asarray(reduced), np.asarray(operation, dtype=np.int64)


def _neighbour_shifts(pbc: NDArray[np.bool_]) -> Integers:
    return np.array(list(product(*((-1, 0, 1) if periodic else (0,) for periodic in pbc))), dtype=np.int64)


def _volume(matrix: Integers) -> int:
    return round(float(np.linalg.det(matrix)))
