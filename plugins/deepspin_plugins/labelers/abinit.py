"""Label with ABINIT: non-collinear density-functional theory with constrained moments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from ase import Atoms

from deepspin_ase.data import Frame, FrameError
from deepspin_ase.data.abinit import read, sphere_moments
from deepspin_ase.labeling.contract import FailedLabel, Tolerance, check_label, deviations
from deepspin_ase.moments import get_moments
from deepspin_plugins.labelers.abinit_input import Value, abinit_input, constraint_kinds, spin_frame
from deepspin_plugins.labelers.abinit_settings import AbinitSettings
from deepspin_plugins.labelers.processes import run_program

_STEM: Final = "run"
_TOP_OCCUPATION: Final = 1e-3  # of the highest band, at any k-point


@dataclass(frozen=True)
class Attempt:
    """One way to converge: variables that differ from the input of the first, and what to run before.

    Parameters
    ----------
    name
        Stands in the metadata.
    changes
        ABINIT variables.
    from_directions
        Converge first with the directions alone constrained, and start from that density.
    collinear
        For collinear states, which are calculated with the symmetry of the crystal.
    """

    name: str
    changes: Mapping[str, Value]
    from_directions: bool = False
    collinear: bool = False


ATTEMPTS: Final = (
    Attempt("standard", {}),
    Attempt("slow mixing", {"magcon_lambda": 0.01, "diemix": 0.35, "npulayit": 12, "nline": 3}),
    Attempt("from directions", {"magcon_lambda": 0.01, "nline": 3}, from_directions=True),
    Attempt("without symmetry", {"nsym": 1, "kptopt": 2}, collinear=True),  # ABINIT refuses meshes that break it
)
"""Tried in this order until one converges and passes the checks."""


class AbinitLabeler:
    """Labeler that runs ABINIT as a separate program.

    Parameters
    ----------
    settings
        What the labels depend on; default: bcc iron, LDA.
    command
        Program and arguments, without the input file: ``("mpirun", "-n", "4", "abinit")`` uses four cores.
    timeout
        s, for each run of the program.
    tolerance
        How far the moments reached may be off.

    Notes
    -----
    F^m is minus ABINIT's gradient with respect to the constrained moments (Gonze et al., J. Chem. Theory Comput. 18,
    6099 (2022)); docs/labelers.md compares it with finite differences of the energy.
    """

    def __init__(
        self,
        settings: AbinitSettings | None = None,
        *,
        command: Sequence[str] = ("abinit",),
        timeout: float = 24 * 3600.0,
        tolerance: Tolerance | None = None,
    ) -> None:
        self.settings = settings or AbinitSettings()
        self.command = tuple(command)
        self.timeout = timeout
        self.tolerance = tolerance or Tolerance()

    @property
    def identity(self) -> str:
        """Settings as text."""
        values = asdict(self.settings)
        return "abinit " + " ".join(f"{name}={values[name]!r}" for name in sorted(values) if name != "pseudo_directory")

    def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
        """Label one structure, with fallbacks; see :class:`~deepspin_ase.labeling.contract.Labeler`.

        Raises
        ------
        InputError
            A structure or settings that ABINIT cannot be given, or no such program.
        """
        start = time.monotonic()
        reasons = []
        for attempt in ATTEMPTS:
            result = self._attempt(atoms, directory, attempt)
            if isinstance(result, Frame):
                info = {**result.info, "attempt": attempt.name, "seconds": round(time.monotonic() - start, 1)}
                return Frame(result.atoms, result.labels, source="ABINIT", info=info)
            reasons.append(f"{attempt.name}: {result}")
        return FailedLabel(atoms, "; ".join(reasons))

    def _attempt(self, atoms: Atoms, directory: Path, attempt: Attempt) -> Frame | str:
        changes = dict(attempt.changes)
        symbols = list(dict.fromkeys(atoms.symbols))
        kinds = constraint_kinds(atoms, symbols, self.settings)
        target = get_moments(atoms)
        spin = spin_frame(target)
        collinear = spin.rank == 1 and self.settings.constraint == "moments"
        if attempt.collinear and not collinear:
            return "only for collinear states"
        if attempt.from_directions:
            if 1 not in kinds or collinear:
                return "only for vectors that are not collinear"
            first: dict[str, Value] = {"constraint_kind": " ".join("4" if k else "0" for k in kinds), "prtden": 1}
            problem = self._run(atoms, directory, "first", changes | first)
            density = directory / "firsto_DEN"
            if not density.is_file():
                return f"no density from constrained directions{': ' + problem if problem else ''}"
            changes["getden_filepath"] = f'"{density.name}"'
        problem = self._run(atoms, directory, _STEM, changes)
        output = directory / f"{_STEM}.abo"
        try:
            frame = read(output)[0]
            reached = sphere_moments(output.read_text(encoding="utf-8"), len(atoms), output)
        except (FrameError, OSError) as error:
            return problem or (error.message if isinstance(error, FrameError) else str(error))
        if np.abs(frame.atoms.get_scaled_positions(wrap=False) - atoms.get_scaled_positions(wrap=False)).max() > 1e-6:
            return "the output belongs to another structure"
        if frame.info.get("top_band_occupation", 0.0) > _TOP_OCCUPATION:
            return f"the highest band is occupied ({frame.info['top_band_occupation']:.1e}); raise empty_bands"
        reached = spin.from_frame(reached)
        structure = atoms.copy()
        structure.calc = None
        structure.set_array("initial_magmoms", None)
        structure.set_array("initial_magmoms", spin.from_frame(frame.moments))
        labels = replace(frame.labels, magnetic_forces=spin.from_frame(np.array(frame.labels.magnetic_forces)))
        frame = Frame(structure, labels, info=frame.info)
        constrained = np.array([kinds[symbols.index(symbol)] > 0 for symbol in atoms.symbols])
        reason = check_label(frame, reached, target, constrained, self.settings.constraint, self.tolerance)
        if reason:
            return reason
        angles, lengths = deviations(reached, target, self.tolerance.smallest)
        info = {**frame.info, "largest_angle_off_deg": round(float(angles[constrained].max()), 4)}
        if self.settings.constraint == "moments":
            info["largest_length_off_muB"] = round(float(np.abs(lengths[constrained]).max()), 5)
        return Frame(structure, labels, info=info)

    def _run(self, atoms: Atoms, directory: Path, stem: str, changes: Mapping[str, Value]) -> str:
        """Write the input and run it; old outputs are removed first, since ABINIT would choose another name."""
        for old in (*directory.glob(f"{stem}.abo*"), *directory.glob(f"{stem}o_*")):
            old.unlink()
        (directory / f"{stem}.abi").write_text(abinit_input(atoms, self.settings, changes), encoding="utf-8")
        return run_program((*self.command, f"{stem}.abi"), directory, f"{stem}.log", self.timeout)
