"""Active learning: a committee of models says which structures are worth a label.

>>> from deepspin_ase.active_learning import LearningConfig, learn  # doctest: +SKIP
>>> result = learn(LearningConfig.from_file("learn.yaml"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from deepspin_ase.active_learning.committee import Committee, Levels, WorstAtoms
    from deepspin_ase.active_learning.config import LearningConfig
    from deepspin_ase.active_learning.descriptor import fingerprints
    from deepspin_ase.active_learning.exploration import Domain, Exploration, Explorer
    from deepspin_ase.active_learning.loop import LearningResult, learn
    from deepspin_ase.active_learning.planning import plan, status
    from deepspin_ase.active_learning.registry import make_explorer, make_labeler
    from deepspin_ase.active_learning.selection import Selection, Trust, farthest_points, select
    from deepspin_ase.active_learning.structures import StateExplorer

_MODULES = {
    # the loop
    "config": ("LearningConfig",),
    "loop": ("LearningResult", "learn"),
    "planning": ("plan", "status"),
    # committee and selection
    "committee": ("Committee", "Levels", "WorstAtoms"),
    "selection": ("Selection", "Trust", "farthest_points", "select"),
    "descriptor": ("fingerprints",),
    # who proposes, and who labels (deepspin_ase.labeling)
    "exploration": ("Domain", "Exploration", "Explorer"),
    "structures": ("StateExplorer",),
    "registry": ("make_explorer", "make_labeler"),
}

_TABLE = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "Committee",
    "Domain",
    "Exploration",
    "Explorer",
    "LearningConfig",
    "LearningResult",
    "Levels",
    "Selection",
    "StateExplorer",
    "Trust",
    "WorstAtoms",
    "farthest_points",
    "fingerprints",
    "learn",
    "make_explorer",
    "make_labeler",
    "plan",
    "select",
    "status",
]

__getattr__, __dir__ = lazy_exports(__name__, _TABLE)
