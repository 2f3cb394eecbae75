"""Spin updates per CPU second on one core: bcc Fe, 14 neighbours, 16,000 spins, beside LAMMPS SPIN and Spirit.

    python benchmarks/bench_spin_dynamics.py [--peers-python PATH_OF_PYTHON_WITH_LAMMPS_AND_SPIRIT] [--nio]

An update is one time step of one spin. All programs have the same crystal, exchange with the two nearest shells in
double precision, and one thread; they are timed in CPU seconds, three times in turn, and the best time counts. With
``--nio`` the shipped model ``nio`` is driven too: steps per CPU second and evaluations per step.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk
from in_turn import best_of

PEERS = Path(__file__).resolve().parent / "peers"
EXCHANGE = [0.0364, 0.0206]  # eV, first and second shell
CASES = {
    "depondt-mertens": {"integrator": "depondt-mertens"},
    "depondt-mertens, Langevin": {"integrator": "depondt-mertens", "damping": 0.1, "temperature": 300, "rng": 1},
    "semi-implicit": {"integrator": "semi-implicit"},
    "semi-implicit, Langevin": {"integrator": "semi-implicit", "damping": 0.1, "temperature": 300, "rng": 1},
    "implicit-midpoint": {"integrator": "implicit-midpoint"},
    "heun": {"integrator": "heun"},
}


def own(cells: int, steps: int) -> dict[str, dict[str, float]]:
    """SpinDynamics with a Heisenberg calculator: the whole driver, its observers' loop included."""
    from deepspin_ase import Heisenberg, HeisenbergModel, ferromagnet, set_moments, tilt
    from deepspin_plugins.spin_dynamics import SpinDynamics

    cell = bulk("Fe", a=2.8665, cubic=True)
    model = HeisenbergModel.from_shells(cell, EXCHANGE, magnitudes=2.2)
    atoms = cell.repeat(cells)
    table = {}
    for name, options in CASES.items():
        set_moments(atoms, tilt(ferromagnet(atoms, 2.2), 20, rng=1))
        atoms.calc = Heisenberg(model)
        dynamics = SpinDynamics(atoms, 0.1 * units.fs, **options)
        dynamics.run(2)
        before, start = dynamics.evaluations, time.process_time()
        dynamics.run(steps)
        seconds = time.process_time() - start
        table[name] = {
            "updates_per_s": len(atoms) * steps / seconds,
            "evaluations_per_step": (dynamics.evaluations - before) / steps,
        }
    return table


def learned(steps: int) -> dict[str, dict[str, float]]:
    """Steps per CPU second of the shipped model nio, 64 atoms."""
    from deepspin_ase import DeepSpin, collinear_order, set_moments, tilt
    from deepspin_plugins.spin_dynamics import SpinDynamics

    primitive = bulk("NiO", "rocksalt", a=4.17)
    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True).repeat(2)
    order = collinear_order(atoms, {"Ni": 1.27, "O": 0.0}, (0.5, 0.5, 0.5), cell=primitive.cell, phase=45)
    set_moments(atoms, tilt(order, 10, rng=1))
    atoms.calc = DeepSpin("nio", device="cpu")
    table = {}
    for name in ("depondt-mertens", "semi-implicit"):
        dynamics = SpinDynamics(atoms, 0.5 * units.fs, integrator=name, damping=0.1)
        dynamics.run(2)
        before, start = dynamics.evaluations, time.process_time()
        dynamics.run(steps)
        seconds = time.process_time() - start
        table[f"nio, {len(atoms)} atoms, {name}"] = {
            "steps_per_s": steps / seconds,
            "evaluations_per_step": (dynamics.evaluations - before) / steps,
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20, help="cubic cells along each edge, 2 atoms each")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers-python", type=Path)
    parser.add_argument("--nio", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(own(*map(int, options.case))))
        return
    programs = {"deepspin": (sys.executable, Path(__file__))}
    if options.peers_python:
        for peer in ("lammps_spin", "spirit"):
            programs[peer] = (options.peers_python, PEERS / peer / "speed.py")
    table = best_of(programs, options.repeats, "updates_per_s", str(options.cells), str(options.steps))
    print(f"{'program':44s} {'spin updates/s':>16s} {'evaluations/step':>18s}")
    for name, row in table.items():
        print(f"{name:44s} {row['updates_per_s']:16.3g} {row.get('evaluations_per_step', np.nan):18.1f}")
    if options.nio:
        rows = learned(options.steps // 4)
        table |= rows
        for name, row in rows.items():
            print(f"{name:44s} {row['steps_per_s']:10.2f} steps/s {row['evaluations_per_step']:18.1f}")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
