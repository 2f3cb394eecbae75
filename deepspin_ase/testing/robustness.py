"""Results that must be consistent, caches that must notice changes, energies that must be smooth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import (
    ENERGIES,
    ENERGY,
    FORCES,
    FREE_ENERGY,
    MAGMOMS,
    MAGNETIC_FORCES,
)
from deepspin_ase.testing.compare import (
    Array,
    CalculatorOrFactory,
    array_tolerance,
    compare,
    energy_tolerance,
    evaluate,
    gives,
    make,
    offered,
    prepare,
)
from deepspin_ase.testing.report import ConformanceError
from deepspin_ase.testing.scan import dimer_profiles, largest_jump


def check_results(calc: CalculatorOrFactory, atoms: Atoms, *, energy_tol: float = 1e-10) -> float:
    """Results fit together: free energy = energy = sum of energies, and moments come back as they were given.

    Parameters
    ----------
    calc
        Calculator, or a function without arguments that makes one.
    atoms
        Structure with moments.
    energy_tol
        Tolerance, eV per atom.

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
    total = evaluate(calculator, system, ENERGY)
    tolerance = energy_tolerance(energy_tol, float(total), len(system))
    worst = 0.0
    if gives(calculator, system, FREE_ENERGY):
        free = evaluate(calculator, system, FREE_ENERGY)
        worst = compare("results", FREE_ENERGY, free, total, tolerance, reference="the energy is")
    if gives(calculator, system, ENERGIES):
        parts = evaluate(calculator, system, ENERGIES)
        compare("shape of energies", ENERGIES, np.zeros(parts.shape), np.zeros(len(system)), 1.0)
        deviation = compare("sum of energies", ENERGY, parts.sum(), total, tolerance, reference="the energy is")
        worst = max(worst, deviation)
    if not gives(calculator, system, MAGMOMS):
        return worst
    collinear = system.copy()
    set_moments(collinear, np.linalg.norm(get_moments(system), axis=1))
    for given in (system, collinear):
        expected = given.get_initial_magnetic_moments()
        got = evaluate(calculator, given, MAGMOMS)
        compare("moments come back", MAGMOMS, got, expected, 1e-5, atoms=given, reference="given were")
    return worst


