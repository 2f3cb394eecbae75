"""Phonons of crystals whose frequencies are known: springs, exchange J(r), lengths of moments that follow, bcc iron."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.units import _amu, _e, _hbar
from numpy.typing import NDArray

from deepspin_ase import Heisenberg, set_moments
from deepspin_ase.heisenberg import Landau, Polynomial
from deepspin_plugins.phonons import PhononResult, elastic_constants, phonons
from tests.phonon_cases import (
    THZ,
    DifferentiableHeisenberg,
    Springs,
    born_von_karman_iron,
    rocksalt_frequencies,
    rocksalt_springs,
)

Array = NDArray[np.float64]

A, ALONG, ACROSS = 4.2, 3.1, 0.7
Q = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.25, 0.5, 0.0], [0.5, 0.25, -0.25], [0.13, 0.31, -0.44]])


@pytest.fixture(scope="module")
def salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=A)
    atoms.calc = rocksalt_springs(A, ALONG, ACROSS)
    return atoms


def closed_form(atoms: Atoms, q: Array) -> Array:
    cartesian = 2 * np.pi * q @ np.linalg.inv(atoms.cell.array).T
    masses = tuple(atoms.get_masses())
    return np.array([rocksalt_frequencies(one, A, ALONG, ACROSS, masses) for one in cartesian])


def close(found: Array, expected: Array, tolerance: float = 1e-6) -> bool:
    """Equal frequencies; near zero, where a root magnifies round-off, equal squares."""
    squares = np.abs(found * np.abs(found) - expected**2) < tolerance * expected.max()
    return bool(np.all(squares & ((np.abs(found - expected) < tolerance) | (expected < 1e-3))))


@pytest.mark.parametrize("method", ["displacements", "random", "hessian"])
def test_every_route_gives_the_spring_crystal(salt: Atoms, method: Any) -> None:
    result = phonons(salt, supercell=(3, 3, 3), method=method)
    assert close(result.frequencies(Q), closed_form(salt, Q))
    assert result.sum_rule_error < 1e-10


def test_ase_phonons_agree(salt: Atoms, tmp_path: Any) -> None:
    from ase.phonons import Phonons

    run = Phonons(salt, salt.calc, supercell=(3, 3, 3), delta=0.01, name=str(tmp_path / "phonon"))
    run.run()
    run.read(acoustic=True)
    energies = run.band_structure(Q, verbose=False)
    root = energies * np.sqrt(_e * _amu) / (_hbar * 1e10)  # ω in (eV/(Å² amu))^½
    assert close(THZ * np.sort(root, axis=1), closed_form(salt, Q))


def test_terahertz_are_those_of_codata() -> None:
    from scipy.constants import atomic_mass, elementary_charge

    assert pytest.approx(np.sqrt(elementary_charge / 1e-20 / atomic_mass) / (2e12 * np.pi), rel=2e-7) == THZ


def test_conventional_cell_is_reduced_to_the_primitive_one(salt: Atoms) -> None:
    cubic = bulk("NaCl", "rocksalt", a=A, cubic=True)
    cubic.calc = salt.calc
    result = phonons(cubic, supercell=(2, 2, 2))
    assert len(result.primitive) == 2
    cartesian = np.array([0.3, 0.1, 0.2])  # 1/Å
    q = cartesian @ result.primitive.cell.array.T / (2 * np.pi)
    masses = tuple(salt.get_masses())
    assert close(result.frequencies(q)[0], rocksalt_frequencies(cartesian, A, ALONG, ACROSS, masses))


def test_sound_of_the_spring_crystal(salt: Atoms) -> None:
    """ρ v² along x is (k a²/2 per bond ...): C11 = 2 L/a, C44-like slope 2 T/a, from the closed form at small q."""
    sound = phonons(salt, supercell=(3, 3, 3), method="hessian").sound()
    step = 1e-3
    masses = tuple(salt.get_masses())
    slow = rocksalt_frequencies(np.array([step, 0, 0]), A, ALONG, ACROSS, masses)[:3] * 2 * np.pi / step / 10
    assert sound.velocities([[1.0, 0.0, 0.0]])[0] == pytest.approx(slow, rel=1e-5)


def test_heat_capacity_at_low_temperature_is_debyes(salt: Atoms) -> None:
    result = phonons(salt, supercell=(3, 3, 3), method="hessian")
    cold = np.array([12.0])
    found = result.thermal(cold, mesh=60).heat_capacity
    debye = 12 * np.pi**4 / 5 * (cold / result.debye_temperature) ** 3
    assert found == pytest.approx(debye, rel=0.03)
    hot = result.thermal([3000.0], mesh=8)
    assert hot.heat_capacity == pytest.approx(3.0, abs=0.01)


# ---------------------------------------------------------------------- exchange that follows the atoms

D = 2.5
STIFF, SLOPE = 4.0, -0.6
EXCHANGE = Polynomial(coefficients=(0.2, SLOPE, 0.9), r0=D, cutoff=1.13 * D, onset=1.08 * D)  # J(r), eV
LATTICE = Polynomial(coefficients=(0.0, 0.0, STIFF), r0=D, cutoff=1.13 * D, onset=1.08 * D)


def pair_frequencies(atoms: Atoms, slope: Any, curvature: Any, q: Array) -> Array:
    """Central pair forces between nearest neighbours of a crystal: D(q) by a direct sum; slope, curvature(i, j)."""
    from ase.neighborlist import neighbor_list

    i, j, bond, image = neighbor_list("ijDS", atoms, 1.1 * D)
    mass = atoms.get_masses()
    n = len(atoms)
    result = []
    for one in q:
        dynamical = np.zeros((n, 3, n, 3), dtype=complex)
        for a, b, r, s in zip(i, j, bond, image, strict=True):
            length = np.linalg.norm(r)
            line = np.outer(r, r) / length**2
            k = curvature(a, b) * line + slope(a, b) / length * (np.eye(3) - line)
            dynamical[a, :, a] += k / mass[a]
            dynamical[a, :, b] -= k * np.exp(2j * np.pi * one @ s) / np.sqrt(mass[a] * mass[b])
        squares = np.linalg.eigvalsh(dynamical.reshape(3 * n, 3 * n))
        result.append(THZ * np.sign(squares) * np.sqrt(np.abs(squares)))
    return np.array(result)


def caesium_chloride(order: float) -> Atoms:
    """Two-atom cell of bcc: a ferromagnet for order 1, the two-sublattice antiferromagnet for order -1."""
    a = 2 * D / np.sqrt(3)
    atoms = Atoms("Fe2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=a * np.eye(3), pbc=True)
    set_moments(atoms, np.outer([2.0, order * 2.0], [0.6, 0.0, 0.8]))
    return atoms


@pytest.mark.parametrize("order", [1.0, -1.0])
@pytest.mark.parametrize("method", ["displacements", "random", "hessian"])
def test_exchange_of_atoms_that_move(order: float, method: Any) -> None:
    """E = ½ Σ_{i≠j} [V - J e_i·e_j](r): J enters the curvature with J'' and the transverse force with J'/r."""
    atoms = caesium_chloride(order)
    atoms.calc = DifferentiableHeisenberg(exchange=EXCHANGE, lattice=LATTICE)
    result = phonons(atoms, supercell=(3, 3, 3), method=method, distance=3e-4)
    assert len(result.primitive) == (1 if order > 0 else 2)
    assert result.axis == pytest.approx(np.array([0.6, 0.0, 0.8]))
    cell = atoms if order < 0 else result.primitive
    expected = pair_frequencies(cell, lambda i, j: -SLOPE * order, lambda i, j: 2 * STIFF - 2 * 0.9 * order, Q)
    assert np.abs(result.frequencies(Q)[1:] - expected[1:]).max() < 2e-6


