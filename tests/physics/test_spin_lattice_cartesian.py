"""Moments with inertia: conservation, equipartition, and the distribution of their lengths."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from scipy.integrate import quad
from scipy.stats import kstest

from deepspin_ase import Heisenberg, ferromagnet, get_moments, set_moments
from deepspin_ase.heisenberg import Landau
from deepspin_ase.quantities import K_B
from deepspin_plugins.spin_dynamics.cartesian import CartesianMomentDynamics
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
from deepspin_plugins.spin_dynamics.nose_hoover import NoseHooverChain
from tests.spin_lattice_cases import blocked_error, fs, soft_iron

MASS = 10.0 * fs**2


def conserved(timestep: float, **baths: object) -> np.ndarray:
    """Conserved energy per atom (eV) over 400 fs, every 4 fs; one evaluation per step."""
    atoms = soft_iron()
    dynamics = CartesianMomentDynamics(atoms, timestep * fs, moment_mass=MASS, **baths)  # type: ignore[arg-type]
    dynamics.set_moment_temperature(300.0, 1)
    rows = []
    dynamics.attach(lambda: rows.append(dynamics.conserved_energy / len(atoms)), round(4 / timestep))
    dynamics.run(round(400 / timestep))
    assert dynamics.evaluations == dynamics.nsteps
    return np.array(rows)


def test_energy_fluctuates_as_the_square_of_the_step_and_does_not_drift() -> None:
    coarse, fine = conserved(2.0), conserved(1.0)
    assert np.std(coarse) / np.std(fine) == pytest.approx(4.0, rel=0.25)
    assert np.std(fine) < 5e-5
    assert abs(np.polyfit(np.linspace(0, 0.4, len(fine)), fine, 1)[0]) < 3e-5  # eV/atom/ps


def test_nose_hoover_chains_conserve_their_energy() -> None:
    chains = {"lattice_bath": NoseHooverChain(600.0, 50 * fs), "moment_bath": NoseHooverChain(100.0, 30 * fs)}
    energy = conserved(1.0, **chains)
    assert np.std(energy) < 1e-4
    assert abs(energy[-20:].mean() - energy[:20].mean()) < 5e-5


def test_moment_swings_with_its_period(spring: type[Calculator]) -> None:
    """E = ½ (m - m0)² with the mass µ: m - m0 = A cos(t/√µ); atoms of mass zero stay."""
    atoms = Atoms("FeO", positions=np.zeros((2, 3)), cell=[5, 5, 5], pbc=True)
    set_moments(atoms, [[2.5, 0.0, 0.0], [1.0, 0.0, 0.0]])
    atoms.calc = spring()
    dynamics = CartesianMomentDynamics(atoms, 0.1 * fs, moment_mass={"Fe": MASS, "O": 0.0})
    dynamics.run(200)
    moments = get_moments(atoms)
    assert moments[0, 0] == pytest.approx(2.0 + 0.5 * np.cos(20.0 / np.sqrt(10.0)), abs=1e-4)
    np.testing.assert_array_equal(moments[1], [1.0, 0.0, 0.0])


@pytest.mark.parametrize("bath", [LatticeLangevin(300.0, 0.03 / fs), NoseHooverChain(300.0, 60 * fs)])
def test_all_parts_reach_the_temperature_of_the_bath(bath: LatticeLangevin | NoseHooverChain) -> None:
    """<p²/M> = <π²/µ> = <m ∂E/∂m> = kT per component, from moments at twice the temperature."""
    atoms = soft_iron(heat=100.0)
    dynamics = CartesianMomentDynamics(atoms, 1.0 * fs, moment_mass=MASS, lattice_bath=bath, moment_bath=bath, rng=1)
    dynamics.set_moment_temperature(600.0, 1)
    dynamics.run(300)
    rows = []

    def record() -> None:
        virial = -(get_moments(atoms) * atoms.calc.get_magnetic_forces(atoms)).sum() / (3 * len(atoms) * K_B)
        rows.append((atoms.get_temperature(), dynamics.moment_temperature, virial))

    dynamics.attach(record, 5)
    dynamics.run(3000)
    for values in np.array(rows).T:
        error = blocked_error(values)
        assert abs(values.mean() - 300.0) < 4.0 * error
        assert error < 30.0


def test_lengths_of_free_landau_moments_are_boltzmanns() -> None:
    """200 independent moments: P(m) ∝ m² exp(-E(m)/kT), by a Kolmogorov-Smirnov test."""
    landau, heat = Landau(-0.1, 0.02), K_B * 500.0
    atoms = Atoms("Fe200", positions=np.zeros((200, 3)), cell=[9, 9, 9], pbc=True)
    set_moments(atoms, ferromagnet(atoms, 1.6))
    atoms.calc = Heisenberg(landau={"Fe": landau}, normalise=False)
    dynamics = CartesianMomentDynamics(
        atoms, 2.0 * fs, moment_mass=MASS, moment_bath=LatticeLangevin(500.0, 0.05 / fs), rng=1
    )
    dynamics.run(300)
    lengths = []
    dynamics.attach(lambda: lengths.append(np.linalg.norm(get_moments(atoms), axis=1)), 150)  # 300 fs: independent
    dynamics.run(1500)
    weight = lambda m: m**2 * np.exp(-landau.energy(m**2) / heat)  # noqa: E731
    total = quad(weight, 0, 4)[0]
    grid = np.linspace(0, 4, 801)
    cumulative = (
        np.concatenate([[0.0], np.cumsum(0.5 * (weight(grid[1:]) + weight(grid[:-1])) * np.diff(grid))]) / total
    )
    sample = np.concatenate(lengths[1:])
    assert kstest(sample, lambda m: np.interp(m, grid, cumulative)).pvalue > 0.01
