"""Plugins that come with deepspin-ase: one package each, found by entry point like everybody else's.

``point``
    Energy, forces, stress, magnetic forces and torques of one structure.

A plugin imports the core (``deepspin_ase``), never the other way round. How to write one:
``docs/writing_a_plugin.md``.
"""
