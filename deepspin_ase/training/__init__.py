"""Training of models on labelled frames, and their evaluation.

>>> from deepspin_ase.training import TrainingConfig, train  # doctest: +SKIP
>>> result = train(TrainingConfig.from_file("train.yaml"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from deepspin_ase.training.config import TrainingConfig
    from deepspin_ase.training.evaluation import Evaluation, evaluate
    from deepspin_ase.training.module import TrainingDivergedError
    from deepspin_ase.training.run import TrainingResult, train

_PUBLIC = {
    "TrainingConfig": "deepspin_ase.training.config",
    "train": "deepspin_ase.training.run",
    "TrainingResult": "deepspin_ase.training.run",
    "TrainingDivergedError": "deepspin_ase.training.module",
    "evaluate": "deepspin_ase.training.evaluation",
    "Evaluation": "deepspin_ase.training.evaluation",
}

__all__ = [*_PUBLIC]

__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
