"""First-principles labels for structures with moments: ABINIT, VASP + DeltaSpin, ABACUS, or any ASE calculator.

>>> from deepspin_ase.labeling import label_all
>>> from deepspin_plugins.labelers import AbinitLabeler
>>> report = label_all(structures, AbinitLabeler(), "labels")  # doctest: +SKIP
>>> report.frames, report.failures  # doctest: +SKIP

``deepspin label FILE`` is the command. See ``docs/labelers.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.labelers.abacus import AbacusLabeler, AbacusSettings
    from deepspin_plugins.labelers.abinit import AbinitLabeler
    from deepspin_plugins.labelers.abinit_settings import AbinitSettings
    from deepspin_plugins.labelers.vasp import VaspDeltaSpinLabeler, VaspDeltaSpinSettings

_PUBLIC = {
    "AbacusLabeler": "deepspin_plugins.labelers.abacus",
    "AbacusSettings": "deepspin_plugins.labelers.abacus",
    "AbinitLabeler": "deepspin_plugins.labelers.abinit",
    "AbinitSettings": "deepspin_plugins.labelers.abinit_settings",
    "VaspDeltaSpinLabeler": "deepspin_plugins.labelers.vasp",
    "VaspDeltaSpinSettings": "deepspin_plugins.labelers.vasp",
}

__all__ = [*_PUBLIC]

__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
