"""Run all checks on one calculator."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments, tilt
from deepspin_ase.quantities import MAGNETIC_TORQUES, STRESS
from deepspin_ase.testing import derivatives, robustness, symmetry
from deepspin_ase.testing.compare import CalculatorOrFactory, gives, make, prepare
from deepspin_ase.testing.report import CheckResult, ConformanceError, ConformanceReport

CHECKS = (
    "results",
    "forces",
    "stress",
    "magnetic_forces",
    "torques",
    "translation",
    "permutation",
    "rotation",
    "inversion",
    "time_reversal",
    "spin_rotation",
    "extensivity",
    "cache_invalidation",
    "cutoff_smoothness",
    "zero_moment_smoothness",
)
"""Names of the checks, in the order in which they run."""


def run_conformance(
    calc: CalculatorOrFactory,
    atoms: Atoms,
    *,
    spin_orbit: bool = False,
    energy_tol: float = 1e-10,
    rtol: float = 1e-6,
    perturb: bool = True,
    skip: Collection[str] = (),
    rng: int | np.random.Generator = 0,
) -> ConformanceReport:
    """Check a calculator against everything the conventions demand.

    Parameters
    ----------
    calc
        Calculator, or a class or function without arguments that makes one (better: then the check for stale
        results has an independent reference).
    atoms
        Structure with moments that the calculator can handle; it stays as it is.
    spin_orbit
        Whether the calculator couples spins to the lattice: then moments may not be turned alone.
    energy_tol
        Tolerance of the exact symmetries, eV per atom; 1e-10 is for float64, use about 1e-5 for float32.
    rtol
        Relative tolerance of the finite differences; use about 1e-2 for float32.
    perturb
        Displace atoms (0.03 Å) and tilt moments (15°) first, so that no check passes by symmetry alone.
    skip
        Names of checks to leave out, of :data:`CHECKS`; for instance "cutoff_smoothness" for a model bound to
        one crystal, or "time_reversal" for one in a magnetic field.
    rng
        Seed or generator.

    Returns
    -------
    ConformanceReport
        ``print(report)`` shows a table, ``report.raise_if_failed()`` makes a test of it.

    Raises
    ------
    InputError
        Unknown names in ``skip``, a structure without moments.
    """
    unknown = sorted(set(skip) - set(CHECKS))
    if unknown:
        raise InputError(f"skip names unknown checks: {', '.join(unknown)}; known: {', '.join(CHECKS)}.")
    if not get_moments(atoms).any():
        raise InputError("the structure carries no moments; use set_moments(atoms, ...) first.")
    generator = np.random.default_rng(rng)
    system = prepare(atoms)
    if perturb:
        system.positions += generator.normal(scale=0.03, size=system.positions.shape)
        set_moments(system, tilt(get_moments(system), 15.0, generator))
    calculator = make(calc)
    reasons = dict.fromkeys(skip, "left out by the caller")
    if spin_orbit:
        reasons["spin_rotation"] = "spin-orbit coupling: moments may not be turned alone"
    if system.cell.rank != 3:
        reasons["stress"] = "no three-dimensional cell"
    elif not gives(calculator, system, STRESS):
        reasons["stress"] = "the calculator gives no stress"
    if not gives(calculator, system, MAGNETIC_TORQUES):
        reasons["torques"] = "the calculator gives no magnetic_torques"
    options = {
        "forces": {"rtol": rtol},
        "stress": {"rtol": rtol},
        "magnetic_forces": {"rtol": rtol},
        "zero_moment_smoothness": {},
    }
    results = [
        CheckResult(name, "skipped", message=reasons[name])
        if name in reasons
        else _run(name, _function(name), calc, system, options.get(name, {"energy_tol": energy_tol}))
        for name in CHECKS
    ]
    return ConformanceReport(type(calculator).__name__, system.get_chemical_formula(), tuple(results))


def _function(name: str) -> Callable[..., float]:
    for module in (derivatives, symmetry, robustness):
        function = getattr(module, f"check_{name}", None)
        if function is not None:
            return function
    raise LookupError(name)


def _run(
    name: str,
    function: Callable[..., float],
    calc: CalculatorOrFactory,
    atoms: Atoms,
    options: dict[str, float],
) -> CheckResult:
    start = time.perf_counter()
    try:
        deviation = function(calc, atoms, **options)
    except ConformanceError as error:
        ratio = None
        if error.got is not None and error.expected is not None and error.tolerance:
            ratio = abs(error.got - error.expected) / error.tolerance
        return CheckResult(name, "failed", ratio, str(error), time.perf_counter() - start)
    except PropertyNotImplementedError as error:
        return CheckResult(name, "failed", None, f"the calculator gives no {error}", time.perf_counter() - start)
    except Exception as error:  # a calculator may stop in any way; the other checks go on
        message = f"{type(error).__name__}: {error}"
        return CheckResult(name, "error", None, message, time.perf_counter() - start)
    return CheckResult(name, "passed", deviation, "", time.perf_counter() - start)
