"""What all results of this plugin share: read-only arrays, ``.npz`` files, new axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepspin_ase.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def freeze(result: Any) -> None:
    """Replace the arrays of a frozen dataclass by read-only copies (for ``__post_init__``)."""
    for field in fields(result):
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray):
            array = value.copy()
            array.setflags(write=False)
            object.__setattr__(result, field.name, array)


def save_npz(result: Any, path: str | Path, name: str, *, instead: Mapping[str, Any] | None = None) -> None:
    """Write the fields of a dataclass to exactly this path.

    Parameters
    ----------
    result, path, name
        Dataclass, file, and the name of its format.
    instead
        Replaces fields that are no arrays: ``{field: {key: array}}``.
    """
    values: dict[str, Any] = {}
    for field in fields(result):
        values |= (instead or {}).get(field.name, {field.name: getattr(result, field.name)})
    with Path(path).open("wb") as stream:
        np.savez_compressed(stream, format=np.array(name), **values)


def load_npz(path: str | Path, name: str, writer: str) -> dict[str, Any]:
    """Arrays of an ``.npz`` file of this format; numbers and words become Python's own."""
    problem = f"{path} is no file of the format {name}; write one with {writer}."
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            values = {key: value.item() if value.ndim == 0 else value for key, value in stored.items()}
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a foreign or truncated file
        raise InputError(f"{problem} ({error})") from error
    if values.pop("format", "") != name:
        raise InputError(problem)
    return values


def load_fields(kind: type, path: str | Path, name: str) -> dict[str, Any]:
    """Fields of a dataclass that :func:`save_npz` wrote."""
    return load_npz(path, name, f"{kind.__name__}.save")


def new_axes(ax: Axes | None) -> Axes:
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(6, 4), layout="constrained").subplots()
