"""The Monte Carlo engine against exact results: every sampler, every term of the energy, temperature by temperature."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import create_units
from scipy.integrate import quad

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Bonds, HeisenbergModel, dm_tensor, uniaxial
from deepspin_ase.quantities import K_B, MU_B
from deepspin_plugins.curie.monte_carlo import MonteCarlo
from deepspin_plugins.curie.moves import Moves
from deepspin_plugins.curie.series import Series

J = 0.02  # eV
KELVIN = J / K_B
RYDBERG = create_units("2018")["Rydberg"]
SAMPLERS = {
    "heat bath": Moves(heat_bath=1),
    "metropolis": Moves(metropolis=2),
    "overrelaxation": Moves(heat_bath=1, overrelaxation=2),
    "clusters": Moves(clusters=4),
    "mixed": Moves(heat_bath=1, metropolis=1, overrelaxation=1, clusters=1),
}


def langevin(x):
    return 1.0 / np.tanh(x) - 1.0 / x


def mean_and_error(values, blocks=32):
    """Mean over the last axis and its standard error from block means."""
    length = values.shape[-1] // blocks
    means = values[..., : blocks * length].reshape(*values.shape[:-1], blocks, length).mean(axis=-1)
    return means.mean(axis=-1), means.std(axis=-1, ddof=1) / np.sqrt(blocks)


def sampled(model, repeat, temperatures, sweeps=8000, *, sampler="heat-bath", seed=1, **options) -> Series:
    options = {"tempering": 20} | options
    run = MonteCarlo(model, repeat, temperatures, sampler=sampler, seed=seed, threads=1, **options)
    run.thermalize(sweeps // 10)
    return run.run(sweeps)


def assert_agrees(values, exact, *, sigma=4.5, error_below):
    """Means agree with exact values within errors, and the errors are small enough to say something."""
    mean, error = mean_and_error(values)
    assert np.all(error < error_below), error
    np.testing.assert_array_less(np.abs(mean - exact), sigma * error)


def chain(sites, magnitude=2.0):
    return Atoms(f"Fe{sites}", positions=np.arange(sites)[:, None] * [2.5, 0.0, 0.0], magmoms=[magnitude] * sites)


def cubic(magnitude=2.0):
    atoms = bulk("Po", "sc", a=2.5)
    atoms.set_initial_magnetic_moments([magnitude])
    return atoms


def single(magnitude=2.0):
    """A site without bonds, repeated to many independent spins."""
    return Atoms("Fe", cell=[5, 5, 5], pbc=True, magmoms=[magnitude])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_open_chain_energy_and_heat_capacity_are_exact(sampler):
    # bonds of an open chain are independent: E = -J L(x), C = k (1 - x²/sinh²x) per bond
    bonds = 15
    model = HeisenbergModel.from_shells(chain(bonds + 1), [J])
    temperatures = np.array([0.15, 0.5, 1.5]) * KELVIN
    series = sampled(model, (1, 1, 1), temperatures, sampler=SAMPLERS[sampler], sweeps=24000)
    x = KELVIN / temperatures
    assert_agrees(series.energy / (bonds * J), -langevin(x), error_below=3e-3)
    energy = series.energy / (K_B * temperatures[:, None])
    fluctuation = (energy - energy.mean(axis=1, keepdims=True)) ** 2 / bonds
    assert_agrees(fluctuation, 1.0 - (x / np.sinh(x)) ** 2, error_below=0.05)


@pytest.mark.parametrize("sign", [1, -1])
def test_correlations_along_a_chain_are_powers_of_the_langevin_function(sign):
    # |Σ w_i e_i|² with two weights gives e_0·e_n
    sites = 6
    model = HeisenbergModel.from_shells(chain(sites), [sign * J])
    weights = np.zeros((sites - 1, sites))
    weights[:, 0] = 1.0
    weights[np.arange(sites - 1), np.arange(1, sites)] = 1.0
    series = sampled(model, (1, 1, 1), [0.4 * KELVIN], 40000, sampler=SAMPLERS["overrelaxation"], weights=weights)
    correlation = 2.0 * series.order[0].T ** 2 - 1.0
    assert_agrees(correlation, (sign * langevin(2.5)) ** np.arange(1, sites), error_below=5e-3)


@pytest.mark.parametrize("sampler", ["heat bath", "metropolis", "overrelaxation"])
def test_paramagnet_follows_langevin(sampler):
    magnitude, field, temperatures = 2.2, 300.0, np.array([100.0, 400.0])
    model = HeisenbergModel.from_shells(single(magnitude), {}, field=(0, 0, field))
    series = sampled(model, (10, 10, 10), temperatures, 400, sampler=SAMPLERS[sampler])
    m_z = -series.energy / (1000 * magnitude * MU_B * field)
    assert_agrees(m_z, langevin(magnitude * MU_B * field / (K_B * temperatures)), error_below=3e-3)


def test_moments_of_different_length_feel_the_field_by_length():
    atoms = Atoms("FeCo", positions=[[0, 0, 0], [2, 0, 0]], cell=[5, 5, 5], pbc=True)
    model = HeisenbergModel.from_shells(atoms, {}, magnitudes={"Fe": 3.0, "Co": 1.0}, field=(200.0, 0, 0))
    # ferromagnetic order parameter, and that of either species
    series = sampled(model, (8, 8, 8), [50.0], 1000, weights=[[1, 1], [1, 0], [0, 1]])
    x = MU_B * 200.0 / (K_B * 50.0) * np.array([3.0, 1.0])
    np.testing.assert_allclose(series.saturation, [2.0, 1.5, 0.5])
    expected = [(3 * langevin(x[0]) + langevin(x[1])) / 4, *langevin(x)]
    noise = 1.0 / 512  # the modulus of a vector sum is larger than its mean component by about its variance
    np.testing.assert_allclose(series.order[0].mean(axis=0), expected, atol=1.5 * noise)


@pytest.mark.parametrize("k", [3e-3, -3e-3, 3e-2])
@pytest.mark.parametrize("sampler", ["heat bath", "metropolis", "overrelaxation"])
def test_uniaxial_anisotropy_gives_the_boltzmann_distribution_of_angles(sampler, k):
    temperature = 60.0
    model = HeisenbergModel.from_shells(single(), {}, anisotropy=uniaxial(k, "z"))
    run = MonteCarlo(model, (10, 10, 10), [temperature], sampler=SAMPLERS[sampler], seed=3, threads=1)
    run.thermalize(200)
    cosines = []
    for _ in range(100):
        run.run(5)
        cosines.append(run.moments(0)[:, 2] / 2.0)
    weight = quad(lambda c: np.exp(k * c**2 / (K_B * temperature)), 0, 1)[0]
    edges = np.linspace(0, 1, 11)
    expected = [quad(lambda c: np.exp(k * c**2 / (K_B * temperature)), a, b)[0] / weight for a, b in pairwise(edges)]
    found = np.array([np.histogram(np.abs(c), edges)[0] / len(c) for c in cosines]).T
    assert_agrees(found, expected, error_below=3e-3)
    # both directions of the easy axis are reached
    up = (np.array(cosines) > 0).mean(axis=1)
    assert_agrees(up, 0.5, error_below=0.01)


@pytest.mark.parametrize("temperature", [0.001, 0.01])
def test_heat_capacity_tends_to_one_k_b_per_spin(temperature):
    model = HeisenbergModel.from_shells(cubic(), [J])
    kelvin = temperature * KELVIN
    start = np.array([[0.0, 0.0, 2.0]])
    series = sampled(model, (6, 6, 6), [kelvin], 400, sampler="auto", moments=start)
    # equipartition: two modes of ½ k_B T per spin, less those of the rotation of all spins; a next order of a few T/J
    excitation = (series.energy + 3 * J * 216) / (K_B * kelvin * 216)
    assert_agrees(excitation, 215 / 216, error_below=5e-3, sigma=5 + 1500 * temperature)


def test_tensor_exchange_of_a_dimer():
    # for E = -e1·T·e2 the partition function is ∫ sinh|βTᵀe|/|βTᵀe| over the sphere
    tensor = np.diag([0.02, 0.005, -0.012]) + dm_tensor([0.004, -0.006, 0.01])
    atoms = chain(2)
    model = HeisenbergModel.from_bonds(atoms, [(0, 1, (0, 0, 0), tensor)])
    temperatures = np.array([60.0, 200.0])
    nodes, weights = np.polynomial.legendre.leggauss(60)
    azimuth = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    across = np.sqrt(1 - nodes[:, None] ** 2)
    points = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), nodes[:, None] + 0 * azimuth], axis=-1)
    length = np.linalg.norm(points @ tensor, axis=-1)

    def energy(temperature):
        x = length / (K_B * temperature)
        z = np.sinh(x) / x
        return -np.sum(weights[:, None] * z * length * langevin(x)) / np.sum(weights[:, None] * z)

    exact = np.array([energy(t) for t in temperatures])
    for name in ("heat bath", "metropolis", "overrelaxation"):
        series = sampled(model, (1, 1, 1), temperatures, 40000, sampler=SAMPLERS[name])
        assert_agrees(series.energy / J, exact / J, error_below=6e-3)


@pytest.mark.parametrize("sampler", ["heat bath", "metropolis", "overrelaxation"])
def test_biquadratic_dimer(sampler):
    b = 0.01
    atoms = chain(2)
    model = HeisenbergModel.from_shells(atoms, [J])
    biquadratic = Bonds.from_list([(0, 1, (0, 0, 0), b)])
    temperatures = np.array([100.0, 300.0])
    beta = 1.0 / (K_B * temperatures)

    def mean(t):
        z = quad(lambda c: np.exp(t * (J * c + b * c * c)), -1, 1)[0]
        return quad(lambda c: -(J * c + b * c * c) * np.exp(t * (J * c + b * c * c)), -1, 1)[0] / z

    series = sampled(model, (1, 1, 1), temperatures, 40000, sampler=SAMPLERS[sampler], biquadratic=biquadratic, seed=2)
    assert_agrees(series.energy / J, [mean(t) / J for t in beta], error_below=8e-3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_histograms_of_energy_at_two_temperatures_are_in_detailed_balance(sampler):
    # ln P_1(E)/P_2(E) = -(β1 - β2) E + const: the slope is the difference of the inverse temperatures
    model = HeisenbergModel.from_shells(cubic(), [J])
    temperatures = np.array([1.40, 1.50]) * KELVIN
    series = sampled(model, (4, 4, 4), temperatures, 12000, sampler=SAMPLERS[sampler], tempering=0)
    middle = np.concatenate(series.energy)
    edges = np.linspace(*np.quantile(middle, [0.05, 0.95]), 13)
    centres = (edges[1:] + edges[:-1]) / 2
    slopes = []
    for part in np.array_split(np.arange(12000), 12):
        one, two = (np.histogram(e[part], edges)[0] for e in series.energy)
        weight = np.sqrt(one * two / (one + two + 1e-9))
        slopes.append(np.polyfit(centres, np.log((one + 0.5) / (two + 0.5)), 1, w=weight)[0])
    expected = -(1 / temperatures[0] - 1 / temperatures[1]) / K_B
    error = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
    assert error < 0.1 * abs(expected)
    assert abs(np.mean(slopes) - expected) < 4 * error


def test_samplers_agree_and_tempering_changes_nothing():
    model = HeisenbergModel.from_shells(cubic(), [J, 0.3 * J])
    temperatures = np.array([2.0, 2.4, 2.9]) * KELVIN
    runs = {
        (name, tempering): sampled(model, (4, 4, 4), temperatures, 6000, sampler=moves, tempering=tempering)
        for name, moves in SAMPLERS.items()
        for tempering in (0, 1)
        if tempering == 0 or name in ("heat bath", "mixed")
    }
    for quantity in ("energy", "order"):
        stats = [mean_and_error(getattr(s, quantity).reshape(3, -1)) for s in runs.values()]
        means, errors = (np.array(column) for column in zip(*stats, strict=True))
        best = (means / errors**2).sum(axis=0) / (1 / errors**2).sum(axis=0)
        chi = ((means - best) / errors) ** 2
        assert chi.max() < 4.5**2, (quantity, list(runs), chi)
        assert errors.max() < 0.02 * np.abs(best).max()


def test_order_parameter_of_an_antiferromagnet_is_that_of_the_ferromagnet():
    # on a bipartite lattice J and -J have the same thermodynamics, staggered for uniform
    temperatures = np.array([1.2, 1.5]) * KELVIN
    ferro = sampled(HeisenbergModel.from_shells(cubic(), [J]), (4, 4, 4), temperatures, 6000, sampler="auto")
    anti = sampled(
        HeisenbergModel.from_shells(cubic(), [-J]), (4, 4, 4), temperatures, 6000, sampler="auto",
        wave_vectors=[0.5, 0.5, 0.5], seed=5,
    )  # fmt: skip
    for quantity in ("energy", "order"):
        a, da = mean_and_error(getattr(ferro, quantity).reshape(2, -1))
        b, db = mean_and_error(getattr(anti, quantity).reshape(2, -1))
        assert np.all(np.abs(a - b) < 4.5 * np.hypot(da, db))


def test_fcc_reference_points():
    # 4·12³ sites; e/J and <|m|> at kT/J = 3.15 and 3.18 from an independent heat bath, to about 1e-3
    model = HeisenbergModel.from_shells(bulk("Fe", "fcc", a=3.6, cubic=True), [J], magnitudes=2.0)
    temperatures = np.array([3.15, 3.18]) * KELVIN
    series = sampled(model, (12, 12, 12), temperatures, 700, sampler="auto", moments=[[0, 0, 2.0]] * 4)
    energy, error = mean_and_error(series.energy / (J * 6912), 16)
    assert np.all(error < 0.01)
    assert np.all(np.abs(energy - [-1.59023, -1.51064]) < 4 * error + 1e-3)
    order, error = mean_and_error(series.order[:, :, 0], 16)
    assert np.all(error < 0.008)
    assert np.all(np.abs(order - [0.26273, 0.22125]) < 4 * error + 1e-3)


def test_bcc_iron_with_four_shells_at_500_kelvin():
    # UppASD's example: 2.23 µB, 6³ cubic cells, 1.767-1.770 µB at 500 K; its mRy count both orders without ½
    shells = np.array([1.33767484769984, 0.75703576545650, -0.05975437643846, -0.08819834160658])
    iron = bulk("Fe", a=2.8665, cubic=True)
    model = HeisenbergModel.from_shells(iron, 2e-3 * RYDBERG * shells, magnitudes=2.23)
    series = sampled(
        model, (6, 6, 6), [500.0], 4000, sampler=Moves(heat_bath=1, overrelaxation=4), moments=[[0, 0, 2.23]] * 2
    )
    moment, error = mean_and_error(series.order[0, :, 0] * series.saturation[0])
    assert error < 1e-3
    assert 1.767 - 3 * error - 5e-4 < moment < 1.770 + 3 * error + 5e-4


def test_energies_of_the_series_are_those_of_the_model():
    tensor = 0.01 * np.eye(3) + dm_tensor([0.001, 0.002, -0.003])
    atoms = Atoms("FeCoO", positions=[[0, 0, 0], [1.5, 0, 0], [0, 2, 0]], cell=[3, 4, 5], pbc=True)
    entries = [
        (0, 1, (0, 0, 0), tensor),
        (0, 0, (1, 0, 0), 0.004 * np.eye(3)),
        (1, 1, (0, 1, 1), np.diag([1, 2, 3e-3])),
    ]
    model = HeisenbergModel.from_bonds(
        atoms,
        entries,
        magnitudes={"Fe": 2.0, "Co": 1.0, "O": 0.0},
        anisotropy={"Fe": uniaxial(1e-3, "x"), "Co": np.zeros((3, 3)), "O": np.zeros((3, 3))},
        field=(1.0, 2.0, 30.0),
    )
    # cells of one along an axis: bonds that return to their own site
    for repeat in [(3, 2, 2), (1, 2, 1)]:
        run = MonteCarlo(model, repeat, [50.0, 80.0], sampler="metropolis", threads=1)
        series = run.run(23)
        large = model.repeat(repeat)
        for number in range(2):
            assert series.energy[number, -1] == pytest.approx(run.energy(number), abs=1e-12)
            assert run.energy(number) == pytest.approx(large.energy(run.moments(number)), abs=1e-12)


def test_wolff_is_refused_where_it_is_wrong():
    model = HeisenbergModel.from_shells(cubic(), [J], anisotropy=uniaxial(1e-3, "z"))
    with pytest.raises(InputError, match="isotropic"):
        MonteCarlo(model, (3, 3, 3), [300.0], sampler="wolff")
