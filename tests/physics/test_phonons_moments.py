"""Moments on the way through phonopy: kept, in the right order, with the right symmetry; and moments that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from deepspin_ase import DeepSpin, Heisenberg, get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Landau, Polynomial, uniaxial
from deepspin_plugins.phonons import PhononResult, build_phonopy, match_atoms, moment_axis, phonons
from tests.phonon_cases import DifferentiableHeisenberg, nickel_oxide, triangular_antiferromagnet
from tests.potentials import random_calculator

D = 2.5


def j_of_r(strength: float, slope: float, r0: float = D) -> Polynomial:
    return Polynomial(coefficients=(strength, slope), r0=r0, cutoff=1.13 * r0, onset=1.08 * r0)


def springs(stiffness: float, r0: float = D) -> Polynomial:
    return Polynomial(coefficients=(0.0, 0.0, stiffness), r0=r0, cutoff=1.13 * r0, onset=1.08 * r0)


def ferromagnet() -> Atoms:
    atoms = bulk("NiO", "rocksalt", a=4.186)
    set_moments(atoms, [[0.3, 0.4, 1.2], [0.0, 0.0, 0.0]])
    return atoms


def canted() -> Atoms:
    atoms = nickel_oxide()
    set_moments(atoms, [[0.2, 0.1, 1.2], [0.5, -0.3, -1.0], [0, 0, 0.05], [0, 0, -0.02]])
    return atoms


MATRIX = [[2, 0, 0], [1, 2, 0], [0, -1, 3]]


@pytest.mark.parametrize("make", [ferromagnet, nickel_oxide, canted])
def test_energy_is_the_same_before_and_after_phonopy(make: Any, tmp_path: Path) -> None:
    """Supercell of phonopy, of ASE, and of phonopy.yaml read back: the energy per cell tells a lost or moved moment."""
    atoms = make()
    calc = random_calculator()
    axis = moment_axis(atoms)
    assert (axis is None) == (make is canted)
    result = PhononResult(build_phonopy(atoms, MATRIX, axis=axis), axis)
    big = result.supercell
    per_cell = calc.get_potential_energy(big) / round(np.linalg.det(MATRIX))
    assert per_cell == pytest.approx(calc.get_potential_energy(atoms), abs=1e-9)

    ase_order = make_supercell(atoms, MATRIX)
    order = match_atoms(big, ase_order)
    assert not np.array_equal(order, np.arange(len(big)))
    assert get_moments(ase_order)[order] == pytest.approx(get_moments(big), abs=1e-12)
    assert np.array_equal(ase_order.numbers[order], big.numbers)

    result.phonon.force_constants = np.random.default_rng(1).normal(size=(len(big), len(big), 3, 3))
    result.save(tmp_path / "phonopy.yaml")
    back = PhononResult.load(tmp_path / "phonopy.yaml")
    for name in ("unitcell", "primitive", "supercell"):
        before, after = getattr(result, name), getattr(back, name)
        assert calc.get_potential_energy(after) == pytest.approx(calc.get_potential_energy(before), abs=1e-9)
        assert get_moments(after) == pytest.approx(get_moments(before), abs=1e-7)
    assert back.frequencies((0.1, 0.2, 0.3)) == pytest.approx(result.frequencies((0.1, 0.2, 0.3)), abs=1e-6)


def test_collinear_moments_along_any_line_are_treated_alike() -> None:
    """Without spin-orbit coupling the direction of the moments is free: same symmetry, same frequencies."""
    q = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.2, 0.1, -0.3]]
    found, operations = [], []
    for direction in ((0, 0, 1), (1, 2, -3), None):
        atoms = nickel_oxide((0, 0, 1) if direction is None else direction)
        if direction is None:
            set_moments(atoms, get_moments(atoms)[:, 2])
        result = phonons(atoms, random_calculator(), supercell=2, relax="none")
        found.append(result.frequencies(q))
        operations.append(len(result.phonon.symmetry.symmetry_operations["rotations"]))
    assert operations[0] == operations[1] == operations[2]
    # two directions of displacement of the same crystal: they differ by its anharmonicity
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)


def test_spin_orbit_coupling_makes_moments_axial_vectors() -> None:
    """Then numbers would claim too much symmetry; force constants from exact derivatives are the judge."""
    atoms = nickel_oxide((1, 1, 0))
    calc = random_calculator(spin_orbit=True)
    fast = phonons(atoms, calc, supercell=2, relax="none", distance=2e-3)
    assert fast.axis is None
    exact = phonons(atoms, calc, supercell=2, relax="none", method="hessian")
    assert fast.frequencies((0.1, 0.2, 0.4)) == pytest.approx(exact.frequencies((0.1, 0.2, 0.4)), abs=2e-3)


def test_order_splits_what_the_lattice_keeps_together() -> None:
    """AFM II makes cubic NiO rhombohedral: the threefold optical mode at Γ splits in two, along and across [111]."""
    calc = DeepSpin("nio")
    result = phonons(nickel_oxide(), calc, supercell=[[3, -1, -1], [-1, 3, -1], [-1, -1, 3]], method="hessian")
    assert len(result.primitive) == 4
    levels = np.sort(result.frequencies((0, 0, 0))[0])
    assert np.abs(levels[:3]).max() < 1e-3
    optical = levels[levels > 9.6]
    assert optical[0] == pytest.approx(optical[1], abs=1e-6)
    assert 9.5 < optical[0] < 12.0  # transverse; neutrons: about 12 THz
    assert result.lowest_frequency(6) > -1e-3


def test_antiferromagnetic_iron_of_the_shipped_model_is_stable() -> None:
    """fcc iron with alternating (001) sheets, inside the data of the model: two atoms per cell, nothing imaginary."""
    atoms = bulk("Fe", "fcc", a=3.55, cubic=True)
    set_moments(atoms, np.where(np.abs(atoms.positions[:, 2]) < 0.1, 0.9, -0.9))
    result = phonons(atoms, DeepSpin("fcc-fe"), supercell=2)
    assert len(result.primitive) == 2
    assert result.lowest_frequency(8) > -1e-3
    assert 6.0 < result.bands(spacing=0.1).frequencies.max() < 10.0


# ---------------------------------------------------------------------- paths


def test_path_of_nickel_oxide_is_that_of_the_magnetic_cell() -> None:
    """The zone of AFM II is that of a rhombohedral cell of 4 atoms; seekpath without moments would say cubic, 2."""
    import seekpath

    atoms = nickel_oxide()
    result = PhononResult.from_force_constants(atoms, 2, np.zeros((4, 32, 3, 3)))
    path = result.path()
    assert {"T", "L", "F"} <= set("".join(path.labels))
    blind = seekpath.get_path((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers))
    assert len(blind["primitive_types"]) == 2
    assert len(result.primitive) == 4
    # T of the rhombohedral cell is half of the ordering vector's reciprocal vector: it folds L of the cubic zone to Γ
    t = path.q[np.argmin(np.abs(path.distance - path.ticks[path.labels.index("T")]))]
    assert np.abs(t) == pytest.approx([0.5, 0.5, 0.5])


def test_path_of_a_two_atom_antiferromagnet_is_primitive_cubic() -> None:
    a = 2.87
    up = Atoms("Fe2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=a * np.eye(3), pbc=True)
    labels = {}
    for name, moments in (("afm", [2.0, -2.0]), ("fm", [2.0, 2.0])):
        set_moments(up, moments)
        result = PhononResult(build_phonopy(up, 2, axis=None))
        labels[name] = set("".join(result.path().labels))
        assert len(result.primitive) == (2 if name == "afm" else 1)
    assert {"X", "M", "R"} <= labels["afm"]  # primitive cubic
    assert {"H", "N", "P"} <= labels["fm"]  # body centred
    assert "H" not in labels["afm"]


# ---------------------------------------------------------------------- moments that follow


@pytest.mark.parametrize(
    ("state", "normalise"), [("frozen", True), ("directions", True), ("directions", False), ("relaxed", False)]
)
def test_two_routes_to_moments_that_follow(state: Any, normalise: bool) -> None:
    """Minimising the moments per displacement equals eliminating them from exact second derivatives.

    Without normalisation magnetic forces have a part along the moments, and turning them has the curvature of a sphere.
    """
    atoms = triangular_antiferromagnet(D)
    landau = {"Fe": Landau(-0.10, 0.0125)}
    strength = (-0.05, 0.3) if state != "directions" or normalise else (-0.0125, 0.075)  # eV/µB², with 2 µB
    calc = DifferentiableHeisenberg(
        exchange=j_of_r(*strength), lattice=springs(3.0), landau=landau, normalise=normalise
    )
    if state == "relaxed":  # 2 a m + 4 b m³ = -3 |J| m: bonds of -1/2, six of them
        set_moments(atoms, get_moments(atoms) / 2.0 * np.sqrt((0.20 + 0.15) / 0.05))
    options: dict[str, Any] = {"supercell": (2, 2, 1), "state": state, "relax": "none"}
    displaced = phonons(atoms, calc, distance=2e-3, **options)
    exact = phonons(atoms, calc, method="hessian", **options)
    q = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert displaced.frequencies(q) == pytest.approx(exact.frequencies(q), abs=2e-3)
    if state != "frozen":
        frozen = phonons(atoms, calc, method="hessian", **(options | {"state": "frozen"}))
        softer = frozen.frequencies(q) - exact.frequencies(q)
        assert softer.max() > 0.05
        assert softer.min() > -1e-4  # following moments can only lower the energy of a displacement


def test_relaxation_to_another_magnetic_state_is_refused() -> None:
    """The model of NiO has seen one length of moments; left to itself it takes them to zero."""
    with pytest.raises(InputError, match="another state"):
        phonons(nickel_oxide(), DeepSpin("nio"), supercell=1, state="relaxed")


def test_collinear_directions_do_not_move() -> None:
    """Displacements of a collinear state without spin-orbit coupling exert no torque: only lengths can follow."""
    atoms = nickel_oxide()
    calc = random_calculator()
    frozen = phonons(atoms, calc, supercell=1, relax="none")
    assert np.abs(calc.get_magnetic_torques(frozen.supercell)).max() < 1e-10
    moved = frozen.supercell
    moved.positions += np.random.default_rng(0).normal(0, 0.05, moved.positions.shape)
    assert np.abs(calc.get_magnetic_torques(moved)).max() < 1e-10


def test_anisotropy_is_noticed() -> None:
    """An energy that depends on the direction of all moments together forbids spin reversal by lattice operations."""
    atoms = nickel_oxide()
    free = Heisenberg(exchange=j_of_r(-0.02, 0.1, 2.96), lattice=springs(3.0, 2.093))
    bound = Heisenberg(
        exchange=j_of_r(-0.02, 0.1, 2.96), lattice=springs(3.0, 2.093), anisotropy={"Ni": uniaxial(1e-3, "z")}
    )
    assert phonons(atoms, free, supercell=1, relax="none").axis is not None
    assert phonons(atoms, bound, supercell=1, relax="none").axis is None
