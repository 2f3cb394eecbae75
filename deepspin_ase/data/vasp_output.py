"""Parsers of the text files of a VASP + DeltaSpin run: summary blocks, INCAR, and the stress lines of OUTCAR.

A summary block is what the run scripts of DeltaSpin append to the output: titles such as ``Energy:``,
``Cartesian Coordinates:``, ``Magnetization:``, ``Atomic Force:``, ``Magnetic Force:`` (with or without a
unit), numbers below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from deepspin_ase.data.frames import FrameError

Array = NDArray[np.float64]

_TITLES = {
    "RMS": "rms",
    "Energy": "energy",
    "Cartesian Coordinates": "positions",
    "Magnetization": "moments",
    "Magnetization Difference from Target": "difference",
    "Atomic Force": "forces",
    "Magnetic Force": "magnetic_forces",
    "Virial": "virial",
}
_TITLE = re.compile(r"^\s*(?P<name>[A-Z][A-Za-z ]*?)\s*(?:\((?P<u1>[^)]*)\))?\s*:\s*(?:\((?P<u2>[^)]*)\))?\s*$")
_UNITS = {
    "rms": ("muB", "uB"),
    "energy": ("eV",),
    "positions": ("Angstrom", "A"),
    "moments": ("muB", "uB"),
    "difference": ("muB", "uB"),
    "forces": ("eV/A", "eV/Angstrom"),
    "magnetic_forces": ("eV/muB", "eV/uB"),
    "virial": ("eV",),
}
_FREE_ENERGY = re.compile(r"^\s*\d+\s+F=\s*(\S+)\s+E0=\s*(\S+)")
_LAMBDA = re.compile(r"final optimal lambda")


@dataclass
class Block:
    """One summary block: flat arrays by name, with the lines that the titles were on."""

    line: int
    values: dict[str, Array] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    free_energy: float | None = None
    multipliers: Array | None = None


def parse_summaries(path: Path) -> list[Block]:
    """All summary blocks of an output file.

    Raises
    ------
    FrameError
        A unit that is not the expected one, text where numbers should be, the same title twice in a block.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    blocks: list[Block] = []
    block: Block | None = None
    free_energy: float | None = None
    multipliers: list[str] = []
    k = 0
    while k < len(lines):
        line = lines[k]
        name = _name(line, path, k)
        if match := _FREE_ENERGY.match(line):
            free_energy = _floats([match[1]], path, k)[0]
        if _LAMBDA.search(line):
            multipliers, k = _collect(lines, k + 1, columns=3)
            continue
        if name is None:
            k += 1
            continue
        if block is None or name in block.values or (name == "rms" and block.values):
            block = Block(k + 1, free_energy=free_energy)
            if multipliers:
                block.multipliers = _floats(multipliers, path, k)
            blocks.append(block)
        words, after = _collect(lines, k + 1)
        block.values[name] = _floats(words, path, k + 1)
        block.lines[name] = k + 1
        k = after
    return blocks


def _name(line: str, path: Path, k: int) -> str | None:
    """Which quantity a title announces."""
    match = _TITLE.match(line)
    if match is None or match["name"] not in _TITLES:
        return None
    name = _TITLES[match["name"]]
    unit = match["u1"] or match["u2"]
    if unit is not None and unit not in _UNITS[name]:
        raise FrameError(f"unit {unit!r} in {line.strip()!r}, expected {_UNITS[name][0]}", source=path, line=k + 1)
    return name


def _collect(lines: list[str], start: int, *, columns: int | None = None) -> tuple[list[str], int]:
    """Words of the lines that begin like a number (and have so many columns), and where they end."""
    words: list[str] = []
    k = start
    while k < len(lines) and re.match(r"^\s*[-+]?(\d|\.\d)", lines[k]) and not re.search(r"DAYS|F=", lines[k]):
        if columns is not None and len(lines[k].split()) != columns:
            break
        words += lines[k].split()
        k += 1
    return words, k


def _floats(words: list[str], path: Path, k: int) -> Array:
    try:
        return np.array([float(word.replace("D", "E")) for word in words])
    except ValueError as problem:
        raise FrameError(f"not a number: {problem}", source=path, line=k + 1) from None


def parse_incar(path: Path) -> dict[str, list[str]]:
    """Tags of an INCAR with their words; comments, continuation lines, ``;`` and ``3*0.5`` are understood."""
    text = path.read_text(encoding="utf-8", errors="replace")
    joined, pending = [], ""
    for raw in text.splitlines():
        line = pending + re.split(r"[#!]", raw)[0].rstrip()
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        pending = ""
        joined += line.split(";")
    tags: dict[str, list[str]] = {}
    for line in joined:
        key, equals, value = line.partition("=")
        if equals:
            tags[key.strip().upper()] = [w for word in value.split() for w in _repeat(word)]
    return tags


def _repeat(word: str) -> list[str]:
    match = re.fullmatch(r"(\d+)\*(\S+)", word)
    return [match[2]] * int(match[1]) if match else [word]


def incar_vectors(tags: dict[str, list[str]], name: str, n: int) -> Array | None:
    """An INCAR tag with three numbers per atom, (n, 3); None if it is absent or has another length."""
    try:
        values = np.array([float(word) for word in tags.get(name, [])])
    except ValueError:
        return None
    return values.reshape(n, 3) if values.size == 3 * n else None


def outcar_stresses(path: Path) -> Array:
    """Stress of every ionic step of an OUTCAR, (steps, 6), eV/Å³, Voigt, tension positive."""
    rows = []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if line.startswith("  in kB"):
                words = line.split()[2:8]
                try:
                    xx, yy, zz, xy, yz, zx = (float(w) for w in words)
                except ValueError:
                    raise FrameError(f"not six numbers: {line.strip()!r}", source=path, line=number) from None
                rows.append([xx, yy, zz, yz, zx, xy])
    return -0.1 * GPa * np.array(rows, dtype=float).reshape(-1, 6)  # VASP prints compression positive
