"""Inputs for ABACUS with DeltaSpin, and labels from its logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.units import Bohr

from deepspin_ase.data import Frame
from deepspin_ase.data.abacus import read
from deepspin_ase.errors import InputError
from deepspin_ase.moments import get_moments
from deepspin_plugins.labelers.abinit_input import kmesh
from deepspin_plugins.labelers.external import ExternalLabeler

REQUIRED: Final[dict[str, Any]] = {
    "suffix": "ABACUS",
    "calculation": "scf",
    "symmetry": 0,
    "nspin": 4,
    "noncolin": 1,
    "sc_mag_switch": 1,
    "cal_force": 1,
    "cal_stress": 1,
}
"""What constrained moments need; the settings cannot change these."""


@dataclass(frozen=True, kw_only=True)
class AbacusSettings:
    """Settings of ABACUS + DeltaSpin.

    Parameters
    ----------
    pseudopotentials
        File name by symbol.
    orbitals
        Numerical orbitals by symbol (``basis_type lcao``).
    kspacing
        Largest distance of k-points, 1/Å (with 2π); a Γ-centred mesh is written to ``KPT``.
    parameters
        Entries of INPUT by name: cutoff, smearing, ``pseudo_dir``, ``orbital_dir``, ...

    Raises
    ------
    InputError
        An entry that constrained moments need otherwise, a k-spacing that is not positive.
    """

    pseudopotentials: Mapping[str, str]
    orbitals: Mapping[str, str] = field(default_factory=dict)
    kspacing: float = 0.25
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {
            "basis_type": "lcao",
            "ks_solver": "genelpa",
            "ecutwfc": 100,
            "scf_thr": 1e-7,
            "scf_nmax": 100,
            "smearing_method": "gauss",
            "smearing_sigma": 0.01,
            "mixing_type": "broyden",
            "mixing_ndim": 10,
            "lspinorb": 0,
            "sc_thr": 1e-7,
            "nsc": 100,
            "nsc_min": 2,
            "alpha_trial": 0.01,
            "sccut": 3,
        }
    )

    def __post_init__(self) -> None:
        clash = sorted(set(REQUIRED) & set(self.parameters))
        if clash:
            raise InputError(f"parameters must not set {', '.join(clash)}: the labeler writes them")
        if not self.kspacing > 0:
            raise InputError(f"kspacing must be positive (1/Å), got {self.kspacing!r}")


class AbacusLabeler(ExternalLabeler):
    """Labels from ABACUS with constrained moments.

    The parameters are those of :class:`~deepspin_plugins.labelers.external.ExternalLabeler`; without a ``command``
    the inputs are written and you run ABACUS.
    """

    program = "ABACUS"

    def write_inputs(self, atoms: Atoms, directory: Path) -> None:
        """Write STRU, INPUT and KPT."""
        settings: AbacusSettings = self.settings
        (directory / "STRU").write_text(stru_text(atoms, settings), encoding="utf-8")
        entries = {**settings.parameters, **REQUIRED}
        text = "INPUT_PARAMETERS\n" + "".join(f"{name} {value}\n" for name, value in entries.items())
        (directory / "INPUT").write_text(text, encoding="utf-8")
        mesh = " ".join(map(str, kmesh(atoms.cell.array, settings.kspacing)))
        (directory / "KPT").write_text(f"K_POINTS\n0\nGamma\n{mesh} 0 0 0\n", encoding="utf-8")

    def read_outputs(self, directory: Path) -> Frame:
        """The only step of the log."""
        return read(directory)[-1]

    def started(self, directory: Path) -> bool:
        """Whether ABACUS has written a log."""
        return any(directory.glob("OUT.*/running_*.log"))


def stru_text(atoms: Atoms, settings: AbacusSettings) -> str:
    """Text of STRU, lattice constant 1 Å; atoms without a moment are not constrained (``sc 0 0 0``)."""
    symbols = list(dict.fromkeys(atoms.symbols))
    for name, files in (("pseudopotentials", settings.pseudopotentials), ("orbitals", settings.orbitals)):
        missing = [symbol for symbol in symbols if symbol not in files]
        if missing and (files or name == "pseudopotentials"):  # plane waves need no orbitals
            raise InputError(f"{name} lack {', '.join(missing)}")
    lines = ["ATOMIC_SPECIES"]
    lines += [f"{s} {atomic_masses[atomic_numbers[s]]:.4f} {settings.pseudopotentials[s]}" for s in symbols]
    if settings.orbitals:
        lines += ["", "NUMERICAL_ORBITAL", *(settings.orbitals[s] for s in symbols)]
    lines += ["", "LATTICE_CONSTANT", repr(1 / Bohr), "", "LATTICE_VECTORS"]
    lines += [" ".join(f"{x:.12f}" for x in row) for row in atoms.cell.array]
    lines += ["", "ATOMIC_POSITIONS", "Direct"]
    scaled, moments = atoms.get_scaled_positions(wrap=False), get_moments(atoms)
    for symbol in symbols:
        own = [i for i, s in enumerate(atoms.symbols) if s == symbol]
        lines += ["", symbol, "0.0", str(len(own))]
        for i in own:
            place = " ".join(f"{x:.12f}" for x in scaled[i])
            moment = " ".join(f"{x:.10f}" for x in moments[i])
            lines.append(f"{place} 1 1 1 mag {moment} sc {'1 1 1' if moments[i].any() else '0 0 0'}")
    return "\n".join(lines) + "\n"
