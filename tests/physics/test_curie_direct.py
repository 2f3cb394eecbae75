"""Direct sampling of a potential gives the canonical distribution: exact results, detailed balance, equipartition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from numpy.typing import NDArray
from scipy.integrate import quad

from deepspin_ase import Heisenberg, HeisenbergModel, ferromagnet, get_moments, set_moments
from deepspin_ase.heisenberg import Exponential, Landau, Polynomial, uniaxial
from deepspin_ase.quantities import K_B, MU_B
from deepspin_ase.statistics import mean_with_error
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.direct import sample_potential
from deepspin_plugins.curie.hmc import HamiltonianMonteCarlo, Integers
from deepspin_plugins.curie.monte_carlo import MonteCarlo

SIGMA = 4.0  # how many of its errors a mean may be away from the exact value


def coupled_system(
    spins: int, atoms: int, rng: np.random.Generator
) -> Callable[[Integers, Array], tuple[Array, Array]]:
    """Energy of spins in random fields with random couplings to each other and to atoms in an anharmonic well."""
    rows = spins + atoms
    coupling = rng.normal(size=(3 * rows, 3 * rows)) * 0.01
    coupling = coupling + coupling.T
    field = rng.normal(size=(rows, 3)) * 0.02

    def evaluate(_: Integers, x: Array) -> tuple[Array, Array]:
        flat = x.reshape(len(x), -1)
        pulled = flat @ coupling
        square = np.square(x[:, spins:]).sum(axis=2, keepdims=True)
        energy = 0.5 * np.einsum("ra,ra->r", flat, pulled) + np.einsum("ria,ia->r", x, field)
        gradient = pulled.reshape(x.shape) + field
        gradient[:, spins:] += (0.3 + 0.5 * square) * x[:, spins:]
        return energy + (0.15 * square + 0.125 * square**2).sum(axis=(1, 2)), gradient

    return evaluate


def ring(n: int, exchange: float) -> Callable[[Integers, Array], tuple[Array, Array]]:
    """Closed chain of n spins."""

    def evaluate(_: Integers, x: Array) -> tuple[Array, Array]:
        field = exchange * (np.roll(x, 1, axis=1) + np.roll(x, -1, axis=1))
        return -0.5 * np.einsum("ria,ria->r", x, field), -field

    return evaluate


def kernel(
    evaluate: Callable[[Integers, Array], tuple[Array, Array]],
    kT: Array,
    spins: int,
    atoms: int,
    rng: np.random.Generator,
) -> HamiltonianMonteCarlo:
    """Kernel on a random start."""
    points = rng.normal(size=(len(kT), spins + atoms, 3)) * 0.3
    points[:, :spins] /= np.linalg.norm(points[:, :spins], axis=2, keepdims=True)
    curved = np.arange(spins + atoms) < spins
    return HamiltonianMonteCarlo(
        evaluate, points, 1 / kT, curved, np.where(curved, 0, int(spins > 0)), leapfrog_steps=3, rng=rng
    )


def langevin(x: Array) -> Array:
    return 1 / np.tanh(x) - 1 / x


def assert_mean(series: Array, exact: float, *, precision: float) -> None:
    """The mean agrees within its error bar, and the error bar is small enough to mean something."""
    mean = mean_with_error(series)
    assert mean.reliable
    assert mean.error < precision
    assert abs(mean.value - exact) < SIGMA * mean.error, (mean, exact)


# ------------------------------------------------------------------ the integrator


def test_trajectories_can_be_walked_back(rng: np.random.Generator) -> None:
    """Turn the velocities round and the start comes back, spins and atoms together."""
    sampler = kernel(coupled_system(7, 4, rng), np.array([0.02, 0.05, 0.2]), 7, 4, rng)
    sampler.steps[:] = 0.2
    start = sampler.points.copy()
    x, v, energy, gradient, change = sampler.trajectory(sampler.draw_velocities(), 25)
    assert np.isfinite(change).all()
    assert np.abs(x - start).max() > 0.5
    sampler.points, sampler.energies, sampler.gradients = x, energy, gradient
    back, _, _, _, undone = sampler.trajectory(-v, 25)
    np.testing.assert_allclose(back, start, atol=1e-10)
    np.testing.assert_allclose(undone, -change, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(x[:, :7], axis=2), 1.0, atol=1e-14)
    np.testing.assert_allclose(np.einsum("ria,ria->ri", x[:, :7], v[:, :7]), 0.0, atol=1e-12)


def test_energy_error_is_of_second_order(rng: np.random.Generator) -> None:
    """Half the step, twice as many steps: ΔH falls to a quarter."""
    sampler = kernel(coupled_system(7, 4, rng), np.array([0.05]), 7, 4, rng)
    velocities = sampler.draw_velocities()
    errors = []
    for steps in (40, 80, 160):
        sampler.steps[:] = 2.0 / steps
        errors.append(sampler.trajectory(velocities, steps)[4][0])
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.02)


def test_trajectories_that_run_away_are_rejected(rng: np.random.Generator) -> None:
    """A hopeless step of one replica ends in a rejection there and nowhere else."""
    sampler = kernel(coupled_system(3, 4, rng), np.array([0.05, 0.05]), 3, 4, rng)
    sampler.steps[:] = [0.05, 60.0]
    before = sampler.points.copy()
    probability = sampler.sweep()
    assert probability[0] > 0.5
    assert probability[1] == 0.0
    np.testing.assert_array_equal(sampler.points[1], before[1])


# ------------------------------------------------------------------ the distribution


def test_energy_histograms_at_two_temperatures_have_the_ratio_of_boltzmann_factors(rng: np.random.Generator) -> None:
    """ln[P₁(E)/P₂(E)] is a straight line of slope β₂ - β₁, whatever the density of states."""
    replicas, kT = 40, np.array([0.035, 0.05])
    sampler = kernel(coupled_system(5, 3, rng), np.repeat(kT, replicas), 5, 3, rng)
    for _ in range(150):
        sampler.adapt(sampler.sweep())
    found = []
    for _ in range(1500):
        sampler.sweep()
        found.append(sampler.energies.copy())
    cold, hot = np.array(found).reshape(-1, 2, replicas).swapaxes(0, 1)
    edges = np.linspace(np.quantile(hot, 0.02), np.quantile(cold, 0.98), 13)

    def slope(use: NDArray[np.bool_]) -> float:
        first, second = (np.histogram(values[:, use], edges)[0] for values in (cold, hot))
        weight = 1 / np.sqrt(1 / first + 1 / second)
        return float(np.polyfit((edges[1:] + edges[:-1]) / 2, np.log(first / second), 1, w=weight)[0])

    number = np.arange(replicas)
    without = np.array([slope(number % 10 != group) for group in range(10)])
    error = float(np.sqrt(0.9 * np.square(without - without.mean()).sum()))  # jackknife over independent replicas
    exact = 1 / kT[1] - 1 / kT[0]
    assert error < 0.03 * abs(exact)
    assert abs(slope(number >= 0) - exact) < SIGMA * error


def test_ring_energies_and_heat_capacity(rng: np.random.Generator) -> None:
    """A long closed chain: E/N = -J L(J/kT), C/N = k [1 - x²/sinh²x], at all temperatures of one batch."""
    n, kT = 40, np.array([0.2, 0.4, 0.7, 1.5])
    sampler = kernel(ring(n, 1.0), kT, n, 0, rng)
    for _ in range(200):
        sampler.adapt(sampler.sweep())
    energies = []
    for sweep in range(6000):
        sampler.sweep()
        sampler.swap(np.arange(sweep % 2, len(kT) - 1, 2))
        energies.append(sampler.energies.copy())
    table = np.array(energies).T
    for values, t in zip(table, kT, strict=True):
        x = 1 / t
        assert_mean(values / n, -float(langevin(x)), precision=5e-3)
        squares = (values - values.mean()) ** 2 / t**2 / n
        assert_mean(squares, 1 - x**2 / np.sinh(x) ** 2, precision=0.05)


def test_harmonic_crystal_has_half_kt_per_coordinate(rng: np.random.Generator) -> None:
    """Flat rows in K: <x xᵀ> = kT K⁻¹, also where stiffnesses differ by a factor of a hundred."""
    n, kT = 6, np.full(50, 0.03)
    modes = np.linalg.qr(rng.normal(size=(3 * n, 3 * n)))[0]
    stiffness = modes @ np.diag(np.geomspace(0.5, 50.0, 3 * n)) @ modes.T

    def evaluate(_: Integers, x: Array) -> tuple[Array, Array]:
        pulled = x.reshape(len(x), -1) @ stiffness
        return 0.5 * np.einsum("ra,ra->r", x.reshape(len(x), -1), pulled), pulled.reshape(x.shape)

    sampler = kernel(evaluate, kT, 0, n, rng)
    for _ in range(300):
        sampler.adapt(sampler.sweep())
    energies, spread = [], np.zeros((3 * n, 3 * n))
    for _ in range(1500):
        sampler.sweep()
        energies.append(sampler.energies.mean())
        flat = sampler.points.reshape(len(kT), -1)
        spread += flat.T @ flat / len(kT) / 1500
    assert_mean(np.array(energies) / kT[0], 1.5 * n, precision=0.05)
    normal = np.diag(modes.T @ spread @ modes) * np.geomspace(0.5, 50.0, 3 * n) / kT[0]
    np.testing.assert_allclose(normal, 1.0, atol=0.12)


# ------------------------------------------------------------------ through ASE calculators


def test_paramagnet_and_single_ion_anisotropy() -> None:
    """Independent spins in a field: <m_z> = |m| L(|m|µB B/kT) for moments of different lengths; an easy axis:
    P(θ) ∝ sin θ exp(K cos²θ/kT)."""
    atoms = Atoms("Fe12Co12", positions=9.0 * np.arange(24)[:, None] * [1, 0, 0])
    lengths = np.repeat([2.2, 1.1], 12)
    set_moments(atoms, ferromagnet(atoms, lengths))
    kT = 0.01
    field, strength = 150.0, 0.02
    atoms.calc = Heisenberg(anisotropy={"Co": uniaxial(strength, "x")}, field=[0, 0, field])
    samples = sample_potential(
        atoms, [kT / K_B] * 2, weights=[lengths == 2.2, lengths == 1.1], equilibration=100, sweeps=500, seed=3
    )
    free = samples.energy.mean(axis=0)  # used below through its parts

    def coupled(angle_part: Callable[[float, float], float]) -> float:
        """Mean over the sphere with a field along z and an axis along x."""

        def weight(c: float, f: float) -> float:
            x = np.sqrt(1 - c**2) * np.cos(f)
            return float(np.exp((strength * x**2 + 1.1 * MU_B * field * c) / kT))

        c, f = np.linspace(-1, 1, 801), np.linspace(0, 2 * np.pi, 201)[:-1]
        grid = np.array([[(weight(a, b), angle_part(a, b)) for b in f] for a in c])
        w = grid[..., 0] * np.where(np.abs(c) == 1, 0.5, 1.0)[:, None]
        return float((w * grid[..., 1]).sum() / w.sum())

    iron = -12 * 2.2 * MU_B * field * float(langevin(2.2 * MU_B * field / kT))
    cobalt = 12 * coupled(lambda c, f: -strength * (1 - c**2) * np.cos(f) ** 2 - 1.1 * MU_B * field * c)
    assert_mean(free, iron + cobalt, precision=2.5e-3)


def test_dimer_with_moving_atoms_and_spins() -> None:
    """J(r) and a spring: p(r) ∝ r² e^{-V(r)/kT} sinh(J(r)/kT)/(J(r)/kT), the joint distribution of both."""
    exchange = Exponential(strength=0.08, r0=2.4, decay=0.8, cutoff=6.0, onset=5.0)
    spring = Polynomial(coefficients=(0.0, 0.0, 1.5), r0=2.4, cutoff=6.0, onset=5.0)
    pairs = 8
    ends = np.tile([[0, 0, 0], [0, 0, 2.4]], (pairs, 1))
    atoms = Atoms(f"Fe{2 * pairs}", positions=ends + 40.0 * np.repeat(np.arange(pairs), 2)[:, None] * [1, 0, 0])
    set_moments(atoms, ferromagnet(atoms, 2.0))
    atoms.calc = Heisenberg(exchange=exchange, lattice=spring)
    kT = np.array([0.04, 0.08])
    samples = sample_potential(atoms, kT / K_B, lattice=True, equilibration=120, sweeps=500, seed=1)
    for values, t in zip(samples.energy, kT, strict=True):

        def weight(r: float, t: float = t) -> float:
            x = float(exchange(r)) / t
            return r**2 * float(np.exp(-spring(r) / t) * np.sinh(x) / x)

        def mean_energy(r: float, t: float = t) -> float:
            return float(spring(r) - exchange(r) * langevin(exchange(r) / t))

        norm = quad(weight, 1.0, 4.5)[0]
        exact = quad(lambda r: weight(r) * mean_energy(r), 1.0, 4.5)[0] / norm
        assert_mean(values / pairs, exact, precision=0.1 * t)
    assert np.all(samples.acceptance > 0.6)


def test_lengths_of_moments_follow_landau() -> None:
    """Free moments in a m² + b m⁴: P(m) ∝ m² e^{-E(m)/kT}, the measure d³m."""
    atoms = Atoms("Fe20", positions=9.0 * np.arange(20)[:, None] * [1, 0, 0])
    set_moments(atoms, ferromagnet(atoms, 2.0))
    landau = Landau(a=-0.05, b=0.01)
    atoms.calc = Heisenberg(landau={"Fe": landau})
    kT = np.array([0.02, 0.08])
    samples = sample_potential(atoms, kT / K_B, longitudinal=True, equilibration=120, sweeps=500, seed=2)
    for lengths, energies, t in zip(samples.length, samples.energy, kT, strict=True):

        def weight(m: float, t: float = t) -> float:
            return m**2 * float(np.exp(-landau.energy(np.array(m**2)) / t))

        norm = quad(weight, 0, 6)[0]
        assert_mean(lengths, quad(lambda m: m * weight(m), 0, 6)[0] / norm, precision=0.02)
        exact = quad(lambda m: landau.energy(np.array(m**2)) * weight(m), 0, 6)[0] / norm
        assert_mean(energies / 20, float(exact), precision=2e-3)


def test_agrees_with_the_monte_carlo_of_the_spin_model() -> None:
    """Two programs, one model: tensors, two species, an easy axis, at three temperatures."""
    cell = Atoms("FeCo", positions=[[0, 0, 0], [1.4, 1.4, 1.4]], cell=[2.8, 2.8, 2.8], pbc=True)
    set_moments(cell, {"Fe": 2.2, "Co": 1.5})
    model = HeisenbergModel.from_shells(cell, [0.012, -0.002], anisotropy={"Co": uniaxial(0.004, "z")})
    temperatures = [250.0, 500.0, 900.0]
    engine = MonteCarlo(model, (2, 2, 2), temperatures, seed=5, threads=1)
    engine.thermalize(300)
    other = engine.run(3000)
    atoms = cell.repeat(2)
    atoms.calc = Heisenberg(model)
    samples = sample_potential(atoms, temperatures, equilibration=120, sweeps=500, seed=6)
    assert samples.sites == other.sites
    np.testing.assert_allclose(samples.saturation, other.saturation)
    for ours, theirs, scale in (
        (samples.energy, other.energy, 16.0),
        (samples.order[..., 0], other.order[..., 0], 1.0),
    ):
        for a, b in zip(ours, theirs, strict=True):
            first, second = mean_with_error(a / scale), mean_with_error(b / scale)
            assert abs(first.value - second.value) < SIGMA * np.hypot(first.error, second.error), (first, second)
            assert first.error < 0.05 * max(abs(first.value), 0.2)


@pytest.mark.slow
def test_agrees_with_spin_lattice_langevin_dynamics() -> None:
    """The second, independent route: a trajectory in time with baths; exchange follows the atoms."""
    from ase import units
    from ase.build import bulk

    from deepspin_ase.heisenberg import Morse
    from deepspin_plugins.spin_dynamics import LatticeLangevin, SpinLangevin, SpinLatticeDynamics

    atoms = bulk("Ni", "fcc", a=2.55 * np.sqrt(2), cubic=True).repeat((2, 2, 1))
    set_moments(atoms, ferromagnet(atoms, 2.5))
    atoms.calc = Heisenberg(
        exchange=Exponential(strength=0.006, r0=2.55, decay=0.3, cutoff=3.4, onset=2.8),
        lattice=Morse(depth=0.4, r0=2.55, stiffness=1.5, cutoff=4.5),
    )
    n, kelvin = len(atoms), 150.0
    samples = sample_potential(atoms, [kelvin], lattice=True, equilibration=150, sweeps=600, seed=4)
    moving = atoms.copy()
    moving.calc = atoms.calc
    dynamics = SpinLatticeDynamics(
        moving,
        1.0 * units.fs,  # moments turn by up to 0.1 rad in a step
        spin_bath=SpinLangevin(kelvin, damping=0.2),
        lattice_bath=LatticeLangevin(kelvin, 0.02 / units.fs),
        rng=7,
    )
    energies, order = [], []
    dynamics.attach(lambda: energies.append(moving.get_potential_energy() / n), interval=4)
    dynamics.attach(lambda: order.append(np.linalg.norm(get_moments(moving).mean(axis=0)) / 2.5), interval=4)
    dynamics.run(8000)
    for ours, theirs, scale in (
        (samples.energy[0] / n, energies[200:], K_B * kelvin),
        (samples.order[0, :, 0], order[200:], 1.0),
    ):
        here, there = mean_with_error(ours), mean_with_error(np.array(theirs))
        error = np.hypot(here.error, there.error)
        assert error < 0.1 * scale
        assert abs(here.value - there.value) < SIGMA * error, (here, there)
