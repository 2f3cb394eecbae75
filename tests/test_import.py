"""``import deepspin_ase`` is quick and loads nothing heavy; every public name exists, also for editors."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import deepspin_ase
import deepspin_plugins
from deepspin_ase._lazy import lazy_exports

LAZY_PACKAGES = [
    ".".join((root.name, *init.parent.relative_to(root).parts))
    for root in (Path(p).parent for p in (deepspin_ase.__file__, deepspin_plugins.__file__))
    for init in sorted(root.rglob("__init__.py"))
    if "= lazy_exports(" in init.read_text(encoding="utf-8")
]
HEAVY = ("torch", "torch_geometric", "lightning", "ase", "scipy", "matplotlib", "pydantic", "vesin")


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_takes_less_than_a_second() -> None:
    code = "import time; t = time.perf_counter(); import deepspin_ase; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(3)) < 1.0


@pytest.mark.parametrize(
    "statement",
    [
        "import deepspin_ase",
        "import deepspin_ase; dir(deepspin_ase); deepspin_ase.__version__",
        "import deepspin_plugins",
    ],
)
def test_import_loads_nothing_heavy(statement: str) -> None:
    loaded = python(f"import sys; {statement}; print(*(m for m in {HEAVY!r} if m in sys.modules))")
    assert loaded.split() == []


def test_moments_filter_and_files_need_no_torch() -> None:
    names = "set_moments, SpinLatticeFilter, read_frames, write_results"
    code = f"import sys; from deepspin_ase import {names}; print('torch' in sys.modules)"
    assert python(code).strip() == "False"


@pytest.mark.parametrize("name", deepspin_ase.__all__)
def test_public_name_exists(name: str) -> None:
    assert getattr(deepspin_ase, name) is not None


@pytest.mark.parametrize("name", [n for n in deepspin_ase.__all__ if not n.startswith("__")])
def test_public_name_is_documented_where_it_is_defined(name: str) -> None:
    value = getattr(deepspin_ase, name)
    home = deepspin_ase._PUBLIC[name]
    assert value.__module__ == home or value.__module__.startswith(f"{home}.")
    assert inspect.getdoc(value)


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_type_checkers_see_the_same_names(package: str) -> None:
    module = import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    blocks = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imports = [n for block in blocks for n in block.body if isinstance(n, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    public = [n for n in module.__all__ if n != "__version__"]
    assert sorted(seen) == sorted(public)
    for name, home in seen.items():
        assert getattr(import_module(str(home)), name) is getattr(module, name)


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_no_public_name_is_shadowed_by_a_module_of_that_name(package: str) -> None:
    module = import_module(package)
    assert {m.name for m in pkgutil.iter_modules(module.__path__)}.isdisjoint(module.__all__)


def test_dir_lists_public_names() -> None:
    assert set(deepspin_ase.__all__) <= set(dir(deepspin_ase))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'DeepSpn'"):
        deepspin_ase.DeepSpn  # noqa: B018


def test_lazy_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("deepspin_ase._lazy.import_module", lambda name: calls.append(name) or import_module(name))
    monkeypatch.delitem(vars(deepspin_ase), "PluginError", raising=False)
    getter, _ = lazy_exports("deepspin_ase", {"PluginError": "deepspin_ase.plugin"})
    value = getter("PluginError")
    assert calls == ["deepspin_ase.plugin"]
    assert vars(deepspin_ase)["PluginError"] is value
    monkeypatch.delitem(vars(deepspin_ase), "PluginError")


def test_a_name_missing_from_its_module_is_an_attribute_error() -> None:
    getter, _ = lazy_exports("deepspin_ase", {"nonsense": "deepspin_ase.plugin"})
    with pytest.raises(AttributeError, match="nonsense"):
        getter("nonsense")
