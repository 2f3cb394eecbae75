"""``deepspin convert`` and ``deepspin inspect``."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from deepspin_ase.cli import app
from deepspin_ase.data import read_frames, write_frames
from deepspin_ase.data.commands import parse_options, parse_spin
from deepspin_ase.errors import InputError


@pytest.fixture
def run():
    """Run the command line; returns exit code and text."""

    def call(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return call


def test_convert_there_and_back(tmp_path, make_frames, run, same_frame):
    frames = make_frames(3)
    write_frames(tmp_path / "a.extxyz", frames)
    code, text = run("convert", tmp_path / "a.extxyz", tmp_path / "npy", "--to", "deepmd-npy", "-w", "set_size=2")
    assert (code, len(list((tmp_path / "npy").glob("set.*")))) == (0, 2)
    assert "3 frames (energy, forces, magnetic_forces, stress) written" in text
    assert run("convert", tmp_path / "npy", tmp_path / "b.extxyz")[0] == 0
    for a, b in zip(frames, read_frames(tmp_path / "b.extxyz"), strict=True):
        same_frame(a, b, tolerance=1e-14)


def test_convert_pseudo_atoms(tmp_path, make_frames, run, same_frame):
    frames = make_frames(2)
    write_frames(tmp_path / "a.extxyz", frames)
    spin = ["--spin", "Ni:0.4:1.2737"]
    assert run("convert", tmp_path / "a.extxyz", tmp_path / "tf", "--to", "deepmd-tf", *spin)[0] == 0
    assert run("convert", tmp_path / "tf", tmp_path / "b.extxyz", *spin, "-r", "species=Ni,O")[0] == 0
    for a, b in zip(frames, read_frames(tmp_path / "b.extxyz"), strict=True):
        same_frame(a, b, tolerance=1e-13)


def test_several_inputs_are_joined(tmp_path, make_frames, run):
    for name in ("a", "b"):
        write_frames(tmp_path / f"{name}.extxyz", make_frames(2))
    assert run("convert", tmp_path / "a.extxyz", tmp_path / "b.extxyz", tmp_path / "c.extxyz")[0] == 0
    assert len(read_frames(tmp_path / "c.extxyz")) == 4


def test_nothing_is_overwritten_by_accident(tmp_path, make_frames, run):
    path = tmp_path / "a.extxyz"
    write_frames(path, make_frames(2))
    write_frames(tmp_path / "b.extxyz", make_frames(1))
    code, text = run("convert", path, tmp_path / "b.extxyz")
    assert code == 2
    assert "give --overwrite" in text
    assert run("convert", path, tmp_path / "b.extxyz", "--overwrite")[0] == 0
    assert len(read_frames(tmp_path / "b.extxyz")) == 2
    code, text = run("convert", path, path, "--overwrite")
    assert (code, len(read_frames(path))) == (2, 2)
    assert "is an input" in text
    for expected in (0, 2):
        assert run("convert", path, tmp_path / "npy", "--to", "deepmd-npy")[0] == expected
    assert run("convert", path, tmp_path / "npy", "--to", "deepmd-npy", "--overwrite")[0] == 0


def test_errors_of_the_user_are_one_line(tmp_path, make_frames, run):
    write_frames(tmp_path / "a.extxyz", make_frames(1))
    text = (tmp_path / "a.extxyz").read_text()
    (tmp_path / "cut.extxyz").write_text(text[: text.rindex("O ")])
    for arguments, says in [
        (("inspect", tmp_path / "nowhere"), "No such file"),
        (("inspect", tmp_path / "cut.extxyz"), "truncated"),
        (("inspect", tmp_path / "a.extxyz", "-r", "energy"), "not of the form name=value"),
        (("inspect", tmp_path / "a.extxyz", "-p", tmp_path / "a.gif"), "must end in one of"),
        (("convert", tmp_path / "a.extxyz", tmp_path / "out"), "does not say the format"),
        (("convert", tmp_path / "a.extxyz", tmp_path / "out", "--to", "deepmd-tf"), "--spin Ni:0.4:1.2737"),
        (("convert", tmp_path / "a.extxyz", tmp_path / "b.xyz", "--spin", "Ni:1:1"), "--spin is for"),
    ]:
        code, output = run(*arguments)
        assert code == 2, output
        assert says in output
        assert "Traceback" not in output


def test_inspect_writes_report_and_picture(tmp_path, make_frames, run):
    write_frames(tmp_path / "a.extxyz", make_frames(3))
    code, text = run("inspect", tmp_path / "a.extxyz", "--json", tmp_path / "r.json", "--picture", tmp_path / "p.png")
    assert code == 0
    assert "3 frames of 4 atoms" in text
    assert json.loads((tmp_path / "r.json").read_text())["frames"] == 3
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_options_of_formats():
    assert parse_options(None) == {}
    assert parse_options(["set_size=7", "species=Ni,O", "append=true", "energy_key=dft"]) == {
        "set_size": 7,
        "species": ["Ni", "O"],
        "append": True,
        "energy_key": "dft",
    }
    with pytest.raises(InputError, match="given twice"):
        parse_options(["a=1", "a=2"])
    assert parse_spin(["Ni:0.4:1.2737", "Fe:0.3:2"]) == {"Ni": (0.4, 1.2737), "Fe": (0.3, 2.0)}
    with pytest.raises(InputError, match="not of the form species"):
        parse_spin(["Ni=0.4"])
