"""Minimum-energy paths find saddle points that are known exactly or by another road."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from scipy.optimize import least_squares

from deepspin_ase import Heisenberg, HeisenbergModel, get_moments, set_moments
from deepspin_ase.heisenberg import uniaxial
from deepspin_ase.quantities import MU_B
from deepspin_plugins.spin_dynamics.neb import geodesic_neb, geodesic_path

K = 1e-3
MOMENT = 2.0


def single(anisotropy: np.ndarray, field: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> tuple[Atoms, Atoms]:
    """One spin, up and down."""
    start = Atoms("Fe")
    set_moments(start, MOMENT)
    start.calc = Heisenberg(HeisenbergModel.from_bonds(start, [], anisotropy=anisotropy, field=field))
    end = start.copy()
    set_moments(end, -MOMENT)
    return start, end


def test_uniaxial_spin_has_the_barrier_k() -> None:
    start, end = single(uniaxial(K, "z"))
    path = geodesic_neb(start, end, axis="x", fmax=1e-8)
    assert path.converged
    assert path.barrier == pytest.approx(K, rel=1e-9)
    assert path.reverse_barrier == pytest.approx(K, rel=1e-9)
    np.testing.assert_array_equal(get_moments(start), [[0, 0, MOMENT]])
    theta = path.coordinate
    assert theta[-1] == pytest.approx(np.pi)
    np.testing.assert_allclose(path.energies - path.energies[0], K * np.sin(theta) ** 2, atol=1e-12)
    np.testing.assert_allclose(path.slopes, K * np.sin(2 * theta), atol=1e-10)


@pytest.mark.parametrize("images", [6, 9])
def test_biaxial_spin_goes_over_the_intermediate_axis(images: int) -> None:
    """Hard axis y: from a guess off the symmetric ways the path finds the saddle at ±x, K and not K + K_hard."""
    start, end = single(np.diag([0.0, -4 * K, K]))
    guess = geodesic_path(get_moments(start), get_moments(end), images, axis=(1.0, 0.3, 0.0))
    path = geodesic_neb(start, end, images=images, path=guess, fmax=1e-7)
    assert path.converged
    assert path.climbing > 0
    assert path.barrier == pytest.approx(K, rel=1e-6)
    np.testing.assert_allclose(np.abs(path.saddle_moments[0]), [MOMENT, 0, 0], atol=1e-3)


def test_field_makes_the_two_barriers_different() -> None:
    """Stoner-Wohlfarth: with h = |m|µB B/2K along the easy axis the barriers are K(1 ± h)²."""
    h = 0.3
    start, end = single(uniaxial(K, "z"), field=(0.0, 0.0, h * 2 * K / (MOMENT * MU_B)))
    path = geodesic_neb(start, end, axis="y", images=8, fmax=1e-8)
    assert path.barrier == pytest.approx(K * (1 + h) ** 2, rel=1e-7)
    assert path.reverse_barrier == pytest.approx(K * (1 - h) ** 2, rel=1e-7)


def test_without_climbing_the_interpolated_barrier_is_close() -> None:
    start, end = single(uniaxial(K, "z"), field=(0.0, 0.0, 0.3 * 2 * K / (MOMENT * MU_B)))
    path = geodesic_neb(start, end, axis="y", images=8, climb=False, fmax=1e-8)
    assert path.climbing == -1
    assert path.barrier == pytest.approx(K * 1.3**2, rel=2e-3)


def chain(n: int, j: float) -> tuple[Atoms, Atoms, np.ndarray]:
    """Open chain with an easy axis, up and down, and a path on which a wall of the continuum's shape passes."""
    cell = Atoms("Fe", cell=[2.5, 9, 9], pbc=[True, False, False])
    set_moments(cell, MOMENT)
    model = HeisenbergModel.from_bonds(cell, [(0, 0, (1, 0, 0), j)], anisotropy=uniaxial(K, "z"))
    start = cell.repeat((n, 1, 1))
    start.pbc = False
    start.calc = Heisenberg(model)
    end = start.copy()
    set_moments(end, -MOMENT)
    width = np.sqrt(j / (2 * K))
    centers = np.linspace(-5 * width - 1, n + 5 * width, 15)
    theta = 2 * np.arctan(np.exp((centers[:, None] - np.arange(n)) / width))
    path = MOMENT * np.stack([np.sin(theta), 0 * theta, np.cos(theta)], axis=-1)
    return start, end, path


def test_reversal_of_a_chain_by_a_domain_wall() -> None:
    """The saddle is the one that a root search for zero torques finds, and it has exactly one unstable mode."""
    n, j = 16, 2e-3  # narrow walls: the lattice pins them, the saddle is at a definite place
    start, end, guess = chain(n, j)
    path = geodesic_neb(start, end, images=len(guess), path=guess, fmax=1e-7)
    assert path.converged
    model = start.calc.to_model(start)

    def torque(theta: np.ndarray) -> np.ndarray:  # dE/dθ in the xz plane, the exchange and anisotropy written out
        bonds = j * np.sin(np.diff(theta))
        return K * np.sin(2 * theta) - np.diff(np.concatenate([[0.0], bonds, [0.0]]))

    saddle = path.saddle_moments
    in_plane = np.arctan2(np.hypot(saddle[:, 0], saddle[:, 1]), saddle[:, 2])
    root = least_squares(torque, in_plane, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert np.abs(root.fun).max() < 1e-12
    exact = MOMENT * np.stack([np.sin(root.x), 0 * root.x, np.cos(root.x)], axis=-1)
    assert model.energy(exact) - path.energies[0] == pytest.approx(path.barrier, rel=1e-6)
    stiffness = np.diag(2 * K * np.cos(2 * root.x))
    for a in range(n - 1):
        bond = j * np.cos(root.x[a + 1] - root.x[a]) * np.array([[1.0, -1.0], [-1.0, 1.0]])
        stiffness[a : a + 2, a : a + 2] += bond
    assert (np.linalg.eigvalsh(stiffness) < 0).sum() == 1
    assert 0.5 * 2 * np.sqrt(2 * j * K) < path.barrier < 2 * np.sqrt(2 * j * K)  # below the wall of the continuum
    assert path.barrier < 0.5 * n * K  # and far below coherent rotation


def test_coherent_path_is_a_stationary_but_higher_one() -> None:
    """A symmetric guess stays symmetric: barrier nK, as documented."""
    start, end, _ = chain(6, 2e-3)
    path = geodesic_neb(start, end, axis="y", images=7, fmax=1e-8)
    assert path.barrier == pytest.approx(6 * K, rel=1e-8)
