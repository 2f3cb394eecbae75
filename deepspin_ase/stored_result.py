"""What all results have in common: read-only arrays, one file format, axes to draw in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from deepspin_ase.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = TypeVar("Result", bound="StoredResult")


@dataclass(frozen=True, eq=False)
class StoredResult:
    """Base of the frozen results: fields are arrays, numbers, texts, tuples of texts (or of tuples of them) or None."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                array = value.copy()
                array.setflags(write=False)
                object.__setattr__(self, field.name, array)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the result."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write to a numpy ``.npz`` file (exactly this path, no suffix is added)."""
        arrays: dict[str, Any] = {
            name: np.array(value, dtype=str if isinstance(value, tuple) else None)
            for name, value in self._parts().items()
            if value is not None
        }
        arrays["format"] = np.array(self._format())
        with Path(path).open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls: type[Result], path: str | Path) -> Result:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is damaged or holds something else.
        """
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                found = str(stored["format"]) if "format" in stored else "no format"
                if found != cls._format():
                    wanted = f"{cls.__name__}.save ({cls._format()})"
                    raise InputError(f"{path} is no file of {wanted}; it holds {found}.")
                return cls._from_parts({name: _plain(value) for name, value in stored.items() if name != "format"})
        except (BadZipFile, EOFError, KeyError, ValueError) as problem:
            if isinstance(problem, InputError):
                raise
            raise InputError(f"{path} is damaged or no file of {cls.__name__}.save.") from problem

    def _parts(self) -> dict[str, Any]:
        """What the file holds; a result whose fields have parts of their own replaces both of these."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def _from_parts(cls: type[Result], parts: dict[str, Any]) -> Result:
        return cls(**{field.name: parts.get(field.name) for field in fields(cls)})

    @classmethod
    def _format(cls) -> str:
        return f"deepspin-{cls.__name__}-1"


def new_axes(width: float = 6.0, height: float = 4.2) -> Axes:
    """Axes in a figure of their own, without touching pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def _plain(array: np.ndarray[Any, Any]) -> Any:
    """Numbers and texts as Python has them, the rest as arrays."""
    if array.dtype.kind == "U" and array.ndim:
        return tuple(tuple(x) if isinstance(x, list) else x for x in array.tolist())
    return array.item() if array.ndim == 0 else array
