"""Labelled frames: read, check, inspect, convert and write them; results that keep magnetic forces.

A *frame* is a structure with moments plus first-principles labels. Names are imported when they are first
used; only ``frames_to_graphs`` needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from deepspin_ase.data.checks import PlausibleLimits, check_plausible
    from deepspin_ase.data.conservation import ConservationEstimate, estimate_conservation
    from deepspin_ase.data.dataset import frames_to_graphs, magnetic_species
    from deepspin_ase.data.frames import Frame, FrameError, Labels
    from deepspin_ase.data.inspect import InspectionReport, inspect_frames
    from deepspin_ase.data.registry import FORMATS, guess_format, read_frames, write_frames
    from deepspin_ase.data.results import ResultsWriter, StoredResults, read_results, write_results

_PUBLIC = {
    # a frame
    "Frame": "deepspin_ase.data.frames",
    "FrameError": "deepspin_ase.data.frames",
    "Labels": "deepspin_ase.data.frames",
    "PlausibleLimits": "deepspin_ase.data.checks",
    "check_plausible": "deepspin_ase.data.checks",
    # files of frames
    "FORMATS": "deepspin_ase.data.registry",
    "guess_format": "deepspin_ase.data.registry",
    "read_frames": "deepspin_ase.data.registry",
    "write_frames": "deepspin_ase.data.registry",
    # what is in them
    "InspectionReport": "deepspin_ase.data.inspect",
    "inspect_frames": "deepspin_ase.data.inspect",
    "ConservationEstimate": "deepspin_ase.data.conservation",
    "estimate_conservation": "deepspin_ase.data.conservation",
    # results of calculators
    "ResultsWriter": "deepspin_ase.data.results",
    "StoredResults": "deepspin_ase.data.results",
    "read_results": "deepspin_ase.data.results",
    "write_results": "deepspin_ase.data.results",
    # for training
    "frames_to_graphs": "deepspin_ase.data.dataset",
    "magnetic_species": "deepspin_ase.data.dataset",
}

__all__ = [*_PUBLIC]

__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
