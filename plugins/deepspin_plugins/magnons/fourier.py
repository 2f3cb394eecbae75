"""Lattice sums Σ_S C(S) exp(2πi q·S) for many q at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array, as_finite

Complex = NDArray[np.complex128]
Integers = NDArray[np.int64]

_ROUND_OFF = 1e-14


class FourierSum:
    """Matrix C(q) = Σ_S C(S) exp(2πi q·S) of a periodic system, with q in fractions of the reciprocal cell.

    Parameters
    ----------
    row, column
        Where each entry belongs, (b,). Entries of the same place and image are added.
    image
        Lattice image S, (b, 3).
    value
        C, (b,), complex.
    shape
        Of C(q).
    """

    def __init__(
        self, row: Integers, column: Integers, image: Integers, value: NDArray[np.generic], shape: tuple[int, int]
    ) -> None:
        self.shape = shape
        self.images, which = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True)
        size = (shape[0] * shape[1], len(self.images))
        entries = coo_array(
            (np.asarray(value, dtype=complex), (row * shape[1] + column, which.reshape(-1))), shape=size
        )
        self._entries = entries.tocsr()

    @classmethod
    def from_blocks(
        cls, parts: Sequence[tuple[Integers, Integers, Integers, NDArray[np.generic]]], shape: tuple[int, int]
    ) -> FourierSum:
        """Sum of blocks: parts of (i, j, image, C), with C of shape (b, r, c) at rows r·i and columns c·j."""
        flat = []
        for i, j, image, block in parts:
            r, c = block.shape[1:]
            row = np.broadcast_to(r * i[:, None, None] + np.arange(r)[:, None], block.shape)
            column = np.broadcast_to(c * j[:, None, None] + np.arange(c), block.shape)
            images = np.broadcast_to(image[:, None, None, :], (*block.shape, 3)).reshape(-1, 3)
            flat.append((row.ravel(), column.ravel(), images, block.ravel()))
        row, column, images, value = (np.concatenate(arrays) for arrays in zip(*flat, strict=True))
        return cls(row, column, images, value, shape)

    def __call__(self, q: Array) -> Complex:
        """C(q), (Q, rows, columns), for q (Q, 3)."""
        return self._sum(np.exp(2j * np.pi * (self.images @ q.T)))

    def sectors(self) -> list[Integers]:
        """Groups of rows (and columns) of a square C(q) that no entry connects, at any q, beyond round-off."""
        entries = self._entries.tocoo()
        strong = np.abs(entries.data) > _ROUND_OFF * np.abs(entries.data).max(initial=0.0)
        row, column = np.divmod(entries.coords[0][strong], self.shape[1])
        graph = coo_array((np.ones(len(row)), (row, column)), shape=self.shape)
        count, label = connected_components(graph, directed=False)
        return [np.flatnonzero(label == k) for k in range(count)]

    def gradient(self, q: Array, cell: Array) -> tuple[Complex, Complex, Complex]:
        """Derivatives of C(q) by the three Cartesian components of the wavevector (1/Å), for a cell in Å."""
        phase = np.exp(2j * np.pi * (self.images @ q.T))
        x, y, z = (self._sum(1j * shift[:, None] * phase) for shift in (self.images @ cell).T)
        return x, y, z

    def _sum(self, phase: Complex) -> Complex:
        return np.ascontiguousarray((self._entries @ phase).T).reshape(-1, *self.shape)


def as_qpoints(q: ArrayLike) -> Array:
    """Wavevectors as (Q, 3) finite numbers; one wavevector (3,) counts as (1, 3)."""
    points = as_finite(q, "q")
    if points.shape == (3,):
        points = points[None]
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(
            f"q has shape {points.shape}; allowed: (3,) or (Q, 3), in fractions of the reciprocal magnetic cell."
        )
    return points


def reciprocal(cell: Array) -> Array:
    """Reciprocal cell in 1/Å, rows, with the factor 2π: q (fractions) @ reciprocal is Cartesian."""
    return np.asarray(2 * np.pi * np.linalg.inv(cell).T)
