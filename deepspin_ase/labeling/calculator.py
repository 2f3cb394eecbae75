"""Labels from an ASE calculator: for tests, for teaching, for one model that teaches another."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from deepspin_ase.data import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.labeling.contract import FailedLabel, Tolerance, check_label
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import MAGNETIC_FORCES


class CalculatorLabeler:
    """Label with any ASE calculator that gives magnetic forces.

    Parameters
    ----------
    calculator
        Calculator; it is asked for everything that it implements.
    identity
        Name under which results are kept; change it when the calculator changes.

    Raises
    ------
    InputError
        If the calculator gives no magnetic forces.
    """

    def __init__(self, calculator: BaseCalculator, identity: str = "") -> None:
        offered = list(getattr(calculator, "implemented_properties", []))
        if MAGNETIC_FORCES not in offered:
            raise InputError(
                f"{type(calculator).__name__} gives no magnetic forces; it gives {', '.join(offered) or 'nothing'}."
            )
        self.calculator = calculator
        self.identity = identity or f"calculator {type(calculator).__name__}"

    def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
        """Label one structure; nothing is written to the directory."""
        copy = atoms.copy()
        copy.calc = self.calculator
        frame = Frame.from_calculation(copy, source=self.identity, info={"code": self.identity})
        target = get_moments(atoms)
        reason = check_label(frame, frame.moments, target, (target != 0).any(axis=1), "moments", Tolerance())
        return FailedLabel(atoms, reason) if reason else frame
