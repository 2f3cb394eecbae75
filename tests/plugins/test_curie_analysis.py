"""From time series to an ordering temperature: reweighting, errors, finite sizes, on distributions known exactly."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.quantities import K_B
from deepspin_plugins.curie import MagneticOrder, Run, Series, analyse, order_of_state
from deepspin_plugins.curie.adaptive import heat_capacity_maxima, refined, window
from deepspin_plugins.curie.analysis import locate
from deepspin_plugins.curie.curves import averages, measured
from deepspin_plugins.curie.driver import better_centre
from deepspin_plugins.curie.finite_size import BinderCurves, crossings, scaling_fit
from deepspin_plugins.curie.reweighting import Reweighting
from deepspin_plugins.curie.statistics import Estimate, equilibrated, jackknife

EXCHANGE = 0.03  # eV
CRITICAL = EXCHANGE / 3 / K_B
"""K: the Curie-Weiss model, every moment coupled to all, orders exactly at the mean-field temperature."""


def curie_weiss(n: int, temperatures: Sequence[float], samples: int, rng: np.random.Generator) -> Series:
    """Exact, independent samples of n unit vectors with E = -J N m²/2."""
    x = np.geomspace(1e-3, 3e3, 20_001)  # field over temperature: m = coth x - 1/x, entropy ln(sinh x/x) - x m
    m = 1 / np.tanh(x) - 1 / x
    entropy = x - np.log(2) + np.log1p(-np.exp(-2 * x)) - np.log(x) - x * m
    rows = []
    for t in temperatures:
        exponent = n * (entropy + EXCHANGE * m**2 / (2 * K_B * t)) + 2 * np.log(m)
        density = np.exp(exponent - exponent.max())
        share = np.concatenate([[0.0], np.cumsum(np.diff(m) * (density[1:] + density[:-1]) / 2)])
        rows.append(np.interp(rng.random(samples) * share[-1], share, m))
    order = np.array(rows)
    return Series(np.array(temperatures), -EXCHANGE * n * order**2 / 2, order[:, :, None], np.array([2.0]), n)


@pytest.fixture(scope="module")
def ferromagnet() -> MagneticOrder:
    return order_of_state(HeisenbergModel.from_shells(bulk("Fe"), [0.01], magnitudes=2.0), [1.0])


class TestReweighting:
    temperatures = CRITICAL * np.array([0.97, 1.0, 1.03])

    def test_mean_energy_between_the_temperatures_is_exact(self, rng: np.random.Generator) -> None:
        series = curie_weiss(200, self.temperatures, 20_000, rng)
        between = CRITICAL * np.array([0.985, 1.015])
        found = Reweighting(self.temperatures, 20_000, series.energy.ravel(), np.ones(60_000))
        mean = found.weights(between) @ series.energy.ravel()
        exact = curie_weiss(200, between, 200_000, rng).energy
        error = np.hypot(exact.std(axis=1) / np.sqrt(200_000), exact.std(axis=1) / np.sqrt(20_000))
        assert np.all(np.abs(mean - exact.mean(axis=1)) < 4 * error)
        ends = found.weights(self.temperatures[[0, 2]]) @ series.energy.ravel()
        assert np.all(np.abs(mean - ends) > 20 * error), "the check could not fail otherwise"

    @pytest.mark.filterwarnings("ignore:Unknown solver options")
    def test_free_energies_are_those_of_pymbar(self, rng: np.random.Generator) -> None:
        logging.disable(logging.WARNING)  # pymbar's advice to install jax
        try:
            import pymbar

            energy = curie_weiss(100, self.temperatures, 300, rng).energy
            reduced = (energy - energy.mean()).ravel() / (K_B * self.temperatures[:, None])
            reference = pymbar.MBAR(reduced, np.full(3, 300)).f_k
        finally:
            logging.disable(logging.NOTSET)
        own = Reweighting(self.temperatures, 300, energy.ravel(), np.ones(900)).free_energies
        np.testing.assert_allclose(own, reference - reference[0], atol=1e-6)

    def test_energies_far_apart_are_refused(self, rng: np.random.Generator) -> None:
        energy = np.concatenate([rng.normal(-900.0, 0.1, 100), rng.normal(900.0, 0.1, 100)])
        with pytest.raises(DeepSpinError, match="do not overlap"):
            Reweighting(np.array([1.0, 2.0]), 100, energy, np.ones(200))

    def test_wrong_shapes_are_refused(self) -> None:
        with pytest.raises(InputError, match="two equal shapes"):
            Reweighting(np.array([1.0, 2.0]), 1, np.ones(3), np.ones(2))


class TestErrors:
    def test_jackknife_sees_correlations(self, rng: np.random.Generator) -> None:
        a, n = 0.9, 40_000
        noise = rng.normal(size=(40, n))
        x = np.empty((40, n))
        x[:, 0] = noise[:, 0] / np.sqrt(1 - a**2)
        for t in range(1, n):
            x[:, t] = a * x[:, t - 1] + noise[:, t]
        exact = np.sqrt((1 + a) / (1 - a) / (1 - a**2) / n)

        def mean(row: np.ndarray, left_out: slice | None) -> np.ndarray:
            return np.array((row if left_out is None else np.delete(row, left_out)).mean())

        found = [jackknife(lambda cut, row=row: mean(row, cut), n, 20) for row in x]
        errors = np.array([one.error for one in found])
        assert abs(errors.mean() / exact - 1) < 0.1
        assert abs(np.std([one.value for one in found]) / exact - 1) < 0.35

    def test_a_drifting_start_is_left_out(self, rng: np.random.Generator) -> None:
        still = rng.normal(size=(2, 4000))
        moving = still.copy()
        moving[1, :500] += np.linspace(8, 0, 500)
        assert equilibrated(still) <= 200
        assert 400 <= equilibrated(moving) <= 1200
        with pytest.raises(InputError, match="at least 8"):
            equilibrated(still[:, :7])

    def test_averages_are_exact_moments_with_covering_errors(
        self, ferromagnet: MagneticOrder, rng: np.random.Generator
    ) -> None:
        """Free moments: <m²> = 1/N, C = 0, and the Binder cumulant 4/9 of three Gaussian components."""
        n, samples = 400, 20_000
        vectors = rng.normal(size=(1, samples, 3)) / np.sqrt(3 * n)
        m = np.linalg.norm(vectors, axis=2)
        series = Series(np.array([100.0]), np.zeros((1, samples)), m[:, :, None], np.array([2.0]), n)
        found = averages(series, measured(series, m), 2.0)
        assert found.heat_capacity.value[0] == 0.0
        assert abs(found.binder.value[0] - 4 / 9) < 4 * found.binder.error[0] < 0.04
        # (<M²> - <|M|>²)/(N k_B T) of a Maxwell distribution: (1 - 8/3π) of the Curie law µB² |m|²/k_B T
        curie = 5.7883818060e-5 * 4.0 / (K_B * 100.0)
        expected = curie * (1 - 8 / (3 * np.pi))
        assert abs(found.susceptibility.value[0] - expected) < 4 * found.susceptibility.error[0] < 0.1 * expected


class TestFiniteSize:
    def test_scaling_fit_recovers_what_was_put_in(self, rng: np.random.Generator) -> None:
        sizes = np.array([8.0, 12.0, 16.0])
        t = np.linspace(97, 104, 15)

        def cumulant(nu: float) -> np.ndarray:
            x = (t / 100.3 - 1) * sizes[:, None] ** (1 / nu)
            return 0.62 - 0.1 * x - 0.02 * x**2 + 1e-3 * x**3

        error = np.full((3, 15), 1e-4)
        exact = scaling_fit(sizes, t, cumulant(0.7112), error, 99.0)
        assert exact.tc == pytest.approx(100.3, abs=1e-6)
        assert exact.binder == pytest.approx(0.62, abs=1e-8)
        noisy = cumulant(0.64) + rng.normal(0, 1e-4, (3, 15))
        free = scaling_fit(sizes, t, noisy, error, 99.0, nu=None)
        assert free.tc == pytest.approx(100.3, abs=0.02)
        assert free.nu == pytest.approx(0.64, abs=0.01)
        assert free.chi2 == pytest.approx(1.0, abs=0.5)

    def test_curves_that_do_not_cross_have_no_crossing(self, rng: np.random.Generator) -> None:
        t = np.linspace(0, 1, 21)
        base = np.stack([0.6 - 0.1 * t, 0.62 - 0.1 * t, 0.65 - 0.2 * t])
        binder = base + rng.normal(0, 1e-3, (21, 3, 1))
        binder[0] = base
        pairs, found = crossings(BinderCurves(np.array([1.0, 2.0, 3.0]), t, binder, binder))
        assert pairs == [(1.0, 2.0), (1.0, 3.0), (2.0, 3.0)]
        assert np.isnan(found[:, 0]).all()
        np.testing.assert_allclose(found[0, 1:], [0.5, 0.3])

    def test_noise_is_no_crossing(self, rng: np.random.Generator) -> None:
        binder = 0.6 + rng.normal(0, 1e-3, (21, 2, 21)) / np.sqrt(19)
        binder[0] *= 1.0
        assert np.isnan(crossings(BinderCurves(np.array([1.0, 2.0]), np.linspace(0, 1, 21), binder, binder))[1]).all()

    def test_curie_weiss_transition_is_found_with_an_honest_error(
        self, ferromagnet: MagneticOrder, rng: np.random.Generator
    ) -> None:
        """The scaling variable is (T/Tc - 1) √N, so 1/ν = 3/2 for L = N^(1/3); six times, never 3.5 errors off."""
        offsets = []
        for _ in range(6):
            runs = []
            for n in (1000, 3000, 9000):
                series = curie_weiss(n, CRITICAL * np.linspace(0.99, 1.012, 7), 3000, rng)
                runs.append(Run(n ** (1 / 3), series))
            found = locate(ferromagnet, runs, nu=2 / 3)
            assert found.error < 3e-3 * CRITICAL
            offsets.append((found.tc - CRITICAL) / found.error)
        assert np.abs(offsets).max() < 3.5
        assert found.inverse_nu.value == pytest.approx(1.5, abs=4 * float(found.inverse_nu.error))
        assert found.beta_over_nu.value == pytest.approx(0.75, abs=0.05)  # m ~ N^(-1/4)

    @pytest.mark.parametrize(("low", "high"), [(0.9, 0.95), (1.05, 1.1)])
    def test_away_from_the_transition_there_is_none(
        self, ferromagnet: MagneticOrder, rng: np.random.Generator, low: float, high: float
    ) -> None:
        grid = CRITICAL * np.linspace(low, high, 5)
        runs = [Run(n ** (1 / 3), curie_weiss(n, grid, 1000, rng)) for n in (300, 1000)]
        result = analyse(ferromagnet, runs)
        assert np.isnan(result.tc)
        assert not result.complete
        assert result.summary().startswith("no transition found")
        assert len(result.figure().axes) == 4
        assert any("there is none" in text for text in result.unchecked)

    @pytest.mark.parametrize(
        ("zero", "expected"),  # where the cumulants cross, and the better centre; the window is 100 ... 200 K
        [(150.0, None), (169.0, None), (185.0, 185.0), (115.0, 115.0), (230.0, 200.0), (70.0, 100.0)],
    )
    def test_a_window_beside_the_transition_gets_a_better_centre(
        self, ferromagnet: MagneticOrder, rng: np.random.Generator, zero: float, expected: float | None
    ) -> None:
        """Also where the crossing is so close to the end of the window that one side is lost in the noise."""
        grid = np.linspace(100.0, 200.0, 31)
        large = np.clip((zero - grid) / 1000, -0.01, 0.01)  # ± 3 errors
        curves = np.array([[0 * grid, large], np.full((2, 31), 0.01 / 3 / np.sqrt(2))])
        runs = [Run(k, curie_weiss(100, CRITICAL * np.array([0.9, 1.1]), 20, rng)) for k in (1, 2)]
        found = locate(ferromagnet, runs)._replace(tc=np.nan, grid=grid, curves=curves)
        assert better_centre(found) == (expected if expected is None else pytest.approx(expected))
        unclear = found._replace(curves=curves * np.array([0.3, 1.0])[:, None, None])
        assert better_centre(unclear) is None
        assert better_centre(found._replace(tc=189.0)) is None
        assert better_centre(found._replace(tc=191.0)) == 191.0

    def test_runs_that_cannot_be_compared_are_refused(
        self, ferromagnet: MagneticOrder, rng: np.random.Generator
    ) -> None:
        one, other = (Run(k, curie_weiss(100, [CRITICAL * k, CRITICAL * 1.1 * k], 20, rng)) for k in (1, 2))
        with pytest.raises(InputError, match="different temperatures"):
            locate(ferromagnet, [one, other])
        with pytest.raises(InputError, match="at least two"):
            locate(ferromagnet, [one])
        with pytest.raises(InputError, match="at least two different"):
            locate(ferromagnet, [one, one])


class TestTemperatures:
    def test_window_shrinks_with_the_size_but_not_below_the_error(self) -> None:
        small, large = window(100.0, 8.0, 9), window(100.0, 16.0, 9)
        assert np.ptp(large) / np.ptp(small) == pytest.approx(0.5 ** (1 / 0.7112))
        assert window(100.0, 16.0, 9, least=0.1)[[0, -1]].tolist() == pytest.approx([90.0, 110.0])

    def test_two_transitions_are_two_maxima_and_noise_is_none(self, rng: np.random.Generator) -> None:
        t = np.linspace(10, 200, 39)
        capacity = 1 + 2 * np.exp(-(((t - 60) / 8) ** 2)) + 3 * np.exp(-(((t - 140) / 8) ** 2))
        noise = rng.normal(0, 0.03, t.shape)
        peaks, widths = heat_capacity_maxima(t, Estimate(capacity + noise, np.full(39, 0.03)))
        assert peaks.tolist() == [140.0, 60.0]
        assert widths.tolist() == [5.0, 5.0]
        assert not len(heat_capacity_maxima(t, Estimate(1 + noise, np.full(39, 0.03)))[0])

    def test_a_scan_is_refined_where_the_order_is_lost(
        self, ferromagnet: MagneticOrder, rng: np.random.Generator
    ) -> None:
        series = curie_weiss(1000, CRITICAL * np.linspace(0.1, 1.3, 7), 500, rng)
        more = refined(series.temperatures, averages(series, measured(series, series.order[:, :, 0]), 2.0))
        assert len(more) >= 2
        assert np.all((more > 0.55 * CRITICAL) & (more < 1.15 * CRITICAL))


def test_result_tells_two_sizes_are_few(ferromagnet: MagneticOrder, rng: np.random.Generator) -> None:
    grid = CRITICAL * np.linspace(0.97, 1.04, 7)
    runs = [Run(n ** (1 / 3), curie_weiss(n, grid, 2000, rng)) for n in (300, 2400)]
    result = analyse(ferromagnet, runs, nu=2 / 3)
    assert abs(result.tc - CRITICAL) < 5 * result.tc_error
    assert any("take three" in text for text in result.unchecked)


def test_sublattices_and_net_moment_are_recorded(rng: np.random.Generator) -> None:
    model = HeisenbergModel.from_shells(
        Atoms("FeGd", cell=np.eye(3) * 3, scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], pbc=True),
        [-0.01],
        magnitudes=[2.0, 7.0],
    )
    order = order_of_state(model, [1.0, -1.0])
    assert order.parts == ("Fe 2 µB (1)", "Gd 7 µB (2)", "net moment")
    samples = rng.random((2, 60, 4)) * 0.1 + 0.3
    grid = np.array([100.0, 101.0])
    runs = [Run(size, Series(grid, rng.normal(size=(2, 60)), samples, np.ones(4), 2)) for size in (1, 2)]
    result = analyse(order, runs)
    assert result.part_names == order.parts
    assert result.parts.shape == (3, 2, 4)
    np.testing.assert_allclose(result.parts[:, 0, :], 0.35, atol=0.02)
    assert np.all(result.parts[:, 1] > 0)
