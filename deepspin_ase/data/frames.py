"""A labelled frame: a structure with its moments, and what first-principles theory says about it.

All units as in ``docs/conventions.md``: eV, Å, µB; magnetic forces F^m = -∂E/∂m in eV/µB; stress tension
positive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import ENERGY, FORCES, MAGNETIC_FORCES, STRESS

if TYPE_CHECKING:
    from deepspin_ase.data.results import StoredResults

Array = NDArray[np.float64]
LABEL_NAMES = (ENERGY, FORCES, STRESS, MAGNETIC_FORCES)


class FrameError(InputError):
    """A frame, or the file it comes from, cannot be used.

    Parameters
    ----------
    message
        What is wrong, what is allowed, what to do.
    source
        File or directory.
    frame
        Index of the frame in the source, from 0.
    line
        Line of the file, from 1.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | Path | None = None,
        frame: int | None = None,
        line: int | None = None,
    ) -> None:
        self.message, self.source, self.frame, self.line = message, source, frame, line
        place = [str(source)] if source not in (None, "") else []
        place += [f"frame {frame}"] if frame is not None else []
        place += [f"line {line}"] if line is not None else []
        super().__init__(f"{', '.join(place)}: {message}" if place else message)


@dataclass(frozen=True, eq=False)
class Labels:
    """First-principles results for one structure; whatever is None is missing.

    Parameters
    ----------
    energy
        eV.
    forces
        (n, 3), eV/Å.
    stress
        (6,), eV/Å³, Voigt xx yy zz yz xz xy, tension positive. A symmetric (3, 3) is accepted.
    magnetic_forces
        (n, 3), eV/µB, -∂E/∂m. A row of NaN means: missing for this atom.

    Arrays are stored as read-only float64 copies. Labels that are NaN throughout become None.

    Raises
    ------
    FrameError
        Wrong shapes, infinities, or NaN in a part only (other than whole rows of ``magnetic_forces``).
    """

    energy: float | None = None
    forces: Array | None = None
    stress: Array | None = None
    magnetic_forces: Array | None = None

    def __post_init__(self) -> None:
        if self.energy is not None:
            if np.ndim(self.energy) != 0 or np.isinf(self.energy):
                raise FrameError(f"the energy must be one finite number (eV), got {self.energy!r}")
            object.__setattr__(self, ENERGY, None if np.isnan(self.energy) else float(self.energy))
        object.__setattr__(self, FORCES, _per_atom(self.forces, FORCES, "eV/Å", rows_may_lack=False))
        object.__setattr__(self, STRESS, _voigt(self.stress))
        magnetic = _per_atom(self.magnetic_forces, MAGNETIC_FORCES, "eV/µB", rows_may_lack=True)
        object.__setattr__(self, MAGNETIC_FORCES, magnetic)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the labels that are present."""
        return tuple(name for name in LABEL_NAMES if getattr(self, name) is not None)

    def as_dict(self) -> dict[str, Any]:
        """The labels that are present, by name."""
        return {name: getattr(self, name) for name in self.available}


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure with moments and labels.

    Parameters
    ----------
    atoms
        Structure; its state is a copy, moments become (n, 3) in ``initial_magmoms``, a calculator is dropped.
    labels
        What is known about it.
    source
        Where it comes from (a file name, a run).
    index
        Number within the source, from 0.
    info
        Anything else worth keeping: small, JSON-like values.

    Raises
    ------
    FrameError
        No atoms, positions or cell or moments not finite, or labels of another number of atoms.
    """

    atoms: Atoms
    labels: Labels = field(default_factory=Labels)
    source: str = ""
    index: int = 0
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        atoms = self.atoms.copy()
        where: dict[str, Any] = {"source": self.source or None, "frame": self.index}
        if len(atoms) == 0:
            raise FrameError("the frame has no atoms", **where)
        try:
            moments = get_moments(atoms)
        except ValueError as problem:
            raise FrameError(str(problem), **where) from None
        for name, values in (
            ("positions", atoms.positions),
            ("the cell", atoms.cell.array),
            ("moments", moments),
        ):
            if not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values).all(axis=1)))
                raise FrameError(f"{name}: row {row} is not finite: {values[row]}", **where)
        set_moments(atoms, moments)
        for name in (FORCES, MAGNETIC_FORCES):
            label = getattr(self.labels, name)
            if label is not None and len(label) != len(atoms):
                raise FrameError(f"{name} for {len(label)} atoms, but the structure has {len(atoms)}", **where)
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "info", dict(self.info))

    @classmethod
    def from_calculation(
        cls, atoms: Atoms, *, source: str = "", index: int = 0, info: Mapping[str, Any] | None = None
    ) -> Frame:
        """Label a structure with its own calculator.

        Parameters
        ----------
        atoms
            Structure with a calculator. It is asked for every label it implements; for stress only with a
            periodic cell in three directions.
        source, index, info
            As for :class:`Frame`.

        Raises
        ------
        InputError
            If there is no calculator.
        """
        calc = atoms.calc
        if calc is None:
            raise InputError("the structure has no calculator; set atoms.calc first")
        implemented = getattr(calc, "implemented_properties", [])
        stored = getattr(calc, "results", {})
        wanted = [name for name in LABEL_NAMES if name in implemented or name in stored]
        if not atoms.pbc.all() or atoms.cell.rank < 3:
            wanted = [name for name in wanted if name != STRESS]
        values = {name: calc.get_property(name, atoms) for name in wanted}
        return cls(atoms, Labels(**values), source=source, index=index, info=info or {})

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def moments(self) -> Array:
        """Moments, (n, 3), µB; a copy."""
        return get_moments(self.atoms)

    @property
    def energy_per_atom(self) -> float | None:
        """Energy label divided by the number of atoms, eV."""
        return None if self.labels.energy is None else self.labels.energy / len(self)

    def to_atoms(self) -> Atoms:
        """A copy of the structure, with a calculator that returns the labels (magnetic forces too)."""
        from deepspin_ase.data.results import StoredResults

        atoms = self.atoms.copy()
        atoms.info.update(self.info)
        calculator: StoredResults = StoredResults(atoms, **self.labels.as_dict())
        atoms.calc = calculator
        return atoms

    def where(self) -> dict[str, Any]:
        """Keyword arguments that tell a :class:`FrameError` which frame it is about."""
        return {"source": self.source or None, "frame": self.index}


