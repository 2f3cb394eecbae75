"""What the formats share: parts of tensors, both orders of a bond, anisotropy axes, lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel, dm_tensor, dm_vector
from deepspin_ase.heisenberg.spins import directions
from deepspin_ase.vectors import Array, as_finite

MEV = 1e-3
"""eV per meV."""
RYDBERG = 13.605693122994
"""eV per Ry (CODATA 2018)."""
MRY = RYDBERG * 1e-3
"""eV per mRy."""
JOULE = 1.0 / 1.602176634e-19
"""eV per J."""

TOLERANCE = 1e-7
"""eV: what a format cannot hold and is smaller than this is dropped, anything larger is an error."""


def split(bonds: Bonds) -> tuple[Array, Array, Array]:
    """Isotropic J (b,), D (b, 3) and symmetric traceless part (b, 3, 3) of all tensors, eV."""
    scalar = np.trace(bonds.tensor, axis1=1, axis2=2) / 3
    vector = dm_vector(bonds.tensor)
    return scalar, vector, bonds.tensor - dm_tensor(vector) - scalar[:, None, None] * np.eye(3)


def magnetic_sites(model: HeisenbergModel) -> tuple[HeisenbergModel, NDArray[np.int64]]:
    """The model without atoms that have no moment, and which atoms are left."""
    keep = np.flatnonzero(model.magnitudes > 0.0)
    if not len(keep):
        raise InputError("the model has no magnetic site; there is nothing to write.")
    number = np.full(len(model), -1)
    number[keep] = np.arange(len(keep))
    bonds = model.bonds
    smaller = replace(
        model,
        positions=model.positions[keep],
        numbers=model.numbers[keep],
        magnitudes=model.magnitudes[keep],
        anisotropy=model.anisotropy[keep],
        bonds=Bonds(number[bonds.i], number[bonds.j], bonds.image, bonds.tensor),
    )
    return smaller, keep


def spin_directions(moments: ArrayLike | None, model: HeisenbergModel) -> Array:
    """Unit vectors (n, 3) of given moments, or +z."""
    if moments is None:
        return np.tile([0.0, 0.0, 1.0], (len(model), 1))
    given = as_finite(moments, "moments")
    if given.shape != (len(model), 3):
        raise InputError(f"moments have shape {given.shape}; allowed: ({len(model)}, 3).")
    length, unit = directions(given)
    unit[length == 0.0] = (0.0, 0.0, 1.0)
    return unit


def both_orders(i: ArrayLike, j: ArrayLike, image: ArrayLike, tensor: Array, source: Path) -> Bonds:
    """Bonds from a file that lists each in both orders, with rounded numbers: J_ij and J_jiᵀ are averaged.

    Raises
    ------
    InputError
        A bond lacks its reverse, occurs twice, or the two differ by more than 1 % of the largest tensor.
    """
    keys = np.column_stack([np.asarray(i), np.asarray(j), np.asarray(image).reshape(-1, 3)]).astype(np.int64)
    order = np.lexsort(keys.T[::-1])
    keys, tensor = keys[order], tensor[order]
    reverse = np.column_stack([keys[:, 1], keys[:, 0], -keys[:, 2:]])
    back = np.lexsort(reverse.T[::-1])
    if len(keys) > 1 and (keys[1:] == keys[:-1]).all(axis=1).any():
        raise InputError(f"{source}: a bond is listed twice.")
    if not np.array_equal(reverse[back], keys):
        raise InputError(
            f"{source}: a bond i-j is listed without its reverse j-i; the format lists both, so the file is incomplete."
        )
    turned = tensor[back].transpose(0, 2, 1)
    if np.abs(tensor - turned).max(initial=0.0) > 0.01 * np.abs(tensor).max(initial=0.0):
        raise InputError(f"{source}: the tensors of a bond and of its reverse are not transposes of each other.")
    return Bonds(keys[:, 0], keys[:, 1], keys[:, 2:], (tensor + turned) / 2)


def uniaxial_part(tensor: Array, site: int, code: str) -> tuple[float, Array]:
    """Strength k (eV) and axis n of an anisotropy K = k n nᵀ + c 1.

    Raises
    ------
    InputError
        If K has three different eigenvalues, which the code has no term for.
    """
    values, vectors = np.linalg.eigh(tensor)
    low, high = values[1] - values[0], values[2] - values[1]
    if min(low, high) > TOLERANCE:
        raise InputError(
            f"the anisotropy of site {site} has three different eigenvalues ({', '.join(f'{v:.3e}' for v in values)} "
            f"eV); {code} holds uniaxial ones only. Write a model with replace(model, anisotropy=...)."
        )
    if high >= low:
        return float(values[2] - values[:2].mean()), vectors[:, 2]
    return float(values[0] - values[1:].mean()), vectors[:, 0]


def refuse(size: float, what: str, code: str) -> None:
    """Stop if a term that the code cannot hold is not negligible."""
    if size > TOLERANCE:
        raise InputError(
            f"{code} has no place for {what}, which amounts to {size:.2e} eV here (allowed: {TOLERANCE:.0e} eV). "
            "Take it out of the model on purpose, or choose another format."
        )


def refuse_field(model: HeisenbergModel, code: str) -> None:
    """Fields belong to the other code's own input."""
    if model.field.any():
        raise InputError(
            f"the model has a field of {model.field.tolist()} T, which these files of {code} do not carry; write "
            f"dataclasses.replace(model, field=np.zeros(3)) and set the field in {code}."
        )


def numbers(words: Sequence[str], count: int, source: Path, what: str) -> Array:
    """The first ``count`` words as finite numbers, or an error that shows the line."""
    try:
        values = np.array([float(word.replace("d", "e").replace("D", "e")) for word in words[:count]])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(f"{source}: {what} needs {count} numbers, the file says {' '.join(words)!r}.")
    return values


def read_lines(path: Path, comment: str = "") -> list[str]:
    """Lines of a text file, stripped, without comments and empty lines."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise InputError(f"{path} is no text file ({problem}).") from problem
    lines = (line.split(comment)[0] if comment else line for line in text.splitlines())
    return [line.strip() for line in lines if line.strip()]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
