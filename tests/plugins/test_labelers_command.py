"""``deepspin label``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from deepspin_ase.data import Frame, read_frames, write_frames
from deepspin_ase.errors import InputError
from deepspin_plugins.labelers.command import frames_or_structures, make_labeler
from deepspin_plugins.labelers.plugin import plugin
from tests.plugins.labeler_cases import abinit_structure, fake_abinit, iron_structures


def deepspin_label(*arguments: str) -> Result:
    """Run the command by itself."""
    app = typer.Typer()
    app.command()(plugin.command)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def structures(tmp_path: Path) -> Path:
    path = tmp_path / "structures.extxyz"
    write_frames(path, [Frame(abinit_structure(tmp_path))])
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "26fe.lda2.paw").write_text("Paw\n  26.000  16.000 20120514  : zatom,zion,pspdat\n")
    path = tmp_path / "settings.yaml"
    path.write_text(f"pseudo_directory: {tmp_path}\nkspacing: 0.9\n")
    return path


def test_labels_go_to_a_file_and_status_counts(tmp_path: Path, structures: Path, settings: Path) -> None:
    directory, output = tmp_path / "labels", tmp_path / "labelled.extxyz"
    options = [
        *(str(structures), "--settings", str(settings), "--program", shlex.join(fake_abinit(tmp_path))),
        *("--directory", str(directory), "--output", str(output), "--workers", "2"),
    ]
    result = deepspin_label(*options)
    assert result.exit_code == 0, result.output
    assert "1 labelled, 0 failed" in result.output
    (frame,) = read_frames(output)
    assert frame.labels.available == ("energy", "forces", "stress", "magnetic_forces")
    assert frame.info["attempt"] == "standard"
    assert "finished   1" in deepspin_label("--status", "--directory", str(directory)).output
    assert deepspin_label(*options).exit_code == 0
    assert (tmp_path / "runs").read_text() == "1"


def test_failures_are_shown(tmp_path: Path, structures: Path, settings: Path) -> None:
    result = deepspin_label(
        *(str(structures), "--settings", str(settings), "--directory", str(tmp_path / "labels")),
        *("--program", shlex.join(fake_abinit(tmp_path, fails=99)), "--output", str(tmp_path / "out.extxyz")),
    )
    assert "0 labelled, 1 failed" in result.output
    assert "did not converge" in result.output
    assert not (tmp_path / "out.extxyz").exists()


def test_prepare_writes_inputs(tmp_path: Path, structures: Path) -> None:
    settings = tmp_path / "vasp.yaml"
    settings.write_text("sphere_radii: {Fe: 1.3}\n")
    result = deepspin_label(
        *(str(structures), "--engine", "vasp-deltaspin", "--settings", str(settings), "--prepare"),
        *("--directory", str(tmp_path / "labels")),
    )
    assert "1 prepared" in result.output, result.output
    assert len(list((tmp_path / "labels").glob("*/INCAR"))) == 1


def test_structures_of_other_formats(tmp_path: Path) -> None:
    from ase.io import write

    atoms = iron_structures(1)[0]
    write(tmp_path / "fe.traj", [atoms, atoms])
    read = frames_or_structures(tmp_path / "fe.traj")
    assert len(read) == 2
    np.testing.assert_allclose(read[0].get_initial_magnetic_moments(), atoms.get_initial_magnetic_moments())
    (tmp_path / "fe.cif").write_text("nonsense")
    with pytest.raises(InputError, match="ASE cannot read"):
        frames_or_structures(tmp_path / "fe.cif")
    with pytest.raises(InputError, match="There is no file"):
        frames_or_structures(tmp_path / "missing.extxyz")


@pytest.mark.parametrize(
    ("engine", "settings", "message"),
    [
        ("siesta", {}, "unknown engine 'siesta'; allowed: abinit, vasp-deltaspin, abacus"),
        ("abinit", {"encut": 500}, "unknown settings encut; allowed: pseudopotentials"),
        ("abacus", {"pseudopotentials": {}}, "needs --program"),
    ],
)
def test_wrong_engine_or_setting(engine: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_labeler(engine, settings)


def test_lacking_setting_is_named() -> None:
    with pytest.raises(InputError, match="sphere_radii"):
        make_labeler("vasp-deltaspin", {}, sys.executable)
    with pytest.raises(InputError, match="ABINIT itself"):
        make_labeler("abinit", {}, prepare=True)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_settings_file_that_is_none(tmp_path: Path, structures: Path, text: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    result = deepspin_label(str(structures), "--settings", str(path))
    assert isinstance(result.exception, InputError)


def test_something_to_label_is_needed() -> None:
    result = deepspin_label()
    assert result.exit_code == 2
