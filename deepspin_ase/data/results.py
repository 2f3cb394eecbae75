"""Results of calculators on disk, with nothing lost: ASE's own writers drop ``magnetic_forces``.

``write_results`` / ``read_results`` are a pair: extended XYZ (text) or ASE's ``.traj``. Other programs see
ordinary files of the two kinds; the magnetic forces are a column (extxyz), or in ``atoms.info`` (traj).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory, TrajectoryWriter

from deepspin_ase.data.extxyz import format_block, iterate_blocks, named_values, parse_block
from deepspin_ase.data.frames import FrameError
from deepspin_ase.errors import InputError
from deepspin_ase.magnetic_calculator import MagneticCalculator
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import (
    ALL_PROPERTIES,
    ENERGIES,
    ENERGY,
    FORCES,
    FREE_ENERGY,
    MAGMOMS,
    MAGNETIC_FORCES,
    MAGNETIC_TORQUES,
    STRESS,
)

_PER_ATOM: Final[tuple[str, ...]] = (ENERGIES, FORCES, MAGMOMS, MAGNETIC_FORCES, MAGNETIC_TORQUES)
_STORED: Final[tuple[str, ...]] = (ENERGY, FREE_ENERGY, ENERGIES, FORCES, STRESS, MAGMOMS, MAGNETIC_FORCES)
_TRAJ_EXTRA: Final = "magnetic_forces"
_EXTXYZ_SUFFIXES: Final = (".xyz", ".extxyz")


class StoredResults(SinglePointCalculator, MagneticCalculator):
    """Calculator that returns results computed earlier, magnetic forces and torques included.

    Parameters
    ----------
    atoms
        Structure that the results belong to. If it (or a moment) changes later, asking for a result raises.
    **results
        Any of ``deepspin_ase.quantities.ALL_PROPERTIES``; None is skipped. Torques follow from the magnetic
        forces, ``free_energy`` from ``energy``, ``magmoms`` from the structure.

    Raises
    ------
    InputError
        An unknown name, or a per-atom result of another length.
    """

    name = "stored"

    def __init__(self, atoms: Atoms, **results: Any) -> None:
        super().__init__(atoms)
        self.implemented_properties = []
        n = len(atoms)
        for name, value in results.items():
            if name not in ALL_PROPERTIES:
                raise InputError(f"unknown property {name!r}; allowed: {', '.join(ALL_PROPERTIES)}")
            if value is None:
                continue
            array = np.array(value, dtype=float)
            if name in _PER_ATOM and len(array) != n:
                raise InputError(f"{name} has {len(array)} entries, the structure has {n} atoms")
            self.results[name] = float(array) if array.ndim == 0 else array
        if ENERGY in self.results:
            self.results.setdefault(FREE_ENERGY, self.results[ENERGY])
        if MAGNETIC_FORCES in self.results:
            torques = np.cross(get_moments(atoms), self.results[MAGNETIC_FORCES])
            self.results.setdefault(MAGNETIC_TORQUES, torques)
        if atoms.has("initial_magmoms"):
            self.results.setdefault(MAGMOMS, atoms.get_initial_magnetic_moments())
        self.implemented_properties = list(self.results)


def write_results(
    path: str | Path, images: Atoms | Sequence[Atoms], *, append: bool = False, calculate: bool = False
) -> None:
    """Write structures with the results of their calculators.

    Parameters
    ----------
    path
        ``.extxyz`` / ``.xyz``, or ``.traj``.
    images
        Structure(s). Only results that are up to date are written.
    append
        Add to a file instead of replacing it.
    calculate
        Compute energy, forces and magnetic forces first where they are missing.

    Raises
    ------
    InputError
        Another ending; an empty list.
    """
    frames = [images] if isinstance(images, Atoms) else list(images)
    if not frames:
        raise InputError(f"there are no structures to write to {path}")
    with _open_sink(Path(path), append) as sink:
        for atoms in frames:
            sink.write(atoms, collect_results(atoms, calculate=calculate))


def read_results(path: str | Path) -> list[Atoms]:
    """Read structures with results; the inverse of :func:`write_results`.

    Parameters
    ----------
    path
        ``.extxyz`` / ``.xyz``, or ``.traj``; files of other programs are fine.

    Returns
    -------
    list of Atoms
        Where a file has results, ``atoms.calc`` returns all of them:
        ``atoms.calc.get_property("magnetic_forces", atoms)``. Moments have the shape that they had, (n,) or
        (n, 3).

    Raises
    ------
    FrameError
        A damaged file.
    InputError
        Another ending.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if _kind(path) == "extxyz":
        images = [_from_extxyz(path, index, line, block) for index, line, block in iterate_blocks(path)]
    else:
        images = _read_traj(path)
    return images


