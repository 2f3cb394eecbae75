"""ABINIT with constrained moments (``constraint_kind``): the text output, ``*.abo``.

The gradient that ABINIT calls ``grspin`` (block "Gradient with respect to target") is +∂E/∂m in hartree/µB, so F^m =
-grspin. The energy holds the Lagrange term of the constraint: it belongs to the *target* moments up to second order of
what is left of the deviation, so the frame carries these; lengths that are not constrained are those reached in the
spheres of radius ``ratsph``. Verified against finite differences of the energy; see ``docs/labelers.md``.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree
from numpy.typing import NDArray

from deepspin_ase.data.frames import Frame, FrameError, Labels
from deepspin_ase.data.text_file import read_text
from deepspin_ase.moments import get_moments, set_moments

logger = logging.getLogger(__name__)
Array = NDArray[np.float64]

_ECHO: Final = "-outvars: echo values of variables after computation"
_SPHERES: Final = "Integrated electronic and magnetization densities in atomic spheres"
_END: Final = "Calculation completed"
_NUMBER: Final = r"[-+]?\d+(?:\.\d*)?(?:[EeDd][-+]?\d+)?"
_PATTERNS: Final = ("*.abo", "*.out")
_SMALL_MOMENT: Final = 1e-3  # µB
_KEPT: Final = ("constraint_kind", "pawxcdev", "ixc", "ecut", "pawecutdg", "occopt", "tsmear", "nkpt")


def read(path: Path) -> list[Frame]:
    """Read one single-point calculation.

    Parameters
    ----------
    path
        The text output of ABINIT, or the directory with it.

    Returns
    -------
    list of Frame
        One frame; ``info`` holds what the labels depend on (version, functional, cutoffs, constraint, SCF steps).

    Raises
    ------
    FrameError
        Truncated or stopped runs, an SCF that did not converge, no constrained moments, several data sets.
    """
    file = _find_output(path)
    text = read_text(file)
    if "ABINIT" not in text[:2000]:
        raise FrameError("this is no output of ABINIT", source=file)
    if _END not in text or _ECHO not in text:
        raise FrameError(f"ABINIT did not reach its end (no {_END!r}); the run stopped or is truncated", source=file)
    if "=>converged" not in text:
        raise FrameError("the SCF did not converge; raise nstep or change the mixing", source=file)
    if len(re.findall(r"^== DATASET ", text, re.MULTILINE)) != 1 or re.search(r"^\s*ndtset ", text, re.MULTILINE):
        raise FrameError("several data sets in one output; run one structure at a time", source=file)
    values = _echoed_values(text[text.index(_ECHO) :])
    atoms = _structure(values, file)
    if "grspin" not in values:
        raise FrameError("no gradient with respect to the moments: constraint_kind was 0", source=file)
    n = len(atoms)
    set_moments(atoms, _moments(values, sphere_moments(text, n, file), file))
    stress = values["strten"] * Hartree / Bohr**3 if "strten" in values else None
    if stress is not None and _has_moments_along_y(atoms):
        logger.warning("%s: the stress is left out; ABINIT is wrong about it when moments have y components", file)
        stress = None
    labels = Labels(
        energy=_energy(text, file),
        forces=_vectors(values, "fcart", n, file) * Hartree / Bohr if "fcart" in values else None,
        stress=stress,
        magnetic_forces=-_vectors(values, "grspin", n, file) * Hartree,
    )
    return [Frame(atoms, labels, source=str(file), info=_information(text, values))]


def _find_output(path: Path) -> Path:
    if path.is_file():
        return path
    for pattern in _PATTERNS:
        files = sorted(path.glob(pattern))
        if len(files) > 1:
            raise FrameError(f"several outputs, name one: {', '.join(file.name for file in files)}", source=path)
        if files:
            return files[0]
    raise FrameError("no ABINIT output (*.abo) here", source=path)


def _echoed_values(text: str) -> dict[str, Array]:
    """Numbers of the final echo of variables, by name (atomic units)."""
    entry = re.compile(rf"^[-P ]\s*([a-z_]+)\s+((?:{_NUMBER}\s+)*{_NUMBER})(?:\s+(?:Bohr|Hartree))?\s*$")
    values: dict[str, list[float]] = {}
    name = ""
    for line in text.splitlines()[1:]:
        if line.startswith("===="):
            break
        found = entry.match(line)
        if found:
            name = found[1]
            values[name] = []
            numbers = found[2]
        elif name and re.fullmatch(rf"\s+(?:{_NUMBER}\s+)*{_NUMBER}\s*", line):
            numbers = line
        else:
            name = ""
            continue
        values[name] += [float(x.upper().replace("D", "E")) for x in numbers.split()]
    return {name: np.array(numbers) for name, numbers in values.items()}


def _structure(values: dict[str, Array], file: Path) -> Atoms:
    missing = [name for name in ("natom", "acell", "typat", "znucl") if name not in values]
    if missing:
        raise FrameError(f"the final echo lacks {', '.join(missing)}; it is truncated", source=file)
    n = round(values["natom"][0])
    cell = values["acell"][:, None] * values.get("rprim", np.eye(3)).reshape(3, 3) * Bohr
    numbers = np.round(values["znucl"]).astype(int)[np.round(values["typat"]).astype(int) - 1]
    scaled = values.get("xred", np.zeros(3 * n)).reshape(-1, 3)  # ABINIT leaves out what is zero
    if len(numbers) != n or len(scaled) != n:
        raise FrameError(f"types of {len(numbers)} and positions of {len(scaled)} atoms, natom = {n}", source=file)
    return Atoms(numbers, scaled_positions=scaled, cell=cell, pbc=True)


def _has_moments_along_y(atoms: Atoms) -> bool:
    """ABINIT 9.6.2: turning all moments from the xz into the xy plane changes nothing but the stress."""
    return bool(np.abs(get_moments(atoms)[:, 1]).max() > _SMALL_MOMENT)


def _moments(values: dict[str, Array], reached: Array, file: Path) -> Array:
    """Targets where vectors are constrained, target directions with the lengths reached where directions are."""
    target = _vectors(values, "spinat", len(reached), file) if "spinat" in values else np.zeros_like(reached)
    kinds = values.get("constraint_kind", np.zeros(1))[np.round(values["typat"]).astype(int) - 1]
    unknown = sorted({int(kind) for kind in kinds} - {0, 1, 4})
    if unknown:
        raise FrameError(f"constraint_kind {unknown}: allowed are 0, 1 (vectors), 4 (directions)", source=file)
    wanted = np.linalg.norm(target, axis=1, keepdims=True)
    along = target / np.where(wanted > 0, wanted, 1.0) * np.linalg.norm(reached, axis=1, keepdims=True)
    return np.where(kinds[:, None] == 1, target, np.where((kinds[:, None] == 4) & (wanted > 0), along, reached))


def _vectors(values: dict[str, Array], name: str, n: int, file: Path) -> Array:
    if values[name].size != 3 * n:
        raise FrameError(f"{name} has {values[name].size} numbers for {n} atoms; the echo is damaged", source=file)
    return values[name].reshape(n, 3)


def _energy(text: str, file: Path) -> float:
    """Total energy, eV: the last line of the SCF table has the most digits."""
    steps = re.findall(rf"^ ETOT\s*\d+\s+({_NUMBER})", text, re.MULTILINE)
    if not steps:
        raise FrameError("no SCF table (ETOT lines)", source=file)
    return float(steps[-1]) * Hartree


def sphere_moments(text: str, n: int, file: Path) -> Array:
    """Moments that were reached, integrated in the spheres, (n, 3), µB.

    Parameters
    ----------
    text
        The output; the last table in it is taken.
    n
        Number of atoms.
    file
        For the message of an error.

    Raises
    ------
    FrameError
        No table, or a damaged one.
    """
    start = text.rfind(_SPHERES)
    if start < 0:
        raise FrameError("no moments in atomic spheres", source=file)
    rows = re.findall(rf"^\s+(\d+)\s+{_NUMBER}\s+{_NUMBER}((?:\s+{_NUMBER}){{3}})\s+{_NUMBER}\s*$", text[start:], re.M)
    if [int(row[0]) for row in rows[:n]] != list(range(1, n + 1)):
        raise FrameError("the table of moments is damaged, or not of a magnetic run", source=file)
    moments = np.array([[float(x) for x in row[1].split()] for row in rows[:n]])
    if "Diff(up-dn)" in text[start : start + 400]:  # two spin channels: the columns are down, total, up - down
        moments = moments[:, 2:] * (0.0, 0.0, 1.0)
    return moments


def _information(text: str, values: dict[str, Array]) -> dict[str, Any]:
    version = re.search(r"Version\s+(\S+)\s+of ABINIT", text)
    info: dict[str, Any] = {"code": f"ABINIT {version[1]}" if version else "ABINIT"}
    info.update({name: _plain(values[name]) for name in _KEPT if name in values and values[name].size == 1})
    if "occ" in values and "nband" in values:  # of the first 50 k-points, as ABINIT prints no more
        top = values["occ"].reshape(-1, round(values["nband"][0]))[:, -1]
        info["top_band_occupation"] = float(np.abs(top).max())  # Methfessel-Paxton also has negative ones
    info["scf_steps"] = len(re.findall(r"^ ETOT", text, re.MULTILINE))
    if info.get("pawxcdev", 1) != 0 and "useylm" in values:
        logger.warning(
            "pawxcdev is not 0: the magnetic forces are some 5-15 %% smaller than the gradient of the energy "
            "(docs/labelers.md)"
        )
    return info


def _plain(value: Array) -> float | int:
    number = float(value[0])
    return int(number) if number.is_integer() else number
