"""``deepspin exchange``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner, Result

import deepspin_ase
from deepspin_ase import Heisenberg, HeisenbergModel, set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.plugin import Plugin
from deepspin_plugins.exchange import ExchangeResult
from deepspin_plugins.exchange.formats import read_tb2j, read_uppasd, read_vampire
from deepspin_plugins.exchange.plugin import plugin


@pytest.fixture
def iron() -> Atoms:
    atoms = bulk("Fe", a=2.87)
    set_moments(atoms, [2.2])
    return atoms


@pytest.fixture(autouse=True)
def _model(iron: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    model = HeisenbergModel.from_shells(iron, [0.02, 0.01])
    monkeypatch.setitem(vars(deepspin_ase), "DeepSpin", lambda name, device: Heisenberg(model))


@pytest.fixture
def structure(iron: Atoms, tmp_path: Path) -> Path:
    path = tmp_path / "fe.extxyz"
    write(path, iron)
    return path


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(plugin.command)
    return CliRunner().invoke(app, [*map(str, arguments), "--model", "iron"])


def test_plugin_keeps_the_contract() -> None:
    assert isinstance(plugin, Plugin)
    assert plugin.name == "exchange"
    assert "\n" not in plugin.summary


def test_table_on_the_screen(structure: Path) -> None:
    done = run(structure, "--cutoff", 3.0, "--converge", "--symmetrise")
    assert done.exit_code == 0, done.output
    assert "20.0000" in done.stdout
    assert "no J changes by more than 0.0000 meV" in done.stdout


def test_files(structure: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    done = run(structure, "--cutoff", 3.0, "--output", folder, "--write", "tb2j,uppasd,vampire,spirit")
    assert done.exit_code == 0, done.output
    summary = json.loads((folder / "exchange.json").read_text(encoding="utf-8"))
    assert [shell["exchange_meV"] for shell in summary["shells"]] == pytest.approx([20.0, 10.0])
    assert summary["shells"][0]["multiplicity"] == 8
    assert ExchangeResult.load(folder / "exchange.npz").table() in (folder / "exchange.txt").read_text(encoding="utf-8")
    assert (folder / "exchange.png").stat().st_size > 1000
    models = [HeisenbergModel.load(folder / "model.npz"), read_tb2j(folder), read_uppasd(folder / "uppasd")]
    for model in [*models, read_vampire(folder / "exchange.ucf")]:
        assert np.trace(model.exchange_matrix()[0, 0].real) / 3 == pytest.approx(8 * 0.02 + 6 * 0.01, rel=1e-6)


def test_moments_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "bare.extxyz"
    bare = bulk("Fe", a=2.87)
    set_moments(bare, 0.0)
    write(path, bare)
    assert isinstance(run(path).exception, InputError)
    assert run(path, "--moments", "Fe=2.2", "--cutoff", 2.6, "--supercell", "3,3,3").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--write", "sunny", "--output", "x"], "allowed: tb2j, uppasd, vampire, spirit"),
        (["--write", "tb2j"], "together with --output"),
        (["--cutoff", "30", "--supercell", "2"], "half the shortest period"),
        (["--index", "5"], "cannot read frame 5"),
    ],
)
def test_errors_of_the_user(structure: Path, options: list[str], message: str) -> None:
    done = run(structure, *options)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


@pytest.mark.parametrize("options", [["--moments", "Fe"], ["--supercell", "2,2"], ["--supercell", "zero"]])
def test_options_that_cannot_be_read(structure: Path, options: list[str]) -> None:
    assert run(structure, *options).exit_code == 2


def test_missing_file(tmp_path: Path) -> None:
    assert "no file" in str(run(tmp_path / "nothing.xyz").exception)
