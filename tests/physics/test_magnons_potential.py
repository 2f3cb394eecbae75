"""Spin waves from potentials and trajectories, and magnons coupled to phonons, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import _amu, _e

from deepspin_ase import DeepSpin
from deepspin_ase.heisenberg import CustomPair, Exponential, Heisenberg, HeisenbergModel, Morse, dm_tensor, uniaxial
from deepspin_ase.moments import collinear_order, get_moments, set_moments, spiral
from deepspin_ase.quantities import HBAR, K_B
from deepspin_plugins.magnons import (
    SpinWaves,
    hybrid_bands,
    hybrid_waves,
    q_path,
    spin_correlations,
    spin_waves_from_potential,
    trajectory_spectrum,
)

D = 2.5
HBAR_FS = 1e18 * HBAR  # meV fs


def test_direct_route_is_the_model_for_a_bilinear_potential(rng):
    """Collinear antiferromagnet with J(r) to several shells and anisotropy, at wavevectors of the supercell."""
    atoms = Atoms("Fe2", cell=[[0, D, D], [D, 0, D], [D, D, 0]], positions=[[0, 0, 0], [D, 0, 0]], pbc=True)
    set_moments(atoms, [1.7, -1.7])
    calc = Heisenberg(
        exchange=Exponential(strength=-0.02, r0=D, decay=0.3, cutoff=3.4), anisotropy={"Fe": uniaxial(1e-4, "z")}
    )
    direct = spin_waves_from_potential(atoms, calc, supercell=3)
    model = SpinWaves.from_model(calc.to_model(atoms), get_moments(atoms))
    q = rng.integers(0, 3, (6, 3)) / 3
    np.testing.assert_allclose(direct.energies(q), model.energies(q), atol=1e-5)
    assert model.energies((0, 0, 0))[0, 0] > 1.0


def test_direct_route_for_a_spiral_with_dmi(rng):
    """The curvature of the sphere enters through F·m: without it a non-collinear state comes out wrong."""
    chain = Atoms("Fe", cell=[D, 9, 9], pbc=[True, False, False])
    tensor = 0.01 * (np.eye(3) + dm_tensor([0, 0, 1.0]))  # pitch 1/8
    model = HeisenbergModel.from_bonds(chain, [(0, 0, (1, 0, 0), tensor)], magnitudes=2.0)
    atoms = chain.repeat((8, 1, 1))
    set_moments(atoms, spiral(atoms, 2.0, q=(1 / 8, 0, 0), axis="z", cell=chain.cell))
    direct = spin_waves_from_potential(atoms, Heisenberg(model.repeat((8, 1, 1))), supercell=1)
    expected = SpinWaves.from_model(model.repeat((8, 1, 1)), get_moments(atoms))
    # squares: an error of the stiffness δ shows as √δ in the energy of a Goldstone mode
    np.testing.assert_allclose(direct.energies((0, 0, 0)) ** 2, expected.energies((0, 0, 0)) ** 2, rtol=1e-7, atol=1e-6)


def test_displaced_lattice_has_its_own_magnons():
    """J(r) of displaced atoms: the direct route follows positions, as the bound model of these positions does."""
    atoms = bulk("Fe", a=2.8665, cubic=True)
    set_moments(atoms, 2.2)
    atoms.positions[1] += [0.12, -0.05, 0.08]
    calc = Heisenberg(exchange=Exponential(strength=0.02, r0=2.5, decay=0.4, cutoff=4.2))
    direct = spin_waves_from_potential(atoms, calc, supercell=2)
    model = SpinWaves.from_model(calc.to_model(atoms), get_moments(atoms))
    q = [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]]
    np.testing.assert_allclose(direct.energies(q), model.energies(q), atol=1e-5)


def test_interpolated_energies_keep_the_symmetry_of_the_crystal():
    """hcp with exchange that reaches beyond the supercell: what is folded back must be folded symmetrically."""
    atoms = bulk("Co", "hcp", a=2.5, c=4.07)
    set_moments(atoms, 1.6)
    calc = Heisenberg(exchange=Exponential(strength=0.01, r0=2.5, decay=1.0, cutoff=7.0))
    waves = spin_waves_from_potential(atoms, calc, cutoff=3.6)
    star = [[0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [-0.1, 0.4, 0.2], [0.4, -0.1, -0.2], [-0.3, -0.1, 0.2]]
    levels = waves.energies(star)
    np.testing.assert_allclose(levels, levels[:1] * np.ones((5, 1)), rtol=1e-6)


# ------------------------------------------------------------------ magnons and phonons


def chain_calculator(pseudo_dipolar: float, *, j: float = 0.01, k: float = 2e-4) -> Heisenberg:
    """Chain with constant J and L within one shell and a stretched harmonic bond: V' = 0.08 eV/Å, V'' = 0.9 eV/Å²."""
    window = {"cutoff": 1.6 * D, "onset": 1.5 * D}

    def constant(value: float) -> CustomPair:
        return CustomPair(value=lambda r: np.full_like(r, value), slope=np.zeros_like, **window)

    spring = CustomPair(
        value=lambda r: 0.08 * (r - D) + 0.45 * (r - D) ** 2, slope=lambda r: 0.08 + 0.9 * (r - D), **window
    )
    return Heisenberg(
        exchange=constant(j),
        pseudo_dipolar=constant(pseudo_dipolar) if pseudo_dipolar else None,
        anisotropy={"Fe": uniaxial(k, "z")},
        lattice=spring,
    )


