"""Spin-space averaging: the exchange part of force constants is multiplied by the mean of e_i·e_j over bonds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray

from deepspin_ase import Heisenberg, collinear_order, ferromagnet, get_moments, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import CustomPair, Exponential
from deepspin_plugins.phonons import phonons
from deepspin_plugins.phonons.averages import AveragedBands, AveragedPhonons
from deepspin_plugins.phonons.disorder import disordered_phonons

A0 = 3.6
R0 = A0 / np.sqrt(2)
SPRINGS = CustomPair(value=lambda r: 3.0 * (r - R0) ** 2, slope=lambda r: 6.0 * (r - R0), cutoff=3.2, onset=3.1)
STRENGTH = 0.02
Q = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5], [0.5, 0.0, 0.0], [0.5, 0.25, 0.75]])


def calculator(strength: float) -> Heisenberg:
    exchange = Exponential(strength=strength, r0=R0, decay=0.4, cutoff=3.2, onset=3.1)
    return Heisenberg(exchange=exchange, lattice=SPRINGS)


@pytest.fixture
def iron() -> Atoms:
    atoms = bulk("Fe", "fcc", a=A0)
    set_moments(atoms, 2.2)
    atoms.calc = calculator(STRENGTH)
    return atoms


@pytest.fixture
def sites(iron: Atoms) -> Atoms:
    """Supercell in ASE's order, which is not that of phonopy."""
    return bulk("Fe", "fcc", a=A0, cubic=True).repeat(2)


MATRIX = 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])  # 2x2x2 conventional cells


def with_correlation(iron: Atoms, value: float) -> NDArray[np.float64]:
    """Frequencies of the crystal whose exchange is ``value`` times as strong: what the average must give."""
    bare = iron.copy()
    bare.calc = calculator(value * STRENGTH)
    return phonons(bare, supercell=MATRIX, distance=1e-3).frequencies(Q)


def test_exchange_matters_here(iron: Atoms) -> None:
    assert np.abs(with_correlation(iron, 1.0) - with_correlation(iron, 0.0)).max() > 0.1


def test_random_moments_average_exchange_away(iron: Atoms) -> None:
    result = disordered_phonons(iron, supercell=MATRIX, states=24, rng=3)
    mean, error = result.frequencies(Q)
    expected = with_correlation(iron, 0.0)
    assert np.all(np.abs(mean - expected) < 4 * error + 2e-3)
    assert error.max() < 0.3 * np.abs(with_correlation(iron, 1.0) - expected).max()
    assert result.static_force > 0.005  # disorder pushes the atoms, but not on average


def test_ferromagnetic_states_give_the_phonons_of_the_ferromagnet(iron: Atoms, sites: Atoms) -> None:
    states = [ferromagnet(sites, 2.2, direction) for direction in np.eye(3)] * 3
    mean, error = disordered_phonons(iron, supercell=MATRIX, states=states, distance=1e-3).frequencies(Q)
    np.testing.assert_allclose(mean, with_correlation(iron, 1.0), atol=2e-3)
    assert error.max() < 2e-3


def test_layers_of_alternating_sign_count_with_their_mean_correlation(iron: Atoms, sites: Atoms) -> None:
    """In the (001) layer antiferromagnet 4 of 12 neighbours are parallel and 8 are not: <e·e'> = -1/3."""
    layers = []
    for q in np.eye(3):
        state = sites.copy()
        set_moments(state, collinear_order(state, 2.2, 2 * q))
        layers.append(state)
    mean, error = disordered_phonons(iron, supercell=MATRIX, states=layers * 10).frequencies(Q)
    assert np.all(np.abs(mean - with_correlation(iron, -1 / 3)) < 4 * error + 2e-3)
    assert error.max() < 0.05


def test_errors_shrink_with_the_number_of_states_and_tell_the_truth(iron: Atoms) -> None:
    few = [disordered_phonons(iron, supercell=MATRIX, states=8, rng=seed) for seed in range(6)]
    scatter = np.std([r.frequencies(Q)[0] for r in few], axis=0, ddof=1)
    stated = np.sqrt(np.mean([r.frequencies(Q)[1] ** 2 for r in few], axis=0))
    ratio = np.sqrt((stated**2).sum() / (scatter**2).sum())
    assert 0.6 < ratio < 1.8
    many = disordered_phonons(iron, supercell=MATRIX, states=32, rng=99).frequencies(Q)[1]
    assert 0.3 < np.sqrt((many**2).sum() / (stated**2).sum()) < 0.75  # 1/2 for four times as many


def test_the_order_of_atoms_in_given_states_does_not_matter(iron: Atoms, sites: Atoms) -> None:
    rng = np.random.default_rng(1)
    states = []
    for _ in range(3):
        state = sites.copy()
        set_moments(state, 2.2 * rng.choice([-1, 1], len(state)))
        states.append(state)
    shuffled = []
    for state in states:
        order = rng.permutation(len(state))
        shuffled.append(state[order])
    first = disordered_phonons(iron, supercell=MATRIX, states=states, rng=0)
    second = disordered_phonons(iron, supercell=MATRIX, states=shuffled, rng=0)
    np.testing.assert_allclose(first.force_constants, second.force_constants, atol=1e-10)


def test_results_survive_a_file_and_can_be_drawn(iron: Atoms, tmp_path: Path) -> None:
    result = disordered_phonons(iron, supercell=2, states=4)
    result.save(tmp_path / "disorder.npz")
    again = AveragedPhonons.load(tmp_path / "disorder.npz")
    np.testing.assert_array_equal(again.frequencies(Q)[1], result.frequencies(Q)[1])
    assert again.mean.primitive.has("initial_magmoms") is False
    bands = again.bands("GXL")
    bands.save(tmp_path / "bands.npz")
    AveragedBands.load(tmp_path / "bands.npz").plot().figure.savefig(tmp_path / "bands.png")


def test_an_interrupted_run_takes_up_where_it_was(iron: Atoms, tmp_path: Path) -> None:
    first = disordered_phonons(iron, supercell=2, states=4, folder=tmp_path)
    kept = len(list(tmp_path.iterdir()))
    assert kept == 8

    calls = 0
    original = iron.calc.calculate

    def count(*args: object, **options: object) -> None:
        nonlocal calls
        calls += 1
        original(*args, **options)

    iron.calc.calculate = count
    second = disordered_phonons(iron, supercell=2, states=4, folder=tmp_path)
    assert calls <= 1  # the energy that marks the calculator
    np.testing.assert_array_equal(first.force_constants, second.force_constants)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"states": 1}, "at least 2"),
        ({"distance": 0.0}, "distance"),
        ({"states": [np.zeros((3, 3))] * 3}, "shape"),
        ({"states": [np.full((8, 3), np.nan)] * 3}, "finite"),
        ({"states": [np.zeros((8, 3))]}, "at least 2"),
        ({"states": [bulk("Fe", "fcc", a=A0, cubic=True)] * 3}, "share number and cell"),
        ({"supercell": (0, 1, 1)}, "supercell"),
    ],
)
def test_wrong_input_is_explained(iron: Atoms, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        disordered_phonons(iron, **{"supercell": 2, **options})  # type: ignore[arg-type]


def test_a_crystal_without_moments_or_calculator_is_refused(iron: Atoms) -> None:
    bare = iron.copy()
    with pytest.raises(InputError, match="no calculator"):
        disordered_phonons(bare, supercell=2)
    bare.calc = iron.calc
    set_moments(bare, np.zeros(1))
    assert not get_moments(bare).any()
    with pytest.raises(InputError, match="no moments to disorder"):
        disordered_phonons(bare, supercell=2)
