"""The documentation says what the code does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import write
from typer.testing import CliRunner

import deepspin_ase
from deepspin_ase.cli import CORE_COMMANDS, app
from deepspin_ase.plugin import Plugin, discover_plugins, load_plugin
from deepspin_ase.quantities import MU_B, QUANTITIES


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def flip(repository: Path, install_fake: Callable[..., Path]) -> str:
    """Install the plugin of the documentation; its code."""
    page = repository / "docs" / "writing_a_plugin.md"
    code, project = blocks(page, "python")[0], blocks(page, "toml")[0]
    (section,) = re.findall(r'^\[project\.entry-points\."deepspin_ase\.plugins"\]\n(.+)$', project, re.MULTILINE)
    name, target = re.fullmatch(r'(\w+) = "([\w.:]+)"', section).groups()
    install_fake("deepspin-flip", {name: target}, {target.partition(":")[0]: code})
    return code


def test_documented_plugin_is_short(flip: str) -> None:
    assert sum(bool(line.strip()) for line in flip.splitlines()) <= 30


def test_documented_plugin_is_found_and_keeps_the_contract(flip: str) -> None:
    (found,) = [r for r in discover_plugins() if r.name == "flip"]
    assert found.error == ""
    assert found.distribution == "deepspin-flip"
    assert isinstance(load_plugin("flip"), Plugin)


def test_documented_plugin_runs(
    flip: str, bcc_fe: Atoms, spring: type[Calculator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(deepspin_ase), "DeepSpin", spring)
    deepspin_ase.set_moments(bcc_fe, np.array([[1.5, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    write(tmp_path / "fe.extxyz", bcc_fe)
    done = CliRunner().invoke(app, ["flip", str(tmp_path / "fe.extxyz"), "--model", "spring"], prog_name="deepspin")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [["0", "Fe", "6000.000", "meV"], ["1", "Fe", "0.000", "meV"]]


def test_every_quantity_has_a_section_with_its_unit_and_shape(repository: Path) -> None:
    text = (repository / "docs" / "quantities.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `(\w+)`\n\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(QUANTITIES)
    for name, body in sections.items():
        assert body.startswith(f"Shape {QUANTITIES[name].shape}, unit {QUANTITIES[name].unit}."), name


def test_conventions_name_every_quantity_and_the_right_field(repository: Path) -> None:
    text = (repository / "docs" / "conventions.md").read_text(encoding="utf-8")
    assert [name for name in QUANTITIES if f"`{name}`" not in text] == []
    (tesla,) = re.findall(r"1 meV/µB = ([\d.]+) T", text)
    assert float(tesla) == pytest.approx(1e-3 / MU_B, rel=1e-4)


def test_links_between_pages_lead_somewhere(repository: Path) -> None:
    pages = [*(repository / "docs").rglob("*.md"), *repository.glob("*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, _ = target.partition("#")
            if path and "://" not in path and not (page.parent / path).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_documented_commands_exist(repository: Path) -> None:
    known = {*CORE_COMMANDS, *(r.name for r in discover_plugins()), "flip", "NAME"}
    pages = [*(repository / "docs").rglob("*.md"), *repository.glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    used = set(re.findall(r"(?:`|^|\$ )deepspin (?:--debug )?([A-Za-z][\w-]*)", text, re.MULTILINE))
    assert used <= known
    assert {"train", "plugins", "point"} <= used
