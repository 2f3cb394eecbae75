"""A spin model on a periodic supercell as flat arrays, in the form that the compiled loops read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel
from deepspin_ase.quantities import MU_B
from deepspin_ase.vectors import Array

Indices = NDArray[np.int32]

compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
"""Decorator of loops: compiled once per machine, then read from a cache on disk; the interpreter lock is released."""


class Lattice(NamedTuple):
    """N magnetic sites, cell by cell; sites at the same place of their cells ("kinds") share couplings.

    The energy is that of ``HeisenbergModel`` minus ½ Σ_{i≠j} B_ij (e_i·e_j)²; ``offset`` is what does not depend on
    the directions.
    """

    kind: Indices  # (N,)
    first: NDArray[np.int64]  # (N,) where the neighbours of a site start in ``neighbours``
    neighbours: Indices
    bounds: Indices  # (kinds + 1,) ranges of the bonds of a kind in ``exchange``, ``tensor``, ``biquadratic``
    exchange: Array  # eV, (bonds,), read if ``isotropic``
    tensor: Array  # eV, (bonds, 3, 3), read if not
    biquadratic: Array  # eV, (bonds,)
    anisotropy: Array  # eV, (kinds, 3, 3), without trace
    zeeman: Array  # eV, (kinds, 3), µB |m| B
    order: Indices  # (N,) sites by colour: sites of one colour are no neighbours
    colours: Indices  # (colours + 1,) ranges of the colours in ``order``
    offset: float  # eV
    isotropic: bool
    anisotropic: bool  # whether any kind has an anisotropy
    quartic: bool  # whether there are biquadratic bonds

    @property
    def quadratic(self) -> bool:
        """Whether the energy of a spin in the field of the others is not linear in its direction."""
        return self.anisotropic or self.quartic


def make_lattice(model: HeisenbergModel, repeat: Sequence[int], biquadratic: Bonds | None = None) -> Lattice:
    """Supercell of a model.

    Parameters
    ----------
    model
        Sites with magnitude 0 are left out.
    repeat
        Cells along the three axes. Bonds that come back to their own site become anisotropy and offset.
    biquadratic
        Bonds of the model's cell with isotropic tensors B_ij, eV.

    Raises
    ------
    InputError
        No magnetic site, ``repeat`` does not fit, or ``biquadratic`` is not isotropic.
    """
    cells = checked_repeat(model, repeat)
    magnetic = np.flatnonzero(model.magnitudes)
    n, count = len(magnetic), int(np.prod(cells))
    if n == 0:
        raise InputError("the model has no magnetic site; give its sites magnitudes (µB).")
    i, j, image, tensor, quartic = _joined(model, biquadratic)
    i, j = np.searchsorted(magnetic, i), np.searchsorted(magnetic, j)

    own = (i == j) & ~(image % cells).any(axis=1)
    onsite = np.zeros((n, 3, 3))
    np.add.at(onsite, i[own], tensor[own] / 2)
    onsite = model.anisotropy[magnetic] + (onsite + onsite.transpose(0, 2, 1)) / 2
    mean = np.trace(onsite, axis1=1, axis2=2) / 3
    onsite -= mean[:, None, None] * np.eye(3)
    onsite[np.abs(onsite).max(axis=(1, 2)) < 1e-14 * max(np.abs(model.bonds.tensor).max(initial=0.0), 1e-300)] = 0.0
    offset = -count * (mean.sum() + quartic[own].sum() / 2)

    by_site = np.flatnonzero(~own)[np.argsort(i[~own], kind="stable")]
    i, j, image, tensor, quartic = (x[by_site] for x in (i, j, image, tensor, quartic))
    bounds = np.searchsorted(i, np.arange(n + 1))
    grid = np.stack(np.unravel_index(np.arange(count), cells), axis=1)
    target = (grid[:, None] + image) % cells
    neighbours = (np.ravel_multi_index(tuple(np.moveaxis(target, 2, 0)), cells) * n + j).astype(np.int32).ravel()
    first = (np.arange(count)[:, None] * len(i) + bounds[:-1]).ravel()
    kind = np.tile(np.arange(n), count).astype(np.int32)
    colour = _colours(first, np.diff(bounds)[kind], neighbours)
    isotropic = bool(np.array_equal(tensor, tensor[:, :1, :1] * np.eye(3)))
    return Lattice(
        kind=kind,
        first=first,
        neighbours=neighbours,
        bounds=bounds.astype(np.int32),
        exchange=np.ascontiguousarray(tensor[:, 0, 0]),
        tensor=np.ascontiguousarray(tensor),
        biquadratic=np.ascontiguousarray(quartic),
        anisotropy=onsite,
        zeeman=MU_B * model.magnitudes[magnetic, None] * model.field,
        order=np.argsort(colour, kind="stable").astype(np.int32),
        colours=np.searchsorted(np.sort(colour), np.arange(colour.max() + 2)).astype(np.int32),
        offset=float(offset),
        isotropic=isotropic,
        anisotropic=bool(onsite.any()),
        quartic=bool(quartic.any()),
    )


def checked_repeat(model: HeisenbergModel, repeat: Sequence[int]) -> tuple[int, int, int]:
    """Three positive whole numbers of cells, 1 along open boundaries; raises InputError."""
    cells = np.asarray(repeat)
    if cells.shape != (3,) or cells.dtype.kind not in "iu" or np.any(cells < 1):
        raise InputError(f"repeat = {repeat!r}; allowed: three whole numbers of cells, at least 1 each.")
    if np.any((cells > 1) & ~model.pbc):
        raise InputError(
            f"repeat = {tuple(cells.tolist())}, but the model is periodic along {model.pbc.tolist()}; "
            "use 1 along an open boundary."
        )
    return int(cells[0]), int(cells[1]), int(cells[2])


def _joined(model: HeisenbergModel, biquadratic: Bonds | None) -> tuple[NDArray[Any], ...]:
    """i, j, image, J, B of the bonds of the model and, after them, the biquadratic ones."""
    bonds = model.bonds
    parts = [(bonds.i, bonds.j, bonds.image, bonds.tensor, np.zeros(len(bonds)))]
    if biquadratic is not None:
        if not biquadratic.isotropic:
            raise InputError("biquadratic bonds have one number each: give isotropic tensors B·1 (eV).")
        loose = np.setdiff1d(biquadratic.i, np.flatnonzero(model.magnitudes))
        if len(loose):
            raise InputError(f"biquadratic names site {loose[0]}, which the model lacks or which is not magnetic.")
        b = biquadratic
        parts.append((b.i, b.j, b.image, np.zeros_like(b.tensor), b.tensor[:, 0, 0]))
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


@compiled
def _colours(first, count, neighbours):  # type: ignore[no-untyped-def]
    """Greedy colouring: the smallest number that no neighbour has."""
    colour = np.full(len(first), -1, dtype=np.int32)
    taken = np.full(count.max() + 2, -1, dtype=np.int32)
    for i in range(len(first)):
        for b in range(first[i], first[i] + count[i]):
            c = colour[neighbours[b]]
            if c >= 0:
                taken[c] = i
        c = 0
        while taken[c] == i:
            c += 1
        colour[i] = c
    return colour
