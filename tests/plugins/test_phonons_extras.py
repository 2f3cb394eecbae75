"""What ``deepspin phonons`` adds on request, and input that the extras refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import read

from deepspin_ase import Heisenberg, set_moments
from deepspin_ase.demo.crystal import MAGNETIC_CELL, nickel_oxide
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Exponential, Landau, Morse
from deepspin_plugins.phonons import phonons
from deepspin_plugins.phonons.averages import AveragedPhonons
from deepspin_plugins.phonons.extras import add_disorder, add_lower_structure, add_quasiharmonic, with_born
from deepspin_plugins.phonons.imaginary import (
    FollowedMode,
    ImaginaryModes,
    follow_mode,
    imaginary_modes,
)
from deepspin_plugins.phonons.plugin import plugin
from deepspin_plugins.phonons.qha import Quasiharmonic
from deepspin_plugins.phonons.waves import smallest_supercell
from tests.phonon_cases import morse_iron, morse_salt


@pytest.fixture
def iron() -> Atoms:
    return morse_iron()


@pytest.fixture
def salt() -> Atoms:
    return morse_salt()


def test_command_with_extras_on_nickel_oxide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise InputError("no strained data")

    monkeypatch.setattr("deepspin_plugins.phonons.extras.add_quasiharmonic", refuse)
    nickel_oxide(MAGNETIC_CELL).write(tmp_path / "nio.extxyz")
    plugin.command(
        tmp_path / "nio.extxyz",
        model="nio",
        supercell=(2, 2, 2),
        mesh=4,
        born="Ni=2.2,O=-2.2",
        dielectric=5.7,
        qha=(0.985, 1.015),
        follow=True,
        temperature=300.0,
        output=tmp_path / "out",
    )
    summary = yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text(encoding="utf-8"))
    transverse = summary["infrared-active modes at Γ, transverse (THz)"]
    longitudinal = summary["highest modes along x, y, z at Γ (THz)"]
    assert len(transverse) == 3
    assert 10.0 < min(transverse) < max(transverse) < 12.5  # experiment about 12
    assert max(transverse) - min(transverse) > 0.05  # the order of the moments splits them: not cubic
    assert 15.0 < min(longitudinal) <= max(longitudinal) < 18.0  # experiment about 17
    assert summary["quasi-harmonic approximation"] == "left out: no strained data"  # and the rest goes on
    assert "no imaginary modes" in summary["imaginary modes"]
    assert ImaginaryModes.load(tmp_path / "out" / "imaginary.npz").searched == 8
    assert "no imaginary modes" in capsys.readouterr().out


def test_disorder_writes_results_and_pictures(iron: Atoms, tmp_path: Path) -> None:
    result = phonons(iron, supercell=2)
    summary = add_disorder(tmp_path, result, iron.calc, states=3, distance=0.01)
    assert summary["random states of the moments"] == 3
    assert AveragedPhonons.load(tmp_path / "disorder.npz").snapshots == 3
    assert (tmp_path / "disorder.png").stat().st_size > 5000


def test_quasiharmonic_writes_results_tables_and_pictures(iron: Atoms, tmp_path: Path) -> None:
    ratios, options = (0.97, 1.06), {"supercell": 2, "mesh": 5}
    summary = add_quasiharmonic(
        tmp_path, phonons(iron, supercell=2), iron.calc, volumes=ratios, temperature=500.0, **options
    )
    value, error = summary["volume expansion at 300 K (1e-6/K)"]
    assert value > 10 * error > 0
    table = np.genfromtxt(tmp_path / "quasiharmonic.csv", delimiter=",", skip_header=1)
    stored = Quasiharmonic.load(tmp_path / "quasiharmonic.npz")
    np.testing.assert_allclose(table[:, 1], stored.volume, rtol=1e-6)
    assert (tmp_path / "quasiharmonic.png").stat().st_size > 5000
    assert stored.plot().get_xlabel() == "temperature (K)"


def test_following_writes_the_lower_structure(tmp_path: Path) -> None:
    """bcc with nearest-neighbour bonds only is not stable; what it becomes is lower and keeps its moments."""
    atoms = bulk("Fe", "bcc", a=2.9)
    set_moments(atoms, [[0.0, 0.0, 2.0]])
    atoms.calc = Heisenberg(lattice=Morse(depth=0.4, r0=2.5, stiffness=1.4, cutoff=5.0))
    result = phonons(atoms, supercell=3)
    summary = add_lower_structure(tmp_path, result, atoms.calc, state="frozen")
    if "imaginary modes at" not in summary["imaginary modes"]:
        pytest.fail(f"bcc is stable here: {summary}")
    stored = FollowedMode.load(tmp_path / "followed.npz")
    assert stored.energy_gain > 1e-4
    lower = read(tmp_path / "followed.extxyz")
    lower.calc = atoms.calc
    gain = atoms.get_potential_energy() - lower.get_potential_energy() / len(lower)
    assert gain == pytest.approx(stored.energy_gain, rel=1e-6)
    np.testing.assert_allclose(lower.get_initial_magnetic_moments(), [[0.0, 0.0, 2.0]] * len(lower))


@pytest.mark.parametrize("state", ["frozen", "directions", "relaxed"])
def test_moments_follow_on_the_way_down_if_asked(state: str) -> None:
    """The ferromagnet is tilted a little in the cell: torques bring the moments together unless they are frozen."""
    atoms = bulk("Fe", "bcc", a=2.9, cubic=True)
    set_moments(atoms, [[0.0, 0.0, 2.0], [0.4, 0.0, 1.9]])
    atoms.calc = Heisenberg(
        exchange=Exponential(strength=0.01, r0=2.5, decay=0.5, cutoff=5.0),
        landau={"Fe": Landau(-0.2, 0.02)},
        lattice=Morse(depth=0.4, r0=2.5, stiffness=1.4, cutoff=5.0),
    )
    result = phonons(atoms, supercell=2, relax="none")
    modes = imaginary_modes(result)
    found = follow_mode(result, atoms.calc, modes.q[0], int(modes.band[0]), state=state)  # type: ignore[arg-type]
    assert found.energy_gain > 0
    unit = found.moments / np.linalg.norm(found.moments, axis=1, keepdims=True)
    parallel = np.allclose(unit, unit[0], atol=0.02)
    assert parallel == (state != "frozen")
    lengths = np.linalg.norm(found.moments, axis=1)
    assert np.allclose(lengths, np.sqrt(0.2 / 0.04), atol=0.02) == (state == "relaxed")


@pytest.mark.parametrize(
    ("q", "cells"),
    [
        ((0, 0, 0), 1),
        ((0.5, 0, 0), 2),
        ((0.5, 0.5, 0.5), 2),
        ((0.5, 0.25, 0.75), 4),
        ((1 / 3, 1 / 3, 0), 3),
        ((0.5, 1 / 3, 0), 6),
        ((-2 / 3, 1.25, 0), 12),
    ],
)
def test_smallest_supercell_holds_the_wave(iron: Atoms, q: tuple[float, ...], cells: int) -> None:
    matrix = smallest_supercell(iron, q)
    assert round(np.linalg.det(matrix)) == cells
    turns = matrix @ np.array(q)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)


def test_waves_without_a_small_supercell_and_unknown_modes_are_refused(iron: Atoms) -> None:
    result = phonons(iron, supercell=2)
    with pytest.raises(InputError, match="denominators up to 12"):
        follow_mode(result, iron.calc, (0.123, 0, 0))
    with pytest.raises(InputError, match="allowed: 0 to 2"):
        follow_mode(result, iron.calc, (0.5, 0, 0), 3)
    with pytest.raises(InputError, match="frozen, directions, relaxed"):
        follow_mode(result, iron.calc, (0.5, 0, 0), 0, state="free")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("q", "band"), [((0, 0, 0), 3), ((0.5, 0.5, 0), 2), ((0.5, 0.5, 0.5), 5), ((0.5, 0.25, 0.75), 1)]
)
def test_curvature_along_a_mode_is_its_frequency(salt: Atoms, q: tuple[float, ...], band: int) -> None:
    result = phonons(salt, supercell=2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]))
    found = follow_mode(result, salt.calc, q, band)
    assert found.frequency > 1.0
    assert found.curvature_frequency == pytest.approx(found.frequency, rel=5e-3)
    assert found.energy_gain == 0.0


def test_charges_on_the_command_line_need_a_dielectric_constant(iron: Atoms) -> None:
    result = phonons(iron, supercell=1)
    assert with_born(result, "", 0.0) is result
    with pytest.raises(InputError, match="--dielectric"):
        with_born(result, "Fe=0", 0.0)
    with pytest.raises(InputError, match="no file"):
        with_born(result, "BORN.missing", 5.0)
