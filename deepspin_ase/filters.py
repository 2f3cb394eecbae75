"""Relax positions, directions and lengths of moments, and the cell, with ASE's own optimizers.

>>> from ase.optimize import FIRE
>>> FIRE(SpinLatticeFilter(atoms)).run(fmax=0.01)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import Filter, FrechetCellFilter
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import MAGNETIC_FORCES
from deepspin_ase.vectors import Array

_ZERO_MOMENT = 1e-8  # µB; below this an atom counts as not magnetic


@dataclass(frozen=True)
class Residuals:
    """How far a structure is from equilibrium, each part in its own unit; parts that are not relaxed are
    None.

    ============  =====================================================  ======
    ``force``     largest force, constraints applied                     eV/Å
    ``torque``    largest magnetic torque |m x F^m|                      eV/rad
    ``parallel``  largest part of F^m along the moment                   eV/µB
    ``stress``    largest component of the stress plus target pressure   eV/Å³
    ============  =====================================================  ======
    """

    force: float | None
    torque: float | None
    parallel: float | None
    stress: float | None


class SpinLatticeFilter(Filter):
    """Present chosen degrees of freedom of a magnetic structure to an ASE optimizer.

    The optimizer sees rows of three numbers in Å and "forces" in eV/Å; ``fmax`` limits the length of a row.
    With the scales s_d = ``direction_scale``, s_m = ``magnitude_scale`` and F^m = -dE/dm:

    ==============  ====================  ==========================  =======================
    rows            coordinate            force                       number
    ==============  ====================  ==========================  =======================
    ``lattice``     position R            F                           one per atom
    ``directions``  s_d e with |e| = 1    |m| (F^m across m) / s_d    one per moving moment
    ``magnitudes``  (s_m |m|, 0, 0)       (F^m along m) / s_m         one per moving moment
    ``cell``        FrechetCellFilter's   FrechetCellFilter's         three
    ==============  ====================  ==========================  =======================

    So ``fmax`` means: forces below fmax, torques below ``direction_scale · fmax`` and longitudinal magnetic
    forces below ``magnitude_scale · fmax``. With the defaults fmax = 0.01 eV/Å stops at 1 meV of torque and 2
    meV/µB. The scales also make the stiffness of spins (0.1 to 1 eV/rad²) look to the optimizer like that of
    a lattice; smaller scales mean larger steps. A step leaves the sphere and is projected back on it, so that
    the energy is a function of the coordinates alone, as line searches need. :meth:`residuals` gives the
    result in physical units.

    A saddle point stays one: from an exactly collinear state no torque acts, so tilt the moments first
    (``deepspin_ase.moments.tilt``).

    Parameters
    ----------
    atoms
        Structure with moments and, when forces are asked for, a calculator that gives ``magnetic_forces``. It
        is changed in place. Collinear (n,) moments become (n, 3) if directions are relaxed.
    lattice
        Relax positions. ASE constraints (FixAtoms, ...) hold; they concern positions only.
    directions
        Relax the directions of the moments.
    magnitudes
        Relax the lengths of the moments; for calculators with a longitudinal energy.
    cell
        Relax the cell; without ``lattice`` the atoms follow it.
    moving
        Mask (n,) or indices of the moments that may change; default all that are not zero. Atoms without a
        moment never get one.
    direction_scale
        Å per radian.
    magnitude_scale
        Å per µB.
    cell_options
        Options of ASE's FrechetCellFilter: mask, hydrostatic_strain, constant_volume, scalar_pressure.

    Raises
    ------
    InputError
        Nothing to relax, scales that are not positive, moments without a length among ``moving``.
    """

    def __init__(
        self,
        atoms: Atoms,
        *,
        lattice: bool = True,
        directions: bool = True,
        magnitudes: bool = False,
        cell: bool = False,
        moving: ArrayLike | None = None,
        direction_scale: float = 0.1,
        magnitude_scale: float = 0.2,
        cell_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not (lattice or directions or magnitudes or cell):
            raise InputError("nothing to relax; switch on at least one of lattice, directions, magnitudes, cell.")
        if not (direction_scale > 0 and magnitude_scale > 0):
            raise InputError(
                f"direction_scale = {direction_scale} Å, magnitude_scale = {magnitude_scale} Å/µB; "
                "allowed: positive numbers."
            )
        if cell_options and not cell:
            raise InputError("cell_options without cell=True have no effect; set cell=True.")
        super().__init__(atoms, indices=range(len(atoms)))
        self.lattice, self.directions, self.magnitudes = bool(lattice), bool(directions), bool(magnitudes)
        self.direction_scale, self.magnitude_scale = float(direction_scale), float(magnitude_scale)
        self.moving = _moving(atoms, moving) if directions or magnitudes else np.zeros(0, dtype=np.int64)
        self._cell = FrechetCellFilter(atoms, **(cell_options or {})) if cell else None
        if directions:
            set_moments(atoms, get_moments(atoms))
        self._unit = np.zeros((len(self.moving), 3))
        self._signed = np.zeros(len(self.moving))
        self._read_moments()

    def __len__(self) -> int:
        """Number of rows."""
        spins = len(self.moving) * (int(self.directions) + int(self.magnitudes))
        return len(self.atoms) * int(self.lattice) + spins + (3 if self._cell is not None else 0)

    def get_positions(self) -> Array:
        """Coordinates, one row of three (Å) per degree of freedom as listed in the class."""
        self._read_moments()
        rows = self._lattice_rows(self._base().get_positions())
        if self.directions:
            rows.insert(len(rows) - self._has_cell, self.direction_scale * self._unit)
        if self.magnitudes:
            rows.insert(len(rows) - self._has_cell, self._along_x(self.magnitude_scale * self._signed))
        return np.concatenate(rows)

    def set_positions(self, positions: ArrayLike, **kwargs: Any) -> None:
        """Set the coordinates; directions are put back on the sphere."""
        new = np.asarray(positions, dtype=float).reshape(-1, 3)
        if new.shape != (len(self), 3):
            raise InputError(f"coordinates have shape {new.shape}; allowed: ({len(self)}, 3).")
        self._read_moments()
        n, start = len(self.atoms), 0
        if self.lattice:
            start = n
        if self.directions:
            block = new[start : start + len(self.moving)]
            length = np.linalg.norm(block, axis=1, keepdims=True)
            if np.any(length == 0.0):
                raise InputError("a direction row is zero; give a vector of any other length.")
            self._unit = block / length
            start += len(self.moving)
        if self.magnitudes:
            self._signed = new[start : start + len(self.moving), 0] / self.magnitude_scale
            start += len(self.moving)
        base = self._base()
        whole = base.get_positions()
        if self.lattice:
            whole[:n] = new[:n]
        if self._has_cell:
            whole[n:] = new[start:]
        if self.lattice or self._has_cell:
            base.set_positions(whole, **kwargs)
        if self.directions or self.magnitudes:
            self._write_moments()

    positions = property(get_positions, set_positions, doc="Coordinates, Å.")

    def get_forces(self, **kwargs: Any) -> Array:
        """Minus the gradient of the energy with respect to the coordinates, eV/Å."""
        self._read_moments()
        rows = self._lattice_rows(self._base().get_forces(**kwargs)) if self.lattice or self._has_cell else []
        if self.directions or self.magnitudes:
            across, along = self._magnetic_forces()
            if self.directions:
                force = across * self._signed[:, None] / self.direction_scale
                rows.insert(len(rows) - self._has_cell, force)
            if self.magnitudes:
                rows.insert(len(rows) - self._has_cell, self._along_x(along / self.magnitude_scale))
        return np.concatenate(rows)

    def get_potential_energy(self, **kwargs: Any) -> float:
        """Energy, eV; the enthalpy if the cell is relaxed under pressure."""
        return float(self._base().get_potential_energy(**kwargs))

    def residuals(self) -> Residuals:
        """Largest force, torque, longitudinal magnetic force and stress of the present state."""
        self._read_moments()
        torque = parallel = stress = None
        if len(self.moving):
            across, along = self._magnetic_forces()
            if self.directions:
                torque = _largest(across * self._signed[:, None])
            if self.magnitudes:
                parallel = float(np.abs(along).max())
        if self._cell is not None:
            self._cell.get_forces()
            stress = float(np.abs(np.asarray(self._cell.stress)).max())
        force = _largest(self.atoms.get_forces()) if self.lattice else None
        return Residuals(force=force, torque=torque, parallel=parallel, stress=stress)

    @property
    def _has_cell(self) -> int:
        return int(self._cell is not None)

    def _base(self) -> Atoms | FrechetCellFilter:
        """What holds positions and cell."""
        return self.atoms if self._cell is None else self._cell

    def _lattice_rows(self, whole: Array) -> list[Array]:
        n = len(self.atoms)
        return ([whole[:n]] if self.lattice else []) + ([whole[n:]] if self._has_cell else [])

    def _magnetic_forces(self) -> tuple[Array, Array]:
        """Magnetic forces of the moving moments: across the unit vectors, (k, 3), and along them, (k,)."""
        if self.atoms.calc is None:
            raise RuntimeError("the structure has no calculator; set atoms.calc first.")
        field = np.asarray(self.atoms.calc.get_property(MAGNETIC_FORCES, self.atoms))[self.moving]
        along = np.einsum("ia,ia->i", field, self._unit)
        return field - along[:, None] * self._unit, along

    def _read_moments(self) -> None:
        """Take over moments that were changed from outside; a length that crossed zero keeps its sign."""
        moments = get_moments(self.atoms)[self.moving]
        if np.array_equal(moments, self._signed[:, None] * self._unit):
            return
        length = np.linalg.norm(moments, axis=1)
        set_ = length > 0.0
        self._unit[set_] = moments[set_] / length[set_, None]
        self._signed = length

    def _write_moments(self) -> None:
        vectors = self._signed[:, None] * self._unit
        stored = self.atoms.arrays["initial_magmoms"]
        if stored.ndim == 1:
            stored[self.moving] = vectors[:, 2]
        else:
            stored[self.moving] = vectors

    @staticmethod
    def _along_x(values: Array) -> Array:
        rows = np.zeros((len(values), 3))
        rows[:, 0] = values
        return rows


def _moving(atoms: Atoms, moving: ArrayLike | None) -> NDArray[np.int64]:
    """Indices of the moments that may change."""
    n = len(atoms)
    length = np.linalg.norm(get_moments(atoms), axis=1)
    if moving is None:
        chosen = np.flatnonzero(length > _ZERO_MOMENT)
        if not len(chosen):
            raise InputError("the structure carries no moments to relax; use set_moments(atoms, ...) first.")
        return chosen
    given = np.asarray(moving)
    if given.dtype == bool and given.shape == (n,):
        chosen = np.flatnonzero(given)
    elif given.ndim == 1 and np.issubdtype(given.dtype, np.integer) and np.all((given >= 0) & (given < n)):
        chosen = np.unique(given)
    else:
        raise InputError(f"moving must be a mask of shape ({n},) or indices from 0 to {n - 1}; got {moving!r}.")
    still = chosen[length[chosen] <= _ZERO_MOMENT]
    if len(still):
        raise InputError(
            f"atom {still[0]} ({atoms.symbols[still[0]]}) is listed in moving but carries no moment; "
            "set one or leave the atom out."
        )
    return chosen.astype(np.int64)


def _largest(rows: Array | Sequence[Sequence[float]]) -> float:
    return float(np.linalg.norm(rows, axis=1).max(initial=0.0))
