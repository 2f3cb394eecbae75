"""Ordering temperatures with error bars: Monte Carlo, direct sampling of potentials, finite-size analysis.

>>> from deepspin_plugins.curie import ordering_temperature
>>> result = ordering_temperature(model)  # doctest: +SKIP
>>> print(result.summary())  # doctest: +SKIP

``deepspin curie STRUCTURE`` is the command. See ``docs/curie.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.curie.analysis import Run, analyse
    from deepspin_plugins.curie.direct import sample_potential
    from deepspin_plugins.curie.direct_driver import direct_ordering_temperature
    from deepspin_plugins.curie.direct_samples import DirectSamples
    from deepspin_plugins.curie.driver import ordering_temperature
    from deepspin_plugins.curie.monte_carlo import MonteCarlo
    from deepspin_plugins.curie.moves import Moves
    from deepspin_plugins.curie.order import MagneticOrder, find_order, order_of_state
    from deepspin_plugins.curie.potential_sampler import PotentialSampler
    from deepspin_plugins.curie.result import CurieResult
    from deepspin_plugins.curie.semi_direct import ThermalExchange, thermal_exchange
    from deepspin_plugins.curie.series import Series

_MODULES = {
    # from start to end
    "ordering_temperature": "driver",
    "direct_ordering_temperature": "direct_driver",
    "CurieResult": "result",
    # order parameters
    "find_order": "order",
    "order_of_state": "order",
    "MagneticOrder": "order",
    # sampling
    "MonteCarlo": "monte_carlo",
    "Moves": "moves",
    "sample_potential": "direct",
    "PotentialSampler": "potential_sampler",
    "DirectSamples": "direct_samples",
    "Series": "series",
    # exchange of a vibrating crystal
    "thermal_exchange": "semi_direct",
    "ThermalExchange": "semi_direct",
    # analysis
    "Run": "analysis",
    "analyse": "analysis",
}

__all__ = [
    "CurieResult",
    "DirectSamples",
    "MagneticOrder",
    "MonteCarlo",
    "Moves",
    "PotentialSampler",
    "Run",
    "Series",
    "ThermalExchange",
    "analyse",
    "direct_ordering_temperature",
    "find_order",
    "order_of_state",
    "ordering_temperature",
    "sample_potential",
    "thermal_exchange",
]

__getattr__, __dir__ = lazy_exports(__name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()})