def check_cache_invalidation(calc: CalculatorOrFactory, atoms: Atoms, *, energy_tol: float = 1e-10) -> float:
    """Results follow changes made in place: positions, moments, cell, species.

    The reference is a new calculator if ``calc`` makes one, else a copy that was used on another structure
    first.

    Parameters
    ----------
    calc, atoms, energy_tol
        As in :func:`check_results`.

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
    fresh = _fresh_calculators(calc, system)
    names = [ENERGY, *offered(calculator, system)]
    worst = 0.0
    for what, change in _changes_in_place(system):
        for name in names:  # fill every cache
            evaluate(calculator, system, name)
        change()
        reference = fresh()
        try:
            expected = {name: evaluate(reference, system.copy(), name) for name in names}
        except Exception:  # this calculator does not accept the change at all: nothing can be stale
            return worst
        for name in names:
            value = expected[name]
            deviation = compare(
                f"stale after {what} changed in place",
                name,
                evaluate(calculator, system, name),
                value,
                energy_tolerance(energy_tol, float(value), len(system))
                if name == ENERGY
                else array_tolerance(energy_tol, value),
                atoms=system,
                reference="a fresh calculation gives",
            )
            worst = max(worst, deviation)
    return worst


def check_cutoff_smoothness(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    energy_tol: float = 1e-10,
    r_min: float = 1.5,
    r_max: float = 12.0,
    step: float = 0.05,
) -> float:
    """Energy, forces, magnetic forces and the slopes of both have no jump at any distance of two atoms.

    Every pair of species is pulled apart in open space; where a curve bends most the interval is halved until
    a jump shows or vanishes. So the cutoff need not be known, and inner ones are found, too.

    Parameters
    ----------
    calc, atoms
        As in :func:`check_results`; the structure says which species there are and how large their moments
        are.
    energy_tol
        Noise of the energy, eV; jumps below 100 times this in any quantity pass.
    r_min, r_max, step
        Distances to scan, Å.

    Returns
    -------
    float
        Largest jump divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1.
    """
    calculator = make(calc)
    distances = np.arange(r_min, r_max + step / 2, step)
    worst = 0.0
    for label, profile in dimer_profiles(calculator, atoms):
        jump = largest_jump(profile, distances, noise=100.0 * energy_tol)
        if jump is None:
            continue
        if jump.size > jump.tolerance:
            raise ConformanceError(
                f"cutoff smoothness: {jump.quantity} of {label} jumps by {jump.size:.3e} {jump.unit} at "
                f"{jump.distance:.6f} Å, from {jump.below:.8g} to {jump.above:.8g} (tolerance "
                f"{jump.tolerance:.1e}). Multiply the interaction by a switch that is smooth at the cutoff.",
                quantity=jump.quantity,
                got=jump.below,
                expected=jump.above,
                tolerance=jump.tolerance,
            )
        worst = max(worst, jump.size / jump.tolerance)
    return worst


def check_zero_moment_smoothness(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    rtol: float = 0.05,
    delta: float = 1e-3,
    max_atoms: int = 3,
    rng: int | np.random.Generator = 0,
) -> float:
    """The energy is smooth where a moment vanishes: finite Hessian; and no field where all moments vanish.

    The magnetic force on a small moment, F(t u) - F(0), must be linear in t for any direction u.

    Parameters
    ----------
    calc, atoms
        As in :func:`check_results`.
    rtol
        How far F(t u) - F(0) may be from linear, relative to it.
    delta
        Length t of the small moment, µB.
    max_atoms
        Number of moments to try, drawn at random.
    rng
        Seed or generator for the draw and the directions.

    Returns
    -------
    float
        Largest deviation divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1, or the calculator stops with an error.
    """
    system, calculator = prepare(atoms), make(calc)
    generator = np.random.default_rng(rng)
    moments = get_moments(system)
    lengths = np.linalg.norm(moments, axis=1)
    magnetic = np.flatnonzero(lengths > 0.0)
    full = evaluate(calculator, system, MAGNETIC_FORCES)

    def field(atom: int, moment: Array) -> Array:
        other, m = system.copy(), moments.copy()
        m[atom] = moment
        set_moments(other, m)
        return _field_or_fail(calculator, other)[atom]

    worst = 0.0
    for atom in np.sort(generator.permutation(magnetic)[:max_atoms]):
        at_zero = field(atom, np.zeros(3))
        stiffness = max(float(np.linalg.norm(full[atom]) / lengths[atom]), 1e-3)
        for direction in generator.normal(size=(2, 3)):
            direction /= np.linalg.norm(direction)
            change = field(atom, delta * direction) - at_zero
            half = field(atom, delta / 2 * direction) - at_zero
            tolerance = rtol * max(float(np.linalg.norm(change)), delta * stiffness)
            deviation = compare(
                f"smoothness at |m| = 0 (t = {delta} µB)",
                f"change of the magnetic force on atom {atom}, t -> t/2, twice",
                2.0 * half,
                change,
                tolerance,
                reference="change for the whole t is",
            )
            worst = max(worst, deviation)
    nothing = system.copy()
    set_moments(nothing, np.zeros((len(system), 3)))
    at_rest = _field_or_fail(calculator, nothing)
    tolerance = max(1e-8, rtol * delta * float(np.abs(full).max()))
    deviation = compare("all moments zero", MAGNETIC_FORCES, at_rest, np.zeros_like(at_rest), tolerance, atoms=system)
    return max(worst, deviation)


def _field_or_fail(calculator: BaseCalculator, atoms: Atoms) -> Array:
    try:
        return evaluate(calculator, atoms, MAGNETIC_FORCES)
    except Exception as error:
        raise ConformanceError(
            f"smoothness at |m| = 0: the calculator stops with {type(error).__name__}: {error}",
            quantity=MAGNETIC_FORCES,
        ) from error


def _fresh_calculators(calc: CalculatorOrFactory, system: Atoms) -> Callable[[], BaseCalculator]:
    """Makes reference calculators whose caches know nothing about the structure."""
    if not isinstance(calc, BaseCalculator):
        return lambda: make(calc)
    try:
        pristine = copy.deepcopy(calc)
    except Exception:  # handles of processes, GPUs, ...: use the calculator itself
        pristine = calc
    other = system.copy()
    other.rattle(0.1, seed=1)
    other.set_cell(1.03 * other.cell.array, scale_atoms=True)
    set_moments(other, 0.9 * get_moments(other)[:, [1, 2, 0]])

    def fresh() -> BaseCalculator:
        if hasattr(pristine, "reset"):
            pristine.reset()
        evaluate(pristine, other, FORCES)
        return pristine

    return fresh


def _changes_in_place(system: Atoms) -> Iterator[tuple[str, Callable[[], None]]]:
    moments = system.arrays["initial_magmoms"]
    magnetic = int(np.argmax(np.linalg.norm(moments, axis=1)))

    def move() -> None:
        system.positions[0] += (0.03, -0.02, 0.04)

    def turn() -> None:
        moments[magnetic] = 1.05 * moments[magnetic][[1, 2, 0]]

    def strain() -> None:
        system.cell[int(np.argmax(system.pbc))] *= 1.01

    def swap() -> None:
        other = int(np.flatnonzero(system.numbers != system.numbers[0])[0])
        system.numbers[[0, other]] = system.numbers[[other, 0]]

    yield "positions", move
    yield "moments", turn
    if system.pbc.any():
        yield "cell", strain
    if len(set(system.numbers)) > 1:
        yield "species", swap
