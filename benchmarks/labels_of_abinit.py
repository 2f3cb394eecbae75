"""How good the labels of the ABINIT labeler are: derivatives of its energies, k-points and smearing.

    python benchmarks/labels_of_abinit.py derivatives RUNS [WORKERS]
    python benchmarks/labels_of_abinit.py mesh RUNS [WORKERS]

print the tables of docs/labelers.md and keep them in results/labels_of_abinit.json. RUNS takes the calculations:
what is finished there is not calculated again. Ten minutes of CPU time for the first, an hour and a half for the
second.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from deepspin_ase.data import Frame
from deepspin_ase.errors import DeepSpinError
from deepspin_ase.labeling import label_all
from deepspin_ase.moments import get_moments, set_moments
from deepspin_plugins.labelers import AbinitLabeler, AbinitSettings

RESULTS = Path(__file__).parent / "results" / "labels_of_abinit.json"
STATES = {  # a (Å), angle (degrees), |m| (µB), shear, displacement of the first atom (Å)
    "30° apart, 2.2 and 2.2 µB, a = 2.87 Å": (2.87, 30.0, (2.2, 2.2), 0.0, (0.05, 0.08, -0.06)),
    "94° apart, 1.94 and 1.99 µB, a = 2.80 Å, sheared": (2.80, 94.0, (1.94, 1.99), 0.02, (-0.07, 0.04, 0.06)),
    "164° apart, 2.28 and 2.03 µB, a = 2.92 Å, sheared": (2.92, 164.0, (2.28, 2.03), -0.03, (0.06, -0.05, 0.07)),
}
STEPS = {"F⊥ (meV/µB)": 0.05, "F∥ (meV/µB)": 0.05, "F (meV/Å)": 0.02, "V σ_xx (meV)": 0.005}
SMEARINGS = [(6, 0.02), (6, 0.015), (6, 0.01), (7, 0.015), (7, 0.01), (4, 0.02)]
CHOSEN = (6, 0.02)
MESHES = (5, 6, 8, 10)
CANTED = {CHOSEN: (5, 6, 8), (6, 0.01): (8,)}  # meshes on which the canted state is calculated, by smearing


def iron(a: float, angle: float, lengths: tuple[float, float], shear: float, moved: tuple[float, ...]) -> Atoms:
    """Two atoms whose moments lie in the xz plane."""
    atoms = bulk("Fe", a=a, cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + shear * np.array([[0, 1, 0.5], [1, 0, 0], [0.5, 0, 0]])), True)
    atoms.positions[0] += moved
    half = np.deg2rad(angle) / 2
    set_moments(
        atoms, np.array([[np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]]) * np.c_[np.array(lengths)]
    )
    return atoms


def across(atoms: Atoms) -> np.ndarray:
    """Unit vector in the xz plane across the first moment."""
    x, _, z = get_moments(atoms)[0] / np.linalg.norm(get_moments(atoms)[0])
    return np.array([z, 0.0, -x])


def moved(atoms: Atoms, kind: str, step: float) -> Atoms:
    """The structure after a step; a moment that is turned keeps its length."""
    copy = atoms.copy()
    moments = get_moments(atoms)
    length = np.linalg.norm(moments[0])
    if kind.startswith("F⊥"):
        moments[0] = np.cos(step / length) * moments[0] + np.sin(step / length) * length * across(atoms)
    elif kind.startswith("F∥"):
        moments[0] *= 1 + step / length
    elif kind.startswith("F "):
        copy.positions[0] += step * np.array([1.0, 2.0, 2.0]) / 3
    else:
        copy.set_cell(atoms.cell.array @ np.diag([1 + step, 1, 1]), scale_atoms=True)
    set_moments(copy, moments)
    return copy


def slope(frame: Frame, kind: str, step: float) -> float:
    """dE/dstep by the labels of a structure that was moved by the step, meV."""
    moment = frame.moments[0] / np.linalg.norm(frame.moments[0])
    if kind.startswith("F⊥"):
        return float(-1e3 * frame.labels.magnetic_forces[0] @ across(frame.atoms))
    if kind.startswith("F∥"):
        return float(-1e3 * frame.labels.magnetic_forces[0] @ moment)
    if kind.startswith("F "):
        return float(-1e3 * frame.labels.forces[0] @ np.array([1.0, 2.0, 2.0]) / 3)
    return float(1e3 * frame.atoms.cell.volume * frame.labels.stress[0] / (1 + step))


def derivatives(label: Callable[[list[Atoms], AbinitSettings], list[Frame]]) -> list[dict[str, float | str]]:
    """Differences of energies beside Simpson's rule over the labels at both ends and in the middle."""
    structures = []
    for values in STATES.values():
        atoms = iron(*values)
        structures += [atoms, *(moved(atoms, kind, s * h) for kind, h in STEPS.items() for s in (-1, 1))]
    frames = iter(label(structures, AbinitSettings(kspacing=1.2, extra={"ecutsm": 0.5})))
    rows: list[dict[str, float | str]] = []
    for state in STATES:
        middle = next(frames)
        for kind, h in STEPS.items():
            low, high = next(frames), next(frames)
            sign = 1 if kind.startswith("V") else -1
            numeric = 1e3 * (high.labels.energy - low.labels.energy) / (2 * h)
            analytic = (slope(low, kind, -h) + 4 * slope(middle, kind, 0.0) + slope(high, kind, h)) / 6
            rows.append({"state": state, "derivative": kind, "numeric": sign * numeric, "analytic": sign * analytic})
    return rows


