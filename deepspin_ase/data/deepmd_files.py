"""What the two DeePMD-kit layouts share: system directories, type files, checked ``set.*/*.npy`` arrays."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from deepspin_ase.data.frames import FrameError
from deepspin_ase.errors import InputError

Array = NDArray[np.float64]


def find_systems(path: Path) -> list[Path]:
    """System directories (those with a ``type.raw``): the path itself, or all below it, sorted."""
    if (path / "type.raw").is_file():
        return [path]
    return sorted(file.parent for file in path.rglob("type.raw"))


def find_sets(system: Path) -> list[Path]:
    """The ``set.*`` directories of a system, sorted; at least one."""
    sets = sorted(d for d in system.glob("set.*") if d.is_dir())
    if not sets:
        raw = (
            " (raw text files are not read; make sets with `raw_to_set.sh`)" if (system / "coord.raw").is_file() else ""
        )
        raise FrameError(f"no set.* directory next to type.raw{raw}", source=system)
    return sets


def read_types(system: Path) -> NDArray[np.int64]:
    """Type indices of ``type.raw``."""
    file = system / "type.raw"
    try:
        types = np.array(file.read_text(encoding="utf-8").split(), dtype=np.int64)
    except ValueError as problem:
        raise FrameError(f"must hold integers only: {problem}", source=file) from None
    if len(types) == 0 or types.min() < 0:
        raise FrameError("must hold one type index >= 0 per atom", source=file)
    return types


def read_type_map(system: Path, species: Sequence[str] | None) -> list[str] | None:
    """Names of the types: the caller's ``species``, else ``type_map.raw``, else None."""
    file = system / "type_map.raw"
    names = list(species) if species is not None else None
    if names is None and file.is_file():
        names = file.read_text(encoding="utf-8").split()
    return names


def check_elements(names: Sequence[str], system: Path) -> None:
    """Type names must be chemical symbols."""
    wrong = [name for name in names if name not in atomic_numbers]
    if wrong:
        raise FrameError(f"types {wrong} are no chemical symbols; give species=, one symbol per type", source=system)


def looks_like_pseudo_atoms(system: Path) -> bool:
    """Whether a system has the TensorFlow layout: no spin.npy, and types beyond the named ones."""
    sets = sorted(system.glob("set.*"))
    if not sets or any((s / "spin.npy").is_file() for s in sets):
        return False
    types, names = read_types(system), read_type_map(system, None)
    return bool(types.max() >= len(names)) if names is not None else bool(types.max() > 0)


def load_array(
    directory: Path, name: str, shape: tuple[int, ...], frames: int | None = None, *, required: bool = False
) -> Array | None:
    """One ``name.npy`` of a set as float64 of shape (frames, *shape).

    Parameters
    ----------
    directory
        ``set.*`` directory.
    name
        Name of the file without ending.
    shape
        Shape of one frame's entry.
    frames
        Number of frames expected; any if None.
    required
        Raise instead of returning None if there is no such file.

    Raises
    ------
    FrameError
        Unreadable file, or a number of values that does not fit.
    """
    file = directory / f"{name}.npy"
    if not file.is_file():
        if required:
            raise FrameError(f"{name}.npy is missing", source=directory)
        return None
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as problem:
        raise FrameError(f"cannot be read, is it truncated? {problem}", source=file) from None
    if array.dtype.kind not in "fiu":
        raise FrameError(f"holds {array.dtype}, expected numbers", source=file)
    width = int(np.prod(shape, dtype=int))
    count = len(array) if array.ndim else 0
    if count == 0 or array.size != count * width:
        raise FrameError(
            f"has shape {array.shape}; expected (frames, {width}), which is what type.raw implies",
            source=file,
        )
    if frames is not None and count != frames:
        raise FrameError(f"has {count} frames, but coord.npy has {frames}", source=file)
    return np.asarray(array, dtype=np.float64).reshape(count, *shape)


def prepare_directory(path: Path, *, overwrite: bool) -> None:
    """Make sure that no old system is left among the new ones.

    Raises
    ------
    InputError
        If there are systems already and ``overwrite`` is false.
    """
    old = find_systems(path) if path.is_dir() else []
    if old and not overwrite:
        raise InputError(f"{path} already holds {len(old)} deepmd system(s), e.g. {old[0]}; give overwrite=True")
    for system in old:
        for entry in system.iterdir():
            if entry.is_dir() and re.fullmatch(r"set\.\d+", entry.name):
                shutil.rmtree(entry)
            elif entry.name in ("type.raw", "type_map.raw", "nopbc"):
                entry.unlink()


def write_system(
    system: Path,
    types: Sequence[int],
    type_map: Sequence[str],
    arrays: Mapping[str, NDArray],
    *,
    periodic: bool,
    set_size: int,
) -> None:
    """Write one system directory.

    Parameters
    ----------
    system
        Directory.
    types, type_map
        Type index per row, and the names.
    arrays
        Name of the file -> (frames, width).
    periodic
        False writes the ``nopbc`` marker.
    set_size
        Frames per ``set.*``.
    """
    if set_size < 1:
        raise InputError(f"set_size must be at least 1, got {set_size}")
    system.mkdir(parents=True, exist_ok=True)
    (system / "type.raw").write_text("".join(f"{t}\n" for t in types), encoding="utf-8")
    (system / "type_map.raw").write_text("".join(f"{name}\n" for name in type_map), encoding="utf-8")
    if not periodic:
        (system / "nopbc").touch()
    count = len(next(iter(arrays.values())))
    for number, start in enumerate(range(0, count, set_size)):
        directory = system / f"set.{number:03d}"
        directory.mkdir(exist_ok=True)
        for name, array in arrays.items():
            np.save(directory / f"{name}.npy", array[start : start + set_size])


def check_periodic(pbc: NDArray[np.bool_], where: Mapping[str, object]) -> bool:
    """DeePMD-kit knows fully periodic and isolated systems only."""
    if pbc.all() or not pbc.any():
        return bool(pbc.all())
    raise FrameError(
        f"pbc = {pbc.tolist()}: this format holds periodic (all three) or isolated (none) systems only",
        **where,  # type: ignore[arg-type]
    )
