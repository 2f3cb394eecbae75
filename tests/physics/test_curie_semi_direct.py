"""Exchange averaged over vibrating atoms is what the distances of those atoms say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase import Heisenberg, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Exponential, Morse
from deepspin_ase.statistics import mean_with_error
from deepspin_plugins.curie.potential_sampler import PotentialSampler
from deepspin_plugins.curie.semi_direct import ThermalExchange, thermal_exchange

NEAR = 2.55  # Å
EXCHANGE = Exponential(strength=0.01, r0=NEAR, decay=0.25, cutoff=4.5, onset=3.5)
LATTICE = Morse(depth=0.4, r0=NEAR, stiffness=1.5, cutoff=4.5)
KELVIN = 500.0


def crystal() -> Atoms:
    """Primitive cell of an fcc ferromagnet with steep exchange that follows the atoms."""
    atoms = bulk("Ni", "fcc", a=NEAR * np.sqrt(2))
    set_moments(atoms, 1.5)
    atoms.calc = Heisenberg(exchange=EXCHANGE, lattice=LATTICE)
    return atoms


@pytest.fixture(scope="module")
def thermal() -> ThermalExchange:
    return thermal_exchange(
        crystal(), KELVIN, cutoff=NEAR, snapshots=10, interval=3, equilibration=80, supercell=3, seed=1
    )


def test_at_rest_it_is_the_exchange_of_the_crystal(thermal: ThermalExchange) -> None:
    np.testing.assert_allclose(thermal.static, EXCHANGE(NEAR), rtol=1e-6)
    assert len(thermal.static) == 12
    np.testing.assert_allclose(thermal.static_model().bonds.tensor[:, 0, 0], EXCHANGE(NEAR), rtol=1e-6)


def test_mean_is_that_of_exchange_over_distances(thermal: ThermalExchange) -> None:
    """J is linear in the Hessian, so its thermal mean is <J(r)>, from an independent run of the sampler; with a steep
    exponential that is well above J(<r>)."""
    atoms = crystal()
    big = atoms.repeat(3)
    big.calc = atoms.calc
    near = np.argwhere(np.triu(np.abs(big.get_all_distances(mic=True) - NEAR) < 0.01))
    sampler = PotentialSampler(big, [KELVIN], lattice=True, seed=99)
    sampler.thermalize(80)
    values, distances = [], []
    for _ in range(150):
        sampler.run(1)
        now = sampler.structure(0)
        r = np.array([now.get_distance(a, b, mic=True) for a, b in near])
        distances.append(r.mean())
        values.append(EXCHANGE(r).mean())
    expected = mean_with_error(np.array(values))
    found = mean_with_error(thermal.snapshots.mean(axis=1))
    assert np.hypot(expected.error, found.error) < 0.05 * expected.value
    assert abs(found.value - expected.value) < 4 * np.hypot(expected.error, found.error)
    assert expected.value > 1.1 * EXCHANGE(np.mean(distances))


def test_cold_crystal_has_the_exchange_at_rest() -> None:
    cold = thermal_exchange(crystal(), 1e-3, cutoff=NEAR, snapshots=2, interval=1, equilibration=20)
    np.testing.assert_allclose(cold.exchange, cold.static, rtol=1e-3)
    assert cold.displacements.max() < 1e-3


def test_symmetry_and_model(thermal: ThermalExchange) -> None:
    """All twelve bonds of a site are equal again after the average, and both orders of a pair agree."""
    np.testing.assert_allclose(thermal.snapshots, thermal.snapshots[:, :1] * np.ones(12), rtol=1e-9)
    model = thermal.to_model()
    assert model.bonds.isotropic
    np.testing.assert_allclose(model.magnitudes, 1.5)
    assert "500 K" in thermal.table()
    assert thermal.errors.shape == (12,)
    assert np.all((thermal.displacements > 0.05) & (thermal.displacements < 0.3))
    assert np.all(thermal.errors > 0)


def test_file(thermal: ThermalExchange, tmp_path: Path) -> None:
    thermal.save(tmp_path / "thermal.npz")
    loaded = ThermalExchange.load(tmp_path / "thermal.npz")
    np.testing.assert_array_equal(loaded.snapshots, thermal.snapshots)
    assert loaded.temperature == KELVIN
    assert "J" in loaded.plot().get_ylabel()


def test_wrong_input() -> None:
    with pytest.raises(InputError, match="snapshots"):
        thermal_exchange(crystal(), 300, cutoff=NEAR, snapshots=1)
    with pytest.raises(InputError, match="temperatures"):
        thermal_exchange(crystal(), -1, cutoff=NEAR)
    with pytest.raises(InputError, match="cutoff"):
        thermal_exchange(crystal(), 300, cutoff=4.0, supercell=1)
