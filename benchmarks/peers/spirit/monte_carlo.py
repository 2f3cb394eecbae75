"""Monte Carlo trials per CPU second of Spirit: simple cubic, six neighbours, Metropolis, one core.

python monte_carlo.py --case CELLS SWEEPS
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from spirit import configuration, simulation, state, system
from spirit.parameters import mc

CONFIG = """
bravais_lattice sc
n_basis_cells {cells} {cells} {cells}
basis
1
0 0 0
mu_s 2.0
boundary_conditions 1 1 1
external_field_magnitude 0.0
external_field_normal 0 0 1
n_shells_exchange 1
jij 20.0
n_shells_dmi 0
ddi_method none
log_to_console 0
log_to_file 0
output_folder {folder}
mc_output_any 0
mc_n_iterations 100000000
mc_n_iterations_log 100000000
mc_temperature {temperature}
mc_acceptance_ratio 0.5
mc_seed 1
"""
TEMPERATURE = 1.4429 * 0.020 / 8.617333262e-5
CONES = {"Metropolis, cone of 40 degrees": False, "Metropolis, adaptive cone": True}


def measure(adaptive: bool, cells: int, sweeps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "input.cfg"
        config.write_text(CONFIG.format(cells=cells, folder=folder, temperature=TEMPERATURE))
        with state.State(str(config), quiet=True) as run:
            configuration.plus_z(run)
            mc.set_metropolis_cone(run, use_cone=True, cone_angle=40, use_adaptive_cone=adaptive)
            atoms = system.get_spin_directions(run).shape[0]
            simulation.start(run, simulation.METHOD_MC, n_iterations=10**8, single_shot=True)
            simulation.n_shot(run, max(sweeps, 200))
            start = time.process_time()
            simulation.n_shot(run, sweeps)
            seconds = time.process_time() - start
            simulation.stop_all(run)
            spins = np.array(system.get_spin_directions(run)).reshape(cells, cells, cells, 3)
            energy = -sum(np.sum(spins * np.roll(spins, 1, axis)) for axis in range(3)) / atoms
    return {"trials_per_s": atoms * sweeps / seconds, "sites": atoms, "energy": energy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=2, type=int, default=(30, 100))
    cells, sweeps = parser.parse_args().case
    print(json.dumps({name: measure(adaptive, cells, sweeps) for name, adaptive in CONES.items()}))


if __name__ == "__main__":
    main()
