"""Trajectories of moments in HDF5: written as a stream, readable while they grow and after a crash.

The writer uses HDF5's single-writer mode (SWMR), which orders its writes so that the file is whole at any moment:
another process can read along, and a killed run leaves every frame that had been flushed.

==============  ======================  ==========================================================
dataset         shape                   content
==============  ======================  ==========================================================
``step``        (frames,)               step number of the dynamics
``time``        (frames,)               fs
``moments``     (frames, n, 3)          µB
``energy``      (frames,)               potential energy, eV; NaN unless asked for
``positions``   (frames, n, 3)          Å; only if asked for
``cell``        (frames, 3, 3)          Å; with the positions
``reference``   group                   numbers, positions, cell, pbc of the structure at the start
==============  ======================  ==========================================================
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, overload

import h5py
import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.vectors import Array

FORMAT = "deepspin-moment-trajectory-1"
_BLOCK = 2**18  # bytes of moments that are buffered and written together
_PATIENCE = 5.0  # s; frames wait no longer than this for their block to fill
_LAYOUT = ("v110", "v110")
_COLUMNS = ("step", "time", "energy", "moments", "positions", "cell")


class Clock(Protocol):
    """What a writer needs of a dynamics object: ASE's ``MolecularDynamics`` has it."""

    nsteps: int

    def get_time(self) -> float:
        """Time in ASE units."""
        ...


