"""Magnetic moments of an ASE structure: set them, get them, build them, turn them.

Moments (µB, direction *and* magnitude) live in ``atoms.arrays["initial_magmoms"]``, because ASE's cache
notices a change there, also one made in place. An (n,) array is collinear along +z; the rest is (n, 3).
Builders return an (n, 3) array and leave the structure alone:

>>> from ase.build import bulk
>>> atoms = bulk("Fe", cubic=True)
>>> set_moments(atoms, spiral(atoms, 2.2, q=(0, 0, 1), axis="z"))
>>> get_moments(atoms).round(6).tolist()
[[2.2, 0.0, 0.0], [-2.2, 0.0, 0.0]]
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import (
    Array,
    Magnitude,
    as_finite,
    as_text,
    perpendicular,
    resolve_magnitude,
    rotation_matrix,
    unit_vector,
)

_COMMENSURATE = 1e-6  # how far q·T may be from an integer, in turns
_AMBIGUOUS = 0.02  # |cos| below which the sign of a collinear order is a matter of taste


def set_moments(atoms: Atoms, moments: float | Mapping[str, float] | ArrayLike) -> None:
    """Give a structure its moments, whatever it carried before.

    ``ase.build.bulk("Fe")`` already carries scalar moments and refuses an (n, 3) array on top; this works.

    Parameters
    ----------
    atoms
        Structure to change.
    moments
        µB. A number for every atom, ``{"Ni": 1.7, "O": 0.0}`` or (n,): collinear along +z. (n, 3): vectors.

    Raises
    ------
    InputError
        Wrong shape, NaN or infinity, a species without an entry.
    """
    n = len(atoms)
    if isinstance(moments, Mapping):
        array = resolve_magnitude(atoms, moments, name="moments")
    else:
        array = as_finite(moments, "moments")
        array = np.full(n, float(array)) if array.ndim == 0 else array
    if array.shape not in ((n,), (n, 3)):
        raise InputError(
            f"moments have shape {array.shape}; allowed for {n} atoms: one number, a dict by species, "
            f"({n},) = collinear along +z, or ({n}, 3). The same vector on every atom: "
            "set_moments(atoms, ferromagnet(atoms, magnitude, direction))."
        )
    atoms.set_array("initial_magmoms", None)
    atoms.set_array("initial_magmoms", array, float, array.shape[1:])


def get_moments(atoms: Atoms) -> Array:
    """Moments as vectors.

    Parameters
    ----------
    atoms
        Structure.

    Returns
    -------
    ndarray
        (n, 3), µB, a copy. Collinear moments lie along z; a structure without moments has zeros.

    Raises
    ------
    InputError
        If the stored array is neither (n,) nor (n, 3).
    """
    moments = np.array(atoms.get_initial_magnetic_moments(), dtype=float)
    n = len(atoms)
    if moments.shape == (n,):
        vectors = np.zeros((n, 3))
        vectors[:, 2] = moments
        return vectors
    if moments.shape != (n, 3):
        raise InputError(
            f"the structure carries initial_magmoms of shape {moments.shape}; allowed: ({n},) or ({n}, 3). "
            "Use set_moments(atoms, m)."
        )
    return moments


def ferromagnet(atoms: Atoms, magnitude: Magnitude, direction: ArrayLike | str = (0, 0, 1)) -> Array:
    """All moments along one direction. Negative magnitudes give a ferrimagnet.

    Parameters
    ----------
    atoms
        Structure.
    magnitude
        µB: a number, a dict by species, or (n,).
    direction
        Vector of any length, or "x", "y", "z".

    Returns
    -------
    ndarray
        (n, 3), µB.
    """
    return np.outer(resolve_magnitude(atoms, magnitude), unit_vector(direction, "direction"))


def collinear_order(
    atoms: Atoms,
    magnitude: Magnitude,
    q: ArrayLike,
    direction: ArrayLike | str = (0, 0, 1),
    *,
    cell: ArrayLike | None = None,
    phase: float = 0.0,
) -> Array:
    """Collinear order with sign cos(2π q·r + phase).

    Parameters
    ----------
    atoms
        Structure, for instance a supercell.
    magnitude
        µB: a number, a dict by species, or (n,).
    q
        Propagation vector in fractions of the reciprocal cell.
    direction
        Direction of the positive moments.
    cell
        Cell (Å, (3, 3)) whose reciprocal cell q refers to; default the one of ``atoms``. For a supercell
        give the primitive cell here, and q keeps its usual meaning: (½, ½, ½) is NiO's order.
    phase
        Degrees.

    Returns
    -------
    ndarray
        (n, 3), µB.

    Raises
    ------
    InputError
        If the wave does not fit into the periodic cell, or an atom with a moment sits on a node, cos ≈ 0.
    """
    values = resolve_magnitude(atoms, magnitude)
    cosine = np.cos(_wave_angles(atoms, q, cell) + np.deg2rad(phase))
    nodes = np.flatnonzero((np.abs(cosine) < _AMBIGUOUS) & (values != 0.0))
    if len(nodes):
        first = nodes[0]
        raise InputError(
            f"the sign is ambiguous: cos(2π q·r + phase) = {cosine[first]:.1e} at atom {first} "
            f"({atoms.symbols[first]}) and {len(nodes) - 1} more with q = {as_text(q)}, phase = {phase}°. "
            "Shift the wave, for instance phase=45, or move the origin of the structure."
        )
    return np.outer(values * np.sign(cosine), unit_vector(direction, "direction"))


def spiral(
    atoms: Atoms,
    magnitude: Magnitude,
    q: ArrayLike,
    axis: ArrayLike | str = (0, 0, 1),
    start: ArrayLike | str | None = None,
    *,
    cell: ArrayLike | None = None,
) -> Array:
    """Flat spiral: moments turn right-handedly about ``axis`` by 2π q·r.

    Parameters
    ----------
    atoms, magnitude, q, cell
        As in :func:`collinear_order`.
    axis
        Rotation axis; the moments are perpendicular to it.
    start
        Direction at r = 0, perpendicular to the axis; default the projection of x (or of y if the axis is x).

    Returns
    -------
    ndarray
        (n, 3), µB.

    Raises
    ------
    InputError
        If the spiral does not fit into the periodic cell, or ``start`` is not perpendicular to ``axis``.
    """
    return cone(atoms, magnitude, q, 90.0, axis, start, cell=cell)


def cone(
    atoms: Atoms,
    magnitude: Magnitude,
    q: ArrayLike,
    angle: float,
    axis: ArrayLike | str = (0, 0, 1),
    start: ArrayLike | str | None = None,
    *,
    cell: ArrayLike | None = None,
) -> Array:
    """Conical spiral: moments at a fixed angle from ``axis`` turn right-handedly about it by 2π q·r.

    Parameters
    ----------
    atoms, magnitude, q, axis, start, cell
        As in :func:`spiral`.
    angle
        Degrees between moments and axis: 0 is a ferromagnet along the axis, 90 a flat spiral.

    Returns
    -------
    ndarray
        (n, 3), µB.
    """
    along = unit_vector(axis, "axis")
    first = perpendicular(along) if start is None else unit_vector(start, "start")
    if abs(first @ along) > 1e-6:
        raise InputError(
            f"start = {as_text(start)} is not perpendicular to axis = {as_text(along)} "
            f"(cosine {first @ along:.3g}). Choose a perpendicular start; for moments with a part along the "
            "axis use cone(atoms, magnitude, q, angle, axis)."
        )
    second = np.cross(along, first)
    turn = _wave_angles(atoms, q, cell)[:, None]
    theta = np.deg2rad(float(angle))
    directions = np.cos(theta) * along + np.sin(theta) * (np.cos(turn) * first + np.sin(turn) * second)
    return resolve_magnitude(atoms, magnitude)[:, None] * directions


def random_directions(atoms: Atoms, magnitude: Magnitude, rng: int | np.random.Generator) -> Array:
    """Independent directions, uniform on the sphere.

    Parameters
    ----------
    atoms, magnitude
        As in :func:`ferromagnet`.
    rng
        Seed or generator; there is no hidden random state.

    Returns
    -------
    ndarray
        (n, 3), µB.
    """
    vectors = np.random.default_rng(rng).normal(size=(len(atoms), 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return resolve_magnitude(atoms, magnitude)[:, None] * vectors


def tilt(moments: ArrayLike, angle: float, rng: int | np.random.Generator, *, uniform: bool = False) -> Array:
    """Turn every moment away from where it points, by ``angle``, towards a random side.

    Parameters
    ----------
    moments
        (n, 3), µB. Zeros stay zeros.
    angle
        Degrees.
    rng
        Seed or generator.
    uniform
        If true, ``angle`` is the largest tilt, and directions are uniform on the spherical cap within it.

    Returns
    -------
    ndarray
        (n, 3), µB, lengths unchanged.
    """
    vectors = as_finite(moments, "moments")
    if vectors.ndim != 2 or vectors.shape[1] != 3:
        raise InputError(f"moments have shape {vectors.shape}; allowed: (n, 3). Use tilt(get_moments(atoms), ...).")
    generator = np.random.default_rng(rng)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1.0)
    side = np.cross(unit, generator.normal(size=unit.shape))
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-300)
    cosine = np.full((len(unit), 1), np.cos(np.deg2rad(angle)))
    if uniform:
        cosine = 1.0 - generator.random((len(unit), 1)) * (1.0 - cosine)
    return length * (cosine * unit + np.sqrt(np.maximum(1.0 - cosine**2, 0.0)) * side)


def rotate_with_moments(
    atoms: Atoms,
    rotation: float | ArrayLike,
    axis: ArrayLike | str | None = None,
    *,
    center: ArrayLike = (0, 0, 0),
    rotate_cell: bool = True,
) -> None:
    """Turn positions, cell, momenta and moments together (``atoms.rotate()`` does not turn moments).

    Parameters
    ----------
    atoms
        Structure, changed in place. Collinear (n,) moments become (n, 3).
    rotation
        Angle in degrees about ``axis``, or an orthogonal (3, 3) matrix R, r -> R r. Moments are axial
        vectors, m -> det(R) R m, so that a mirror or the inversion is right, too.
    axis
        Vector or "x", "y", "z"; with an angle only.
    center
        Point that stays where it is, Å.
    rotate_cell
        Turn the cell, too.
    """
    matrix = rotation_matrix(rotation, axis)
    middle = np.asarray(center, dtype=float)
    if atoms.has("initial_magmoms"):
        set_moments(atoms, np.sign(np.linalg.det(matrix)) * get_moments(atoms) @ matrix.T)
    if atoms.has("momenta"):
        atoms.arrays["momenta"] = atoms.arrays["momenta"] @ matrix.T
    atoms.positions = (atoms.positions - middle) @ matrix.T + middle
    if rotate_cell:
        atoms.set_cell(atoms.cell.array @ matrix.T)


def _wave_angles(atoms: Atoms, q: ArrayLike, cell: ArrayLike | None) -> Array:
    """Return 2π q·r per atom (radians) after checking that the wave fits into the periodic cell."""
    vector = as_finite(q, "q")
    if vector.shape != (3,):
        raise InputError(f"q has shape {vector.shape}; allowed: three fractions of the reciprocal cell.")
    reference = atoms.cell if cell is None else type(atoms.cell).ascell(cell)
    lengths = reference.lengths()
    if np.any((lengths == 0.0) & (vector != 0.0)):
        raise InputError(
            f"q = {as_text(q)} has a component along a missing cell vector (lengths {as_text(lengths)} Å). "
            "Set the cell, or pass cell=."
        )
    wave = np.linalg.solve(reference.complete().array, vector)  # 1/Å: wave · a_i = q_i
    turns = atoms.cell.array[atoms.pbc] @ wave
    if np.any(np.abs(turns - np.round(turns)) > _COMMENSURATE):
        repeats = np.ones(3, dtype=int)
        repeats[atoms.pbc] = [Fraction(float(t)).limit_denominator(48).denominator for t in turns]
        raise InputError(
            f"the wave q = {as_text(q)} does not fit into the periodic cell: it makes {as_text(turns)} turns "
            "along the periodic cell vectors, not whole numbers. Build the moments on "
            f"atoms.repeat({tuple(repeats.tolist())}) and pass cell=atoms.cell, so that q keeps its meaning."
        )
    return 2 * np.pi * atoms.positions @ wave
