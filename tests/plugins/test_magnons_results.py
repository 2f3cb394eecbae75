"""Magnons: results on disk and as pictures, and the command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner, Result

import deepspin_ase
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Exponential, Heisenberg, HeisenbergModel
from deepspin_ase.moments import set_moments
from deepspin_ase.plugin import Plugin
from deepspin_ase.stored_result import StoredResult
from deepspin_plugins import magnons
from deepspin_plugins.magnons.plugin import plugin


@pytest.fixture(scope="module")
def results() -> dict[str, StoredResult]:
    model = HeisenbergModel.from_shells(bulk("Fe", a=2.8665), [0.03, 0.01], magnitudes=2.2)
    waves = magnons.SpinWaves.from_model(model, [1.0])
    path = magnons.q_path(waves.to_atoms(), "GHN", spacing=0.2)
    correlations = magnons.spin_correlations(waves, path, temperature=100.0)
    return {
        "bands": magnons.band_structure(waves, path),
        "dos": magnons.density_of_states(waves, 6),
        "correlations": correlations,
        "spectrum": correlations.spectrum(),
        "powder": magnons.powder_average(waves, [0.5, 1.0], directions=20),
        "stiffness": magnons.stiffness_tensor(waves, damping=np.linspace(0.05, 0.3, 6)),
        "thermodynamics": magnons.magnon_thermodynamics(waves, [10.0, 100.0], 4),
        "temperatures": magnons.ordering_temperatures(model, [1.0], 8),
    }


NAMES = ("bands", "dos", "correlations", "spectrum", "powder", "stiffness", "thermodynamics", "temperatures")


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load_are_exact(results, name, tmp_path):
    result = results[name]
    path = tmp_path / "any name"
    result.save(path)
    again = type(result).load(path)
    assert vars(again).keys() == vars(result).keys()
    for key, value in vars(result).items():
        np.testing.assert_array_equal(getattr(again, key), value)
        assert type(getattr(again, key)) is type(value)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_read_only(results, name):
    arrays = [value for value in vars(results[name]).values() if isinstance(value, np.ndarray)]
    assert arrays
    assert not any(array.flags.writeable for array in arrays)


@pytest.mark.parametrize("name", ["bands", "dos", "spectrum", "powder", "stiffness", "thermodynamics"])
def test_pictures_have_labels_with_units(results, name, tmp_path):
    axes = results[name].plot()
    labels = axes.get_xlabel() + axes.get_ylabel()
    assert any(unit in labels for unit in ("(meV", "(K)", "(1/Å)"))
    axes.figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 2000


def test_plot_draws_into_given_axes(results):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert results["bands"].plot(axes) is axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Γ", "H", "N"]


def test_foreign_and_truncated_files_are_refused(results, tmp_path):
    path = tmp_path / "bands.npz"
    results["bands"].save(path)
    with pytest.raises(InputError, match=r"no file of MagnonDos\.save"):
        magnons.MagnonDos.load(path)
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        magnons.MagnonBands.load(tmp_path / "cut.npz")
    (tmp_path / "text.npz").write_text("no file of ours", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        magnons.MagnonBands.load(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError):
        magnons.MagnonBands.load(tmp_path / "none.npz")


def test_importing_the_package_and_the_plugin_is_light():
    code = (
        "import sys, deepspin_plugins.magnons, deepspin_plugins.magnons.plugin as p; "
        "print([m for m in ('torch', 'ase', 'scipy', 'matplotlib', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert sorted(magnons.__all__) == sorted(magnons._MODULES)
    for name in magnons.__all__:
        assert getattr(magnons, name).__doc__


def test_plugin_keeps_the_contract():
    assert isinstance(plugin, Plugin)
    assert plugin.name == "magnons"


class TestCommand:
    """``deepspin magnons``, through the plugin's own function."""

    @pytest.fixture
    def structure(self, tmp_path: Path) -> Path:
        atoms = bulk("Fe", a=2.8665)
        set_moments(atoms, 2.2)
        path = tmp_path / "fe.extxyz"
        write(path, atoms)
        return path

    @pytest.fixture(autouse=True)
    def _model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def calculator(model: str, *, device: str) -> Heisenberg:
            return Heisenberg(
                exchange=Exponential(strength=0.03, r0=2.48, decay=0.5, cutoff=3.2),
                lattice=None,
            )

        monkeypatch.setitem(vars(deepspin_ase), "DeepSpin", calculator)

    def run(self, *arguments: object) -> Result:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(plugin.command)
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def test_potential(self, structure: Path, tmp_path: Path) -> None:
        folder = tmp_path / "out"
        done = self.run(structure, "--model", "fe", "--cutoff", 3.3, "--mesh", 6, "--output", folder)
        assert done.exit_code == 0, done.output
        assert {p.name for p in folder.iterdir()} == {
            *(f"{name}.{kind}" for name in ("bands", "dos", "spectrum") for kind in ("npz", "png")),
            "bands.csv",
            "dos.csv",
            "summary.yaml",
        }
        summary = yaml.safe_load((folder / "summary.yaml").read_text(encoding="utf-8"))
        bands = magnons.MagnonBands.load(folder / "bands.npz")
        assert summary["highest magnon on the path (meV)"] == pytest.approx(bands.energies.max())
        header, *rows = (folder / "bands.csv").read_text(encoding="utf-8").splitlines()
        assert header.startswith("distance (1/Å),q1,q2,q3,magnon 1 (meV)")
        assert len(rows) == len(bands.q)

    def test_exchange_route_agrees_and_adds_temperatures(self, structure: Path, tmp_path: Path) -> None:
        for flag in ((), ("--exchange",)):
            folder = tmp_path / f"out{len(flag)}"
            done = self.run(structure, "--model", "fe", "--cutoff", 3.3, "--mesh", 6, "--output", folder, *flag)
            assert done.exit_code == 0, done.output
        one, two = (magnons.MagnonBands.load(tmp_path / f"out{k}" / "bands.npz").energies for k in range(2))
        np.testing.assert_allclose(two, one, atol=1e-4 * one.max())
        assert "RPA temperature (K)" in (tmp_path / "out1" / "summary.yaml").read_text(encoding="utf-8")

    def test_spin_model_in_an_unknown_antiferromagnetic_state(self, tmp_path: Path) -> None:
        cell = Atoms(
            "Fe2", cell=2.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), positions=[[0, 0, 0], [2.5, 0, 0]], pbc=True
        )
        set_moments(cell, [[0, 0.1, 2.0], [0, 0.2, -2.0]])
        write(tmp_path / "afm.extxyz", cell)
        HeisenbergModel.from_shells(cell, [-0.01]).save(tmp_path / "model.npz")
        done = self.run(
            tmp_path / "afm.extxyz", "--spin-model", tmp_path / "model.npz", "--mesh", 6, "--output", tmp_path / "out"
        )
        assert done.exit_code == 0, done.output
        assert "spin-wave velocities" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "either --model"),
            (("--spin-model", "x.npz", "--phonons"), "need a potential"),
            (("--model", "fe", "--moments", "Fe=0"), "carries no moments"),
            (("--model", "fe", "--path", "GQ"), "unknown point 'Q'"),
        ],
    )
    def test_wrong_options(self, structure: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
        done = self.run(structure, *arguments, "--cutoff", 3.3, "--output", tmp_path / "out")
        assert isinstance(done.exception, InputError)
        assert message in str(done.exception)

    def test_missing_and_unreadable_files(self, tmp_path: Path) -> None:
        done = self.run(tmp_path / "none.xyz", "--model", "fe")
        assert "There is no file" in str(done.exception)
        (tmp_path / "bad.xyz").write_text("no structure\n", encoding="utf-8")
        done = self.run(tmp_path / "bad.xyz", "--model", "fe")
        assert "ASE cannot read frame" in str(done.exception)
        done = self.run(tmp_path / "bad.xyz", "--model", "fe", "--ions", "Fe")
        assert done.exit_code == 2


def test_documented_code_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (repository / "docs" / "magnons.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "bands.png").is_file()
