"""The compiled pieces of a sweep against plain numpy: cosines, turns about axes, reflections, batches of any length."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_plugins.curie import kernels
from deepspin_plugins.curie.directions import (
    AZIMUTH,
    BATCH,
    COSINE,
    ROWS,
    heat_bath_cosines,
    turn_about_axes,
)
from deepspin_plugins.curie.lattice import make_lattice
from deepspin_plugins.curie.random_numbers import generator_states


def filled_batch(seed: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    batch = rng.random((ROWS, BATCH))
    batch[:3] = scale * rng.normal(size=(3, BATCH))
    return batch


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-7, 1e-5, 1e-3, 0.1, 1.0, 30.0, 1e4])
def test_heat_bath_cosine_inverts_the_distribution(scale):
    beta = 1.7
    batch = filled_batch(1, scale)
    batch[COSINE, :3] = 0.0, 1.0 - 2.0**-53, 0.5
    x, u = beta * np.linalg.norm(batch[:3], axis=0), batch[COSINE].copy()
    heat_bath_cosines(batch, np.zeros(BATCH, dtype=np.int64), beta, BATCH)
    c = batch[COSINE]
    assert np.all(np.abs(c) < 1.0 + 1e-9)
    # share of the distribution below c: expm1(x (c + 1)) / expm1(2 x)
    tiny = x < 1e-9
    share = np.where(tiny, (c + 1) / 2, np.exp(np.minimum(x * (c - 1), 0)) * -np.expm1(-x * (c + 1)))
    share = np.where(tiny, share, share / np.maximum(-np.expm1(-2 * x), 1e-300))
    np.testing.assert_allclose(share, u, atol=1e-9)


@pytest.mark.parametrize("axis", [None, (0, 0, 1), (0, 0, -2), (1e-9, 0, -1), (0, 3, 0), (0, 0, 0)])
def test_turned_directions_are_unit_vectors_at_the_wanted_cosines_and_azimuths(axis):
    batch = filled_batch(2)
    if axis is not None:
        batch[:3] = np.array(axis, dtype=float)[:, None]
    batch[COSINE] = np.linspace(-1, 1, BATCH)
    batch[AZIMUTH] = (np.arange(BATCH) % 16) / 16
    axes, cosines = batch[:3].copy(), batch[COSINE].copy()
    turn_about_axes(batch, BATCH)
    lengths = np.linalg.norm(axes, axis=0)
    unit = np.where(lengths > 0, axes / np.where(lengths > 0, lengths, 1), np.array([[0], [0], [1]]))
    np.testing.assert_allclose(np.linalg.norm(batch[:3], axis=0), 1, atol=1e-13)
    np.testing.assert_allclose((batch[:3] * unit).sum(axis=0), cosines, atol=1e-13)
    if axis is not None:
        # sixteen azimuths at about the same cosine make a regular polygon
        across = batch[:3] - cosines * unit
        spokes = across[:, 16:32] / np.linalg.norm(across[:, 16:32], axis=0)
        np.testing.assert_allclose((spokes * np.roll(spokes, 1, axis=1)).sum(axis=0), np.cos(np.pi / 8), atol=1e-12)


@pytest.mark.parametrize("repeat", [(1, 1, 1), (3, 1, 1), (3, 3, 3), (5, 4, 7), (6, 6, 6)])
@pytest.mark.parametrize("move", [kernels.HEAT_BATH, kernels.METROPOLIS, kernels.OVERRELAXATION])
def test_a_pass_returns_the_change_of_energy_for_every_size(repeat, move):
    model = HeisenbergModel.from_shells(bulk("Fe", a=2.87), [0.02, -0.01], magnitudes=2.0, field=(5.0, 0, 9.0))
    lattice = make_lattice(model, repeat)
    spins = np.random.default_rng(0).normal(size=(len(lattice.kind), 3))
    spins /= np.linalg.norm(spins, axis=1, keepdims=True)
    random = generator_states(3, 1)[0]
    work = np.zeros((3, BATCH)), np.zeros((ROWS, BATCH)), np.zeros(BATCH, dtype=np.int64)
    for _ in range(5):
        before, energy = spins.copy(), kernels.total_energy(lattice, spins)
        change, accepted = kernels.sweep_pass(lattice, spins, 40.0, move, 0.3, random, *work)
        assert change == pytest.approx(kernels.total_energy(lattice, spins) - energy, abs=1e-11)
        assert accepted == np.any(spins != before, axis=1).sum()
        np.testing.assert_allclose(np.linalg.norm(spins, axis=1), 1, atol=1e-12)
        if move == kernels.OVERRELAXATION:
            assert change == pytest.approx(0, abs=1e-12)


def test_overrelaxation_twice_is_nothing_for_a_single_spin():
    model = HeisenbergModel.from_shells(bulk("Po", "sc", a=3.0), {}, magnitudes=2.0, field=(1.0, 2.0, 3.0))
    lattice = make_lattice(model, (1, 1, 1))
    spins = np.array([[0.0, 0.6, 0.8]])
    work = np.zeros((3, BATCH)), np.zeros((ROWS, BATCH)), np.zeros(BATCH, dtype=np.int64)
    axis = np.array([1, 2, 3]) / np.sqrt(14)
    for expected in (2 * (spins[0] @ axis) * axis - spins[0], spins[0].copy()):
        kernels.sweep_pass(lattice, spins, 1.0, kernels.OVERRELAXATION, -1.0, generator_states(1, 1)[0], *work)
        np.testing.assert_allclose(spins[0], expected, atol=1e-14)
