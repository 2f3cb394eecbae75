"""The page about phonons runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import deepspin_plugins.phonons as public
from deepspin_plugins.phonons.plugin import PhononsPlugin


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "phonons.md").read_text(encoding="utf-8")


def test_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "phonons.md", "exec"), names)
    np.testing.assert_allclose(names["ordered"].positions, names["result"].supercell.positions, atol=1e-6)
    assert names["errors"].max() < 0.1 < names["frequencies"].min()
    assert names["effective"].misfit < 0.2
    assert np.all(names["expansion"].expansion[1:] > 0)
    assert names["mode"].energy_gain > 0
    assert names["mode"].curvature_frequency == pytest.approx(names["mode"].frequency, rel=0.01)
    modes = names["infrared_modes"](names["polar"])
    assert modes.longitudinal[-1] > modes.transverse[-1] + 1


def test_names_and_options_on_the_page_exist(page: str) -> None:
    imported = re.findall(r"^from deepspin_plugins\.phonons import (.*)$", page, re.MULTILINE)
    wanted = {name.strip() for line in imported for name in line.split(",")}
    assert wanted - set(public.__all__) == set()
    known = PhononsPlugin.command.__annotations__
    options = {o.replace("-", "_") for o in re.findall(r"(?<!-)--([a-z][a-z-]*)", page)} - {"band"}  # phonopy's own
    assert options - set(known) == set()
