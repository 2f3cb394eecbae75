"""Labels for structures with moments: the contract of a labeler, one for any ASE calculator, and campaigns that resume.

>>> from deepspin_ase.labeling import CalculatorLabeler, label_all
>>> report = label_all(structures, CalculatorLabeler(calc), "labels")  # doctest: +SKIP
>>> report.frames, report.failures  # doctest: +SKIP

First-principles engines are in ``deepspin_plugins.labelers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_ase.labeling.calculator import CalculatorLabeler
    from deepspin_ase.labeling.campaign import LabelingReport, label_all
    from deepspin_ase.labeling.contract import FailedLabel, Labeler, Tolerance
    from deepspin_ase.labeling.state import campaign_status

_PUBLIC = {
    "CalculatorLabeler": "deepspin_ase.labeling.calculator",
    "FailedLabel": "deepspin_ase.labeling.contract",
    "Labeler": "deepspin_ase.labeling.contract",
    "LabelingReport": "deepspin_ase.labeling.campaign",
    "Tolerance": "deepspin_ase.labeling.contract",
    "campaign_status": "deepspin_ase.labeling.state",
    "label_all": "deepspin_ase.labeling.campaign",
}

__all__ = [*_PUBLIC]

__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
