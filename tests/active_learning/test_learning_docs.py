"""docs/active_learning.md and tutorial 10 say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from deepspin_ase import ferromagnet, set_moments
from deepspin_ase.active_learning import Exploration, Explorer, LearningConfig
from deepspin_ase.active_learning.iteration import STAGES
from tests.active_learning.conftest import iron
from tests.test_tutorials import is_picture, number, run_tutorial

TUTORIAL = "10_from_nothing_to_a_trained_magnet.py"


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "active_learning.md").read_text(encoding="utf-8")


def test_page_lists_the_stages(page: str) -> None:
    assert tuple(re.findall(r"^\| (\w+) \| .* \| `\1\.json` \|$", page, re.MULTILINE)) == STAGES


def test_explorer_of_the_page_works(page: str) -> None:
    (code,) = re.findall(r"^```python\n(class .*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "active_learning.md", "exec"), names)
    explorer = names["Compressed"](steps=3)
    assert isinstance(explorer, Explorer)
    start = iron()
    set_moments(start, ferromagnet(start, 2.2))
    found = explorer.explore(Exploration((start,), np.random.default_rng(0)))
    assert len(found) == explorer.size(1)
    volumes = [atoms.get_volume() / start.get_volume() for atoms in found]
    np.testing.assert_allclose(volumes, [0.98**3, 0.96**3, 0.94**3])


def test_learning_file_of_the_tutorial_is_valid(repository: Path) -> None:
    source = (repository / "tutorials" / TUTORIAL).read_text(encoding="utf-8")
    (template,) = re.findall(r'settings = f"""\\\n(.*?)"""', source, re.DOTALL)
    text = template.replace("{{", "{").replace("}}", "}").replace('{(output / "10_run").resolve()}', "run")
    config = LearningConfig.from_dict(yaml.safe_load(text))
    assert config.committee.runtime.compile == "off"


@pytest.mark.slow
def test_from_nothing_to_a_trained_magnet(repository: Path, tmp_path: Path) -> None:
    text = run_tutorial(repository / "tutorials" / TUTORIAL, tmp_path)
    output = tmp_path / "tutorial_output"
    assert {p.name for p in output.iterdir()} == {
        *("10_iron.extxyz", "10_learn.yaml", "10_reference.py", "10_run", "10_selection.png", "10_spirals.png")
    }
    assert all(is_picture(p) for p in output.glob("*.png"))
    assert number(r"; (\d+) labels\n", text) <= number(r"at most (\d+)", text)
    exact = number(r"meV/atom, exact ([\d.]+) meV/atom", text)
    assert number(r"above ferromagnet: ([\d.]+) meV/atom", text) == pytest.approx(exact, rel=0.05)
