"""Tutorial 7 runs, reaches what it claims and leaves what it promises."""

from __future__ import annotations

from pathlib import Path

from deepspin_plugins.phonons import PhononResult
from tests.test_tutorials import is_picture, number, run_tutorial


def test_phonons_of_nio(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / "07_phonons_of_nio.py", tmp_path)
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
