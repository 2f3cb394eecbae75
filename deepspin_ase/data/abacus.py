"""ABACUS with DeltaSpin: ``running_scf.log``, ``running_relax.log`` and ``running_md.log``.

``Magnetic force (eV/uB)`` is F^m = -∂E/∂m; ``Total Magnetism`` are the moments reached. Energies are ABACUS's
``final etot``. Positions of an MD run are in ``MD_dump``; the digits of the cell that the log omits are in
``STRU``.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.units import Bohr
from numpy.typing import NDArray

from deepspin_ase.data.abacus_log import Log, Step, parse_log
from deepspin_ase.data.frames import Frame, FrameError, Labels
from deepspin_ase.errors import InputError
from deepspin_ase.moments import set_moments

logger = logging.getLogger(__name__)
Array = NDArray[np.float64]

_KEYWORD: Final = re.compile(r"^[A-Z_]+$")


def read(path: Path, *, incomplete: Literal["error", "skip"] = "error", stru: str | Path | None = None) -> list[Frame]:
    """Read a log, or the only log of a run directory.

    Parameters
    ----------
    path
        ``running_*.log``, or the directory that holds it, or the one that holds ``OUT.*``.
    incomplete
        What to do with steps that did not converge or are cut off: raise, or leave them out with a warning.
    stru
        Structure file for the digits of the cell; default ``STRU`` beside ``OUT.*``, if it has the same cell.

    Raises
    ------
    FrameError
        With the line: truncated or inconsistent logs, unconverged steps, no moments (DeltaSpin was off).
    """
    if incomplete not in ("error", "skip"):
        raise InputError(f"incomplete must be 'error' or 'skip', got {incomplete!r}")
    file = _find_log(path)
    log = parse_log(file, cut_off=incomplete == "skip")
    wrong = sorted({s for s in log.symbols if s not in atomic_numbers})
    if wrong:
        raise FrameError(f"atom labels {wrong} are no chemical symbols", source=file)
    cell = _better_cell(log, file, Path(stru) if stru is not None else None)
    dump = _read_dump(file, len(log.symbols), incomplete) if log.molecular_dynamics else None
    complete = _complete_steps(log, file, incomplete)
    if dump is not None:
        known = [step for step in complete if step.number in dump]
        if not known:
            raise FrameError("no step of the log is in MD_dump; do the two belong together?", source=file)
        if len(known) < len(complete):
            logger.info("%s: MD_dump has positions of %d of %d steps", file, len(known), len(complete))
        complete = known
    frames = []
    for index, step in enumerate(complete):
        try:
            frames.append(_frame(step, log, cell, dump, str(file), index))
        except FrameError as problem:
            raise FrameError(problem.message, source=file, frame=index, line=step.line) from None
    return frames


def _frame(
    step: Step,
    log: Log,
    cell: Array | None,
    dump: dict[int, dict[str, Array]] | None,
    source: str,
    index: int,
) -> Frame:
    lattice = step.cell * log.lattice_constant if step.cell is not None else None
    if lattice is not None and cell is not None and np.allclose(lattice, cell, rtol=0, atol=2e-5 * np.abs(cell).max()):
        lattice = cell
    if dump is not None and step.number is not None:
        entry = dump[step.number]
        lattice, positions = entry["cell"], entry["positions"]
        if "forces" in entry and step.forces is not None and not np.allclose(entry["forces"], step.forces, atol=1e-4):
            raise FrameError(
                f"forces of step {step.number} differ between the log and MD_dump; the two do not belong together"
            )
    elif step.positions is None:
        raise FrameError("no coordinates before this step")
    elif lattice is None:
        raise FrameError("no lattice vectors before this step")
    else:
        positions = step.positions @ lattice if step.direct else step.positions * log.lattice_constant
    atoms = Atoms(log.symbols, positions=positions, cell=lattice, pbc=True)
    set_moments(atoms, step.moments)  # type: ignore[arg-type]  # complete steps have moments
    labels = Labels(energy=step.energy, forces=step.forces, stress=step.stress, magnetic_forces=step.magnetic_forces)
    info: dict[str, Any] = {} if step.number is None else {"step": step.number}
    return Frame(atoms, labels, source=source, index=index, info=info)


def _complete_steps(log: Log, file: Path, incomplete: str) -> list[Step]:
    """Steps with everything that the run prints; the others are an error, or are left out."""
    if not log.steps:
        raise FrameError("no finished SCF cycle in this log; is it truncated?", source=file)
    if all(step.moments is None for step in log.steps):
        raise FrameError(
            "no table 'Total Magnetism (uB)': DeltaSpin (sc_mag_switch 1) was off, or the log is truncated",
            source=file,
        )
    steps = log.steps
    if not log.finished:
        message = "ABACUS did not reach its end (no 'Finish Time'), the log may be truncated"
        if incomplete == "error":
            raise FrameError(f"{message}. To take the complete steps: incomplete='skip'", source=file)
        steps = steps if log.closed else steps[:-1]
        logger.warning("%s: %s; %d steps are complete", file, message, len(steps))
    names = [n for n in ("energy", "forces", "stress", "moments", "magnetic_forces") if _has(log.steps, n)]
    good = []
    for index, step in enumerate(steps):
        lacks = [name for name in names if getattr(step, name) is None]
        if step.converged and not lacks:
            good.append(step)
            continue
        reason = "the SCF did not converge" if not step.converged else f"{', '.join(lacks)} missing"
        if incomplete == "error":
            raise FrameError(
                f"{reason}. To leave such steps out: incomplete='skip'",
                source=file,
                frame=index,
                line=step.line,
            )
        logger.warning("%s, line %d: step left out, %s", file, step.line, reason)
    return good


def _has(steps: list[Step], name: str) -> bool:
    return any(getattr(step, name) is not None for step in steps)


def _find_log(path: Path) -> Path:
    if path.is_file():
        return path
    logs = sorted([*path.glob("running_*.log"), *path.glob("OUT.*/running_*.log")])
    if not logs:
        raise FrameError("no running_*.log here or in OUT.*", source=path)
    if len(logs) > 1:
        raise FrameError(f"several logs, name one: {', '.join(str(log) for log in logs)}", source=path)
    return logs[0]


def _better_cell(log: Log, file: Path, stru: Path | None) -> Array | None:
    """The cell with all digits from the structure file, in Å; the log prints six."""
    candidates = [stru] if stru is not None else [file.parent / "STRU", file.parent.parent / "STRU"]
    for candidate in candidates:
        if candidate.is_file():
            return _stru_cell(candidate)
    if stru is not None:
        raise FileNotFoundError(2, "No such file or directory", str(stru))
    if not log.molecular_dynamics:
        logger.info("%s: no STRU; the cell has the six digits of the log", file)
    return None


def _stru_cell(file: Path) -> Array | None:
    """``LATTICE_CONSTANT`` (Bohr) times ``LATTICE_VECTORS`` of an ABACUS structure file, in Å."""
    blocks: dict[str, list[list[str]]] = {}
    name = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        cells = re.split(r"#|//", line)[0].split()
        if len(cells) == 1 and _KEYWORD.match(cells[0]) and cells[0] not in atomic_numbers:
            name = cells[0]
            blocks[name] = []
        elif cells and name:
            blocks[name].append(cells)
    try:
        constant = float(blocks["LATTICE_CONSTANT"][0][0]) * Bohr
        vectors = np.array([[float(c) for c in row[:3]] for row in blocks["LATTICE_VECTORS"][:3]])
    except (KeyError, IndexError, ValueError):
        return None
    return constant * vectors if vectors.shape == (3, 3) else None


def _read_dump(file: Path, n: int, incomplete: str) -> dict[int, dict[str, Array]]:
    """Positions, cell and forces of ``MD_dump`` by step number."""
    dump = file.parent / "MD_dump"
    if not dump.is_file():
        raise FrameError("the positions of an MD run are in MD_dump, which is not beside the log", source=file)
    steps: dict[int, dict[str, Array]] = {}
    lines = dump.read_text(encoding="utf-8").splitlines()
    starts = [k for k, line in enumerate(lines) if line.startswith("MDSTEP:")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        block = lines[start:end]
        try:
            steps[int(block[0].split()[1])] = _dump_block(block, n)
        except (ValueError, IndexError, StopIteration) as problem:
            if incomplete == "skip" and end == len(lines):
                logger.warning("%s, line %d: the last block is left out, it is cut off", dump, start + 1)
                break
            raise FrameError(
                f"this MDSTEP block is damaged or truncated: {problem}", source=dump, line=start + 1
            ) from None
    return steps


def _dump_block(block: list[str], n: int) -> dict[str, Array]:
    constant_line = next(line for line in block if line.startswith("LATTICE_CONSTANT"))
    constant = float(constant_line.split()[1]) * (Bohr if "Bohr" in constant_line else 1.0)
    vectors = next(k for k, line in enumerate(block) if line.startswith("LATTICE_VECTORS"))
    cell = constant * np.array([[float(c) for c in line.split()] for line in block[vectors + 1 : vectors + 4]])
    header = next((k for k, line in enumerate(block) if line.startswith("INDEX")), None)
    if header is None:
        raise ValueError("no column header")
    if "POSITION (Angstrom)" not in block[header]:
        raise ValueError(f"positions are not in Angstrom: {block[header].strip()!r}")
    rows = [line.split()[2:] for line in block[header + 1 :] if line.strip()]
    if len(rows) != n:
        raise ValueError(f"{len(rows)} atoms, the log has {n}")
    table = np.array(rows, dtype=float)
    entry = {"cell": cell, "positions": table[:, :3]}
    if "FORCE (eV/Angstrom)" in block[header]:
        entry["forces"] = table[:, 3:6]
    return entry