class MomentTrajectoryWriter:
    """Write moments to an HDF5 file, a block at a time; attach it to a dynamics object.

    Parameters
    ----------
    path
        File.
    atoms
        Structure whose moments are written.
    dynamics
        Gives step number and time when the writer is called without them.
    mode
        "w" starts a new file, "a" continues one: frames later than the present step of ``dynamics`` are dropped, so
        that a restart from a checkpoint leaves no duplicates. A file that does not exist is started.
    positions
        Write positions and cell, too.
    energies
        Write the potential energy; the calculator must have it at hand.
    dtype
        "float32" (moments to 1e-7) or "float64".

    Raises
    ------
    InputError
        The file to be continued is no moment trajectory or belongs to another structure.

    Examples
    --------
    >>> with MomentTrajectoryWriter("run.h5", atoms, dyn) as writer:  # doctest: +SKIP
    ...     dyn.attach(writer, interval=10)
    ...     dyn.run(100_000)
    """

    def __init__(
        self,
        path: str | Path,
        atoms: Atoms,
        dynamics: Clock | None = None,
        *,
        mode: Literal["w", "a"] = "w",
        positions: bool = False,
        energies: bool = False,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        if mode not in ("w", "a"):
            raise InputError(f'mode = {mode!r}; allowed: "w" (new file), "a" (continue).')
        if len(atoms) == 0:
            raise InputError("the structure has no atoms; there is nothing to write.")
        self.path, self.atoms, self.dynamics = Path(path), atoms, dynamics
        self._energies, self._n = energies, len(atoms)
        last = None if dynamics is None else dynamics.nsteps
        if mode == "a" and self.path.exists():
            self._file = _reopen(self.path, atoms, last, positions)
        else:
            self._file = _create(self.path, atoms, positions, dtype)
        self._file.swmr_mode = True
        self._names = [name for name in _COLUMNS if name in self._file]
        self._block: int = self._file["moments"].chunks[0]
        self._written = len(self._file["step"])
        self._buffer: list[dict[str, Any]] = []
        self._flushed = clock.monotonic()

    def __len__(self) -> int:
        """Frames written so far, also those still in memory."""
        return self._written + len(self._buffer)

    def __call__(self) -> None:
        """Write the present state at the step and time of the dynamics."""
        if self.dynamics is None:
            raise InputError("the writer has no clock; give it dynamics=, or call write(step, time).")
        self.write(self.dynamics.nsteps, self.dynamics.get_time() / units.fs)

    def write(self, step: int, time: float) -> None:
        """Write the present state of the structure.

        Parameters
        ----------
        step
            Step number.
        time
            fs.
        """
        energy = float(self.atoms.get_potential_energy()) if self._energies else np.nan
        frame: dict[str, Any] = {"step": step, "time": time, "energy": energy, "moments": get_moments(self.atoms)}
        if len(self.atoms) != self._n:
            raise InputError(f"the structure now has {len(self.atoms)} atoms; the file was made for {self._n}.")
        if "positions" in self._names:
            frame |= {"positions": self.atoms.positions.copy(), "cell": self.atoms.cell.array.copy()}
        self._buffer.append(frame)
        full = len(self._buffer) >= self._block
        if full or clock.monotonic() - self._flushed > _PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Hand all frames to the operating system: a killed process no longer loses them."""
        if self._buffer:
            start = self._written
            for name in reversed(self._names):  # "step" last: its length is the number of whole frames
                dataset = self._file[name]
                dataset.resize(start + len(self._buffer), axis=0)
                dataset[start:] = np.array([frame[name] for frame in self._buffer])
                dataset.flush()
            self._written += len(self._buffer)
            self._buffer.clear()
        self._flushed = clock.monotonic()

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._file:
            self.flush()
            self._file.close()

    def __enter__(self) -> MomentTrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MomentTrajectory:
    """Read a trajectory of moments; nothing but what is asked for is loaded.

    Parameters
    ----------
    path
        File written by :class:`MomentTrajectoryWriter`, also one that is still growing or whose run was killed.

    Attributes
    ----------
    steps, times, energies
        (frames,): step number, fs, eV (NaN where none was written).
    moments, positions, cells
        Lazy HDF5 datasets: ``trajectory.moments[-100:]`` reads 100 frames. The last two are None if not written.

    Raises
    ------
    InputError
        No such file, a foreign one, or one that has lost its end.

    Examples
    --------
    >>> with MomentTrajectory("run.h5") as trajectory:  # doctest: +SKIP
    ...     last = trajectory[-1]  # an Atoms object
    ...     total = np.array([m.sum(axis=0) for m in trajectory.iter_moments()])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_for_reading(self.path)
        self._length = len(self._file["step"])
        self.steps: NDArray[np.int64] = self._file["step"][: self._length]
        self.times: Array = self._file["time"][: self._length]
        self.energies: Array = self._file["energy"][: self._length]
        self.moments = self._file["moments"]
        self.positions = self._file.get("positions")
        self.cells = self._file.get("cell")

    def __len__(self) -> int:
        return self._length

    @property
    def reference(self) -> Atoms:
        """Structure at the start of the run, without moments."""
        group = self._file["reference"]
        return Atoms(**{name: group[name][()] for name in ("numbers", "positions", "cell", "pbc")})

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        """One frame as a structure with moments; of a slice, a list."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        k = index % len(self)
        atoms = self.reference
        if self.positions is not None and self.cells is not None:
            atoms.set_cell(self.cells[k].astype(float))
            atoms.positions = self.positions[k].astype(float)
        set_moments(atoms, self.moments[k].astype(float))
        atoms.info.update(step=int(self.steps[k]), time_fs=float(self.times[k]))
        if np.isfinite(self.energies[k]):
            atoms.info["potential_energy"] = float(self.energies[k])
        return atoms

    def __iter__(self) -> Iterator[Atoms]:
        return (self[k] for k in range(len(self)))

    def iter_moments(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Array]:
        """Moments (n, 3), µB, frame by frame; a block at a time is in memory."""
        first, last, stride = slice(start, stop, step).indices(len(self))
        if stride < 1:
            raise InputError(f"step = {step}; allowed: 1 or more.")
        block = max(1, self.moments.chunks[0] // stride) * stride
        for begin in range(first, last, block):
            yield from self.moments[begin : min(begin + block, last) : stride].astype(float)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> MomentTrajectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_for_reading(path: Path) -> h5py.File:
    """Open a trajectory, whether it was closed properly, is being written, or its writer was killed."""
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path} is no HDF5 file; give one written by MomentTrajectoryWriter.")
    try:
        file = h5py.File(path, "r")
    except OSError as problem:
        if "truncated" in str(problem):
            raise InputError(f"{path} has lost its end (an incomplete copy?): {problem}") from problem
        try:
            file = h5py.File(path, "r", swmr=True)
        except OSError as unreadable:
            raise InputError(f"{path} cannot be read: {unreadable}") from unreadable
    if file.attrs.get("format") != FORMAT:
        file.close()
        raise InputError(f"{path} is no moment trajectory ({FORMAT}).")
    frames, columns = len(file["step"]), [file[name] for name in _COLUMNS if name in file]
    per_frame = sum(data.dtype.itemsize * int(np.prod(data.shape[1:])) for data in columns)
    if path.stat().st_size < frames * per_frame:  # HDF5 itself may wait forever for the missing part
        file.close()
        raise InputError(f"{path} has lost its end: it is shorter than its {frames} frames (an incomplete copy?).")
    return file


def _create(path: Path, atoms: Atoms, positions: bool, dtype: str) -> h5py.File:
    if dtype not in ("float32", "float64"):
        raise InputError(f'dtype = {dtype!r}; allowed: "float32", "float64".')
    n = len(atoms)
    frames = int(np.clip(_BLOCK // (3 * n * np.dtype(dtype).itemsize), 1, 1024))
    file = h5py.File(path, "w", libver=_LAYOUT)
    file.attrs["format"] = FORMAT
    for name, array in (
        ("numbers", atoms.numbers),
        ("positions", atoms.positions),
        ("cell", atoms.cell.array),
        ("pbc", atoms.pbc),
    ):
        file.create_dataset(f"reference/{name}", data=array)
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "step": ((), "int64"),
        "time": ((), "float64"),
        "energy": ((), "float64"),
        "moments": ((n, 3), dtype),
    }
    if positions:
        shapes |= {"positions": ((n, 3), dtype), "cell": ((3, 3), "float64")}
    for name, (shape, kind) in shapes.items():
        chunk = frames if len(shape) == 2 and shape[0] == n else 1024
        file.create_dataset(name, (0, *shape), kind, maxshape=(None, *shape), chunks=(chunk, *shape))
    return file


def _reopen(path: Path, atoms: Atoms, last: int | None, positions: bool) -> h5py.File:
    """Open a trajectory for appending, cut off after step ``last``; one whose writer was killed is copied first."""
    with open_for_reading(path) as old:
        if not np.array_equal(old["reference/numbers"][()], atoms.numbers):
            raise InputError(f"{path} belongs to another structure; give another file, or mode='w' to overwrite it.")
        if ("positions" in old) != positions:
            raise InputError(f"{path} was begun with positions={'positions' in old}; continue it in the same way.")
        steps = old["step"][()]
        keep = len(steps) if last is None else int(np.searchsorted(steps, last, side="right"))
        if old.swmr_mode:
            _copy(old, path, atoms, keep)
    file = h5py.File(path, "r+", libver=_LAYOUT)
    for name in _COLUMNS:
        if name in file:
            file[name].resize(keep, axis=0)
    return file


def _copy(old: h5py.File, path: Path, atoms: Atoms, keep: int) -> None:
    """Copy the first frames into a whole file, which then takes the place of the old one."""
    rescued = path.with_name(path.name + ".rescued")
    with _create(rescued, atoms, "positions" in old, old["moments"].dtype.name) as new:
        for name in old["reference"]:
            new[f"reference/{name}"][...] = old[f"reference/{name}"][()]
        for name in _COLUMNS:
            if name in old:
                block = old[name].chunks[0]
                new[name].resize(keep, axis=0)
                for start in range(0, keep, block):
                    stop = min(start + block, keep)
                    new[name][start:stop] = old[name][start:stop]
    os.replace(rescued, path)
