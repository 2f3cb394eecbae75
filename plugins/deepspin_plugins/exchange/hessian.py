"""Second derivatives of the energy with respect to moments, of any calculator."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.plugin import check_calculator
from deepspin_ase.progress import track
from deepspin_ase.quantities import MAGNETIC_FORCES
from deepspin_ase.vectors import Array

Method = Literal["auto", "autograd", "finite-differences"]
METHODS: tuple[Method, ...] = ("auto", "autograd", "finite-differences")

# F(±h), F(±h/2) -> slope to fourth order; without the outer pair to second order
_STENCIL = ((1.0, -1.0 / 6.0), (-1.0, 1.0 / 6.0), (0.5, 4.0 / 3.0), (-0.5, -4.0 / 3.0))


@dataclass(frozen=True, eq=False)
class MomentHessian:
    """Rows of ∂²E/∂m∂m at one state.

    Attributes
    ----------
    sites
        Atoms of the rows, (s,).
    rows
        ∂²E/∂m_i∂m_j, (s, 3, n, 3), eV/µB².
    magnetic_forces
        F^m = -∂E/∂m of the state itself, (n, 3), eV/µB.
    deviation
        Like ``rows``: by how much finite differences of second order differ from those of fourth order, which is an
        upper bound of the error; zero for exact derivatives.
    method
        ``"autograd"`` or ``"finite-differences"``.
    """

    sites: NDArray[np.int64]
    rows: Array
    magnetic_forces: Array
    deviation: Array
    method: str

    def __post_init__(self) -> None:
        for name in ("sites", "rows", "magnetic_forces", "deviation"):
            array = np.array(getattr(self, name))
            array.setflags(write=False)
            object.__setattr__(self, name, array)


def moment_hessian(
    atoms: Atoms,
    calc: Any = None,
    *,
    sites: Sequence[int] | NDArray[np.int64] | None = None,
    method: Method = "auto",
    step: float = 0.02,
) -> MomentHessian:
    """Second derivatives ∂²E/∂m_i∂m_j at the moments that the atoms carry.

    Parameters
    ----------
    atoms
        Structure with moments; it is left as it is.
    calc
        Calculator with magnetic forces; default ``atoms.calc``.
    sites
        Atoms i of the rows; default all.
    method
        ``"autograd"``: exact, from ``calc.get_hessian``. ``"finite-differences"``: central differences of magnetic
        forces, four evaluations per component, fourth order in the step. ``"auto"``: exact where possible.
    step
        Largest change of a moment, µB, for finite differences.

    Returns
    -------
    MomentHessian
        Rows (s, 3, n, 3) in eV/µB² and the magnetic forces of the state.

    Raises
    ------
    InputError
        Unknown method, step that is not positive, sites that do not exist, results that are not finite.
    deepspin_ase.plugin.PluginError
        The calculator gives no magnetic forces.

    Notes
    -----
    In a periodic cell an element is the sum over all images of atom j.
    """
    calculator = calculator_of(atoms, calc)
    chosen = _sites(sites, len(atoms))
    exact = hasattr(calculator, "get_hessian")
    if method not in METHODS:
        raise InputError(f"method = {method!r}; allowed: {', '.join(METHODS)}.")
    if method == "autograd" and not exact:
        raise InputError(
            f"{type(calculator).__name__} has no get_hessian, so there are no exact second derivatives; use "
            "method='finite-differences' (or 'auto')."
        )
    work = atoms.copy()
    force = np.array(calculator.get_property(MAGNETIC_FORCES, work), dtype=float)
    if exact and method != "finite-differences":
        rows, used = _exact_rows(calculator, work, chosen), "autograd"
        deviation = np.zeros_like(rows)
    else:
        rows, deviation = _difference_rows(calculator, work, chosen, step)
        used = "finite-differences"
    for name, array in ((f"the Hessian by {used}", rows), ("magnetic forces", force)):
        if not np.isfinite(array).all():
            raise InputError(f"{name} of {type(calculator).__name__} contains NaN or infinity.")
    return MomentHessian(chosen, rows, force, deviation, used)


def calculator_of(atoms: Atoms, calc: Any) -> Any:
    """The calculator to use, checked for magnetic forces."""
    from deepspin_plugins.exchange.plugin import plugin

    calculator = atoms.calc if calc is None else calc
    check_calculator(plugin, calculator)
    return calculator


def _sites(sites: Sequence[int] | NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    chosen = np.arange(n) if sites is None else np.asarray(sites, dtype=np.int64).reshape(-1)
    if n == 0 or len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= n:
        raise InputError(f"sites = {chosen.tolist()}; allowed: at least one number from 0 to {n - 1}.")
    return chosen


def _exact_rows(calculator: Any, atoms: Atoms, sites: NDArray[np.int64]) -> Array:
    """Rows out of ``calc.get_hessian``; only these are computed if it can be told so."""
    if "rows" in inspect.signature(calculator.get_hessian).parameters:
        return np.asarray(calculator.get_hessian(atoms, kind="moments", rows=sites), dtype=float)
    return np.asarray(calculator.get_hessian(atoms, kind="moments"), dtype=float)[sites]


def _difference_rows(calculator: Any, atoms: Atoms, sites: NDArray[np.int64], step: float) -> tuple[Array, Array]:
    """Rows by central differences of fourth order, and what the second order adds to them."""
    if not np.isfinite(step) or step <= 0.0:
        raise InputError(f"step = {step}; it must be a positive number of µB.")
    moments = get_moments(atoms)
    rows = np.zeros((len(sites), 3, len(atoms), 3))
    deviation = np.zeros_like(rows)
    components = [(row, axis) for row in range(len(sites)) for axis in range(3)]
    for row, axis in track(components, "Magnetic forces of changed moments"):
        forces = []
        for factor, _ in _STENCIL:
            changed = moments.copy()
            changed[sites[row], axis] += factor * step
            set_moments(atoms, changed)
            forces.append(np.array(calculator.get_property(MAGNETIC_FORCES, atoms), dtype=float))
        rows[row, axis] = -sum(weight * force for (_, weight), force in zip(_STENCIL, forces, strict=True)) / step
        deviation[row, axis] = -(forces[2] - forces[3]) / step - rows[row, axis]
    set_moments(atoms, moments)
    return rows, deviation
