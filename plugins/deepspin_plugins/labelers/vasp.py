"""Inputs for VASP with the DeltaSpin patch, and labels from its outputs.

VASP and its pseudopotentials are licensed software: you provide the program and ``POTCAR``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.io.vasp import write_vasp

from deepspin_ase.data import Frame
from deepspin_ase.data.vasp_deltaspin import read
from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_plugins.labelers.abinit_input import kmesh
from deepspin_plugins.labelers.external import ExternalLabeler

REQUIRED_TAGS: Final[dict[str, Any]] = {
    "ISPIN": 2,
    "LNONCOLLINEAR": ".TRUE.",
    "ISYM": -1,
    "IBRION": -1,
    "NSW": 0,
    "LORBIT": 11,
    "I_CONSTRAINED_M": 2,
    "SCTYPE": 1,
}
"""What the patch needs; the settings cannot change these."""


@dataclass(frozen=True, kw_only=True)
class VaspDeltaSpinSettings:
    """Settings of VASP + DeltaSpin.

    Parameters
    ----------
    sphere_radii
        ``RWIGS`` by symbol, Å: the spheres in which moments are integrated.
    potcar
        Directory with one ``POTCAR.<symbol>`` per element; without it you add POTCAR yourself.
    kspacing
        Largest distance of k-points, 1/Å (with 2π); a Γ-centred mesh is written to ``KPOINTS``.
    incar
        Tags by name: cutoff, smearing, U, ... Lists are written with blanks.

    Raises
    ------
    InputError
        A tag that the patch needs otherwise.
    """

    sphere_radii: Mapping[str, float]
    potcar: str = ""
    kspacing: float = 0.25
    incar: Mapping[str, Any] = field(
        default_factory=lambda: {
            "PREC": "Accurate",
            "ENCUT": 500,
            "ISMEAR": 1,
            "SIGMA": 0.1,
            "EDIFF": 1e-7,
            "NELM": 500,
            "LASPH": ".TRUE.",
            "GGA_COMPAT": ".FALSE.",
            "LMAXMIX": 4,
            "LWAVE": ".FALSE.",
            "LCHARG": ".FALSE.",
            "NSC": 100,
            "NSCMIN": 2,
            "SCDIFF": 1e-6,
            "INISC": 0.01,
            "SCCUT": 3,
        }
    )

    def __post_init__(self) -> None:
        fixed = {*REQUIRED_TAGS, "MAGMOM", "M_CONSTR", "CONSTRL", "LAMBDA", "RWIGS"}
        clash = sorted(fixed & {tag.upper() for tag in self.incar})
        if clash:
            raise InputError(f"incar must not set {', '.join(clash)}: the labeler writes them")
        if not self.kspacing > 0:
            raise InputError(f"kspacing must be positive (1/Å), got {self.kspacing!r}")


class VaspDeltaSpinLabeler(ExternalLabeler):
    """Labels from VASP with the DeltaSpin patch.

    The parameters are those of :class:`~deepspin_plugins.labelers.external.ExternalLabeler`; without a ``command``
    the inputs are written and you run VASP.
    """

    program = "VASP DeltaSpin"

    def write_inputs(self, atoms: Atoms, directory: Path) -> None:
        """Write POSCAR, INCAR, KPOINTS and, if the settings say where they are, POTCAR."""
        settings: VaspDeltaSpinSettings = self.settings
        symbols = list(dict.fromkeys(atoms.symbols))
        missing = [symbol for symbol in symbols if symbol not in settings.sphere_radii]
        if missing:
            raise InputError(f"sphere_radii (RWIGS, Å) lack {', '.join(missing)}")
        write_vasp(directory / "POSCAR", atoms, direct=False, vasp5=True)
        mesh = kmesh(atoms.cell.array, settings.kspacing)
        (directory / "KPOINTS").write_text(f"mesh\n0\nGamma\n{' '.join(map(str, mesh))}\n0 0 0\n", encoding="utf-8")
        (directory / "INCAR").write_text(incar_text(atoms, settings), encoding="utf-8")
        if settings.potcar:
            with (directory / "POTCAR").open("wb") as stream:
                for symbol in symbols:
                    file = Path(settings.potcar) / f"POTCAR.{symbol}"
                    if not file.is_file():
                        raise InputError(f"there is no file {file}")
                    with file.open("rb") as part:
                        shutil.copyfileobj(part, stream)

    def read_outputs(self, directory: Path) -> Frame:
        """The last summary of the output."""
        return read(directory)[-1]

    def started(self, directory: Path) -> bool:
        """Whether VASP has written anything."""
        return any((directory / name).is_file() for name in ("OUTCAR", "OSZICAR")) or any(directory.glob("*.log"))


def incar_text(atoms: Atoms, settings: VaspDeltaSpinSettings) -> str:
    """Text of INCAR: moments asked for in ``MAGMOM`` and ``M_CONSTR``; atoms without a moment are not constrained."""
    moments = get_moments(atoms)
    constrained = (moments != 0).any(axis=1)
    symbols = dict.fromkeys(atoms.symbols)
    tags: dict[str, Any] = {
        **settings.incar,
        **REQUIRED_TAGS,
        "RWIGS": [settings.sphere_radii[symbol] for symbol in symbols],
        "MAGMOM": _rows(moments),
        "M_CONSTR": _rows(moments),
        "CONSTRL": " ".join("1 1 1" if held else "0 0 0" for held in constrained),
        "LAMBDA": f"{3 * len(atoms)}*0",
    }
    return "".join(f"{name} = {_text(value)}\n" for name, value in tags.items())


def _rows(vectors: np.ndarray) -> str:
    return " \\\n  ".join(" ".join(f"{x:.10f}" for x in row) for row in vectors)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value)
