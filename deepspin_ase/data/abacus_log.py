"""Parser of ABACUS ``running_*.log`` files: one record per ionic step, nothing interpreted yet.

Order within a step: [coordinates, cell], SCF, ``Total Magnetism`` and ``Magnetic force`` (in either order),
``final etot``, ``TOTAL-FORCE``, ``TOTAL-STRESS``. Coordinates printed after the forces belong to the next
step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.units import Bohr, GPa, Rydberg
from numpy.typing import NDArray

from deepspin_ase.data.frames import FrameError
from deepspin_ase.data.text_file import read_text

Array = NDArray[np.float64]

_COORDINATES = re.compile(r"^\s*(DIRECT|CARTESIAN) COORDINATES")
_STEP = re.compile(r"STEP OF (?:MOLECULAR DYNAMICS|(?:ION )?RELAXATION)\s*:\s*(\d+)")
_ENERGY = re.compile(r"final etot is\s+(\S+)\s+eV")
_UNCONVERGED = re.compile(r"convergence has not been achieved|SCF is not converged", re.IGNORECASE)
_TABLE = re.compile(r"^[\s#]*(Total Magnetism|Magnetic force|TOTAL-FORCE|TOTAL-STRESS)\s*\(([^)]*)\)")
_MAGNETIC_UNITS = {"eV/uB": 1.0, "Ry/uB": Rydberg}


@dataclass
class Step:
    """What the log says about one ionic step; arrays in Å, eV, µB, stress tension positive."""

    number: int | None = None
    line: int = 0
    positions: Array | None = None  # fractions if direct, else units of the lattice constant
    direct: bool = True
    cell: Array | None = None  # units of the lattice constant
    energy: float | None = None
    forces: Array | None = None
    stress: Array | None = None
    moments: Array | None = None
    magnetic_forces: Array | None = None
    converged: bool = True


@dataclass
class Log:
    """Species, lattice constant (Å) and steps of a log.

    ``finished`` is whether ABACUS reached its end, ``closed`` whether something that comes after the last
    step was printed, so that this step is complete.
    """

    symbols: list[str] = field(default_factory=list)
    lattice_constant: float = float("nan")
    steps: list[Step] = field(default_factory=list)
    molecular_dynamics: bool = False
    finished: bool = False
    closed: bool = True


def parse_log(path: Path, *, cut_off: bool = False) -> Log:
    """Parse a ``running_*.log``.

    Parameters
    ----------
    path
        File.
    cut_off
        Accept that the file ends in the middle of a table: what was read so far is returned, unfinished.

    Raises
    ------
    FrameError
        Tables with another number of atoms, numbers that are none, unknown units; with the line.
    """
    lines = read_text(path).splitlines()
    parser = _Parser(path, lines)
    for k, line in enumerate(lines):
        try:
            parser.feed(k, line)
        except FrameError as problem:
            if cut_off and problem.line is not None and problem.line >= len(lines):
                break
            raise
    if not parser.log.symbols:
        raise FrameError("no atom types found; is this an ABACUS running_*.log?", source=path)
    return parser.log


class _Parser:
    """State of a pass over the lines."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path, self.lines = path, lines
        self.log = Log()
        self.geometry = Step()  # where the next step will be
        self.step: Step | None = None  # the one whose SCF runs; closed by its energy
        self.number: int | None = None
        self.label = ""

    def feed(self, k: int, line: str) -> None:
        """Look at one line, and at the table below it if it is a title."""
        log, path = self.log, self.path
        if "lattice constant (Bohr)" in line:
            log.lattice_constant = _value(line, path, k) * Bohr
        elif "atom label =" in line:
            self.label = line.split("=")[1].strip()
        elif "number of atom for this type" in line:
            log.symbols += [re.sub(r"\d+$", "", self.label)] * int(_value(line, path, k))
        elif match := _COORDINATES.match(line):
            rows = _table(self.lines, k + 2, len(log.symbols), 3, path, k, trailing=True)
            self.geometry = Step(positions=rows, direct=match[1] == "DIRECT", cell=self.geometry.cell)
            log.closed = True
        elif "Lattice vectors: (Cartesian coordinate: in unit of a_0)" in line:
            self.geometry.cell = _table(self.lines, k + 1, 3, 3, path, k, labelled=False)
        elif match := _STEP.search(line):
            self.number, self.step = int(match[1]), None
            log.molecular_dynamics |= "MOLECULAR" in line
            log.closed = True
        elif match := _TABLE.match(line):
            if match[1] in ("Total Magnetism", "Magnetic force"):
                _read_magnetic(self.running(k), match[1], match[2], self.lines, k, len(log.symbols), path)
            else:
                _read_mechanical(log, match[1], self.lines, k, path)
        elif _UNCONVERGED.search(line):
            self.running(k).converged = False
            self.step = None
        elif match := _ENERGY.search(line):
            if self.step is None and log.steps and not log.steps[-1].converged and log.steps[-1].energy is None:
                self.step = log.steps[-1]
            self.running(k).energy = _value(match[1], path, k)
            self.step = None
        elif re.match(r"\s*Finish\s+Time\s*:", line):
            log.finished = log.closed = True

    def running(self, k: int) -> Step:
        """The step whose SCF runs; a new one if the last one is closed."""
        if self.step is None:
            geometry = self.geometry
            self.step = Step(
                number=self.number,
                line=k + 1,
                positions=geometry.positions,
                direct=geometry.direct,
                cell=geometry.cell,
            )
            self.geometry = Step(cell=geometry.cell)  # positions hold for one step only
            self.log.steps.append(self.step)
            self.log.closed = False
        return self.step


