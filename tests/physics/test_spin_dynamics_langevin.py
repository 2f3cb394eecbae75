"""Langevin spin dynamics samples Boltzmann's distribution: exact laws and an independent Monte Carlo."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from scipy.special import erfi
from scipy.stats import kstest

from deepspin_ase import Heisenberg, HeisenbergModel, ferromagnet, get_moments, random_directions, set_moments
from deepspin_ase.heisenberg import uniaxial
from deepspin_ase.quantities import GAMMA, HBAR, K_B, MU_B
from deepspin_plugins.spin_dynamics import (
    ImplicitMidpoint,
    RescaledTemperature,
    SpinDynamics,
    bilinear_spin_temperature,
    spin_temperature,
)
from deepspin_plugins.spin_dynamics.coloured import ColouredNoise, spectrum
from deepspin_plugins.spin_dynamics.integrators import INTEGRATORS

logger = logging.getLogger(__name__)

MRY = 13.605693e-3 * 2  # eV per mRy, and a factor of two because UppASD counts both orders without ½


def langevin(x):
    return 1 / np.tanh(x) - 1 / x


def free_spins(symbols: str, magnitudes, **terms) -> Atoms:
    """Atoms without exchange in random directions."""
    atoms = Atoms(symbols, positions=np.random.default_rng(0).random((len(Atoms(symbols)), 3)) * 500)
    set_moments(atoms, random_directions(atoms, magnitudes, rng=5))
    atoms.calc = Heisenberg(**terms)
    return atoms


def sample(dynamics: SpinDynamics, quantity, steps: int, interval: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a quantity along a run, and its standard error from 20 blocks."""
    values = []
    dynamics.attach(lambda: values.append(quantity()), interval)
    dynamics.run(steps)
    blocks = np.array([np.mean(block, axis=0) for block in np.array_split(np.array(values), 20)])
    return blocks.mean(axis=0), blocks.std(axis=0, ddof=1) / np.sqrt(20)


@pytest.mark.parametrize("name", sorted(INTEGRATORS))
def test_paramagnet_follows_the_langevin_function_for_two_species(name):
    temperature, tesla = 60.0, 90.0
    moment = {"Fe": 3.0, "Ni": 0.6}
    atoms = free_spins("Fe500Ni500", moment, field=(0, 0, tesla))
    iron = np.asarray(atoms.symbols == "Fe")
    integrator = ImplicitMidpoint(tolerance=1e-8) if name == "implicit-midpoint" else name
    dynamics = SpinDynamics(atoms, 1 * units.fs, integrator=integrator, damping=0.5, temperature=temperature, rng=1)
    dynamics.run(600)

    def cosines():
        z = get_moments(atoms)[:, 2]
        return np.array([z[iron].mean() / 3.0, z[~iron].mean() / 0.6])

    mean, error = sample(dynamics, cosines, 4000, 20)
    exact = np.array([langevin(m * MU_B * tesla / (K_B * temperature)) for m in moment.values()])
    assert np.all(error < 0.01)
    assert np.all(np.abs(mean - exact) < 4 * error + 0.002)


