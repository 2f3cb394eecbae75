"""Plugins that come with deepspin-ase: one package each, found by entry point like everybody else's.

``exchange``
    J_ij, Dzyaloshinskii–Moriya vectors and anisotropy of any calculator; files of other codes.
``magnons``
    Linear spin-wave theory, S(q, ω), coupled magnon–phonon bands.
``point``
    Energy, forces, stress, magnetic forces and torques of one structure.
``spin_dynamics``
    Dynamics of moments, and of moments and atoms together; relaxation and paths of moments.

A plugin imports the core (``deepspin_ase``), never the other way round. How to write one:
``docs/writing_a_plugin.md``.
"""
