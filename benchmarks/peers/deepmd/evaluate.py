"""Errors of a DeePMD-kit spin model (or of any predictions) on the validation frames of a task.

``errors`` is plain numpy and takes predictions of any program. Run as a script it evaluates one model
(``--model``, a ``.pt`` checkpoint or a frozen ``.pth``; JSON out) or every checkpoint of a training folder
(``--run``; CSV of the errors against CPU minutes out).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from prepare import TASKS, TYPE_MAP, load_split

MAGNETIC = {"Fe", "Ni"}
SMALLEST_MOMENT = 1e-6  # muB; below it "along the moment" has no meaning


class Prediction(NamedTuple):
    """What a program predicts for one frame: eV, eV/Ang (n, 3), eV/muB (n, 3)."""

    energy: float
    forces: np.ndarray
    magnetic_forces: np.ndarray


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def errors(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Errors against the raw labels, nothing shifted or scaled.

    Energies are per atom. ``force`` and ``magnetic`` are over Cartesian components, ``magnetic*`` over
    magnetic atoms only. With d the error of the magnetic force of an atom and e = m/|m|:
    ``magnetic_parallel`` = sqrt(mean (d.e)^2) and ``magnetic_perpendicular`` = sqrt(mean |d - (d.e)e|^2 / 3).
    """
    energy, force, magnetic, parallel, perpendicular = [], [], [], [], []
    for atoms, predicted in zip(frames, predictions, strict=True):
        moments = atoms.arrays["initial_magmoms"]
        length = np.linalg.norm(moments, axis=1)
        chosen = np.array([s in MAGNETIC for s in atoms.get_chemical_symbols()]) & (length > SMALLEST_MOMENT)
        unit = moments[chosen] / length[chosen, None]
        delta = (predicted.magnetic_forces - atoms.arrays["REF_magnetic_forces"])[chosen]
        along = np.sum(delta * unit, axis=1)
        energy.append((predicted.energy - atoms.info["REF_energy"]) / len(atoms))
        force.append((predicted.forces - atoms.arrays["REF_forces"]).ravel())
        magnetic.append(delta.ravel())
        parallel.append(along)
        perpendicular.append((delta - along[:, None] * unit).ravel())
    e, f, m = 1e3 * np.array(energy), 1e3 * np.concatenate(force), 1e3 * np.concatenate(magnetic)
    return {
        "frames": len(frames),
        "energy_rmse_meV_per_atom": rms(e),
        "energy_mae_meV_per_atom": float(np.mean(np.abs(e))),
        "force_rmse_meV_per_Ang": rms(f),
        "force_mae_meV_per_Ang": float(np.mean(np.abs(f))),
        "magnetic_rmse_meV_per_muB": rms(m),
        "magnetic_parallel_rmse_meV_per_muB": 1e3 * rms(np.concatenate(parallel)),
        "magnetic_perpendicular_rmse_meV_per_muB": 1e3 * rms(np.concatenate(perpendicular)),
    }


def predict(model: Path, frames: Sequence[Atoms], type_map: list[str]) -> list[Prediction]:
    """Predictions of a DeePMD-kit model, in the atom order of the frames."""
    from deepmd.infer import DeepPot

    potential = DeepPot(str(model))
    found = []
    for atoms in frames:
        energy, forces, _, magnetic, _ = potential.eval(
            atoms.positions.reshape(1, -1),
            atoms.cell.array.reshape(1, 9),
            [type_map.index(s) for s in atoms.get_chemical_symbols()],
            spin=atoms.arrays["initial_magmoms"].reshape(1, -1),
        )
        found.append(Prediction(float(energy.item()), forces[0], magnetic[0]))
    return found


def evaluate(model: Path, task: str, frames: dict[str, list[Atoms]]) -> dict[str, dict[str, float]]:
    """Errors for each file of a task and, under "all", for its files together."""
    predicted = {name: predict(model, held_out, TYPE_MAP[task]) for name, held_out in frames.items()}
    found = {name: errors(frames[name], predicted[name]) for name in frames}
    found["all"] = errors(
        [a for held_out in frames.values() for a in held_out],
        [p for part in predicted.values() for p in part],
    )
    return found


def curve(run: Path, task: str, frames: dict[str, list[Atoms]]) -> list[dict[str, Any]]:
    """Errors over all validation frames at every checkpoint, with the CPU minutes when it was first seen."""
    seen: dict[int, float] = {}
    for row in csv.DictReader((run / "cpu.csv").read_text().splitlines()):
        seen.setdefault(int(row["checkpoint"]), float(row["cpu_s"]) / 60)
    steps = sorted(int(p.stem.rsplit("-", 1)[1]) for p in run.glob("model.ckpt-*.pt"))
    rows = []
    for step in steps:
        minutes = seen.get(step, max(seen.values()))
        found = evaluate(run / f"model.ckpt-{step}.pt", task, frames)["all"]
        rows.append({"step": step, "cpu_min": round(minutes, 2)} | {k: round(v, 4) for k, v in found.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds data/dft/*.extxyz")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", type=Path)
    which.add_argument("--run", type=Path, help="folder of one training, with cpu.csv and checkpoints")
    parser.add_argument("--out", type=Path, help="JSON (--model) or CSV (--run)")
    args = parser.parse_args()
    frames = {name: load_split(args.shared, name)[1] for name in TASKS[args.task]}
    if args.model:
        text = json.dumps(evaluate(args.model, args.task, frames), indent=2)
    else:
        rows = curve(args.run, args.task, frames)
        text = "\n".join([",".join(rows[0]), *(",".join(str(v) for v in row.values()) for row in rows)])
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