def test_lengths_of_moments_that_follow_soften_the_lattice() -> None:
    """Simple cubic, E = Σ (a m² + b m⁴) - ½ Σ J(r) m_i m_j + lattice. Eliminating m at wavevector q takes

    G(q) G(q)†/Φ_mm(q), G = -i m Σ J' r̂ sin(q·r), Φ_mm = 2a + 12 b m² - Σ J cos(q·r), off the dynamical matrix.
    """
    j0, slope, a, b, spring = 0.02, -0.15, -0.05, 0.01, 3.0
    m = np.sqrt((6 * j0 / 2 - a) / (2 * b))  # 2am + 4bm³ = 6 J m
    exchange = Polynomial(coefficients=(j0, slope), r0=D, cutoff=1.3 * D, onset=1.25 * D)
    rest = slope * m**2  # the lattice takes up the pull of the exchange: V' = J' m²
    springs = Polynomial(coefficients=(0.0, rest, spring), r0=D, cutoff=1.3 * D, onset=1.25 * D)
    atoms = Atoms("Fe", cell=D * np.eye(3), pbc=True)
    set_moments(atoms, [[0.0, 0.0, 1.02 * m]])
    atoms.calc = Heisenberg(exchange=exchange, lattice=springs, landau={"Fe": Landau(a, b)}, normalise=False)
    # springs along a simple cubic bond leave shear free: only the longitudinal branch along x is looked at
    q = np.array([[0.25, 0.0, 0.0], [0.5, 0.0, 0.0], [0.125, 0.0, 0.0]])
    mass = atoms.get_masses()[0]
    angle = 2 * np.pi * q[:, 0]
    frozen = 2 * (2 * spring) * (1 - np.cos(angle)) / mass
    coupling = m * slope * 2 * np.sin(angle)
    stiffness = 2 * a + 12 * b * m**2 - j0 * (4 + 2 * np.cos(angle))
    relaxed = frozen - coupling**2 / stiffness / mass
    assert np.abs(relaxed / frozen - 1).max() > 0.05  # there is something to see
    for state, expected in (("frozen", frozen), ("directions", frozen), ("relaxed", relaxed)):
        # frozen at the length that the relaxed state finds, so that the crystal is at rest in all three
        set_moments(atoms, [[0.0, 0.0, m if state != "relaxed" else 1.02 * m]])
        result = phonons(atoms, supercell=(8, 1, 1) if state == "frozen" else (8, 2, 2), state=state, distance=2e-3)
        found = result.frequencies(q).max(axis=1)
        assert found == pytest.approx(THZ * np.sqrt(expected), abs=2e-4)


