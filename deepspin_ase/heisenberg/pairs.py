"""Sums over pairs of atoms that interact by distance: energies, fields, forces and virial."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg.bonds import Integers, neighbour_pairs
from deepspin_ase.heisenberg.spins import Spins
from deepspin_ase.heisenberg.terms import PairTable
from deepspin_ase.vectors import Array


class PairSums:
    """Neighbour list, kept while the geometry stays the same, and the sums over it."""

    def __init__(self, exchange: PairTable | None, dipolar: PairTable | None, lattice: PairTable | None) -> None:
        self.exchange, self.dipolar, self.lattice = exchange, dipolar, lattice
        self.cutoff = max((t.cutoff for t in (exchange, dipolar, lattice) if t is not None), default=0.0)
        self._geometry: tuple[NDArray[np.generic], ...] | None = None

    def update(self, atoms: Atoms) -> None:
        """Find the pairs (each once) of this structure, unless they are known."""
        geometry = (atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)
        if self._geometry is not None and all(map(np.array_equal, geometry, self._geometry)):
            return
        self._geometry = None  # stays so if the search fails
        n = len(atoms)
        if self.cutoff == 0.0:
            self.i = self.j = np.zeros(0, dtype=np.int64)
            return
        self.i, self.j, self.image, self.vector, self.distance = neighbour_pairs(
            atoms.positions, atoms.cell.array, atoms.pbc, self.cutoff, both_orders=False
        )
        if np.any(self.distance == 0.0):
            at = int(np.flatnonzero(self.distance == 0.0)[0])
            raise InputError(f"atoms {self.i[at]} and {self.j[at]} of {n} sit on the same place.")
        self.unit = self.vector / self.distance[:, None]
        self.z_i, self.z_j = atoms.numbers[self.i], atoms.numbers[self.j]
        self._geometry = tuple(np.array(array) for array in geometry)

    def add(self, spins: Spins, energies: Array, forces: Array, virial: Array) -> None:
        """Add all terms to energies (n,) eV, ``spins.h``, forces (n, 3) eV/Å and virial (3, 3) eV."""
        if not len(self.i):
            return
        energy = np.zeros(len(self.i))
        gradient = np.zeros((len(self.i), 3))  # of the pair energy with respect to R_j - R_i
        if self.lattice is not None:
            for k, value, slope in self.lattice.evaluate(self.z_i, self.z_j, self.distance):
                energy[k] += value
                gradient[k] += slope[:, None] * self.unit[k]
        if self.exchange is not None:
            self._add_exchange(self.exchange, spins, energy, gradient)
        if self.dipolar is not None:
            self._add_dipolar(self.dipolar, spins, energy, gradient)
        n = len(energies)
        energies += 0.5 * (_sum_at(self.i, energy, n) + _sum_at(self.j, energy, n))
        forces += _sum_at(self.i, gradient, n) - _sum_at(self.j, gradient, n)
        virial += self.vector.T @ gradient

    def exchange_tensors(self, atoms: Atoms) -> tuple[Integers, Integers, Integers, Array]:
        """Pairs in both orders with their 3x3 exchange tensors (eV), for a spin model."""
        self.update(atoms)
        tensor = np.zeros((len(self.i), 3, 3))
        if self.exchange is not None:
            for k, value, _ in self.exchange.evaluate(self.z_i, self.z_j, self.distance):
                tensor[k] += value[:, None, None] * np.eye(3)
        if self.dipolar is not None:
            for k, value, _ in self.dipolar.evaluate(self.z_i, self.z_j, self.distance):
                u = self.unit[k]
                tensor[k] += value[:, None, None] * (u[:, :, None] * u[:, None, :] - np.eye(3) / 3)
        return (
            np.concatenate([self.i, self.j]),
            np.concatenate([self.j, self.i]),
            np.concatenate([self.image, -self.image]),
            np.concatenate([tensor, tensor]),  # symmetric
        )

    def _add_exchange(self, table: PairTable, spins: Spins, energy: Array, gradient: Array) -> None:
        n = len(spins.s)
        for k, value, slope in table.evaluate(self.z_i, self.z_j, self.distance):
            i, j = self.i[k], self.j[k]
            s_i, s_j = spins.s[i], spins.s[j]
            product = np.einsum("pa,pa->p", s_i, s_j)
            energy[k] -= value * product
            gradient[k] -= (slope * product)[:, None] * self.unit[k]
            spins.h += _sum_at(i, value[:, None] * s_j, n) + _sum_at(j, value[:, None] * s_i, n)

    def _add_dipolar(self, table: PairTable, spins: Spins, energy: Array, gradient: Array) -> None:
        n = len(spins.s)
        for k, value, slope in table.evaluate(self.z_i, self.z_j, self.distance):
            i, j, u = self.i[k], self.j[k], self.unit[k]
            s_i, s_j = spins.s[i], spins.s[j]
            along_i, along_j = np.einsum("pa,pa->p", s_i, u), np.einsum("pa,pa->p", s_j, u)
            form = along_i * along_j - np.einsum("pa,pa->p", s_i, s_j) / 3
            energy[k] -= value * form
            turn = along_j[:, None] * s_i + along_i[:, None] * s_j - 2 * (along_i * along_j)[:, None] * u
            gradient[k] -= (slope * form)[:, None] * u + (value / self.distance[k])[:, None] * turn
            spins.h += _sum_at(i, value[:, None] * (along_j[:, None] * u - s_j / 3), n)
            spins.h += _sum_at(j, value[:, None] * (along_i[:, None] * u - s_i / 3), n)


def _sum_at(index: Integers, values: Array, n: int) -> Array:
    """Add values to the atoms they belong to: (p,) -> (n,), or (p, 3) -> (n, 3)."""
    if values.ndim == 1:
        return np.asarray(np.bincount(index, weights=values, minlength=n), dtype=float)
    return np.stack([np.bincount(index, weights=column, minlength=n) for column in values.T], axis=1)
