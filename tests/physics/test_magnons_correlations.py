"""Intensities, thermodynamics and ordering temperatures of spin waves against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import create_units
from scipy.special import zeta

from deepspin_ase.heisenberg import HeisenbergModel, dm_tensor, uniaxial
from deepspin_ase.moments import spiral
from deepspin_ase.quantities import K_B
from deepspin_plugins.magnons import (
    SpinWaves,
    SpiralWaves,
    density_of_states,
    form_factor,
    magnon_thermodynamics,
    ordering_temperatures,
    powder_average,
    spin_correlations,
    spin_wave_velocity,
    stiffness_tensor,
)

A = 2.5
KT = 1e3 * K_B  # meV/K
RYDBERG = create_units("2018")["Rydberg"]


def cubic_ferromagnet(s: float = 1.0, j: float = 10.0, gap: float = 0.0) -> SpinWaves:
    atoms = Atoms("Fe", cell=A * np.eye(3), pbc=True)
    model = HeisenbergModel.from_shells(
        atoms, [1e-3 * j * s**2], magnitudes=2 * s, anisotropy=uniaxial(1e-3 * gap * s / 2)
    )
    return SpinWaves.from_model(model, [1.0])


def cubic_antiferromagnet(s: float = 0.5, j: float = 10.0) -> SpinWaves:
    atoms = Atoms(
        "Fe2", cell=A * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), positions=[[0, 0, 0], [A, 0, 0]], pbc=True
    )
    return SpinWaves.from_model(HeisenbergModel.from_shells(atoms, [-1e-3 * j * s**2], magnitudes=2 * s), [1.0, -1.0])


def cartesian(waves: SpinWaves, q: np.ndarray) -> np.ndarray:
    return q @ (2 * np.pi * np.linalg.inv(waves.cell).T)


def test_ferromagnet_scatters_s_half_per_transverse_direction(rng):
    s = 1.7
    found = spin_correlations(cubic_ferromagnet(s), rng.uniform(-2, 2, (10, 3)))
    np.testing.assert_allclose(found.intensity("xx"), s / 2, atol=1e-12)
    np.testing.assert_allclose(found.intensity("yy"), s / 2, atol=1e-12)
    np.testing.assert_allclose(found.intensity("zz"), 0, atol=1e-12)
    unit = found.wavevector / np.linalg.norm(found.wavevector, axis=1, keepdims=True)
    np.testing.assert_allclose(found.intensity("neutron")[:, 0], s / 2 * (1 + unit[:, 2] ** 2), atol=1e-12)


def test_magnons_of_a_ferromagnet_lower_the_spin_along_the_moment():
    """Precession is right-handed, so the chiral part has the sign of -Q·m: S^{xy} - S^{yx} of m along +z."""
    up = spin_correlations(cubic_ferromagnet(1.0), [[0, 0, 0.2]])
    np.testing.assert_allclose(up.tensor[0, 0, 0, 1], -0.5j, atol=1e-12)
    np.testing.assert_allclose(up.intensity("chiral"), 1.0, atol=1e-12)
    np.testing.assert_allclose(spin_correlations(cubic_ferromagnet(1.0), [[0, 0, -0.2]]).intensity("chiral"), -1.0)


@pytest.mark.parametrize("temperature", [0.0, 30.0])
def test_detailed_balance_and_bose_factor(temperature):
    waves = cubic_ferromagnet(gap=0.5)
    found = spin_correlations(waves, [[0.11, 0.02, 0.05]], temperature=temperature)
    if temperature == 0.0:
        assert np.all(found.energies > 0)
        return
    loss, gain = found.intensity("total")[0]
    energy = found.energies[0, 0]
    assert found.energies[0, 1] == pytest.approx(-energy)
    assert gain / loss == pytest.approx(np.exp(-energy / (KT * temperature)))
    assert loss == pytest.approx(1.0 / (1 - np.exp(-energy / (KT * temperature))))


def test_antiferromagnet_has_the_coherence_factor_of_the_textbook(rng):
    """S^{xx}(Q) per site = (S/2) √((1 - γ)/(1 + γ)), summed over modes; it vanishes at Γ."""
    s = 0.5
    waves = cubic_antiferromagnet(s)
    q = rng.uniform(-2, 2, (20, 3))
    found = spin_correlations(waves, q)
    gamma = np.cos(cartesian(waves, q) * A).mean(axis=1)
    expected = s / 2 * np.sqrt((1 - gamma) / (1 + gamma))
    np.testing.assert_allclose(found.intensity("xx").sum(axis=1) / 2, expected, rtol=1e-9)
    assert spin_correlations(waves, [[0, 0, 0]]).intensity("total").max() < 1e-4


def test_spiral_intensities_equal_those_of_its_supercell(rng):
    j, pitch, cells = 10.0, 1 / 6, 6
    chain = Atoms("Fe", cell=[A, 9, 9], pbc=[True, False, False])
    tensor = 1e-3 * j * (np.eye(3) + dm_tensor([0, 0, np.tan(2 * np.pi * pitch)]))
    model = HeisenbergModel.from_bonds(chain, [(0, 0, (1, 0, 0), tensor)], magnitudes=2.0, anisotropy=uniaxial(-2e-3))
    rotating = SpiralWaves.from_spiral(model, [[1.0, 0, 0]], (pitch, 0, 0), "z")
    big = chain.repeat((cells, 1, 1))
    explicit = SpinWaves.from_model(
        model.repeat((cells, 1, 1)), spiral(big, 2.0, q=(pitch, 0, 0), axis="z", cell=chain.cell)
    )
    energy = np.linspace(0, 80, 300)
    for q in rng.uniform(-2, 2, 3):
        for component in ("xx", "zz", "xy", "total", "chiral"):
            one = spin_correlations(rotating, (q, 0, 0)).spectrum(energy, fwhm=1.0, component=component)
            many = spin_correlations(explicit, (q * cells, 0, 0)).spectrum(energy, fwhm=1.0, component=component)
            np.testing.assert_allclose(many.intensity / cells, one.intensity, atol=1e-9)


def test_folding_into_a_supercell_keeps_the_intensity(rng):
    model = HeisenbergModel.from_shells(bulk("Fe", a=2.8665), [0.03, 0.01], magnitudes=2.2)
    q = rng.uniform(-1.5, 1.5, (4, 3))
    small = spin_correlations(SpinWaves.from_model(model, [1.0]), q)
    large = spin_correlations(SpinWaves.from_model(model.repeat((1, 3, 1)), np.ones(3)), q * [1, 3, 1])
    np.testing.assert_allclose(large.intensity("neutron").sum(axis=1) / 3, small.intensity("neutron")[:, 0], rtol=1e-9)
    seen = np.argmax(large.intensity("total"), axis=1)
    np.testing.assert_allclose(large.energies[np.arange(4), seen], small.energies[:, 0], atol=1e-9)


def test_broadening_keeps_the_area():
    found = spin_correlations(cubic_ferromagnet(1.0), [[0.3, 0.1, 0.2]])
    spectrum = found.spectrum(np.linspace(0, 200, 4001), fwhm=2.0, component="total")
    assert np.trapezoid(spectrum.intensity[0], spectrum.energy) == pytest.approx(1.0, rel=1e-6)


def test_form_factor_is_one_at_the_origin_and_falls():
    values = form_factor("Ni", 2, [0.0, 2.0, 4.0])
    assert values[0] == pytest.approx(1.0, abs=2e-3)
    assert 1.0 > values[1] > values[2] > 0.0
    s2 = (4.0 / (4 * np.pi)) ** 2  # Ni2+, International Tables C, 4.4.5
    table = 0.0163 * np.exp(-35.8826 * s2) + 0.3916 * np.exp(-13.2233 * s2) + 0.6052 * np.exp(-4.3388 * s2) - 0.0133
    assert values[2] == pytest.approx(table, rel=1e-6)


def test_form_factor_squared_enters_the_intensity():
    model = HeisenbergModel.from_shells(Atoms("Ni", cell=A * np.eye(3), pbc=True), [0.01], magnitudes=2.0)
    waves = SpinWaves.from_model(model, [1.0])
    q = [[1.3, 0.2, 0.0]]
    bare, full = spin_correlations(waves, q), spin_correlations(waves, q, ions={"Ni": 2})
    factor = form_factor("Ni", 2, np.linalg.norm(bare.wavevector))
    np.testing.assert_allclose(full.tensor, bare.tensor * factor**2, rtol=1e-12)


def test_powder_average_of_the_sum_rule():
    spectrum = powder_average(
        cubic_ferromagnet(1.0), [0.5, 2.0], np.linspace(0, 150, 600), component="total", directions=300
    )
    np.testing.assert_allclose(np.trapezoid(spectrum.intensity, spectrum.energy, axis=1), 1.0, rtol=2e-3)
    neutron = powder_average(cubic_ferromagnet(1.0), [0.5], np.linspace(0, 150, 600), directions=2000)
    assert np.trapezoid(neutron.intensity[0], neutron.energy) == pytest.approx(2 / 3, rel=5e-3)


def test_density_of_states_counts_the_modes():
    dos = density_of_states(cubic_antiferromagnet(), 16)
    assert np.trapezoid(dos.density, dos.energy) == pytest.approx(2.0, rel=1e-3)
    # at low energy of a linear spectrum: 2 branches · V E²/(2π² c³)
    waves = cubic_antiferromagnet()
    c = spin_wave_velocity(waves)[0]
    dos = density_of_states(waves, 40, fwhm=0.5)
    k = int(np.argmin(np.abs(dos.energy - 6.0)))
    volume = abs(np.linalg.det(waves.cell))
    assert dos.density[k] == pytest.approx(2 * volume * dos.energy[k] ** 2 / (2 * np.pi**2 * c**3), rel=0.1)


def test_stiffness_of_cubic_ferromagnets():
    """D = (1/|m|) Σ_j J_0j x_j²: sc (2/|m|) J a²."""
    found = stiffness_tensor(cubic_ferromagnet(1.5, 10.0))
    np.testing.assert_allclose(found.tensor, 2 / 3.0 * 10.0 * 1.5**2 * A**2 * np.eye(3), rtol=1e-7, atol=1e-5)


def test_stiffness_of_an_anisotropic_cell_with_two_sublattices():
    """hcp cobalt: the acoustic mode of two sublattices against the second derivative in an orthohexagonal supercell."""
    a, c = 2.5, 4.2
    atoms = bulk("Co", "hcp", a=a, c=c)
    model = HeisenbergModel.from_shells(atoms, {1: 0.01, 2: 0.016}, magnitudes=1.6)
    tensor = stiffness_tensor(SpinWaves.from_model(model, [1.0, 1.0])).tensor
    vectors = model.bonds.vectors(model.positions, model.cell)
    # sites are equivalent by inversion, so the uniform second moment is exact
    one = model.bonds.i == 0
    moment = np.einsum("b,ba,bc->ac", 1e3 * model.bonds.tensor[one, 0, 0], vectors[one], vectors[one]) / 1.6
    assert tensor[2, 2] == pytest.approx(moment[2, 2], rel=1e-6)
    assert tensor[0, 0] == pytest.approx(tensor[1, 1], rel=1e-6)
    assert abs(tensor[0, 1]) < 1e-4 * tensor[0, 0]


def test_ferrimagnet_has_a_stiffness_and_an_optical_gap():
    """Chain with S1 > S2, antiferromagnetic: ω± = JS.. [√((S1-S2)² + 4 S1 S2 sin²) ± (S1 - S2)]·2J... exactly."""
    s1, s2, j = 2.0, 1.0, 5.0
    atoms = Atoms("Fe2", cell=[2 * A, 9, 9], positions=[[0, 0, 0], [A, 0, 0]], pbc=[True, False, False])
    model = HeisenbergModel.from_shells(atoms, [-1e-3 * j * s1 * s2], magnitudes=[2 * s1, 2 * s2])
    waves = SpinWaves.from_model(model, [1.0, -1.0])
    q = np.linspace(-0.5, 0.5, 11)
    root = np.sqrt((s1 - s2) ** 2 + 4 * s1 * s2 * np.sin(np.pi * q) ** 2)
    levels = waves.energies(np.column_stack([q, 0 * q, 0 * q]))
    np.testing.assert_allclose(levels, j * np.column_stack([root - (s1 - s2), root + (s1 - s2)]), atol=1e-8)
    expected = j * 2 * s1 * s2 / (s1 - s2) * A**2
    assert stiffness_tensor(waves).tensor[0, 0] == pytest.approx(expected, rel=1e-6)


def test_damping_extrapolates_to_the_undamped_value_within_its_error():
    found = stiffness_tensor(cubic_ferromagnet(1.0), damping=np.linspace(0.02, 0.2, 8))
    assert abs(found.mean - 62.5) < 3 * found.mean_error + 1e-3
    assert found.mean == pytest.approx(62.5, rel=2e-3)


def test_antiferromagnet_has_a_velocity_instead():
    """c = 2JS √z a for the cubic lattice (z = 6: √12 zJS a/…): ħω = zJS √(1 - γ²) → 2√3 J S a q."""
    s, j = 0.5, 10.0
    waves = cubic_antiferromagnet(s, j)
    np.testing.assert_allclose(spin_wave_velocity(waves, (1, 2, 0)), 2 * np.sqrt(3) * j * s * A, rtol=1e-6)
    with pytest.raises(ValueError, match="spin_wave_velocity"):
        stiffness_tensor(waves)


def test_bloch_law_of_moment_and_heat_capacity():
    """ΔS = ζ(3/2) v (kT/4πD)^{3/2}, C = (15/4) ζ(5/2) v (kT/4πD)^{3/2} k_B per site."""
    waves = cubic_ferromagnet(1.0)
    kelvin = np.array([4.0, 6.0])
    found = magnon_thermodynamics(waves, kelvin, 32)
    scale = A**3 * (KT * kelvin / (4 * np.pi * 62.5)) ** 1.5
    # the next term of the series is known, too: a factor 1 + O(kT/J)
    np.testing.assert_allclose((2.0 - found.moments[:, 0]) / 2, zeta(1.5) * scale, rtol=0.06)
    np.testing.assert_allclose(found.heat_capacity, 15 / 4 * zeta(2.5) * scale, rtol=0.06)
    ratio = (2.0 - found.moments[1, 0]) / (2.0 - found.moments[0, 0])
    assert ratio == pytest.approx(1.5**1.5, rel=0.03)


def test_heat_capacity_is_the_slope_of_the_energy():
    found = magnon_thermodynamics(cubic_ferromagnet(gap=1.0), [99.5, 100.0, 100.5], 8)
    assert (found.energy[2] - found.energy[0]) / KT == pytest.approx(found.heat_capacity[1], rel=1e-5)


def test_zero_point_motion_of_the_cubic_antiferromagnet():
    """ΔS = 0.0784 and E = -zJS²/2·(1 + 0.0971/S) per site (Anderson 1952), independent of S."""
    found = magnon_thermodynamics(cubic_antiferromagnet(0.5, 10.0), 0.0, 16)
    np.testing.assert_allclose((1.0 - found.moments) / 2, 0.0784, atol=5e-4)
    per_site = found.zero_point_energy / 2
    assert per_site == pytest.approx(-3 * 10.0 * 0.5 * 0.0971, rel=3e-3)


@pytest.mark.parametrize(
    ("kind", "mean_field", "rpa"), [("sc", 2.0, 1.3189), ("bcc", 8 / 3, 1.9140), ("fcc", 4.0, 2.9747)]
)
def test_ordering_temperatures_of_cubic_lattices(kind, mean_field, rpa):
    cells = {"sc": np.eye(3), "bcc": 0.5 - np.eye(3), "fcc": (1 - np.eye(3)) / 2}
    model = HeisenbergModel.from_shells(Atoms("Fe", cell=A * cells[kind], pbc=True), [0.01], magnitudes=1.3)
    found = ordering_temperatures(model, [1.0], 32)
    assert K_B * found.mean_field / 0.01 == pytest.approx(mean_field, rel=1e-9)
    assert K_B * found.rpa / 0.01 == pytest.approx(rpa, abs=5e-4)
    assert abs(K_B * found.rpa / 0.01 - rpa) < K_B * found.rpa_error / 0.01 + 1e-4


def test_ordering_temperature_of_sublattices_equals_that_of_one(rng):
    atoms = Atoms("Fe", cell=A * np.eye(3), pbc=True)
    ferro = HeisenbergModel.from_shells(atoms, [0.01], magnitudes=1.0)
    one = ordering_temperatures(ferro, [1.0], 32)
    two = ordering_temperatures(ferro.repeat((2, 1, 1)), [1.0, 1.0], 32)
    fcc = Atoms("Fe2", cell=A * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), positions=[[0, 0, 0], [A, 0, 0]], pbc=True)
    anti = ordering_temperatures(HeisenbergModel.from_shells(fcc, [-0.01], magnitudes=1.0), [1.0, -1.0], 32)
    for other in (two, anti):
        assert other.mean_field == pytest.approx(one.mean_field, rel=1e-9)
        assert other.rpa == pytest.approx(one.rpa, rel=2e-3)


PAJDA = {
    "Fe": ("bcc", 2.8665, 2.22, [1.432, 0.815, -0.016, -0.126, -0.146, 0.062, 0.001, 0.015, -0.032, 0.187], 1415, 970),
    "Co": ("fcc", 3.5447, 1.64, [1.085, 0.110, 0.116, -0.090, 0.026, 0.043, -0.024, 0.012, 0.026, 0.006], 1656, 1327),
    "Ni": ("fcc", 3.5241, 0.61, [0.206, 0.006, 0.026, 0.012, 0.003, -0.003, 0.007, -0.001, -0.011, 0.001], 373, 323),
}


@pytest.mark.parametrize("metal", PAJDA)
def test_mean_field_and_rpa_of_the_transition_metals(metal):
    """PRB 64, 174402; both orders counted, mRy. Two shells share a distance; the direction tells them apart."""
    lattice, a, moment, values, mean_field, rpa = PAJDA[metal]
    energies = [2e-3 * RYDBERG * value for value in values]
    shells: dict[int, object] = dict(enumerate(energies[:9], start=1))
    if lattice == "bcc":
        shells[10] = lambda r: np.where(np.ptp(np.abs(r), axis=1) < 1e-3, energies[9], 0.0)
    else:
        shells[9] = lambda r: np.where(np.abs(r).min(axis=1) < 1e-3, energies[8], energies[9])
    model = HeisenbergModel.from_shells(bulk(metal, lattice, a=a), shells, magnitudes=moment)
    found = ordering_temperatures(model, [1.0], 40)
    assert found.mean_field == pytest.approx(mean_field, rel=6e-3)
    assert found.rpa == pytest.approx(rpa, rel=2.5e-2)


def test_stiffness_of_iron_with_damping_meets_experiment_within_its_error():
    """Experiment: 280 to 330 meV Å²; undamped the tenth shell alone contributes as much, and the error says so."""
    _, a, moment, values, _, _ = PAJDA["Fe"]
    shells: dict[int, object] = {n: 2e-3 * RYDBERG * v for n, v in enumerate(values[:9], start=1)}
    last = 2e-3 * RYDBERG * values[9]
    shells[10] = lambda r: np.where(np.ptp(np.abs(r), axis=1) < 1e-3, last, 0.0)
    waves = SpinWaves.from_model(HeisenbergModel.from_shells(bulk("Fe", a=a), shells, magnitudes=moment), [1.0])
    bare, damped = stiffness_tensor(waves), stiffness_tensor(waves, damping=np.linspace(0.1, 0.6, 8))
    assert bare.mean_error > 0.5 * bare.mean
    assert 280 - damped.mean_error < damped.mean < 330 + damped.mean_error
    assert damped.mean_error < 40
