"""Autocorrelation times, errors of means and correlations in space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.signal import lfilter

from deepspin_ase import ferromagnet, random_directions, set_moments, spiral
from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics.correlations import (
    SpinCorrelations,
    autocorrelation,
    autocorrelation_time,
    mean_with_error,
    spin_correlations,
)


def ar1(a: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """x[t+1] = a x[t] + noise: C(t) = a^t, τ = (1 + a)/(2 (1 - a))."""
    return lfilter([1.0], [1.0, -a], rng.normal(size=n + 1000))[1000:]


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9, 0.97])
def test_autocorrelation_time_of_a_known_process(a: float, rng: np.random.Generator) -> None:
    tau = autocorrelation_time(ar1(a, 200_000, rng))
    exact = (1 + a) / (2 * (1 - a))
    assert tau.reliable
    assert abs(tau.value - exact) < 4 * tau.error + 0.005 * exact
    assert tau.error < 0.1 * exact


def test_autocorrelation_function_of_a_known_process(rng: np.random.Generator) -> None:
    c = autocorrelation(ar1(0.8, 200_000, rng))
    np.testing.assert_allclose(c[:8], 0.8 ** np.arange(8), atol=0.02)


def test_error_of_the_mean_covers_the_truth_as_often_as_it_should(rng: np.random.Generator) -> None:
    """400 runs: the mean lies within one error in 68 % of them; without correlations it would be 25 %."""
    hits = 0
    for _ in range(400):
        mean = mean_with_error(ar1(0.9, 4000, rng))
        hits += abs(mean.value) < mean.error
    assert 0.60 < hits / 400 < 0.75


def test_short_series_are_called_unreliable(rng: np.random.Generator) -> None:
    assert not mean_with_error(np.cumsum(rng.normal(size=100))).reliable
    single = mean_with_error([3.0])
    assert (single.value, single.reliable) == (3.0, False)
    assert np.isnan(single.error)
    constant = mean_with_error(np.full(50, 2.5))
    assert (constant.value, constant.error) == (2.5, 0.0)


def test_precession_shows_in_the_autocorrelation_of_moments() -> None:
    """Moments that turn at one rate: C(t) = cos(ωt), however many there are."""
    time = np.arange(400)
    angle = 0.05 * time[:, None] + np.linspace(0, 6, 7)
    moments = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    np.testing.assert_allclose(autocorrelation(moments, subtract_mean=False), np.cos(0.05 * time), atol=1e-9)


def test_correlations_of_ordered_states() -> None:
    atoms = bulk("Fe", cubic=True).repeat(3)
    up = ferromagnet(atoms, 2.2)
    set_moments(atoms, up)
    checkerboard = up * np.where(np.arange(len(atoms)) % 2, -1.0, 1.0)[:, None]
    a = 2.87
    found = spin_correlations(atoms, [up], 4.2)
    np.testing.assert_allclose(found.distance, [a * np.sqrt(0.75), a, a * np.sqrt(2)], rtol=1e-6)
    assert found.pairs.tolist() == [4 * len(atoms), 3 * len(atoms), 6 * len(atoms)]
    np.testing.assert_allclose(found.correlation, 1.0)
    assert np.isnan(found.error).all()
    np.testing.assert_allclose(spin_correlations(atoms, [checkerboard], 4.2).correlation, [-1, 1, 1], atol=1e-12)


def test_correlations_of_a_spiral_are_the_cosine_of_its_turn() -> None:
    atoms = Atoms("Fe", cell=[2.0, 9, 9], pbc=[True, False, False]).repeat((16, 1, 1))
    found = spin_correlations(atoms, [spiral(atoms, 2.0, (1, 0, 0))], 8.5)
    np.testing.assert_allclose(found.correlation, np.cos(2 * np.pi * np.arange(1, 5) / 16), atol=1e-12)


def test_random_moments_are_uncorrelated_within_the_errors(rng: np.random.Generator) -> None:
    atoms = bulk("Fe", cubic=True).repeat(4)
    frames = (random_directions(atoms, 2.2, rng) for _ in range(200))
    found = spin_correlations(atoms, frames, 4.2)
    assert np.all(np.abs(found.correlation) < 4 * found.error)
    np.testing.assert_allclose(found.error, 1 / np.sqrt(3 * 200 * found.pairs), rtol=0.3)


def test_atoms_without_moment_do_not_count() -> None:
    atoms = bulk("NiO", "rocksalt", a=4.2, cubic=True)
    found = spin_correlations(atoms, [ferromagnet(atoms, {"Ni": 1.7, "O": 0.0})], 3.5)
    np.testing.assert_allclose(found.distance, [4.2 / np.sqrt(2)], rtol=1e-6)


def test_result_is_saved_loaded_and_drawn(tmp_path: Path, rng: np.random.Generator) -> None:
    atoms = bulk("Fe", cubic=True).repeat(2)
    found = spin_correlations(atoms, [random_directions(atoms, 2.2, rng) for _ in range(9)], 4.2)
    found.save(tmp_path / "c")
    again = SpinCorrelations.load(tmp_path / "c")
    np.testing.assert_array_equal(again.error, found.error)
    np.testing.assert_array_equal(again.pairs, found.pairs)
    assert "Å" in found.plot().get_xlabel()
    with pytest.raises(ValueError, match="read-only"):
        found.correlation[0] = 0.0
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(InputError, match="no file of spin correlations"):
        SpinCorrelations.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("frames", "cutoff", "message"),
    [
        ([], 4.0, "frames is empty"),
        ([np.ones((3, 3))], 4.0, r"shape \(3, 3\)"),
        ([np.full((2, 3), np.nan)], 4.0, "NaN"),
        ([np.ones((2, 3))], 0.5, "no pair"),
        ([np.ones((2, 3))], -1.0, "must be positive"),
    ],
)
def test_wrong_input_is_refused(frames: list, cutoff: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spin_correlations(bulk("Fe", cubic=True), frames, cutoff)


def test_series_of_one_value_or_with_nan_are_refused() -> None:
    with pytest.raises(InputError, match="two frames"):
        autocorrelation([1.0])
    with pytest.raises(InputError, match="NaN"):
        autocorrelation([1.0, np.nan, 2.0])