def chain_atoms(mass: float = 55.845) -> Atoms:
    atoms = Atoms("Fe", cell=[9, 9, D], pbc=[False, False, True])
    atoms.set_masses([mass])
    set_moments(atoms, [[0, 0, 2.0]])
    return atoms


def chain_modes(q: float, coupling: float, *, j: float = 0.01, k: float = 2e-4, mass: float = 55.845) -> np.ndarray:
    """Energies (meV) of the coupled chain, magnetisation along it.

    With u₊ = u_x + i u_y, t₊ likewise, ħω = w, the equations of motion are M w² u = Φ u + g t and
    w t = -(2/|m|)(λ t + g* u): a cubic. The bond energy to second order gives, with θ = 2πq,
    Φ = 2 (V'/d + 2L/d²)(1 - cos θ), λ = 2 (J - L/3)(1 - cos θ) + 2L + 2K, |g| = 2 (L/d) sin θ.
    """
    theta = 2 * np.pi * q
    inertia = mass * _amu / _e / (HBAR * 1e10) ** 2  # 1/(eV Å²): M w² in eV/Å² for w in eV
    phi = 2 * (0.08 / D + 2 * coupling / D**2) * (1 - np.cos(theta))
    stiff = 2 * (j - coupling / 3) * (1 - np.cos(theta)) + 2 * coupling + 2 * k
    g2 = (2 * coupling / D * np.sin(theta)) ** 2
    kappa = 2 / 2.0
    # (M w² - Φ)(w + κλ) + κ g² = 0
    roots = np.roots([inertia, inertia * kappa * stiff, -phi, -phi * kappa * stiff + kappa * g2])
    assert np.abs(roots.imag).max() < 1e-12
    longitudinal = np.sqrt(2 * 0.9 * (1 - np.cos(theta)) / inertia)
    return 1e3 * np.sort(np.abs(np.append(roots.real, longitudinal)))