def _read_magnetic(step: Step, title: str, unit: str, lines: list[str], k: int, n: int, path: Path) -> None:
    columns = _columns(lines, k, path)
    values = _table(lines, _first_row(lines, k), n, columns, path, k)
    vectors = np.zeros((n, 3))
    vectors[:, 3 - columns :] = values  # nspin 2: one column, along z
    if title == "Total Magnetism":
        if unit != "uB":
            raise FrameError(f"moments in unit {unit!r}, expected uB", source=path, line=k + 1)
        step.moments = vectors
        return
    if unit not in _MAGNETIC_UNITS:
        raise FrameError(f"magnetic forces in unit {unit!r}; known: {list(_MAGNETIC_UNITS)}", source=path, line=k + 1)
    step.magnetic_forces = vectors * _MAGNETIC_UNITS[unit]


def _read_mechanical(log: Log, title: str, lines: list[str], k: int, path: Path) -> None:
    """Forces and stress come after the energy and belong to the step before."""
    if not log.steps or (log.steps[-1].energy is None and log.steps[-1].converged):
        raise FrameError(f"{title} without a 'final etot' before it; parts are missing", source=path, line=k + 1)
    step = log.steps[-1]
    if title == "TOTAL-FORCE":
        step.forces = _table(lines, _first_row(lines, k), len(log.symbols), 3, path, k)
    else:
        kbar = _table(lines, _first_row(lines, k), 3, 3, path, k, labelled=False)
        step.stress = -0.1 * GPa * kbar  # ABACUS prints compression positive


def _first_row(lines: list[str], k: int) -> int:
    """First line after a title that is neither blank, a rule, nor a column header."""
    j = k + 1
    while j < len(lines) and j < k + 8 and not re.search(r"\d\.\d", lines[j]):
        j += 1
    return j


def _columns(lines: list[str], k: int, path: Path) -> int:
    j = _first_row(lines, k)
    count = len(lines[j].split()) - 1 if j < len(lines) else 0
    if count not in (1, 3):
        raise FrameError(
            "a table of moments needs 1 or 3 numbers per atom" if count else "the table is cut off",
            source=path,
            line=j + 1,
        )
    return count


def _table(
    lines: list[str],
    start: int,
    rows: int,
    columns: int,
    path: Path,
    title: int,
    *,
    labelled: bool = True,
    trailing: bool = False,
) -> Array:
    """``rows`` lines of (a label and) ``columns`` numbers; one more such line is an error too."""
    if rows == 0:
        raise FrameError("no atom types before the first table; is this an ABACUS running_*.log?", source=path)
    values = np.empty((rows, columns))
    width = columns + labelled
    for i in range(rows):
        cells = lines[start + i].split() if start + i < len(lines) else []
        if len(cells) < width or (len(cells) > width and not trailing):
            raise FrameError(
                f"{lines[title].strip()!r}: row {i + 1} of {rows} is {' '.join(cells)[:60]!r}, expected "
                f"{columns} "
                "numbers per row; the file is truncated, or the atom count does not fit",
                source=path,
                line=start + i + 1,
            )
        try:
            values[i] = [float(cell) for cell in cells[labelled : labelled + columns]]
        except ValueError:
            raise FrameError(f"not numbers: {lines[start + i].strip()!r}", source=path, line=start + i + 1) from None
    extra = lines[start + rows].split() if start + rows < len(lines) else []
    if labelled and len(extra) >= width and re.fullmatch(r"[A-Za-z]\w*", extra[0]) and _is_number(extra[1]):
        raise FrameError(
            f"{lines[title].strip()!r} has more rows than the {rows} atoms of the log",
            source=path,
            line=start + rows + 1,
        )
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _value(text: str, path: Path, k: int) -> float:
    try:
        return float(text.split("=")[-1].split()[0])
    except (ValueError, IndexError):
        raise FrameError(f"expected a number in {text.strip()!r}", source=path, line=k + 1) from None
