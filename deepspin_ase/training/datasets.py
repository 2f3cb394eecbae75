"""From the ``data:`` section of a training file to frames for training and for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepspin_ase.data import Frame, read_frames
from deepspin_ase.errors import InputError
from deepspin_ase.training.config import DataSection, Range, data_name


@dataclass(frozen=True)
class DataSplit:
    """Frames of one data set, divided.

    ``validation_indices`` are numbers of frames in the file, from 0, before ``where`` selects; empty if the
    validation frames come from a file of their own.
    """

    section: DataSection
    training: tuple[Frame, ...]
    validation: tuple[Frame, ...]
    validation_indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name in tables."""
        return data_name(self.section)


def load_split(section: DataSection) -> DataSplit:
    """Read, select and divide the frames of one data set.

    Raises
    ------
    InputError
        Unreadable file, a selection that leaves nothing, or impossible validation indices.
    """
    name = data_name(section)
    frames = _read(section.path, section)
    chosen = select(frames, section.where, name)
    if isinstance(section.validation, str):
        held = _read(section.validation, section)
        return DataSplit(section, tuple(frames[i] for i in chosen), tuple(held), ())
    if isinstance(section.validation, list):
        if bad := [i for i in section.validation if not 0 <= i < len(frames)]:
            raise InputError(
                f"data {name!r}: validation lists frames {bad[:5]}, "
                f"but {section.path} has frames 0 to {len(frames) - 1}"
            )
        listed = set(section.validation)
        held_out = [i for i in chosen if i in listed]
    else:
        count = round(section.validation * len(chosen))
        if section.validation > 0 and len(chosen) > 1:
            count = min(max(count, 1), len(chosen) - 1)
        order = np.random.default_rng(section.seed).permutation(len(chosen))[:count]
        held_out = sorted(chosen[i] for i in order)
    kept = [i for i in chosen if i not in set(held_out)]
    return DataSplit(section, tuple(frames[i] for i in kept), tuple(frames[i] for i in held_out), tuple(held_out))


def select(frames: Sequence[Frame], where: Mapping[str, Any], name: str) -> list[int]:
    """Indices of the frames whose ``info`` matches every entry of ``where``.

    Parameters
    ----------
    frames
        Frames.
    where
        Per key a value, a list of values, or a :class:`~deepspin_ase.training.config.Range`.
        ``energy_per_atom`` (eV) may be used as a key, too.
    name
        For messages.
    """
    chosen = list(range(len(frames)))
    for key, wanted in where.items():
        values = [_value(frame, key) for frame in frames]
        if all(value is None for value in values):
            known = sorted({k for frame in frames for k in frame.info} | {"energy_per_atom"})
            raise InputError(f"data {name!r}: where: no frame has {key!r}; known keys: {', '.join(known)}")
        kept = [i for i in chosen if _matches(values[i], wanted)]
        if not kept:
            seen = sorted({str(value) for value in values})
            raise InputError(f"data {name!r}: where: {key} selects no frame; values seen: {', '.join(seen[:12])}")
        chosen = kept
    return chosen


def _value(frame: Frame, key: str) -> Any:
    if key == "energy_per_atom" and key not in frame.info:
        return frame.energy_per_atom
    return frame.info.get(key)


def _matches(value: Any, wanted: Any) -> bool:
    if value is None:
        return False
    if isinstance(wanted, Range):
        return bool(np.isreal(value)) and wanted.min <= value <= wanted.max
    allowed = wanted if isinstance(wanted, list) else [wanted]
    return any(value == entry or str(value) == str(entry) for entry in allowed)


def _read(path: str, section: DataSection) -> list[Frame]:
    if "$" in path:
        raise InputError(f"data {data_name(section)!r}: {path}: this environment variable is not set")
    if not Path(path).exists():
        raise InputError(f"data {data_name(section)!r}: {path}: no such file or directory")
    keys: dict[str, Any] = dict(section.keys)
    return read_frames(path, None if section.format == "auto" else section.format, **keys)