def _per_atom(values: ArrayLike | None, name: str, unit: str, *, rows_may_lack: bool) -> Array | None:
    """Validated read-only copy of an (n, 3) label, or None when all of it is missing."""
    if values is None:
        return None
    array = np.array(values, dtype=float)
    if array.ndim != 2 or array.shape[1] != 3:
        raise FrameError(f"{name} must have shape (n, 3) ({unit}), got {array.shape}")
    missing = np.isnan(array)
    if missing.all():
        return None
    if np.isinf(array).any():
        raise FrameError(f"{name} of atom {int(np.argmax(np.isinf(array).any(axis=1)))} is infinite")
    partly = missing.any(axis=1) & ~(missing.all(axis=1) & rows_may_lack)
    if partly.any():
        hint = "; a missing magnetic force is a whole row of NaN" if rows_may_lack else ""
        raise FrameError(f"{name} of atom {int(np.argmax(partly))} is not a number{hint}")
    array.flags.writeable = False
    return array


def _voigt(values: ArrayLike | None) -> Array | None:
    """Validated read-only copy of a stress in Voigt form, or None when it is missing."""
    if values is None:
        return None
    array = np.array(values, dtype=float)
    if array.shape in ((3, 3), (9,)):
        matrix = array.reshape(3, 3)
        if not np.allclose(matrix, matrix.T, rtol=1e-3, atol=1e-6, equal_nan=True):
            raise FrameError(f"a stress of 9 components must be symmetric, got {matrix.tolist()}")
        matrix = (matrix + matrix.T) / 2
        array = matrix[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    if array.shape != (6,):
        raise FrameError(f"stress must have shape (6,) = xx yy zz yz xz xy, or (3, 3); got {array.shape}")
    if np.isnan(array).all():
        return None
    if not np.isfinite(array).all():
        raise FrameError(f"stress is not finite: {array.tolist()}")
    array.flags.writeable = False
    return array


def virial_to_stress(virial: ArrayLike, volume: float) -> Array:
    """Stress (6,) in eV/Å³ of a virial in eV, W = -V σ, given as (3, 3) or (9,)."""
    return _require(_voigt(-np.array(virial, dtype=float).reshape(3, 3) / volume))


def stress_to_virial(stress: ArrayLike, volume: float) -> Array:
    """Virial (3, 3) in eV, W = -V σ, of a stress (6,) in eV/Å³."""
    s = np.asarray(stress, dtype=float)
    return -volume * s[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


def _require(array: Array | None) -> Array:
    if array is None:
        raise FrameError("the virial is NaN throughout")
    return array
