"""The spin model, its supercells, its calculator."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io.trajectory import Trajectory

from deepspin_ase.heisenberg import (
    BetheSlater,
    Bonds,
    CustomPair,
    Exponential,
    Heisenberg,
    HeisenbergModel,
    Landau,
    Morse,
    Polynomial,
    bulk_dmi,
    dm_tensor,
    dm_vector,
    interfacial_dmi,
    uniaxial,
)
from deepspin_ase.moments import (
    ferromagnet,
    get_moments,
    random_directions,
    rotate_with_moments,
    set_moments,
)
from deepspin_ase.quantities import ALL_PROPERTIES, MU_B
from deepspin_ase.testing import run_conformance

J1, J2 = 0.030, 0.012
EXCHANGE = Exponential(strength=0.03, r0=2.5, decay=0.5, cutoff=4.2)
MORSE = Morse(depth=0.4, r0=2.5, stiffness=1.3, cutoff=4.5)


def random_tensors(model: HeisenbergModel, rng: np.random.Generator) -> HeisenbergModel:
    """The same bonds with random full tensors, and random anisotropies and field."""
    once = (model.bonds.i < model.bonds.j) | ((model.bonds.i == model.bonds.j) & (model.bonds.image @ (100, 10, 1) > 0))
    b = model.bonds
    entries = [
        (i, j, s, rng.normal(scale=0.01, size=(3, 3)))
        for i, j, s in zip(b.i[once], b.j[once], b.image[once], strict=True)
    ]
    n = len(model)
    return replace(
        model,
        bonds=Bonds.from_list(entries),
        anisotropy=rng.normal(scale=1e-3, size=(n, 3, 3)),
        field=rng.normal(scale=20.0, size=3),
    )


def brute_force_energy(model: HeisenbergModel, moments: np.ndarray) -> float:
    """The Hamiltonian of the conventions, term by term."""
    e = moments / np.linalg.norm(moments, axis=1, keepdims=True)
    b = model.bonds
    total = 0.0
    for i, j, tensor in zip(b.i, b.j, b.tensor, strict=True):
        total -= 0.5 * e[i] @ tensor @ e[j]
    for i in range(len(model)):
        total -= e[i] @ model.anisotropy[i] @ e[i]
        total -= MU_B * moments[i] @ model.field
    return total


def numerical_field(energy, moments: np.ndarray, h: float = 1e-4) -> np.ndarray:
    result = np.zeros_like(moments)
    for index in np.ndindex(*moments.shape):
        up, down = moments.copy(), moments.copy()
        up[index] += h
        down[index] -= h
        result[index] = -(energy(up) - energy(down)) / (2 * h)
    return result


@pytest.fixture
def model(bcc_fe: Atoms) -> HeisenbergModel:
    return HeisenbergModel.from_shells(bcc_fe, [J1, J2], magnitudes=2.2)


@pytest.fixture
def full_model(model: HeisenbergModel, rng: np.random.Generator) -> HeisenbergModel:
    return random_tensors(model, rng)


@pytest.fixture
def disordered(bcc_fe: Atoms, rng: np.random.Generator) -> Atoms:
    atoms = bcc_fe.repeat((2, 2, 1))
    atoms.symbols[1] = "Co"
    atoms.positions += rng.normal(scale=0.05, size=(8, 3))
    set_moments(atoms, random_directions(atoms, {"Fe": 2.2, "Co": 1.7}, rng))
    return atoms


# the model


def test_shells_have_the_right_numbers_of_neighbours(model):
    assert len(model.bonds) == 2 * (8 + 6)
    np.testing.assert_allclose(model.exchange_matrix()[0, 1], 8 * J1 * np.eye(3), atol=1e-15)
    np.testing.assert_allclose(model.exchange_matrix()[0, 0], 6 * J2 * np.eye(3), atol=1e-15)


def test_shells_by_distance_equal_shells_by_number(bcc_fe, model):
    a = 2.8665
    other = HeisenbergModel.from_shells(bcc_fe, {np.sqrt(0.75) * a: J1, a: J2}, magnitudes=2.2)
    np.testing.assert_array_equal(other.bonds.i, model.bonds.i)
    np.testing.assert_allclose(other.bonds.tensor, model.bonds.tensor)


def test_far_shell_alone_is_found(bcc_fe):
    model = HeisenbergModel.from_shells(bcc_fe, {6: 0.001}, magnitudes=2.2)
    distance = np.linalg.norm(model.bonds.vectors(model.positions, model.cell), axis=1)
    np.testing.assert_allclose(distance, 2 * 2.8665)
    assert len(model.bonds) == 2 * 6


def test_shells_count_magnetic_sites_only(nio):
    model = HeisenbergModel.from_shells(nio, [-0.0014, 0.019])
    distance = np.linalg.norm(model.bonds.vectors(model.positions, model.cell), axis=1)
    np.testing.assert_allclose(sorted(set(distance.round(6))), [4.17 / np.sqrt(2), 4.17], atol=1e-6)
    assert len(model.bonds) == 2 * (12 + 6)
    np.testing.assert_allclose(model.magnitudes, [1.27, 1.27, 0, 0])


def test_shells_by_species():
    atoms = bulk("FeCo", "cesiumchloride", a=2.85)
    model = HeisenbergModel.from_shells(
        atoms, {("Co", "Fe"): [0.02], ("Fe", "Fe"): {1: 0.01}}, magnitudes={"Fe": 2.6, "Co": 1.7}
    )
    matrix = model.exchange_matrix()[..., 0, 0]
    np.testing.assert_allclose(matrix, [[6 * 0.01, 8 * 0.02], [8 * 0.02, 0]], atol=1e-15)


def test_shell_values_may_be_tensors_or_functions_of_the_bond(bcc_fe):
    ising = np.diag([0, 0, 1.0])
    tensor = HeisenbergModel.from_shells(bcc_fe, [ising], magnitudes=1.0)
    np.testing.assert_allclose(tensor.exchange_matrix()[0, 1], 8 * ising)
    only_z = HeisenbergModel.from_shells(bcc_fe, {2: lambda r: np.where(np.abs(r[:, 2]) > 1, J1, 0.0)}, magnitudes=1.0)
    np.testing.assert_allclose(only_z.exchange_matrix()[0, 0], 2 * J1 * np.eye(3), atol=1e-15)


def test_cluster_shells_end_with_a_list_of_those_that_exist():
    dimer = Atoms("Fe2", positions=[[0, 0, 0], [2.0, 0, 0]])
    assert len(HeisenbergModel.from_shells(dimer, [J1], magnitudes=2.0).bonds) == 2
    with pytest.raises(ValueError, match=r"no shell 2 .* the shells are 1: 2\.0000 Å"):
        HeisenbergModel.from_shells(dimer, [J1, J2], magnitudes=2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exchange": {0: J1}}, "start at 1"),
        ({"exchange": {"nn": J1}}, "integer .* or a distance"),
        ({"exchange": {3.0: J1}}, r"no shell 3\.0 .* 2: 2\.8665"),
        ({"exchange": J1}, "allowed:"),
        ({"exchange": [np.ones((3, 2))]}, r"shape \(3, 2\)"),
        ({"exchange": [[[0, 1, 0], [0, 0, 0], [0, 0, 0]]]}, "must be symmetric"),
        ({"exchange": [J1], "dmi": {1: lambda r: np.ones(len(r))}}, "a vector per bond"),
        ({"exchange": [J1], "dmi": {1: lambda r: np.ones((len(r), 3))}}, "changes sign"),
        ({"exchange": [J1], "anisotropy": np.ones(3)}, "anisotropy has shape"),
        ({"exchange": [J1], "anisotropy": {"Fe": 1.0}}, r"allowed: \(3, 3\)"),
        ({"exchange": [J1], "field": 5.0}, "field has shape"),
        ({"exchange": [J1], "magnitudes": None}, "carries no moments"),
        ({"exchange": [J1], "magnitudes": {"Co": 1}}, "no entry for Fe"),
        ({"exchange": {("Fe", "Co", 1): J1}}, "pair of species"),
    ],
)
def test_wrong_input_is_refused_with_a_reason(bcc_fe, options, message):
    with pytest.raises(ValueError, match=message):
        HeisenbergModel.from_shells(bcc_fe, **({"magnitudes": 2.2} | options))


def test_from_function_matches_shells(bcc_fe, model):
    a = 2.8665
    other = HeisenbergModel.from_function(bcc_fe, lambda r: np.where(r < 0.95 * a, J1, J2), 1.1 * a, magnitudes=2.2)
    np.testing.assert_allclose(other.bonds.tensor, model.bonds.tensor)
    with pytest.raises(ValueError, match="cutoff is missing"):
        HeisenbergModel.from_function(bcc_fe, lambda r: r, magnitudes=1.0)
    with pytest.raises(ValueError, match="returned shape"):
        HeisenbergModel.from_function(bcc_fe, lambda r: 1.0, 3.0, magnitudes=1.0)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(0, 0, (0, 0, 0), 1.0)], "with itself"),
        ([(0, 1, (0, 0, 0), 1.0), (1, 0, (0, 0, 0), 1.0)], "is listed twice"),
        ([(0, 1, (0, 0, 0), np.nan)], "NaN"),
    ],
)
def test_wrong_bonds_are_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        Bonds.from_list(entries)


def test_bonds_without_their_reverse_or_with_a_wrong_one_are_refused():
    with pytest.raises(ValueError, match="lacks its reverse"):
        Bonds.from_list([(0, 1, (0, 0, 0), 1.0)], both_orders=True)
    tensor = np.eye(3) + dm_tensor((0, 0, 0.1))
    with pytest.raises(ValueError, match="not the transpose"):
        Bonds.from_list([(0, 1, (0, 0, 0), tensor), (1, 0, (0, 0, 0), tensor)], both_orders=True)
    good = Bonds.from_list([(0, 1, (0, 0, 0), tensor), (1, 0, (0, 0, 0), tensor.T)], both_orders=True)
    np.testing.assert_allclose(dm_vector(good.tensor), [[0, 0, 0.1], [0, 0, -0.1]])


def test_bond_to_a_missing_or_non_magnetic_site_is_refused(bcc_fe):
    with pytest.raises(ValueError, match="names site 2"):
        HeisenbergModel.from_bonds(bcc_fe, [(0, 2, (0, 0, 0), 1.0)], magnitudes=1.0)
    with pytest.raises(ValueError, match="magnitude 0"):
        HeisenbergModel.from_bonds(bcc_fe, [(0, 1, (0, 0, 0), 1.0)], magnitudes=[1.0, 0.0])


def test_dm_tensor_is_the_triple_product(rng):
    d, e, f = rng.normal(size=(3, 3))
    assert e @ dm_tensor(d) @ f == pytest.approx(d @ np.cross(e, f))
    np.testing.assert_allclose(dm_vector(dm_tensor(d)), d)


def test_dmi_helpers(bcc_fe):
    bulk_like = HeisenbergModel.from_shells(bcc_fe, [J1], dmi=[0.002], magnitudes=1.0)
    vectors = bulk_like.bonds.vectors(bulk_like.positions, bulk_like.cell)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(dm_vector(bulk_like.bonds.tensor), 0.002 * unit, atol=1e-15)
    np.testing.assert_allclose(bulk_dmi(0.002)(vectors), 0.002 * unit)
    layer = HeisenbergModel.from_shells(bcc_fe, [J1], dmi={2: interfacial_dmi(0.001, "z")}, magnitudes=1.0)
    d = dm_vector(layer.bonds.tensor)
    np.testing.assert_allclose(d[:, 2], 0, atol=1e-15)
    assert np.abs(d).max() == pytest.approx(0.001)


def test_energy_is_the_hamiltonian_of_the_conventions(full_model, rng):
    moments = rng.normal(size=(2, 3))
    assert full_model.energy(moments) == pytest.approx(brute_force_energy(full_model, moments), abs=1e-14)
    assert full_model.energies(moments).sum() == pytest.approx(full_model.energy(moments), abs=1e-14)


def test_isotropic_and_full_storage_agree(model, rng):
    moments = rng.normal(size=(2, 3))
    shape = {m._operator.shape for m in (model, replace_first_tensor(model))}
    assert shape == {(2, 2), (6, 6)}
    assert model.energy(moments) == pytest.approx(brute_force_energy(model, moments), abs=1e-14)


def replace_first_tensor(model: HeisenbergModel) -> HeisenbergModel:
    extra = Bonds.from_list([(0, 1, (5, 5, 5), dm_tensor((0, 0, 1e-3)))])
    b = model.bonds
    joined = Bonds(*(np.concatenate([getattr(b, k), getattr(extra, k)]) for k in ("i", "j", "image", "tensor")))
    return replace(model, bonds=joined)


def test_magnetic_forces_are_minus_the_gradient(full_model, rng):
    moments = rng.normal(size=(2, 3)) * 2
    expected = numerical_field(full_model.energy, moments)
    np.testing.assert_allclose(full_model.magnetic_forces(moments), expected, atol=1e-10)
    np.testing.assert_allclose(full_model.fields(moments), expected / MU_B, atol=1e-5)


def test_transverse_field_grows_with_one_over_the_moment(model, rng):
    moments = random_directions(model.to_atoms(), 1.0, rng)
    np.testing.assert_allclose(model.magnetic_forces(3 * moments), model.magnetic_forces(moments) / 3, atol=1e-15)
    assert model.energy(3 * moments) == pytest.approx(model.energy(moments))


def test_zero_moment_contributes_nothing_and_has_no_field(model):
    moments = np.array([[0, 0, 2.2], [0, 0, 0]])
    assert model.energy(moments) == pytest.approx(-0.5 * 6 * J2)
    with pytest.raises(ValueError, match=r"moment of site 1 has length zero \(and 0 more\)"):
        model.magnetic_forces(moments)


def test_wrong_shape_of_moments_is_refused(model):
    with pytest.raises(ValueError, match=r"shape \(3, 3\); allowed: \(2, 3\)"):
        model.energy(np.ones((3, 3)))


def test_model_is_frozen_and_read_only(model):
    with pytest.raises(FrozenInstanceError):
        model.field = np.ones(3)
    for array in (model.positions, model.bonds.tensor, model.anisotropy):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_give_the_same_energy(full_model, rng, copier):
    moments = rng.normal(size=(2, 3))
    assert copier(full_model).energy(moments) == full_model.energy(moments)


def test_save_and_load(full_model, rng, tmp_path):
    full_model.save(tmp_path / "model.npz")
    loaded = HeisenbergModel.load(tmp_path / "model.npz")
    moments = rng.normal(size=(2, 3))
    assert loaded.energy(moments) == full_model.energy(moments)
    np.testing.assert_array_equal(loaded.magnitudes, full_model.magnitudes)
    with np.load(tmp_path / "model.npz") as data:
        np.savez(tmp_path / "future.npz", **{**data, "format_version": 99})
    with pytest.raises(ValueError, match="format version 99"):
        HeisenbergModel.load(tmp_path / "future.npz")


# supercells


def test_repeat_is_extensive_and_ordered_like_ase(full_model, rng):
    moments = rng.normal(size=(2, 3))
    big = full_model.repeat((2, 3, 1))
    assert big.energy(np.tile(moments, (6, 1))) == pytest.approx(6 * full_model.energy(moments))
    np.testing.assert_allclose(big.positions, full_model.to_atoms().repeat((2, 3, 1)).positions)
    distance = np.linalg.norm(big.bonds.vectors(big.positions, big.cell), axis=1)
    original = np.linalg.norm(full_model.bonds.vectors(full_model.positions, full_model.cell), axis=1)
    np.testing.assert_allclose(np.sort(distance), np.sort(np.tile(original, 6)))


def test_repeat_equals_a_model_built_on_the_supercell(bcc_fe, model, rng):
    big = bcc_fe.repeat((3, 2, 2))
    direct = HeisenbergModel.from_shells(big, [J1, J2], magnitudes=2.2)
    moments = rng.normal(size=(len(big), 3))
    repeated = model.repeat((3, 2, 2))
    np.testing.assert_allclose(repeated.energies(moments), direct.energies(moments), atol=1e-14)
    np.testing.assert_array_equal(repeated.bonds.image, direct.bonds.image)


@pytest.mark.parametrize("seed", range(5))
def test_any_order_shift_wrapping_displacement_and_strain_are_recognised(full_model, seed):
    rng = np.random.default_rng(seed)
    reference = full_model.repeat((2, 2, 3))
    moments = rng.normal(size=(24, 3))
    atoms = full_model.to_atoms().repeat((2, 2, 3))
    set_moments(atoms, moments)
    expected = reference.energy(moments)
    atoms.positions += rng.normal(scale=0.08, size=(24, 3))
    atoms.positions += (3 * 2.8665 + 0.2, -0.3, 0.1)
    atoms.wrap()
    atoms = atoms[rng.permutation(24)]
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    assert full_model.on(atoms).energy(get_moments(atoms)) == pytest.approx(expected)
    assert Heisenberg(full_model).get_potential_energy(atoms) == pytest.approx(expected)


def test_any_shift_is_recognised_where_it_does_not_matter_and_refused_where_it_does(model, full_model, rng):
    atoms = model.to_atoms().repeat((2, 3, 2))
    moments = rng.normal(size=(24, 3))
    set_moments(atoms, moments)
    expected = model.repeat((2, 3, 2)).energy(moments)
    atoms = atoms[rng.permutation(24)]
    atoms.positions += rng.normal(scale=0.05, size=(24, 3))
    atoms.positions += (1.4, -17.0, 0.9)
    assert Heisenberg(model).get_potential_energy(atoms) == pytest.approx(expected)
    with pytest.raises(ValueError, match="unclear which atom is which"):  # the two sites have other tensors
        full_model.on(atoms)


def test_skewed_supercell_is_recognised(full_model, rng):
    from ase.build import make_supercell

    atoms = make_supercell(full_model.to_atoms(), [[1, 1, 0], [-1, 1, 1], [0, 0, 2]])
    set_moments(atoms, np.tile([0.3, 0.4, 2.0], (len(atoms), 1)))
    expected = len(atoms) / 2 * full_model.energy(np.tile([0.3, 0.4, 2.0], (2, 1)))
    assert full_model.on(atoms).energy(get_moments(atoms)) == pytest.approx(expected)


def test_species_tell_sites_apart(rng):
    atoms = bulk("FeCo", "cesiumchloride", a=2.85)
    model = random_tensors(HeisenbergModel.from_shells(atoms, {("Fe", "Co"): [J1]}, magnitudes=2.0), rng)
    moments = rng.normal(size=(2, 3))
    set_moments(atoms, moments)
    swapped = atoms[[1, 0]]
    assert Heisenberg(model).get_potential_energy(swapped) == pytest.approx(model.energy(moments))


def test_open_boundary_drops_the_bonds_through_it(rng):
    cell = Atoms("Fe", cell=[2.5, 9, 9], pbc=[True, False, False])
    model = HeisenbergModel.from_shells(cell, [J1], magnitudes=2.0)
    chain = cell.repeat((5, 1, 1))
    ring_moments = ferromagnet(chain, 2.0)
    assert model.on(chain).energy(ring_moments) == pytest.approx(-5 * J1)
    chain.pbc = False
    assert model.on(chain).energy(ring_moments) == pytest.approx(-4 * J1)


def test_structures_that_do_not_fit_are_refused(model, bcc_fe):
    with pytest.raises(ValueError, match="3 atoms and the model 2 sites"):
        model.on(bcc_fe + Atoms("Fe"))
    fcc = bulk("Fe", "fcc", a=3.6, cubic=True)
    with pytest.raises(ValueError, match=r"not 2 cells of the model|do not sit near"):
        model.on(fcc)
    moved = bcc_fe.repeat(2)
    moved.positions[1] += (0.0, 0.0, 1.2)
    with pytest.raises(ValueError, match="do not sit near"):
        model.on(moved)
    other = bcc_fe.copy()
    other.symbols[0] = "Co"
    with pytest.raises(ValueError, match="do not sit near"):
        model.on(other)


def test_rotated_model_follows_a_rotated_structure(full_model, rng):
    atoms = full_model.to_atoms()
    set_moments(atoms, rng.normal(size=(2, 3)))
    expected = full_model.energy(get_moments(atoms))
    rotate_with_moments(atoms, 40.0, (1, 2, 0))
    turned = full_model.rotated(40.0, (1, 2, 0))
    assert turned.energy(get_moments(atoms)) == pytest.approx(expected)
    assert Heisenberg(turned).get_potential_energy(atoms) == pytest.approx(expected)


# the calculator


def everything(normalise: bool) -> Heisenberg:
    return Heisenberg(
        exchange=EXCHANGE,
        pseudo_dipolar={("Fe", "Co"): Exponential(strength=0.004, r0=2.5, decay=0.6, cutoff=4.0)},
        anisotropy={"Co": uniaxial(2e-3, (1, 1, 0))},
        field=(3.0, -20.0, 11.0),
        landau={"Fe": Landau(-0.1, 0.01), "Co": Landau(-0.05, 0.02, 0.001)},
        lattice=MORSE,
        normalise=normalise,
    )


@pytest.mark.parametrize("normalise", [True, False])
def test_derivatives_of_all_terms_together(disordered, normalise):
    report = run_conformance(
        lambda: everything(normalise),
        disordered,
        spin_orbit=True,
        # an axis and a field fixed in space break these; directions do not exist at |m| = 0
        skip=["rotation", "time_reversal", "zero_moment_smoothness", "cutoff_smoothness"],
    )
    report.raise_if_failed()
    assert {r.status for r in report} == {"passed", "skipped"}


@pytest.mark.parametrize("normalise", [True, False])
def test_all_symmetries_without_field_and_axis(disordered, normalise):
    report = run_conformance(
        lambda: Heisenberg(
            exchange=EXCHANGE,
            pseudo_dipolar=Exponential(strength=0.004, r0=2.5, decay=0.6, cutoff=4.0),
            landau={"Fe": Landau(-0.1, 0.01)},
            lattice=MORSE,
            normalise=normalise,
        ),
        disordered,
        spin_orbit=True,
        skip=["zero_moment_smoothness"] if normalise else [],
    )
    report.raise_if_failed()


def test_isotropic_exchange_allows_turning_moments_alone(disordered):
    report = run_conformance(
        lambda: Heisenberg(exchange=EXCHANGE, lattice=MORSE), disordered, skip=["zero_moment_smoothness"]
    )
    report.raise_if_failed()
    assert report["spin_rotation"].status == "passed"


def test_model_bound_to_a_crystal_conforms(full_model, rng):
    atoms = full_model.to_atoms().repeat((2, 1, 2))
    set_moments(atoms, random_directions(atoms, 2.2, rng))
    # tensors and field are fixed in space, and the model knows no other structure
    skip = ["cutoff_smoothness", "zero_moment_smoothness", "rotation", "inversion", "time_reversal"]
    run_conformance(lambda: Heisenberg(full_model), atoms, spin_orbit=True, skip=skip).raise_if_failed()
    calc = Heisenberg(full_model, lattice=MORSE)
    assert np.abs(calc.get_forces(disturbed(atoms))).max() > 0.1
    assert np.abs(Heisenberg(full_model).get_forces(disturbed(atoms))).max() == 0.0


def disturbed(atoms: Atoms) -> Atoms:
    result = atoms.copy()
    result.rattle(0.05, seed=3)
    return result


def test_calculator_gives_all_properties_of_the_package(disordered):
    calc = everything(True)
    assert tuple(calc.implemented_properties) == ALL_PROPERTIES
    for name in ALL_PROPERTIES:
        assert np.all(np.isfinite(calc.get_property(name, disordered)))
    assert calc.implemented_properties is not type(calc).__mro__[1].implemented_properties
    np.testing.assert_array_equal(calc.get_magnetic_forces(disordered), calc.results["magnetic_forces"])
    np.testing.assert_array_equal(calc.get_magnetic_torques(), calc.results["magnetic_torques"])
    assert calc.get_property("energy", disordered) == calc.get_property("free_energy", disordered)


def test_calculator_reproduces_the_model(full_model, rng):
    atoms = full_model.to_atoms()
    moments = rng.normal(size=(2, 3))
    set_moments(atoms, moments)
    calc = Heisenberg(full_model)
    assert calc.get_potential_energy(atoms) == pytest.approx(full_model.energy(moments))
    np.testing.assert_allclose(calc.get_potential_energies(atoms), full_model.energies(moments), atol=1e-15)
    np.testing.assert_allclose(calc.get_magnetic_forces(atoms), full_model.magnetic_forces(moments), atol=1e-15)


def test_field_can_be_replaced_and_results_follow(full_model, bcc_fe):
    set_moments(bcc_fe, ferromagnet(bcc_fe, 2.0, "x"))
    calc = Heisenberg(full_model, field=(0, 0, 0))
    zero = calc.get_potential_energy(bcc_fe)
    calc.set_field((5.0, 0, 0))
    assert calc.get_potential_energy(bcc_fe) - zero == pytest.approx(-2 * 2.0 * 5.0 * MU_B)
    np.testing.assert_array_equal(calc.field, (5, 0, 0))
    np.testing.assert_array_equal(Heisenberg(full_model).field, full_model.field)
    with pytest.raises(ValueError, match="field has shape"):
        calc.set_field(3.0)


@pytest.mark.parametrize("normalise", [True, False])
def test_to_model_has_the_same_exchange_energy(disordered, normalise):
    calc = Heisenberg(
        exchange=EXCHANGE,
        pseudo_dipolar=Exponential(strength=0.004, r0=2.5, decay=0.6, cutoff=4.0),
        anisotropy={"Co": uniaxial(2e-3)},
        field=(1, 2, 3),
        normalise=normalise,
    )
    moments = get_moments(disordered)
    model = calc.to_model(disordered)
    assert model.energy(moments) == pytest.approx(calc.get_potential_energy(disordered))
    np.testing.assert_allclose(model.magnitudes, np.linalg.norm(moments, axis=1))


def test_to_model_of_a_bound_model(full_model):
    atoms = full_model.to_atoms().repeat((1, 2, 1))
    set_moments(atoms, ferromagnet(atoms, 2.0, (1, 1, 0)))
    calc = Heisenberg(full_model)
    assert calc.to_model(atoms).energy(get_moments(atoms)) == pytest.approx(calc.get_potential_energy(atoms))


def test_moments_come_back_in_the_shape_they_were_given(bcc_fe, model):
    calc = Heisenberg(model)
    set_moments(bcc_fe, [2.0, -2.0])
    assert calc.get_magnetic_moments(bcc_fe).shape == (2,)
    assert calc.get_property("magnetic_forces", bcc_fe).shape == (2, 3)
    set_moments(bcc_fe, get_moments(bcc_fe))
    assert calc.get_magnetic_moments(bcc_fe).shape == (2, 3)


def test_vector_moments_survive_ases_containers(disordered, tmp_path):
    disordered.calc = Heisenberg(exchange=EXCHANGE)
    energy = disordered.get_potential_energy()
    assert set(disordered.calc.export_properties()) >= {"energy", "forces", "stress"}
    found = disordered.get_properties(["energy", "magmoms", "magnetic_forces"])
    assert found["energy"] == energy
    assert found["magmoms"].shape == (8, 3)
    with pytest.raises(PropertyNotImplementedError, match="does not give dipole"):
        disordered.get_properties(["dipole"])
    with Trajectory(tmp_path / "t.traj", "w", disordered) as trajectory:
        trajectory.write()
    with Trajectory(tmp_path / "t.traj") as trajectory:
        again = trajectory[0]
    assert again.get_potential_energy() == energy
    np.testing.assert_array_equal(get_moments(again), get_moments(disordered))
    set_moments(disordered, 2.0)
    assert disordered.calc.get_potential_energy(disordered)
    assert disordered.calc.export_properties()["magmoms"].shape == (8,)


def test_results_are_copies(disordered):
    calc = Heisenberg(exchange=EXCHANGE)
    calc.get_property("magnetic_forces", disordered)[:] = 99
    assert np.abs(calc.get_property("magnetic_forces", disordered)).max() < 10


def test_neighbour_list_is_kept_while_only_moments_change(disordered, monkeypatch):
    import deepspin_ase.heisenberg.pairs as module

    calls = []
    original = module.neighbour_pairs
    monkeypatch.setattr(module, "neighbour_pairs", lambda *a, **k: calls.append(1) or original(*a, **k))
    calc = Heisenberg(exchange=EXCHANGE)
    calc.get_potential_energy(disordered)
    disordered.arrays["initial_magmoms"][0] *= -1
    calc.get_potential_energy(disordered)
    assert len(calls) == 1
    disordered.positions[0, 0] += 1e-9
    calc.get_potential_energy(disordered)
    disordered.cell[0, 0] += 1e-9
    calc.get_potential_energy(disordered)
    disordered.pbc = (True, True, False)
    calc.get_potential_energy(disordered)
    assert len(calls) == 4


def test_failed_calculation_leaves_nothing_stale(disordered):
    calc = Heisenberg(exchange=EXCHANGE)
    calc.get_potential_energy(disordered)
    moments = get_moments(disordered)
    disordered.positions[0] += 0.1
    del disordered.arrays["initial_magmoms"]
    with pytest.raises(ValueError, match="carries no moments"):
        calc.get_potential_energy(disordered)
    set_moments(disordered, moments)
    expected = Heisenberg(exchange=EXCHANGE).get_potential_energy(disordered)
    assert calc.get_potential_energy(disordered) == expected


def test_zero_moments_give_energies_but_no_magnetic_forces(nio):
    calc = Heisenberg(exchange=EXCHANGE, lattice=MORSE)
    energy, forces = calc.get_potential_energy(nio), calc.get_forces(nio)
    assert np.isfinite(energy)
    assert np.all(np.isfinite(forces))
    with pytest.raises(ValueError, match=r"moment of site 2 has length zero \(and 1 more\)"):
        calc.get_magnetic_forces(nio)
    only_nickel = Heisenberg(exchange={("Ni", "Ni"): EXCHANGE}, lattice=MORSE)
    assert only_nickel.get_potential_energy(nio) == pytest.approx(energy)
    np.testing.assert_array_equal(only_nickel.get_magnetic_forces(nio)[2:], 0)
    smooth = Heisenberg(exchange=EXCHANGE, normalise=False)
    assert np.all(np.isfinite(smooth.get_magnetic_forces(nio)))


def test_isolated_atom_and_open_boundaries_work():
    atom = Atoms("Fe", positions=[[0, 0, 0]])
    set_moments(atom, [[0, 0, 2.0]])
    calc = Heisenberg(exchange=EXCHANGE, landau={"Fe": Landau(-0.1, 0.01)}, lattice=MORSE)
    assert calc.get_potential_energy(atom) == pytest.approx(-0.1 * 4 + 0.01 * 16)
    np.testing.assert_allclose(calc.get_magnetic_forces(atom), [[0, 0, 0.2 * 2 - 0.04 * 8]], atol=1e-15)
    with pytest.raises(PropertyNotImplementedError):
        calc.get_stress(atom)


def test_atoms_on_the_same_place_are_refused():
    atoms = Atoms("Fe2", positions=np.zeros((2, 3)))
    set_moments(atoms, 2.0)
    with pytest.raises(ValueError, match="same place"):
        Heisenberg(exchange=EXCHANGE).get_potential_energy(atoms)


def test_lattice_may_be_any_calculator(rng):
    atoms = bulk("Ni", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    set_moments(atoms, random_directions(atoms, 0.6, rng))
    spins = Heisenberg(exchange=EXCHANGE)
    both = Heisenberg(exchange=EXCHANGE, lattice=EMT())
    bare = atoms.copy()
    bare.calc = EMT()
    assert both.get_potential_energy(atoms) == pytest.approx(
        spins.get_potential_energy(atoms) + bare.get_potential_energy()
    )
    np.testing.assert_allclose(both.get_forces(atoms), spins.get_forces(atoms) + bare.get_forces())
    np.testing.assert_allclose(both.get_stress(atoms), spins.get_stress(atoms) + bare.get_stress())
    assert both.get_potential_energies(atoms).sum() == pytest.approx(both.get_potential_energy(atoms))
    skip = ["zero_moment_smoothness", "cutoff_smoothness", "cache_invalidation"]
    run_conformance(lambda: Heisenberg(exchange=EXCHANGE, lattice=EMT()), atoms, skip=skip).raise_if_failed()


def test_lattice_calculator_limits_what_is_given(disordered):
    class OnlyForces(LennardJones):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012

    calc = Heisenberg(exchange=EXCHANGE, lattice=OnlyForces(sigma=2.2, epsilon=0.1, rc=4))
    assert {"energies", "stress"}.isdisjoint(calc.implemented_properties)
    assert np.isfinite(calc.get_potential_energy(disordered))
    with pytest.raises(PropertyNotImplementedError):
        calc.get_stress(disordered)
    with pytest.raises(ValueError, match="must not depend on the moments"):
        Heisenberg(exchange=EXCHANGE, lattice=Heisenberg(exchange=EXCHANGE))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "no term"),
        ({"exchange": {}}, ValueError, "empty"),
        ({"exchange": lambda r: r}, TypeError, "CustomPair"),
        ({"exchange": {("Fe", "Xx9"): EXCHANGE}}, ValueError, "no chemical symbol"),
        ({"exchange": {"Fe": EXCHANGE}}, ValueError, "pairs of chemical symbols"),
        ({"exchange": {("Fe", "Co"): EXCHANGE, ("Co", "Fe"): EXCHANGE}}, ValueError, "twice"),
        ({"model": {"J": 1}}, TypeError, "HeisenbergModel"),
        ({"landau": {"iron": Landau(0, 1)}}, ValueError, "no chemical symbol"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Heisenberg(**options)


@pytest.mark.parametrize(
    "function",
    [
        EXCHANGE,
        MORSE,
        BetheSlater(a=0.02, b=0.1, d=2.0, cutoff=4.5),
        Polynomial(coefficients=(0.02, -0.03, 0.01), r0=2.5, cutoff=4.0, onset=2.5),
        CustomPair(value=np.cos, slope=lambda r: -np.sin(r), cutoff=5.0, onset=0.0),
    ],
)
def test_slopes_and_smooth_ends_of_pair_functions(function):
    r = np.linspace(1.5, function.cutoff - 1e-3, 200)
    value, slope = function.evaluate(r)
    h = 1e-5
    np.testing.assert_allclose(slope, (function(r + h) - function(r - h)) / (2 * h), atol=1e-8)
    inside = r[r < function.onset]
    np.testing.assert_array_equal(function(inside), function.bare(inside)[0])
    beyond, beyond_slope = function.evaluate(np.array([function.cutoff, function.cutoff + 1.0]))
    np.testing.assert_allclose([beyond, beyond_slope], 0, atol=1e-14)
    near = [abs(function.evaluate(function.cutoff - d)[1]) for d in (0.02, 0.01)]
    assert near[1] < near[0] / 6  # slope vanishes like the third power
    assert value.shape == r.shape


def test_wrong_parameters_of_terms_are_refused():
    with pytest.raises(ValueError, match="onset"):
        Exponential(strength=1, r0=2, decay=1, cutoff=3, onset=3.5)
    with pytest.raises(ValueError, match="no lowest energy"):
        Landau(1.0, -1.0)


def test_landau_equilibrium_has_no_longitudinal_force():
    a, b = -0.2, 0.02
    length = np.sqrt(-a / (2 * b))
    atom = Atoms("Fe", positions=[[0, 0, 0]])
    set_moments(atom, [[0.0, length, 0.0]])
    calc = Heisenberg(landau={"Fe": Landau(a, b)})
    np.testing.assert_allclose(calc.get_magnetic_forces(atom), 0, atol=1e-14)
    assert calc.get_potential_energy(atom) == pytest.approx(-(a**2) / (4 * b))
