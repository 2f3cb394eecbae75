"""Examples on the pages about spin models and the conformance kit run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest


def run_page(page: Path) -> dict[str, object]:
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, page.name, "exec"), names)
    return names


def test_heisenberg_page(repository: Path) -> None:
    names = run_page(repository / "docs" / "heisenberg.md")
    atoms, model = names["atoms"], names["model"]
    assert len(model) == len(atoms) == 64
    assert np.linalg.norm(atoms.get_initial_magnetic_moments().mean(axis=0)) == pytest.approx(2.2, rel=0.02)


def test_testing_page(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_page(repository / "docs" / "testing.md")
    assert {result.status for result in names["report"]} == {"passed"}
    assert "zero_moment_smoothness" in capsys.readouterr().out
    page = (repository / "docs" / "testing.md").read_text(encoding="utf-8")
    for result in names["report"]:
        assert f"`{result.name}`" in page
