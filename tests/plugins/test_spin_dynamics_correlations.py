"""Correlations in space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase import ferromagnet, random_directions, set_moments, spiral
from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics.correlations import (
    SpinCorrelations,
    spin_correlations,
)


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
    with pytest.raises(InputError, match=r"no file of SpinCorrelations\.save"):
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
