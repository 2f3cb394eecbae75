"""DeePMD-kit's npy layout for spins: ``coord box energy force virial`` plus ``spin`` (µB) and ``force_mag``.

``force_mag`` is F^m = -∂E/∂m in eV/µB (DeePMD-kit's documentation says eV/Å, which is wrong); ``virial`` =
-V·stress.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.data.deepmd_files import (
    check_elements,
    check_periodic,
    find_sets,
    find_systems,
    load_array,
    prepare_directory,
    read_type_map,
    read_types,
    write_system,
)
from deepspin_ase.data.frames import Frame, FrameError, Labels, stress_to_virial, virial_to_stress
from deepspin_ase.moments import set_moments


def read(path: Path, *, species: Sequence[str] | None = None) -> list[Frame]:
    """Read one system directory, or all systems below a directory; mixed-type sets too.

    Parameters
    ----------
    path
        Directory with ``type.raw``, or above such directories.
    species
        Chemical symbol of every type index; default ``type_map.raw``.

    Raises
    ------
    FrameError
        Missing, truncated or inconsistent files; types without a name.
    """
    systems = find_systems(path)
    if not systems:
        raise FrameError("no type.raw here or in any directory below", source=path)
    return [frame for system in systems for frame in _read_system(system, species)]


def _read_system(system: Path, species: Sequence[str] | None) -> list[Frame]:
    types = read_types(system)
    names = read_type_map(system, species)
    if names is None:
        raise FrameError("there is no type_map.raw; give species=, one chemical symbol per type index", source=system)
    check_elements(names, system)
    periodic = not (system / "nopbc").is_file()
    frames: list[Frame] = []
    for directory in find_sets(system):
        frames.extend(_read_set(directory, types, names, periodic, len(frames)))
    return frames


def _read_set(
    directory: Path, types: NDArray[np.int64], names: Sequence[str], periodic: bool, first: int
) -> list[Frame]:
    n = len(types)
    coord = load_array(directory, "coord", (n, 3), required=True)
    assert coord is not None
    count = len(coord)
    box = load_array(directory, "box", (3, 3), count, required=periodic)
    energy = load_array(directory, "energy", (), count)
    force = load_array(directory, "force", (n, 3), count)
    virial = load_array(directory, "virial", (3, 3), count)
    spin = load_array(directory, "spin", (n, 3), count)
    force_mag = load_array(directory, "force_mag", (n, 3), count)
    mixed = load_array(directory, "real_atom_types", (n,), count)
    if force_mag is not None and spin is None:
        raise FrameError("force_mag.npy without spin.npy", source=directory)
    frames = []
    for k in range(count):
        where: dict[str, Any] = {"source": directory, "frame": k}
        kinds = types if mixed is None else np.rint(mixed[k]).astype(np.int64)
        real = kinds >= 0  # mixed-type sets may be padded with atoms of type -1
        if kinds[real].max(initial=0) >= len(names):
            raise FrameError(
                f"type {kinds.max()} has no name: the types are {list(names)}. Extra types are how the "
                "TensorFlow "
                "layout marks pseudo atoms: try format='deepmd-tf'",
                **where,
            )
        atoms = Atoms([names[t] for t in kinds[real]], positions=coord[k][real], pbc=periodic)
        if box is not None:
            atoms.cell[:] = box[k]
        if spin is not None:
            set_moments(atoms, spin[k][real])
        try:
            labels = Labels(
                energy=None if energy is None else energy[k],
                forces=None if force is None else force[k][real],
                stress=None if virial is None else virial_to_stress(virial[k], atoms.cell.volume),
                magnetic_forces=None if force_mag is None else force_mag[k][real],
            )
            frames.append(Frame(atoms, labels, source=str(directory.parent), index=first + k))
        except FrameError as problem:
            raise FrameError(problem.message, **where) from None
    return frames


def write(
    path: Path,
    frames: Sequence[Frame],
    *,
    type_map: Sequence[str] | None = None,
    set_size: int = 5000,
    overwrite: bool = False,
) -> None:
    """Write frames; those with other species, periodicity or labels go to systems of their own.

    Parameters
    ----------
    path
        Directory: the system itself, or the one above ``system.000``, ``system.001``, ... if several are
        needed.
    frames
        Frames. Magnetic forces that are missing (NaN) on atoms without moment are written as 0.
    type_map
        Chemical symbols in the order of the type indices; default: as they come up.
    set_size
        Frames per ``set.*`` directory.
    overwrite
        Replace systems that are there already; without it that is an error.

    Raises
    ------
    FrameError
        Partial periodicity, or a magnetic force missing on an atom that has a moment.
    """
    names = list(type_map) if type_map is not None else list(dict.fromkeys(s for f in frames for s in f.atoms.symbols))
    groups: dict[tuple, list[Frame]] = {}
    for frame in frames:
        lost = sorted(set(frame.atoms.symbols) - set(names))
        if lost:
            raise FrameError(f"{lost} not in type_map {names}", **frame.where())
        periodic = check_periodic(frame.atoms.pbc, frame.where())
        key = (tuple(frame.atoms.symbols), periodic, frame.labels.available)
        groups.setdefault(key, []).append(frame)
    prepare_directory(path, overwrite=overwrite)
    for number, ((symbols, periodic, _), members) in enumerate(groups.items()):
        system = path if len(groups) == 1 else path / f"system.{number:03d}"
        types = [names.index(symbol) for symbol in symbols]
        arrays = {"coord": np.stack([f.atoms.positions.ravel() for f in members])}
        if periodic or members[0].atoms.cell.rank == 3:
            arrays["box"] = np.stack([f.atoms.cell.array.ravel() for f in members])
        arrays["spin"] = np.stack([f.moments.ravel() for f in members])
        arrays.update(_label_arrays(members))
        write_system(system, types, names, arrays, periodic=periodic, set_size=set_size)


def _label_arrays(members: Sequence[Frame]) -> dict[str, NDArray]:
    """Arrays of the labels that the frames of a group have."""
    arrays = {}
    available = members[0].labels.available
    if "energy" in available:
        arrays["energy"] = np.array([[f.labels.energy] for f in members], dtype=float)
    if "forces" in available:
        arrays["force"] = np.stack([f.labels.as_dict()["forces"].ravel() for f in members])
    if "stress" in available:
        virials = [stress_to_virial(f.labels.as_dict()["stress"], f.atoms.cell.volume) for f in members]
        arrays["virial"] = np.stack([v.ravel() for v in virials])
    if "magnetic_forces" in available:
        arrays["force_mag"] = np.stack([complete_magnetic_forces(f).ravel() for f in members])
    return arrays


def complete_magnetic_forces(frame: Frame) -> NDArray[np.float64]:
    """Magnetic forces (n, 3) with 0 in place of NaN on atoms without moment.

    Raises
    ------
    FrameError
        If the label is missing on an atom with a moment.
    """
    values = np.array(frame.labels.magnetic_forces)
    missing = np.isnan(values).any(axis=1)
    bad = missing & (np.linalg.norm(frame.moments, axis=1) > 0)
    if bad.any():
        raise FrameError(
            f"atom {int(np.argmax(bad))} has a moment but no magnetic force; this format cannot mark a "
            "label as missing",
            **frame.where(),
        )
    values[missing] = 0.0
    return values
