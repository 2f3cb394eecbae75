"""Plugins: the contract they sign, how they are found, and walls that keep a broken one from hurting the
rest.

A plugin is one object that satisfies :class:`Plugin`, named by an entry point of the group
``deepspin_ase.plugins``. The plugins of this package are registered in the same way as everybody else's.
``docs/writing_a_plugin.md`` has a complete example.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol, cast, runtime_checkable

from deepspin_ase.errors import DeepSpinError
from deepspin_ase.quantities import ALL_PROPERTIES

logger = logging.getLogger(__name__)

GROUP: Final = "deepspin_ase.plugins"
"""Entry-point group of plugins."""

API_VERSION: Final = 1
"""Version of the contract below; it grows when a plugin written for the older one would no longer work."""

OWN_DISTRIBUTION: Final = "deepspin-ase"


class PluginError(DeepSpinError):
    """A plugin is missing, broken or used with a calculator that cannot serve it."""


@runtime_checkable
class Plugin(Protocol):
    """What a plugin has to offer; plain class attributes will do, and nothing need be inherited.

    Attributes
    ----------
    name
        Name of its command; equal to the name of its entry point.
    summary
        One line for ``deepspin --help``.
    api_version
        The contract that it was written for: ``1``. Write the number, do not import it.
    required_properties
        ASE property keys that a calculator must implement to drive it, e.g. ``("energy",
        "magnetic_forces")``.
    command
        Function or method with typer annotations that is run by ``deepspin NAME``.
    """

    @property
    def name(self) -> str:
        """Name of the command and of the entry point."""
        ...

    @property
    def summary(self) -> str:
        """One line for the list of commands."""
        ...

    @property
    def api_version(self) -> int:
        """Version of this contract that the plugin was written for."""
        ...

    @property
    def required_properties(self) -> tuple[str, ...]:
        """ASE property keys that a calculator must implement."""
        ...

    @property
    def command(self) -> Callable[..., Any]:
        """The function behind ``deepspin NAME``."""
        ...


@dataclass(frozen=True)
class PluginRecord:
    """One entry point and what became of it.

    Attributes
    ----------
    name
        Name of the entry point, and of the command.
    distribution, version
        The installed distribution that brings it.
    target
        ``module:object`` as the entry point says.
    summary
        The plugin's own one-line summary; empty if it could not be loaded.
    error
        Why it cannot be used; empty for a plugin in good health.
    details
        The traceback that belongs to the error, if there is one.
    """

    name: str
    distribution: str
    version: str
    target: str
    summary: str = ""
    error: str = ""
    details: str = ""

    @property
    def usable(self) -> bool:
        """Whether the plugin can be used."""
        return not self.error


def plugin_names() -> tuple[str, ...]:
    """Names of all registered plugins, sorted, without importing any of them."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def discover_plugins(*, reserved: Collection[str] = ()) -> list[PluginRecord]:
    """Import every registered plugin and report on each; a broken one never raises.

    Parameters
    ----------
    reserved
        Names that plugins cannot have (the core commands).

    Returns
    -------
    One record per entry point, sorted by name; of several with one name the first is the one that is used
    (this package's own before others, then by distribution name) and the rest carry an error.
    """
    records = []
    owner: dict[str, str] = {}
    for point in _sorted_entry_points():
        distribution, version = _origin(point)
        summary = error = details = ""
        if point.name in reserved:
            error = f"the name {point.name!r} belongs to a core command of deepspin; the plugin must be renamed"
        elif point.name in owner:
            error = f"duplicate: the name {point.name!r} is already taken by distribution {owner[point.name]!r}"
        else:
            owner[point.name] = distribution
            try:
                summary = _load(point).summary
            except PluginError as problem:
                error = str(problem)
                cause = problem.__cause__
                details = "".join(traceback.format_exception(cause)) if cause is not None else ""
        records.append(PluginRecord(point.name, distribution, version, point.value, summary, error, details))
    return records


