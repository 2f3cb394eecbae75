"""Derivatives against finite differences of the energy.

Central differences of fourth order, [8 (E(+h) - E(-h)) - (E(+2h) - E(-2h))] / 12h, so that steps can be large
enough to keep round-off down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import FORCES, MAGNETIC_FORCES, MAGNETIC_TORQUES, STRESS
from deepspin_ase.testing.compare import (
    Array,
    CalculatorOrFactory,
    array_tolerance,
    compare,
    energy,
    evaluate,
    make,
    prepare,
)

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def check_forces(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    rtol: float = 1e-6,
    delta: float = 2e-3,
    max_atoms: int = 8,
    rng: int | np.random.Generator = 0,
) -> float:
    """Forces are -dE/dR at fixed moments.

    Parameters
    ----------
    calc
        Calculator, or a function without arguments that makes one.
    atoms
        Structure with moments; low symmetry makes the check sharp.
    rtol
        Tolerance relative to the largest force (at least 0.1 eV/Å).
    delta
        Displacement, Å.
    max_atoms
        Number of atoms to displace, drawn at random.
    rng
        Seed or generator for the draw.

    Returns
    -------
    float
        Largest deviation divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1.
    """
    system, calculator = prepare(atoms), make(calc)
    forces = evaluate(calculator, system, FORCES)
    chosen = _choose(len(system), max_atoms, rng)

    def displaced(atom: int, axis: int, step: float) -> float:
        moved = system.copy()
        moved.positions[atom, axis] += step
        return energy(calculator, moved)

    numerical = -_gradient(displaced, chosen, delta)
    _shape(forces, (len(system), 3), FORCES)
    tolerance = rtol * max(0.1, float(np.abs(numerical).max()))
    return compare(
        "forces",
        FORCES,
        forces[chosen],
        numerical,
        tolerance,
        atoms=system,
        reference="minus the finite difference of the energy",
        atom_indices=chosen,
    )


def check_magnetic_forces(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    rtol: float = 1e-6,
    delta: float = 2e-3,
    max_atoms: int = 8,
    rng: int | np.random.Generator = 0,
) -> float:
    """Magnetic forces are -dE/dm at fixed positions, all three components of each moment that is not zero.

    Parameters
    ----------
    calc, atoms, max_atoms, rng
        As in :func:`check_forces`.
    rtol
        Tolerance relative to the largest magnetic force (at least 0.1 eV/µB).
    delta
        Change of a moment, µB.

    Returns
    -------
    float
        Largest deviation divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1.
    """
    system, calculator = prepare(atoms), make(calc)
    moments = get_moments(system)
    magnetic = np.flatnonzero(np.linalg.norm(moments, axis=1) > 0.0)
    if not len(magnetic):
        raise InputError("the structure carries no moments; use set_moments(atoms, ...) first.")
    field = evaluate(calculator, system, MAGNETIC_FORCES)
    _shape(field, (len(system), 3), MAGNETIC_FORCES)
    chosen = magnetic[_choose(len(magnetic), max_atoms, rng)]

    def changed(atom: int, axis: int, step: float) -> float:
        other = system.copy()
        m = moments.copy()
        m[atom, axis] += step
        set_moments(other, m)
        return energy(calculator, other)

    numerical = -_gradient(changed, chosen, delta)
    tolerance = rtol * max(0.1, float(np.abs(numerical).max()))
    return compare(
        "magnetic forces",
        MAGNETIC_FORCES,
        field[chosen],
        numerical,
        tolerance,
        atoms=system,
        reference="minus the finite difference of the energy",
        atom_indices=chosen,
    )


def check_stress(calc: CalculatorOrFactory, atoms: Atoms, *, rtol: float = 1e-6, delta: float = 5e-4) -> float:
    """Stress is (1/V) dE/dε with tension positive, Voigt order xx yy zz yz xz xy; moments neither turn nor
    strain.

    Parameters
    ----------
    calc, atoms
        As in :func:`check_forces`; a three-dimensional cell.
    rtol
        Tolerance relative to the largest component (at least 0.01 eV/Å³).
    delta
        Strain.

    Returns
    -------
    float
        Largest deviation divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1.
    InputError
        If the cell is not three-dimensional.
    """
    system, calculator = prepare(atoms), make(calc)
    if system.cell.rank != 3:
        raise InputError("the structure has no three-dimensional cell, hence no stress.")
    stress = evaluate(calculator, system, STRESS)
    _shape(stress, (6,), STRESS)
    volume = system.get_volume()

    def strained(component: int, step: float) -> float:
        strain = np.eye(3)
        a, b = _VOIGT[component]
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        other = system.copy()
        other.set_cell(system.cell.array @ strain, scale_atoms=True)
        return energy(calculator, other)

    numerical = np.array([_difference(partial(strained, k), delta) for k in range(6)]) / volume
    tolerance = rtol * max(0.01, float(np.abs(numerical).max()))
    return compare(
        "stress",
        STRESS,
        stress,
        numerical,
        tolerance,
        reference="finite difference of the energy under strain, per volume",
    )


def check_torques(calc: CalculatorOrFactory, atoms: Atoms, *, energy_tol: float = 1e-10) -> float:
    """Torques are m x F^m.

    Parameters
    ----------
    calc, atoms
        As in :func:`check_forces`.
    energy_tol
        Tolerance, eV; torques may differ by ten times as much.

    Returns
    -------
    float
        Largest deviation divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1.
    """
    system, calculator = prepare(atoms), make(calc)
    torques = evaluate(calculator, system, MAGNETIC_TORQUES)
    expected = np.cross(get_moments(system), evaluate(calculator, system, MAGNETIC_FORCES))
    return compare(
        "torques",
        MAGNETIC_TORQUES,
        torques,
        expected,
        array_tolerance(energy_tol, expected),
        atoms=system,
        reference="m x (magnetic force)",
    )


def _choose(n: int, count: int, rng: int | np.random.Generator) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(rng).permutation(n)[:count])


def _gradient(function: Callable[[int, int, float], float], chosen: NDArray[np.int64], delta: float) -> Array:
    rows = [[_difference(partial(function, int(a), k), delta) for k in range(3)] for a in chosen]
    return np.array(rows)


def _difference(function: Callable[[float], float], h: float) -> float:
    near, far = function(h) - function(-h), function(2 * h) - function(-2 * h)
    return (8.0 * near - far) / (12.0 * h)


def _shape(values: Array, expected: tuple[int, ...], quantity: str) -> None:
    compare(f"shape of {quantity}", quantity, np.zeros(values.shape), np.zeros(expected), 1.0)
