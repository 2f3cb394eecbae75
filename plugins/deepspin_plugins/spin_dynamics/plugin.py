"""``deepspin spin-dynamics``: the plugin object."""

from __future__ import annotations

from deepspin_plugins.spin_dynamics.command import spin_dynamics


class SpinDynamicsPlugin:
    """Motion of moments, and with them of atoms."""

    name = "spin-dynamics"
    summary = "Dynamics of moments (Gilbert) and of moments and atoms together, with baths and fields."
    api_version = 1
    required_properties = ("energy", "magnetic_forces")
    command = staticmethod(spin_dynamics)


plugin = SpinDynamicsPlugin()