# ---------------------------------------------------------------------- bcc iron

LATTICE_CONSTANT = 2.8665
POINTS = {"H": (1.0, 0.0, 0.0), "N": (0.5, 0.5, 0.0), "P": (0.5, 0.5, 0.5)}  # in 2π/a
MEASURED = {"H": [8.57, 8.57, 8.57], "N": [4.49, 6.48, 9.38], "P": [7.26, 7.26, 7.26]}


@pytest.fixture(scope="module")
def iron() -> PhononResult:
    atoms = bulk("Fe", "bcc", a=LATTICE_CONSTANT)
    set_moments(atoms, 2.22)
    return phonons(atoms, born_von_karman_iron(LATTICE_CONSTANT), supercell=(5, 5, 5))


@pytest.mark.parametrize("point", POINTS)
def test_iron_at_special_points(iron: PhononResult, point: str) -> None:
    """Force constants of neutron scattering give the frequencies that reference tables print with two decimals."""
    q = np.array(POINTS[point]) / LATTICE_CONSTANT @ iron.primitive.cell.array.T
    assert iron.frequencies(q)[0] == pytest.approx(MEASURED[point], abs=0.0051)


def test_iron_on_its_whole_path_against_a_direct_sum(iron: PhononResult) -> None:
    springs = born_von_karman_iron(LATTICE_CONSTANT)
    bands = iron.bands("GHPGNH", points={"H": (0.5, -0.5, 0.5), "P": (0.25, 0.25, 0.25), "N": (0, 0, 0.5)}, spacing=0.1)
    cartesian = 2 * np.pi * bands.q @ np.linalg.inv(iron.primitive.cell.array).T
    phase = 1 - np.cos(cartesian @ springs.vectors.T)
    squares = np.linalg.eigvalsh(np.einsum("qb,bij->qij", phase, springs.matrices)) / iron.primitive.get_masses()[0]
    expected = THZ * np.sqrt(np.maximum(squares, 0.0))
    assert np.abs(bands.frequencies - expected)[expected.min(axis=1) > 1e-3].max() < 1e-6
    numeric = (
        np.gradient(bands.frequencies[:5, -1], bands.distance[:5]) * 2 * np.pi / 10
    )  # km/s along the first segment
    along = cartesian[1] / np.linalg.norm(cartesian[1])
    assert bands.velocities[2, -1] @ along == pytest.approx(numeric[2], rel=0.02)


