"""Baths of spin-lattice dynamics: temperatures, distributions, and moments and atoms that equilibrate each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms

from deepspin_ase import Heisenberg, ferromagnet, get_moments, set_moments
from deepspin_ase.heisenberg import Exponential, Landau
from deepspin_ase.quantities import K_B, MU_B
from deepspin_ase.vectors import Array
from deepspin_plugins.spin_dynamics.barostat import CellRescaling, pressure_of
from deepspin_plugins.spin_dynamics.baths import SpinLangevin
from deepspin_plugins.spin_dynamics.cartesian import CartesianMomentDynamics
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
from deepspin_plugins.spin_dynamics.spin_lattice import SpinLatticeDynamics
from deepspin_plugins.spin_dynamics.temperature import lattice_temperature, spin_temperature
from tests.spin_lattice_cases import MORSE, blocked_error, fs, iron


def langevin(x: float) -> float:
    return 1.0 / np.tanh(x) - 1.0 / x


@pytest.mark.filterwarnings("ignore:.* moments turned")  # the atoms are what matters here
def test_einstein_crystal_has_the_positions_and_momenta_of_its_temperature(spring: type[Calculator]) -> None:
    """Springs of 1 eV/Å², two species with their own masses and frictions: <x²> = kT/k, <p²/M> = kT."""
    atoms = Atoms("Fe40O40", positions=np.zeros((80, 3)), cell=[9, 9, 9], pbc=True)
    set_moments(atoms, ferromagnet(atoms, {"Fe": 2.0, "O": 0.0}))
    atoms.calc = spring()
    bath = LatticeLangevin(400.0, {"Fe": 0.05 / fs, "O": 0.01 / fs})
    dynamics = SpinLatticeDynamics(atoms, 4.0 * fs, lattice_bath=bath, rng=1)
    positions, momenta = [], []
    dynamics.run(300)
    dynamics.attach(lambda: positions.append(atoms.positions**2), 5)
    dynamics.attach(lambda: momenta.append(atoms.get_momenta() ** 2 / atoms.get_masses()[:, None]), 5)
    dynamics.run(1500)
    for rows in (positions, momenta):
        for half in (slice(0, 40), slice(40, 80)):
            heat = np.array(rows)[:, half].mean(axis=(1, 2))
            assert abs(heat.mean() - K_B * 400.0) < 4.0 * blocked_error(heat)
            assert blocked_error(heat) < 0.04 * K_B * 400.0


@pytest.mark.filterwarnings("ignore:.* moments turned")  # in a field that stays any step is exact
def test_paramagnet_of_two_species_gives_the_langevin_function() -> None:
    """Species of 1 and 3 µB reach one temperature: <e_z> = L(|m| µB B/kT) each."""
    atoms = Atoms("Ni100Mn100", positions=np.zeros((200, 3)), cell=[9, 9, 9], pbc=True)
    magnitude = {"Ni": 1.0, "Mn": 3.0}
    set_moments(atoms, ferromagnet(atoms, magnitude, "x"))
    atoms.calc = Heisenberg(field=(0, 0, 400.0))
    bath = SpinLangevin(300.0, damping={"Ni": 0.5, "Mn": 1.0})
    dynamics = SpinLatticeDynamics(atoms, 2.0 * fs, spin_bath=bath, rng=1)
    dynamics.run(300)
    rows = []
    dynamics.attach(lambda: rows.append(get_moments(atoms)[:, 2]), 10)
    dynamics.run(2000)
    z = np.array(rows)
    for half, m in ((slice(0, 100), 1.0), (slice(100, 200), 3.0)):
        mean = z[:, half].mean(axis=1) / m
        assert abs(mean.mean() - langevin(m * MU_B * 400.0 / (K_B * 300.0))) < 4.0 * blocked_error(mean)
        assert blocked_error(mean) < 0.02


def test_exchange_coupled_pairs_have_their_exact_correlation() -> None:
    """60 dimers: <e1·e2> = L(J/kT); small damping, so that precession does most of the work."""
    atoms = Atoms("Fe120", positions=np.zeros((120, 3)), cell=[2000, 50, 50], pbc=True)
    atoms.positions[:, 0] = 10.0 * np.repeat(np.arange(60), 2) + 2.5 * np.tile([0, 1], 60)
    set_moments(atoms, ferromagnet(atoms, 2.2))
    atoms.set_constraint(FixAtoms(range(120)))
    atoms.calc = Heisenberg(exchange=Exponential(strength=0.03, r0=2.5, decay=1.0, cutoff=4.0))
    dynamics = SpinLatticeDynamics(atoms, 2.0 * fs, spin_bath=SpinLangevin(300.0, damping=0.1), rng=2)
    dynamics.run(400)
    rows = []

    def record() -> None:
        m = get_moments(atoms).reshape(60, 2, 3) / 2.2
        rows.append((m[:, 0] * m[:, 1]).sum(axis=1).mean())

    dynamics.attach(record, 10)
    dynamics.run(3000)
    value = np.array(rows)
    exchange = float(atoms.calc.to_model(atoms).bonds.tensor[0, 0, 0])
    assert abs(value.mean() - langevin(exchange / (K_B * 300.0))) < 4.0 * blocked_error(value) + 0.002
    assert blocked_error(value) < 0.02


def test_each_bath_keeps_its_own_temperature() -> None:
    atoms = iron(heat=100.0)
    dynamics = SpinLatticeDynamics(
        atoms,
        1.0 * fs,
        spin_bath=SpinLangevin(150.0, damping=0.3),
        lattice_bath=LatticeLangevin(450.0, 0.05 / fs),
        rng=3,
    )
    dynamics.run(200)
    rows = []
    dynamics.attach(lambda: rows.append((lattice_temperature(atoms), spin_temperature(atoms))), 5)
    dynamics.run(1000)
    for values, temperature in zip(np.array(rows).T, (450.0, 150.0), strict=True):
        error = blocked_error(values)
        assert abs(values.mean() - temperature) < 4.0 * error
        assert error < 0.1 * temperature


def coupled_iron() -> Atoms:
    """16 light atoms at rest in their ferromagnetic ground state, J(r) and pseudo-dipolar terms steep in r."""
    atoms = iron(strength=0.004, decay=0.12, dipolar=0.03, heat=0.0)
    atoms.set_masses(np.full(len(atoms), 20.0))
    set_moments(atoms, ferromagnet(atoms, 2.2, (1, 1, 1)))
    return atoms


BATHS: dict[str, dict[str, Any]] = {
    "lattice": {"lattice_bath": LatticeLangevin(200.0, 0.01 / fs)},
    "spin": {"spin_bath": SpinLangevin(200.0, damping=0.1)},
}


def temperatures(dynamics: SpinLatticeDynamics, steps: int, blocks: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Lattice and spin temperature in blocks of a run; for the moments the ratio of means, which is exact."""
    atoms, rows = dynamics.atoms, []

    def record() -> None:
        e = get_moments(atoms) / 2.2
        h = atoms.calc.to_model(atoms).exchange_field(e)
        rows.append((lattice_temperature(atoms), (np.cross(e, h) ** 2).sum(), 2.0 * (e * h).sum()))

    dynamics.attach(record, 5)
    dynamics.run(steps)
    means = np.array([block.mean(axis=0) for block in np.array_split(np.array(rows), blocks)])
    return means[:, 0], means[:, 1] / means[:, 2] / K_B


