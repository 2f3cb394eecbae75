"""Where ASE finds the calculator ``deepspin``, and where it does not (``docs/ase.md`` says the same)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ase.calculators import calculator as ase_calculator
from ase.calculators.emt import EMT

from deepspin_ase import DeepSpin, __version__, ase_plugin, register_with_ase

FIND = """
from ase._4.plugins import plugins
(found,) = [p for p in plugins.calculators if p.name == "deepspin"]
print(found.package, found.version, "torch" in sys.modules)
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=False)


@pytest.fixture
def empty_table(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """ASE's table of registered calculators, restored after the test."""
    table: dict[str, type] = {}
    monkeypatch.setattr(ase_calculator, "external_calculators", table)
    monkeypatch.setattr(ase_calculator, "names", list(ase_calculator.names))
    return table


@pytest.mark.parametrize(
    "first", ["", "import deepspin_ase.ase_plugin", "import deepspin_ase.ase_plugin as p; p.__ase_plugins__"]
)
def test_plugin_list_of_ase_has_the_calculator_whatever_is_imported_first(first: str) -> None:
    done = python(f"{first}\n{FIND}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["deepspin_ase", __version__, "False"]


def test_plugin_list_of_ase_leads_to_the_class() -> None:
    from ase._4.plugins import plugins

    (found,) = [p for p in plugins.calculators if p.name == "deepspin"]
    assert found() is DeepSpin


def test_ase_info_lists_the_package() -> None:
    command = [sys.executable, "-m", "ase", "info", "--plugins"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"deepspin_ase {__version__}" in text


def test_ase_without_a_plugin_list_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase._4.plugins.plugin", None)
    monkeypatch.delitem(vars(ase_plugin), "__ase_plugins__", raising=False)
    assert ase_plugin.__ase_plugins__ == set()
    monkeypatch.delitem(vars(ase_plugin), "__ase_plugins__")


def test_lookup_by_name_does_not_see_entry_points() -> None:
    done = python("from ase.calculators.calculator import get_calculator_class; get_calculator_class('deepspin')")
    assert "No module named 'ase.calculators.deepspin'" in done.stderr, "ASE has learnt to look: update docs/ase.md"


def test_lookup_by_name_works_after_registration(empty_table: dict[str, type]) -> None:
    register_with_ase()
    register_with_ase()
    assert ase_calculator.get_calculator_class("deepspin") is DeepSpin
    assert ase_calculator.names.count("deepspin") == 1


def test_registration_does_not_take_a_name_from_somebody_else(empty_table: dict[str, type]) -> None:
    empty_table["deepspin"] = EMT
    with pytest.raises(RuntimeError, match=r"already knows a calculator 'deepspin': ase\.calculators\.emt\.EMT"):
        register_with_ase()
