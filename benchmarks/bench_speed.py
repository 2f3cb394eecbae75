"""CPU time and memory per atom of energy + forces + stress + magnetic forces, one thread, fcc Fe.

    python benchmarks/bench_speed.py [--model fcc-fe] [--no-compile] [--deepmd-python PATH_OF_PYTHON_WITH_DEEPMD]

Atoms move a little before every evaluation, so that the neighbour list is part of the time, as in molecular dynamics.
With ``--deepmd-python`` DeePMD-kit's spin model is timed in the same run, see ``benchmarks/peers/deepmd``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

HERE = Path(__file__).resolve().parent


def crystal(atoms: int) -> Atoms:
    """Rattled fcc Fe with random moments of 1.3 µB."""
    from deepspin_ase import random_directions, set_moments

    cells = atoms // 4
    shape = [1, 1, 1]
    while shape[0] * shape[1] * shape[2] < cells:
        shape[int(np.argmin(shape))] *= 2
    made = bulk("Fe", "fcc", a=3.55, cubic=True) * tuple(shape)
    made.rattle(0.05, seed=1)
    set_moments(made, random_directions(made, 1.3, rng=1))
    return made


def time_per_atom(model: str, atoms: int, *, dtype: str, compiled: bool, repeats: int) -> dict[str, float]:
    """Median CPU time of one evaluation (ms per atom) and the growth of peak memory (kB per atom)."""
    from deepspin_ase import DeepSpin

    structure = crystal(atoms)
    calc = DeepSpin(model, dtype=dtype, compile=compiled, device="cpu")  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    times = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(repeats + 2):
        structure.positions += rng.normal(0, 1e-3, (len(structure), 3))
        start = time.process_time()
        calc.calculate(structure)
        times.append(time.process_time() - start)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "ms_per_atom": 1e3 * statistics.median(times[2:]) / len(structure),
        "kB_per_atom": growth / len(structure),
    }


def case(arguments: list[str]) -> dict[str, float]:
    """One measurement in a process of its own, so that its peak memory is its own."""
    done = subprocess.run([sys.executable, __file__, "--case", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fcc-fe")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 1024, 8192])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--deepmd-python", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        model, atoms, dtype, compiled, repeats = options.case
        result = time_per_atom(model, int(atoms), dtype=dtype, compiled=compiled == "yes", repeats=int(repeats))
        print(json.dumps(result))
        return
    table: dict[str, dict[str, float]] = {}
    print(f"{'program':28s} {'atoms':>6s} {'CPU ms/atom':>12s} {'peak kB/atom':>13s}")

    def show(name: str, atoms: int, row: dict[str, float]) -> None:
        table[f"{name} {atoms}"] = row
        memory = row.get("kB_per_atom", float("nan"))
        print(f"{name:28s} {atoms:6d} {row['ms_per_atom']:12.4f} {memory:13.1f}", flush=True)

    for atoms in options.sizes:
        repeats = "9" if atoms <= 1024 else "3"
        for dtype in options.dtypes:
            show(f"eager {dtype}", atoms, case([options.model, str(atoms), dtype, "no", repeats]))
            if not options.no_compile:
                show(f"compiled {dtype}", atoms, case([options.model, str(atoms), dtype, "yes", repeats]))
    if options.deepmd_python:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "speed.json"
            script = HERE / "peers" / "deepmd" / "speed.py"
            sizes = [str(n) for n in options.sizes if n <= 1024]
            subprocess.run([options.deepmd_python, script, "--sizes", *sizes, "--json", out], check=True)
            for model, rows in json.loads(out.read_text())["models"].items():
                for atoms, row in rows.items():
                    for key in ("eval", "forward", "model"):
                        show(f"deepmd {model} {key}", int(atoms), {"ms_per_atom": row[f"{key}_ms_per_atom"]})
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
