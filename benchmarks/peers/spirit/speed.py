"""Spin updates per CPU second of Spirit: bcc Fe, exchange with two shells (14 neighbours), one core.

python speed.py [--case CELLS STEPS]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
import time
from pathlib import Path

from spirit import configuration, simulation, state, system

CONFIG = """
bravais_lattice bcc
n_basis_cells {cells} {cells} {double}
basis
1
0 0 0
mu_s 2.2
boundary_conditions 1 1 1
external_field_magnitude 0.0
external_field_normal 0 0 1
n_shells_exchange 2
jij 36.4 20.6
n_shells_dmi 0
ddi_method none
log_to_console 0
log_to_file 0
output_folder {folder}
llg_output_any 0
llg_force_convergence 1e-30
llg_n_iterations 100000000
llg_n_iterations_log 100000000
llg_dt {dt}
llg_damping {damping}
llg_temperature {temperature}
llg_seed 1
"""
SOLVERS = {
    "Depondt": simulation.SOLVER_DEPONDT,
    "SIB": simulation.SOLVER_SIB,
    "Heun": simulation.SOLVER_HEUN,
}


def measure(solver: int, temperature: float, cells: int, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "input.cfg"
        damping = 0.1 if temperature else 0.0
        size = {"cells": cells, "double": 2 * cells, "folder": folder}
        config.write_text(CONFIG.format(**size, dt=1e-4, damping=damping, temperature=temperature))
        with state.State(str(config), quiet=True) as run:
            configuration.random(run)
            atoms = system.get_spin_directions(run).shape[0]
            simulation.start(run, simulation.METHOD_LLG, solver, n_iterations=10**8, single_shot=True)
            simulation.n_shot(run, 2)
            start = time.process_time()
            simulation.n_shot(run, steps)
            seconds = time.process_time() - start
            simulation.stop_all(run)
    return {"updates_per_s": atoms * steps / seconds, "atoms": atoms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=2, type=int, default=(20, 100))
    cells, steps = parser.parse_args().case
    table = {}
    for name, solver in SOLVERS.items():
        table[name] = measure(solver, 0.0, cells, steps)
        table[f"{name}, Langevin"] = measure(solver, 300.0, cells, steps)
    print(json.dumps(table))


if __name__ == "__main__":
    main()
