"""Gilbert's equation: exact solutions, directions and factors, orders of the integrators, conservation laws."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from deepspin_ase import Heisenberg, HeisenbergModel, get_moments, random_directions, set_moments
from deepspin_ase.heisenberg import uniaxial
from deepspin_ase.quantities import GAMMA, MU_B
from deepspin_plugins.spin_dynamics import ModelField, SpinDynamics
from deepspin_plugins.spin_dynamics.constants import PRECESSION
from deepspin_plugins.spin_dynamics.integrators import INTEGRATORS
from deepspin_plugins.spin_dynamics.llg import normalised

logger = logging.getLogger(__name__)

NAMES = sorted(INTEGRATORS)
TESLA = 10.0
RATE = GAMMA * TESLA * 1e-15 / units.fs  # γB, rad per ASE unit of time, straight from the conventions


def single_spin(start=(2.0, 0, 0)) -> Atoms:
    atoms = Atoms("Fe", positions=[[0, 0, 0]])
    set_moments(atoms, [start])
    atoms.calc = Heisenberg(field=(0, 0, TESLA))
    return atoms


def exact_single_spin(damping: float, time: float) -> np.ndarray:
    """Solution from +x in a field along z."""
    angle = RATE * time / (1 + damping**2)
    z = np.tanh(damping * angle)
    return np.array([np.cos(angle) * np.sqrt(1 - z**2), np.sin(angle) * np.sqrt(1 - z**2), z])


@pytest.mark.parametrize(("name", "steps"), [("depondt-mertens", 60_000), ("implicit-midpoint", 32_000)])
def test_damped_single_spin_is_exact_to_1e_6_after_ten_periods(name, steps):
    damping, time = 0.05, 10 * 2 * np.pi / RATE
    atoms = single_spin()
    field = ModelField(atoms.calc.to_model(atoms))
    integrator, e = INTEGRATORS[name](), np.array([[1.0, 0, 0]])
    for _ in range(steps):
        e = integrator.step(e, field, time / steps, damping=damping)
    np.testing.assert_allclose(e[0], exact_single_spin(damping, time), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_precession_is_right_handed_and_slower_by_one_plus_alpha_squared(name, damping):
    atoms = single_spin()
    steps, time = 400, 0.25 * 2 * np.pi / RATE
    dynamics = SpinDynamics(atoms, time / steps, integrator=name, damping=damping)
    dynamics.run(steps)
    m = get_moments(atoms)[0]
    expected = 2.0 * exact_single_spin(damping, time)
    np.testing.assert_allclose(m, expected, atol=2e-5)
    assert m[1] > 1.0  # from +x towards +y
    assert (m[2] > 0.1) == (damping > 0)  # towards the field
    azimuth = np.arctan2(m[1], m[0])
    assert azimuth == pytest.approx(0.5 * np.pi / (1 + damping**2), abs=2e-5)


def test_one_mev_per_bohr_magneton_is_3_042_rad_per_ps():
    assert 1e-3 * PRECESSION * 1e3 * units.fs == pytest.approx(3.042, abs=5e-4)
    assert PRECESSION * MU_B * units.fs == pytest.approx(GAMMA * 1e-15, rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_order_two_for_interacting_damped_spins_with_anisotropy(name, rng):
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(2)
    set_moments(atoms, random_directions(atoms, np.linspace(1.0, 2.5, 16), rng=1))
    model = HeisenbergModel.from_shells(
        atoms, [0.02], dmi=[0.004], anisotropy=uniaxial(3e-3, (1, 1, 0)), field=(0, 9, 0)
    )
    field = ModelField(model)
    damping = np.linspace(0.0, 0.4, 16)
    noise = 0.01 * rng.standard_normal((16, 3))  # a constant random force must not spoil the order
    start = normalised(get_moments(atoms))

    def final(steps):
        e, integrator = start, INTEGRATORS[name]()
        for _ in range(steps):
            e = integrator.step(e, field, 20 * units.fs / steps, damping=damping, noise=noise)
        return e

    reference = final(6400)
    errors = [np.abs(final(steps) - reference).max() for steps in (200, 400, 800)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.15)
    assert errors[-1] < 2e-4


def two_spins(angle: float, j: float = 0.02, magnitude: float = 2.0) -> Atoms:
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [2.5, 0, 0]])
    set_moments(atoms, magnitude * np.array([[np.sin(angle), 0, np.cos(angle)], [-np.sin(angle), 0, np.cos(angle)]]))
    atoms.calc = Heisenberg(HeisenbergModel.from_shells(atoms, [j]))
    return atoms


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("angle", [0.3, 1.2])
def test_two_spins_turn_about_their_sum_at_the_exact_rate(name, angle):
    j, magnitude = 0.02, 2.0
    atoms = two_spins(angle, j, magnitude)
    total = get_moments(atoms).sum(axis=0)
    # (γ J / (|m| µB)) |e1 + e2|, straight from the conventions
    rate = GAMMA * 1e-15 / units.fs * j / (magnitude * MU_B) * 2 * np.cos(angle)
    steps = 3000
    dynamics = SpinDynamics(atoms, 2 * np.pi / rate / steps, integrator=name)
    turned = [0.0]

    def follow():
        m = get_moments(atoms)[0]
        azimuth = np.arctan2(m[1], m[0])
        turned.append(turned[-1] + (azimuth - turned[-1] + np.pi) % (2 * np.pi) - np.pi)

    dynamics.attach(follow)
    dynamics.run(2 * steps)
    measured = turned[-1] / dynamics.get_time()
    assert measured == pytest.approx(rate, rel=1e-5)
    exactly = name == "implicit-midpoint"
    np.testing.assert_allclose(get_moments(atoms).sum(axis=0), total, atol=1e-10 if exactly else 1e-5)
    energy = atoms.get_potential_energy()
    assert energy == pytest.approx(-j * np.cos(2 * angle), abs=1e-12 if exactly else 1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_lengths_stay_to_round_off_and_moments_of_zero_stay_zero(name, rng):
    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True)
    magnitudes = np.where(atoms.symbols == "Ni", [1.7, 0, 1.1, 0, 1.3, 0, 0.4, 0], 0.0)
    set_moments(atoms, random_directions(atoms, magnitudes, rng=rng))
    atoms.calc = Heisenberg(HeisenbergModel.from_shells(atoms, [0.01, -0.01], field=(0, 0, 50)))
    SpinDynamics(atoms, 0.2 * units.fs, integrator=name, damping=0.1, temperature=50, rng=3).run(300)
    length = np.linalg.norm(get_moments(atoms), axis=1)
    np.testing.assert_allclose(length, magnitudes, rtol=5e-16, atol=0)


def test_damping_by_species_moves_only_those_species(rng):
    atoms = Atoms("FeCo", positions=[[0, 0, 0], [9, 0, 0]])
    set_moments(atoms, [[2.0, 0, 0], [1.5, 0, 0]])
    atoms.calc = Heisenberg(field=(0, 0, 100.0))
    SpinDynamics(atoms, 1.0 * units.fs, damping={"Fe": 0.2, "Co": 0.0}).run(500)
    m = get_moments(atoms)
    assert m[0, 2] > 0.5
    assert abs(m[1, 2]) < 1e-12


def crystal(cells: int) -> Atoms:
    """bcc Fe of 2 cells³ atoms with thermal disorder of about 300 K."""
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(cells)
    rng = np.random.default_rng(7)
    set_moments(atoms, 2.2 * normalised(np.array([0, 0, 1.0]) + 0.35 * rng.standard_normal((len(atoms), 3))))
    model = HeisenbergModel.from_shells(bulk("Fe", a=2.8665, cubic=True), [0.0364, 0.0206], magnitudes=2.2)
    atoms.calc = Heisenberg(model)
    return atoms


def run_without_damping(cells: int, steps: int, samples: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Energies per atom (eV) at equal intervals, the change of Σ m (µB), and the times (ps)."""
    atoms = crystal(cells)
    total = get_moments(atoms).sum(axis=0)
    dynamics = SpinDynamics(atoms, 0.2 * units.fs, integrator="implicit-midpoint")
    energies, times = [], []
    interval = steps // samples
    dynamics.attach(lambda: energies.append(atoms.get_potential_energy() / len(atoms)), interval)
    dynamics.attach(lambda: times.append(dynamics.get_time() / units.fs / 1e3), interval)
    dynamics.run(steps)
    return np.array(energies), float(np.abs(get_moments(atoms).sum(axis=0) - total).max()), np.array(times)


