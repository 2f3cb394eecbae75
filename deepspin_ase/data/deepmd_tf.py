"""DeePMD-kit's TensorFlow layout: spins as pseudo atoms, R_p = R + (virtual_len / spin_norm) m.

Rows: N real atoms, then one pseudo atom for every atom of a magnetic species, in the same order.
``type.raw`` gives the pseudo atoms types of their own: (number of real types) + (rank of the species among
the magnetic ones). Their force rows are magnetic forces in eV/µB already; nothing is scaled.

==============  =====================================================
symbol          variable
==============  =====================================================
virtual_len     ``virtual_length`` (Å), deepmd ``spin: virtual_len``
spin_norm       ``spin_norm`` (µB), deepmd ``spin: spin_norm``
==============  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
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
from deepspin_ase.data.deepmd_npy import complete_magnetic_forces
from deepspin_ase.data.frames import Frame, FrameError, Labels, stress_to_virial, virial_to_stress
from deepspin_ase.errors import InputError
from deepspin_ase.moments import set_moments

Spin = Mapping[str, tuple[float, float]]


def read(path: Path, *, spin: Spin, species: Sequence[str] | None = None) -> list[Frame]:
    """Read one system directory, or all systems below a directory.

    Parameters
    ----------
    path
        Directory with ``type.raw``, or above such directories.
    spin
        ``{"Ni": (virtual_len, spin_norm)}`` in Å and µB, as in the ``spin`` section of the deepmd input, for
        every magnetic species.
    species
        Chemical symbols of the real types; default ``type_map.raw``.

    Raises
    ------
    FrameError
        Missing or inconsistent files; pseudo atoms that do not match the magnetic atoms.
    """
    systems = find_systems(path)
    if not systems:
        raise FrameError("no type.raw here or in any directory below", source=path)
    return [frame for system in systems for frame in _read_system(system, spin, species)]


def _read_system(system: Path, spin: Spin, species: Sequence[str] | None) -> list[Frame]:
    types = read_types(system)
    names = read_type_map(system, species)
    if names is None:
        raise FrameError(
            "there is no type_map.raw; give species=, the chemical symbols of the real types", source=system
        )
    _check_spin(spin, names, system)
    real_names = names[: len(names) - len(spin)] if _names_pseudo_types(names, spin) else names
    check_elements(real_names, system)
    owner, scale = _match(types, real_names, spin, system)
    n_real = int((types < len(real_names)).sum())
    symbols = [real_names[t] for t in types[:n_real]]
    periodic = not (system / "nopbc").is_file()
    frames: list[Frame] = []
    for directory in find_sets(system):
        rows = len(types)
        coord = load_array(directory, "coord", (rows, 3), required=True)
        assert coord is not None
        count = len(coord)
        box = load_array(directory, "box", (3, 3), count, required=periodic)
        energy = load_array(directory, "energy", (), count)
        force = load_array(directory, "force", (rows, 3), count)
        virial = load_array(directory, "virial", (3, 3), count)
        for k in range(count):
            atoms = Atoms(symbols, positions=coord[k, :n_real], pbc=periodic)
            if box is not None:
                atoms.cell[:] = box[k]
            arrow = coord[k, n_real:] - coord[k, owner]
            if periodic and len(arrow):
                arrow = find_mic(arrow, atoms.cell)[0]  # pseudo atoms may have been wrapped on their own
            moments = np.zeros((n_real, 3))
            moments[owner] = arrow * scale[:, None]
            set_moments(atoms, moments)
            magnetic = None
            if force is not None:
                magnetic = np.zeros((n_real, 3))
                magnetic[owner] = force[k, n_real:]
            try:
                labels = Labels(
                    energy=None if energy is None else energy[k],
                    forces=None if force is None else force[k, :n_real],
                    stress=None if virial is None else virial_to_stress(virial[k], atoms.cell.volume),
                    magnetic_forces=magnetic,
                )
                frames.append(Frame(atoms, labels, source=str(system), index=len(frames)))
            except FrameError as problem:
                raise FrameError(problem.message, source=directory, frame=k) from None
    return frames


def _names_pseudo_types(names: Sequence[str], spin: Spin) -> bool:
    """Whether the last names of the type map belong to pseudo atoms, such as ``Ni_spin``."""
    last = names[len(names) - len(spin) :]
    return len(names) > len(spin) and all(name.split("_")[0] in spin and "_" in name for name in last)


def _check_spin(spin: Spin, names: Sequence[str], source: Path | None) -> None:
    if not spin:
        raise InputError('spin must name a magnetic species, for instance {"Ni": (0.4, 1.2737)}')
    for symbol, pair in spin.items():
        if symbol not in names:
            raise FrameError(f"spin names {symbol!r}, but the types are {list(names)}", source=source)
        if len(pair) != 2 or min(pair) <= 0:
            raise InputError(f"spin[{symbol!r}] must be (virtual_len in Å, spin_norm in µB), both > 0; got {pair}")


def _match(
    types: NDArray[np.int64], names: Sequence[str], spin: Spin, system: Path
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Real atom that each pseudo atom belongs to, and µB per Å of its arrow."""
    real, pseudo = types[types < len(names)], types[types >= len(names)]
    if not np.array_equal(types, np.concatenate([real, pseudo])):
        raise FrameError("real atoms must come first, pseudo atoms last", source=system / "type.raw")
    magnetic = [name for name in names if name in spin]
    if len(pseudo) and pseudo.max() >= len(names) + len(magnetic):
        raise FrameError(
            f"type {pseudo.max()} is neither one of {list(names)} nor a pseudo type of {magnetic}",
            source=system / "type.raw",
        )
    owner = np.empty(len(pseudo), dtype=np.int64)
    scale = np.empty(len(pseudo))
    for rank, name in enumerate(magnetic):
        rows = np.flatnonzero(pseudo == len(names) + rank)
        atoms = np.flatnonzero(real == list(names).index(name))
        if len(rows) != len(atoms):
            raise FrameError(
                f"{len(atoms)} {name} atoms, but {len(rows)} pseudo atoms of type {len(names) + rank}; "
                "the type of a "
                "pseudo atom is the number of real types + rank among the magnetic species",
                source=system / "type.raw",
            )
        owner[rows] = atoms
        scale[rows] = spin[name][1] / spin[name][0]
    return owner, scale


