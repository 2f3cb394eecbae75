"""Exact symmetries: each check transforms the structure and says how every result must follow."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from deepspin_ase.moments import get_moments, rotate_with_moments, set_moments
from deepspin_ase.quantities import ENERGY, FORCES, MAGNETIC_FORCES, STRESS
from deepspin_ase.testing.compare import (
    Array,
    CalculatorOrFactory,
    array_tolerance,
    compare,
    energy_tolerance,
    evaluate,
    make,
    offered,
    prepare,
)

_SHIFT = np.array([0.137, -0.291, 0.523])


def check_translation(calc: CalculatorOrFactory, atoms: Atoms, *, energy_tol: float = 1e-10) -> float:
    """Nothing changes when all atoms are shifted.

    Parameters
    ----------
    calc
        Calculator, or a function without arguments that makes one.
    atoms
        Structure with moments.
    energy_tol
        Tolerance, eV per atom; derivatives may differ by ten times as much in their units.

    Returns
    -------
    float
        Largest deviation divided by the tolerance.

    Raises
    ------
    ConformanceError
        If it exceeds 1.
    """
    before = prepare(atoms)
    after = before.copy()
    after.positions += _SHIFT
    return _follow("translation", calc, before, after, energy_tol)


def check_permutation(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    energy_tol: float = 1e-10,
    rng: int | np.random.Generator = 0,
) -> float:
    """Results follow the atoms when these are reordered (parameters as in check_translation)."""
    before = prepare(atoms)
    order = np.random.default_rng(rng).permutation(len(before))
    after = before[order]
    return _follow("permutation", calc, before, after, energy_tol, order=order)


def check_rotation(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    energy_tol: float = 1e-10,
    rng: int | np.random.Generator = 0,
) -> float:
    """Results turn along with lattice and moments together (parameters as in check_translation)."""
    before = prepare(atoms)
    rotation = _random_rotation(rng)
    after = before.copy()
    rotate_with_moments(after, rotation)
    return _follow("joint rotation", calc, before, after, energy_tol, lattice=rotation, spin=rotation)


def check_inversion(calc: CalculatorOrFactory, atoms: Atoms, *, energy_tol: float = 1e-10) -> float:
    """Inversion turns forces round, axial moments stay (parameters as in check_translation)."""
    before = prepare(atoms)
    after = before.copy()
    after.positions *= -1.0
    return _follow("inversion", calc, before, after, energy_tol, lattice=-np.eye(3))


def check_time_reversal(calc: CalculatorOrFactory, atoms: Atoms, *, energy_tol: float = 1e-10) -> float:
    """E(-m) = E(m), and magnetic forces turn round (parameters as in check_translation)."""
    before = prepare(atoms)
    after = before.copy()
    set_moments(after, -get_moments(before))
    return _follow("time reversal", calc, before, after, energy_tol, spin=-np.eye(3))


def check_spin_rotation(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    energy_tol: float = 1e-10,
    rng: int | np.random.Generator = 0,
) -> float:
    """Without spin-orbit coupling moments may be turned alone (parameters as in check_translation)."""
    before = prepare(atoms)
    rotation = _random_rotation(rng)
    after = before.copy()
    set_moments(after, get_moments(before) @ rotation.T)
    return _follow("rotation of the moments alone", calc, before, after, energy_tol, spin=rotation)


def check_extensivity(calc: CalculatorOrFactory, atoms: Atoms, *, energy_tol: float = 1e-10) -> float:
    """Two copies have twice the energy and the same derivatives (parameters as in check_translation).

    The copies are neighbours in a supercell along the first periodic direction, or far apart in a cluster.
    """
    before = prepare(atoms)
    if before.pbc.any():
        repeats = [1, 1, 1]
        repeats[int(np.argmax(before.pbc))] = 2
        after = before.repeat(repeats)
    else:
        far = before.copy()
        far.positions += (200.0 + np.ptp(before.positions, axis=0).max(), 0.0, 0.0)
        after = before + far
    order = np.tile(np.arange(len(before), dtype=np.int64), 2)
    return _follow("two copies", calc, before, after, energy_tol, order=order, copies=2)


def _follow(
    what: str,
    calc: CalculatorOrFactory,
    before: Atoms,
    after: Atoms,
    energy_tol: float,
    *,
    lattice: Array | None = None,
    spin: Array | None = None,
    order: NDArray[np.int64] | None = None,
    copies: int = 1,
) -> float:
    """Compare the results of a transformed structure with the transformed results."""
    calculator = make(calc)
    names = [ENERGY, *offered(calculator, before)]
    old = {name: evaluate(calculator, before, name) for name in names}
    if copies > 1 and not before.pbc.any():
        old.pop(STRESS, None)
    index = np.arange(len(before)) if order is None else order
    r_lattice = np.eye(3) if lattice is None else lattice
    r_spin = np.eye(3) if spin is None else spin
    expected = {
        ENERGY: copies * old[ENERGY],
        FORCES: old[FORCES][index] @ r_lattice.T,
        MAGNETIC_FORCES: old[MAGNETIC_FORCES][index] @ r_spin.T,
    }
    if STRESS in old:
        tensor = voigt_6_to_full_3x3_stress(old[STRESS])
        expected[STRESS] = full_3x3_to_voigt_6_stress(r_lattice @ tensor @ r_lattice.T)
    worst = 0.0
    for name, value in expected.items():
        tolerance = (
            energy_tolerance(energy_tol, float(value), len(after))
            if name == ENERGY
            else array_tolerance(energy_tol, value)
        )
        deviation = compare(
            what,
            name,
            evaluate(calculator, after, name),
            value,
            tolerance,
            atoms=after,
            reference="but must be" if copies == 1 else "but a supercell must have",
        )
        worst = max(worst, deviation)
    return worst


def _random_rotation(rng: int | np.random.Generator) -> Array:
    q, r = np.linalg.qr(np.random.default_rng(rng).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q * np.linalg.det(q))
