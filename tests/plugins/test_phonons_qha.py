"""The quasi-harmonic approximation: units, temperatures, volumes, and input that it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from deepspin_ase.errors import InputError
from deepspin_plugins.phonons import phonons
from deepspin_plugins.phonons.qha import Quasiharmonic, quasiharmonic
from tests.phonon_cases import morse_iron, morse_salt


@pytest.fixture
def iron() -> Atoms:
    return morse_iron()


@pytest.fixture
def salt() -> Atoms:
    return morse_salt()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"volume_ratios": [0.99, 1.0, 1.01]}, "at least 5"),
        ({"volume_ratios": [0.1, 0.99, 1.0, 1.01, 1.02]}, "around 1"),
        ({"eos": "cubic"}, "vinet"),
        ({"temperatures": [300.0, 200.0, 100.0]}, "rising"),
        ({"temperatures": [-10.0, 0.0, 10.0]}, "from 0 K"),
        ({"relax": "cell"}, "undo the volumes"),
        ({"mesh": 4}, "odd"),
        ({"volume_ratios": np.linspace(1.1, 1.2, 5)}, "choose other volume_ratios|imaginary modes|no equation"),
    ],
)
def test_wrong_quasiharmonic_input_is_explained(iron: Atoms, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quasiharmonic(iron, **{"supercell": 2, "mesh": 5, **options})  # type: ignore[arg-type]


def test_results_end_where_the_crystal_leaves_the_volumes(iron: Atoms, caplog: pytest.LogCaptureFixture) -> None:
    result = quasiharmonic(
        iron, supercell=2, mesh=5, volume_ratios=np.linspace(0.98, 1.03, 6), temperatures=np.arange(0.0, 3001.0, 100.0)
    )
    assert len(result.temperature) < 31
    assert result.volume.max() < result.volumes.max()
    assert "results end there" in caplog.text


def test_temperatures_need_not_start_at_zero(iron: Atoms) -> None:
    options = {"supercell": 2, "mesh": 5, "volume_ratios": np.linspace(0.97, 1.06, 5)}
    whole = quasiharmonic(iron, temperatures=np.arange(0.0, 501.0, 100.0), **options)  # type: ignore[arg-type]
    part = quasiharmonic(iron, temperatures=np.arange(200.0, 401.0, 100.0), **options)  # type: ignore[arg-type]
    for name in ("temperature", "volume", "expansion", "bulk_modulus", "heat_capacity", "grueneisen"):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name)[2:5], rtol=1e-6)


def test_phonons_that_are_there_already_give_the_same(iron: Atoms) -> None:
    ratios, kelvin = np.linspace(0.97, 1.06, 5), np.arange(0.0, 501.0, 100.0)
    whole = quasiharmonic(iron, supercell=2, volume_ratios=ratios, temperatures=kelvin, mesh=5)
    results, energies = [], []
    for ratio in ratios[::-1]:  # in any order
        scaled = iron.copy()
        scaled.set_cell(iron.cell * ratio ** (1 / 3), scale_atoms=True)
        scaled.calc = iron.calc
        results.append(phonons(scaled, supercell=2))
        energies.append(scaled.get_potential_energy())
    again = Quasiharmonic.from_phonons(results, energies, temperatures=kelvin, mesh=5)
    np.testing.assert_allclose(again.volume, whole.volume, rtol=1e-9)
    np.testing.assert_allclose(again.static_energy, whole.static_energy, atol=1e-12)
    with pytest.raises(InputError, match="energies"):
        Quasiharmonic.from_phonons(results, energies[1:], temperatures=kelvin)


def test_numbers_are_per_atom(salt: Atoms) -> None:
    result = quasiharmonic(
        salt, supercell=2, mesh=5, volume_ratios=np.linspace(0.97, 1.06, 6), temperatures=np.arange(0.0, 1001.0, 200.0)
    )
    assert result.volume[0] == pytest.approx(4.2**3 / 8, rel=0.01)
    assert 2.9 < result.heat_capacity[-1] < 3.3  # k_B
    assert result.static_energy.min() == pytest.approx(salt.get_potential_energy() / 2, abs=1e-3)
