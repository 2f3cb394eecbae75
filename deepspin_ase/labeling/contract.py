"""What a labeler is, what it gives back, and the checks that every label has to pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.data import Frame, FrameError, check_plausible

Constraint = Literal["moments", "directions"]


@dataclass(frozen=True, eq=False)
class FailedLabel:
    """A structure that could not be labelled, and why.

    Parameters
    ----------
    atoms
        The structure that was asked for.
    reason
        What went wrong, in one line.
    prepared
        True if nothing went wrong: the inputs are written, and somebody else has to run them.
    """

    atoms: Atoms
    reason: str
    prepared: bool = False


@runtime_checkable
class Labeler(Protocol):
    """Turns a structure with moments into a labelled frame.

    It must survive pickling if it is to run in other processes.
    """

    @property
    def identity(self) -> str:
        """Text with everything that the labels depend on; results under another identity are not reused."""
        ...

    def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
        """Label one structure.

        Parameters
        ----------
        atoms
            Structure with moments.
        directory
            Existing directory for the files of this calculation, its own.

        Returns
        -------
        Frame
            Same atoms in the same order, with the moments that the labels belong to, and metadata in ``info``.
        FailedLabel
            With the reason.
        """
        ...


@dataclass(frozen=True)
class Tolerance:
    """How far the moments reached may be from those asked for.

    Parameters
    ----------
    angle
        Degrees.
    magnitude
        µB; not looked at where only directions are constrained.
    smallest
        µB; a target below it is no constraint on the direction.
    """

    angle: float = 0.5
    magnitude: float = 0.01
    smallest: float = 0.05


def deviations(
    reached: NDArray[np.float64], target: NDArray[np.float64], smallest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Angles in degrees (0 for targets below ``smallest``) and differences of |m| in µB, both (n,)."""
    lengths, wanted = np.linalg.norm(reached, axis=1), np.linalg.norm(target, axis=1)
    cross = np.linalg.norm(np.cross(reached, target), axis=1)
    angles = np.degrees(np.arctan2(cross, (reached * target).sum(axis=1)))
    return np.where(wanted < smallest, 0.0, angles), lengths - wanted


def check_frame(frame: Frame) -> str:
    """Reason to refuse any labelled frame, or an empty text: what is lacking, and what cannot be."""
    lacking = [name for name in ("energy", "forces", "magnetic_forces") if name not in frame.labels.available]
    if lacking:
        return f"the result lacks {', '.join(lacking)}"
    try:
        check_plausible(frame)
    except FrameError as problem:
        return problem.message
    return ""


def check_label(
    frame: Frame,
    reached: NDArray[np.float64],
    target: NDArray[np.float64],
    constrained: NDArray[np.bool_],
    constraint: Constraint,
    tolerance: Tolerance,
) -> str:
    """Reason to refuse a label, or an empty text.

    Parameters
    ----------
    frame
        Result.
    reached
        (n, 3), µB: the moments that the engine arrived at.
    target
        (n, 3), µB: the moments asked for.
    constrained
        (n,): atoms with a constraint.
    constraint
        Full vectors or directions only.
    tolerance
        Limits.
    """
    if reason := check_frame(frame):
        return reason
    magnetic_forces = frame.labels.magnetic_forces
    if magnetic_forces is None or not np.isfinite(magnetic_forces[constrained]).all():
        return "magnetic forces of constrained atoms are missing"
    angles, lengths = deviations(reached, target, tolerance.smallest)
    angle = np.where(constrained, angles, 0.0)
    if angle.max() > tolerance.angle:
        worst = int(angle.argmax())
        return f"the moment of atom {worst} is {angle[worst]:.2f}° off its direction (allowed {tolerance.angle}°)"
    length = np.where(constrained, np.abs(lengths), 0.0)
    if constraint == "moments" and length.max() > tolerance.magnitude:
        worst = int(length.argmax())
        return f"|m| of atom {worst} is {lengths[worst]:+.3f} µB off (allowed {tolerance.magnitude} µB)"
    return ""
