"""Spin-wave energies against closed forms: factors of 2, signs, 1/|m|, conventions. Energies in meV to 1e-8."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import create_units

from deepspin_ase.heisenberg import HeisenbergModel, dm_tensor, uniaxial
from deepspin_ase.moments import spiral
from deepspin_ase.quantities import MU_B
from deepspin_plugins.magnons import SpinWaves, SpiralWaves, band_structure, relax_directions

EXACT = {"rtol": 0, "atol": 1e-8}
A = 2.5
FIELD_G2 = 2 * MU_B * 1e3  # meV/T: precession of a free moment with g = 2
RYDBERG = create_units("2018")["Rydberg"]


def chain(cells: int = 1) -> Atoms:
    return Atoms("Fe", cell=[A, 9, 9], pbc=[True, False, False]).repeat((cells, 1, 1))


def some_q(rng: np.random.Generator, count: int = 40) -> np.ndarray:
    return np.concatenate([np.zeros((1, 3)), rng.uniform(-1.5, 1.5, (count, 3))])


@pytest.mark.parametrize("magnitude", [0.6, 1.0, 2.0, 5.0])
def test_ferromagnetic_chain_has_one_over_the_moment(magnitude, rng):
    j = 10.0
    waves = SpinWaves.from_model(HeisenbergModel.from_shells(chain(), [1e-3 * j], magnitudes=magnitude), [1.0])
    q = some_q(rng)
    expected = 2 / magnitude * 2 * j * (1 - np.cos(2 * np.pi * q[:, 0]))
    np.testing.assert_allclose(waves.energies(q)[:, 0], expected, **EXACT)


CUBIC = {
    "sc": (np.eye(3), lambda x, y, z: 2 * (3 - np.cos(x) - np.cos(y) - np.cos(z))),
    "bcc": (
        (np.ones((3, 3)) - 2 * np.eye(3)) / 2,
        lambda x, y, z: 8 * (1 - np.cos(x / 2) * np.cos(y / 2) * np.cos(z / 2)),
    ),
    "fcc": (
        (np.ones((3, 3)) - np.eye(3)) / 2,
        lambda x, y, z: (
            4 * (3 - np.cos(x / 2) * np.cos(y / 2) - np.cos(y / 2) * np.cos(z / 2) - np.cos(z / 2) * np.cos(x / 2))
        ),
    ),
}


@pytest.mark.parametrize("lattice", CUBIC)
def test_cubic_ferromagnets_with_spin_length_s(lattice, rng):
    """JS times the sums of cosines, with J = J_S S² and |m| = 2 S, moments along an arbitrary direction."""
    vectors, form = CUBIC[lattice]
    js, s = 7.0, 1.5
    atoms = Atoms("Fe", cell=A * vectors, pbc=True)
    waves = SpinWaves.from_model(
        HeisenbergModel.from_shells(atoms, [1e-3 * js * s**2], magnitudes=2 * s), [[1.0, -2.0, 0.5]]
    )
    q = some_q(rng)
    x, y, z = (q @ (2 * np.pi * np.linalg.inv(A * vectors).T) * A).T
    np.testing.assert_allclose(waves.energies(q)[:, 0], js * s * form(x, y, z), **EXACT)


@pytest.mark.parametrize("cells", [2, 3])
def test_a_supercell_folds_the_bands(cells, rng):
    model = HeisenbergModel.from_shells(bulk("Fe", a=2.8665), [0.03, 0.01], magnitudes=2.2)
    small = SpinWaves.from_model(model, [1.0])
    large = SpinWaves.from_model(model.repeat((cells, 1, 1)), np.ones(cells))
    for q in rng.uniform(-0.5, 0.5, (5, 3)):
        folded = [small.energies(((q[0] + n) / cells, q[1], q[2]))[0, 0] for n in range(cells)]
        np.testing.assert_allclose(large.energies(q)[0], np.sort(folded), **EXACT)


@pytest.mark.parametrize(("direction", "sign"), [((0, 0, 1), 1), ((1, 1, 1), 1)])
def test_uniaxial_gap_is_four_k_over_the_moment(direction, sign):
    k, magnitude = 0.3, 1.7
    model = HeisenbergModel.from_shells(
        bulk("Fe", a=2.8665), [0.03], magnitudes=magnitude, anisotropy=uniaxial(1e-3 * k, direction)
    )
    waves = SpinWaves.from_model(model, [direction])
    assert waves.energies((0, 0, 0))[0, 0] == pytest.approx(sign * 2 / magnitude * 2 * k, abs=1e-8)


def test_easy_plane_ferromagnet():
    """K_x > 0 easy, K_z < 0 hard: ħω(Γ) = (2/|m|) √(2K_x · 2(K_x - K_z))."""
    kx, kz, magnitude = 0.2, -0.5, 2.0
    model = HeisenbergModel.from_shells(
        bulk("Fe", a=2.8665), [0.03], magnitudes=magnitude, anisotropy=1e-3 * np.diag([kx, 0.0, kz])
    )
    waves = SpinWaves.from_model(model, [[1.0, 0, 0]])
    expected = 2 / magnitude * np.sqrt(2 * kx * 2 * (kx - kz))
    assert waves.energies((0, 0, 0))[0, 0] == pytest.approx(expected, abs=1e-8)


def test_a_field_adds_g_mu_b_times_b_whatever_the_moment(rng):
    for magnitude in (0.7, 3.0):
        model = HeisenbergModel.from_shells(chain(), [0.01], magnitudes=magnitude, field=(0, 0, 12.0))
        free = HeisenbergModel.from_shells(chain(), [0.01], magnitudes=magnitude)
        q = some_q(rng, 5)
        gap = SpinWaves.from_model(model, [1.0]).energies(q) - SpinWaves.from_model(free, [1.0]).energies(q)
        np.testing.assert_allclose(gap, 12.0 * FIELD_G2, **EXACT)


def test_antiferromagnetic_chain(rng):
    j, s = 5.0, 2.5
    model = HeisenbergModel.from_shells(chain(2), [-1e-3 * j * s**2], magnitudes=2 * s)
    waves = SpinWaves.from_model(model, [1.0, -1.0])
    q = some_q(rng)
    expected = 2 * j * s * np.abs(np.sin(np.pi * q[:, :1])) * np.ones(2)  # q of the doubled cell
    np.testing.assert_allclose(waves.energies(q), expected, **EXACT)


@pytest.mark.parametrize("h", [0.0, 0.13])
def test_bipartite_antiferromagnet_with_anisotropy(h, rng):
    """zJS √((1 + h)² - γ²) with h = 2K_S S.../(zJS) for -K e_z²: h = 2K/(z J S²)."""
    js, s, z = 4.0, 1.0, 6
    atoms = Atoms(
        "Fe2", cell=A * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), positions=[[0, 0, 0], [A, 0, 0]], pbc=True
    )
    k = h * z * js * s**2 / 2
    model = HeisenbergModel.from_shells(
        atoms, [-1e-3 * js * s**2], magnitudes=2 * s, anisotropy=uniaxial(1e-3 * k) if h else None
    )
    waves = SpinWaves.from_model(model, [1.0, -1.0])
    q = some_q(rng)
    wave = q @ (2 * np.pi * np.linalg.inv(atoms.cell.array).T) * A
    gamma = np.cos(wave).mean(axis=1)
    expected = z * js * s * np.sqrt((1 + h) ** 2 - gamma**2)
    np.testing.assert_allclose(waves.energies(q), expected[:, None] * np.ones(2), **EXACT)


def test_collinear_antiferromagnet_in_a_parallel_field_splits(rng):
    k, j = 1.0, 6.0
    args = {"magnitudes": 2.0, "anisotropy": uniaxial(1e-3 * k)}
    free = SpinWaves.from_model(HeisenbergModel.from_shells(chain(2), [-1e-3 * j], **args), [1.0, -1.0])
    field = SpinWaves.from_model(
        HeisenbergModel.from_shells(chain(2), [-1e-3 * j], field=(0, 0, 3.0), **args), [1.0, -1.0]
    )
    q = some_q(rng, 10)
    shift = 3.0 * FIELD_G2 * np.array([-1, 1])
    np.testing.assert_allclose(field.energies(q), free.energies(q) + shift, **EXACT)


def honeycomb(j: float, dmi: float, s: float) -> HeisenbergModel:
    """J_S and A (meV) of H = -J Σ S·S + A Σ z·(S x S) on second neighbours."""
    a = 6.0
    atoms = Atoms(
        "Cr2",
        cell=[[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 20]],
        scaled_positions=[[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]],
        pbc=[True, True, False],
    )
    plain = HeisenbergModel.from_shells(atoms, [1e-3 * j * s**2], magnitudes=2 * s).bonds
    once = plain.i < plain.j
    bonds = list(zip(plain.i[once], plain.j[once], plain.image[once], plain.tensor[once], strict=True))
    for image in ((1, 0, 0), (0, 1, 0), (-1, -1, 0)):
        bonds += [
            (0, 0, image, dm_tensor([0, 0, 1e-3 * dmi * s**2])),
            (1, 1, image, dm_tensor([0, 0, -1e-3 * dmi * s**2])),
        ]
    return HeisenbergModel.from_bonds(atoms, bonds, magnitudes=2 * s)


def test_honeycomb_with_dmi_has_the_measured_numbers():
    waves = SpinWaves.from_model(honeycomb(2.01, 0.31, 1.5), [1.0, 1.0])
    levels = waves.energies([[0, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0]])
    np.testing.assert_allclose(levels, [[0, 18.09], [6.03, 12.06], [6.62879, 11.46121]], atol=6e-6)
    gap = 2 * 3 * np.sqrt(3) * 1.5 * 0.31  # at K
    assert levels[2, 1] - levels[2, 0] == pytest.approx(gap, abs=1e-8)


def test_honeycomb_dirac_crossing_and_its_slope():
    """Without DMI the bands cross at K with the slope (√3/2) a J S."""
    j, s = 2.01, 1.5
    waves = SpinWaves.from_model(honeycomb(j, 0.0, s), [1.0, 1.0])
    k = np.array([1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(waves.energies(k)[0], 3 * j * s, **EXACT)
    near = waves.velocities(k + 1e-6)[0]
    slope = np.sqrt(3) / 2 * 6.0 * j * s
    np.testing.assert_allclose(np.linalg.norm(near, axis=1), slope, rtol=1e-4)
    np.testing.assert_allclose(near[0], -near[1], rtol=1e-4, atol=1e-6)


def test_hcp_crossings():
    """hcp, 6 + 6 neighbours: bands meet at K, H and everywhere on the face of the zone (L, A), not at Γ and M."""
    a, j, magnitude = 2.5, 10.0, 1.6
    atoms = bulk("Co", "hcp", a=a, c=a * np.sqrt(8 / 3))
    waves = SpinWaves.from_model(HeisenbergModel.from_shells(atoms, [1e-3 * j], magnitudes=magnitude), [1.0, 1.0])
    points = {"Γ": (0, 0, 0), "M": (0.5, 0, 0), "K": (1 / 3, 1 / 3, 0), "A": (0, 0, 0.5), "H": (1 / 3, 1 / 3, 0.5)}
    levels = {name: waves.energies(q)[0] * magnitude / 2 / j for name, q in points.items()}
    np.testing.assert_allclose(levels["Γ"], [0, 12], **EXACT)
    np.testing.assert_allclose(levels["K"], [12 + 3, 12 + 3], **EXACT)  # in-plane sum -3, interlayer sum 0
    np.testing.assert_allclose(levels["H"], [15, 15], **EXACT)
    np.testing.assert_allclose(levels["A"], [6, 6], **EXACT)
    np.testing.assert_allclose(levels["M"], [12, 16], **EXACT)  # in-plane -2, interlayer ±2


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.8, 0.999])
def test_canted_square_antiferromagnet_in_a_field(fraction, rng):
    """4JS √((1 + γ_k)(1 - cos 2θ γ_k)), sin θ = B/B_sat, at k and k + (π, π) (Zhitomirsky and Nikuni 1998)."""
    js, s, a = 3.0, 1.0, 3.0
    saturation = 8 * js * s / FIELD_G2  # gµB B_s = 8JS
    atoms = Atoms(
        "Fe2", cell=[[a, a, 0], [a, -a, 0], [0, 0, 12]], positions=[[0, 0, 0], [a, 0, 0]], pbc=[True, True, False]
    )
    model = HeisenbergModel.from_shells(
        atoms, [-1e-3 * js * s**2], magnitudes=2 * s, field=(0, 0, fraction * saturation)
    )
    theta = np.arcsin(fraction)
    state = [[np.cos(theta), 0, np.sin(theta)], [-np.cos(theta), 0, np.sin(theta)]]
    waves = SpinWaves.from_model(model, state)
    q = some_q(rng)
    wave = q @ (2 * np.pi * np.linalg.inv(np.array(atoms.cell.array)).T) * a
    gamma = np.cos(wave[:, :2]).mean(axis=1)
    branch = [4 * js * s * np.sqrt(np.maximum((1 + g) * (1 - np.cos(2 * theta) * g), 0)) for g in (gamma, -gamma)]
    np.testing.assert_allclose(waves.energies(q), np.sort(np.transpose(branch), axis=1), rtol=0, atol=2e-7)
    np.testing.assert_allclose(waves.energies(q[1:]), np.sort(np.transpose(branch), axis=1)[1:], **EXACT)
    # the uniform mode turns with gµB B whatever the exchange
    assert waves.energies((0, 0, 0))[0, 1] == pytest.approx(fraction * saturation * FIELD_G2, abs=1e-8)


def dmi_chain(pitch: float, j: float = 10.0, magnitude: float = 2.0, easy_plane: float = 0.0) -> HeisenbergModel:
    """Chain whose ground state turns by 2π·pitch per site about z: tan(q a) = D/J."""
    tensor = 1e-3 * j * (np.eye(3) + dm_tensor([0, 0, np.tan(2 * np.pi * pitch)]))
    return HeisenbergModel.from_bonds(
        chain(), [(0, 0, (1, 0, 0), tensor)], magnitudes=magnitude, anisotropy=uniaxial(-1e-3 * easy_plane)
    )


@pytest.mark.parametrize("easy_plane", [0.0, 0.7])
def test_dmi_spiral_in_the_rotating_frame_is_its_supercell(easy_plane, rng):
    model, cells = dmi_chain(1 / 8, easy_plane=easy_plane), 8
    rotating = SpiralWaves.from_spiral(model, [[1.0, 0, 0]], (1 / cells, 0, 0), "z")
    structure = chain(cells)
    moments = spiral(structure, 2.0, q=(1 / cells, 0, 0), axis="z", cell=chain().cell)
    explicit = SpinWaves.from_model(model.repeat((cells, 1, 1)), moments)
    for q in rng.uniform(-0.5, 0.5, 4):
        folded = rotating.energies([[(q + n) / cells, 0, 0] for n in range(cells)]).ravel()
        np.testing.assert_allclose(explicit.energies((q, 0, 0))[0], np.sort(folded), **EXACT)


def test_incommensurate_dmi_spiral_against_the_closed_form(rng):
    """With J' = √(J² + D²): ħω = (2/|m|)·2 √(J'(1 - c)·(J' - J c)), c = cos qa: hard rotation out of the plane."""
    pitch, j, magnitude = 0.0873, 10.0, 1.4
    waves = SpiralWaves.from_spiral(dmi_chain(pitch, j, magnitude), [[1.0, 0, 0]], (pitch, 0, 0), "z")
    q = some_q(rng)
    c = np.cos(2 * np.pi * q[:, 0])
    stiff = j / np.cos(2 * np.pi * pitch)
    expected = 2 / magnitude * 2 * np.sqrt(stiff * (1 - c) * (stiff - j * c))
    np.testing.assert_allclose(waves.energies(q)[:, 0], expected, **EXACT)
    laboratory = waves.laboratory_energies(q)[:, :, 0]
    np.testing.assert_allclose(laboratory[:, 1], waves.energies(q - [pitch, 0, 0])[:, 0], **EXACT)
    np.testing.assert_allclose(laboratory[:, 2], waves.energies(q + np.array([pitch, 0, 0]))[:, 0], **EXACT)


def test_frustrated_chain_spiral(rng):
    """J1-J2 spiral, cos(2πk) = -J1/(4 J2): a single-cell calculation against the textbook formula for E = -Σ J e·e:

    ħω = (2/|m|) √([J(k) - J(q)] [J(k) - (J(k+q) + J(k-q))/2]), J(q) = 2 J1 cos q + 2 J2 cos 2q.
    """
    j1, j2, magnitude = 5.0, -4.0, 2.0
    model = HeisenbergModel.from_shells(chain(), [1e-3 * j1, 1e-3 * j2], magnitudes=magnitude)
    k = np.arccos(-j1 / (4 * j2)) / (2 * np.pi)
    waves = SpiralWaves.from_spiral(model, [[1.0, 0, 0]], (k, 0, 0), "z")
    q = some_q(rng)

    def exchange(x: np.ndarray | float) -> np.ndarray:
        return 2 * j1 * np.cos(2 * np.pi * np.asarray(x)) + 2 * j2 * np.cos(4 * np.pi * np.asarray(x))

    x = q[:, 0]
    in_plane = exchange(k) - (exchange(k + x) + exchange(k - x)) / 2
    expected = 2 / magnitude * np.sqrt(np.maximum((exchange(k) - exchange(x)) * in_plane, 0))
    np.testing.assert_allclose(waves.energies(q)[:, 0], expected, **EXACT)


def test_triangular_antiferromagnet_120_degrees(rng):
    """Three sublattices against the rotating frame, and three Goldstone modes at Γ."""
    a = 3.0
    cell = Atoms("Fe", cell=[[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 20]], pbc=[True, True, False])
    model = HeisenbergModel.from_shells(cell, [-0.01], magnitudes=2.0)
    rotating = SpiralWaves.from_spiral(model, [[1.0, 0, 0]], (1 / 3, 1 / 3, 0), "z")
    structure = cell.repeat((3, 3, 1))
    moments = spiral(structure, 2.0, q=(1 / 3, 1 / 3, 0), axis="z", cell=cell.cell)
    explicit = SpinWaves.from_model(model.repeat((3, 3, 1)), moments)
    assert np.sum(explicit.energies((0, 0, 0))[0] < 1e-8) == 3
    q = rng.uniform(-0.5, 0.5, 3) * [1, 1, 0]
    folded = rotating.energies([[(q[0] + n) / 3, (q[1] + m) / 3, 0] for n in range(3) for m in range(3)]).ravel()
    np.testing.assert_allclose(explicit.energies(q)[0], np.sort(folded), **EXACT)


def test_energies_do_not_depend_on_the_orientation_of_everything(rng):
    from scipy.spatial.transform import Rotation

    model = honeycomb(2.01, 0.31, 1.5)
    turn = Rotation.random(random_state=3).as_matrix()
    turned = model.rotated(turn)
    moments = np.array([[0, 0, 1.0], [0, 0, 1.0]])
    q = some_q(rng, 6) * [1, 1, 0]
    np.testing.assert_allclose(
        SpinWaves.from_model(turned, moments @ turn.T).energies(q),
        SpinWaves.from_model(model, moments).energies(q),
        **EXACT,
    )


def pajda_iron() -> HeisenbergModel:
    """Ten shells of PRB 64, 174402, mRy with both orders counted; the tenth only along ⟨111⟩."""
    values = [1.432, 0.815, -0.016, -0.126, -0.146, 0.062, 0.001, 0.015, -0.032, 0.187]
    shells: dict[int, object] = {n: 2e-3 * RYDBERG * value for n, value in enumerate(values[:9], start=1)}
    last = 2e-3 * RYDBERG * values[9]
    shells[10] = lambda r: np.where(np.ptp(np.abs(r), axis=1) < 1e-3, last, 0.0)
    return HeisenbergModel.from_shells(bulk("Fe", a=2.8665), shells, magnitudes=2.22)


def test_iron_at_the_zone_boundary():
    bands = band_structure(SpinWaves.from_model(pajda_iron(), [1.0]))
    assert set("HNP") <= {letter for label in bands.labels for letter in label}
    for label, expected in {"H": 488, "N": 384, "P": 444}.items():
        assert bands.at(label)[0] == pytest.approx(expected, abs=0.6)


def test_relaxed_state_of_a_frustrated_cluster_is_a_minimum(rng):
    """A random model with DMI and anisotropy in a random cell: after relaxation every q is stable."""
    atoms = Atoms("Fe3", cell=[6.0, 6.5, 7.0], positions=rng.uniform(0, 6, (3, 3)), pbc=True)

    def tensor(vectors: np.ndarray) -> np.ndarray:
        return 0.01 * np.exp(-np.linalg.norm(vectors, axis=1))[:, None, None] * np.eye(3) * 10

    model = HeisenbergModel.from_shells(
        atoms, {n: tensor for n in range(1, 4)}, dmi={1: 0.003}, magnitudes=2.0, anisotropy=uniaxial(0.002, (1, 2, 0))
    )
    waves = SpinWaves.from_model(model, relax_directions(model, starts=3, rng=1))
    assert waves.energies((0, 0, 0))[0, 0] > 0.0


def test_velocities_are_slopes(rng):
    model = honeycomb(2.01, 0.31, 1.5)
    waves = SpinWaves.from_model(model, [1.0, 1.0])
    cell = waves.to_atoms().cell.complete().array
    for q in rng.uniform(-0.5, 0.5, (4, 3)) * [1, 1, 0]:
        step = 1e-5 * np.eye(3)[:2]
        fraction = step @ cell.T / (2 * np.pi)
        slope = (waves.energies(q + fraction) - waves.energies(q - fraction)) / 2e-5
        np.testing.assert_allclose(waves.velocities(q)[0, :, :2], slope.T, rtol=1e-5, atol=1e-5)
