"""The structures that a command is given, read with errors that a user can act on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from deepspin_ase.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms


def read_structure(path: Path, index: int = -1) -> Atoms:
    """Read one frame, without its calculator.

    Parameters
    ----------
    path
        File in one of ASE's formats.
    index
        Frame; default the last.

    Raises
    ------
    InputError
        No such file, no such frame, or a file that ASE cannot read.
    """
    atoms = cast("Atoms", _read(path, index, f"frame {index} of {path}"))
    atoms.calc = None
    return atoms


def read_structures(path: Path) -> list[Atoms]:
    """Read all frames, without their calculators.

    Raises
    ------
    InputError
        No such file, or one that ASE cannot read.
    """
    frames = cast("list[Atoms]", _read(path, ":", str(path)))
    for atoms in frames:
        atoms.calc = None
    return frames


def _read(path: Path, index: int | str, name: str) -> Atoms | list[Atoms]:
    from ase.io import read

    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        return read(path, index=index)
    except Exception as problem:  # ASE's readers raise whatever their parsing stumbled over
        raise InputError(
            f"ASE cannot read {name}: {type(problem).__name__}: {problem}. "
            "Give a file in one of ASE's formats (`ase info --formats`)."
        ) from problem
