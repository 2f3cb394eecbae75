"""Extended XYZ: one text file (.gz: compressed), parsed and headed by ASE, checked line by line here.

Default columns: ``initial_magmoms`` (µB), ``REF_forces`` (eV/Å), ``REF_magnetic_forces`` (eV/µB); default
entries of the comment line: ``REF_energy`` (eV), ``REF_stress`` (eV/Å³). Other habits are recognised or can
be named.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict, read_xyz, write_xyz

from deepspin_ase.data.frames import Frame, FrameError, Labels, virial_to_stress
from deepspin_ase.data.text_file import read_text, write_text
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import ENERGY, FORCES, LABEL_PREFIX, MAGNETIC_FORCES, STRESS

MOMENTS: Final = "moments"
VIRIAL: Final = "virial"

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    MOMENTS: (
        *("initial_magmoms", "REF_magmoms", "REF_magmom", "magmoms", "magmom", "dft_magmoms", "dft_magmom"),
        *("REF_spin", "spins", "spin"),
    ),
    ENERGY: ("REF_energy", "energy", "dft_energy", "DFT_energy", "free_energy"),
    FORCES: ("REF_forces", "forces", "dft_forces", "DFT_forces", "REF_force", "force"),
    STRESS: ("REF_stress", "stress", "dft_stress", "DFT_stress"),
    VIRIAL: ("REF_virial", "REF_virials", "virial", "virials", "dft_virial", "DFT_virial"),
    MAGNETIC_FORCES: (
        *("REF_magnetic_forces", "magnetic_forces", "dft_magnetic_forces", "REF_magforces", "magforces"),
        *("dft_magforces", "REF_mag_forces", "mag_forces", "force_mag", "REF_magforce", "magforce", "mforce"),
    ),
}
"""Names looked for, in this order, when the caller names none. The first one that a frame has is taken."""


def read(
    path: Path,
    *,
    moments_key: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    magnetic_forces_key: str | None = None,
) -> list[Frame]:
    """Read extended XYZ.

    Parameters
    ----------
    path
        File.
    moments_key, energy_key, forces_key, stress_key, virial_key, magnetic_forces_key
        Names of columns or comment entries, if not one of :data:`ALIASES`. A name given must occur in the
        file.

    Raises
    ------
    FrameError
        With frame and line.
    """
    given = {
        MOMENTS: moments_key,
        ENERGY: energy_key,
        FORCES: forces_key,
        STRESS: stress_key,
        VIRIAL: virial_key,
        MAGNETIC_FORCES: magnetic_forces_key,
    }
    chosen = {name: key for name, key in given.items() if key is not None}
    found: set[str] = set()
    frames = []
    for index, line, block in iterate_blocks(path):
        atoms = parse_block(path, index, line, block)
        values = named_values(atoms)
        found.update(name for name, key in chosen.items() if key in values)
        try:
            frames.append(_frame(atoms, values, chosen, str(path), index))
        except FrameError as problem:
            raise FrameError(problem.message, source=path, frame=index, line=line) from None
    lost = sorted(set(chosen) - found)
    if lost and frames:
        listed = ", ".join(sorted(named_values(parse_block(path, 0, 1, next(iterate_blocks(path))[2])))) or "nothing"
        raise FrameError(
            f"no frame has {', '.join(f'{chosen[n]!r} (for {n})' for n in lost)}; the first one has: {listed}",
            source=path,
        )
    return frames


def write(path: Path, frames: Sequence[Frame], *, append: bool = False, prefix: str = LABEL_PREFIX) -> None:
    """Write extended XYZ; numbers are written so that they come back exactly.

    Parameters
    ----------
    path
        File.
    frames
        Frames.
    append
        Add to an existing file.
    prefix
        Put before the names of labels. Without one, ASE's reader moves energy and forces into a calculator.
    """
    text = "".join(_text(frame, prefix) for frame in frames)
    write_text(path, text, append=append)


def _text(frame: Frame, prefix: str) -> str:
    atoms = frame.atoms.copy()
    atoms.info.update(frame.info)
    columns = {}
    for name, value in frame.labels.as_dict().items():
        if name in (FORCES, MAGNETIC_FORCES):
            columns[prefix + name] = value
        else:
            atoms.info[prefix + name] = value
    return format_block(atoms, columns)


def format_block(atoms: Atoms, columns: Mapping[str, np.ndarray]) -> str:
    """Text of one frame: ASE writes the header, the numbers are the shortest that read back exactly.

    Parameters
    ----------
    atoms
        Structure; all of its arrays and its ``info`` are written.
    columns
        Further per-atom arrays, (n,) or (n, 3), by name.
    """
    full = atoms.copy()
    for name, values in columns.items():
        full.set_array(name, np.array(values))
    names = [name for name in full.arrays if name not in ("numbers", "positions")]
    order = ["symbols", "positions", *sorted(names, key=lambda name: name not in ("initial_magmoms",))]
    stream = io.StringIO()
    write_xyz(stream, full, columns=order, write_results=False)
    header = stream.getvalue().split("\n", 2)[:2]
    table = [list(full.symbols)]
    for name in order[1:]:
        values = full.arrays[name].reshape(len(full), -1)
        table.extend([_cell(v) for v in column] for column in values.T)
    rows = (f"{row[0]:<2} " + " ".join(f"{cell:>22}" for cell in row[1:]) for row in zip(*table, strict=True))
    return "\n".join([*header, *rows]) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "T" if value else "F"
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def iterate_blocks(path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """Frame index, number of its first line, and its lines; every line is accounted for."""
    lines = read_text(path).splitlines()
    start, index = 0, 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        where: dict[str, Any] = {"source": path, "frame": index, "line": start + 1}
        try:
            n = int(lines[start])
        except ValueError:
            raise FrameError(
                f"expected a number of atoms, found {lines[start][:60]!r}; does the count of the frame before fit?",
                **where,
            ) from None
        if n < 1:
            raise FrameError(f"the number of atoms is {n}", **where)
        block = lines[start : start + n + 2]
        if len(block) < n + 2:
            raise FrameError(f"the file ends after {max(len(block) - 2, 0)} of {n} atoms; it is truncated", **where)
        _check_rows(path, index, start, block)
        yield index, start + 1, block
        start, index = start + n + 2, index + 1


def _check_rows(path: Path, index: int, start: int, block: list[str]) -> None:
    """Every row must have as many columns as ``Properties`` says; ASE would ignore superfluous ones."""
    try:
        properties = str(key_val_str_to_dict(block[1]).get("Properties", "species:S:1:pos:R:3")).split(":")
        width = sum(int(count) for count in properties[2::3])
    except ValueError as problem:
        raise FrameError(
            f"the comment line cannot be read: {problem}", source=path, frame=index, line=start + 2
        ) from None
    for offset, row in enumerate(block[2:], start=3):
        if len(row.split()) != width:
            raise FrameError(
                f"{len(row.split())} columns, but Properties announces {width}",
                source=path,
                frame=index,
                line=start + offset,
            )


def parse_block(path: Path, index: int, line: int, block: list[str]) -> Atoms:
    """Structure of one block of :func:`iterate_blocks`; what ASE raises becomes a FrameError."""
    try:
        return next(read_xyz(io.StringIO("\n".join(block) + "\n"), 0))
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as problem:
        raise FrameError(
            f"cannot be read: {type(problem).__name__}: {problem}",
            source=path,
            frame=index,
            line=_bad_line(block, line),
        ) from None


def _bad_line(block: list[str], line: int) -> int:
    """The line with something that is neither a number nor the first column, or the line of the comment."""
    for offset, row in enumerate(block[2:], start=2):
        for cell in row.split()[1:]:
            try:
                float(cell)
            except ValueError:
                return line + offset
    return line + 1


def named_values(atoms: Atoms) -> dict[str, Any]:
    """All named values of a frame, wherever ASE has put them."""
    values: dict[str, Any] = {**atoms.info, **atoms.arrays}
    if atoms.calc is not None:
        values.update(atoms.calc.results)
    return {name: v for name, v in values.items() if name not in ("numbers", "positions")}


def _frame(atoms: Atoms, values: dict[str, Any], chosen: Mapping[str, str], source: str, index: int) -> Frame:
    picked = {}
    for name, aliases in ALIASES.items():
        keys = (chosen[name],) if name in chosen else aliases
        picked[name] = next((key for key in keys if key in values), None)
    value = {name: values[key] for name, key in picked.items() if key is not None}

    plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    used = {key for key in picked.values() if key is not None} | {"initial_magmoms"}
    for name, array in atoms.arrays.items():
        if name not in used and name not in ("numbers", "positions"):
            plain.set_array(name, array)
    if MOMENTS in value:
        try:
            set_moments(plain, value[MOMENTS])
            set_moments(plain, get_moments(plain))
        except ValueError as problem:
            raise FrameError(f"{picked[MOMENTS]!r}: {problem}") from None
    labels = Labels(
        energy=_number(value.get(ENERGY), picked[ENERGY]),
        forces=value.get(FORCES),
        stress=_stress(value, atoms),
        magnetic_forces=value.get(MAGNETIC_FORCES),
    )
    info = {k: v.item() if isinstance(v, np.generic) else v for k, v in atoms.info.items() if k not in used}
    return Frame(plain, labels, source=source, index=index, info=info)


def _number(value: Any, key: str | None) -> float | None:
    if value is None:
        return None
    if np.ndim(value) != 0 or isinstance(value, (str, bool, np.bool_)):
        raise FrameError(f"{key!r} must be one number (eV), got {value!r}")
    return float(value)


def _stress(value: Mapping[str, Any], atoms: Atoms) -> Any:
    """The stress, or the one that a virial means."""
    if STRESS in value:
        return value[STRESS]
    if VIRIAL not in value:
        return None
    virial = np.asarray(value[VIRIAL], dtype=float)
    if virial.size != 9:
        raise FrameError(f"a virial must have 9 components, got shape {virial.shape}")
    if atoms.cell.rank < 3:
        raise FrameError("a virial needs a cell in three directions")
    return None if np.isnan(virial).all() else virial_to_stress(virial, atoms.cell.volume)
