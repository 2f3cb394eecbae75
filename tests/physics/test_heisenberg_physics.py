"""The Heisenberg model against closed forms: signs, factors of two, units."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import create_units

from deepspin_ase.heisenberg import Exponential, Heisenberg, HeisenbergModel, uniaxial
from deepspin_ase.moments import cone, ferromagnet, get_moments, random_directions, set_moments, spiral
from deepspin_ase.quantities import K_B, MU_B

RYDBERG = create_units("2018")["Rydberg"]
PAJDA_FE = [1.432, 0.815, -0.016, -0.126, -0.146, 0.062, 0.001, 0.015, -0.032, 0.187]
"""Exchange of bcc Fe by shell, mRy, double-counting convention (PRB 64, 174402)."""


def dimer(angle: float, magnitude: float = 2.0) -> Atoms:
    """Two atoms whose moments include an angle in the xy plane."""
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [2.0, 0, 0]])
    set_moments(atoms, magnitude * np.array([[1, 0, 0], [np.cos(angle), np.sin(angle), 0]]))
    return atoms


def chain_cell() -> Atoms:
    """One site of a chain along x, 2.5 Å."""
    return Atoms("Fe", cell=[2.5, 9, 9], pbc=[True, False, False])


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2, 2.5, np.pi])
def test_two_spins_have_energy_minus_j_cos(angle):
    j, magnitude = 0.02, 2.0
    atoms = dimer(angle, magnitude)
    model = HeisenbergModel.from_shells(atoms, [j])
    calc = Heisenberg(model)
    assert calc.get_potential_energy(atoms) == pytest.approx(-j * np.cos(angle), abs=1e-15)
    # the field is J/|m| times the part of the other spin across the own one
    field = calc.get_magnetic_forces(atoms)
    expected = j / magnitude * np.sin(angle)
    np.testing.assert_allclose(field[0], [0, expected, 0], atol=1e-15)
    # torques turn the two towards each other and cancel
    torque = calc.get_magnetic_torques(atoms)
    np.testing.assert_allclose(torque[0], [0, 0, j * np.sin(angle)], atol=1e-15)
    np.testing.assert_allclose(torque.sum(axis=0), 0, atol=1e-15)


def test_positive_j_is_ferromagnetic():
    model = HeisenbergModel.from_shells(dimer(0.0), [0.02])
    assert model.energy(get_moments(dimer(0.0))) < model.energy(get_moments(dimer(np.pi)))


def test_zeeman_energy_and_units_of_the_field():
    atom = Atoms("Fe", positions=[[0, 0, 0]])
    set_moments(atom, [[0, 1.2, 1.6]])
    field = (0.0, 0.0, 10.0)
    calc = Heisenberg(field=field)
    assert calc.get_potential_energy(atom) == pytest.approx(-1.6 * MU_B * 10.0)
    assert calc.get_potential_energy(atom) == pytest.approx(-1.6 * 5.7883818060e-4, rel=1e-12)
    np.testing.assert_allclose(calc.get_magnetic_forces(atom) / MU_B, [field])
    # B = F^m / µB: 1 meV/µB is 17.276 T
    assert pytest.approx(17.276, abs=1e-3) == 1e-3 / MU_B
    # precession is right-handed about B: the torque on a moment along x in a field along z is along -y
    set_moments(atom, [[2.0, 0, 0]])
    np.testing.assert_allclose(calc.get_magnetic_torques(atom), [[0, -2.0 * MU_B * 10.0, 0]])


def test_uniaxial_anisotropy_energy_and_field():
    k, magnitude, theta = 1e-3, 1.7, 0.4
    atom = Atoms("Co", positions=[[0, 0, 0]])
    set_moments(atom, magnitude * np.array([[np.sin(theta), 0, np.cos(theta)]]))
    calc = Heisenberg(anisotropy={"Co": uniaxial(k, "z")})
    assert calc.get_potential_energy(atom) == pytest.approx(-k * np.cos(theta) ** 2)
    # dE/dθ = K sin 2θ; the torque about y turns z towards x, hence -dE/dθ along +y
    np.testing.assert_allclose(calc.get_magnetic_torques(atom), [[0, -k * np.sin(2 * theta), 0]], atol=1e-18)
    # stiffness about the easy axis: field 2K θ/|m|, which gives the magnon gap (2/|m|)·2K
    small = 1e-5
    set_moments(atom, magnitude * np.array([[np.sin(small), 0, np.cos(small)]]))
    assert calc.get_magnetic_forces(atom)[0, 0] == pytest.approx(-2 * k * small / magnitude, rel=1e-6)


@pytest.mark.parametrize(("turns", "sites"), [(1, 12), (5, 12), (-2, 9)])
def test_energy_of_a_spiral_in_a_chain_with_dmi(turns, sites):
    j, d = 0.010, 0.006
    model = HeisenbergModel.from_shells(chain_cell(), [j], dmi=[d], magnitudes=2.0)  # D along the chain
    chain = chain_cell().repeat((sites, 1, 1))
    q = turns / sites
    moments = spiral(chain, 2.0, (q, 0, 0), axis="x", cell=chain_cell().cell)
    energy = model.repeat((sites, 1, 1)).energy(moments) / sites
    assert energy == pytest.approx(-j * np.cos(2 * np.pi * q) - d * np.sin(2 * np.pi * q))


def test_ground_state_of_the_dmi_chain_has_the_exact_pitch_and_energy():
    sites = 20
    pitch = 2 * np.pi * 3 / sites
    j, d = 0.01 * np.cos(pitch), 0.01 * np.sin(pitch)  # tan(pitch) = D/J fits into the ring
    model = HeisenbergModel.from_shells(chain_cell(), [j], dmi=[d], magnitudes=2.0).repeat((sites, 1, 1))
    chain = chain_cell().repeat((sites, 1, 1))
    energies = {
        n: model.energy(spiral(chain, 2.0, (n / sites, 0, 0), axis="x", cell=chain_cell().cell)) / sites
        for n in range(-10, 10)
    }
    best = min(energies, key=energies.get)
    assert best == 3  # the chirality counts: -3 is not the ground state
    assert energies[best] == pytest.approx(-np.hypot(j, d))
    ground = spiral(chain, 2.0, (3 / sites, 0, 0), axis="x", cell=chain_cell().cell)
    np.testing.assert_allclose(np.cross(ground, model.magnetic_forces(ground)), 0, atol=1e-15)


def test_saturation_field_of_the_dmi_chain():
    """Cone about B along the chain: cos(angle) = µB·m·B/[2(√(J²+D²) - J)], no torque on it."""
    sites, angle, magnitude = 20, 50.0, 2.0
    pitch = 2 * np.pi * 3 / sites
    j, d = 0.01 * np.cos(pitch), 0.01 * np.sin(pitch)
    saturation = 2 * (np.hypot(j, d) - j) / (magnitude * MU_B)
    model = HeisenbergModel.from_shells(
        chain_cell(),
        [j],
        dmi=[d],
        magnitudes=magnitude,
        field=(saturation * np.cos(np.deg2rad(angle)), 0, 0),
    ).repeat((sites, 1, 1))
    chain = model.to_atoms()
    moments = cone(chain, magnitude, (3 / sites, 0, 0), angle, axis="x", cell=chain_cell().cell)
    np.testing.assert_allclose(np.cross(moments, model.magnetic_forces(moments)), 0, atol=1e-15)
    other = cone(chain, magnitude, (3 / sites, 0, 0), angle + 10, axis="x", cell=chain_cell().cell)
    assert np.abs(np.cross(other, model.magnetic_forces(other))).max() > 1e-4


def test_triangular_antiferromagnet_prefers_120_degrees():
    vectors = [[2.5, 0, 0], [-1.25, 2.5 * np.sqrt(0.75), 0], [0, 0, 9]]
    cell = Atoms("Fe", cell=vectors, pbc=[True, True, False])
    j = -0.01
    model = HeisenbergModel.from_shells(cell, [j], magnitudes=2.0)
    layer = cell.repeat((3, 3, 1))
    moments = spiral(layer, 2.0, (1 / 3, 1 / 3, 0), axis="z", cell=cell.cell)
    # three bonds per site, each J cos 120°
    assert model.repeat((3, 3, 1)).energy(moments) / 9 == pytest.approx(-3 * abs(j) / 2)
    np.testing.assert_allclose(np.cross(moments, model.repeat((3, 3, 1)).magnetic_forces(moments)), 0, atol=1e-15)


def pajda_iron() -> HeisenbergModel:
    """Bcc Fe with ten shells, doubled into the convention of this package."""
    a = 2.8665
    atoms = bulk("Fe", a=a)
    shells = {n: 2e-3 * RYDBERG * value for n, value in enumerate(PAJDA_FE[:9], start=1)}
    last = 2e-3 * RYDBERG * PAJDA_FE[9]  # 8 x (3/2 3/2 3/2); the same distance as 24 x (5/2 1/2 1/2)
    shells[10] = lambda r: np.where(is_diagonal(r, a), last, 0.0)
    return HeisenbergModel.from_shells(atoms, shells, magnitudes=2.22)


def is_diagonal(vectors: np.ndarray, a: float) -> np.ndarray:
    return np.all(np.abs(np.abs(vectors) - 1.5 * a) < 1e-3, axis=1)


def test_mean_field_temperature_of_iron_is_1415_kelvin():
    model = pajda_iron()
    total = model.exchange_matrix()[0, 0, 0, 0].real
    multiplicity = [8, 6, 12, 24, 8, 6, 24, 24, 24, 8]
    assert total == pytest.approx(2e-3 * RYDBERG * np.dot(multiplicity, PAJDA_FE))
    assert total / (3 * K_B) == pytest.approx(1415, abs=2)


def test_magnon_energies_of_iron_at_the_zone_boundary():
    """(2/|m|)[J(0) - J(q)] at H, N, P: 488, 384, 444 meV."""
    model = pajda_iron()

    def magnon(q: tuple[float, float, float]) -> float:
        difference = model.exchange_matrix()[0, 0, 0, 0] - model.exchange_matrix(q)[0, 0, 0, 0]
        assert abs(difference.imag) < 1e-12
        return 1e3 * 2 / 2.22 * difference.real

    # in fractions of the reciprocal cell of ase.build.bulk's primitive cell
    assert magnon((0.5, -0.5, 0.5)) == pytest.approx(488, abs=2)
    assert magnon((0.0, 0.0, 0.5)) == pytest.approx(384, abs=2)
    assert magnon((0.25, 0.25, 0.25)) == pytest.approx(444, abs=2)


def test_spiral_energies_are_the_fourier_transform_of_exchange():
    primitive = bulk("Fe", a=2.8665)
    model = HeisenbergModel.from_shells(primitive, [0.04, 0.02, -0.001], magnitudes=2.2)
    big = primitive.repeat((4, 2, 3))
    q = (0.25, 0.5, -1 / 3)
    moments = spiral(big, 2.2, q, cell=primitive.cell)
    expected = -0.5 * model.exchange_matrix(q)[0, 0, 0, 0].real
    assert Heisenberg(model).get_potential_energy(set_and_return(big, moments)) / len(big) == pytest.approx(expected)


def set_and_return(atoms: Atoms, moments: np.ndarray) -> Atoms:
    set_moments(atoms, moments)
    return atoms


def test_exchange_striction_pulls_a_ferromagnetic_dimer_together():
    """F = dJ/dr cos(angle) along the bond: J falls with r, so parallel spins attract."""
    function = Exponential(strength=0.03, r0=2.0, decay=0.5, cutoff=5.0)
    for angle in (0.0, 1.0, np.pi):
        atoms = dimer(angle)
        forces = Heisenberg(exchange=function).get_forces(atoms)
        np.testing.assert_allclose(forces[1], [-0.03 / 0.5 * np.cos(angle), 0, 0], atol=1e-15)
        np.testing.assert_allclose(forces[0], -forces[1])


def test_magnetic_stress_of_a_ferromagnetic_cubic_crystal():
    """σ = (1/3V)·½ Σ r (-J'(r)): tension where parallel spins would like to come closer."""
    a, strength, decay = 2.8665, 0.03, 0.5
    atoms = bulk("Fe", a=a)
    set_moments(atoms, ferromagnet(atoms, 2.2))
    function = Exponential(strength=strength, r0=2.5, decay=decay, cutoff=4.5, onset=3.5)
    stress = Heisenberg(exchange=function).get_stress(atoms)
    total = 0.0
    for count, r in ((8, np.sqrt(0.75) * a), (6, a), (12, np.sqrt(2) * a)):
        total -= 0.5 * count * r * function.evaluate(r)[1]
    expected = total / 3 / (a**3 / 2)
    assert expected > 0
    np.testing.assert_allclose(stress[:3], expected)
    np.testing.assert_allclose(stress[3:], 0, atol=1e-15)


def test_pseudo_dipolar_coupling_has_no_anisotropy_in_a_cubic_crystal_but_in_a_chain():
    function = Exponential(strength=0.01, r0=2.5, decay=0.5, cutoff=4.0)
    calc = Heisenberg(pseudo_dipolar=function)
    iron = bulk("Fe", a=2.8665)
    energies = [calc.get_potential_energy(set_and_return(iron, ferromagnet(iron, 2.2, d))) for d in ("x", (1, 1, 1))]
    assert energies[0] == pytest.approx(energies[1], abs=1e-15)
    chain = chain_cell()
    along, across = (calc.get_potential_energy(set_and_return(chain, ferromagnet(chain, 2.2, d))) for d in ("x", "z"))
    assert along - across == pytest.approx(-function(2.5))


def test_a_hundred_thousand_sites_take_seconds():
    primitive = bulk("Fe", a=2.8665)
    model = HeisenbergModel.from_shells(primitive, [0.04, 0.02], magnitudes=2.2)
    atoms = primitive.repeat((50, 50, 40))
    set_moments(atoms, random_directions(atoms, 2.2, 1))
    start = time.perf_counter()
    for calc in (
        Heisenberg(model),
        Heisenberg(exchange=Exponential(strength=0.04, r0=2.5, decay=0.5, cutoff=3.5)),
    ):
        energy = calc.get_potential_energy(atoms)
        field = calc.get_magnetic_forces(atoms)
        assert field.shape == (100_000, 3)
        # random spins: <E²> = N Σ_bonds J²/3
        bound = np.sqrt(1e5 * (4 * 0.04**2 + 3 * 0.04**2) / 3)
        assert abs(energy) < 6 * bound
    assert time.perf_counter() - start < 60.0
    set_moments(atoms, ferromagnet(atoms, 2.2))
    assert Heisenberg(model).get_potential_energy(atoms) == pytest.approx(-1e5 * (4 * 0.04 + 3 * 0.02))
