"""Spin dynamics and spin-lattice dynamics with any calculator that gives magnetic forces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.spin_dynamics.arrows import plot_moments
    from deepspin_plugins.spin_dynamics.barostat import CellRescaling
    from deepspin_plugins.spin_dynamics.baths import RescaledTemperature, SpinLangevin
    from deepspin_plugins.spin_dynamics.cartesian import CartesianMomentDynamics
    from deepspin_plugins.spin_dynamics.correlations import SpinCorrelations, spin_correlations
    from deepspin_plugins.spin_dynamics.dynamics import SpinDynamics
    from deepspin_plugins.spin_dynamics.fields import AtomsField, ModelField
    from deepspin_plugins.spin_dynamics.integrators import (
        ConvergenceError,
        DepondtMertens,
        Heun,
        ImplicitMidpoint,
        SemiImplicit,
    )
    from deepspin_plugins.spin_dynamics.lattice_bath import LatticeLangevin
    from deepspin_plugins.spin_dynamics.log import SpinLogger, read_log
    from deepspin_plugins.spin_dynamics.minimize import MomentMinimum, minimize_moments
    from deepspin_plugins.spin_dynamics.neb import geodesic_neb, geodesic_path
    from deepspin_plugins.spin_dynamics.nose_hoover import NoseHooverChain
    from deepspin_plugins.spin_dynamics.observers import (
        Magnetization,
        OrderParameter,
        Recorder,
        TimeSeries,
        energy_partition,
        mean_length,
    )
    from deepspin_plugins.spin_dynamics.paths import MinimumEnergyPath
    from deepspin_plugins.spin_dynamics.plots import plot_history
    from deepspin_plugins.spin_dynamics.replicas import ReplicaSpinDynamics
    from deepspin_plugins.spin_dynamics.spin_lattice import SpinLatticeDynamics
    from deepspin_plugins.spin_dynamics.temperature import (
        bilinear_spin_temperature,
        lattice_temperature,
        spin_temperature,
    )
    from deepspin_plugins.spin_dynamics.timestep import TimestepWarning, suggest_timestep
    from deepspin_plugins.spin_dynamics.topology import SkyrmionNumber, find_layers, skyrmion_number
    from deepspin_plugins.spin_dynamics.trajectory import MomentTrajectory, MomentTrajectoryWriter
    from deepspin_plugins.spin_dynamics.zeeman import PulsedField, RotatingField, ZeemanField

_MODULES: Final[dict[str, tuple[str, ...]]] = {
    # drivers
    "dynamics": ("SpinDynamics",),
    "spin_lattice": ("SpinLatticeDynamics",),
    "cartesian": ("CartesianMomentDynamics",),
    "replicas": ("ReplicaSpinDynamics",),
    # what they are made of
    "integrators": ("ConvergenceError", "DepondtMertens", "Heun", "ImplicitMidpoint", "SemiImplicit"),
    "fields": ("AtomsField", "ModelField"),
    "baths": ("RescaledTemperature", "SpinLangevin"),
    "lattice_bath": ("LatticeLangevin",),
    "nose_hoover": ("NoseHooverChain",),
    "barostat": ("CellRescaling",),
    "zeeman": ("PulsedField", "RotatingField", "ZeemanField"),
    "timestep": ("TimestepWarning", "suggest_timestep"),
    # what one measures
    "temperature": ("bilinear_spin_temperature", "lattice_temperature", "spin_temperature"),
    "observers": ("Magnetization", "OrderParameter", "Recorder", "TimeSeries", "energy_partition", "mean_length"),
    "correlations": ("SpinCorrelations", "spin_correlations"),
    "topology": ("SkyrmionNumber", "find_layers", "skyrmion_number"),
    "log": ("SpinLogger", "read_log"),
    "trajectory": ("MomentTrajectory", "MomentTrajectoryWriter"),
    # minima and paths between them
    "minimize": ("MomentMinimum", "minimize_moments"),
    "neb": ("geodesic_neb", "geodesic_path"),
    "paths": ("MinimumEnergyPath",),
    # pictures
    "arrows": ("plot_moments",),
    "plots": ("plot_history",),
}

_TABLE: Final = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "AtomsField",
    "CartesianMomentDynamics",
    "CellRescaling",
    "ConvergenceError",
    "DepondtMertens",
    "Heun",
    "ImplicitMidpoint",
    "LatticeLangevin",
    "Magnetization",
    "MinimumEnergyPath",
    "ModelField",
    "MomentMinimum",
    "MomentTrajectory",
    "MomentTrajectoryWriter",
    "NoseHooverChain",
    "OrderParameter",
    "PulsedField",
    "Recorder",
    "ReplicaSpinDynamics",
    "RescaledTemperature",
    "RotatingField",
    "SemiImplicit",
    "SkyrmionNumber",
    "SpinCorrelations",
    "SpinDynamics",
    "SpinLangevin",
    "SpinLatticeDynamics",
    "SpinLogger",
    "TimeSeries",
    "TimestepWarning",
    "ZeemanField",
    "bilinear_spin_temperature",
    "energy_partition",
    "find_layers",
    "geodesic_neb",
    "geodesic_path",
    "lattice_temperature",
    "mean_length",
    "minimize_moments",
    "plot_history",
    "plot_moments",
    "read_log",
    "skyrmion_number",
    "spin_correlations",
    "spin_temperature",
    "suggest_timestep",
]

__getattr__, __dir__ = lazy_exports(__name__, _TABLE)
