"""SpinDynamics as an ASE driver: input, observers, changes from outside, checkpoints, fast path."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from deepspin_ase import Heisenberg, HeisenbergModel, ferromagnet, get_moments, random_directions, set_moments, tilt
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import uniaxial
from deepspin_plugins import spin_dynamics
from deepspin_plugins.spin_dynamics import (
    AtomsField,
    ConvergenceError,
    ImplicitMidpoint,
    ModelField,
    RescaledTemperature,
    RotatingField,
    SpinDynamics,
    SpinLangevin,
    TimestepWarning,
    ZeemanField,
    fast,
    spin_temperature,
    suggest_timestep,
)
from deepspin_plugins.spin_dynamics.fields import field_of
from deepspin_plugins.spin_dynamics.integrators import INTEGRATORS, get_integrator


class Anonymous(Heisenberg):
    """The same numbers through ASE, without the short cut for spin models."""


def model(**terms) -> HeisenbergModel:
    cell = bulk("Fe", a=2.8665, cubic=True)
    return HeisenbergModel.from_shells(cell, [0.03, 0.01], magnitudes=2.2, **terms)


def iron(cells: int = 2, calculator=Heisenberg, **terms) -> Atoms:
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(cells)
    set_moments(atoms, tilt(ferromagnet(atoms, 2.2), 20, rng=1))
    atoms.calc = calculator(model(**terms))
    return atoms


FS = 0.2 * units.fs


# --- fields and the fast path -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [{}, {"dmi": [0.004], "anisotropy": uniaxial(1e-3), "field": (1, 2, 30)}])
def test_model_field_equals_the_calculator(terms, rng):
    atoms = iron(3, **terms)
    set_moments(atoms, random_directions(atoms, 2.2, rng))
    e = get_moments(atoms) / 2.2
    field = ModelField(atoms.calc.to_model(atoms))
    np.testing.assert_allclose(field(e), atoms.calc.get_magnetic_forces(atoms), rtol=0, atol=1e-15)
    assert field.evaluations == 1


@pytest.mark.parametrize("name", sorted(INTEGRATORS))
def test_fast_path_makes_the_same_trajectory_as_the_calculator(name):
    ends = []
    for calculator in (Heisenberg, Anonymous):
        atoms = iron(2, calculator, dmi=[0.002], field=(0, 5, 20))
        SpinDynamics(atoms, FS, integrator=name, damping=0.1, temperature=200, rng=4).run(20)
        ends.append(get_moments(atoms))
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-12)


def test_fast_path_sees_fields_around_the_calculator():
    ends = []
    for calculator in (Heisenberg, Anonymous):
        atoms = iron(2, calculator, field=(0, 0, 10))
        inner = ZeemanField(atoms.calc, RotatingField(200.0, 20.0, "z"))
        atoms.calc = ZeemanField(inner, (0, 100, 0))
        dynamics = SpinDynamics(atoms, FS, damping=0.1)
        dynamics.run(10)
        atoms.calc.set_field((0, 0, 300))
        dynamics.run(10)
        assert isinstance(field_of(atoms), ModelField if calculator is Heisenberg else AtomsField)
        ends.append(get_moments(atoms))
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-12)


def test_spin_temperature_sees_fields_around_the_calculator():
    atoms = iron(2, field=(0, 50, 10))
    together = spin_temperature(atoms)
    atoms.calc = ZeemanField(Heisenberg(model(field=(0, 0, 10))), (0, 50, 0))
    assert spin_temperature(atoms) == pytest.approx(together, rel=1e-12)


def test_threads_do_not_change_the_result(monkeypatch, rng):
    atoms = iron(16)  # 8192 atoms, enough for two threads
    directions = get_moments(atoms) / 2.2
    turn = rng.standard_normal(directions.shape)
    ends = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert fast.thread_count() == int(threads)
        field = ModelField(atoms.calc.to_model(atoms))
        integrator = get_integrator("depondt-mertens")
        ends.append(integrator.step(directions, field, FS, damping=0.1, noise=1e-2 * turn))
    np.testing.assert_array_equal(*ends)


def test_evaluations_per_step_do_not_depend_on_the_number_of_atoms():
    for cells in (1, 3):
        for name, expected in (("depondt-mertens", 2), ("semi-implicit", 2), ("heun", 2)):
            dynamics = SpinDynamics(iron(cells, Anonymous), FS, integrator=name, damping=0.1)
            dynamics.run(7)
            assert dynamics.evaluations == 7 * expected


def test_a_calculator_is_not_asked_more_often_than_the_integrator_asks(monkeypatch):
    atoms = iron(1, Anonymous)
    calls = []
    original = Anonymous.calculate
    monkeypatch.setattr(Anonymous, "calculate", lambda self, *a, **k: (calls.append(1), original(self, *a, **k))[1])
    SpinDynamics(atoms, FS, damping=0.1).run(10)
    assert len(calls) == 20


def test_time_dependent_calculators_are_told_the_time():
    class Clocked(Anonymous):
        times: list[float] = []  # noqa: RUF012

        def set_time(self, time):
            self.times.append(time)

    atoms = iron(1, Clocked)
    SpinDynamics(atoms, 2 * units.fs, damping=0.1, integrator="depondt-mertens").run(2)
    np.testing.assert_allclose(Clocked.times, [0, 0, 2, 2, 2, 4, 4], atol=1e-12)
    Clocked.times.clear()
    SpinDynamics(atoms, 2 * units.fs, damping=0.1, integrator="semi-implicit").run(1)
    np.testing.assert_allclose(Clocked.times, [0, 0, 1, 2], atol=1e-12)


# --- the driver -------------------------------------------------------------------------------------------------------


def test_observers_trajectory_and_log(tmp_path):
    atoms = iron()
    dynamics = SpinDynamics(
        atoms, FS, damping=0.1, trajectory=str(tmp_path / "a.traj"), logfile=tmp_path / "log", loginterval=5
    )
    seen = []
    dynamics.attach(lambda: seen.append(dynamics.nsteps), interval=4)
    assert dynamics.run(12)
    assert seen == [0, 4, 8, 12]
    frames = read(tmp_path / "a.traj", ":")
    assert len(frames) == 3
    assert not np.allclose(get_moments(frames[0]), get_moments(frames[2]))
    assert len((tmp_path / "log").read_text().splitlines()) == 1 + 3
    assert dynamics.get_time() == pytest.approx(12 * FS)


def test_positions_and_lengths_stay(tmp_path):
    atoms = iron()
    positions, energy = atoms.positions.copy(), atoms.get_potential_energy()
    SpinDynamics(atoms, FS, damping=0.5).run(50)
    np.testing.assert_array_equal(atoms.positions, positions)
    np.testing.assert_allclose(np.linalg.norm(get_moments(atoms), axis=1), 2.2, rtol=1e-15)
    assert atoms.get_potential_energy() < energy  # damping takes energy away


def test_collinear_moments_become_vectors_and_feel_noise():
    atoms = bulk("Fe", a=2.8665, cubic=True)
    set_moments(atoms, 2.2)
    atoms.calc = Heisenberg(model())
    SpinDynamics(atoms, FS, damping=0.1, temperature=100, rng=0).run(3)
    assert get_moments(atoms)[:, :2].any()


def test_changes_from_outside_are_noticed():
    atoms = iron(field=(0, 0, 0))
    dynamics = SpinDynamics(atoms, FS, damping=0.0)
    set_moments(atoms, ferromagnet(atoms, 1.5, "x"))
    dynamics.run(1)
    np.testing.assert_allclose(get_moments(atoms), ferromagnet(atoms, 1.5, "x"))
    atoms.calc.set_field((0, 0, 500.0))
    dynamics.run(10)
    assert get_moments(atoms)[0, 1] > 0.05  # it precesses now
    before = get_moments(atoms)
    atoms.calc = Heisenberg(model())
    dynamics.run(5)
    np.testing.assert_allclose(get_moments(atoms), before, atol=1e-12)  # and now no longer
    assert dynamics.evaluations == 2 * 16


def test_moved_atoms_get_new_couplings():
    from deepspin_ase.heisenberg import Exponential

    atoms = Atoms("Fe2", positions=[[0, 0, 0], [2.5, 0, 0]])
    set_moments(atoms, [[2, 0, 0], [0, 2, 0]])
    atoms.calc = Heisenberg(exchange=Exponential(strength=0.05, r0=2.5, decay=0.3, cutoff=4.0))
    dynamics = SpinDynamics(atoms, FS)
    dynamics.run(1)
    assert get_moments(atoms)[0, 2] != 0.0
    atoms.positions[1, 0] = 9.0
    before = get_moments(atoms)
    dynamics.run(3)
    np.testing.assert_allclose(get_moments(atoms), before, atol=1e-15)


def test_temperature_can_be_ramped():
    atoms = iron()
    dynamics = SpinDynamics(atoms, FS, damping=0.1, rng=1)
    assert dynamics.temperature == 0.0
    dynamics.temperature = 300
    dynamics.run(2)
    dynamics.temperature = 0
    state = dynamics.bath.rng.bit_generator.state
    dynamics.run(2)
    assert dynamics.bath.rng.bit_generator.state == state


def test_seeds_make_runs_reproducible():
    ends = []
    for seed in (1, 1, 2):
        atoms = iron()
        SpinDynamics(atoms, FS, damping=0.1, temperature=100, rng=seed).run(5)
        ends.append(get_moments(atoms))
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.allclose(ends[0], ends[2])


def test_an_interrupted_step_leaves_the_moments_from_before(monkeypatch):
    atoms = iron(1, Anonymous)
    dynamics = SpinDynamics(atoms, FS, damping=0.1)
    dynamics.run(2)
    before = get_moments(atoms)
    original, calls = Anonymous.calculate, []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:  # in the corrector: the atoms carry the predictor
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    monkeypatch.setattr(Anonymous, "calculate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dynamics.run(5)
    np.testing.assert_array_equal(get_moments(atoms), before)
    assert dynamics.nsteps == 2
    monkeypatch.undo()
    assert dynamics.run(5)


# --- input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timestep": 0.0}, "timestep"),
        ({"timestep": np.nan}, "timestep"),
        ({"damping": -0.1}, "not negative"),
        ({"damping": {"Co": 0.1}}, "no entry for Fe"),
        ({"damping": [0.1, 0.2]}, r"shape \(2,\)"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": np.inf, "damping": 0.1, "rng": 1}, "temperature"),
        ({"temperature": 300.0, "rng": 1}, "damping 0"),
        ({"temperature": 300.0, "damping": 0.1}, "rng="),
        ({"integrator": "rk4"}, "depondt-mertens"),
        ({"integrator": 4}, "depondt-mertens"),
        ({"statistics": "quantum"}, "coloured"),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(InputError, match=message):
        SpinDynamics(iron(), **{"timestep": FS, **options})


def test_wrong_structures_are_explained():
    atoms = iron()
    atoms.calc = None
    with pytest.raises(InputError, match="no calculator"):
        SpinDynamics(atoms, FS)
    atoms.calc = EMT()
    with pytest.raises(InputError, match="magnetic_forces"):
        SpinDynamics(atoms, FS)
    for broken, message in ((0.0, "no moments"), (np.nan, "NaN")):
        atoms = iron()
        atoms.arrays["initial_magmoms"][...] = broken
        with pytest.raises(InputError, match=message):
            SpinDynamics(atoms, FS)
    empty = Atoms()
    empty.calc = Heisenberg(field=(0, 0, 1))
    with pytest.raises(InputError, match="no atoms"):
        SpinDynamics(empty, FS)
    with pytest.raises(InputError, match="positive"):
        RescaledTemperature(0.0, 2.0)
    with pytest.raises(InputError, match="statistics"):
        SpinLangevin(300, 0.1, "bose")  # type: ignore[arg-type]


def test_moments_that_become_nan_stop_the_run():
    atoms = iron()
    dynamics = SpinDynamics(atoms, FS)
    atoms.arrays["initial_magmoms"][0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        dynamics.run(1)


# --- advice on the time step ------------------------------------------------------------------------------------------


def test_suggested_timestep_matches_the_top_of_the_magnon_band():
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(4)
    set_moments(atoms, ferromagnet(atoms, 2.2))
    fastest = 16 * 0.03 / 2.2 * 3.0420585  # rad/fs: J(0) - J(H) = 16 J1
    for calculator in (Heisenberg, Anonymous):
        atoms.calc = calculator(model())
        suggested = suggest_timestep(atoms, angle=0.1) / units.fs
        assert suggested == pytest.approx(0.1 / fastest, rel=0.2)
        assert suggested > 0.99 * 0.1 / fastest  # from above: the frequency comes from below
    np.testing.assert_array_equal(get_moments(atoms), ferromagnet(atoms, 2.2))
    assert suggest_timestep(atoms, angle=0.2) == pytest.approx(2 * suggested * units.fs)


def test_suggested_timestep_of_a_free_spin_and_without_any_field():
    atom = Atoms("Fe", positions=[[0, 0, 0]])
    set_moments(atom, [[2.0, 0, 0]])
    atom.calc = Heisenberg(field=(0, 0, 10))
    assert suggest_timestep(atom, angle=0.1) / units.fs == pytest.approx(0.1 / 1.76085963e-3, rel=1e-6)
    atom.calc = Heisenberg(field=(0, 0, 0))
    with pytest.raises(InputError, match="no magnetic force"):
        suggest_timestep(atom)
    with pytest.raises(InputError, match="angle"):
        suggest_timestep(atom, angle=0.0)


def test_too_long_steps_are_reported():
    atoms = iron()
    set_moments(atoms, random_directions(atoms, 2.2, rng=1))
    with pytest.warns(TimestepWarning, match="suggest_timestep"):
        SpinDynamics(atoms, 5 * units.fs, damping=0.1).run(3)
    with pytest.warns(TimestepWarning, match="typical moments"):
        SpinDynamics(atoms, 5 * units.fs, damping=0.1, temperature=300, rng=1).run(3)


def test_energy_drift_is_reported():
    atoms = iron()
    set_moments(atoms, tilt(ferromagnet(atoms, 2.2), 10, rng=1))
    with pytest.warns(TimestepWarning, match="no damping"):
        SpinDynamics(atoms, 1.2 * units.fs, integrator="heun").run(400)


def test_implicit_step_that_is_too_long_is_an_error():
    atoms = iron()
    before = get_moments(atoms)
    with pytest.raises(ConvergenceError, match="shorter time step"):
        SpinDynamics(atoms, 200 * units.fs, integrator=ImplicitMidpoint(max_iterations=20)).run(1)
    np.testing.assert_array_equal(get_moments(atoms), before)


# --- the package ------------------------------------------------------------------------------------------------------


def test_public_names_exist_and_importing_stays_light():
    for name in spin_dynamics.__all__:
        assert getattr(spin_dynamics, name) is not None
        assert not (Path(spin_dynamics.__file__).parent / f"{name}.py").exists()
    code = "import sys, deepspin_plugins.spin_dynamics; print({'numba', 'torch', 'ase'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_atoms_field_counts_and_keeps_the_lengths():
    atoms = iron(1, Anonymous)
    field = AtomsField(atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        force = field(np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    assert force.shape == (2, 3)
    assert field.evaluations == 1
    np.testing.assert_allclose(get_moments(atoms), [[2.2, 0, 0], [0, 2.2, 0]])
