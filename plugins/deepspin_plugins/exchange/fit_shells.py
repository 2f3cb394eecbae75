"""Neighbour shells of a crystal, and the bonds of each shell in supercells of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel, dm_tensor
from deepspin_ase.heisenberg.bonds import neighbour_pairs
from deepspin_ase.heisenberg.mapping import SiteMap, nearest_distance
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FitShells:
    """Shells of a reference crystal.

    Attributes
    ----------
    reference_model
        Model on the crystal whose tensors are r̂-type Dzyaloshinskii-Moriya tensors of strength one.
    shell_of_bond
        Shell of every bond of that model, (b,).
    species, distances, multiplicities
        Of every shell: the two species, Å, neighbours per atom of the first species.
    """

    reference_model: HeisenbergModel
    shell_of_bond: Integers
    species: tuple[tuple[str, str], ...]
    distances: Array
    multiplicities: Array

    def __len__(self) -> int:
        return len(self.distances)

    def match(self, atoms: Atoms, previous: SiteMap | None) -> SiteMap:
        """Sites of the atoms; the previous map is kept if it fits."""
        if previous is not None and len(previous.site) == len(atoms):
            sites = self.reference_model.to_atoms()
            if previous.holds(sites, atoms, 0.4 * nearest_distance(sites)):
                return previous
        return self.reference_model.match(atoms)

    def bonds_of(self, atoms: Atoms, found: SiteMap) -> tuple[Integers, Integers, Integers, Array]:
        """Shell, i, j and tensor A with e_i·A·e_j = r̂_ij·(e_i x e_j) of every ordered bond of a supercell."""
        bonds = self.reference_model.bonds
        numbers = (self.shell_of_bond + 1.0)[:, None, None] * np.eye(3)
        numbered = found.bonds(Bonds(bonds.i, bonds.j, bonds.image, bonds.tensor + numbers), atoms.pbc)
        shell = np.rint(np.trace(numbered.tensor, axis1=1, axis2=2) / 3).astype(np.int64)
        return shell - 1, numbered.i, numbered.j, numbered.tensor - shell[:, None, None] * np.eye(3)


def mean_structure(structures: list[Atoms], minimum_moment: float) -> Atoms:
    """Mean positions and cell of structures that are the same but for displacements, moments from the first."""
    first = structures[0]
    for number, atoms in enumerate(structures):
        if not np.array_equal(atoms.numbers, first.numbers) or not np.array_equal(atoms.pbc, first.pbc):
            raise InputError(
                f"frame {number} has other atoms than frame 0; give the crystal that all frames are supercells of, "
                "reference=primitive_cell."
            )
    cell = np.mean([atoms.cell.array for atoms in structures], axis=0)
    fractions = np.linalg.solve(first.cell.complete().T, first.positions.T).T
    steps = []
    for atoms in structures:
        own = np.linalg.solve(atoms.cell.complete().T, atoms.positions.T).T
        steps.append(find_mic((own - fractions) @ first.cell.complete().array, first.cell, first.pbc)[0])
    mean = first.copy()
    mean.positions += np.mean(steps, axis=0)
    mean.set_cell(cell, scale_atoms=True)
    return mean


def find_shells(
    crystal: Atoms, structures: list[Atoms], cutoff: float, tolerance: float, minimum_moment: float
) -> FitShells:
    """Shells up to a cutoff among atoms of the species that are magnetic in the crystal, or else in the first frame."""
    if not np.isfinite(cutoff) or cutoff <= 0.0:
        raise InputError(f"cutoff = {cutoff}; it must be a positive number of Å.")
    source = crystal if get_moments(crystal).any() else structures[0]
    length = np.linalg.norm(get_moments(source), axis=1)
    magnetic_numbers = np.unique(source.numbers[length >= minimum_moment])
    magnetic = np.isin(crystal.numbers, magnetic_numbers)
    sites = np.flatnonzero(magnetic)
    i, j, image, vector, distance = neighbour_pairs(crystal.positions[sites], crystal.cell.array, crystal.pbc, cutoff)
    if not len(i):
        raise InputError(f"no two magnetic atoms are closer than cutoff = {cutoff} Å; raise it.")
    symbols = np.array(crystal.get_chemical_symbols())
    pair = np.sort(np.column_stack([symbols[sites[i]], symbols[sites[j]]]), axis=1)
    shell = np.zeros(len(i), dtype=np.int64)
    found: list[tuple[tuple[str, str], float, float]] = []
    for a, b in sorted({(str(x), str(y)) for x, y in pair}):
        use = np.flatnonzero((pair[:, 0] == a) & (pair[:, 1] == b))
        use = use[np.argsort(distance[use], kind="stable")]
        groups = np.split(use, np.flatnonzero(np.diff(distance[use]) > tolerance) + 1)
        for group in groups:
            shell[group] = len(found)
            per_atom = np.count_nonzero(symbols[sites[i[group]]] == a) / np.count_nonzero(symbols[sites] == a)
            found.append(((a, b), float(distance[group].mean()), per_atom))
    order = sorted(range(len(found)), key=lambda k: (found[k][1], found[k][0]))
    rank = np.argsort(order)
    bonds = Bonds(sites[i], sites[j], image, dm_tensor(vector / distance[:, None]))
    by_key = np.lexsort((*image.T[::-1], sites[j], sites[i]))  # the order that Bonds keeps
    lengths = np.where(magnetic, 1.0, 0.0)
    return FitShells(
        reference_model=HeisenbergModel.from_bonds(crystal, bonds, magnitudes=lengths),
        shell_of_bond=rank[shell][by_key],
        species=tuple(found[k][0] for k in order),
        distances=np.array([found[k][1] for k in order]),
        multiplicities=np.array([found[k][2] for k in order]),
    )
