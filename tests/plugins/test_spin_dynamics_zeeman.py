"""The field as a wrapper around any calculator."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from deepspin_ase import DeepSpin, Heisenberg, get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Exponential, Morse
from deepspin_ase.quantities import MU_B
from deepspin_ase.testing import run_conformance
from deepspin_plugins.spin_dynamics.zeeman import PulsedField, RotatingField, ZeemanField

FIELD = (3.0, -20.0, 150.0)


def inner(field: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Heisenberg:
    exchange = Exponential(strength=0.03, r0=2.5, decay=0.5, cutoff=4.2)
    return Heisenberg(exchange=exchange, lattice=Morse(depth=0.4, r0=2.8, stiffness=1.3, cutoff=5.0), field=field)


@pytest.fixture
def atoms(bcc_fe: Atoms, rng: np.random.Generator) -> Atoms:
    crystal = bcc_fe.repeat((2, 1, 1))
    crystal.rattle(0.05, seed=3)
    set_moments(crystal, rng.normal(size=(4, 3)))
    return crystal


def test_passes_the_conformance_kit(atoms: Atoms) -> None:
    report = run_conformance(
        lambda: ZeemanField(inner(), FIELD),
        atoms,
        spin_orbit=True,
        skip=["time_reversal", "rotation", "inversion", "cutoff_smoothness", "zero_moment_smoothness"],
    )
    report.raise_if_failed()
    assert "stress" in {check.name for check in report.results if check.status == "passed"}


def test_equals_the_field_of_the_heisenberg_calculator(atoms: Atoms) -> None:
    wrapped, built_in = ZeemanField(inner(), FIELD), inner(FIELD)
    for name in ("energy", "energies", "forces", "stress", "magnetic_forces", "magnetic_torques", "magmoms"):
        np.testing.assert_allclose(
            wrapped.get_property(name, atoms), built_in.get_property(name, atoms), atol=1e-13, err_msg=name
        )


def test_energy_force_and_torque_of_one_moment() -> None:
    """-m·µB B, along B, and m x B: along +y for m along x... and B along z the torque is -y."""
    atom = Atoms("Fe")
    set_moments(atom, [[2.0, 0.0, 0.0]])
    calc = ZeemanField(Heisenberg(field=(0, 0, 0)), (0.0, 0.0, 10.0))
    assert calc.get_potential_energy(atom) == pytest.approx(0.0, abs=1e-18)
    np.testing.assert_allclose(calc.get_magnetic_forces(atom), [[0, 0, 10 * MU_B]], rtol=1e-14)
    np.testing.assert_allclose(calc.get_magnetic_torques(atom), [[0, -20 * MU_B, 0]], rtol=1e-14)
    set_moments(atom, 2.0)
    assert calc.get_potential_energy(atom) == pytest.approx(-20 * MU_B, rel=1e-14)
    assert calc.zeeman_energy(atom) == pytest.approx(-20 * MU_B, rel=1e-14)


def test_fields_add_up_by_wrapping_twice(atoms: Atoms) -> None:
    twice = ZeemanField(ZeemanField(inner(), (0, 0, 100.0)), (3.0, -20.0, 50.0))
    once = ZeemanField(inner(), FIELD)
    assert twice.get_potential_energy(atoms) == pytest.approx(once.get_potential_energy(atoms), rel=1e-13)
    assert twice.zeeman_energy(atoms) == pytest.approx(once.zeeman_energy(atoms), rel=1e-13)
    np.testing.assert_allclose(twice.get_magnetic_forces(atoms), once.get_magnetic_forces(atoms), rtol=1e-12)


def test_the_clock_reaches_a_field_inside(atoms: Atoms) -> None:
    calc = ZeemanField(ZeemanField(inner(), lambda t: (0, 0, t)), (1.0, 0, 0))
    before = calc.get_potential_energy(atoms)
    calc.set_time(100.0)
    expected = before - MU_B * 100.0 * get_moments(atoms)[:, 2].sum()
    assert calc.get_potential_energy(atoms) == pytest.approx(expected, rel=1e-13)


def test_rotating_field_is_right_handed_and_has_its_period() -> None:
    field = RotatingField(2.0, 0.5, "z")  # 0.5 THz: a turn in 2000 fs
    np.testing.assert_allclose(field(0.0), [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(field(500.0), [0, 2, 0], atol=1e-12)
    np.testing.assert_allclose(field(2000.0), [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(RotatingField(2.0, 0.5, "z", phase=90)(0.0), [0, 2, 0], atol=1e-12)
    tilted = RotatingField(2.0, 0.5, (1, 1, 1))
    assert np.cross(tilted(0.0), tilted(1.0)) @ [1, 1, 1] > 0
    assert np.linalg.norm(tilted(123.0)) == pytest.approx(2.0)


def test_pulse_has_its_height_width_and_carrier() -> None:
    pulse = PulsedField((0, 0, 4.0), center=300.0, width=100.0)
    np.testing.assert_allclose(pulse(300.0), [0, 0, 4.0])
    np.testing.assert_allclose([pulse(250.0)[2], pulse(350.0)[2]], 2.0)
    assert pulse(0.0)[2] < 1e-9
    carrier = PulsedField((0, 0, 4.0), center=300.0, width=1e9, frequency=2.0)  # half a period: 250 fs
    np.testing.assert_allclose(carrier(550.0), [0, 0, -4.0], rtol=1e-6)


def test_results_are_kept_while_the_field_stays_and_dropped_when_it_changes(atoms: Atoms) -> None:
    calc = ZeemanField(inner(), FIELD)
    first = calc.get_potential_energy(atoms)
    calls = _count(calc.calculator)
    calc.set_time(55.0)
    assert calc.get_potential_energy(atoms) == first
    calc.set_field((0, 0, 0))
    assert calc.get_potential_energy(atoms) == pytest.approx(inner().get_potential_energy(atoms), rel=1e-14)
    assert calls == []  # the inner calculator still had its result: another field costs nothing
    atoms.positions[0] += 0.1
    calc.get_potential_energy(atoms)
    assert len(calls) == 1


def test_results_of_the_inner_calculator_are_left_alone(atoms: Atoms) -> None:
    calculator = inner()
    before = calculator.get_property("magnetic_forces", atoms).copy()
    ZeemanField(calculator, FIELD).get_property("magnetic_forces", atoms)
    np.testing.assert_array_equal(calculator.results["magnetic_forces"], before)


def test_many_structures_and_hessian_pass_through(nio: Atoms, rng: np.random.Generator) -> None:
    network = DeepSpin("nio")
    calc = ZeemanField(network, FIELD)
    structures = []
    for _ in range(3):
        structures.append(nio.copy())
        set_moments(structures[-1], get_moments(nio) + 0.2 * rng.normal(size=(4, 3)))
    for atoms, found in zip(structures, calc.evaluate_many(structures), strict=True):
        assert found["energy"] == pytest.approx(calc.get_property("energy", atoms), abs=1e-9)
        np.testing.assert_allclose(found["magnetic_forces"], calc.get_property("magnetic_forces", atoms), atol=1e-9)
        np.testing.assert_allclose(found["magnetic_torques"], np.cross(get_moments(atoms), found["magnetic_forces"]))
    np.testing.assert_array_equal(calc.get_hessian(nio, kind="moments"), network.get_hessian(nio, kind="moments"))


def test_many_structures_without_a_batching_calculator(atoms: Atoms) -> None:
    calc = ZeemanField(inner(), FIELD)
    other = atoms.copy()
    set_moments(other, -get_moments(atoms))
    energies = [found["energy"] for found in calc.evaluate_many([atoms, other])]
    assert energies == [calc.get_potential_energy(atoms), calc.get_potential_energy(other)]
    assert not hasattr(calc, "get_hessian")


def test_can_be_pickled(atoms: Atoms) -> None:
    calc = pickle.loads(pickle.dumps(ZeemanField(inner(), RotatingField(2.0, 0.5))))
    calc.set_time(500.0)
    np.testing.assert_allclose(calc.field, [0, 2, 0], atol=1e-12)


def test_calculators_without_magnetic_forces_and_wrong_fields_are_refused(spring: type[Calculator]) -> None:
    with pytest.raises(InputError, match="EMT gives no magnetic_forces"):
        ZeemanField(EMT(), FIELD)
    for wrong in ((1.0, 2.0), 5.0, (np.nan, 0, 0), lambda t: (t, t)):
        with pytest.raises(InputError, match="field"):
            ZeemanField(spring(), wrong)
    with pytest.raises(InputError, match="width"):
        PulsedField((0, 0, 1), center=0, width=0)


def test_torques_are_added_where_the_calculator_has_none(bcc_fe: Atoms, spring: type[Calculator]) -> None:
    set_moments(bcc_fe, [[1.0, 0, 0], [0, 1.0, 0]])
    calc = ZeemanField(spring(), FIELD)
    force = calc.get_property("magnetic_forces", bcc_fe)
    np.testing.assert_allclose(calc.get_property("magnetic_torques", bcc_fe), np.cross(get_moments(bcc_fe), force))


def _count(calculator: Heisenberg) -> list[None]:
    """Note every calculation from here on."""
    calls: list[None] = []
    original = calculator.calculate

    def counted(*arguments: object, **options: object) -> None:
        calls.append(None)
        original(*arguments, **options)

    calculator.calculate = counted
    return calls
