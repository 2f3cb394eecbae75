"""Evaluate calculators without leaving traces, and compare numbers with messages that teach."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import ENERGY, FORCES, MAGNETIC_FORCES, QUANTITIES, STRESS
from deepspin_ase.testing.report import ConformanceError

Array = NDArray[np.float64]
CalculatorOrFactory = BaseCalculator | Callable[[], BaseCalculator]

_COMPONENTS = {(3,): "xyz", (6,): ("xx", "yy", "zz", "yz", "xz", "xy")}


def make(calc: CalculatorOrFactory) -> BaseCalculator:
    """Return the calculator itself, or a new one from a class or function."""
    if isinstance(calc, BaseCalculator):
        return calc
    if callable(calc):
        return calc()
    raise TypeError(f"calc = {calc!r}; allowed: an ASE calculator, or a function without arguments that makes one.")


def prepare(atoms: Atoms) -> Atoms:
    """Copy of a structure with (n, 3) moments, without constraints and calculator."""
    copy = atoms.copy()
    copy.set_constraint()
    set_moments(copy, get_moments(atoms))
    return copy


def evaluate(calc: BaseCalculator, atoms: Atoms, name: str) -> Array:
    """Property of a structure, as a float array."""
    return np.array(calc.get_property(name, atoms), dtype=float)


def energy(calc: BaseCalculator, atoms: Atoms) -> float:
    """Energy, eV."""
    return float(evaluate(calc, atoms, ENERGY))


def offered(calc: BaseCalculator, atoms: Atoms) -> list[str]:
    """Derivatives to compare: forces, magnetic forces and, if the calculator gives it here, stress."""
    names = [FORCES, MAGNETIC_FORCES]
    if atoms.cell.rank == 3 and gives(calc, atoms, STRESS):
        names.append(STRESS)
    return names


def gives(calc: BaseCalculator, atoms: Atoms, name: str) -> bool:
    """Whether a property can be had."""
    if name not in calc.implemented_properties:
        return False
    try:
        evaluate(calc, atoms, name)
    except PropertyNotImplementedError:
        return False
    return True


def compare(
    what: str,
    quantity: str,
    got: ArrayLike,
    expected: ArrayLike,
    tolerance: float,
    *,
    atoms: Atoms | None = None,
    reference: str = "expected",
    atom_indices: NDArray[np.int64] | None = None,
) -> float:
    """Largest difference divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1, or a number is not finite; it names the quantity, the worst atom and the two numbers.
    """
    a, b = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    unit = QUANTITIES[quantity].unit if quantity in QUANTITIES else ""
    if a.shape != b.shape:
        raise ConformanceError(f"{what}: {quantity} has shape {a.shape}, expected {b.shape}.", quantity=quantity)
    if a.size == 0:
        return 0.0
    difference = np.array(np.abs(a - b))
    difference[~np.isfinite(a)] = np.inf
    worst = np.unravel_index(int(np.argmax(difference)), difference.shape)
    value = float(difference[worst])
    if value <= tolerance:
        return value / tolerance
    per_atom = a.ndim >= 1 and not (a.shape == (6,) and quantity == STRESS)
    row = int(worst[0]) if per_atom else None
    atom = int(atom_indices[row]) if row is not None and atom_indices is not None else row
    where = ""
    if atom is not None:
        where = f" of atom {atom}" + (f" ({atoms.symbols[atom]})" if atoms is not None else "")
    names = _COMPONENTS.get(a.shape[-1:]) if (a.ndim == 2 or not per_atom) and a.ndim else None
    component = f", component {names[int(worst[-1])]}" if names else ""
    x, y = float(a[worst]), float(b[worst])
    raise ConformanceError(
        f"{what}: {quantity}{where}{component} is {x:.10g} {unit}, {reference} {y:.10g} {unit} "
        f"(difference {value:.2e}, tolerance {tolerance:.1e}).{_hint(a, b)}",
        quantity=quantity,
        atom=atom,
        got=x,
        expected=y,
        tolerance=tolerance,
    )


def _hint(got: Array, expected: Array) -> str:
    """Recognise the classic mistakes by the ratio of the two arrays."""
    norm = float(np.sum(expected * expected))
    if norm == 0.0 or not np.all(np.isfinite(got)):
        return ""
    ratio = float(np.sum(got * expected)) / norm
    rest = float(np.abs(got - ratio * expected).max())
    if rest > 1e-3 * float(np.abs(expected).max()):
        return ""
    for factor, text in (
        (-1.0, "The sign is reversed everywhere."),
        (
            2.0,
            "It is twice the expected value everywhere: a factor ½ is missing, or pairs are counted twice.",
        ),
        (0.5, "It is half the expected value everywhere: pairs are counted once where both orders count."),
        (-2.0, "It is minus twice the expected value everywhere."),
        (-0.5, "It is minus half the expected value everywhere."),
    ):
        if abs(ratio - factor) < 1e-3:
            return " " + text
    return f" It is {ratio:.4g} times the expected value everywhere." if abs(ratio) > 1e-12 else ""


def array_tolerance(energy_tol: float, values: ArrayLike) -> float:
    """Tolerance for derivatives where energies per atom agree to ``energy_tol`` (eV)."""
    return 10.0 * energy_tol * max(1.0, float(np.abs(np.asarray(values)).max(initial=0.0)))


def energy_tolerance(energy_tol: float, value: float, n: int) -> float:
    """Tolerance for a total energy: ``energy_tol`` per atom, and the same relative to large energies."""
    return energy_tol * max(float(n), abs(value))
