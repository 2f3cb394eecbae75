"""Topological charge of layers of spins: the lattice definition of Berg and Lüscher.

A layer is cut into triangles of neighbouring spins (a, b, c), counter-clockwise as seen against the normal. Each spans
a solid angle Ω on the unit sphere, and Q = Σ Ω/4π is a whole number for a periodic layer:

    tan(Ω/2) = a·(b x c) / (1 + a·b + b·c + c·a)

With (1/4π)∫ m·(∂x m x ∂y m), a skyrmion whose core points down in an upward background has Q = -1.

Source: B. Berg, M. Lüscher, Nucl. Phys. B 190, 412 (1981).
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import Delaunay, QhullError

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.spin_dynamics.evaluation import magnetic_atoms

_JITTER = 1e-4  # of the mean spacing: makes the triangulation of a perfect lattice unique, and so periodic
_FLATTEST = 1e-2  # of the mean spacing: triangles that are less high do not count
_MARGIN = 5.0  # mean spacings of periodic images around the cell


def find_layers(atoms: Atoms, *, axis: int = 2, tolerance: float = 0.5) -> list[NDArray[np.int64]]:
    """Group the atoms that carry a moment into layers stacked along the normal.

    Parameters
    ----------
    atoms
        Structure with moments.
    axis
        Cell vector that points out of the layers; the layers are parallel to the other two.
    tolerance
        Å; heights that differ by less belong to one layer.

    Returns
    -------
    list of ndarray
        Indices of the atoms of each layer, from the lowest to the highest.
    """
    magnetic = magnetic_atoms(atoms)
    normal = _frame(atoms, axis)[2]
    height = atoms.positions[magnetic] @ normal
    if atoms.pbc[axis]:  # start counting in the widest gap, so that no layer is cut by the boundary
        period = abs(float(atoms.cell.array[axis] @ normal))
        height = np.mod(height, period)
        rising = np.sort(height)
        gaps = np.diff(np.concatenate([rising, [rising[0] + period]]))
        widest = int(np.argmax(gaps))
        start = rising[(widest + 1) % len(rising)] if len(rising) > 1 else rising[0]
        height = np.mod(height - start + 1e-9 * period, period)
    order = np.argsort(height, kind="stable")
    cuts = np.flatnonzero(np.diff(height[order]) > tolerance) + 1
    layers = [np.sort(part) for part in np.split(magnetic[order], cuts)]
    return layers


class SkyrmionNumber:
    """Topological charge of one layer: triangulate once, evaluate for every frame.

    Parameters
    ----------
    atoms
        Structure; its positions are those of the triangulation.
    layer
        Indices of the atoms of the layer; default all atoms with a moment, which must then be one layer.
    axis
        Cell vector out of the layer. Along the two others the layer is periodic where the structure is.

    Raises
    ------
    InputError
        Fewer than three atoms, atoms in one line or on top of each other in the projection.

    Examples
    --------
    >>> charge = SkyrmionNumber(atoms)  # doctest: +SKIP
    >>> charge(atoms), charge.density(get_moments(atoms))  # doctest: +SKIP
    """

    def __init__(self, atoms: Atoms, layer: ArrayLike | None = None, *, axis: int = 2) -> None:
        chosen = magnetic_atoms(atoms) if layer is None else np.asarray(layer, dtype=np.int64)
        first, second, _ = _frame(atoms, axis)
        plane = atoms.positions[chosen] @ np.array([first, second]).T
        if len(np.unique(np.round(plane, 3), axis=0)) < len(plane):
            raise InputError("two atoms lie above each other; give the indices of one layer (see find_layers).")
        in_plane = [k for k in range(3) if k != axis % 3]
        periods = atoms.cell.array[in_plane] @ np.array([first, second]).T
        triangles = _triangulate(plane, periods, atoms.pbc[in_plane])
        self.triangles = chosen[triangles]
        """Indices of the atoms of each triangle, (t, 3)."""

    def __call__(self, moments: Atoms | ArrayLike) -> float:
        """Topological charge of a structure, or of moments (n, 3) of all its atoms."""
        return float(self.density(moments).sum())

    def density(self, moments: Atoms | ArrayLike) -> Array:
        """Charge Ω/4π of every triangle, (t,)."""
        vectors = get_moments(moments) if isinstance(moments, Atoms) else as_finite(moments, "moments")
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(length > 0.0, length, 1.0)
        a, b, c = (unit[self.triangles[:, k]] for k in range(3))
        triple = np.einsum("ta,ta->t", a, np.cross(b, c))
        dots = [np.einsum("ta,ta->t", u, v) for u, v in ((a, b), (b, c), (c, a))]
        return np.arctan2(triple, 1.0 + sum(dots)) / (2.0 * np.pi)


def skyrmion_number(atoms: Atoms, *, axis: int = 2, tolerance: float = 0.5) -> Array:
    """Topological charge of every layer of a structure.

    Parameters
    ----------
    atoms
        Structure with moments.
    axis, tolerance
        As in :func:`find_layers`.

    Returns
    -------
    ndarray
        One number per layer, in the order of :func:`find_layers`; whole numbers if the layers are periodic.
    """
    layers = find_layers(atoms, axis=axis, tolerance=tolerance)
    return np.array([SkyrmionNumber(atoms, layer, axis=axis)(atoms) for layer in layers])


def _frame(atoms: Atoms, axis: int) -> tuple[Array, Array, Array]:
    """Right-handed orthonormal axes: two in the layer, and its normal on the side of the cell vector ``axis``."""
    if axis not in (0, 1, 2):
        raise InputError(f"axis = {axis}; allowed: 0, 1, 2, the cell vector that points out of the layers.")
    cell = atoms.cell.complete().array
    a, b = cell[(axis + 1) % 3], cell[(axis + 2) % 3]
    normal = np.cross(a, b)
    normal /= np.linalg.norm(normal) * np.sign(normal @ cell[axis])
    first = a / np.linalg.norm(a)
    return first, np.cross(normal, first), normal


def _triangulate(points: Array, periods: Array, periodic: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Delaunay triangles (t, 3) of points in a plane, counter-clockwise, each periodic one once."""
    n = len(points)
    rng = np.random.default_rng(0)
    spans = points.max(axis=0) - points.min(axis=0)
    area = abs(np.linalg.det(periods)) if periodic.all() else float(np.prod(np.maximum(spans, 1.0)))
    spacing = np.sqrt(area / n)
    jittered = points + rng.uniform(-_JITTER, _JITTER, points.shape) * spacing
    inverse = np.linalg.inv(np.where(periodic[:, None], periods, _independent(periods, periodic)))
    fractional = jittered @ inverse
    fractional[:, periodic] %= 1.0
    home = fractional @ np.linalg.inv(inverse)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)  # distance between opposite edges of the cell
    reach = [int(np.ceil(_MARGIN * spacing / h)) if p else 0 for h, p in zip(heights, periodic, strict=True)]
    copies, origin, everything = [], [], np.arange(n)
    for s in range(-reach[0], reach[0] + 1):
        for t in range(-reach[1], reach[1] + 1):
            moved = fractional + np.array([s, t])
            beyond = np.maximum(np.maximum(-moved, moved - 1.0), 0.0) * heights
            near = np.all((beyond <= _MARGIN * spacing) | ~periodic, axis=1)
            copies.append((home + s * periods[0] * periodic[0] + t * periods[1] * periodic[1])[near])
            origin.append(everything[near])
    cloud, index = np.concatenate(copies), np.concatenate(origin)
    try:
        simplices = Delaunay(cloud).simplices.astype(np.int64)
    except (QhullError, ValueError) as problem:
        raise InputError(f"the {n} atoms of the layer cannot be triangulated; are they in one line?") from problem
    a, b, c = (cloud[simplices[:, k]] for k in range(3))
    twice = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    simplices[twice < 0] = simplices[twice < 0][:, [0, 2, 1]]
    centre = (a + b + c) / 3.0 @ inverse
    inside = np.all(((centre >= 0.0) & (centre < 1.0)) | ~periodic, axis=1)
    longest = np.max([np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    inside &= np.abs(twice) > _FLATTEST * spacing * longest  # the jitter makes slivers along straight open edges
    if periodic.all() and abs(np.abs(twice[inside]).sum() / 2.0 / area - 1.0) > 1e-6:
        raise InputError("the triangles do not cover the layer; it has too large holes, or it is not one layer.")
    return index[simplices[inside]]


def _independent(periods: Array, periodic: NDArray[np.bool_]) -> Array:
    """Rows to complete missing periods by directions perpendicular to the others."""
    if not periodic.any():
        return np.eye(2)
    kept = periods[int(np.flatnonzero(periodic)[0])]
    return np.array([[-kept[1], kept[0]]] * 2)