class ResultsWriter:
    """Observer for ASE dynamics and optimizers: writes a frame with all results whenever it is called.

    Every frame is on disk when the call returns, so a run that is interrupted or killed leaves a readable
    file.

    Parameters
    ----------
    path
        ``.extxyz`` / ``.xyz``, or ``.traj``.
    atoms
        Structure of the run; its calculator's results are written if they are up to date.
    append
        Add to a file instead of replacing it.

    Examples
    --------
    >>> writer = ResultsWriter("run.extxyz", atoms)  # doctest: +SKIP
    >>> dyn.attach(writer, interval=10)  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, atoms: Atoms, *, append: bool = False) -> None:
        self.atoms = atoms
        self._sink = _open_sink(Path(path), append)

    def __call__(self) -> None:
        """Write one frame."""
        self._sink.write(self.atoms, collect_results(self.atoms))

    def close(self) -> None:
        """Close the file; also done at the end of a ``with`` block."""
        self._sink.close()

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def collect_results(atoms: Atoms, *, calculate: bool = False) -> dict[str, Any]:
    """Results of a structure's calculator that belong to its present state.

    Parameters
    ----------
    atoms
        Structure.
    calculate
        Ask for energy, forces and magnetic forces first.
    """
    calc = atoms.calc
    if calc is None:
        return {}
    if calculate:
        for name in (ENERGY, FORCES, MAGNETIC_FORCES):
            if name in calc.implemented_properties:
                calc.get_property(name, atoms)
    found = {}
    for name in _STORED:
        if name not in getattr(calc, "results", {}):
            continue  # some calculators warn or fail when asked for what they never had
        try:
            value = calc.get_property(name, atoms, allow_calculation=False)
        except (PropertyNotImplementedError, KeyError):
            value = None
        if value is not None:
            found[name] = value
    return found


class _ExtxyzSink:
    def __init__(self, path: Path, append: bool) -> None:
        self._stream: IO[str] = path.open("a" if append else "w", encoding="utf-8")

    def write(self, atoms: Atoms, results: Mapping[str, Any]) -> None:
        columns, full = {}, atoms.copy()
        full.calc = None
        for name, value in results.items():
            redundant = name == FREE_ENERGY and value == results.get(ENERGY)
            redundant |= name == MAGMOMS and _equals_state(atoms, value)
            if redundant:
                continue
            if name in _PER_ATOM:
                columns[name] = np.asarray(value, dtype=float)
            elif name == STRESS:
                full.info[name] = np.asarray(value, dtype=float)[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
            else:
                full.info[name] = float(value)
        self._stream.write(format_block(full, columns))  # one write per frame: never half of one
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> _ExtxyzSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _TrajSink:
    def __init__(self, path: Path, append: bool) -> None:
        self._writer = TrajectoryWriter(str(path), "a" if append and path.exists() else "w")

    def write(self, atoms: Atoms, results: Mapping[str, Any]) -> None:
        full = atoms.copy()
        if MAGNETIC_FORCES in results:
            full.info[_TRAJ_EXTRA] = np.asarray(results[MAGNETIC_FORCES], dtype=float)
        full.calc = SinglePointCalculator(full, **{k: v for k, v in results.items() if k in all_properties})
        full.calc.name = getattr(atoms.calc, "name", None) or "unknown"
        self._writer.write(full)

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> _TrajSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_sink(path: Path, append: bool) -> _ExtxyzSink | _TrajSink:
    return _ExtxyzSink(path, append) if _kind(path) == "extxyz" else _TrajSink(path, append)


def _kind(path: Path) -> str:
    if path.suffix.lower() in _EXTXYZ_SUFFIXES:
        return "extxyz"
    if path.suffix.lower() == ".traj":
        return "traj"
    raise InputError(f"the name {path.name!r} must end in .extxyz, .xyz or .traj")


def _equals_state(atoms: Atoms, magmoms: Any) -> bool:
    return atoms.has("initial_magmoms") and np.array_equal(atoms.get_initial_magnetic_moments(), magmoms)


def _from_extxyz(path: Path, index: int, line: int, block: list[str]) -> Atoms:
    atoms = parse_block(path, index, line, block)
    values = named_values(atoms)
    results = {name: values[name] for name in _STORED if name in values}
    for name in _STORED:
        atoms.info.pop(name, None)
        if name in atoms.arrays:
            del atoms.arrays[name]
    return _attach(atoms, results, path, index)


def _read_traj(path: Path) -> list[Atoms]:
    images = []
    try:
        with Trajectory(str(path), "r") as trajectory:
            for index, atoms in enumerate(trajectory):
                results = dict(atoms.calc.results) if atoms.calc is not None else {}
                extra = atoms.info.pop(_TRAJ_EXTRA, None)
                if extra is not None:
                    results[MAGNETIC_FORCES] = extra
                images.append(_attach(atoms, {k: results[k] for k in _STORED if k in results}, path, index))
    except (OSError, ValueError, KeyError, AttributeError) as problem:
        raise FrameError(f"cannot be read as an ASE trajectory: {problem}", source=path) from None
    return images


def _attach(atoms: Atoms, results: dict[str, Any], path: Path, index: int) -> Atoms:
    if MAGMOMS in results and not atoms.has("initial_magmoms"):
        set_moments(atoms, results[MAGMOMS])  # the state must be known for torques to make sense
    atoms.calc = None
    if results:
        try:
            atoms.calc = StoredResults(atoms, **results)
        except InputError as problem:
            raise FrameError(str(problem), source=path, frame=index) from None
    return atoms
