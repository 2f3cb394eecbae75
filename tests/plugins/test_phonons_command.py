"""The command ``deepspin phonons``: what it writes, says and refuses, and that it takes up where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from ase.build import bulk
from typer.testing import CliRunner

import deepspin_ase
from deepspin_ase import Heisenberg, set_moments
from deepspin_ase.heisenberg import Exponential, Landau, Morse
from deepspin_ase.plugin import Plugin
from deepspin_plugins.phonons import PhononBands, PhononDos, PhononResult, ThermalProperties
from deepspin_plugins.phonons.plugin import plugin

DISTANCE = 2.5


class Model(Heisenberg):
    """Stands in for DeepSpin: exchange that decays with distance, moments whose length may change, a Morse lattice."""

    def __init__(self, model: str = "", *, device: str = "auto") -> None:
        super().__init__(
            exchange=Exponential(strength=0.01, r0=DISTANCE, decay=0.8, onset=2.9, cutoff=3.3),
            landau={"Fe": Landau(-0.05, 0.01)},
            lattice=Morse(depth=0.3, r0=DISTANCE, stiffness=1.6, onset=3.8, cutoff=4.1),
            normalise=False,
        )


@pytest.fixture
def structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(vars(deepspin_ase), "DeepSpin", Model)
    atoms = bulk("Fe", "fcc", a=DISTANCE * np.sqrt(2))
    set_moments(atoms, [[0.0, 0.0, 2.0]])
    atoms.write(tmp_path / "iron.extxyz")
    return tmp_path / "iron.extxyz"


def run(*arguments: Any) -> Any:
    app = typer.Typer()
    app.command()(plugin.command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_plugin_keeps_the_contract() -> None:
    assert isinstance(plugin, Plugin)
    assert plugin.name == "phonons"
    assert plugin.required_properties == ("energy", "forces")


def test_folder_of_a_run(structure: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--model", "x", "--supercell", 3, 3, 3, "--relax", "cell", "--mesh", 6, "--output", out]
    done = run(structure, *options)
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {
        *("phonopy.yaml", "summary.yaml", "phonons.png", "thermal.png", "forces"),
        *(f"{name}.{ending}" for name in ("bands", "dos", "thermal") for ending in ("csv", "npz")),
    }
    bands = PhononBands.load(out / "bands.npz")
    summary = yaml.safe_load((out / "summary.yaml").read_text(encoding="utf-8"))
    assert summary["stable"] == "yes"
    assert summary["highest frequency on the path (THz)"] == pytest.approx(bands.frequencies.max(), abs=1e-4)
    assert summary["special points (THz)"]["X"] == pytest.approx(bands.at("X"), abs=1e-4)
    slopes, stress = summary["bulk modulus, slopes and stress (GPa)"]
    assert slopes == pytest.approx(stress, rel=0.1)
    assert PhononResult.load(out / "phonopy.yaml").frequencies((0.1, 0.2, 0.3)).shape == (1, 3)
    assert PhononDos.load(out / "dos.npz").species == ("Fe",)
    assert ThermalProperties.load(out / "thermal.npz").temperature[-1] == 1000.0
    table = np.loadtxt(out / "bands.csv", delimiter=",", skiprows=1)
    assert table[:, 4:] == pytest.approx(bands.frequencies, rel=1e-6, abs=1e-6)
    assert "lowest frequency" in done.output

    before = {p: p.stat().st_mtime_ns for p in (out / "forces").iterdir()}
    assert run(structure, *options).exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in (out / "forces").iterdir()} == before


def test_relaxed_moments_are_compared_with_frozen_ones(structure: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--state", "relaxed", "--relax", "cell", "--mesh", 4, "--path", "GX", "--temperature", 300]
    done = run(structure, "--model", "x", "--supercell", 4, 4, 4, *options, "--output", out)
    assert done.exit_code == 0, done.output
    summary = yaml.safe_load((out / "summary.yaml").read_text(encoding="utf-8"))
    assert summary["moments"] == "relaxed"
    assert summary["largest change against frozen moments (THz)"] > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--supercell", 2, 0, 2], "positive"),
        (["--method", "guess"], "displacements, random, hessian"),
        (["--state", "molten"], "frozen, directions, relaxed"),
        (["--temperature", -1], "temperature"),
        (["--workers", 0], "workers"),
        (["--moments", "Fe:2"], "SYMBOL=NUMBER"),
    ],
)
def test_wrong_options(structure: Path, tmp_path: Path, options: list[Any], message: str) -> None:
    done = run(structure, "--model", "x", *options, "--output", tmp_path / "out")
    assert done.exit_code != 0
    assert message in f"{done.output} {done.exception}"


def test_missing_structure(tmp_path: Path) -> None:
    done = run(tmp_path / "nothing.extxyz", "--model", "x", "--output", tmp_path / "out")
    assert "There is no file" in f"{done.output} {done.exception}"
