"""Plugins are found by entry point; a broken one is reported and hurts nobody."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from ase.calculators.emt import EMT

from deepspin_ase.plugin import (
    API_VERSION,
    Plugin,
    PluginError,
    PluginRecord,
    check_calculator,
    discover_plugins,
    load_plugin,
    plugin_names,
)

GOOD = """
class Good:
    name = "{name}"
    summary = "{summary}"
    api_version = 1
    required_properties = ("energy", "magnetic_forces")

    def command(self):
        pass

plugin = Good()
"""

Install = Callable[..., Path]


def good(name: str, summary: str = "Does good.") -> str:
    return GOOD.format(name=name, summary=summary)


def record(name: str) -> PluginRecord:
    (found,) = [r for r in discover_plugins() if r.name == name]
    return found


def test_own_plugins_come_by_the_same_entry_point_group() -> None:
    own = [r for r in discover_plugins() if r.distribution == "deepspin-ase"]
    assert {"point"} <= {r.name for r in own}
    assert [r.error for r in own] == [""] * len(own)


@pytest.mark.parametrize("name", plugin_names())
def test_installed_plugin_satisfies_the_protocol(name: str) -> None:
    plugin = load_plugin(name)
    assert isinstance(plugin, Plugin)
    assert plugin.name == name
    assert plugin.api_version == API_VERSION


def test_third_party_plugin_is_found(install_fake: Install) -> None:
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": good("acme", "Counts spins.")})
    assert record("acme") == PluginRecord("acme", "acme-spin", "1.2.3", "acme_plugin:plugin", "Counts spins.")
    assert load_plugin("acme").required_properties == ("energy", "magnetic_forces")


def test_names_are_listed_without_importing_anything(install_fake: Install) -> None:
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": good("acme")})
    assert "acme" in plugin_names()
    assert "acme_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ImportError('no libacme')", "ImportError: no libacme"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        ("something_else = 1", "AttributeError"),
        ("plugin = object()", "object lacks name, summary, api_version, required_properties, command"),
        (good("acme").replace("Good()", "Good"), "let it name an instance"),
        (good("other"), "its name is 'other' but its entry point is called 'acme'"),
        (good("acme").replace("version = 1", "version = 2"), "plugin API 2, this is 1; update deepspin-ase"),
        (good("acme").replace("version = 1", "version = 0"), "plugin API 0, this is 1; update the plugin"),
        (
            good("acme").replace("version = 1", "version = None"),
            "plugin API None, this is 1; update the plugin",
        ),
        (good("acme", "two\\nlines"), "must be one line"),
        (good("acme", " "), "must be one line"),
        (
            good("acme").replace('"magnetic_forces"', '"spin_forces"'),
            "unknown required_properties spin_forces",
        ),
        (
            good("acme").replace('("energy", "magnetic_forces")', '"energy"'),
            "must be a tuple of property names",
        ),
        (good("acme").replace("def command(self):\n        pass", "command = 3"), "must be callable"),
    ],
)
def test_broken_plugin_is_reported_and_the_others_live(install_fake: Install, code: str, error: str) -> None:
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": code})
    broken = record("acme")
    assert not broken.usable
    assert error in broken.error
    assert "acme-spin 1.2.3" in broken.error
    assert record("point").usable
    with pytest.raises(PluginError, match=re.escape(error)):
        load_plugin("acme")


def test_import_failure_keeps_its_traceback(install_fake: Install) -> None:
    code = "def cause():\n    raise RuntimeError('deep down')\ncause()\n"
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": code})
    assert "acme_plugin.py" in record("acme").details
    assert "RuntimeError: deep down" in record("acme").details


def test_missing_module_is_reported(install_fake: Install) -> None:
    install_fake("acme-spin", {"acme": "acme_nowhere.plugin:plugin"}, {})
    assert "ModuleNotFoundError" in record("acme").error


def test_interrupt_during_import_is_not_swallowed(install_fake: Install) -> None:
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        discover_plugins()


def test_duplicate_of_two_third_parties_is_reported_and_the_first_by_name_is_used(
    install_fake: Install,
) -> None:
    install_fake("zeta-spin", {"acme": "zeta_plugin:plugin"}, {"zeta_plugin": good("acme", "From zeta.")})
    install_fake("alpha-spin", {"acme": "alpha_plugin:plugin"}, {"alpha_plugin": good("acme", "From alpha.")})
    first, second = [r for r in discover_plugins() if r.name == "acme"]
    assert (first.distribution, first.usable) == ("alpha-spin", True)
    assert second.distribution == "zeta-spin"
    assert "already taken by distribution 'alpha-spin'" in second.error
    assert load_plugin("acme").summary == "From alpha."


def test_own_plugin_cannot_be_replaced_by_a_stranger(install_fake: Install) -> None:
    install_fake("aaa-spin", {"point": "aaa_plugin:plugin"}, {"aaa_plugin": good("point")})
    own, stranger = [r for r in discover_plugins() if r.name == "point"]
    assert (own.distribution, own.usable) == ("deepspin-ase", True)
    assert (stranger.distribution, stranger.usable) == ("aaa-spin", False)
    assert load_plugin("point").summary == own.summary


def test_reserved_name_is_refused(install_fake: Install) -> None:
    install_fake("acme-spin", {"train": "acme_plugin:plugin"}, {"acme_plugin": good("train")})
    (found,) = [r for r in discover_plugins(reserved=("train",)) if r.name == "train"]
    assert "core command" in found.error


def test_unknown_plugin_lists_the_known_ones() -> None:
    with pytest.raises(PluginError, match=r"no plugin 'pint'.*point"):
        load_plugin("pint")


def test_calculator_without_magnetic_forces_is_refused_with_advice() -> None:
    with pytest.raises(PluginError, match=r"needs magnetic_forces, which EMT does not give.*DeepSpin"):
        check_calculator(load_plugin("point"), EMT())


def test_missing_calculator_is_refused_with_advice() -> None:
    with pytest.raises(PluginError, match=r"set atoms\.calc"):
        check_calculator(load_plugin("point"), None)


def test_sufficient_calculator_is_accepted() -> None:
    check_calculator(
        load_plugin("point"), SimpleNamespace(implemented_properties=["energy", "forces", "magnetic_forces"])
    )