@pytest.mark.parametrize("coupling", [0.0, 3e-4, 2e-3])
def test_coupled_chain_against_its_cubic_equation(coupling):
    cells = 8
    waves = hybrid_waves(chain_atoms(), chain_calculator(coupling), supercell=(1, 1, cells))
    for n in range(1, cells // 2 + 1):
        expected = chain_modes(n / cells, coupling)
        np.testing.assert_allclose(waves.energies((0, 0, n / cells))[0], expected, rtol=2e-6, atol=2e-6)


def test_hybrid_gap_against_the_perturbative_formula():
    """Where phonon and magnon cross the gap is 2|g| √(κ/(2 M w)), κ = 2/|m|, in first order of the coupling."""
    coupling, mass, q = 2e-5, 20.0, 0.125
    # choose K so that the two cross at q
    inertia = mass * _amu / _e / (HBAR * 1e10) ** 2
    theta = 2 * np.pi * q
    w = np.sqrt(2 * (0.08 / D + 2 * coupling / D**2) * (1 - np.cos(theta)) / inertia)
    j = 1e-3
    k = (w - 2 * (j - coupling / 3) * (1 - np.cos(theta)) - 2 * coupling) / 2
    assert k > 0
    waves = hybrid_waves(chain_atoms(mass), chain_calculator(coupling, j=j, k=k), supercell=(1, 1, 8))
    energies, weight = waves.spin_weights((0, 0, q))
    mixed = np.sort(np.argsort(np.abs(weight[0] - 0.5))[:2])
    gap = energies[0, mixed[1]] - energies[0, mixed[0]]
    g = 2 * coupling / D * np.sin(theta)
    assert gap == pytest.approx(1e3 * 2 * g * np.sqrt(1 / (2 * inertia * w)), rel=2e-2)
    np.testing.assert_allclose(weight[0, mixed], 0.5, atol=0.05)


def test_without_mixed_block_the_modes_are_phonons_and_magnons():
    """Collinear, isotropic: no coupling in first order. NaCl-like pair with J(r) and a Morse lattice."""
    atoms = bulk("Fe", "fcc", a=3.5)
    set_moments(atoms, 1.5)
    calc = Heisenberg(
        exchange=Exponential(strength=0.02, r0=2.5, decay=0.4, cutoff=3.3, onset=2.6),
        lattice=Morse(depth=0.4, r0=2.46, stiffness=1.4, cutoff=3.3, onset=2.6),
    )
    waves = hybrid_waves(atoms, calc, supercell=2)
    magnons = SpinWaves.from_model(calc.to_model(atoms), get_moments(atoms))
    big = atoms.repeat(2)
    q = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.0]])
    energies, weight = waves.spin_weights(q)
    for row, point in enumerate(q):
        spin = weight[row] > 0.5
        np.testing.assert_allclose(energies[row, spin], magnons.energies(point)[0], rtol=1e-6)
        np.testing.assert_allclose(energies[row, ~spin], phonons(big, calc, atoms, point), rtol=1e-5)
        assert np.all((weight[row] < 1e-9) | (weight[row] > 1 - 1e-9))
    np.testing.assert_allclose(waves.energies((0, 0, 0)), 0.0, atol=1e-6)  # three sound waves, one Goldstone magnon


def phonons(big: Atoms, calc: Heisenberg, small: Atoms, q: np.ndarray) -> np.ndarray:
    """Energies (meV) of a one-atom cell by plain central differences of forces."""
    fractions = np.rint((big.positions - big.positions[0]) @ np.linalg.inv(small.cell.array))
    matrix = np.zeros((3, 3), dtype=complex)
    step = 1e-3
    for axis in range(3):
        forces = []
        for sign in (1, -1):
            moved = big.copy()
            moved.positions[0, axis] += sign * step
            forces.append(calc.get_property("forces", moved))
        row = -(forces[0] - forces[1]) / (2 * step)
        matrix[axis] = np.exp(2j * np.pi * fractions @ q) @ row
    inertia = small.get_masses()[0] * _amu / _e / (HBAR * 1e10) ** 2
    return 1e3 * np.sqrt(np.linalg.eigvalsh((matrix + matrix.conj().T) / 2) / inertia)


def test_hybrid_bands_carry_their_spin_weight(tmp_path):
    waves = hybrid_waves(chain_atoms(20.0), chain_calculator(2e-3), supercell=(1, 1, 6))
    path = q_path(chain_atoms(), "GX", points={"X": (0, 0, 0.5)}, spacing=0.1)
    bands = hybrid_bands(waves, path)
    assert bands.energies.shape == bands.spin_weight.shape == (len(path.q), 4)
    np.testing.assert_allclose(bands.spin_weight.sum(axis=1), 1.0, atol=0.2)
    axes = bands.plot()
    assert "meV" in axes.get_ylabel()
    bands.save(tmp_path / "hybrid.npz")
    np.testing.assert_array_equal(type(bands).load(tmp_path / "hybrid.npz").spin_weight, bands.spin_weight)


