"""The tutorials and the pages next to them: they run, reach what they claim and leave what they promise."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepspin_ase import DeepSpin, HeisenbergModel, get_moments, read_frames, read_results
from deepspin_ase.model.checkpoint import save_checkpoint
from deepspin_ase.training import TrainingConfig
from deepspin_plugins.curie import CurieResult
from deepspin_plugins.phonons import PhononResult
from deepspin_plugins.spin_dynamics import MomentTrajectory
from tests.potentials import disordered_nio, random_potential

FIRST = "01_calculator_in_ten_minutes.py"
SECOND = "02_train_your_own_model.py"
HYSTERESIS = "03_precession_to_hysteresis.py"
SPIN_LATTICE = "04_spin_lattice_dynamics.py"
SPIN_WAVES = "05_spin_waves.py"
NIO_MAGNONS = "06_nio_magnons.py"
NIO_PHONONS = "07_phonons_of_nio.py"
IRON_CURIE = "08_curie_temperature_of_bcc_iron.py"
NIO_NEEL = "09_neel_temperature_of_nio.py"
IRON_FIRST_PRINCIPLES = "11_bcc_iron_from_first_principles.py"


def run_tutorial(script: Path, folder: Path, **variables: str) -> str:
    """Run a script in a process of its own, with warnings for users as errors; its output."""
    environment = {key: value for key, value in os.environ.items() if key != "DEEPSPIN_TUTORIAL_OUTPUT"}
    environment |= {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", **variables}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def number(pattern: str, text: str) -> float:
    """The one number that a pattern finds in the output."""
    (found,) = re.findall(pattern, text)
    return float(found)


def is_picture(path: Path) -> bool:
    """Whether a PNG file shows more than one colour."""
    from matplotlib.image import imread

    return bool(np.ptp(imread(path)[..., :3]) > 0.5)


def cells(script: Path) -> list[tuple[bool, str]]:
    """Whether a cell of a percent script is text, and its lines."""
    parts = re.split(r"^# %%(.*)\n", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert parts[0] == "", "a tutorial starts with a cell"
    return [("[markdown]" in mark, body) for mark, body in zip(parts[1::2], parts[2::2], strict=True)]


def test_tutorials_are_numbered_prose_and_code(repository: Path) -> None:
    scripts = sorted((repository / "tutorials").glob("*.py"))
    assert [script.name for script in scripts[:2]] == [FIRST, SECOND]
    numbers = [int(script.name[:2]) for script in scripts]
    assert len(set(numbers)) == len(numbers)
    for count, script in zip(numbers, scripts, strict=True):
        text, code = ([body for is_text, body in cells(script) if is_text is wanted] for wanted in (True, False))
        assert text[0].startswith(f"# # {count}. ")
        assert len(text) >= len(code) - 1, "every step is explained"
        assert all(line.startswith("#") for body in text for line in body.splitlines() if line), script.name


def test_tutorials_are_listed_in_the_docs(repository: Path) -> None:
    page = (repository / "docs" / "tutorials.md").read_text(encoding="utf-8")
    scripts = sorted(path.name for path in (repository / "tutorials").glob("*.py"))
    assert sorted(set(re.findall(r"\(\.\./tutorials/(\w+\.py)\)", page))) == scripts


def test_calculator_in_ten_minutes(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / FIRST, tmp_path)  # into its default directory
    output = tmp_path / "tutorial_output"
    assert {p.name for p in output.iterdir()} == {"01_one_moment.png", "01_relaxation.png", "01_relaxed.extxyz"}
    assert is_picture(output / "01_one_moment.png")
    assert is_picture(output / "01_relaxation.png")
    (relaxed,) = read_results(output / "01_relaxed.extxyz")
    assert np.linalg.norm(relaxed.get_forces(), axis=1).max() < 1e-3
    torques = relaxed.calc.get_property("magnetic_torques", relaxed)
    assert 0.0 < np.linalg.norm(torques, axis=1).max() < 1e-4
    lengths = np.linalg.norm(get_moments(relaxed), axis=1)
    np.testing.assert_allclose(lengths[relaxed.numbers == 28], 1.2737, rtol=1e-9)
    assert "magnetic forces kept" in text
    assert number(r"spin stiffnesses: (\d+) are zero", text) == 8
    assert -25.0 < number(r"second neighbours: ([-\d.]+) meV per bond", text) < -10.0
    assert text.count("\n* ") == 10, "every mistake of the last section has its message"


def test_train_your_own_model(repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere"
    text = run_tutorial(repository / "tutorials" / SECOND, tmp_path, DEEPSPIN_TUTORIAL_OUTPUT=str(output))
    assert [p.name for p in tmp_path.iterdir()] == ["elsewhere"], "nothing outside the chosen directory"
    assert {p.name for p in output.iterdir()} == {
        *("iron", "iron.extxyz", "iron.yaml", "iron_unseen.extxyz", "02_exchange.png")
    }
    assert is_picture(output / "02_exchange.png")
    frames = read_frames(output / "iron.extxyz")
    assert len(frames) == 200
    assert frames[0].labels.available == ("energy", "forces", "stress", "magnetic_forces")
    assert {"model.pt", "model.md", "parity.png"} <= {p.name for p in (output / "iron").iterdir()}
    shells = re.findall(r"J = +([\d.]+) meV, exact +([\d.]+) meV", text)
    learned, exact = np.array(shells, dtype=float).reshape(3, 3, 2).transpose(2, 0, 1)
    assert np.all(np.diff(exact[:, 0]) < 0)  # three lattice constants: exchange of nearest neighbours decays
    np.testing.assert_allclose(learned[:, :2], exact[:, :2], rtol=0.1)


def test_precession_to_hysteresis(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / HYSTERESIS, tmp_path)
    pictures = sorted((tmp_path / "tutorial_output").iterdir())
    assert [p.name for p in pictures] == ["03_equilibrium.png", "03_hysteresis.png", "03_precession.png"]
    assert all(is_picture(p) for p in pictures)
    jumps = np.array(re.findall(r"jumps at ([\d.]+) T, Stoner-Wohlfarth ([\d.]+) T", text), dtype=float)
    assert jumps.shape == (4, 2)
    assert np.all(jumps[:, 0] > jumps[:, 1]), "a field that moves on turns a moment late, never early"
    np.testing.assert_allclose(jumps[:, 0], jumps[:, 1], rtol=0.1)
    assert number(r"powder: remanence ([\d.]+)", text) == pytest.approx(0.5, abs=0.02)


def test_spin_lattice_dynamics(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / SPIN_LATTICE, tmp_path)
    output = tmp_path / "tutorial_output"
    assert {p.name for p in output.iterdir()} == {"04_nio.h5", "04_strip.png", "04_temperatures.png"}
    assert all(is_picture(p) for p in output.glob("*.png"))
    assert number(r"alone: lattice (\d+) K", text) > 3 * number(r"alone: lattice \d+ K, moments (\d+) K", text)
    assert number(r"moments: \d+ K at contact, then (\d+) ±", text) == pytest.approx(45, abs=30)
    with MomentTrajectory(output / "04_nio.h5") as trajectory:
        lengths = np.linalg.norm(trajectory.moments[-1], axis=1)
        assert len(trajectory) == 81
        np.testing.assert_allclose(lengths[trajectory[-1].numbers == 28], 1.2737, rtol=1e-6)


def test_spin_waves(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / SPIN_WAVES, tmp_path)
    pictures = sorted((tmp_path / "tutorial_output").iterdir())
    assert [p.name for p in pictures] == ["05_chain_and_square.png", "05_honeycomb.png", "05_iron.png"]
    assert all(is_picture(p) for p in pictures)
    assert number(r"chain: ([\d.]+) meV at the zone boundary", text) == 8 * 10 / 1.6
    assert number(r"with DMI: \[ *([\d.]+) ", text) == 6.62879  # S = 3/2, J 2.01, DMI 0.31 meV: published
    assert number(r"D with damping +(\d+) ±", text) == pytest.approx(300, abs=50)


def test_nio_magnons(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / NIO_MAGNONS, tmp_path)
    output = tmp_path / "tutorial_output"
    assert {p.name for p in output.iterdir()} == {
        *("06_exchange_and_bands.png", "06_spectra.png", "06_bands.npz", "06_exchange_model.npz")
    }
    assert all(is_picture(p) for p in output.glob("*.png"))
    rows = {
        float(row[0]): np.array(row[1:], dtype=float)
        for row in re.findall(r"\|m\| = ([\d.]+) µB" + 4 * r" +([-\d.]+)", text)
    }
    model, ionic = rows[1.27], rows[2.0]  # J1, J2, top, slope
    np.testing.assert_array_equal(model[:2], ionic[:2])
    np.testing.assert_allclose(model[2:] / ionic[2:], 2 / 1.2737, rtol=0.01)
    j1, j2, top, slope = ionic
    assert HeisenbergModel.load(output / "06_exchange_model.npz").magnitudes.max() == pytest.approx(1.2737)
    assert top == pytest.approx(-6 * j2, rel=0.05)  # 6 neighbours, 2/|m| = 1
    assert slope == pytest.approx(-6 * j2 * 4.186 / np.sqrt(3), rel=0.05)
    assert 0 < j1 < -0.1 * j2


def test_phonons_of_nio(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / NIO_PHONONS, tmp_path)
    output = tmp_path / "tutorial_output"
    pictures = {"07_bands.png", "07_thermal.png", "07_spin_phonon.png"}
    assert {p.name for p in output.iterdir()} == pictures | {"07_phonopy.yaml"}
    assert all(is_picture(output / name) for name in pictures)
    assert number(r"displacements +differs from exact derivatives by ([\d.]+)", text) < 0.02
    assert number(r"random +differs from exact derivatives by ([\d.]+)", text) < 0.05
    assert number(r"lowest frequency on a mesh ([-\d.]+)", text) > -1e-3
    assert (
        10.0 < number(r"optical modes: ([\d.]+) THz along", text) < number(r"along \[111\], ([\d.]+) THz across", text)
    )
    assert number(r"soften by ([\d.]+) % along", text) > 5.0
    assert number(r"frequencies change by ([\d.e-]+) THz", text) < 1e-5
    assert len(PhononResult.load(output / "07_phonopy.yaml").supercell) == 64


def test_curie_temperature_of_bcc_iron(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / IRON_CURIE, tmp_path)
    output = tmp_path / "tutorial_output"
    assert {p.name for p in output.iterdir()} == {"08_iron.png", "08_iron_shells_and_order.png"}
    assert all(is_picture(p) for p in output.iterdir())
    assert "checked: cumulants of sizes 6, 8, 12 cross" in text
    tc, error = number(r"T_c = ([\d.]+) ±", text), number(r"T_c = [\d.]+ ± ([\d.]+) K", text)
    assert abs(tc - 1054) < 8 + 2 * error
    assert error < 7
    assert number(r"m/m0 = ([\d.]+)", text) > 0.98


def test_neel_temperature_of_nio(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / NIO_NEEL, tmp_path)  # it ends with assertions of its own
    output = tmp_path / "tutorial_output"
    assert {p.name for p in output.iterdir()} == {"09_neel_temperature.png", "09_neel_temperature.npz"}
    assert is_picture(output / "09_neel_temperature.png")
    assert 240.0 < number(r"classical spins (\d+) ±", text) < 300.0
    assert CurieResult.load(output / "09_neel_temperature.npz").complete


def test_bcc_iron_from_first_principles(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / IRON_FIRST_PRINCIPLES, tmp_path)
    output = tmp_path / "tutorial_output"
    assert {p.name for p in output.iterdir()} == {"11_data.png", "11_direct.png", "11_curie.png"}
    assert all(is_picture(p) for p in output.iterdir())
    assert number(r"F⊥ from energies (\S+)", text) == pytest.approx(number(r"labels (\S+) meV/µB", text), rel=0.01)
    assert number(r"volume: rms difference ([\d.]+)", text) < 15.0  # meV/atom, of 370
    assert number(r"moment: rms difference ([\d.]+)", text) < 10.0  # of 175
    for place in ("1 of G-H", "1 of G-N"):
        theirs = number(rf"{place}: ABINIT ([\d.]+)", text)
        assert number(rf"{place}: ABINIT [\d.]+, fe-bcc ([\d.]+)", text) == pytest.approx(theirs, rel=0.1)
    for cone in ("10° at H", "20° at H", "10° at N", "20° at N"):
        theirs = number(rf"{cone}: ABINIT (\d+)", text)
        assert number(rf"{cone}: ABINIT \d+, fe-bcc (\d+)", text) == pytest.approx(theirs, rel=0.2)
    assert 100.0 < number(r"stiffness (\d+)", text) < 450.0
    assert 500.0 < number(r"T_c = ([\d.]+) ±", text) < 1300.0


def test_training_file_of_the_tutorial_is_valid(repository: Path, tmp_path: Path) -> None:
    """The YAML text in the second tutorial, without running it."""
    source = (repository / "tutorials" / SECOND).read_text(encoding="utf-8")
    (template,) = re.findall(r'settings = f"""\\\n(.*?)"""', source, re.DOTALL)
    settings = re.sub(r"\{.*?\}", str(tmp_path / "iron"), template)
    (tmp_path / "iron.yaml").write_text(settings, encoding="utf-8")
    config = TrainingConfig.from_file(tmp_path / "iron.yaml")
    assert config.runtime.compile == "off"
    assert config.data[0].path == str((tmp_path / "iron.extxyz").resolve())
    given = yaml.safe_load(settings)
    assert config.optimizer.epochs == given["optimizer"]["epochs"]


def test_calculator_page(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of docs/calculator.md run as they stand, given a structure, moments and two model files."""
    atoms = disordered_nio(np.random.default_rng(1))
    names: dict[str, object] = {"atoms": atoms, "m": get_moments(atoms)}
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.pt", "b.pt")):
        save_checkpoint(name, random_potential(seed=seed))
    page = (repository / "docs" / "calculator.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "calculator.md", "exec"), names)
    assert names["H"].shape == (8, 3, 8, 3)  # type: ignore[attr-defined]
    assert names["results"][1]["magnetic_forces"].shape == (64, 3)  # type: ignore[index]
    assert np.abs(names["spread"]["magnetic_forces"]).max() > 0  # type: ignore[index]
    options = set(re.findall(r"^\| `(\w+)` \| [`\d]", page, re.MULTILINE))
    assert options == set(inspect.signature(DeepSpin).parameters) - {"model"}


def test_network_page_uses_the_names_of_the_source(repository: Path) -> None:
    page = (repository / "docs" / "model.md").read_text(encoding="utf-8")
    source = "\n".join(path.read_text(encoding="utf-8") for path in (repository / "deepspin_ase/model").glob("*.py"))
    quoted = set(re.findall(r"`([A-Za-z_]\w+)`", page)) - {"code"}
    beside_equations = set(re.findall(r"(?<=  )[a-z]+_[a-z]+(?=;|$)", page, re.MULTILINE))
    assert {"Neighbourhood", "switch_spin_orbit", "spin_embedding"} <= quoted | beside_equations
    assert [name for name in quoted | beside_equations if not re.search(rf"\b{name}\b", source)] == []
