"""What is chosen for labelling: levels, thinning, and less error for fewer labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase import random_directions, rotate_with_moments, set_moments
from deepspin_ase.active_learning import Levels, Selection, Trust, WorstAtoms, farthest_points, fingerprints, select
from deepspin_ase.errors import InputError


def pair(distance: float, angle: float) -> Atoms:
    """Two iron atoms with moments of 2 µB that make an angle (degrees)."""
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [distance, 0, 0]])
    turn = np.deg2rad(angle)
    set_moments(atoms, [[0, 0, 2.0], [2 * np.sin(turn), 0, 2 * np.cos(turn)]])
    return atoms


def deviations(forces: list[float], magnetic: list[float]) -> WorstAtoms:
    return WorstAtoms(np.array(forces), np.array(magnetic))


TRUST = Trust(Levels(0.1, 0.01), Levels(1.0, 0.1))


def test_either_quantity_can_make_a_candidate_or_a_failure() -> None:
    found = TRUST.classify(deviations([0.05, 0.2, 0.05, 2.0, 0.05, 0.2], [0.005, 0.005, 0.02, 0.005, 0.2, 0.2]))
    assert found.tolist() == [0, 1, 1, 2, 2, 2]


def test_low_level_follows_the_errors_on_training_frames_within_limits() -> None:
    labels = Levels(1.0, 0.2)
    errors = deviations([0.05] * 99 + [9.0], [0.01] * 99 + [9.0])
    honest = Levels(1.0, 0.3)  # a committee that deviates more than it errs is taken as it is
    trust = Trust.from_errors(errors, labels, honest)
    assert trust.low == Levels(0.05, 0.01)
    assert trust.high == Levels(0.5, 0.1)
    by_heart = Trust.from_errors(deviations([1e-6] * 9, [1e-6] * 9), labels, honest).low
    assert (by_heart.forces, by_heart.magnetic_perp) == pytest.approx((0.02, 0.004))
    untrained = Trust.from_errors(deviations([5.0] * 9, [5.0] * 9), labels, honest).low
    assert (untrained.forces, untrained.magnetic_perp) == pytest.approx((0.1, 0.02))
    too_sure = Trust.from_errors(errors, labels, Levels(4.0, 2.0))
    assert too_sure == Trust(Levels(0.0125, 0.005), Levels(0.125, 0.05))


def test_collinear_data_leave_a_domain_for_torques() -> None:
    """Labels of collinear states are zero across the moments; that must not make every tilted state impossible."""
    trust = Trust.from_errors(deviations([0.05] * 9, [0.0] * 9), Levels(1.0, 0.0), Levels(1.0, 1.0))
    assert trust.classify(deviations([0.01] * 3, [0.0, 1e-3, 1e-2])).tolist() == [0, 1, 2]
    found = select([pair(2.5, 0.0)], deviations([0.01], [0.0]), trust, [], labels=1, fresh=0,
                   rng=np.random.default_rng(0))  # fmt: skip
    assert found.plot().get_xlabel()


def test_automatic_high_level_leaves_out_one_in_a_hundred_at_most() -> None:
    spread = WorstAtoms(np.linspace(10, 20, 1000), np.full(1000, 0.001))
    assert (TRUST.classify(spread) == 2).all()
    assert (TRUST.widened(spread).classify(spread) == 2).mean() == pytest.approx(0.01, abs=0.002)


def test_farthest_points_spread_out() -> None:
    points = np.array([[0.0], [0.1], [5.0], [5.1], [10.0]])
    chosen = farthest_points(points, np.zeros((0, 1)), 3, np.ones(5))
    assert chosen[0] == 0  # nothing is known: the largest score, the first of equals
    assert set(chosen.tolist()) in ({0, 4, 2}, {0, 4, 3})
    beside_known = farthest_points(points, np.array([[0.0]]), 1, np.ones(5))
    assert beside_known.tolist() == [4]


def test_a_large_deviation_outweighs_distance() -> None:
    points = np.array([[1.0], [2.0], [3.0]])
    assert farthest_points(points, np.array([[0.0]]), 1, np.array([1.0, 10.0, 1.0])).tolist() == [1]


def test_copies_are_not_chosen_twice() -> None:
    structures = [pair(2.5, 30.0)] * 5 + [pair(2.6, 30.0)] * 5
    found = select(
        structures, deviations([0.5] * 10, [0.0] * 10), TRUST, [], labels=6, fresh=0, rng=np.random.default_rng(0)
    )
    assert len(found.chosen) == 2
    known = select(
        structures, deviations([0.5] * 10, [0.0] * 10), TRUST, structures[:1], labels=6, fresh=0,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert known.chosen.tolist() == [5]


def test_fresh_frames_are_drawn_at_random_and_kept_apart() -> None:
    structures = [pair(2.3 + 0.01 * k, 5.0 * k) for k in range(40)]
    forces = [0.05] * 20 + [0.5] * 15 + [5.0] * 5
    found = select(
        structures, deviations(forces, [0.0] * 40), TRUST, [], labels=50, fresh=10, rng=np.random.default_rng(1)
    )
    assert len(found.fresh) == 10
    assert not set(found.fresh.tolist()) & set(found.chosen.tolist())
    assert not (found.classes[found.fresh] == 2).any()
    assert set(found.chosen.tolist()) == set(range(20, 35)) - set(found.fresh.tolist())
    assert found.fractions == pytest.approx({"accurate": 0.5, "candidate": 0.375, "failed": 0.125})


def test_fingerprints_know_what_matters(rng: np.random.Generator) -> None:
    crystal = bulk("Fe", a=2.87, cubic=True)
    set_moments(crystal, random_directions(crystal, 2.2, rng))
    turned = crystal.copy()
    rotate_with_moments(turned, 40.0, (1, 2, 3))
    larger, flipped, stretched = crystal.repeat((2, 1, 1)), crystal.copy(), crystal.copy()
    set_moments(flipped, crystal.get_initial_magnetic_moments() * [[1.0], [-1.0]])
    stretched.set_cell(crystal.cell * 1.02, scale_atoms=True)
    first, *others = fingerprints([crystal, turned, larger, flipped, stretched])
    size = np.abs(first).max()
    differences = [np.abs(other - first).max() / size for other in others]
    assert max(differences[:2]) < 1e-9
    assert min(differences[2:]) > 1e-3


def test_selection_file_and_picture(tmp_path: Path) -> None:
    found = select(
        [pair(2.4, 10.0), pair(2.5, 60.0)], deviations([0.2, 0.01], [0.0, 0.0]), TRUST, [], labels=1, fresh=1,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    found.save(tmp_path / "selection.npz")
    again = Selection.load(tmp_path / "selection.npz")
    np.testing.assert_array_equal(again.classes, found.classes)
    assert not again.forces.flags.writeable
    assert "eV/Å" in again.plot(quantity="forces").get_xlabel()
    (tmp_path / "selection.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="damaged"):
        Selection.load(tmp_path / "selection.npz")


class Kriging:
    """A committee without networks: kernel interpolations of E(r, cos θ) with several length scales."""

    def __init__(self, inputs: np.ndarray, energies: np.ndarray) -> None:
        self._inputs = inputs
        self._weights = [
            np.linalg.solve(self._kernel(inputs, scale) + 1e-6 * np.eye(len(inputs)), energies)
            for scale in (0.25, 0.4, 0.6)
        ]

    def _kernel(self, inputs: np.ndarray, scale: float) -> np.ndarray:
        squares = ((inputs[:, None] - self._inputs[None]) ** 2).sum(axis=-1)
        return np.exp(-squares / (2 * scale**2))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        scales = (0.25, 0.4, 0.6)
        return np.array([self._kernel(inputs, s) @ w for s, w in zip(scales, self._weights, strict=True)])


def test_selection_needs_fewer_labels_than_chance() -> None:
    """E(r, θ) of a pair from a pool that is mostly near equilibrium; test points everywhere."""

    def energy(inputs: np.ndarray) -> np.ndarray:
        r, cosine = 2.5 + 0.5 * inputs[:, 0], inputs[:, 1]
        return np.exp(-2 * (r - 2.5)) * (0.5 * np.exp(-2 * (r - 2.5)) - 1) - 0.6 * np.exp(-(r - 2.5)) * cosine**3

    def error(strategy: str, seed: int) -> float:
        rng = np.random.default_rng(seed)
        near = np.column_stack([rng.normal(0, 0.1, 180), 1 - np.abs(rng.normal(0, 0.05, 180))])
        pool = np.concatenate([near, rng.uniform(-1, 1, (20, 2))])
        structures = [pair(2.5 + 0.5 * x, np.rad2deg(np.arccos(c))) for x, c in pool]
        test = rng.uniform(-1, 1, (200, 2))
        chosen = rng.permutation(len(pool))[:6].tolist()
        for _ in range(3):
            left = [i for i in range(len(pool)) if i not in chosen]
            if strategy == "random":
                chosen += rng.permutation(left)[:5].tolist()
                continue
            committee = Kriging(pool[chosen], energy(pool[chosen]))
            spread = WorstAtoms(committee(pool[left]).std(axis=0, ddof=1), np.zeros(len(left)))
            wrong = np.abs(committee(pool[chosen]).mean(axis=0) - energy(pool[chosen]))
            errors = WorstAtoms(wrong, np.zeros(len(wrong)))
            trust = Trust.from_errors(errors, Levels(0.3, 1.0), Levels(1.0, 1.0)).widened(spread)
            known = [structures[i] for i in chosen]
            found = select([structures[i] for i in left], spread, trust, known, labels=5, fresh=0, rng=rng)
            chosen += [left[k] for k in found.chosen]
        predicted = Kriging(pool[chosen], energy(pool[chosen]))(test).mean(axis=0)
        return float(np.sqrt(np.mean((predicted - energy(test)) ** 2)))

    ratios = [error("active", seed) / error("random", seed) for seed in range(8)]
    assert max(ratios) < 1.0, ratios
    assert np.median(ratios) < 0.75, ratios  # 0.64; two random selections differ by a third either way
