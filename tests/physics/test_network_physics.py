"""Laws that the network obeys exactly, whatever its weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from deepspin_ase import get_moments, set_moments
from deepspin_ase.demo.crystal import LATTICE_CONSTANT, nickel_oxide
from deepspin_ase.errors import InputError
from deepspin_ase.model.zoo import available_models
from deepspin_ase.testing import run_conformance
from tests.potentials import disordered_nio, random_calculator, random_potential


@pytest.mark.parametrize("spin_orbit", [False, True])
def test_random_network_passes_the_conformance_kit(spin_orbit: bool, rng: np.random.Generator) -> None:
    """Derivatives to 1e-6 relative and all symmetries to 1e-10 eV, with and without spin-orbit terms."""
    calc = random_calculator(spin_orbit=spin_orbit)
    run_conformance(calc, disordered_nio(rng), spin_orbit=spin_orbit).raise_if_failed()


@pytest.mark.parametrize("name", ["nio", "fcc-fe", "fe-bcc"])
def test_shipped_model_passes_the_conformance_kit(name: str, rng: np.random.Generator) -> None:
    from deepspin_ase import DeepSpin

    assert name in available_models()
    atoms = disordered_nio(rng)
    if name != "nio":
        atoms = bulk("Fe", "fcc", a=3.55, cubic=True) if name == "fcc-fe" else bulk("Fe", "bcc", a=2.87, cubic=True)
        atoms *= (2, 1, 1)
        atoms.positions += rng.normal(0, 0.05, (len(atoms), 3))
    set_moments(atoms, rng.normal(0, 0.8, (len(atoms), 3)))
    run_conformance(DeepSpin(name), atoms).raise_if_failed()


def test_float32_keeps_the_symmetries_to_its_precision(rng: np.random.Generator) -> None:
    calc = random_calculator(dtype=torch.float32)
    atoms = disordered_nio(rng)
    run_conformance(
        calc,
        atoms,
        energy_tol=2e-5,
        skip=("forces", "stress", "magnetic_forces", "cutoff_smoothness", "zero_moment_smoothness"),
    ).raise_if_failed()


def test_spin_orbit_terms_really_break_spin_rotation(rng: np.random.Generator) -> None:
    """Otherwise the test of the invariance without them would prove nothing."""
    atoms = disordered_nio(rng)
    calc = random_calculator(spin_orbit=True)
    moments = atoms.get_initial_magnetic_moments()
    energies = []
    for turned in (moments, moments[:, [1, 2, 0]]):
        set_moments(atoms, turned)
        energies.append(calc.get_potential_energy(atoms))
    assert abs(energies[0] - energies[1]) > 1e-5


def test_spin_orbit_can_be_switched_off_exactly(rng: np.random.Generator) -> None:
    potential = random_potential(spin_orbit=True)
    potential.network.switch_spin_orbit(False)
    from deepspin_ase import DeepSpin

    run_conformance(DeepSpin.from_potential(potential), disordered_nio(rng), spin_orbit=False).raise_if_failed()


def test_isolated_atom_has_its_reference_energy_and_feels_nothing() -> None:
    calc = random_calculator()
    atoms = Atoms("Ni", positions=[[0, 0, 0]])
    set_moments(atoms, [[0.3, -0.4, 1.2]])
    assert calc.get_potential_energy(atoms) == pytest.approx(-6.0, abs=1e-12)
    assert np.abs(calc.get_forces(atoms)).max() == 0.0
    assert np.abs(calc.get_magnetic_forces(atoms)).max() == 0.0


def test_moments_of_non_magnetic_species_are_ignored(rng: np.random.Generator) -> None:
    calc = random_calculator()
    atoms = disordered_nio(rng)
    energy = calc.get_potential_energy(atoms)
    moments = atoms.get_initial_magnetic_moments()
    oxygen = atoms.numbers == 8
    assert np.abs(calc.get_magnetic_forces(atoms)[oxygen]).max() == 0.0
    moments[oxygen] *= -3.0
    set_moments(atoms, moments)
    assert calc.get_potential_energy(atoms) == energy


@pytest.mark.parametrize("kind", ["positions", "moments", "mixed"])
@pytest.mark.parametrize("spin_orbit", [False, True])
def test_hessian_is_the_derivative_of_the_forces(kind: str, spin_orbit: bool, rng: np.random.Generator) -> None:
    """Rows of a Ni and of an O atom against central differences of forces and magnetic forces."""
    calc = random_calculator(spin_orbit=spin_orbit)
    atoms = disordered_nio(rng)
    exact = calc.get_hessian(atoms, kind=kind)  # type: ignore[arg-type]
    nickel, oxygen = int(np.flatnonzero(atoms.numbers == 28)[1]), int(np.flatnonzero(atoms.numbers == 8)[1])
    step, scale = 1e-4, np.abs(exact).max()
    assert scale > 1e-4
    moments = atoms.get_initial_magnetic_moments()
    for atom, axis in ((nickel, 0), (nickel, 2), (oxygen, 1)):
        gradients = []
        for sign in (1, -1):
            moved = atoms.copy()
            if kind == "moments":
                shifted = moments.copy()
                shifted[atom, axis] += sign * step
                set_moments(moved, shifted)
            else:
                moved.positions[atom, axis] += sign * step
            take = calc.get_forces if kind == "positions" else calc.get_magnetic_forces
            gradients.append(-take(moved))
        difference = (gradients[0] - gradients[1]) / (2 * step)
        np.testing.assert_allclose(exact[atom, axis], difference, atol=1e-6 * scale)


def test_hessian_in_blocks_equals_the_hessian_at_once(rng: np.random.Generator) -> None:
    calc = random_calculator()
    atoms = disordered_nio(rng)
    whole = calc.get_hessian(atoms, kind="mixed")
    blocks = calc.get_hessian(atoms, kind="mixed", memory=1.0)
    np.testing.assert_allclose(blocks, whole, atol=1e-12)


@pytest.mark.parametrize("kind", ["positions", "moments", "mixed"])
def test_rows_of_the_hessian_are_those_of_the_whole(kind: Literal["positions", "moments", "mixed"]) -> None:
    calc = random_calculator()
    atoms = disordered_nio(np.random.default_rng(3))
    whole = calc.get_hessian(atoms, kind=kind)
    np.testing.assert_allclose(calc.get_hessian(atoms, kind=kind, rows=[5, 0]), whole[[5, 0]], atol=1e-12)
    for wrong in ([], [len(atoms)], [-1]):
        with pytest.raises(InputError, match="rows"):
            calc.get_hessian(atoms, kind=kind, rows=wrong)


@pytest.mark.parametrize("quadrupoles", [0, 4])
def test_only_quadrupoles_tie_the_cubic_lattices_of_a_type_two_antiferromagnet(quadrupoles: int) -> None:
    """Fields of one of the four simple cubic lattices on another cancel: bilinear exchange lets them turn freely."""
    atoms = nickel_oxide()
    calc = random_calculator(quadrupoles=quadrupoles)
    energy = calc.get_potential_energy(atoms)
    moments = get_moments(atoms)
    parity = np.round(2 * atoms.positions / LATTICE_CONSTANT).astype(int) % 2 @ [1, 2, 4]
    one = (atoms.numbers == 28) & (parity == 3)
    assert one.sum() == 4
    moments[one] = moments[one][:, [2, 1, 0]]  # from z to x
    set_moments(atoms, moments)
    change = abs(calc.get_potential_energy(atoms) - energy)
    assert change > 1e-4 if quadrupoles else change < 1e-10
