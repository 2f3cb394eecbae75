"""Text log of a run: one line per interval, readable by eye, by numpy and by :func:`read_log`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Final

import numpy as np
from ase import Atoms, units

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_plugins.spin_dynamics.evaluation import ZERO_MOMENT
from deepspin_plugins.spin_dynamics.observers import OrderParameter, TimeSeries, energy_partition
from deepspin_plugins.spin_dynamics.temperature import lattice_temperature, spin_temperature
from deepspin_plugins.spin_dynamics.trajectory import Clock

COLUMNS: Final = {
    "step": ("", 9, ".0f"),
    "time": ("fs", 14, ".4f"),
    "E_total": ("eV/atom", 18, ".9f"),
    "E_potential": ("eV/atom", 20, ".9f"),
    "E_kinetic": ("eV/atom", 19, ".9f"),
    "T_lattice": ("K", 13, ".3f"),
    "T_spin": ("K", 12, ".3f"),
    "Mx": ("muB", 12, ".6f"),
    "My": ("muB", 12, ".6f"),
    "Mz": ("muB", 12, ".6f"),
    "M": ("muB", 12, ".6f"),
    "length": ("muB", 12, ".6f"),
    "order": ("muB", 12, ".6f"),
}
"""Columns: name -> unit, width, format. M is per atom that carries a moment, ``length`` the mean |m|, ``order`` the
:class:`OrderParameter` against the reference (nan without one)."""

_HEADER = "#" + "".join(
    f"{name + (f'({unit})' if unit else ''):>{width}}" for name, (unit, width, _) in COLUMNS.items()
)


class SpinLogger:
    """Write a line of numbers whenever it is called; attach it to a dynamics object.

    After a restart the file is continued, and lines later than the checkpoint are dropped.

    Parameters
    ----------
    dynamics
        Dynamics object with ``atoms``.
    logfile
        Path, an open file, or "-" for the screen.
    reference
        Structure or moments whose order is followed in the column ``order``.
    temperature
        Measure the spin temperature. Except for ``Heisenberg`` calculators this takes three more evaluations per line.
    """

    def __init__(
        self,
        dynamics: Clock,
        logfile: str | Path | IO[str],
        *,
        reference: Atoms | None = None,
        temperature: bool = True,
    ) -> None:
        self._dynamics, self._logfile, self._temperature = dynamics, logfile, temperature
        self._order = None if reference is None else OrderParameter(reference)
        self._stream: IO[str] | None = None

    def __call__(self) -> None:
        """Write the present state."""
        if self._stream is None:
            self._stream = self._open()
        values = self._values()
        line = "".join(f"{values[name]:{width}{form}}" for name, (_, width, form) in COLUMNS.items())
        self._stream.write(f" {line}\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._stream is not None and isinstance(self._logfile, (str, Path)) and self._logfile != "-":
            self._stream.close()
            self._stream = None

    def __enter__(self) -> SpinLogger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _values(self) -> dict[str, float]:
        atoms: Atoms = self._dynamics.atoms  # type: ignore[attr-defined]
        moments = get_moments(atoms)
        length = np.linalg.norm(moments, axis=1)
        magnetic = length > ZERO_MOMENT
        count = max(int(magnetic.sum()), 1)
        mean = moments.sum(axis=0) / count
        energy = energy_partition(atoms)
        step = self._dynamics.nsteps
        return {
            "step": step,
            "time": self._dynamics.get_time() / units.fs,
            **{f"E_{name}": energy[name] / len(atoms) for name in ("total", "potential", "kinetic")},
            "T_lattice": lattice_temperature(atoms),
            "T_spin": spin_temperature(atoms, probes=1, rng=step) if self._temperature else float("nan"),
            **dict(zip(("Mx", "My", "Mz"), mean.tolist(), strict=True)),
            "M": float(np.linalg.norm(mean)),
            "length": float(length.sum() / count),
            "order": self._order(atoms) if self._order is not None else float("nan"),
        }

    def _open(self) -> IO[str]:
        if not isinstance(self._logfile, (str, Path)):
            self._logfile.write(_HEADER + "\n")
            return self._logfile
        if self._logfile == "-":
            sys.stdout.write(_HEADER + "\n")
            return sys.stdout
        path = Path(self._logfile)
        lines = [_HEADER]
        if self._dynamics.nsteps > 0 and path.exists():
            lines += _lines_before(path, self._dynamics.nsteps)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path.open("a", encoding="utf-8")


def read_log(path: str | Path) -> TimeSeries:
    """Read a log; an incomplete last line, left by a killed run, is ignored.

    Returns
    -------
    TimeSeries
        ``times`` in fs and the other columns by name, in the units of :data:`COLUMNS`.

    Raises
    ------
    InputError
        The file is no log of :class:`SpinLogger`.
    """
    rows = [line.split() for line in _lines_before(Path(path), None)]
    table = np.array(rows, dtype=float).reshape(len(rows), len(COLUMNS))
    columns = dict(zip(COLUMNS, table.T, strict=True))
    return TimeSeries(columns.pop("time"), columns)


def _lines_before(path: Path, step: int | None) -> list[str]:
    """Whole lines of a log, those of steps before ``step``."""
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[0] != _HEADER:
        raise InputError(f"{path} is no log of this program; give another file, or move it away.")
    whole = [line for line in lines[1:-1] if len(line.split()) == len(COLUMNS)]
    return [line for line in whole if step is None or int(line.split()[0]) < step]
