"""Checked input for the functions on moments: finite arrays, unit vectors, rotations, numbers per species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError

Array = NDArray[np.float64]
Magnitude = float | Mapping[str, float] | Sequence[float] | NDArray[np.floating]
"""One number for all atoms, a number per species, or (n,) numbers; µB. Negative means antiparallel."""

_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def resolve_magnitude(atoms: Atoms, magnitude: Magnitude, *, name: str = "magnitude") -> Array:
    """One number per atom from a number, a dict by species or an (n,) array.

    Raises
    ------
    InputError
        A species is missing, a key is no chemical symbol, the shape is wrong, or a number is not finite.
    """
    n = len(atoms)
    if isinstance(magnitude, Mapping):
        unknown = sorted(str(key) for key in magnitude if key not in atomic_numbers)
        if unknown:
            raise InputError(f"{name} has keys that are no chemical symbols: {', '.join(unknown)}")
        symbols = atoms.get_chemical_symbols()
        missing = sorted(set(symbols) - set(magnitude))
        if missing:
            raise InputError(
                f"{name} has no entry for {', '.join(missing)}; it lists "
                f"{', '.join(sorted(magnitude)) or 'nothing'}. Every species of the structure needs one; "
                "0.0 means not magnetic."
            )
        table = {key: as_finite(value, f"{name}[{key!r}]") for key, value in magnitude.items()}
        wrong = [key for key, value in table.items() if value.ndim]
        if wrong:
            raise InputError(
                f"{name}[{wrong[0]!r}] has shape {table[wrong[0]].shape}; an entry is one number in µB. "
                "For vectors per species multiply ferromagnet(atoms, magnitude, direction) by your own signs."
            )
        return np.array([float(table[symbol]) for symbol in symbols])
    values = as_finite(magnitude, name)
    if values.ndim == 0:
        return np.full(n, float(values))
    if values.shape != (n,):
        raise InputError(f"{name} has shape {values.shape}; allowed: a number, a dict by species, or ({n},).")
    return values


def rotation_matrix(rotation: float | ArrayLike, axis: ArrayLike | str | None = None) -> Array:
    """Matrix of a right-handed turn by an angle (degrees) about an axis; a matrix is checked and returned."""
    given = as_finite(rotation, "rotation")
    if given.shape == (3, 3):
        if axis is not None:
            raise InputError("axis goes with an angle; a rotation matrix already has one. Leave axis out.")
        if not np.allclose(given @ given.T, np.eye(3), atol=1e-8):
            raise InputError("the rotation matrix is not orthogonal: R Rᵀ differs from the identity.")
        return given
    if given.ndim or axis is None:
        raise InputError(
            f"rotation has shape {given.shape} and axis is {axis!r}; allowed: an angle in degrees with an "
            "axis, or an orthogonal (3, 3) matrix alone."
        )
    u, angle = unit_vector(axis, "axis"), np.deg2rad(float(given))
    cross = np.array([[0, -u[2], u[1]], [u[2], 0, -u[0]], [-u[1], u[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def unit_vector(vector: ArrayLike | str, name: str = "direction") -> Array:
    """Normalise a vector given as three numbers or as "x", "-x", "y", ..."""
    if isinstance(vector, str):
        sign, key = (-1.0, vector[1:]) if vector.startswith("-") else (1.0, vector)
        if key not in _AXES:
            raise InputError(f'{name} = {vector!r}; allowed: three numbers, or "x", "y", "z", "-x", "-y", "-z".')
        return sign * np.array(_AXES[key])
    array = as_finite(vector, name)
    length = np.linalg.norm(array)
    if array.shape != (3,) or length == 0.0:
        raise InputError(f'{name} = {as_text(vector)}; allowed: three numbers that are not all zero, or "x", "y", "z".')
    return array / length


def perpendicular(axis: Array) -> Array:
    """Return the x direction (y if the axis is close to x) made perpendicular to an axis."""
    trial = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    trial -= (trial @ axis) * axis
    return trial / np.linalg.norm(trial)


def as_finite(value: object, name: str) -> Array:
    """Float array of something, or an InputError that names it."""
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} = {value!r} is not an array of numbers: {error}") from error
    if not np.all(np.isfinite(array)):
        bad = np.argwhere(~np.isfinite(array))[0]
        where = f" (first at index {tuple(bad.tolist())})" if array.ndim else ""
        raise InputError(f"{name} contains NaN or infinity{where}; moments and directions must be finite numbers.")
    return array


def as_text(values: object) -> str:
    """Short text of a vector for messages."""
    array = np.asarray(values, dtype=float)
    return "(" + ", ".join(f"{x:g}" for x in np.atleast_1d(array)) + ")"
