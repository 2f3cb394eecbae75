"""Checkpoint files of the drivers: all that a run needs to go on bit for bit, in one ``.npz``, never half written.

The file is written beside its destination and then renamed over it, so that a killed program leaves the older
checkpoint or the newer one, never a torn one. No pickles.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import dict2constraint
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.whole_file import whole_file

_FORMAT = "deepspin-dynamics-checkpoint-1"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Content of a checkpoint file.

    Attributes
    ----------
    kind
        Name of the driver that wrote it.
    settings
        Numbers, text, lists and dicts.
    arrays
        Arrays by name.
    atoms
        Structure with momenta, moments and constraints, without a calculator.
    """

    kind: str
    settings: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    atoms: Atoms


def write_checkpoint(
    path: str | Path, kind: str, atoms: Atoms, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a checkpoint, replacing an older one at once or not at all.

    Parameters
    ----------
    path
        Exactly this file; no suffix is added.
    kind
        Name of the driver.
    atoms
        Structure; all its arrays, cell, boundaries and constraints are kept.
    settings
        Anything that JSON can hold; numpy numbers and arrays in it become numbers and lists.
    arrays
        Arrays by name.
    """
    constraints = [constraint.todict() for constraint in atoms.constraints]
    header = {"format": _FORMAT, "kind": kind, "settings": dict(settings), "constraints": constraints}
    content: dict[str, NDArray[Any]] = {"header": np.array(json.dumps(header, default=_plain))}
    content |= {f"array/{name}": np.asarray(array) for name, array in arrays.items()}
    content |= {f"atoms/{name}": array for name, array in atoms.arrays.items()}
    content |= {"cell": atoms.cell.array, "pbc": atoms.pbc}
    with whole_file(path) as stream:
        np.savez(stream, **content)  # type: ignore[arg-type]


def read_checkpoint(path: str | Path, kind: str) -> Checkpoint:
    """Read a checkpoint of one kind of driver.

    Raises
    ------
    InputError
        If the file is no checkpoint, is damaged, or was written by another driver.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            content = {name: stored[name] for name in stored.files}
        header = json.loads(str(content.pop("header")))
    except FileNotFoundError:
        raise
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, json.JSONDecodeError) as problem:
        raise InputError(
            f"{path} is no checkpoint, or it is damaged ({type(problem).__name__}: {problem})."
        ) from problem
    if header.get("format") != _FORMAT:
        raise InputError(f"{path} has the format {header.get('format')!r}; this version reads {_FORMAT!r}.")
    if header["kind"] != kind:
        raise InputError(f"{path} was written by {header['kind']}; read it with {header['kind']}.from_checkpoint.")
    atoms = Atoms(numbers=content["atoms/numbers"], cell=content.pop("cell"), pbc=content.pop("pbc"))
    for name in [name for name in content if name.startswith("atoms/")]:
        atoms.arrays[name.removeprefix("atoms/")] = content.pop(name)
    atoms.set_constraint([dict2constraint(one) for one in header["constraints"]])
    arrays = {name.removeprefix("array/"): array for name, array in content.items()}
    return Checkpoint(kind=kind, settings=header["settings"], arrays=arrays, atoms=atoms)


def _plain(value: object) -> Any:
    """What JSON does not know: numpy numbers and arrays."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a checkpoint cannot hold {value!r} among its settings")
