"""The page about spin dynamics runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

import deepspin_plugins.spin_dynamics as public
from deepspin_plugins.spin_dynamics.command import spin_dynamics


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "spin_dynamics.md").read_text(encoding="utf-8")


def test_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "spin_dynamics.md", "exec"), names)
    assert names["path"].barrier == pytest.approx(1e-3, rel=1e-5)  # the anisotropy
    assert names["found"].converged
    assert len(names["trajectory"].steps) == 20
    assert names["moments"].shape == (10, 216, 3)
    np.testing.assert_allclose(names["total"][-1], names["last"].get_initial_magnetic_moments().sum(axis=0), rtol=1e-6)
    assert 200 < names["mean"].value < 400
    assert len(read("movie.extxyz", ":")) == 10


def test_names_on_the_page_exist(page: str) -> None:
    imported = re.findall(r"^from deepspin_plugins\.spin_dynamics import (.*)$", page, re.MULTILINE)
    wanted = {name.strip() for line in imported for name in line.split(",")}
    assert wanted - set(public.__all__) == set()


def test_options_on_the_page_exist(page: str) -> None:
    options = set(re.findall(r"--([a-z][a-z-]*)", page))
    parameters = {name.replace("_", "-") for name in spin_dynamics.__annotations__}
    assert options - parameters == set()
