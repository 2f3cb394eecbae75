"""CPU time per atom of a DeePMD-kit spin model on one thread, and its error under time reversal.

Energy, forces and magnetic forces of fcc Fe with random moments. Three times are taken:

* ``eval``: the Python call of a user, ``DeepPot.eval``; it always computes atomic virials too, which cost
  three more backward passes for a spin model;
* ``forward``: the TorchScript model without virials, its neighbour list (all pairs) included;
* ``model``: the same with a ready neighbour list, as an MD code calls it.

Without ``--model`` models with random weights are built (the time does not depend on the weights).
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from deepmd.infer import DeepPot
from deepmd.pt.model.model import get_model
from deepmd.pt.utils.nlist import extend_input_and_build_neighbor_list

HERE = Path(__file__).resolve().parent
LATTICE_CONSTANT = 3.55  # Ang
MOMENT = 1.3  # muB
SKIN = 1.0  # Ang; the model trims the list itself, after it has put a pseudo-atom beside every atom


def crystal(size: int, seed: int = 0) -> tuple[Atoms, np.ndarray]:
    """Rattled fcc Fe of ``size`` atoms in a nearly cubic cell, and random moments of fixed length."""
    cells = size // 4
    shapes = [
        (a, b, cells // (a * b))
        for a in range(1, cells + 1)
        for b in range(1, cells + 1)
        if size % 4 == 0 and cells % (a * b) == 0
    ]
    if not shapes:
        raise ValueError(f"size {size}: the cubic fcc cell needs a multiple of 4 atoms")
    atoms = bulk("Fe", "fcc", a=LATTICE_CONSTANT, cubic=True).repeat(min(shapes, key=lambda s: max(s) - min(s)))
    atoms.rattle(0.05, seed=seed)
    moments = np.random.default_rng(seed).normal(size=(size, 3))
    return atoms, MOMENT * moments / np.linalg.norm(moments, axis=1, keepdims=True)


def random_model(precision: str, folder: Path) -> Path:
    """TorchScript model of ``input_fcc14.json`` with random weights in the given precision."""
    settings = json.loads((HERE / "input_fcc14.json").read_text())["model"]
    settings["descriptor"]["precision"] = settings["fitting_net"]["precision"] = precision
    path = folder / f"random-{precision}.pth"
    torch.jit.save(torch.jit.script(get_model(settings).eval()), path)
    return path


def cpu_time(call: Callable[[], Any], repeats: int, warm_up: int = 3) -> float:
    """Median process CPU seconds of a call after a warm-up."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(path: Path, size: int, repeats: int) -> dict[str, float]:
    """CPU milliseconds per atom of the three calls, and max |E(m) - E(-m)| over a few configurations."""
    atoms, moments = crystal(size)
    potential, scripted = DeepPot(str(path)), torch.jit.load(path)
    box, types = atoms.cell.array.reshape(1, 9), [0] * size

    coord, atom_type = torch.tensor(atoms.positions[None]), torch.zeros((1, size), dtype=torch.long)
    spin = torch.tensor(moments[None])
    reach = scripted.get_rcut() + SKIN
    ext_coord, ext_type, mapping, neighbours = extend_input_and_build_neighbor_list(
        coord, atom_type, reach, [2 * scripted.get_nnei()], box=torch.tensor(box)
    )
    ext_spin = spin[:, mapping[0]]

    def evaluated(m: np.ndarray = moments) -> float:
        return float(potential.eval(atoms.positions.reshape(1, -1), box, types, spin=m.reshape(1, -1))[0].item())

    def forward() -> float:
        return float(scripted(coord, atom_type, spin, torch.tensor(box))["energy"].item())

    def bare() -> float:
        return float(scripted.forward_lower(ext_coord, ext_type, ext_spin, neighbours, mapping)["energy"].item())

    for call in (forward, bare):
        if abs(call() - evaluated()) > 1e-6 * size:
            raise RuntimeError(f"{path.name}: {call.__name__} and DeepPot.eval disagree: {call()}, {evaluated()} eV")
    flipped = [crystal(size, seed)[1] for seed in range(4)]
    return {
        "eval_ms_per_atom": 1e3 * cpu_time(evaluated, repeats) / size,
        "forward_ms_per_atom": 1e3 * cpu_time(forward, repeats) / size,
        "model_ms_per_atom": 1e3 * cpu_time(bare, repeats) / size,
        "time_reversal_error_eV": max(abs(evaluated(m) - evaluated(-m)) for m in flipped),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, nargs="+", help="frozen models (dp --pt freeze)")
    parser.add_argument("--precision", nargs="+", default=["float32", "float64"], help="of random models")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = args.model or [random_model(precision, Path(folder)) for precision in args.precision]
        found = {m.stem: {str(size): measure(m, size, args.repeats) for size in args.sizes} for m in models}
    line = json.dumps({"program": "deepmd-kit", "torch": torch.__version__, "models": found})
    print(line)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(line + "\n")


if __name__ == "__main__":
    main()
