"""Files of a run: written beside their place and moved there in one step, so that a file is whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from deepspin_ase.data import Frame, FrameError, Labels, read_frames, write_frames
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.whole_file import whole_file


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file under another name, and move it to its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.part{path.suffix}")
    write(partial)
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as stream:
        stream.write(text.encode())


def write_json(path: Path, values: Any) -> None:
    """Write plain values in one step."""
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read plain values."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_labelled(path: Path, frames: Sequence[Frame]) -> None:
    """Write frames as extended XYZ in one step; none make an empty file."""
    if frames:
        replace_file(path, lambda partial: write_frames(partial, frames))
    else:
        write_text(path, "")


def read_labelled(path: Path) -> list[Frame]:
    """Read what :func:`write_labelled` wrote."""
    return read_frames(path) if path.stat().st_size else []


def read_frames_or_none(path: Path) -> list[Frame] | None:
    """Frames of a file, or None if it is missing or damaged."""
    try:
        return read_labelled(path)
    except (FrameError, OSError):
        return None


def write_structures(path: Path, structures: Sequence[Atoms]) -> None:
    """Write structures with moments, without labels."""
    write_labelled(path, [Frame(atoms, Labels(), info=atoms.info) for atoms in structures])


def read_structures(path: Path) -> list[Atoms]:
    """Read what :func:`write_structures` wrote."""
    return [with_info(frame) for frame in read_labelled(path)]


def with_info(frame: Frame) -> Atoms:
    """Structure of a frame, with its info."""
    atoms = frame.atoms.copy()
    atoms.info.update(frame.info)
    return atoms


def bare(atoms: Atoms, /, **info: Any) -> Atoms:
    """Species, positions, cell and moments of a structure, and of ``info`` the texts and numbers."""
    plain = {name: value for name, value in info.items() if isinstance(value, (str, int, float))}
    copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=plain)
    set_moments(copy, get_moments(atoms))
    return copy
