"""One structure, all derivatives: ``single_point(atoms)`` and ``deepspin point FILE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.point.evaluation import SinglePoint, single_point

__all__ = ["SinglePoint", "single_point"]

__getattr__, __dir__ = lazy_exports(__name__, dict.fromkeys(__all__, "deepspin_plugins.point.evaluation"))