def test_heat_flows_from_the_bath_through_one_part_into_the_other() -> None:
    lattice, spin = temperatures(SpinLatticeDynamics(coupled_iron(), 2.0 * fs, rng=4, **BATHS["lattice"]), 600, 4)
    assert lattice[-1] > 100.0
    assert 20.0 < spin[-1] < 300.0
    lattice, spin = temperatures(SpinLatticeDynamics(coupled_iron(), 2.0 * fs, rng=4, **BATHS["spin"]), 600, 4)
    assert spin[-1] > 100.0
    assert 5.0 < lattice[-1] < 300.0


@pytest.mark.slow
@pytest.mark.parametrize("bath", ["lattice", "spin"])
def test_moments_and_atoms_equilibrate_each_other(bath: str) -> None:
    """One bath at 200 K, the other part starts at 0 K and is warmed through the dependence of E on both."""
    dynamics = SpinLatticeDynamics(coupled_iron(), 2.0 * fs, rng=4, **BATHS[bath])
    dynamics.run(3000)
    lattice, spin = temperatures(dynamics, 15000)
    if bath == "spin":  # which leaves the total momentum zero: 3 of 48 degrees of freedom have no heat
        lattice *= 48 / 45
    for values in (lattice, spin):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - 200.0) < 4.0 * error
        assert error < 16.0


def iron_at_pressure(kind: str, pressure: float) -> tuple[Array, Array]:
    """Volumes (Å³) and pressures (eV/Å³) of bcc Fe at 300 K and a given pressure."""
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat(3)
    set_moments(atoms, ferromagnet(atoms, 2.2))
    exchange = Exponential(strength=0.01 if kind == "directions" else 0.004, r0=2.5, decay=0.5, cutoff=3.4)
    common: dict[str, Any] = {
        "lattice_bath": LatticeLangevin(300.0, 0.02 / fs),
        "barostat": CellRescaling(300.0, 60 * fs, 1 / (170 * units.GPa), pressure=pressure, interval=2),
        "rng": 5,
    }
    dynamics: Any
    if kind == "directions":
        atoms.calc = Heisenberg(exchange=exchange, lattice=MORSE)
        dynamics = SpinLatticeDynamics(atoms, 3.0 * fs, spin_bath=SpinLangevin(300.0, damping=0.3), **common)
    else:
        atoms.calc = Heisenberg(exchange=exchange, lattice=MORSE, landau={"Fe": Landau(-0.2, 0.03)}, normalise=False)
        bath = LatticeLangevin(300.0, 0.03 / fs)
        dynamics = CartesianMomentDynamics(atoms, 3.0 * fs, moment_mass=40 * fs**2, moment_bath=bath, **common)
    dynamics.run(500)
    rows: list[tuple[float, float]] = []
    dynamics.attach(lambda: rows.append((atoms.get_volume(), pressure_of(atoms))), 4)
    dynamics.run(5000)
    volume, found = np.array(rows).T
    return volume, found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["directions", "Cartesian moments"])
def test_barostat_gives_the_pressure_and_the_fluctuation_of_the_volume(kind: str) -> None:
    """<P> = P₀, and <δV²>/V = kT/B with the bulk modulus B from two pressures, ΔP = -B ΔV/V."""
    means, spreads = [], []
    for target in (0.0, 4.0 * units.GPa):
        volume, pressure = iron_at_pressure(kind, target)
        assert abs(pressure.mean() - target) < 4.0 * blocked_error(pressure)
        assert blocked_error(pressure) < 0.3 * units.GPa
        means.append(volume.mean())
        spreads.append(volume.var())
    modulus = 4.0 * units.GPa * means[0] / (means[0] - means[1])
    assert np.mean(spreads) / means[0] == pytest.approx(K_B * 300.0 / modulus, rel=0.25)
