"""Labelers and explorers by name: the core's own, and those that other distributions bring as entry points."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from ase.calculators.calculator import BaseCalculator
from pydantic import BaseModel

from deepspin_ase.active_learning.exploration import Explorer
from deepspin_ase.errors import InputError
from deepspin_ase.labeling import CalculatorLabeler, Labeler
from deepspin_ase.sections import validated

LABELERS: Final = "deepspin_ase.labelers"
"""Entry-point group of labelers: name -> factory that takes the options as keywords."""

EXPLORERS: Final = "deepspin_ase.explorers"
"""Entry-point group of explorers, likewise."""

_OWN: Final[dict[str, dict[str, str]]] = {
    LABELERS: {"calculator": "deepspin_ase.active_learning.registry:calculator_labeler"},
    EXPLORERS: {"states": "deepspin_ase.active_learning.structures:StateExplorer"},
}
_NOUN: Final = {LABELERS: "labeler", EXPLORERS: "explorer"}


def make_labeler(name: str, options: Mapping[str, Any]) -> Labeler:
    """A labeler of the group ``deepspin_ase.labelers``.

    Raises
    ------
    InputError
        There is no such labeler, it cannot be imported, or its options are wrong.
    """
    made = _make(LABELERS, name, options)
    if not isinstance(made, Labeler):
        raise InputError(f"labeler {name!r} gives a {type(made).__name__}, which lacks identity or label(...)")
    return made


def make_explorer(name: str, options: Mapping[str, Any]) -> Explorer:
    """An explorer of the group ``deepspin_ase.explorers``.

    Raises
    ------
    InputError
        There is no such explorer, it cannot be imported, or its options are wrong.
    """
    made = _make(EXPLORERS, name, options)
    if not isinstance(made, Explorer):
        raise InputError(f"explorer {name!r} gives a {type(made).__name__}, which lacks needs_model, size or explore")
    return made


def available(group: str) -> tuple[str, ...]:
    """Names in a group, sorted."""
    return tuple(sorted({*_OWN[group], *(point.name for point in entry_points(group=group))}))


def calculator_labeler(*, factory: str, arguments: Mapping[str, Any] | None = None) -> CalculatorLabeler:
    """Labeler ``calculator``: any ASE calculator with magnetic forces.

    Parameters
    ----------
    factory
        What makes the calculator: ``package.module:function``, or ``file.py:function``.
    arguments
        Keyword arguments for it.
    """
    given = dict(arguments or {})
    function = _load_object(factory)
    try:
        calculator: BaseCalculator = function(**given)
    except TypeError as problem:
        raise InputError(f"factory {factory} with arguments {given}: {problem}") from problem
    listed = ", ".join(f"{key}={value!r}" for key, value in sorted(given.items()))
    return CalculatorLabeler(calculator, identity=f"{factory.rpartition('/')[2]}({listed})")


def _make(group: str, name: str, options: Mapping[str, Any]) -> Any:
    factory = _factory(group, name)
    source = f"options of {_NOUN[group]} {name!r}"
    if isinstance(factory, type) and issubclass(factory, BaseModel):
        return validated(factory, dict(options), source)
    parameters = inspect.signature(factory).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if not takes_all and (unknown := sorted(set(options) - set(names))):
        raise InputError(f"{source}: unknown {', '.join(unknown)}; allowed: {', '.join(names) or 'none'}")
    required = [p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if missing := [n for n in required if n not in options]:
        raise InputError(f"{source}: required, but missing: {', '.join(missing)}")
    return factory(**options)


def _factory(group: str, name: str) -> Callable[..., Any]:
    target = _OWN[group].get(name)
    points = [EntryPoint(name, target, group)] if target else sorted(entry_points(group=group, name=name), key=_origin)
    if not points:
        raise InputError(
            f"there is no {_NOUN[group]} {name!r}; installed: {', '.join(available(group))}. "
            f"Others come with plugins (entry points of the group {group})."
        )
    try:
        loaded: Callable[..., Any] = points[0].load()
    except (ImportError, AttributeError) as problem:
        raise InputError(
            f"{_NOUN[group]} {name!r} cannot be imported ({points[0].value}): {type(problem).__name__}: {problem}"
        ) from problem
    return loaded


def _origin(point: EntryPoint) -> str:
    return "" if point.dist is None else str(point.dist.name)


def _load_object(target: str) -> Callable[..., Any]:
    """Function or class ``package.module:name`` or ``file.py:name``."""
    place, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier():
        raise InputError(f"factory = {target!r}; write package.module:function or file.py:function")
    try:
        if place.endswith(".py"):
            if not Path(place).is_file():
                raise InputError(f"factory = {target!r}: there is no file {place}")
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = import_module(place)
        function: Callable[..., Any] = getattr(module, name)
    except (ImportError, AttributeError, SyntaxError) as problem:
        raise InputError(f"factory = {target!r} cannot be imported: {problem}") from problem
    return function