def test_uniaxial_anisotropy_gives_the_boltzmann_distribution_of_angles():
    temperature = 60.0
    ratio = 2.5  # K / k_B T
    atoms = free_spins("Co3000", 1.7, anisotropy={"Co": uniaxial(ratio * K_B * temperature, "z")})
    SpinDynamics(atoms, 2 * units.fs, damping=0.5, temperature=temperature, rng=2).run(600)
    cosine = get_moments(atoms)[:, 2] / 1.7

    def distribution(u):
        return 0.5 * (1 + erfi(np.sqrt(ratio) * u) / erfi(np.sqrt(ratio)))

    assert kstest(cosine, distribution).pvalue > 0.01
    assert kstest(cosine, lambda u: 0.5 * (1 + u)).pvalue < 1e-12  # the test can tell
    azimuth = np.arctan2(*get_moments(atoms)[:, 1::-1].T)
    assert kstest(azimuth, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 0.01


def test_two_species_of_an_alloy_reach_the_same_temperature():
    """The noise scales with 1/√|m|, atom by atom; without that Ni would be hotter by the ratio of the moments."""
    alloy = bulk("Fe", a=2.8665, cubic=True).repeat(5)
    alloy.symbols[1::2] = "Ni"
    set_moments(alloy, ferromagnet(alloy, {"Fe": 3.0, "Ni": 0.6}))
    alloy.calc = Heisenberg(HeisenbergModel.from_shells(alloy, [0.015, 0.005]))
    iron = np.asarray(alloy.symbols == "Fe")
    dynamics = SpinDynamics(alloy, 0.4 * units.fs, damping=1.0, temperature=200, rng=3)
    dynamics.run(1000)
    mean, error = sample(
        dynamics,
        lambda: [spin_temperature(alloy, select=iron), spin_temperature(alloy, select=~iron)],
        6000,
        20,
    )
    assert np.all(error < 5)
    assert np.all(np.abs(mean - 200) < 4 * error)


def test_spin_temperature_of_a_random_probe_equals_the_exact_one(rng):
    """A calculator that is no Heisenberg gets its Laplacian from second differences."""

    class Anonymous(Heisenberg):
        """Not recognised as a spin model."""

    cell = bulk("Fe", a=2.8665, cubic=True)
    model = HeisenbergModel.from_shells(
        cell, [0.03], dmi=[0.003], anisotropy=uniaxial(4e-3, (1, 2, 0)), magnitudes=2.2, field=(0, 0, 40)
    )
    atoms = cell.repeat(4)
    directions = np.array([0, 0, 1.0]) + 0.4 * rng.standard_normal((len(atoms), 3))
    set_moments(atoms, 2.2 * directions / np.linalg.norm(directions, axis=1, keepdims=True))
    atoms.calc = Heisenberg(model)
    exact = spin_temperature(atoms)
    before = get_moments(atoms)
    atoms.calc = Anonymous(model)
    probed = [spin_temperature(atoms, probes=20, rng=k) for k in range(20)]
    error = np.std(probed, ddof=1) / np.sqrt(20)
    assert error < 0.02 * exact
    assert np.mean(probed) == pytest.approx(exact, abs=4 * error)
    np.testing.assert_array_equal(get_moments(atoms), before)


def test_bilinear_formula_agrees_where_it_holds(rng):
    atoms = free_spins("Fe50", 2.0, field=(0, 0, 100.0))
    exact = spin_temperature(atoms)
    assert bilinear_spin_temperature(get_moments(atoms), atoms.calc.get_magnetic_forces(atoms)) == pytest.approx(exact)


def test_rescaled_temperature_is_that_of_the_formula():
    iron = RescaledTemperature(curie_temperature=1049.0, exponent=2.876)
    assert iron.classical(300.0) == pytest.approx(1049 * (300 / 1049) ** 2.876)
    assert iron.classical(1200.0) == 1200.0
    temperature = 500.0
    atoms = free_spins("Fe2000", 2.0, field=(0, 0, 100.0))
    dynamics = SpinDynamics(atoms, 2 * units.fs, damping=0.5, temperature=temperature, statistics=iron, rng=4)
    dynamics.run(300)
    mean, error = sample(dynamics, lambda: get_moments(atoms)[:, 2].mean() / 2.0, 1500, 15)
    exact = langevin(2.0 * MU_B * 100 / (K_B * iron.classical(temperature)))
    assert abs(mean - exact) < 4 * error + 0.001


def test_coloured_noise_has_plancks_spectrum():
    x = np.linspace(0.01, 15, 400)
    planck = x / np.expm1(x)
    np.testing.assert_allclose(spectrum(x), planck, atol=0.012)
    # the stream itself, by periodogram: 400 independent series
    temperature, timestep, length = 300.0, 2.0 * units.fs, 2048
    reduced = K_B * temperature / HBAR * 2e-15
    noise, rng = ColouredNoise(400), np.random.default_rng(1)
    series = np.array([noise.step(rng, temperature, timestep)[:, 0] for _ in range(length)])
    power = (np.abs(np.fft.rfft(series, axis=0)) ** 2 / length).mean(axis=1)
    frequency = 2 * np.pi * np.fft.rfftfreq(length) / reduced
    for low, high in ((0.1, 0.5), (0.5, 1.5), (2, 3), (4, 5), (7, 9)):
        chosen = (frequency > low) & (frequency < high)
        expected = (frequency[chosen] / np.expm1(frequency[chosen])).mean()
        assert power[chosen].mean() == pytest.approx(expected, abs=0.02)


def test_coloured_noise_freezes_a_stiff_mode_as_bose_says():
    """A spin in a strong field is a damped oscillator: its excitation is the classical one times S over its line."""
    temperature, tesla, moment, damping = 20.0, 60.0, 40.0, 0.1
    atoms = free_spins("Gd400", moment, field=(0, 0, tesla))
    set_moments(atoms, ferromagnet(atoms, moment))
    dynamics = SpinDynamics(
        atoms, 20 * units.fs, damping=damping, temperature=temperature, statistics="coloured", rng=6
    )
    dynamics.run(400)
    mean, error = sample(dynamics, lambda: 1 - get_moments(atoms)[:, 2].mean() / moment, 4000, 10)
    classical = K_B * temperature / (moment * MU_B * tesla)
    centre = HBAR * GAMMA * tesla / (1 + damping**2) / (K_B * temperature)
    x = np.linspace(-400, 400, 400_001)
    line = damping * centre / np.pi / ((x - centre) ** 2 + (damping * centre) ** 2)
    expected = classical * np.trapezoid(spectrum(x) * line, x)
    assert mean < 0.15 * classical
    assert error < 0.02 * expected
    assert mean == pytest.approx(expected, abs=4 * error + 0.01 * expected)


def iron_four_shells(cells: int) -> tuple[Atoms, HeisenbergModel]:
    """bcc Fe, exchange of UppASD's example: 4 shells, 2.23 µB."""
    cell = bulk("Fe", a=2.8665, cubic=True)
    exchange = MRY * np.array([1.33767484769984, 0.75703576545650, -0.05975437643846, -0.08819834160658])
    model = HeisenbergModel.from_shells(cell, list(exchange), magnitudes=2.23)
    atoms = cell.repeat(cells)
    set_moments(atoms, ferromagnet(atoms, 2.23))
    atoms.calc = Heisenberg(model)
    return atoms, model.on(atoms)


def metropolis(model: HeisenbergModel, temperature: float, sweeps: int, warm_up: int) -> np.ndarray:
    """|Σ e|/n after each sweep, by an independent Metropolis algorithm."""
    numba = pytest.importorskip("numba")

    @numba.njit
    def run(pointers, neighbours, couplings, beta, sweeps, warm_up, seed):
        np.random.seed(seed)  # noqa: NPY002 (numba's own generator)
        n = len(pointers) - 1
        e = np.zeros((n, 3))
        e[:, 2] = 1.0
        result = np.empty(sweeps)
        for sweep in range(warm_up + sweeps):
            for i in range(n):
                h0 = h1 = h2 = 0.0
                for b in range(pointers[i], pointers[i + 1]):
                    j = neighbours[b]
                    h0 += couplings[b] * e[j, 0]
                    h1 += couplings[b] * e[j, 1]
                    h2 += couplings[b] * e[j, 2]
                x = e[i, 0] + 0.6 * np.random.standard_normal()  # noqa: NPY002
                y = e[i, 1] + 0.6 * np.random.standard_normal()  # noqa: NPY002
                z = e[i, 2] + 0.6 * np.random.standard_normal()  # noqa: NPY002
                length = np.sqrt(x * x + y * y + z * z)
                x, y, z = x / length, y / length, z / length
                gain = (x - e[i, 0]) * h0 + (y - e[i, 1]) * h1 + (z - e[i, 2]) * h2
                if np.random.random() < np.exp(beta * gain):  # noqa: NPY002
                    e[i, 0], e[i, 1], e[i, 2] = x, y, z
            if sweep >= warm_up:
                result[sweep - warm_up] = np.sqrt((e.sum(axis=0) ** 2).sum()) / n
        return result

    bonds = model.bonds
    pointers = np.searchsorted(bonds.i, np.arange(len(model) + 1))
    return run(pointers, bonds.j, bonds.tensor[:, 0, 0].copy(), 1 / (K_B * temperature), sweeps, warm_up, 11)


def compare_with_monte_carlo(cells: int, steps: int, sweeps: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean |m| (µB) and standard errors of both methods at 500 K."""
    atoms, model = iron_four_shells(cells)
    blocks = metropolis(model, 500.0, sweeps, sweeps // 10).reshape(20, -1).mean(axis=1) * 2.23
    dynamics = SpinDynamics(atoms, 0.25 * units.fs, damping=0.5, temperature=500.0, rng=8)
    dynamics.run(steps // 10)
    mean, error = sample(dynamics, lambda: np.linalg.norm(get_moments(atoms).mean(axis=0)), steps, 20)
    return np.array([float(mean), blocks.mean()]), np.array([error, blocks.std(ddof=1) / np.sqrt(20)])


def test_langevin_dynamics_and_monte_carlo_agree_for_a_small_magnet():
    mean, error = compare_with_monte_carlo(2, 15_000, 20_000)
    assert np.all(error < 0.02)
    assert abs(mean[0] - mean[1]) < 4 * np.hypot(*error)


@pytest.mark.slow
def test_magnetisation_of_iron_at_500_kelvin():
    mean, error = compare_with_monte_carlo(6, 200_000, 60_000)
    logger.info("<m>(500 K): Langevin %.4f ± %.4f µB, Monte Carlo %.4f ± %.4f µB", mean[0], error[0], mean[1], error[1])
    assert np.all(error < 0.0015)
    assert abs(mean[0] - mean[1]) < 3 * np.hypot(*error)
    assert np.all(np.abs(mean - 1.7685) < 0.0015 + 3 * error)
