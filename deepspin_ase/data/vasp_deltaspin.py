"""VASP + DeltaSpin: the summary at the end of the output, with POSCAR, and INCAR and OUTCAR where they are
there.

``Magnetic Force:`` is F^m = -∂E/∂m = minus the final Lagrange multiplier (compared where both are in the
file); ``Magnetization:`` are the moments reached; ``Energy:`` is VASP's energy(sigma→0). The cell is the one
of POSCAR.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.io.vasp import read_vasp
from numpy.typing import NDArray

from deepspin_ase.data.frames import Frame, FrameError, Labels, virial_to_stress
from deepspin_ase.data.vasp_output import Block, incar_vectors, outcar_stresses, parse_incar, parse_summaries
from deepspin_ase.errors import InputError
from deepspin_ase.moments import set_moments

logger = logging.getLogger(__name__)
Array = NDArray[np.float64]

_REQUIRED = ("energy", "moments", "magnetic_forces")
_OUTPUT_PATTERNS = ("*.log", "stdout*", "*.out", "out*", "OSZICAR", "*.txt")
_TOLERANCE = 2e-3  # Å and µB: how far files of one run may be apart


def read(
    path: Path,
    *,
    poscar: str | Path | None = None,
    unconstrained_moments: Literal["keep", "zero"] = "keep",
) -> list[Frame]:
    """Read the summary blocks of an output file, or of the one output file of a run directory.

    Parameters
    ----------
    path
        Output file that ends with the DeltaSpin summary, or the directory with it.
    poscar
        Structure file; default ``POSCAR`` beside the output.
    unconstrained_moments
        Atoms that INCAR leaves unconstrained (``CONSTRL``) have a small induced moment and, since the energy
        is a minimum with respect to it, no magnetic force: "keep" as printed, or set it to "zero".

    Raises
    ------
    FrameError
        No summary, truncated blocks, files that do not belong together.
    """
    if unconstrained_moments not in ("keep", "zero"):
        raise InputError(f"unconstrained_moments must be 'keep' or 'zero', got {unconstrained_moments!r}")
    file = _find_output(path)
    blocks = parse_summaries(file)
    if not blocks:
        raise FrameError(
            "no DeltaSpin summary ('Energy:', 'Magnetization:', 'Magnetic Force:', ...) in the output; "
            "is it truncated?",
            source=file,
        )
    structure = _read_structure(Path(poscar) if poscar is not None else file.parent / "POSCAR")
    incar = file.parent / "INCAR"
    tags = parse_incar(incar) if incar.is_file() else {}
    if len(blocks) > 1 and tags.get("ISIF", ["2"])[0] not in ("0", "1", "2") and tags.get("NSW", ["0"])[0] != "0":
        raise FrameError(
            f"INCAR has ISIF = {tags['ISIF'][0]}: the cell changes, and the summaries do not say how",
            source=file,
        )
    stresses = _stresses(file.parent / "OUTCAR", len(blocks))
    frames = []
    for index, block in enumerate(blocks):
        try:
            frame = _frame(block, structure, tags, unconstrained_moments, str(file), index, stresses)
        except FrameError as problem:
            raise FrameError(problem.message, source=file, frame=index, line=problem.line or block.line) from None
        frames.append(frame)
    return frames


def _frame(
    block: Block,
    structure: Atoms,
    tags: dict[str, list[str]],
    unconstrained: str,
    source: str,
    index: int,
    stresses: Array | None,
) -> Frame:
    n = len(structure)
    missing = [name for name in _REQUIRED if name not in block.values]
    if missing:
        raise FrameError(f"the summary lacks {', '.join(missing)}; it is truncated")
    if len(block.values["energy"]) != 1:
        raise FrameError(
            f"{len(block.values['energy'])} energies in one summary: a relaxation or MD run, of which "
            "only the last "
            "structure would be known; run single points",
            line=block.lines["energy"],
        )
    vectors = {
        name: _vectors(block, name, n)
        for name in ("positions", "moments", "difference", "forces", "magnetic_forces")
        if name in block.values
    }
    atoms = structure.copy()
    if "positions" in vectors:
        _check_structure(vectors["positions"], structure, block.lines["positions"], moved=index > 0)
        atoms.positions = vectors["positions"]
    elif index > 0:
        raise FrameError("several summaries, but no 'Cartesian Coordinates:' in this one")
    moments = vectors["moments"]
    _check_target(moments, vectors.get("difference"), tags, index, block)
    _check_multipliers(vectors["magnetic_forces"], block)
    free = np.flatnonzero(~_constrained(tags, n))
    if unconstrained == "zero":
        moments[free] = 0.0
    set_moments(atoms, moments)
    stress = None
    if "virial" in block.values:
        if block.values["virial"].size != 9:
            raise FrameError(f"virial of {block.values['virial'].size} numbers, expected 9", line=block.lines["virial"])
        stress = virial_to_stress(block.values["virial"], atoms.cell.volume)
    elif stresses is not None:
        stress = stresses[index]
    energy = float(block.values["energy"][0])
    if block.free_energy is not None and abs(block.free_energy - energy) > 1e-3 * n:
        logger.warning(
            "%s: energy(sigma->0) %.6f and free energy %.6f eV differ by more than 1 meV per atom; "
            "forces belong to the latter",
            source,
            energy,
            block.free_energy,
        )
    labels = Labels(
        energy=energy, forces=vectors.get("forces"), stress=stress, magnetic_forces=vectors["magnetic_forces"]
    )
    info: dict[str, Any] = (
        {"spin_orbit": tags["LSORBIT"][0].strip(".").upper().startswith("T")} if "LSORBIT" in tags else {}
    )
    if "rms" in block.values and block.values["rms"].size == 1:
        info["constraint_rms"] = float(block.values["rms"][0])
    return Frame(atoms, labels, source=source, index=index, info=info)


def _vectors(block: Block, name: str, n: int) -> Array:
    values = block.values[name]
    if values.size != 3 * n:
        raise FrameError(
            f"{values.size} numbers for {name.replace('_', ' ')}, but POSCAR has {n} atoms (3 x {n} "
            "numbers); the file is "
            "truncated, or POSCAR belongs to another run",
            line=block.lines[name],
        )
    return values.reshape(n, 3).copy()


def _check_structure(positions: Array, structure: Atoms, line: int, *, moved: bool) -> None:
    """The first summary must have the positions of POSCAR, up to lattice vectors."""
    distance = find_mic(positions - structure.positions, structure.cell)[1]
    if not moved and distance.max() > _TOLERANCE:
        atom = int(np.argmax(distance))
        raise FrameError(
            f"atom {atom} is {distance[atom]:.4f} Å from its place in POSCAR; the two do not belong together",
            line=line,
        )


def _check_target(
    moments: Array, difference: Array | None, tags: dict[str, list[str]], index: int, block: Block
) -> None:
    """Reached minus target must be the printed difference: INCAR belongs to this output."""
    target = incar_vectors(tags, "M_CONSTR", len(moments))
    if difference is None or target is None or index > 0:
        return
    off = np.abs(moments - difference - target)[_constrained(tags, len(moments))]
    if off.size and off.max() > _TOLERANCE:
        raise FrameError(
            f"moments differ from M_CONSTR of INCAR by up to {off.max():.4f} µB more than the output "
            "says; the two files "
            "do not belong together",
            line=block.lines["moments"],
        )


def _check_multipliers(magnetic_forces: Array, block: Block) -> None:
    """F^m must be minus the last Lagrange multipliers printed before the summary."""
    if block.multipliers is None or block.multipliers.size != magnetic_forces.size:
        return
    off = np.abs(block.multipliers.reshape(-1, 3) + magnetic_forces).max()
    if off > 1e-5 + 1e-4 * np.abs(magnetic_forces).max():
        raise FrameError(
            f"'Magnetic Force' is not minus the final lambda of this output (off by {off:.3g} eV/µB): mixed-up runs?",
            line=block.lines["magnetic_forces"],
        )


def _constrained(tags: dict[str, list[str]], n: int) -> NDArray[np.bool_]:
    """Atoms with a constrained component, by ``CONSTRL`` (all, if INCAR does not say)."""
    flags = incar_vectors(tags, "CONSTRL", n)
    return np.ones(n, dtype=bool) if flags is None else np.asarray(flags.any(axis=1))


def _find_output(path: Path) -> Path:
    if path.is_file():
        return path
    files = {f for pattern in _OUTPUT_PATTERNS for f in path.glob(pattern) if f.is_file()}
    hits = [f for f in sorted(files) if "Magnetic Force" in f.read_text(encoding="utf-8", errors="replace")]
    hits = [f for f in hits if f.name != "OUTCAR" and any("energy" in b.values for b in parse_summaries(f))]
    if len(hits) != 1:
        found = (
            f"several outputs with a summary, name one: {', '.join(map(str, hits))}"
            if hits
            else (f"no output with a DeltaSpin summary among {', '.join(_OUTPUT_PATTERNS)}; name the file")
        )
        raise FrameError(found, source=path)
    return hits[0]


def _read_structure(poscar: Path) -> Atoms:
    if not poscar.is_file():
        raise FileNotFoundError(2, "No such file (species and cell come from POSCAR)", str(poscar))
    try:
        atoms = read_vasp(poscar)
    except Exception as problem:  # ASE raises RuntimeError, ParseError, IndexError, ...
        raise FrameError(f"cannot be read as POSCAR: {problem}", source=poscar) from None
    atoms.set_constraint()
    return atoms


def _stresses(outcar: Path, count: int) -> Array | None:
    """Stresses of OUTCAR if there is one per summary."""
    if not outcar.is_file():
        return None
    values = outcar_stresses(outcar)
    if len(values) == 0:
        return None
    if len(values) != count:
        raise FrameError(
            f"{len(values)} ionic steps with a stress, but {count} summaries; do they belong together?",
            source=outcar,
        )
    return values
