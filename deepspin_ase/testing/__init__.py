"""Conformance kit: prove that a calculator obeys the conventions. It needs no pytest.

>>> from deepspin_ase.testing import run_conformance
>>> report = run_conformance(MyCalculator, atoms)  # doctest: +SKIP
>>> print(report)  # doctest: +SKIP
>>> report.raise_if_failed()  # doctest: +SKIP

Every ``check_*`` can be called alone, ``check_forces(calc, atoms)``; it returns the largest deviation divided
by the tolerance and raises :class:`ConformanceError` if that exceeds 1. Guide: ``docs/testing.md``.
"""

from __future__ import annotations

from deepspin_ase.testing.derivatives import (
    check_forces,
    check_magnetic_forces,
    check_stress,
    check_torques,
)
from deepspin_ase.testing.report import CheckResult, ConformanceError, ConformanceReport
from deepspin_ase.testing.robustness import (
    check_cache_invalidation,
    check_cutoff_smoothness,
    check_results,
    check_zero_moment_smoothness,
)
from deepspin_ase.testing.run import run_conformance
from deepspin_ase.testing.symmetry import (
    check_extensivity,
    check_inversion,
    check_permutation,
    check_rotation,
    check_spin_rotation,
    check_time_reversal,
    check_translation,
)

__all__ = [
    "CheckResult",
    "ConformanceError",
    "ConformanceReport",
    "check_cache_invalidation",
    "check_cutoff_smoothness",
    "check_extensivity",
    "check_forces",
    "check_inversion",
    "check_magnetic_forces",
    "check_permutation",
    "check_results",
    "check_rotation",
    "check_spin_rotation",
    "check_stress",
    "check_time_reversal",
    "check_torques",
    "check_translation",
    "check_zero_moment_smoothness",
    "run_conformance",
]
