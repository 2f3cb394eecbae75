"""Relaxation of moments reaches the exact minima of spin models, at fixed lengths."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.optimize import FIRE

from deepspin_ase import Heisenberg, HeisenbergModel, SpinLatticeFilter, ferromagnet, get_moments, set_moments, tilt
from deepspin_ase.heisenberg import dm_tensor, uniaxial
from deepspin_ase.quantities import MU_B
from deepspin_plugins.spin_dynamics.minimize import minimize_moments


def chain_cell(magnitude: float = 2.0) -> Atoms:
    atoms = Atoms("Fe", cell=[2.5, 9, 9], pbc=[True, False, False])
    set_moments(atoms, magnitude)
    return atoms


def spiral_chain(n: int, j: float, d: float) -> Atoms:
    """Open chain whose bonds prefer the angle atan(d/j) about z."""
    cell = chain_cell()
    model = HeisenbergModel.from_bonds(cell, [(0, 0, (1, 0, 0), j * np.eye(3) + dm_tensor([0.0, 0.0, d]))])
    chain = cell.repeat((n, 1, 1))
    chain.pbc = False
    chain.calc = Heisenberg(model)
    return chain


def test_tilted_antiferromagnet_becomes_collinear(rng: np.random.Generator) -> None:
    """Two sublattices of different |m|: -|J| per bond, moments antiparallel, lengths untouched."""
    cell = Atoms("FeCo", positions=[[0, 0, 0], [2.0, 0, 0]], cell=[4.0, 9, 9], pbc=[True, False, False])
    set_moments(cell, {"Fe": 2.2, "Co": 1.6})
    atoms = cell.repeat((6, 1, 1))
    atoms.calc = Heisenberg(HeisenbergModel.from_shells(cell, [-0.02]))
    start = np.where(atoms.symbols == "Fe", 2.2, -1.6)[:, None] * [0.0, 0.0, 1.0]
    set_moments(atoms, tilt(start, 40.0, rng))
    result = minimize_moments(atoms, fmax=1e-7)
    assert result.converged
    assert result.energy == pytest.approx(-0.02 * len(atoms), abs=1e-10)
    moments = get_moments(atoms)
    np.testing.assert_allclose(np.linalg.norm(moments, axis=1), np.linalg.norm(start, axis=1), rtol=1e-12)
    unit = moments / np.linalg.norm(moments, axis=1, keepdims=True)
    np.testing.assert_allclose(unit[::2], np.broadcast_to(-unit[1], unit[::2].shape), atol=1e-5)


def test_dmi_chain_reaches_its_exact_energy_and_pitch(rng: np.random.Generator) -> None:
    j, d, n = 0.010, 0.004, 40
    chain = spiral_chain(n, j, d)
    set_moments(chain, tilt(get_moments(chain), 80.0, rng, uniform=True))
    result = minimize_moments(chain, fmax=1e-8)
    assert result.converged
    assert result.energy / (n - 1) == pytest.approx(-np.hypot(j, d), rel=1e-10)
    unit = get_moments(chain) / 2.0
    np.testing.assert_allclose(np.einsum("ia,ia->i", unit[1:], unit[:-1]), j / np.hypot(j, d), atol=1e-5)
    turn = np.cross(unit[:-1], unit[1:])[:, 2]  # sin of the angle: D > 0 turns right-handedly about z
    np.testing.assert_allclose(turn, d / np.hypot(j, d), atol=1e-5)


def test_agrees_with_fire_and_needs_fewer_evaluations(rng: np.random.Generator) -> None:
    chain = spiral_chain(12, 0.010, 0.006)
    set_moments(chain, tilt(get_moments(chain), 60.0, rng, uniform=True))
    other = chain.copy()
    other.calc = Heisenberg(chain.calc.model)
    result = minimize_moments(chain, fmax=1e-6)
    fire = FIRE(SpinLatticeFilter(other, lattice=False), logfile=None)
    assert fire.run(fmax=1e-5, steps=5000)  # 0.1 Å per rad: torques below 1e-6 eV
    assert result.energy == pytest.approx(other.get_potential_energy(), abs=1e-9)
    assert result.evaluations < fire.nsteps / 2
    angles = [np.einsum("ia,ia->i", m[1:], m[:-1]) / 4.0 for m in (get_moments(chain), get_moments(other))]
    np.testing.assert_allclose(angles[0], angles[1], atol=1e-4)


def test_moments_of_different_length_turn_into_the_field(rng: np.random.Generator) -> None:
    """Free moments: E = -µB B Σ|m|, whatever the lengths; one of zero length is no obstacle."""
    atoms = Atoms("Fe4", positions=[[0, 0, 0], [3, 0, 0], [6, 0, 0], [9, 0, 0]])
    lengths = np.array([0.01, 1.0, 3.0, 0.0])
    set_moments(atoms, tilt(lengths[:, None] * [0.0, 0.6, 0.8], 90.0, rng))
    atoms.calc = Heisenberg(field=(0.0, 0.0, 50.0))
    result = minimize_moments(atoms, fmax=1e-12)
    assert result.energy == pytest.approx(-50.0 * MU_B * lengths.sum(), rel=1e-12)
    np.testing.assert_allclose(get_moments(atoms)[:, 2], lengths, atol=1e-6)


def test_stoner_wohlfarth_angle(rng: np.random.Generator) -> None:
    """Easy axis z with K, field along x: sin θ = |m| µB B/(2K) below the anisotropy field."""
    k, magnitude = 1e-4, 2.0
    field = 0.6 * 2 * k / (magnitude * MU_B)
    atoms = Atoms("Fe")
    set_moments(atoms, tilt(ferromagnet(atoms, magnitude), 20.0, rng))
    bonds: list = []
    atoms.calc = Heisenberg(HeisenbergModel.from_bonds(atoms, bonds, anisotropy=uniaxial(k, "z"), field=(field, 0, 0)))
    result = minimize_moments(atoms, fmax=1e-12)
    assert result.converged
    np.testing.assert_allclose(get_moments(atoms)[0] / magnitude, [0.6, 0.0, 0.8], atol=1e-7)
