"""What an ABINIT calculation depends on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deepspin_ase.errors import InputError
from deepspin_ase.labeling.contract import Constraint

PSEUDO_DIRECTORIES: Final = ("/usr/share/abinit/psp",)


@dataclass(frozen=True, kw_only=True)
class AbinitSettings:
    """Settings of the ABINIT labeler; the defaults are those of bcc iron in the local-density approximation.

    k-spacing and smearing are what docs/labelers.md shows to be converged for iron; look at them for another metal.

    Parameters
    ----------
    pseudopotentials
        File by chemical symbol; PAW data sets.
    pseudo_directory
        Where they are; default the environment's ``ABI_PSPDIR``, or Debian's abinit-data.
    sphere_radii
        Radius of the spheres in which moments are integrated (``ratsph``), Bohr, by symbol. It defines what a moment
        is; at least the PAW radius.
    sphere_smearing
        Width of the border of the spheres (``ratsm``), Bohr.
    ecut, pawecutdg
        Cutoffs of wave functions and of the fine grid, hartree.
    kspacing
        Largest distance of k-points, 1/Å (with the factor 2π).
    shift
        Shift of the k-mesh, in units of its steps.
    occopt, tsmear
        Occupation function and its width, hartree (6: Methfessel-Paxton, whose energy depends little on the width;
        7: Gaussian; 3: Fermi-Dirac).
    empty_bands
        Bands above the number of electrons, per atom and spin. A result whose highest band is occupied is refused.
    constraint
        "moments": direction and magnitude are imposed (``constraint_kind 1``). "directions": the magnitude follows
        (``constraint_kind 4``), so that the magnetic force is transverse.
    tolvrs
        Residual of the potential at which the SCF stops, per atom.
    nstep
        SCF steps at most, per attempt.
    extra
        Further ABINIT variables by name; they overrule ours.

    Raises
    ------
    InputError
        Values out of range, with what is allowed.
    """

    pseudopotentials: Mapping[str, str] = field(default_factory=lambda: {"Fe": "26fe.lda2.paw"})
    pseudo_directory: str = ""
    sphere_radii: Mapping[str, float] = field(default_factory=lambda: {"Fe": 2.12})
    sphere_smearing: float = 0.05
    ecut: float = 12.0
    pawecutdg: float = 24.0
    kspacing: float = 0.39
    shift: tuple[float, float, float] = (0.5, 0.5, 0.5)
    occopt: int = 6
    tsmear: float = 0.02
    empty_bands: int = 3
    constraint: Constraint = "moments"
    tolvrs: float = 5e-6
    nstep: int = 60
    extra: Mapping[str, str | float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("ecut", "pawecutdg", "kspacing", "tsmear", "tolvrs", "nstep", "sphere_smearing"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not value > 0:
                raise InputError(f"{name} must be a positive number, got {value!r} (YAML wants 1.0e-7, not 1e-7)")
        for name in ("pseudopotentials", "sphere_radii", "extra"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"{name} must be a mapping like {{Fe: ...}}, got {getattr(self, name)!r}")
        if self.constraint not in ("moments", "directions"):
            raise InputError(f"constraint must be 'moments' or 'directions', got {self.constraint!r}")
        if self.pawecutdg < self.ecut:
            raise InputError(f"pawecutdg ({self.pawecutdg}) must not be below ecut ({self.ecut})")
        if self.empty_bands < 1:
            raise InputError(f"empty_bands must be at least 1, got {self.empty_bands}")

    def pseudopotential(self, symbol: str) -> Path:
        """File of an element.

        Raises
        ------
        InputError
            None is named, or there is no such file.
        """
        if symbol not in self.pseudopotentials:
            raise InputError(
                f"no pseudopotential for {symbol}; the settings name {', '.join(self.pseudopotentials) or 'none'}"
            )
        name = self.pseudopotentials[symbol]
        folders = [self.pseudo_directory] if self.pseudo_directory else _default_folders()
        for folder in folders:
            if (Path(folder) / name).is_file():
                return Path(folder) / name
        raise InputError(
            f"there is no file {name} in {' or '.join(folders)}; install abinit-data (apt-get install abinit-data) or "
            "set pseudo_directory"
        )

    def sphere_radius(self, symbol: str) -> float:
        """Radius of the sphere of an element, Bohr."""
        if symbol not in self.sphere_radii:
            raise InputError(
                f"no sphere radius for {symbol}; give sphere_radii in Bohr, not below the radius of the PAW data set"
            )
        return self.sphere_radii[symbol]


def valence_electrons(pseudopotential: Path) -> float:
    """Number of electrons that a pseudopotential file (ABINIT's own formats or PAW-XML) puts into bands.

    Raises
    ------
    InputError
        If it is not found in the file's head.
    """
    head = pseudopotential.read_text(encoding="utf-8", errors="replace")[:20000]
    found = re.search(r'\bvalence="\s*([\d.]+)', head)
    if found is None:
        found = re.search(r"^\s*[\d.]+\s+([\d.]+)\s+\d+\s+znucl", head, re.MULTILINE)
    if found is None:
        found = re.search(r"^\s*[\d.]+\s+([\d.]+)\s+\d+\s*:\s*zatom", head, re.MULTILINE)
    if found is None:
        raise InputError(f"{pseudopotential}: the number of valence electrons is not in the file's head")
    return float(found[1])


def _default_folders() -> list[str]:
    named = os.environ.get("ABI_PSPDIR")
    return [*([named] if named else []), *PSEUDO_DIRECTORIES]