def check_no_drift(energies: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Slope of the energy with its standard error (eV/atom/ps); the slope must vanish within three errors."""
    blocks = np.array_split(np.arange(1, len(times)), 10)
    t = np.array([times[b].mean() for b in blocks])
    e = np.array([energies[b].mean() for b in blocks])
    coefficients, covariance = np.polyfit(t, e - e[0], 1, cov=True)
    slope, error = coefficients[0], np.sqrt(covariance[0, 0])
    assert abs(slope) < 3.5 * error + 1e-13
    return slope, error


def test_implicit_midpoint_without_damping_keeps_energy_and_total_moment():
    energies, change, times = run_without_damping(3, 3000, 300)
    check_no_drift(energies, times)
    assert np.ptp(energies) < 2e-5
    assert change < 1e-9


@pytest.mark.slow
def test_implicit_midpoint_keeps_1000_spins_for_100_000_steps():
    energies, change, times = run_without_damping(8, 100_000, 1000)
    slope, error = check_no_drift(energies, times)
    logger.info("slope %.1e ± %.1e eV/atom/ps, range %.1e eV/atom", slope, error, np.ptp(energies))
    logger.info("total moment changed by %.1e µB of %.0f", change, 2.2 * 1024)
    assert abs(slope) < 1e-7
    assert np.ptp(energies) < 2e-5
    assert change < 1e-7


def test_other_integrators_drift_where_the_implicit_one_does_not():
    """The check above can fail: Heun's energy climbs in the same run."""
    ranges = {}
    for name in ("heun", "implicit-midpoint"):
        atoms = crystal(3)
        first = atoms.get_potential_energy()
        SpinDynamics(atoms, 0.5 * units.fs, integrator=name).run(90)
        ranges[name] = abs(atoms.get_potential_energy() - first) / len(atoms)
    assert ranges["heun"] > 20 * ranges["implicit-midpoint"]