# ------------------------------------------------------------------ trajectories


def linear_trajectory(cells: int, frames: int, step: float, kelvin: float) -> tuple[Atoms, np.ndarray, SpinWaves]:
    """Ferromagnetic chain with every mode at the classical amplitude |a|² = kT/ω, random phases."""
    magnitude = 2.0
    cell = Atoms("Fe", cell=[D, 9, 9], pbc=[True, False, False])
    model = HeisenbergModel.from_shells(cell, [0.005], magnitudes=magnitude, anisotropy=uniaxial(1e-3))
    waves = SpinWaves.from_model(model, [1.0])
    rng = np.random.default_rng(4)
    k = np.arange(cells)
    omega = waves.energies(np.column_stack([k / cells, 0 * k, 0 * k]))[:, 0]
    time = step * np.arange(frames)
    phase = rng.uniform(0, 2 * np.pi, cells) - omega * time[:, None] / HBAR_FS  # a ~ exp(-iωt)
    a = np.sqrt(1e3 * K_B * kelvin / omega) * np.exp(1j * phase)
    site = np.fft.ifft(a, axis=1) * cells / np.sqrt(cells)
    transverse = np.sqrt(2 / (magnitude / 2)) * site  # x - i y
    moments = magnitude * np.stack([transverse.real, -transverse.imag, np.ones_like(transverse.real)], axis=2)
    return cell.repeat((cells, 1, 1)), moments, waves


def test_trajectory_of_harmonic_magnons_falls_on_lswt_with_its_intensity():
    kelvin, cells = 40.0, 16
    atoms, moments, waves = linear_trajectory(cells, 6000, 2.0, kelvin)
    q = np.array([[3 / cells, 0, 0], [-5 / cells, 0, 0]])
    cell = [[D, 0, 0], [0, 9, 0], [0, 0, 9]]
    found = trajectory_spectrum(moments, atoms, q, time_step=2.0, cell=cell, temperature=kelvin, blocks=6)
    expected = spin_correlations(waves, q, temperature=kelvin)
    spacing = found.energy[1] - found.energy[0]
    for row in range(2):
        for mode in range(2):
            level, height = expected.energies[row, mode], expected.intensity("total")[row, mode]
            near = np.abs(found.energy - level) < 4 * spacing
            peak = found.energy[near][np.argmax(found.intensity[row, near])]
            assert abs(peak - level) <= spacing
            area = found.intensity[row, near].sum() * spacing
            assert area == pytest.approx(height, rel=0.05)
    assert np.all(found.error >= 0)


def test_sense_of_rotation_shows_in_the_chiral_part():
    atoms, moments, waves = linear_trajectory(16, 6000, 2.0, 40.0)
    q = [[3 / 16, 0, 4.0]]  # a part along the moment; any number fits along an open direction
    options = {"time_step": 2.0, "cell": [[D, 0, 0], [0, 9, 0], [0, 0, 9]], "blocks": 6}
    found = trajectory_spectrum(moments, atoms, q, component="chiral", temperature=40.0, **options)
    exact = spin_correlations(waves, q, temperature=40.0)
    spacing = found.energy[1] - found.energy[0]
    for level, height in zip(exact.energies[0], exact.intensity("chiral")[0], strict=True):
        near = np.abs(found.energy - level) < 4 * spacing
        assert abs(height) > 0.1
        assert found.intensity[0, near].sum() * spacing == pytest.approx(height, rel=0.05)


