"""Checkpoint files of the samplers: arrays and a header that says which run they belong to, never half written."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.whole_file import whole_file


def write_checkpoint(path: str | Path, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a checkpoint, replacing an older one at once or not at all.

    Parameters
    ----------
    path
        Exactly this file; no suffix is added.
    settings
        What must be equal for the file to fit a run; anything that JSON can hold.
    arrays
        Arrays by name.
    """
    with whole_file(path) as stream:
        np.savez(stream, settings=np.array(json.dumps(settings)), **arrays)  # type: ignore[arg-type]


def read_checkpoint(path: str | Path, settings: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Arrays of a checkpoint that was written with these settings.

    Raises
    ------
    InputError
        The file is damaged, or belongs to another run.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        found = json.loads(str(arrays.pop("settings")))
    except FileNotFoundError:
        raise
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as problem:
        raise InputError(f"{path} is no checkpoint, or it is damaged: {problem}") from problem
    wanted = json.loads(json.dumps(settings))
    different = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if different:
        raise InputError(
            f"{path} belongs to another run: {', '.join(different)} differ. "
            "Use the options of that run, or another file."
        )
    return arrays
