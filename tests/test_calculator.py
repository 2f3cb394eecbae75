"""DeepSpin as an ASE user meets it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from deepspin_ase import DeepSpin, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.model.checkpoint import save_checkpoint
from deepspin_ase.quantities import ALL_PROPERTIES
from tests.potentials import disordered_nio, random_calculator, random_potential


def test_gives_every_property_in_its_shape(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    atoms.calc = calc = random_calculator()
    atoms.get_potential_energy()
    assert set(calc.results) == set(ALL_PROPERTIES) == set(calc.implemented_properties)
    shapes = {key: np.shape(value) for key, value in calc.results.items()}
    assert shapes == {
        "energy": (),
        "free_energy": (),
        "energies": (8,),
        "forces": (8, 3),
        "stress": (6,),
        "magmoms": (8, 3),
        "magnetic_forces": (8, 3),
        "magnetic_torques": (8, 3),
    }
    assert calc.results["energies"].sum() == pytest.approx(calc.results["energy"], abs=1e-10)
    assert all(np.asarray(value).dtype == np.float64 for value in calc.results.values())


def test_scalar_moments_are_along_z_and_come_back_as_scalars(rng: np.random.Generator) -> None:
    calc = random_calculator()
    atoms = disordered_nio(rng)
    scalars = rng.normal(size=8)
    set_moments(atoms, np.column_stack([np.zeros(8), np.zeros(8), scalars]))
    energy = calc.get_potential_energy(atoms)
    collinear = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True, magmoms=scalars)
    assert calc.get_potential_energy(collinear) == energy
    np.testing.assert_array_equal(calc.get_property("magmoms", collinear), scalars)


def test_batches_equal_single_evaluations(rng: np.random.Generator) -> None:
    """Structures of different size, one of them without periodicity, in several batches."""
    structures = [disordered_nio(rng, repeat=r) for r in ((1, 1, 1), (2, 1, 1), (1, 1, 1), (1, 1, 3))]
    structures[2].pbc = False
    calc = random_calculator()
    many = calc.evaluate_many(structures, max_edges=700)
    for atoms, result in zip(structures, many, strict=True):
        calc.calculate(atoms)
        assert set(result) == set(calc.results)
        for key, value in calc.results.items():
            np.testing.assert_allclose(result[key], value, rtol=0, atol=1e-11, err_msg=key)


def test_evaluate_many_takes_an_iterator_and_nothing(rng: np.random.Generator) -> None:
    calc = random_calculator()
    assert calc.evaluate_many([]) == []
    assert len(calc.evaluate_many(disordered_nio(rng) for _ in range(3))) == 3


def test_float32_is_close_to_float64(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    double, single = random_calculator(), random_calculator(dtype=torch.float32)
    for key in ("energy", "forces", "stress", "magnetic_forces"):
        exact = double.get_property(key, atoms)
        np.testing.assert_allclose(single.get_property(key, atoms), exact, rtol=1e-5, atol=1e-4 * np.abs(exact).max())


def test_far_from_the_origin_float32_keeps_its_digits(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    calc = random_calculator(dtype=torch.float32)
    forces = calc.get_forces(atoms)
    atoms.positions += 1.0e4
    np.testing.assert_allclose(calc.get_forces(atoms), forces, atol=1e-6)


@pytest.mark.parametrize("array", ["positions", "moments", "cell"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(array: str, bad: float, rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    if array == "cell":
        atoms.cell[1, 1] = bad
    else:
        atoms.arrays["positions" if array == "positions" else "initial_magmoms"][2, 1] = bad
    with pytest.raises(InputError, match="finite"):
        random_calculator().get_potential_energy(atoms)


def test_unknown_species_empty_structure_and_coinciding_atoms_are_refused() -> None:
    calc = random_calculator()
    with pytest.raises(InputError, match="does not know Fe, Co; it was trained on O, Ni"):
        calc.get_potential_energy(Atoms("FeCo", positions=[[0, 0, 0], [2, 0, 0]]))
    with pytest.raises(InputError, match="no atoms"):
        calc.get_potential_energy(Atoms())
    with pytest.raises(InputError, match="same position"):
        calc.get_potential_energy(Atoms("Ni2", magmoms=[1, 1]))


def test_wrong_shape_of_moments_is_refused(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    atoms.arrays["initial_magmoms"] = np.zeros((8, 2))
    with pytest.raises(ValueError, match="shape"):
        random_calculator().get_potential_energy(atoms)


def test_missing_moments_warn_once_and_mean_zero(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    del atoms.arrays["initial_magmoms"]
    calc = random_calculator()
    with pytest.warns(UserWarning, match="no magnetic moments on Ni"):
        energy = calc.get_potential_energy(atoms)
    atoms.positions[0, 0] += 0.01
    calc.get_potential_energy(atoms)  # a second warning would be an error
    atoms.positions[0, 0] -= 0.01
    set_moments(atoms, np.zeros((8, 3)))
    assert calc.get_potential_energy(atoms) == pytest.approx(energy, abs=1e-12)


def test_no_volume_no_stress() -> None:
    calc = random_calculator()
    atoms = Atoms("NiO", positions=[[0, 0, 0], [0, 0, 1.8]], magmoms=[1.2, 0.0])
    assert np.isfinite(calc.get_forces(atoms)).all()
    with pytest.raises(PropertyNotImplementedError):
        calc.get_stress(atoms)


def test_committee_gives_mean_and_spread(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    potentials = [random_potential(seed=s) for s in range(3)]
    committee = DeepSpin.from_potential(*potentials)
    singles = [DeepSpin.from_potential(p) for p in potentials]
    spread = committee.get_uncertainty(atoms)
    for key in ("energy", "forces", "magnetic_forces"):
        values = np.array([calc.get_property(key, atoms) for calc in singles])
        np.testing.assert_allclose(committee.get_property(key, atoms), values.mean(0), atol=1e-12)
        np.testing.assert_allclose(spread[key], values.std(0, ddof=1), atol=1e-12)
    with pytest.raises(InputError, match="committee"):
        singles[0].get_uncertainty(atoms)


def test_checkpoints_and_their_options(tmp_path, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    atoms = disordered_nio(rng)
    potential = random_potential(spin_orbit=True)
    path = tmp_path / "model.pt"
    save_checkpoint(path, potential, {"title": "test"})
    energy = DeepSpin.from_potential(potential).get_potential_energy(atoms)
    assert DeepSpin(path).get_potential_energy(atoms) == pytest.approx(energy, abs=1e-10)
    single = DeepSpin(path, dtype="float32").get_potential_energy(atoms)
    assert single == pytest.approx(energy, abs=1e-3)
    assert DeepSpin(path, spin_orbit=False).get_potential_energy(atoms) != pytest.approx(energy, abs=1e-6)
    with pytest.raises(InputError, match="dtype"):
        DeepSpin(path, dtype="float16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="device"):
        DeepSpin(path, device="abacus")
    with pytest.raises(InputError, match="skin"):
        DeepSpin(path, skin=-1.0)
    with pytest.raises(InputError, match="no model"):
        DeepSpin("no-such-model")
    plain = tmp_path / "plain.pt"
    save_checkpoint(plain, random_potential(), {})
    with pytest.raises(InputError, match="without spin-orbit"):
        DeepSpin(plain, spin_orbit=True)


def test_calculator_can_go_to_another_process(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    calc = random_calculator()
    energy = calc.get_potential_energy(atoms)
    for twin in (pickle.loads(pickle.dumps(calc)), copy.deepcopy(calc)):
        atoms.positions[0, 0] += 0.1
        moved = twin.get_potential_energy(atoms)
        atoms.positions[0, 0] -= 0.1
        assert moved != pytest.approx(energy, abs=1e-6)
        assert twin.get_potential_energy(atoms) == pytest.approx(energy, abs=1e-12)


def test_energy_is_conserved_at_fixed_moments(rng: np.random.Generator) -> None:
    """NVE with a random network; its forces are gradients, so the drift is that of the integrator."""
    atoms = disordered_nio(rng)
    atoms.calc = random_calculator()
    atoms.set_momenta(rng.normal(0, 1.5, (8, 3)))
    start = atoms.get_total_energy()
    VelocityVerlet(atoms, 0.5 * fs).run(40)
    assert atoms.get_kinetic_energy() > 0.1
    assert abs(atoms.get_total_energy() - start) < 2e-4 * atoms.get_kinetic_energy()


def test_memory_of_a_calculation_is_released(rng: np.random.Generator) -> None:
    """No result keeps a computational graph alive."""
    calc = random_calculator()
    out = calc._evaluator._functions[0](calc._evaluator.potentials[0].inputs(calc._caches[0](disordered_nio(rng))))
    assert not any(t.requires_grad for t in out)


@pytest.mark.gpu
def test_cuda_equals_cpu(rng: np.random.Generator) -> None:
    atoms = disordered_nio(rng)
    potential = random_potential()
    cpu = DeepSpin.from_potential(potential).get_forces(atoms)
    gpu = DeepSpin.from_potential(random_potential().to("cuda")).get_forces(atoms)
    np.testing.assert_allclose(gpu, cpu, atol=1e-9)
