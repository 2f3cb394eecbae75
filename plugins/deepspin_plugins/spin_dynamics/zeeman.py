"""Magnetic field for any calculator: ``ZeemanField(calculator, B)`` adds -Σ µB m_i·B(t).

Every driver sees the field because it is part of the calculator. Fields add up by wrapping twice. Drivers with
a clock tell the calculator the time through ``set_time``; without one it stays at t = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, all_changes
from numpy.typing import ArrayLike

from deepspin_ase.errors import InputError
from deepspin_ase.magnetic_calculator import MagneticCalculator
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import ENERGIES, ENERGY, FREE_ENERGY, MAGNETIC_FORCES, MAGNETIC_TORQUES, MU_B
from deepspin_ase.vectors import Array, as_finite, perpendicular, unit_vector

FieldFunction: TypeAlias = Callable[[float], ArrayLike]
"""B(t): time in fs -> (3,) tesla."""


@dataclass(frozen=True)
class RotatingField:
    """Field of constant strength that turns right-handedly: B(t) = B [u cos(2πft + φ) + v sin(2πft + φ)].

    u is the x direction (y if the axis is close to x) made perpendicular to the axis, v = axis x u.

    Parameters
    ----------
    amplitude
        B, tesla.
    frequency
        f, THz. Negative turns the other way.
    axis
        Vector of any length, or "x", "y", "z".
    phase
        φ, degrees.
    """

    amplitude: float
    frequency: float
    axis: ArrayLike | str = "z"
    phase: float = 0.0

    def __call__(self, time: float) -> Array:
        """Field in tesla, (3,), at a time in fs."""
        axis = unit_vector(self.axis, "axis")
        first = perpendicular(axis)
        angle = 2e-3 * np.pi * self.frequency * time + np.deg2rad(self.phase)
        return np.asarray(self.amplitude * (np.cos(angle) * first + np.sin(angle) * np.cross(axis, first)))


@dataclass(frozen=True)
class PulsedField:
    """Gaussian pulse, with a carrier wave if asked for: B(t) = B exp(-4 ln2 (t - t0)²/w²) cos(2πf(t - t0)).

    Parameters
    ----------
    amplitude
        B, tesla, (3,).
    center
        t0, fs.
    width
        w, full width at half maximum of the envelope, fs.
    frequency
        f, THz; 0 is a pulse of one sign.
    """

    amplitude: ArrayLike
    center: float
    width: float
    frequency: float = 0.0

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise InputError(f"width = {self.width} fs; allowed: a positive number.")

    def __call__(self, time: float) -> Array:
        """Field in tesla, (3,), at a time in fs."""
        delay = time - self.center
        envelope = np.exp(-4.0 * np.log(2.0) * (delay / self.width) ** 2)
        return np.asarray(self.amplitude, dtype=float) * envelope * np.cos(2e-3 * np.pi * self.frequency * delay)


class ZeemanField(MagneticCalculator):
    """Calculator in a magnetic field: E = E_calculator - Σ_i µB m_i·B(t).

    Energies per atom, energy, magnetic forces and torques get their part of the field; forces, stress and second
    derivatives are those of the calculator, because the term is linear in the moments and does not depend on the
    positions.

    Parameters
    ----------
    calculator
        Any calculator with magnetic forces, also another ZeemanField.
    field
        Tesla. (3,) for a static field, or a function of the time in fs: :class:`RotatingField`,
        :class:`PulsedField`, or one of yours.

    Raises
    ------
    InputError
        The calculator gives no magnetic forces; the field is not three finite numbers.

    Examples
    --------
    >>> atoms.calc = ZeemanField(DeepSpin("nio"), (0, 0, 10.0))  # doctest: +SKIP
    >>> atoms.calc = ZeemanField(atoms.calc, PulsedField((2.0, 0, 0), center=500, width=200))  # doctest: +SKIP
    """

    def __init__(self, calculator: BaseCalculator, field: ArrayLike | FieldFunction) -> None:
        super().__init__()
        offered = getattr(calculator, "implemented_properties", ())
        if MAGNETIC_FORCES not in offered:
            raise InputError(
                f"{type(calculator).__name__} gives no {MAGNETIC_FORCES} (it gives {', '.join(offered) or 'nothing'}); "
                "use deepspin_ase.DeepSpin, deepspin_ase.Heisenberg or another calculator that does."
            )
        self.implemented_properties = list(dict.fromkeys([*offered, MAGNETIC_TORQUES]))
        self.calculator = calculator
        self._function: FieldFunction | None = field if callable(field) else None
        self._static = np.zeros(3) if callable(field) else _vector(field)
        if hasattr(calculator, "get_hessian"):
            self.get_hessian = calculator.get_hessian
        self.time = 0.0
        self._field = self._static
        self.set_time(0.0)

    @property
    def field(self) -> Array:
        """Present field of this wrapper alone, tesla, (3,); a copy."""
        return self._field.copy()

    def set_field(self, field: ArrayLike | FieldFunction) -> None:
        """Replace the field by another static or time-dependent one."""
        self._function = field if callable(field) else None
        self._static = np.zeros(3) if callable(field) else _vector(field)
        self.set_time(self.time)

    def set_time(self, time: float) -> None:
        """Set the clock (fs), also of a field inside; results are dropped only if the field changes."""
        if hasattr(self.calculator, "set_time"):
            before = _total_field(self.calculator)
            self.calculator.set_time(time)
            if not np.array_equal(before, _total_field(self.calculator)):
                self.reset()
        self.time = float(time)
        new = self._static if self._function is None else _vector(self._function(self.time))
        if not np.array_equal(new, self._field):
            self._field = new
            self.reset()

    def zeeman_energy(self, atoms: Atoms) -> float:
        """-Σ µB m_i·B of all fields, this one and those inside, eV."""
        return float(-MU_B * get_moments(atoms).sum(axis=0) @ _total_field(self))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = (ENERGY,),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Calculate what is asked for, and whatever the calculator gives with it; ASE calls this."""
        super().calculate(atoms, list(properties), list(system_changes))
        current = self.atoms
        if current is None:
            raise InputError("the calculator needs a structure: atoms.calc = calc")
        for name in properties:
            self.calculator.get_property(MAGNETIC_FORCES if name == MAGNETIC_TORQUES else name, current)
        self.results = self._with_field(self.calculator.results, current)

    def evaluate_many(self, structures: Iterable[Atoms], **options: Any) -> list[dict[str, Any]]:
        """Results of many structures, in batches if the calculator can do that.

        Parameters
        ----------
        structures
            Any number of structures.
        **options
            Passed on to the calculator's ``evaluate_many``.

        Returns
        -------
        list of dict
            One ``results`` dictionary per structure.
        """
        given = list(structures)
        if hasattr(self.calculator, "evaluate_many"):
            inner = self.calculator.evaluate_many(given, **options)
            return [self._with_field(results, atoms) for results, atoms in zip(inner, given, strict=True)]
        results = []
        for atoms in given:
            self.calculator.get_property(MAGNETIC_FORCES, atoms)
            results.append(self._with_field(self.calculator.results, atoms))
        return results

    def _with_field(self, inner: dict[str, Any], atoms: Atoms) -> dict[str, Any]:
        """Copy of results with the part of the field added."""
        results = {key: np.array(value) if np.ndim(value) else value for key, value in inner.items()}
        moments = get_moments(atoms)
        zeeman = -MU_B * moments @ self._field
        for name in {ENERGY, FREE_ENERGY} & results.keys():
            results[name] = float(results[name] + zeeman.sum())
        if ENERGIES in results:
            results[ENERGIES] += zeeman
        if MAGNETIC_FORCES in results:
            results[MAGNETIC_FORCES] += MU_B * self._field
            results[MAGNETIC_TORQUES] = np.cross(moments, results[MAGNETIC_FORCES])
        return results


def _total_field(calculator: object) -> Array:
    """Sum of the fields of nested wrappers, tesla."""
    total = np.zeros(3)
    while isinstance(calculator, ZeemanField):
        total += calculator._field
        calculator = calculator.calculator
    return total


def _vector(field: ArrayLike) -> Array:
    array = as_finite(field, "field")
    if array.shape != (3,):
        raise InputError(f"field has shape {array.shape}; allowed: (3,) in tesla, or a function of the time in fs.")
    return array