def test_low_temperature_dynamics_of_an_antiferromagnet_falls_on_lswt():
    """Nonlinear precession ħ de/dt = -2 e x F^m of a two-sublattice chain, fourth-order Runge-Kutta."""
    cells, step, frames = 12, 3.0, 2500
    cell = Atoms("Fe2", cell=[2 * D, 9, 9], positions=[[0, 0, 0], [D, 0, 0]], pbc=[True, False, False])
    set_moments(cell, [1.5, -1.5])
    model = HeisenbergModel.from_shells(cell, [-0.004], anisotropy=uniaxial(5e-4))
    waves = SpinWaves.from_model(model, [1.5, -1.5])
    big, atoms = model.repeat((cells, 1, 1)), cell.repeat((cells, 1, 1))
    rng = np.random.default_rng(8)
    e = get_moments(atoms) / 1.5 + 0.02 * rng.normal(size=(2 * cells, 3))
    e /= np.linalg.norm(e, axis=1, keepdims=True)

    def slope(x: np.ndarray) -> np.ndarray:
        return -2 / (1e-3 * HBAR_FS) * np.cross(x, big.magnetic_forces(1.5 * x))

    moments = np.zeros((frames, 2 * cells, 3))
    for frame in range(frames):
        moments[frame] = 1.5 * e
        a = slope(e)
        b = slope(e + step / 2 * a)
        c = slope(e + step / 2 * b)
        e = e + step / 6 * (a + 2 * b + 2 * c + slope(e + step * c))
        e /= np.linalg.norm(e, axis=1, keepdims=True)
    q = np.array([[n / cells, 0, 0] for n in (1, 2, 5)])
    found = trajectory_spectrum(moments, atoms, q, time_step=step, cell=cell.cell, blocks=3, component="xx")
    spacing = found.energy[1] - found.energy[0]
    for row, level in enumerate(waves.energies(q)[:, 0]):
        positive = found.energy > 2 * spacing
        peak = found.energy[positive][np.argmax(found.intensity[row, positive])]
        assert abs(peak - level) <= spacing


def test_moving_lattice_keeps_the_sum_rule():
    """With vibrating positions intensity goes from the line to its sides; at q = 0 nothing changes."""
    atoms, moments, _ = linear_trajectory(8, 1500, 2.0, 40.0)
    rng = np.random.default_rng(1)
    positions = atoms.positions + 0.05 * rng.normal(size=moments.shape)
    options = {"time_step": 2.0, "cell": [[D, 0, 0], [0, 9, 0], [0, 0, 9]], "component": "xx"}
    q = [[0, 0, 0], [1.25, 0, 0]]
    still = trajectory_spectrum(moments, atoms, q, **options)
    moving = trajectory_spectrum(moments, atoms, q, positions=positions, **options)
    np.testing.assert_allclose(moving.intensity[0], still.intensity[0], rtol=1e-9, atol=1e-12)
    k = int(np.argmax(still.intensity[1]))
    wave = 2 * np.pi * 1.25 / D
    assert moving.intensity[1, k] / still.intensity[1, k] == pytest.approx(np.exp(-((0.05 * wave) ** 2)), rel=0.05)


@pytest.mark.slow
def test_nio_model_by_the_hessian_route_and_by_the_exchange_route(nio):
    from deepspin_plugins.exchange import exchange_tensors

    calc = DeepSpin("nio", device="cpu")
    q = np.array([[0.5, 0, 0], [0.21, 0.13, 0.37], [0.4, 0.1, 0.2]])
    direct = spin_waves_from_potential(nio, calc, cutoff=4.2, method="finite-differences").energies(q)
    exchange = exchange_tensors(nio, calc, cutoff=4.2, method="finite-differences").to_model()
    np.testing.assert_allclose(
        SpinWaves.from_model(exchange, get_moments(nio), tolerance=1e-4).energies(q), direct, rtol=1e-2
    )


def test_collinear_order_of_a_supercell_has_the_folded_spectrum(rng):
    """Type-II order of the fcc lattice with second neighbours: rhombohedral cell against a cubic 32-site one."""
    primitive = Atoms("Ni", cell=2.085 * (np.ones((3, 3)) - np.eye(3)), pbc=True)
    model = HeisenbergModel.from_shells(primitive, [0.001, -0.02], magnitudes=2.0)
    large = primitive.repeat(2)
    moments = collinear_order(large, 2.0, (0.5, 0.5, 0.5), cell=primitive.cell)
    waves = SpinWaves.from_model(model.repeat(2), moments)
    assert np.sum(waves.energies((0, 0, 0))[0] < 1e-8) >= 2
    s, j2, j1 = 1.0, -20.0, 1.0
    top = waves.energies(rng.uniform(-0.5, 0.5, (50, 3))).max()
    assert top <= 6 * abs(j2) / s + 12 * abs(j1) / s
