"""LO-TO splitting from Born charges against the closed form of a cubic diatomic crystal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from deepspin_ase import DeepSpin, Heisenberg
from deepspin_ase.demo.crystal import MAGNETIC_CELL, nickel_oxide
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import CustomPair
from deepspin_plugins.phonons import PhononResult, phonons
from deepspin_plugins.phonons.nac import (
    InfraredModes,
    infrared_modes,
    read_born,
    with_born_charges,
    without_born_charges,
)

SIDE, CHARGE, DIELECTRIC = 4.2, 2.2, 5.7
SPRING = CustomPair(
    value=lambda r: 5.0 * (r - SIDE / 2) ** 2,
    slope=lambda r: 10.0 * (r - SIDE / 2),
    cutoff=2.6,
    onset=2.5,
)
NEXT = CustomPair(
    value=lambda r: 0.7 * (r - SIDE / np.sqrt(2)) ** 2,
    slope=lambda r: 1.4 * (r - SIDE / np.sqrt(2)),
    cutoff=3.6,
    onset=3.5,
)
NEAR_GAMMA = 1e-3


@pytest.fixture(scope="module")
def crystal() -> PhononResult:
    atoms = bulk("MgO", "rocksalt", a=SIDE)
    atoms.set_initial_magnetic_moments([0.0, 0.0])
    atoms.calc = Heisenberg(lattice={("Mg", "O"): SPRING, ("Mg", "Mg"): NEXT, ("O", "O"): NEXT})
    return phonons(atoms, supercell=2, distance=1e-3)


def longitudinal(transverse: float, masses: np.ndarray) -> float:
    """ω_LO² = ω_TO² + Z*² e²/(ε0 ε∞ μ Ω), in THz (Born and Huang)."""
    reduced = masses.prod() / masses.sum() * units._amu
    volume = SIDE**3 / 4 * 1e-30
    shift = (CHARGE * units._e) ** 2 / (units._eps0 * DIELECTRIC * reduced * volume)
    return float(np.sqrt(transverse**2 + shift / (2 * np.pi) ** 2 * 1e-24))


@pytest.mark.parametrize("method", ["gonze", "wang"])
@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 1), (0.3, -0.5, 0.1)])
def test_splitting_is_that_of_born_and_huang(crystal: PhononResult, method: str, direction: tuple[float, ...]) -> None:
    polar = with_born_charges(crystal, {"Mg": CHARGE, "O": -CHARGE}, DIELECTRIC, method=method)  # type: ignore[arg-type]
    before = crystal.frequencies([0, 0, 0])[0]
    after = polar.frequencies(NEAR_GAMMA * np.array(direction))[0]
    expected = longitudinal(before[-1], crystal.primitive.get_masses())
    assert expected > before[-1] + 1.0
    np.testing.assert_allclose(after[3:5], before[3:5], atol=1e-4)  # transverse
    assert after[5] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("direction", [(0, 0, 1), (1, -1, 0.5)])
def test_infrared_modes_obey_the_sum_rule_of_the_shifts(crystal: PhononResult, direction: tuple[float, ...]) -> None:
    """Squared mode charges add up to Σ Z*²/m along every axis, and the shift is that of Born and Huang."""
    polar = with_born_charges(crystal, {"Mg": CHARGE, "O": -CHARGE}, DIELECTRIC)
    modes = infrared_modes(polar, direction)
    masses = crystal.primitive.get_masses()
    assert modes.active.tolist() == [False] * 3 + [True] * 3
    np.testing.assert_allclose(modes.strength.sum(axis=0), CHARGE**2 * (1 / masses).sum(), rtol=1e-6)
    np.testing.assert_allclose(modes.transverse[3:], crystal.frequencies([0, 0, 0])[0, 3:], atol=1e-6)
    assert modes.longitudinal[-1] == pytest.approx(longitudinal(modes.transverse[-1], masses), abs=1e-3)
    np.testing.assert_allclose(modes.longitudinal[3:5], modes.transverse[3:5], atol=1e-4)


@pytest.mark.parametrize("direction", [(1, 1, 1), (1, -1, 0), (0.2, 1, -0.4)])
def test_limit_is_that_of_small_wavevectors_also_where_directions_differ(direction: tuple[float, ...]) -> None:
    """The order of the moments in NiO makes [111] unlike the other directions."""
    atoms = nickel_oxide(MAGNETIC_CELL)
    polar = with_born_charges(phonons(atoms, DeepSpin("nio"), supercell=2), {"Ni": CHARGE, "O": -CHARGE}, DIELECTRIC)
    modes = infrared_modes(polar, direction)
    small = 1e-3 * polar.primitive.cell.array @ modes.direction
    np.testing.assert_allclose(modes.longitudinal[3:], polar.frequencies(small)[0, 3:], atol=1e-3)
    lowest, highest = modes.transverse[modes.active][[0, -1]]
    assert 0.1 < highest - lowest < 0.5


def test_infrared_modes_need_charges_and_survive_a_file(crystal: PhononResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Born charges"):
        infrared_modes(crystal)
    modes = infrared_modes(with_born_charges(crystal, {"Mg": CHARGE, "O": -CHARGE}, DIELECTRIC))
    modes.save(tmp_path / "infrared.npz")
    again = InfraredModes.load(tmp_path / "infrared.npz")
    np.testing.assert_array_equal(again.longitudinal, modes.longitudinal)
    again.plot().figure.savefig(tmp_path / "infrared.png")


def test_the_given_result_stays_as_it_was(crystal: PhononResult) -> None:
    before = crystal.frequencies(NEAR_GAMMA * np.ones(3))
    polar = with_born_charges(crystal, {"Mg": CHARGE, "O": -CHARGE}, DIELECTRIC)
    np.testing.assert_array_equal(crystal.frequencies(NEAR_GAMMA * np.ones(3)), before)
    np.testing.assert_array_equal(without_born_charges(polar).frequencies(NEAR_GAMMA * np.ones(3)), before)


def test_born_file_and_tensors_give_the_same(crystal: PhononResult, tmp_path: Path) -> None:
    diagonal = f"{CHARGE} 0 0 0 {CHARGE} 0 0 0 {CHARGE}"
    lines = ["# BORN", f"{DIELECTRIC} 0 0 0 {DIELECTRIC} 0 0 0 {DIELECTRIC}", diagonal, diagonal.replace("2.2", "-2.2")]
    (tmp_path / "BORN").write_text("\n".join(lines) + "\n")
    q = np.array([0.1, 0.2, 0.05])
    tensors = np.array([1.0, -1.0])[:, None, None] * CHARGE * np.eye(3)
    by_species = with_born_charges(crystal, {"Mg": CHARGE, "O": -CHARGE}, DIELECTRIC).frequencies(q)
    np.testing.assert_allclose(read_born(crystal, tmp_path / "BORN").frequencies(q), by_species, atol=1e-9)
    np.testing.assert_allclose(with_born_charges(crystal, tensors, DIELECTRIC * np.eye(3)).frequencies(q), by_species)


def test_charges_survive_phonopy_yaml(crystal: PhononResult, tmp_path: Path) -> None:
    polar = with_born_charges(crystal, {"Mg": CHARGE, "O": -CHARGE}, DIELECTRIC)
    polar.save(tmp_path / "phonopy.yaml")
    q = np.array([0.1, 0.2, 0.05])
    np.testing.assert_allclose(
        PhononResult.load(tmp_path / "phonopy.yaml").frequencies(q), polar.frequencies(q), atol=1e-5
    )


def test_a_born_file_that_lies_about_is_not_taken(
    crystal: PhononResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crystal.save(tmp_path / "phonopy.yaml")
    diagonal = "2 0 0 0 2 0 0 0 2"
    (tmp_path / "BORN").write_text(f"# BORN\n{diagonal}\n{diagonal}\n{diagonal.replace('2', '-2')}\n")
    monkeypatch.chdir(tmp_path)
    assert PhononResult.load("phonopy.yaml").phonon.nac_params is None


@pytest.mark.parametrize(
    ("charges", "dielectric", "message"),
    [
        ({"Mg": 2.0}, 3.0, "lack O"),
        ({"Mg": 2.0, "O": -1.0}, 3.0, "add up"),
        ({"Mg": [1, 2], "O": -1.0}, 3.0, "shape"),
        ({"Mg": np.nan, "O": -1.0}, 3.0, "finite"),
        (np.eye(3), 3.0, "shape"),
        ({"Mg": 2.0, "O": -2.0}, [1.0, 2.0], "shape"),
        ({"Mg": 2.0, "O": -2.0}, 0.5, "at least 1"),
    ],
)
def test_wrong_input_is_explained(crystal: PhononResult, charges: object, dielectric: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_born_charges(crystal, charges, dielectric)  # type: ignore[arg-type]


def test_unknown_method_and_bad_files_are_refused(crystal: PhononResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gonze, wang"):
        with_born_charges(crystal, {"Mg": 2.0, "O": -2.0}, 3.0, method="none")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no file"):
        read_born(crystal, tmp_path / "BORN")
    (tmp_path / "BORN").write_text("# nothing\n1 0 0\n")
    with pytest.raises(InputError, match="2 independent atoms"):
        read_born(crystal, tmp_path / "BORN")