def mesh(label: Callable[[list[Atoms], AbinitSettings], list[Frame]]) -> list[dict[str, float | str]]:
    """FM, AFM and a canted state with denser and denser meshes."""
    rows: list[dict[str, float | str]] = []
    for occopt, tsmear in SMEARINGS:
        for n in MESHES if (occopt, tsmear) == CHOSEN else (6, 8):
            settings = AbinitSettings(
                kspacing=2 * np.pi / 2.87 / n * 1.0001, occopt=occopt, tsmear=tsmear, extra={"ecutsm": 0.5}
            )
            angles = [0.0, 180.0] + [40.0] * (n in CANTED.get((occopt, tsmear), ()))
            fm, afm, *canted = label([iron(2.87, angle, (2.2, 2.2), 0.0, (0, 0, 0)) for angle in angles], settings)
            row: dict[str, float | str] = {"occopt": occopt, "tsmear": tsmear, "mesh": n}
            row["E(AFM) - E(FM) (meV/atom)"] = 500 * (afm.labels.energy - fm.labels.energy)
            for name, frame in (("FM", fm), ("AFM", afm), *(("40°", frame) for frame in canted)):
                row[f"F∥ {name} (meV/µB)"] = -slope(frame, "F∥", 0.0)
                row[f"σ_xx {name} (GPa)"] = 160.21766 * float(frame.labels.stress[0])
            for frame in canted:
                row["F⊥ 40° (meV/µB)"] = abs(slope(frame, "F⊥", 0.0))
            rows.append(row)
    return rows


def main(mode: str, runs: str, workers: str = "1") -> None:
    """Label, print, keep."""

    def label(structures: list[Atoms], settings: AbinitSettings) -> list[Frame]:
        with ThreadPoolExecutor(int(workers)) as pool:
            report = label_all(structures, AbinitLabeler(settings), runs, executor=pool)
        if report.failures:
            raise DeepSpinError(report.summary())
        return report.frames

    rows = {"derivatives": derivatives, "mesh": mesh}[mode](label)
    for row in rows:
        texts = [f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in row.items()]
        print("  ".join(texts))
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**kept, mode: rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) in (3, 4) and sys.argv[1] in ("derivatives", "mesh"):
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
