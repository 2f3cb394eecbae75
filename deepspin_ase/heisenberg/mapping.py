"""Which site of a spin model each atom of a supercell is, and the bonds between those atoms.

Atoms may be listed in any order, displaced, shifted as a whole and strained; a structure with as many atoms
as the model may also be rotated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.bonds import Bonds, Integers, neighbour_pairs
from deepspin_ase.vectors import Array

_MAX_STRAIN = 0.25
_MAX_ORIGINS = 64


@dataclass(frozen=True, eq=False)
class SiteMap:
    """Atom a is site ``site[a]`` of the model, shifted by ``offset[a]`` cells of the model.

    The cell of the structure is ``matrix`` (integers) times the cell of the model.
    """

    site: Integers
    offset: Integers
    matrix: Integers

    def holds(self, reference: Atoms, atoms: Atoms, limit: float) -> bool:
        """Whether every atom is still within ``limit`` (Å) of its site, up to a common shift."""
        if not np.array_equal(reference.numbers[self.site], atoms.numbers):
            return False
        own = reference.cell.complete().array
        points = atoms.positions @ np.linalg.inv(atoms.cell.complete().array) @ self.matrix
        residual = points - (reference.positions @ np.linalg.inv(own))[self.site] - self.offset
        residual = residual - residual.mean(axis=0)
        return bool(np.linalg.norm(residual @ own, axis=1).max() < limit)

    def bonds(self, bonds: Bonds, pbc: NDArray[np.bool_]) -> Bonds:
        """Bonds between the atoms; those that leave through an open boundary are dropped."""
        order = np.argsort(self.site, kind="stable")
        copies = len(self.site) // (self.site.max() + 1)
        atoms_of_site = order.reshape(-1, copies)  # (sites, copies)
        i = atoms_of_site[bonds.i].reshape(-1)
        site_j = np.repeat(bonds.j, copies)
        target = self.offset[i] + np.repeat(bonds.image, copies, axis=0)
        index = _Lookup(self.site, self.offset, self.matrix)
        j, image = index.find(site_j, target)
        keep = ~np.any((image != 0) & ~pbc, axis=1)
        tensor = np.repeat(bonds.tensor, copies, axis=0)
        return Bonds(i[keep], j[keep], image[keep], tensor[keep])


def match_sites(reference: Atoms, atoms: Atoms, classes: Callable[[], Integers]) -> SiteMap:
    """Find the site of every atom.

    Parameters
    ----------
    reference
        Sites of the model.
    atoms
        Structure.
    classes
        Gives a number per site that is equal for sites that a shift of the crystal may exchange; it is asked
        for only if the structure is shifted so far that its origin is lost.

    Raises
    ------
    InputError
        If the structure is no supercell of the model, or several assignments fit.
    """
    n, total = len(reference), len(atoms)
    if total == 0 or total % n:
        raise InputError(
            f"the structure has {total} atoms and the model {n} sites; it must hold whole copies of the model."
        )
    same_order = total == n and bool(np.array_equal(reference.numbers, atoms.numbers))
    identity = SiteMap(np.arange(n), np.zeros((n, 3), dtype=np.int64), np.eye(3, dtype=np.int64))
    if same_order and not reference.pbc.any():
        return identity
    spacing = nearest_distance(reference)
    candidates = [np.eye(3, dtype=np.int64)] if total == n else []
    try:
        candidates.append(_supercell_matrix(reference, atoms))
    except InputError:
        if not candidates:
            raise
    for matrix in candidates:
        found = _match(reference, atoms, matrix, spacing, same_order=same_order)
        if len(found) > 1 and len(np.unique([classes()[one.site] for one in found], axis=0)) > 1:
            raise InputError(
                "the structure is shifted against the model, and sites of the same species at equivalent "
                "positions have different exchange, so it is unclear which atom is which. Keep the origin of "
                "the model, or build the model with as many sites, in the order of the atoms."
            )
        if found:
            return found[0]
    raise InputError(
        "the atoms do not sit near the sites of the model (displaced by more than 0.4 times the "
        "nearest-neighbour "
        f"distance {spacing:.3f} Å, other species, or another crystal). Build the model for this "
        "structure, or "
        "use exchange= with a function of the distance, which follows the atoms."
    )


def _supercell_matrix(reference: Atoms, atoms: Atoms) -> Integers:
    own = reference.cell.complete().array
    matrix = np.rint(atoms.cell.complete().array @ np.linalg.inv(own)).astype(np.int64)
    copies = len(atoms) // len(reference)
    if round(abs(np.linalg.det(matrix))) != copies:
        raise InputError(
            f"the cell of the structure is not {copies} cells of the model (nearest integer matrix "
            f"{matrix.tolist()}). If it is rotated, use model.rotated(...) or model.repeat(...) so that the "
            "model has as many sites as the structure has atoms."
        )
    strain = np.abs(np.linalg.inv(own) @ np.linalg.inv(matrix) @ atoms.cell.complete().array - np.eye(3)).max()
    if strain > _MAX_STRAIN:
        raise InputError(f"the cell differs by a strain of {strain:.2f} from the model's; allowed: {_MAX_STRAIN}.")
    return matrix


def _match(reference: Atoms, atoms: Atoms, matrix: Integers, spacing: float, *, same_order: bool) -> list[SiteMap]:
    """Assignments that fit; more than one only if the origin is lost."""
    own = reference.cell.complete()
    fractions = reference.positions @ np.linalg.inv(own.array)
    points = atoms.positions @ np.linalg.inv(atoms.cell.complete().array) @ matrix
    limit = 0.4 * spacing
    if same_order and np.array_equal(matrix, np.eye(3)):
        in_order = np.arange(len(points))
        kept = _assign(fractions, own.array, points, in_order, reference.pbc, limit)
        if kept is not None:
            return [SiteMap(in_order, kept, matrix)]
    tree = cKDTree(np.where(reference.pbc, fractions % 1.0 % 1.0, 0.0), boxsize=1.0)
    open_axes = ~reference.pbc
    origins = np.flatnonzero(reference.numbers == atoms.numbers[0])[:_MAX_ORIGINS]
    fits: list[SiteMap] = []
    for number, shift in enumerate([np.zeros(3), *(points[0] - fractions[origins])]):
        moved = points - shift
        for _ in range(3):  # the first atom is displaced itself: centre the residuals and try again
            site = _nearest(tree, fractions, own.array, moved, open_axes)
            offset = _offsets(moved - fractions[site], reference.pbc)
            residual = moved - fractions[site] - offset
            moved = moved - residual.mean(axis=0)
        candidate = SiteMap(site, offset, matrix)
        close = np.linalg.norm((moved - fractions[site] - offset) @ own.array, axis=1).max() < limit
        if close and np.array_equal(reference.numbers[site], atoms.numbers) and _is_bijective(candidate):
            fits.append(candidate)
            if number == 0 and np.linalg.norm((points - moved)[0] @ own.array) < limit:
                break  # the origin is that of the model: no doubt
    return fits


def _nearest(tree: cKDTree, fractions: Array, cell: Array, points: Array, open_axes: NDArray[np.bool_]) -> Integers:
    """Nearest site of each point: a few candidates from the tree, compared in Å."""
    wrapped = np.where(open_axes, 0.0, points % 1.0 % 1.0)
    count = min(16, len(fractions))
    if open_axes.any():  # the tree does not see open directions
        count = len(fractions)
    candidates = tree.query(wrapped, k=[*range(1, count + 1)])[1]
    difference = points[:, None] - fractions[candidates]
    difference -= np.where(open_axes, 0.0, np.rint(difference))
    best = np.argmin(np.linalg.norm(difference @ cell, axis=2), axis=1)
    return np.asarray(candidates[np.arange(len(points)), best], dtype=np.int64)


def _assign(
    fractions: Array, cell: Array, points: Array, site: Integers, pbc: NDArray[np.bool_], limit: float
) -> Integers | None:
    """Offsets of the atoms from given sites, or None if an atom is further away than the limit (Å)."""
    difference = points - fractions[site]
    difference = difference - difference[0]
    offset = _offsets(difference, pbc)
    residual = difference - offset
    residual = residual - residual.mean(axis=0)
    return offset if np.linalg.norm(residual @ cell, axis=1).max() < limit else None


def _offsets(difference: Array, pbc: NDArray[np.bool_]) -> Integers:
    return np.where(pbc, np.rint(difference), 0.0).astype(np.int64)


def _is_bijective(found: SiteMap) -> bool:
    n = found.site.max() + 1
    if len(np.unique(np.bincount(found.site, minlength=n))) != 1:
        return False
    lookup = _Lookup(found.site, found.offset, found.matrix)
    return len(np.unique(lookup.keys)) == len(lookup.keys)


class _Lookup:
    """Atom at (site, offset), offsets being equal modulo the supercell."""

    def __init__(self, site: Integers, offset: Integers, matrix: Integers) -> None:
        self.matrix = matrix
        self.inverse = np.linalg.inv(matrix.astype(float))
        self.volume = round(abs(np.linalg.det(matrix)))
        folded, self.cells = self._fold(offset)
        self.low = folded.min(axis=0)
        self.span = folded.max(axis=0) - self.low + 1
        self.keys = self._encode(site, folded)
        self.order = np.argsort(self.keys)

    def find(self, site: Integers, target: Integers) -> tuple[Integers, Integers]:
        """Index of the atom, and the image of the structure's cell it is seen in."""
        folded, cells = self._fold(target)
        atom = self.order[np.searchsorted(self.keys, self._encode(site, folded), sorter=self.order)]
        return atom, cells - self.cells[atom]

    def _fold(self, offset: Integers) -> tuple[Integers, Integers]:
        cells = np.floor(offset @ self.inverse + 0.5 / self.volume).astype(np.int64)
        return offset - cells @ self.matrix, cells

    def _encode(self, site: Integers, folded: Integers) -> Integers:
        x, y, z = (folded - self.low).T
        return ((site * self.span[0] + x) * self.span[1] + y) * self.span[2] + z


def nearest_distance(atoms: Atoms) -> float:
    """Shortest distance between two atoms, images included, Å."""
    cutoff = 1.0
    while cutoff < 100.0:
        distance = neighbour_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, both_orders=False)[4]
        if len(distance):
            return float(distance.min())
        cutoff *= 1.5
    return cutoff
