"""What the labelers of VASP and ABACUS share: grouped species, a program that may run elsewhere, results read back."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.data import Frame, Labels
from deepspin_ase.errors import InputError
from deepspin_ase.labeling.contract import Constraint, FailedLabel, Tolerance, check_label
from deepspin_ase.moments import get_moments
from deepspin_plugins.labelers.processes import run_program


class ExternalLabeler(ABC):
    """Labeler that writes inputs, runs a command or leaves that to you, and reads the outputs with our readers.

    Parameters
    ----------
    settings
        What the labels depend on.
    command
        Program and arguments; without it the inputs are only written, the calculation counts as "prepared", and a
        later call reads the outputs that are there by then.
    timeout
        s.
    tolerance
        How far the moments reached may be off.
    """

    program = ""
    constraint: Constraint = "moments"

    def __init__(
        self,
        settings: Any,
        *,
        command: Sequence[str] | None = None,
        timeout: float = 24 * 3600.0,
        tolerance: Tolerance | None = None,
    ) -> None:
        self.settings = settings
        self.command = None if command is None else tuple(command)
        self.timeout = timeout
        self.tolerance = tolerance or Tolerance()

    @property
    def identity(self) -> str:
        """Settings as text."""
        values = asdict(self.settings)
        return f"{self.program} " + " ".join(f"{name}={values[name]!r}" for name in sorted(values))

    @abstractmethod
    def write_inputs(self, atoms: Atoms, directory: Path) -> None:
        """Write the inputs for a structure whose species are grouped."""

    @abstractmethod
    def read_outputs(self, directory: Path) -> Frame:
        """Read the result; raises FrameError or OSError where it is not complete."""

    @abstractmethod
    def started(self, directory: Path) -> bool:
        """Whether there is any output."""

    def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
        """Label one structure; see :class:`~deepspin_ase.labeling.contract.Labeler`."""
        if not atoms.pbc.all() or atoms.cell.rank < 3:
            raise InputError(f"{self.program} needs a structure that is periodic in three directions")
        start = time.monotonic()
        order = grouped_order(atoms)
        grouped = atoms[order]
        problem = ""
        if self.command is not None:
            self.write_inputs(grouped, directory)
            problem = run_program(self.command, directory, "run.log", self.timeout)
        elif not self.started(directory):
            self.write_inputs(grouped, directory)
            return FailedLabel(atoms, f"inputs written; run {self.program} there", prepared=True)
        try:
            result = self.read_outputs(directory)
        except (ValueError, OSError) as error:
            return FailedLabel(atoms, problem or str(error))
        if list(result.atoms.symbols) != list(grouped.symbols):
            return FailedLabel(atoms, "the output belongs to another structure")
        frame = _as_asked(result, atoms, order)
        target = get_moments(atoms)
        reason = check_label(frame, frame.moments, target, (target != 0).any(axis=1), self.constraint, self.tolerance)
        if reason:
            return FailedLabel(atoms, reason)
        info = {**frame.info, "code": self.program, "seconds": round(time.monotonic() - start, 1)}
        return Frame(frame.atoms, frame.labels, source=self.program, info=info)


def grouped_order(atoms: Atoms) -> NDArray[np.intp]:
    """Order in which equal species stand together, by first appearance."""
    kinds = list(dict.fromkeys(atoms.symbols))
    return np.argsort([kinds.index(symbol) for symbol in atoms.symbols], kind="stable")


def _as_asked(result: Frame, atoms: Atoms, order: NDArray[np.intp]) -> Frame:
    """The result for the structure that was asked for, in its order."""
    back = np.argsort(order)
    structure = atoms.copy()
    structure.calc = None
    structure.set_array("initial_magmoms", None)
    structure.set_array("initial_magmoms", result.moments[back])
    labels = {
        name: value[back] if name in ("forces", "magnetic_forces") else value
        for name, value in result.labels.as_dict().items()
    }
    return Frame(structure, Labels(**labels), info=result.info)
