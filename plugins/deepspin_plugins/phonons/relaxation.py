"""Bring a structure to rest, and its moments, before anything is displaced or strained."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from deepspin_ase.errors import InputError
from deepspin_ase.filters import SpinLatticeFilter
from deepspin_ase.moments import get_moments
from deepspin_plugins.phonons.forces import State

Relax = Literal["positions", "cell", "none"]
RELAX: tuple[str, ...] = get_args(Relax)

_FMAX = 1e-4
_STEPS = 500
_ANOTHER_STATE = 0.5  # of the longest moment: a larger change is no relaxation


def relaxed(atoms: Atoms, calc: Any, state: State, relax: Relax) -> Atoms:
    """A copy at rest, with the calculator attached and without constraints.

    Parameters
    ----------
    atoms
        Structure; left as it is.
    calc
        Calculator.
    state
        Which moments may move: see :func:`deepspin_plugins.phonons.phonons`.
    relax
        ``"positions"``, ``"cell"`` (positions as well) or ``"none"`` (then only moments, as ``state`` says).

    Raises
    ------
    InputError
        Forces (eV/Å; torques and longitudinal fields as ``SpinLatticeFilter`` scales them) stay above 1e-4, or a moment
        changes by more than half of the longest one: that is another magnetic state.
    """
    home = atoms.copy()
    home.set_constraint()
    home.calc = calc
    if state != "frozen" and not get_moments(home).any():
        raise InputError("the structure carries no moments that could follow; use state='frozen', or set_moments().")
    directions = state != "frozen" and home.arrays["initial_magmoms"].ndim == 2
    lengths = state == "relaxed"
    target: Any
    if directions or lengths:
        target = SpinLatticeFilter(
            home, lattice=relax != "none", directions=directions, magnitudes=lengths, cell=relax == "cell"
        )
    elif relax != "none":
        target = FrechetCellFilter(home) if relax == "cell" else home
    else:
        return home
    optimizer: Any = LBFGS  # ASE types its arguments too narrowly
    if not optimizer(target, logfile=None).run(fmax=_FMAX, steps=_STEPS):
        raise InputError(
            f"the structure did not relax to {_FMAX} eV/Å within {_STEPS} steps; relax it yourself "
            "(FIRE(SpinLatticeFilter(atoms)).run(fmax=1e-4)) and use relax='none'."
        )
    before, after = get_moments(atoms), get_moments(home)
    change = np.linalg.norm(after - before, axis=1).max()
    if change > _ANOTHER_STATE * np.linalg.norm(before, axis=1).max(initial=0.0):
        raise InputError(
            f"with state={state!r} the moments relax to another state than the one given: one changes by {change:.3g} "
            "µB. Start from that state if it is meant, or use state='frozen'; a model that was not trained on moments "
            "of other lengths cannot relax them."
        )
    return home
