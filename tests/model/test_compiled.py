"""Compiled evaluation: the same numbers, a cache on disk, and a way out where there is no compiler."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from deepspin_ase import DeepSpin
from deepspin_ase.model import compiled
from tests.potentials import disordered_nio, random_potential


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_compiled_results_equal_eager_ones_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """One test, since compiling takes half a minute: other sizes than the traced ones, batches, the second process."""
    monkeypatch.setenv("DEEPSPIN_CACHE", str(tmp_path))
    potential = random_potential(channels=4)
    eager, fast = DeepSpin.from_potential(potential), DeepSpin.from_potential(potential, compile=True)
    packages = list(tmp_path.iterdir())
    assert [p.suffix for p in packages] == [".pt2"]
    structures = [disordered_nio(rng, repeat=r) for r in ((1, 1, 1), (3, 2, 1))]
    structures[0].pbc = [True, False, True]
    expected, found = eager.evaluate_many(structures), fast.evaluate_many(structures)
    for one, other in zip(expected, found, strict=True):
        for key, value in one.items():
            np.testing.assert_allclose(other[key], value, rtol=1e-9, atol=1e-12, err_msg=key)
    assert fast._evaluator._functions[0].__qualname__.startswith("compiled_function")

    def never(*_: object) -> None:
        raise AssertionError("compiled again although the code is on disk")

    monkeypatch.setattr(compiled, "compile_package", never)
    again = DeepSpin.from_potential(potential, compile=True)
    assert again.get_potential_energy(structures[1]) == pytest.approx(expected[1]["energy"], abs=1e-9)


def test_without_a_compiler_the_eager_function_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rng: np.random.Generator
) -> None:
    monkeypatch.setenv("DEEPSPIN_CACHE", str(tmp_path))

    def fail(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nset CXX\nlong explanation")

    monkeypatch.setattr(compiled, "compile_package", fail)
    potential, atoms = random_potential(), disordered_nio(rng)
    with caplog.at_level(logging.WARNING):
        calc = DeepSpin.from_potential(potential, compile=True)
    assert "No working C++ compiler found" in caplog.text
    assert "long explanation" not in caplog.text
    assert calc.get_potential_energy(atoms) == DeepSpin.from_potential(potential).get_potential_energy(atoms)
    assert list(tmp_path.iterdir()) == []


def test_truncated_package_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rng: np.random.Generator
) -> None:
    monkeypatch.setenv("DEEPSPIN_CACHE", str(tmp_path))
    potential, atoms = random_potential(), disordered_nio(rng)
    (tmp_path / f"{compiled.fingerprint(potential)}.pt2").write_bytes(b"PK\x03\x04 cut off")
    with caplog.at_level(logging.WARNING):
        calc = DeepSpin.from_potential(potential, compile=True)
    assert "using the eager one" in caplog.text
    assert np.isfinite(calc.get_potential_energy(atoms))


def test_fingerprint_depends_on_what_the_code_depends_on() -> None:
    base = compiled.fingerprint(random_potential(spin_orbit=True))
    assert compiled.fingerprint(random_potential(spin_orbit=True)) == base
    assert compiled.fingerprint(random_potential(spin_orbit=True, seed=1)) != base
    assert compiled.fingerprint(random_potential(spin_orbit=True, dtype=torch.float32)) != base
    off = random_potential(spin_orbit=True)
    off.network.switch_spin_orbit(False)
    assert compiled.fingerprint(off) != base
