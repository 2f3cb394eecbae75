"""Relaxing positions, moments and cells with ASE's optimizers."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.io.trajectory import Trajectory
from ase.optimize import BFGS, FIRE, LBFGS, BFGSLineSearch

from deepspin_ase.filters import SpinLatticeFilter
from deepspin_ase.heisenberg import Exponential, Heisenberg, HeisenbergModel, Landau, Morse, uniaxial
from deepspin_ase.moments import ferromagnet, get_moments, random_directions, set_moments, tilt

LATTICE_CONSTANT = 2.66  # near the minimum of the model below
FUNCTION = Exponential(strength=0.03, r0=2.5, decay=0.5, cutoff=4.2)
MORSE = Morse(depth=0.4, r0=2.5, stiffness=1.3, cutoff=4.5)


def calculator(**options) -> Heisenberg:
    return Heisenberg(exchange={("Fe", "Fe"): FUNCTION}, lattice=MORSE, **options)


@pytest.fixture
def iron(rng: np.random.Generator) -> Atoms:
    """Eight atoms away from equilibrium in every respect."""
    atoms = bulk("Fe", a=LATTICE_CONSTANT, cubic=True).repeat((2, 2, 1))
    atoms.positions += rng.normal(scale=0.05, size=(8, 3))
    set_moments(atoms, tilt(ferromagnet(atoms, 2.2, (1, 2, 3)), 60.0, rng))
    atoms.calc = calculator(anisotropy={"Fe": uniaxial(5e-3, (1, 1, 1))})
    return atoms


@pytest.fixture
def landau_iron(rng: np.random.Generator) -> Atoms:
    """The same with energies that depend on the lengths of the moments, smoothly."""
    atoms = bulk("Fe", a=LATTICE_CONSTANT, cubic=True).repeat((2, 2, 1))
    atoms.positions += rng.normal(scale=0.05, size=(8, 3))
    set_moments(atoms, tilt(ferromagnet(atoms, 2.0), 40.0, rng))
    function = Exponential(strength=0.006, r0=2.5, decay=0.5, cutoff=4.2)
    atoms.calc = Heisenberg(exchange=function, lattice=MORSE, landau={"Fe": Landau(-0.2, 0.03)}, normalise=False)
    return atoms


def numerical_forces(filtered: SpinLatticeFilter, h: float = 1e-5) -> np.ndarray:
    x0 = filtered.get_positions()
    result = np.zeros_like(x0)
    for index in np.ndindex(*x0.shape):
        energies = []
        for step in (h, -h):
            x = x0.copy()
            x[index] += step
            filtered.set_positions(x)
            energies.append(filtered.get_potential_energy())
        result[index] = -(energies[0] - energies[1]) / (2 * h)
    filtered.set_positions(x0)
    return result


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lattice": False},
        {"directions": False},
        {"lattice": False, "directions": False, "magnitudes": True},
        {"magnitudes": True, "direction_scale": 0.3, "magnitude_scale": 0.5},
        {"cell": True},
        {"cell": True, "lattice": False},
        {"cell": True, "magnitudes": True, "cell_options": {"scalar_pressure": 0.05}},
        {"lattice": False, "directions": False, "cell": True},
        {"moving": [0, 3]},
    ],
)
def test_forces_are_minus_the_gradient_of_the_energy(landau_iron, options):
    filtered = SpinLatticeFilter(landau_iron, **options)
    forces = filtered.get_forces()
    assert forces.shape == (len(filtered), 3) == filtered.get_positions().shape
    # the cell part of FrechetCellFilter is exact at zero strain
    np.testing.assert_allclose(forces, numerical_forces(filtered), atol=2e-6)


def test_coordinates_determine_the_state(landau_iron, rng):
    filtered = SpinLatticeFilter(landau_iron, magnitudes=True, cell=True)
    x, energy = filtered.get_positions(), filtered.get_potential_energy()
    far = x + rng.normal(scale=0.02, size=x.shape)
    filtered.set_positions(far)
    assert abs(filtered.get_potential_energy() - energy) > 1e-3
    filtered.set_positions(x)
    np.testing.assert_allclose(filtered.get_positions(), x, atol=1e-12)
    assert filtered.get_potential_energy() == pytest.approx(energy, abs=1e-10)


def test_directions_stay_on_the_sphere_and_lengths_stay(iron):
    lengths = np.linalg.norm(get_moments(iron), axis=1)
    filtered = SpinLatticeFilter(iron, lattice=False)
    filtered.set_positions(filtered.get_positions() + 0.07)
    np.testing.assert_allclose(np.linalg.norm(filtered.get_positions(), axis=1), 0.1)
    np.testing.assert_allclose(np.linalg.norm(get_moments(iron), axis=1), lengths)


def test_force_rows_are_torques_over_the_scale(iron):
    filtered = SpinLatticeFilter(iron, lattice=False, direction_scale=0.25)
    torque = iron.calc.get_magnetic_torques(iron)
    np.testing.assert_allclose(np.linalg.norm(filtered.get_forces(), axis=1), np.linalg.norm(torque, axis=1) / 0.25)
    assert filtered.residuals().torque == pytest.approx(np.linalg.norm(torque, axis=1).max())
    assert filtered.residuals().force is None


@pytest.mark.parametrize("optimizer", [FIRE, BFGS, LBFGS, BFGSLineSearch])
def test_joint_relaxation_reaches_the_ferromagnet_along_the_easy_axis(iron, optimizer):
    filtered = SpinLatticeFilter(iron)
    assert optimizer(filtered, logfile=None).run(fmax=0.005, steps=600)
    left = filtered.residuals()
    assert left.force < 0.005
    assert left.torque < 0.005 * 0.1  # direction_scale · fmax
    np.testing.assert_allclose(get_moments(iron), ferromagnet(iron, 2.2, (1, 1, 1)), atol=0.2)
    assert np.abs(iron.calc.get_magnetic_torques(iron)).max() < 5e-4
    np.testing.assert_allclose(np.linalg.norm(get_moments(iron), axis=1), 2.2)


def test_directions_alone_leave_the_lattice_alone(iron):
    before = iron.positions.copy()
    filtered = SpinLatticeFilter(iron, lattice=False)
    assert FIRE(filtered, logfile=None).run(fmax=0.005, steps=400)
    np.testing.assert_array_equal(iron.positions, before)
    assert np.abs(iron.get_forces()).max() > 0.1


def test_lattice_alone_is_ases_relaxation(iron):
    reference = iron.copy()
    reference.calc = calculator(anisotropy={"Fe": uniaxial(5e-3, (1, 1, 1))})
    moments = get_moments(iron)
    for target in (SpinLatticeFilter(iron, directions=False), reference):
        BFGS(target, logfile=None).run(fmax=0.01, steps=100)
    np.testing.assert_allclose(iron.positions, reference.positions, atol=1e-10)
    np.testing.assert_array_equal(get_moments(iron), moments)


def test_magnitudes_reach_the_minimum_of_the_landau_energy():
    atom = Atoms("Fe", positions=[[0, 0, 0]])
    set_moments(atom, [1.0])
    atom.calc = Heisenberg(landau={"Fe": Landau(-0.2, 0.02)})
    filtered = SpinLatticeFilter(atom, lattice=False, directions=False, magnitudes=True)
    assert BFGS(filtered, logfile=None).run(fmax=1e-3, steps=50)
    assert atom.get_initial_magnetic_moments() == pytest.approx([np.sqrt(5.0)], abs=1e-3)  # still (n,)
    assert filtered.residuals().parallel < 1e-3 * 0.2  # magnitude_scale · fmax


def test_a_length_may_pass_through_zero_and_come_back(landau_iron):
    filtered = SpinLatticeFilter(landau_iron, lattice=False, magnitudes=True)
    x, before = filtered.get_positions(), get_moments(landau_iron)
    through = x.copy()
    through[8, 0] = -0.1
    filtered.set_positions(through)
    np.testing.assert_allclose(get_moments(landau_iron)[0], -0.5 * before[0] / 2.0, atol=1e-12)
    np.testing.assert_allclose(filtered.get_positions(), through, atol=1e-12)
    filtered.set_positions(x)
    np.testing.assert_allclose(get_moments(landau_iron), before, atol=1e-12)


def test_everything_together_with_the_cell(landau_iron):
    volume = landau_iron.get_volume()
    filtered = SpinLatticeFilter(landau_iron, magnitudes=True, cell=True)
    assert len(filtered) == 8 + 8 + 8 + 3
    assert BFGS(filtered, logfile=None).run(fmax=0.005, steps=300)
    left = filtered.residuals()
    assert left.stress < 1e-3
    assert left.parallel < 1e-3
    assert left.torque < 5e-4
    assert abs(landau_iron.get_volume() - volume) > 0.01
    np.testing.assert_allclose(landau_iron.get_stress(), 0, atol=1e-3)


def test_cell_rows_are_those_of_frechet_cell_filter(iron):
    ours = SpinLatticeFilter(iron, directions=False, cell=True, cell_options={"hydrostatic_strain": True})
    theirs = FrechetCellFilter(iron, hydrostatic_strain=True)
    np.testing.assert_allclose(ours.get_forces(), theirs.get_forces())
    np.testing.assert_allclose(ours.get_positions(), theirs.get_positions())


def test_cell_without_lattice_keeps_scaled_positions(iron):
    scaled = iron.get_scaled_positions()
    filtered = SpinLatticeFilter(iron, lattice=False, directions=False, cell=True)
    assert len(filtered) == 3
    BFGS(filtered, logfile=None).run(fmax=0.01, steps=50)
    np.testing.assert_allclose(iron.get_scaled_positions(), scaled, atol=1e-10)
    assert filtered.residuals().stress < 0.01


def test_constraints_hold_positions_but_not_moments(iron):
    iron.set_constraint(FixAtoms([0, 5]))
    positions, moments = iron.positions.copy(), get_moments(iron)
    filtered = SpinLatticeFilter(iron)
    assert FIRE(filtered, logfile=None).run(fmax=0.01, steps=500)
    np.testing.assert_array_equal(iron.positions[[0, 5]], positions[[0, 5]])
    assert np.abs(iron.positions - positions).max() > 0.01
    assert np.abs(get_moments(iron)[0] - moments[0]).max() > 0.1


def test_fixed_moments_do_not_turn(iron):
    moments = get_moments(iron)
    mask = np.ones(8, dtype=bool)
    mask[2] = False
    filtered = SpinLatticeFilter(iron, moving=mask)
    assert len(filtered) == 8 + 7
    FIRE(filtered, logfile=None).run(fmax=0.01, steps=300)
    np.testing.assert_array_equal(get_moments(iron)[2], moments[2])


def test_atoms_without_moment_get_none(nio):
    model = HeisenbergModel.from_shells(nio, {2: -0.019})
    nio.calc = Heisenberg(model)
    set_moments(nio, tilt(get_moments(nio), 50.0, 1))
    filtered = SpinLatticeFilter(nio, lattice=False)
    assert len(filtered) == 2
    assert FIRE(filtered, logfile=None).run(fmax=0.005, steps=300)
    moments = get_moments(nio)
    np.testing.assert_array_equal(moments[2:], 0)
    assert moments[0] @ moments[1] == pytest.approx(-(1.27**2), rel=1e-3)


def test_collinear_numbers_become_vectors_and_tilt_leaves_the_saddle(bcc_fe):
    atoms = bcc_fe.repeat((2, 1, 1))
    set_moments(atoms, [2.2, -2.2, 2.2, -2.2])
    atoms.calc = calculator()
    filtered = SpinLatticeFilter(atoms, lattice=False)
    assert atoms.get_initial_magnetic_moments().shape == (4, 3)
    assert filtered.residuals().torque < 1e-12  # a saddle point: no torque
    set_moments(atoms, tilt(get_moments(atoms), 5.0, 1))
    assert FIRE(filtered, logfile=None).run(fmax=0.01, steps=300)
    assert np.linalg.norm(get_moments(atoms).sum(axis=0)) == pytest.approx(4 * 2.2, rel=1e-3)


def test_moments_changed_from_outside_are_taken_over(iron, rng):
    filtered = SpinLatticeFilter(iron, lattice=False)
    filtered.get_forces()
    set_moments(iron, random_directions(iron, 1.5, rng))
    np.testing.assert_allclose(filtered.get_positions(), 0.1 / 1.5 * get_moments(iron))
    torque = iron.calc.get_magnetic_torques(iron)
    assert filtered.residuals().torque == pytest.approx(np.linalg.norm(torque, axis=1).max())


def test_trajectory_of_the_optimizer_holds_the_moments(iron, tmp_path):
    FIRE(SpinLatticeFilter(iron), logfile=None, trajectory=str(tmp_path / "t.traj")).run(fmax=0.01, steps=5)
    with Trajectory(tmp_path / "t.traj") as frames:
        assert len(frames) == 6
        np.testing.assert_array_equal(get_moments(frames[-1]), get_moments(iron))
        assert np.abs(get_moments(frames[0]) - get_moments(iron)).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lattice": False, "directions": False}, "nothing to relax"),
        ({"direction_scale": 0.0}, "positive numbers"),
        ({"magnitude_scale": -1.0}, "positive numbers"),
        ({"cell_options": {"mask": None}}, "set cell=True"),
        ({"moving": [0, 8]}, "indices from 0 to 7"),
        ({"moving": [True, False]}, r"mask of shape \(8,\)"),
        ({"moving": [0.5]}, "mask"),
    ],
)
def test_wrong_options_are_refused(iron, options, message):
    with pytest.raises(ValueError, match=message):
        SpinLatticeFilter(iron, **options)


def test_moments_that_do_not_exist_cannot_move(nio, bcc_fe):
    with pytest.raises(ValueError, match=r"atom 2 \(O\) is listed in moving but carries no moment"):
        SpinLatticeFilter(nio, moving=[0, 2])
    with pytest.raises(ValueError, match="no moments to relax"):
        SpinLatticeFilter(bcc_fe)
    assert len(SpinLatticeFilter(bcc_fe, directions=False)) == 2


def test_missing_calculator_and_wrong_shapes_are_named(iron):
    filtered = SpinLatticeFilter(iron, lattice=False)
    with pytest.raises(ValueError, match=r"allowed: \(8, 3\)"):
        filtered.set_positions(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="direction row is zero"):
        filtered.set_positions(np.zeros((8, 3)))
    iron.calc = None
    with pytest.raises(RuntimeError, match=r"set atoms\.calc"):
        filtered.get_forces()
