"""Order parameters: found from exchange, given as states, on supercells; sizes that hold them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.quantities import K_B
from deepspin_plugins.curie import MagneticOrder, Series, find_order, order_of_state
from deepspin_plugins.curie.supercells import cell_shape, checked_sizes, default_sizes

FCC = bulk("NiO", "rocksalt", a=4.17)
NIO = HeisenbergModel.from_shells(FCC, [0.8e-3, -16e-3], magnitudes={"Ni": 1.27, "O": 0.0})


def chain(*exchange: float) -> HeisenbergModel:
    sites = Atoms("Fe", cell=[2.5, 9, 9], pbc=[True, False, False])
    return HeisenbergModel.from_shells(sites, list(exchange), magnitudes=2.0)


def magnitude(order: MagneticOrder, model: HeisenbergModel, cells: int, moments: NDArray[np.float64]) -> float:
    """Length of the order parameter of moments on cells³ cells, through the normalisation of a sampler."""
    offset = np.array(list(product(range(cells), repeat=3)))
    n = len(model)
    weights = order.weights_at(np.tile(np.arange(n), len(offset)), np.repeat(offset, n, axis=0))
    total = np.abs(weights) @ np.tile(model.magnitudes, len(offset))
    psi = np.linalg.norm(weights @ moments, axis=1) / total
    return float(order.magnitude(Series(np.ones(1), np.zeros((1, 1)), psi[None, None], total / n, n))[0, 0])


def test_ferromagnet_and_its_mean_field_temperature() -> None:
    order = find_order(HeisenbergModel.from_shells(bulk("Fe", a=2.87), [0.03], magnitudes=2.2))
    assert (order.name, order.period, order.moment) == ("ferromagnet", (1, 1, 1), 2.2)
    assert order.mean_field == pytest.approx(8 * 0.03 / 3 / K_B)


def test_ferrimagnet_has_its_sublattices_and_net_moment() -> None:
    cscl = Atoms("FeGd", cell=np.eye(3) * 3, scaled_positions=[(0, 0, 0), (0.5,) * 3], pbc=True)
    order = find_order(HeisenbergModel.from_shells(cscl, [-0.01], magnitudes=[2.0, 7.0]))
    assert order.name == "ferrimagnet"
    assert order.moment == 4.5
    np.testing.assert_allclose(order.weights[0] / order.weights[0, 0], [1, -1], atol=1e-12)
    np.testing.assert_allclose(order.weights[1:], [[1, 0], [0, 1], [1, 1]])
    assert order.scale.tolist() == [1, 0, 0, 0]
    equal = find_order(HeisenbergModel.from_shells(cscl, [-0.01], magnitudes=2.0))
    assert equal.name == "antiferromagnet"


class TestNickelOxide:
    order = find_order(NIO)

    def test_four_arms_of_the_star(self) -> None:
        assert self.order.name == "wave vector (0 0 1/2), 4 arms"
        assert self.order.period == (2, 2, 2)
        cartesian = self.order.wave_vectors @ np.linalg.inv(FCC.cell.array).T * 4.17
        np.testing.assert_allclose(np.abs(cartesian), 0.5, atol=1e-12)  # the four L points, half a diagonal
        assert self.order.mean_field == pytest.approx(6 * 16e-3 / 3 / K_B, rel=1e-9)

    @pytest.mark.parametrize("arm", range(4))
    def test_each_domain_is_perfect_order(self, arm: int) -> None:
        offset = np.array(list(product(range(2), repeat=3)))
        moments = np.zeros((16, 3))
        moments[::2, 0] = 1.27 * np.cos(2 * np.pi * offset @ self.order.wave_vectors[arm])
        assert magnitude(self.order, NIO, 2, moments) == pytest.approx(1.0, abs=1e-12)

    def test_sublattices_that_point_anywhere_are_perfect_order_too(self, rng: np.random.Generator) -> None:
        """J2 alone leaves the four simple cubic sublattices free against each other: Σ over arms does not see it."""
        axes = rng.normal(size=(4, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        offset = np.array(list(product(range(2), repeat=3)))
        second = np.array([[1, 1, -1], [1, -1, 1], [-1, 1, 1]])  # second neighbours, in cells; J2 < 0: opposite
        kind = {tuple(o): k for k, o in enumerate([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])}
        moments = np.zeros((16, 3))
        for i, o in enumerate(offset):
            start = tuple(o) if tuple(o) in kind else tuple((o + second[0]) % 2)
            sign = 1.0 if tuple(o) in kind else -1.0
            moments[2 * i] = 1.27 * sign * axes[kind[start]]
        assert magnitude(self.order, NIO, 2, moments) == pytest.approx(1.0, abs=1e-12)

    def test_disorder_has_almost_none(self, rng: np.random.Generator) -> None:
        moments = np.zeros((2 * 8**3, 3))
        moments[::2] = rng.normal(size=(8**3, 3))
        moments *= 1.27 / np.maximum(np.linalg.norm(moments, axis=1, keepdims=True), 1e-12)
        assert magnitude(self.order, NIO, 8, moments) == pytest.approx(np.sqrt(4 / 8**3), rel=0.5)

    def test_conventional_cell_says_the_same(self) -> None:
        cubic = bulk("NiO", "rocksalt", a=4.17, cubic=True)
        model = HeisenbergModel.from_shells(cubic, [0.8e-3, -16e-3], magnitudes={"Ni": 1.27, "O": 0.0})
        order = find_order(model)
        assert order.mean_field == pytest.approx(self.order.mean_field)
        assert order.period == (2, 2, 2)
        offset = np.repeat(list(product(range(2), repeat=3)), len(cubic), axis=0)
        sites = np.tile(cubic.get_scaled_positions(), (8, 1)) + offset
        moments = np.zeros((64, 3))
        moments[:, 2] = np.cos(np.pi * sites.sum(axis=1)) * np.tile(model.magnitudes, 8)  # (111) sheets
        assert magnitude(order, model, 2, moments) == pytest.approx(1.0, abs=1e-9)

    def test_collinear_state_for_the_rpa(self) -> None:
        repeat, moments = self.order.moments(NIO.magnitudes)
        assert repeat == (2, 2, 2)
        assert sorted(moments[::2, 2].tolist()) == [-1.27] * 4 + [1.27] * 4
        assert not moments[1::2].any()


class TestHelix:
    def test_quarter_turn_of_a_frustrated_chain(self) -> None:
        """Cos q = -J1/4J2 = 1/2: sixty degrees per site, perfect for both handednesses."""
        order = find_order(chain(0.010, -0.005))
        assert order.name == "wave vector (1/6 0 0)"
        assert order.period == (6, 1, 1)
        for hand in (1, -1):
            angle = 2 * np.pi / 6 * np.arange(6) * hand
            moments = 2.0 * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
            weights = order.weights_at(np.zeros(6, dtype=int), np.column_stack([np.arange(6), *np.zeros((2, 6))]))
            psi = np.linalg.norm(weights @ moments, axis=1) / (2.0 * np.abs(weights).sum(axis=1))
            series = Series(np.ones(1), np.zeros((1, 1)), psi[None, None], np.ones(1), 6)
            assert order.magnitude(series)[0, 0] == pytest.approx(1.0)

    def test_it_is_no_collinear_state(self) -> None:
        with pytest.raises(InputError, match="not collinear"):
            find_order(chain(0.010, -0.005)).moments([2.0])


class TestGivenState:
    triangle = Atoms("Mn3", positions=[(0, 0, 0), (2, 0, 0), (1, 1.7, 0)], cell=[4, 4, 4], pbc=True)

    def test_full_for_the_state_however_it_is_turned(self) -> None:
        angles = np.deg2rad([90, 210, 330])
        state = np.column_stack([np.cos(angles), np.sin(angles), 0 * angles])
        model = HeisenbergModel.from_bonds(self.triangle, [], magnitudes=3.0)
        order = order_of_state(model, state)
        turned = 3.0 * Rotation.from_rotvec([0.3, -1.0, 2.0]).apply(state)
        assert magnitude(order, model, 1, turned) == pytest.approx(1.0)
        assert magnitude(order, model, 1, np.full((3, 3), np.sqrt(3))) == pytest.approx(0.0, abs=1e-12)

    def test_collinear_state_counts_moments(self) -> None:
        model = HeisenbergModel.from_bonds(self.triangle, [], magnitudes=[1.0, 2.0, 3.0])
        order = order_of_state(model, [1.0, -1.0, 1.0])
        np.testing.assert_allclose(np.abs(order.weights[0]), 1.0)
        flipped = np.zeros((3, 3))
        flipped[:, 1] = [-1.0, -2.0, 3.0]  # the first moment, 1 of 6 µB, is wrong
        assert magnitude(order, model, 1, flipped) == pytest.approx(4 / 6)

    @pytest.mark.parametrize(
        ("moments", "message"),
        [([1.0, 1.0], "shape"), ([0.0, 0.0, 0.0], "are zero"), ([1.0, np.nan, 1.0], "NaN|finite")],
    )
    def test_wrong_states_are_refused(self, moments: list[float], message: str) -> None:
        with pytest.raises(InputError, match=message):
            order_of_state(HeisenbergModel.from_bonds(self.triangle, [], magnitudes=1.0), moments)


class TestNothingToFind:
    def test_without_exchange(self) -> None:
        with pytest.raises(InputError, match="no exchange"):
            find_order(HeisenbergModel.from_bonds(FCC, [], magnitudes=1.0))

    def test_flat_band_of_the_kagome_antiferromagnet(self) -> None:
        cell = [[5, 0, 0], [2.5, 2.5 * np.sqrt(3), 0], [0, 0, 9]]
        kagome = Atoms("Fe3", cell=cell, scaled_positions=[(0, 0, 0), (0.5, 0, 0), (0, 0.5, 0)], pbc=[1, 1, 0])
        with pytest.raises(InputError, match="does not choose an order"):
            find_order(HeisenbergModel.from_shells(kagome, [-0.01], magnitudes=1.0))


class TestSizes:
    def test_defaults_have_the_sites_that_they_say_and_hold_the_order(self) -> None:
        iron = HeisenbergModel.from_shells(bulk("Fe", a=2.87), [0.03], magnitudes=2.2)
        assert default_sizes(iron, find_order(iron)) == (8, 12, 16)
        assert default_sizes(NIO, find_order(NIO)) == (8, 12, 16)

    def test_flat_cells_grow_evenly_and_vacuum_does_not_grow(self) -> None:
        cell = Atoms("Fe", cell=[3, 3, 6], pbc=True)
        bulk_like = HeisenbergModel.from_bonds(
            cell, [(0, 0, image, 0.01) for image in np.eye(3, dtype=int)], magnitudes=2.0
        )
        layer = HeisenbergModel.from_bonds(
            cell, [(0, 0, image, 0.01) for image in np.eye(3, dtype=int)[:2]], magnitudes=2.0
        )
        assert cell_shape(bulk_like).tolist() == [2, 2, 1]
        assert cell_shape(layer).tolist() == [1, 1, 0]

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [([8], "at least two"), ([8, 8], "different"), ([0, 4], "whole"), ([4, 7], "multiples of 2")],
    )
    def test_sizes_that_do_not_fit_are_refused(self, sizes: list[int], message: str) -> None:
        with pytest.raises(InputError, match=message):
            checked_sizes(sizes, find_order(NIO), cell_shape(NIO))
