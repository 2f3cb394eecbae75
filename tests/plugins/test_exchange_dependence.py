"""J against distance, and the change of exchange when an atom is displaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase import Heisenberg, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Exponential
from deepspin_plugins.exchange import (
    ExchangeGradient,
    StrainedExchange,
    exchange_gradient,
    exchange_under_strain,
)

J = Exponential(strength=0.03, r0=2.5, decay=0.5, cutoff=4.5)


@pytest.fixture
def iron() -> Atoms:
    atoms = bulk("Fe", a=2.87)
    set_moments(atoms, [2.2])
    return atoms


@pytest.fixture
def chain() -> Atoms:
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [2.6, 0, 0]], cell=[5.2, 9, 9], pbc=(True, False, False))
    set_moments(atoms, [2.0, -1.5])
    return atoms


class TestStrain:
    """``exchange_under_strain``."""

    @pytest.mark.parametrize("normalise", [True, False])
    def test_slope_is_the_derivative_of_the_exchange_function(self, iron: Atoms, normalise: bool) -> None:
        scale = 1.0 if normalise else 2.2**2
        scan = exchange_under_strain(iron, Heisenberg(exchange=J, normalise=normalise), cutoff=4.2)
        slope, error = scan.slopes
        value, expected = J.evaluate(scan.distances[2])
        np.testing.assert_allclose(scan.exchange[2], scale * value, atol=1e-9)
        np.testing.assert_allclose(slope, scale * expected, atol=2e-6)
        assert np.all(np.abs(slope - scale * expected) < np.maximum(3 * error, 1e-8))

    def test_all_points_lie_on_the_curve(self, iron: Atoms) -> None:
        scan = exchange_under_strain(iron, Heisenberg(exchange=J), cutoff=4.2, strains=(-0.05, 0.0, 0.03))
        np.testing.assert_allclose(scan.exchange, J(scan.distances), atol=1e-9)

    def test_bonds_that_keep_their_length_have_no_slope(self, chain: Atoms) -> None:
        flat = chain.copy()
        flat.positions[1] = [0.0, 2.6, 0.0]
        flat.cell[0, 0] = 3.0
        scan = exchange_under_strain(
            flat, Heisenberg(exchange=J), cutoff=3.1, direction=np.diag([1.0, 0.0, 0.0]), supercell=(3, 1, 1)
        )
        slope, _ = scan.slopes
        across = np.isclose(scan.distances[2], 2.6)
        assert across.any()
        assert np.isnan(slope[across]).all()
        assert np.isfinite(slope[~across]).all()

    def test_table_plot_and_file(self, iron: Atoms, tmp_path: Path) -> None:
        scan = exchange_under_strain(iron, Heisenberg(exchange=J), cutoff=3.0)
        assert "dJ/dr (meV/Å)" in scan.table()
        assert len(scan.table().splitlines()) == 3
        axes = scan.plot()
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("distance (Å)", "J (meV)")
        scan.save(tmp_path / "scan")
        assert StrainedExchange.load(tmp_path / "scan").table() == scan.table()
        with pytest.raises(InputError, match="no file of"):
            ExchangeGradient.load(tmp_path / "scan")

    @pytest.mark.parametrize("strains", [(0.0, 0.1), (0.01, 0.01, 0.0), (0.0, 0.1, float("nan"))])
    def test_wrong_strains(self, iron: Atoms, strains: tuple[float, ...]) -> None:
        with pytest.raises(InputError, match="strains"):
            exchange_under_strain(iron, Heisenberg(exchange=J), cutoff=3.0, strains=strains)

    def test_wrong_direction(self, iron: Atoms) -> None:
        with pytest.raises(InputError, match="direction"):
            exchange_under_strain(iron, Heisenberg(exchange=J), cutoff=3.0, direction=(1, 0, 0))


class TestGradient:
    """``exchange_gradient``."""

    @pytest.mark.parametrize("normalise", [True, False])
    def test_bonds_of_the_displaced_atom_follow_the_exchange_function(self, chain: Atoms, normalise: bool) -> None:
        scale = 1.0 if normalise else 2.0 * 1.5
        found = exchange_gradient(chain, Heisenberg(exchange=J, normalise=normalise), atom=0, cutoff=4.0)
        unit = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
        slope = scale * J.evaluate(np.linalg.norm(found.vectors, axis=1))[1][:, None] * unit
        starts = (found.i == 0) & ~found.offset_i.any(axis=1)
        stops = (found.j == 0) & ~found.offset_j.any(axis=1)
        expected = np.where(stops[:, None], slope, 0.0) - np.where(starts[:, None], slope, 0.0)
        assert (starts | stops).sum() == 2
        np.testing.assert_array_equal(found.ends, starts | stops)
        np.testing.assert_allclose(found.gradient, expected, atol=1e-8)
        np.testing.assert_allclose(found.exchange, scale * J(2.6), atol=1e-9)
        assert found.errors.max() < 1e-4

    def test_places_of_the_bonds(self, iron: Atoms) -> None:
        found = exchange_gradient(iron, Heisenberg(exchange=J), atom=0, cutoff=2.6)
        start = found.offset_i @ iron.cell.array
        np.testing.assert_allclose((found.offset_j - found.offset_i) @ iron.cell.array, found.vectors, atol=1e-9)
        np.testing.assert_allclose(start + found.vectors / 2, found.midpoints, atol=1e-9)
        assert found.ends.sum() == 8
        keys = {tuple(sorted([tuple(a), tuple(b)])) for a, b in zip(found.offset_i, found.offset_j, strict=True)}
        assert len(keys) == len(found.i)

    def test_an_atom_without_moment_can_be_displaced(self) -> None:
        atoms = Atoms("FeO", positions=[[0, 0, 0], [1.3, 0.4, 0]], cell=[2.6, 9, 9], pbc=(True, False, False))
        set_moments(atoms, [2.0, 0.0])
        found = exchange_gradient(atoms, Heisenberg(exchange={("Fe", "Fe"): J}), atom=1, cutoff=3.0)
        assert not found.ends.any()
        np.testing.assert_allclose(found.gradient, 0.0, atol=1e-10)

    def test_table_plot_and_file(self, chain: Atoms, tmp_path: Path) -> None:
        found = exchange_gradient(chain, Heisenberg(exchange=J), atom=0, cutoff=3.0)
        assert "dJ/dR (meV/Å)" in found.table()
        assert found.plot().get_ylabel() == "|∂J/∂R| (meV/Å)"
        found.save(tmp_path / "gradient")
        again = ExchangeGradient.load(tmp_path / "gradient")
        assert again.table() == found.table()
        assert again.atom == 0

    @pytest.mark.parametrize(("options", "message"), [({"atom": 7}, "0 to 1"), ({"atom": 0, "step": 0.0}, "step")])
    def test_wrong_options(self, chain: Atoms, options: dict[str, float], message: str) -> None:
        with pytest.raises(InputError, match=message):
            exchange_gradient(chain, Heisenberg(exchange=J), cutoff=3.0, **options)  # type: ignore[arg-type]
