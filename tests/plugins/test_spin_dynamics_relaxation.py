"""Results and errors of moment relaxation and of minimum-energy paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from deepspin_ase import DeepSpin, Heisenberg, HeisenbergModel, ferromagnet, get_moments, set_moments, tilt
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import uniaxial
from deepspin_plugins.spin_dynamics.minimize import MomentMinimum, minimize_moments
from deepspin_plugins.spin_dynamics.neb import geodesic_neb, geodesic_path, upwind_tangents
from deepspin_plugins.spin_dynamics.paths import MinimumEnergyPath
from deepspin_plugins.spin_dynamics.sphere import angles, exponential, logarithm, transport


@pytest.fixture
def dimer() -> Atoms:
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [2.0, 0, 0]])
    set_moments(atoms, 2.0)
    atoms.calc = Heisenberg(HeisenbergModel.from_shells(atoms, [0.01], anisotropy=uniaxial(1e-3, "z")))
    return atoms


@pytest.fixture
def path(dimer: Atoms) -> MinimumEnergyPath:
    down = dimer.copy()
    set_moments(down, -2.0)
    return geodesic_neb(dimer, down, images=7, axis="x", fmax=1e-7)


def test_exponential_and_logarithm_are_inverse(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 50, 3))
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    step = logarithm(a, b)
    np.testing.assert_allclose(exponential(a, step), b, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), angles(a, b), atol=1e-13)
    np.testing.assert_allclose(np.einsum("ia,ia->i", step, a), 0.0, atol=1e-13)
    np.testing.assert_allclose(logarithm(a, a), 0.0, atol=1e-15)


def test_transport_keeps_lengths_and_angles_and_follows_the_path(rng: np.random.Generator) -> None:
    a, b, v, w = rng.normal(size=(4, 50, 3))
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    v, w = (x - np.sum(x * a, axis=1, keepdims=True) * a for x in (v, w))
    step = logarithm(a, b)
    moved, other = transport(a, step, v), transport(a, step, w)
    np.testing.assert_allclose(np.einsum("ia,ia->i", moved, b), 0.0, atol=1e-13)
    np.testing.assert_allclose(np.einsum("ia,ia->i", moved, other), np.einsum("ia,ia->i", v, w), atol=1e-13)
    np.testing.assert_allclose(transport(a, step, step), -logarithm(b, a), atol=1e-12)  # its own direction goes on


def test_result_of_a_relaxation(dimer: Atoms, tmp_path: Path, rng: np.random.Generator) -> None:
    set_moments(dimer, tilt(get_moments(dimer), 40.0, rng))
    result = minimize_moments(dimer, fmax=1e-6)
    assert result.converged
    assert "converged" in str(result)
    np.testing.assert_array_equal(result.moments, get_moments(dimer))
    assert np.all(np.diff(result.energies) < 1e-15)
    assert result.torque == pytest.approx(
        np.linalg.norm(dimer.calc.get_magnetic_torques(dimer), axis=1).max(), rel=1e-6
    )
    assert result.steps == len(result.energies) - 1
    result.save(tmp_path / "r")
    again = MomentMinimum.load(tmp_path / "r")
    np.testing.assert_array_equal(again.torques, result.torques)
    assert (again.fmax, again.evaluations) == (result.fmax, result.evaluations)
    assert "eV" in result.plot().get_ylabel()
    with pytest.raises(ValueError, match="read-only"):
        result.moments[0, 0] = 1.0


def test_too_few_steps_say_so(dimer: Atoms, rng: np.random.Generator) -> None:
    set_moments(dimer, tilt(get_moments(dimer), 40.0, rng))
    result = minimize_moments(dimer, fmax=1e-9, steps=1)
    assert not result.converged
    assert "NOT converged" in str(result)


def test_stationary_state_needs_one_evaluation_and_stays(dimer: Atoms) -> None:
    result = minimize_moments(dimer)
    assert result.converged
    assert result.steps == 0
    np.testing.assert_array_equal(get_moments(dimer), ferromagnet(dimer, 2.0))


def test_oxide_relaxes_back_with_the_shipped_model(nio: Atoms, rng: np.random.Generator) -> None:
    nio.calc = DeepSpin("nio")
    ground = nio.get_potential_energy()
    set_moments(nio, tilt(get_moments(nio), 25.0, rng))
    assert nio.get_potential_energy() > ground + 1e-3
    result = minimize_moments(nio, fmax=1e-6)
    assert result.converged
    assert result.energy == pytest.approx(ground, abs=1e-7)


def test_wrong_input_of_a_relaxation(dimer: Atoms, bcc_fe: Atoms) -> None:
    for options in ({"fmax": 0.0}, {"steps": 0}, {"fmax": float("nan")}):
        with pytest.raises(InputError, match="positive"):
            minimize_moments(dimer, **options)
    with pytest.raises(InputError, match="no calculator"):
        minimize_moments(bcc_fe)
    bcc_fe.calc = EMT()
    with pytest.raises(InputError, match="without magnetic_forces"):
        minimize_moments(bcc_fe)
    bcc_fe.calc = dimer.calc
    with pytest.raises(InputError, match="no moments"):
        minimize_moments(bcc_fe)
    set_moments(dimer, ferromagnet(dimer, 2.0))
    dimer.arrays["initial_magmoms"][1, 0] = np.nan
    with pytest.raises(InputError, match="moment of atom 1"):
        minimize_moments(dimer)


def test_path_result(path: MinimumEnergyPath, tmp_path: Path) -> None:
    assert path.converged
    assert path.barrier == pytest.approx(2e-3, rel=1e-7)
    assert "barrier 2.0000 meV" in str(path)
    assert path.moments.shape == (7, 2, 3)
    axes = path.plot()
    assert "meV" in axes.get_ylabel()
    assert axes.lines[0].get_ydata().max() == pytest.approx(2.0, rel=1e-2)
    path.save(tmp_path / "p")
    again = MinimumEnergyPath.load(tmp_path / "p")
    np.testing.assert_array_equal(again.moments, path.moments)
    assert (again.barrier, again.climbing, again.converged) == (path.barrier, path.climbing, path.converged)
    for kind in (MinimumEnergyPath, MomentMinimum):
        np.savez(tmp_path / "other.npz", a=1)
        with pytest.raises(InputError, match="no "):
            kind.load(tmp_path / "other.npz")


def test_slopes_are_the_derivative_of_the_interpolation(path: MinimumEnergyPath) -> None:
    fine, curve = path.interpolate(4001)
    slope = np.gradient(curve, fine)
    np.testing.assert_allclose(np.interp(path.coordinate[1:-1], fine, slope), path.slopes[1:-1], atol=2e-6)
    exact = 2e-3 * np.sin(fine * np.pi / fine[-1]) ** 2
    np.testing.assert_allclose(curve - path.energies[0], exact, atol=2e-5)


def test_spring_constant_does_not_change_the_barrier(dimer: Atoms, path: MinimumEnergyPath) -> None:
    down = dimer.copy()
    set_moments(down, -2.0)
    guess = path.moments + 0.3 * np.random.default_rng(3).normal(size=path.moments.shape)
    found = [geodesic_neb(dimer, down, images=7, path=guess, spring=s, fmax=1e-7) for s in (1e-3, 1e-1)]
    assert all(p.converged for p in found)
    np.testing.assert_allclose([p.barrier for p in found], path.barrier, rtol=1e-6)


def test_geodesic_path_is_evenly_spaced_and_keeps_lengths(rng: np.random.Generator) -> None:
    start = rng.normal(size=(5, 3))
    start[2] = 0.0
    end = start[:, [1, 2, 0]]
    path = geodesic_path(start, end, 6)
    np.testing.assert_allclose(path[0], start, atol=1e-14)
    np.testing.assert_array_equal(path[-1], end)
    np.testing.assert_allclose(np.linalg.norm(path, axis=2), np.broadcast_to(np.linalg.norm(start, axis=1), (6, 5)))
    magnetic = path[:, [0, 1, 3, 4]]
    unit = magnetic / np.linalg.norm(magnetic, axis=2, keepdims=True)
    steps = angles(unit[:-1], unit[1:])
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-12)


def test_opposite_moments_turn_right_handedly_about_the_axis() -> None:
    path = geodesic_path([[0, 0, 1.0]], [[0, 0, -1.0]], 3, axis="x")
    np.testing.assert_allclose(path[1], [[0, -1.0, 0]], atol=1e-12)


def test_upwind_tangents_point_along_the_path() -> None:
    states = geodesic_path([[1.0, 0, 0]], [[0, 1.0, 0]], 5)
    for energies in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 2, 5, 1, 0], [0, 0, 0, 0, 0]):
        found = upwind_tangents(states, np.array(energies, dtype=float))
        np.testing.assert_allclose(np.cross(states, found), np.broadcast_to([0, 0, 1], (5, 1, 3)), atol=1e-12)


def test_wrong_input_of_a_path(dimer: Atoms) -> None:
    down = dimer.copy()
    set_moments(down, -2.0)
    with pytest.raises(InputError, match="opposite"):
        geodesic_neb(dimer, down)
    with pytest.raises(InputError, match="not perpendicular"):
        geodesic_neb(dimer, down, axis="z")
    with pytest.raises(InputError, match="images = 2"):
        geodesic_neb(dimer, down, axis="x", images=2)
    with pytest.raises(InputError, match=r"path has shape"):
        geodesic_neb(dimer, down, path=np.zeros((3, 2, 3)))
    with pytest.raises(InputError, match="length zero"):
        geodesic_neb(dimer, down, images=4, path=np.zeros((4, 2, 3)))
    with pytest.raises(InputError, match="spring"):
        geodesic_neb(dimer, down, axis="x", spring=-1.0)
    with pytest.raises(InputError, match="same minimum"):
        geodesic_neb(dimer, dimer.copy())
    for change, message in ((lambda a: a.translate(1.0), "positions"), (lambda a: set_moments(a, -1.0), "lengths")):
        other = down.copy()
        change(other)
        with pytest.raises(InputError, match=message):
            geodesic_neb(dimer, other, axis="x")
    with pytest.raises(InputError, match="different structures"):
        geodesic_neb(dimer, down[:1], axis="x")
