"""Phonons of magnets through phonopy, from any calculator, in the magnetic state that was asked for.

>>> from deepspin_plugins.phonons import phonons
>>> result = phonons(atoms, supercell=(3, 3, 3))  # doctest: +SKIP
>>> result.plot()  # doctest: +SKIP

Moments are kept on the way to phonopy and back; frequencies are in THz, q in fractions of the reciprocal magnetic
primitive cell. ``deepspin phonons FILE`` is the command. See ``docs/phonons.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.phonons.averages import AveragedBands, AveragedPhonons, commensurate_points
    from deepspin_plugins.phonons.bands import PhononBands, PhononDos
    from deepspin_plugins.phonons.bridge import match_atoms, moment_axis, to_ase, to_phonopy
    from deepspin_plugins.phonons.cells import build_phonopy
    from deepspin_plugins.phonons.disorder import disordered_phonons
    from deepspin_plugins.phonons.driver import phonons
    from deepspin_plugins.phonons.effective import effective_phonons
    from deepspin_plugins.phonons.elastic import ElasticConstants, elastic_constants
    from deepspin_plugins.phonons.forces import relax_moments
    from deepspin_plugins.phonons.imaginary import FollowedMode, ImaginaryModes, follow_mode, imaginary_modes
    from deepspin_plugins.phonons.nac import (
        InfraredModes,
        infrared_modes,
        read_born,
        with_born_charges,
        without_born_charges,
    )
    from deepspin_plugins.phonons.qha import Quasiharmonic, quasiharmonic
    from deepspin_plugins.phonons.result import PhononResult
    from deepspin_plugins.phonons.sound import SoundElasticity, sound_elasticity
    from deepspin_plugins.phonons.thermal import ThermalProperties

_MODULES = {
    # the driver and its result
    "phonons": "driver",
    "PhononResult": "result",
    "PhononBands": "bands",
    "PhononDos": "bands",
    "ThermalProperties": "thermal",
    # elasticity
    "ElasticConstants": "elastic",
    "elastic_constants": "elastic",
    "SoundElasticity": "sound",
    "sound_elasticity": "sound",
    # beyond one harmonic crystal
    "disordered_phonons": "disorder",
    "effective_phonons": "effective",
    "AveragedPhonons": "averages",
    "AveragedBands": "averages",
    "commensurate_points": "averages",
    "quasiharmonic": "qha",
    "Quasiharmonic": "qha",
    "imaginary_modes": "imaginary",
    "ImaginaryModes": "imaginary",
    "follow_mode": "imaginary",
    "FollowedMode": "imaginary",
    # polar crystals
    "with_born_charges": "nac",
    "without_born_charges": "nac",
    "read_born": "nac",
    "infrared_modes": "nac",
    "InfraredModes": "nac",
    # between ASE and phonopy
    "to_phonopy": "bridge",
    "to_ase": "bridge",
    "match_atoms": "bridge",
    "moment_axis": "bridge",
    "build_phonopy": "cells",
    "relax_moments": "forces",
}

__all__ = [
    "AveragedBands",
    "AveragedPhonons",
    "ElasticConstants",
    "FollowedMode",
    "ImaginaryModes",
    "InfraredModes",
    "PhononBands",
    "PhononDos",
    "PhononResult",
    "Quasiharmonic",
    "SoundElasticity",
    "ThermalProperties",
    "build_phonopy",
    "commensurate_points",
    "disordered_phonons",
    "effective_phonons",
    "elastic_constants",
    "follow_mode",
    "imaginary_modes",
    "infrared_modes",
    "match_atoms",
    "moment_axis",
    "phonons",
    "quasiharmonic",
    "read_born",
    "relax_moments",
    "sound_elasticity",
    "to_ase",
    "to_phonopy",
    "with_born_charges",
    "without_born_charges",
]

__getattr__, __dir__ = lazy_exports(__name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()})
