"""Bonds of a spin model: ordered pairs of sites with their 3x3 exchange tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase.cell import Cell
from numpy.typing import ArrayLike, NDArray
from vesin import NeighborList

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array

Integers = NDArray[np.int64]
BondEntry = tuple[int, int, ArrayLike, ArrayLike]
"""(i, j, image S, J): J a number or a (3, 3) tensor in eV."""


@dataclass(frozen=True, eq=False)
class Bonds:
    """Ordered pairs: with every (i, j, S, J) there is (j, i, -S, Jᵀ).

    Parameters
    ----------
    i, j
        Sites, shape (b,).
    image
        Lattice image S of site j, shape (b, 3): the bond vector is R_j + S·cell - R_i.
    tensor
        J in eV, shape (b, 3, 3).

    Raises
    ------
    InputError
        If a bond lacks its reverse, occurs twice, or joins a site with itself.
    """

    i: Integers
    j: Integers
    image: Integers
    tensor: Array

    def __post_init__(self) -> None:
        i, j = (np.asarray(x, dtype=np.int64).reshape(-1) for x in (self.i, self.j))
        image = np.asarray(self.image, dtype=np.int64).reshape(-1, 3)
        tensor = np.asarray(self.tensor, dtype=float).reshape(-1, 3, 3)
        if not len(i) == len(j) == len(image) == len(tensor):
            raise InputError(
                f"bonds have {len(i)} i, {len(j)} j, {len(image)} images and {len(tensor)} tensors; "
                "there must be one of each per bond."
            )
        if not np.all(np.isfinite(tensor)):
            raise InputError("an exchange tensor contains NaN or infinity.")
        order = np.lexsort((*image.T[::-1], j, i))
        arrays = [x[order] for x in (i, j, image, tensor)]
        for name, array in zip(("i", "j", "image", "tensor"), arrays, strict=True):
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check()

    def _check(self) -> None:
        onsite = (self.i == self.j) & ~self.image.any(axis=1)
        if onsite.any():
            raise InputError(
                f"a bond joins site {self.i[onsite][0]} with itself; on-site terms go into the anisotropy."
            )
        keys = np.column_stack([self.i, self.j, self.image])
        twice = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1))
        if len(twice):
            raise InputError(f"the bond (i, j, S) = {_bond_text(keys[twice[0]])} is listed twice; add the tensors.")
        order = np.lexsort((*(-self.image.T[::-1]), self.i, self.j))
        reverse = np.column_stack([self.j, self.i, -self.image])[order]
        missing = np.flatnonzero((reverse != keys).any(axis=1))
        if len(missing):
            raise InputError(
                f"a bond near (i, j, S) = {_bond_text(keys[missing[0]])} lacks its reverse (j, i, -S); every "
                "ordered pair counts. Bonds.from_list adds the reverse ones."
            )
        difference = np.abs(self.tensor[order].transpose(0, 2, 1) - self.tensor).max(axis=(1, 2), initial=0.0)
        scale = np.abs(self.tensor).max(initial=0.0)
        wrong = np.flatnonzero(difference > 1e-8 * scale)
        if len(wrong):
            raise InputError(
                f"J of the bond {_bond_text(keys[wrong[0]])} is not the transpose of J of its reverse; "
                "J_ji = J_ijᵀ, so the Dzyaloshinskii-Moriya vector changes sign with the direction of "
                "the bond."
            )

    def __len__(self) -> int:
        return len(self.i)

    @classmethod
    def from_list(cls, entries: Iterable[BondEntry], *, both_orders: bool = False) -> Bonds:
        """Bonds from entries (i, j, image, J), each bond once, or each in both orders.

        Parameters
        ----------
        entries
            J is a number (isotropic) or a (3, 3) tensor in eV.
        both_orders
            Whether the entries already contain the reverse bonds.
        """
        i, j, image, tensor = [], [], [], []
        for a, b, shift, value in entries:
            array = np.asarray(value, dtype=float)
            i.append(a)
            j.append(b)
            image.append(np.asarray(shift, dtype=np.int64))
            tensor.append(array * np.eye(3) if array.ndim == 0 else array)
        forward = (
            np.array(i),
            np.array(j),
            np.array(image).reshape(-1, 3),
            np.array(tensor).reshape(-1, 3, 3),
        )
        if both_orders or not i:
            return cls(*forward)
        backward = (forward[1], forward[0], -forward[2], forward[3].transpose(0, 2, 1))
        return cls(*(np.concatenate([a, b]) for a, b in zip(forward, backward, strict=True)))

    @property
    def isotropic(self) -> bool:
        """Whether every tensor is a multiple of the identity."""
        return bool(np.array_equal(self.tensor, self.tensor[:, :1, :1] * np.eye(3)))

    def vectors(self, positions: Array, cell: Array) -> Array:
        """Bond vectors R_j + S·cell - R_i, Å, shape (b, 3)."""
        return positions[self.j] + self.image @ cell - positions[self.i]


def dm_tensor(vector: ArrayLike) -> Array:
    """Antisymmetric tensor A with e_i·A·e_j = D·(e_i x e_j), from D of shape (..., 3)."""
    d = np.asarray(vector, dtype=float)
    tensor = np.zeros((*d.shape, 3))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        tensor[..., a, b], tensor[..., b, a] = d[..., c], -d[..., c]
    return tensor


def dm_vector(tensor: ArrayLike) -> Array:
    """Dzyaloshinskii-Moriya vector D (..., 3) of exchange tensors (..., 3, 3)."""
    t = np.asarray(tensor, dtype=float)
    return np.stack([t[..., b, c] - t[..., c, b] for b, c in ((1, 2), (2, 0), (0, 1))], axis=-1) / 2


def site_classes(bonds: Bonds, vectors: Array, own: Array) -> Integers:
    """Equal numbers for sites with the same surroundings.

    Parameters
    ----------
    bonds, vectors
        Bonds and their vectors (b, 3), Å.
    own
        What belongs to each site itself, (n, k): anisotropy, length of the moment.
    """
    rows = np.hstack([vectors, bonds.tensor.reshape(-1, 9)]).round(9) + 0.0
    order = np.lexsort((*rows.T, bonds.i))
    ends = np.searchsorted(bonds.i[order], np.arange(1, len(own)))
    around = np.split(rows[order], ends)
    keys = [x.tobytes() + y.tobytes() for x, y in zip(around, own.round(9) + 0.0, strict=True)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def neighbour_pairs(
    positions: Array, cell: Array, pbc: NDArray[np.bool_], cutoff: float, *, both_orders: bool = True
) -> tuple[Integers, Integers, Integers, Array, Array]:
    """Pairs of atoms closer than a cutoff, all periodic images.

    Returns
    -------
    i, j, image, vector, distance
        vector = R_j + S·cell - R_i, Å.
    """
    box = Cell(np.where(pbc[:, None], cell, 0.0)).complete().array
    search = NeighborList(cutoff=float(cutoff), full_list=both_orders)
    points = np.ascontiguousarray(positions, dtype=float)
    i, j, image, vector, distance = search.compute(points=points, box=box, periodic=np.asarray(pbc), quantities="ijSDd")
    return i.astype(np.int64), j.astype(np.int64), image.astype(np.int64), vector, distance


def _bond_text(key: Integers) -> str:
    return f"({key[0]}, {key[1]}, {tuple(key[2:].tolist())})"
