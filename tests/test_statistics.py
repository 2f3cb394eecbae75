"""Autocorrelation times and errors of means, on a process whose correlations are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from deepspin_ase.errors import InputError
from deepspin_ase.statistics import autocorrelation, autocorrelation_time, mean_with_error


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


def test_series_of_one_value_or_with_nan_are_refused() -> None:
    with pytest.raises(InputError, match="two frames"):
        autocorrelation([1.0])
    with pytest.raises(InputError, match="NaN"):
        autocorrelation([1.0, np.nan, 2.0])
