"""Machine-learned magnetic potentials for ASE: energies, forces, stress, magnetic forces and torques.

>>> from deepspin_ase import DeepSpin, set_moments  # doctest: +SKIP
>>> atoms.calc = DeepSpin("nio")  # doctest: +SKIP

This file is the table of contents. The names below are imported when they are first used, so ``import
deepspin_ase`` is quick and loads neither torch nor ASE. Further modules that are imported by their full name:
``deepspin_ase.testing`` (checks for your own calculator), ``deepspin_ase.model``, ``deepspin_ase.data``,
``deepspin_ase.training``, ``deepspin_ase.statistics`` (errors of correlated series) and
``deepspin_ase.plugin``. Units and signs: ``docs/conventions.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from deepspin_ase.ase_plugin import register_with_ase
    from deepspin_ase.calculator import DeepSpin
    from deepspin_ase.data.frames import Frame, Labels
    from deepspin_ase.data.registry import read_frames, write_frames
    from deepspin_ase.data.results import read_results, write_results
    from deepspin_ase.errors import DeepSpinError
    from deepspin_ase.filters import SpinLatticeFilter
    from deepspin_ase.heisenberg import Heisenberg, HeisenbergModel
    from deepspin_ase.moments import (
        collinear_order,
        cone,
        ferromagnet,
        get_moments,
        random_directions,
        rotate_with_moments,
        set_moments,
        spiral,
        tilt,
    )

__version__ = "0.1.0"

_PUBLIC = {
    # calculators
    "DeepSpin": "deepspin_ase.calculator",
    "Heisenberg": "deepspin_ase.heisenberg",
    "HeisenbergModel": "deepspin_ase.heisenberg",
    # moments of a structure
    "set_moments": "deepspin_ase.moments",
    "get_moments": "deepspin_ase.moments",
    "rotate_with_moments": "deepspin_ase.moments",
    "ferromagnet": "deepspin_ase.moments",
    "collinear_order": "deepspin_ase.moments",
    "spiral": "deepspin_ase.moments",
    "cone": "deepspin_ase.moments",
    "random_directions": "deepspin_ase.moments",
    "tilt": "deepspin_ase.moments",
    # relaxation of positions, moments and cell
    "SpinLatticeFilter": "deepspin_ase.filters",
    # labelled frames and results on disk
    "Frame": "deepspin_ase.data.frames",
    "Labels": "deepspin_ase.data.frames",
    "read_frames": "deepspin_ase.data.registry",
    "write_frames": "deepspin_ase.data.registry",
    "read_results": "deepspin_ase.data.results",
    "write_results": "deepspin_ase.data.results",
    # the rest
    "DeepSpinError": "deepspin_ase.errors",
    "register_with_ase": "deepspin_ase.ase_plugin",
}

__all__ = ["__version__", *_PUBLIC]

__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
