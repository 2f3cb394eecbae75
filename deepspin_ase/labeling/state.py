"""The directory of one calculation: what is finished, what failed, and what was cut off.

A directory holds ``state.json`` (written last, replaced in one step) and, when finished, ``frame.extxyz``. A state
"running" with nobody at work is a calculation that was killed; a frame whose checksum does not fit was cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms

from deepspin_ase.data import Frame, read_frames, write_frames
from deepspin_ase.errors import InputError
from deepspin_ase.labeling.contract import FailedLabel
from deepspin_ase.moments import get_moments
from deepspin_ase.whole_file import whole_file

STATE: Final = "state.json"
FRAME: Final = "frame.extxyz"
STATUSES: Final = ("finished", "failed", "prepared", "running")


def calculation_name(atoms: Atoms, identity: str) -> str:
    """Name of the directory of a structure under a labeler: the same structure and settings, the same name."""
    digest = hashlib.blake2b(identity.encode(), digest_size=8)
    for values in (atoms.positions, atoms.cell.array, get_moments(atoms)):
        digest.update((np.round(values, 9) + 0.0).tobytes())  # + 0.0: no -0.0
    digest.update(np.asarray(atoms.numbers, dtype=np.int64).tobytes() + bytes(np.asarray(atoms.pbc, dtype=np.uint8)))
    return f"{atoms.get_chemical_formula()}-{digest.hexdigest()}"


def write_state(directory: Path, status: str, **entries: Any) -> None:
    """Replace the state file in one step."""
    with whole_file(directory / STATE) as stream:
        stream.write((json.dumps({"format": 1, "status": status, **entries}, indent=1) + "\n").encode())


def read_state(directory: Path) -> dict[str, Any]:
    """The state; empty where there is none or none that can be read."""
    try:
        state = json.loads((directory / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def store(directory: Path, result: Frame | FailedLabel, seconds: float) -> None:
    """Write a result: the frame first, then the state that vouches for it."""
    if isinstance(result, FailedLabel):
        write_state(directory, "prepared" if result.prepared else "failed", reason=result.reason, seconds=seconds)
        return
    temporary = directory / "frame.partial.extxyz"
    write_frames(temporary, [result])
    content = temporary.read_bytes()
    os.replace(temporary, directory / FRAME)
    write_state(directory, "finished", checksum=hashlib.sha256(content).hexdigest(), seconds=seconds)


def stored_result(directory: Path, atoms: Atoms) -> Frame | FailedLabel | None:
    """What an earlier run left: a frame, a failure, or None if there is work to do."""
    state = read_state(directory)
    if state.get("status") == "failed":
        return FailedLabel(atoms, str(state.get("reason", "")))
    if state.get("status") != "finished":
        return None
    try:
        content = (directory / FRAME).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != state.get("checksum"):
        return None
    return read_frames(directory / FRAME)[0]


def campaign_status(directory: str | Path) -> dict[str, int]:
    """How many calculations of a directory are finished, failed, prepared, running (or were killed).

    Raises
    ------
    InputError
        There is no such directory.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"There is no directory {directory}.")
    counts = Counter(str(read_state(file.parent).get("status")) for file in directory.glob(f"*/{STATE}"))
    return {status: counts[status] for status in STATUSES}