def write(
    path: Path,
    frames: Sequence[Frame],
    *,
    spin: Spin,
    species: Sequence[str] | None = None,
    set_size: int = 5000,
    overwrite: bool = False,
) -> None:
    """Write frames of one or several compositions; atoms are sorted by species, as this layout demands.

    Parameters
    ----------
    path
        Directory: the system itself, or the one above ``system.000``, ... if several are needed.
    frames
        Frames. Forces and magnetic forces go to one file, so a frame needs both or neither.
    spin
        ``{"Ni": (virtual_len, spin_norm)}`` in Å and µB for every magnetic species.
    species
        Order of the types; default: as they come up.
    set_size
        Frames per ``set.*`` directory.
    overwrite
        Replace systems that are there already; without it that is an error.

    Raises
    ------
    FrameError
        A moment on a species that is not in ``spin``, or only one of the two kinds of forces.
    """
    names = list(species) if species is not None else list(dict.fromkeys(s for f in frames for s in f.atoms.symbols))
    _check_spin(spin, names, None)
    groups: dict[tuple, list[tuple[Frame, NDArray[np.int64]]]] = {}
    for frame in frames:
        order = _check_frame(frame, names, spin)
        periodic = check_periodic(frame.atoms.pbc, frame.where())
        key = (tuple(np.array(frame.atoms.symbols)[order]), periodic, frame.labels.available)
        groups.setdefault(key, []).append((frame, order))
    magnetic = [name for name in names if name in spin]
    prepare_directory(path, overwrite=overwrite)
    for number, ((symbols, periodic, _), members) in enumerate(groups.items()):
        system = path if len(groups) == 1 else path / f"system.{number:03d}"
        carriers = np.concatenate([np.flatnonzero(np.array(symbols) == m) for m in magnetic]).astype(np.int64)
        length = np.array([spin[symbols[i]][0] / spin[symbols[i]][1] for i in carriers])[:, None]
        arrays: dict[str, list] = {"coord": []}
        for frame, order in members:
            positions, labels = frame.atoms.positions[order], frame.labels
            pseudo = positions[carriers] + frame.moments[order][carriers] * length
            arrays["coord"].append(np.concatenate([positions, pseudo]).ravel())
            if periodic:
                arrays.setdefault("box", []).append(frame.atoms.cell.array.ravel())
            if labels.energy is not None:
                arrays.setdefault("energy", []).append([labels.energy])
            if labels.forces is not None:
                rows = [labels.forces[order], complete_magnetic_forces(frame)[order][carriers]]
                arrays.setdefault("force", []).append(np.concatenate(rows).ravel())
            if labels.stress is not None:
                arrays.setdefault("virial", []).append(stress_to_virial(labels.stress, frame.atoms.cell.volume).ravel())
        types = [names.index(s) for s in symbols] + [len(names) + magnetic.index(symbols[i]) for i in carriers]
        stacked = {name: np.array(rows) for name, rows in arrays.items()}
        write_system(system, types, names, stacked, periodic=periodic, set_size=set_size)


def _check_frame(frame: Frame, names: Sequence[str], spin: Spin) -> NDArray[np.int64]:
    """Order of the atoms that sorts them by type, after making sure that nothing would be lost."""
    symbols = list(frame.atoms.symbols)
    lost = sorted(set(symbols) - set(names))
    if lost:
        raise FrameError(f"{lost} not in species {list(names)}", **frame.where())
    silent = sorted({s for s, m in zip(symbols, frame.moments, strict=True) if m.any() and s not in spin})
    if silent:
        raise FrameError(
            f"{silent} carry moments but are not in spin, which has {sorted(spin)}; their moments would be lost",
            **frame.where(),
        )
    if (frame.labels.forces is None) != (frame.labels.magnetic_forces is None):
        raise FrameError(
            "forces and magnetic forces share one file in this layout: a frame needs both or neither",
            **frame.where(),
        )
    return np.argsort([names.index(s) for s in symbols], kind="stable")
