"""The structure that a command is given, read with errors that a user can act on."""

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
    from ase.io import read

    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        atoms = cast("Atoms", read(path, index=index))
    except Exception as problem:  # ASE's readers raise whatever their parsing stumbled over
        raise InputError(
            f"ASE cannot read frame {index} of {path}: {type(problem).__name__}: {problem}. "
            "Give a file in one of ASE's formats (`ase info --formats`)."
        ) from problem
    atoms.calc = None
    return atoms
