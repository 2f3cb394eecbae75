"""Structures that explorers propose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator

from deepspin_ase import Heisenberg, ferromagnet, get_moments, set_moments
from deepspin_ase.active_learning import Domain, Exploration, Explorer, Levels, StateExplorer, WorstAtoms
from deepspin_ase.active_learning.registry import make_explorer
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Exponential, Landau, Morse
from deepspin_ase.quantities import K_B
from deepspin_ase.sections import validated
from deepspin_plugins.spin_dynamics.exploration import SpinLatticeExplorer
from deepspin_plugins.spin_dynamics.exploration_walk import MonteCarloExplorer
from tests.active_learning.conftest import iron

STILL: dict[str, Any] = {"displacement": 0.0, "strain": 0.0, "volume": (1.0, 1.0), "length_spread": 0.0}


@pytest.fixture
def start() -> Atoms:
    atoms = iron()
    set_moments(atoms, ferromagnet(atoms, 2.2))
    return atoms


def explore(explorer: Explorer, start: Atoms, domain: Domain | None = None, seed: int = 3) -> list[Atoms]:
    return explorer.explore(Exploration((start,), np.random.default_rng(seed), domain))


@pytest.mark.parametrize("state", ["ordered", "tilted", "spiral", "collinear", "random"])
def test_states_turn_moments_and_keep_their_lengths(state: str, start: Atoms) -> None:
    found = explore(StateExplorer(count=20, states={state: 1}, **STILL), start)
    cosines = []
    for atoms in found:
        moments = get_moments(atoms)
        np.testing.assert_allclose(np.linalg.norm(moments, axis=1), 2.2)
        np.testing.assert_array_equal(atoms.positions, start.positions)
        cosines.append(moments @ moments[0] / 2.2**2)
        assert atoms.info["state"] == state
    cosine = np.array(cosines)[:, 1:]
    assert (np.abs(cosine - 1).max() < 1e-12) == (state == "ordered")
    assert (np.abs(np.abs(cosine) - 1).max() < 1e-12) == (state in ("ordered", "collinear"))


def test_spirals_fit_into_the_periodic_cell(start: Atoms) -> None:
    """Equal steps along the cell turn the moments by equal angles, and a lattice vector by whole turns."""
    chain = Atoms("Fe4", positions=[[2.5 * k, 0, 0] for k in range(4)], cell=[10, 0, 0], pbc=[True, False, False])
    set_moments(chain, [[0, 0, 2.0]] * 4)
    for atoms in explore(StateExplorer(count=10, states={"spiral": 1}, **STILL), chain):
        m = get_moments(atoms)
        np.testing.assert_allclose([m[k] @ m[(k + 1) % 4] for k in range(4)], m[0] @ m[1], rtol=1e-9)


def test_strain_volume_and_displacements_have_the_size_asked_for(start: Atoms) -> None:
    found = explore(StateExplorer(count=300, volume=(0.9, 1.1), strain=0.0, displacement=0.0), start)
    volumes = np.array([atoms.get_volume() for atoms in found]) / start.get_volume()
    assert 0.9 <= volumes.min() < 0.92
    assert 1.08 < volumes.max() <= 1.1
    moved = explore(StateExplorer(count=300, **{**STILL, "displacement": 0.1}), start)
    rms = np.sqrt(np.mean([(atoms.positions - start.positions) ** 2 for atoms in moved]))
    assert rms == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
    lengths = np.array([np.linalg.norm(get_moments(a), axis=1) for a in explore(StateExplorer(count=300), start)])
    assert (lengths / 2.2).std() == pytest.approx(0.08, rel=0.15)


def test_states_repeat_with_the_seed(start: Atoms) -> None:
    first, same, other = (explore(StateExplorer(count=3), start, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[2].positions, same[2].positions)
    assert not np.array_equal(first[2].positions, other[2].positions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count"),
        ({"states": {"vortex": 1}}, "states"),
        ({"states": {"random": 0}}, "weights"),
        ({"volume": [1.2, 0.8]}, "smallest"),
        ({"displacements": 0.1}, "did you mean 'displacement'"),
    ],
)
def test_wrong_options_of_states(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_explorer("states", options)


class Pretended:
    """A committee that is sure while no atom has moved by more than a tenth of an Å from where it was."""

    def __init__(self, start: Atoms) -> None:
        self._positions = start.positions

    def calculator(self) -> Heisenberg:
        return Heisenberg(
            exchange=Exponential(strength=0.01, r0=2.5, decay=0.8, cutoff=4.0),
            landau={"Fe": Landau(-0.3, 0.035)},
            lattice=Morse(depth=0.3, r0=2.55, stiffness=1.4, cutoff=4.0),
            normalise=False,
        )

    def deviations(self, structures: list[Atoms]) -> WorstAtoms:
        largest = [np.linalg.norm(a.positions - self._positions, axis=1).max() for a in structures]
        return WorstAtoms(np.array(largest), np.zeros(len(largest)))


def pretended(start: Atoms, limit: float) -> Domain:
    return Domain(Pretended(start), Levels(limit, 1.0))  # type: ignore[arg-type]


def test_dynamics_collects_structures_at_all_conditions(start: Atoms) -> None:
    explorer = SpinLatticeExplorer(temperatures=[50, 500], pressures=[0, 10], steps=30, interval=10)
    found = explore(explorer, start, pretended(start, 10.0))
    assert len(found) == explorer.size(1) == 12
    conditions = {(a.info["temperature"], a.info["pressure"]) for a in found}
    assert conditions == {(50.0, 0.0), (50.0, 10.0), (500.0, 0.0), (500.0, 10.0)}
    assert len({a.get_volume() for a in found}) == 12
    lengths = np.array([np.linalg.norm(get_moments(a), axis=1) for a in found])
    assert lengths.std() > 1e-3


def test_dynamics_ends_where_the_committee_is_unsure(start: Atoms) -> None:
    explorer = SpinLatticeExplorer(temperatures=[20, 2000], steps=100, interval=5, lengths=False)
    found = explore(explorer, start, pretended(start, 0.1))
    moved = {t: [np.abs(a.positions - start.positions).max() for a in found if a.info["temperature"] == t]
             for t in (20.0, 2000.0)}  # fmt: skip
    assert len(moved[20.0]) == 20
    assert 1 <= len(moved[2000.0]) < 15
    assert max(moved[2000.0][:-1], default=0.0) <= 0.1
    np.testing.assert_allclose([np.linalg.norm(get_moments(a), axis=1) for a in found], 2.2, rtol=1e-9)


def test_a_trajectory_that_explodes_does_not_end_the_others(start: Atoms) -> None:
    explorer = SpinLatticeExplorer(temperatures=[20, 1e9], steps=20, interval=10, timestep=2.0)
    found = explore(explorer, start, pretended(start, 1e9))
    assert sum(atoms.info["temperature"] == 20.0 for atoms in found) == 2
    assert all(np.isfinite(atoms.positions).all() for atoms in found)


def test_dynamics_needs_a_model(start: Atoms) -> None:
    explorer = SpinLatticeExplorer(temperatures=[100])
    assert explorer.needs_model
    with pytest.raises(InputError, match="committee"):
        explore(explorer, start)


class Springs(Pretended):
    """A committee in harmonic springs: E = ½ Σ R² + ½ Σ |m - m0|²."""

    def __init__(self, start: Atoms, spring: type[Calculator]) -> None:
        super().__init__(start)
        self.calculator = spring  # type: ignore[method-assign,assignment]


def test_monte_carlo_samples_the_canonical_ensemble(spring: type[Calculator]) -> None:
    """Equipartition: ½ k_B T for each of the three coordinates and the three components of a moment."""
    start = Atoms("Fe2", positions=np.zeros((2, 3)), cell=[9, 9, 9], pbc=True)
    set_moments(start, [[2.0, 0, 0], [2.0, 0, 0]])
    domain = Domain(Springs(start, spring), Levels(1e9, 1.0))  # type: ignore[arg-type]
    explorer = MonteCarloExplorer(temperatures=[300, 1200], walks=8, sweeps=300, interval=3, displacement=0.3, turn=0.3)
    found = explore(explorer, start, domain)
    assert len(found) == explorer.size(1)
    for temperature in (300, 1200):
        late = [a for a in found if a.info["temperature"] == temperature and a.info["sweep"] > 30]
        squares = [0.5 * np.mean(a.positions**2) for a in late]
        springs = [0.5 * np.mean((get_moments(a) - [2.0, 0, 0]) ** 2) for a in late]
        assert np.mean(squares) == pytest.approx(0.5 * K_B * temperature, rel=0.15)
        assert np.mean(springs) == pytest.approx(0.5 * K_B * temperature, rel=0.15)


def test_monte_carlo_keeps_lengths_and_stops_at_the_border(start: Atoms) -> None:
    explorer = MonteCarloExplorer(temperatures=[50, 5000], sweeps=20, interval=1, lengths=False)
    found = explore(explorer, start, pretended(start, 0.15))
    count = {t: sum(a.info["temperature"] == t for a in found) for t in (50.0, 5000.0)}
    assert 0 < count[5000.0] < count[50.0]
    np.testing.assert_allclose([np.linalg.norm(get_moments(a), axis=1) for a in found], 2.2, rtol=1e-9)
    with pytest.raises(InputError, match="committee"):
        explore(explorer, start)
    with pytest.raises(InputError, match=r"temperatures\[0\]: .*greater than 0"):
        validated(MonteCarloExplorer, {"temperatures": [-1]}, "options")
