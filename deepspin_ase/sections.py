"""Validated tables of options: unknown names, wrong types and impossible values become one readable message."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from deepspin_ase.errors import InputError

Validated = TypeVar("Validated", bound=BaseModel)


class Section(BaseModel):
    """A frozen table of options that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def absolute_path(path: str, folder: Path) -> str:
    """A path with ``~`` replaced; a relative one is taken from ``folder``."""
    expanded = Path(path).expanduser()
    return str(expanded if expanded.is_absolute() else (folder / expanded).resolve())


def read_yaml(path: Path) -> Any:
    """Plain values of a YAML file.

    Raises
    ------
    InputError
        No YAML.
    FileNotFoundError
        No such file.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} is not valid YAML: {problem}") from None


def validated(model: type[Validated], values: Any, source: str) -> Validated:
    """Make a section from plain values.

    Parameters
    ----------
    model
        The section.
    values
        Table of options, as YAML gives it.
    source
        Where the values come from, for messages.

    Raises
    ------
    InputError
        Names every wrong option, what was given and what is allowed.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: expected a table of options, got {type(values).__name__}")
    try:
        return model.model_validate(values)
    except ValidationError as problem:
        lines = "\n".join(f"  {_explain(entry, model)}" for entry in problem.errors())
        raise InputError(f"{source}:\n{lines}") from None


def _explain(entry: Any, model: type[BaseModel]) -> str:
    """One line for one error of pydantic."""
    where = _where(entry["loc"], model)
    if entry["type"] == "extra_forbidden":
        allowed = list(_section_at(entry["loc"][:-1], model).model_fields)
        close = difflib.get_close_matches(str(entry["loc"][-1]), allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{where}: unknown option; {hint}allowed: {', '.join(allowed)}"
    if entry["type"] == "missing":
        return f"{where}: required, but missing"
    message = entry["msg"].removeprefix("Value error, ")
    given = entry.get("input")
    shown = "" if isinstance(given, (dict, list)) else f", got {given!r}"
    return f"{where}: {message}{shown}" if where else message


def _where(loc: tuple[Any, ...], model: type[BaseModel]) -> str:
    """Place of an error as in the file: ``training.optimizer.epochs``, ``explorers[1].kind``."""
    text = ""
    known = _all_names(model)
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part == loc[-1] or part in known:  # not the names that pydantic gives to the branches of a union
            text += f".{part}" if text else str(part)
    return text


def _all_names(model: type[BaseModel]) -> set[str]:
    names = set(model.model_fields)
    for field in model.model_fields.values():
        for kind in _sections_in(field.annotation):
            names |= _all_names(kind)
    return names


def _section_at(loc: tuple[Any, ...], model: type[BaseModel]) -> type[BaseModel]:
    """The section that holds a place."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            inner = _sections_in(model.model_fields[part].annotation)
            model = inner[0] if inner else model
    return model


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for argument in get_args(annotation) for kind in _sections_in(argument)]