def test_supercell_that_is_too_small_says_so(iron: PhononResult, salt: Atoms) -> None:
    """Five shells do not fit into 27 cells of iron; the estimate is of the order of the true error and not below it."""
    assert phonons(salt, supercell=3).range_error(6) < 1e-6
    small = phonons(iron.unitcell, born_von_karman_iron(LATTICE_CONSTANT), supercell=(3, 3, 3))
    mesh = {"mesh": [9, 9, 9], "is_mesh_symmetry": False, "is_gamma_center": True}
    found, exact = (one.phonon.run_mesh(**mesh).frequencies for one in (small, iron))
    true = np.sqrt(np.mean((found - exact) ** 2))
    assert 0.02 < true < small.range_error(9) < 3 * true


def test_elasticity_of_iron(iron: PhononResult) -> None:
    sound = iron.sound()
    assert np.diag(sound.stiffness)[[0, 3]] == pytest.approx([231, 116], rel=0.04)  # ultrasound, GPa
    assert sound.stiffness[0, 1] == pytest.approx(135, rel=0.04)
    assert sound.debye_temperature == pytest.approx(470, rel=0.03)


def test_slopes_and_stress_give_the_same_stiffness() -> None:
    """Central forces in a cell without stress: fcc with first and second neighbours, made stable by the second."""
    a = D * np.sqrt(2)

    class Both(Calculator):
        implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

        def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = None) -> None:
            super().calculate(atoms, properties, system_changes or [])
            from ase.neighborlist import neighbor_list

            i, r = neighbor_list("iD", atoms, 1.2 * a)
            length = np.linalg.norm(r, axis=1)
            first = length < 1.2 * D
            stretch = length - np.where(first, D, a)
            stiffness = np.where(first, 2.0, 0.7)
            pull = (2 * stiffness * stretch / length)[:, None] * r
            forces = np.zeros((len(atoms), 3))
            np.add.at(forces, i, pull)
            virial = 0.5 * r.T @ pull / atoms.get_volume()
            energy = 0.5 * float(np.sum(stiffness * stretch**2))
            self.results = {
                "energy": energy,
                "free_energy": energy,
                "forces": forces,
                "stress": virial.flat[[0, 4, 8, 5, 2, 1]],
            }

    atoms = bulk("Ni", "fcc", a=a)
    set_moments(atoms, 0.6)
    atoms.calc = Both()
    stress = elastic_constants(atoms)
    sound = phonons(atoms, supercell=(5, 5, 5), distance=2e-3).sound()
    # first neighbours: C11 = 2k/a, C12 = C44 = k/a with k = V''; second: C11 += 2 k2/a (V'' = 2 x coefficient)
    unit = 160.21766
    k1, k2 = 4.0 * unit, 1.4 * unit
    expected = np.zeros((6, 6))
    expected[:3, :3] = k1 / a / 1.0
    np.fill_diagonal(expected, [2 * k1 / a + 4 * k2 / a] * 3 + [k1 / a] * 3)
    assert stress.stiffness == pytest.approx(sound.stiffness, abs=0.02)
    assert stress.error.max() < 0.05
    assert sound.misfit < 0.01
    assert stress.stiffness[0, 1] == pytest.approx(stress.stiffness[3, 3], abs=0.01)  # Cauchy's relation
    assert stress.stiffness == pytest.approx(expected, abs=0.05)


def test_springs_are_their_own_reference() -> None:
    """The spring crystal of the tests obeys Newton: forces are minus the derivative of the energy."""
    calc: Springs = rocksalt_springs(A, ALONG, ACROSS)
    atoms = bulk("NaCl", "rocksalt", a=A).repeat(3)
    atoms.positions += np.random.default_rng(0).normal(0, 0.02, (len(atoms), 3))
    from ase.calculators.fd import calculate_numerical_forces

    atoms.calc = calc
    numeric = calculate_numerical_forces(atoms, 1e-4, iatoms=[0, 5])
    assert atoms.get_forces()[[0, 5]] == pytest.approx(numeric, abs=1e-8)
