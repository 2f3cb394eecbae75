"""Exchange from any calculator or data set: J_ij, D_ij and anisotropy; files of other spin codes.

``exchange_tensors(atoms, calc, cutoff=...)`` differentiates a potential, ``fit_heisenberg(frames)`` fits labelled
frames; both give a ``HeisenbergModel``. ``deepspin exchange FILE`` is the command. See ``docs/exchange.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.exchange.fit import fit_heisenberg
    from deepspin_plugins.exchange.fit_result import FitResult
    from deepspin_plugins.exchange.gradient import ExchangeGradient, exchange_gradient
    from deepspin_plugins.exchange.hessian import MomentHessian, moment_hessian
    from deepspin_plugins.exchange.result import ExchangeResult
    from deepspin_plugins.exchange.strain import StrainedExchange, exchange_under_strain
    from deepspin_plugins.exchange.symmetry import symmetrised
    from deepspin_plugins.exchange.tensors import exchange_tensors

_MODULES = {
    "exchange_tensors": "tensors",
    "ExchangeResult": "result",
    "moment_hessian": "hessian",
    "MomentHessian": "hessian",
    "fit_heisenberg": "fit",
    "FitResult": "fit_result",
    "exchange_under_strain": "strain",
    "StrainedExchange": "strain",
    "exchange_gradient": "gradient",
    "ExchangeGradient": "gradient",
    "symmetrised": "symmetry",
}

__all__ = [
    "ExchangeGradient",
    "ExchangeResult",
    "FitResult",
    "MomentHessian",
    "StrainedExchange",
    "exchange_gradient",
    "exchange_tensors",
    "exchange_under_strain",
    "fit_heisenberg",
    "moment_hessian",
    "symmetrised",
]

__getattr__, __dir__ = lazy_exports(__name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()})
