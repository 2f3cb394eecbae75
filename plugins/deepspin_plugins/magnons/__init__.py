"""Linear spin-wave theory: magnon bands, S(q, ω), thermodynamics, and magnons coupled to phonons.

>>> from deepspin_plugins.magnons import SpinWaves, band_structure
>>> waves = SpinWaves.from_model(model, moments)  # doctest: +SKIP
>>> band_structure(waves).plot()  # doctest: +SKIP

Everything starts from a ``HeisenbergModel`` or a potential and a stationary state; q is in fractions of the reciprocal
magnetic cell, energies are in meV. ``deepspin magnons FILE`` is the command. See ``docs/magnons.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.magnons.bands import MagnonBands, MagnonDos, band_structure, density_of_states
    from deepspin_plugins.magnons.bosons import Modes, UnstableStateError
    from deepspin_plugins.magnons.correlations import (
        SpinCorrelations,
        form_factor,
        powder_average,
        spin_correlations,
    )
    from deepspin_plugins.magnons.ground_state import relax_directions
    from deepspin_plugins.magnons.hybrid import HybridBands, HybridWaves, hybrid_bands, hybrid_waves
    from deepspin_plugins.magnons.lswt import SpinWaves
    from deepspin_plugins.magnons.ordering import OrderingTemperatures, ordering_temperatures
    from deepspin_plugins.magnons.potential import spin_waves_from_potential
    from deepspin_plugins.magnons.qpoints import QPath, q_mesh, q_path
    from deepspin_plugins.magnons.spectra import Spectrum
    from deepspin_plugins.magnons.spiral import SpiralWaves, rotating_frame
    from deepspin_plugins.magnons.stiffness import Stiffness, spin_wave_velocity, stiffness_tensor
    from deepspin_plugins.magnons.thermodynamics import MagnonThermodynamics, magnon_thermodynamics
    from deepspin_plugins.magnons.trajectories import quantum_factor, trajectory_spectrum

_MODULES = {
    # spin waves of a state
    "SpinWaves": "lswt",
    "SpiralWaves": "spiral",
    "rotating_frame": "spiral",
    "spin_waves_from_potential": "potential",
    "relax_directions": "ground_state",
    "Modes": "bosons",
    "UnstableStateError": "bosons",
    # bands
    "QPath": "qpoints",
    "q_path": "qpoints",
    "q_mesh": "qpoints",
    "MagnonBands": "bands",
    "band_structure": "bands",
    "MagnonDos": "bands",
    "density_of_states": "bands",
    # numbers
    "Stiffness": "stiffness",
    "stiffness_tensor": "stiffness",
    "spin_wave_velocity": "stiffness",
    "MagnonThermodynamics": "thermodynamics",
    "magnon_thermodynamics": "thermodynamics",
    "OrderingTemperatures": "ordering",
    "ordering_temperatures": "ordering",
    # S(q, ω)
    "SpinCorrelations": "correlations",
    "spin_correlations": "correlations",
    "powder_average": "correlations",
    "form_factor": "correlations",
    "Spectrum": "spectra",
    "trajectory_spectrum": "trajectories",
    "quantum_factor": "trajectories",
    # magnons and phonons
    "HybridWaves": "hybrid",
    "hybrid_waves": "hybrid",
    "HybridBands": "hybrid",
    "hybrid_bands": "hybrid",
}

__all__ = [
    "HybridBands",
    "HybridWaves",
    "MagnonBands",
    "MagnonDos",
    "MagnonThermodynamics",
    "Modes",
    "OrderingTemperatures",
    "QPath",
    "Spectrum",
    "SpinCorrelations",
    "SpinWaves",
    "SpiralWaves",
    "Stiffness",
    "UnstableStateError",
    "band_structure",
    "density_of_states",
    "form_factor",
    "hybrid_bands",
    "hybrid_waves",
    "magnon_thermodynamics",
    "ordering_temperatures",
    "powder_average",
    "q_mesh",
    "q_path",
    "quantum_factor",
    "relax_directions",
    "rotating_frame",
    "spin_correlations",
    "spin_wave_velocity",
    "spin_waves_from_potential",
    "stiffness_tensor",
    "trajectory_spectrum",
]

__getattr__, __dir__ = lazy_exports(__name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()})
