"""The demo, short, and the example of the README."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deepspin_ase import get_moments, read_results
from deepspin_ase.cli import app
from deepspin_ase.demo.crystal import LATTICE_CONSTANT
from deepspin_ase.demo.magnons import run_magnons


def test_demo_reaches_the_antiferromagnet_and_conserves_energy(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "out"), "--steps", "60"])
    assert result.exit_code == 0, result.output
    numbers = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert numbers["max_torque_start_meV"] > 5.0
    assert numbers["max_torque_end_meV"] < 0.2
    assert numbers["max_force_end_eV_per_A"] < 2e-3
    assert numbers["Ni_O_Ni_misalignment_start_deg"] > 20.0
    assert numbers["Ni_O_Ni_misalignment_end_deg"] < 1.0
    # second-order differences of 0.05 degrees
    assert numbers["torque_vs_energy_slope_max_difference_meV"] < 1e-5 * numbers["torque_max_along_curve_meV"] + 1e-3
    assert (tmp_path / "out" / "nio.png").stat().st_size > 10_000
    # six times J2 (AFM, 16 meV) and 2/|m|; slope of a simple cubic antiferromagnet with the lattice constant a
    assert 130.0 < numbers["magnon_top_meV"] < 190.0
    slope = numbers["magnon_top_meV"] * LATTICE_CONSTANT / np.sqrt(3)
    assert numbers["magnon_slope_meV_A"] == pytest.approx(slope, rel=0.1)
    (line,) = [line for line in result.output.splitlines() if line.startswith("magnons:")]
    assert f"top {numbers['magnon_top_meV']:.0f} meV, slope {numbers['magnon_slope_meV_A']:.0f} meV Å" in line
    assert (tmp_path / "out" / "magnons.png").stat().st_size > 10_000
    # oxygen against nickel: experiments 12 THz (TO) and, with the field that Born charges make, 17 THz (LO)
    assert 9.0 < numbers["phonon_TO_low_THz"] <= numbers["phonon_TO_high_THz"] < 14.0
    assert numbers["phonon_TO_high_THz"] + 3.0 < numbers["phonon_LO_THz"] < 19.0
    assert (tmp_path / "out" / "phonons.png").stat().st_size > 10_000
    assert 500.0 < numbers["curie_temperature_K"] < 1300.0
    assert 0.0 < numbers["curie_temperature_error_K"] < 20.0
    assert (tmp_path / "out" / "curie.png").stat().st_size > 10_000
    relaxed = read_results(tmp_path / "out" / "nio_relaxed.extxyz")[0]
    np.testing.assert_allclose(np.linalg.norm(get_moments(relaxed)[relaxed.numbers == 28], axis=1), 1.2737, atol=1e-9)


def test_demo_goes_on_without_the_magnons_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deepspin_ase.plugin.entry_points", lambda group: ())
    assert run_magnons("nio", tmp_path) is None
    assert "left out: There is no plugin 'magnons'" in capsys.readouterr().out


def test_example_of_the_readme_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (repository / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "eV/rad" in printed
    torques = names["atoms"].calc.get_magnetic_torques(names["atoms"])  # type: ignore[attr-defined]
    assert np.abs(torques).max() < 1e-3