def load_plugin(name: str) -> Plugin:
    """Import one plugin by its name.

    Raises
    ------
    PluginError
        If there is no such plugin, or if it is broken; the message says what is wrong and who brings it.
    """
    for point in _sorted_entry_points():
        if point.name == name:
            return _load(point)
    known = ", ".join(plugin_names()) or "none"
    raise PluginError(
        f"There is no plugin {name!r}. Installed plugins: {known}. "
        "Install the distribution that brings it into this Python environment."
    )


def check_calculator(plugin: Plugin, calculator: Any) -> None:
    """Check that a calculator implements what a plugin needs.

    Parameters
    ----------
    plugin
        The plugin; its ``required_properties`` are compared.
    calculator
        An ASE calculator, or None.

    Raises
    ------
    PluginError
        If there is no calculator, or if it lacks a required property.
    """
    if calculator is None:
        raise PluginError(f"Plugin {plugin.name!r} needs atoms with a calculator: set atoms.calc first.")
    offered = tuple(calculator.implemented_properties)
    missing = [key for key in plugin.required_properties if key not in offered]
    if missing:
        raise PluginError(
            f"Plugin {plugin.name!r} needs {', '.join(missing)}, which {type(calculator).__name__} does not "
            f"give (it gives {', '.join(offered)}). Use deepspin_ase.DeepSpin, deepspin_ase.Heisenberg or "
            "another calculator that does."
        )


def _sorted_entry_points() -> list[EntryPoint]:
    """Entry points of the group: by name, our own distribution first, then by distribution name."""

    def key(point: EntryPoint) -> tuple[str, bool, str, str]:
        distribution = _origin(point)[0]
        return point.name, distribution != OWN_DISTRIBUTION, distribution, point.value

    return sorted(entry_points(group=GROUP), key=key)


def _origin(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution behind an entry point."""
    dist = point.dist
    if dist is None:
        return "unknown", ""
    return str(dist.metadata["Name"] or "unknown"), str(dist.metadata["Version"] or "")


def _load(point: EntryPoint) -> Plugin:
    """Import and check one plugin; whatever goes wrong becomes a PluginError."""
    distribution, version = _origin(point)
    prefix = f"Plugin {point.name!r} of {distribution} {version}".rstrip()
    try:
        plugin = point.load()
    except (Exception, SystemExit) as problem:  # a foreign module may do anything when it is imported
        logger.debug("%s failed on import", prefix, exc_info=True)
        raise PluginError(
            f"{prefix} cannot be imported ({point.value}): {type(problem).__name__}: {problem}"
        ) from problem
    faults = list(_faults(plugin, point.name))
    if faults:
        raise PluginError(f"{prefix} breaks the plugin contract ({point.value}): {'; '.join(faults)}")
    return cast(Plugin, plugin)


def _faults(plugin: Any, name: str) -> Iterable[str]:
    """What is wrong with an object that claims to be a plugin, one sentence each."""
    if isinstance(plugin, type):
        yield f"the entry point names the class {plugin.__name__}; let it name an instance of it"
        return
    missing = [
        attribute
        for attribute in ("name", "summary", "api_version", "required_properties", "command")
        if not hasattr(plugin, attribute)
    ]
    if missing:
        yield f"{type(plugin).__name__} lacks {', '.join(missing)}"
        return
    if plugin.name != name:
        yield f"its name is {plugin.name!r} but its entry point is called {name!r}; make them equal"
    if plugin.api_version != API_VERSION:
        newer = isinstance(plugin.api_version, int) and plugin.api_version > API_VERSION
        advice = "update deepspin-ase" if newer else "update the plugin"
        yield f"it was written for plugin API {plugin.api_version!r}, this is {API_VERSION}; {advice}"
    if not isinstance(plugin.summary, str) or not plugin.summary.strip() or "\n" in plugin.summary:
        yield f"its summary must be one line of text, not {plugin.summary!r}"
    properties = plugin.required_properties
    if isinstance(properties, str) or not isinstance(properties, Collection):
        yield f"its required_properties must be a tuple of property names, not {properties!r}"
    else:
        unknown = [str(key) for key in properties if key not in ALL_PROPERTIES]
        if unknown:
            yield f"unknown required_properties {', '.join(unknown)} (known: {', '.join(ALL_PROPERTIES)})"
    if not callable(plugin.command):
        yield f"its command must be callable, not {plugin.command!r}"
