"""Ordering temperatures that are known: simple cubic, bcc and fcc Heisenberg models, published exchange of iron."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import Rydberg

from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.quantities import K_B
from deepspin_plugins.curie import CurieResult, MonteCarlo, ordering_temperature

J = 0.01
LATTICES = {
    "sc": (Atoms("Fe", cell=[3, 3, 3], pbc=True), 1.4429),
    "bcc": (bulk("Fe", "bcc", a=2.87), 2.0542),
    "fcc": (bulk("Fe", "fcc", a=3.6), 3.176),
}
"""Sites and k_B T_c/J; sc and bcc from K. Chen, A. M. Ferrenberg, D. P. Landau, Phys. Rev. B 48, 3249 (1993)."""

PAJDA = [1.432, 0.815, -0.016, -0.126, -0.146, 0.062, 0.001, 0.015, -0.032, 0.187]
"""mRy, both orders counted: ten shells of bcc Fe, M. Pajda et al., Phys. Rev. B 64, 174402 (2001). Of the tenth only
the eight neighbours along 111 have this value; the other 24 at the same distance have none."""

FOUR_SHELLS = [1.33767484769984, 0.75703576545650, -0.05975437643846, -0.08819834160658]
"""mRy, both orders counted: the example of bcc Fe that comes with UppASD."""


def iron(published: list[float], moment: float) -> HeisenbergModel:
    shells = {number: 2e-3 * Rydberg * value for number, value in enumerate(published, start=1)}
    if len(published) == 10:
        last = shells[10]
        shells[10] = lambda r: np.where(np.ptp(np.abs(r), axis=1) < 1e-3, last, 0.0)
    return HeisenbergModel.from_shells(bulk("Fe", a=2.8665), shells, magnitudes=moment)


def reduced(result: CurieResult) -> tuple[float, float]:
    return K_B * result.tc / J, K_B * result.tc_error / J


def test_simple_cubic_to_half_a_percent() -> None:
    model = HeisenbergModel.from_shells(LATTICES["sc"][0], [J], magnitudes=2.0)
    result = ordering_temperature(model, accuracy=0.005, sweeps=2000, threads=1)
    value, error = reduced(result)
    assert result.complete
    assert error < 0.005 * 1.4429
    assert abs(value - 1.4429) < max(3 * error, 0.002)
    assert result.rpa < result.tc < result.mean_field
    assert result.binder_at_tc == pytest.approx(0.622, abs=0.006)
    assert result.beta_over_nu[0] == pytest.approx(0.5187, abs=0.05)


def test_antiferromagnet_of_two_sublattices_orders_at_the_same_temperature() -> None:
    """Turning every other moment over maps J to -J; a staggered weight that is wrong would find no order."""
    model = HeisenbergModel.from_shells(LATTICES["sc"][0], [-J], magnitudes=2.0)
    result = ordering_temperature(model, sizes=(6, 8, 12), accuracy=0.01, sweeps=1000, threads=1, seed=2)
    value, error = reduced(result)
    assert result.order == "wave vector (1/2 1/2 1/2)"
    assert abs(value - 1.4429) < 3 * error + 0.003
    assert result.order_parameter[0, 0] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("lattice", LATTICES)
def test_cubic_lattices_to_three_tenths_of_a_percent(lattice: str) -> None:
    sites, expected = LATTICES[lattice]
    result = ordering_temperature(HeisenbergModel.from_shells(sites, [J], magnitudes=2.0), seed=3)
    value, error = reduced(result)
    assert result.complete
    assert error < 0.003 * expected
    assert abs(value - expected) < 0.003 * expected + (0.004 if lattice == "fcc" else 0.0)  # fcc: known to ± 0.004
    assert abs(value - expected) < 3 * error + (0.004 if lattice == "fcc" else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shells", "moment", "published", "error"), [(PAJDA, 2.22, 1054, 8), (FOUR_SHELLS, 2.23, 914, 10)]
)
def test_iron_from_published_exchange(shells: list[float], moment: float, published: float, error: float) -> None:
    result = ordering_temperature(iron(shells, moment), sizes=(6, 8, 12), sweeps=4000)
    assert abs(result.tc - published) < error
    assert result.tc_error < error / 2


def test_iron_at_500_kelvin_in_six_cubed_cells() -> None:
    cubic = iron(FOUR_SHELLS, 2.23).on(bulk("Fe", a=2.8665, cubic=True))
    engine = MonteCarlo(cubic, (6, 6, 6), [500.0], seed=1)
    engine.thermalize(1000)
    mean = 2.23 * engine.run(8000).order.mean()
    assert mean == pytest.approx(1.7685, abs=0.003)


@pytest.mark.slow
def test_errors_cover_over_many_seeds() -> None:
    """Small sizes, twenty seeds: offsets in units of the error scatter like one, beside the drift of small sizes."""
    model = HeisenbergModel.from_shells(LATTICES["sc"][0], [J], magnitudes=2.0)
    offsets = []
    for seed in range(20):
        result = ordering_temperature(model, sizes=(6, 8, 12), accuracy=0.004, sweeps=2000, seed=seed)
        value, error = reduced(result)
        offsets.append((value - 1.4429) / error)
    assert np.mean(np.abs(offsets) < 1) > 0.45
    assert np.mean(np.abs(offsets) < 2) > 0.8
    assert np.abs(offsets).max() < 4
